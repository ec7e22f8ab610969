//! Snapshots as etcd's clients save them: what comes in which pieces, and that it is a file to restore from.

use std::path::Path;

use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use tonic::{Code, Streaming};

use crate::support::{Server, vardr};
use crate::{LIMIT, V3, get, pb, start, told};

/// The digest at the end.
const SEAL_BYTES: usize = 32;

async fn begin(v3: &V3) -> Result<Streaming<pb::SnapshotResponse>, (Code, String)> {
    told(v3.maintenance().snapshot(pb::SnapshotRequest {}).await)
}

async fn save(v3: &V3) -> Vec<pb::SnapshotResponse> {
    let mut pieces = begin(v3).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = timeout(LIMIT, pieces.next()).await.expect("no piece comes") {
        all.push(piece.unwrap());
    }
    all
}

/// Makes a data directory out of a snapshot's file; the error is what is said.
pub(crate) fn restore(file: &Path, data_dir: &Path) -> Result<(), String> {
    let output = vardr(&["snapshot", "restore", file.to_str().unwrap(), "--data-dir", data_dir.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[tokio::test]
async fn a_snapshot_comes_in_pieces_that_say_what_is_to_come_and_ends_with_its_digest() {
    let (_server, v3) = start();
    for key in ["a", "b", "c"] {
        v3.put(key, &"v".repeat(700_000)).await;
    }
    let pieces = save(&v3).await;
    let (seal, file) = pieces.split_last().unwrap();
    let whole: Vec<u8> = file.iter().flat_map(|piece| piece.blob.to_vec()).collect();
    assert_eq!(seal.blob, Sha256::digest(&whole).as_slice());
    assert_eq!((seal.blob.len(), seal.remaining_bytes, whole.len() % 512), (SEAL_BYTES, 0, 0));
    assert!(whole.len() > 2_100_000, "all values are in it");
    let mut left = whole.len();
    for piece in file {
        assert!(!piece.blob.is_empty() && piece.blob.len() <= 64 * 1024);
        left -= piece.blob.len();
        assert_eq!(piece.remaining_bytes, left as u64);
    }
}

#[tokio::test]
async fn what_is_saved_is_restored_and_what_is_damaged_is_not() {
    let (_server, v3) = start();
    v3.put("a", "1").await;
    let revision = v3.put("b", "2").await;
    let bytes: Vec<u8> = save(&v3).await.iter().flat_map(|piece| piece.blob.to_vec()).collect();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (whole, damaged) = (at("whole.snapshot"), at("damaged.snapshot"));
    std::fs::write(&whole, &bytes).unwrap();
    assert!(vardr(&["snapshot", "verify", whole.to_str().unwrap()]).status.success());
    for flipped in [bytes.len() / 3, bytes.len() - SEAL_BYTES - 1, bytes.len() - 1] {
        let mut bytes = bytes.clone();
        bytes[flipped] ^= 1;
        std::fs::write(&damaged, &bytes).unwrap();
        let said = restore(&damaged, &at(&format!("data-{flipped}"))).unwrap_err();
        assert!(said.contains("damaged"), "{said}");
        assert!(!vardr(&["snapshot", "verify", damaged.to_str().unwrap()]).status.success());
    }
    restore(&whole, &at("data")).unwrap();
    let server = Server::try_start_in(&at("data"), &[]).unwrap();
    let found = V3::of(&server.url()).range(get("b")).await.unwrap();
    assert_eq!((found.kvs[0].value.as_ref(), found.kvs[0].mod_revision), (b"2".as_slice(), revision));
}

#[tokio::test]
async fn no_more_snapshots_are_read_at_once_than_allowed_and_one_that_is_given_up_makes_room() {
    let (_server, v3) = start();
    // More than what is on its way to a client that does not read.
    for number in 0..40 {
        v3.put(&format!("k{number}"), &"v".repeat(1_000_000)).await;
    }
    let mut held = [begin(&v3).await.unwrap(), begin(&v3).await.unwrap()];
    for pieces in &mut held {
        assert!(pieces.next().await.unwrap().is_ok());
    }
    let refused = begin(&v3).await.unwrap_err();
    assert_eq!(refused, (Code::ResourceExhausted, "etcdserver: too many requests".to_owned()));
    drop(held);
    let deadline = tokio::time::Instant::now() + LIMIT;
    while begin(&v3).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "no room is made");
    }
}

#[tokio::test]
async fn a_server_that_stops_ends_a_snapshot_with_a_word() {
    let (mut server, v3) = start();
    for number in 0..40 {
        v3.put(&format!("k{number}"), &"v".repeat(1_000_000)).await;
    }
    let mut pieces = begin(&v3).await.unwrap();
    assert!(pieces.next().await.unwrap().is_ok());
    let ended = tokio::task::spawn_blocking(move || server.terminate().success());
    let status = loop {
        match timeout(LIMIT, pieces.next()).await.expect("no piece comes").expect("it ends as if it were whole") {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: server stopped"));
    assert!(ended.await.unwrap());
}
