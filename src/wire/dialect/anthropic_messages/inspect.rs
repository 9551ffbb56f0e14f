//! What a whole answer or an event says to the proxy: usage with its place, model, how it ended, how
//! much text.

use std::borrow::Cow;

use super::errors;
use super::usage::Counts;
use crate::types::ServiceTier;
use crate::types::{Span, Tokens};
use crate::wire::facts::{Finish, NotADialect, ResponseFacts, UsageReport};
use crate::wire::json_in::{Kind, Object, Raw};
use crate::wire::json_text;
use crate::wire::json_walk;

/// Reads a whole answer, success or error.
///
/// # Errors
/// When the body is neither.
pub(super) fn response(body: &[u8]) -> Result<ResponseFacts, NotADialect> {
    let refuse = |reason: String| NotADialect {
        reason,
        tokens: None,
    };
    if u32::try_from(body.len()).is_err() {
        return Err(refuse("the body is 4 GiB or longer".to_owned()));
    }
    let text = parsable(body).map_err(refuse)?;
    let mut message = Raw::parse(&text)
        .map_err(|error| refuse(format!("not JSON: {error}")))?
        .object()
        .ok_or_else(|| refuse("not a JSON object".to_owned()))?;
    let usage = message.get("usage").and_then(|raw| report(&text, raw));
    if message.get("content").is_none()
        && let Some(error) = errors::report(&mut message)
    {
        return Ok(ResponseFacts {
            usage,
            error: Some(error),
            ..ResponseFacts::default()
        });
    }
    let Some(content) = message.get("content").and_then(Raw::array) else {
        return Err(NotADialect {
            reason: "neither `content` nor `error`".to_owned(),
            tokens: usage.and_then(|usage| usage.tokens),
        });
    };
    let mut facts = ResponseFacts {
        service_tier: usage.and_then(|usage| usage.service_tier),
        usage,
        model: message.take_string("model"),
        choices: 1,
        ..ResponseFacts::default()
    };
    for block in content.into_iter().filter_map(Raw::object) {
        facts.tool_calls |= is_call(&block);
        facts.output_bytes += block_bytes(&block);
    }
    if let Some(reason) = message.take_string("stop_reason") {
        finish(&mut facts.finish, &reason);
    }
    Ok(facts)
}

/// The text of a body or an event's data, with halves of surrogate pairs mended, so that spans in it
/// hold for the original.
pub(super) fn parsable(body: &[u8]) -> Result<Cow<'_, str>, String> {
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
    if Raw::parse(text).is_err()
        && let Some(mended) = json_text::mend_lone_surrogates(body)
        && let Ok(mended) = String::from_utf8(mended)
    {
        return Ok(Cow::Owned(mended));
    }
    Ok(Cow::Borrowed(text))
}

/// A usage object that stands in `text`.
pub(super) fn report(text: &str, usage: Raw<'_>) -> Option<UsageReport> {
    let mut object = usage.object()?;
    let cost = object.get("cost").map(|cost| place(text, cost));
    let word = object.take_string("service_tier");
    Some(UsageReport {
        tokens: Counts::take(&mut object).disjoint(),
        object: place(text, usage),
        cost,
        service_tier: word.map(|word| ServiceTier::of_upstream(word.as_bytes())),
    })
}

/// Where `part` stands in `text`, of which it is a slice.
fn place(text: &str, part: Raw<'_>) -> Span {
    let start = part.get().as_ptr().addr() - text.as_ptr().addr();
    json_walk::span(start, start + part.get().len())
}

/// Takes a reason to finish in.
pub(super) fn finish(finish: &mut Finish, reason: &str) {
    finish.seen = true;
    finish.truncated |= matches!(reason, "max_tokens" | "model_context_window_exceeded");
    finish.content_filter |= reason == "refusal";
    finish.error |= reason == "error";
}

pub(super) fn is_call(block: &Object<'_>) -> bool {
    block.get("type").and_then(Raw::text).as_deref() == Some("tool_use")
}

/// Bytes of what a block says.
pub(super) fn block_bytes(block: &Object<'_>) -> u64 {
    let said = ["text", "thinking", "input"].into_iter();
    let bytes = said
        .filter_map(|name| block.get(name))
        .map(|raw| match raw.kind() {
            Kind::String => raw.text().map_or(0, |text| text.len()),
            // An input that is still to come says nothing.
            _ if raw.get() == "{}" => 0,
            _ => raw.get().len(),
        });
    bytes.sum::<usize>() as u64
}

/// What a later report leaves out stays as an earlier one said.
pub(super) fn with_earlier(counts: &mut Counts, usage: Raw<'_>) -> Option<Tokens> {
    counts.update(Counts::take(&mut usage.object()?));
    counts.disjoint()
}
