//! One key space: what `/v1` writes is seen here, and the other way round.

use super::*;

fn put_v1(keys: &Keys, path: &str, value: &str) -> u64 {
    keys.0.put(&format!("/v1/keys{path}"), value).value()["modRevision"].as_u64().unwrap()
}

/// A directory and what is below it, each level asked for by itself.
fn levels(keys: &Keys, path: &str) -> Value {
    let mut node = keys.get(path).expect(200).value()["node"].clone();
    for below in node.get_mut("nodes").and_then(Value::as_array_mut).into_iter().flatten() {
        if below["dir"] == true {
            *below = levels(keys, below["key"].as_str().unwrap());
        }
    }
    node
}

#[test]
fn a_file_is_the_same_key_to_both() {
    let (_server, keys) = start();
    keys.put("/app/db", "value=x").expect(201);
    let key = keys.0.get("/v1/keys/app/db").expect(200).value();
    assert_eq!((&key["value"], &key["modRevision"], &key["version"]), (&"x".into(), &2.into(), &1.into()));
    assert_eq!(keys.0.get("/v1/keys/app/").expect(200).value()["revision"], 2);
    assert_eq!(put_v1(&keys, "/app/db", "y"), 3);
    let node = r#"{"action":"get","node":{"key":"/app/db","value":"y","modifiedIndex":3,"createdIndex":2}}"#;
    says(&keys.get("/app/db"), 200, 3, node);
    keys.put("/app/db?prevIndex=3", "value=z").expect(200);
    // A set begins a new life, which `/v1` sees as a version.
    keys.put("/app/db", "value=w").expect(200);
    let key = keys.0.get("/v1/keys/app/db").value();
    assert_eq!((&key["createRevision"], &key["version"]), (&5.into(), &1.into()));
}

#[test]
fn watchers_are_told_in_their_own_words_whoever_made_the_change() {
    let (_server, keys) = start();
    let mut stream = keys.wait("/?wait=true&stream=true&recursive=true");
    put_v1(&keys, "/a", "1");
    keys.0.put("/v1/keys/b?prevExist=false", "1").expect(201);
    keys.0.put("/v1/keys/b?prevExist=true", "2").expect(200);
    keys.0.put("/v1/keys/b?prevValue=2", "3").expect(200);
    keys.0.delete("/v1/keys/b?prevValue=3").expect(200);
    keys.0.delete("/v1/keys/a").expect(200);
    put_v1(&keys, "/d/x", "1");
    put_v1(&keys, "/d/y", "1");
    keys.0.delete("/v1/keys/d/?recursive=true").expect(200);
    keys.0.put("/v1/keys/m/", "").expect(201);
    let mut told = Vec::new();
    for change in stream.changes(10) {
        let change: Value = serde_json::from_str(&change).unwrap();
        told.push(format!("{} {}", change["action"].as_str().unwrap(), change["node"]["key"].as_str().unwrap()));
    }
    let expected = [
        "set /a",
        "create /b",
        "update /b",
        "compareAndSwap /b",
        "compareAndDelete /b",
        "delete /a",
        "set /d/x",
        "set /d/y",
        "delete /d",
        "set /m",
    ];
    assert_eq!(told, expected);
}

