//! One stream of Bedrock's. A block of text has no beginning of its own; the usage comes after the
//! reason to stop, and with it the stream is over.

use super::answer_read::{not, service_tier, stop_sequence};
use super::{NAME, citations, errors, finish, usage};
use crate::types::chat::{
    AnswerHead, BlockBody, BlockStart, ChatEvent, Delta, Finish, ReasoningBlock, Seal, ToolInput,
};
use crate::wire::dialect::anthropic_messages::held::Blocks;
use crate::wire::facts::NotADialect;
use crate::wire::json_in::{Object, Raw};
use crate::wire::translate::{StreamReader, WireEvent};

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    is_over: bool,
    blocks: Blocks,
    finish: Option<Finish>,
}

impl StreamReader for Reader {
    fn read(&mut self, event: WireEvent<'_>, out: &mut Vec<ChatEvent>) -> Result<(), NotADialect> {
        if self.is_over {
            return Ok(());
        }
        let data = std::str::from_utf8(event.data).map_err(|_| not("an event is not UTF-8"))?;
        let name = event.name.unwrap_or_default();
        let is_event = matches!(
            name,
            "messageStart"
                | "contentBlockStart"
                | "contentBlockDelta"
                | "contentBlockStop"
                | "messageStop"
                | "metadata"
        );
        if !is_event {
            self.other(name, data, out);
            return Ok(());
        }
        let object = Object::read(data).map_err(|_| not("an event is no JSON object"))?;
        self.start(out);
        match name {
            "contentBlockStart" => self.block_start(object, out),
            "contentBlockDelta" => self.block_delta(object, out),
            "contentBlockStop" => self.blocks.close(index(&object), out),
            "messageStop" => self.message_stop(object, out),
            "metadata" => self.metadata(object, out),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) {
        if !self.is_over && self.finish.is_some() {
            self.end(out);
        }
    }
}

impl Reader {
    fn start(&mut self, out: &mut Vec<ChatEvent>) {
        if !self.started {
            self.started = true;
            out.push(ChatEvent::Start(AnswerHead::default()));
        }
    }

    /// Exceptions and errors have names of their own; events that are new are passed over.
    fn other(&mut self, name: &str, data: &str, out: &mut Vec<ChatEvent>) {
        let is_exception = name.ends_with("Exception");
        if is_exception || errors::read(data).is_some() {
            self.is_over = true;
            out.push(ChatEvent::Error(errors::fault(name, data)));
        }
    }

    fn block_start(&mut self, mut event: Object<'_>, out: &mut Vec<ChatEvent>) {
        let index = index(&event);
        let start = event.take("start").and_then(Raw::object);
        let Some(mut start) = start else { return };
        let call = start.take("toolUse").and_then(Raw::object);
        if let Some(mut call) = call {
            let id = call.take_string("toolUseId").unwrap_or_default();
            let name = call.take_string("name").unwrap_or_default();
            let start = BlockStart::ToolCall {
                id,
                name,
                input: ToolInput::Json(String::new()),
                seal: None,
            };
            self.blocks.open(index, start, out);
        }
    }

    fn block_delta(&mut self, mut event: Object<'_>, out: &mut Vec<ChatEvent>) {
        let index = index(&event);
        let delta = event.take("delta").and_then(Raw::object);
        let Some(mut delta) = delta else { return };
        if let Some(text) = delta.take_string("text") {
            self.open(index, BlockStart::Text, out);
            if !text.is_empty() {
                self.blocks.delta(index, Delta::Text(text), out);
            }
        } else if let Some(mut call) = delta.take("toolUse").and_then(Raw::object) {
            if let Some(input) = call.take_string("input").filter(|it| !it.is_empty()) {
                self.blocks.delta(index, Delta::Input(input), out);
            }
        } else if let Some(thought) = delta.take("reasoningContent").and_then(Raw::object) {
            self.think(index, thought, out);
        } else if let Some(citation) = delta.take("citation") {
            self.open(index, BlockStart::Text, out);
            let citation = Box::new(citations::read(citation));
            self.blocks.delta(index, Delta::Citation(citation), out);
        }
    }

    fn think(&mut self, index: u64, mut thought: Object<'_>, out: &mut Vec<ChatEvent>) {
        if let Some(hidden) = thought.take_string("redactedContent") {
            let hidden = BlockBody::Reasoning(ReasoningBlock {
                seal: Some(Seal::read(&hidden, NAME)),
                is_hidden: true,
                ..ReasoningBlock::default()
            });
            let whole = BlockStart::Whole(Box::new(hidden.into()));
            return self.blocks.open(index, whole, out);
        }
        let start = BlockStart::Reasoning {
            id: None,
            is_summary: false,
        };
        self.open(index, start, out);
        if let Some(text) = thought.take_string("text").filter(|it| !it.is_empty()) {
            self.blocks.delta(index, Delta::Text(text), out);
        }
        if let Some(signature) = thought.take_string("signature") {
            let seal = Delta::Seal(Seal::read(&signature, NAME));
            self.blocks.delta(index, seal, out);
        }
    }

    /// Opens the block of this index unless it is open.
    fn open(&mut self, index: u64, start: BlockStart, out: &mut Vec<ChatEvent>) {
        if !self.blocks.is_open(index) {
            self.blocks.open(index, start, out);
        }
    }

    fn message_stop(&mut self, mut event: Object<'_>, out: &mut Vec<ChatEvent>) {
        self.blocks.close_all(out);
        let word = event.take_string("stopReason");
        let word = word.as_deref().unwrap_or("end_turn");
        let finish = finish::read(word, stop_sequence(&event));
        if self.finish.is_none() {
            out.push(ChatEvent::Finish {
                choice: 0,
                finish: finish.clone(),
            });
        }
        self.finish = Some(finish);
    }

    /// Usage. Where the reason to stop was seen, nothing follows.
    fn metadata(&mut self, mut event: Object<'_>, out: &mut Vec<ChatEvent>) {
        let usage = event.take("usage").and_then(Raw::object).map(usage::read);
        if let Some((Some(tokens), _)) = usage {
            out.push(ChatEvent::Usage(tokens));
        }
        out.extend(service_tier(&event).map(ChatEvent::ServiceTier));
        if self.finish.is_some() {
            self.end(out);
        }
    }

    fn end(&mut self, out: &mut Vec<ChatEvent>) {
        self.is_over = true;
        self.blocks.close_all(out);
        out.push(ChatEvent::End);
    }
}

/// Which block; the first where it is not said.
fn index(event: &Object<'_>) -> u64 {
    let index = event.get("contentBlockIndex");
    index.and_then(Raw::count).unwrap_or(0)
}
