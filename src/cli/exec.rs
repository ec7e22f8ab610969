//! `vardr exec`: a command whose environment comes from keys, started again or sent a signal when they change.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::args::{Exec, Names};
use super::child::{Child, Signals};
use super::client::Client;
use super::exit::{Exit, Failure, Outcome};
use super::follow::Follower;
use super::moment::{Moment, Pair, Subject};
use super::route;

/// Variables and their values.
type Variables = BTreeMap<OsString, OsString>;

/// What is read, and what becomes of it.
#[derive(Debug)]
struct Plan<'a> {
    args: &'a Exec,
    /// Directories, of which a later one wins.
    prefixes: Vec<Vec<u8>>,
}

pub(crate) async fn exec(client: &Client, args: &Exec) -> Outcome<()> {
    let prefixes = args.prefix.iter().map(|prefix| route::listable(prefix)).collect::<Outcome<_>>()?;
    let plan = Plan { args, prefixes };
    let (read, revision) = plan.read(client).await;
    let mut variables = read?;
    if variables.is_empty() {
        // Not an error, but more often than not a slip of the pen.
        eprintln!("vardr: there are no keys to make variables of");
    }
    let mut signals = Signals::new()?;
    let mut child = plan.start(&variables)?;
    if args.once {
        return child.run(&mut signals).await?.outcome();
    }
    let mut follower = Follower::new(client, "the command goes on");
    follower.follow(plan.subjects(), revision)?;
    loop {
        let changed = tokio::select! {
            ended = child.run(&mut signals) => return ended?.outcome(),
            changed = plan.changed(client, &mut follower) => changed?,
        };
        if child.is_ending() || changed == variables {
            continue;
        }
        variables = changed;
        if let Some(signal) = args.signal {
            child.signal(signal);
            continue;
        }
        let ended = child.stop(&mut signals).await?;
        if child.was_told_to_end().is_some() {
            return ended.outcome();
        }
        child = plan.start(&variables)?;
    }
}

impl Plan<'_> {
    fn start(&self, variables: &Variables) -> Outcome<Child> {
        Child::spawn(&self.args.command, variables.clone(), self.args.grace.kill_after)
    }

    fn subjects(&self) -> BTreeSet<Subject> {
        self.prefixes.iter().cloned().map(Subject::Tree).collect()
    }

    /// Waits until there are other variables, or the same ones after a change. What cannot be used is told, and the next
    /// change awaited.
    async fn changed(&self, client: &Client, follower: &mut Follower<'_>) -> Outcome<Variables> {
        loop {
            follower.changed().await;
            loop {
                let (read, revision) = self.read(client).await;
                match read {
                    Err(failure) if failure.exit() != Exit::Usage => follower.rest(&failure).await,
                    read => {
                        follower.follow(self.subjects(), revision)?;
                        match read {
                            Ok(variables) => return Ok(variables),
                            Err(failure) => eprintln!("vardr: {failure}; the command goes on as it is"),
                        }
                        break;
                    }
                }
            }
        }
    }

    /// The variables as they are now, or why there are none, and the revision at which that is so.
    async fn read(&self, client: &Client) -> (Outcome<Variables>, u64) {
        let mut moment = Moment::new(client);
        let read = self.read_at(&mut moment).await;
        (read, moment.revision())
    }

    async fn read_at(&self, moment: &mut Moment<'_>) -> Outcome<Variables> {
        let mut all = Variables::new();
        for prefix in &self.prefixes {
            let pairs = moment.list(prefix, true).await?;
            all.extend(variables(prefix, pairs, self.args.names)?);
        }
        Ok(all)
    }
}

/// What the keys below one prefix become.
///
/// # Errors
/// Two keys that become one variable, and what no variable can hold.
fn variables(prefix: &[u8], pairs: Vec<Pair>, names: Names) -> Outcome<Variables> {
    let mut variables = Variables::new();
    let mut keys: BTreeMap<OsString, Vec<u8>> = BTreeMap::new();
    for (key, value) in pairs {
        let name = variable(key.strip_prefix(prefix).unwrap_or(&key), names);
        if let Some(other) = keys.get(&name) {
            return Err(Failure::usage(format!(
                "{} and {} both become the variable {}: rename one of them",
                route::shown(other),
                route::shown(&key),
                name.display()
            )));
        }
        if value.contains(&0) {
            let key = route::shown(&key);
            return Err(Failure::usage(format!("the value of {key} has a NUL byte, which no variable can hold")));
        }
        variables.insert(name.clone(), OsString::from_vec(value.to_vec()));
        keys.insert(name, key);
    }
    Ok(variables)
}

/// The name of the variable that a key becomes; `relative` is what stands behind the prefix.
fn variable(relative: &[u8], names: Names) -> OsString {
    let mut name = Vec::with_capacity(relative.len() + 1);
    if relative.first().is_some_and(u8::is_ascii_digit) {
        name.push(b'_');
    }
    let byte = |byte: &u8| match byte {
        byte if !byte.is_ascii_alphanumeric() => b'_',
        byte if names == Names::Upper => byte.to_ascii_uppercase(),
        byte => *byte,
    };
    name.extend(relative.iter().map(byte));
    OsString::from_vec(name)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn pairs(keys: &[&str]) -> Vec<Pair> {
        keys.iter().map(|key| (key.as_bytes().to_vec(), Bytes::from_static(b"x"))).collect()
    }

    #[test]
    fn a_key_becomes_the_name_of_a_variable() {
        let name = |text: &str, names| variable(text.as_bytes(), names).into_string().unwrap();
        assert_eq!(name("db/url", Names::Upper), "DB_URL");
        assert_eq!(name("db/url", Names::Keep), "db_url");
        assert_eq!(name("log-level.x", Names::Upper), "LOG_LEVEL_X");
        assert_eq!(name("2fa", Names::Upper), "_2FA");
        assert_eq!(name("ü", Names::Upper), "__", "one for each byte");
    }

    #[test]
    fn two_keys_with_one_name_are_both_named() {
        let failure = variables(b"/a/", pairs(&["/a/db-url", "/a/db/url"]), Names::Upper).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert_eq!(failure.to_string(), "/a/db-url and /a/db/url both become the variable DB_URL: rename one of them");
    }

    #[test]
    fn a_value_is_bytes_without_nul() {
        let with =
            |value: &'static [u8]| variables(b"/a/", vec![(b"/a/x".to_vec(), Bytes::from_static(value))], Names::Upper);
        assert_eq!(with(b"\xff").unwrap(), Variables::from([("X".into(), OsString::from_vec(vec![0xff]))]));
        assert!(with(b"a\0b").unwrap_err().to_string().contains("the value of /a/x"));
    }
}
