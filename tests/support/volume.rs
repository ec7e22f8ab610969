//! A file system of a test's own, on a disk that is a file: small enough to fill, and to be cut off from.
//!
//! It takes root and a loop device. What cannot be run without one says so by [`not_run`].

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long what used a file system may take to be gone.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);
/// `FS_IOC_GOINGDOWN` with `FS_GOING_FLAGS_NOLOGFLUSH`, for each of its arguments: from then on nothing is written, and
/// what the journal has not on disk is lost. The language of the tests has no safe call for it.
const GO_DOWN: &str = "
import fcntl, os, struct, sys
files = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
for file in files:
    fcntl.ioctl(file, 0x8004587d, struct.pack('I', 2))
";
/// Written and not synced just before the power fails.
const UNSYNCED: &[u8] = b"nobody was promised this";

/// A mounted file system. It is unmounted when dropped; the image stays.
pub(crate) struct Volume {
    image: PathBuf,
    point: PathBuf,
}

impl Volume {
    /// Makes one of so many MiB in the file `image`, which takes no more room than what is written, and mounts it.
    ///
    /// # Errors
    /// What could not be done, and why.
    pub(crate) fn make(image: &Path, point: &Path, mebibytes: u64) -> Result<Self, String> {
        let made = File::create(image).and_then(|file| file.set_len(mebibytes << 20));
        made.and_then(|()| fs::create_dir_all(point)).map_err(|error| format!("{}: {error}", image.display()))?;
        // No part of the space is for root alone.
        run("mkfs.ext4", ["-q", "-m", "0"].map(OsStr::new), &[image])?;
        let volume = Self { image: image.to_owned(), point: point.to_owned() };
        volume.mount()?;
        Ok(volume)
    }

    /// Why there can be none on this machine.
    pub(crate) fn hindrance() -> Option<&'static str> {
        static TRIED: OnceLock<Option<String>> = OnceLock::new();
        TRIED.get_or_init(|| Self::attempt().err()).as_deref()
    }

    fn attempt() -> Result<(), String> {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
        let mut volume = Self::make(&directory.path().join("image"), &directory.path().join("mount"), 16)?;
        volume.power_off()?;
        volume.power_on();
        Ok(())
    }

    /// Where it is mounted.
    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// Takes up all free space but so many MiB, whatever was taken up before.
    pub(crate) fn leave_free(&self, mebibytes: u64) {
        let file = File::create(self.ballast()).unwrap();
        let stat = rustix::fs::statvfs(&self.point).unwrap();
        let taken = stat.f_bavail * stat.f_frsize - (mebibytes << 20);
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, taken).unwrap();
    }

    /// Gives back what was taken up.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.point.join("ballast")
    }

    /// The power fails: what was not synced is lost. Whoever uses it has to stand still before, and to be gone before
    /// it comes back.
    ///
    /// # Errors
    /// What could not be done, and why.
    pub(crate) fn power_off(&self) -> Result<(), String> {
        Self::power_off_all(&[self])
    }

    /// The power fails for all of these at once.
    ///
    /// # Errors
    /// As [`Volume::power_off`].
    pub(crate) fn power_off_all(volumes: &[&Self]) -> Result<(), String> {
        for volume in volumes {
            fs::write(volume.unsynced(), UNSYNCED).map_err(|error| error.to_string())?;
        }
        let points: Vec<&Path> = volumes.iter().map(|volume| volume.point()).collect();
        run("python3", ["-c", GO_DOWN].map(OsStr::new), &points)
    }

    /// The power is back: the journal is replayed.
    pub(crate) fn power_on(&mut self) {
        let deadline = Instant::now() + RELEASE_LIMIT;
        while let Err(error) = run("umount", [], &[&self.point]) {
            assert!(Instant::now() < deadline, "{error}");
        }
        self.mount().unwrap();
        let kept = fs::read(self.unsynced()).is_ok_and(|bytes| bytes == UNSYNCED);
        assert!(!kept, "what was never synced is still there: the power did not fail");
        let _ = fs::remove_file(self.unsynced());
    }

    fn unsynced(&self) -> PathBuf {
        self.point.join("unsynced")
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", ["-o", "loop"].map(OsStr::new), &[&self.image, &self.point])
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = run("umount", ["-l"].map(OsStr::new), &[&self.point]);
    }
}

fn run<const N: usize>(program: &str, options: [&OsStr; N], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(options).args(paths).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// Says past the runner, which shows nothing of a test that it counts as passed, that this one was not run. The summary of
/// the suites repeats it.
#[track_caller]
pub(crate) fn not_run(why: &str) {
    let (thread, place) = (std::thread::current(), Location::caller());
    let name = thread.name().unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "\nnot run: {name} ({}:{}): {why}", place.file(), place.line());
}
