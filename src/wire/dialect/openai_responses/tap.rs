//! Streams: what each event is, and the events that we make ourselves.

use bytes::Bytes;
use jiter::{JiterError, Peek};

use super::response::{Response, read_mended};
use crate::error::ProxyError;
use crate::types::{PicoUsd, Span};
use crate::wire::dialect::Tap;
use crate::wire::dialect::openai_chat::{answer as chat_answer, errors, response, stream};
use crate::wire::facts::{ErrorReport, EventKind, StreamFacts, UsageReport};
use crate::wire::framing::sse::SseEvent;
use crate::wire::json_out::JsonOut;
use crate::wire::json_text;
use crate::wire::json_walk::Walk;

/// Looks at the events of one stream, in order.
#[derive(Debug, Default)]
pub(super) struct ResponsesTap {
    facts: StreamFacts,
}

/// What one event says.
#[derive(Debug, Default)]
struct Said {
    /// The inside of `type`.
    kind: Option<Span>,
    delta_bytes: Option<u64>,
    response: Option<Response>,
    item: Option<Response>,
    error: Option<ErrorReport>,
    bare: ErrorReport,
}

fn read(json: &[u8]) -> Result<Said, JiterError> {
    let mut walk = Walk::new(json);
    let mut said = Said::default();
    walk.object(|walk, member| {
        match (&*member.name, member.peek) {
            (b"type", Peek::String) => said.kind = Some(walk.string()?),
            (b"delta", Peek::String) => {
                let text = walk.string()?;
                said.delta_bytes = Some(json_text::unescaped_len(walk.raw(text)) as u64);
            }
            (b"response", Peek::Object) => {
                let mut response = Response::default();
                walk.object(|walk, member| response.member(walk, &member))?;
                said.response = Some(response);
            }
            (b"item", Peek::Object) => {
                let mut item = Response::default();
                item.item(walk)?;
                said.item = Some(item);
            }
            (b"error", peek) if peek != Peek::Null => {
                said.error = Some(chat_answer::error_report(walk, peek)?);
            }
            (b"message" | b"code" | b"param", _) => {
                chat_answer::error_member(walk, &member, &mut said.bare)?;
            }
            (_, peek) => walk.skip(peek)?,
        }
        Ok::<(), JiterError>(())
    })?;
    walk.finish()?;
    Ok(said)
}

impl ResponsesTap {
    /// What the response object in an event says of the whole.
    fn note(&mut self, data: &[u8], response: &Response) {
        let facts = &mut self.facts;
        let text = |inside: Span| json_text::to_string_lossy(&data[inside.range()]).into_owned();
        facts.model = facts.model.take().or_else(|| response.model.map(text));
        facts.id = facts.id.take().or_else(|| response.id.map(text));
        facts.created = facts.created.or(response.created);
        facts.service_tier = response.service_tier.or(facts.service_tier);
        facts.tool_calls |= response.tool_calls;
        let finish = response.finish();
        facts.finish.seen |= finish.seen;
        facts.finished = facts.finished.saturating_add(u32::from(finish.seen));
        facts.finish.truncated |= finish.truncated;
        facts.finish.content_filter |= finish.content_filter;
        facts.finish.error |= finish.error;
        if let Some(tokens) = response.usage.and_then(|report| report.tokens) {
            facts.usage = Some(tokens);
            facts.output_bytes_at_usage = facts.output_bytes;
        }
    }

    fn failed(&mut self, report: ErrorReport) -> EventKind {
        self.facts.error = Some(report);
        EventKind::Error
    }
}

impl Tap for ResponsesTap {
    fn see(&mut self, event: &SseEvent) -> EventKind {
        let Some(data) = event.data() else {
            return EventKind::Comment;
        };
        let data = data.trim_ascii();
        if data.is_empty() {
            return EventKind::Comment;
        }
        if data == b"[DONE]" {
            // Not of this dialect, but some servers that copy it say so.
            self.facts.done = true;
            return EventKind::Done;
        }
        let said = std::str::from_utf8(data).ok();
        let said = said.and_then(|_| read_mended(data, read).ok());
        let Some(said) = said else {
            self.facts.malformed = self.facts.malformed.saturating_add(1);
            return EventKind::Malformed;
        };
        let name = event.name().map(<[u8]>::to_vec);
        let kind = said.kind.map(|kind| data[kind.range()].to_vec());
        let kind = kind.or(name).unwrap_or_default();
        if let Some(response) = &said.response {
            self.note(data, response);
        }
        if let Some(item) = &said.item {
            self.facts.tool_calls |= item.tool_calls;
        }
        match kind.as_slice() {
            b"error" => self.failed(said.error.unwrap_or(said.bare)),
            b"response.failed" => {
                let report = said.response.and_then(|response| response.error);
                self.failed(report.unwrap_or_default())
            }
            b"response.completed" | b"response.incomplete" => {
                self.facts.done = true;
                let usage = said.response.and_then(|response| response.usage);
                match usage.filter(|report| report.tokens.is_some()) {
                    Some(report) => EventKind::Usage {
                        report,
                        alone: false,
                    },
                    None => EventKind::Done,
                }
            }
            _ if said.error.is_some() => self.failed(said.error.unwrap_or_default()),
            b"response.created" | b"response.in_progress" | b"response.queued" => EventKind::Other,
            _ => {
                let bytes = said.delta_bytes.unwrap_or(0);
                self.facts.output_bytes = self.facts.output_bytes.saturating_add(bytes);
                EventKind::Content {
                    bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                }
            }
        }
    }

    fn facts(&self) -> &StreamFacts {
        &self.facts
    }
}

/// The final event with `usage.cost` (USD, exact plain decimal) written into it.
pub(super) fn event_with_cost(event: &SseEvent, report: &UsageReport, cost: PicoUsd) -> Bytes {
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
    let name = event.name().unwrap_or_default();
    let mut out = Vec::with_capacity(json.len() + 64);
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name);
        out.push(b'\n');
    }
    out.extend_from_slice(&stream::event_of(&stream::one_line(&json)));
    Bytes::from(out)
}

/// The event that ends a stream that failed after it had begun. The error stands in it twice: as the
/// reference documents the event, and in the envelope that SDKs raise an exception for.
pub(super) fn error_event(error: &ProxyError) -> Bytes {
    let envelope = errors::encode_error(error);
    let presentation = error.presentation();
    let mut json = JsonOut::with_capacity(256);
    json.object(|it| {
        it.string("type", "error");
        it.string("code", presentation.code);
        it.string("message", &error.message);
        match &error.param {
            Some(param) => it.string("param", param),
            None => it.null("param"),
        }
        it.integer("sequence_number", 0);
        let inner = std::str::from_utf8(&envelope).ok();
        let inner = inner.and_then(|text| crate::wire::json_in::Raw::parse(text).ok()?.object());
        if let Some(inner) = inner.and_then(|mut object| object.take("error")) {
            it.raw("error", &inner.owned());
        }
    });
    let mut out = b"event: error\n".to_vec();
    let json = json.into_string();
    out.extend_from_slice(&stream::event_of(&stream::one_line(json.as_bytes())));
    Bytes::from(out)
}
