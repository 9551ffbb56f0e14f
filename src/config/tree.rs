//! The text of `routes.yaml` as a tree in which every key and value knows where it stands.
//!
//! serde stops at the first error and forgets positions; `check` has to show every problem with its
//! line, so the text is parsed once into this tree, judged here and in [`super::shape`], and only
//! then read into the schema's types.

mod parse;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::ops::Range;

pub use parse::{MAX_FILE_BYTES, parse};

/// A place in the text; line and column count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// Its bytes in the text.
    pub bytes: Range<usize>,
    /// Its index in the list that it stands in, as written; pruning a list leaves it as it was.
    pub index: usize,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map, in the file's order.
    Map(Vec<Entry>),
}

/// A single value as it is written.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// The text, unescaped.
    pub text: String,
    /// True without quotes: only then can it be a number, a truth value or nothing.
    pub plain: bool,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_at: Position,
    /// The value.
    pub value: Node,
}

/// What a plain scalar means in YAML 1.2's core schema (§10.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarKind {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer,
    /// A number with a point or an exponent.
    Number,
    /// Anything else, and all that is quoted.
    Text,
}

impl Scalar {
    /// What the scalar means.
    pub fn kind(&self) -> ScalarKind {
        if !self.plain {
            return ScalarKind::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
            "true" | "True" | "TRUE" => ScalarKind::Bool(true),
            "false" | "False" | "FALSE" => ScalarKind::Bool(false),
            text => numeric_kind(text),
        }
    }
}

fn numeric_kind(text: &str) -> ScalarKind {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return ScalarKind::Text;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return ScalarKind::Integer;
    }
    match text.parse::<f64>() {
        Ok(_) => ScalarKind::Number,
        Err(_) => ScalarKind::Text,
    }
}

impl Node {
    /// The value of a key, when this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// A key with its value, when this is a map that has it. Linear: for diagnostics only.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a map; empty for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; empty for anything else.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// True for `null`, `~` or nothing at all.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind() == ScalarKind::Null)
    }

    /// Where the deepest part of the path that exists stands, and the path as written: the key for
    /// the last step into a map when `on_key`, else the value.
    pub fn locate(&self, path: &[Step<'_>], on_key: bool) -> (Position, String) {
        let mut node = Some(self);
        let (mut at, mut written) = (self.at, Vec::with_capacity(path.len()));
        for step in path {
            let next = match (node, step) {
                (None, _) => None,
                (Some(node), Step::Key(key)) => node
                    .entry(key)
                    .map(|entry| (entry.key_at, &entry.value, step.clone())),
                (Some(node), Step::Index(index)) => node
                    .items()
                    .get(*index)
                    .map(|item| (item.at, item, Step::Index(item.index))),
            };
            node = next.as_ref().map(|(_, child, _)| *child);
            match next {
                Some((place, _, step)) => {
                    at = place;
                    written.push(step);
                }
                None => written.push(step.clone()),
            }
        }
        let at = match node {
            Some(node) if !on_key && !node.is_null() => node.at,
            _ => at,
        };
        (at, render_path(&written))
    }
}

/// One step down the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Into a map.
    Key(Cow<'a, str>),
    /// Into a list, from 0.
    Index(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(Cow::Borrowed(key))
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// Writes a path as people read it: `matrix.code_generation.complex[1]`; keys that would be
/// ambiguous are quoted: `models["gpt-4.1"].price`.
pub fn render_path(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        // Writing into a String cannot fail.
        let _ = match step {
            Step::Index(index) => write!(text, "[{index}]"),
            Step::Key(key) if is_plain_key(key) && text.is_empty() => write!(text, "{key}"),
            Step::Key(key) if is_plain_key(key) => write!(text, ".{key}"),
            Step::Key(key) => write!(text, "[{key:?}]"),
        };
    }
    text
}

fn is_plain_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '*' | '/' | ':'))
}

/// Why the text is no tree, or not a sound one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: Position,
    /// Under which path, when it is known.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub suggestion: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
