//! How much the answer to a command shows of what is stored, as far as that can be told beforehand.

use super::answers::LARGE_BYTES;
use crate::model::{Command, Delete, DeleteTarget, Op, Txn};
use crate::node::StoreView;

/// Whether the answer to a command is likely to be large by what is stored already.
pub(super) fn shows_much(command: &Command, view: &StoreView) -> bool {
    shown_bytes(command, view) >= LARGE_BYTES
}

fn shown_bytes(command: &Command, view: &StoreView) -> usize {
    let value = |key: &[u8]| match view.get(key, None) {
        Ok(Some(record)) => record.value.len(),
        // What cannot be read is for the command to say.
        Ok(None) | Err(_) => 0,
    };
    match command {
        Command::Put { put, .. } if put.previous => value(put.key.as_bytes()),
        Command::Patch { patch, .. } => value(patch.key.as_bytes()),
        Command::Delete { delete, .. } => deleted_bytes(delete, value),
        Command::Txn(txn) => txn_bytes(txn, &value),
        Command::Node(write) => write.path.file().map_or(0, |file| value(file.as_bytes())),
        _ => 0,
    }
}

/// Of a range it is not known how much it holds.
fn deleted_bytes(delete: &Delete, value: impl Fn(&[u8]) -> usize) -> usize {
    match &delete.target {
        _ if !delete.previous => 0,
        DeleteTarget::Key(key) => value(key.as_bytes()),
        DeleteTarget::Range(range) => range.as_single().map_or(usize::MAX, |key| value(key)),
        DeleteTarget::Directory { .. } => usize::MAX,
    }
}

fn txn_bytes(txn: &Txn, value: &impl Fn(&[u8]) -> usize) -> usize {
    let shown = |op: &Op| match op {
        Op::Put(put) if put.previous => value(put.key.as_bytes()),
        Op::Put(_) => 0,
        Op::Delete(delete) => deleted_bytes(delete, value),
        Op::Get(query) if query.count_only || query.keys_only => 0,
        Op::Get(query) => query.range.as_single().map_or(usize::MAX, |key| value(key)),
        Op::Txn(txn) => txn_bytes(txn, value),
    };
    txn.then.iter().chain(&txn.otherwise).map(shown).fold(0, usize::saturating_add)
}
