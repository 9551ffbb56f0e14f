//! How a text is made, in numbers: sizes of its question and of its answer options, lengths and variety of
//! words, digits, marks, constraints and signs of reasoning. Each falls into a bin, and some pairs of
//! coarse bins are features of their own. Only the heads that say how hard a request is are fitted on
//! them; what a request asks for, words say better.

use super::features::{Hit, Kind, Sink};
use super::words::{Class, Word, Words, hash_bytes, mix};

/// Words of the text that are measured.
const MEASURED_WORDS: usize = 256;
/// Words with more letters are long.
const LONG_WORD_BYTES: u16 = 9;

/// Words that bind an answer to something.
const CONSTRAINTS: [&str; 24] = [
    "must",
    "should",
    "exactly",
    "least",
    "without",
    "only",
    "include",
    "avoid",
    "ensure",
    "each",
    "between",
    "maximum",
    "debe",
    "deben",
    "exactamente",
    "menos",
    "sin",
    "solo",
    "incluye",
    "evita",
    "cada",
    "entre",
    "maximo",
    "never",
];
/// Words of conditions, proofs and consequences.
const REASONS: [&str; 24] = [
    "if",
    "then",
    "because",
    "therefore",
    "suppose",
    "given",
    "assume",
    "prove",
    "derive",
    "implies",
    "why",
    "explain",
    "compare",
    "evaluate",
    "optimal",
    "si",
    "entonces",
    "porque",
    "dado",
    "supongamos",
    "demuestra",
    "explica",
    "compara",
    "however",
];
/// Words of denial, which turn a question around.
const DENIALS: [&str; 8] = [
    "not",
    "except",
    "false",
    "incorrect",
    "no",
    "excepto",
    "falso",
    "neither",
];

/// What is counted on the way through the words.
#[derive(Default)]
struct Counts {
    letters: u32,
    words: u32,
    long: u32,
    distinct: u32,
    numbers: u32,
    breaks: u32,
    stops: u32,
    commas: u32,
    signs: u32,
    constraints: u32,
    reasons: u32,
    denials: u32,
}

/// Words that were seen, roughly.
struct Seen([u64; 32]);

impl Seen {
    #[allow(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
    fn first_time(&mut self, hash: u64) -> bool {
        let slot = &mut self.0[(hash >> 6) as usize % 32];
        let bit = 1 << (hash % 64);
        let first = *slot & bit == 0;
        *slot |= bit;
        first
    }
}

/// A word list as hashes.
struct List<const N: usize>([u64; N]);

impl<const N: usize> List<N> {
    fn of(words: [&str; N]) -> Self {
        Self(words.map(|word| hash_bytes(word.as_bytes())))
    }
}

impl Counts {
    fn of(text: &str, words: &[Word]) -> Self {
        let mut counts = Self::default();
        let mut seen = Seen([0; 32]);
        let bytes = text.as_bytes();
        for word in words {
            match word.class {
                Class::Letters => counts.add_word(word, &mut seen),
                Class::Number => counts.numbers += 1,
                Class::Break => counts.breaks += 1,
                Class::Mark => match bytes.get(usize::from(word.start)) {
                    Some(b'.' | b'!' | b'?' | b':') => counts.stops += 1,
                    Some(b',' | b';') => counts.commas += 1,
                    Some(b'\'' | b'"' | b'-') | None => {}
                    Some(_) => counts.signs += 1,
                },
            }
        }
        counts
    }

    fn add_word(&mut self, word: &Word, seen: &mut Seen) {
        let bytes = word.end - word.start;
        self.words += 1;
        self.letters += u32::from(bytes);
        self.long += u32::from(bytes > LONG_WORD_BYTES);
        self.distinct += u32::from(seen.first_time(word.hash));
        match kind_of(word.hash) {
            Some(0) => self.constraints += 1,
            Some(1) => self.reasons += 1,
            Some(_) => self.denials += 1,
            None => {}
        }
    }
}

