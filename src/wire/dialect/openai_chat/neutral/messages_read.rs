//! The messages of a request into neutral form.

use super::media::{source_of_url, take_cache_mark};
use super::reasoning::{self, NAME};
use crate::error::ProxyError;
use crate::types::chat::{
    Block, BlockBody, Media, Message, Seal, Source, Speaker, ToolCall, ToolInput, ToolResult,
};
use crate::wire::json_in::{Object, Raw};
use crate::wire::nested::keep;

/// Reads `messages`.
pub(in crate::wire) fn read(value: Raw<'_>) -> Result<Vec<Message>, ProxyError> {
    let Some(elements) = value.array() else {
        return Err(wrong("messages", "an array of messages"));
    };
    let mut messages = Vec::with_capacity(elements.len());
    for (index, element) in elements.into_iter().enumerate() {
        let place = format!("messages[{index}]");
        let read = message(element, &place, &messages)?;
        messages.push(read);
    }
    Ok(messages)
}

pub(in crate::wire) fn wrong(param: &str, allowed: &str) -> ProxyError {
    ProxyError::invalid(param, format!("`{param}` must be {allowed}"))
}

fn message(value: Raw<'_>, place: &str, before: &[Message]) -> Result<Message, ProxyError> {
    let Some(mut object) = value.object() else {
        return Err(wrong(place, "an object"));
    };
    let role = object.take_string("role").unwrap_or_default();
    let speaker = match role.as_str() {
        "system" => Speaker::System,
        "developer" => Speaker::Developer,
        "user" => Speaker::User,
        "assistant" => Speaker::Assistant,
        "tool" | "function" => Speaker::Tool,
        _ => {
            let allowed = "`system`, `developer`, `user`, `assistant` or `tool`";
            return Err(wrong(&format!("{place}.role"), allowed));
        }
    };
    let name = object.take_string("name");
    // Some clients mark the message and mean its last part.
    let mark = take_cache_mark(&mut object);
    let content = content(object.take_any("content"), place)?;
    let mut message = Message::new(speaker, Vec::new());
    match speaker {
        Speaker::Assistant => assistant(&mut object, content, place, &mut message)?,
        Speaker::Tool => {
            let call_id = match object.take_string("tool_call_id") {
                Some(id) => id,
                None => last_call_named(name.as_deref(), before).unwrap_or_default(),
            };
            let result = ToolResult {
                call_id,
                name: name.clone(),
                blocks: content,
                is_error: false,
            };
            message.blocks.push(BlockBody::ToolResult(result).into());
        }
        _ => message.blocks = content,
    }
    if speaker != Speaker::Tool {
        message.name = name;
    }
    if let (Some(mark), Some(last)) = (mark, message.blocks.last_mut()) {
        last.cache_mark.get_or_insert(mark);
    }
    message.extra = object.rest();
    Ok(message)
}

/// `content`: a string, parts, or nothing.
fn content(value: Option<Raw<'_>>, place: &str) -> Result<Vec<Block>, ProxyError> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(Vec::new());
    };
    if let Some(text) = value.string() {
        return Ok(vec![Block::text(text)]);
    }
    let place = format!("{place}.content");
    let Some(parts) = value.array() else {
        return Err(wrong(
            &place,
            "a string, an array of content parts, or null",
        ));
    };
    let parts = parts.into_iter().enumerate();
    parts
        .map(|(index, value)| part(value, &format!("{place}[{index}]")))
        .collect()
}

/// One content part.
pub(in crate::wire) fn part(value: Raw<'_>, place: &str) -> Result<Block, ProxyError> {
    let Some(mut part) = value.object() else {
        return Err(wrong(place, "an object"));
    };
    let kind = part.get("type").and_then(Raw::string).unwrap_or_default();
    let body = match kind.as_str() {
        "text" => {
            let Some(text) = part.take_string("text") else {
                return Err(wrong(&format!("{place}.text"), "a string"));
            };
            BlockBody::Text {
                text,
                citations: Vec::new(),
            }
        }
        "refusal" => BlockBody::Refusal {
            text: part.take_string("refusal").unwrap_or_default(),
        },
        "image_url" => return nested(part, "image_url", place, image),
        "input_audio" => return nested(part, "input_audio", place, audio),
        "file" => return nested(part, "file", place, file),
        _ => BlockBody::Native(value.owned()),
    };
    if matches!(body, BlockBody::Native(_)) {
        return Ok(body.into());
    }
    part.take_any("type");
    Ok(Block {
        body,
        cache_mark: take_cache_mark(&mut part),
        extra: part.rest(),
    })
}

