//! The top-level members of a JSON body that is passed through, and where they stand in it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::ProxyError;

/// Members by name, each once.
#[derive(Debug)]
pub struct Members<'b> {
    body: &'b Bytes,
    list: Vec<(Cow<'b, str>, &'b RawValue)>,
}

/// Reads a body.
///
/// # Errors
/// 400 when it is no JSON object, or names a member twice: two readers could take different ones.
pub fn members(body: &Bytes) -> Result<Members<'_>, ProxyError> {
    let List(list) = serde_json::from_slice(body).map_err(|error| {
        let message = format!(
            "the body must be a JSON object (line {}, column {})",
            error.line(),
            error.column()
        );
        ProxyError::invalid("", message)
    })?;
    for (index, (name, _)) in list.iter().enumerate() {
        if list[..index].iter().any(|(earlier, _)| earlier == name) {
            let message = format!("`{name}` is there more than once; it is allowed once");
            return Err(ProxyError::invalid(name.as_ref(), message));
        }
    }
    Ok(Members { body, list })
}

impl<'b> Members<'b> {
    fn raw(&self, name: &str) -> Option<&'b RawValue> {
        let found = self.list.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| *value)
    }

    /// The text of a member, and where it stands with its quotes.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<(String, Range<usize>)> {
        let raw = self.raw(name)?;
        let text: String = serde_json::from_str(raw.get()).ok()?;
        let start = raw.get().as_ptr() as usize - self.body.as_ptr() as usize;
        Some((text, start..start + raw.get().len()))
    }

    /// The number of a member.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    /// True where the member is there and no `null`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|raw| raw.get() != "null")
    }
}

struct List<'b>(Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'de: 'b, 'b> Deserialize<'de> for List<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    list.push((Cow::Owned(name), map.next_value()?));
                }
                Ok(list)
            }
        }
        deserializer.deserialize_map(ListVisitor).map(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_where_they_stand() {
        let body = Bytes::from_static(br#"{ "model" : "a\u0062", "n": 2, "user": null }"#);
        let members = members(&body).expect("an object");
        let (text, at) = members.text("model").expect("text");
        assert_eq!((text.as_str(), &body[at]), ("ab", &br#""a\u0062""#[..]));
        assert_eq!(members.number("n"), Some(2));
        assert!(members.has("n") && !members.has("user") && !members.has("x"));
    }

    #[test]
    fn twice_is_once_too_often() {
        for body in [r#"{"model": "a", "mod\u0065l": "b"}"#, "[]", "{"] {
            let body = Bytes::from_static(body.as_bytes());
            assert!(members(&body).is_err());
        }
    }
}
