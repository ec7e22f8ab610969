//! A disk in memory that loses, refuses and damages on demand. For tests and simulations; never used by a member.
//!
//! It keeps two images: the live one, which programs read, and the durable one, which a loss of power leaves. Between
//! two syncs they differ in sectors, sizes and names, and a crash may keep any subset of those.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::SECTOR_BYTES;
use super::disk::{Directory, File};

type Sector = [u8; SECTOR_BYTES];

/// Something that a disk does, and may fail at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Of content. One that fails has written the first half of its sectors.
    Write,
    /// Of a file. One that fails makes nothing durable, and no later one makes up for it.
    Sync,
    Allocate,
    Create,
    Rename,
    Remove,
    /// Of names.
    SyncDirectory,
}

/// A change that a crash may or may not undo.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsynced {
    Name(String),
    Size { file: u64 },
    Sector { file: u64, sector: u64 },
}

#[derive(Debug, Clone, Default)]
struct Image {
    /// All others are zeros.
    sectors: BTreeMap<u64, Sector>,
    size: u64,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    live: Image,
    durable: Image,
    dirty: BTreeSet<u64>,
}

#[derive(Debug, Clone, Default)]
struct Disk {
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    files: BTreeMap<u64, Inode>,
    next_file: u64,
    capacity: Option<u64>,
    /// The faults to come: the operation, how many of its kind still succeed, and the error.
    faults: Vec<(Operation, usize, ErrorKind)>,
    /// How many more changing operations happen before the power fails.
    power: Option<usize>,
    operations: usize,
}

/// A handle on a disk in memory. Clones are handles on the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDirectory(Arc<Mutex<Disk>>);

/// An open file of a [`MemoryDirectory`].
#[derive(Debug)]
pub struct MemoryFile {
    disk: Arc<Mutex<Disk>>,
    file: u64,
}

impl MemoryDirectory {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another disk with the same content, faults and unsynced changes.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().clone())))
    }

    /// The changes that a crash may undo, in a fixed order.
    pub fn unsynced(&self) -> Vec<Unsynced> {
        self.0.lock().unsynced()
    }

    /// Loses power: of the unsynced changes only those that `keep` picks survive. Faults are over. Handles of before
    /// must not be used afterwards.
    pub fn crash(&self, keep: impl FnMut(&Unsynced) -> bool) {
        self.0.lock().crash(keep);
    }

    /// Fails one `operation`, after so many more of its kind have succeeded.
    pub fn fail(&self, operation: Operation, after: usize, error: ErrorKind) {
        self.0.lock().faults.push((operation, after, error));
    }

    /// Fails every changing operation after so many more. Nothing of those that fail happens.
    pub fn stop_after(&self, operations: usize) {
        self.0.lock().power = Some(operations);
    }

    /// Ends all faults that were asked for; what they have done stays.
    pub fn heal(&self) {
        let mut disk = self.0.lock();
        disk.faults.clear();
        disk.power = None;
    }

    /// How many changing operations there were.
    pub fn operations(&self) -> usize {
        self.0.lock().operations
    }

    /// Bounds the bytes of all files together; `None` for no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// The bytes of all files together.
    pub fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// The content of a file as programs read it.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.0.lock();
        let inode = disk.files.get(disk.live.get(name)?)?;
        let mut bytes = vec![0; usize::try_from(inode.live.size).ok()?];
        inode.live.read(0, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Changes the bits of `mask` in one byte, behind everybody's back and durably.
    pub fn flip(&self, name: &str, offset: u64, mask: u8) {
        let mut disk = self.0.lock();
        let Some(file) = disk.live.get(name).copied() else { return };
        let Some(inode) = disk.files.get_mut(&file) else { return };
        for image in [&mut inode.live, &mut inode.durable] {
            let mut byte = [0];
            if image.read(offset, &mut byte).is_ok() {
                image.write(offset, &byte.map(|byte| byte ^ mask));
            }
        }
    }
}

impl Image {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.size {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        for (sector, within, piece) in pieces_mut(offset, bytes) {
            match self.sectors.get(&sector).and_then(|content| content.get(within..within + piece.len())) {
                Some(content) => piece.copy_from_slice(content),
                None => piece.fill(0),
            }
        }
        Ok(())
    }

    /// Returns the sectors that it changed.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Vec<u64> {
        let mut touched = Vec::new();
        self.size = self.size.max(offset + bytes.len() as u64);
        let mut bytes = bytes.to_vec();
        for (sector, within, piece) in pieces_mut(offset, &mut bytes) {
            touched.push(sector);
            let content = self.sectors.entry(sector).or_insert([0; SECTOR_BYTES]);
            if let Some(to) = content.get_mut(within..within + piece.len()) {
                to.copy_from_slice(piece);
            }
        }
        touched
    }

    fn copy_sector(&mut self, from: &Self, sector: u64) {
        match from.sectors.get(&sector) {
            Some(content) => self.sectors.insert(sector, *content),
            None => self.sectors.remove(&sector),
        };
    }
}

/// Cuts bytes that stand at `offset` at the bounds of sectors: each piece with its sector and its place within.
fn pieces_mut(offset: u64, bytes: &mut [u8]) -> impl Iterator<Item = (u64, usize, &mut [u8])> {
    let sector_bytes = SECTOR_BYTES as u64;
    let mut rest = bytes;
    let mut at = offset;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let within = usize::try_from(at % sector_bytes).unwrap_or_default();
        let length = rest.len().min(SECTOR_BYTES - within);
        let (piece, behind) = std::mem::take(&mut rest).split_at_mut(length);
        rest = behind;
        let sector = at / sector_bytes;
        at += length as u64;
        Some((sector, within, piece))
    })
}

