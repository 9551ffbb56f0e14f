//! Taking a small JSON document apart, value by value, where a dialect is translated: objects as their
//! members in order, each still text until somebody asks for it. What nobody takes is left over as
//! [`Extra`].
//!
//! A value is scanned once for each level that it lies below its document, which is cheap beside what
//! a translation copies anyway. For the hot paths that only look see `json_walk`.

use std::borrow::Cow;

use jiter::JiterError;
use smallvec::SmallVec;

use super::json_text;
use super::json_walk::Walk;
use crate::types::chat::{Extra, RawJson};

/// The text of one valid JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'j>(&'j str);

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// For messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

impl<'j> Raw<'j> {
    /// Checks that `json` is one JSON value.
    ///
    /// # Errors
    /// When it is not.
    pub fn parse(json: &'j str) -> Result<Self, JiterError> {
        let mut walk = Walk::new(json.as_bytes());
        let peek = walk.peek()?;
        walk.skip(peek)?;
        walk.finish()?;
        Ok(Self(json.trim_matches(WHITE)))
    }

    /// The text.
    #[must_use]
    pub const fn get(self) -> &'j str {
        self.0
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// True for `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// The text of a string; `None` when it is none.
    #[must_use]
    pub fn text(self) -> Option<Cow<'j, str>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(json_text::to_string_lossy(inside.as_bytes()))
    }

    /// The text of a string, owned.
    #[must_use]
    pub fn string(self) -> Option<String> {
        self.text().map(Cow::into_owned)
    }

    /// A whole number that is not negative.
    #[must_use]
    pub fn count(self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// A whole number.
    #[must_use]
    pub fn integer(self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// A number.
    #[must_use]
    pub fn number(self) -> Option<f64> {
        (self.kind() == Kind::Number)
            .then(|| self.0.parse().ok())
            .flatten()
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The members of an object; `None` when it is none.
    #[must_use]
    pub fn object(self) -> Option<Object<'j>> {
        (self.kind() == Kind::Object)
            .then(|| Object::read(self.0).ok())
            .flatten()
    }

    /// The elements of an array; `None` when it is none.
    #[must_use]
    pub fn array(self) -> Option<Vec<Self>> {
        if self.kind() != Kind::Array {
            return None;
        }
        let mut walk = Walk::new(self.0.as_bytes());
        walk.peek().ok()?;
        let mut elements = Vec::new();
        walk.array(|walk, _, peek| {
            let start = walk.index();
            walk.skip(peek)?;
            elements.push(Self(&self.0[walk.since(start).range()]));
            Ok::<(), JiterError>(())
        })
        .ok()?;
        Some(elements)
    }

    /// A copy that outlives the document.
    #[must_use]
    pub fn owned(self) -> RawJson {
        RawJson::new(self.0)
    }
}

const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];

/// The members of an object, in order. Of members of one name the last counts, as it does for most
/// parsers; decoding has refused duplicates that matter.
#[derive(Debug, Default)]
pub struct Object<'j> {
    members: SmallVec<[(Cow<'j, str>, Raw<'j>); 8]>,
}

impl<'j> Object<'j> {
    /// Reads the object `json`.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn read(json: &'j str) -> Result<Self, JiterError> {
        let mut walk = Walk::new(json.as_bytes());
        let mut members = SmallVec::new();
        walk.peek()?;
        walk.object(|walk, member| {
            walk.skip(member.peek)?;
            let value = Raw(&json[walk.since(member.start).range()]);
            let name = match member.name {
                Cow::Borrowed(_) => Cow::Borrowed(&json[member.name_span.range()]),
                Cow::Owned(name) => Cow::Owned(String::from_utf8_lossy(&name).into_owned()),
            };
            members.push((name, value));
            Ok::<(), JiterError>(())
        })?;
        walk.finish()?;
        Ok(Self { members })
    }

    /// Takes a member out; `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Raw<'j>> {
        self.take_any(name).filter(|value| !value.is_null())
    }

    /// Takes a member out, also a `null`.
    pub fn take_any(&mut self, name: &str) -> Option<Raw<'j>> {
        let place = |it: &Self| it.members.iter().rposition(|(other, _)| other == name);
        let (_, found) = self.members.remove(place(self)?);
        while let Some(earlier) = place(self) {
            self.members.remove(earlier);
        }
        Some(found)
    }

    /// Looks at a member and leaves it; `null` counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Raw<'j>> {
        let found = self.members.iter().rev().find(|(other, _)| other == name);
        found.map(|(_, value)| *value).filter(|it| !it.is_null())
    }

    /// Takes out a string.
    pub fn take_string(&mut self, name: &str) -> Option<String> {
        self.take_if(name, Raw::string)
    }

    /// Takes out a count.
    pub fn take_count(&mut self, name: &str) -> Option<u64> {
        self.take_if(name, Raw::count)
    }

    /// Takes out a number.
    pub fn take_number(&mut self, name: &str) -> Option<f64> {
        self.take_if(name, Raw::number)
    }

    /// Takes out a boolean.
    pub fn take_boolean(&mut self, name: &str) -> Option<bool> {
        self.take_if(name, Raw::boolean)
    }

    /// Takes a member out if it can be read so; otherwise it is left over as it is.
    pub fn take_if<T>(&mut self, name: &str, read: impl Fn(Raw<'j>) -> Option<T>) -> Option<T> {
        let value = read(self.get(name)?)?;
        self.take_any(name);
        Some(value)
    }

    /// Name and value of those that nobody took.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Raw<'j>)> {
        self.members.iter().map(|(name, value)| (&**name, *value))
    }

    /// What nobody took.
    #[must_use]
    pub fn rest(self) -> Extra {
        let owned = |(name, value): (Cow<'_, str>, Raw<'_>)| (name.into_owned(), value.owned());
        Extra(self.members.into_iter().map(owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_taken_and_the_rest_is_left() {
        let json = r#" {"a":"x\n\u00e9","n":12,"f":-0.5,"t":true,"z":null,"arr":[1, {"k":2}],"more":{"q":[]},"\u0062":1} "#;
        let mut object = Raw::parse(json).expect("JSON").object().expect("an object");
        assert_eq!(object.take_string("a").as_deref(), Some("x\né"));
        assert_eq!(object.take_count("n"), Some(12));
        assert_eq!(object.take_number("f"), Some(-0.5));
        assert_eq!(object.take_boolean("t"), Some(true));
        assert_eq!(object.take("z"), None);
        assert_eq!(object.take_count("b"), Some(1));
        let elements = object.take("arr").and_then(Raw::array).expect("an array");
        assert_eq!(elements[1].get(), r#"{"k":2}"#);
        assert_eq!(object.take_string("more"), None, "is no string");
        let rest = object.rest();
        assert_eq!(rest.0, [("more".to_owned(), RawJson::new(r#"{"q":[]}"#))]);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in ["", "{", "{}x", "[1,]", "nul"] {
            assert!(Raw::parse(bad).is_err(), "{bad:?}");
        }
    }
}
