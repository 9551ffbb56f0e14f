//! A neutral conversation as Anthropic has it: instructions apart, user and assistant in turns, every
//! result of a tool at the beginning of the user's turn after the call.
//!
//! Conversations of Anthropic's own clients stay as they are. Others are put into shape here, and here
//! it is decided what cannot be said; what comes out is written without further questions.

use std::borrow::Cow;

use super::blocks_write::{Form, Reader, plain_text};
use super::{NAME, refuse};
use crate::types::chat::{
    Block, BlockBody, ChatRequest, Extra, Inexpressible, Media, Message, Notes, Source, Speaker,
};
use crate::wire::foreign::note_extra;
use crate::wire::json_out::{JsonOut, Members};

/// Stands where Anthropic demands a user's message and the client has none.
const PLACEHOLDER: &str = ".";

/// The conversation in shape.
#[derive(Debug, Default)]
pub(super) struct Conversation<'r> {
    own: bool,
    system: Vec<&'r Block>,
    turns: Vec<Turn<'r>>,
}

#[derive(Debug)]
struct Turn<'r> {
    speaker: Speaker,
    pieces: Vec<Cow<'r, Block>>,
    extra: Option<&'r Extra>,
}

impl<'r> Conversation<'r> {
    /// Puts the request's messages into shape.
    ///
    /// # Errors
    /// For what may not be left out and cannot be said.
    pub fn of(request: &'r ChatRequest, notes: &mut Notes) -> Result<Self, Inexpressible> {
        let mut shape = Self {
            own: request.dialect == NAME,
            ..Self::default()
        };
        for (index, message) in request.messages.iter().enumerate() {
            shape.message(index, message, notes)?;
        }
        if !shape.own {
            shape.settle(notes);
        }
        Ok(shape)
    }

    fn message(
        &mut self,
        index: usize,
        message: &'r Message,
        notes: &mut Notes,
    ) -> Result<(), Inexpressible> {
        let is_instruction = matches!(message.speaker, Speaker::System | Speaker::Developer);
        let mut pieces = Vec::with_capacity(message.blocks.len());
        for (place, block) in message.blocks.iter().enumerate() {
            let at = At { index, place };
            if is_instruction && !self.own && !matches!(block.body, BlockBody::Text { .. }) {
                return Err(refuse(at.field(), "instructions are text only"));
            }
            if self.keeps(block, message.speaker, at, notes)? {
                pieces.push(block);
            }
        }
        if self.own {
            if is_instruction && self.turns.is_empty() && message.extra.is_empty() {
                self.system.extend(pieces);
            } else {
                self.turns.push(Turn {
                    speaker: message.speaker,
                    pieces: pieces.into_iter().map(Cow::Borrowed).collect(),
                    extra: Some(&message.extra),
                });
            }
            return Ok(());
        }
        if message.name.is_some() {
            notes.dropped(format!("messages[{index}].name"));
        }
        note_extra(&message.extra, || format!("messages[{index}]"), notes);
        if is_instruction && self.turns.is_empty() {
            self.system.extend(pieces);
            return Ok(());
        }
        if is_instruction && !pieces.is_empty() {
            let field = format!("messages[{index}].role");
            notes.changed(field, "instructions in the middle are the user's words");
        }
        let speaker = match message.speaker {
            Speaker::Assistant => Speaker::Assistant,
            _ => Speaker::User,
        };
        let pieces = pieces.into_iter().map(Cow::Borrowed);
        match self.turns.last_mut() {
            Some(turn) if turn.speaker == speaker => turn.pieces.extend(pieces),
            _ => self.turns.push(Turn {
                speaker,
                pieces: pieces.collect(),
                extra: None,
            }),
        }
        Ok(())
    }

