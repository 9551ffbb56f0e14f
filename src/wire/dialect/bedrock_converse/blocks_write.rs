//! Blocks to content blocks, in requests and in answers.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustc_hash::FxHashSet;

use super::NAME;
use super::blocks_read::JSON;
use super::citations;
use super::family::Family;
use super::formats::{self, Carrier};
use crate::types::chat::{
    Block, BlockBody, CacheMark, Media, ReasoningBlock, Seal, Source, ToolCall, ToolResult,
};
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{has, kept};
use crate::wire::tool_input;

/// Longest id of a call that Bedrock takes, by its API reference (`ToolUseBlock.toolUseId`).
const MAX_ID_BYTES: usize = 64;

/// Longest name of a document that Bedrock takes.
const MAX_NAME_CHARS: usize = 200;

/// What the blocks are written for.
pub(super) struct Pen {
    /// What is written was read from this dialect: unknown members and native blocks go back in.
    pub is_own: bool,
    /// For an upstream; otherwise for a client, who also keeps other providers' seals.
    pub is_upstream: bool,
    /// Whose model it is.
    pub family: Family,
    /// Names of documents that are taken: Bedrock refuses two of one name.
    pub names: FxHashSet<String>,
}

impl Pen {
    /// One block, and its mark of the prompt cache after it.
    pub fn block(&mut self, list: &mut JsonOut, block: &Block) {
        match &block.body {
            BlockBody::Native(native) if self.is_own => list.raw(native),
            BlockBody::Native(_) => return,
            _ => list.object(|it| self.members(it, block)),
        }
        if let Some(mark) = block.cache_mark
            && (self.is_own || self.family.takes_cache_points())
        {
            write_cache_point(list, mark);
        }
    }

    fn members(&mut self, it: &mut Members<'_>, block: &Block) {
        match &block.body {
            BlockBody::Text { text, citations }
                if !citations.is_empty() && (self.is_own || !self.is_upstream) =>
            {
                citations::write_block(it, text, citations, self.is_own);
            }
            BlockBody::Text { text, .. } | BlockBody::Refusal { text } => it.string("text", text),
            BlockBody::Image(media) | BlockBody::Audio(media) | BlockBody::File(media) => {
                self.media(it, media, block);
            }
            BlockBody::ToolCall(call) => self.call(it, call, block),
            BlockBody::ToolResult(result) => self.result(it, result, block),
            BlockBody::Reasoning(thought) => self.thought(it, thought),
            BlockBody::Native(_) => {}
        }
    }

    fn media(&mut self, it: &mut Members<'_>, media: &Media, block: &Block) {
        let source = inline(&media.source);
        let found = match &*source {
            Source::Base64 { media_type, .. } | Source::Text { media_type, .. } => {
                formats::of_media_type(media_type)
                    .map(|(carrier, format)| (carrier, format.to_owned()))
            }
            Source::Url(url) | Source::Id(url) => formats::of_name(url),
        };
        let (carrier, format) = found.unwrap_or_else(|| fallback(&block.body));
        // The format of what lies elsewhere was kept.
        let carrier = self.kept_carrier(block).unwrap_or(carrier);
        let format_is_kept = self.is_own && matches!(&*source, Source::Url(_) | Source::Id(_));
        it.object(carrier.name(), |it| {
            if !format_is_kept {
                it.string("format", &format);
            }
            if carrier == Carrier::Document {
                let name = self.document_name(media.name.as_deref());
                it.string("name", &name);
            }
            it.object("source", |it| write_source(it, &source, self.is_own));
            if self.is_own {
                kept(it, &block.extra, carrier.name());
            }
        });
    }

    fn kept_carrier(&self, block: &Block) -> Option<Carrier> {
        let all = [
            Carrier::Image,
            Carrier::Audio,
            Carrier::Video,
            Carrier::Document,
        ];
        let mut all = all.into_iter().filter(|_| self.is_own);
        all.find(|carrier| has(&block.extra, carrier.name()))
    }

    /// A document's name: letters, digits, spaces, hyphens and brackets, each name once.
    fn document_name(&mut self, name: Option<&str>) -> String {
        if self.is_own {
            return name.unwrap_or_default().to_owned();
        }
        let fits = |it: char| it.is_ascii_alphanumeric() || "-()[]".contains(it);
        let name = name.unwrap_or("document");
        let words: String = name
            .chars()
            .map(|it| if fits(it) { it } else { ' ' })
            .collect();
        let mut words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        words.truncate(MAX_NAME_CHARS - 8);
        if words.is_empty() {
            words.push_str("document");
        }
        let mut unique = words.clone();
        let mut number = 2_u32;
        while !self.names.insert(unique.clone()) {
            unique = format!("{words} {number}");
            number += 1;
        }
        unique
    }

