//! A template in Jinja's syntax, filled with what keys hold at one revision.
//!
//! minijinja calls functions that answer at once, and a read takes its time. So a template is rendered on a thread that
//! waits for what it asks. What it asked for is known afterwards, also where it failed: nothing else can change what comes
//! of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};
use serde_json::Value as Json;
use tokio::sync::{mpsc, oneshot};

use super::client::Client;
use super::exit::{Exit, Failure, Outcome};
use super::moment::{Moment, Pair, Subject};
use super::route;

/// Where services stand.
const SERVICES: &str = "/services/";

/// A template as it was read.
#[derive(Debug)]
pub(crate) struct Template {
    name: String,
    source: String,
    /// What stands before the name of a key or directory that does not begin with a slash.
    prefix: Vec<u8>,
}

/// What came of a template.
#[derive(Debug)]
pub(crate) struct Rendering {
    /// What it read.
    pub seen: BTreeSet<Subject>,
    /// When: the revision of all reads, 0 if there were none.
    pub revision: u64,
    pub result: Outcome<String>,
}

/// What a template asks for, and where the answer goes. Nothing comes when it cannot be had.
struct Ask {
    subject: Subject,
    reply: oneshot::Sender<Arc<Vec<Pair>>>,
}

/// Marks the error of a key that is absent.
#[derive(Debug)]
struct Absent;

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key is absent")
    }
}

impl std::error::Error for Absent {}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A file that cannot be read, and text that is no template.
    pub(crate) fn read(path: &Path, prefix: Vec<u8>) -> Outcome<Self> {
        let name = path.display().to_string();
        let source = std::fs::read_to_string(path).map_err(|error| Failure::io(&name, &error))?;
        let template = Self { name, source, prefix };
        let check = || environment()?.template_from_named_str(&template.name, &template.source).map(drop);
        check().map_err(|error| template.failure(&error))?;
        Ok(template)
    }

    /// Renders it with the present state, which all of it is of one revision.
    pub(crate) async fn render(self: &Arc<Self>, client: &Client) -> Rendering {
        let (asks, mut asked) = mpsc::channel(1);
        let template = Arc::clone(self);
        let rendering = tokio::task::spawn_blocking(move || template.render_with(asks));
        let mut moment = Moment::new(client);
        let mut known: BTreeMap<Subject, Arc<Vec<Pair>>> = BTreeMap::new();
        let mut failed = None;
        while let Some(Ask { subject, reply }) = asked.recv().await {
            let found = match known.get(&subject) {
                Some(found) => Ok(Arc::clone(found)),
                None => read(&mut moment, &subject).await.map(Arc::new),
            };
            match found {
                Ok(found) => {
                    known.insert(subject, Arc::clone(&found));
                    // Whoever asked waits for it.
                    let _taken = reply.send(found);
                }
                Err(failure) => failed = Some(failure),
            }
        }
        let result = match (failed, rendering.await) {
            (Some(failure), _) => Err(failure),
            (None, Ok(result)) => result,
            (None, Err(error)) => Err(Failure::failed(format!("{}: {error}", self.name))),
        };
        Rendering { revision: moment.revision(), seen: moment.into_seen(), result }
    }

    fn render_with(&self, asks: mpsc::Sender<Ask>) -> Outcome<String> {
        let render = || {
            let mut environment = environment()?;
            add_functions(&mut environment, &Reader { asks, prefix: self.prefix.clone() });
            environment.template_from_named_str(&self.name, &self.source)?.render(Value::from(()))
        };
        render().map_err(|error| self.failure(&error))
    }

    /// Says in which line of which file what is wrong.
    fn failure(&self, error: &Error) -> Failure {
        let what = match (error.kind(), error.detail()) {
            (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        let mut message = self.name.clone();
        if let Some(number) = error.line() {
            let line = self.source.lines().nth(number.saturating_sub(1)).unwrap_or_default();
            let _infallible = write!(message, ":{number}: {what}, in `{}`", line.trim());
        } else {
            let _infallible = write!(message, ": {what}");
        }
        let absent = std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Absent>);
        Failure::new(if absent { Exit::NotFound } else { Exit::Usage }, message)
    }
}

