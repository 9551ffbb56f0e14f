//! Streams as they pass by: what each event is, and the events that we make ourselves.
//!
//! The tap only looks. The bytes go on as they came, except for the usage at the end, which gets its
//! cost.

use bytes::{Bytes, BytesMut};

use super::usage::Counts;
use super::{errors, inspect, stream_write, usage};
use crate::error::ProxyError;
use crate::types::{PicoUsd, ServiceTier, Tokens};
use crate::wire::dialect::Tap;
use crate::wire::dialect::openai_chat::response::with_cost;
use crate::wire::facts::{EventKind, StreamFacts, UsageReport};
use crate::wire::framing::sse::SseEvent;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_text;

/// Longer events are not kept: comparing them would not pay.
const MAX_STENCIL_BYTES: usize = 1024;

/// Looks at the events of one stream, in order.
#[derive(Debug, Default)]
pub(super) struct StreamTap {
    facts: StreamFacts,
    counts: Counts,
    /// The last delta up to its text and from its text on: most differ in nothing else, and then there
    /// is nothing to learn but how long the text is.
    stencil: (Vec<u8>, Vec<u8>),
}

impl Tap for StreamTap {
    fn see(&mut self, event: &SseEvent) -> EventKind {
        let Some(data) = event.data() else {
            return EventKind::Comment;
        };
        let data = data.trim_ascii();
        if data.is_empty() {
            return EventKind::Comment;
        }
        if let Some(bytes) = self.by_stencil(data) {
            return self.content(bytes);
        }
        let text = inspect::parsable(data).ok();
        let object = text.as_deref().and_then(|text| Object::read(text).ok());
        match (text.as_deref(), object) {
            (Some(text), Some(object)) => self.see_object(event.name(), text, object),
            _ if event.name() == Some(b"error") => self.error(None),
            _ => {
                self.facts.malformed = self.facts.malformed.saturating_add(1);
                EventKind::Malformed
            }
        }
    }

    fn facts(&self) -> &StreamFacts {
        &self.facts
    }
}

impl StreamTap {
    fn see_object(&mut self, name: Option<&[u8]>, text: &str, mut object: Object<'_>) -> EventKind {
        let kind = object.get("type").and_then(Raw::string);
        let name = name.map(String::from_utf8_lossy);
        match kind.as_deref().or(name.as_deref()).unwrap_or_default() {
            "message_start" => self.start(&mut object),
            "content_block_start" => {
                let block = object.take("content_block").and_then(Raw::object);
                let block = block.unwrap_or_default();
                self.facts.tool_calls |= inspect::is_call(&block);
                self.content(inspect::block_bytes(&block))
            }
            "content_block_delta" => self.delta(text, &object),
            "message_delta" => self.message_delta(text, &mut object),
            "message_stop" => {
                self.facts.done = true;
                EventKind::Done
            }
            "error" => self.error(Some(&mut object)),
            _ => EventKind::Other,
        }
    }

    fn content(&mut self, bytes: u64) -> EventKind {
        self.facts.output_bytes = self.facts.output_bytes.saturating_add(bytes);
        EventKind::Content {
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        }
    }

    fn error(&mut self, object: Option<&mut Object<'_>>) -> EventKind {
        let report = object.and_then(errors::report).unwrap_or_default();
        self.facts.error = Some(report);
        EventKind::Error
    }

    /// The input is known; what the answer costs is not, so that this is no report to be priced.
    fn start(&mut self, object: &mut Object<'_>) -> EventKind {
        let message = object.take("message").and_then(Raw::object);
        let mut message = message.unwrap_or_default();
        if let Some(usage) = message.take("usage") {
            self.tier(usage);
            let tokens = inspect::with_earlier(&mut self.counts, usage);
            // Of an upstream that counts at the end the start says 0.
            let said = tokens.filter(|tokens| tokens.total() > 0);
            self.facts.usage = said.or(self.facts.usage);
            self.facts.output_bytes_at_usage = self.facts.output_bytes;
        }
        if self.facts.id.is_none() {
            self.facts.id = message.take_string("id");
        }
        if self.facts.model.is_none() {
            self.facts.model = message.take_string("model");
        }
        self.content(0)
    }

    fn tier(&mut self, usage: Raw<'_>) {
        let mut object = usage.object().unwrap_or_default();
        if let Some(word) = object.take_string("service_tier") {
            self.facts.service_tier = Some(ServiceTier::of_upstream(word.as_bytes()));
        }
    }

