//! Neutral events as a stream for a client.
//!
//! Anthropic reports the input at the start and everything at the end, where other dialects report all
//! at the end: the head waits for a usage report that follows it at once, and the end carries every
//! class.

use bytes::{BufMut as _, BytesMut};

use super::answer_write::message_id;
use super::blocks_write::{self, FREE_TEXT, Form, Reader};
use super::{NAME, call_ids, errors, finish, usage};
use crate::types::Tokens;
use crate::types::chat::event::StreamFault;
use crate::types::chat::{
    AnswerHead, Block, BlockBody, BlockStart, ChatEvent, Delta, Extra, Finish, ToolCall, ToolInput,
};
use crate::wire::json_in::Raw;
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::json_text;
use crate::wire::sse_lines;
use crate::wire::translate::{Asked, StreamWriter};

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    request_id: String,
    head: Option<AnswerHead>,
    has_begun: bool,
    tier: Option<String>,
    /// It was not known when the stream began.
    is_tier_late: bool,
    tokens: Option<Tokens>,
    finish: Option<Finish>,
    has_refusal: bool,
    has_ended: bool,
    /// The index of the open block on the wire.
    index: u32,
    open: Option<Open>,
    /// The id of the call that is open, and its seal where that came late.
    call_id: String,
    late_seal: Option<String>,
}

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thoughts,
    Call,
    /// A call with free text, whose JSON is made around it.
    FreeText {
        has_begun: bool,
    },
}

impl StreamWriter for Writer {
    fn write(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        if self.has_ended {
            return;
        }
        match event {
            ChatEvent::Start(head) => {
                self.tier.clone_from(&head.service_tier);
                self.head = Some(head.clone());
                return;
            }
            ChatEvent::ServiceTier(tier) => {
                self.is_tier_late = self.has_begun;
                self.tier = Some(tier.clone());
                return;
            }
            ChatEvent::Usage(tokens) => {
                self.tokens = Some(*tokens);
                return;
            }
            ChatEvent::Error(fault) => {
                self.has_ended = true;
                return error(fault, out);
            }
            _ => self.begin(out),
        }
        match event {
            ChatEvent::BlockStart {
                choice: 0, start, ..
            } => self.block_start(start, out),
            ChatEvent::BlockDelta {
                choice: 0, delta, ..
            } => self.block_delta(delta, out),
            ChatEvent::BlockEnd { choice: 0, .. } => self.block_end(out),
            ChatEvent::Finish { choice: 0, finish } => self.finish = Some(finish.clone()),
            ChatEvent::Ping => event_of("ping", out, |_| {}),
            ChatEvent::End => self.end(out),
            // Other choices cannot be asked for, and log probabilities have no place.
            _ => {}
        }
    }
}

impl Writer {
    /// A writer for a client that asked so.
    pub fn new(asked: &Asked<'_>) -> Self {
        Self {
            request_id: asked.id.to_owned(),
            head: None,
            has_begun: false,
            tier: None,
            is_tier_late: false,
            tokens: None,
            finish: None,
            has_refusal: false,
            has_ended: false,
            index: 0,
            open: None,
            call_id: String::new(),
            late_seal: None,
        }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let head = self.head.take().unwrap_or_default();
        // What is not known yet is said at the end.
        let tokens = self.tokens.unwrap_or_default();
        event_of("message_start", out, |it| {
            it.object("message", |it| {
                it.string("id", &message_id(&head.id, &self.request_id));
                it.string("type", "message");
                it.string("role", "assistant");
                it.string("model", &head.model);
                it.array("content", |_| {});
                it.null("stop_reason");
                it.null("stop_sequence");
                it.object("usage", |it| {
                    usage::write(it, &tokens, self.tier.as_deref(), &Extra::none());
                });
            });
        });
    }

