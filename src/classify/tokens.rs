//! How many tokens a request takes: what to expect, and what it cannot exceed. No tokenizer: one
//! would cost more time than the rest of the proxy (24 µs per KB and 46 MiB to load).

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::types::{Call, Endpoint};

use super::excerpt::{Excerpt, Reading, Scripts};
use super::task::Task;

/// Expected and greatest counts of input tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputTokens {
    /// What to expect.
    pub expected: u64,
    /// What it cannot exceed.
    pub bound: u64,
}

/// Instructions that providers put in front by themselves: a date and knowledge line in chat
/// templates; tool-use instructions (Anthropic documents up to 804 tokens for them).
const HIDDEN_PROMPT_BOUND: u64 = 64;
const HIDDEN_TOOLS_PROMPT_BOUND: u64 = 1024;

/// The dearest published rule for one image: gpt-4o-mini's 2,833 + 5,667 per 512-pixel tile, with at
/// most 8 tiles after scaling to 768 × 2048 (`OpenAI`, "Images and vision"). Others take far less.
const IMAGE_TOKENS_BOUND: u64 = 2_833 + 8 * 5_667;
/// A 1024-pixel square by the common rule of 85 + 170 per tile.
const IMAGE_TOKENS_EXPECTED: u64 = 765;
/// `"detail":"low"` by the same rule.
const LOW_DETAIL_TOKENS_EXPECTED: u64 = 85;
/// A file's pages are rendered and read by the provider; its size says nothing. No model takes more
/// than this, and a plan cuts the bound to each model's context.
const FILE_TOKENS_BOUND: u64 = 2_097_152;
/// Some ten pages.
const FILE_TOKENS_EXPECTED: u64 = 6_000;
/// No request has more members; those beyond are not looked through for tools and schemas.
const MOST_FIELDS: usize = 256;
/// Role marks and separators of one message (`OpenAI`'s cookbook counts 3 to 4).
const TURN_TOKENS_EXPECTED: u64 = 4;

/// Counts the input of a call.
///
/// The bound is proven for byte-level BPE and for sentence pieces with byte fallback: every token
/// stands for at least one byte of the text, unescaping JSON never lengthens it, and the marks around
/// a message (at most 8 tokens) are fewer than the bytes of its JSON (`{"role":"user","content":""}`
/// is 28). So the bytes of the body, media apart, bound text, messages, tools and schemas together.
#[must_use]
pub fn input_tokens(call: &Call, reading: &Reading) -> InputTokens {
    let counts = &reading.counts;
    let body_bytes = (call.body.len() - counts.media_bytes.min(call.body.len())) as u64;
    let hidden = if call.tools > 0 {
        HIDDEN_TOOLS_PROMPT_BOUND
    } else {
        HIDDEN_PROMPT_BOUND
    };
    let bound = body_bytes
        .saturating_add(hidden)
        .saturating_add(counts.images.saturating_mul(IMAGE_TOKENS_BOUND))
        .saturating_add(counts.files.saturating_mul(FILE_TOKENS_BOUND));
    InputTokens {
        expected: expected(call, reading).min(bound),
        bound,
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an estimate far below 2^52"
)]
fn expected(call: &Call, reading: &Reading) -> u64 {
    let counts = &reading.counts;
    let sample = if reading.asked.is_empty() {
        &reading.system
    } else {
        &reading.asked
    };
    let text = counts.text_bytes as f64 * plain_share(sample) / bytes_per_token(&sample.scripts);
    // Members other than the conversation (tools, schemas) are JSON: some 4 bytes per token, and
    // only these two are read by the model.
    let definitions: usize = call
        .fields
        .iter()
        .take(MOST_FIELDS)
        .filter(|field| {
            let name = call.raw(field.name);
            matches!(
                name,
                b"tools" | b"functions" | b"response_format" | b"output_config"
            )
        })
        .map(|field| field.value.len())
        .sum();
    let media = counts.low_detail_images * LOW_DETAIL_TOKENS_EXPECTED
        + (counts.images - counts.low_detail_images) * IMAGE_TOKENS_EXPECTED
        + counts.files * FILE_TOKENS_EXPECTED
        // Ten tokens a second of 24 kHz 16-bit mono in base64 (64,000 bytes).
        + counts.audio_bytes as u64 / 6_400;
    let marks = match call.endpoint {
        Endpoint::Completions
        | Endpoint::Images
        | Endpoint::Audio
        | Endpoint::Moderations
        | Endpoint::Files
        | Endpoint::Batches
        | Endpoint::Embeddings => 0,
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages => {
            call.turns.len() as u64 * TURN_TOKENS_EXPECTED + 3
        }
    };
    (text as u64 + (definitions / 4) as u64 + media + marks + counts.token_ids).max(1)
}

/// Bytes of text per byte of its JSON form, from the sample.
#[allow(clippy::cast_precision_loss, reason = "samples are a few KiB")]
fn plain_share(sample: &Excerpt) -> f64 {
    if sample.raw_bytes == 0 {
        return 1.0;
    }
    (sample.plain_bytes as f64 / sample.raw_bytes as f64).clamp(0.2, 1.0)
}

