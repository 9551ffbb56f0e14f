//! Blocks to parts, in requests and in answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustc_hash::FxHashMap;

use super::NAME;
use super::call_ids::is_made_up;

use super::model::Generation;
use super::parts_read::ALONE;
use crate::types::chat::{
    Block, BlockBody, Media, Notes, ReasoningBlock, Seal, Source, ToolCall, ToolResult,
};
use crate::wire::foreign::note_extra;
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{has, kept, others};
use crate::wire::tool_input::{self, is_json_object};

/// What Google documents for calls that no Gemini model made: the check of their signature is skipped.
const DUMMY_SIGNATURE: &str = "skip_thought_signature_validator";

/// What the parts are written for.
pub(super) struct Pen<'p> {
    /// What is written was read from this dialect: unknown members and native parts go back in.
    pub is_own: bool,
    /// For an upstream; otherwise for a client, who also keeps other providers' seals.
    pub is_upstream: bool,
    /// Calls may carry an id (Vertex knows none).
    pub takes_ids: bool,
    /// The model's generation.
    pub generation: Generation,
    /// The functions of the calls, by the calls' ids.
    pub functions: FxHashMap<&'p str, &'p str>,
    /// What was left out.
    pub notes: &'p mut Notes,
}

impl Pen<'_> {
    /// The parts of one message, the `index`th.
    pub fn parts(&mut self, list: &mut JsonOut, blocks: &[Block], index: usize) {
        let mut is_first_call = true;
        let mut rest = blocks.iter().peekable();
        while let Some(block) = rest.next() {
            if !self.is_own {
                note_extra(&block.extra, || place(index), self.notes);
            }
            if block.cache_mark.is_some() {
                // Gemini keeps prompts by itself.
                let field = format!("{}.cache_control", place(index));
                self.notes.dropped(field);
            }
            match &block.body {
                BlockBody::Reasoning(thought) => self.thought(list, thought, block, index),
                BlockBody::ToolCall(call) => {
                    self.call(list, call, block, is_first_call);
                    is_first_call = false;
                }
                BlockBody::ToolResult(result) => self.result(list, result, block, index),
                BlockBody::Native(part) if self.is_own => list.raw(part),
                BlockBody::Native(_) => self.notes.dropped(place(index)),
                _ => {
                    let follower = rest.peek().and_then(|next| self.seal_of_former(next));
                    if follower.is_some() {
                        rest.next();
                    }
                    self.shown(list, block, follower.as_deref(), index);
                }
            }
        }
    }

    /// The signature that `block` adds to the part before it.
    fn seal_of_former(&self, block: &Block) -> Option<String> {
        match &block.body {
            BlockBody::Reasoning(thought) if thought.is_hidden && !has(&block.extra, ALONE) => {
                self.seal(thought.seal.as_ref()?)
            }
            _ => None,
        }
    }

    fn seal(&self, seal: &Seal) -> Option<String> {
        if self.is_upstream {
            seal.for_upstream(NAME).map(str::to_owned)
        } else {
            Some(seal.for_client(NAME))
        }
    }

    /// Text, images, sounds and files.
    fn shown(&mut self, list: &mut JsonOut, block: &Block, seal: Option<&str>, index: usize) {
        let (text, media) = match &block.body {
            BlockBody::Text { text, citations } => {
                if self.is_upstream && !citations.is_empty() {
                    self.notes.dropped(format!("{}.citations", place(index)));
                }
                (text, None)
            }
            BlockBody::Refusal { text } => {
                if self.is_upstream {
                    let field = format!("{}.refusal", place(index));
                    self.notes.changed(field, "written as text");
                }
                (text, None)
            }
            BlockBody::Image(media) | BlockBody::Audio(media) | BlockBody::File(media) => {
                let detail = media.detail.as_deref();
                if self.is_upstream && detail.is_some_and(|it| it != "auto") {
                    self.notes.dropped(format!("{}.detail", place(index)));
                }
                (&String::new(), Some(media))
            }
            _ => return,
        };
        // Google refuses parts without content.
        if media.is_none() && text.is_empty() && seal.is_none() && !self.is_own {
            return;
        }
        list.object(|it| {
            match media {
                Some(media) => self.media(it, media, block),
                None => it.string("text", text),
            }
            it.maybe_string("thoughtSignature", seal);
            self.rest(it, block);
        });
    }

    fn rest(&self, it: &mut Members<'_>, block: &Block) {
        if self.is_own {
            let nested = ["inlineData", "fileData", "functionCall", "functionResponse"];
            others(it, &block.extra, &nested);
        }
    }

    fn media(&self, it: &mut Members<'_>, media: &Media, block: &Block) {
        let inline = |it: &mut Members<'_>, media_type: &str, data: &str| {
            it.object("inlineData", |it| {
                it.string("mimeType", media_type);
                it.string("data", data);
                if self.is_own {
                    it.maybe_string("displayName", media.name.as_deref());
                    kept(it, &block.extra, "inlineData");
                }
            });
        };
        match &media.source {
            Source::Base64 { media_type, data } => inline(it, media_type, data),
            Source::Text { media_type, text } => inline(it, media_type, &STANDARD.encode(text)),
            Source::Url(url) | Source::Id(url) => {
                if let Some((media_type, data)) = data_url(url) {
                    return inline(it, media_type, data);
                }
                it.object("fileData", |it| {
                    it.string("fileUri", url);
                    if self.is_own {
                        it.maybe_string("displayName", media.name.as_deref());
                        return kept(it, &block.extra, "fileData");
                    }
                    let named = media.name.as_deref().unwrap_or(url);
                    it.string("mimeType", type_of(&block.body, named));
                });
            }
        }
    }

    fn thought(
        &mut self,
        list: &mut JsonOut,
        thought: &ReasoningBlock,
        block: &Block,
        index: usize,
    ) {
        let seal = thought.seal.as_ref().and_then(|seal| self.seal(seal));
        let is_foreign = seal.is_none() && !self.is_own;
        if self.is_upstream && (is_foreign || (thought.is_hidden && seal.is_none())) {
            // Thoughts of another provider, which Google could not check.
            self.notes.dropped(format!("{}.reasoning", place(index)));
            return;
        }
        list.object(|it| {
            it.string("text", &thought.text);
            if !thought.is_hidden {
                it.boolean("thought", true);
            }
            it.maybe_string("thoughtSignature", seal.as_deref());
            if self.is_own {
                others(it, &block.extra, &[ALONE]);
            }
        });
    }

    fn call(&mut self, list: &mut JsonOut, call: &ToolCall, block: &Block, is_first: bool) {
        let seal = call.seal.as_ref().and_then(|seal| self.seal(seal));
        let demanded = self.is_upstream && !self.is_own && is_first;
        let dummy = demanded && self.generation.demands_signatures();
        let seal = seal.as_deref().or_else(|| dummy.then_some(DUMMY_SIGNATURE));
        list.object(|it| {
            it.object("functionCall", |it| {
                self.id(it, &call.id);
                it.string("name", &call.name);
                tool_input::write(it.member("args"), &call.input);
                if self.is_own {
                    kept(it, &block.extra, "functionCall");
                }
            });
            it.maybe_string("thoughtSignature", seal);
            self.rest(it, block);
        });
    }

    fn id(&self, it: &mut Members<'_>, id: &str) {
        if self.takes_ids && !is_made_up(id) {
            it.string("id", id);
        }
    }

    fn result(&mut self, list: &mut JsonOut, result: &ToolResult, block: &Block, index: usize) {
        let known = result.name.as_deref().filter(|name| !name.is_empty());
        let name = known.or_else(|| self.functions.get(result.call_id.as_str()).copied());
        if name.is_none() && !self.is_own {
            let field = format!("{}.tool_call_id", place(index));
            self.notes
                .changed(field, "answers no call; named after its id");
        }
        let name = name.unwrap_or(&result.call_id).to_owned();
        let inside = self.generation.takes_media_in_results() || self.is_own;
        let media = result.blocks.iter().filter(|it| is_media(&it.body));
        let (media, beside): (Vec<_>, Vec<_>) = media.partition(|_| inside);
        list.object(|it| {
            it.object("functionResponse", |it| {
                self.id(it, &result.call_id);
                it.string("name", &name);
                response(it, result);
                if !media.is_empty() {
                    it.array("parts", |list| {
                        for block in media {
                            self.shown(list, block, None, index);
                        }
                    });
                }
                if self.is_own {
                    kept(it, &block.extra, "functionResponse");
                }
            });
            self.rest(it, block);
        });
        // Older models look at images beside the result only.
        for block in beside {
            self.shown(list, block, None, index);
        }
    }
}

