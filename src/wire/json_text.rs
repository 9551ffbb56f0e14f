//! JSON strings as they stand in a body: reading them without their escapes, and writing them.
//!
//! A prompt can be megabytes long and the classifier reads two windows of it, so the reader works
//! in place: it fills the caller's buffer and keeps nothing.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// The longest UTF-8 character; a reader's buffer must hold one.
const MAX_CHAR_BYTES: usize = 4;
/// `\uXXXX`.
const UNICODE_ESCAPE_BYTES: usize = 6;

/// Reads the inside of a JSON string (without its quotes) with the escapes resolved.
///
/// Meant for text that a parser has already accepted. On other bytes it does something harmless: a
/// broken escape or half of a surrogate pair reads as U+FFFD.
#[derive(Clone, Debug)]
pub struct Unescape<'a> {
    raw: &'a [u8],
    at: usize,
}

impl<'a> Unescape<'a> {
    /// Reads `raw` from its beginning.
    #[must_use]
    pub const fn new(raw: &'a [u8]) -> Self {
        Self { raw, at: 0 }
    }

    /// Reads about the last `max_raw_bytes` of `raw`, beginning at a whole character.
    #[must_use]
    pub fn tail(raw: &'a [u8], max_raw_bytes: usize) -> Self {
        let at = whole_character_from(raw, raw.len().saturating_sub(max_raw_bytes));
        Self { raw, at }
    }

    /// How many bytes of the raw text have been read (or, by [`Unescape::tail`], skipped).
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Fills `buffer` with unescaped text and returns how many bytes it wrote. Never splits a
    /// character. Returns 0 at the end, and for a buffer of fewer than 4 bytes.
    pub fn read_into(&mut self, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        while self.at < self.raw.len() {
            let room = buffer.len() - filled;
            let rest = &self.raw[self.at..];
            if rest[0] == b'\\' {
                let (character, length) = escape(rest);
                if room < character.len_utf8() {
                    break;
                }
                filled += character.encode_utf8(&mut buffer[filled..]).len();
                self.at += length;
                continue;
            }
            // An escape further away than the buffer reaches is not looked for yet.
            let reach = &rest[..rest.len().min(room)];
            let mut run = memchr(b'\\', reach).unwrap_or(reach.len());
            if run == reach.len() && run < rest.len() {
                run = character_boundary_at_or_before(rest, run);
            }
            if run == 0 {
                break;
            }
            buffer[filled..filled + run].copy_from_slice(&rest[..run]);
            filled += run;
            self.at += run;
        }
        filled
    }
}

/// The text of a string's inside. Borrowed when it has no escapes.
#[must_use]
pub fn to_string_lossy(raw: &[u8]) -> Cow<'_, str> {
    if memchr(b'\\', raw).is_none() {
        return String::from_utf8_lossy(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(offset) = memchr(b'\\', rest) {
        text.push_str(&String::from_utf8_lossy(&rest[..offset]));
        let (character, consumed) = escape(&rest[offset..]);
        text.push(character);
        rest = &rest[offset + consumed..];
    }
    text.push_str(&String::from_utf8_lossy(rest));
    Cow::Owned(text)
}

/// How many bytes the text of a string's inside has.
#[must_use]
pub fn unescaped_len(raw: &[u8]) -> usize {
    let (mut at, mut length) = (0, 0);
    while let Some(offset) = memchr(b'\\', &raw[at..]) {
        let (character, consumed) = escape(&raw[at + offset..]);
        length += offset + character.len_utf8();
        at += offset + consumed;
    }
    length + (raw.len() - at)
}

/// Reads a JSON string from behind its opening quote: where its inside ends and how many bytes its
/// text has. `None` when it does not end, or is not plain valid text; a parser knows then.
pub(crate) fn measure_string(rest: &[u8]) -> Option<(usize, usize)> {
    let (mut at, mut saved) = (0, 0);
    let end = loop {
        let offset = at + memchr2(b'"', b'\\', rest.get(at..)?)?;
        if rest[offset] == b'"' {
            break offset;
        }
        let (character, consumed) = escape(&rest[offset..]);
        if character == char::REPLACEMENT_CHARACTER {
            return None;
        }
        saved += consumed - character.len_utf8();
        at = offset + consumed;
    };
    let inside = &rest[..end];
    let plain = inside.iter().all(|byte| *byte >= b' ') && std::str::from_utf8(inside).is_ok();
    plain.then_some((end, end - saved))
}

/// Appends `text` as a JSON string with its quotes.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing into a vector cannot fail, and neither can a string's serialisation.
    let written = serde_json::to_writer(&mut *out, text);
    debug_assert!(written.is_ok());
}

