//! Collects what is wrong with a file, every problem with its source line. A line is shown with its
//! secrets blotted out, whatever the problem: `check`'s output ends up in build logs.

use std::ops::Range;

use super::diagnostic::{Diagnostic, Place, Severity};
use super::tree::{Fault, Node, Position, Value};

/// Most problems that are kept: a file with more of them has one cause.
const MAX_FINDINGS: usize = 1000;
/// Longest source line that is shown, characters.
const MAX_LINE_CHARS: usize = 300;

/// The problems of one file.
pub struct Findings<'a> {
    file: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
    secrets: Vec<Range<usize>>,
    found: Vec<Diagnostic>,
    errors: usize,
    dropped: usize,
}

impl<'a> Findings<'a> {
    /// No problems yet.
    pub fn new(file: &'a str, text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            file,
            text,
            line_starts: std::iter::once(0)
                .chain(newlines.map(|(at, _)| at + 1))
                .collect(),
            secrets: Vec::new(),
            found: Vec::new(),
            errors: 0,
            dropped: 0,
        }
    }

    /// Notes where the tree has literal secrets, so that no source line shows them.
    pub fn hide_secrets_of(&mut self, node: &Node) {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    match &entry.value.value {
                        Value::Scalar(scalar)
                            if (names_a_secret(&entry.key) && !is_reference(&scalar.text))
                                || holds_password(&scalar.text) =>
                        {
                            self.secrets.push(entry.value.bytes.clone());
                        }
                        _ => self.hide_secrets_of(&entry.value),
                    }
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.hide_secrets_of(item)),
            Value::Scalar(_) => {}
        }
    }

    /// How many errors there are.
    pub const fn errors(&self) -> usize {
        self.errors
    }

    /// True while suggestions are worth computing.
    pub const fn has_room(&self) -> bool {
        self.found.len() < MAX_FINDINGS
    }

    /// A problem at a place in the tree.
    pub fn add(
        &mut self,
        severity: Severity,
        place: (Position, String),
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        if severity == Severity::Error {
            self.errors += 1;
        }
        if !self.has_room() {
            self.dropped += 1;
            return;
        }
        let (at, path) = place;
        self.found.push(Diagnostic {
            severity,
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            path,
            message: message.into(),
            suggestion,
            source_line: self.source_line(at.line),
        });
    }

    /// A place as it is shown.
    pub fn place(&self, (at, path): (Position, String)) -> Place {
        Place {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            path,
            source_line: self.source_line(at.line),
        }
    }

    /// A fault of the text itself.
    pub fn fault(&mut self, fault: Fault) {
        let place = (fault.at, fault.path);
        self.add(Severity::Error, place, fault.message, fault.suggestion);
    }

    /// Every problem, in the order of the file.
    pub fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.found
            .sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        if self.dropped > 0 {
            let (file, dropped) = (self.file.to_owned(), self.dropped);
            self.found.push(Diagnostic {
                severity: if self.errors > 0 {
                    Severity::Error
                } else {
                    Severity::Warning
                },
                file,
                line: 1,
                column: 1,
                path: String::new(),
                message: format!("{dropped} more problems are not shown"),
                suggestion: None,
                source_line: String::new(),
            });
        }
        self.found
    }

    fn source_line(&self, line: u32) -> String {
        let index = usize::try_from(line).unwrap_or(0).saturating_sub(1);
        let start = self
            .line_starts
            .get(index)
            .copied()
            .unwrap_or(self.text.len());
        let rest = self.text.get(start..).unwrap_or_default();
        let shown = rest.lines().next().unwrap_or_default();
        let mut hidden = secrets_in_line(shown);
        let end = start + shown.len();
        hidden.extend(
            self.secrets
                .iter()
                .filter(|range| range.start < end && range.end > start)
                .map(|range| range.start.saturating_sub(start)..range.end.min(end) - start),
        );
        shown
            .char_indices()
            .take(MAX_LINE_CHARS)
            .map(|(at, c)| {
                if hidden.iter().any(|range| range.contains(&at)) {
                    '*'
                } else {
                    c
                }
            })
            .collect()
    }
}

