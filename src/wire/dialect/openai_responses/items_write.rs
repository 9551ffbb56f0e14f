//! Messages as items of an upstream's `input`, and blocks of the assistant as items of either side.

use super::NAME;
use super::items_read::{ITEM, THOUGHTS};
use super::request_write::{Writing, refuse};
use crate::types::chat::{
    Block, BlockBody, Citation, Extra, Inexpressible, Media, Message, ReasoningBlock, Source,
    Speaker, ToolCall, ToolInput,
};
use crate::wire::dialect::openai_chat::neutral::media::url_of;
use crate::wire::dialect::openai_chat::neutral::write_seal;
use crate::wire::foreign;
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{has, rest_of};

const BY_ID: &str = "it is kept by its own provider under an id; send its content or its address";

/// Writes every message.
pub(super) fn write(
    list: &mut JsonOut,
    messages: &[Message],
    writing: &mut Writing<'_>,
) -> Result<(), Inexpressible> {
    for (index, message) in messages.iter().enumerate() {
        let place = format!("messages[{index}]");
        if !writing.own {
            foreign::note_extra(&message.extra, || place.clone(), writing.notes);
            if message.name.is_some() {
                writing.notes.dropped(format!("{place}.name"));
            }
        }
        if message.speaker == Speaker::Assistant {
            assistant(list, message, &place, writing)?;
        } else {
            others(list, message, &place, writing)?;
        }
    }
    Ok(())
}

/// What a system, a developer, a user or a tool says.
fn others(
    list: &mut JsonOut,
    message: &Message,
    place: &str,
    writing: &mut Writing<'_>,
) -> Result<(), Inexpressible> {
    let mut said = Vec::new();
    for block in &message.blocks {
        match &block.body {
            BlockBody::ToolResult(_) => tool_result(list, message, block, place, writing)?,
            _ => said.push(block),
        }
    }
    if said.is_empty() && !message.blocks.is_empty() {
        return Ok(());
    }
    let role = match message.speaker {
        Speaker::System => "system",
        Speaker::Developer => "developer",
        _ => "user",
    };
    let mut result = Ok(());
    list.object(|it| {
        it.string("role", role);
        result = content(it.member("content"), &said, place, writing);
        if writing.own {
            it.extra(&message.extra);
        }
    });
    result
}

/// One plain text as a string, anything else as parts.
fn content(
    json: &mut JsonOut,
    blocks: &[&Block],
    place: &str,
    writing: &mut Writing<'_>,
) -> Result<(), Inexpressible> {
    if let [block] = blocks
        && let BlockBody::Text { text, .. } = &block.body
        && (block.extra.is_empty() || !writing.own)
    {
        note_mark(block, writing);
        json.string(text);
        return Ok(());
    }
    let mut result = Ok(());
    json.array(|parts| {
        for (index, block) in blocks.iter().enumerate() {
            let place = format!("{place}.content[{index}]");
            result = part(parts, block, &place, writing);
            if result.is_err() {
                return;
            }
        }
    });
    result
}

fn note_mark(block: &Block, writing: &mut Writing<'_>) {
    if block.cache_mark.is_some() {
        writing.notes.dropped("cache_control");
    }
}

/// One part of what others than the assistant say.
fn part(
    list: &mut JsonOut,
    block: &Block,
    place: &str,
    writing: &mut Writing<'_>,
) -> Result<(), Inexpressible> {
    if let BlockBody::Native(raw) = &block.body {
        if writing.own {
            list.raw(raw);
            return Ok(());
        }
        return Err(refuse(
            place.to_owned(),
            "only its own dialect has such a block",
        ));
    }
    note_mark(block, writing);
    if !writing.own {
        foreign::note_extra(&block.extra, || place.to_owned(), writing.notes);
    }
    let mut result = Ok(());
    list.object(|it| {
        match &block.body {
            BlockBody::Text { text, .. } => {
                it.string("type", "input_text");
                it.string("text", text);
            }
            BlockBody::Image(media) => result = image(it, media, place, writing.own),
            BlockBody::File(media) => result = file(it, media, place, writing.own),
            BlockBody::Audio(media) => result = audio(it, media, place),
            _ => result = Err(refuse(place.to_owned(), "it has no place in this message")),
        }
        if writing.own {
            it.extra(&block.extra);
        }
    });
    result
}

