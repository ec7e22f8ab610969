//! Lives that end.

use super::*;

#[test]
fn a_file_expires_and_tells_of_it() {
    let (_server, keys) = start();
    let put = keys.put("/e", "value=gone&ttl=1").expect(201).value();
    assert_eq!(put["node"]["ttl"], 1);
    let date = put["node"]["expiration"].as_str().unwrap().to_owned();
    assert_eq!(keys.get("/e").value()["node"]["expiration"], date.as_str());
    let change: Value = serde_json::from_str(&keys.wait("/e?wait=true").change()).unwrap();
    assert_eq!((&change["action"], &change["node"]["modifiedIndex"]), (&"expire".into(), &3.into()));
    let previous = &change["prevNode"];
    assert_eq!((&previous["value"], &previous["expiration"]), (&"gone".into(), &date.as_str().into()));
    assert!(previous.get("ttl").is_none() && change["node"].get("value").is_none(), "{change}");
    keys.get("/e").expect(404);
}

#[test]
fn a_directory_expires_with_all_that_is_in_it_at_one_index() {
    let (_server, keys) = start();
    keys.put("/d?dir=true", "ttl=1").expect(201);
    keys.put("/d/a", "value=1").expect(201);
    keys.put("/d/b/c", "value=1").expect(201);
    let mut waits = ["/d/b/c?wait=true", "/d?wait=true&recursive=true"].map(|path| keys.wait(path));
    let changes = waits.each_mut().map(Wait::change);
    assert_eq!(changes[0], changes[1]);
    let change: Value = serde_json::from_str(&changes[0]).unwrap();
    assert_eq!((&change["action"], &change["node"]["key"]), (&"expire".into(), &"/d".into()));
    assert_eq!((&change["node"]["modifiedIndex"], &change["prevNode"]["dir"]), (&5.into(), &true.into()));
    fails(&keys.get("/d/a"), 404, 100, "/d", 5);
}

#[test]
fn a_ttl_of_nothing_ends_at_once_and_none_or_one_beyond_counting_never() {
    let (_server, keys) = start();
    let zero = keys.put("/zero", "value=1&ttl=0").expect(201).value();
    assert!(zero["node"]["expiration"].is_string() && zero["node"].get("ttl").is_none(), "{zero}");
    keys.until_gone("/zero");
    for ttl in ["", "9223372036", "9999999999"] {
        let put = keys.put("/never", &format!("value=1&ttl={ttl}")).value();
        assert!(put["node"].get("expiration").is_none(), "{put}");
    }
    keys.put("/dropped", "value=1&ttl=60").expect(201);
    let dropped = keys.put("/dropped?prevExist=true", "value=2").expect(200).value();
    assert_eq!((&dropped["prevNode"]["ttl"], dropped["node"].get("ttl")), (&60.into(), None));
}
