//! Between dialects: each reads into the neutral form ([`crate::types::chat`]) and writes from it.
//!
//! Used where client and upstream speak different dialects. Requests and whole answers are translated
//! in one step, streams event by event. Nothing is left out silently: what the target cannot say is
//! emulated, noted in [`Notes`], or refused with the member's name ([`Inexpressible`]), by the table in
//! `docs/dialects.md`.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::facts::{ErrorReport, NotADialect};
use crate::error::ProxyError;
use crate::types::Endpoint;
use crate::types::chat::{BlockBody, ChatAnswer, ChatEvent, ChatRequest, Inexpressible, Notes};

/// What a dialect can do for others. Stateless; the state of one stream is in its reader and writer.
pub trait Translate: Send + Sync {
    /// Its name in `routes.yaml`.
    fn name(&self) -> &'static str;

    /// A client's body in neutral form.
    ///
    /// # Errors
    /// `InvalidRequest` with the member at fault.
    fn read_request(&self, endpoint: Endpoint, body: &str) -> Result<ChatRequest, ProxyError>;

    /// The body for an upstream.
    ///
    /// # Errors
    /// When the dialect cannot express something that may not be left out.
    fn write_request(
        &self,
        request: &ChatRequest,
        target: &Target<'_>,
        notes: &mut Notes,
    ) -> Result<Bytes, Inexpressible>;

    /// Where below the provider's base address the request goes.
    fn path(&self, target: &Target<'_>) -> UpstreamPath;

    /// Headers that every request to such a host carries unless the file sets them.
    fn headers(&self, host: Host) -> &'static [(&'static str, &'static str)] {
        let _ = host;
        &[]
    }

    /// The header that carries a key unless the file names one; `None`: `authorization: Bearer`.
    fn auth_header(&self) -> Option<&'static str> {
        None
    }

    /// How the events of a stream are cut out of the host's bytes.
    fn framing(&self, host: Host) -> Framing {
        let _ = host;
        Framing::Sse
    }

    /// An upstream's whole answer in neutral form.
    ///
    /// # Errors
    /// When the body is no answer of the dialect (errors are no answers).
    fn read_answer(&self, body: &str) -> Result<ChatAnswer, NotADialect>;

    /// True for what a client of this dialect can be shown of an answer of another. What it cannot be
    /// shown is left out by the writers, and whoever calls them says so.
    fn shows(&self, block: &BlockBody) -> bool {
        !matches!(block, BlockBody::Native(_))
    }

    /// A whole answer for a client.
    fn write_answer(&self, answer: &ChatAnswer, asked: &Asked<'_>) -> Bytes;

    /// What reads one stream of an upstream.
    fn reader(&self) -> Box<dyn StreamReader>;

    /// What writes one stream for a client.
    fn writer(&self, asked: &Asked<'_>) -> Box<dyn StreamWriter>;

    /// An upstream's error body; `None` when it is none of the dialect's form.
    fn read_error(&self, body: &str) -> Option<ErrorReport>;
}

/// What an upstream's request is written for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The model by the upstream's name.
    pub upstream_model: &'a str,
    /// As a stream.
    pub stream: bool,
    /// What the model can write at most, for dialects that demand a cap.
    pub max_output_tokens: u64,
    /// A stream's usage has to be asked for (`stream_options`) and the host takes that; dialects that
    /// always report usage do not look at it.
    pub ask_stream_usage: bool,
    /// Which of the dialect's hosts it is.
    pub host: Host,
}

/// Who serves a dialect: some clouds serve another's with the model in the path and a version in the
/// body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Host {
    /// The dialect's own.
    #[default]
    Native,
    /// Google's Vertex AI: Claude by `:rawPredict`.
    Vertex,
    /// Amazon's Bedrock: Claude by `invoke`.
    Bedrock,
}

/// How events are cut out of a byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    #[default]
    Sse,
    /// Amazon's binary event stream.
    AwsEventstream,
}

/// A path below the provider's base address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamPath {
    /// Without a slash before it.
    pub path: Cow<'static, str>,
    /// A query that goes with it, such as `alt=sse`.
    pub query: Option<&'static str>,
}

/// What a client asked for, as far as the form of its answer depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Where it came in.
    pub endpoint: Endpoint,
    /// The body as the client sent it, for dialects whose answers repeat the request (Responses).
    pub body: &'a Bytes,
    /// A usage report at the stream's end. On the way from an upstream always: whoever forwards the
    /// stream takes the bill from it and withholds it from clients that did not ask.
    pub include_usage: bool,
    /// An id for answers whose upstream gives none: the request's.
    pub id: &'a str,
    /// Now, seconds since the Unix epoch, for answers whose upstream does not say when.
    pub created: u64,
    /// The dialect that the answer comes from: what is its own goes back into it as it was.
    pub from: &'static str,
}

/// One event of an upstream's stream, out of its frame.
#[derive(Clone, Copy, Debug)]
pub struct WireEvent<'a> {
    /// The event's type, where the framing has one (`event:`, `:event-type`).
    pub name: Option<&'a str>,
    /// Its data.
    pub data: &'a [u8],
}

/// Reads one stream. Events come out in the order that [`ChatEvent`] promises.
pub trait StreamReader: Send {
    /// Reads one event, which may be several of ours or none.
    ///
    /// # Errors
    /// When the data is not of the dialect; the stream may go on.
    fn read(&mut self, event: WireEvent<'_>, out: &mut Vec<ChatEvent>) -> Result<(), NotADialect>;

    /// The byte stream is over: closes what is open and, where the answer was complete (a reason to
    /// finish was seen), says [`ChatEvent::End`] if it was not said yet. Says nothing where the stream
    /// was torn.
    fn finish(&mut self, out: &mut Vec<ChatEvent>);
}

/// Writes one stream, as server-sent events, ready for the wire.
pub trait StreamWriter: Send {
    /// Writes one event, which may be several on the wire or none.
    fn write(&mut self, event: &ChatEvent, out: &mut BytesMut);
}
