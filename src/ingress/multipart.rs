//! Finds the fields of a multipart form (RFC 7578) that routing needs, in a body that streams by.
//! Keeps no more than it must to see a field whole, and refuses what two readers could read
//! differently: a repeated field, a name in two forms.

use std::ops::Range;

use bytes::{Buf, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::error::ProxyError;

/// Headers of one part.
const MAX_PART_HEAD_BYTES: usize = 8 * 1024;
/// Names of models, and numbers.
const MAX_VALUE_BYTES: usize = 256;
/// RFC 2046 §5.1.1.
const MAX_BOUNDARY_BYTES: usize = 70;
/// The fields that are looked for.
const WANTED: [&str; 3] = ["model", "n", USER];
/// Whom the client names as its end user. A name that is too long, or no text, names nobody.
const USER: &str = "user";

/// A field that was looked for.
#[derive(Debug, PartialEq, Eq)]
pub struct FormField {
    /// One of the wanted names.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Where the value stands, in bytes from the body's beginning.
    pub at: Range<usize>,
}

/// Reads a form as it comes in.
#[derive(Debug)]
pub struct FormScanner {
    /// Line break, two dashes, boundary.
    delimiter: Vec<u8>,
    /// What has not been looked at, with a line break in front of the body's first byte.
    rest: BytesMut,
    /// How far into the body `rest` begins, plus two for that line break.
    begins: usize,
    state: State,
    seen: [bool; WANTED.len()],
    /// A part with a file has begun.
    has_file: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a part, or before the first.
    Content(Option<usize>),
    /// Behind a delimiter.
    Head,
    /// Behind the last delimiter.
    Over,
}

impl FormScanner {
    /// For a body of this content type.
    ///
    /// # Errors
    /// 400 when it is no multipart form.
    pub fn new(headers: &HeaderMap) -> Result<Self, ProxyError> {
        let boundary = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(boundary_of)
            .ok_or_else(|| {
                let message = "header `content-type` must be `multipart/form-data` with a boundary";
                ProxyError::invalid(CONTENT_TYPE.as_str(), message)
            })?;
        Ok(Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            rest: BytesMut::from(&b"\r\n"[..]),
            begins: 0,
            state: State::Content(None),
            seen: [false; WANTED.len()],
            has_file: false,
        })
    }

    /// True until the first file or the end: clients put what is short before what is long.
    #[must_use]
    pub fn may_name_more(&self) -> bool {
        !self.has_file && self.state != State::Over
    }

    /// Takes the next bytes of the body and returns the fields that ended in them.
    ///
    /// # Errors
    /// 400 for what is no form, or none that everybody reads alike.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<FormField>, ProxyError> {
        let mut found = Vec::new();
        if self.state == State::Over {
            return Ok(found);
        }
        self.rest.extend_from_slice(bytes);
        loop {
            let went_on = match self.state {
                State::Content(wanted) => self.content(wanted, &mut found)?,
                State::Head => self.head()?,
                State::Over => false,
            };
            if !went_on {
                return Ok(found);
            }
        }
    }

    fn content(
        &mut self,
        wanted: Option<usize>,
        found: &mut Vec<FormField>,
    ) -> Result<bool, ProxyError> {
        let Some(end) = memchr::memmem::find(&self.rest, &self.delimiter) else {
            let may_begin = self.delimiter.len() - 1;
            match wanted.map(|index| WANTED[index]) {
                None => self.skip(self.rest.len().saturating_sub(may_begin)),
                Some(_) if self.rest.len() <= MAX_VALUE_BYTES + may_begin => {}
                Some(USER) => {
                    self.state = State::Content(None);
                    return Ok(true);
                }
                Some(name) => return Err(too_long(name)),
            }
            return Ok(false);
        };
        if let Some(index) = wanted {
            found.extend(self.field(WANTED[index], end)?);
        }
        self.skip(end + self.delimiter.len());
        self.state = State::Head;
        Ok(true)
    }

    /// The field of this name, whose value ends at `end`.
    fn field(&self, name: &'static str, end: usize) -> Result<Option<FormField>, ProxyError> {
        let value = std::str::from_utf8(&self.rest[..end]).ok();
        let value = value.filter(|_| end <= MAX_VALUE_BYTES);
        if value.is_none() && name != USER {
            return Err(if end > MAX_VALUE_BYTES {
                too_long(name)
            } else {
                ProxyError::invalid(name, format!("`{name}` must be text"))
            });
        }
        let begin = self.begins - 2;
        Ok(value.map(|value| FormField {
            name,
            value: value.to_owned(),
            at: begin..begin + end,
        }))
    }

    fn head(&mut self) -> Result<bool, ProxyError> {
        if self.rest.starts_with(b"--") {
            self.state = State::Over;
            self.rest.clear();
            return Ok(false);
        }
        let Some(end) = memchr::memmem::find(&self.rest, b"\r\n\r\n") else {
            if self.rest.len() > MAX_PART_HEAD_BYTES {
                return Err(broken("a part's headers are too long"));
            }
            return Ok(false);
        };
        let head = std::str::from_utf8(&self.rest[..end])
            .map_err(|_| broken("a part's headers are no text"))?;
        let (name, is_file) = part_name(head)?;
        self.has_file |= is_file;
        let wanted = WANTED.iter().position(|wanted| *wanted == name);
        if let Some(index) = wanted
            && std::mem::replace(&mut self.seen[index], true)
        {
            let message = format!("`{name}` is there more than once; it is allowed once");
            return Err(ProxyError::invalid(name, message));
        }
        self.skip(end + 4);
        self.state = State::Content(wanted);
        Ok(true)
    }

    fn skip(&mut self, bytes: usize) {
        self.rest.advance(bytes);
        self.begins += bytes;
    }
}

