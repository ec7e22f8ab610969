//! What a client said, without what belongs to one server or one moment, and what differs between two servers.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Output;

/// The shortest hexadecimal number that is taken for an id of a server's own making.
const ID_DIGITS: usize = 12;
/// How much of what was said the page shows where it differs, in characters.
const SHOWN: usize = 160;

/// One thing that was run, and what was said to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) run: String,
    pub(crate) said: String,
}

/// What was run and said of one feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) feature: String,
    pub(crate) steps: Vec<Step>,
}

/// What is known to differ, where Vardr says what is expected of it: anything else that it says there is a difference as any other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) feature: &'static str,
    /// How what was run begins.
    pub(crate) run: &'static str,
    /// What stands on one line of what Vardr says.
    pub(crate) says: &'static [&'static str],
    /// Why etcd says something else.
    pub(crate) why: &'static str,
}

impl Known {
    /// Whether it is this that differs.
    fn is(&self, feature: &str, vardr: &Step) -> bool {
        let is_said = |line: &str| self.says.iter().all(|part| line.contains(part));
        self.feature == feature && vardr.run.starts_with(self.run) && vardr.said.lines().any(is_said)
    }
}

/// What both outputs and the status of a process say: the log of a client of etcd's, which has dates, is left out.
pub(crate) fn ended(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let lines = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with("{\"level\":"));
    let mut said = lines.fold(String::new(), |said, line| said + line + "\n");
    if !output.status.success() {
        let _ = writeln!(said, "{}", output.status);
    }
    said
}

/// The text without addresses, ids and durations, and with tables as wide as they have to be.
pub(crate) fn neutral(text: &str, addresses: &[String]) -> String {
    let mut text = text.to_owned();
    for address in addresses {
        text = text.replace(address, "SERVER");
    }
    in_words(&narrow(&text), |word| {
        let is_id = word.len() >= ID_DIGITS && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        // The addresses at which members talk to each other, on a port of the system's.
        let is_peer = word.strip_prefix("127.0.0.1:").is_some_and(|port| port.len() >= 5);
        match () {
            () if is_id => "ID".to_owned(),
            () if is_peer => "PEER".to_owned(),
            () if is_duration(word) => "TIME".to_owned(),
            () => word.to_owned(),
        }
    })
}

/// The text without figures, for what tells how large or how fast a server is.
pub(crate) fn without_figures(text: &str) -> String {
    let text = in_words(text, |word| {
        let is_figure = word.starts_with(|first: char| first.is_ascii_digit());
        if is_figure { "N".to_owned() } else { word.to_owned() }
    });
    ["N kB", "N MB"].iter().fold(text, |text, size| text.replace(size, "N B"))
}

/// Runs of blanks, and of the rules of tables, no longer than they have to be.
fn narrow(text: &str) -> String {
    let mut narrowed = String::new();
    let (mut last, mut alike) = (None, 0);
    for char in text.chars() {
        alike = if last == Some(char) { alike + 1 } else { 1 };
        last = Some(char);
        // Two hyphens begin a flag.
        let most = match char {
            ' ' | '─' => 1,
            '-' => 2,
            _ => usize::MAX,
        };
        if alike <= most {
            narrowed.push(char);
        }
    }
    narrowed
}

/// The text with each of its words replaced: letters, digits, and what stands within numbers and addresses.
fn in_words(text: &str, replace: impl Fn(&str) -> String) -> String {
    let is_word = |char: char| char.is_alphanumeric() || char == '.' || char == ':';
    let mut replaced = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let start = rest.find(char::is_alphanumeric).unwrap_or(rest.len());
        replaced.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
        let word = rest[..end].trim_end_matches(['.', ':']);
        if !word.is_empty() {
            replaced.push_str(&replace(word));
        }
        replaced.push_str(&rest[word.len()..end]);
        rest = &rest[end..];
    }
    replaced
}

/// Whether it is a duration that was measured, as Go writes one: it has a fraction, or is far below a second.
fn is_duration(word: &str) -> bool {
    let number = word.trim_end_matches(|char: char| !char.is_ascii_digit());
    let unit = &word[number.len()..];
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_number && (matches!(unit, "ns" | "µs" | "ms") || (unit == "s" && number.contains('.')))
}

