//! Chat Completions and the neutral form: requests, answers and streams in both directions.
//!
//! Used only where client and upstream speak different dialects; what passes between equals is never
//! taken apart here.

mod answer_read;
mod answer_write;
pub(in crate::wire) mod media;
mod messages_read;
mod messages_write;
pub(in crate::wire) mod reasoning;
pub(in crate::wire) mod request_read;
pub(in crate::wire) mod request_write;
mod stream_read;
mod stream_write;
pub(in crate::wire) mod turn;
pub(in crate::wire) mod usage;

pub(in crate::wire) use messages_read::{take_seal, wrong};
pub(in crate::wire) use messages_write::write_seal;

use bytes::Bytes;
use jiter::JiterError;

use super::OpenaiChat;
use crate::error::ProxyError;
use crate::types::Endpoint;
use crate::types::chat::{BlockBody, ChatAnswer, ChatRequest, Inexpressible, Notes};
use crate::wire::facts::{ErrorReport, NotADialect};
use crate::wire::json_in::Object;
use crate::wire::json_text;
use crate::wire::json_walk::is_lone_surrogate;
use crate::wire::translate::{Asked, StreamReader, StreamWriter, Target, Translate, UpstreamPath};

/// Reads the object `json`; halves of surrogate pairs, which providers cut tokens at, are mended.
pub(in crate::wire) fn with_mended<T>(
    json: &str,
    read: impl FnOnce(Object<'_>) -> T,
) -> Result<T, JiterError> {
    let error = match Object::read(json) {
        Ok(object) => return Ok(read(object)),
        Err(error) => error,
    };
    if !is_lone_surrogate(&error) {
        return Err(error);
    }
    let mended = json_text::mend_lone_surrogates(json.as_bytes());
    match mended.and_then(|mended| String::from_utf8(mended).ok()) {
        Some(mended) => Ok(read(Object::read(&mended)?)),
        None => Err(error),
    }
}

impl Translate for OpenaiChat {
    fn name(&self) -> &'static str {
        reasoning::NAME
    }

    fn read_request(&self, endpoint: Endpoint, body: &str) -> Result<ChatRequest, ProxyError> {
        let read = with_mended(body, |object| request_read::read(endpoint, object));
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
            path: Endpoint::ChatCompletions.path().into(),
            query: None,
        }
    }

    fn read_answer(&self, body: &str) -> Result<ChatAnswer, NotADialect> {
        let read = with_mended(body, answer_read::read);
        read.unwrap_or_else(|error| Err(answer_read::refuse(format!("not a JSON object: {error}"))))
    }

    fn shows(&self, block: &BlockBody) -> bool {
        match block {
            BlockBody::Image(media) => media::url_of(&media.source).is_some(),
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
        Box::new(stream_read::ChunkReader::default())
    }

    fn writer(&self, asked: &Asked<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream_write::ChunkWriter::new(asked))
    }

    fn read_error(&self, body: &str) -> Option<ErrorReport> {
        super::answer::read(body.as_bytes()).ok()?.error
    }
}

#[cfg(test)]
mod tests;
