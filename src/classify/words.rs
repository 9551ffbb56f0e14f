//! Cuts an excerpt into words and marks, and tells what is asked from the material it is asked about.
//! Hashes are part of the weights' format: changing them needs a new training.

use super::scan;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Letters (a character each in scripts without spaces).
    Letters,
    /// Digits.
    Number,
    /// A line break, or several.
    Break,
    /// Anything else.
    Mark,
}

/// One piece of text.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// A hash of its text.
    pub hash: u64,
    /// Where it begins, in bytes of the excerpt.
    pub start: u16,
    /// One past its last byte.
    pub end: u16,
    /// What it is.
    pub class: Class,
    /// It stands in a quotation, a fence or a paragraph between the first and the last.
    pub material: bool,
}

/// The words of a text, and where its paragraphs stand.
#[derive(Debug, Default)]
pub struct Words {
    /// In order; at most [`MAX_WORDS`].
    pub all: Vec<Word>,
    /// How many of them are material.
    pub material: usize,
}

/// Words kept of one excerpt: its head and its tail.
pub const MAX_WORDS: usize = 512;
/// Of these, from the head.
const HEAD_WORDS: usize = 352;
/// A quotation shorter than this is a term or a title, not material.
const QUOTED_WORDS: usize = 8;
/// Paragraphs of a text shorter than this are all part of what is asked.
const SEVERAL_PARAGRAPHS_BYTES: usize = 400;

/// What begins with a byte.
#[derive(Clone, Copy)]
enum First {
    Letter,
    /// A character of several bytes, of any kind.
    Wide,
    Digit,
    Break,
    Space,
    Mark,
}

static FIRST_BYTES: [First; 256] = {
    let mut kinds = [First::Mark; 256];
    let mut byte = 0_u8;
    loop {
        kinds[byte as usize] = match byte {
            b'\n' => First::Break,
            byte if byte.is_ascii_whitespace() => First::Space,
            byte if byte.is_ascii_alphabetic() => First::Letter,
            byte if byte.is_ascii_digit() => First::Digit,
            0x80.. => First::Wide,
            _ => First::Mark,
        };
        if byte == u8::MAX {
            break kinds;
        }
        byte += 1;
    }
};

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes a value into a hash.
#[must_use]
#[inline]
pub const fn mix(hash: u64, value: u64) -> u64 {
    let mixed = (hash ^ value).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 32)
}

/// The hash of a few bytes.
#[must_use]
#[inline]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = SEED ^ bytes.len() as u64;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        hash = mix(hash, u64::from_le_bytes(*chunk));
    }
    if !rest.is_empty() {
        hash = mix(hash, scan::number(rest));
    }
    hash
}

/// The hash of the first bytes of `number`, at most eight.
#[inline]
pub(super) const fn hash_number(number: u64, length: u32) -> u64 {
    let wanted = u64::MAX >> (64 - length * 8);
    mix(SEED ^ length as u64, number & wanted)
}

impl Words {
    /// Cuts a folded text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = &text[..text.floor_char_boundary(text.len().min(usize::from(u16::MAX)))];
        let mut words = Self {
            all: Vec::with_capacity((text.len() / 4 + 8).min(MAX_WORDS)),
            material: 0,
        };
        let cut_at = words.cut(text, 0, HEAD_WORDS);
        if cut_at < text.len() {
            // A word takes six bytes with its space; what does not fit is left out of the middle.
            let room = (MAX_WORDS - HEAD_WORDS) * 5;
            let from = text.ceil_char_boundary(text.len().saturating_sub(room).max(cut_at));
            words.cut(text, from, MAX_WORDS);
        }
        words.mark_quotations(text);
        if text.len() >= SEVERAL_PARAGRAPHS_BYTES {
            words.mark_paragraphs();
        }
        words
    }

    /// Cuts from a byte on until so many words are there; returns where it stopped.
    fn cut(&mut self, text: &str, from: usize, until: usize) -> usize {
        let bytes = text.as_bytes();
        let mut at = from;
        while at < bytes.len() && self.all.len() < until {
            let byte = bytes[at];
            let (end, class) = match FIRST_BYTES[usize::from(byte)] {
                First::Space => {
                    at += 1;
                    continue;
                }
                First::Letter => {
                    if let Some((eight, length)) = scan::short_word(&bytes[at..]) {
                        let end = at + length as usize;
                        self.add(hash_number(eight, length), at, end, Class::Letters);
                        at = end;
                        continue;
                    }
                    let end = at + scan::letters(&bytes[at..]);
                    match bytes.get(end) {
                        Some(b'\'' | 0x80..) => letters(text, at, end),
                        _ => (end, Class::Letters),
                    }
                }
                First::Wide => letters(text, at, at),
                First::Digit => (run(bytes, at, |b| b.is_ascii_digit()), Class::Number),
                First::Break => {
                    let end = run(bytes, at, |b| b.is_ascii_whitespace());
                    (end, Class::Break)
                }
                First::Mark => (run(bytes, at, |b| b == byte), Class::Mark),
            };
            self.push(&bytes[at..end], at, end, class);
            at = end;
        }
        at
    }

    fn push(&mut self, piece: &[u8], start: usize, end: usize, class: Class) {
        let hash = match class {
            // Which number it is says less than how long it is.
            Class::Number => hash_bytes(b"0000".split_at(piece.len().min(4)).0),
            Class::Break => hash_bytes(b"\n"),
            Class::Mark => hash_bytes(&piece[..piece.len().min(3)]),
            Class::Letters if piece == "\u{fffd}".as_bytes() => return,
            Class::Letters => hash_bytes(piece),
        };
        self.add(hash, start, end, class);
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "texts are cut at u16::MAX")]
    fn add(&mut self, hash: u64, start: usize, end: usize, class: Class) {
        self.all.push(Word {
            hash,
            start: start as u16,
            end: end as u16,
            class,
            material: false,
        });
    }

    /// Marks fenced blocks and long quotations.
    fn mark_quotations(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut opened: Option<(usize, u8)> = None;
        for at in 0..self.all.len() {
            let word = self.all[at];
            if word.class != Class::Mark {
                continue;
            }
            let Some(mark) = quotation(&bytes[usize::from(word.start)..usize::from(word.end)])
            else {
                continue;
            };
            match opened {
                Some((from, open)) if open == mark => {
                    if mark == b'`' || at - from > QUOTED_WORDS {
                        self.mark(from + 1, at);
                    }
                    opened = None;
                }
                // A quotation mark inside a fence is code.
                Some((_, b'`')) => {}
                _ => opened = Some((at, mark)),
            }
        }
        if let Some((from, _)) = opened.filter(|(from, _)| self.all.len() - from > 24) {
            self.mark(from + 1, self.all.len());
        }
    }

    /// Marks what stands between the first and the last paragraph.
    fn mark_paragraphs(&mut self) {
        let is_break = |word: &Word| word.class == Class::Break;
        if let Some(first) = self.all.iter().position(is_break)
            && let Some(last) = self.all.iter().rposition(is_break)
            && first < last
        {
            self.mark(first, last);
        }
    }

    fn mark(&mut self, from: usize, to: usize) {
        for word in &mut self.all[from..to] {
            self.material += usize::from(!word.material);
            word.material = true;
        }
    }
}