/// `text` as a JSON string with its quotes.
#[must_use]
pub fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

/// Resolves the escape that `rest` begins with: the character and how many bytes it took. Always
/// takes at least one byte and never more than there are.
fn escape(rest: &[u8]) -> (char, usize) {
    let plain = |character| (character, 2);
    match rest.get(1) {
        Some(b'n') => plain('\n'),
        Some(b't') => plain('\t'),
        Some(b'r') => plain('\r'),
        Some(b'b') => plain('\u{8}'),
        Some(b'f') => plain('\u{c}'),
        Some(b'"') => plain('"'),
        Some(b'\\') => plain('\\'),
        Some(b'/') => plain('/'),
        Some(b'u') => unicode_escape(rest),
        Some(_) => (char::REPLACEMENT_CHARACTER, 1),
        None => (char::REPLACEMENT_CHARACTER, rest.len()),
    }
}

fn unicode_escape(rest: &[u8]) -> (char, usize) {
    let Some(first) = hex4(rest) else {
        return (char::REPLACEMENT_CHARACTER, rest.len().min(2));
    };
    if is_high_surrogate(first)
        && let Some(second) = rest.get(UNICODE_ESCAPE_BYTES..).and_then(hex4)
        && is_low_surrogate(second)
    {
        let scalar = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        let character = char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER);
        return (character, 2 * UNICODE_ESCAPE_BYTES);
    }
    let character = char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER);
    (character, UNICODE_ESCAPE_BYTES)
}

/// The number in a `\uXXXX` that `bytes` begins with.
fn hex4(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |number, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(number * 16 + value)
    })
}

const fn is_high_surrogate(code: u32) -> bool {
    matches!(code, 0xD800..=0xDBFF)
}

const fn is_low_surrogate(code: u32) -> bool {
    matches!(code, 0xDC00..=0xDFFF)
}

/// A copy of a JSON text in which every half of a surrogate pair that lacks its other half is
/// written `\ufffd`; `None` when there is none. The copy has the same length, so that spans found
/// in it hold for the original.
///
/// Such halves come from clients that cut text in the middle of an emoji and from providers that
/// cut tokens there. Most servers accept them, so they pass through as they are.
#[must_use]
pub fn mend_lone_surrogates(json: &[u8]) -> Option<Vec<u8>> {
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(offset) = memchr(b'\\', &json[at..]) {
        let start = at + offset;
        let rest = &json[start..];
        let (character, consumed) = escape(rest);
        let lone = character == char::REPLACEMENT_CHARACTER
            && consumed == UNICODE_ESCAPE_BYTES
            && hex4(rest).is_some_and(|code| is_high_surrogate(code) || is_low_surrogate(code));
        if lone {
            let copy = mended.get_or_insert_with(|| json.to_vec());
            copy[start + 2..start + UNICODE_ESCAPE_BYTES].copy_from_slice(b"fffd");
        }
        at = start + consumed;
    }
    mended
}

/// The largest boundary between characters that is not beyond `at`.
fn character_boundary_at_or_before(text: &[u8], at: usize) -> usize {
    let continues = |at: &usize| text.get(*at).is_some_and(|byte| byte & 0xC0 == 0x80);
    (0..=at)
        .rev()
        .take(MAX_CHAR_BYTES)
        .find(|at| !continues(at))
        .unwrap_or(at)
}

