//! Secrets: `${VARIABLE}` and `file:/path`, only where a secret belongs, never shown.

use std::fmt::Write as _;

use secrecy::{ExposeSecret, SecretString};

use super::{Context, at};
use crate::config::diagnostic::Severity;
use crate::config::findings::{self, Findings};
use crate::config::schema::SecretText;
use crate::config::tree::{Node, Step, Value, render_path};

/// Keys whose values are secrets.
const SECRET_KEYS: [&str; 7] = [
    "api_key",
    "admin_token",
    "fingerprint_key",
    "secret",
    "url",
    "store",
    "ledger",
];

/// What became of a secret.
pub enum Resolved {
    /// It is there.
    Ready(SecretString),
    /// Its variable is unset or its file cannot be read; already reported as a warning.
    Missing,
    /// It is wrong; already reported as an error.
    Wrong,
}

/// The text of a secret at this path. `consequence`: what happens without it.
pub fn resolve(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    secret: &SecretText,
    consequence: &str,
) -> Resolved {
    warn_plain(cx, at, secret);
    let found = find(cx, at, secret, Some(consequence));
    one_line(cx, at, found)
}

/// A name that belongs to a secret, as an account's id: it may stand here as it is.
pub fn resolve_name(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    name: &SecretText,
    consequence: &str,
) -> Resolved {
    let found = find(cx, at, name, Some(consequence));
    one_line(cx, at, found)
}

/// A secret that need not be there: an unset variable is as good as none.
pub fn resolve_optional(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    secret: &SecretText,
) -> Resolved {
    warn_plain(cx, at, secret);
    let found = find(cx, at, secret, None);
    one_line(cx, at, found)
}

/// A secret of several lines, as a key in JSON. What is no JSON is the path of the file that holds it.
pub fn resolve_document(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    secret: &SecretText,
    consequence: &str,
) -> Resolved {
    if secret.0.trim_start().starts_with('{') {
        warn_plain(cx, at, secret);
    }
    match find(cx, at, secret, Some(consequence)) {
        Resolved::Ready(text) if !text.expose_secret().starts_with('{') => {
            let path = text.expose_secret().trim_start_matches("file:");
            match std::fs::read_to_string(path) {
                Ok(text) => Resolved::Ready(SecretString::from(text)),
                Err(error) => {
                    let message =
                        format!("the file with the key cannot be read ({error}): {consequence}");
                    cx.warn(at, message, "check its path and permissions");
                    Resolved::Missing
                }
            }
        }
        resolved => resolved,
    }
}