    /// True when a block is written; false when it is left out, which was noted.
    fn keeps(
        &self,
        block: &Block,
        speaker: Speaker,
        at: At,
        notes: &mut Notes,
    ) -> Result<bool, Inexpressible> {
        if let BlockBody::Reasoning(thoughts) = &block.body {
            let seal = thoughts.seal.as_ref();
            let fits = seal.is_some_and(|seal| seal.for_upstream(NAME).is_some());
            if !fits {
                notes.changed(
                    at.field(),
                    "dropped: thoughts without the seal of this provider",
                );
            }
            return Ok(fits);
        }
        if self.own {
            return Ok(true);
        }
        note_extra(&block.extra, || at.field(), notes);
        let media = match &block.body {
            BlockBody::Text { text, citations } => {
                if !citations.is_empty() {
                    notes.dropped(format!("{}.annotations", at.field()));
                }
                // Anthropic refuses text without a word in it.
                return Ok(!text.trim().is_empty());
            }
            BlockBody::Refusal { text } => {
                notes.changed(at.field(), "a refusal is written as text");
                return Ok(!text.trim().is_empty());
            }
            BlockBody::Native(_) => {
                let why = "it is of another provider's own kind";
                return Err(refuse(at.field(), why));
            }
            BlockBody::Audio(_) => return Err(refuse(at.field(), "there is no sound here")),
            BlockBody::ToolResult(result) => {
                for block in &result.blocks {
                    self.keeps(block, speaker, at, notes)?;
                }
                return Ok(true);
            }
            BlockBody::ToolCall(call) => {
                if call.seal.is_some() {
                    notes.dropped(format!("{}.signature", at.field()));
                }
                return Ok(true);
            }
            BlockBody::Reasoning(_) => return Ok(true),
            BlockBody::Image(media) | BlockBody::File(media) => media,
        };
        if speaker == Speaker::Assistant {
            notes.changed(
                at.field(),
                "dropped: the model's turns hold no images or files",
            );
            return Ok(false);
        }
        if media.detail.as_ref().is_some_and(|detail| detail != "auto") {
            notes.dropped(format!("{}.detail", at.field()));
        }
        is_sendable(media, matches!(block.body, BlockBody::File(_)), at)?;
        Ok(true)
    }

    /// Puts a foreign conversation into the order that Anthropic demands.
    fn settle(&mut self, notes: &mut Notes) {
        for turn in &mut self.turns {
            let is_result = |piece: &Cow<'_, Block>| matches!(piece.body, BlockBody::ToolResult(_));
            turn.pieces.sort_by_key(|piece| !is_result(piece));
            for piece in &mut turn.pieces {
                if let Some(shaped) = shaped(piece) {
                    *piece = Cow::Owned(shaped);
                }
            }
        }
        self.turns.retain(|turn| !turn.pieces.is_empty());
        if self.turns.is_empty() && !self.system.is_empty() {
            notes.changed("messages", "instructions alone are the user's message");
            let pieces = self.system.drain(..).map(Cow::Borrowed).collect();
            self.turns.push(Turn {
                speaker: Speaker::User,
                pieces,
                extra: None,
            });
        }
        let first = self.turns.first().map(|turn| turn.speaker);
        if first == Some(Speaker::Assistant) {
            notes.changed("messages", "a full stop of the user's stands first");
            let pieces = vec![Cow::Owned(Block::text(PLACEHOLDER))];
            self.turns.insert(
                0,
                Turn {
                    speaker: Speaker::User,
                    pieces,
                    extra: None,
                },
            );
        }
        if let Some(turn) = self.turns.last_mut()
            && turn.speaker == Speaker::Assistant
            && let Some(piece) = turn.pieces.last_mut()
            && let BlockBody::Text { text, .. } = &piece.body
            && text.ends_with(char::is_whitespace)
        {
            notes.changed("messages", "white space at the end of a prefill is cut");
            let trimmed = text.trim_end().to_owned();
            *piece = Cow::Owned(Block::text(trimmed));
        }
    }

    /// True when the last turn goes on after tool calls whose thoughts are not there.
    pub fn lacks_thoughts(&self) -> bool {
        let [.., calls, results] = self.turns.as_slice() else {
            return false;
        };
        let has = |turn: &Turn<'_>, is: fn(&BlockBody) -> bool| {
            turn.pieces.iter().any(|piece| is(&piece.body))
        };
        has(results, |body| matches!(body, BlockBody::ToolResult(_)))
            && has(calls, |body| matches!(body, BlockBody::ToolCall(_)))
            && !has(calls, |body| matches!(body, BlockBody::Reasoning(_)))
    }

    /// `system`, with `instruction` of our own after it, and `messages`.
    pub fn write(&self, it: &mut Members<'_>, instruction: Option<&str>) {
        let form = Form {
            reader: Reader::Upstream,
            own: self.own,
        };
        match (self.system.as_slice(), instruction) {
            ([], None) => {}
            ([], Some(text)) => it.string("system", text),
            ([block], None) if plain_text(block).is_some() => {
                it.maybe_string("system", plain_text(block));
            }
            (blocks, instruction) => it.array("system", |out| {
                for block in blocks {
                    form.block(out, block);
                }
                if let Some(text) = instruction {
                    form.block(out, &Block::text(text));
                }
            }),
        }
        it.array("messages", |out| {
            for turn in &self.turns {
                turn.write(out, form);
            }
        });
    }
}

