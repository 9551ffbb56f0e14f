//! Walking a JSON document once, without building a tree: a thin layer over `jiter` that hands out
//! spans, resolves escaped member names, and stays in step whatever the visitor does not care for.
//!
//! Nesting is bounded twice: visitors descend only where the schema does, and what they skip may be
//! nested 200 levels deep.

use std::borrow::Cow;

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, NumberAny, NumberInt, Peek};
use memchr::memchr;

use super::json_text;
use crate::types::Span;

/// A position in one JSON document.
pub(crate) struct Walk<'j> {
    body: &'j [u8],
    jiter: Jiter<'j>,
}

/// A member of an object, its value not yet read.
pub(crate) struct Member<'j> {
    /// The name with its escapes resolved.
    pub name: Cow<'j, [u8]>,
    /// The inside of the name's quotes.
    pub name_span: Span,
    /// What the value begins with.
    pub peek: Peek,
    /// Where the value begins.
    pub start: usize,
}

impl<'j> Walk<'j> {
    /// At the beginning of `body`, which must be shorter than 4 GiB for its spans to hold.
    pub fn new(body: &'j [u8]) -> Self {
        Self {
            body,
            jiter: Jiter::new(body),
        }
    }

    /// What the next value begins with, and where.
    pub fn peek(&mut self) -> Result<Peek, JiterError> {
        self.jiter.peek()
    }

    /// One past the last byte read.
    pub fn index(&self) -> usize {
        self.jiter.current_index()
    }

    /// From `start` to the last byte read.
    pub fn since(&self, start: usize) -> Span {
        span(start, self.index())
    }

    /// Visits the members of the object that comes next. The visitor must read or skip each value.
    pub fn object<E: From<JiterError>>(
        &mut self,
        mut visit: impl FnMut(&mut Self, Member<'j>) -> Result<(), E>,
    ) -> Result<(), E> {
        let body = self.body;
        let mut name = self
            .jiter
            .next_object_bytes()?
            .map(|name| place(body, name));
        while let Some(name_span) = name {
            let peek = self.jiter.peek()?;
            self.refuse_non_value(peek)?;
            let member = Member {
                name: unescaped(&body[name_span.range()]),
                name_span,
                peek,
                start: self.jiter.current_index(),
            };
            visit(self, member)?;
            name = self.jiter.next_key_bytes()?.map(|name| place(body, name));
        }
        Ok(())
    }

    /// Visits the elements of the array that comes next. The visitor must read or skip each.
    pub fn array<E: From<JiterError>>(
        &mut self,
        mut visit: impl FnMut(&mut Self, usize, Peek) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = self.jiter.next_array()?;
        let mut index = 0;
        while let Some(peek) = next {
            self.refuse_non_value(peek)?;
            visit(self, index, peek)?;
            index += 1;
            next = self.jiter.array_step()?;
        }
        Ok(())
    }

    /// Fails where no value can begin, so that visitors see values only.
    fn refuse_non_value(&mut self, peek: Peek) -> Result<(), JiterError> {
        match peek.into_inner() {
            b'"' | b'{' | b'[' | b't' | b'f' | b'n' | b'-' | b'0'..=b'9' => Ok(()),
            _ => self.jiter.known_skip(peek),
        }
    }

    /// Skips the value that begins with `peek`.
    pub fn skip(&mut self, peek: Peek) -> Result<(), JiterError> {
        self.jiter.known_skip(peek)
    }

    /// Reads the string that comes next and returns its inside, still escaped.
    pub fn string(&mut self) -> Result<Span, JiterError> {
        let body = self.body;
        self.jiter.known_bytes().map(|inside| place(body, inside))
    }

    /// The bytes of a span.
    pub fn raw(&self, span: Span) -> &'j [u8] {
        &self.body[span.range()]
    }

    /// The text of a string's inside.
    pub fn text(&self, inside: Span) -> Cow<'j, str> {
        json_text::to_string_lossy(self.raw(inside))
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self, peek: Peek) -> Result<bool, JiterError> {
        self.jiter.known_bool(peek)
    }

    /// Reads a number; `None` unless it is a whole number that is not negative.
    pub fn count(&mut self, peek: Peek) -> Result<Option<u64>, JiterError> {
        match self.jiter.known_number(peek) {
            Ok(NumberAny::Int(NumberInt::Int(number))) => Ok(u64::try_from(number).ok()),
            Ok(NumberAny::Float(_)) => Ok(None),
            Err(error) if is_out_of_range(&error) => self.skip(peek).map(|()| None),
            Err(error) => Err(error),
        }
    }

    /// The document must be over.
    pub fn finish(&mut self) -> Result<(), JiterError> {
        self.jiter.finish()
    }
}

/// True for errors that [`json_text::mend_lone_surrogates`] may remove.
pub(crate) fn is_lone_surrogate(error: &JiterError) -> bool {
    matches!(
        error.error_type,
        JiterErrorType::JsonError(
            JsonErrorType::LoneLeadingSurrogateInHexEscape
                | JsonErrorType::UnexpectedEndOfHexEscape
        )
    )
}

fn is_out_of_range(error: &JiterError) -> bool {
    matches!(
        error.error_type,
        JiterErrorType::JsonError(JsonErrorType::NumberOutOfRange)
    )
}

/// A span of a document that is known to be shorter than 4 GiB.
pub(crate) fn span(start: usize, end: usize) -> Span {
    let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Span {
        start: narrow(start),
        end: narrow(end),
    }
}

/// Where `part`, a slice of `body`, stands in it.
fn place(body: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr().addr() - body.as_ptr().addr();
    span(start, start + part.len())
}

fn unescaped(name: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\\', name).is_none() {
        return Cow::Borrowed(name);
    }
    Cow::Owned(json_text::to_string_lossy(name).into_owned().into_bytes())
}

/// What a value is, for error messages.
pub(crate) fn kind_of(peek: Peek) -> &'static str {
    match peek {
        Peek::String => "a string",
        Peek::Array => "an array",
        Peek::Object => "an object",
        Peek::True | Peek::False => "a boolean",
        Peek::Null => "null",
        _ => "a number",
    }
}