fn warn_plain(cx: &mut Context<'_, '_>, at: &[Step<'_>], secret: &SecretText) {
    let text = secret.0.trim();
    if !text.contains("${") && !text.starts_with("file:") {
        cx.warn(
            at,
            "a secret in plain text; this file is meant to be shared",
            "write `${VARIABLE}` or `file:/path` instead",
        );
    }
}

fn one_line(cx: &mut Context<'_, '_>, at: &[Step<'_>], resolved: Resolved) -> Resolved {
    let is_plain = |text: &SecretString| {
        let mut bytes = text.expose_secret().bytes();
        bytes.all(|byte| (0x20..0x7f).contains(&byte))
    };
    match resolved {
        Resolved::Ready(text) if !is_plain(&text) => {
            cx.error(at, "the secret holds characters that no header can carry");
            Resolved::Wrong
        }
        resolved => resolved,
    }
}

/// What a secret's text stands for. Without a `consequence`, an unset variable is not reported.
fn find(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    secret: &SecretText,
    consequence: Option<&str>,
) -> Resolved {
    let text = secret.0.trim();
    let found = if text.contains("${") {
        let Some(variable) = text
            .strip_prefix("${")
            .and_then(|rest| rest.strip_suffix('}'))
            .filter(|name| is_variable(name))
        else {
            cx.error(
                at,
                "a reference must be the whole value, as `${VARIABLE}`: letters, digits and `_`",
            );
            return Resolved::Wrong;
        };
        let value = (cx.env)(variable).filter(|value| !value.trim().is_empty());
        if let (None, Some(consequence)) = (&value, consequence) {
            cx.warn(
                at,
                format!("the variable `{variable}` is not set: {consequence}"),
                format!("set it, or remove this entry: export {variable}=…"),
            );
        }
        value
    } else if let Some(file) = text.strip_prefix("file:") {
        let consequence = consequence.unwrap_or("it is left out");
        match std::fs::read_to_string(file) {
            Ok(value) if !value.trim().is_empty() => Some(value),
            Ok(_) => {
                cx.warn(
                    at,
                    format!("the file `{file}` is empty: {consequence}"),
                    "fill it",
                );
                None
            }
            Err(error) => {
                let message = format!("the file `{file}` cannot be read ({error}): {consequence}");
                cx.warn(at, message, "check its path and permissions");
                None
            }
        }
    } else {
        Some(text.to_owned())
    };
    found.map_or(Resolved::Missing, |value| {
        Resolved::Ready(SecretString::from(value.trim().to_owned()))
    })
}

/// The address of a server that may hold a password: as a whole a reference like any secret, or an
/// address in which `${VARIABLE}` stands for text that is percent-encoded when it is put in.
pub fn address(cx: &mut Context<'_, '_>, at: &[Step<'_>], text: &str) -> Option<String> {
    let text = text.trim();
    let is_whole = text.starts_with("file:")
        || text
            .strip_prefix("${")
            .and_then(|rest| rest.strip_suffix('}'))
            .is_some_and(is_variable);
    if is_whole {
        let secret = SecretText(text.to_owned());
        return match resolve(cx, at, &secret, "there is no store without it") {
            Resolved::Ready(address) => Some(address.expose_secret().to_owned()),
            Resolved::Missing => {
                cx.error(at, "the store's address is missing");
                None
            }
            Resolved::Wrong => None,
        };
    }
    if findings::password_in(text).is_some_and(|password| !text[password].contains("${")) {
        cx.warn(
            at,
            "a password in plain text; this file is meant to be shared",
            "write `${VARIABLE}` in its place, or for the whole address",
        );
    }
    let mut address = String::new();
    let mut rest = text;
    while let Some((before, reference)) = rest.split_once("${") {
        let Some((variable, after)) = reference
            .split_once('}')
            .filter(|(name, _)| is_variable(name))
        else {
            cx.error(
                at,
                "a reference is written as `${VARIABLE}`: letters, digits and `_`",
            );
            return None;
        };
        let Some(value) = (cx.env)(variable).filter(|value| !value.trim().is_empty()) else {
            cx.error_hint(
                at,
                format!("the variable `{variable}` is not set: there is no store without it"),
                format!("set it: export {variable}=…"),
            );
            return None;
        };
        address.push_str(before);
        percent_encode(value.trim(), &mut address);
        rest = after;
    }
    address.push_str(rest);
    Some(address)
}

/// Encodes all but the unreserved characters of RFC 3986 §2.3.
fn percent_encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// References outside of secrets are errors: a routing file must mean the same everywhere.
pub fn check_references(root: &Node, findings: &mut Findings<'_>) {
    let mut path = Vec::new();
    walk(root, &mut path, findings);
}

fn walk<'n>(node: &'n Node, path: &mut Vec<Step<'n>>, findings: &mut Findings<'_>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let secret = SECRET_KEYS.contains(&entry.key.as_str()) || is_auth(path);
                if secret && matches!(entry.value.value, Value::Scalar(_)) {
                    continue;
                }
                path.push(Step::from(entry.key.as_str()));
                walk(&entry.value, path, findings);
                path.pop();
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Step::from(index));
                walk(item, path, findings);
                path.pop();
            }
        }
        Value::Scalar(scalar) if holds_reference(&scalar.text) => findings.add(
            Severity::Error,
            (node.at, render_path(path)),
            "`${…}` stands only for secrets: in `api_key`, a provider's `auth`, `admin_token`, \
             `fingerprint_key`, and a webhook's `url` and `secret`",
            Some("write the value itself, or template the file before it gets here".to_owned()),
        ),
        Value::Scalar(_) => {}
    }
}

/// True below `providers.NAME.auth`, where accounts' names may be references too.
fn is_auth(path: &[Step<'_>]) -> bool {
    let key = |at: usize, name: &str| matches!(path.get(at), Some(Step::Key(key)) if key == name);
    key(0, "providers") && key(2, "auth") && path.len() > 3
}

fn holds_reference(text: &str) -> bool {
    text.match_indices("${").any(|(at, _)| {
        let rest = &text[at + 2..];
        rest.find('}').is_some_and(|end| is_variable(&rest[..end]))
    })
}

/// The admin listener's secret.
pub fn admin(cx: &mut Context<'_, '_>, secret: Option<&SecretText>) -> Option<SecretString> {
    let consequence = "the admin listener answers on loopback only";
    match resolve(cx, at!["server", "admin_token"], secret?, consequence) {
        Resolved::Ready(secret) => Some(secret),
        Resolved::Missing | Resolved::Wrong => None,
    }
}

/// The secret under which requests are named in the ledger.
pub fn fingerprint(cx: &mut Context<'_, '_>, secret: Option<&SecretText>) -> Option<SecretString> {
    let consequence = "repeats are known only for as long as the process runs";
    match resolve(cx, at!["cache", "fingerprint_key"], secret?, consequence) {
        Resolved::Ready(secret) => Some(secret),
        Resolved::Missing | Resolved::Wrong => None,
    }
}
