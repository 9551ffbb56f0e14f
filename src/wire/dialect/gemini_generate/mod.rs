//! Google's Gemini API, `generateContent` and `streamGenerateContent`, as the Gemini API and Vertex AI
//! serve it.
//!
//! Reads and writes requests, answers, streams and errors by way of the neutral form. What the two
//! sides name differently and what is emulated or refused stands in `docs/dialects.md`. Its JSON is
//! protobuf's: members have two spellings (`topP`, `top_p`), and numbers may be strings.

mod answer_read;
mod answer_write;
mod call_ids;
mod errors;
mod finish;
mod generation;
mod grounding;
mod logprobs;
mod members;
mod model;
mod parts_read;
mod parts_write;
mod refusals;
mod request_read;
mod request_write;
mod schema;
mod stream_read;
mod stream_write;
mod tools;
mod usage;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::error::ProxyError;
use crate::types::Endpoint;
use crate::types::chat::{ChatAnswer, ChatRequest, Inexpressible, Notes};
use crate::wire::facts::{ErrorReport, NotADialect};
use crate::wire::translate::{
    Asked, Host, StreamReader, StreamWriter, Target, Translate, UpstreamPath,
};

/// Its name in `routes.yaml`.
pub(super) const NAME: &str = "gemini_generate";

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct GeminiGenerate;

impl Translate for GeminiGenerate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn read_request(&self, _endpoint: Endpoint, body: &str) -> Result<ChatRequest, ProxyError> {
        request_read::read(body)
    }

    fn write_request(
        &self,
        request: &ChatRequest,
        target: &Target<'_>,
        notes: &mut Notes,
    ) -> Result<Bytes, Inexpressible> {
        refusals::check(request, target)?;
        crate::wire::foreign::leave_out(request, NAME, &[], notes)?;
        Ok(request_write::write(request, target, notes))
    }

    /// `models/{model}:generateContent`. A model with a slash in its name is a path of its own, such as
    /// `tunedModels/mine` or Vertex's `endpoints/123`. Whole streams are asked for as server-sent events.
    fn path(&self, target: &Target<'_>) -> UpstreamPath {
        let model = target.upstream_model;
        let collection = if model.contains('/') { "" } else { "models/" };
        let method = if target.stream {
            "streamGenerateContent"
        } else {
            "generateContent"
        };
        UpstreamPath {
            path: format!("{collection}{model}:{method}").into(),
            query: target.stream.then_some("alt=sse"),
        }
    }

    /// Keys of the Gemini API; on Vertex a signer sets `authorization` instead.
    fn auth_header(&self) -> Option<&'static str> {
        Some("x-goog-api-key")
    }

    fn read_answer(&self, body: &str) -> Result<ChatAnswer, NotADialect> {
        answer_read::read(body)
    }

    fn write_answer(&self, answer: &ChatAnswer, asked: &Asked<'_>) -> Bytes {
        answer_write::write(answer, asked)
    }

    fn reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream_read::Reader::default())
    }

    fn writer(&self, asked: &Asked<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream_write::Writer::new(asked.id))
    }

    fn read_error(&self, body: &str) -> Option<ErrorReport> {
        errors::read(body)
    }
}

/// True where Vertex AI serves it.
const fn is_vertex(host: Host) -> bool {
    matches!(host, Host::Vertex)
}
