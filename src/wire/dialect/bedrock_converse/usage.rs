//! `usage` and disjoint classes.
//!
//! By Bedrock's documentation of prompt caching `inputTokens` counts neither what was read from the
//! cache nor what was written into it; `cacheDetails` tells the writes apart by how long they are kept;
//! `outputTokens` contains the thoughts and does not tell them apart. Where we write for a client,
//! `reasoningOutputTokens` of our own does.

use crate::types::Tokens;
use crate::types::chat::Extra;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::Members;

/// Reads a usage object: the counts and what is left.
pub(super) fn read(mut usage: Object<'_>) -> (Option<Tokens>, Extra) {
    let input = usage.take_count("inputTokens");
    let output = usage.take_count("outputTokens");
    usage.take_count("totalTokens");
    let cached = usage.take_count("cacheReadInputTokens");
    let write = usage.take_count("cacheWriteInputTokens").unwrap_or(0);
    let reasoning = usage.take_count("reasoningOutputTokens").unwrap_or(0);
    let details = usage.take_if("cacheDetails", Raw::array);
    let write_1h = details
        .unwrap_or_default()
        .into_iter()
        .filter_map(|detail| {
            let mut detail = detail.object()?;
            let is_hour = detail.take_string("ttl")? == "1h";
            detail.take_count("inputTokens").filter(|_| is_hour)
        })
        .fold(0_u64, u64::saturating_add);
    let tokens = input.or(output).map(|_| Tokens {
        input: input.unwrap_or(0),
        cached_input: cached.unwrap_or(0),
        cache_write: write.saturating_sub(write_1h),
        cache_write_1h: write_1h.min(write.max(write_1h)),
        output: output.unwrap_or(0).saturating_sub(reasoning),
        reasoning: reasoning.min(output.unwrap_or(0)),
    });
    (tokens, usage.rest())
}

/// Writes the members of a usage object.
pub(super) fn write(it: &mut Members<'_>, tokens: &Tokens) {
    it.integer("inputTokens", tokens.input);
    it.integer("outputTokens", tokens.all_output());
    it.integer("totalTokens", tokens.total());
    let write = tokens.all_cache_write();
    if tokens.cached_input > 0 || write > 0 {
        it.integer("cacheReadInputTokens", tokens.cached_input);
        it.integer("cacheWriteInputTokens", write);
    }
    if write > 0 {
        it.array("cacheDetails", |list| {
            for (ttl, count) in [("5m", tokens.cache_write), ("1h", tokens.cache_write_1h)] {
                if count > 0 {
                    list.object(|it| {
                        it.integer("inputTokens", count);
                        it.string("ttl", ttl);
                    });
                }
            }
        });
    }
    if tokens.reasoning > 0 {
        it.integer("reasoningOutputTokens", tokens.reasoning);
    }
}
