//! Holds a tree against the JSON Schema of [`super::schema`]: unknown keys, wrong types, missing
//! keys, words and numbers out of range — all of them, each at its place — and removes what does
//! not fit, so that the rest can still be read and judged. The published schema and `check` agree
//! because they are the same schema.

use std::sync::LazyLock;

use rustc_hash::FxHashSet;
use serde_json::{Map, Value as Json, json};

use super::diagnostic::Severity;
use super::findings::Findings;
use super::suggest;
use super::tree::{Entry, Node, Position, Scalar, ScalarKind, Step, Value, render_path};

/// The JSON Schema of `routes.yaml`, as `tollgate schema` prints it.
pub fn schema() -> &'static Json {
    static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
        let mut schema = schemars::schema_for!(super::schema::FileConfig).to_value();
        tidy(&mut schema);
        allow_empty_sections(&mut schema);
        schema
    });
    &SCHEMA
}

/// Descriptions on one line, no `format` (integers get their real bounds), no `default: null`.
fn tidy(schema: &mut Json) {
    match schema {
        Json::Object(object) => {
            if let Some(Json::String(text)) = object.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            if object.get("default") == Some(&Json::Null) {
                object.remove("default");
            }
            if let Some(Json::String(format)) = object.remove("format")
                && format == "uint32"
                && !object.contains_key("maximum")
            {
                object.insert("maximum".to_owned(), Json::from(u32::MAX));
            }
            object.values_mut().for_each(tidy);
        }
        Json::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// `budgets:` with everything below it commented out is `null` to YAML: editors must not mind either.
fn allow_empty_sections(schema: &mut Json) {
    let needed: Vec<String> = required(schema)
        .into_iter()
        .map(ToOwned::to_owned)
        .collect();
    let Some(Json::Object(sections)) = schema.get_mut("properties") else {
        return;
    };
    for (name, section) in sections {
        let Json::Object(section) = section else {
            continue;
        };
        if needed.contains(name) {
            continue;
        }
        if let Some(reference) = section.remove("$ref") {
            let either = json!([{ "$ref": reference }, { "type": "null" }]);
            section.insert("anyOf".to_owned(), either);
        } else if let Some(Json::String(kind)) = section.get("type") {
            let either = json!([kind, "null"]);
            section.insert("type".to_owned(), either);
        }
    }
}

/// Checks the whole file and removes what does not fit. Returns the paths of what was removed (and of
/// keys that were probably meant by a misspelt one), so that nobody reports them as missing.
pub fn check(root: &mut Node, findings: &mut Findings<'_>) -> FxHashSet<String> {
    let schema = schema();
    let mut shape = Shape {
        definitions: schema.get("$defs"),
        findings,
        path: Vec::new(),
        removed: FxHashSet::default(),
    };
    if !shape.node(root, schema, root.at) && !matches!(root.value, Value::Map(_)) {
        root.value = Value::Map(Vec::new());
    }
    shape.removed
}

struct Shape<'s, 'f, 't> {
    definitions: Option<&'s Json>,
    findings: &'f mut Findings<'t>,
    path: Vec<Step<'static>>,
    removed: FxHashSet<String>,
}

impl<'s> Shape<'s, '_, '_> {
    fn error(&mut self, at: Position, message: impl Into<String>, suggestion: Option<String>) {
        let place = (at, render_path(&self.path));
        self.findings
            .add(Severity::Error, place, message, suggestion);
    }

    /// The schema that a `$ref` points to, with the reference's own keywords left aside.
    fn resolve(&self, schema: &'s Json) -> &'s Json {
        let mut schema = schema;
        // References in this schema are one or two deep; the bound keeps a cycle from hanging.
        for _ in 0..8 {
            let Some(name) = schema
                .get("$ref")
                .and_then(Json::as_str)
                .and_then(|reference| reference.strip_prefix("#/$defs/"))
            else {
                break;
            };
            match self.definitions.and_then(|all| all.get(name)) {
                Some(definition) => schema = definition,
                None => break,
            }
        }
        schema
    }

    /// True when the node can be kept. `at`: where to point for a node that is nothing.
    fn node(&mut self, node: &mut Node, schema: &'s Json, at: Position) -> bool {
        let schema = self.resolve(schema);
        if let Some(words) = words_of(schema) {
            return self.word(node, &words, at);
        }
        if let Some(variants) = schema.get("anyOf").and_then(Json::as_array) {
            return self.any_of(node, variants, at);
        }
        let expected = expected_type(schema);
        let found_at = if node.is_null() { at } else { node.at };
        match (&mut node.value, expected) {
            (Value::Map(entries), "object") => self.map(entries, schema, found_at),
            (Value::List(items), "array") => {
                self.list(items, schema);
                true
            }
            (Value::Scalar(scalar), "string") if scalar.kind() == ScalarKind::Text => {
                let scalar = scalar.clone();
                self.text(&scalar, schema, found_at)
            }
            (Value::Scalar(scalar), "boolean") if matches!(scalar.kind(), ScalarKind::Bool(_)) => {
                true
            }
            (Value::Scalar(scalar), "number" | "integer") if is_number(scalar, expected) => {
                let scalar = scalar.clone();
                self.number(&scalar, schema, found_at)
            }
            (value, _) => {
                let message = format!("expected {}, found {}", name_of(expected), describe(value));
                let hint = type_hint(value, expected);
                self.error(found_at, message, hint);
                false
            }
        }
    }

    fn any_of(&mut self, node: &mut Node, variants: &'s [Json], at: Position) -> bool {
        let kind = match node.value {
            Value::Map(_) => Some("object"),
            Value::List(_) => Some("array"),
            Value::Scalar(_) => None,
        };
        let fits = |variant: &&Json| {
            let expected = Some(expected_type(variant));
            let is_nested = matches!(expected, Some("object" | "array"));
            if kind.is_some() {
                kind == expected
            } else {
                !is_nested
            }
        };
        let fitting = variants
            .iter()
            .map(|variant| self.resolve(variant))
            .filter(|variant| variant.get("type").and_then(Json::as_str) != Some("null"))
            .find(fits)
            .or_else(|| variants.first());
        match fitting {
            Some(variant) => self.node(node, variant, at),
            None => true,
        }
    }

    fn word(&mut self, node: &Node, words: &[&str], at: Position) -> bool {
        let at = if node.is_null() { at } else { node.at };
        match &node.value {
            Value::Scalar(scalar) if words.contains(&scalar.text.as_str()) => true,
            Value::Scalar(scalar) if !node.is_null() => {
                let suggestion = suggest::nearest(&scalar.text, words.iter().copied());
                let message = format!(
                    "unknown value `{}`; it is one of {}",
                    shorten(&scalar.text),
                    suggest::list(words)
                );
                let near = suggestion.filter(|text| text.starts_with("did you"));
                self.error(at, message, near);
                false
            }
            value => {
                let message = format!(
                    "expected one of {}, found {}",
                    suggest::list(words),
                    describe(value)
                );
                self.error(at, message, None);
                false
            }
        }
    }

    fn map(&mut self, entries: &mut Vec<Entry>, schema: &'s Json, at: Position) -> bool {
        let no_properties = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object);
        let additional = schema.get("additionalProperties").filter(|s| s.is_object());
        let mut missing = required(schema);
        entries.retain_mut(|entry| {
            self.path.push(Step::Key(entry.key.clone().into()));
            let declared = properties
                .unwrap_or(&no_properties)
                .contains_key(&entry.key);
            let child = properties
                .and_then(|properties| properties.get(entry.key.as_str()))
                .or(additional);
            let keep = match child {
                // `budgets:` with everything below it commented out is the same as no `budgets`.
                Some(_) if declared && entry.value.is_null() => false,
                Some(child) => {
                    missing.retain(|name| *name != entry.key);
                    self.node(&mut entry.value, child, entry.key_at)
                }
                None => {
                    self.unknown_key(entry, properties.unwrap_or(&no_properties));
                    false
                }
            };
            if !keep {
                let path = render_path(&self.path);
                self.removed.insert(path);
            }
            self.path.pop();
            keep
        });
        missing.retain(|name| !self.was_removed(name));
        for name in &missing {
            self.error(at, format!("missing key `{name}`"), described(schema, name));
        }
        missing.is_empty()
            && required(schema)
                .iter()
                .all(|name| entries.iter().any(|entry| entry.key == *name))
    }

    fn unknown_key(&mut self, entry: &Entry, properties: &Map<String, Json>) {
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        let mut suggestion = None;
        if self.findings.has_room() {
            suggestion = suggest::nearest(&entry.key, names.iter().copied());
            if let Some(meant) = suggest::only(&entry.key, names.iter().copied()) {
                self.path.pop();
                self.path.push(Step::Key(meant.to_owned().into()));
                let path = render_path(&self.path);
                self.removed.insert(path);
                self.path.pop();
                self.path.push(Step::Key(entry.key.clone().into()));
            }
        }
        self.error(
            entry.key_at,
            format!("unknown key `{}`", shorten(&entry.key)),
            suggestion,
        );
    }

    fn was_removed(&mut self, name: &str) -> bool {
        self.path.push(Step::Key(name.to_owned().into()));
        let path = render_path(&self.path);
        self.path.pop();
        self.removed.contains(&path)
    }

    fn list(&mut self, items: &mut Vec<Node>, schema: &'s Json) {
        let Some(inner) = schema.get("items") else {
            return;
        };
        items.retain_mut(|item| {
            self.path.push(Step::Index(item.index));
            let at = item.at;
            let keep = self.node(item, inner, at);
            self.path.pop();
            keep
        });
    }

    fn text(&mut self, scalar: &Scalar, schema: &Json, at: Position) -> bool {
        let least = schema.get("minLength").and_then(Json::as_u64).unwrap_or(0);
        if least > 0 && scalar.text.trim().is_empty() {
            self.error(at, "must not be empty", None);
            return false;
        }
        true
    }

    fn number(&mut self, scalar: &Scalar, schema: &Json, at: Position) -> bool {
        let value: f64 = scalar.text.parse().unwrap_or(f64::NAN);
        let least = schema.get("minimum").and_then(Json::as_f64);
        let most = schema.get("maximum").and_then(Json::as_f64);
        let whole_fits = expected_type(schema) != "integer" || scalar.text.parse::<u64>().is_ok();
        let fits = value.is_finite()
            && least.is_none_or(|least| value >= least)
            && most.is_none_or(|most| value <= most);
        if fits && whole_fits {
            return true;
        }
        let allowed = match (least, most) {
            (Some(least), Some(most)) if same(least, most) => format!("only {least} is allowed"),
            (Some(least), Some(most)) => format!("allowed: {least} to {most}"),
            (Some(least), None) => format!("allowed: {least} or more"),
            (None, Some(most)) => format!("allowed: up to {most}"),
            (None, None) => "it does not fit".to_owned(),
        };
        self.error(
            at,
            format!("{} is out of range; {allowed}", shorten(&scalar.text)),
            None,
        );
        false
    }
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < f64::EPSILON
}

/// The words of an enumeration, when the schema is one.
fn words_of(schema: &Json) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Json::as_array) {
        return Some(words.iter().filter_map(Json::as_str).collect());
    }
    let variants = schema.get("oneOf").and_then(Json::as_array)?;
    let mut words = Vec::new();
    for variant in variants {
        match (variant.get("const"), words_of(variant)) {
            (Some(word), _) => words.extend(word.as_str()),
            (None, Some(more)) => words.extend(more),
            (None, None) => return None,
        }
    }
    Some(words)
}

