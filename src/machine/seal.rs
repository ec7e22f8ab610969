//! The seal of a snapshot in a file: what etcd's clients look for at the end of what they save.
//!
//! Behind the last frame stand zeros up to a whole number of 512 bytes, and then a SHA-256 of all that is before it. etcd's
//! own files end so, and `etcdctl` tells by the length alone (32 bytes more than whole blocks) whether it got all of one. A
//! snapshot says by itself whether it is whole, so that a file may go without a seal; one that has it is held to it.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The bytes of a block of bbolt's, as `etcdctl` reckons.
const BLOCK_BYTES: u64 = 512;
/// The bytes of a seal without the zeros before it.
pub const SEAL_BYTES: usize = 32;

/// The zeros behind a snapshot of so many bytes.
#[must_use]
pub fn padding(bytes: u64) -> usize {
    usize::try_from(bytes.next_multiple_of(BLOCK_BYTES) - bytes).unwrap_or_default()
}

/// The chunks of a snapshot, then its padding where it has one, then the digest in a chunk of its own.
pub fn sealed<E>(chunks: impl Iterator<Item = Result<Bytes, E>>) -> impl Iterator<Item = Result<Bytes, E>> {
    Sealing { chunks, hasher: Sha256::new(), bytes: 0, next: Next::Chunk }
}

struct Sealing<I> {
    chunks: I,
    hasher: Sha256,
    bytes: u64,
    next: Next,
}

enum Next {
    Chunk,
    Digest,
    Nothing,
}

impl<E, I: Iterator<Item = Result<Bytes, E>>> Iterator for Sealing<I> {
    type Item = Result<Bytes, E>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = match self.next {
            Next::Nothing => return None,
            Next::Digest => None,
            Next::Chunk => match self.chunks.next() {
                Some(Err(error)) => {
                    self.next = Next::Nothing;
                    return Some(Err(error));
                }
                Some(Ok(chunk)) => Some(chunk),
                None => {
                    self.next = Next::Digest;
                    let zeros = padding(self.bytes);
                    (zeros > 0).then(|| vec![0; zeros].into())
                }
            },
        };
        let Some(chunk) = chunk else {
            self.next = Next::Nothing;
            return Some(Ok(Bytes::copy_from_slice(&self.hasher.finalize_reset())));
        };
        self.bytes += chunk.len() as u64;
        self.hasher.update(&chunk);
        Some(Ok(chunk))
    }
}

/// Why what follows a snapshot is no seal of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Truncated,
    Damaged(&'static str),
}

/// Reads a snapshot and what follows it, and compares.
#[derive(Debug, Default)]
pub(super) struct SealCheck {
    hasher: Sha256,
    bytes: u64,
    /// What follows the snapshot.
    seal: Vec<u8>,
}

impl SealCheck {
    /// Takes the next bytes of the snapshot.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    /// Takes the next bytes of what follows it.
    pub(super) fn read_seal(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if self.seal.len() + bytes.len() > padding(self.bytes) + SEAL_BYTES {
            return Err(Broken::Damaged("something follows the end"));
        }
        self.seal.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the file, with a seal or without.
    pub(super) fn finish(mut self) -> Result<(), Broken> {
        let Some((zeros, digest)) = self.seal.split_at_checked(padding(self.bytes)) else {
            return if self.seal.is_empty() { Ok(()) } else { Err(Broken::Truncated) };
        };
        if self.seal.is_empty() {
            return Ok(());
        }
        if digest.len() < SEAL_BYTES {
            return Err(Broken::Truncated);
        }
        self.hasher.update(zeros);
        let is_sealed = zeros.iter().all(|byte| *byte == 0) && self.hasher.finalize_reset().as_slice() == digest;
        if is_sealed { Ok(()) } else { Err(Broken::Damaged("the SHA-256 at the end does not match")) }
    }
}
