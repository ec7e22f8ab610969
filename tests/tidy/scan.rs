//! A reader of Rust source just exact enough for the house rules: words and signs with their lines, comments and the
//! contents of literals left out.
//!
//! It knows nothing of the rules, which are in `tidy.rs`, and never opens a file.

/// One word or sign of a source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// A path such as `crate::model::Key`, as its segments, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// The tokens of a source text. A string, byte string or character becomes the one token `""`.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1, tokens: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.skip(block_comment(self.rest));
        } else if let Some(length) = literal(self.rest) {
            self.push("\"\"".to_owned(), length);
        } else if first.is_alphabetic() || first == '_' {
            let length = word(self.rest);
            self.push(self.rest[..length].to_owned(), length);
        } else if self.rest.starts_with("::") {
            self.push("::".to_owned(), 2);
        } else {
            self.push(first.to_string(), first.len_utf8());
        }
        true
    }

    fn push(&mut self, text: String, length: usize) {
        self.tokens.push(Token { text, line: self.line });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        let (gone, rest) = self.rest.split_at(length);
        self.line += gone.matches('\n').count();
        self.rest = rest;
    }
}

fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of the string, byte string, raw string or character that `text` begins with. A lifetime is none.
fn literal(text: &str) -> Option<usize> {
    let body = text.strip_prefix("br").or_else(|| text.strip_prefix('r'));
    if let Some(body) = body {
        let hashes = body.bytes().take_while(|byte| *byte == b'#').count();
        if body[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let prefix = text.len() - body.len() + hashes + 1;
            return Some(text[prefix..].find(&end).map_or(text.len(), |at| prefix + at + end.len()));
        }
    }
    let prefix = usize::from(text.starts_with("b\"") || text.starts_with("b'"));
    match text.as_bytes()[prefix] {
        b'"' => Some(prefix + quoted(&text[prefix..], b'"')),
        b'\'' if is_character(&text[prefix + 1..]) => Some(prefix + quoted(&text[prefix..], b'\'')),
        _ => None,
    }
}

fn is_character(after_quote: &str) -> bool {
    let mut chars = after_quote.chars();
    chars.next() == Some('\\') || chars.next() == Some('\'')
}

fn quoted(text: &str, quote: u8) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The tokens without every item under `#[cfg(test)]`.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens[at..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
            at = item_end(tokens, at + 7);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The names of the modules declared `#[cfg(test)] mod name;`, whose files hold nothing that ships.
pub(crate) fn test_modules(tokens: &[Token]) -> Vec<String> {
    let declaration = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let is_declared =
        |window: &&[Token]| starts_with(window, &declaration) && window.get(9).is_some_and(|end| end.text == ";");
    tokens.windows(10).filter(is_declared).map(|window| window[8].text.clone()).collect()
}

/// Whether `tokens` begins with these words and signs.
pub(crate) fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

fn item_end(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, token) in tokens[from..].iter().enumerate() {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return from + offset + 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return from + offset + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Every path that leads out of the crate's root, by `crate::` or by as many `super::` as the file is deep, groups
/// spelled out, without the leading `crate`. `depth` is the number of modules the file is inside of, itself included.
pub(crate) fn crate_paths(tokens: &[Token], depth: usize) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut inline = InlineModules::default();
    for at in 0..tokens.len() {
        inline.see(&tokens[at..]);
        let after = |at: usize| tokens.get(at + 1).is_some_and(|next| next.text == "::");
        let continues = at > 0 && tokens[at - 1].text == "::" && (at < 2 || tokens[at - 2].text != "self");
        if continues || !after(at) {
            continue;
        }
        let start = match tokens[at].text.as_str() {
            "crate" => at + 2,
            "super" => {
                let supers = tokens[at..].chunks(2).take_while(|pair| starts_with(pair, &["super", "::"])).count();
                if supers < depth + inline.open.len() {
                    continue;
                }
                at + 2 * supers
            }
            _ => continue,
        };
        tree(tokens, start, &[], &mut paths);
    }
    paths
}

/// The modules written inside a file that are open at a point of it.
#[derive(Default)]
struct InlineModules {
    braces: usize,
    open: Vec<usize>,
}

impl InlineModules {
    fn see(&mut self, rest: &[Token]) {
        match rest[0].text.as_str() {
            "mod" if rest.get(2).is_some_and(|token| token.text == "{") => self.open.push(self.braces),
            "{" => self.braces += 1,
            "}" => {
                self.braces = self.braces.saturating_sub(1);
                if self.open.last() == Some(&self.braces) {
                    self.open.pop();
                }
            }
            _ => {}
        }
    }
}

/// Reads one use tree or path from `at` on and answers where it ends.
fn tree(tokens: &[Token], mut at: usize, prefix: &[String], paths: &mut Vec<Path>) -> usize {
    let mut segments = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        if token.text == "{" {
            return group(tokens, at + 1, &segments, paths);
        }
        segments.push(token.text.clone());
        let goes_on = starts_with(&tokens[at + 1..], &["::"])
            && tokens.get(at + 2).is_some_and(|next| next.text != "<" && next.text != "(");
        if !goes_on {
            paths.push(Path { segments, line: token.line });
            return at + 1;
        }
        at += 2;
    }
    at
}

fn group(tokens: &[Token], mut at: usize, prefix: &[String], paths: &mut Vec<Path>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "}" => return at + 1,
            "," => at += 1,
            "as" => at += 2,
            _ => at = tree(tokens, at, prefix, paths),
        }
    }
    at
}

/// The lines on which the crate `name` is reached by a path that begins with it. A module with the same name, declared
/// or imported by the file, hides the crate.
pub(crate) fn crate_uses(tokens: &[Token], name: &str) -> Vec<usize> {
    let hidden = (0..tokens.len()).any(|at| {
        let rest = &tokens[at..];
        let imported = ["::", name, "::", "{", "self"];
        starts_with(rest, &["mod", name]) || starts_with(rest, &imported) || starts_with(rest, &["::", name, ";"])
    });
    let is_use = |at: usize| {
        let before = at.checked_sub(1).map_or("", |at| tokens[at].text.as_str());
        let after = tokens.get(at + 1).map_or("", |token| token.text.as_str());
        tokens[at].text == name
            && before != "::"
            && (after == "::" || (before == "use" && (after == ";" || after == "as")))
    };
    if hidden { Vec::new() } else { (0..tokens.len()).filter(|at| is_use(*at)).map(|at| tokens[at].line).collect() }
}

/// The lines on which these words and signs follow one another.
pub(crate) fn occurrences(tokens: &[Token], texts: &[&str]) -> Vec<usize> {
    (0..tokens.len()).filter(|at| starts_with(&tokens[*at..], texts)).map(|at| tokens[at].line).collect()
}
