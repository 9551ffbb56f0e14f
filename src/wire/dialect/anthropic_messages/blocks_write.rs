//! Neutral blocks to content blocks. What may be written at all was decided before; here nothing fails.

use super::{CALL_SEAL, call_ids};
use crate::types::chat::{
    Block, BlockBody, CacheMark, Citation, Media, RawJson, ReasoningBlock, Seal, Source, ToolCall,
    ToolInput, ToolResult,
};
use crate::wire::json_in::{Kind, Raw};
use crate::wire::json_out::{JsonOut, Members};

/// Under this member stands what a model wrote as a tool's input though it is no JSON object.
const INVALID_JSON: &str = "_invalid_json";
/// Under this member stands free text for a tool that takes no JSON.
pub(super) const FREE_TEXT: &str = "input";

/// Who reads the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// An upstream of ours: only Anthropic's own seals mean anything to it.
    Upstream,
    /// A client, who keeps foreign seals in their envelope.
    Client,
}

/// How blocks are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Who reads them.
    pub reader: Reader,
    /// They were read from this very dialect, so that what has no neutral name goes along.
    pub own: bool,
}

impl Form {
    /// One block; none where there is nothing to say in this dialect.
    pub fn block(self, out: &mut JsonOut, block: &Block) {
        match &block.body {
            BlockBody::Native(raw) => {
                if self.own {
                    out.raw(raw);
                }
                return;
            }
            BlockBody::ToolCall(call) => self.call_seal(out, call),
            _ => {}
        }
        out.object(|it| {
            self.body(it, &block.body);
            if let Some(mark) = block.cache_mark {
                cache_control(it, mark);
            }
            if self.own {
                it.extra(&block.extra);
            }
        });
    }

    fn body(self, it: &mut Members<'_>, body: &BlockBody) {
        match body {
            BlockBody::Text { text, citations } => {
                it.string("type", "text");
                it.string("text", text);
                self.citations(it, citations);
            }
            BlockBody::Refusal { text } => {
                it.string("type", "text");
                it.string("text", text);
            }
            BlockBody::Image(media) => {
                it.string("type", "image");
                it.object("source", |it| source(it, media));
            }
            BlockBody::Audio(media) => {
                it.string("type", "audio");
                it.object("source", |it| source(it, media));
            }
            BlockBody::File(media) => {
                it.string("type", "document");
                it.object("source", |it| source(it, media));
                it.maybe_string("title", media.name.as_deref());
            }
            BlockBody::ToolCall(call) => {
                it.string("type", "tool_use");
                it.string("id", &call_ids::fitting(&call.id));
                it.string("name", &call.name);
                input(it, &call.input);
            }
            BlockBody::ToolResult(result) => self.tool_result(it, result),
            BlockBody::Reasoning(thoughts) => self.thoughts(it, thoughts),
            // Written whole by the caller.
            BlockBody::Native(_) => {}
        }
    }

    fn tool_result(self, it: &mut Members<'_>, result: &ToolResult) {
        it.string("type", "tool_result");
        it.string("tool_use_id", &call_ids::fitting(&result.call_id));
        match result.blocks.as_slice() {
            [] => {}
            [block] if plain_text(block).is_some() => {
                it.maybe_string("content", plain_text(block));
            }
            blocks => it.array("content", |out| {
                for block in blocks {
                    self.block(out, block);
                }
            }),
        }
        if result.is_error {
            it.boolean("is_error", true);
        }
    }

    fn thoughts(self, it: &mut Members<'_>, thoughts: &ReasoningBlock) {
        let seal = thoughts.seal.as_ref().map(|seal| match self.reader {
            Reader::Client => seal.for_client(super::NAME),
            Reader::Upstream => seal
                .for_upstream(super::NAME)
                .unwrap_or_default()
                .to_owned(),
        });
        if thoughts.is_hidden && thoughts.text.is_empty() {
            it.string("type", "redacted_thinking");
            it.string("data", seal.as_deref().unwrap_or_default());
        } else {
            it.string("type", "thinking");
            it.string("thinking", &thoughts.text);
            // Anthropic's SDKs demand the member.
            it.string("signature", seal.as_deref().unwrap_or_default());
        }
    }

