//! What a command writes: text for people, JSON for programs, and nothing more once nobody reads it.

use std::io::{ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use serde_json::Value;

use super::exit::{Failure, Outcome};

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: what `/v1` answers, one document or one line per event.
    Json,
}

/// Standard output.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    colour: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { format, colour: is_terminal() && !refused && !dumb }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Bytes as they are.
    #[expect(clippy::unused_self, reason = "whoever holds the output may write to it")]
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Outcome<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::broken_pipe(),
            _ => Failure::io("standard output", &error),
        })
    }

    /// Bytes, and a line break unless they end in one.
    pub(crate) fn line(&self, text: impl AsRef<[u8]>) -> Outcome<()> {
        let mut bytes = text.as_ref().to_vec();
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
        self.bytes(&bytes)
    }

    /// Text, faint on a terminal.
    pub(crate) fn faint(&self, text: &str) -> String {
        if self.colour { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Text, in the colour of what a kind of event means.
    pub(crate) fn kind(&self, kind: &str) -> String {
        let colour = match kind {
            "put" | "registered" => "32",
            "delete" | "expire" | "deregistered" => "31",
            _ => "33",
        };
        if self.colour { format!("\u{1b}[{colour}m{kind}\u{1b}[0m") } else { kind.to_owned() }
    }
}

/// Whether a person looks at standard output.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Columns lined up with two blanks between them; the last one runs free.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A member of an answer as text: strings as they are, anything else as JSON; empty when absent.
pub(crate) fn member(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["ccc".to_owned(), "d".to_owned()]];
        assert_eq!(table(&rows), "a    bb\nccc  d\n");
    }

    #[test]
    fn sizes_are_rounded_down_to_a_tenth() {
        assert_eq!([size(0), size(1023), size(1024), size(1_600_000)], ["0 B", "1023 B", "1.0 KiB", "1.5 MiB"]);
        assert_eq!(size(u64::MAX), "17179869183.9 GiB");
    }
}
