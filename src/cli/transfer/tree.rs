//! A directory as a walk over what is in it, and names of keys as paths.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest name that Linux file systems take.
const MAX_NAME_BYTES: usize = 255;

/// One thing found.
#[derive(Debug)]
pub(crate) enum Found {
    File {
        path: PathBuf,
        relative: Vec<u8>,
    },
    /// A directory in which there is neither a file nor a directory. The relative path ends in a slash, unless it is
    /// empty: the top itself.
    EmptyDirectory {
        relative: Vec<u8>,
    },
    /// Neither a file nor a directory.
    Skipped {
        path: PathBuf,
        what: &'static str,
    },
    Unreadable {
        path: PathBuf,
        error: io::Error,
    },
}

/// Walks a directory in order of name. Symbolic links are never followed.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The directories being read, the innermost last; each with its entries still to come, the next one last.
    stack: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    relative: Vec<u8>,
    entries: Vec<DirEntry>,
    /// Whether there was a file or a directory among the entries so far.
    in_use: bool,
}

impl Walk {
    /// Begins at `top`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn new(top: &Path) -> io::Result<Self> {
        let mut walk = Self { stack: Vec::new() };
        walk.enter(top, Vec::new())?;
        Ok(walk)
    }

    fn enter(&mut self, path: &Path, relative: Vec<u8>) -> io::Result<()> {
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
        self.stack.push(Level { relative, entries, in_use: false });
        Ok(())
    }

    /// Looks at one entry; `None` for a directory, which is entered.
    fn look(&mut self, parent: &[u8], entry: &DirEntry) -> Option<Found> {
        let path = entry.path();
        let relative = [parent, entry.file_name().as_bytes()].concat();
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) => return Some(Found::Unreadable { path, error }),
        };
        if kind.is_file() {
            return Some(Found::File { path, relative });
        }
        if !kind.is_dir() {
            let what = if kind.is_symlink() { "a symbolic link" } else { "a special file" };
            return Some(Found::Skipped { path, what });
        }
        let entered = self.enter(&path, [&relative[..], b"/"].concat());
        entered.err().map(|error| Found::Unreadable { path, error })
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let level = self.stack.last_mut()?;
            let Some(entry) = level.entries.pop() else {
                let Level { relative, in_use, .. } = self.stack.pop()?;
                if in_use {
                    continue;
                }
                return Some(Found::EmptyDirectory { relative });
            };
            let depth = self.stack.len();
            let relative = self.stack.last().map(|level| level.relative.clone())?;
            let found = self.look(&relative, &entry);
            let is_kept = matches!(found, None | Some(Found::File { .. }));
            if let Some(level) = self.stack.get_mut(depth - 1).filter(|_| is_kept) {
                level.in_use = true;
            }
            if found.is_some() {
                return found;
            }
        }
    }
}

/// The path of a relative key, or why no file can have it. A trailing slash is dropped.
pub(crate) fn path_of(relative: &[u8]) -> Result<PathBuf, &'static str> {
    let relative = relative.strip_suffix(b"/").unwrap_or(relative);
    for name in relative.split(|byte| *byte == b'/') {
        match name {
            b"" => return Err("a file name cannot be empty"),
            b"." | b".." => return Err("a file cannot be named . or .."),
            name if name.contains(&0) => return Err("a file name cannot hold a zero byte"),
            name if name.len() > MAX_NAME_BYTES => return Err("a file name has at most 255 bytes"),
            _ => {}
        }
    }
    Ok(PathBuf::from(OsStr::from_bytes(relative)))
}

/// The path with a suffix behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &OsStr) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn everything_is_found_once_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &[u8]| dir.path().join(OsStr::from_bytes(name));
        fs::create_dir_all(at(b"sub/empty")).unwrap();
        fs::create_dir(at(b"links")).unwrap();
        symlink("/nowhere", at(b"links/link")).unwrap();
        fs::write(at(b"sub/\xff\xfe"), b"x").unwrap();
        fs::write(at(b"a b"), b"").unwrap();
        symlink("/nowhere", at(b"link")).unwrap();
        let mut found: Vec<String> = Walk::new(dir.path())
            .unwrap()
            .map(|found| match found {
                Found::File { relative, .. } => format!("file {}", relative.escape_ascii()),
                Found::EmptyDirectory { relative } => format!("empty {}", relative.escape_ascii()),
                Found::Skipped { what, .. } => what.to_owned(),
                Found::Unreadable { path, error } => panic!("{}: {error}", path.display()),
            })
            .collect();
        found.sort();
        assert_eq!(
            found,
            [
                "a symbolic link",
                "a symbolic link",
                "empty links/",
                "empty sub/empty/",
                "file a b",
                r"file sub/\xff\xfe"
            ]
        );
    }

    #[test]
    fn an_empty_top_is_found_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let found: Vec<_> = Walk::new(dir.path()).unwrap().collect();
        assert!(matches!(&found[..], [Found::EmptyDirectory { relative }] if relative.is_empty()));
        assert!(Walk::new(&dir.path().join("none")).is_err());
    }

    #[test]
    fn no_key_leads_out_of_the_directory() {
        for relative in [&b""[..], b"/x", b"a//b", b"../x", b"a/..", b"a/./b", b"a\0b", b"//", &[b'x'; 256]] {
            assert!(path_of(relative).is_err(), "{}", relative.escape_ascii());
        }
        assert_eq!(path_of(b"a/b/").unwrap(), Path::new("a/b"));
        assert_eq!(path_of(b"..a/\xff").unwrap().as_os_str().as_bytes(), b"..a/\xff");
    }
}
