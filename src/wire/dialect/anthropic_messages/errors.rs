//! Errors as Anthropic and the clouds that serve its models write them.

use bytes::Bytes;

use crate::error::{ErrorKind, ProxyError};
use crate::types::chat::event::StreamFault;
use crate::wire::facts::ErrorReport;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::JsonOut;

/// What of an upstream's message is kept.
const MAX_MESSAGE_BYTES: usize = 1024;

/// Reads Anthropic's envelope (`{"type":"error","error":{"type","message"}}`), Google's
/// (`{"error":{"code","message","status"}}`, also as the only element of an array) and Amazon's
/// (`{"message"}`).
pub(super) fn read(body: &str) -> Option<ErrorReport> {
    let raw = Raw::parse(body).ok()?;
    let raw = match raw.array() {
        Some(elements) => elements.into_iter().next()?,
        None => raw,
    };
    report(&mut raw.object()?)
}

/// The error of a body or an event.
pub(super) fn report(body: &mut Object<'_>) -> Option<ErrorReport> {
    if let Some(mut error) = body.take_if("error", Raw::object) {
        let is_named = body.take_string("type").as_deref() == Some("error");
        let message = error.take_string("message");
        let error_type = error.take_string("type");
        let enveloped = is_named && message.is_some() && error_type.is_some();
        let status = error.take_string("status");
        return Some(ErrorReport {
            message: cut(message.unwrap_or_default()),
            error_type: error_type.or(status),
            code: error.take("code").map(plain),
            param: None,
            enveloped,
        });
    }
    let message = body
        .take_string("message")
        .or_else(|| body.take_string("Message"))
        .or_else(|| body.take_string("error"))?;
    Some(ErrorReport {
        message: cut(message),
        error_type: body.take_string("__type"),
        ..ErrorReport::default()
    })
}

impl From<ErrorReport> for StreamFault {
    fn from(report: ErrorReport) -> Self {
        Self {
            message: report.message,
            error_type: report.error_type,
            code: report.code,
        }
    }
}

/// Anthropic's `type` for an error that another dialect calls `word`.
pub(super) fn word(word: Option<&str>) -> &'static str {
    const WORDS: &[&str] = &[
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "timeout_error",
        "overloaded_error",
        "api_error",
    ];
    let Some(word) = word else {
        return "api_error";
    };
    if let Some(same) = WORDS.iter().find(|known| **known == word) {
        return same;
    }
    let word = word.to_ascii_lowercase();
    let says = |part: &str| word.contains(part);
    if says("rate_limit") || says("throttl") || says("exhausted") || says("quota") {
        "rate_limit_error"
    } else if says("overload") || says("unavailable") {
        "overloaded_error"
    } else if says("timeout") || says("deadline") {
        "timeout_error"
    } else if says("invalid") || says("validation") {
        "invalid_request_error"
    } else {
        "api_error"
    }
}

fn plain(raw: Raw<'_>) -> String {
    raw.string().unwrap_or_else(|| raw.get().to_owned())
}

fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
    message
}

/// `{"type":"error","error":{"type","message"}}`, or the upstream's own object where the error hands
/// one on. Beside Anthropic's two members stand `code` and `param`, which name it exactly.
pub(super) fn encode(error: &ProxyError) -> Bytes {
    if let Some(refusal) = &error.upstream {
        return refusal.body.clone();
    }
    let row = error.presentation();
    JsonOut::document(256, |it| {
        it.string("type", "error");
        it.object("error", |it| {
            it.string("type", type_of(error));
            it.string("message", &error.message);
            it.string("code", row.code);
            it.maybe_string("param", error.param.as_deref());
        });
    })
}

/// Anthropic's `type` for an error of ours; it goes with the status.
fn type_of(error: &ProxyError) -> &'static str {
    match error.presentation().status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 if error.kind == ErrorKind::Overloaded => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}