fn too_long(name: &'static str) -> ProxyError {
    let message = format!("`{name}` must have at most {MAX_VALUE_BYTES} bytes");
    ProxyError::invalid(name, message)
}

fn broken(what: &str) -> ProxyError {
    ProxyError::invalid("", format!("the multipart body cannot be read: {what}"))
}

fn boundary_of(content_type: &str) -> Option<String> {
    let mut parts = content_type.split(';').map(str::trim);
    let kind = parts.next()?;
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    let boundary = boundary.trim_matches('"');
    (!boundary.is_empty() && boundary.len() <= MAX_BOUNDARY_BYTES).then(|| boundary.to_owned())
}

/// The name of the part that these headers stand before, and whether it is a file.
fn part_name(head: &str) -> Result<(String, bool), ProxyError> {
    let (mut names, mut is_file) = (Vec::new(), false);
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            return Err(broken("a part's header goes on in another line"));
        }
        let Some((header, value)) = line.split_once(':') else {
            continue;
        };
        if header.trim().eq_ignore_ascii_case("content-disposition") {
            names.extend(names_in(value)?);
            is_file |= value.to_ascii_lowercase().contains("filename");
        }
    }
    match <[String; 1]>::try_from(names) {
        Ok([name]) => Ok((name, is_file)),
        Err(_) => Err(broken("a part must have one name")),
    }
}

/// Every `name` parameter of a content disposition, outside of quoted text.
fn names_in(value: &str) -> Result<Vec<String>, ProxyError> {
    let mut names = Vec::new();
    let mut rest = value;
    while let Some((_, after)) = rest.split_once(';') {
        let parameter = after.trim_start();
        let Some((name, value)) = parameter.split_once('=') else {
            break;
        };
        let (value, tail) = if let Some(quoted) = value.strip_prefix('"') {
            let end = end_of_quoted(quoted).ok_or_else(|| broken("a quote is not closed"))?;
            (&quoted[..end], &quoted[end + 1..])
        } else {
            value.split_at(value.find(';').unwrap_or(value.len()))
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "name" => names.push(value.trim().to_owned()),
            "name*" => return Err(broken("a part's name is encoded")),
            _ => {}
        }
        rest = tail;
    }
    Ok(names)
}

