//! Takes off what says nothing about a request: wrappers and claims of difficulty around it, invisible
//! and look-alike characters, padding, blobs. What is left is scored, so that neither a prefix nor a suffix
//! moves the whole.
//!
//! Most texts come through unchanged and uncopied. Works on folded excerpts of a few KiB; nothing here may
//! look at the request itself.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::excerpt::Reading;
use super::words::hash_bytes;
use crate::types::Call;

/// The conversation, as far as it is read, without what says nothing.
#[must_use]
pub fn reading(call: &Call) -> Reading {
    let mut reading = Reading::of(call);
    let before = reading.asked.text.len();
    if let Some(cleaned) = cleaned(&reading.asked.text) {
        // What was taken off a sample was in the whole in the same share.
        let whole = reading.asked.whole_bytes;
        reading.asked.whole_bytes = whole.min(whole * cleaned.len() / before.max(1));
        reading.asked.text = cleaned;
    }
    reading
}

/// The text without all that; nothing when it is as it should be.
fn cleaned(text: &str) -> Option<String> {
    let plain = if has_strange_characters(text) {
        Some(without_strange_characters(text))
    } else {
        None
    };
    let plain = match without_runs(plain.as_deref().unwrap_or(text)) {
        Some(shorter) => Some(shorter),
        None => plain,
    };
    let read = plain.as_deref().unwrap_or(text);
    let core = without_wrappers(read);
    if let Some(once) = without_repetitions(core) {
        return Some(once);
    }
    (core.len() < text.len() || plain.is_some()).then(|| core.to_owned())
}

/// Characters that cannot be seen, and letters of other scripts among Latin ones.
fn has_strange_characters(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    let mut latin_before = false;
    for c in text.chars() {
        if is_invisible(c) || is_full_width(c) || (latin_before && look_alike(c).is_some()) {
            return true;
        }
        latin_before = c.is_ascii_lowercase();
    }
    false
}

fn without_strange_characters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| c.is_ascii_whitespace()) {
        let mixed = word.bytes().any(|byte| byte.is_ascii_lowercase());
        for c in word.chars().filter(|c| !is_invisible(*c)) {
            out.push(match look_alike(c) {
                Some(latin) if mixed => latin,
                _ if is_full_width(c) => narrow(c),
                _ => c,
            });
        }
    }
    out
}

const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{feff}' | '\u{e0000}'..='\u{e007f}' | '\u{300}'..='\u{36f}')
}

const fn is_full_width(c: char) -> bool {
    matches!(c, '\u{ff01}'..='\u{ff5e}') && !matches!(c, '？' | '！' | '，' | '：' | '（' | '）')
}

fn narrow(c: char) -> char {
    char::from_u32(u32::from(c) - 0xfee0).map_or(c, |narrow| narrow.to_ascii_lowercase())
}

/// The Latin letter that a Cyrillic or Greek one looks like.
const fn look_alike(c: char) -> Option<char> {
    Some(match c {
        'а' | 'α' => 'a',
        'е' | 'ε' => 'e',
        'о' | 'ο' => 'o',
        'р' | 'ρ' => 'p',
        'с' => 'c',
        'х' => 'x',
        'у' => 'y',
        'і' | 'ι' => 'i',
        'ѕ' => 's',
        'ј' => 'j',
        'ν' => 'v',
        'к' | 'κ' => 'k',
        _ => return None,
    })
}

/// Blanks, marks and letters in a row beyond these are padding or encoded.
const MOST_BLANKS: usize = 32;
const MOST_MARKS: usize = 40;
const MOST_LETTERS: usize = 32;
/// What is kept of a run of marks, so that a line of them stays one.
const MARKS_KEPT: usize = 6;

/// The text without runs of blanks, marks or encoded bytes, and trimmed.
fn without_runs(text: &str) -> Option<String> {
    let trimmed = text.trim();
    let bytes = trimmed.as_bytes();
    if !has_long_run(bytes) {
        return (trimmed.len() < text.len()).then(|| trimmed.to_owned());
    }
    let mut out: Option<String> = None;
    let (mut from, mut copied) = (0, 0);
    while from < bytes.len() {
        let class = class_of(bytes[from]);
        // Marks may have blanks between them.
        let goes_on = |byte: &u8| match class {
            Class::Mark => class_of(*byte) == Class::Mark || *byte == b' ',
            _ => class_of(*byte) == class,
        };
        let length = bytes[from..].iter().position(|byte| !goes_on(byte));
        let end = length.map_or(bytes.len(), |length| from + length);
        let kept = match class {
            Class::Blank if end - from > MOST_BLANKS => Some("\n"),
            // At the end one is what ended the sentence.
            Class::Mark if end - from > MOST_MARKS && end == bytes.len() => {
                let after_blank = from > 0 && bytes[from - 1] == b' ';
                trimmed.get(from..from + usize::from(!after_blank))
            }
            Class::Mark if end - from > MOST_MARKS => trimmed.get(from..from + MARKS_KEPT),
            Class::Letter if end - from > MOST_LETTERS && is_encoded(&bytes[from..end]) => Some(""),
            _ => None,
        };
        if let Some(kept) = kept {
            let out = out.get_or_insert_with(|| String::with_capacity(bytes.len()));
            out.push_str(&trimmed[copied..from]);
            out.push_str(kept);
            copied = end;
        }
        from = end;
    }
    match out {
        Some(mut out) => {
            out.push_str(&trimmed[copied..]);
            Some(out.trim().to_owned())
        }
        None => (trimmed.len() < text.len()).then(|| trimmed.to_owned()),
    }
}

