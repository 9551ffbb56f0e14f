//! Google's errors: `{"error": {"code", "message", "status", "details"}}`, in streams that were asked for
//! without server-sent events also as the only element of an array.

use super::members::integer;
use crate::types::chat::event::StreamFault;
use crate::wire::facts::ErrorReport;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::JsonOut;

/// Most of a message that is kept.
const MAX_MESSAGE_BYTES: usize = 1024;

/// Reads an error body; `None` when it is none.
pub(super) fn read(body: &str) -> Option<ErrorReport> {
    let document = Raw::parse(body).ok()?;
    let first = document.array().and_then(|it| it.first().copied());
    read_object(first.unwrap_or(document))
}

/// Reads `{"error": …}`.
pub(super) fn read_object(document: Raw<'_>) -> Option<ErrorReport> {
    let mut outer = document.object()?;
    let error = outer.take("error")?;
    let Some(mut error) = error.object() else {
        // Some proxies before Google write the message alone.
        return Some(ErrorReport {
            message: cut(error.string()?),
            ..ErrorReport::default()
        });
    };
    let message = error.take_string("message").unwrap_or_default();
    let code = error.take("code").and_then(integer);
    let details = error.take("details").and_then(Raw::array);
    Some(ErrorReport {
        message: cut(message),
        error_type: error.take_string("status"),
        code: details
            .as_deref()
            .and_then(reason)
            .or_else(|| code.map(|code| code.to_string())),
        param: details.as_deref().and_then(field),
        enveloped: outer.rest().is_empty(),
    })
}

/// `google.rpc.ErrorInfo` has a constant for what happened, such as `API_KEY_INVALID`.
fn reason(details: &[Raw<'_>]) -> Option<String> {
    details
        .iter()
        .find_map(|it| it.object()?.take_string("reason"))
}

/// `google.rpc.BadRequest` names the fields at fault.
fn field(details: &[Raw<'_>]) -> Option<String> {
    details.iter().find_map(|it| {
        let violations = it.object()?.take("fieldViolations")?.array()?;
        violations.first()?.object()?.take_string("field")
    })
}

fn cut(mut message: String) -> String {
    let end = (0..=MAX_MESSAGE_BYTES.min(message.len()))
        .rev()
        .find(|at| message.is_char_boundary(*at));
    message.truncate(end.unwrap_or(0));
    message
}

/// An error in the middle of a stream, as an error body.
pub(super) fn write(fault: &StreamFault) -> JsonOut {
    let mut json = JsonOut::default();
    json.object(|it| {
        it.object("error", |it| {
            let code = fault.code.as_deref().and_then(|it| it.parse::<u16>().ok());
            it.integer("code", code.unwrap_or(500));
            it.string("message", &fault.message);
            let status = fault.error_type.as_deref().unwrap_or("INTERNAL");
            it.string("status", status);
        });
    });
    json
}

/// The error of a document that may be one.
pub(super) fn fault(object: &Object<'_>, document: Raw<'_>) -> Option<StreamFault> {
    object.get("error")?;
    let report = read_object(document)?;
    Some(StreamFault {
        message: report.message,
        error_type: report.error_type,
        code: report.code,
    })
}
