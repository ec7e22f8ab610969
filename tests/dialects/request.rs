//! A request of the v2 API as it is generated, shrunk, sent and shown: nothing about it is tidied up on the way.
//!
//! What depends on the store (an index that the test cannot know beforehand) is a placeholder until it is sent; both servers then get the
//! same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The text of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    Plain(String),
    /// Sent as it stands, not encoded.
    Raw(String),
    /// The name alone, without `=`.
    Bare,
    /// An index: so many after the one at which the sequence began.
    Later(u64),
    /// The index of the next write.
    Next,
    /// The index at which this key was last seen modified.
    Seen(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) text: Text,
    pub(crate) in_body: bool,
}

/// How the body is declared; the parameters in it are written as a form in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Urlencoded,
    Charset,
    Shouted,
    Json,
    Plain,
    Undeclared,
    Broken,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// As sent, before the `?`.
    pub(crate) path: String,
    pub(crate) params: Vec<Param>,
    pub(crate) form: Form,
    pub(crate) origin: Option<String>,
}

/// What the placeholders stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Indices {
    /// When the sequence began.
    pub(crate) base: u64,
    /// By the last answer.
    pub(crate) now: u64,
    /// Where each key was last seen modified.
    pub(crate) seen: BTreeMap<String, u64>,
}

impl Form {
    fn content_type(self) -> Option<&'static str> {
        match self {
            Self::Urlencoded => Some("application/x-www-form-urlencoded"),
            Self::Charset => Some("application/x-www-form-urlencoded; charset=utf-8"),
            Self::Shouted => Some("APPLICATION/X-WWW-Form-Urlencoded"),
            Self::Json => Some("application/json"),
            Self::Plain => Some("text/plain"),
            Self::Undeclared => None,
            Self::Broken => Some("application/x-www-form-urlencoded; ="),
        }
    }
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            params: Vec::new(),
            form: Form::Urlencoded,
            origin: None,
        }
    }

    /// With one more parameter in the query.
    pub(crate) fn with(mut self, name: &str, text: Text) -> Self {
        self.params.push(Param { name: name.to_owned(), text, in_body: false });
        self
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.params.iter().any(|param| param.name == name)
    }

    /// Whether a server looks at this one of its parameters: at those in a body only of some methods, and only in a form.
    pub(crate) fn is_read(&self, param: &Param) -> bool {
        let has_form = matches!(self.form, Form::Urlencoded | Form::Charset | Form::Shouted);
        !param.in_body || has_form && matches!(self.method.as_str(), "PUT" | "POST" | "PATCH")
    }

    /// Whether the answer may be one that stays open. What is not one after all is answered at once.
    pub(crate) fn may_wait(&self) -> bool {
        self.method == "GET" && self.params.iter().any(|param| param.name == "wait" && is_true(&param.text))
    }

    /// Whether a list in the answer has an order.
    pub(crate) fn is_sorted(&self) -> bool {
        let sorted = self.params.iter().find(|param| param.name == "sorted" && !param.in_body);
        sorted.is_some_and(|param| is_true(&param.text))
    }

    /// The index that a wait begins at, if it names one.
    pub(crate) fn wait_index(&self, indices: &Indices) -> Option<u64> {
        let text = &self.params.iter().find(|param| param.name == "waitIndex" && !param.in_body)?.text;
        indices.resolve(text)?.parse().ok().filter(|index| *index > 0)
    }

    pub(crate) fn streams(&self) -> bool {
        self.params.iter().any(|param| param.name == "stream" && is_true(&param.text))
    }

    fn form(&self, in_body: bool, indices: &Indices) -> Option<String> {
        let params: Vec<_> = self.params.iter().filter(|param| param.in_body == in_body).collect();
        let pair = |param: &&Param| match &param.text {
            Text::Bare => param.name.clone(),
            Text::Raw(raw) => format!("{}={raw}", param.name),
            Text::Plain(_) | Text::Later(_) | Text::Next | Text::Seen(_) => {
                format!("{}={}", param.name, encode(&indices.resolve(&param.text).unwrap_or_default()))
            }
        };
        (!params.is_empty()).then(|| params.iter().map(pair).collect::<Vec<_>>().join("&"))
    }

    /// The path with its query.
    pub(crate) fn target(&self, indices: &Indices) -> String {
        self.form(false, indices).map_or_else(|| self.path.clone(), |query| format!("{}?{query}", self.path))
    }

    fn headers(&self, indices: &Indices) -> (Vec<(&'static str, String)>, Option<String>) {
        let body = self.form(true, indices);
        let mut headers = Vec::new();
        if let Some(content_type) = self.form.content_type()
            && (body.is_some() || self.form != Form::Urlencoded)
        {
            headers.push(("Content-Type", content_type.to_owned()));
        }
        if let Some(origin) = &self.origin {
            headers.push(("Origin", origin.clone()));
        }
        if matches!(self.method.as_str(), "PUT" | "POST" | "PATCH") || body.is_some() {
            headers.push(("Content-Length", body.as_ref().map_or(0, String::len).to_string()));
        }
        (headers, body)
    }

    /// The bytes, the same for both servers.
    pub(crate) fn wire(&self, indices: &Indices) -> Vec<u8> {
        let (headers, body) = self.headers(indices);
        let target = self.target(indices);
        let mut text = format!("{} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", self.method);
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text.push_str("\r\n");
        text.push_str(&body.unwrap_or_default());
        text.into_bytes()
    }

    /// A command line that does the same.
    pub(crate) fn curl(&self, indices: &Indices) -> String {
        let (headers, body) = self.headers(indices);
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
        let mut line = match self.method.as_str() {
            "HEAD" => "curl -iI --path-as-is".to_owned(),
            method => format!("curl -iN --path-as-is -X {method}"),
        };
        let declared = headers.iter().any(|(name, _)| *name == "Content-Type");
        for (name, value) in headers.iter().filter(|(name, _)| *name != "Content-Length") {
            let _ = write!(line, " -H {}", quoted(&format!("{name}: {value}")));
        }
        if let Some(body) = body {
            let undeclared = if declared { "" } else { " -H 'Content-Type:'" };
            let _ = write!(line, "{undeclared} --data-raw {}", quoted(&body));
        }
        let _ = write!(line, " {}", quoted(&format!("http://$SERVER{}", self.target(indices))));
        line
    }
}

impl Indices {
    /// The text that is sent, before it is encoded; `None` for a bare name.
    fn resolve(&self, text: &Text) -> Option<String> {
        match text {
            Text::Plain(text) | Text::Raw(text) => Some(text.clone()),
            Text::Bare => None,
            Text::Later(by) => Some((self.base + by).to_string()),
            Text::Next => Some((self.now + 1).to_string()),
            Text::Seen(key) => Some(self.seen.get(key).copied().unwrap_or(self.base).to_string()),
        }
    }
}

/// Whether Go's `ParseBool` takes it for true.
fn is_true(text: &Text) -> bool {
    matches!(text, Text::Plain(text) | Text::Raw(text) if matches!(text.as_str(), "1" | "t" | "T" | "TRUE" | "true" | "True"))
}

/// Percent-encodes all but what is safe anywhere.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
