//! Import: from a directory or a document to keys. `etcd` reads other services.

use std::fs;
use std::path::Path;

use futures_util::stream;
use indicatif::ProgressBar;

use super::batch::{Step, Write, send_all};
use super::document::{self, Leaf};
use super::tree::{Found, Walk};
use super::{Language, Report, etcd, progress};
use crate::cli::args::{Import, Origin};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output::Output;
use crate::cli::route;

pub(crate) async fn import(client: &Client, out: &Output, args: &Import) -> Outcome<()> {
    let mut report = Report::default();
    let bar = progress("importing");
    let carried_out = carry_out(client, out, args, &mut report, &bar).await;
    bar.finish_and_clear();
    carried_out.map_err(|failure| interrupted(failure, bar.position()))?;
    report.tell(out, if args.dry_run { "would import" } else { "imported" }, args.verbose)?;
    report.verdict()
}

/// What to say when the server is gone: that nothing was changed is true of no import that has begun.
fn interrupted(failure: Failure, written: u64) -> Failure {
    if written == 0 || failure.exit() != Exit::Unavailable {
        return failure;
    }
    Failure::failed(format!(
        "{failure}; {written} keys and directories were imported before: the same command again completes it"
    ))
}

async fn carry_out(
    client: &Client,
    out: &Output,
    args: &Import,
    report: &mut Report,
    bar: &ProgressBar,
) -> Outcome<()> {
    match args.origin()? {
        Origin::Files { source, prefix } => {
            let prefix = route::directory(prefix);
            let metadata = fs::metadata(source).map_err(|error| Failure::io(source.display(), &error))?;
            if metadata.is_dir() {
                let walk = Walk::new(source).map_err(|error| Failure::io(source.display(), &error))?;
                let files = Files { walk, prefix, skip_unreadable: args.skip_unreadable };
                send_all(client, out, args, stream::iter(files), report, bar).await
            } else {
                let writes = read_document(source, &prefix)?;
                send_all(client, out, args, stream::iter(writes), report, bar).await
            }
        }
        Origin::EtcdV2 { url, prefix } => {
            let steps = etcd::v2(url, prefix, client.timeout()).await?;
            send_all(client, out, args, steps, report, bar).await
        }
        Origin::EtcdV3 { url, prefix } => {
            let leases = (!args.dry_run).then_some(client);
            let steps = etcd::v3(url, prefix, client.timeout(), leases, bar).await?;
            send_all(client, out, args, steps, report, bar).await
        }
    }
}

fn read_document(path: &Path, prefix: &[u8]) -> Outcome<Vec<Step>> {
    let language = Language::of(path).ok_or_else(|| {
        Failure::usage(format!("{} is neither a directory nor a .json, .yaml or .yml file", path.display()))
    })?;
    let text = fs::read_to_string(path).map_err(|error| Failure::io(path.display(), &error))?;
    let document = document::parse(language, &text)
        .map_err(|problem| Failure::usage(format!("{} cannot be read: {problem}", path.display())))?;
    let keys = document::flatten(prefix, &document)?;
    Ok(keys.into_iter().map(|(key, leaf)| Step::Write(Write::new(key, leaf))).collect())
}

/// The steps of a directory; each file is read when its turn comes.
struct Files {
    walk: Walk,
    prefix: Vec<u8>,
    skip_unreadable: bool,
}

impl Iterator for Files {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let key = |relative: &[u8]| [&self.prefix, relative].concat();
        Some(match self.walk.next()? {
            Found::File { path, relative } => match fs::read(&path) {
                Ok(bytes) => Step::Write(Write::new(key(&relative), Leaf::Bytes(bytes))),
                Err(error) => self.unreadable(&path, &error),
            },
            Found::EmptyDirectory { relative } => Step::Write(Write::new(key(&relative), Leaf::Directory)),
            Found::Skipped { path, what } => Step::Skipped(path.display().to_string(), what.to_owned()),
            Found::Unreadable { path, error } => self.unreadable(&path, &error),
        })
    }
}

impl Files {
    fn unreadable(&self, path: &Path, error: &std::io::Error) -> Step {
        let (name, why) = (path.display().to_string(), format!("cannot be read: {error}"));
        if self.skip_unreadable { Step::Skipped(name, why) } else { Step::Failed(name, why) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_lost_on_the_way_is_no_server_that_was_never_there() {
        let lost = || Failure::new(Exit::Unavailable, "it cannot be reached");
        assert_eq!(interrupted(lost(), 0).exit(), Exit::Unavailable);
        let told = interrupted(lost(), 128);
        assert!(told.exit() == Exit::Failure && told.to_string().contains("128 keys and directories"), "{told}");
        assert_eq!(interrupted(Failure::new(Exit::Unknown, "x"), 128).exit(), Exit::Unknown);
    }
}
