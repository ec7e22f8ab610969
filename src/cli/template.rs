//! `vardr template`: a file that is written out of keys, and written again when they change.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args;
use super::child::{Child, Ended, Signals, ended_by};
use super::client::Client;
use super::exit::{Exit, Failure, Outcome};
use super::follow::Follower;
use super::output::Output;
use super::partial::Partial;
use super::render::Template;
use super::route;

/// The mode of a new file, less what the umask takes away.
const NEW_FILE: u32 = 0o666;
/// The bits of a mode that are permissions.
const PERMISSIONS: u32 = 0o7777;

/// Where renderings go.
#[derive(Debug)]
enum Target<'a> {
    Stdout(&'a Output),
    File { path: PathBuf, mode: Option<u32> },
}

pub(crate) async fn template(client: &Client, out: &Output, args: &args::Template) -> Outcome<()> {
    let prefix = args.prefix.as_deref().map(route::listable).transpose()?.unwrap_or_default();
    let template = Arc::new(Template::read(&args.source, prefix)?);
    let target = Target::new(args, out)?;
    let mut signals = Signals::new()?;
    let mut follower = Follower::new(client, "the file stays as it is");
    let mut is_first = true;
    loop {
        let rendering = unless_told(&mut signals, template.render(client)).await?;
        let result = match rendering.result {
            // Not the template's fault, and over when the server is back.
            Err(failure) if !is_first && !is_lasting(&failure) => {
                unless_told(&mut signals, follower.rest(&failure)).await?;
                continue;
            }
            Err(failure) => Err(failure),
            Ok(text) => match &target {
                // Nobody reads it any more: there is nothing to go on for.
                Target::Stdout(out) => out.bytes(text.as_bytes()).map(|()| Ok(true))?,
                Target::File { path, mode } => replace(path, text.as_bytes(), *mode),
            },
        };
        let reloaded = match result {
            Ok(true) => reload(args, &mut signals).await?,
            Ok(false) => None,
            Err(failure) if is_first => return Err(failure),
            Err(failure) => {
                eprintln!("vardr: {failure}; {} stays as it is", args.target.display());
                None
            }
        };
        if args.once {
            return reloaded.map_or(Ok(()), Ended::outcome);
        }
        is_first = false;
        follower.follow(rendering.seen, rendering.revision)?;
        unless_told(&mut signals, follower.changed()).await?;
    }
}

/// Whether it takes a change to make it go away.
fn is_lasting(failure: &Failure) -> bool {
    matches!(failure.exit(), Exit::Usage | Exit::NotFound) && failure.code().is_empty()
}

/// Awaits something, unless a signal tells vardr to end.
async fn unless_told<T>(signals: &mut Signals, future: impl Future<Output = T>) -> Outcome<T> {
    tokio::select! {
        signal = signals.next() => Err(ended_by(signal)),
        output = future => Ok(output),
    }
}

/// Runs the command that makes the file count, if there is one. That it fails is told.
async fn reload(args: &args::Template, signals: &mut Signals) -> Outcome<Option<Ended>> {
    let Some(script) = &args.reload else { return Ok(None) };
    let command = [OsString::from("sh"), OsString::from("-c"), script.clone()];
    let mut child = Child::spawn(&command, [], args.grace.kill_after)?;
    let ended = child.run(signals).await?;
    if let Some(signal) = child.was_told_to_end() {
        return Err(ended_by(signal));
    }
    if ended.code != 0 {
        eprintln!("vardr: `{}` ended with {}", script.display(), ended.code);
    }
    Ok(Some(ended))
}

impl<'a> Target<'a> {
    fn new(args: &args::Template, out: &'a Output) -> Outcome<Self> {
        if args.target == Path::new("-") {
            return Ok(Self::Stdout(out));
        }
        let name = args.target.display();
        // A link stays one, and what it leads to is written.
        let path = match fs::canonicalize(&args.target) {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => args.target.clone(),
            Err(error) => return Err(Failure::io(name, &error)),
        };
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(Failure::usage(format!("{name} is not a file; `-` writes to standard output")));
        }
        Ok(Self::File { path, mode: args.mode })
    }
}

/// Replaces a file as a whole, if it differs; tells whether it did.
fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> Outcome<bool> {
    let present = match fs::read(path) {
        Ok(present) if present == bytes => return Ok(false),
        Ok(_) => Some(fs::metadata(path).map_err(|error| Failure::io(path.display(), &error))?),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(Failure::io(path.display(), &error)),
    };
    let mode = mode.or_else(|| present.as_ref().map(|metadata| metadata.mode() & PERMISSIONS));
    let mut partial = Partial::create(path, mode.unwrap_or(NEW_FILE))?;
    if let Some(present) = &present {
        partial.set_owner(present)?;
    }
    // After the owner: a new one takes bits away.
    if let Some(mode) = mode {
        partial.set_mode(mode)?;
    }
    partial.write(bytes)?;
    partial.publish()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_only_where_it_differs_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        let about = || fs::metadata(&path).unwrap();
        assert!(replace(&path, b"one", Some(0o640)).unwrap());
        assert_eq!(about().mode() & PERMISSIONS, 0o640);
        let inode = about().ino();
        assert!(!replace(&path, b"one", None).unwrap());
        assert_eq!(about().ino(), inode);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(replace(&path, b"two", None).unwrap());
        assert_eq!((fs::read(&path).unwrap().as_slice(), about().mode() & PERMISSIONS), (&b"two"[..], 0o600));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_server_refuses_is_tried_again_and_what_a_template_lacks_is_not() {
        assert!(is_lasting(&Failure::new(Exit::NotFound, "x.tmpl:1: there is no key /a")));
        assert!(!is_lasting(&Failure::from_answer(410, br#"{"code":"compacted"}"#)));
        assert!(!is_lasting(&Failure::from_answer(400, br#"{"code":"invalid_argument"}"#)));
        assert!(!is_lasting(&Failure::new(Exit::Unavailable, "no server")));
    }
}
