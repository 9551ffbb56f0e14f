//! The messages of a request for an upstream that speaks Chat Completions.

use super::media::{url_of, write_cache_mark};
use super::reasoning::{self, NAME};
use super::request_write::{Writing, refuse};
use crate::types::chat::{
    Block, BlockBody, Extra, Inexpressible, Media, Message, ReasoningBlock, Source, Speaker,
    ToolCall, ToolInput,
};
use crate::wire::foreign;
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{kept, others};

/// Writes every message.
pub(in crate::wire) fn write(
    list: &mut JsonOut,
    writing: &mut Writing<'_>,
) -> Result<(), Inexpressible> {
    let request = writing.request;
    let mut shown = Vec::new();
    for (index, message) in request.messages.iter().enumerate() {
        let place = format!("messages[{index}]");
        if !writing.own {
            foreign::note_extra(&message.extra, || place.clone(), writing.notes);
        }
        if message.speaker == Speaker::Assistant {
            flush_shown(list, &mut shown);
            assistant(list, message, &place, writing)?;
            continue;
        }
        // Results stand in messages of their own, right behind the calls.
        let mut others = Vec::new();
        for block in &message.blocks {
            match &block.body {
                BlockBody::ToolResult(_) => {
                    tool_result(list, (message, block), &mut shown, &place, writing)?;
                }
                _ => others.push(block),
            }
        }
        if others.is_empty() && (!message.blocks.is_empty() || message.speaker == Speaker::Tool) {
            continue;
        }
        flush_shown(list, &mut shown);
        spoken(list, message, &others, &place, writing)?;
    }
    flush_shown(list, &mut shown);
    Ok(())
}

/// Images and files of tool results, which have no place there, as a user's message behind them.
fn flush_shown(list: &mut JsonOut, shown: &mut Vec<String>) {
    if shown.is_empty() {
        return;
    }
    list.object(|it| {
        it.string("role", "user");
        it.array("content", |parts| {
            for part in shown.iter() {
                parts.raw_text(part);
            }
        });
    });
    shown.clear();
}

/// What a system, a developer or a user says.
fn spoken(
    list: &mut JsonOut,
    message: &Message,
    blocks: &[&Block],
    place: &str,
    writing: &mut Writing<'_>,
) -> Result<(), Inexpressible> {
    let role = match message.speaker {
        // Servers that copy the API do not all know the newer word.
        Speaker::Developer if writing.own => "developer",
        Speaker::System | Speaker::Developer => "system",
        _ => "user",
    };
    let mut result = Ok(());
    list.object(|it| {
        it.string("role", role);
        result = content(it, blocks, place, writing);
        it.maybe_string("name", message.name.as_deref());
        if writing.own {
            it.extra(&message.extra);
        }
    });
    result
}

