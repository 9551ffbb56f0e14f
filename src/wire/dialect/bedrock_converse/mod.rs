//! Amazon Bedrock's Converse API, `Converse` and `ConverseStream`.
//!
//! Reads and writes requests, answers, streams and errors by way of the neutral form. One API for the
//! models of many makers: what only some of them take goes into `additionalModelRequestFields` by the
//! maker's own documentation. What is emulated or refused stands in `docs/dialects.md`.

mod answer_read;
mod answer_write;
mod blocks_read;
mod blocks_write;
mod citations;
mod conversation;
mod errors;
mod family;
mod finish;
mod formats;
mod refusals;
mod request_read;
mod request_write;
mod settings;
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
    Asked, Framing, Host, StreamReader, StreamWriter, Target, Translate, UpstreamPath,
};

/// Its name in `routes.yaml`.
const NAME: &str = "bedrock_converse";

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct BedrockConverse;

impl Translate for BedrockConverse {
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
        refusals::check(request)?;
        crate::wire::foreign::leave_out(request, NAME, &[], notes)?;
        request_write::write(request, target, notes)
    }

    /// `model/{id}/converse`. Ids are ARNs as well, so every character that a path segment reserves is
    /// encoded.
    fn path(&self, target: &Target<'_>) -> UpstreamPath {
        let method = if target.stream {
            "converse-stream"
        } else {
            "converse"
        };
        let model = percent_encoded(target.upstream_model);
        UpstreamPath {
            path: format!("model/{model}/{method}").into(),
            query: None,
        }
    }

    fn framing(&self, _host: Host) -> Framing {
        Framing::AwsEventstream
    }

    fn read_answer(&self, body: &str) -> Result<ChatAnswer, NotADialect> {
        answer_read::read(body)
    }

    fn write_answer(&self, answer: &ChatAnswer, _asked: &Asked<'_>) -> Bytes {
        answer_write::write(answer)
    }

    fn reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream_read::Reader::default())
    }

    fn writer(&self, _asked: &Asked<'_>) -> Box<dyn StreamWriter> {
        Box::new(stream_write::Writer::default())
    }

    fn read_error(&self, body: &str) -> Option<ErrorReport> {
        errors::read(body)
    }
}

/// All but the unreserved characters of RFC 3986 as `%XX`.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
