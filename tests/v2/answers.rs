//! What requests are answered, write by write: the facts recorded from etcd 3.4, two lower in every index, since an empty
//! store here is at 1 and there at 3.

use super::*;

#[test]
fn a_file_is_set_read_and_set_anew() {
    let (_server, keys) = start();
    says(&keys.get(""), 200, 1, r#"{"action":"get","node":{"dir":true}}"#);
    let set = r#"{"action":"set","node":{"key":"/foo","value":"bar","modifiedIndex":2,"createdIndex":2}}"#;
    says(&keys.put("/foo", "value=bar"), 201, 2, set);
    let again = concat!(
        r#"{"action":"set","node":{"key":"/foo","value":"bar2","modifiedIndex":3,"createdIndex":3},"#,
        r#""prevNode":{"key":"/foo","value":"bar","modifiedIndex":2,"createdIndex":2}}"#
    );
    says(&keys.put("/foo/", "value=bar2"), 200, 3, again);
    let node = r#"{"action":"get","node":{"key":"/foo","value":"bar2","modifiedIndex":3,"createdIndex":3}}"#;
    says(&keys.get("/foo"), 200, 3, node);
    says(&keys.get("/foo?quorum=true&wait=true"), 200, 3, node);
    let head = keys.send("HEAD", "/foo", "");
    assert_eq!((head.status, head.text().as_str(), head.header("x-etcd-index")), (200, "", Some("3")));
    assert_eq!(keys.send("HEAD", "/missing", "").status, 404);
}

#[test]
fn what_is_missing_or_in_the_way_is_named() {
    let (_server, keys) = start();
    keys.put("/foo", "value=1");
    fails(&keys.get("/a/b/c"), 404, 100, "/a", 2);
    fails(&keys.get("/missing"), 404, 100, "/missing", 2);
    for refused in [keys.get("/foo/bar/baz"), keys.put("/foo/bar", "value=1"), keys.post("/foo", "value=1")] {
        fails(&refused, 400, 104, "/foo", 2);
    }
    for refused in [keys.put("/", "value=x"), keys.put("", "dir=true"), keys.delete("/?recursive=true")] {
        fails(&refused, 400, 107, "/", 2);
    }
    fails(&keys.delete("/?prevValue=x"), 403, 102, "", 2);
    assert!(!keys.delete("/?prevValue=x").text().contains("cause"));
}

#[test]
fn conditions_choose_the_action_and_failing_leave_the_index_alone() {
    let (_server, keys) = start();
    let created = r#"{"action":"create","node":{"key":"/c","value":"1","modifiedIndex":2,"createdIndex":2}}"#;
    says(&keys.put("/c?prevExist=false&prevValue=ignored", "value=1"), 201, 2, created);
    fails(&keys.put("/c", "prevExist=false&value=2"), 412, 105, "/c", 2);
    fails(&keys.put("/d?prevExist=true", "value=2"), 404, 100, "/d", 2);
    fails(&keys.put("/d?prevIndex=2", "value=2"), 404, 100, "/d", 2);
    let updated = concat!(
        r#"{"action":"update","node":{"key":"/c","value":"2","modifiedIndex":3,"createdIndex":2},"#,
        r#""prevNode":{"key":"/c","value":"1","modifiedIndex":2,"createdIndex":2}}"#
    );
    says(&keys.put("/c?prevExist=true", "value=2"), 200, 3, updated);
    fails(&keys.put("/c?prevValue=x", "value=3"), 412, 101, "[x != 2]", 3);
    fails(&keys.put("/c?prevIndex=2", "value=3"), 412, 101, "[2 != 3]", 3);
    fails(&keys.put("/c?prevValue=x&prevIndex=2", "value=3"), 412, 101, "[x != 2] [2 != 3]", 3);
    let swapped = concat!(
        r#"{"action":"compareAndSwap","node":{"key":"/c","value":"3","modifiedIndex":4,"createdIndex":2},"#,
        r#""prevNode":{"key":"/c","value":"2","modifiedIndex":3,"createdIndex":2}}"#
    );
    says(&keys.put("/c?prevValue=2&prevExist=true", "value=3"), 200, 4, swapped);
    fails(&keys.delete("/c?prevIndex=3"), 412, 101, "[3 != 4]", 4);
    let deleted = concat!(
        r#"{"action":"compareAndDelete","node":{"key":"/c","modifiedIndex":5,"createdIndex":2},"#,
        r#""prevNode":{"key":"/c","value":"3","modifiedIndex":4,"createdIndex":2}}"#
    );
    says(&keys.delete("/c?prevValue=3"), 200, 5, deleted);
    fails(&keys.delete("/c"), 404, 100, "/c", 5);
}

#[test]
fn directories_are_made_updated_and_deleted() {
    let (_server, keys) = start();
    let made = r#"{"action":"set","node":{"key":"/d","dir":true,"modifiedIndex":2,"createdIndex":2}}"#;
    says(&keys.put("/d?dir=true", "value=ignored"), 201, 2, made);
    for refused in [
        keys.put("/d?dir=true", ""),
        keys.put("/d", "value=x"),
        keys.put("/d?prevExist=true", "value=x"),
        keys.put("/d?prevValue=x", "value=y"),
        keys.delete("/d"),
        keys.delete("/d?prevValue=x"),
    ] {
        fails(&refused, 403, 102, "/d", 2);
    }
    fails(&keys.put("/d?dir=true&prevExist=false", ""), 412, 105, "/d", 2);
    let updated = keys.put("/d?prevExist=true", "ttl=100").expect(200).value();
    assert_eq!((&updated["action"], &updated["node"]["modifiedIndex"]), (&"update".into(), &3.into()));
    assert_eq!((&updated["node"]["ttl"], &updated["prevNode"]["ttl"]), (&100.into(), &Value::Null));
    let read = keys.get("/d").value();
    assert_eq!((&read["node"]["modifiedIndex"], &read["node"]["createdIndex"]), (&2.into(), &2.into()));
    assert!(read["node"]["expiration"].is_string() && read["node"].get("nodes").is_none(), "{read}");
    keys.put("/d/_hidden", "value=1").expect(201);
    fails(&keys.delete("/d?dir=true"), 403, 108, "/d", 4);
    let deleted = keys.delete("/d?recursive=true").expect(200).value();
    assert_eq!((&deleted["node"]["dir"], &deleted["node"]["modifiedIndex"]), (&true.into(), &5.into()));
    fails(&keys.get("/d/_hidden"), 404, 100, "/d", 5);
}

#[test]
fn a_directory_takes_the_place_of_a_file() {
    let (_server, keys) = start();
    keys.put("/f", "value=1").expect(201);
    let replaced = concat!(
        r#"{"action":"set","node":{"key":"/f","dir":true,"modifiedIndex":3,"createdIndex":3},"#,
        r#""prevNode":{"key":"/f","value":"1","modifiedIndex":2,"createdIndex":2}}"#
    );
    says(&keys.put("/f?dir=true", ""), 200, 3, replaced);
    keys.delete("/f?dir=true").expect(200);
    keys.put("/f", "value=1").expect(201);
    keys.delete("/f?dir=true").expect(200);
}

#[test]
fn listings_are_sorted_by_path_and_leave_hidden_nodes_out() {
    let (_server, keys) = start();
    for path in ["/d/b", "/d/a/x", "/d/a-b", "/d/_h", "/d/a/_y/z", "/d/9", "/d/10", "/d/a0"] {
        keys.put(path, "value=1").expect(201);
    }
    let listed = |path: &str| -> Vec<String> {
        let node = keys.get(path).expect(200).value()["node"].clone();
        let nodes = node["nodes"].as_array().unwrap().clone();
        nodes.iter().map(|node| node["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed("/d?sorted=true"), ["/d/10", "/d/9", "/d/a", "/d/a-b", "/d/a0", "/d/b"]);
    assert_eq!(listed("/d/a?recursive=true"), ["/d/a/x"]);
    assert_eq!(listed("/d/a/_y"), ["/d/a/_y/z"]);
    let deep = keys.get("/?recursive=true").value();
    let a = &deep["node"]["nodes"][0]["nodes"][2];
    assert_eq!((&a["key"], &a["nodes"][0]["key"]), (&"/d/a".into(), &"/d/a/x".into()));
    assert!(keys.get("/").value()["node"]["nodes"][0].get("nodes").is_none());
}

#[test]
fn a_post_makes_names_in_order() {
    let (_server, keys) = start();
    let first = concat!(
        r#"{"action":"create","node":{"key":"/q/00000000000000000002","#,
        r#""value":"j","modifiedIndex":2,"createdIndex":2}}"#
    );
    says(&keys.post("/q?prevExist=true&prevValue=x", "value=j"), 201, 2, first);
    let directory = keys.post("/q?dir=true", "").expect(201).value();
    assert_eq!(
        (&directory["node"]["key"], &directory["node"]["dir"]),
        (&"/q/00000000000000000003".into(), &true.into())
    );
    assert_eq!(keys.post("", "value=r").expect(201).value()["node"]["key"], "/00000000000000000004");
    says(&keys.post("/q?noValueOnSuccess=true", "value=x"), 201, 5, r#"{"action":"create"}"#);
}

#[test]
fn values_are_left_out_where_that_is_asked_except_of_deletions() {
    let (_server, keys) = start();
    let quiet = |condition: &str| keys.put(&format!("/n?noValueOnSuccess=true{condition}"), "value=1");
    says(&quiet(""), 201, 2, r#"{"action":"set"}"#);
    says(&quiet(""), 200, 3, r#"{"action":"set"}"#);
    says(&quiet("&prevExist=true"), 200, 4, r#"{"action":"update"}"#);
    says(&quiet("&prevValue=1"), 200, 5, r#"{"action":"compareAndSwap"}"#);
    fails(&quiet("&prevValue=2"), 412, 101, "[2 != 1]", 5);
    assert_eq!(keys.delete("/n?noValueOnSuccess=true").value()["prevNode"]["value"], "1");
}

#[test]
fn a_directory_that_was_made_on_the_way_stays() {
    let (_server, keys) = start();
    keys.put("/a/b/c", "value=1").expect(201);
    keys.delete("/a/b/c").expect(200);
    let left = r#"{"action":"get","node":{"key":"/a/b","dir":true,"modifiedIndex":2,"createdIndex":2}}"#;
    says(&keys.get("/a/b"), 200, 3, left);
    keys.delete("/a/b?dir=true").expect(200);
    keys.get("/a").expect(200);
}

#[test]
fn a_path_has_its_bounds() {
    let (_server, keys) = start();
    let deep = "/a".repeat(257);
    fails(&keys.put(&deep, "value=1"), 400, 209, "257 segments in the path of a node; at most 256 are allowed", 0);
    keys.put(&"/a".repeat(256), "value=1").expect(201);
    let long = format!("/{}", "k".repeat(4095));
    fails(&keys.put(&long, "value=1"), 400, 209, "the key has 4097 bytes; the longest key has 4096", 0);
    keys.put(long.get(..4095).unwrap(), "value=1").expect(201);
}

#[test]
fn a_directory_whose_answer_is_too_long_is_refused_and_each_file_in_it_read() {
    let (_server, keys) = start();
    // Each byte becomes six.
    let value = "%01".repeat(1536 * 1024);
    for number in 0..8 {
        keys.put(&format!("/large/{number}"), &format!("value={value}")).expect(201);
    }
    let cause =
        "the directory has more than 500000 nodes or 67108864 bytes to show: ask for the directories in it one by one";
    for path in ["/large", "/?recursive=true"] {
        fails(&keys.get(path), 400, 209, cause, 0);
    }
    keys.get("/large/7").expect(200);
    keys.delete("/large/7").expect(200);
    assert!(keys.get("/large").expect(200).text().len() > 60 * 1024 * 1024);
}
