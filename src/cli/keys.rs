//! `tollgate keys new`: a virtual key and its entry for the file. The key is printed once and kept nowhere.

use std::fmt::Write as _;
use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::{EXIT_OK, KeysNewArgs};

/// Prints a fresh key with 256 bits from the operating system's generator.
///
/// # Errors
/// When `out` cannot be written to.
pub fn run(args: &KeysNewArgs, out: &mut dyn Write) -> io::Result<u8> {
    let KeySource { key, sha256, id } = fresh(args.id.as_deref());
    writeln!(out, "{}\n", key.unwrap_or_default())?;
    writeln!(
        out,
        "Give the line above to the application; it is not kept anywhere."
    )?;
    writeln!(
        out,
        "Add this to routes.yaml, with `auth: {{ mode: keys }}`:\n"
    )?;
    writeln!(out, "keys:\n{}", entry(&id, &sha256, args))?;
    Ok(EXIT_OK)
}

/// A key, its hash and its id.
pub(super) struct KeySource {
    /// `None` where only the hash is known.
    pub key: Option<String>,
    pub sha256: String,
    pub id: String,
}

impl KeySource {
    /// A key of which only the hash is known.
    pub fn known(sha256: &str, id: Option<&str>) -> Self {
        let fallback = || format!("key-{}", sha256.get(..8).unwrap_or_default());
        Self {
            key: None,
            sha256: sha256.to_owned(),
            id: id.map_or_else(fallback, str::to_owned),
        }
    }
}

/// A fresh key with 256 bits from the operating system's generator.
pub(super) fn fresh(id: Option<&str>) -> KeySource {
    let key = format!("tg-{}", hex(&rand::random::<[u8; 32]>()));
    let sha256 = hex(&Sha256::digest(key.as_bytes()));
    KeySource {
        key: Some(key),
        ..KeySource::known(&sha256, id)
    }
}

fn entry(id: &str, sha256: &str, args: &KeysNewArgs) -> String {
    let mut text = format!("  - id: {}\n    sha256: \"{sha256}\"", quoted(id));
    for (name, value) in [("team", &args.team), ("app", &args.app)] {
        if let Some(value) = value {
            // Writing into a String cannot fail.
            let _ = write!(text, "\n    {name}: {}", quoted(value));
        }
    }
    text
}

/// A JSON string is a YAML string, whatever it holds.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !["true", "false", "null"].contains(&text.to_ascii_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_printed_entry_admits_the_printed_key() {
        let args = KeysNewArgs {
            id: Some("a: b #1".to_owned()),
            team: Some("search".to_owned()),
            app: None,
        };
        let mut out = Vec::new();
        assert_eq!(run(&args, &mut out).expect("written"), 0);
        let printed = String::from_utf8(out).expect("UTF-8");
        let key = printed.lines().next().expect("the key");
        assert_eq!(key.len(), 3 + 64);
        let entry = &printed[printed.find("keys:").expect("the entry")..];
        let file = format!(
            "version: 1\nauth: {{ mode: keys }}\nproviders: {{ p: {{ simulated: {{}} }} }}\n\
             models: {{ m: {{ provider: p, price: 0 }} }}\nmatrix: {{ default: {{ simple: [m] }} }}\n\
             teams: {{ search: {{}} }}\n{entry}"
        );
        let snapshot = config::load(&file, "f", &|_| None, 0).expect("a sound file");
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        assert_eq!(snapshot.keys[&hash].id.as_str(), "a: b #1");
        assert_eq!(snapshot.keys[&hash].team.as_str(), "search");
    }
}
