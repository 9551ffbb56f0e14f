//! Errors as OpenAI writes them.

use bytes::Bytes;
use serde::Serialize;

use crate::error::ProxyError;

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

/// All four members are always there; SDKs read them without asking.
#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    error_type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

/// `{"error":{"message","type","param","code"}}`, or the upstream's own object where the error
/// hands one on.
#[must_use]
pub fn encode_error(error: &ProxyError) -> Bytes {
    if let Some(refusal) = &error.upstream {
        return refusal.body.clone();
    }
    let presentation = error.presentation();
    let envelope = Envelope {
        error: Body {
            message: &error.message,
            error_type: presentation.error_type,
            param: error.param.as_deref(),
            code: presentation.code,
        },
    };
    // Text and constants: serialising them cannot fail.
    Bytes::from(serde_json::to_vec(&envelope).unwrap_or_default())
}
