//! A stream for a client: the events of one response, numbered.

use bytes::{BufMut, BytesMut};

use super::NAME;
use super::answer_write::content_of;
use super::compose::{
    Frame, Stage, call_item, image_item, last_event, message_item, reasoning_item, said_part,
};
use super::items_write::write_annotation;
use crate::types::Tokens;
use crate::types::chat::event::StreamFault;
use crate::types::chat::message::ToolInput;
use crate::types::chat::{
    AnswerHead, Block, BlockBody, BlockStart, ChatEvent, Citation, Delta, Extra, Finish,
    ReasoningBlock, Seal, ToolCall,
};
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::sse_lines;
use crate::wire::translate::{Asked, StreamWriter};

/// Writes one stream.
pub(super) struct EventWriter {
    asked: OwnedAsked,
    frame: Option<Frame>,
    sequence_number: u64,
    /// The items that are complete.
    output: Vec<String>,
    /// The parts of the message item that is open.
    parts: Option<Vec<String>>,
    open: Open,
    logprobs: Vec<String>,
    usage: Option<Tokens>,
    finish: Option<Finish>,
    /// Kept for its room.
    scratch: Vec<u8>,
}

/// What is asked for, for as long as the stream lives.
struct OwnedAsked {
    body: bytes::Bytes,
    endpoint: crate::types::Endpoint,
    id: String,
    created: u64,
    from: &'static str,
}

/// What the open block is, with what it holds so far.
enum Open {
    Nothing,
    Text {
        text: String,
        citations: Vec<Citation>,
    },
    Refusal(String),
    Thought {
        block: ReasoningBlock,
        began: bool,
    },
    Call(ToolCall),
}

impl EventWriter {
    pub fn new(asked: &Asked<'_>) -> Self {
        Self {
            asked: OwnedAsked {
                body: asked.body.clone(),
                endpoint: asked.endpoint,
                id: asked.id.to_owned(),
                created: asked.created,
                from: asked.from,
            },
            frame: None,
            sequence_number: 0,
            output: Vec::new(),
            parts: None,
            open: Open::Nothing,
            logprobs: Vec::new(),
            usage: None,
            finish: None,
            scratch: Vec::new(),
        }
    }

    fn frame(&mut self, head: &AnswerHead) -> &Frame {
        let asked = Asked {
            endpoint: self.asked.endpoint,
            body: &self.asked.body,
            include_usage: true,
            id: &self.asked.id,
            created: self.asked.created,
            from: self.asked.from,
        };
        self.frame.get_or_insert_with(|| Frame::new(head, &asked))
    }

