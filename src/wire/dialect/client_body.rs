//! A client's body, whatever dialect it is in: its size, its text, and that it is one JSON object, with
//! the same words for what is wrong. What the members mean is each dialect's own.

use bytes::Bytes;

use super::openai_chat::fault::Fault;
use crate::error::{ErrorKind, ProxyError};
use crate::types::{Call, Tally};
use crate::wire::json_text;
use crate::wire::json_walk::{Member, Walk, is_lone_surrogate, kind_of};

/// Decodes a body by `read`. The call keeps the body, and its spans point into it.
///
/// # Errors
/// `InvalidRequest` with the member at fault; `RequestTooLarge` for 4 GiB and more.
pub(super) fn decode(
    body: Bytes,
    read: impl Fn(&[u8]) -> Result<Call, Fault>,
) -> Result<Call, ProxyError> {
    if u32::try_from(body.len()).is_err() {
        let message = "the body must be smaller than 4 GiB";
        return Err(ProxyError::new(ErrorKind::RequestTooLarge, message));
    }
    check_text(&body)?;
    let call = match read(&body) {
        Err(Fault::Json(error)) if is_lone_surrogate(&error) => {
            match json_text::mend_lone_surrogates(&body) {
                Some(mended) => read(&mended),
                None => Err(Fault::Json(error)),
            }
        }
        call => call,
    };
    let mut call = call.map_err(|fault| fault.into_error(&body))?;
    call.tally = Tally::of(&body, &call.turns);
    call.body = body;
    Ok(call)
}

fn check_text(body: &[u8]) -> Result<(), ProxyError> {
    let refuse = |message: String| Err(ProxyError::invalid("", message));
    if body.is_empty() {
        return refuse("the body is empty; it must be a JSON object".to_owned());
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return refuse("the body begins with a byte order mark; JSON has none".to_owned());
    }
    match std::str::from_utf8(body) {
        Ok(_) => Ok(()),
        Err(error) => refuse(format!(
            "the body is not valid UTF-8 at byte {}; JSON must be UTF-8",
            error.valid_up_to()
        )),
    }
}

/// Visits the members of the object that is the whole body. The visitor must read or skip each value.
pub(super) fn members<'b>(
    body: &'b [u8],
    visit: impl FnMut(&mut Walk<'b>, Member<'b>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut walk = Walk::new(body);
    let peek = walk.peek()?;
    if peek != jiter::Peek::Object {
        let message = format!("the body must be a JSON object, not {}", kind_of(peek));
        // What only looks like a value gets the syntax error that it is.
        walk.skip(peek)?;
        return Err(Fault::field("", message));
    }
    walk.object(visit)?;
    Ok(walk.finish()?)
}