/// `` ` `` for a fence, `"` for a quotation mark.
fn quotation(piece: &[u8]) -> Option<u8> {
    match piece {
        b"```" | b"````" => Some(b'`'),
        b"\"" | b"\"\"\"" => Some(b'"'),
        _ if piece == "«".as_bytes() || piece == "»".as_bytes() => Some(b'"'),
        _ if piece == "「".as_bytes() || piece == "」".as_bytes() => Some(b'"'),
        _ => None,
    }
}

fn run(bytes: &[u8], from: usize, is: impl Fn(u8) -> bool) -> usize {
    bytes[from..]
        .iter()
        .position(|&byte| !is(byte))
        .map_or(bytes.len(), |length| from + length)
}

/// The end of a word of letters that begins at `from` and goes on at least to `at`. Scripts without
/// spaces are cut into characters.
fn letters(text: &str, from: usize, mut at: usize) -> (usize, Class) {
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let byte = bytes[at];
        if byte.is_ascii_alphabetic() {
            at += 1;
            continue;
        }
        if byte == b'\'' && at > from && bytes.get(at + 1).is_some_and(u8::is_ascii_alphabetic) {
            at += 1;
            continue;
        }
        if byte < 0x80 {
            break;
        }
        let Some(c) = text[at..].chars().next() else {
            break;
        };
        let whole = !c.is_alphanumeric() || is_unspaced(c);
        if whole && at > from {
            break;
        }
        at += c.len_utf8();
        if whole {
            let class = if c.is_alphanumeric() {
                Class::Letters
            } else {
                Class::Mark
            };
            return (at, class);
        }
    }
    (at, Class::Letters)
}

/// Scripts that write words without spaces between them.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let words = Words::of(text);
        let cut: Vec<&str> = words
            .all
            .iter()
            .map(|word| &text[usize::from(word.start)..usize::from(word.end)])
            .collect();
        assert_eq!(cut, expect, "{text}");
    }

    #[test]
    fn texts_are_cut_into_words_marks_and_characters() {
        check("don't stop", &["don't", "stop"]);
        check("a1\n\n b", &["a", "1", "\n\n ", "b"]);
        check("法国?", &["法", "国", "?"]);
        check("```x```", &["```", "x", "```"]);
        check("", &[]);
    }

    #[test]
    fn fences_and_long_quotations_are_material() {
        let of = |text: &str| {
            Words::of(text)
                .all
                .iter()
                .filter(|word| word.material)
                .count()
        };
        assert_eq!(of("fix ``` let x ``` now"), 2);
        assert_eq!(of("what is \"a term\" here"), 0);
        assert_eq!(of("shorten \"a b c d e f g h i j\""), 10);
    }

    #[test]
    fn long_texts_keep_their_head_and_tail() {
        let text = format!("first {}last", "word ".repeat(2_000));
        let words = Words::of(&text);
        assert!(words.all.len() <= MAX_WORDS);
        let piece = |word: &Word| &text[usize::from(word.start)..usize::from(word.end)];
        assert_eq!(words.all.first().map(piece), Some("first"));
        assert_eq!(words.all.last().map(piece), Some("last"));
    }
}