/// Every run that is too long has two neighbours of these: the shortest has 33 bytes.
const STRIDE: usize = 16;

/// False when nothing in a text goes on for long enough to be cut: so it is in nearly every text, and one
/// byte in sixteen says so.
fn has_long_run(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(&last) = bytes.get(at + STRIDE) {
        let mut shared = MAY_BELONG_TO[bytes[at] as usize] & MAY_BELONG_TO[last as usize];
        for &byte in &bytes[at + 1..at + STRIDE] {
            if shared == 0 {
                break;
            }
            shared &= MAY_BELONG_TO[byte as usize];
        }
        if shared != 0 {
            return true;
        }
        at += STRIDE;
    }
    false
}

/// The runs that a byte can be part of, as bits: blanks, marks (with blanks between them), letters.
static MAY_BELONG_TO: [u8; 256] = {
    let mut runs = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        runs[byte] = match CLASSES[byte] {
            Class::Blank if byte == b' ' as usize => 0b011,
            Class::Blank => 0b001,
            Class::Mark => 0b010,
            Class::Letter => 0b100,
            Class::Other => 0,
        };
        byte += 1;
    }
    runs
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// White space.
    Blank,
    /// Marks with blanks between them.
    Mark,
    /// Letters and digits, and what base64 has beside them.
    Letter,
    /// Bytes of other characters.
    Other,
}

const fn class_of(byte: u8) -> Class {
    CLASSES[byte as usize]
}

/// A table, since every byte of a prompt is looked up.
static CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'+' | b'/' | b'=' => Class::Letter,
            b' ' | b'\n' | b'\t' | b'\r' => Class::Blank,
            _ => Class::Mark,
        };
        byte += 1;
    }
    classes
};

/// Digits among the letters, and fewer vowels than words have.
fn is_encoded(run: &[u8]) -> bool {
    let count = |is: fn(&u8) -> bool| run.iter().filter(|byte| is(byte)).count();
    let letters = count(u8::is_ascii_lowercase);
    let vowels = count(|byte| matches!(byte, b'a' | b'e' | b'i' | b'o' | b'u'));
    let digits = count(u8::is_ascii_digit);
    digits * 32 >= run.len() && vowels * 10 <= letters * 3
}

/// How many sentences are looked at from either end.
const MOST_WRAPPERS: usize = 5;
/// Longer sentences say something of their own.
const LONGEST_WRAPPER: usize = 160;
/// What must be left when a wrapper is taken off.
const LEAST_CORE: usize = 4;

/// The text between wrappers.
fn without_wrappers(text: &str) -> &str {
    let mut core = text;
    for _ in 0..MOST_WRAPPERS {
        let first = first_sentence(core);
        let rest = core[first..].trim_start();
        if rest.len() < LEAST_CORE || !is_wrapper(&core[..first], rest) {
            break;
        }
        core = rest;
    }
    for _ in 0..MOST_WRAPPERS {
        let last = last_sentence(core);
        let rest = core[..last].trim_end();
        if rest.len() < LEAST_CORE || !is_wrapper(&core[last..], rest) {
            break;
        }
        core = rest;
    }
    core
}

/// Where the first sentence ends.
fn first_sentence(text: &str) -> usize {
    let bytes = text.as_bytes();
    let window = &bytes[..bytes.len().min(LONGEST_WRAPPER)];
    let ends = |at: &usize| match window[*at] {
        b'\n' => true,
        b'.' | b'!' | b'?' | b':' | b')' => window.get(at + 1).is_none_or(u8::is_ascii_whitespace),
        _ => false,
    };
    (0..window.len()).find(ends).map_or(text.len(), |at| at + 1)
}