    fn call(&self, it: &mut Members<'_>, call: &ToolCall, block: &Block) {
        it.object("toolUse", |it| {
            it.string("toolUseId", &self.id(&call.id));
            it.string("name", &call.name);
            tool_input::write(it.member("input"), &call.input);
            if self.is_own {
                kept(it, &block.extra, "toolUse");
            }
        });
    }

    fn result(&mut self, it: &mut Members<'_>, result: &ToolResult, block: &Block) {
        it.object("toolResult", |it| {
            it.string("toolUseId", &self.id(&result.call_id));
            it.array("content", |list| {
                for inner in &result.blocks {
                    self.inner(list, inner);
                }
            });
            if result.is_error {
                it.string("status", "error");
            }
            if self.is_own {
                kept(it, &block.extra, "toolResult");
            }
        });
    }

    fn inner(&mut self, list: &mut JsonOut, block: &Block) {
        match &block.body {
            BlockBody::Text { text, .. } if self.is_own && has(&block.extra, JSON) => {
                list.object(|it| it.member(JSON).raw_text(text));
            }
            // Bedrock refuses text without a word in it.
            BlockBody::Text { text, .. } if !self.is_own && text.trim().is_empty() => {}
            _ => self.block(list, block),
        }
    }

    fn thought(&self, it: &mut Members<'_>, thought: &ReasoningBlock) {
        let seal = thought.seal.as_ref().and_then(|seal| self.seal(seal));
        it.object("reasoningContent", |it| {
            if thought.is_hidden {
                let hidden = seal.as_deref().unwrap_or_default();
                return it.string("redactedContent", hidden);
            }
            it.object("reasoningText", |it| {
                it.string("text", &thought.text);
                it.maybe_string("signature", seal.as_deref());
            });
        });
    }

    /// A seal as its reader takes it. Anthropic's signatures hold on every platform that serves Claude.
    pub fn seal(&self, seal: &Seal) -> Option<String> {
        if !self.is_upstream {
            return Some(seal.for_client(NAME));
        }
        let anthropic = || {
            let claude = self.family.is_claude();
            claude
                .then(|| seal.for_upstream("anthropic_messages"))
                .flatten()
        };
        seal.for_upstream(NAME)
            .or_else(anthropic)
            .map(str::to_owned)
    }

    fn id<'i>(&self, id: &'i str) -> Cow<'i, str> {
        if self.is_own {
            return Cow::Borrowed(id);
        }
        fitting(id)
    }
}

/// `{"cachePoint": …}`.
pub(super) fn write_cache_point(list: &mut JsonOut, mark: CacheMark) {
    list.object(|it| {
        it.object("cachePoint", |it| {
            it.string("type", "default");
            if mark == CacheMark::Hour {
                it.string("ttl", "1h");
            }
        });
    });
}

fn write_source(it: &mut Members<'_>, source: &Source, is_own: bool) {
    match source {
        Source::Text { text, .. } if is_own => it.string("text", text),
        Source::Base64 { data, .. } => it.string("bytes", data),
        Source::Text { text, .. } => it.string("bytes", &STANDARD.encode(text)),
        Source::Url(uri) | Source::Id(uri) => it.object("s3Location", |it| it.string("uri", uri)),
    }
}

/// What a block is when its media do not say.
fn fallback(body: &BlockBody) -> (Carrier, String) {
    match body {
        BlockBody::Image(_) => (Carrier::Image, "png".to_owned()),
        BlockBody::Audio(_) => (Carrier::Audio, "wav".to_owned()),
        _ => (Carrier::Document, "pdf".to_owned()),
    }
}

/// The bytes of a `data:` address (RFC 2397).
pub(super) fn inline(source: &Source) -> Cow<'_, Source> {
    let inlined = || {
        let Source::Url(url) = source else {
            return None;
        };
        let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
        let media_type = head.strip_suffix(";base64")?;
        Some(Source::Base64 {
            media_type: media_type.split(';').next()?.to_owned(),
            data: data.to_owned(),
        })
    };
    inlined().map_or(Cow::Borrowed(source), Cow::Owned)
}

/// A call's id as Bedrock takes it: itself where it can be, else one that is made from it alone, so that
/// a call and its result still meet.
fn fitting(id: &str) -> Cow<'_, str> {
    let fits = |it: &char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-');
    if (1..=MAX_ID_BYTES).contains(&id.len()) && id.chars().all(|it| fits(&it)) {
        return Cow::Borrowed(id);
    }
    let some: String = id.chars().filter(fits).take(32).collect();
    let digest = crc32fast::hash(id.as_bytes());
    Cow::Owned(format!("{some}_{digest:08x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_and_stay_apart() {
        assert_eq!(fitting("call_1-a"), "call_1-a");
        assert_ne!(fitting("call.1"), fitting("call:1"));
        let long = "x".repeat(65);
        assert!(fitting(&long).len() <= MAX_ID_BYTES);
        assert!(!fitting("").is_empty());
    }
}