/// The schema's type without `null`; an empty text when it has none.
fn expected_type(schema: &Json) -> &str {
    match schema.get("type") {
        Some(Json::String(name)) => name,
        Some(Json::Array(names)) => names
            .iter()
            .filter_map(Json::as_str)
            .find(|name| *name != "null")
            .unwrap_or_default(),
        _ => "",
    }
}

fn required(schema: &Json) -> Vec<&str> {
    let names = schema.get("required").and_then(Json::as_array);
    names
        .map(|names| names.iter().filter_map(Json::as_str).collect())
        .unwrap_or_default()
}

fn described(schema: &Json, name: &str) -> Option<String> {
    let text = schema
        .get("properties")?
        .get(name)?
        .get("description")?
        .as_str()?;
    let sentence = text.split_inclusive(". ").next().unwrap_or(text);
    let sentence = sentence.trim().trim_end_matches('.');
    Some(format!("`{name}`: {}", lower_first(sentence)))
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

fn is_number(scalar: &Scalar, expected: &str) -> bool {
    match scalar.kind() {
        ScalarKind::Integer => true,
        ScalarKind::Number => expected == "number",
        _ => false,
    }
}

fn name_of(expected: &str) -> &'static str {
    match expected {
        "object" => "a map",
        "array" => "a list",
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        _ => "something else",
    }
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Map(_) => "a map",
        Value::List(_) => "a list",
        Value::Scalar(scalar) => match scalar.kind() {
            ScalarKind::Null => "nothing",
            ScalarKind::Bool(_) => "true or false",
            ScalarKind::Integer => "a whole number",
            ScalarKind::Number => "a number",
            ScalarKind::Text => "text",
        },
    }
}

fn type_hint(value: &Value, expected: &str) -> Option<String> {
    let Value::Scalar(scalar) = value else {
        return (expected == "array").then(|| "write a list: `[…]`".to_owned());
    };
    match (scalar.kind(), expected) {
        (ScalarKind::Integer | ScalarKind::Number | ScalarKind::Bool(_), "string") => {
            Some(format!("put it in quotes: \"{}\"", shorten(&scalar.text)))
        }
        (ScalarKind::Text, "number" | "integer") if scalar.text.parse::<f64>().is_ok() => {
            Some("leave the quotes out".to_owned())
        }
        (ScalarKind::Text, "array") => Some("write a list: `[…]`".to_owned()),
        _ => None,
    }
}

/// Long values are cut: a message is one line.
pub fn shorten(text: &str) -> String {
    const LONGEST: usize = 40;
    let line: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.len() < text.len() {
        format!("{line}…")
    } else {
        line
    }
}