/// Where quoted text ends; `\"` is part of it.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    const FORM: &str = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a; name=\\\"model\\\".mp3\"\r\n\
                        content-type: audio/mpeg\r\n\r\n\0\r\n--not\r\n\r\n--b\r\nContent-Disposition: form-data; name=model\r\n\r\n\
                        whisper-1\r\n--b\r\ncontent-disposition: form-data; name=\"n\"\r\n\r\n2\r\n--b--\r\n";

    fn scanner() -> FormScanner {
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("multipart/form-data; boundary=\"b\"");
        headers.insert(CONTENT_TYPE, form);
        FormScanner::new(&headers).expect("a form")
    }

    fn scan(pieces: &[&[u8]]) -> Result<Vec<FormField>, ErrorKind> {
        let mut scanner = scanner();
        let mut found = Vec::new();
        for piece in pieces {
            found.extend(scanner.feed(piece).map_err(|error| error.kind)?);
        }
        Ok(found)
    }

    #[test]
    fn fields_are_found_wherever_they_stand() {
        let found = scan(&[FORM.as_bytes()]).expect("a form");
        let names: Vec<_> = found
            .iter()
            .map(|it| (it.name, it.value.as_str()))
            .collect();
        assert_eq!(names, [("model", "whisper-1"), ("n", "2")]);
        assert_eq!(&FORM[found[0].at.clone()], "whisper-1");
    }

    #[test]
    fn an_end_user_is_named_before_the_first_file_and_never_a_reason_to_refuse() {
        let part = |name: &str, value: &str| {
            format!("--b\r\ncontent-disposition: form-data; name={name}\r\n\r\n{value}\r\n")
        };
        let check = |value: &str, expect: Option<&str>| {
            let form = part("user", value) + &part("model", "m") + "--b--\r\n";
            for size in [1, 7, form.len()] {
                let pieces: Vec<_> = form.as_bytes().chunks(size).collect();
                let found = scan(&pieces).expect("a form");
                let users = found.iter().filter(|it| it.name == USER);
                let users: Vec<_> = users.map(|it| it.value.as_str()).collect();
                assert_eq!(users, Vec::from_iter(expect), "{size}");
                assert!(found.iter().any(|it| it.name == "model"));
            }
        };
        check("u-1", Some("u-1"));
        check(
            &"x".repeat(MAX_VALUE_BYTES),
            Some(&"x".repeat(MAX_VALUE_BYTES)),
        );
        check(&"x".repeat(5_000), None);
        let mut scanner = scanner();
        assert!(scanner.may_name_more());
        scanner.feed(FORM.as_bytes()).expect("a form");
        assert!(!scanner.may_name_more(), "it had a file");
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let part = |disposition: &str| {
            format!("--b\r\ncontent-disposition: form-data; {disposition}\r\n\r\nx\r\n")
        };
        let twice = part("name=model") + &part("name=\"model\"") + "--b--";
        let both = part("name=a; name=model");
        let encoded = part("name*=utf-8''model");
        let folded = "--b\r\ncontent-disposition: form-data;\r\n name=model\r\n\r\nx\r\n--b--";
        let long = format!(
            "--b\r\ncontent-disposition: form-data; name=model\r\n\r\n{}",
            "x".repeat(400)
        );
        for form in [twice.as_str(), &both, &encoded, folded, &long] {
            let refused = scan(&[form.as_bytes()]);
            assert_eq!(refused, Err(ErrorKind::InvalidRequest), "{form}");
        }
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_fields(mut cuts in prop::collection::vec(0..FORM.len(), 0..6)) {
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&FORM.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&FORM.as_bytes()[from..]);
            prop_assert_eq!(scan(&pieces), scan(&[FORM.as_bytes()]));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = scan(&[b"--b\r\n", &bytes]);
        }
    }
}