async fn read(moment: &mut Moment<'_>, subject: &Subject) -> Outcome<Vec<Pair>> {
    match subject {
        Subject::Key(key) => Ok(moment.value(key).await?.map(|value| (key.clone(), value)).into_iter().collect()),
        Subject::Children(directory) => moment.list(directory, false).await,
        Subject::Tree(directory) => moment.list(directory, true).await,
    }
}

/// How templates are read and values written, without the functions that need a server.
fn environment<'source>() -> Result<Environment<'source>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // A line with nothing but a block leaves no line behind, and the last line break stays.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?;
    environment.set_syntax(syntax);
    environment.set_formatter(write_value);
    Ok(environment)
}

/// Text as it is, and everything else as JSON, which most configuration files understand: `true`, `null`, `[1, 2]`.
fn write_value(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return Ok(out.write_str(text)?);
    }
    if value.kind() == ValueKind::Bytes {
        return Err(invalid("a value that is not text cannot be written"));
    }
    let json = serde_json::to_string(value).map_err(|error| invalid(format!("a value is no JSON: {error}")))?;
    Ok(out.write_str(&json)?)
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

fn absent(what: String) -> Error {
    invalid(what).with_source(Absent)
}

/// What the functions of a template read with.
#[derive(Clone)]
struct Reader {
    asks: mpsc::Sender<Ask>,
    prefix: Vec<u8>,
}

impl Reader {
    fn ask(&self, subject: Subject) -> Result<Arc<Vec<Pair>>, Error> {
        let (reply, answer) = oneshot::channel();
        // Who does not answer has the reason, and tells it in place of this.
        let unanswered = || invalid("it cannot be read");
        self.asks.blocking_send(Ask { subject, reply }).map_err(|_| unanswered())?;
        answer.blocking_recv().map_err(|_| unanswered())
    }

    fn full(&self, name: &str) -> Vec<u8> {
        if name.starts_with('/') {
            return name.as_bytes().to_vec();
        }
        [self.prefix.as_slice(), name.as_bytes()].concat()
    }

    /// The value of a key, and the key for people.
    fn value(&self, name: &str) -> Result<(String, Option<Bytes>), Error> {
        let key = self.full(name);
        if key.is_empty() || key.ends_with(b"/") {
            return Err(invalid(format!("`{}` is not a key: `list` and `tree` read directories", route::shown(&key))));
        }
        let shown = route::shown(&key);
        let found = self.ask(Subject::Key(key))?;
        Ok((shown, found.first().map(|(_, value)| value.clone())))
    }

    fn directory(&self, name: &str) -> Result<Vec<u8>, Error> {
        use std::os::unix::ffi::OsStrExt as _;
        route::listable(OsStr::from_bytes(&self.full(name))).map_err(|failure| invalid(failure.to_string()))
    }

    /// The text of a key, or what is to stand in for it.
    fn get(&self, name: &str, otherwise: &Kwargs) -> Result<Value, Error> {
        match (self.value(name)?, default(otherwise)?) {
            ((key, Some(value)), _) => {
                let text =
                    std::str::from_utf8(&value).map_err(|_| invalid(format!("the value of {key} is not text")))?;
                Ok(Value::from(text))
            }
            ((_, None), Some(otherwise)) => Ok(otherwise),
            ((key, None), None) => Err(absent(format!("there is no key {key}"))),
        }
    }

    /// The JSON of a key, or what is to stand in for it.
    fn json(&self, name: &str, otherwise: &Kwargs) -> Result<Value, Error> {
        match (self.value(name)?, default(otherwise)?) {
            ((key, Some(value)), _) => {
                let json = serde_json::from_slice(&value);
                json.map(from_json).map_err(|error| invalid(format!("the value of {key} is not JSON: {error}")))
            }
            ((_, None), Some(otherwise)) => Ok(otherwise),
            ((key, None), None) => Err(absent(format!("there is no key {key}"))),
        }
    }

    /// The keys of a directory: objects with `key`, `name` (relative to the directory) and `value`.
    fn list(&self, directory: &str, subject: fn(Vec<u8>) -> Subject) -> Result<Value, Error> {
        let directory = self.directory(directory)?;
        let pairs = self.ask(subject(directory.clone()))?;
        let item = |(key, value): &Pair| {
            let name = key.strip_prefix(directory.as_slice()).unwrap_or(key);
            Value::from_pairs([("key", text(key)), ("name", text(name)), ("value", text(value))])
        };
        Ok(pairs.iter().map(item).collect())
    }

