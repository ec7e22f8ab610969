//! A file that is either there as a whole or not at all, whoever looks and whatever happens meanwhile.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::exit::{Failure, Outcome};

/// A file under a name of its own, beside the one that it becomes, until it is whole; removed if that never comes.
#[derive(Debug)]
pub(crate) struct Partial {
    target: PathBuf,
    path: PathBuf,
    file: File,
    published: bool,
}

impl Partial {
    /// `mode` is for the file before anything is written to it, less what the umask takes away.
    pub(crate) fn create(target: &Path, mode: u32) -> Outcome<Self> {
        let mut name = target.file_name().ok_or_else(|| Failure::usage("the target is not a file"))?.to_owned();
        // By chance: what a process left behind that was killed must not be in the way of the next one.
        name.push(format!(".{:08x}.partial", rand::random::<u32>()));
        let path = target.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let file = file.map_err(|error| Failure::io(path.display(), &error))?;
        Ok(Self { target: target.to_owned(), path, file, published: false })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.file.write_all(bytes).map_err(|error| Failure::io(self.path.display(), &error))
    }

    /// Gives it the mode, whatever the umask.
    pub(crate) fn set_mode(&self, mode: u32) -> Outcome<()> {
        let set = self.file.set_permissions(Permissions::from_mode(mode));
        set.map_err(|error| Failure::io(self.path.display(), &error))
    }

    /// Gives it the owner and the group of another file, where it has others.
    pub(crate) fn set_owner(&self, like: &Metadata) -> Outcome<()> {
        let io = |error: &std::io::Error| Failure::io(format!("the owner of {}", self.target.display()), error);
        let own = self.file.metadata().map_err(|error| io(&error))?;
        if (own.uid(), own.gid()) == (like.uid(), like.gid()) {
            return Ok(());
        }
        fchown(&self.file, Some(like.uid()), Some(like.gid())).map_err(|error| io(&error))
    }

    /// Durable first, then visible, then the name itself durable.
    pub(crate) fn publish(mut self) -> Outcome<()> {
        let renamed = self.file.sync_all().and_then(|()| std::fs::rename(&self.path, &self.target));
        renamed.map_err(|error| Failure::io(self.target.display(), &error))?;
        self.published = true;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced = File::open(parent.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all());
        synced.map_err(|error| Failure::io(self.target.display(), &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done about a file that cannot be removed.
            let _left_behind = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_never_got_whole_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x.snapshot");
        drop(Partial::create(&target, 0o666).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut partial = Partial::create(&target, 0o666).unwrap();
        partial.write(b"x").unwrap();
        partial.publish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"x");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_has_the_mode_that_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x.conf");
        let partial = Partial::create(&target, 0o600).unwrap();
        partial.set_owner(&std::fs::metadata(dir.path()).unwrap()).unwrap();
        partial.set_mode(0o640).unwrap();
        partial.publish().unwrap();
        assert_eq!(std::fs::metadata(&target).unwrap().mode() & 0o7777, 0o640);
    }
}
