//! Items, of a request's `input` and of a response's `output`, into messages and blocks.
//!
//! What the assistant did stands in one list with what others said; here consecutive items of the
//! assistant are one message. Where a message item begins is kept with its first part (`item`), for this
//! dialect alone.

use super::NAME;
use crate::error::ProxyError;
use crate::types::chat::{
    Block, BlockBody, Citation, Extra, Media, Message, RawJson, ReasoningBlock, Seal, Source,
    Speaker, ToolCall, ToolInput, ToolResult,
};
use crate::wire::dialect::openai_chat::neutral::media::{source_of_url, take_cache_mark};
use crate::wire::dialect::openai_chat::neutral::{take_seal, wrong};
use crate::wire::json_in::{Object, Raw};
use crate::wire::nested::as_object;

/// The name under which a part keeps the members of its item.
pub(super) const ITEM: &str = "item";

/// Reads `input`.
pub(super) fn input(value: Raw<'_>) -> Result<Vec<Message>, ProxyError> {
    if let Some(text) = value.string() {
        return Ok(vec![Message::new(Speaker::User, vec![Block::text(text)])]);
    }
    let allowed = "a string or an array of items";
    let items = value.array().ok_or_else(|| wrong("input", allowed))?;
    let mut messages: Vec<Message> = Vec::with_capacity(items.len());
    for (index, value) in items.into_iter().enumerate() {
        let place = format!("input[{index}]");
        let object = value.object().ok_or_else(|| wrong(&place, "an object"))?;
        let mut message = item(object, value, &place)?;
        match messages.last_mut() {
            Some(last) if joins(last, &message) => last.blocks.append(&mut message.blocks),
            _ => messages.push(message),
        }
    }
    Ok(messages)
}

fn joins(last: &Message, next: &Message) -> bool {
    last.speaker == Speaker::Assistant && next.speaker == Speaker::Assistant
}

fn item(mut object: Object<'_>, whole: Raw<'_>, place: &str) -> Result<Message, ProxyError> {
    let kind = object.get("type").and_then(Raw::string);
    match kind.as_deref() {
        None | Some("message") => {
            object.take_any("type");
            spoken(object, place)
        }
        Some("function_call_output" | "custom_tool_call_output") => {
            object.take_any("type");
            let result = ToolResult {
                call_id: object.take_string("call_id").unwrap_or_default(),
                name: object.take_string("name"),
                blocks: content(object.take("output"), &format!("{place}.output"))?,
                is_error: false,
            };
            let mut message =
                Message::new(Speaker::Tool, vec![BlockBody::ToolResult(result).into()]);
            message.extra = object.rest();
            Ok(message)
        }
        Some("item_reference") => {
            let why = "the item is not known here: it was not stored, or has expired";
            let message = format!("`{place}`: {why}");
            Err(ProxyError::invalid(format!("{place}.id"), message))
        }
        _ => {
            let blocks = assistant_item(object, whole);
            Ok(Message::new(Speaker::Assistant, blocks))
        }
    }
}

/// A message item.
fn spoken(mut object: Object<'_>, place: &str) -> Result<Message, ProxyError> {
    let role = object.take_string("role").unwrap_or_default();
    let speaker = match role.as_str() {
        "system" => Speaker::System,
        "developer" => Speaker::Developer,
        "user" => Speaker::User,
        "assistant" => Speaker::Assistant,
        _ => {
            let allowed = "`system`, `developer`, `user` or `assistant`";
            return Err(wrong(&format!("{place}.role"), allowed));
        }
    };
    let blocks = content(object.take("content"), &format!("{place}.content"))?;
    let mut message = Message::new(speaker, blocks);
    if speaker == Speaker::Assistant {
        keep_item(&mut message.blocks, &object.rest());
    } else {
        message.extra = object.rest();
    }
    Ok(message)
}

/// Keeps the item's members with its first part.
fn keep_item(blocks: &mut [Block], rest: &Extra) {
    if let Some(first) = blocks.first_mut() {
        // Also where nothing is left: here the item begins.
        first.extra.0.push((ITEM.to_owned(), as_object(rest)));
    }
}