/// A part whose content stands in a member of its own. What nobody takes there is left over under the
/// same name.
fn nested(
    mut part: Object<'_>,
    name: &str,
    place: &str,
    read: impl FnOnce(&mut Object<'_>) -> Option<BlockBody>,
) -> Result<Block, ProxyError> {
    part.take_any("type");
    let value = part.take(name);
    let mut inner = match value.map(|value| (value.object(), value.text())) {
        Some((Some(inner), _)) => inner,
        // Some clients write the address alone.
        Some((None, Some(url))) if name == "image_url" => {
            return Ok(Block {
                body: BlockBody::Image(source_of_url(&url).into()),
                cache_mark: take_cache_mark(&mut part),
                extra: part.rest(),
            });
        }
        _ => return Err(wrong(&format!("{place}.{name}"), "an object")),
    };
    let Some(body) = read(&mut inner) else {
        let param = format!("{place}.{name}");
        let message = format!("`{param}` says nothing of where its content is");
        return Err(ProxyError::invalid(param, message));
    };
    let cache_mark = take_cache_mark(&mut part);
    let mut extra = part.rest();
    keep(&mut extra, name, &inner.rest());
    Ok(Block {
        body,
        cache_mark,
        extra,
    })
}

fn image(inner: &mut Object<'_>) -> Option<BlockBody> {
    let url = inner.take_string("url")?;
    Some(BlockBody::Image(Media {
        source: source_of_url(&url),
        detail: inner.take_string("detail"),
        name: None,
    }))
}

fn audio(inner: &mut Object<'_>) -> Option<BlockBody> {
    let data = inner.take_string("data")?;
    let format = inner.take_string("format").unwrap_or_else(|| "wav".into());
    let media_type = format!("audio/{format}");
    Some(BlockBody::Audio(Source::Base64 { media_type, data }.into()))
}

fn file(inner: &mut Object<'_>) -> Option<BlockBody> {
    let source = match inner.take_string("file_data") {
        // Without `data:` it is base64 all the same, of what OpenAI takes for a PDF.
        Some(data) => match source_of_url(&data) {
            Source::Url(url) if url.starts_with("http") => Source::Url(url),
            Source::Url(data) => Source::Base64 {
                media_type: "application/pdf".to_owned(),
                data,
            },
            source => source,
        },
        None => Source::Id(inner.take_string("file_id")?),
    };
    Some(BlockBody::File(Media {
        source,
        detail: None,
        name: inner.take_string("filename"),
    }))
}

/// What an assistant's message has beside its content.
fn assistant(
    object: &mut Object<'_>,
    content: Vec<Block>,
    place: &str,
    message: &mut Message,
) -> Result<(), ProxyError> {
    let blocks = &mut message.blocks;
    blocks.extend(reasoning::blocks(reasoning::take(object)));
    let empty = |block: &Block| {
        matches!(&block.body, BlockBody::Text { text, .. } if text.is_empty())
            && block.cache_mark.is_none()
            && block.extra.is_empty()
    };
    blocks.extend(content.into_iter().filter(|block| !empty(block)));
    if let Some(text) = object.take_string("refusal") {
        blocks.push(BlockBody::Refusal { text }.into());
    }
    if let Some(value) = object.take("tool_calls") {
        let place = format!("{place}.tool_calls");
        let Some(calls) = value.array() else {
            return Err(wrong(&place, "an array of tool calls or null"));
        };
        for (index, call) in calls.into_iter().enumerate() {
            let Some(block) = tool_call(call) else {
                let place = format!("{place}[{index}]");
                return Err(wrong(&place, "a call of a function or of a custom tool"));
            };
            blocks.push(block);
        }
    }
    if let Some(call) = object.take_if("function_call", Raw::object) {
        blocks.extend(legacy_call(call));
    }
    Ok(())
}

/// A tool call of a message, in a request or an answer.
pub(in crate::wire) fn tool_call(value: Raw<'_>) -> Option<Block> {
    let mut call = value.object()?;
    let kind = call.take_string("type");
    let id = call.take_string("id").unwrap_or_default();
    let seal = take_seal(&mut call);
    let member = match kind.as_deref() {
        Some("custom") => "custom",
        _ => "function",
    };
    let mut inner = call.take(member)?.object()?;
    let name = inner.take_string("name")?;
    let input = if member == "custom" {
        ToolInput::Text(inner.take_string("input").unwrap_or_default())
    } else {
        ToolInput::Json(arguments(&mut inner))
    };
    // Some servers number the calls of whole answers, too.
    call.take_any("index");
    let cache_mark = take_cache_mark(&mut call);
    let mut extra = call.rest();
    keep(&mut extra, member, &inner.rest());
    Some(Block {
        body: BlockBody::ToolCall(ToolCall {
            id,
            name,
            input,
            seal,
        }),
        cache_mark,
        extra,
    })
}

/// `arguments`: a string, or the object itself as some servers write it.
pub(in crate::wire) fn arguments(function: &mut Object<'_>) -> String {
    match function.take("arguments") {
        Some(value) => value.string().unwrap_or_else(|| value.get().to_owned()),
        None => String::new(),
    }
}

/// The call of an old `functions` client, which has no id: its name serves.
pub(in crate::wire) fn legacy_call(mut call: Object<'_>) -> Option<Block> {
    let name = call.take_string("name")?;
    let input = ToolInput::Json(arguments(&mut call));
    Some(
        BlockBody::ToolCall(ToolCall {
            id: format!("call_{name}"),
            name,
            input,
            seal: None,
        })
        .into(),
    )
}

fn last_call_named(name: Option<&str>, before: &[Message]) -> Option<String> {
    let blocks = before
        .iter()
        .rev()
        .flat_map(|message| message.blocks.iter().rev());
    let mut calls = blocks.filter_map(|block| match &block.body {
        BlockBody::ToolCall(call) => Some(call),
        _ => None,
    });
    calls
        .find(|call| name.is_none_or(|name| call.name == name))
        .map(|call| call.id.clone())
}

/// `extra_content.google.thought_signature`, where Google's compatible endpoint puts a call's seal.
pub(in crate::wire) fn take_seal(call: &mut Object<'_>) -> Option<Seal> {
    call.take_if("extra_content", |value| {
        let mut outer = value.object()?;
        let mut google = outer.take("google")?.object()?;
        let signature = google.take_string("thought_signature")?;
        let alone = outer.rest().is_empty() && google.rest().is_empty();
        alone.then(|| Seal::read(&signature, NAME))
    })
}