/// True for `${VARIABLE}` and `file:/path`.
pub fn is_reference(text: &str) -> bool {
    text.starts_with("${") || text.starts_with("file:")
}

/// Where in a text an address has a password: `scheme://user:HERE@host`.
pub fn password_in(text: &str) -> Option<Range<usize>> {
    let login = text.find("://")? + "://".len();
    let end = text[login..]
        .find([' ', '"', '\'', '?'])
        .map_or(text.len(), |length| login + length);
    let at = login + text[login..end].rfind('@')?;
    let colon = login + text[login..at].find(':')?;
    (colon + 1 < at).then_some(colon + 1..at)
}

/// True for an address with a password that is no reference.
fn holds_password(text: &str) -> bool {
    password_in(text).is_some_and(|password| !text[password].starts_with("${"))
}

/// The commonest keys of a large file.
const NEVER_SECRET: [&str; 6] = ["sha256", "allow", "price", "input", "output", "provider"];

/// True for keys whose value is probably a secret, also where it does not belong or is misspelt.
fn names_a_secret(key: &str) -> bool {
    // A webhook's address, whose path is often what lets one post there.
    if key == "url" {
        return true;
    }
    // The shortest of the words below; most keys are out by this.
    if key.len() < "token".len() || NEVER_SECRET.contains(&key) {
        return false;
    }
    let key = key.to_ascii_lowercase().replace('-', "_");
    let words = [
        "secret",
        "password",
        "authorization",
        "credential",
        "cookie",
    ];
    key.contains("api_key")
        || key.contains("apikey")
        || key.ends_with("_token")
        || key == "token"
        || key == "fingerprint_key"
        || words.iter().any(|word| key.contains(word))
}

/// What looks like a secret in one line, for text that is not YAML at all: the value of a key that
/// names one, and anything in the form of a known key.
fn secrets_in_line(line: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (colon, _) in line.match_indices(':') {
        let key = line[..colon]
            .trim_end_matches(['"', '\'', ' '])
            .rsplit([' ', '{', ',', '"', '\''])
            .next()
            .unwrap_or_default();
        let value = &line[colon + 1..];
        let start = colon + 1 + value.len() - value.trim_start_matches([' ', '"', '\'']).len();
        let end = line[start..]
            .find([',', '}', '"', '\''])
            .map_or(line.len(), |length| start + length);
        if names_a_secret(key) && !is_reference(&line[start..]) {
            found.push(start..end);
        }
    }
    if holds_password(line) {
        found.extend(password_in(line));
    }
    for prefix in ["sk-", "tg-", "xai-", "AIza"] {
        for (start, _) in line.match_indices(prefix) {
            let rest = &line[start..];
            let length = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'))
                .unwrap_or(rest.len());
            // The shortest real ones have some 35 characters; names of models stay readable.
            if length >= 30 {
                found.push(start..start + length);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, shown: &str) {
        assert_eq!(Findings::new("f", line).source_line(1), shown);
    }

    #[test]
    fn source_lines_never_show_a_secret() {
        check("api_key: sk-123", "api_key: ******");
        check(
            "{ a: 1, api_key: \"sk-1\", b: 2 }",
            "{ a: 1, api_key: \"****\", b: 2 }",
        );
        check("api_key: \"${KEY}\"", "api_key: \"${KEY}\"");
        check("  x-api-key: abc", "  x-api-key: ***");
        check("admin_token: file:/run/t", "admin_token: file:/run/t");
        check("ledger: postgres://u:pw@h/d", "ledger: postgres://u:**@h/d");
        check(
            "ledger: \"postgres://u:${PW}@h/d\"",
            "ledger: \"postgres://u:${PW}@h/d\"",
        );
        check("max_output_tokens: 5", "max_output_tokens: 5");
        check("auth_header: api-key", "auth_header: api-key");
        check(
            "provider: sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "provider: ***********************************",
        );
    }
}
