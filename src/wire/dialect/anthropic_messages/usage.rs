//! Anthropic's usage object and the disjoint classes.
//!
//! `input_tokens` counts neither what was read from the prompt cache nor what was written to it.
//! `output_tokens` counts thoughts; `output_tokens_details.thinking_tokens` says how many they were.
//! In a stream the counts are cumulative, and a report may leave out what an earlier one said.

use crate::types::Tokens;
use crate::types::chat::Extra;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::Members;

/// The counts as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cache_read: Option<u64>,
    pub cache_write: Option<u64>,
    pub cache_write_5m: Option<u64>,
    pub cache_write_1h: Option<u64>,
    pub thinking: Option<u64>,
}

impl Counts {
    /// Takes the counts out of a usage object.
    pub fn take(usage: &mut Object<'_>) -> Self {
        if usage.take_boolean(UNKNOWN) == Some(true) {
            return Self::default();
        }
        let mut counts = Self {
            input: usage.take_count("input_tokens"),
            output: usage.take_count("output_tokens"),
            cache_read: usage.take_count("cache_read_input_tokens"),
            cache_write: usage.take_count("cache_creation_input_tokens"),
            ..Self::default()
        };
        if let Some(mut by_life) = usage.take_if("cache_creation", Raw::object) {
            counts.cache_write_5m = by_life.take_count("ephemeral_5m_input_tokens");
            counts.cache_write_1h = by_life.take_count("ephemeral_1h_input_tokens");
        }
        if let Some(mut details) = usage.take_if("output_tokens_details", Raw::object) {
            counts.thinking = details.take_count("thinking_tokens");
        }
        counts
    }

    /// What a later report says counts; what it leaves out stays.
    pub fn update(&mut self, later: Self) {
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.cache_read = later.cache_read.or(self.cache_read);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.cache_write_5m = later.cache_write_5m.or(self.cache_write_5m);
        self.cache_write_1h = later.cache_write_1h.or(self.cache_write_1h);
        self.thinking = later.thinking.or(self.thinking);
    }

    /// Disjoint classes; `None` when neither input nor output is known.
    pub fn disjoint(self) -> Option<Tokens> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let by_life = self
            .cache_write_5m
            .unwrap_or(0)
            .saturating_add(self.cache_write_1h.unwrap_or(0));
        // Either says the whole; some hosts leave one of them out.
        let written = self.cache_write.unwrap_or(0).max(by_life);
        let hour = self.cache_write_1h.unwrap_or(0);
        let output = self.output.unwrap_or(0);
        let reasoning = self.thinking.unwrap_or(0).min(output);
        Some(Tokens {
            input: self.input.unwrap_or(0),
            cached_input: self.cache_read.unwrap_or(0),
            cache_write: written - hour,
            cache_write_1h: hour,
            output: output - reasoning,
            reasoning,
        })
    }
}

/// The members of a usage object.
pub(super) fn write(it: &mut Members<'_>, tokens: &Tokens, tier: Option<&str>, extra: &Extra) {
    write_input(it, tokens);
    by_life(it, tokens);
    write_output(it, tokens);
    it.maybe_string("service_tier", tier.map(service_tier));
    it.extra(extra);
}

/// The members of the usage object at a stream's end, which names the tier and the lives of what was
/// written to the cache only where it must: where the stream's beginning could not.
pub(super) fn write_last(it: &mut Members<'_>, tokens: &Tokens, late_tier: Option<&str>) {
    write_input(it, tokens);
    if tokens.cache_write_1h > 0 {
        by_life(it, tokens);
    }
    write_output(it, tokens);
    it.maybe_string("service_tier", late_tier.map(service_tier));
}

fn write_input(it: &mut Members<'_>, tokens: &Tokens) {
    it.integer("input_tokens", tokens.input);
    it.integer("cache_creation_input_tokens", tokens.all_cache_write());
    it.integer("cache_read_input_tokens", tokens.cached_input);
}

fn by_life(it: &mut Members<'_>, tokens: &Tokens) {
    it.object("cache_creation", |it| {
        it.integer("ephemeral_5m_input_tokens", tokens.cache_write);
        it.integer("ephemeral_1h_input_tokens", tokens.cache_write_1h);
    });
}

fn write_output(it: &mut Members<'_>, tokens: &Tokens) {
    it.integer("output_tokens", tokens.all_output());
    if tokens.reasoning > 0 {
        it.object("output_tokens_details", |it| {
            it.integer("thinking_tokens", tokens.reasoning);
        });
    }
}

/// The members of a usage object where nobody said what was used: clients demand the counts, and whoever
/// bills must not take them for a report.
pub(super) fn write_unknown(it: &mut Members<'_>) {
    it.integer("input_tokens", 0_u64);
    it.integer("output_tokens", 0_u64);
    it.boolean(UNKNOWN, true);
}

/// Marks counts that stand in for unknown ones.
const UNKNOWN: &str = "unknown";

/// The tier in Anthropic's word.
fn service_tier(word: &str) -> &str {
    match word {
        "default" => "standard",
        word => word,
    }
}
