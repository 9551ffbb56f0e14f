//! A client's body to the neutral form.

use super::NAME;
use super::call_ids::{CallIds, RequestIds};
use super::members::{take, take_as};
use super::{generation, parts_read, tools};
use crate::error::ProxyError;
use crate::types::chat::{Block, ChatRequest, Message, Speaker};
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
    let mut ids = CallIds::Request(RequestIds::default());
    if let Some(instruction) = take(&mut body, "systemInstruction") {
        let message = read_instruction(instruction, &mut ids)?;
        request.messages.push(message);
    }
    let contents = take(&mut body, "contents");
    let contents = contents.and_then(Raw::array).ok_or_else(|| {
        ProxyError::invalid("contents", "`contents` must be an array of messages")
    })?;
    for (index, content) in contents.into_iter().enumerate() {
        let message = read_content(content, &mut ids).ok_or_else(|| {
            let place = format!("contents[{index}]");
            let message = format!("`{place}` must be an object with an array of parts");
            ProxyError::invalid(place, message)
        })?;
        request.messages.push(message);
    }
    tools::read(&mut body, &mut request);
    let nested = generation::read(&mut body, &mut request);
    request.service_tier = take_as(&mut body, "serviceTier", Raw::string);
    request.metadata = body.take_if("labels", read_labels).unwrap_or_default();
    let tool_config = std::mem::take(&mut request.extra);
    request.extra = body.rest();
    request.extra.0.extend(tool_config.0);
    request.extra.0.extend(nested.0);
    Ok(request)
}

fn read_instruction(instruction: Raw<'_>, ids: &mut CallIds) -> Result<Message, ProxyError> {
    if let Some(text) = instruction.string() {
        return Ok(Message::new(Speaker::System, vec![Block::text(text)]));
    }
    let mut message = read_content(instruction, ids).ok_or_else(|| {
        let message = "`systemInstruction` must be an object with an array of parts";
        ProxyError::invalid("systemInstruction", message)
    })?;
    // Its role says nothing; it is written back as it is.
    if let Some(role) = role_of(instruction) {
        message.extra.0.retain(|(name, _)| name != "role");
        message.extra.0.push(("role".to_owned(), role.owned()));
    }
    message.speaker = Speaker::System;
    Ok(message)
}

fn role_of(content: Raw<'_>) -> Option<Raw<'_>> {
    content.object()?.get("role")
}

/// One message. Without a role it is the user's; roles that we do not know are the user's too and are
/// written back as they are.
fn read_content(content: Raw<'_>, ids: &mut CallIds) -> Option<Message> {
    let mut object = content.object()?;
    let role = object.take_if("role", |role| match role.text().as_deref() {
        Some("user") => Some(Speaker::User),
        Some("model") => Some(Speaker::Assistant),
        _ => None,
    });
    let parts = match object.take("parts") {
        Some(parts) => parts.array()?,
        None => Vec::new(),
    };
    let blocks = parts_read::read_all(parts, ids);
    let mut message = Message::new(role.unwrap_or(Speaker::User), blocks);
    message.extra = object.rest();
    Some(message)
}

fn read_labels(labels: Raw<'_>) -> Option<Vec<(String, String)>> {
    let labels = labels.object()?;
    let pair = |(name, value): (&str, Raw<'_>)| Some((name.to_owned(), value.string()?));
    labels.iter().map(pair).collect()
}
