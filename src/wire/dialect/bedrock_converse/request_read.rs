//! A client's body to the neutral form.

use super::{NAME, blocks_read, settings, tools};
use crate::error::ProxyError;
use crate::types::chat::{ChatRequest, Message, Speaker};
use crate::wire::json_in::{Object, Raw};

/// Reads a request.
///
/// # Errors
/// When the body is no object or its conversation cannot be read.
pub(super) fn read(body: &str) -> Result<ChatRequest, ProxyError> {
    let mut body = Object::read(body).map_err(|error| {
        let message = format!("the body is not a JSON object: {}", error.error_type);
        ProxyError::invalid("", message)
    })?;
    let mut request = ChatRequest {
        dialect: NAME,
        ..ChatRequest::default()
    };
    if let Some(system) = body.take("system") {
        let list = system
            .array()
            .ok_or_else(|| wrong("system", "an array of blocks"))?;
        let blocks = blocks_read::read_all(list);
        request.messages.push(Message::new(Speaker::System, blocks));
    }
    let messages = body.take("messages").and_then(Raw::array);
    let messages = messages.ok_or_else(|| wrong("messages", "an array of messages"))?;
    for (index, message) in messages.into_iter().enumerate() {
        let message = read_message(message).ok_or_else(|| {
            let place = format!("messages[{index}]");
            wrong(
                &place,
                "an object with a role (user, assistant) and an array of blocks",
            )
        })?;
        request.messages.push(message);
    }
    let tools = tools::read(&mut body, &mut request);
    let settings = settings::read(&mut body, &mut request);
    request.extra = body.rest();
    request.extra.0.extend(tools.0);
    request.extra.0.extend(settings.0);
    Ok(request)
}

fn wrong(place: &str, allowed: &str) -> ProxyError {
    ProxyError::invalid(place, format!("`{place}` must be {allowed}"))
}

fn read_message(message: Raw<'_>) -> Option<Message> {
    let mut message = message.object()?;
    let speaker = match message.take_string("role")?.as_str() {
        "user" => Speaker::User,
        "assistant" => Speaker::Assistant,
        _ => return None,
    };
    let content = message.take("content")?.array()?;
    let mut read = Message::new(speaker, blocks_read::read_all(content));
    read.extra = message.rest();
    Some(read)
}