fn image(it: &mut Members<'_>, media: &Media, place: &str, own: bool) -> Result<(), Inexpressible> {
    it.string("type", "input_image");
    match (&media.source, url_of(&media.source)) {
        (_, Some(url)) => it.string("image_url", &url),
        (Source::Id(id), None) if own => it.string("file_id", id),
        _ => return Err(refuse(place.to_owned(), BY_ID)),
    }
    match (&media.detail, own) {
        (Some(detail), _) => it.string("detail", detail),
        (None, false) => it.string("detail", "auto"),
        (None, true) => {}
    }
    Ok(())
}

fn file(it: &mut Members<'_>, media: &Media, place: &str, own: bool) -> Result<(), Inexpressible> {
    match &media.source {
        Source::Text { text, .. } if !own => {
            // A document that is text is text.
            it.string("type", "input_text");
            it.string("text", text);
            return Ok(());
        }
        Source::Id(_) if !own => return Err(refuse(place.to_owned(), BY_ID)),
        _ => it.string("type", "input_file"),
    }
    match &media.source {
        Source::Id(id) => it.string("file_id", id),
        Source::Url(url) => it.string("file_url", url),
        source => it.string("file_data", &url_of(source).unwrap_or_default()),
    }
    it.maybe_string("detail", media.detail.as_deref());
    match (&media.name, &media.source) {
        (Some(name), _) => it.string("filename", name),
        (None, Source::Base64 { .. }) if !own => it.string("filename", "document.pdf"),
        (None, _) => {}
    }
    Ok(())
}

fn audio(it: &mut Members<'_>, media: &Media, place: &str) -> Result<(), Inexpressible> {
    let Source::Base64 { media_type, data } = &media.source else {
        let why = "sound must be in the request, as base64";
        return Err(refuse(place.to_owned(), why));
    };
    let format = media_type.trim_start_matches("audio/");
    it.string("type", "input_audio");
    it.object("input_audio", |it| {
        it.string("data", data);
        it.string("format", if format == "mpeg" { "mp3" } else { format });
    });
    Ok(())
}

fn tool_result(
    list: &mut JsonOut,
    message: &Message,
    block: &Block,
    place: &str,
    writing: &mut Writing<'_>,
) -> Result<(), Inexpressible> {
    let BlockBody::ToolResult(result) = &block.body else {
        return Ok(());
    };
    note_mark(block, writing);
    let mut blocks: Vec<&Block> = result.blocks.iter().collect();
    let told = Block::text("Error:");
    if result.is_error && !writing.own {
        blocks.insert(0, &told);
        let what = "the result begins with `Error:`";
        writing.notes.changed("is_error", what);
    }
    let mut wrote = Ok(());
    list.object(|it| {
        let is_custom = writing.is_custom_call(&result.call_id);
        let kind = if is_custom {
            "custom_tool_call_output"
        } else {
            "function_call_output"
        };
        it.string("type", kind);
        it.string("call_id", &result.call_id);
        wrote = content(it.member("output"), &blocks, place, writing);
        if writing.own {
            it.maybe_string("name", result.name.as_deref());
            it.extra(&message.extra);
        }
    });
    wrote
}

/// An assistant's message as its items.
fn assistant(
    list: &mut JsonOut,
    message: &Message,
    place: &str,
    writing: &mut Writing<'_>,
) -> Result<(), Inexpressible> {
    let mut open: Vec<&Block> = Vec::new();
    for (index, block) in message.blocks.iter().enumerate() {
        let is_said = matches!(
            block.body,
            BlockBody::Text { .. } | BlockBody::Refusal { .. }
        );
        let begins = block.extra.iter().any(|(name, _)| name == ITEM);
        if !is_said || begins {
            close_message(list, &mut open, writing);
        }
        match &block.body {
            BlockBody::Text { .. } | BlockBody::Refusal { .. } => {
                note_mark(block, writing);
                open.push(block);
            }
            BlockBody::ToolCall(call) => {
                note_mark(block, writing);
                list.object(|it| {
                    write_call(it, call);
                    let seal = call.seal.as_ref().and_then(|seal| seal.for_upstream(NAME));
                    if let Some(seal) = seal {
                        write_seal(it, seal);
                    }
                    if writing.own {
                        it.extra(&block.extra);
                    }
                });
            }
            BlockBody::Reasoning(thought) => thoughts(list, block, thought, place, writing),
            BlockBody::Native(raw) if writing.own => list.raw(raw),
            BlockBody::Native(_) => {
                let place = format!("{place}.content[{index}]");
                return Err(refuse(place, "only its own dialect has such a block"));
            }
            _ => writing.notes.dropped(format!("{place}.content[{index}]")),
        }
    }
    close_message(list, &mut open, writing);
    Ok(())
}