    /// One event.
    fn say(&mut self, out: &mut BytesMut, kind: &str, members: impl FnOnce(&mut Members<'_>)) {
        let mut json = JsonOut::reusing(std::mem::take(&mut self.scratch));
        json.object(|it| {
            it.string("type", kind);
            it.integer("sequence_number", self.sequence_number);
            members(it);
        });
        self.sequence_number += 1;
        self.scratch = json.into_vec();
        out.reserve(self.scratch.len() + kind.len() + 20);
        out.put_slice(b"event: ");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\ndata: ");
        sse_lines::put(out, &self.scratch);
        out.put_slice(b"\n\n");
    }

    /// An event of the response as a whole.
    fn lifecycle(&mut self, out: &mut BytesMut, kind: &str, stage: Stage<'_>) {
        self.frame(&AnswerHead::default());
        let Some(frame) = self.frame.clone() else {
            return;
        };
        let output = self.output.clone();
        let usage = match stage {
            Stage::InProgress => None,
            _ => self.usage,
        };
        self.say(out, kind, |it| {
            it.object("response", |it| {
                frame.response(it, stage, &output, usage.as_ref(), &Extra::none());
            });
        });
    }

    fn item_id(&mut self, kind: &str) -> String {
        let number = self.output.len();
        self.frame(&AnswerHead::default()).item_id(kind, number)
    }

    fn item_event(&mut self, out: &mut BytesMut, kind: &str, index: usize, item: &str) {
        self.say(out, kind, |it| {
            it.integer("output_index", index as u64);
            it.member("item").raw_text(item);
        });
    }

    fn add_item(&mut self, out: &mut BytesMut, item: &str) {
        self.item_event(out, "response.output_item.added", self.output.len(), item);
    }

    fn end_item(&mut self, out: &mut BytesMut, item: String) {
        self.item_event(out, "response.output_item.done", self.output.len(), &item);
        self.output.push(item);
    }

    /// An event of a part of the open item.
    fn part_event(
        &mut self,
        out: &mut BytesMut,
        kind: &str,
        number: &str,
        members: impl FnOnce(&mut Members<'_>),
    ) {
        let (prefix, part) = match number {
            "summary_index" => ("rs", 0),
            _ => ("msg", self.parts.as_ref().map_or(0, Vec::len)),
        };
        let id = self.item_id(prefix);
        let index = self.output.len();
        self.say(out, kind, |it| {
            it.string("item_id", &id);
            it.integer("output_index", index as u64);
            it.integer(number, part as u64);
            members(it);
        });
    }

    /// Opens the message item that texts stand in.
    fn open_message(&mut self, out: &mut BytesMut) {
        if self.parts.is_none() {
            let id = self.item_id("msg");
            let item = message_item(&id, "in_progress", &[], &Extra::none());
            self.add_item(out, &item);
            self.parts = Some(Vec::new());
        }
    }

    fn close_message(&mut self, out: &mut BytesMut) {
        if let Some(parts) = self.parts.take() {
            let id = self.item_id("msg");
            let cut = self
                .finish
                .as_ref()
                .is_some_and(|finish| last_event(finish) == "response.incomplete");
            let status = if cut { "incomplete" } else { "completed" };
            let item = message_item(&id, status, &parts, &Extra::none());
            self.end_item(out, item);
        }
    }

    fn begin_part(&mut self, out: &mut BytesMut, block: &Block) {
        self.open_message(out);
        let part = said_part(block, "[]", false);
        self.part_event(out, "response.content_part.added", "content_index", |it| {
            it.member("part").raw_text(&part);
        });
    }

    fn start(&mut self, out: &mut BytesMut, start: &BlockStart) {
        match start {
            BlockStart::Text => {
                self.begin_part(out, &Block::text(""));
                self.open = Open::Text {
                    text: String::new(),
                    citations: Vec::new(),
                };
            }
            BlockStart::Refusal => {
                let empty = BlockBody::Refusal {
                    text: String::new(),
                };
                self.begin_part(out, &empty.into());
                self.open = Open::Refusal(String::new());
            }
            BlockStart::Reasoning { id, is_summary } => {
                self.close_message(out);
                let block = ReasoningBlock {
                    id: id.clone(),
                    is_summary: *is_summary,
                    ..ReasoningBlock::default()
                };
                self.open_thought(out, block);
            }
            BlockStart::ToolCall {
                id,
                name,
                input,
                seal,
            } => {
                self.close_message(out);
                let input = match input {
                    ToolInput::Json(_) => ToolInput::Json(String::new()),
                    ToolInput::Text(_) => ToolInput::Text(String::new()),
                };
                let call = ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    input,
                    seal: seal.clone(),
                };
                self.open_call(out, call);
            }
            BlockStart::Whole(block) => self.whole(out, block),
        }
    }

    fn open_thought(&mut self, out: &mut BytesMut, block: ReasoningBlock) {
        // Ids of upstream items are not passed on in streams: every event must name one and the same.
        let block = ReasoningBlock { id: None, ..block };
        let id = self.item_id("rs");
        let item = reasoning_item(&id, &block, false, &Extra::none());
        self.add_item(out, &item);
        self.open = Open::Thought {
            block,
            began: false,
        };
    }

    fn open_call(&mut self, out: &mut BytesMut, call: ToolCall) {
        let id = self.item_id("fc");
        let item = call_item(&id, "in_progress", &call, &Extra::none());
        // The arguments follow; only at the end an empty text is an empty object.
        let item = item.replacen("\"arguments\":\"{}\"", "\"arguments\":\"\"", 1);
        self.add_item(out, &item);
        self.open = Open::Call(call);
    }

    fn text(&mut self, out: &mut BytesMut, piece: &str) {
        let (kind, number) = match &mut self.open {
            Open::Text { text, .. } => {
                text.push_str(piece);
                ("response.output_text.delta", "content_index")
            }
            Open::Refusal(text) => {
                text.push_str(piece);
                ("response.refusal.delta", "content_index")
            }
            Open::Thought { block, began } => {
                block.text.push_str(piece);
                let first = !std::mem::replace(began, true);
                if first {
                    self.part_event(
                        out,
                        "response.reasoning_summary_part.added",
                        "summary_index",
                        |it| it.object("part", |it| summary_part(it, "")),
                    );
                }
                ("response.reasoning_summary_text.delta", "summary_index")
            }
            Open::Call(_) | Open::Nothing => return,
        };
        let is_text = kind == "response.output_text.delta";
        self.part_event(out, kind, number, |it| {
            it.string("delta", piece);
            if is_text {
                it.array("logprobs", |_| {});
            }
        });
    }

    fn input(&mut self, out: &mut BytesMut, piece: &str) {
        let Open::Call(call) = &mut self.open else {
            return;
        };
        let kind = match &mut call.input {
            ToolInput::Json(input) => {
                input.push_str(piece);
                "response.function_call_arguments.delta"
            }
            ToolInput::Text(input) => {
                input.push_str(piece);
                "response.custom_tool_call_input.delta"
            }
        };
        self.call_event(out, kind, ("delta", piece), None);
    }

    fn call_event(
        &mut self,
        out: &mut BytesMut,
        kind: &str,
        (member, text): (&str, &str),
        name: Option<&str>,
    ) {
        let id = self.item_id("fc");
        let index = self.output.len();
        self.say(out, kind, |it| {
            it.string("item_id", &id);
            it.integer("output_index", index as u64);
            it.maybe_string("name", name);
            it.string(member, text);
        });
    }

    fn seal(&mut self, seal: &Seal) {
        match &mut self.open {
            Open::Thought { block, .. } => block.seal = Some(seal.clone()),
            Open::Call(call) => call.seal = Some(seal.clone()),
            _ => {}
        }
    }

    fn citation(&mut self, out: &mut BytesMut, citation: &Citation) {
        let Open::Text { text, citations } = &mut self.open else {
            return;
        };
        let length = text.chars().count() as u64;
        // A source without a place is one of all that was said before it.
        let placed = Citation {
            range: citation.range.or(Some((0, length))),
            ..citation.clone()
        };
        let number = citations.len() as u64;
        let own = self.asked.from == NAME;
        citations.push(placed.clone());
        self.part_event(
            out,
            "response.output_text.annotation.added",
            "content_index",
            |it| {
                it.integer("annotation_index", number);
                let mut json = JsonOut::with_capacity(128);
                json.array(|list| write_annotation(list, &placed, length, own));
                let json = json.into_string();
                it.member("annotation").raw_text(&json[1..json.len() - 1]);
            },
        );
    }

    fn end_block(&mut self, out: &mut BytesMut) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Text { text, citations } => {
                let logprobs = format!("[{}]", self.logprobs.join(","));
                self.logprobs.clear();
                self.part_event(out, "response.output_text.done", "content_index", |it| {
                    it.string("text", &text);
                    it.member("logprobs").raw_text(&logprobs);
                });
                let block = BlockBody::Text { text, citations }.into();
                let own = self.asked.from == NAME;
                self.end_part(out, said_part(&block, &logprobs, own));
            }
            Open::Refusal(text) => {
                self.part_event(out, "response.refusal.done", "content_index", |it| {
                    it.string("refusal", &text);
                });
                let block = BlockBody::Refusal { text }.into();
                self.end_part(out, said_part(&block, "[]", false));
            }
            Open::Thought { block, began } => self.end_thought(out, &block, began),
            Open::Call(call) => self.end_call(out, &call),
        }
    }

    fn end_part(&mut self, out: &mut BytesMut, part: String) {
        self.part_event(out, "response.content_part.done", "content_index", |it| {
            it.member("part").raw_text(&part);
        });
        self.parts.get_or_insert_default().push(part);
    }

    fn end_thought(&mut self, out: &mut BytesMut, block: &ReasoningBlock, began: bool) {
        if began {
            let number = "summary_index";
            self.part_event(out, "response.reasoning_summary_text.done", number, |it| {
                it.string("text", &block.text);
            });
            self.part_event(out, "response.reasoning_summary_part.done", number, |it| {
                it.object("part", |it| summary_part(it, &block.text));
            });
        }
        let id = self.item_id("rs");
        let item = reasoning_item(&id, block, false, &Extra::none());
        self.end_item(out, item);
    }

    fn end_call(&mut self, out: &mut BytesMut, call: &ToolCall) {
        let (kind, member, input) = match &call.input {
            ToolInput::Json(input) => {
                let input = if input.is_empty() { "{}" } else { input };
                ("response.function_call_arguments.done", "arguments", input)
            }
            ToolInput::Text(input) => (
                "response.custom_tool_call_input.done",
                "input",
                input.as_str(),
            ),
        };
        let name = matches!(call.input, ToolInput::Json(_)).then_some(call.name.as_str());
        self.call_event(out, kind, (member, input), name);
        let id = self.item_id("fc");
        let item = call_item(&id, "completed", call, &Extra::none());
        self.end_item(out, item);
    }

    /// A block that comes in one piece.
    fn whole(&mut self, out: &mut BytesMut, block: &Block) {
        match &block.body {
            BlockBody::Text { text, citations } => {
                self.start(out, &BlockStart::Text);
                self.text(out, text);
                for citation in citations {
                    self.citation(out, citation);
                }
                self.end_block(out);
            }
            BlockBody::Refusal { text } => {
                self.start(out, &BlockStart::Refusal);
                self.text(out, text);
                self.end_block(out);
            }
            BlockBody::Reasoning(thought) => {
                self.close_message(out);
                let text = ReasoningBlock {
                    text: String::new(),
                    ..thought.clone()
                };
                self.open_thought(out, text);
                if !thought.text.is_empty() {
                    self.text(out, &thought.text);
                }
                self.end_block(out);
            }
            BlockBody::ToolCall(call) => {
                self.close_message(out);
                let (ToolInput::Json(input) | ToolInput::Text(input)) = &call.input;
                let start = BlockStart::ToolCall {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    input: call.input.clone(),
                    seal: call.seal.clone(),
                };
                self.start(out, &start);
                self.input(out, input);
                self.end_block(out);
            }
            BlockBody::Native(item) if self.asked.from == NAME => {
                self.close_message(out);
                self.add_item(out, item.get());
                self.end_item(out, item.get().to_owned());
            }
            _ => {
                let id = self.item_id("ig");
                if let Some(item) = image_item(&id, block, false) {
                    self.close_message(out);
                    self.add_item(out, &item);
                    self.end_item(out, item);
                }
            }
        }
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.end_block(out);
        self.close_message(out);
        let finish = self.finish.take().unwrap_or_default();
        let kind = last_event(&finish);
        let failed = Stage::Failed("server_error", "the provider failed");
        let stage = if kind == "response.failed" {
            failed
        } else {
            Stage::Ended(&finish)
        };
        self.lifecycle(out, kind, stage);
    }

    fn fault(&mut self, out: &mut BytesMut, fault: &StreamFault) {
        let is_limit = fault.code.as_deref() == Some("rate_limit_exceeded");
        let code = if is_limit {
            "rate_limit_exceeded"
        } else {
            "server_error"
        };
        self.lifecycle(out, "response.failed", Stage::Failed(code, &fault.message));
    }

    fn logprobs(&mut self, out: &mut BytesMut, logprobs: &str) {
        let Some(list) = content_of(logprobs) else {
            return;
        };
        let inside = list[1..list.len() - 1].trim().to_owned();
        if inside.is_empty() || !matches!(self.open, Open::Text { .. }) {
            return;
        }
        self.part_event(out, "response.output_text.delta", "content_index", |it| {
            it.string("delta", "");
            it.member("logprobs").raw_text(&list);
        });
        self.logprobs.push(inside);
    }
}