#[test]
fn watchers_of_v1_see_every_key_that_a_write_here_touches() {
    let (_server, keys) = start();
    keys.put("/d/x", "value=1").expect(201);
    keys.put("/d/x", "ttl=60&refresh=true").expect(200);
    keys.delete("/d?recursive=true").expect(200);
    let history = |path: &str| {
        let items = keys.0.get(&format!("/v1/history{path}")).expect(200).value()["items"].clone();
        items.as_array().unwrap().iter().map(|item| item["revision"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(history("/d/x"), [4, 3, 2]);
    assert_eq!(keys.0.get("/v1/keys/d/").status, 404);
}

#[test]
fn a_directory_that_is_implied_is_one_with_the_indices_of_the_first_key_in_it() {
    let (_server, keys) = start();
    put_v1(&keys, "/i/b", "1");
    put_v1(&keys, "/i/a/c", "1");
    let listed = concat!(
        r#"{"action":"get","node":{"key":"/i","dir":true,"nodes":["#,
        r#"{"key":"/i/a","dir":true,"modifiedIndex":3,"createdIndex":3},"#,
        r#"{"key":"/i/b","value":"1","modifiedIndex":2,"createdIndex":2}],"modifiedIndex":3,"createdIndex":3}}"#
    );
    says(&keys.get("/i"), 200, 3, listed);
    fails(&keys.put("/i", "value=1"), 403, 102, "/i", 3);
    fails(&keys.put("/i?dir=true&prevExist=false", ""), 412, 105, "/i", 3);
    fails(&keys.delete("/i?dir=true"), 403, 108, "/i", 3);
    let mut below = keys.wait("/i/a?wait=true");
    let deleted = keys.delete("/i?recursive=true").expect(200).text();
    assert_eq!(below.change(), deleted.trim_end());
    // Without a marker, it goes with the last key in it.
    put_v1(&keys, "/j/a", "1");
    keys.delete("/j/a").expect(200);
    keys.get("/j").expect(404);
}

#[test]
fn a_key_that_is_also_a_directory_is_the_file_and_what_is_in_it_is_reached() {
    let (_server, keys) = start();
    put_v1(&keys, "/b", "file");
    put_v1(&keys, "/b/c", "in it");
    assert_eq!(keys.get("/b").expect(200).value()["node"]["value"], "file");
    assert_eq!(keys.get("/b/c").expect(200).value()["node"]["value"], "in it");
    let nodes = keys.get("/?recursive=true").value()["node"]["nodes"].clone();
    assert_eq!((&nodes[0]["key"], &nodes[0]["value"]), (&"/b".into(), &"file".into()));
    assert_eq!((&nodes[1]["key"], &nodes[1]["nodes"][0]["key"]), (&"/b".into(), &"/b/c".into()));
    keys.put("/b/c", "value=2").expect(200);
    keys.delete("/b?recursive=true").expect(200);
    assert_eq!(keys.get("/b").expect(200).value()["node"]["dir"], true);
}

#[test]
fn keys_that_no_path_names_are_neither_shown_nor_told_of() {
    let (_server, keys) = start();
    let mut stream = keys.wait("/?wait=true&stream=true&recursive=true");
    for key in ["plain", "a%2Fb", "%2Fs%2F%2Ft", "%2Fs%2F..%2Ft", "%2Fs%2Fu", "%2F"] {
        keys.0.put(&format!("/v1/keys?key={key}"), "1").expect(201);
    }
    keys.0.put("/v1/keys?key64=L_8", "1").expect(201);
    let nodes = keys.get("/?recursive=true").value()["node"]["nodes"].clone();
    let names: Vec<_> = nodes.as_array().unwrap().iter().map(|node| node["key"].as_str().unwrap()).collect();
    // What is not UTF-8 is shown as etcd shows it, and reached by its bytes.
    assert_eq!(names, ["/s", "/\u{fffd}"]);
    keys.get("/%ff").expect(200);
    assert_eq!(nodes[0]["nodes"].as_array().unwrap().len(), 1);
    let told: Vec<_> = stream.changes(2);
    assert!(told[0].contains("\"/s/u\"") && told[1].contains(r#""/\ufffd""#), "{told:?}");
    // They keep their directory from being empty, and go with it.
    keys.delete("/s/u").expect(200);
    fails(&keys.delete("/s?dir=true"), 403, 108, "/s", 9);
    keys.delete("/s?recursive=true").expect(200);
    keys.0.get("/v1/keys?key=%2Fs%2F%2Ft").expect(404);
}

#[test]
fn what_is_too_deep_for_a_tree_is_read_by_its_path_alone() {
    let (_server, keys) = start();
    let deep = "/a".repeat(2000);
    put_v1(&keys, &deep, "1");
    put_v1(&keys, &"/a".repeat(256), "2");
    let all = keys.get("/?recursive=true").expect(200).text();
    // The root, the directories on the way to the one file, and that of the same name, which what is deeper is in.
    assert_eq!(all.matches("\"dir\":true").count(), 257);
    assert!(all.contains("\"value\":\"2\"") && !all.contains("\"value\":\"1\""));
    let level = keys.get(&"/a".repeat(255)).expect(200).text();
    assert_eq!((level.matches("\"dir\":true").count(), level.matches("\"value\":\"2\"").count()), (2, 1), "{level}");
    assert_eq!(keys.get(&deep).expect(200).value()["node"]["value"], "1");
}

#[test]
fn a_directory_with_nothing_in_it_to_be_shown_is_shown_alike_alone_and_with_what_is_below() {
    let (_server, keys) = start();
    for key in ["/app/_h", "/b/_h/x", "/b/y"] {
        put_v1(&keys, key, "1");
    }
    for key in ["%2Fs%2F%2Ft", "%2Fs%2Fu%2F..%2Ft", "%2Fs%2Fu%2Fv"] {
        keys.0.put(&format!("/v1/keys?key={key}"), "1").expect(201);
    }
    let node = levels(&keys, "/");
    let names: Vec<_> = node["nodes"].as_array().unwrap().iter().map(|node| node["key"].as_str().unwrap()).collect();
    assert_eq!(names, ["/app", "/b", "/s"]);
    assert_eq!(keys.get("/?recursive=true").expect(200).value()["node"], node);
}

#[test]
fn a_marker_with_a_value_is_a_directory() {
    let (_server, keys) = start();
    keys.0.put("/v1/keys?key=%2Fdir%2F", "some value").expect(201);
    let node = r#"{"action":"get","node":{"key":"/dir","dir":true,"modifiedIndex":2,"createdIndex":2}}"#;
    says(&keys.get("/dir"), 200, 2, node);
    keys.put("/dir?prevExist=true", "ttl=100").expect(200);
    assert_eq!(keys.0.get("/v1/keys?key=%2Fdir%2F").value()["value"], "some value");
}

#[test]
fn a_lease_of_v1_has_its_date_here() {
    let (_server, keys) = start();
    keys.0.put("/v1/keys/l?ttl=60s", "1").expect(201);
    let node = keys.get("/l").expect(200).value()["node"].clone();
    assert!(
        node["expiration"].is_string() && node["ttl"].as_u64().is_some_and(|ttl| (50..=60).contains(&ttl)),
        "{node}"
    );
    let put = keys.put("/l", "value=2").expect(200).value();
    assert!(put["prevNode"]["expiration"] == node["expiration"] && put["node"].get("expiration").is_none(), "{put}");
}