/// `content`: one plain text as a string, anything else as parts.
fn content(
    it: &mut Members<'_>,
    blocks: &[&Block],
    place: &str,
    writing: &mut Writing<'_>,
) -> Result<(), Inexpressible> {
    if let [block] = blocks
        && let BlockBody::Text { text, .. } = &block.body
        && (block.cache_mark.is_none() || !writing.marks)
        && (block.extra.is_empty() || !writing.own)
    {
        note_mark(block, writing);
        it.string("content", text);
        return Ok(());
    }
    let mut result = Ok(());
    it.array("content", |parts| {
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
    if block.cache_mark.is_some() && !writing.marks {
        writing.notes.dropped("cache_control");
    }
}

/// One content part.
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
    let (own, marks) = (writing.own, writing.marks);
    let mut result = Ok(());
    list.object(|it| {
        let mut own_member = None;
        match &block.body {
            BlockBody::Text { text, .. } => {
                it.string("type", "text");
                it.string("text", text);
            }
            BlockBody::Refusal { text } => {
                it.string("type", "refusal");
                it.string("refusal", text);
            }
            BlockBody::Image(media) => {
                own_member = Some("image_url");
                result = image(it, media, block, place, own);
            }
            BlockBody::Audio(media) => {
                own_member = Some("input_audio");
                result = audio(it, media, block, place, own);
            }
            BlockBody::File(media) => {
                own_member = Some("file");
                result = file(it, media, block, place, own);
            }
            _ => result = Err(refuse(place.to_owned(), "it has no place in this message")),
        }
        if let Some(mark) = block.cache_mark.filter(|_| marks) {
            write_cache_mark(it, mark);
        }
        if own {
            others(it, &block.extra, own_member.as_slice());
        }
    });
    result
}

/// The unknown members of a part's inner object, which reading left over under its name.
fn inner_extra(it: &mut Members<'_>, block: &Block, name: &str, own: bool) {
    if own {
        kept(it, &block.extra, name);
    }
}

const BY_ID: &str = "it is kept by its own provider under an id; send its content or its address";

fn image(
    it: &mut Members<'_>,
    media: &Media,
    block: &Block,
    place: &str,
    own: bool,
) -> Result<(), Inexpressible> {
    let url = url_of(&media.source).ok_or_else(|| refuse(place.to_owned(), BY_ID))?;
    it.string("type", "image_url");
    it.object("image_url", |it| {
        it.string("url", &url);
        it.maybe_string("detail", media.detail.as_deref());
        inner_extra(it, block, "image_url", own);
    });
    Ok(())
}

fn audio(
    it: &mut Members<'_>,
    media: &Media,
    block: &Block,
    place: &str,
    own: bool,
) -> Result<(), Inexpressible> {
    let Source::Base64 { media_type, data } = &media.source else {
        let why = "sound must be in the request, as base64";
        return Err(refuse(place.to_owned(), why));
    };
    let format = match media_type.trim_start_matches("audio/") {
        "mpeg" => "mp3",
        "x-wav" | "wave" | "vnd.wave" => "wav",
        format => format,
    };
    it.string("type", "input_audio");
    it.object("input_audio", |it| {
        it.string("data", data);
        it.string("format", format);
        inner_extra(it, block, "input_audio", own);
    });
    Ok(())
}

fn file(
    it: &mut Members<'_>,
    media: &Media,
    block: &Block,
    place: &str,
    own: bool,
) -> Result<(), Inexpressible> {
    if !own {
        match &media.source {
            // A document that is text is text.
            Source::Text { text, .. } => {
                it.string("type", "text");
                it.string("text", text);
                return Ok(());
            }
            Source::Id(_) => return Err(refuse(place.to_owned(), BY_ID)),
            Source::Url(_) => {
                let why = "files must be in the request, as base64";
                return Err(refuse(place.to_owned(), why));
            }
            Source::Base64 { .. } => {}
        }
    }
    it.string("type", "file");
    it.object("file", |it| {
        match &media.source {
            Source::Id(id) => it.string("file_id", id),
            source => it.string("file_data", &url_of(source).unwrap_or_default()),
        }
        match (&media.name, own) {
            (Some(name), _) => it.string("filename", name),
            // OpenAI demands one beside content.
            (None, false) => it.string("filename", "document.pdf"),
            (None, true) => {}
        }
        inner_extra(it, block, "file", own);
    });
    Ok(())
}

fn tool_result(
    list: &mut JsonOut,
    (message, block): (&Message, &Block),
    shown: &mut Vec<String>,
    place: &str,
    writing: &mut Writing<'_>,
) -> Result<(), Inexpressible> {
    let BlockBody::ToolResult(result) = &block.body else {
        return Ok(());
    };
    let mut texts = Vec::new();
    for (index, inner) in result.blocks.iter().enumerate() {
        if writing.own || matches!(inner.body, BlockBody::Text { .. }) {
            texts.push(inner.clone());
            continue;
        }
        let place = format!("{place}.content[{index}]");
        let mut json = JsonOut::default();
        part(&mut json, inner, &place, writing)?;
        if shown.is_empty() {
            let told = Block::text("What the tools returned beside text:");
            let mut json = JsonOut::default();
            part(&mut json, &told, &place, writing)?;
            shown.push(json.into_string());
        }
        shown.push(json.into_string());
        texts.push(Block::text("(see the next user message)"));
        writing.notes.changed(
            place,
            "follows in a user's message, behind the tool results",
        );
    }
    if result.is_error && !writing.own {
        texts.insert(0, Block::text("Error:"));
        writing
            .notes
            .changed("is_error", "the result begins with `Error:`");
    }
    if !writing.own {
        texts = one_text(&texts);
    }
    if let (Some(mark), Some(last)) = (block.cache_mark, texts.last_mut()) {
        last.cache_mark.get_or_insert(mark);
    }
    let mut wrote = Ok(());
    list.object(|it| {
        it.string("role", "tool");
        it.string("tool_call_id", &result.call_id);
        if texts.is_empty() {
            it.string("content", "");
        } else {
            let texts: Vec<&Block> = texts.iter().collect();
            wrote = content(it, &texts, place, writing);
        }
        if writing.own {
            it.maybe_string("name", result.name.as_deref());
            it.extra(&message.extra);
        }
    });
    wrote
}

/// Texts one below the other: servers that copy the API take a result's content as a string only.
fn one_text(blocks: &[Block]) -> Vec<Block> {
    let texts = blocks.iter().filter_map(|block| match &block.body {
        BlockBody::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    let joined = Block::text(texts.collect::<Vec<_>>().join("\n"));
    let cache_mark = blocks.iter().rev().find_map(|block| block.cache_mark);
    vec![Block {
        cache_mark,
        ..joined
    }]
}

fn assistant(
    list: &mut JsonOut,
    message: &Message,
    place: &str,
    writing: &mut Writing<'_>,
) -> Result<(), Inexpressible> {
    let (mut said, mut calls, mut thoughts, mut refusals) = (vec![], vec![], vec![], vec![]);
    for (index, block) in message.blocks.iter().enumerate() {
        match &block.body {
            BlockBody::ToolCall(call) => calls.push((block, call)),
            BlockBody::Reasoning(thought) => thoughts.push(thought),
            BlockBody::Refusal { text } if block.extra.is_empty() => refusals.push(text.as_str()),
            BlockBody::Text { .. } | BlockBody::Refusal { .. } | BlockBody::Native(_) => {
                said.push(block);
            }
            _ if writing.own => said.push(block),
            _ => writing.notes.dropped(format!("{place}.content[{index}]")),
        }
    }
    let thoughts = own_thoughts(&thoughts, place, writing);
    if said.is_empty()
        && calls.is_empty()
        && refusals.is_empty()
        && thoughts.is_empty()
        && !writing.own
    {
        // Nothing of the turn can be said.
        return Ok(());
    }
    let mut result = Ok(());
    list.object(|it| {
        it.string("role", "assistant");
        if said.is_empty() {
            it.null("content");
        } else {
            result = content(it, &said, place, writing);
        }
        if !refusals.is_empty() {
            it.string("refusal", &refusals.concat());
        }
        reasoning::write(it, &thoughts);
        if !calls.is_empty() {
            it.array("tool_calls", |list| {
                for (block, call) in calls {
                    tool_call(list, block, call, writing);
                }
            });
        }
        it.maybe_string("name", message.name.as_deref());
        if writing.own {
            it.extra(&message.extra);
        }
    });
    result
}

/// The thoughts that may go to this upstream: its own.
fn own_thoughts<'b>(
    thoughts: &[&'b ReasoningBlock],
    place: &str,
    writing: &mut Writing<'_>,
) -> Vec<(&'b ReasoningBlock, Option<String>)> {
    let mut kept = Vec::new();
    for &thought in thoughts {
        let seal = thought
            .seal
            .as_ref()
            .and_then(|seal| seal.for_upstream(NAME));
        let unsealed = writing.own && thought.seal.is_none();
        if seal.is_some() || unsealed {
            kept.push((thought, seal.map(str::to_owned)));
        } else {
            writing.notes.changed(
                format!("{place}.reasoning"),
                "thoughts of another provider are left out",
            );
        }
    }
    kept
}

fn tool_call(list: &mut JsonOut, block: &Block, call: &ToolCall, writing: &mut Writing<'_>) {
    note_mark(block, writing);
    list.object(|it| {
        it.string("id", &call.id);
        write_call(it, call, writing.own.then_some(&block.extra));
        let seal = call.seal.as_ref().and_then(|seal| seal.for_upstream(NAME));
        if let Some(seal) = seal {
            write_seal(it, seal);
        }
        if writing.own {
            others(it, &block.extra, &CALL_MEMBERS);
        }
        if let Some(mark) = block.cache_mark.filter(|_| writing.marks) {
            write_cache_mark(it, mark);
        }
    });
}

/// What holds the name and the input of a call.
pub(super) const CALL_MEMBERS: [&str; 2] = ["function", "custom"];

/// `type` and the function or the custom tool, with what was kept of it.
pub(super) fn write_call(it: &mut Members<'_>, call: &ToolCall, extra: Option<&Extra>) {
    match &call.input {
        ToolInput::Json(arguments) => {
            it.string("type", "function");
            it.object("function", |it| {
                it.string("name", &call.name);
                let arguments = if arguments.is_empty() {
                    "{}"
                } else {
                    arguments
                };
                it.string("arguments", arguments);
                if let Some(extra) = extra {
                    kept(it, extra, "function");
                }
            });
        }
        ToolInput::Text(input) => {
            it.string("type", "custom");
            it.object("custom", |it| {
                it.string("name", &call.name);
                it.string("input", input);
                if let Some(extra) = extra {
                    kept(it, extra, "custom");
                }
            });
        }
    }
}

/// `extra_content.google.thought_signature`.
pub(in crate::wire) fn write_seal(it: &mut Members<'_>, seal: &str) {
    it.object("extra_content", |it| {
        it.object("google", |it| it.string("thought_signature", seal));
    });
}