impl Disk {
    /// Counts an operation and decides whether it fails.
    fn begin(&mut self, operation: Operation) -> io::Result<()> {
        match &mut self.power {
            Some(0) => return Err(io::Error::other("the power has failed")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.operations += 1;
        let mut failure = None;
        self.faults.retain_mut(|(kind, after, error)| {
            if *kind != operation || failure.is_some() {
                return true;
            }
            if *after == 0 {
                failure = Some(*error);
                return false;
            }
            *after -= 1;
            true
        });
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    fn used(&self) -> u64 {
        self.files.values().map(|inode| inode.live.size).sum()
    }

    /// Whether a file may grow to `size`.
    fn check_space(&self, file: u64, size: u64) -> io::Result<()> {
        let present = self.files.get(&file).map_or(0, |inode| inode.live.size);
        let growth = size.saturating_sub(present);
        match self.capacity {
            Some(capacity) if growth > 0 && self.used() + growth > capacity => Err(ErrorKind::StorageFull.into()),
            Some(_) | None => Ok(()),
        }
    }

    fn inode(&mut self, file: u64) -> io::Result<&mut Inode> {
        self.files.get_mut(&file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn unsynced(&self) -> Vec<Unsynced> {
        let names: BTreeSet<_> = self.live.keys().chain(self.durable.keys()).collect();
        let names = names.into_iter().filter(|name| self.live.get(*name) != self.durable.get(*name));
        let mut all: Vec<_> = names.cloned().map(Unsynced::Name).collect();
        for (&file, inode) in &self.files {
            if inode.live.size != inode.durable.size {
                all.push(Unsynced::Size { file });
            }
            all.extend(inode.dirty.iter().map(|&sector| Unsynced::Sector { file, sector }));
        }
        all
    }

    fn crash(&mut self, mut keep: impl FnMut(&Unsynced) -> bool) {
        for change in self.unsynced() {
            if keep(&change) {
                self.make_durable(&change);
            }
        }
        self.live.clone_from(&self.durable);
        for inode in self.files.values_mut() {
            let size = inode.durable.size;
            inode.durable.sectors.retain(|sector, _| *sector * (SECTOR_BYTES as u64) < size);
            inode.live = inode.durable.clone();
            inode.dirty.clear();
        }
        self.faults.clear();
        self.power = None;
        self.forget_nameless();
    }

    fn make_durable(&mut self, change: &Unsynced) {
        match change {
            Unsynced::Name(name) => match self.live.get(name) {
                Some(file) => {
                    self.durable.insert(name.clone(), *file);
                }
                None => {
                    self.durable.remove(name);
                }
            },
            Unsynced::Size { file } => {
                if let Some(Inode { live, durable, .. }) = self.files.get_mut(file) {
                    durable.size = live.size;
                }
            }
            Unsynced::Sector { file, sector } => {
                if let Some(Inode { live, durable, .. }) = self.files.get_mut(file) {
                    durable.copy_sector(live, *sector);
                }
            }
        }
    }

    /// Frees files that no name leads to.
    fn forget_nameless(&mut self) {
        let named: BTreeSet<u64> = self.live.values().chain(self.durable.values()).copied().collect();
        self.files.retain(|file, _| named.contains(file));
    }
}

impl Directory for MemoryDirectory {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().live.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut disk = self.0.lock();
        disk.begin(Operation::Create)?;
        if disk.live.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = disk.next_file;
        disk.next_file += 1;
        disk.files.insert(file, Inode::default());
        disk.live.insert(name.to_owned(), file);
        Ok(MemoryFile { disk: Arc::clone(&self.0), file })
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let file = self.0.lock().live.get(name).copied().ok_or(ErrorKind::NotFound)?;
        Ok(MemoryFile { disk: Arc::clone(&self.0), file })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.begin(Operation::Rename)?;
        let file = disk.live.remove(from).ok_or(ErrorKind::NotFound)?;
        disk.live.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.begin(Operation::Remove)?;
        disk.live.remove(name).map(|_| ()).ok_or(ErrorKind::NotFound)?;
        disk.forget_nameless();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.begin(Operation::SyncDirectory)?;
        let Disk { live, durable, .. } = &mut *disk;
        durable.clone_from(live);
        disk.forget_nameless();
        Ok(())
    }
}

impl File for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().inode(self.file)?.live.size)
    }

    fn allocate(&mut self, size: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.begin(Operation::Allocate)?;
        disk.check_space(self.file, size)?;
        let live = &mut disk.inode(self.file)?.live;
        live.size = live.size.max(size);
        Ok(())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.lock().inode(self.file)?.live.read(offset, bytes)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if disk.power == Some(0) {
            return disk.begin(Operation::Write);
        }
        let fault = disk.begin(Operation::Write);
        disk.check_space(self.file, offset + bytes.len() as u64)?;
        let inode = disk.inode(self.file)?;
        let (half, _) = bytes.split_at(bytes.len() / SECTOR_BYTES / 2 * SECTOR_BYTES);
        let written = if fault.is_ok() { bytes } else { half };
        let touched = inode.live.write(offset, written);
        inode.dirty.extend(touched);
        fault
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if disk.power == Some(0) {
            return disk.begin(Operation::Sync);
        }
        let fault = disk.begin(Operation::Sync);
        let Inode { live, durable, dirty } = disk.inode(self.file)?;
        let dirty = std::mem::take(dirty);
        if fault.is_ok() {
            for sector in dirty {
                durable.copy_sector(live, sector);
            }
            durable.size = live.size;
        }
        fault
    }
}
