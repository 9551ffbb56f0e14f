//! The house's rules that no compiler checks: who may import whom, where drivers may be named, what
//! every file says about itself.

use std::fs;
use std::path::{Path, PathBuf};

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let named = |path: PathBuf| {
        let name = path
            .strip_prefix(&root)
            .expect("below src")
            .to_string_lossy()
            .replace('\\', "/");
        let text = fs::read_to_string(&path).expect("readable");
        (name, text)
    };
    files.into_iter().map(named).collect()
}

const VOCABULARY: &[&str] = &["types", "error", "clock", "wire"];
const STATE: &[&str] = &["stores", "runtime", "config", "telemetry"];
const PHASES: &[&str] = &[
    "ingress",
    "auth",
    "limits",
    "classify",
    "cache",
    "policy",
    "resilience",
    "upstream",
    "validate",
    "accounting",
    "learn",
    "notify",
];

/// The room of a file: its first folder or its own name.
fn room(name: &str) -> &str {
    name.split(['/', '.']).next().unwrap_or(name)
}

/// What the code outside of tests names as `crate::<room>`.
fn imports(text: &str) -> Vec<String> {
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let mut rooms = Vec::new();
    for line in code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
    {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let inside = group.split('}').next().unwrap_or(group);
                rooms.extend(
                    inside
                        .split(',')
                        .map(|item| item.trim().split("::").next().unwrap_or("").to_owned()),
                );
            } else {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                rooms.push(rest[..end].to_owned());
            }
        }
    }
    rooms
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("tests.rs") || name.ends_with("tests_support.rs") || name.contains("/tests/")
}

#[test]
fn rooms_import_only_what_they_may() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let own = room(&name);
        if is_test_file(&name) {
            continue;
        }
        let may: Vec<&str> = match own {
            "types" => vec!["error"],
            "error" | "clock" => vec!["types"],
            "wire" => vec!["types", "error"],
            "stores" | "runtime" | "telemetry" => VOCABULARY.to_vec(),
            "config" => [VOCABULARY, &["runtime"]].concat(),
            phase if PHASES.contains(&phase) => [VOCABULARY, STATE].concat(),
            "server" => [VOCABULARY, STATE].concat(),
            // What puts the rooms together, and what stands beside the request.
            _ => continue,
        };
        for imported in imports(&text) {
            if imported != own && !may.contains(&imported.as_str()) && !imported.is_empty() {
                wrong.push(format!("{name} imports crate::{imported}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports against the house's rules:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn drivers_are_named_only_in_their_rooms() {
    let homes: &[(&str, &[&str])] = &[
        ("rusqlite", &["stores"]),
        ("tokio_postgres", &["stores"]),
        ("reqwest", &["notify"]),
        ("redis", &["stores"]),
        ("hyper::server", &["server", "ingress", "admin"]),
        ("tokio_rustls", &["server"]),
    ];
    for (name, text) in sources() {
        for (driver, rooms) in homes {
            let named = text.lines().any(|line| {
                !line.trim_start().starts_with("//") && line.contains(&format!("{driver}::"))
            });
            assert!(
                !named || rooms.contains(&room(&name)),
                "{name} names {driver}"
            );
        }
    }
}

#[test]
fn every_file_says_what_it_owns() {
    for (name, text) in sources() {
        assert!(
            text.starts_with("//!"),
            "{name} does not open with a `//!` comment"
        );
    }
}
