//! OpenAI's Chat Completions, with the legacy completions and embeddings.
//!
//! `decode` and `encode` are the client's request in and out, `response` and `stream` the
//! upstream's answer, `replay` turns one form of an answer into the other.

pub(in crate::wire) mod answer;
pub mod convert;
pub mod decode;
pub mod encode;
pub mod errors;
pub(super) mod fault;
mod items;
pub(super) mod members;
mod messages;
pub mod models;
pub mod neutral;
pub mod response;
mod stencil;
pub mod stream;
pub mod synthetic;
pub(in crate::wire) mod usage;

use bytes::Bytes;

pub use self::response::inspect_response;
pub use crate::wire::facts::ResponseFacts;

use super::{Dialect, Synthetic, Tap};
use crate::error::ProxyError;
use crate::types::{Call, Directives, Endpoint, PicoUsd, StreamRequest, Tokens};
use crate::wire::facts::{EventKind, NotADialect, StreamFacts, UsageReport};
use crate::wire::framing::sse::SseEvent;

/// The codec, as the registry holds it.
#[derive(Clone, Copy, Debug)]
pub struct OpenaiChat;

impl Dialect for OpenaiChat {
    fn decode(
        &self,
        endpoint: Endpoint,
        body: Bytes,
        directives: Directives,
    ) -> Result<Call, ProxyError> {
        decode::decode(endpoint, body, directives)
    }

    fn encode_request(&self, call: &Call, upstream_model: &str, add_include_usage: bool) -> Bytes {
        encode::request(call, upstream_model, add_include_usage)
    }

    fn inspect_response(
        &self,
        endpoint: Endpoint,
        body: &Bytes,
    ) -> Result<ResponseFacts, NotADialect> {
        inspect_response(endpoint, body)
    }

    fn insert_cost(&self, body: Bytes, facts: &ResponseFacts, cost: PicoUsd) -> Bytes {
        response::insert_cost(body, facts, cost)
    }

    fn tap(&self) -> Box<dyn Tap> {
        Box::new(stream::StreamTap::new())
    }

    fn encode_error(&self, error: &ProxyError) -> Bytes {
        errors::encode_error(error)
    }

    fn error_event(&self, error: &ProxyError) -> Bytes {
        stream::error_event(error)
    }

    fn event_with_cost(&self, event: &SseEvent, report: &UsageReport, cost: PicoUsd) -> Bytes {
        stream::event_with_cost(event, report, cost)
    }

    fn usage_event(
        &self,
        endpoint: Endpoint,
        facts: &StreamFacts,
        tokens: &Tokens,
        cost: PicoUsd,
    ) -> Bytes {
        stream::usage_event(endpoint, facts, tokens, cost)
    }

    fn done_event(&self) -> Bytes {
        stream::done_event()
    }

    fn whole_to_stream(&self, whole: &Bytes, include_usage: bool) -> Option<Bytes> {
        convert::whole_to_stream(whole, include_usage)
    }

    fn stream_to_whole(&self, events: &Bytes) -> Option<Bytes> {
        convert::stream_to_whole(events)
    }

    fn synthetic(&self, answer: &Synthetic<'_>, stream: &StreamRequest) -> Bytes {
        if stream.wanted {
            answer.stream(stream.include_usage)
        } else {
            answer.whole()
        }
    }
}

impl Tap for stream::StreamTap {
    fn see(&mut self, event: &SseEvent) -> EventKind {
        Self::see(self, event)
    }

    fn facts(&self) -> &StreamFacts {
        Self::facts(self)
    }
}

#[cfg(test)]
mod tests;
