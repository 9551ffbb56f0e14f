//! `usageMetadata` and disjoint classes.
//!
//! `promptTokenCount` contains what was cached, `candidatesTokenCount` does not contain the thoughts,
//! and what tools fetched (`toolUsePromptTokenCount`) stands beside the prompt. Cache writes are not
//! counted by Google; where we write for a client they are members of our own inside the prompt's count.

use super::members::{count, take_as};
use crate::types::Tokens;
use crate::types::chat::Extra;
use crate::wire::json_in::Object;
use crate::wire::json_out::Members;

/// What a usage object says.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub tokens: Option<Tokens>,
    /// The tier at which it was served, in the words of other dialects.
    pub service_tier: Option<String>,
    /// Members that have no name in the neutral form.
    pub rest: Extra,
}

/// Reads a usage object.
pub(super) fn read(mut usage: Object<'_>) -> Report {
    let mut class = |name| take_as(&mut usage, name, count);
    let prompt = class("promptTokenCount");
    let cached = class("cachedContentTokenCount").unwrap_or(0);
    let write = class("cacheWriteTokenCount").unwrap_or(0);
    let write_1h = class("cacheWrite1hTokenCount").unwrap_or(0);
    let output = class("candidatesTokenCount");
    let thoughts = class("thoughtsTokenCount");
    let total = class("totalTokenCount");
    let tools = tool_use(&usage);
    let known = prompt.or(output).or(thoughts).or(total).is_some();
    let outside = cached.saturating_add(write).saturating_add(write_1h);
    let tokens = known.then(|| Tokens {
        input: prompt
            .unwrap_or(0)
            .saturating_sub(outside)
            .saturating_add(tools),
        cached_input: cached,
        cache_write: write,
        cache_write_1h: write_1h,
        output: output.unwrap_or_else(|| {
            // Older models leave the count of an empty output out; the total tells.
            let beside = [prompt.unwrap_or(0), tools, thoughts.unwrap_or(0)];
            let total = total.unwrap_or(0);
            beside.into_iter().fold(total, u64::saturating_sub)
        }),
        reasoning: thoughts.unwrap_or(0),
    });
    Report {
        tokens,
        service_tier: service_tier(&usage),
        rest: usage.rest(),
    }
}

/// What tools fetched for the prompt. It stays among the members that are left.
pub(super) fn tool_use(usage: &Object<'_>) -> u64 {
    let found = usage.get("toolUsePromptTokenCount");
    found.and_then(count).unwrap_or(0)
}

/// The Gemini API says the tier, Vertex AI the kind of traffic.
fn service_tier(usage: &Object<'_>) -> Option<String> {
    let word = usage
        .get("serviceTier")
        .or_else(|| usage.get("trafficType"))?;
    let word = word.string()?;
    let tier = match word.as_str() {
        "ON_DEMAND_PRIORITY" => "priority",
        "ON_DEMAND_FLEX" => "flex",
        "ON_DEMAND" | "PROVISIONED_THROUGHPUT" | "standard" | "STANDARD" => "default",
        _ => return Some(word.to_ascii_lowercase()),
    };
    Some(tier.to_owned())
}

/// Writes the members of a usage object; `tool_use` tokens of the input are said by somebody else.
pub(super) fn write(it: &mut Members<'_>, tokens: &Tokens, tool_use: u64) {
    let prompt = tokens.all_input().saturating_sub(tool_use);
    it.integer("promptTokenCount", prompt);
    it.integer("candidatesTokenCount", tokens.output);
    it.integer("totalTokenCount", tokens.total());
    let more = [
        ("cachedContentTokenCount", tokens.cached_input),
        ("cacheWriteTokenCount", tokens.cache_write),
        ("cacheWrite1hTokenCount", tokens.cache_write_1h),
        ("thoughtsTokenCount", tokens.reasoning),
    ];
    for (name, count) in more {
        if count > 0 {
            it.integer(name, count);
        }
    }
}