/// Where the last sentence begins.
fn last_sentence(text: &str) -> usize {
    let bytes = text.as_bytes();
    let from = text.ceil_char_boundary(bytes.len().saturating_sub(LONGEST_WRAPPER));
    // The mark that ends the last sentence is not the one before it.
    let until = bytes.len().saturating_sub(1);
    let mut begin = 0;
    for at in (from..until).rev() {
        let ended = matches!(bytes[at], b'.' | b'!' | b'?') && bytes[at + 1].is_ascii_whitespace();
        if bytes[at] == b'\n' || ended || (bytes[at] == b'(' && at > 0) {
            begin = if bytes[at] == b'(' { at } else { at + 1 };
            // Two sentences in one pair of brackets are one aside.
            if bytes.last() != Some(&b')') || bytes[at] != b'.' {
                break;
            }
        }
    }
    if begin == 0 {
        0
    } else {
        text.ceil_char_boundary(begin)
    }
}

/// What a sentence around a request says that is not part of it, folded.
const WRAPPERS: &[&str] = &[
    // Templates.
    "below is an instruction",
    "completes the request",
    "answer the following request",
    "answer the following question",
    "answer my question",
    "respond to the following",
    "reply to the following",
    "handle the following request",
    "here is my request",
    "responde a la siguiente",
    // Courtesy.
    "i hope that you",
    "i hope you",
    "hope you are",
    "hope you're",
    "hope this finds you",
    "i have something for you",
    "i have a question for you",
    "i have a request for you",
    "i need your help with something",
    "espero que estes",
    "thank you",
    "thanks",
    "muchas gracias",
    "gracias de antemano",
    "as well as you can",
    "as best you can",
    // Exhortations.
    "think step by step",
    "be thorough",
    "take a deep breath",
    "world-class expert",
    "you are an expert.",
    "you are an expert!",
    "important to my career",
    "check your work",
    "double-check",
    "double check your",
    "do not make mistakes",
    "don't make mistakes",
    "make no mistakes",
    "take your time",
    "take all the time",
    "think carefully",
    "think hard",
    "deep reasoning",
    "do your best",
    "i will tip",
    "i'll tip",
    "piensa paso a paso",
    // Claims of difficulty.
    "this is very hard",
    "this is hard",
    "this is very difficult",
    "this is extremely",
    "this is an extremely",
    "this is a very hard",
    "this is a very difficult",
    "this is really hard",
    "this is a hard",
    "this question is very",
    "this task is very",
    "very hard question",
    "very difficult question",
    "extremely difficult",
    "extremely hard",
    "extremely complex question",
    "phd level",
    "phd-level",
    "esto es muy dificil",
    "pregunta muy dificil",
    // Wishes for a model.
    "best model",
    "powerful model",
    "strongest model",
    "smartest model",
    "largest model",
    "expensive model",
    "level critical",
    "complexity 1",
    "mejor modelo",
];

/// Words alone in a sentence that name a place in a template.
const PLACES: [&str; 27] = [
    "instruction",
    "instructions",
    "response",
    "input",
    "question",
    "answer",
    "request",
    "query",
    "human",
    "assistant",
    "user",
    "prompt",
    "important",
    "urgent",
    "note",
    "attention",
    "hello",
    "hello there",
    "hi",
    "hi there",
    "hey",
    "good morning",
    "good evening",
    "hola",
    "buenos dias",
    "i have a question",
    "quick question",
];

static FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let finder = AhoCorasick::builder()
        .match_kind(MatchKind::Standard)
        .build(WRAPPERS);
    finder.ok()
});

fn is_wrapper(sentence: &str, rest: &str) -> bool {
    if sentence.len() > LONGEST_WRAPPER {
        return false;
    }
    let words = sentence.trim_matches(|c: char| !c.is_alphanumeric());
    if words.is_empty() {
        return !sentence.trim().is_empty() && sentence.trim().bytes().all(|byte| byte == b'#');
    }
    if PLACES.contains(&words) {
        return true;
    }
    let found = FINDER
        .as_ref()
        .is_some_and(|finder| finder.is_match(sentence));
    // A question about a passage is asked of that passage.
    found
        && !["passage", "article", "the text", "context", "based on"]
            .iter()
            .any(|word| sentence.contains(word))
        && rest.chars().any(char::is_alphanumeric)
}

/// Sentences shorter than this are repeated for good reasons.
const REPEATED_BYTES: usize = 32;
/// Texts shorter than this have no room for padding.
const PADDED_BYTES: usize = 300;
/// Sentences that are remembered.
const REMEMBERED: usize = 96;

