//! The one binary encoding: a version byte, then borsh. Used by log, store and snapshots.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use thiserror::Error;

/// Bytes that do not say what they should.
#[derive(Debug, Error)]
pub enum CodecError {
    #[error("a {what} without content")]
    Empty { what: &'static str },
    #[error("a {what} of format {found}; this version reads format {known}")]
    Version { what: &'static str, found: u8, known: u8 },
    #[error("a {what} that cannot be read: {source}")]
    Malformed { what: &'static str, source: std::io::Error },
}

/// The bytes of a value under a format version.
#[must_use]
pub fn encode<T: BorshSerialize>(version: u8, value: &T) -> Bytes {
    let mut bytes = Vec::new();
    encode_versioned(&mut bytes, version, value);
    bytes.into()
}

/// Appends what [`encode`] gives.
pub fn encode_versioned<T: BorshSerialize>(bytes: &mut Vec<u8>, version: u8, value: &T) {
    bytes.push(version);
    encode_into(bytes, value);
}

/// Appends the bytes of a value, without a version.
#[expect(clippy::missing_panics_doc, reason = "writing to memory fails only when memory does")]
pub fn encode_into<T: BorshSerialize>(bytes: &mut Vec<u8>, value: &T) {
    #[expect(clippy::expect_used, reason = "a Vec takes every write")]
    borsh::to_writer(bytes, value).expect("a Vec takes every write");
}

/// Reads a value back; `what` names it in errors.
///
/// # Errors
/// When the bytes are of another version, cut short, or followed by more.
pub fn decode<T: BorshDeserialize>(what: &'static str, version: u8, bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        None => Err(CodecError::Empty { what }),
        Some((found, rest)) if *found == version => {
            borsh::from_slice(rest).map_err(|source| CodecError::Malformed { what, source })
        }
        Some((found, _)) => Err(CodecError::Version { what, found: *found, known: version }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_back_and_anything_else_is_refused() {
        let bytes = encode(3, &(7u64, "seven".to_owned()));
        assert_eq!(decode::<(u64, String)>("pair", 3, &bytes).unwrap(), (7, "seven".to_owned()));
        assert!(matches!(decode::<(u64, String)>("pair", 4, &bytes), Err(CodecError::Version { found: 3, .. })));
        assert!(matches!(decode::<(u64, String)>("pair", 3, &[]), Err(CodecError::Empty { .. })));
        for cut in 1..bytes.len() {
            assert!(decode::<(u64, String)>("pair", 3, &bytes[..cut]).is_err());
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(decode::<(u64, String)>("pair", 3, &longer).is_err());
    }
}
