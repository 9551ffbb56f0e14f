//! Anthropic's Messages API, both ways, on Anthropic's own host and where Vertex AI and Bedrock serve
//! Claude.
//!
//! `client` is the dialect as clients speak it: `decode` and `encode` are their request in and out where
//! the upstream speaks it too, `inspect` and `tap` look at what passes by.
//!
//! `request_*`, `answer_*` and `stream_*` read and write the neutral form; `blocks_*` are the content
//! blocks that all three consist of. What no other dialect has, and what is done about it, is in
//! `docs/dialects.md`.

mod answer_read;
mod answer_write;
mod blocks_read;
mod blocks_write;
mod call_ids;
mod client;
mod content;
mod conversation;
mod decode;
mod encode;
mod errors;
mod finish;
pub(super) mod generation;
pub(super) mod held;
mod inspect;
mod members;
mod request_read;
mod request_write;
pub(super) mod schema;
mod stream_read;
mod stream_write;
mod tap;
pub(super) mod thinking;
mod tools;
mod usage;

use std::borrow::Cow;

use bytes::Bytes;

use crate::error::ProxyError;
use crate::types::Endpoint;
use crate::types::chat::{ChatAnswer, ChatRequest, Inexpressible, Notes};
use crate::wire::facts::{ErrorReport, NotADialect};
use crate::wire::translate::{
    Asked, Framing, Host, StreamReader, StreamWriter, Target, Translate, UpstreamPath,
};

/// The dialect's name in `routes.yaml`.
const NAME: &str = "anthropic_messages";
/// Before the seal of a tool call that stands in a hidden block of its own: `call:ID:SEAL`.
const CALL_SEAL: &str = "call:";
/// The API's only version since 2023; it moves by beta headers.
const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// The codec, as the registry holds it.
#[derive(Clone, Copy, Debug)]
pub struct AnthropicMessages;

impl Translate for AnthropicMessages {
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
        request_write::write(request, target, notes)
    }

    /// Below `https://api.anthropic.com`; below
    /// `https://REGION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/REGION`; below
    /// `https://bedrock-runtime.REGION.amazonaws.com`.
    fn path(&self, target: &Target<'_>) -> UpstreamPath {
        let model = target.upstream_model;
        let path = match (target.host, target.stream) {
            (Host::Native, _) => Cow::Borrowed("v1/messages"),
            (Host::Vertex, stream) => {
                let method = if stream {
                    "streamRawPredict"
                } else {
                    "rawPredict"
                };
                Cow::Owned(format!("publishers/anthropic/models/{model}:{method}"))
            }
            (Host::Bedrock, stream) => {
                let method = if stream {
                    "invoke-with-response-stream"
                } else {
                    "invoke"
                };
                Cow::Owned(format!("model/{}/{method}", percent_encoded(model)))
            }
        };
        UpstreamPath { path, query: None }
    }

    fn headers(&self, host: Host) -> &'static [(&'static str, &'static str)] {
        match host {
            Host::Native => &[VERSION],
            // Their version stands in the body.
            Host::Vertex | Host::Bedrock => &[],
        }
    }

    fn auth_header(&self) -> Option<&'static str> {
        Some("x-api-key")
    }

    fn framing(&self, host: Host) -> Framing {
        match host {
            Host::Bedrock => Framing::AwsEventstream,
            Host::Native | Host::Vertex => Framing::Sse,
        }
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
        Box::new(stream_write::Writer::new(asked))
    }

    fn read_error(&self, body: &str) -> Option<ErrorReport> {
        errors::read(body)
    }
}

/// Every byte but RFC 3986's unreserved ones encoded: Bedrock's model names hold `:` and `/` (ARNs).
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// A refusal in this dialect's name.
fn refuse(field: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) -> Inexpressible {
    Inexpressible {
        field: field.into(),
        dialect: NAME,
        why: why.into(),
    }
}

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod tests;