    fn delta(&mut self, text: &str, object: &Object<'_>) -> EventKind {
        let delta = object
            .get("delta")
            .and_then(Raw::object)
            .unwrap_or_default();
        let said = ["text", "thinking", "partial_json"]
            .into_iter()
            .find_map(|name| delta.get(name));
        let Some(said) = said.filter(|said| said.get().starts_with('"')) else {
            return self.content(0);
        };
        let bytes = said.text().map_or(0, |text| text.len());
        let start = said.get().as_ptr().addr() - text.as_ptr().addr();
        let (before, after) = (&mut self.stencil.0, &mut self.stencil.1);
        before.clear();
        after.clear();
        let (opening, closing) = (start + 1, start + said.get().len() - 1);
        if text.len() - (closing - opening) <= MAX_STENCIL_BYTES {
            before.extend_from_slice(text.get(..opening).unwrap_or_default().as_bytes());
            after.extend_from_slice(text.get(closing..).unwrap_or_default().as_bytes());
        }
        self.content(bytes as u64)
    }

    fn by_stencil(&self, data: &[u8]) -> Option<u64> {
        let (before, after) = &self.stencil;
        if before.is_empty() {
            return None;
        }
        let rest = data.strip_prefix(before.as_slice())?;
        let (inside, bytes) = json_text::measure_string(rest)?;
        (rest[inside..] == **after).then_some(bytes as u64)
    }

    fn message_delta(&mut self, text: &str, object: &mut Object<'_>) -> EventKind {
        let delta = object.take("delta").and_then(Raw::object);
        let mut delta = delta.unwrap_or_default();
        if let Some(reason) = delta.take_string("stop_reason") {
            inspect::finish(&mut self.facts.finish, &reason);
            self.facts.finished = self.facts.finished.saturating_add(1);
        }
        let Some(usage) = object.take("usage") else {
            return self.content(0);
        };
        self.tier(usage);
        let Some(mut report) = inspect::report(text, usage) else {
            return self.content(0);
        };
        if report.tokens.is_none() {
            return self.content(0);
        }
        let tokens = inspect::with_earlier(&mut self.counts, usage);
        self.facts.usage = tokens.or(self.facts.usage);
        self.facts.output_bytes_at_usage = self.facts.output_bytes;
        report.tokens = tokens;
        EventKind::Usage {
            report,
            alone: false,
        }
    }
}

/// A usage event with `usage.cost` (USD, exact plain decimal) written into it.
pub(super) fn event_with_cost(event: &SseEvent, report: &UsageReport, cost: PicoUsd) -> Bytes {
    if let Some(range) = event.data_range() {
        let data = event.raw.get(range.clone()).unwrap_or_default();
        let offset = range.start + (data.len() - data.trim_ascii_start().len());
        return with_cost(&event.raw, report, offset, cost);
    }
    // Data over several lines: the report's spans hold for the joined text, which becomes one line.
    let Some(data) = event.data() else {
        return event.raw.clone();
    };
    let joined = Bytes::copy_from_slice(data.trim_ascii());
    let json = with_cost(&joined, report, 0, cost);
    let mut out = BytesMut::new();
    stream_write::frame("message_delta", &json, &mut out);
    out.freeze()
}

/// A usage event of our own, for an upstream that reports none. It repeats why the answer ended,
/// because clients take the last `message_delta` for what counts.
pub(super) fn usage_event(facts: &StreamFacts, tokens: &Tokens, cost: PicoUsd) -> Bytes {
    let reason = match facts.finish {
        finish if finish.truncated => "max_tokens",
        finish if finish.content_filter => "refusal",
        _ if facts.tool_calls => "tool_use",
        _ => "end_turn",
    };
    let mut out = BytesMut::new();
    stream_write::event_of("message_delta", &mut out, |it| {
        it.object("delta", |it| {
            it.string("stop_reason", reason);
            it.null("stop_sequence");
        });
        it.object("usage", |it| {
            usage::write_last(it, tokens, None);
            it.member("cost").raw_text(&cost.to_string());
        });
    });
    out.freeze()
}

/// The event that ends a stream that failed after it had begun.
pub(super) fn error_event(error: &ProxyError) -> Bytes {
    let mut out = BytesMut::new();
    stream_write::frame("error", &errors::encode(error), &mut out);
    out.freeze()
}

/// The end marker.
pub(super) const fn done_event() -> Bytes {
    Bytes::from_static(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
}