/// UTF-8 bytes per token by script: medians of today's 200k-word vocabularies on prose, rounded down.
fn bytes_per_token(scripts: &Scripts) -> f64 {
    let weighted = [
        (f64::from(scripts.latin - scripts.accented), 4.3, 1.0),
        (f64::from(scripts.accented), 3.0, 2.0),
        (f64::from(scripts.cyrillic + scripts.greek), 5.0, 2.0),
        (f64::from(scripts.han + scripts.kana), 3.2, 3.0),
        (f64::from(scripts.hangul), 3.9, 3.0),
        (f64::from(scripts.arabic + scripts.hebrew), 4.2, 2.0),
        (f64::from(scripts.indic), 5.4, 3.0),
        (f64::from(scripts.digits), 2.4, 1.0),
        (f64::from(scripts.symbols), 1.7, 1.0),
    ];
    let bytes: f64 = weighted.iter().map(|(count, _, width)| count * width).sum();
    let tokens: f64 = weighted
        .iter()
        .map(|(count, per_token, width)| count * width / per_token)
        .sum();
    if tokens < 1.0 { 4.0 } else { bytes / tokens }
}

/// Output to expect of one choice: the length that is asked for, else what the task usually takes;
/// never above the client's own cap.
#[must_use]
pub fn output_tokens(call: &Call, reading: &Reading, task: Task, usual: f32) -> u64 {
    if !call.endpoint.generates() {
        return 0;
    }
    // A length is asked for where the instruction stands: at the beginning or at the end.
    let text = &reading.asked.text;
    let head = &text[..text.floor_char_boundary(600.min(text.len()))];
    let tail = &text[text.ceil_char_boundary(text.len().saturating_sub(300).max(head.len()))..];
    let expected = asked_length(head)
        .max(asked_length(tail))
        .unwrap_or_else(|| usual_length(reading, task, usual))
        .clamp(1, MAX_EXPECTED_OUTPUT);
    match call.max_output_tokens {
        Some(cap) => expected.min(cap),
        None => expected,
    }
}

/// Nobody gets more than this in one answer without a cap of their own.
const MAX_EXPECTED_OUTPUT: u64 = 16_384;

/// What the weights say; a translation is as long as its text, however long that is.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an estimate far below 2^52"
)]
fn usual_length(reading: &Reading, task: Task, usual: f32) -> u64 {
    let asked = (reading.asked.whole_bytes as f32 / 4.0).max(1.0);
    let at_least = match task {
        Task::Translation | Task::Rewriting => (asked * 0.8).min(8_000.0),
        _ => 0.0,
    };
    usual.max(at_least) as u64
}

/// Units of length with the hundredths of tokens that one of them takes; texts are folded to ASCII.
const UNITS: [(&str, u64); 21] = [
    ("word", 135),
    ("palabra", 150),
    ("mots", 150),
    ("wort", 170),
    ("worter", 170),
    ("palavra", 150),
    ("parole", 150),
    ("sentence", 2_800),
    ("frase", 2_800),
    ("phrases", 2_800),
    ("satze", 2_800),
    ("paragraph", 12_000),
    ("parrafo", 12_000),
    ("paragraphe", 12_000),
    ("absatz", 12_000),
    ("page", 60_000),
    ("pagina", 60_000),
    ("line", 1_400),
    ("bullet", 2_600),
    ("idea", 3_500),
    ("token", 100),
];

/// Finds the units in one pass; of those that begin alike the first.
static UNIT_FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let mut builder = AhoCorasick::builder();
    let units = UNITS.map(|(unit, _)| unit);
    builder
        .match_kind(MatchKind::LeftmostFirst)
        .build(units)
        .ok()
});

/// A length named in the prompt (`in 500 words`, `tres párrafos`), in tokens: a number, and then a word
/// that begins as a unit does.
#[must_use]
pub fn asked_length(text: &str) -> Option<u64> {
    let found = UNIT_FINDER.as_ref()?.find_iter(text);
    let lengths = found.filter_map(|unit| {
        let before = &text[..unit.start()];
        let stands_alone = !before.ends_with(char::is_alphanumeric);
        let count = stands_alone.then(|| small_number(last_word(before)))??;
        let (_, hundredths) = UNITS[unit.pattern()];
        Some((count.min(100_000) * hundredths / 100).max(1))
    });
    lengths.max()
}

/// The last run of letters and digits.
fn last_word(text: &str) -> &str {
    let text = text.trim_end_matches(|c: char| !c.is_alphanumeric());
    let begin = text.trim_end_matches(char::is_alphanumeric).len();
    &text[begin..]
}

/// A number in digits or one of the first few in words.
fn small_number(word: &str) -> Option<u64> {
    if word.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return word.parse().ok();
    }
    Some(match word {
        "one" | "una" | "single" => 1,
        "two" | "dos" => 2,
        "three" | "tres" => 3,
        "four" | "cuatro" => 4,
        "five" | "cinco" => 5,
        "ten" | "diez" => 10,
        _ => return None,
    })
}
