//! A neutral conversation as Bedrock has it: instructions apart, user and assistant in turns, results of
//! tools at the beginning of the user's turn. Conversations of Bedrock's own clients stay as they are.

use std::borrow::Cow;

use super::NAME;
use super::blocks_write::Pen;
use crate::types::chat::{Block, BlockBody, ChatRequest, Extra, Message, Notes, Speaker};
use crate::wire::foreign::note_extra;
use crate::wire::json_out::{JsonOut, Members};

/// Stands where Bedrock demands a user's message and the client has none.
const PLACEHOLDER: &str = ".";

/// The conversation in shape.
pub(super) struct Conversation<'r> {
    is_own: bool,
    system: Vec<&'r Block>,
    turns: Vec<Turn<'r>>,
}

struct Turn<'r> {
    is_model: bool,
    blocks: Vec<Cow<'r, Block>>,
    extra: Option<&'r Extra>,
}

impl<'r> Conversation<'r> {
    /// Puts the request's messages into shape; says in `notes` what is left out.
    pub fn of(request: &'r ChatRequest, pen: &Pen, notes: &mut Notes) -> Self {
        let mut shape = Self {
            is_own: request.dialect == NAME,
            system: Vec::new(),
            turns: Vec::new(),
        };
        for (index, message) in request.messages.iter().enumerate() {
            shape.add(message, index, pen, notes);
        }
        if !shape.is_own {
            shape.settle(notes);
        }
        shape
    }

    fn add(&mut self, message: &'r Message, index: usize, pen: &Pen, notes: &mut Notes) {
        let is_instruction = matches!(message.speaker, Speaker::System | Speaker::Developer);
        let is_model = message.speaker == Speaker::Assistant;
        let kept = message
            .blocks
            .iter()
            .filter(|block| self.is_own || keeps(block, is_model, index, pen, notes));
        let kept: Vec<&'r Block> = kept.collect();
        if !self.is_own {
            if message.name.is_some() {
                notes.dropped(format!("messages[{index}].name"));
            }
            note_extra(&message.extra, || format!("messages[{index}]"), notes);
        }
        if is_instruction && self.turns.is_empty() {
            return self.system.extend(kept);
        }
        if is_instruction && !kept.is_empty() {
            let field = format!("messages[{index}].role");
            notes.changed(field, "instructions in the middle are the user's words");
        }
        let blocks = kept.into_iter().map(Cow::Borrowed);
        match self.turns.last_mut() {
            Some(turn) if turn.is_model == is_model && !self.is_own => turn.blocks.extend(blocks),
            _ => self.turns.push(Turn {
                is_model,
                blocks: blocks.collect(),
                extra: self.is_own.then_some(&message.extra),
            }),
        }
    }

    /// Puts a foreign conversation into the order that Bedrock demands.
    fn settle(&mut self, notes: &mut Notes) {
        let is_result = |block: &Cow<'_, Block>| matches!(block.body, BlockBody::ToolResult(_));
        for turn in &mut self.turns {
            turn.blocks.sort_by_key(|block| !is_result(block));
        }
        self.turns.retain(|turn| !turn.blocks.is_empty());
        let user = |blocks| Turn {
            is_model: false,
            blocks,
            extra: None,
        };
        if self.turns.is_empty() && !self.system.is_empty() {
            notes.changed("messages", "instructions alone are the user's message");
            let blocks = self.system.drain(..).map(Cow::Borrowed);
            self.turns.push(user(blocks.collect()));
        }
        if self.turns.first().is_some_and(|turn| turn.is_model) {
            notes.changed("messages", "a full stop of the user's stands first");
            let placeholder = Cow::Owned(Block::text(PLACEHOLDER));
            self.turns.insert(0, user(vec![placeholder]));
        }
    }

    /// True when the last turn goes on after tool calls whose thoughts are not there.
    pub fn lacks_thoughts(&self) -> bool {
        let [.., calls, results] = self.turns.as_slice() else {
            return false;
        };
        let has = |turn: &Turn<'_>, is: fn(&BlockBody) -> bool| {
            turn.blocks.iter().any(|block| is(&block.body))
        };
        has(results, |body| matches!(body, BlockBody::ToolResult(_)))
            && has(calls, |body| matches!(body, BlockBody::ToolCall(_)))
            && !has(calls, |body| matches!(body, BlockBody::Reasoning(_)))
    }

    /// The names of the tools that the conversation calls, each once.
    pub fn called(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for block in self.turns.iter().flat_map(|turn| &turn.blocks) {
            if let BlockBody::ToolCall(call) = &block.body
                && !names.contains(&call.name.as_str())
            {
                names.push(&call.name);
            }
        }
        names
    }

    /// Writes `system`, with `instruction` of our own after it, and `messages`.
    pub fn write(&self, it: &mut Members<'_>, instruction: Option<&str>, pen: &mut Pen) {
        if !self.system.is_empty() || instruction.is_some() {
            it.array("system", |list| {
                for block in &self.system {
                    pen.block(list, block);
                }
                if let Some(text) = instruction {
                    list.object(|it| it.string("text", text));
                }
            });
        }
        it.array("messages", |list| {
            for turn in &self.turns {
                turn.write(list, pen);
            }
        });
    }
}

impl Turn<'_> {
    fn write(&self, list: &mut JsonOut, pen: &mut Pen) {
        list.object(|it| {
            it.string("role", if self.is_model { "assistant" } else { "user" });
            it.array("content", |list| {
                for block in &self.blocks {
                    pen.block(list, block);
                }
            });
            if let Some(extra) = self.extra {
                it.extra(extra);
            }
        });
    }
}

/// True when a block of another dialect is written; what is left out is noted.
fn keeps(block: &Block, is_model: bool, index: usize, pen: &Pen, notes: &mut Notes) -> bool {
    let place = || format!("messages[{index}].content");
    note_extra(&block.extra, place, notes);
    if block.cache_mark.is_some() && !pen.family.takes_cache_points() {
        notes.dropped(format!("{}.cache_control", place()));
    }
    match &block.body {
        // Bedrock refuses text without a word in it.
        BlockBody::Text { text, citations } => {
            if !citations.is_empty() {
                notes.dropped(format!("{}.citations", place()));
            }
            !text.trim().is_empty()
        }
        BlockBody::Refusal { text } => {
            notes.changed(format!("{}.refusal", place()), "written as text");
            !text.trim().is_empty()
        }
        BlockBody::Reasoning(thought) => {
            let fits = thought.seal.as_ref().is_some_and(|seal| {
                // What another platform hid is not in Bedrock's form.
                let is_foreign = seal.for_upstream(NAME).is_none();
                pen.seal(seal).is_some() && !(thought.is_hidden && is_foreign)
            });
            if !fits {
                let what = "dropped: thoughts without the seal of this provider";
                notes.changed(format!("{}.reasoning", place()), what);
            }
            fits
        }
        BlockBody::Image(media) | BlockBody::File(media) | BlockBody::Audio(media) => {
            if media.detail.as_deref().is_some_and(|it| it != "auto") {
                notes.dropped(format!("{}.detail", place()));
            }
            if is_model {
                let what = "dropped: the model's turns hold no media";
                notes.changed(place(), what);
            }
            !is_model
        }
        BlockBody::ToolResult(result) => {
            for inner in &result.blocks {
                keeps(inner, is_model, index, pen, notes);
            }
            true
        }
        BlockBody::ToolCall(call) => {
            if call.seal.is_some() {
                notes.dropped(format!("{}.signature", place()));
            }
            true
        }
        BlockBody::Native(_) => false,
    }
}
