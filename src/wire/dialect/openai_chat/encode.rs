//! A [`Call`] back to bytes for an upstream of the same dialect: the client's own bytes with only
//! `model` replaced and, when asked for, the usage report requested.

use bytes::Bytes;

use crate::types::{Call, Span};
use crate::wire::json_text;
use crate::wire::splice::Splices;

/// The body for an upstream that knows the model as `upstream_model`. With `add_include_usage`,
/// `stream_options.include_usage` is true in it. Every other byte is the client's.
///
/// Returns the client's body itself when nothing has to change.
#[must_use]
pub fn request(call: &Call, upstream_model: &str, add_include_usage: bool) -> Bytes {
    let mut splices = Splices::new();
    if call.model != upstream_model {
        splices.replace(call.model_value.range(), json_text::quoted(upstream_model));
    }
    if add_include_usage && !call.stream.include_usage {
        ask_for_usage(call, &mut splices);
    }
    splices.apply(&call.body)
}

fn ask_for_usage(call: &Call, splices: &mut Splices) {
    if let Some(value) = call.stream.include_usage_value {
        splices.replace(value.range(), b"true".as_slice());
        return;
    }
    let Some(options) = call.stream.options else {
        // After the last member; there is one, since `model` is required.
        let end = call
            .fields
            .last()
            .map_or(0, |field| field.value.range().end);
        splices.replace(
            end..end,
            br#","stream_options":{"include_usage":true}"#.as_slice(),
        );
        return;
    };
    match first_inside(call, options) {
        // `stream_options` was null.
        None => splices.replace(options.range(), br#"{"include_usage":true}"#.as_slice()),
        Some((at, b'}')) => splices.replace(at..at, br#""include_usage":true"#.as_slice()),
        Some((at, _)) => splices.replace(at..at, br#""include_usage":true,"#.as_slice()),
    }
}

/// Where an object's inside begins and the first byte there that is not white space; `None` for
/// what is no object.
fn first_inside(call: &Call, object: Span) -> Option<(usize, u8)> {
    let inside = call.raw(object).strip_prefix(b"{")?;
    let first = inside.iter().find(|byte| !byte.is_ascii_whitespace())?;
    Some((object.range().start + 1, *first))
}
