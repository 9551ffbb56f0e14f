//! OpenAI's Responses API: a request's items in, a response object or its numbered events out.
//!
//! What a client sends and reads is close to Chat Completions, so decoding, usage, errors and the order of
//! streamed turns are those of `openai_chat`. Conversations are whole when they are read or written
//! here: what is kept of responses (`store`, `previous_response_id`) is this proxy's own, and `state`
//! and `listing` say how it looks.

mod answer_read;
mod answer_write;
mod compose;
mod convert;
mod items_read;
mod items_write;
pub mod listing;
mod request_read;
mod request_write;
mod response;
pub mod state;
mod stream_read;
mod stream_write;
mod tap;

use bytes::Bytes;

use super::openai_chat::neutral::with_mended;
use super::openai_chat::{decode, errors};
use super::{Dialect, Synthetic, Tap};
use crate::error::ProxyError;
use crate::types::chat::{
    AnswerHead, Block, BlockBody, ChatAnswer, ChatRequest, Choice, FinishReason, Inexpressible,
    Notes, Source,
};
use crate::types::{Call, Directives, Endpoint, PicoUsd, StreamRequest, Tokens};
use crate::wire::facts::{ErrorReport, NotADialect, ResponseFacts, StreamFacts, UsageReport};
use crate::wire::framing::sse::SseEvent;
use crate::wire::translate::{Asked, StreamReader, StreamWriter, Target, Translate, UpstreamPath};

/// The name in `routes.yaml`.
const NAME: &str = "openai_responses";

/// The codec, as the registry holds it.
#[derive(Clone, Copy, Debug)]
pub struct OpenaiResponses;

impl Dialect for OpenaiResponses {
    fn decode(
        &self,
        endpoint: Endpoint,
        body: Bytes,
        directives: Directives,
    ) -> Result<Call, ProxyError> {
        decode::decode(endpoint, body, directives)
    }

    /// The last event of every stream has the usage: nothing has to be asked for.
    fn encode_request(&self, call: &Call, upstream_model: &str, _: bool) -> Bytes {
        state::for_upstream(call, upstream_model)
    }

    fn inspect_response(&self, _: Endpoint, body: &Bytes) -> Result<ResponseFacts, NotADialect> {
        response::inspect(body)
    }

    fn insert_cost(&self, body: Bytes, facts: &ResponseFacts, cost: PicoUsd) -> Bytes {
        super::openai_chat::response::insert_cost(body, facts, cost)
    }

    fn tap(&self) -> Box<dyn Tap> {
        Box::new(tap::ResponsesTap::default())
    }

    fn encode_error(&self, error: &ProxyError) -> Bytes {
        errors::encode_error(error)
    }

    fn error_event(&self, error: &ProxyError) -> Bytes {
        tap::error_event(error)
    }

    fn event_with_cost(&self, event: &SseEvent, report: &UsageReport, cost: PicoUsd) -> Bytes {
        tap::event_with_cost(event, report, cost)
    }

    /// None: usage has no event of its own here.
    fn usage_event(&self, _: Endpoint, _: &StreamFacts, _: &Tokens, _: PicoUsd) -> Bytes {
        Bytes::new()
    }

    /// None: the last event of the response is the end.
    fn done_event(&self) -> Bytes {
        Bytes::new()
    }

    fn whole_to_stream(&self, whole: &Bytes, _: bool) -> Option<Bytes> {
        convert::whole_to_stream(whole)
    }

    fn stream_to_whole(&self, events: &Bytes) -> Option<Bytes> {
        convert::stream_to_whole(events)
    }

    fn synthetic(&self, answer: &Synthetic<'_>, stream: &StreamRequest) -> Bytes {
        let body = Bytes::new();
        let asked = Asked {
            endpoint: Endpoint::Responses,
            body: &body,
            include_usage: true,
            id: answer.id,
            created: answer.created,
            from: "",
        };
        let whole = self.write_answer(&synthetic(answer), &asked);
        if stream.wanted {
            // What we have just written is an answer.
            return convert::whole_to_stream(&whole).unwrap_or_default();
        }
        whole
    }
}

fn synthetic(answer: &Synthetic<'_>) -> ChatAnswer {
    let choice = Choice {
        blocks: vec![Block::text(answer.text)],
        finish: FinishReason::Stop.into(),
        ..Choice::default()
    };
    ChatAnswer {
        dialect: "",
        head: AnswerHead {
            model: answer.model.to_owned(),
            ..AnswerHead::default()
        },
        choices: vec![choice],
        usage: Some(Tokens::default()),
        ..ChatAnswer::default()
    }
}

impl Translate for OpenaiResponses {
    fn name(&self) -> &'static str {
        NAME
    }

    fn read_request(&self, _: Endpoint, body: &str) -> Result<ChatRequest, ProxyError> {
        let read = with_mended(body, request_read::read);
        read.unwrap_or_else(|error| {
            let message = format!("the body is not valid JSON: {error}");
            Err(ProxyError::invalid("", message))
        })
    }

    fn write_request(
        &self,
        request: &ChatRequest,
        target: &Target<'_>,
        notes: &mut Notes,
    ) -> Result<Bytes, Inexpressible> {
        request_write::write(request, target, notes)
    }

    fn path(&self, _: &Target<'_>) -> UpstreamPath {
        UpstreamPath {
            path: Endpoint::Responses.path().into(),
            query: None,
        }
    }

    fn read_answer(&self, body: &str) -> Result<ChatAnswer, NotADialect> {
        let read = with_mended(body, answer_read::read);
        read.unwrap_or_else(|error| Err(answer_read::refuse(format!("not a JSON object: {error}"))))
    }

    fn shows(&self, block: &BlockBody) -> bool {
        match block {
            BlockBody::Image(media) => matches!(media.source, Source::Base64 { .. }),
            body => !matches!(
                body,
                BlockBody::Native(_) | BlockBody::Audio(_) | BlockBody::File(_)
            ),
        }
    }

    fn write_answer(&self, answer: &ChatAnswer, asked: &Asked<'_>) -> Bytes {
        answer_write::write(answer, asked)
    }

    fn reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream_read::EventReader::default())
    }

    fn writer(&self, asked: &Asked<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream_write::EventWriter::new(asked))
    }

    fn read_error(&self, body: &str) -> Option<ErrorReport> {
        response::read_error(body)
    }
}

#[cfg(test)]
mod tests;