/// What a row of the page says of a feature: whether Vardr did as etcd, and where not.
pub(crate) fn compared(etcd: &Part, vardr: &Part, known: &[Known]) -> String {
    let mut differences = Vec::new();
    for (left, right) in etcd.steps.iter().zip(&vardr.steps) {
        if left == right {
            continue;
        }
        let run = &left.run;
        let known = known.iter().find(|known| left.run == right.run && known.is(&etcd.feature, right));
        if let Some(Known { why, .. }) = known {
            differences.push((true, format!("`{run}`: {why}")));
        } else {
            let (etcd, vardr) = first_difference(&left.said, &right.said);
            differences.push((false, format!("`{run}`: etcd says `{etcd}`, Vardr `{vardr}`")));
        }
    }
    if etcd.steps.len() != vardr.steps.len() {
        let (left, right) = (etcd.steps.len(), vardr.steps.len());
        let last = vardr.steps.last().map_or("", |step| step.said.as_str());
        differences.push((false, format!("etcd came to step {left}, Vardr to {right}: `{}`", short(last))));
    }
    let passes = differences.iter().all(|(is_known, _)| *is_known);
    let texts: BTreeSet<_> = differences.into_iter().map(|(_, text)| text).collect();
    let texts = texts.into_iter().collect::<Vec<_>>().join("; ");
    match (passes, texts.is_empty()) {
        (true, true) => "yes".to_owned(),
        (true, false) => format!("yes, but for {texts}"),
        (false, _) => format!("**no**: {texts}"),
    }
}

/// The first lines that are not the same, short enough for a table.
fn first_difference(left: &str, right: &str) -> (String, String) {
    let mut pairs = left.lines().zip(right.lines());
    let (left, right) = pairs.find(|(left, right)| left != right).unwrap_or_else(|| {
        let common = left.lines().count().min(right.lines().count());
        (left.lines().nth(common).unwrap_or("nothing"), right.lines().nth(common).unwrap_or("nothing"))
    });
    (short(left), short(right))
}

fn short(text: &str) -> String {
    let text = text.trim().replace('|', "¦").replace('\n', " ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[test]
fn what_belongs_to_one_server_is_taken_out_and_nothing_else() {
    let addresses = ["127.0.0.1:40001".to_owned()];
    for (text, expected) in [
        ("lease 18c5a2197fba4023 granted with TTL(100s)", "lease ID granted with TTL(100s)"),
        ("http://127.0.0.1:40001 is healthy: took = 1.21862ms", "http://SERVER is healthy: took = TIME"),
        (
            "{\"ID\":4342255385247127749,\"peerURLs\":[\"http://127.0.0.1:40002\"]}",
            "{\"ID\":ID,\"peerURLs\":[\"http://PEER\"]}",
        ),
        ("c3d730fc83ae91, started, , http://127.0.0.1:1", "ID, started, , http://127.0.0.1:1"),
        ("+------------------+---------+", "+--+--+"),
        ("│   DB SIZE │─────────┤", "│ DB SIZE │─┤"),
        ("took 947µs, took 5.001057391s", "took TIME, took TIME"),
        ("get --prefix a: 12345678901 of 3.4.23", "get --prefix a: 12345678901 of 3.4.23"),
    ] {
        assert_eq!(neutral(text, &addresses), expected);
    }
    assert_eq!(without_figures("3.4.23, 33 kB, 50%, true, -1"), "N, N B, N%, true, -N");
}

#[test]
fn a_difference_is_told_and_one_that_is_known_says_why() {
    let part = |said: &[&str]| Part {
        feature: "get".to_owned(),
        steps: said.iter().map(|said| Step { run: "get a".to_owned(), said: (*said).to_owned() }).collect(),
    };
    let (etcd, vardr) = (part(&["a\n1\n"]), part(&["a\n2\n"]));
    assert_eq!(compared(&etcd, &etcd, &[]), "yes");
    assert_eq!(compared(&etcd, &vardr, &[]), "**no**: `get a`: etcd says `1`, Vardr `2`");
    let known = Known { feature: "get", run: "get", says: &["2"], why: "counted anew" };
    assert_eq!(compared(&etcd, &vardr, &[known]), "yes, but for `get a`: counted anew");
    for other in [
        Known { feature: "put", ..known },
        Known { run: "put", ..known },
        Known { says: &["3"], ..known },
        // Both are said, on two lines.
        Known { says: &["a", "2"], ..known },
    ] {
        assert_eq!(compared(&etcd, &vardr, &[other]), "**no**: `get a`: etcd says `1`, Vardr `2`", "{other:?}");
    }
    assert_eq!(compared(&etcd, &part(&["a\n3\n"]), &[known]), "**no**: `get a`: etcd says `1`, Vardr `3`");
    assert_eq!(compared(&etcd, &part(&["a\n1\n2\n"]), &[]), "**no**: `get a`: etcd says `nothing`, Vardr `2`");
    assert!(compared(&etcd, &part(&["a\n1\n", "b\n"]), &[]).starts_with("**no**: etcd came to step 1, Vardr to 2"));
}
