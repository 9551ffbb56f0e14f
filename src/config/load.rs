//! The way of a file: bytes → text → tree → shape → compile → [`Snapshot`], or every problem at once.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::compile::{self, Environment, Names, Source};
use super::diagnostic::{Diagnostic, Severity};
use super::findings::Findings;
use super::schema::FileConfig;
use super::tree::{self, Entry, Node, Position, Scalar, Value};
use super::{Snapshot, de, shape};
use crate::types::ConfigVersion;

/// Why there is no snapshot: every problem, warnings included, in the order of the file.
pub type LoadError = Vec<Diagnostic>;

/// Compiles the text of a `routes.yaml`. `file_name` only appears in messages; variables are asked of
/// `env`; `now_ms` (milliseconds since the Unix epoch) becomes `loaded_at_ms`.
///
/// # Errors
/// With every error and warning of the file, when there is at least one error. The warnings of a sound
/// file are in [`Snapshot::warnings`].
pub fn load(
    text: &str,
    file_name: &str,
    env: &dyn Fn(&str) -> Option<String>,
    now_ms: i64,
) -> Result<Snapshot, LoadError> {
    let mut findings = Findings::new(file_name, text);
    match build(text, env, now_ms, &mut findings) {
        Some(mut snapshot) if findings.errors() == 0 => {
            snapshot.version = version_of(text);
            snapshot.loaded_at_ms = now_ms;
            snapshot.warnings = findings.into_diagnostics();
            Ok(snapshot)
        }
        _ => Err(findings.into_diagnostics()),
    }
}

/// Reads and compiles a file.
///
/// # Errors
/// As [`load`]; also when the file cannot be read, is too large or is not UTF-8.
pub fn load_file(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    now_ms: i64,
) -> Result<Snapshot, LoadError> {
    let name = path.display().to_string();
    let text = read(path).map_err(|fault| {
        let mut findings = Findings::new(&name, "");
        findings.fault(fault);
        findings.into_diagnostics()
    })?;
    load(&text, &name, env, now_ms)
}

/// The text of a file.
pub(super) fn read(path: &Path) -> Result<String, tree::Fault> {
    let fault = |message: String, line: usize| tree::Fault {
        at: Position {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: 1,
        },
        path: String::new(),
        message,
        suggestion: None,
    };
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    if size > tree::MAX_FILE_BYTES as u64 {
        let most = tree::MAX_FILE_BYTES;
        return Err(fault(
            format!("the file has {size} bytes; at most {most} are read"),
            1,
        ));
    }
    let bytes = std::fs::read(path)
        .map_err(|error| fault(format!("the file cannot be read: {error}"), 1))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        fault("the file is not UTF-8".to_owned(), line)
    })
}

/// Short hash of a text: the same file gives the same version everywhere.
fn version_of(text: &str) -> ConfigVersion {
    let digest = Sha256::digest(text.as_bytes());
    let mut hex = String::with_capacity(12);
    for byte in digest.iter().take(6) {
        // Writing into a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    ConfigVersion::new(Arc::<str>::from(hex))
}

fn build(
    text: &str,
    env: Environment<'_>,
    now_ms: i64,
    findings: &mut Findings<'_>,
) -> Option<Snapshot> {
    let mut faults = Vec::new();
    let parsed = tree::parse(text, &mut faults);
    let mut root = match parsed {
        Ok(root) => root,
        Err(fault) => {
            for earlier in faults {
                findings.fault(earlier);
            }
            findings.fault(fault);
            return None;
        }
    };
    findings.hide_secrets_of(&root);
    for fault in faults {
        findings.fault(fault);
    }
    compile::check_references(&root, findings);
    let names = Names::of(&root);
    let removed = shape::check(&mut root, findings);
    fill_required(&mut root);
    match de::read::<FileConfig>(&root) {
        Ok(file) => {
            let source = Source {
                root: &root,
                names: &names,
                removed: &removed,
                now_ms,
            };
            Some(compile::compile(&file, source, env, findings))
        }
        Err(error) => {
            // The shape was checked against the same schema, so this is a second line of defence.
            if findings.errors() == 0 {
                let place = (root.at, String::new());
                findings.add(Severity::Error, place, error.to_string(), None);
            }
            None
        }
    }
}

/// Puts in what is missing at the top (which is reported), so that the rest can still be judged.
fn fill_required(root: &mut Node) {
    let at = root.at;
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    let version = Value::Scalar(Scalar {
        text: "1".to_owned(),
        plain: true,
    });
    for (key, value) in [("version", version), ("matrix", Value::Map(Vec::new()))] {
        if entries.iter().all(|entry| entry.key != key) {
            entries.push(Entry {
                key: key.to_owned(),
                key_at: at,
                value: Node {
                    at,
                    bytes: 0..0,
                    index: 0,
                    value,
                },
            });
        }
    }
}
