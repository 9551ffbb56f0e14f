//! Streams: what each event is, and the events that we make ourselves.
//!
//! The tap only looks. The bytes go on as they came, except for a usage chunk that gets its cost
//! or is withheld from a client that did not ask for it, and those are the forwarder's decisions.

use bytes::Bytes;

use super::stencil::Stencil;
use super::{answer, errors, response};
use crate::error::ProxyError;
use crate::types::{Endpoint, PicoUsd, Tokens};
use crate::wire::facts::{ErrorReport, EventKind, StreamFacts, UsageReport};
use crate::wire::framing::sse::SseEvent;
use crate::wire::json_text;

const DONE: &[u8] = b"[DONE]";

/// Looks at the events of one stream, in order.
#[derive(Debug, Default)]
pub struct StreamTap {
    facts: StreamFacts,
    /// The last content chunk with its text cut out.
    stencil: Stencil,
}

impl StreamTap {
    /// A tap on a stream that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next event.
    pub fn see(&mut self, event: &SseEvent) -> EventKind {
        let Some(data) = event.data() else {
            return EventKind::Comment;
        };
        let data = data.trim_ascii();
        if data.is_empty() {
            return EventKind::Comment;
        }
        if data == DONE {
            self.facts.done = true;
            return EventKind::Done;
        }
        let name = event.name();
        if name.is_none()
            && let Some(bytes) = self.stencil.text_bytes(data)
        {
            self.facts.output_bytes = self.facts.output_bytes.saturating_add(bytes as u64);
            return EventKind::Content {
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            };
        }
        self.see_json(data, name == Some(b"error"))
    }

    /// What the stream has said so far.
    #[must_use]
    pub const fn facts(&self) -> &StreamFacts {
        &self.facts
    }

    /// What the stream has said.
    #[must_use]
    pub fn into_facts(self) -> StreamFacts {
        self.facts
    }

    fn see_json(&mut self, data: &[u8], named_error: bool) -> EventKind {
        let read = std::str::from_utf8(data)
            .ok()
            .and_then(|_| answer::read(data).ok());
        let facts = &mut self.facts;
        let Some(answer) = read else {
            if named_error {
                facts.error = Some(ErrorReport::default());
                return EventKind::Error;
            }
            facts.malformed = facts.malformed.saturating_add(1);
            return EventKind::Malformed;
        };
        if facts.model.is_none()
            && let Some(model) = answer.model
        {
            facts.model = Some(json_text::to_string_lossy(&data[model.range()]).into_owned());
        }
        if facts.id.is_none()
            && let Some(id) = answer.id
        {
            facts.id = Some(json_text::to_string_lossy(&data[id.range()]).into_owned());
        }
        facts.created = facts.created.or(answer.created);
        facts.finish.seen |= answer.finish.seen;
        facts.finished = facts.finished.saturating_add(u32::from(answer.finish.seen));
        facts.finish.truncated |= answer.finish.truncated;
        facts.finish.content_filter |= answer.finish.content_filter;
        facts.finish.error |= answer.finish.error;
        facts.tool_calls |= answer.tool_calls;
        facts.output_bytes = facts.output_bytes.saturating_add(answer.output_bytes);
        let usage_tier = answer.usage.and_then(|report| report.service_tier);
        facts.service_tier = answer.service_tier.or(usage_tier).or(facts.service_tier);
        if let Some(tokens) = answer.usage.and_then(|report| report.tokens) {
            facts.usage = Some(with_earlier(tokens, facts.usage));
            facts.output_bytes_at_usage = facts.output_bytes;
        }
        if answer.error.is_some() || named_error {
            facts.error = Some(answer.error.unwrap_or_default());
            return EventKind::Error;
        }
        match answer.usage.filter(|report| report.tokens.is_some()) {
            Some(report) => EventKind::Usage {
                report,
                alone: answer.choices == 0,
            },
            None if answer.choices > 0 => {
                self.stencil.cut(data, &answer);
                EventKind::Content {
                    bytes: u32::try_from(answer.output_bytes).unwrap_or(u32::MAX),
                }
            }
            None => EventKind::Other,
        }
    }
}

