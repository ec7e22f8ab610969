//! What runs in a browser: the console, in `console`, and the examples of the guides in JavaScript, in pages of another origin
//! that `--cors` allows.
//!
//! `driver.mjs` opens pages in Chromium for any test, `pages.mjs` says what they log. The pages come from a server of this
//! program's own.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod console;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde::Deserialize;
use support::Server;
use support::examples::{Example, examples, matches};

/// What a page did, as `pages.mjs` prints it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    /// What it logged.
    lines: Vec<String>,
    /// What it or the browser logged as an error, every status of a failure included.
    complaints: Vec<String>,
    /// What nobody caught.
    errors: Vec<String>,
}

/// Serves pages that each run one script, at `/0`, `/1` and on.
struct Pages {
    origin: String,
    scripts: Arc<Mutex<Vec<String>>>,
}

impl Pages {
    fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let scripts = Arc::new(Mutex::new(Vec::new()));
        let served = Arc::clone(&scripts);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let served = Arc::clone(&served);
                thread::spawn(move || answer(&stream, &served));
            }
        });
        Self { origin, scripts }
    }

    /// The URL of a page that runs this script, as a module.
    fn add(&self, script: String) -> String {
        let mut scripts = self.scripts.lock().unwrap();
        scripts.push(script);
        format!("{}/{}", self.origin, scripts.len() - 1)
    }
}

/// Answers one request (RFC 9112) with a page; with 404 what is none, as a browser asks for icons.
fn answer(mut stream: &TcpStream, scripts: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    if reader.read_line(&mut request).is_err() {
        return;
    }
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|read| read > 2) {
        header.clear();
    }
    let number = request.split(' ').nth(1).and_then(|path| path.strip_prefix('/')?.parse::<usize>().ok());
    let script = number.and_then(|number| scripts.lock().unwrap().get(number).cloned());
    let (status, page) = match script {
        // The icon is an empty one of its own, so that none is asked for.
        Some(script) => (
            "200 OK",
            format!(
                "<!doctype html><link rel=icon href='data:,'><title>example</title>\n<script type=module>\n{script}</script>\n"
            ),
        ),
        None => ("404 Not Found", String::new()),
    };
    let length = page.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    // A browser that has gone misses nothing.
    let _ = stream.write_all(format!("{head}{page}").as_bytes());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Why this machine has no browser to drive, if it has none.
fn missing() -> Option<String> {
    let modules = root().join("target/browser/node_modules");
    let needed = ["/usr/bin/chromium".into(), modules.join("playwright-core"), modules.join("axe-core")];
    let absent = needed.iter().find(|path: &&PathBuf| !path.exists());
    let node = Command::new("node").arg("--version").output().is_err().then(|| PathBuf::from("node"));
    absent.or(node.as_ref()).map(|path| format!("{} is not there: make tools installs it", path.display()))
}

/// Opens pages in a browser until they have logged so many lines.
fn show(pages: &[(String, usize)]) -> Vec<Shown> {
    let mut command = Command::new("node");
    command.arg(root().join("tests/browser/pages.mjs"));
    for (url, lines) in pages {
        command.arg(url).arg(lines.to_string());
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let shown = String::from_utf8(output.stdout).unwrap();
    shown.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The examples for browsers of a guide.
fn of_the_guide(guide: &str) -> Vec<Example> {
    examples(&std::fs::read_to_string(root().join("docs").join(guide)).unwrap(), &["js"])
}

#[test]
fn the_examples_for_browsers_log_what_the_guides_say() {
    if let Some(missing) = missing() {
        println!("not run: the examples for browsers; {missing}");
        return;
    }
    let site = Pages::serve();
    let server = Server::with_flags(&["--cors", &site.origin]);
    let mut all = Vec::new();
    for (guide, count) in [("exec.md", 1), ("leases.md", 2), ("locks.md", 2), ("services.md", 1)] {
        let found = of_the_guide(guide);
        assert_eq!(found.len(), count, "{guide}");
        all.extend(found.into_iter().map(|example| (guide, example)));
    }
    let page = |(_, example): &(&str, Example)| (site.add(example.code_for(&server)), example.output().lines().count());
    let shown = show(&all.iter().map(page).collect::<Vec<_>>());
    assert_eq!(shown.len(), all.len());
    for ((guide, example), page) in all.iter().zip(&shown) {
        let is_as_said = page.errors.is_empty() && matches(example.output(), &page.lines.join("\n"));
        assert!(is_as_said, "{guide}:\n{}\n{page:#?}\n{}", example.code(), server.log());
    }
}

#[test]
fn a_page_of_an_origin_that_is_not_listed_can_neither_write_nor_read() {
    if let Some(missing) = missing() {
        println!("not run: a page of a foreign origin; {missing}");
        return;
    }
    let (site, server) = (Pages::serve(), Server::start());
    let code = r#"const keys = "http://localhost:2379/v1/keys";
        for (const method of ["PUT", "GET"]) {
            const body = method === "PUT" ? "x" : undefined;
            await fetch(`${keys}/a`, { method, body }).then(() => console.log("allowed"), () => console.log("refused"));
        }"#;
    let url = site.add(code.replace("localhost:2379", server.address()));
    let shown = show(&[(url, 2)]);
    assert_eq!(shown[0].lines, ["refused", "refused"], "{shown:#?}");
    assert!(shown[0].complaints.iter().any(|complaint| complaint.contains("CORS")), "{shown:#?}");
    let client = support::http::Client::new(server.address());
    assert_eq!(client.get("/v1/keys/a").status, 404);
}
