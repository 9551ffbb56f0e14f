//! Content blocks to the neutral form, in requests and in answers.

use super::formats::{Carrier, media_type};
use super::{NAME, citations};
use crate::types::chat::{
    Block, BlockBody, CacheMark, Media, RawJson, ReasoningBlock, Seal, Source, ToolCall, ToolInput,
    ToolResult,
};
use crate::wire::json_in::{Object, Raw};
use crate::wire::nested::keep;

/// Marks a text of a tool's result that was a `json` member.
pub(super) const JSON: &str = "json";

/// The blocks of a list. A `cachePoint` is a mark on the block before it.
pub(super) fn read_all(list: Vec<Raw<'_>>) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::with_capacity(list.len());
    for raw in list {
        let mark = read_cache_point(raw);
        let marked = blocks.last_mut().filter(|it| it.cache_mark.is_none());
        if let (Some(mark), Some(block)) = (mark, marked) {
            block.cache_mark = Some(mark);
        } else {
            blocks.push(read(raw));
        }
    }
    blocks
}

/// `{"cachePoint": {"type": "default"}}`, also with a `ttl`.
pub(super) fn read_cache_point(raw: Raw<'_>) -> Option<CacheMark> {
    let mut object = raw.object()?;
    let mut point = object.take("cachePoint")?.object()?;
    let kind = point.take_string("type")?;
    let ttl = point.take_string("ttl");
    let is_known = kind == "default" && point.rest().is_empty() && object.rest().is_empty();
    match ttl.as_deref() {
        None | Some("5m") if is_known => Some(CacheMark::Usual),
        Some("1h") if is_known => Some(CacheMark::Hour),
        _ => None,
    }
}

/// One block; what is not known is kept as it is.
pub(super) fn read(raw: Raw<'_>) -> Block {
    let known = raw.object().and_then(read_known);
    known.unwrap_or_else(|| BlockBody::Native(raw.owned()).into())
}

fn read_known(mut object: Object<'_>) -> Option<Block> {
    let (name, value) = {
        let mut members = object.iter().filter(|(_, value)| !value.is_null());
        let (name, value) = members.next()?;
        if members.next().is_some() {
            return None;
        }
        (name.to_owned(), value)
    };
    object.take(&name);
    let carrier = match name.as_str() {
        "text" => return Some(Block::text(value.string()?)),
        "toolUse" => return read_call(value.object()?),
        "toolResult" => return read_result(value.object()?),
        "reasoningContent" => return read_thought(value.object()?),
        "citationsContent" => return citations::read_block(value),
        "image" => Carrier::Image,
        "audio" => Carrier::Audio,
        "video" => Carrier::Video,
        "document" => Carrier::Document,
        _ => return None,
    };
    read_media(carrier, value.object()?)
}

fn read_media(carrier: Carrier, mut object: Object<'_>) -> Option<Block> {
    let format = object.get("format").and_then(Raw::string)?;
    let mut source = object.take("source")?.object()?;
    let source_read = if let Some(data) = source.take_string("bytes") {
        object.take("format");
        Source::Base64 {
            media_type: media_type(carrier, &format),
            data,
        }
    } else if let Some(text) = source.take_string("text") {
        object.take("format");
        Source::Text {
            media_type: media_type(carrier, &format),
            text,
        }
    } else {
        // The format of what lies elsewhere is kept as it is.
        let mut place = source.take("s3Location")?.object()?;
        let uri = place.take_string("uri")?;
        if !place.rest().is_empty() {
            return None;
        }
        Source::Url(uri)
    };
    if !source.rest().is_empty() {
        return None;
    }
    let mut media = Media::from(source_read);
    media.name = object.take_string("name");
    let mut block = Block::from(match carrier {
        Carrier::Image => BlockBody::Image(media),
        Carrier::Audio => BlockBody::Audio(media),
        Carrier::Video | Carrier::Document => BlockBody::File(media),
    });
    keep(&mut block.extra, carrier.name(), &object.rest());
    Some(block)
}

fn read_call(mut call: Object<'_>) -> Option<Block> {
    let id = call.take_string("toolUseId")?;
    let name = call.take_string("name")?;
    let input = call.take("input").map_or("{}", Raw::get).to_owned();
    let mut block = Block::from(BlockBody::ToolCall(ToolCall {
        id,
        name,
        input: ToolInput::Json(input),
        seal: None,
    }));
    keep(&mut block.extra, "toolUse", &call.rest());
    Some(block)
}

fn read_result(mut result: Object<'_>) -> Option<Block> {
    let call_id = result.take_string("toolUseId")?;
    let content = result.take("content").and_then(Raw::array);
    let is_error = |status: Raw<'_>| (status.text()? == "error").then_some(true);
    let is_error = result.take_if("status", is_error).unwrap_or(false);
    let blocks = content.unwrap_or_default().into_iter().map(read_inner);
    let mut block = Block::from(BlockBody::ToolResult(ToolResult {
        call_id,
        name: None,
        blocks: blocks.collect(),
        is_error,
    }));
    keep(&mut block.extra, "toolResult", &result.rest());
    Some(block)
}

/// A piece of a tool's result: a block, or JSON.
fn read_inner(raw: Raw<'_>) -> Block {
    let json = raw.object().and_then(|mut object| {
        let json = object.take(JSON)?;
        object.rest().is_empty().then_some(json)
    });
    let Some(json) = json else {
        return read(raw);
    };
    let mut block = Block::text(json.get());
    let mark = (JSON.to_owned(), RawJson::new("true"));
    block.extra.0.push(mark);
    block
}

/// Thoughts: readable with a signature, or hidden.
fn read_thought(mut thought: Object<'_>) -> Option<Block> {
    let hidden = thought.take_string("redactedContent");
    let shown = thought.take("reasoningText").and_then(Raw::object);
    if !thought.rest().is_empty() {
        return None;
    }
    let mut block = ReasoningBlock::default();
    if let Some(mut shown) = shown {
        block.text = shown.take_string("text").unwrap_or_default();
        let signature = shown.take_string("signature");
        block.seal = signature.map(|it| Seal::read(&it, NAME));
        if !shown.rest().is_empty() || hidden.is_some() {
            return None;
        }
    } else {
        block.seal = Some(Seal::read(&hidden?, NAME));
        block.is_hidden = true;
    }
    Some(BlockBody::Reasoning(block).into())
}
