//! Where client and upstream speak different dialects: the request is translated on its way out, the
//! answer on its way in, so that everything behind this room sees the client's dialect only.
//!
//! Knows no dialect by name. What the target cannot say is noted, or refused before anything is sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};

use crate::config::snapshot::Provider;
use crate::error::{ErrorKind, ProxyError, UpstreamRefusal};
use crate::types::chat::{AnswerHead, BlockStart, ChatAnswer, ChatEvent, Notes};
use crate::types::{AttemptFailure, Call, Next, Outcome, RequestId};
use crate::wire::facts::NotADialect;
use crate::wire::framing::aws_eventstream::{DEFAULT_MAX_MESSAGE_BYTES, EventstreamFramer};
use crate::wire::framing::sse::{DEFAULT_MAX_EVENT_BYTES, SseEvent, SseFramer};
use crate::wire::translate::{
    Asked, Framing, Host, StreamReader, StreamWriter, Target, Translate, UpstreamPath, WireEvent,
};
use crate::wire::{self, DialectId};

use super::abroad::{self, Abroad};
use super::{EventSource, Outbound, WholeReply};

/// Client's and upstream's dialect, where they differ.
#[derive(Clone, Copy)]
pub(super) struct Translation {
    /// What the client speaks.
    client: &'static dyn Translate,
    /// What the upstream speaks.
    upstream: &'static dyn Translate,
    host: Host,
}

/// The translation between a call and a provider; `None` where bytes are forwarded.
pub(super) fn between(call: &Call, provider: &Provider) -> Option<Translation> {
    let client = wire::dialect_of(call.endpoint);
    let host = provider.host;
    if client == provider.dialect && host == Host::Native {
        return None;
    }
    Some(Translation {
        client: client.translate(),
        upstream: provider.dialect.translate(),
        host,
    })
}

/// What a request is written for.
fn target<'a>(outbound: &Outbound<'a>) -> Target<'a> {
    Target {
        upstream_model: &outbound.deployment.upstream_model,
        stream: outbound.call.stream.wanted,
        max_output_tokens: outbound
            .model
            .max_output_tokens
            .unwrap_or(UNSTATED_MAX_OUTPUT_TOKENS),
        ask_stream_usage: !outbound.provider.quirks.no_stream_options,
        host: outbound.provider.host,
    }
}

/// The cap that is asked for where a dialect demands one and neither client nor file states it: what
/// the smallest models of the dialects that demand a cap can write.
const UNSTATED_MAX_OUTPUT_TOKENS: u64 = 4096;

/// Where the provider's own dialect sends a request.
pub(super) fn path(outbound: &Outbound<'_>) -> UpstreamPath {
    outbound
        .provider
        .dialect
        .translate()
        .path(&target(outbound))
}

impl Translation {
    /// The request in the upstream's dialect, and what that could not say.
    ///
    /// # Errors
    /// When the upstream's dialect cannot express it; another model's may.
    pub fn request(&self, outbound: &Outbound<'_>) -> Result<(Bytes, Notes), AttemptFailure> {
        written(outbound, self.client, self.upstream, abroad::of(outbound))
    }

    /// Where the request goes.
    pub fn path(&self, outbound: &Outbound<'_>) -> UpstreamPath {
        self.upstream.path(&target(outbound))
    }

    /// A whole answer in the client's dialect, with the upstream's own counts.
    ///
    /// # Errors
    /// When the body is no answer of the upstream's dialect.
    pub fn whole(
        &self,
        outbound: &Outbound<'_>,
        body: &Bytes,
        now_s: u64,
    ) -> Result<WholeReply, NotADialect> {
        let call = outbound.call;
        let not_text = || NotADialect {
            reason: "it is no UTF-8 text".to_owned(),
            tokens: None,
        };
        let text = std::str::from_utf8(body).map_err(|_| not_text())?;
        let mut answer = self.upstream.read_answer(text)?;
        name(&mut answer.head, &outbound.deployment.upstream_model);
        let notes = self.left_out(&answer);
        let id = RequestId::generate();
        let body = self
            .client
            .write_answer(&answer, &asked(call, &id, now_s, self.upstream));
        let mut facts = wire::spoken(call.endpoint).inspect_response(call.endpoint, &body)?;
        if let Some(report) = &mut facts.usage {
            report.tokens = answer.usage;
        }
        Ok(WholeReply { body, facts, notes })
    }

    /// What of an answer the client's dialect cannot show.
    fn left_out(&self, answer: &ChatAnswer) -> Notes {
        let mut notes = Notes::default();
        if answer.dialect == self.client.name() {
            return notes;
        }
        for (index, choice) in answer.choices.iter().enumerate() {
            for (place, block) in choice.blocks.iter().enumerate() {
                if !self.client.shows(&block.body) {
                    notes.dropped(format!("choices[{index}].content[{place}]"));
                }
            }
        }
        notes
    }

