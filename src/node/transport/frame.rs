//! Frames: the length, the checksum and the bytes of one piece, one after the other on a stream.
//!
//! Knows nothing of what the pieces say. Memory for a frame grows with what has arrived of it, never with what its
//! header claims.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::ConnectionError;

/// What is read of a frame before there is more room made for it than it has filled.
const STEP_BYTES: usize = 64 * 1024;

/// Appends the frame of a payload that consists of these parts: its length and its CRC-32C, both little-endian, and
/// the payload.
///
/// # Errors
/// When the payload is longer than `most`.
pub(super) fn append(bytes: &mut Vec<u8>, parts: &[&[u8]], most: usize) -> Result<(), ConnectionError> {
    let length = parts.iter().map(|part| part.len()).sum();
    let claim = u32::try_from(length).ok().filter(|_| length <= most);
    let claim = claim.ok_or(ConnectionError::TooLong { bytes: length, most })?;
    let checksum = parts.iter().fold(0, |checksum, part| crc32c::crc32c_append(checksum, part));
    bytes.extend_from_slice(&claim.to_le_bytes());
    bytes.extend_from_slice(&checksum.to_le_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    Ok(())
}

/// Reads the payload of the next frame; `None` where the stream ends before one begins. Its bytes share their memory
/// with nothing else.
///
/// # Errors
/// When the stream fails or ends within the frame, or the frame is damaged or longer than `most`.
pub(super) async fn read<R: AsyncRead + Unpin>(reader: &mut R, most: usize) -> Result<Option<Bytes>, ConnectionError> {
    let mut first = [0; 1];
    if reader.read(&mut first).await? == 0 {
        return Ok(None);
    }
    let mut rest = [0; 7];
    reader.read_exact(&mut rest).await?;
    let ([a], [b, c, d, checksum @ ..]) = (first, rest);
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > most {
        return Err(ConnectionError::TooLong { bytes: length, most });
    }
    let payload = read_payload(reader, length).await?;
    if crc32c::crc32c(&payload) != u32::from_le_bytes(checksum) {
        return Err(ConnectionError::Damaged);
    }
    Ok(Some(payload.into()))
}

async fn read_payload<R: AsyncRead + Unpin>(reader: &mut R, length: usize) -> io::Result<Vec<u8>> {
    let mut payload = Vec::new();
    while payload.len() < length {
        let step = (length - payload.len()).min(payload.len().max(STEP_BYTES));
        // Exactly: entries stay in memory with the payload that they came in.
        payload.reserve_exact(step);
        let mut room = (&mut payload).limit(step);
        while room.has_remaining_mut() {
            if reader.read_buf(&mut room).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
    Ok(payload)
}

/// Writes all of it.
///
/// # Errors
/// When the stream fails, or takes nothing for the time of `stall`.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut bytes: &[u8],
    stall: Duration,
) -> Result<(), ConnectionError> {
    while bytes.has_remaining() {
        match timeout(stall, writer.write_buf(&mut bytes)).await {
            Ok(Ok(0)) => return Err(ConnectionError::Closed),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(ConnectionError::Stalled { after: stall }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::runtime;

    use super::*;

    fn read_all(mut bytes: &[u8], most: usize) -> Result<Vec<Bytes>, ConnectionError> {
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut payloads = Vec::new();
            while let Some(payload) = read(&mut bytes, most).await? {
                payloads.push(payload);
            }
            Ok(payloads)
        })
    }

    proptest! {
        #[test]
        fn frames_read_back_as_they_were_written(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                let (front, back) = payload.split_at(cut.index(payload.len() + 1));
                append(&mut bytes, &[front, back], 300).unwrap();
            }
            prop_assert_eq!(read_all(&bytes, 300).unwrap(), payloads);
        }

        #[test]
        fn arbitrary_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_all(&bytes, 300);
        }

        #[test]
        fn a_flipped_bit_or_a_cut_is_noticed(
            payload in prop::collection::vec(any::<u8>(), 1..300),
            place in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let mut bytes = Vec::new();
            append(&mut bytes, &[&payload], 300).unwrap();
            let place = place.index(bytes.len());
            let cut = bytes[..place].to_vec();
            prop_assert!(place == 0 || read_all(&cut, 300).is_err());
            bytes[place] ^= 1 << bit;
            prop_assert!(read_all(&bytes, 300).is_err());
        }
    }

    #[test]
    fn a_long_frame_takes_no_more_memory_than_its_bytes() {
        let payload = vec![7; 3 * STEP_BYTES + 5];
        let mut bytes = Vec::new();
        append(&mut bytes, &[&payload], payload.len()).unwrap();
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(read_payload(&mut bytes.get(8..).unwrap(), payload.len())).unwrap();
        assert_eq!(read, payload);
        assert_eq!(read.capacity(), payload.len());
    }

    #[test]
    fn a_frame_that_is_too_long_is_neither_written_nor_read() {
        let mut bytes = Vec::new();
        assert!(matches!(append(&mut bytes, &[b"long"], 3), Err(ConnectionError::TooLong { bytes: 4, most: 3 })));
        assert!(bytes.is_empty());
        append(&mut bytes, &[b"long"], 4).unwrap();
        assert!(matches!(read_all(&bytes, 3), Err(ConnectionError::TooLong { bytes: 4, most: 3 })));
    }
}