    /// The instances of a service that can be sent requests, by name.
    fn services(&self, service: &str) -> Result<Value, Error> {
        let directory = format!("{SERVICES}{service}/");
        let directory = route::listable(OsStr::new(&directory)).map_err(|failure| invalid(failure.to_string()))?;
        let pairs = self.ask(Subject::Children(directory.clone()))?;
        let instance = |(key, value): &Pair| {
            let Ok(Json::Object(mut document)) = serde_json::from_slice(value) else { return None };
            if !matches!(document.get("status").map(Json::as_str), None | Some(Some("passing" | "warning"))) {
                return None;
            }
            let name = key.strip_prefix(directory.as_slice()).unwrap_or(key);
            document.insert("instance".to_owned(), String::from_utf8_lossy(name).into_owned().into());
            Some(from_json(Json::Object(document)))
        };
        Ok(pairs.iter().filter_map(instance).collect())
    }
}

fn add_functions(environment: &mut Environment<'_>, reader: &Reader) {
    let own = || reader.clone();
    let this = own();
    environment.add_function("get", move |key: String, more: Kwargs| this.get(&key, &more));
    let this = own();
    environment.add_function("json", move |key: String, more: Kwargs| this.json(&key, &more));
    let this = own();
    environment.add_function("exists", move |key: String| this.value(&key).map(|(_, value)| value.is_some()));
    let this = own();
    environment.add_function("list", move |directory: String| this.list(&directory, Subject::Children));
    let this = own();
    environment.add_function("tree", move |directory: String| this.list(&directory, Subject::Tree));
    let this = own();
    environment.add_function("services", move |service: String| this.services(&service));
    environment.add_function("env", |name: String, more: Kwargs| variable(&name, &more));
}

/// A variable of the environment, or what is to stand in for it.
fn variable(name: &str, otherwise: &Kwargs) -> Result<Value, Error> {
    match (std::env::var(name), default(otherwise)?) {
        (Ok(value), _) => Ok(Value::from(value)),
        (Err(std::env::VarError::NotUnicode(_)), _) => Err(invalid(format!("the variable {name} is not text"))),
        (Err(std::env::VarError::NotPresent), Some(otherwise)) => Ok(otherwise),
        (Err(std::env::VarError::NotPresent), None) => Err(invalid(format!("there is no variable {name}"))),
    }
}

/// The only thing that a function may be told by name.
fn default(arguments: &Kwargs) -> Result<Option<Value>, Error> {
    let default = arguments.get("default")?;
    arguments.assert_all_used()?;
    Ok(default)
}

/// Text, or where it is none, bytes.
fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => Value::from_bytes(bytes.to_vec()),
    }
}

