//! Bounded, normalised excerpts of a conversation: the head and the tail of a text, unescaped from
//! JSON, in lower case and without accents, so that one phrase table serves hurried and careful
//! writers alike. Whatever the size of the request, an excerpt is at most a few KiB.

use smallvec::SmallVec;

use super::marks::Marks;
use crate::types::{Call, Part, Role, Span, Tally, Turn};
use crate::wire::json_text::Unescape;

/// How much of a text is read, in bytes of the escaped text.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From its beginning.
    pub head: usize,
    /// From its end, when it is longer than `head`.
    pub tail: usize,
}

/// A normalised excerpt.
#[derive(Clone, Debug, Default)]
pub struct Excerpt {
    /// The head and, when the text was cut, a line break and the tail.
    pub text: String,
    /// How many raw bytes went into `text`.
    pub raw_bytes: usize,
    /// How many bytes they were unescaped (before normalising).
    pub plain_bytes: usize,
    /// Raw bytes of the whole text.
    pub whole_bytes: usize,
    /// Counts of characters by script, to guess language and tokens.
    pub scripts: Scripts,
    /// Which marks `text` has.
    pub(super) marks: Marks,
}

/// How many characters of each script an excerpt holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scripts {
    /// Latin letters, accents included.
    pub latin: u32,
    /// Latin letters with accents and other marks.
    pub accented: u32,
    /// Cyrillic and Greek.
    pub cyrillic: u32,
    /// Greek alone.
    pub greek: u32,
    /// Han ideographs.
    pub han: u32,
    /// Hiragana and katakana.
    pub kana: u32,
    /// Hangul.
    pub hangul: u32,
    /// Arabic and Hebrew.
    pub arabic: u32,
    /// Hebrew alone.
    pub hebrew: u32,
    /// Devanagari, Bengali, Thai and their neighbours.
    pub indic: u32,
    /// ASCII digits.
    pub digits: u32,
    /// ASCII punctuation that is rare in prose: `{}[]()<>=+*/\|_^$#;`.
    pub symbols: u32,
}

