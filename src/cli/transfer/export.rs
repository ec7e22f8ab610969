//! Export: what is below a prefix, at one revision, to a directory or a document.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use indicatif::ProgressBar;

use super::document::{self, Builder, Leaf};
use super::tree::{path_of, with_suffix};
use super::{Language, Report, progress};
use crate::cli::args::Export;
use crate::cli::client::{Client, Request};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::item::{self, Encoding, Item, Page};
use crate::cli::keys::KEYS;
use crate::cli::output::Output;
use crate::cli::route::{self, Route};

/// The keys asked for at once.
const PAGE: &str = "1000";
/// Values fetched at once, where a page does not give their very bytes.
const CONCURRENCY: usize = 8;

pub(crate) async fn export(client: &Client, out: &Output, args: &Export) -> Outcome<()> {
    let prefix = route::directory(&args.prefix);
    let bar = progress("exporting");
    let mut report = Report::default();
    if args.target == Path::new("-") {
        let text = document(client, args, &prefix, Language::Json, &mut report, &bar).await?;
        bar.finish_and_clear();
        out.bytes(text.as_bytes())?;
        // The document is the output; the report goes to people only.
        report.tell(&Output::new(crate::cli::output::Format::Text), "exported", true)?;
        return report.verdict();
    }
    match Language::of(&args.target).filter(|_| !args.target.is_dir()) {
        Some(language) => {
            refuse_existing(&args.target, args.overwrite)?;
            let text = document(client, args, &prefix, language, &mut report, &bar).await?;
            write_durably(&args.target, text.as_bytes(), args.overwrite)
                .map_err(|error| Failure::io(args.target.display(), &error))?;
        }
        None => directory(client, args, &prefix, &mut report, &bar).await?,
    }
    bar.finish_and_clear();
    report.tell(out, "exported", true)?;
    report.verdict()
}

/// The pages below a prefix, all of the first one's revision.
struct Pages<'a> {
    client: &'a Client,
    base: Route,
    cursor: Option<String>,
    begun: bool,
}

impl<'a> Pages<'a> {
    fn new(client: &'a Client, prefix: &[u8], revision: Option<u64>) -> Self {
        let base = Route::of_key(KEYS, prefix)
            .parameter("recursive", "true")
            .parameter("limit", PAGE)
            .optional("revision", revision);
        Self { client, base, cursor: None, begun: false }
    }

    async fn next(&mut self) -> Outcome<Option<Page>> {
        if self.begun && self.cursor.is_none() {
            return Ok(None);
        }
        let route = self.base.clone().optional("cursor", self.cursor.as_ref());
        let answer = self.client.send(&Request::get(route)).await?;
        let mut page: Page = item::read(&answer.body)?;
        self.cursor = page.cursor.take();
        self.begun = true;
        Ok(Some(page))
    }
}

async fn document(
    client: &Client,
    args: &Export,
    prefix: &[u8],
    language: Language,
    report: &mut Report,
    bar: &ProgressBar,
) -> Outcome<String> {
    let mut builder = Builder::default();
    let mut pages = Pages::new(client, prefix, args.revision);
    while let Some(page) = pages.next().await? {
        for object in &page.items {
            let key = object.key()?;
            let relative = key.strip_prefix(prefix).unwrap_or(&key);
            let value = object.value()?;
            let bytes = value.len() as u64;
            let leaf = leaf_of(&key, value, object.encoding);
            let is_directory = leaf == Leaf::Directory;
            match builder.add(relative, leaf) {
                Ok(()) => report.count(is_directory, bytes),
                Err(why) => report.failed.push((route::shown(&key), why)),
            }
            bar.inc(1);
        }
    }
    document::render(language, &builder.finish()).map_err(Failure::failed)
}

fn leaf_of(key: &[u8], value: Vec<u8>, encoding: Option<Encoding>) -> Leaf {
    if key.ends_with(b"/") && value.is_empty() {
        return Leaf::Directory;
    }
    match (encoding, String::from_utf8(value)) {
        (Some(Encoding::Json), Ok(text)) => Leaf::Json(text),
        (_, Ok(text)) => Leaf::Bytes(text.into_bytes()),
        (_, Err(error)) => Leaf::Bytes(error.into_bytes()),
    }
}