    /// An error of the upstream for the client, in the client's dialect and the upstream's words.
    pub fn refusal(&self, call: &Call, body: &[u8]) -> Option<Bytes> {
        let report = self.upstream.read_error(std::str::from_utf8(body).ok()?)?;
        let mut error = ProxyError::new(ErrorKind::InvalidRequest, report.message);
        error.param = report.param;
        Some(wire::spoken(call.endpoint).encode_error(&error))
    }

    /// A stream as the client's dialect has it.
    pub fn stream(&self, outbound: &Outbound<'_>, source: EventSource, now_s: u64) -> EventSource {
        let call = outbound.call;
        let id = RequestId::generate();
        EventSource::Translated(Box::new(Translated {
            source,
            framer: UpstreamFramer::new(self.upstream.framing(self.host)),
            reader: self.upstream.reader(),
            model: outbound.deployment.upstream_model.clone(),
            writer: self.client.writer(&asked(call, &id, now_s, self.upstream)),
            pair: *self,
            events: Vec::new(),
            out: BytesMut::new(),
            is_over: false,
        }))
    }
}

/// A request in the client's own dialect, without what is other providers' work.
///
/// # Errors
/// As for any translation.
pub(super) fn settled(
    outbound: &Outbound<'_>,
    abroad: Abroad,
) -> Result<(Bytes, Notes), AttemptFailure> {
    let dialect = wire::dialect_of(outbound.call.endpoint).translate();
    written(outbound, dialect, dialect, Some(abroad))
}

fn written(
    outbound: &Outbound<'_>,
    client: &dyn Translate,
    upstream: &dyn Translate,
    abroad: Option<Abroad>,
) -> Result<(Bytes, Notes), AttemptFailure> {
    let call = outbound.call;
    let body = std::str::from_utf8(&call.body).unwrap_or_default();
    let mut neutral = client
        .read_request(call.endpoint, body)
        .map_err(|error| refused_here(call, error))?;
    let mut notes = Notes::default();
    if let Some(abroad) = abroad {
        abroad.settle(&mut neutral, outbound, &mut notes);
    }
    let body = upstream
        .write_request(&neutral, &target(outbound), &mut notes)
        .map_err(|inexpressible| {
            let mut error = ProxyError::new(ErrorKind::InvalidRequest, inexpressible.to_string());
            error.param = Some(inexpressible.field.into_owned());
            refused_here(call, error)
        })?;
    for note in notes.iter() {
        tracing::debug!(
            provider = outbound.provider.id.as_str(),
            model = outbound.model.id.as_str(),
            field = &*note.field,
            what = note.what,
            "translated"
        );
    }
    Ok((body, notes))
}

/// A request that this upstream cannot be asked: nothing is sent, and another model may do.
fn refused_here(call: &Call, error: ProxyError) -> AttemptFailure {
    let refusal = UpstreamRefusal {
        status: error.presentation().status,
        body: wire::spoken(call.endpoint).encode_error(&error),
    };
    AttemptFailure {
        refusal: Some(refusal),
        ..AttemptFailure::unsent(Outcome::Invalid, Next::Fallback, error.message)
    }
}

