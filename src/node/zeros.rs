//! The thread that writes the zeros of the log's next segment, ahead and slowly.
//!
//! Space that was only reserved has to be marked as written when it is first written to, which makes every sync of
//! the log wait for one more write. The segment belongs to this thread for as long as it works on it: it is handed over
//! and handed back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::wal::{File, write_zeros};

/// Written and synced at once: little, so that a batch of the log never waits for long behind it.
const PIECE_BYTES: u64 = 256 * 1024;
/// Between two pieces. A segment is done in under a second, and takes more than that to fill.
const PAUSE: Duration = Duration::from_millis(8);

/// What the disk thread has of it.
pub(super) struct Zeros<F> {
    to_write: Sender<F>,
    written: Receiver<(F, io::Result<()>)>,
    hurry: Arc<AtomicBool>,
}

/// What the thread has of it.
pub(super) struct Writer<F> {
    to_write: Receiver<F>,
    written: Sender<(F, io::Result<()>)>,
    hurry: Arc<AtomicBool>,
}

pub(super) fn pair<F: File>() -> (Zeros<F>, Writer<F>) {
    let (to_write, taken) = mpsc::channel();
    let (done, written) = mpsc::channel();
    let hurry = Arc::new(AtomicBool::new(false));
    (Zeros { to_write, written, hurry: Arc::clone(&hurry) }, Writer { to_write: taken, written: done, hurry })
}

impl<F: File> Zeros<F> {
    /// Hands a file over.
    ///
    /// # Errors
    /// Gives it back when the thread is gone.
    pub(super) fn begin(&self, file: F) -> Result<(), F> {
        self.hurry.store(false, Ordering::Relaxed);
        self.to_write.send(file).map_err(|mpsc::SendError(file)| file)
    }

    /// The file that was handed over, if it is done; with `now`, as soon as its present piece is. What was not reached
    /// reads as zeros too. `None` when there is none to be had.
    ///
    /// # Errors
    /// When writing or syncing failed: nobody knows what the file holds.
    pub(super) fn take(&self, now: bool) -> io::Result<Option<F>> {
        let taken = if now {
            self.hurry.store(true, Ordering::Relaxed);
            self.written.recv().ok()
        } else {
            self.written.try_recv().ok()
        };
        taken.map(|(file, result)| result.map(|()| file)).transpose()
    }
}

impl<F: File> Writer<F> {
    /// Runs until the disk thread is gone.
    pub(super) fn run(self) {
        while let Ok(mut file) = self.to_write.recv() {
            let result = self.write(&mut file);
            if self.written.send((file, result)).is_err() {
                return;
            }
        }
    }

    fn write(&self, file: &mut F) -> io::Result<()> {
        let size = file.size()?;
        let mut at = 0;
        while at < size && !self.hurry.load(Ordering::Relaxed) {
            let end = size.min(at + PIECE_BYTES);
            write_zeros(file, at, end)?;
            file.sync()?;
            at = end;
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::memory::MemoryDirectory;
    use crate::wal::{Directory, File};

    #[test]
    fn a_file_comes_back_written_whole_or_when_it_is_needed() {
        let directory = MemoryDirectory::new();
        let (zeros, writer) = pair();
        let thread = thread::spawn(move || writer.run());
        for (name, size, now) in [("whole", 2 * PIECE_BYTES + 512, false), ("in part", 1 << 30, true)] {
            let mut file = directory.create(name).unwrap();
            file.allocate(size.min(4 << 20)).unwrap();
            assert!(zeros.begin(file).is_ok());
            let back = loop {
                if let Some(file) = zeros.take(now).unwrap() {
                    break file;
                }
                thread::yield_now();
            };
            let mut read = vec![1; 1024];
            back.read_at(0, &mut read).unwrap();
            assert!(read.iter().all(|byte| *byte == 0), "{name}");
        }
        drop(zeros);
        thread.join().unwrap();
    }
}