/// An item that only the assistant makes.
pub(super) fn assistant_item(mut object: Object<'_>, whole: Raw<'_>) -> Vec<Block> {
    let kind = object.get("type").and_then(Raw::string);
    let body = match kind.as_deref() {
        Some("message") => {
            object.take_any("type");
            object.take_any("role");
            let mut blocks = content(object.take("content"), "content").unwrap_or_default();
            keep_item(&mut blocks, &object.rest());
            return blocks;
        }
        Some("reasoning") => {
            let (thought, originals) = reasoning(&mut object);
            object.take_any("type");
            let mut block = Block::from(BlockBody::Reasoning(thought));
            block.extra = object.rest();
            block.extra.0.extend(originals.0);
            return vec![block];
        }
        Some("function_call") => call(&mut object, false),
        Some("custom_tool_call") => call(&mut object, true),
        _ => None,
    };
    let Some(body) = body else {
        return vec![BlockBody::Native(whole.owned()).into()];
    };
    object.take_any("type");
    vec![Block {
        body,
        cache_mark: None,
        extra: object.rest(),
    }]
}

fn call(object: &mut Object<'_>, is_custom: bool) -> Option<BlockBody> {
    let name = object.take_string("name")?;
    let seal = take_seal(object);
    let input = if is_custom {
        ToolInput::Text(object.take_string("input").unwrap_or_default())
    } else {
        ToolInput::Json(object.take_string("arguments").unwrap_or_default())
    };
    let id = object.take_string("call_id").unwrap_or_default();
    Some(BlockBody::ToolCall(ToolCall {
        id,
        name,
        input,
        // Whoever wrote it, it is not this dialect's: only an envelope says whose it is.
        seal: seal.map(|seal| Seal::read(&seal.value, &seal.dialect)),
    }))
}

/// The members that hold the texts of thoughts.
pub(super) const THOUGHTS: [&str; 2] = ["summary", "content"];

/// A reasoning item: a summary or the thoughts themselves, and what hides the rest. Where there is more
/// than one text, they are kept as they stand, too.
fn reasoning(object: &mut Object<'_>) -> (ReasoningBlock, Extra) {
    let stand = THOUGHTS.map(|name| (name, object.take(name)));
    let [summary, content] = stand.map(|(_, value)| texts(value));
    let mut originals = Extra::none();
    if !is_one_text(stand.map(|(_, value)| value)) {
        let found = stand.into_iter();
        let found = found.filter_map(|(name, value)| Some((name.to_owned(), value?.owned())));
        originals.0.extend(found);
    }
    let sealed = object.take_string("encrypted_content");
    let seal = sealed.map(|text| Seal::read(&text, NAME));
    let is_foreign = seal.as_ref().is_some_and(|seal| !seal.is_of(NAME));
    let is_summary = content.is_none() && summary.is_some() && !is_foreign;
    let text = content.or(summary).unwrap_or_default();
    let is_hidden = seal.is_some() && (!is_foreign || text.is_empty());
    let thought = ReasoningBlock {
        id: object.take_string("id"),
        text,
        is_summary,
        seal,
        is_hidden,
    };
    (thought, originals)
}

