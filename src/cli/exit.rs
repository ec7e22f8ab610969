//! How a command ends: exit codes that mean something, and the failures that lead to them.

use std::fmt;

use serde_json::Value;

/// The exit codes, as the help tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok,
    /// Anything without a code of its own, and an import or export that left something out.
    Failure,
    /// The command line or the request is wrong.
    Usage,
    NotFound,
    /// A condition did not hold, a transaction took its `else`, or somebody else holds what was asked for.
    Precondition,
    /// No endpoint could be reached or serve; nothing was changed.
    Unavailable,
    /// The write may have been carried out, or may be later.
    Unknown,
    /// What a command was run under was lost before it ended.
    Lost,
    /// What a command that was run ended with, as a shell tells it.
    Command(u8),
}

impl Exit {
    /// The number given to the shell.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Precondition => 4,
            Self::Unavailable => 5,
            Self::Unknown => 6,
            Self::Lost => 7,
            Self::Command(code) => code,
        }
    }
}

/// The table of exit codes for the help.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed, or an import or export left something out
  2  wrong usage, or a request that the server refuses as invalid
  3  not found: the key, the directory, the lease, the leader or the member
  4  a condition did not hold, a transaction took its else branch, something is where a copy would go, or somebody else
     holds the lock or leads
  5  no server could be reached or serve; nothing was changed
  6  outcome unknown: the write may have been carried out
  7  the lock or the election was lost while the command ran";

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    /// The server's problem (RFC 9457), where there is one.
    problem: Option<Value>,
    /// Nobody reads the output any more: end without a word.
    quiet: bool,
}

/// The result of every command.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), problem: None, quiet: false }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failure, message)
    }

    /// A failure to read or write something of this machine.
    pub(crate) fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::failed(format!("{what}: {error}"))
    }

    /// A command that was run ended with this code. It has said itself what there was to say.
    #[must_use]
    pub(crate) fn ended(code: u8) -> Self {
        Self { exit: Exit::Command(code), message: String::new(), problem: None, quiet: true }
    }

    /// The reader of the output went away.
    #[must_use]
    pub(crate) fn broken_pipe() -> Self {
        Self { exit: Exit::Ok, message: String::new(), problem: None, quiet: true }
    }

    /// An answer that is not a success. `body` is the problem, if the server wrote one.
    #[must_use]
    pub(crate) fn from_answer(status: u16, body: &[u8]) -> Self {
        let problem: Option<Value> = serde_json::from_slice(body).ok().filter(Value::is_object);
        let member = |name: &str| problem.as_ref().and_then(|problem| problem.get(name)?.as_str().map(str::to_owned));
        let code = member("code").unwrap_or_default();
        let exit = match (status, code.as_str()) {
            (_, "outcome_unknown") => Exit::Unknown,
            (400 | 405 | 415 | 422, _) => Exit::Usage,
            (404, _) => Exit::NotFound,
            (412, _) | (409, "key_exists" | "lock_held" | "not_elected") => Exit::Precondition,
            (503 | 504, _) => Exit::Unavailable,
            _ => Exit::Failure,
        };
        let detail = member("detail").or_else(|| member("title")).unwrap_or_else(|| format!("HTTP status {status}"));
        let message = if code.is_empty() { detail } else { format!("{detail} ({code})") };
        Self { exit, message, problem, quiet: false }
    }

    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The server's word for it; empty where it said none.
    #[must_use]
    pub(crate) fn code(&self) -> &str {
        self.problem.as_ref().and_then(|problem| problem.get("code")?.as_str()).unwrap_or_default()
    }

    /// Tells a person, or with `json` a program, on standard error.
    pub(crate) fn report(&self, json: bool) {
        if self.quiet {
            return;
        }
        if json {
            let fallback = || serde_json::json!({"code": "client", "detail": self.message});
            eprintln!("{}", self.problem.clone().unwrap_or_else(fallback));
        } else {
            eprintln!("vardr: {}", self.message);
            if let Some(current) = self.problem.as_ref().and_then(|problem| problem.get("current")) {
                eprintln!("vardr: at present: {current}");
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_exit_code() {
        let exit = |status, body: &str| Failure::from_answer(status, body.as_bytes()).exit();
        assert_eq!(exit(404, r#"{"code":"key_not_found"}"#), Exit::NotFound);
        assert_eq!(exit(412, r#"{"code":"precondition_failed"}"#), Exit::Precondition);
        assert_eq!(exit(409, r#"{"code":"lock_held"}"#), Exit::Precondition);
        assert_eq!(exit(409, r#"{"code":"key_exists"}"#), Exit::Precondition);
        assert_eq!(exit(400, r#"{"code":"invalid_argument"}"#), Exit::Usage);
        assert_eq!(exit(503, r#"{"code":"no_leader"}"#), Exit::Unavailable);
        assert_eq!(exit(504, r#"{"code":"outcome_unknown"}"#), Exit::Unknown);
        assert_eq!(exit(504, r#"{"code":"deadline_exceeded"}"#), Exit::Unavailable);
        assert_eq!(exit(409, r#"{"code":"directory_not_empty"}"#), Exit::Failure);
        assert_eq!(exit(502, "<html>"), Exit::Failure);
    }

    #[test]
    fn the_message_is_the_servers_detail_and_code() {
        let failure = Failure::from_answer(404, br#"{"detail":"there is no key /a","code":"key_not_found"}"#);
        assert_eq!(failure.to_string(), "there is no key /a (key_not_found)");
        assert_eq!(Failure::from_answer(502, b"").to_string(), "HTTP status 502");
    }
}