impl Turn<'_> {
    fn write(&self, out: &mut JsonOut, form: Form) {
        out.object(|it| {
            let role = match self.speaker {
                Speaker::Assistant => "assistant",
                Speaker::System | Speaker::Developer => "system",
                Speaker::User | Speaker::Tool => "user",
            };
            it.string("role", role);
            match self.pieces.as_slice() {
                [piece] if plain_text(piece).is_some() => {
                    it.maybe_string("content", plain_text(piece));
                }
                pieces => it.array("content", |out| {
                    for piece in pieces {
                        form.block(out, piece);
                    }
                }),
            }
            if let Some(extra) = self.extra {
                it.extra(extra);
            }
        });
    }
}

/// Where a block stands in the client's request.
#[derive(Clone, Copy, Debug)]
struct At {
    index: usize,
    place: usize,
}

impl At {
    fn field(self) -> String {
        format!("messages[{}].content[{}]", self.index, self.place)
    }
}

/// What of images and files another provider cannot be given.
fn is_sendable(media: &Media, is_file: bool, at: At) -> Result<(), Inexpressible> {
    match &media.source {
        Source::Id(_) => Err(refuse(
            at.field(),
            "the file is kept by another provider; send its bytes",
        )),
        Source::Base64 { media_type, .. }
            if is_file && media_type != PDF && !media_type.starts_with("text/") =>
        {
            let why = "files are PDF or text here";
            Err(refuse(at.field(), why))
        }
        _ => Ok(()),
    }
}

const PDF: &str = "application/pdf";

/// A block of another dialect as Anthropic takes it, where it is not so already.
fn shaped(block: &Block) -> Option<Block> {
    let body = match &block.body {
        BlockBody::File(media) => BlockBody::File(Media {
            source: text_of(&media.source)?,
            ..media.clone()
        }),
        BlockBody::Image(media) => BlockBody::Image(Media {
            source: inline(&media.source)?,
            ..media.clone()
        }),
        BlockBody::ToolResult(result) => {
            let is_empty = |block: &Block| matches!(&block.body, BlockBody::Text { text, .. } if text.trim().is_empty());
            if !result
                .blocks
                .iter()
                .any(|it| is_empty(it) || shaped(it).is_some())
            {
                return None;
            }
            let mut result = result.clone();
            result.blocks.retain(|block| !is_empty(block));
            for block in &mut result.blocks {
                if let Some(shaped) = shaped(block) {
                    *block = shaped;
                }
            }
            BlockBody::ToolResult(result)
        }
        _ => return None,
    };
    Some(Block {
        body,
        cache_mark: block.cache_mark,
        extra: Extra::none(),
    })
}

/// A text file in base64 as the text that it is.
fn text_of(source: &Source) -> Option<Source> {
    use base64::Engine as _;
    let inlined = inline(source);
    match inlined.as_ref().unwrap_or(source) {
        Source::Base64 { media_type, data } if media_type.starts_with("text/") => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(data)
                .ok()?;
            Some(Source::Text {
                // The only kind of text that Anthropic names.
                media_type: "text/plain".to_owned(),
                text: String::from_utf8(bytes).ok()?,
            })
        }
        _ => inlined,
    }
}

/// The bytes of a `data:` address (RFC 2397).
fn inline(source: &Source) -> Option<Source> {
    let Source::Url(url) = source else {
        return None;
    };
    let (kind, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = kind.strip_suffix(";base64")?;
    Some(Source::Base64 {
        media_type: media_type.split(';').next().unwrap_or_default().to_owned(),
        data: data.to_owned(),
    })
}
