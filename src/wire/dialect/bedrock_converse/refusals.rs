//! What Bedrock cannot be asked and what may not be left out either.

use std::borrow::Cow;

use super::NAME;
use super::blocks_write::inline;
use super::formats::{self, Carrier};
use crate::types::chat::{
    Block, BlockBody, ChatRequest, Inexpressible, Media, Source, ToolChoice, ToolKind,
};

/// Refuses what cannot be said.
///
/// # Errors
/// Naming the first such member.
pub(super) fn check(request: &ChatRequest) -> Result<(), Inexpressible> {
    if request.dialect == NAME {
        return Ok(());
    }
    for (index, message) in request.messages.iter().enumerate() {
        for block in &message.blocks {
            check_block(block).map_err(|why| refusal(place(index, block), why))?;
        }
    }
    for (index, tool) in request.tools.iter().enumerate() {
        let why = match tool.kind {
            ToolKind::Function { .. } => continue,
            ToolKind::Custom { .. } => "tools are called with a JSON object; declare a function",
            ToolKind::Native(_) => "this tool is run by another provider",
        };
        return Err(refusal(format!("tools[{index}]"), why));
    }
    if let Some(ToolChoice::Native(_)) = request.tool_choice {
        let why = "allowed are auto, none, required, one function or some of them";
        return Err(refusal("tool_choice", why));
    }
    if request.choices.is_some_and(|choices| choices > 1) {
        return Err(refusal("n", "one answer is given to one request"));
    }
    Ok(())
}

fn place(index: usize, block: &Block) -> String {
    let kind = match &block.body {
        BlockBody::Image(_) => "image_url",
        BlockBody::Audio(_) => "input_audio",
        BlockBody::File(_) => "file",
        _ => return format!("messages[{index}].content"),
    };
    format!("messages[{index}].content.{kind}")
}

/// A refusal of a member.
pub(super) fn refusal(
    field: impl Into<Cow<'static, str>>,
    why: impl Into<Cow<'static, str>>,
) -> Inexpressible {
    Inexpressible {
        field: field.into(),
        dialect: NAME,
        why: why.into(),
    }
}

fn check_block(block: &Block) -> Result<(), &'static str> {
    match &block.body {
        BlockBody::Image(media) => check_media(media, Some(Carrier::Image)),
        BlockBody::Audio(media) => check_media(media, Some(Carrier::Audio)),
        BlockBody::File(media) => check_media(media, None),
        BlockBody::ToolResult(result) => result.blocks.iter().try_for_each(check_block),
        BlockBody::Native(_) => Err("this block belongs to another provider's API"),
        _ => Ok(()),
    }
}

fn check_media(media: &Media, wanted: Option<Carrier>) -> Result<(), &'static str> {
    let source = inline(&media.source);
    let found = match &*source {
        Source::Base64 { media_type, .. } | Source::Text { media_type, .. } => {
            formats::of_media_type(media_type).map(|(carrier, _)| carrier)
        }
        Source::Url(url) if url.starts_with("s3://") => {
            return Ok(());
        }
        Source::Url(_) => {
            return Err("only s3 addresses are fetched; send its bytes as a data URL");
        }
        Source::Id(_) => return Err("the file is kept by another provider; send its bytes"),
    };
    match (found, wanted) {
        (Some(found), Some(wanted)) if found == wanted => Ok(()),
        (Some(_), None) => Ok(()),
        (_, Some(Carrier::Image)) => Err("images are PNG, JPEG, GIF or WebP"),
        _ => Err("documents are PDF, CSV, Word, Excel, HTML, Markdown or text"),
    }
}
