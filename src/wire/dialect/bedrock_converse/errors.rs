//! AWS's errors: `{"message": …}`, with the type in the header `x-amzn-errortype`, and in streams as
//! messages of their own.

use crate::types::chat::event::StreamFault;
use crate::wire::facts::ErrorReport;
use crate::wire::json_in::Raw;

/// Most of a message that is kept.
const MAX_MESSAGE_BYTES: usize = 1024;

/// Reads an error body; `None` when it is none. Some services of AWS name the type in the body.
pub(super) fn read(body: &str) -> Option<ErrorReport> {
    let mut error = Raw::parse(body).ok()?.object()?;
    let message = error
        .take_string("message")
        .or_else(|| error.take_string("Message"));
    let error_type = error.take_string("__type");
    if message.is_none() && error_type.is_none() {
        return None;
    }
    Some(ErrorReport {
        message: cut(message.unwrap_or_default()),
        // `namespace#Type` and `Type:address` are the older forms.
        error_type: error_type.as_deref().map(plain_type),
        enveloped: error.rest().is_empty(),
        ..ErrorReport::default()
    })
}

fn plain_type(text: &str) -> String {
    let text = text.rsplit('#').next().unwrap_or(text);
    text.split(':').next().unwrap_or(text).to_owned()
}

/// The error that a message of this name and payload is.
pub(super) fn fault(name: &str, payload: &str) -> StreamFault {
    let message = read(payload).map(|report| report.message);
    StreamFault {
        message: message.unwrap_or_else(|| name.to_owned()),
        error_type: Some(name.to_owned()),
        code: None,
    }
}

fn cut(mut message: String) -> String {
    let most = MAX_MESSAGE_BYTES.min(message.len());
    let end = (0..=most).rev().find(|at| message.is_char_boundary(*at));
    message.truncate(end.unwrap_or(0));
    message
}
