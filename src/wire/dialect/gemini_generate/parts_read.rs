//! Parts to blocks, in requests and in answers.

use super::NAME;
use super::call_ids::CallIds;
use super::members::{take, take_as, take_string};
use crate::types::chat::{
    Block, BlockBody, Extra, Media, RawJson, ReasoningBlock, Seal, Source, ToolCall, ToolInput,
    ToolResult,
};
use crate::wire::json_in::{Object, Raw};
use crate::wire::nested::keep;
use crate::wire::tool_input::is_json_object;

/// Marks a seal that came in a part of its own, not with what stands before it.
pub(super) const ALONE: &str = "text";

/// The blocks of `parts`.
pub(super) fn read_all(parts: Vec<Raw<'_>>, ids: &mut CallIds) -> Vec<Block> {
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        read(part, ids, &mut blocks);
    }
    blocks
}

/// The blocks of one part: one, or two where a text or an image carries a signature.
pub(super) fn read(part: Raw<'_>, ids: &mut CallIds, out: &mut Vec<Block>) {
    let Some(mut object) = part.object() else {
        out.push(BlockBody::Native(part.owned()).into());
        return;
    };
    if let Some(text) = object.take_string("text") {
        return read_text(text, object, out);
    }
    if let Some(call) = take(&mut object, "functionCall").and_then(Raw::object) {
        return out.push(read_call(call, object, ids));
    }
    if let Some(result) = take(&mut object, "functionResponse").and_then(Raw::object) {
        return out.push(read_result(result, object, ids));
    }
    for (name, read) in [
        ("inlineData", read_inline as fn(&mut _) -> _),
        ("fileData", read_file),
    ] {
        if let Some(mut media) = take(&mut object, name).and_then(Raw::object) {
            let Some(body) = read(&mut media) else { break };
            let seal = take_string(&mut object, "thoughtSignature");
            let mut block = Block::from(body);
            block.extra = object.rest();
            keep(&mut block.extra, name, &media.rest());
            out.push(block);
            out.extend(seal.map(|seal| sealed(&seal, false)));
            return;
        }
    }
    out.push(BlockBody::Native(part.owned()).into());
}

fn read_text(text: String, mut object: Object<'_>, out: &mut Vec<Block>) {
    let seal = take_string(&mut object, "thoughtSignature");
    let is_thought = object.take_boolean("thought").unwrap_or(false);
    if is_thought {
        let thought = BlockBody::Reasoning(ReasoningBlock {
            text,
            is_summary: true,
            seal: seal.map(|seal| Seal::read(&seal, NAME)),
            ..ReasoningBlock::default()
        });
        let mut block = Block::from(thought);
        block.extra = object.rest();
        return out.push(block);
    }
    let stands_alone = text.is_empty() && seal.is_some();
    if !stands_alone {
        let mut block = Block::text(text);
        block.extra = object.rest();
        out.push(block);
    }
    out.extend(seal.map(|seal| sealed(&seal, stands_alone)));
}

/// What is thought but not shown, sealed: the signature of a part that is no call.
fn sealed(seal: &str, stands_alone: bool) -> Block {
    let body = BlockBody::Reasoning(ReasoningBlock {
        seal: Some(Seal::read(seal, NAME)),
        is_hidden: true,
        ..ReasoningBlock::default()
    });
    let mut block = Block::from(body);
    if stands_alone {
        let empty = (ALONE.to_owned(), RawJson::new("\"\""));
        block.extra = Extra(vec![empty]);
    }
    block
}

fn read_call(mut call: Object<'_>, mut part: Object<'_>, ids: &mut CallIds) -> Block {
    let name = call.take_string("name").unwrap_or_default();
    let arguments = call.take_if("args", |args| Some(args.get().to_owned()));
    let arguments = arguments.unwrap_or_else(|| "{}".to_owned());
    let id = ids.of_call(call.take_string("id"), &name, &arguments);
    let seal = take_string(&mut part, "thoughtSignature");
    let mut block = Block::from(BlockBody::ToolCall(ToolCall {
        id,
        name,
        input: ToolInput::Json(arguments),
        seal: seal.map(|seal| Seal::read(&seal, NAME)),
    }));
    block.extra = part.rest();
    keep(&mut block.extra, "functionCall", &call.rest());
    block
}

