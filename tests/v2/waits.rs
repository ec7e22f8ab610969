//! Waiting for changes: now, from an index on, once and as a stream.

use super::*;

/// The action, node and index of a change.
fn brief(change: &str) -> String {
    let change: Value = serde_json::from_str(change).unwrap();
    let node = &change["node"];
    format!("{} {} {}", change["action"].as_str().unwrap(), node["key"].as_str().unwrap(), node["modifiedIndex"])
}

fn briefs(changes: &[String]) -> Vec<String> {
    changes.iter().map(|change| brief(change)).collect()
}

#[test]
fn a_wait_is_answered_with_the_next_change_and_ends() {
    let (_server, keys) = start();
    keys.put("/w/a", "value=0").expect(201);
    let mut waits =
        ["/w/a?wait=true", "/w?wait=true&recursive=true", "/?wait=true&recursive=true"].map(|path| keys.wait(path));
    assert!(waits[0].head().unwrap().contains("X-Etcd-Index: 2"));
    keys.put("/other?prevValue=x", "value=1").expect(404);
    keys.put("/w/a", "value=1").expect(200);
    let expected = concat!(
        r#"{"action":"set","node":{"key":"/w/a","value":"1","modifiedIndex":3,"createdIndex":3},"#,
        r#""prevNode":{"key":"/w/a","value":"0","modifiedIndex":2,"createdIndex":2}}"#
    );
    for wait in &mut waits {
        assert_eq!(wait.change(), expected);
    }
}

#[test]
fn a_wait_from_an_index_on_finds_the_first_change_in_history() {
    let (_server, keys) = start();
    for value in 0..3 {
        keys.put("/w/a", &format!("value={value}"));
    }
    keys.put("/w/_h", "value=1").expect(201);
    for (index, found) in [(1, "set /w/a 2"), (2, "set /w/a 2"), (3, "set /w/a 3"), (4, "set /w/a 4")] {
        let mut wait = keys.wait(&format!("/w/a?wait=true&waitIndex={index}"));
        assert!(wait.head().unwrap().contains("X-Etcd-Index: 5"));
        assert_eq!(brief(&wait.change()), found);
    }
    // History hides nothing, as in etcd.
    assert_eq!(brief(&keys.wait("/w?wait=true&recursive=true&waitIndex=5").change()), "set /w/_h 5");
    // Later ones are waited for, and those before them passed over.
    let mut later = keys.wait("/w/a?wait=true&waitIndex=7");
    keys.put("/w/a", "value=6").expect(200);
    keys.put("/w/a", "value=7").expect(200);
    assert_eq!(brief(&later.change()), "set /w/a 7");
    // A directory that is watched alone is not told of what is in it, from history neither.
    let mut directory = keys.wait("/w?wait=true&waitIndex=2");
    keys.delete("/w?recursive=true").expect(200);
    assert_eq!(brief(&directory.change()), "delete /w 8");
}

#[test]
fn a_stream_goes_on_and_one_that_begins_in_history_has_one_change() {
    let (_server, keys) = start();
    let mut stream = keys.wait("/s?wait=true&stream=true&recursive=true");
    keys.put("/s/a", "value=1").expect(201);
    keys.put("/s/_b/c", "value=1").expect(201);
    keys.put("/s/a?dir=true", "").expect(200);
    keys.post("/s/a", "value=1").expect(201);
    keys.delete("/s?recursive=true").expect(200);
    let expected = ["set /s/a 2", "set /s/a 4", "create /s/a/00000000000000000005 5", "delete /s 6", "delete /s 6"];
    // Of its own end, a stream is told twice, as in etcd.
    assert_eq!(briefs(&stream.changes(5)), expected);
    let mut past = keys.wait("/s?wait=true&stream=true&recursive=true&waitIndex=2");
    assert_eq!(briefs(&past.changes(1)), ["set /s/a 2"]);
    let mut present = keys.wait("/s?wait=true&stream=true&recursive=true");
    keys.put("/s/z", "value=1").expect(201);
    assert_eq!(briefs(&present.changes(1)), ["set /s/z 7"]);
    assert_eq!(past.lines().len(), 1);
}

#[test]
fn a_directory_that_goes_wakes_those_below_with_its_own_change() {
    let (_server, keys) = start();
    keys.put("/d/x/y", "value=1").expect(201);
    let mut waits = ["/d/x/y?wait=true", "/d/x?wait=true", "/d?wait=true"].map(|path| keys.wait(path));
    let mut absent = keys.wait("/d/z?wait=true");
    let deleted = keys.delete("/d?recursive=true").expect(200).text();
    for wait in &mut waits {
        assert_eq!(wait.change(), deleted.trim_end());
    }
    // Nothing was there that could have gone; what looks back is told all the same.
    assert_eq!(keys.wait("/d/z?wait=true&waitIndex=3").change(), deleted.trim_end());
    keys.put("/d/z", "value=1").expect(201);
    assert_eq!(brief(&absent.change()), "set /d/z 4");
}