/// True when a block of the neutral form says all that stands there.
fn is_one_text(stand: [Option<Raw<'_>>; 2]) -> bool {
    let parts = stand.into_iter().flatten().filter_map(Raw::array).flatten();
    let mut members = parts.map(|part| part.object().map_or(0, |part| part.iter().count()));
    members.next().is_none_or(|count| count == 2) && members.next().is_none()
}

/// The texts of a summary or of thoughts; `None` when there is none.
fn texts(value: Option<Raw<'_>>) -> Option<String> {
    let parts = value?.array()?.into_iter();
    let texts: Vec<String> = parts
        .filter_map(|part| part.object()?.take_string("text"))
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

/// The content of a message or of a result: a text or parts.
fn content(value: Option<Raw<'_>>, place: &str) -> Result<Vec<Block>, ProxyError> {
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    if let Some(text) = value.string() {
        return Ok(vec![Block::text(text)]);
    }
    let allowed = "a string or an array of content parts";
    let parts = value.array().ok_or_else(|| wrong(place, allowed))?;
    let parts = parts.into_iter().enumerate();
    parts
        .map(|(index, value)| {
            let place = format!("{place}[{index}]");
            let object = value.object().ok_or_else(|| wrong(&place, "an object"))?;
            Ok(part(object, value))
        })
        .collect()
}

/// One content part.
fn part(mut object: Object<'_>, whole: Raw<'_>) -> Block {
    let kind = object.get("type").and_then(Raw::string);
    let body = match kind.as_deref() {
        Some("input_text" | "output_text" | "text") => {
            let text = object.take_string("text");
            text.map(|text| BlockBody::Text {
                text,
                citations: citations(&mut object),
            })
        }
        Some("refusal") => {
            let text = object.take_string("refusal");
            text.map(|text| BlockBody::Refusal { text })
        }
        Some("input_image") => image(&mut object),
        Some("input_file") => file(&mut object),
        Some("input_audio") => audio(&mut object),
        _ => None,
    };
    let Some(body) = body else {
        return BlockBody::Native(whole.owned()).into();
    };
    object.take_any("type");
    Block {
        body,
        cache_mark: take_cache_mark(&mut object),
        extra: object.rest(),
    }
}

fn media(source: Source, object: &mut Object<'_>) -> Media {
    Media {
        source,
        detail: object.take_string("detail"),
        name: object.take_string("filename"),
    }
}

fn image(object: &mut Object<'_>) -> Option<BlockBody> {
    let source = match object.take_string("image_url") {
        Some(url) => source_of_url(&url),
        None => Source::Id(object.take_string("file_id")?),
    };
    Some(BlockBody::Image(media(source, object)))
}

fn file(object: &mut Object<'_>) -> Option<BlockBody> {
    let source = if let Some(data) = object.take_string("file_data") {
        match source_of_url(&data) {
            Source::Url(data) => Source::Base64 {
                media_type: "application/pdf".to_owned(),
                data,
            },
            source => source,
        }
    } else if let Some(url) = object.take_string("file_url") {
        Source::Url(url)
    } else {
        Source::Id(object.take_string("file_id")?)
    };
    Some(BlockBody::File(media(source, object)))
}

fn audio(object: &mut Object<'_>) -> Option<BlockBody> {
    let mut inner = object.get("input_audio")?.object()?;
    let data = inner.take_string("data")?;
    let format = inner.take_string("format").unwrap_or_else(|| "wav".into());
    object.take_any("input_audio");
    let media_type = format!("audio/{format}");
    Some(BlockBody::Audio(Source::Base64 { media_type, data }.into()))
}

fn citations(object: &mut Object<'_>) -> Vec<Citation> {
    let found = object.take("annotations").and_then(Raw::array);
    found
        .unwrap_or_default()
        .into_iter()
        .map(annotation)
        .collect()
}

/// One annotation.
pub(super) fn annotation(value: Raw<'_>) -> Citation {
    url_citation(value).unwrap_or_else(|| Citation {
        native: Some(value.owned()),
        ..Citation::default()
    })
}

fn url_citation(value: Raw<'_>) -> Option<Citation> {
    let mut object = value.object()?;
    if object.take_string("type")? != "url_citation" {
        return None;
    }
    let (start, end) = (
        object.take_count("start_index"),
        object.take_count("end_index"),
    );
    let citation = Citation {
        url: object.take_string("url").filter(|url| !url.is_empty()),
        title: object
            .take_string("title")
            .filter(|title| !title.is_empty()),
        cited_text: object.take_string("content"),
        range: start.zip(end),
        native: None,
    };
    let unknown: Extra = object.rest();
    let native: Option<RawJson> = (!unknown.is_empty()).then(|| value.owned());
    Some(Citation { native, ..citation })
}