impl Excerpt {
    /// Reads the text parts of some turns within bounds.
    pub fn of<'a>(call: &Call, turns: impl Iterator<Item = &'a Turn>, bounds: Bounds) -> Self {
        let spans: SmallVec<[Span; 4]> = turns
            .flat_map(|turn| &turn.parts)
            .filter_map(|part| match part {
                Part::Text(span) => Some(*span),
                _ => None,
            })
            // More pieces than this are not read; their bytes still count as input.
            .take(MAX_PIECES)
            .collect();
        Self::of_spans(call, &spans, bounds)
    }

    fn of_spans(call: &Call, spans: &[Span], bounds: Bounds) -> Self {
        let whole: usize = spans.iter().map(|span| span.len()).sum();
        let mut excerpt = Self {
            text: String::with_capacity(whole.min(bounds.head + bounds.tail) + 8),
            whole_bytes: whole,
            ..Self::default()
        };
        if whole <= bounds.head + bounds.tail {
            for span in spans {
                let raw = call.raw(*span);
                excerpt.push_piece(Unescape::new(raw), raw.len());
            }
            return excerpt;
        }
        excerpt.push_head(call, spans, bounds.head);
        excerpt.push_tail(call, spans, bounds.tail);
        excerpt
    }

    fn push_head(&mut self, call: &Call, spans: &[Span], mut left: usize) {
        for span in spans {
            // As bytes: to look at the whole as text would take time in proportion to it.
            let raw = call.raw(*span);
            let piece = &raw[..character_boundary(raw, left)];
            self.push_piece(Unescape::new(piece), piece.len());
            left -= piece.len();
            if piece.len() < raw.len() {
                return;
            }
        }
    }

    fn push_tail(&mut self, call: &Call, spans: &[Span], mut left: usize) {
        let mut pieces: SmallVec<[(Unescape<'_>, usize); 4]> = SmallVec::new();
        for span in spans.iter().rev() {
            let raw = call.raw(*span);
            let piece = Unescape::tail(raw, left);
            let length = raw.len() - piece.position();
            pieces.push((piece, length));
            left = left.saturating_sub(length);
            if length < raw.len() {
                break;
            }
        }
        for (piece, length) in pieces.into_iter().rev() {
            self.push_piece(piece, length);
        }
    }

    /// True when there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Reads a piece whose raw bytes stand in for `raw_bytes` of the text.
    fn push_piece(&mut self, mut piece: Unescape<'_>, raw_bytes: usize) {
        if !self.text.is_empty() {
            self.text.push('\n');
            self.marks.add_byte(b'\n');
        }
        self.raw_bytes += raw_bytes;
        let mut buffer = [0; 1024];
        loop {
            let read = piece.read_into(&mut buffer);
            if read == 0 {
                return;
            }
            self.plain_bytes += read;
            // Bodies are checked to be UTF-8, and the reader splits no character.
            let plain = std::str::from_utf8(&buffer[..read]).unwrap_or_default();
            self.push_folded(plain);
        }
    }

    /// Folds runs of ASCII at once and the rest one by one.
    fn push_folded(&mut self, mut plain: &str) {
        if plain.is_ascii() {
            self.push_ascii(plain);
            return;
        }
        while !plain.is_empty() {
            let ascii = plain.bytes().position(|byte| !byte.is_ascii());
            let (run, rest) = plain.split_at(ascii.unwrap_or(plain.len()));
            self.push_ascii(run);
            let other = rest.find(|c: char| c.is_ascii()).unwrap_or(rest.len());
            let from = self.text.len();
            for c in rest[..other].chars() {
                self.scripts.count(c);
                fold(c, &mut self.text);
            }
            self.marks.add(Marks::of(&self.text.as_bytes()[from..]));
            plain = &rest[other..];
        }
    }

    fn push_ascii(&mut self, run: &str) {
        for run in run.as_bytes().chunks(usize::from(u16::MAX)) {
            let counts = run
                .iter()
                .map(|byte| ASCII_COUNTS[usize::from(byte & 0x7f)]);
            let counts: u64 = counts.sum();
            let count_of = |lane: u32| (counts >> lane & 0xffff) as u32;
            self.scripts.latin += count_of(LATIN);
            self.scripts.digits += count_of(DIGIT);
            self.scripts.symbols += count_of(SYMBOL);
        }
        let from = self.text.len();
        self.text.push_str(run);
        self.text[from..].make_ascii_lowercase();
        self.marks.add(Marks::of(run.as_bytes()));
    }
}

/// Lanes of 16 bits in one sum.
const LATIN: u32 = 0;
const DIGIT: u32 = 16;
const SYMBOL: u32 = 32;

/// What each ASCII character adds to the counts.
static ASCII_COUNTS: [u64; 128] = {
    let mut counts = [0; 128];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphabetic() {
            counts[byte as usize] = 1 << LATIN;
        } else if byte.is_ascii_digit() {
            counts[byte as usize] = 1 << DIGIT;
        }
        byte += 1;
    }
    let symbols = b"{}[]()<>=+*/\\|_^$#;";
    let mut at = 0;
    while at < symbols.len() {
        counts[symbols[at] as usize] = 1 << SYMBOL;
        at += 1;
    }
    counts
};

impl Scripts {
    fn count(&mut self, c: char) {
        match c {
            '\u{c0}'..='\u{24f}' => {
                self.latin += 1;
                self.accented += 1;
            }
            '\u{370}'..='\u{3ff}' => self.greek += 1,
            '\u{400}'..='\u{52f}' => self.cyrillic += 1,
            '\u{590}'..='\u{5ff}' => self.hebrew += 1,
            '\u{600}'..='\u{7ff}' => self.arabic += 1,
            '\u{900}'..='\u{109f}' => self.indic += 1,
            '\u{3040}'..='\u{30ff}' => self.kana += 1,
            '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}' => self.han += 1,
            '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}' => self.hangul += 1,
            _ => {}
        }
    }
}

/// The last place up to `at` where a character begins, or the end.
fn character_boundary(raw: &[u8], at: usize) -> usize {
    let begins = |at: &usize| raw.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let at = at.min(raw.len());
    (at.saturating_sub(3)..=at).rev().find(begins).unwrap_or(at)
}

/// Text pieces of one excerpt; agents send a handful, nobody needs more to be understood.
const MAX_PIECES: usize = 64;