#[test]
fn hidden_nodes_are_told_of_at_and_below_what_hides_them() {
    let (_server, keys) = start();
    let mut above = keys.wait("/h?wait=true&recursive=true");
    let mut at = keys.wait("/h/_x?wait=true&recursive=true");
    let mut itself = keys.wait("/h/_x/a?wait=true");
    keys.put("/h/_x/a", "value=1").expect(201);
    keys.put("/h/v", "value=1").expect(201);
    assert_eq!(brief(&at.change()), "set /h/_x/a 2");
    assert_eq!(brief(&itself.change()), "set /h/_x/a 2");
    assert_eq!(brief(&above.change()), "set /h/v 3");
}

#[test]
fn a_refresh_and_directories_on_the_way_wake_nobody() {
    let (_server, keys) = start();
    keys.put("/r", "value=keep&ttl=100").expect(201);
    let mut refreshed = keys.wait("/r?wait=true");
    let mut on_the_way = keys.wait("/p?wait=true");
    let answer = keys.put("/r", "refresh=true&ttl=200").expect(200).value();
    assert_eq!((&answer["node"]["value"], &answer["node"]["ttl"]), (&"keep".into(), &200.into()));
    keys.put("/p/q/r", "value=1").expect(201);
    keys.put("/r", "value=new").expect(200);
    assert_eq!(brief(&refreshed.change()), "set /r 5");
    keys.delete("/p?recursive=true").expect(200);
    assert_eq!(brief(&on_the_way.change()), "delete /p 6");
    assert_eq!(brief(&keys.wait("/r?wait=true&waitIndex=3").change()), "set /r 5");
}

#[test]
fn a_stream_that_is_not_read_for_long_misses_nothing() {
    const CHANGES: usize = 1500;
    let (_server, keys) = start();
    let mut stream = keys.wait("/slow?wait=true&stream=true&recursive=true");
    // Several times what the server keeps waiting for one reader, and what a connection takes.
    let value = "x".repeat(20 * 1024);
    for number in 0..CHANGES {
        keys.put(&format!("/slow/{number}"), &format!("value={value}")).expect(201);
    }
    let mut piece = vec![0; 1024 * 1024];
    let last = format!("\"/slow/{}\"", CHANGES - 1);
    // Only the end of what was read is looked at: there is a lot of it.
    let is_whole = |read: &[u8]| {
        let end = String::from_utf8_lossy(&read[read.len().saturating_sub(2 * value.len())..]).into_owned();
        end.contains(&last) && end.ends_with("}}\n\r\n")
    };
    while !is_whole(&stream.read) {
        let length = stream.stream.read(&mut piece).unwrap();
        assert!(length > 0, "the stream ended");
        stream.read.extend_from_slice(&piece[..length]);
    }
    assert_eq!(stream.lines().len(), CHANGES);
    for (number, change) in stream.lines().iter().enumerate() {
        let change: Value = serde_json::from_str(change).unwrap();
        assert_eq!(change["node"]["key"], format!("/slow/{number}"));
    }
}

#[test]
fn only_compaction_ends_what_can_be_looked_back_at() {
    let (_server, keys) = start();
    // More than the 1000 changes that etcd keeps.
    for value in 0..1100 {
        keys.put("/many", &format!("value={value}"));
    }
    keys.put("/one", "value=1").expect(201);
    assert_eq!(brief(&keys.wait("/many?wait=true&waitIndex=2").change()), "set /many 2");
    keys.0
        .send("POST", "/v1/maintenance:compact", &[("Content-Type", "application/json")], br#"{"revision":1000}"#)
        .expect(200);
    assert_eq!(brief(&keys.wait("/many?wait=true&waitIndex=1000").change()), "set /many 1000");
    let cleared = keys.get("/many?wait=true&waitIndex=999");
    fails(&cleared, 400, 401, "the requested history has been cleared [1000/999]", 1102);
}

#[test]
fn a_long_history_is_looked_through_to_its_end_and_gone_on_from() {
    // Together more than is looked at in one turn.
    const WRITES: u64 = 150;
    const KEYS: u64 = 128;
    let (_server, keys) = start();
    let puts = (0..KEYS).map(|key| format!(r#"{{"put":{{"key":"/many/{key}","value":"x"}}}}"#)).collect::<Vec<_>>();
    let write = format!(r#"{{"then":[{}]}}"#, puts.join(","));
    for _ in 0..WRITES {
        keys.0.send("POST", "/v1/txn", &[("Content-Type", "application/json")], write.as_bytes()).expect(200);
    }
    let after = WRITES + 1;
    keys.put("/late", "value=1").expect(201);
    for index in [1, 2, after, after + 1] {
        let change = keys.wait(&format!("/late?wait=true&waitIndex={index}")).change();
        assert_eq!(brief(&change), format!("set /late {}", after + 1));
    }
    let mut quiet = keys.wait("/quiet?wait=true&stream=true&waitIndex=2");
    keys.put("/quiet", "value=1").expect(201);
    keys.put("/quiet", "value=2").expect(200);
    let expected = [after + 2, after + 3].map(|index| format!("set /quiet {index}"));
    assert_eq!(briefs(&quiet.changes(2)), expected);
}