/// Which dialect an upstream's error body is of.
pub(super) fn spoken_by(outbound: &Outbound<'_>) -> &'static dyn Translate {
    DialectId::translate(outbound.provider.dialect)
}

/// Says what was asked where the upstream does not say what answered (Bedrock's Converse).
fn name(head: &mut AnswerHead, upstream_model: &str) {
    if head.model.is_empty() {
        upstream_model.clone_into(&mut head.model);
    }
}

fn asked<'a>(call: &'a Call, id: &'a RequestId, now_s: u64, from: &dyn Translate) -> Asked<'a> {
    Asked {
        from: from.name(),
        endpoint: call.endpoint,
        body: &call.body,
        include_usage: true,
        id: id.as_str(),
        created: now_s,
    }
}

/// An upstream's stream that comes out in the client's dialect.
pub struct Translated {
    source: EventSource,
    framer: UpstreamFramer,
    reader: Box<dyn StreamReader>,
    /// What was asked, for upstreams that do not say what answers.
    model: String,
    writer: Box<dyn StreamWriter>,
    pair: Translation,
    /// Kept for its room.
    events: Vec<ChatEvent>,
    out: BytesMut,
    is_over: bool,
}

impl std::fmt::Debug for Translated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Translated")
            .field("source", &self.source)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

/// Cuts events out of an upstream's bytes.
enum UpstreamFramer {
    Sse(SseFramer),
    AwsEventstream(EventstreamFramer),
}

impl UpstreamFramer {
    fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::Sse(SseFramer::new(DEFAULT_MAX_EVENT_BYTES)),
            Framing::AwsEventstream => {
                Self::AwsEventstream(EventstreamFramer::new(DEFAULT_MAX_MESSAGE_BYTES))
            }
        }
    }

    /// True unless the bytes cannot be framed.
    fn push(&mut self, chunk: Bytes) -> bool {
        match self {
            Self::Sse(framer) => framer.push(chunk).is_ok(),
            Self::AwsEventstream(framer) => framer.push(chunk).is_ok(),
        }
    }

    /// Hands the next event to `read`; false when there is none.
    fn next(&mut self, read: impl FnOnce(WireEvent<'_>)) -> bool {
        match self {
            Self::Sse(framer) => framer.next_event().is_some_and(|event| {
                read_sse(&event, read);
                true
            }),
            Self::AwsEventstream(framer) => framer.next_event().is_some_and(|message| {
                let (name, data) = (message.name(), message.data());
                read(WireEvent { name, data: &data });
                true
            }),
        }
    }

    /// Hands on what was left without its end, where the framing tolerates that.
    fn finish(&mut self, read: impl FnOnce(WireEvent<'_>)) {
        if let Self::Sse(framer) = self
            && let Some(event) = framer.finish()
        {
            read_sse(&event, read);
        }
    }
}

fn read_sse(event: &SseEvent, read: impl FnOnce(WireEvent<'_>)) {
    if let Some(data) = event.data() {
        let name = event.name().and_then(|name| std::str::from_utf8(name).ok());
        read(WireEvent { name, data: &data });
    }
}

/// The headers of a stream are gone when a block comes that the client cannot be shown, so a comment of
/// the stream says that it is left out: clients pass over comments.
fn say_left_out(pair: Translation, event: &ChatEvent, out: &mut BytesMut) {
    let ChatEvent::BlockStart {
        choice,
        block,
        start: BlockStart::Whole(whole),
    } = event
    else {
        return;
    };
    if pair.client.name() == pair.upstream.name() || pair.client.shows(&whole.body) {
        return;
    }
    let comment = format!(": choices[{choice}].content[{block}]: dropped\n\n");
    out.extend_from_slice(comment.as_bytes());
}

impl Translated {
    /// Translates the events that are there.
    fn translate(&mut self) {
        let (reader, events) = (&mut self.reader, &mut self.events);
        while self.framer.next(|event| take(&mut **reader, events, event)) {
            for mut event in events.drain(..) {
                if let ChatEvent::Start(head) = &mut event {
                    name(head, &self.model);
                }
                say_left_out(self.pair, &event, &mut self.out);
                self.writer.write(&event, &mut self.out);
            }
        }
    }

    fn end(&mut self) {
        let (reader, events) = (&mut self.reader, &mut self.events);
        self.framer
            .finish(|event| take(&mut **reader, events, event));
        reader.finish(events);
        for event in events.drain(..) {
            say_left_out(self.pair, &event, &mut self.out);
            self.writer.write(&event, &mut self.out);
        }
        self.is_over = true;
    }

    /// The stream in the client's dialect, chunk by chunk.
    pub(super) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            if !self.out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(self.out.split().freeze()))));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            match std::task::ready!(Pin::new(&mut self.source).poll_frame(context)) {
                Some(Ok(frame)) => {
                    let Ok(chunk) = frame.into_data() else {
                        continue;
                    };
                    // What cannot be framed is as good as torn: whoever reads on sees no end.
                    self.is_over = !self.framer.push(chunk);
                    self.translate();
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.end(),
            }
        }
    }
}

/// Reads one event. What is not of the dialect is left out: the rest may be read all the same.
fn take(reader: &mut dyn StreamReader, events: &mut Vec<ChatEvent>, event: WireEvent<'_>) {
    if let Err(error) = reader.read(event, events) {
        tracing::debug!(reason = error.reason, "an event is not of its dialect");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::chat::{Block, BlockBody, Choice, RawJson};

    fn pair() -> Translation {
        Translation {
            client: DialectId::OpenaiChat.translate(),
            upstream: DialectId::GeminiGenerate.translate(),
            host: Host::Native,
        }
    }

    fn code() -> Block {
        BlockBody::Native(RawJson::new(r#"{"executableCode":{}}"#)).into()
    }

    #[test]
    fn what_a_client_cannot_be_shown_is_said() {
        let mut answer = ChatAnswer {
            dialect: "gemini_generate",
            choices: vec![Choice {
                blocks: vec![Block::text("x"), code()],
                ..Choice::default()
            }],
            ..ChatAnswer::default()
        };
        let notes = pair().left_out(&answer);
        let named: Vec<&str> = notes.iter().map(|note| &*note.field).collect();
        assert_eq!(named, ["choices[0].content[1]"]);
        answer.dialect = "openai_chat";
        assert!(pair().left_out(&answer).is_empty(), "its own");
    }

    #[test]
    fn a_stream_says_it_in_a_comment() {
        let start = |block: Block| ChatEvent::BlockStart {
            choice: 0,
            block: 3,
            start: BlockStart::Whole(Box::new(block)),
        };
        let mut out = BytesMut::new();
        say_left_out(pair(), &start(Block::text("x")), &mut out);
        assert!(out.is_empty());
        say_left_out(pair(), &start(code()), &mut out);
        assert_eq!(&out[..], b": choices[0].content[3]: dropped\n\n");
    }
}