/// Which list a word stands in.
fn kind_of(hash: u64) -> Option<u8> {
    use std::sync::LazyLock;
    /// A bit for each hash that is in a list, so that most words are in none at once.
    static LISTS: LazyLock<([u64; 64], rustc_hash::FxHashMap<u64, u8>)> = LazyLock::new(|| {
        let mut bits = [0_u64; 64];
        let mut map = rustc_hash::FxHashMap::default();
        let lists = [
            List::of(CONSTRAINTS).0.to_vec(),
            List::of(REASONS).0.to_vec(),
            List::of(DENIALS).0.to_vec(),
        ];
        for (list, number) in lists.iter().zip(0_u8..) {
            for hash in list {
                bits[slot_of(*hash)] |= 1 << (hash % 64);
                map.insert(*hash, number);
            }
        }
        (bits, map)
    });
    let (bits, map) = &*LISTS;
    if bits[slot_of(hash)] >> (hash % 64) & 1 == 0 {
        return None;
    }
    map.get(&hash).copied()
}

#[allow(clippy::cast_possible_truncation, reason = "below 64")]
const fn slot_of(hash: u64) -> usize {
    (hash >> 6) as usize % 64
}

/// Bytes of the question and of the answer options after it.
fn question_and_options(text: &str) -> (usize, usize) {
    let bytes = text.as_bytes();
    let begins = memchr::memchr_iter(b'\n', bytes).find(|&at| {
        let line = &bytes[at + 1..];
        line.starts_with(b"a. ")
            || line.starts_with(b"a) ")
            || line.starts_with(b"(a)")
            || line.starts_with(b"a: ")
    });
    let until = begins.unwrap_or(bytes.len());
    (until, bytes.len() - until)
}

/// How many measures there are.
const MEASURES: usize = 15;
/// Measures whose pairs are features, by number.
const PAIRED: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 9];

/// Sends every measure of what is asked to the sink.
pub fn emit(text: &str, words: &Words, sink: &mut impl Sink) {
    let read = &words.all[..words.all.len().min(MEASURED_WORDS)];
    if read.is_empty() {
        return;
    }
    let bins = bins(text, &Counts::of(text, read));
    let mut hit = |key: u64, which: usize| {
        sink.hit(Hit {
            key,
            kind: Kind::Measure,
            start: u16::try_from(which).unwrap_or(u16::MAX),
            end: 0,
        });
    };
    for (which, bin) in bins.iter().enumerate() {
        hit(mix(mix(0x81, which as u64), u64::from(*bin)), which);
    }
    for (at, first) in PAIRED.iter().enumerate() {
        for second in &PAIRED[at + 1..] {
            let coarse = u64::from(bins[*first] / 2) * 64 + u64::from(bins[*second] / 2);
            let pair = (*first * MEASURES + *second) as u64;
            hit(mix(mix(0x82, pair), coarse), *first);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts are below 2^24")]
fn bins(text: &str, counts: &Counts) -> [u8; MEASURES] {
    let (question, options) = question_and_options(text);
    let words = counts.words.max(1) as f32;
    let all = words + counts.numbers as f32 + counts.signs as f32;
    [
        log_bin(question),
        log_bin(options),
        // Letters in a word, by quarters.
        linear_bin((counts.letters as f32 / words - 2.0) * 3.0),
        linear_bin(counts.long as f32 / words * 24.0),
        linear_bin(counts.distinct as f32 / words * 12.0),
        linear_bin(counts.numbers as f32 / all * 24.0),
        linear_bin(counts.commas as f32 / words * 40.0),
        linear_bin(words / (counts.stops + counts.breaks + 1) as f32 / 4.0),
        count_bin(counts.stops),
        linear_bin(counts.signs as f32 / all * 24.0),
        count_bin(counts.constraints),
        count_bin(counts.reasons),
        count_bin(counts.denials),
        count_bin(counts.breaks),
        u8::from(text.contains("__")) * 2 + u8::from(text.trim_end().ends_with('?')),
    ]
}

/// Two bins for each power of two.
fn log_bin(count: usize) -> u8 {
    let log = (count + 1).ilog2();
    let upper = u32::from((count + 1) >> log.saturating_sub(1) & 1 == 1 && log > 0);
    u8::try_from(log * 2 + upper).unwrap_or(u8::MAX).min(30)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped"
)]
fn linear_bin(value: f32) -> u8 {
    value.clamp(0.0, 15.0) as u8
}

fn count_bin(count: u32) -> u8 {
    match count {
        0..=4 => u8::try_from(count).unwrap_or(4),
        5..=6 => 5,
        7..=10 => 6,
        11..=20 => 7,
        _ => 8,
    }
}
