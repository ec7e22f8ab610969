//! `vardr import` and `vardr export`: files and documents into the key space and back, with bytes and types kept.
//!
//! `tree` maps directories, `document` JSON and YAML, `etcd` reads a cluster of etcd's; `import` and `export` move what they
//! say, in bounded pieces and with bounded concurrency (`batch`).

mod batch;
mod document;
mod etcd;
mod export;
mod import;
mod tree;

use std::fmt::Write as _;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::exit::{Failure, Outcome};
use super::output::{Output, size};

pub(crate) use export::export;
pub(crate) use import::import;

/// A document's language, by the end of its file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Json,
    Yaml,
}

impl Language {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// What was moved and what was not.
#[derive(Debug, Default)]
struct Report {
    keys: u64,
    directories: u64,
    bytes: u64,
    /// Leases that were granted for keys that share one.
    leases: u64,
    /// What else is to be known of it.
    notes: Vec<String>,
    /// Left out by design: symbolic links, special files, and keys that were over on the way.
    skipped: Vec<(String, String)>,
    /// Left out although they were wanted.
    failed: Vec<(String, String)>,
}

impl Report {
    /// Tells what was done; `verb` is `imported` or the like.
    fn tell(&self, out: &Output, verb: &str, verbose: bool) -> Outcome<()> {
        if out.is_json() {
            return out.line(self.to_json().to_string());
        }
        for (name, why) in &self.failed {
            eprintln!("vardr: left out {name}: {why}");
        }
        if verbose {
            for (name, why) in &self.skipped {
                eprintln!("vardr: skipped {name}: {why}");
            }
        }
        for note in &self.notes {
            eprintln!("vardr: note: {note}");
        }
        let mut line = self.told(verb);
        if !self.skipped.is_empty() {
            let hint = if verbose { "" } else { " (-v names them)" };
            let _infallible = write!(line, "; skipped {}{hint}", self.skipped.len());
        }
        if !self.failed.is_empty() {
            let _infallible = write!(line, "; left out {}", self.failed.len());
        }
        // Standard output may carry the document.
        eprintln!("{line}");
        Ok(())
    }

    /// What was moved.
    fn told(&self, verb: &str) -> String {
        let keys = counted(self.keys, "key", "keys");
        let directories = counted(self.directories, "directory", "directories");
        let mut line = format!("{verb} {keys}, {directories}, {}", size(self.bytes));
        if self.leases > 0 {
            let _infallible = write!(line, ", {}", counted(self.leases, "lease", "leases"));
        }
        line
    }

    fn to_json(&self) -> Value {
        let list = |items: &[(String, String)]| -> Vec<Value> {
            items.iter().map(|(name, why)| json!({"name": name, "reason": why})).collect()
        };
        json!({
            "keys": self.keys, "directories": self.directories, "bytes": self.bytes,
            "leases": self.leases, "notes": self.notes,
            "skipped": list(&self.skipped), "failed": list(&self.failed),
        })
    }

    /// A failure if something wanted was left out.
    fn verdict(&self) -> Outcome<()> {
        if self.failed.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!("{} left out", counted(self.failed.len() as u64, "was", "were"))))
    }
}

/// So many of something, of which one and several have these names.
fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// A line that counts, on a terminal only.
fn progress(verb: &'static str) -> ProgressBar {
    // `stderr()` draws nothing where standard error is no terminal.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {human_pos}{msg} keys, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    bar.set_prefix(verb);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_told_by_the_name() {
        let of = |name: &str| Language::of(Path::new(name));
        assert_eq!(of("a.json"), Some(Language::Json));
        assert_eq!(of("a.b.YAML"), Some(Language::Yaml));
        assert_eq!(of("a.yml"), Some(Language::Yaml));
        assert_eq!([of("a"), of("json"), of("-"), of("a.toml")], [None; 4]);
    }
    #[test]
    fn one_is_not_several() {
        let told =
            |keys, directories, leases| Report { keys, directories, leases, ..Report::default() }.told("imported");
        assert_eq!(told(1, 1, 1), "imported 1 key, 1 directory, 0 B, 1 lease");
        assert_eq!(told(0, 2, 2), "imported 0 keys, 2 directories, 0 B, 2 leases");
        let verdict = |names: &[&str]| {
            let failed = names.iter().map(|&name| (name.to_owned(), String::new())).collect();
            Report { failed, ..Report::default() }.verdict().unwrap_err().to_string()
        };
        assert!(verdict(&["/a"]).contains("1 was left out") && verdict(&["/a", "/b"]).contains("2 were left out"));
    }
}