/// The first position from `at` on where neither a character nor an escape is under way.
fn whole_character_from(raw: &[u8], at: usize) -> usize {
    if at == 0 {
        return 0;
    }
    let reach = at.saturating_sub(UNICODE_ESCAPE_BYTES - 1)..at;
    let mut at = at;
    for start in reach {
        let backslashes = raw[..start]
            .iter()
            .rev()
            .take_while(|&&byte| byte == b'\\')
            .count();
        if raw[start] == b'\\' && backslashes % 2 == 0 {
            let (_, length) = escape(&raw[start..]);
            at = at.max(start + length);
        }
    }
    // Half of a pair whose first half lies before the window is no character of its own.
    if raw.get(at..).and_then(hex4).is_some_and(is_low_surrogate) {
        at += UNICODE_ESCAPE_BYTES;
    }
    while raw.get(at).is_some_and(|byte| byte & 0xC0 == 0x80) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(raw: &str, text: &str) {
        assert_eq!(to_string_lossy(raw.as_bytes()), text, "{raw}");
        assert_eq!(unescaped_len(raw.as_bytes()), text.len(), "{raw}");
        for size in 4..12 {
            assert_eq!(
                read_by(Unescape::new(raw.as_bytes()), size),
                text,
                "{raw} by {size}"
            );
        }
    }

    fn read_by(mut reader: Unescape<'_>, size: usize) -> String {
        let mut buffer = vec![0; size];
        let mut text = String::new();
        loop {
            let length = reader.read_into(&mut buffer);
            if length == 0 {
                return text;
            }
            text.push_str(std::str::from_utf8(&buffer[..length]).expect("whole characters"));
        }
    }

    #[test]
    fn escapes_read_as_their_characters() {
        check("", "");
        check("plain é 🎉 text", "plain é 🎉 text");
        check(r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t");
        check(r"\u00e9 \u00E9 \ud83c\udf89", "é é 🎉");
        check(r"\\u0041", r"\u0041");
        check(r"\ud83c", "\u{fffd}");
        check(r"\ud83c\ud83c\udf89", "\u{fffd}🎉");
        check(r"\udf89\ud83c x", "\u{fffd}\u{fffd} x");
    }

    #[test]
    fn broken_escapes_are_harmless() {
        for raw in ["\\", "\\q", "\\u", "\\u12", "\\u12zz", "\\ud83c\\u1"] {
            let text = to_string_lossy(raw.as_bytes());
            assert!(text.contains('\u{fffd}'), "{raw} reads as {text}");
            assert_eq!(unescaped_len(raw.as_bytes()), text.len(), "{raw}");
        }
    }

    #[test]
    fn a_string_is_measured_up_to_its_quote() {
        for text in ["", "plain é 🎉", "a\nb \"q\" \\ \u{1}"] {
            let mut raw = quoted(text);
            let inside = raw.len() - 2;
            raw.extend_from_slice(b",\"x\"");
            assert_eq!(
                measure_string(&raw[1..]),
                Some((inside, text.len())),
                "{text}"
            );
        }
        for raw in [
            "",
            "open",
            "open\\\"",
            "tab\t\"",
            "\\q\"",
            "\\ud83d\"",
            "\\u12\"",
        ] {
            assert_eq!(measure_string(raw.as_bytes()), None, "{raw}");
        }
    }

    #[test]
    fn only_lone_halves_are_mended() {
        assert_eq!(
            mend_lone_surrogates(br#"{"a":"\ud83c\udf89 \\ud83c"}"#),
            None
        );
        let mended = mend_lone_surrogates(br#"["\ud83c","\udf89","\ud83c\n\u0041"]"#);
        let wanted = br#"["\ufffd","\ufffd","\ufffd\n\u0041"]"#;
        assert_eq!(mended.as_deref(), Some(wanted.as_slice()));
    }

    proptest! {
        #[test]
        fn what_a_serialiser_wrote_reads_back(text in "(\\PC|[\\n\\t\"\\\\]|🎉){0,60}", size in 4usize..20) {
            let raw = quoted(&text);
            let inside = &raw[1..raw.len() - 1];
            prop_assert_eq!(to_string_lossy(inside), text.as_str());
            prop_assert_eq!(read_by(Unescape::new(inside), size), text.as_str());
            prop_assert_eq!(unescaped_len(inside), text.len());
        }

        #[test]
        fn a_tail_is_the_end_of_the_text(text in "([a-z]|[\\n\"\\\\]|é|🎉|\u{1}){0,40}", window in 0usize..60) {
            let raw = quoted(&text);
            let inside = &raw[1..raw.len() - 1];
            let tail = read_by(Unescape::tail(inside, window), 16);
            prop_assert!(text.ends_with(&tail), "{tail:?} is no end of {text:?}");
            prop_assert!(tail.len() + 12 >= window.min(text.len()) / 6);
        }

        #[test]
        fn any_bytes_are_survived(raw in prop::collection::vec(prop::sample::select(b"\\u\"d8fcn\xf0\x9f\x00a".to_vec()), 0..40), window in 0usize..40) {
            let mut buffer = [0; 8];
            let mut reader = Unescape::tail(&raw, window);
            while reader.read_into(&mut buffer) > 0 {}
            let _ = to_string_lossy(&raw);
            let _ = unescaped_len(&raw);
            let _ = mend_lone_surrogates(&raw);
        }
    }
}