fn close_message(list: &mut JsonOut, open: &mut Vec<&Block>, writing: &Writing<'_>) {
    let Some(first) = open.first() else {
        return;
    };
    let item = rest_of(&first.extra, ITEM).filter(|_| writing.own);
    list.object(|it| {
        let unmarked = item.as_ref().is_none_or(Extra::is_empty);
        if !unmarked {
            it.string("type", "message");
        }
        it.string("role", "assistant");
        let plain = match open.as_slice() {
            [block] => match &block.body {
                BlockBody::Text { text, citations } if citations.is_empty() => Some(text),
                _ => None,
            },
            _ => None,
        };
        match plain.filter(|_| unmarked) {
            Some(text) => it.string("content", text),
            None => it.array("content", |parts| {
                for block in open.iter() {
                    write_said(parts, block, writing.own);
                }
            }),
        }
        if let Some(item) = &item {
            it.extra(item);
        }
    });
    open.clear();
}

/// A text or a refusal of the assistant.
pub(super) fn write_said(parts: &mut JsonOut, block: &Block, own: bool) {
    parts.object(|it| {
        match &block.body {
            BlockBody::Text { text, citations } => {
                it.string("type", "output_text");
                it.string("text", text);
                it.array("annotations", |list| {
                    let length = text.chars().count() as u64;
                    for citation in citations {
                        write_annotation(list, citation, length, own);
                    }
                });
            }
            BlockBody::Refusal { text } => {
                it.string("type", "refusal");
                it.string("refusal", text);
            }
            _ => {}
        }
        if own {
            for (name, value) in block.extra.iter().filter(|(name, _)| *name != ITEM) {
                it.raw(name, value);
            }
        }
    });
}

/// A source of a text of `length` characters.
pub(super) fn write_annotation(list: &mut JsonOut, citation: &Citation, length: u64, own: bool) {
    if let (Some(native), true) = (&citation.native, own) {
        return list.raw(native);
    }
    let (start, end) = citation.range.unwrap_or((0, length));
    list.object(|it| {
        it.string("type", "url_citation");
        it.integer("start_index", start);
        it.integer("end_index", end);
        it.string("url", citation.url.as_deref().unwrap_or_default());
        it.string("title", citation.title.as_deref().unwrap_or_default());
        it.maybe_string("content", citation.cited_text.as_deref());
    });
}

/// A call without its item's id.
pub(super) fn write_call(it: &mut Members<'_>, call: &ToolCall) {
    let (kind, member, input) = match &call.input {
        ToolInput::Json(input) if input.is_empty() => ("function_call", "arguments", "{}"),
        ToolInput::Json(input) => ("function_call", "arguments", input.as_str()),
        ToolInput::Text(input) => ("custom_tool_call", "input", input.as_str()),
    };
    it.string("type", kind);
    it.string("call_id", &call.id);
    it.string("name", &call.name);
    it.string(member, input);
}

/// Thoughts, if they are this upstream's own.
fn thoughts(
    list: &mut JsonOut,
    block: &Block,
    thought: &ReasoningBlock,
    place: &str,
    writing: &mut Writing<'_>,
) {
    let seal = thought
        .seal
        .as_ref()
        .and_then(|seal| seal.for_upstream(NAME));
    let unsealed = writing.own && thought.seal.is_none();
    if seal.is_none() && !unsealed {
        let what = "thoughts of another provider are left out";
        writing.notes.changed(format!("{place}.reasoning"), what);
        return;
    }
    list.object(|it| {
        it.string("type", "reasoning");
        it.maybe_string("id", thought.id.as_deref());
        let own = Some(&block.extra).filter(|_| writing.own);
        write_thought(it, thought, seal, own);
    });
}

/// The text of thoughts and what seals them; with members of this dialect, which may say the texts.
pub(super) fn write_thought(
    it: &mut Members<'_>,
    thought: &ReasoningBlock,
    seal: Option<&str>,
    extra: Option<&Extra>,
) {
    it.maybe_string("encrypted_content", seal);
    if let Some(extra) = extra {
        it.extra(extra);
        if THOUGHTS.iter().any(|name| has(extra, name)) {
            return;
        }
    }
    let text = |list: &mut JsonOut, kind: &str| {
        list.object(|it| {
            it.string("type", kind);
            it.string("text", &thought.text);
        });
    };
    it.array("summary", |list| {
        if thought.is_summary && !thought.text.is_empty() {
            text(list, "summary_text");
        }
    });
    if !thought.is_summary && !thought.text.is_empty() {
        it.array("content", |list| text(list, "reasoning_text"));
    }
}