fn read_result(mut result: Object<'_>, part: Object<'_>, ids: &mut CallIds) -> Block {
    let name = result.take_string("name").unwrap_or_default();
    let call_id = ids.of_result(result.take_string("id"), &name);
    let response = result.take("response");
    let (text, is_error) = response.map_or((None, false), read_response);
    let mut blocks: Vec<Block> = text.map(Block::text).into_iter().collect();
    let media = result.take_if("parts", |parts| {
        let parts = parts.array()?;
        let media = parts.into_iter().map(read_media_alone);
        media.collect::<Option<Vec<_>>>()
    });
    blocks.extend(media.unwrap_or_default());
    let mut block = Block::from(BlockBody::ToolResult(ToolResult {
        call_id,
        name: Some(name),
        blocks,
        is_error,
    }));
    block.extra = part.rest();
    keep(&mut block.extra, "functionResponse", &result.rest());
    block
}

/// The text of a result. Google names the member `output` for what comes out and `error` for what went
/// wrong; any other object is the result as a whole.
fn read_response(response: Raw<'_>) -> (Option<String>, bool) {
    let alone = |name: &str| {
        let mut object = response.object()?;
        let text = object.take_string(name)?;
        let is_plain = object.rest().is_empty() && !is_json_object(&text);
        is_plain.then_some(text)
    };
    if let Some(text) = alone("error") {
        return (Some(text), true);
    }
    let text = alone("output").unwrap_or_else(|| response.get().to_owned());
    (Some(text), false)
}

/// A part of a tool's result, which is media and nothing else.
fn read_media_alone(part: Raw<'_>) -> Option<Block> {
    let mut object = part.object()?;
    let inline = take_as(&mut object, "inlineData", Raw::object);
    let (name, mut media, body) = if let Some(mut media) = inline {
        let body = read_inline(&mut media)?;
        ("inlineData", media, body)
    } else {
        let mut media = take_as(&mut object, "fileData", Raw::object)?;
        let body = read_file(&mut media)?;
        ("fileData", media, body)
    };
    let mut block = Block::from(body);
    block.extra = object.rest();
    keep(&mut block.extra, name, &std::mem::take(&mut media).rest());
    Some(block)
}

/// Bytes in the body.
fn read_inline(object: &mut Object<'_>) -> Option<BlockBody> {
    let media_type = take_string(object, "mimeType")?;
    let data = object.take_string("data")?;
    let name = take_string(object, "displayName");
    let mut media = Media::from(Source::Base64 {
        media_type: media_type.clone(),
        data,
    });
    media.name = name;
    Some(of_type(&media_type, media))
}

/// A file at an address, or one that Google keeps.
fn read_file(object: &mut Object<'_>) -> Option<BlockBody> {
    let uri = take_string(object, "fileUri")?;
    let media_type = object.get("mimeType").or_else(|| object.get("mime_type"));
    let media_type = media_type.and_then(Raw::string);
    let media_type = media_type.unwrap_or_else(|| super::parts_write::type_of_name(&uri).into());
    let source = if is_googles_own(&uri) {
        Source::Id(uri)
    } else {
        Source::Url(uri)
    };
    let mut media = Media::from(source);
    media.name = take_string(object, "displayName");
    Some(of_type(&media_type, media))
}

/// An address that only Google can read: its Files API.
pub(super) fn is_googles_own(uri: &str) -> bool {
    uri.starts_with("https://generativelanguage.googleapis.com/")
}

fn of_type(media_type: &str, media: Media) -> BlockBody {
    match media_type.split('/').next() {
        Some("image") => BlockBody::Image(media),
        Some("audio") => BlockBody::Audio(media),
        _ => BlockBody::File(media),
    }
}