fn place(index: usize) -> String {
    format!("messages[{index}].content")
}

const fn is_media(body: &BlockBody) -> bool {
    matches!(
        body,
        BlockBody::Image(_) | BlockBody::Audio(_) | BlockBody::File(_)
    )
}

/// A result's text: an object as it is, anything else under the name that Google gives it.
fn response(it: &mut Members<'_>, result: &ToolResult) {
    let texts = result.blocks.iter().filter_map(|block| match &block.body {
        BlockBody::Text { text, .. } | BlockBody::Refusal { text } => Some(text.as_str()),
        _ => None,
    });
    let text = texts.collect::<Vec<_>>().join("\n");
    if result.is_error {
        it.object("response", |it| it.string("error", &text));
    } else if is_json_object(&text) {
        it.member("response").raw_text(text.trim());
    } else {
        it.object("response", |it| it.string("output", &text));
    }
}

/// The media type and the base64 of a `data:` URL.
pub(super) fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?;
    Some((media_type.split(';').next()?, data))
}

/// The media type of what stands at an address, which Google wants to know.
fn type_of(body: &BlockBody, name: &str) -> &'static str {
    let by_name = type_of_name(name);
    match body {
        BlockBody::Image(_) if !by_name.starts_with("image/") => "image/jpeg",
        BlockBody::Audio(_) if !by_name.starts_with("audio/") => "audio/wav",
        _ => by_name,
    }
}

/// The media type that a file's name suggests; PDF where it suggests none.
pub(super) fn type_of_name(name: &str) -> &'static str {
    let path = name.split(['?', '#']).next().unwrap_or(name);
    let extension = path.rsplit('/').next().and_then(|it| it.rsplit_once('.'));
    let extension = extension.map(|(_, it)| it.to_ascii_lowercase());
    match extension.as_deref() {
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("gif") => "image/gif",
        Some("heic") => "image/heic",
        Some("heif") => "image/heif",
        Some("wav") => "audio/wav",
        Some("mp3") => "audio/mp3",
        Some("flac") => "audio/flac",
        Some("ogg") => "audio/ogg",
        Some("mp4") => "video/mp4",
        Some("webm") => "video/webm",
        Some("mov") => "video/mov",
        Some("txt") => "text/plain",
        Some("md") => "text/markdown",
        Some("html" | "htm") => "text/html",
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        _ => "application/pdf",
    }
}
