//! Writing JSON straight into a buffer, in the order in which it is said: no tree in between.
//!
//! The closures keep brackets balanced; commas come by themselves.

use bytes::Bytes;

use super::json_text;
use crate::types::chat::{Extra, RawJson};

/// A JSON document on its way.
#[derive(Debug, Default)]
pub struct JsonOut {
    out: Vec<u8>,
}

impl JsonOut {
    /// An empty document with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            out: Vec::with_capacity(capacity),
        }
    }

    /// An empty document in the room that an earlier one has left.
    #[must_use]
    pub fn reusing(mut room: Vec<u8>) -> Self {
        room.clear();
        Self { out: room }
    }

    /// One object as a document.
    pub fn document(capacity: usize, members: impl FnOnce(&mut Members<'_>)) -> Bytes {
        let mut json = Self::with_capacity(capacity);
        json.object(members);
        json.finish()
    }

    /// An object.
    pub fn object(&mut self, members: impl FnOnce(&mut Members<'_>)) {
        self.comma();
        self.out.push(b'{');
        members(&mut Members { json: self });
        self.out.push(b'}');
    }

    /// An array.
    pub fn array(&mut self, elements: impl FnOnce(&mut Self)) {
        self.comma();
        self.out.push(b'[');
        elements(self);
        self.out.push(b']');
    }

    /// A string.
    pub fn string(&mut self, text: &str) {
        self.comma();
        json_text::push_string(&mut self.out, text);
    }

    /// A whole number.
    pub fn integer(&mut self, number: impl Into<i128>) {
        self.comma();
        let number: i128 = number.into();
        let mut digits = itoa::Buffer::new();
        self.out.extend_from_slice(digits.format(number).as_bytes());
    }

    /// A number: whole ones without a point, what JSON cannot say as `null`.
    pub fn number(&mut self, number: f64) {
        self.comma();
        if number.is_finite() {
            self.push_display(number);
        } else {
            self.out.extend_from_slice(b"null");
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, value: bool) {
        self.comma();
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// `null`.
    pub fn null(&mut self) {
        self.comma();
        self.out.extend_from_slice(b"null");
    }

    /// A value as it is.
    pub fn raw(&mut self, value: &RawJson) {
        self.comma();
        self.out.extend_from_slice(value.get().as_bytes());
    }

    /// A value as it is; `text` must be one valid JSON value.
    pub fn raw_text(&mut self, text: &str) {
        self.comma();
        self.out.extend_from_slice(text.as_bytes());
    }

    /// The document.
    #[must_use]
    pub fn finish(self) -> Bytes {
        Bytes::from(self.out)
    }

    /// The document's bytes.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.out
    }

    /// The document as text.
    #[must_use]
    pub fn into_string(self) -> String {
        // Only strings and JSON text were written.
        String::from_utf8(self.out).unwrap_or_default()
    }

    fn push_display(&mut self, number: impl std::fmt::Display) {
        use std::io::Write as _;
        // Writing to a vector cannot fail.
        let _written = write!(self.out, "{number}");
    }

    /// A comma, unless this is the first in its bracket or a value after its name.
    fn comma(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }
}

/// The members of an object on its way.
#[derive(Debug)]
pub struct Members<'o> {
    json: &'o mut JsonOut,
}

impl Members<'_> {
    /// Begins a member; exactly one value must follow.
    pub fn member(&mut self, name: &str) -> &mut JsonOut {
        self.json.comma();
        json_text::push_string(&mut self.json.out, name);
        self.json.out.push(b':');
        self.json
    }

    /// A string.
    pub fn string(&mut self, name: &str, text: &str) {
        self.member(name).string(text);
    }

    /// A string, if there is one.
    pub fn maybe_string(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.string(name, text);
        }
    }

    /// A whole number.
    pub fn integer(&mut self, name: &str, number: impl Into<i128>) {
        self.member(name).integer(number);
    }

    /// A whole number, if there is one.
    pub fn maybe_integer(&mut self, name: &str, number: Option<impl Into<i128>>) {
        if let Some(number) = number {
            self.integer(name, number);
        }
    }

    /// A number, if there is one.
    pub fn maybe_number(&mut self, name: &str, number: Option<f64>) {
        if let Some(number) = number {
            self.member(name).number(number);
        }
    }

    /// A boolean.
    pub fn boolean(&mut self, name: &str, value: bool) {
        self.member(name).boolean(value);
    }

    /// A boolean, if there is one.
    pub fn maybe_boolean(&mut self, name: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.boolean(name, value);
        }
    }

    /// `null`.
    pub fn null(&mut self, name: &str) {
        self.member(name).null();
    }

    /// A value as it is.
    pub fn raw(&mut self, name: &str, value: &RawJson) {
        self.member(name).raw(value);
    }

    /// A value as it is, if there is one.
    pub fn maybe_raw(&mut self, name: &str, value: Option<&RawJson>) {
        if let Some(value) = value {
            self.raw(name, value);
        }
    }

    /// An object.
    pub fn object(&mut self, name: &str, members: impl FnOnce(&mut Members<'_>)) {
        self.member(name).object(members);
    }

    /// An array.
    pub fn array(&mut self, name: &str, elements: impl FnOnce(&mut JsonOut)) {
        self.member(name).array(elements);
    }

    /// Members that passed through.
    pub fn extra(&mut self, extra: &Extra) {
        for (name, value) in extra.iter() {
            self.raw(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_json() {
        let json = JsonOut::document(64, |it| {
            it.string("a", "x\"\n,");
            it.integer("n", -7);
            it.integer("most", u64::MAX);
            it.maybe_number("t", Some(1.0));
            it.maybe_number("u", Some(0.7));
            it.maybe_number("gone", None);
            it.array("list", |list| {
                list.string("{");
                list.array(|_| {});
                list.object(|it| it.boolean("b", true));
                list.null();
            });
            it.object("o", |_| {});
            it.raw("r", &RawJson::new("[1, 2]"));
        });
        let expect = r#"{"a":"x\"\n,","n":-7,"most":18446744073709551615,"t":1,"u":0.7,"list":["{",[],{"b":true},null],"o":{},"r":[1, 2]}"#;
        assert_eq!(json, expect.as_bytes());
        serde_json::from_slice::<serde_json::Value>(&json).expect("valid JSON");
    }
}