/// Reports are cumulative, so the last one counts; a side on which it says nothing stays as an earlier
/// one said (some report the input at the start and only the output afterwards).
pub(in crate::wire) fn with_earlier(mut latest: Tokens, earlier: Option<Tokens>) -> Tokens {
    let Some(earlier) = earlier else {
        return latest;
    };
    if latest.all_input() == 0 {
        latest.input = earlier.input;
        latest.cached_input = earlier.cached_input;
        latest.cache_write = earlier.cache_write;
        latest.cache_write_1h = earlier.cache_write_1h;
    }
    if latest.all_output() == 0 {
        latest.output = earlier.output;
        latest.reasoning = earlier.reasoning;
    }
    latest
}

/// The bytes of a usage event with `usage.cost` (USD, exact plain decimal) written into it.
#[must_use]
pub fn event_with_cost(event: &SseEvent, report: &UsageReport, cost: PicoUsd) -> Bytes {
    if let Some(range) = event.data_range() {
        let data = &event.raw[range.clone()];
        let offset = range.start + (data.len() - data.trim_ascii_start().len());
        return response::with_cost(&event.raw, report, offset, cost);
    }
    // Data over several lines: the report's spans hold for the joined text, which becomes one line.
    let Some(data) = event.data() else {
        return event.raw.clone();
    };
    let joined = Bytes::copy_from_slice(data.trim_ascii());
    let json = response::with_cost(&joined, report, 0, cost);
    event_of(&one_line(&json))
}

/// The event that ends a stream that failed after it had begun. A clean end of body follows it;
/// `[DONE]` does not.
#[must_use]
pub fn error_event(error: &ProxyError) -> Bytes {
    event_of(&one_line(&errors::encode_error(error)))
}

/// The end marker.
#[must_use]
pub const fn done_event() -> Bytes {
    Bytes::from_static(b"data: [DONE]\n\n")
}

/// A usage chunk of our own, for a client that asked for one of an upstream that sends none.
/// `facts` are those of the stream: the chunk must carry its id.
#[must_use]
pub fn usage_event(
    endpoint: Endpoint,
    facts: &StreamFacts,
    tokens: &Tokens,
    cost: PicoUsd,
) -> Bytes {
    let chunk = serde_json::json!({
        "id": facts.id.as_deref().unwrap_or_default(),
        "object": chunk_object(endpoint),
        "created": facts.created.unwrap_or(0),
        "model": facts.model.as_deref().unwrap_or_default(),
        "choices": [],
        "usage": usage_object(tokens),
    });
    let event = SseEvent::new(event_of(chunk.to_string().as_bytes()));
    match StreamTap::new().see(&event) {
        EventKind::Usage { report, .. } => event_with_cost(&event, &report, cost),
        _ => event.raw,
    }
}

/// The `object` of an endpoint's chunks.
pub(super) const fn chunk_object(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Completions => "text_completion",
        _ => "chat.completion.chunk",
    }
}

/// Tokens in OpenAI's own overlapping form.
pub(super) fn usage_object(tokens: &Tokens) -> serde_json::Value {
    serde_json::json!({
        "prompt_tokens": tokens.all_input(),
        "completion_tokens": tokens.all_output(),
        "total_tokens": tokens.total(),
        "prompt_tokens_details": {
            "cached_tokens": tokens.cached_input,
            "cache_write_tokens": tokens.cache_write,
        },
        "completion_tokens_details": { "reasoning_tokens": tokens.reasoning },
    })
}

/// `json`, which must be one line, as an event.
pub(in crate::wire) fn event_of(json: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(json.len() + 8);
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(json);
    event.extend_from_slice(b"\n\n");
    Bytes::from(event)
}

/// `json` without line ends, which in JSON can stand only between values.
pub(in crate::wire) fn one_line(json: &[u8]) -> Vec<u8> {
    let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    json.iter()
        .map(|byte| if is_line_end(byte) { b' ' } else { *byte })
        .collect()
}
