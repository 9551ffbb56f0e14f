//! The reference of `routes.yaml` as Markdown, written from the JSON Schema: what the documentation
//! says is what the loader reads.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::shape;

/// The order of the file, which a schema does not keep.
const SECTIONS: [&str; 22] = [
    "version",
    "server",
    "state",
    "auth",
    "providers",
    "models",
    "baseline",
    "matrix",
    "classifier",
    "tasks",
    "select",
    "aliases",
    "virtual_models",
    "budgets",
    "currency",
    "teams",
    "keys",
    "limits",
    "cache",
    "resilience",
    "pass_through",
    "alerts",
];

const INTRODUCTION: &str = "\
# Configuration

`routes.yaml` says what tollgate does with each request: which providers and models there are, what
they cost, which of them answers which task, and within what limits. This page lists every key; the
shipped [`routes.yaml`](../routes.yaml) shows them at work. It is written from the JSON Schema
(`tollgate schema`); `tollgate reference` prints it anew.

- `tollgate check` shows every problem of a file at once, with its line and a suggestion.
- Saving the file, `SIGHUP` and `POST /reload` on the admin listener take a new version over. It is
  checked as a whole first; a file with an error changes nothing. `server` and `state` are read at
  start only.
- Secrets (`api_key`, a provider's `auth`, `admin_token`, `fingerprint_key`, a webhook's `url` and `secret`, the password in
  `state.ledger`) are written as `${VARIABLE}` or `file:/path` and never shown. A provider whose variable
  is unset is switched off with a warning; `check --strict` makes it an error.
- A key that is not listed here is an error. A section that is left empty counts as left out.
- Prices are USD per million tokens; times and sizes carry their unit in the key.
";

/// The whole page.
pub fn markdown() -> String {
    let schema = shape::schema();
    let mut page = INTRODUCTION.to_owned();
    for name in SECTIONS {
        section(&mut page, schema, name);
    }
    page
}

fn section(page: &mut String, root: &Json, name: &str) {
    let Some(property) = root.get("properties").and_then(|all| all.get(name)) else {
        return;
    };
    let required = is_required(root, name);
    // Writing into a String cannot fail.
    let _ = write!(page, "\n## `{name}`\n\n{}", text(property, "description"));
    if required {
        page.push_str(" Required.");
    }
    page.push('\n');
    let (schema, path) = inner(root, property, name);
    let mut rows = Vec::new();
    collect(root, schema, &path, &mut rows);
    if rows.is_empty() {
        return;
    }
    page.push_str("\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
    for row in rows {
        page.push_str(&row);
        page.push('\n');
    }
}

/// What a map or list holds, and how its path is written.
fn inner<'s>(root: &'s Json, schema: &'s Json, path: &str) -> (&'s Json, String) {
    let schema = resolve(root, schema);
    if let Some(items) = schema.get("items") {
        return (resolve(root, items), format!("{path}[]"));
    }
    match schema.get("additionalProperties") {
        Some(values) if values.is_object() && schema.get("properties").is_none() => {
            inner(root, values, &format!("{path}.NAME"))
        }
        _ => (schema, path.to_owned()),
    }
}

fn collect(root: &Json, schema: &Json, path: &str, rows: &mut Vec<String>) {
    if let Some(variants) = schema.get("anyOf").and_then(Json::as_array) {
        for variant in variants {
            collect(root, resolve(root, variant), path, rows);
        }
        return;
    }
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        return;
    };
    for (name, property) in properties {
        let own = format!("{path}.{name}");
        let default = match property.get("default") {
            Some(value) => format!("`{value}`"),
            None if is_required(schema, name) => "required".to_owned(),
            None => String::new(),
        };
        rows.push(format!(
            "| `{own}` | {} | {default} | {} |",
            type_of(root, property),
            meaning(root, property).replace('|', "\\|"),
        ));
        let (below, below_path) = inner(root, property, &own);
        if below_path.matches('.').count() < MAX_DEPTH {
            collect(root, below, &below_path, rows);
        }
    }
    if let Some(cells) = schema
        .get("additionalProperties")
        .filter(|rest| rest.is_object())
    {
        rows.push(format!(
            "| `{path}.LEVEL` | {} | | {} |",
            type_of(root, cells),
            "Candidates of this level: names under `models`, most preferred first.",
        ));
    }
}

/// Deeper than any key is.
const MAX_DEPTH: usize = 8;

fn resolve<'s>(root: &'s Json, schema: &'s Json) -> &'s Json {
    schema
        .get("$ref")
        .and_then(Json::as_str)
        .and_then(|reference| reference.strip_prefix("#/$defs/"))
        .and_then(|name| root.get("$defs")?.get(name))
        .or_else(|| {
            // An optional section: the first alternative that is not `null`.
            let variants = schema.get("anyOf")?.as_array()?;
            let optional = variants
                .iter()
                .any(|variant| text(variant, "type") == "null");
            let first = variants
                .iter()
                .find(|variant| variant.get("$ref").is_some());
            first
                .filter(|_| optional)
                .map(|variant| resolve(root, variant))
        })
        .unwrap_or(schema)
}

fn text<'s>(schema: &'s Json, key: &str) -> &'s str {
    schema.get(key).and_then(Json::as_str).unwrap_or_default()
}

fn is_required(schema: &Json, name: &str) -> bool {
    let names = schema.get("required").and_then(Json::as_array);
    names.is_some_and(|names| names.iter().any(|required| required == name))
}

fn type_of(root: &Json, schema: &Json) -> String {
    let resolved = resolve(root, schema);
    if resolved.get("oneOf").is_some() || resolved.get("enum").is_some() {
        return "word".to_owned();
    }
    let name = match resolved.get("type") {
        Some(Json::String(name)) => name.as_str(),
        Some(Json::Array(names)) => names
            .iter()
            .filter_map(Json::as_str)
            .find(|name| *name != "null")
            .unwrap_or_default(),
        _ => "",
    };
    let bounds = match (resolved.get("minimum"), resolved.get("maximum")) {
        (Some(least), Some(most)) if most.as_u64() == Some(u64::from(u32::MAX)) => {
            format!(", {least} or more")
        }
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", {least} or more"),
        _ => String::new(),
    };
    match name {
        "integer" => format!("whole number{bounds}"),
        "number" => format!("number{bounds}"),
        "boolean" => "true or false".to_owned(),
        "string" => "text".to_owned(),
        "array" => match resolved.get("items") {
            Some(items) => format!("list of {}", type_of(root, items)),
            None => "list".to_owned(),
        },
        "object" => "map".to_owned(),
        _ => resolved
            .get("anyOf")
            .and_then(Json::as_array)
            .map(|variants| {
                let names: Vec<String> = variants
                    .iter()
                    .map(|variant| type_of(root, variant))
                    .collect();
                names.join(" or ")
            })
            .unwrap_or_default(),
    }
}

/// The description, with the words of an enumeration and what each means.
fn meaning(root: &Json, schema: &Json) -> String {
    let mut meaning = text(schema, "description").to_owned();
    let mut resolved = resolve(root, schema);
    if let Some(items) = resolved.get("items") {
        resolved = resolve(root, items);
    }
    let words: Vec<String> = resolved
        .get("oneOf")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .map(|word| {
            let means = text(word, "description").trim_end_matches('.');
            format!("`{}`: {means}", text(word, "const"))
        })
        .collect();
    if !words.is_empty() {
        let _ = write!(meaning, " {}.", words.join("; "));
    }
    meaning
}
