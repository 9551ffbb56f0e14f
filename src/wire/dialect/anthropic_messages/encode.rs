//! A [`Call`] back to bytes for an upstream of the same dialect: the client's own bytes with only
//! `model` replaced, as long as every seal in them is Anthropic's own.

use bytes::Bytes;
use memchr::memmem;

use super::{request_read, request_write};
use crate::types::Call;
use crate::types::chat::Notes;
use crate::wire::json_text;
use crate::wire::splice::Splices;
use crate::wire::translate::{Host, Target};

/// What stands in a body that holds thoughts of another provider (an enveloped seal, or none where
/// Anthropic always writes one), which Anthropic refuses.
const FOREIGN: [&[u8]; 3] = [
    b"\"tollgate:",
    b"\"signature\":\"\"",
    b"\"signature\": \"\"",
];

/// The body for an upstream that knows the model as `upstream_model`.
pub(super) fn request(call: &Call, upstream_model: &str) -> Bytes {
    if FOREIGN
        .iter()
        .any(|mark| memmem::find(&call.body, mark).is_some())
        && let Some(body) = without_foreign_thoughts(call, upstream_model)
    {
        return body;
    }
    let mut splices = Splices::new();
    if call.model != upstream_model {
        splices.replace(call.model_value.range(), json_text::quoted(upstream_model));
    }
    splices.apply(&call.body)
}

fn without_foreign_thoughts(call: &Call, upstream_model: &str) -> Option<Bytes> {
    let body = std::str::from_utf8(&call.body).ok()?;
    let request = request_read::read(body).ok()?;
    let target = Target {
        upstream_model,
        stream: call.stream.wanted,
        // What the client left out the provider names.
        max_output_tokens: call.max_output_tokens.unwrap_or_default(),
        ask_stream_usage: false,
        host: Host::Native,
    };
    request_write::write(&request, &target, &mut Notes::default()).ok()
}
