//! What Gemini cannot be asked and what may not be left out either.

use std::borrow::Cow;

use super::NAME;
use super::is_vertex;
use super::model::Generation;
use super::parts_read::is_googles_own;
use super::parts_write::data_url;
use crate::types::chat::{
    Block, BlockBody, ChatRequest, Inexpressible, Media, Source, ToolChoice, ToolKind,
};
use crate::wire::translate::Target;

/// Most stop sequences that Google takes.
const MAX_STOPS: usize = 5;

/// Most answers to one request that Google gives.
const MAX_CHOICES: u32 = 8;

/// Refuses what cannot be said.
///
/// # Errors
/// Naming the first such member.
pub(super) fn check(request: &ChatRequest, target: &Target<'_>) -> Result<(), Inexpressible> {
    if request.dialect == NAME {
        return Ok(());
    }
    for (index, message) in request.messages.iter().enumerate() {
        for block in &message.blocks {
            check_block(block, target).map_err(|why| refusal(place(index, block), why))?;
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
    if request.stop.len() > MAX_STOPS {
        return Err(refusal("stop", "at most 5 stop sequences are allowed"));
    }
    if request.choices.is_some_and(|choices| choices > MAX_CHOICES) {
        return Err(refusal("n", "at most 8 answers are given to one request"));
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

fn refusal(
    field: impl Into<Cow<'static, str>>,
    why: impl Into<Cow<'static, str>>,
) -> Inexpressible {
    Inexpressible {
        field: field.into(),
        dialect: NAME,
        why: why.into(),
    }
}

fn check_block(block: &Block, target: &Target<'_>) -> Result<(), &'static str> {
    match &block.body {
        BlockBody::Image(media) | BlockBody::Audio(media) | BlockBody::File(media) => {
            check_media(media, target)
        }
        BlockBody::ToolResult(result) => {
            let mut blocks = result.blocks.iter();
            blocks.try_for_each(|block| check_block(block, target))
        }
        BlockBody::Native(_) => Err("this block belongs to another provider's API"),
        _ => Ok(()),
    }
}

/// Vertex AI fetches addresses of the web and of Cloud Storage; the Gemini API those of the web for
/// models later than 2.0, and what it keeps itself.
fn check_media(media: &Media, target: &Target<'_>) -> Result<(), &'static str> {
    let url = match &media.source {
        Source::Base64 { .. } | Source::Text { .. } => return Ok(()),
        Source::Id(id) if is_googles_own(id) => return Ok(()),
        Source::Id(_) => return Err("the file is kept by another provider; send its bytes"),
        Source::Url(url) => url,
    };
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    let fetches = is_vertex(target.host) || Generation::of(target.upstream_model).fetches_urls();
    match url.as_str() {
        it if data_url(it).is_some() || is_googles_own(it) || it.starts_with("gs://") => Ok(()),
        _ if is_web && fetches => Ok(()),
        _ if is_web => Err("this model cannot fetch it; send its bytes as a data URL"),
        _ => Err("allowed are https, gs and data URLs"),
    }
}