fn summary_part(it: &mut Members<'_>, text: &str) {
    it.string("type", "summary_text");
    it.string("text", text);
}

impl StreamWriter for EventWriter {
    fn write(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Start(head) => {
                self.frame(head);
                self.lifecycle(out, "response.created", Stage::InProgress);
                self.lifecycle(out, "response.in_progress", Stage::InProgress);
            }
            // A response has room for one answer.
            ChatEvent::BlockStart { choice: 1.., .. }
            | ChatEvent::BlockDelta { choice: 1.., .. }
            | ChatEvent::BlockEnd { choice: 1.., .. }
            | ChatEvent::Logprobs { choice: 1.., .. }
            | ChatEvent::Finish { choice: 1.., .. } => {}
            ChatEvent::BlockStart { start, .. } => self.start(out, start),
            ChatEvent::BlockDelta { delta, .. } => match delta {
                Delta::Text(text) => self.text(out, text),
                Delta::Input(piece) => self.input(out, piece),
                Delta::Seal(seal) => self.seal(seal),
                Delta::Citation(citation) => self.citation(out, citation),
            },
            ChatEvent::BlockEnd { .. } => self.end_block(out),
            ChatEvent::Logprobs { logprobs, .. } => self.logprobs(out, logprobs.get()),
            ChatEvent::Finish { finish, .. } => self.finish = Some(finish.clone()),
            ChatEvent::ServiceTier(tier) => {
                self.frame(&AnswerHead::default());
                if let Some(frame) = &mut self.frame {
                    frame.service_tier = Some(tier.clone());
                }
            }
            ChatEvent::Usage(tokens) => self.usage = Some(*tokens),
            ChatEvent::Ping => out.put_slice(b": ping\n\n"),
            ChatEvent::Error(fault) => self.fault(out, fault),
            ChatEvent::End => self.end(out),
        }
    }
}
