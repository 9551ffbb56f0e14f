//! Content blocks, as requests and answers have them, to neutral ones. What is no known block, or a
//! known one of a form that we do not know, stays whole as a native block.

use super::{CALL_SEAL, NAME};
use crate::types::chat::{
    Block, BlockBody, CacheMark, Citation, Media, ReasoningBlock, Seal, Source, ToolCall,
    ToolInput, ToolResult,
};
use crate::wire::json_in::{Object, Raw};

/// `content`: a string or blocks. `None` when it is neither.
pub(super) fn content(raw: Raw<'_>) -> Option<Vec<Block>> {
    if let Some(text) = raw.string() {
        return Some(vec![Block::text(text)]);
    }
    blocks(raw)
}

/// An array of blocks. `None` when it is none.
pub(super) fn blocks(raw: Raw<'_>) -> Option<Vec<Block>> {
    let blocks: Option<Vec<_>> = raw.array()?.into_iter().map(block).collect();
    blocks.map(with_call_seals)
}

/// One block. `None` when it is no object.
pub(super) fn block(raw: Raw<'_>) -> Option<Block> {
    let mut object = raw.object()?;
    let Some(body) = body(&mut object) else {
        return Some(BlockBody::Native(raw.owned()).into());
    };
    Some(Block {
        body,
        cache_mark: object.take_if("cache_control", cache_mark),
        extra: object.rest(),
    })
}

fn body(object: &mut Object<'_>) -> Option<BlockBody> {
    let kind = object.take_string("type")?;
    Some(match &*kind {
        "text" => BlockBody::Text {
            text: object.take_string("text")?,
            citations: object.take_if("citations", citations).unwrap_or_default(),
        },
        "image" => BlockBody::Image(source(object.take("source")?)?.into()),
        "document" => BlockBody::File(Media {
            source: source(object.take("source")?)?,
            detail: None,
            name: object.take_string("title"),
        }),
        "tool_use" => BlockBody::ToolCall(ToolCall {
            id: object.take_string("id").filter(|id| !id.is_empty())?,
            name: object.take_string("name")?,
            input: ToolInput::Json(
                object
                    .take("input")
                    .map_or_else(String::new, |input| input.get().to_owned()),
            ),
            seal: None,
        }),
        "tool_result" => BlockBody::ToolResult(ToolResult {
            call_id: object.take_string("tool_use_id")?,
            name: None,
            blocks: match object.take("content") {
                Some(content) => self::content(content)?,
                None => Vec::new(),
            },
            is_error: object.take_boolean("is_error").unwrap_or(false),
        }),
        "thinking" => thoughts(
            object.take_string("thinking")?,
            object.take_string("signature"),
        ),
        "redacted_thinking" => BlockBody::Reasoning(ReasoningBlock {
            seal: Some(Seal::read(&object.take_string("data")?, NAME)),
            is_hidden: true,
            ..ReasoningBlock::default()
        }),
        _ => return None,
    })
}

/// Thoughts in the clear with their signature. OpenAI's own seal holds the thoughts, and its text is
/// a summary.
fn thoughts(text: String, signature: Option<String>) -> BlockBody {
    let signature = signature.filter(|signature| !signature.is_empty());
    let seal = signature.map(|signature| Seal::read(&signature, NAME));
    let is_openai = seal
        .as_ref()
        .is_some_and(|seal| seal.dialect == "openai_responses");
    BlockBody::Reasoning(ReasoningBlock {
        id: None,
        text,
        is_summary: is_openai,
        seal,
        is_hidden: is_openai,
    })
}

/// `cache_control`, where it says nothing but what a mark holds.
pub(super) fn cache_mark(raw: Raw<'_>) -> Option<CacheMark> {
    let mut object = raw.object()?;
    if object.take_string("type")? != "ephemeral" {
        return None;
    }
    let mark = match object.take_string("ttl").as_deref() {
        None | Some("5m") => CacheMark::Usual,
        Some("1h") => CacheMark::Hour,
        Some(_) => return None,
    };
    object.rest().is_empty().then_some(mark)
}

fn source(raw: Raw<'_>) -> Option<Source> {
    let mut object = raw.object()?;
    let source = match &*object.take_string("type")? {
        "base64" => Source::Base64 {
            media_type: object.take_string("media_type")?,
            data: object.take_string("data")?,
        },
        "url" => Source::Url(object.take_string("url")?),
        "file" => Source::Id(object.take_string("file_id")?),
        "text" => Source::Text {
            media_type: object.take_string("media_type")?,
            text: object.take_string("data")?,
        },
        _ => return None,
    };
    object.rest().is_empty().then_some(source)
}

fn citations(raw: Raw<'_>) -> Option<Vec<Citation>> {
    raw.array()?.into_iter().map(citation).collect()
}

/// One citation, of any of Anthropic's five kinds.
pub(super) fn citation(raw: Raw<'_>) -> Option<Citation> {
    let mut object = raw.object()?;
    Some(Citation {
        url: object.take_string("url"),
        title: object
            .take_string("title")
            .or_else(|| object.take_string("document_title")),
        cited_text: object.take_string("cited_text"),
        range: None,
        native: Some(raw.owned()),
    })
}

/// Another provider's seals of tool calls, which travel in hidden blocks before the call because a
/// call has no member for them: each goes back to its call.
fn with_call_seals(mut blocks: Vec<Block>) -> Vec<Block> {
    let seals: Vec<(String, Seal)> = blocks.iter().filter_map(call_seal).collect();
    if seals.is_empty() {
        return blocks;
    }
    blocks.retain(|block| call_seal(block).is_none());
    for block in &mut blocks {
        if let BlockBody::ToolCall(call) = &mut block.body
            && let Some((_, seal)) = seals.iter().find(|(id, _)| *id == call.id)
        {
            call.seal = Some(seal.clone());
        }
    }
    blocks
}

fn call_seal(block: &Block) -> Option<(String, Seal)> {
    let BlockBody::Reasoning(ReasoningBlock {
        seal: Some(seal),
        is_hidden: true,
        ..
    }) = &block.body
    else {
        return None;
    };
    let (id, value) = seal.value.strip_prefix(CALL_SEAL)?.split_once(':')?;
    let seal = Seal {
        dialect: seal.dialect.clone(),
        value: value.to_owned(),
    };
    (seal.dialect != NAME).then(|| (id.to_owned(), seal))
}