async fn directory(
    client: &Client,
    args: &Export,
    prefix: &[u8],
    report: &mut Report,
    bar: &ProgressBar,
) -> Outcome<()> {
    let in_use = fs::read_dir(&args.target).is_ok_and(|mut entries| entries.next().is_some());
    if in_use && !args.overwrite {
        let name = args.target.display();
        return Err(Failure::usage(format!("{name} is not empty; --overwrite writes into it all the same")));
    }
    let mut pages = Pages::new(client, prefix, args.revision);
    // Where nothing can be read, nothing is made either.
    let mut next = pages.next().await?;
    fs::create_dir_all(&args.target).map_err(|error| Failure::io(args.target.display(), &error))?;
    let mut files = Files { target: &args.target, args, report, made: BTreeSet::new(), held: Vec::new() };
    while let Some(page) = next {
        let count = page.items.len() as u64;
        let revision = page.revision;
        let values = page.items.into_iter().map(|object| exact(client, object, revision));
        let mut values = stream::iter(values).buffered(CONCURRENCY);
        while let Some(found) = values.next().await {
            let (key, value) = found?;
            files.take(&key, key.strip_prefix(prefix).unwrap_or(&key), &value)?;
        }
        bar.inc(count);
        next = pages.next().await?;
    }
    files.finish()
}

/// The very bytes of a value: a page may show the line breaks of JSON as blanks.
async fn exact(client: &Client, object: Item, revision: u64) -> Outcome<(Vec<u8>, Vec<u8>)> {
    let key = object.key()?;
    if object.encoding != Some(Encoding::Json) {
        return Ok((key, object.value()?));
    }
    let route = Route::of_key(KEYS, &key).switch("raw", true).parameter("revision", revision.to_string());
    let answer = client.send(&Request::get(route)).await?;
    Ok((key, answer.body.to_vec()))
}

/// Files on their way to the target. Keys come in order, so that a key that is also a directory comes before what
/// is below it, though not always right before: it is held until that is known.
struct Files<'a> {
    target: &'a Path,
    args: &'a Export,
    report: &'a mut Report,
    /// Directories made, relative to the target.
    made: BTreeSet<PathBuf>,
    /// Files written that may turn out to be directories: `a` stands before `a!` and `a/b`.
    held: Vec<PathBuf>,
}

impl Files<'_> {
    fn take(&mut self, key: &[u8], relative: &[u8], value: &[u8]) -> Outcome<()> {
        if relative.is_empty() {
            // The marker of the prefix itself: the target stands for it.
            self.report.directories += 1;
            return Ok(());
        }
        let path = match path_of(relative) {
            Ok(path) => path,
            Err(why) => {
                self.report.failed.push((route::shown(key), why.to_owned()));
                return Ok(());
            }
        };
        if relative.ends_with(b"/") {
            if !value.is_empty() {
                let why = "a directory cannot have a value".to_owned();
                self.report.failed.push((route::shown(key), why));
            }
            self.report.directories += 1;
            return self.make_directory(&path);
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make_directory(parent)?;
        }
        self.report.count(false, value.len() as u64);
        let full = self.target.join(&path);
        write(&full, value, self.args.overwrite).map_err(|error| Failure::io(full.display(), &error))?;
        self.held.push(path);
        Ok(())
    }

    fn make_directory(&mut self, path: &Path) -> Outcome<()> {
        if self.made.contains(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make_directory(parent)?;
        }
        self.drop_what_cannot_be_a_parent(path);
        let full = self.target.join(path);
        if let Some(at) = self.held.iter().position(|held| held == path) {
            self.held.swap_remove(at);
            self.make_room(&full, path)?;
        }
        match fs::create_dir(&full) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && full.is_dir() => {}
            Err(error) => return Err(Failure::io(full.display(), &error)),
        }
        self.made.insert(path.to_path_buf());
        Ok(())
    }

    /// Keys come in order, so only a file whose name begins the present path can still become a directory.
    fn drop_what_cannot_be_a_parent(&mut self, path: &Path) {
        use std::os::unix::ffi::OsStrExt;
        let present = path.as_os_str().as_bytes();
        self.held.retain(|held| {
            let held = held.as_os_str().as_bytes();
            let shared = held.iter().zip(present).take_while(|(a, b)| a == b).count();
            shared == held.len() || held.get(shared) > present.get(shared)
        });
    }

    /// A file stands where a directory has to be: it moves beside it, or is left out.
    fn make_room(&mut self, full: &Path, path: &Path) -> Outcome<()> {
        let moved = match &self.args.beside {
            Some(suffix) => {
                let beside = with_suffix(full, suffix);
                if beside.exists() {
                    let why = format!("also a directory, and {} is taken", beside.display());
                    self.leave_out(full, path, why)
                } else {
                    fs::rename(full, &beside)
                }
            }
            None => self.leave_out(full, path, "also a directory: --beside writes it beside it".to_owned()),
        };
        moved.map_err(|error| Failure::io(full.display(), &error))
    }

    fn leave_out(&mut self, full: &Path, path: &Path, why: String) -> io::Result<()> {
        let bytes = fs::metadata(full).map_or(0, |metadata| metadata.len());
        self.report.keys -= 1;
        self.report.bytes -= bytes;
        self.report.failed.push((path.display().to_string(), why));
        fs::remove_file(full)
    }

    /// Makes everything durable, in one go.
    fn finish(self) -> Outcome<()> {
        let synced = File::open(self.target).and_then(|directory| directory.sync_all());
        synced.map_err(|error| Failure::io(self.target.display(), &error))
    }
}