    fn citations(self, it: &mut Members<'_>, citations: &[Citation]) {
        if citations.is_empty() || (!self.own && self.reader == Reader::Upstream) {
            return;
        }
        it.array("citations", |out| {
            for citation in citations {
                self.citation(out, citation);
            }
        });
    }

    /// One citation: as it was, or as a page of the web.
    pub fn citation(self, out: &mut JsonOut, citation: &Citation) {
        if let (true, Some(native)) = (self.own, &citation.native) {
            out.raw(native);
            return;
        }
        out.object(|it| {
            it.string("type", "web_search_result_location");
            it.string("url", citation.url.as_deref().unwrap_or_default());
            match &citation.title {
                Some(title) => it.string("title", title),
                None => it.null("title"),
            }
            it.string(
                "cited_text",
                citation.cited_text.as_deref().unwrap_or_default(),
            );
            it.string("encrypted_index", "");
        });
    }

    /// A client keeps another provider's seal of a call in a hidden block before it.
    fn call_seal(self, out: &mut JsonOut, call: &ToolCall) {
        if self.reader == Reader::Client
            && let Some(data) = call_seal(call)
        {
            out.object(|it| {
                it.string("type", "redacted_thinking");
                it.string("data", &data);
            });
        }
    }
}

/// The seal of a call as the data of a hidden block.
pub(super) fn call_seal(call: &ToolCall) -> Option<String> {
    let seal = call.seal.as_ref()?;
    Some(seal_of(&call_ids::fitting(&call.id), seal))
}

/// The seal of the call of this id as the data of a hidden block.
pub(super) fn seal_of(id: &str, seal: &Seal) -> String {
    let mut named = seal.clone();
    named.value = format!("{CALL_SEAL}{id}:{}", seal.value);
    named.for_client(super::NAME)
}

/// The text of a block that is nothing but text.
pub(super) fn plain_text(block: &Block) -> Option<&str> {
    match &block.body {
        BlockBody::Text { text, citations }
            if citations.is_empty() && block.cache_mark.is_none() && block.extra.is_empty() =>
        {
            Some(text)
        }
        _ => None,
    }
}

/// `cache_control`.
pub(super) fn cache_control(it: &mut Members<'_>, mark: CacheMark) {
    it.object("cache_control", |it| {
        it.string("type", "ephemeral");
        if mark == CacheMark::Hour {
            it.string("ttl", "1h");
        }
    });
}

/// `input`: always an object.
pub(super) fn input(it: &mut Members<'_>, input: &ToolInput) {
    match input {
        ToolInput::Json(json) if json.trim().is_empty() => it.object("input", |_| {}),
        ToolInput::Json(json) => match Raw::parse(json) {
            Ok(raw) if raw.kind() == Kind::Object => it.raw("input", &RawJson::new(json)),
            _ => it.object("input", |it| it.string(INVALID_JSON, json)),
        },
        ToolInput::Text(text) => it.object("input", |it| it.string(FREE_TEXT, text)),
    }
}

fn source(it: &mut Members<'_>, media: &Media) {
    match &media.source {
        Source::Url(url) => {
            it.string("type", "url");
            it.string("url", url);
        }
        Source::Base64 { media_type, data } => {
            it.string("type", "base64");
            it.string("media_type", media_type);
            it.string("data", data);
        }
        Source::Id(id) => {
            it.string("type", "file");
            it.string("file_id", id);
        }
        Source::Text { media_type, text } => {
            it.string("type", "text");
            it.string("media_type", media_type);
            it.string("data", text);
        }
    }
}