/// By hand: serde's way would show the numbers of `serde_json`, which keep their digits, as objects.
fn from_json(json: Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Value::from(number),
            (None, Some(number), _) => Value::from(number),
            (None, None, Some(number)) => Value::from(number),
            (None, None, None) => Value::from(number.to_string()),
        },
        Json::String(text) => Value::from(text),
        Json::Array(items) => items.into_iter().map(from_json).collect(),
        Json::Object(members) => Value::from_pairs(members.into_iter().map(|(name, value)| (name, from_json(value)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Renders with a store that holds these keys.
    fn rendered(source: &str, keys: &[(&str, &str)]) -> Outcome<String> {
        let (asks, mut asked) = mpsc::channel::<Ask>(1);
        let keys: Vec<Pair> =
            keys.iter().map(|(key, value)| (key.as_bytes().to_vec(), Bytes::from((*value).to_owned()))).collect();
        let server = std::thread::spawn(move || {
            while let Some(Ask { subject, reply }) = asked.blocking_recv() {
                let below = |directory: &[u8], key: &[u8]| key.strip_prefix(directory).map(<[u8]>::to_vec);
                let is_asked = |(key, _): &&Pair| match &subject {
                    Subject::Key(name) => key == name,
                    Subject::Children(name) => below(name, key).is_some_and(|rest| !rest.contains(&b'/')),
                    Subject::Tree(name) => below(name, key).is_some(),
                };
                reply.send(Arc::new(keys.iter().filter(is_asked).cloned().collect())).unwrap();
            }
        });
        let template = Template { name: "x.tmpl".to_owned(), source: source.to_owned(), prefix: b"/app/".to_vec() };
        let result = template.render_with(asks);
        server.join().unwrap();
        result
    }

    fn failure(source: &str) -> (Exit, String) {
        let failure = rendered(source, &[("/bytes", "x")]).unwrap_err();
        (failure.exit(), failure.to_string())
    }

    #[test]
    fn functions_read_keys() {
        let keys =
            [("/app/db", "pg"), ("/app/web", "{\"port\": 80, \"tls\": true, \"z\": [1, 1.5, null], \"a\": \"x\"}")];
        let shows = |source: &str, expected: &str| assert_eq!(rendered(source, &keys).unwrap(), expected, "{source}");
        shows("{{ get('/app/db') }} {{ get('db') }}\n", "pg pg\n");
        shows("{{ get('/no', default='x') }}", "x");
        shows("{{ exists('/no') }} {{ exists('/app/db') }}", "false true");
        shows("{{ json('/app/web').port }} {{ json('web').tls }}", "80 true");
        shows("{{ json('web') }}", "{\"port\":80,\"tls\":true,\"z\":[1,1.5,null],\"a\":\"x\"}");
        shows("{% if exists('db') %}\nyes\n{% endif %}\n", "yes\n");
        shows("{{ '<&>' }}", "<&>");
    }

    #[test]
    fn functions_read_directories() {
        let keys = [("/app/a", "1"), ("/app/b/c", "2"), ("/app/d", "3")];
        let shows = |source: &str, expected: &str| assert_eq!(rendered(source, &keys).unwrap(), expected, "{source}");
        shows("{% for x in list('/app/') %}{{ x.name }}={{ x.value }} {% endfor %}", "a=1 d=3 ");
        shows("{% for x in tree('/app') %}{{ x.name }}={{ x.key }} {% endfor %}", "a=/app/a b/c=/app/b/c d=/app/d ");
        shows("{{ list('/none/') | length }}", "0");
    }

    #[test]
    fn services_are_those_that_take_requests() {
        let keys = [
            ("/services/web/a", "{\"port\": 1}"),
            ("/services/web/b", "{\"port\": 2, \"status\": \"critical\"}"),
            ("/services/web/c", "{\"port\": 3, \"status\": \"warning\"}"),
            ("/services/web/d", "no JSON"),
            ("/services/web/e", "{\"port\": 5, \"status\": \"passing\"}"),
            ("/services/web/f", "{\"port\": 6, \"status\": 1}"),
            ("/services/web/g/h", "{\"port\": 7}"),
        ];
        let source = "{% for x in services('web') %}{{ x.instance }}:{{ x.port }} {% endfor %}";
        assert_eq!(rendered(source, &keys).unwrap(), "a:1 c:3 e:5 ");
    }

    #[test]
    fn an_error_names_its_line_and_what_is_wrong() {
        let (exit, message) = failure("a\n{{ get('/no') }}\n");
        assert_eq!((exit, message.as_str()), (Exit::NotFound, "x.tmpl:2: there is no key /no, in `{{ get('/no') }}`"));
        for (source, what) in [
            ("{{ x }}", "x.tmpl:1: undefined value"),
            ("\n\n{% for %}", "x.tmpl:3: syntax error"),
            ("{{ json('/bytes') }}", "x.tmpl:1: the value of /bytes is not JSON"),
            ("{{ json('/bytes').a }}", "x.tmpl:1: "),
            ("{{ get('/bytes', defualt='x') }}", "defualt"),
            ("{{ get('/bytes/') }}", "x.tmpl:1: `/bytes/` is not a key"),
            ("{{ list('/a//b') }}", "x.tmpl:1: `/a//b` is not a directory"),
            ("{{ env('VARDR_NO_SUCH_VARIABLE') }}", "there is no variable VARDR_NO_SUCH_VARIABLE"),
            ("{{ nonsense() }}", "nonsense"),
        ] {
            let (exit, message) = failure(source);
            assert_eq!(exit, Exit::Usage, "{source}");
            assert!(message.contains(what), "{source}: {message}");
        }
    }
}
