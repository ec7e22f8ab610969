//! Examples of a page of documentation, run as they stand against a server, and what they print compared.
//!
//! An example is a block fenced with the name of its language; the block after it, fenced with `text`, is what it prints,
//! where `…` stands for anything. Nothing else is run.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::Server;

/// A block of commands or a program, and what it prints.
pub(crate) struct Example {
    language: &'static str,
    code: String,
    output: String,
}

/// The examples of a page in these languages, of `sh`, `python` and `go`, which can be run here, and `js`, which a browser runs.
pub(crate) fn examples(page: &str, languages: &[&'static str]) -> Vec<Example> {
    let mut blocks = page.split("```").skip(1).step_by(2);
    let mut examples = Vec::new();
    while let Some(block) = blocks.next() {
        let Some((name, code)) = block.split_once('\n') else { continue };
        if let Some(language) = languages.iter().find(|language| **language == name) {
            let output = blocks.next().and_then(|block| block.strip_prefix("text\n"));
            let output = output.unwrap_or_else(|| panic!("the page does not say what this prints:\n{code}"));
            examples.push(Example { language, code: code.to_owned(), output: output.to_owned() });
        }
    }
    examples
}

/// Whether `text` is `pattern`, in which `…` stands for anything within a line. Empty lines do not count.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let line_matches = |(pattern, line): (&String, &String)| {
        let Some((first, rest)) = pattern.split_once('…') else { return pattern == line };
        let Some(mut left) = line.strip_prefix(first) else { return false };
        let mut parts = rest.split('…').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return left.ends_with(part);
            }
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        true
    };
    let lines = |text: &str| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (patterns, lines) = (lines(pattern), lines(text));
    patterns.len() == lines.len() && patterns.iter().zip(&lines).all(line_matches)
}

impl Example {
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// The code, with the address of this server in place of the default.
    pub(crate) fn code_for(&self, server: &Server) -> String {
        self.code.replace("localhost:2379", server.address())
    }

    pub(crate) fn output(&self) -> &str {
        &self.output
    }

    /// Runs it in a folder, which the later ones find as it left it.
    fn run(&self, server: &Server, folder: &Path) -> String {
        let binaries = Path::new(env!("CARGO_BIN_EXE_vardr")).parent().unwrap();
        let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
        let code = self.code_for(server);
        let (program, arguments) = match self.language {
            "sh" => ("bash", vec!["-euo", "pipefail", "-c", code.as_str()]),
            "python" => ("python3", vec!["-c", code.as_str()]),
            _ => {
                std::fs::write(folder.join("main.go"), &code).unwrap();
                ("go", vec!["run", "main.go"])
            }
        };
        let output = Command::new(program)
            .args(arguments)
            .env("PATH", path)
            .env("VARDR_ENDPOINT", server.url())
            .env("CURL_HOME", folder)
            .current_dir(folder)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "failed:\n{}\n{errors}\n{}", self.code, server.log());
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Runs examples one after the other, and fails where one prints something else than the page says.
pub(crate) fn check(examples: &[Example], server: &Server) {
    let folder = tempfile::tempdir().unwrap();
    // An answer has no newline at its end; without one between them, those of several commands would stand in one line.
    std::fs::write(folder.path().join(".curlrc"), "silent\nwrite-out = \"\\n\"\n").unwrap();
    let mut differences = String::new();
    for example in examples {
        let printed = example.run(server, folder.path());
        if !matches(&example.output, &printed) {
            let Example { language: _, code, output } = example;
            write!(differences, "\n{code}\nprinted:\n{printed}\nbut the page says:\n{output}\n").unwrap();
        }
    }
    assert!(differences.is_empty(), "{differences}");
}
