//! The dialects: what the bytes mean. One directory each, reading and writing both sides, so that N
//! dialects need N codecs and not N × M converters.

pub mod anthropic_messages;
pub mod bedrock_converse;
mod client_body;
pub mod gemini_generate;
pub mod openai_chat;
pub mod openai_responses;
mod wishes;

#[cfg(test)]
mod cross_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod properties;

use bytes::Bytes;

use super::facts::{EventKind, NotADialect, ResponseFacts, StreamFacts, UsageReport};
use super::framing::sse::SseEvent;
use crate::error::ProxyError;
use crate::types::{Call, Directives, Endpoint, PicoUsd, StreamRequest, Tokens};

/// What every dialect can do. Stateless; the state of one stream is in its [`Tap`].
pub trait Dialect: Send + Sync {
    /// A client's body to a call. The call keeps the body.
    ///
    /// # Errors
    /// `InvalidRequest` naming the member at fault.
    fn decode(
        &self,
        endpoint: Endpoint,
        body: Bytes,
        directives: Directives,
    ) -> Result<Call, ProxyError>;

    /// A call of the same dialect as the body for an upstream that knows the model as
    /// `upstream_model`. With `add_include_usage` a stream's usage is asked for.
    fn encode_request(&self, call: &Call, upstream_model: &str, add_include_usage: bool) -> Bytes;

    /// What a whole answer says.
    ///
    /// # Errors
    /// When the body is neither an answer nor an error of the dialect.
    fn inspect_response(
        &self,
        endpoint: Endpoint,
        body: &Bytes,
    ) -> Result<ResponseFacts, NotADialect>;

    /// A whole answer with its cost in its usage object.
    fn insert_cost(&self, body: Bytes, facts: &ResponseFacts, cost: PicoUsd) -> Bytes;

    /// A look at one stream, event by event.
    fn tap(&self) -> Box<dyn Tap>;

    /// An error as a body.
    fn encode_error(&self, error: &ProxyError) -> Bytes;

    /// An error as the last event of a stream.
    fn error_event(&self, error: &ProxyError) -> Bytes;

    /// A usage event with its cost written into it.
    fn event_with_cost(&self, event: &SseEvent, report: &UsageReport, cost: PicoUsd) -> Bytes;

    /// A usage event of our own, for an upstream that sends none though the client asked.
    fn usage_event(
        &self,
        endpoint: Endpoint,
        facts: &StreamFacts,
        tokens: &Tokens,
        cost: PicoUsd,
    ) -> Bytes;

    /// The end marker, for an upstream that sends none.
    fn done_event(&self) -> Bytes;

    /// A whole answer as the events of a stream; `None` when it is none.
    fn whole_to_stream(&self, whole: &Bytes, include_usage: bool) -> Option<Bytes>;

    /// A stream's events as a whole answer; `None` when they are incomplete.
    fn stream_to_whole(&self, events: &Bytes) -> Option<Bytes>;

    /// An answer that no model gave, whole or streamed as asked.
    fn synthetic(&self, answer: &Synthetic<'_>, stream: &StreamRequest) -> Bytes;
}

/// What an answer of our own consists of.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic<'a> {
    /// Chat or legacy completions; embeddings cannot be made up.
    pub endpoint: Endpoint,
    /// Its id; the request's id serves.
    pub id: &'a str,
    /// Now, seconds since the Unix epoch.
    pub created: u64,
    /// What `model` says: what answered, such as `template`.
    pub model: &'a str,
    /// The text.
    pub text: &'a str,
}

/// Looks at the events of one stream, in order.
pub trait Tap: Send {
    /// What the next event is.
    fn see(&mut self, event: &SseEvent) -> EventKind;

    /// What the stream has said so far.
    fn facts(&self) -> &StreamFacts;
}
