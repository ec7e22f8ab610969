//! What the log asks of a disk. Names are relative to one flat directory; nothing else is in it.
//!
//! Any change may be lost in a crash, alone and in any combination with others, until the `sync` that covers it has
//! returned. After a failed `sync` it may be lost for good although it still reads as written.

use std::io;

/// A directory of files.
pub trait Directory {
    type File: File;

    /// The names in it, in any order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file that was not there.
    ///
    /// # Errors
    /// When it exists, or the disk fails or is full.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file to read and write it.
    ///
    /// # Errors
    /// When it does not exist or the disk fails.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// When it does not exist or the disk fails.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// When it does not exist or the disk fails.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// When it cannot be known whether they are.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait File {
    /// The size in bytes.
    ///
    /// # Errors
    /// When the disk fails.
    fn size(&self) -> io::Result<u64>;

    /// Grows the file to `size` bytes. The new ones read as zeros, and writing to them needs no more space.
    ///
    /// # Errors
    /// When the disk is full (`StorageFull`) or fails.
    fn allocate(&mut self, size: u64) -> io::Result<()>;

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// When the file ends before that or the disk fails.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    /// When the disk is full or fails; any part may be written then.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes content and size durable.
    ///
    /// # Errors
    /// When it cannot be known whether they are.
    fn sync(&mut self) -> io::Result<()>;
}

/// Fills a file with zeros from `from` up to `to`. Not synced.
///
/// # Errors
/// When the disk is full or fails.
pub fn write_zeros(file: &mut impl File, from: u64, to: u64) -> io::Result<()> {
    const PIECE_BYTES: usize = 256 * 1024;
    let zeros = vec![0; PIECE_BYTES];
    for at in (from..to).step_by(PIECE_BYTES) {
        let length = usize::try_from(to - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        file.write_at(at, zeros.get(..length).unwrap_or_default())?;
    }
    Ok(())
}