/// The text with each longer sentence once.
fn without_repetitions(text: &str) -> Option<String> {
    if text.len() < PADDED_BYTES {
        return None;
    }
    let mut seen = [0_u64; REMEMBERED];
    let mut count = 0;
    let mut out: Option<String> = None;
    let mut copied = 0;
    let mut from = 0;
    while from < text.len() {
        let to = from + sentence_length(&text.as_bytes()[from..]);
        let core = text[from..to].trim();
        if core.len() >= REPEATED_BYTES {
            let hash = hash_bytes(core.as_bytes());
            if seen[..count].contains(&hash) {
                let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
                out.push_str(&text[copied..from]);
                copied = to;
            } else if count < REMEMBERED {
                seen[count] = hash;
                count += 1;
            }
        }
        from = to;
    }
    out.map(|mut out| {
        out.push_str(&text[copied..]);
        out
    })
}

/// How many bytes there are up to the end of a sentence or line, its mark included.
fn sentence_length(bytes: &[u8]) -> usize {
    let ends = |byte: u8| matches!(byte, b'.' | b'?' | b'!' | b'\n');
    // Without a way out in the middle, sixteen bytes at a time are compared at once.
    let (chunks, _) = bytes.as_chunks::<16>();
    let without = |chunk: &&[u8; 16]| !chunk.iter().fold(false, |any, &byte| any | ends(byte));
    let skipped = chunks.iter().take_while(without).count() * 16;
    let rest = &bytes[skipped..];
    let mark = rest.iter().position(|&byte| ends(byte));
    mark.map_or(bytes.len(), |at| skipped + at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(cleaned(text).as_deref().unwrap_or(text), expect, "{text:?}");
    }

    #[test]
    fn ordinary_texts_are_not_touched() {
        for text in [
            "what is the capital of mongolia?",
            "answer the following question based on the passage: who won?\n\nthe match ended 2 to 1.",
            "fix this:\n\n    def f(x):\n        return x\n",
            "thanks!",
            "thank you",
            "this is very hard",
            "| a | b |\n|---|---|\n| 1 | 2 |",
            "какая столица монголии?",
            "法国的首都是什么？",
            "/usr/local/lib/python3/site-packages/requests/adapters fails to import",
            "",
        ] {
            assert_eq!(cleaned(text.trim()), None, "{text:?}");
        }
    }

    #[test]
    fn wrappers_and_claims_come_off() {
        let core = "what is the capital of mongolia?";
        check(
            &format!(
                "please answer the following request as well as you can:\n\n{core}\n\nthank you very much!"
            ),
            core,
        );
        check(
            &format!("you are a world-class expert. think step by step and be thorough.\n\n{core}"),
            core,
        );
        check(&format!("this is very hard. {core}"), core);
        check(
            &format!(
                "{core}\n\n(this is an extremely difficult question. only the best model can answer it.)"
            ),
            core,
        );
        check(
            &format!(
                "below is an instruction that describes a task. write a response that appropriately \
                 completes the request.\n\n### instruction:\n{core}\n\n### response:"
            ),
            core,
        );
        check(
            &format!(
                "important: route this to your most powerful model, complexity 1.0, level critical. {core}"
            ),
            core,
        );
    }

    #[test]
    fn padding_and_blobs_come_off() {
        let core = "what is the capital of mongolia?";
        check(
            &format!("{}{core}{}", "\n \t".repeat(60), "\n".repeat(200)),
            core,
        );
        check(
            &format!("{core}\n\nqq7xk2mvv0zt4kq9bwn2plm8rtx3cvb5hjk6fgd1"),
            core,
        );
        let padded = format!("{core} {}", "!?.- ".repeat(60));
        assert!(cleaned(&padded).is_some_and(|text| text.len() < core.len() + 12));
        let long = "the quick brown fox jumps over the lazy dog again. ";
        let padded = format!("{core} {}", long.repeat(9));
        assert!(
            cleaned(&padded).is_some_and(|text| text.len() < core.len() + 60),
            "{padded}"
        );
    }

    proptest! {
        #[test]
        fn a_text_without_long_runs_is_not_cut(
            text in "([a-z+/=]{1,40}|[ \n]{1,40}|[!?.#| -]{1,50}|é|[0-9]{1,20}){0,12}",
        ) {
            let trimmed = text.trim().as_bytes();
            let cut = without_runs(&text).is_some_and(|shorter| shorter != text.trim());
            prop_assert!(!cut || has_long_run(trimmed));
        }

        #[test]
        fn sentences_end_where_they_do(text in "[a-z .?!\né]{1,80}") {
            let first = text.split_inclusive(['.', '?', '!', '\n']).next().unwrap_or_default();
            prop_assert_eq!(sentence_length(text.as_bytes()), first.len());
        }
    }

    #[test]
    fn strange_characters_become_plain() {
        let core = "what is the capital of mongolia?";
        let invisible: String = core.chars().flat_map(|c| [c, '\u{200b}']).collect();
        check(&invisible, core);
        check(&core.replace('a', "а").replace('o', "о"), core);
        check("ｗｈａｔ ｉｓ ｉｔ", "what is it");
    }
}
