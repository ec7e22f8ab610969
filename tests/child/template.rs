//! `vardr template`: renderings, files, reloads, and what happens when something is missing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tempfile::TempDir;

use super::support::Server;
use super::{Running, client, eventually, run, text};

/// A template, and the file that it becomes.
struct Files {
    dir: TempDir,
    template: String,
    target: PathBuf,
}

impl Files {
    fn new(template: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.tmpl");
        fs::write(&path, template).unwrap();
        Self { template: path.to_str().unwrap().to_owned(), target: dir.path().join("out.conf"), dir }
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["template", &self.template, path(&self.target)], more].concat()
    }

    fn read(&self) -> String {
        fs::read_to_string(&self.target).unwrap_or_default()
    }

    fn becomes(&self, expected: &str) {
        eventually(expected, || self.read() == expected);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_template_becomes_a_file_once() {
    let server = Server::start();
    let client = client(&server);
    client.put("/v1/keys/app/port", "80").expect(201);
    client.put("/v1/keys/app/users/ann", "1").expect(201);
    client.put("/v1/keys/services/web/a", r#"{"address":"10.0.0.1"}"#).expect(201);
    let files = Files::new(concat!(
        "port {{ get('port') }}\n{% for user in list('users/') %}\nuser {{ user.name }}\n{% endfor %}\n",
        "{% for web in services('web') %}\n{{ web.instance }} {{ web.address }}\n{% endfor %}\n",
    ));
    let arguments = files.arguments(&["--once", "--prefix", "/app", "--mode", "0640"]);
    let output = run(&server, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(files.read(), "port 80\nuser ann\na 10.0.0.1\n");
    let about = fs::metadata(&files.target).unwrap();
    assert_eq!(about.mode() & 0o777, 0o640);
    run(&server, &arguments);
    assert_eq!(fs::metadata(&files.target).unwrap().ino(), about.ino(), "the same is not written again");
    let output = run(&server, &["template", &files.template, "-", "--once", "--prefix", "/app/"]);
    assert_eq!(text(&output.stdout), files.read());
}

#[test]
fn a_template_that_is_wrong_says_where_and_writes_nothing() {
    let server = Server::start();
    for (template, code, what) in [
        ("a\n{{ get('/no') }}", 3, "in.tmpl:2: there is no key /no"),
        ("{{ x }}", 2, "in.tmpl:1: undefined value"),
        ("{% if %}", 2, "in.tmpl:1: syntax error"),
    ] {
        let files = Files::new(template);
        let output = run(&server, &files.arguments(&[]));
        assert_eq!(output.status.code(), Some(code), "{template}");
        assert!(text(&output.stderr).contains(what), "{}", text(&output.stderr));
        assert_eq!(fs::read_dir(files.dir.path()).unwrap().count(), 1);
    }
    let files = Files::new("{{ get('/no', default='x') }}");
    let output = run(&server, &files.arguments(&["--endpoint", "127.0.0.1:1"]));
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn a_reload_runs_once_for_each_change_and_its_failure_is_told() {
    let server = Server::start();
    let client = client(&server);
    client.put("/v1/keys/a", "1").expect(201);
    let files = Files::new("{{ get('/a') }}\n");
    let reload = format!("cat {}; exit 3", path(&files.target));
    let mut running = Running::start(&server, &files.arguments(&["--reload", &reload]));
    assert_eq!(running.next(), "1");
    running.hears("ended with 3");
    client.put("/v1/keys/a", "1").expect(200);
    client.put("/v1/keys/elsewhere", "x").expect(201);
    client.put("/v1/keys/a", "2").expect(200);
    assert_eq!(running.next(), "2");
    client.put("/v1/keys/a", "3").expect(200);
    assert_eq!(running.next(), "3", "there was no reload in between");
    assert_eq!(running.end(), Some(143));

    client.put("/v1/keys/a", "4").expect(200);
    assert_eq!(run(&server, &files.arguments(&["--reload", &reload, "--once"])).status.code(), Some(3));
}

#[test]
fn what_is_missing_keeps_the_file_until_it_is_back() {
    let mut server = Server::start();
    client(&server).put("/v1/keys/a", "one").expect(201);
    let files = Files::new("{{ get('/a') }} {{ get('/b', default='') }}\n");
    let running = Running::start(&server, &files.arguments(&[]));
    files.becomes("one \n");
    client(&server).delete("/v1/keys/a").expect(200);
    running.hears("there is no key /a");
    assert_eq!(files.read(), "one \n");
    server.kill();
    running.hears("the file stays as it is");
    server.restart();
    client(&server).put("/v1/keys/b", "too").expect(201);
    client(&server).put("/v1/keys/a", "two").expect(201);
    files.becomes("two too\n");
}

#[test]
fn a_template_follows_what_it_reads_and_reads_it_at_one_revision() {
    let server = Server::start();
    let client = client(&server);
    let write = |number: usize| {
        let put = |key: &str| format!(r#"{{"put":{{"key":"{key}","value":"{number}"}}}}"#);
        let body = format!(r#"{{"then":[{},{},{}]}}"#, put("/a"), put("/d/b"), put("/d/c"));
        client.send("POST", "/v1/txn", &[("Content-Type", "application/json")], body.as_bytes()).expect(200);
    };
    write(0);
    let lines = "{{ get('/a') }} {% for x in tree('/d') %}{{ x.value }} {% endfor %}.\n".repeat(500);
    let files = Files::new(&lines);
    let done = AtomicBool::new(false);
    let _running = Running::start(&server, &files.arguments(&[]));
    files.becomes(&"0 0 0 .\n".repeat(500));
    thread::scope(|scope| {
        // Whoever reads sees one whole rendering of one revision.
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&files.target).unwrap();
                let first = text.split(' ').next().unwrap().to_owned();
                assert_eq!(text, format!("{first} {first} {first} .\n").repeat(500));
            }
        });
        (1..=200).for_each(write);
        files.becomes(&"200 200 200 .\n".repeat(500));
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}