impl Report {
    fn count(&mut self, is_directory: bool, bytes: u64) {
        if is_directory {
            self.directories += 1;
        } else {
            self.keys += 1;
            self.bytes += bytes;
        }
    }
}

fn refuse_existing(path: &Path, overwrite: bool) -> Outcome<()> {
    if !overwrite && path.exists() {
        return Err(Failure::usage(format!("{} exists already; --overwrite replaces it", path.display())));
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8], overwrite: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if overwrite {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path)?.write_all(bytes)
}

fn write_durably(path: &Path, bytes: &[u8], overwrite: bool) -> io::Result<()> {
    write(path, bytes, overwrite)?;
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Arguments, Command};

    fn args(line: &[&str]) -> Export {
        match Arguments::try_parse_from(line).unwrap().command {
            Some(Command::Export(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    /// Exports keys with their own names as values, in order; gives what is on disk and what was left out.
    fn exported(target: &Path, more: &[&str], keys: &[&str]) -> (Vec<String>, Vec<String>) {
        let path = target.to_str().unwrap();
        let args = args(&[&["vardr", "export", "/", path], more].concat());
        let mut report = Report::default();
        let mut files = Files { target, args: &args, report: &mut report, made: BTreeSet::new(), held: Vec::new() };
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        for key in keys {
            let value = if key.ends_with('/') { Vec::new() } else { key.as_bytes().to_vec() };
            files.take(key.as_bytes(), key.as_bytes(), &value).unwrap();
        }
        files.finish().unwrap();
        let mut found = Vec::new();
        for entry in super::super::tree::Walk::new(target).unwrap() {
            if let super::super::tree::Found::File { path, relative } = entry {
                let relative = String::from_utf8(relative).unwrap();
                found.push(format!("{relative}={}", fs::read_to_string(path).unwrap()));
            }
        }
        assert_eq!(report.keys, found.len() as u64);
        (found, report.failed.into_iter().map(|(name, _)| name).collect())
    }

    const KEYS: [&str; 7] = ["a", "a!", "a/b", "c/d/", "c/d/e", "..", "x//y"];

    #[test]
    fn a_key_that_is_also_a_directory_is_left_out_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let (found, failed) = exported(dir.path(), &[], &KEYS);
        assert_eq!(found, ["a/b=a/b", "a!=a!", "c/d/e=c/d/e"]);
        assert_eq!(failed, ["..", "a", "x//y"]);
    }

    #[test]
    fn or_it_is_written_beside_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (found, failed) = exported(dir.path(), &["--beside", ".value"], &KEYS);
        assert_eq!(found, ["a/b=a/b", "a!=a!", "a.value=a", "c/d/e=c/d/e"]);
        assert_eq!(failed, ["..", "x//y"]);
    }

    #[test]
    fn nothing_is_overwritten_unless_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write(&path, b"old and long", false).unwrap();
        assert!(write(&path, b"new", false).is_err());
        write(&path, b"new", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(refuse_existing(&path, false).is_err());
    }
}