/// Lower case, without the accents of western European languages.
fn fold(c: char, out: &mut String) {
    let plain = match c {
        'À'..='Å' | 'à'..='å' => 'a',
        'Ç' | 'ç' => 'c',
        'È'..='Ë' | 'è'..='ë' => 'e',
        'Ì'..='Ï' | 'ì'..='ï' => 'i',
        'Ñ' | 'ñ' => 'n',
        'Ò'..='Ö' | 'Ø' | 'ò'..='ö' | 'ø' => 'o',
        'Ù'..='Ü' | 'ù'..='ü' => 'u',
        'Ý' | 'ý' | 'ÿ' => 'y',
        'ß' => {
            out.push_str("ss");
            return;
        }
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        '\u{a0}' | '\u{3000}' => ' ',
        other if is_caseless(other) => other,
        other => other.to_lowercase().next().unwrap_or(other),
    };
    out.push(plain);
}

/// Scripts without capitals, from Hebrew to Burmese and from the ideographs to Hangul: looking each
/// letter up in the tables of Unicode would take longer than everything else.
const fn is_caseless(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{109f}' | '\u{2e80}'..='\u{a63f}' | '\u{ac00}'..='\u{d7ff}')
}

/// Normalises a phrase from the configuration as excerpts are.
#[must_use]
pub fn normalise(phrase: &str) -> String {
    let mut out = String::with_capacity(phrase.len());
    for c in phrase.chars() {
        fold(c.to_ascii_lowercase(), &mut out);
    }
    out
}

/// The conversation, as far as it is read.
#[derive(Debug, Default)]
pub struct Reading {
    /// The last user turn: what is asked.
    pub asked: Excerpt,
    /// System and developer turns: how to behave.
    pub system: Excerpt,
    /// The user turns before the last.
    pub earlier: Excerpt,
    /// The last few tool results.
    pub tool_results: Excerpt,
    /// What the whole conversation holds.
    pub counts: Tally,
}

const ASKED: Bounds = Bounds {
    head: 4096,
    tail: 1024,
};
const SYSTEM: Bounds = Bounds { head: 768, tail: 0 };
const EARLIER: Bounds = Bounds {
    head: 512,
    tail: 256,
};
const TOOL_RESULTS: Bounds = Bounds {
    head: 768,
    tail: 768,
};
/// Tool results looked at, from the end.
const RECENT_TOOL_TURNS: usize = 4;
/// Earlier user turns looked at, from the end.
const RECENT_USER_TURNS: usize = 3;
/// Turns at the end, and at the beginning, that are looked through for these and for instructions.
const LAST_TURNS: usize = 256;
const FIRST_TURNS: usize = 64;

impl Reading {
    /// Reads a call within the bounds above.
    #[must_use]
    pub fn of(call: &Call) -> Self {
        let turns = &call.turns;
        let last = turns.len().saturating_sub(LAST_TURNS);
        let asked_at = turns[last..]
            .iter()
            .rposition(|turn| turn.role == Role::User)
            .map(|at| last + at);
        // Without a user turn (rare, but allowed) whatever is last says most.
        let asked_at = asked_at.or(turns.len().checked_sub(1));
        let first = turns.len().min(FIRST_TURNS);
        let system = turns[..first].iter().chain(&turns[last.max(first)..]);
        let system = system.filter(|turn| turn.role == Role::System);
        let asked = asked_at.and_then(|at| turns.get(at));
        let before = &turns[..asked_at.unwrap_or(0)];
        let earlier = recent(before, Role::User, RECENT_USER_TURNS);
        let tool_results = recent(turns, Role::Tool, RECENT_TOOL_TURNS);
        Self {
            asked: Excerpt::of(call, asked.into_iter(), ASKED),
            system: Excerpt::of(call, system, SYSTEM),
            earlier: Excerpt::of(call, earlier.into_iter(), EARLIER),
            tool_results: Excerpt::of(call, tool_results.into_iter(), TOOL_RESULTS),
            counts: call.tally,
        }
    }
}

/// The last few turns of a role, oldest first.
fn recent(turns: &[Turn], role: Role, count: usize) -> SmallVec<[&Turn; 4]> {
    let mut found: SmallVec<[&Turn; 4]> = turns
        .iter()
        .rev()
        .take(LAST_TURNS)
        .filter(|turn| turn.role == role)
        .take(count)
        .collect();
    found.reverse();
    found
}
