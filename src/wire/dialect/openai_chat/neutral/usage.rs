//! Usage between the neutral classes and OpenAI's object. What is written reads back exactly, also the
//! classes that OpenAI has no member for.

use jiter::JiterError;

use super::super::usage as object;
use crate::types::Tokens;
use crate::wire::json_in::Raw;
use crate::wire::json_out::Members;
use crate::wire::json_walk::Walk;

/// The classes that a usage object reports.
pub(in crate::wire) fn of(value: Raw<'_>) -> Option<Tokens> {
    value.object()?;
    let mut walk = Walk::new(value.get().as_bytes());
    let read = |walk: &mut Walk<'_>| -> Result<Option<Tokens>, JiterError> {
        walk.peek()?;
        Ok(object::read(walk)?.tokens)
    };
    read(&mut walk).ok().flatten()
}

/// The names that OpenAI's two dialects have for the same counts.
pub(in crate::wire) struct Names {
    pub input: &'static str,
    pub output: &'static str,
    pub input_details: &'static str,
    pub output_details: &'static str,
}

/// Chat Completions.
pub(in crate::wire) const CHAT: Names = Names {
    input: "prompt_tokens",
    output: "completion_tokens",
    input_details: "prompt_tokens_details",
    output_details: "completion_tokens_details",
};

fn count(it: &mut Members<'_>, name: &str, count: u64) {
    it.integer(name, count);
}

/// The members of a usage object.
pub(in crate::wire) fn write(it: &mut Members<'_>, tokens: &Tokens, names: &Names) {
    count(it, names.input, tokens.all_input());
    count(it, names.output, tokens.all_output());
    count(it, "total_tokens", tokens.total());
    it.object(names.input_details, |it| {
        count(it, "cached_tokens", tokens.cached_input);
        count(it, "cache_write_tokens", tokens.all_cache_write());
        if tokens.cache_write_1h > 0 {
            count(it, "ephemeral_1h_input_tokens", tokens.cache_write_1h);
        }
    });
    it.object(names.output_details, |it| {
        count(it, "reasoning_tokens", tokens.reasoning);
    });
}
