//! The disk of a running member: real files, with a lock that keeps a second process out. Decides nothing.

use std::fs::{self, File as StdFile, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::disk::{Directory, File, write_zeros};
use super::{Recovered, WalError, recovery};

/// Locked for as long as the directory is open; its content means nothing.
const LOCK: &str = "lock";

/// A directory of the file system, held by this process alone until it is dropped.
#[derive(Debug)]
pub struct FileDirectory {
    path: PathBuf,
    handle: StdFile,
    _lock: StdFile,
}

impl FileDirectory {
    /// Makes the directory if it is not there, and locks it.
    ///
    /// # Errors
    /// [`WalError::InUse`] when another process holds it; otherwise when the file system refuses.
    pub fn open(path: &Path) -> Result<Self, WalError> {
        let name = path.display().to_string();
        make_durably(path).map_err(|source| WalError::io("making", &name, source))?;
        let handle = StdFile::open(path).map_err(|source| WalError::io("opening", &name, source))?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(|source| WalError::io("opening the lock of", &name, source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), handle, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(WalError::InUse { directory: name }),
            Err(TryLockError::Error(source)) => Err(WalError::io("locking", &name, source)),
        }
    }
}

/// Reads the log in a directory and changes nothing there, not even what a crash has left of an unfinished batch. With
/// what it says comes the lock, where there is one: as long as it is held, nobody opens the log to write.
///
/// # Errors
/// [`WalError::Absent`], [`WalError::InUse`], [`WalError::Damaged`] as of [`Wal::open`](super::Wal::open), or when the
/// disk fails.
pub fn read(path: &Path) -> Result<(Recovered, Option<StdFile>), WalError> {
    let name = path.display().to_string();
    let lock = match StdFile::open(path.join(LOCK)) {
        Ok(lock) => Some(lock),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(WalError::io("opening the lock of", &name, source)),
    };
    match lock.as_ref().map(StdFile::try_lock_shared) {
        None | Some(Ok(())) => {}
        Some(Err(TryLockError::WouldBlock)) => return Err(WalError::InUse { directory: name }),
        Some(Err(TryLockError::Error(source))) => return Err(WalError::io("locking", &name, source)),
    }
    let names = match list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(WalError::Absent),
        names => names.map_err(|source| WalError::io("listing", &name, source))?,
    };
    Ok((recovery::read(&names, &|segment| StdFile::open(path.join(segment)))?, lock))
}

fn list(path: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Makes a directory whose own entry survives a crash, and those above it.
///
/// # Errors
/// When a directory cannot be made or synced.
pub fn make_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => StdFile::open(parent)?.sync_all(),
    }
}

impl Directory for FileDirectory {
    type File = StdFile;

    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.path)
    }

    fn create(&self, name: &str) -> io::Result<StdFile> {
        OpenOptions::new().create_new(true).read(true).write(true).open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<StdFile> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

impl File for StdFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn allocate(&mut self, size: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&*self, FallocateFlags::empty(), 0, size) {
            // Some file systems cannot reserve; on those the zeros have to be written.
            Err(Errno::OPNOTSUPP) => {
                let from = File::size(self)?;
                write_zeros(self, from, size)
            }
            result => Ok(result?),
        }
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