    fn block_start(&mut self, start: &BlockStart, out: &mut BytesMut) {
        self.block_end(out);
        match start {
            BlockStart::Text => self.open(Open::Text, out, text_start),
            BlockStart::Refusal => {
                self.has_refusal = true;
                self.open(Open::Text, out, text_start);
            }
            BlockStart::Reasoning { .. } => self.open(Open::Thoughts, out, |it| {
                it.string("type", "thinking");
                it.string("thinking", "");
                it.string("signature", "");
            }),
            BlockStart::ToolCall {
                id,
                name,
                input,
                seal,
            } => {
                let call = ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    input: input.clone(),
                    seal: seal.clone(),
                };
                self.call_seal(&call, out);
                self.call_id = call_ids::fitting(id).into_owned();
                let kind = match input {
                    ToolInput::Json(_) => Open::Call,
                    ToolInput::Text(_) => Open::FreeText { has_begun: false },
                };
                self.open(kind, out, |it| {
                    it.string("type", "tool_use");
                    it.string("id", &call_ids::fitting(id));
                    it.string("name", name);
                    it.object("input", |_| {});
                });
            }
            BlockStart::Whole(block) => self.whole(block, out),
        }
    }

    fn open(&mut self, open: Open, out: &mut BytesMut, block: impl FnOnce(&mut Members<'_>)) {
        self.open = Some(open);
        event_of("content_block_start", out, |it| {
            it.integer("index", self.index);
            it.object("content_block", block);
        });
    }

    /// A block that comes whole: its start says all, its end follows.
    fn whole(&mut self, block: &Block, out: &mut BytesMut) {
        if let BlockBody::ToolCall(call) = &block.body {
            let start = BlockStart::ToolCall {
                id: call.id.clone(),
                name: call.name.clone(),
                input: call.input.clone(),
                seal: call.seal.clone(),
            };
            self.block_start(&start, out);
            let (ToolInput::Json(text) | ToolInput::Text(text)) = &call.input;
            self.block_delta(&Delta::Input(text.clone()), out);
            return self.block_end(out);
        }
        self.has_refusal |= super::answer_write::is_refusal(block);
        let form = Form {
            reader: Reader::Client,
            // Blocks of another dialect's own are left out; those of this one are known by their type.
            own: is_own(block),
        };
        let mut json = JsonOut::with_capacity(256);
        form.block(&mut json, block);
        let json = json.into_string();
        if json.is_empty() {
            return;
        }
        event_of("content_block_start", out, |it| {
            it.integer("index", self.index);
            it.member("content_block").raw_text(&json);
        });
        self.stop(out);
    }

    fn block_delta(&mut self, delta: &Delta, out: &mut BytesMut) {
        match (delta, self.open) {
            (Delta::Text(text), Some(Open::Thoughts)) => self.delta(out, "thinking_delta", |it| {
                it.string("thinking", text);
            }),
            (Delta::Text(text), Some(Open::Text)) => {
                self.delta(out, "text_delta", |it| it.string("text", text));
            }
            (Delta::Input(piece), Some(Open::Call)) => self.partial_json(piece, out),
            (Delta::Input(piece), Some(Open::FreeText { has_begun })) => {
                let mut json = escaped(piece);
                if !has_begun {
                    json.insert_str(0, &free_text_opening());
                    self.open = Some(Open::FreeText { has_begun: true });
                }
                self.partial_json(&json, out);
            }
            (Delta::Seal(seal), Some(Open::Thoughts)) => {
                let signature = seal.for_client(NAME);
                self.delta(out, "signature_delta", |it| {
                    it.string("signature", &signature);
                });
            }
            (Delta::Citation(citation), Some(Open::Text)) => {
                let form = Form {
                    reader: Reader::Client,
                    own: citation
                        .native
                        .as_ref()
                        .is_some_and(|raw| is_own_citation(raw.get())),
                };
                let mut json = JsonOut::with_capacity(256);
                form.citation(&mut json, citation);
                let json = json.into_string();
                self.delta(out, "citations_delta", |it| {
                    it.member("citation").raw_text(&json);
                });
            }
            // A call has no place for it; it stands in a hidden block behind the call.
            (Delta::Seal(seal), Some(Open::Call | Open::FreeText { .. })) => {
                self.late_seal = Some(blocks_write::seal_of(&self.call_id, seal));
            }
            // What is not open takes nothing.
            _ => {}
        }
    }

    fn partial_json(&self, piece: &str, out: &mut BytesMut) {
        self.delta(out, "input_json_delta", |it| {
            it.string("partial_json", piece);
        });
    }

    fn delta(&self, out: &mut BytesMut, kind: &str, members: impl FnOnce(&mut Members<'_>)) {
        event_of("content_block_delta", out, |it| {
            it.integer("index", self.index);
            it.object("delta", |it| {
                it.string("type", kind);
                members(it);
            });
        });
    }

    fn block_end(&mut self, out: &mut BytesMut) {
        let Some(open) = self.open.take() else {
            return;
        };
        match open {
            Open::FreeText { has_begun: true } => self.partial_json("\"}", out),
            Open::FreeText { has_begun: false } => {
                self.partial_json(&(free_text_opening() + "\"}"), out);
            }
            Open::Text | Open::Thoughts | Open::Call => {}
        }
        self.stop(out);
        if let Some(data) = self.late_seal.take() {
            self.hidden(&data, out);
        }
    }

    fn stop(&mut self, out: &mut BytesMut) {
        event_of("content_block_stop", out, |it| {
            it.integer("index", self.index);
        });
        self.index = self.index.saturating_add(1);
    }

    /// Another provider's seal of a call, in a hidden block before it.
    fn call_seal(&mut self, call: &ToolCall, out: &mut BytesMut) {
        if let Some(data) = blocks_write::call_seal(call) {
            self.hidden(&data, out);
        }
    }

    fn hidden(&mut self, data: &str, out: &mut BytesMut) {
        event_of("content_block_start", out, |it| {
            it.integer("index", self.index);
            it.object("content_block", |it| {
                it.string("type", "redacted_thinking");
                it.string("data", data);
            });
        });
        self.stop(out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.has_ended = true;
        self.block_end(out);
        let finish = self.finish.take().unwrap_or_default();
        let late_tier = self.tier.as_deref().filter(|_| self.is_tier_late);
        event_of("message_delta", out, |it| {
            it.object("delta", |it| {
                it.string("stop_reason", finish::write(&finish, self.has_refusal));
                match &finish.stop_sequence {
                    Some(word) => it.string("stop_sequence", word),
                    None => it.null("stop_sequence"),
                }
            });
            it.object("usage", |it| match &self.tokens {
                Some(tokens) => usage::write_last(it, tokens, late_tier),
                None => usage::write_unknown(it),
            });
        });
        event_of("message_stop", out, |_| {});
    }
}

fn text_start(it: &mut Members<'_>) {
    it.string("type", "text");
    it.string("text", "");
}

fn error(fault: &StreamFault, out: &mut BytesMut) {
    event_of("error", out, |it| {
        it.object("error", |it| {
            it.string("type", errors::word(fault.error_type.as_deref()));
            it.string("message", &fault.message);
        });
    });
}

/// One event: its name, and its data with its type first.
pub(super) fn event_of(name: &str, out: &mut BytesMut, members: impl FnOnce(&mut Members<'_>)) {
    let mut json = JsonOut::with_capacity(256);
    json.object(|it| {
        it.string("type", name);
        members(it);
    });
    frame(name, &json.into_vec(), out);
}

/// `json` as an event.
pub(super) fn frame(name: &str, json: &[u8], out: &mut BytesMut) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    sse_lines::put(out, json);
    out.put_slice(b"\n\n");
}

/// The beginning of the object that free text is put into.
fn free_text_opening() -> String {
    format!("{{\"{FREE_TEXT}\":\"")
}

/// Text as the inside of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = json_text::quoted(text);
    let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    String::from_utf8_lossy(inside).into_owned()
}

/// True for a native block of this dialect. A stream does not say whose its blocks are; the types do.
fn is_own(block: &Block) -> bool {
    let BlockBody::Native(raw) = &block.body else {
        return false;
    };
    let object = Raw::parse(raw.get()).ok().and_then(Raw::object);
    let kind = object.and_then(|mut object| object.take_string("type"));
    kind.is_some_and(|kind| {
        kind.ends_with("_tool_result")
            || matches!(
                &*kind,
                "server_tool_use" | "mcp_tool_use" | "container_upload" | "compaction" | "document"
            )
    })
}

fn is_own_citation(json: &str) -> bool {
    let object = Raw::parse(json).ok().and_then(Raw::object);
    let kind = object.and_then(|mut object| object.take_string("type"));
    kind.is_some_and(|kind| kind.ends_with("_location"))
}
