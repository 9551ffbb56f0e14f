//! One stream for a client of Bedrock's API, in Amazon's binary framing.

use bytes::{BufMut, BytesMut};
use rustc_hash::FxHashSet;

use super::NAME;
use super::blocks_write::Pen;
use super::citations;
use super::family::Family;
use super::{finish, usage};
use crate::types::Tokens;
use crate::types::chat::{Block, BlockBody, BlockStart, ChatEvent, Delta, Finish};
use crate::wire::framing::aws_eventstream::encode;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::translate::StreamWriter;

/// Writes one stream: its first choice, since Bedrock gives one.
#[derive(Debug, Default)]
pub(super) struct Writer {
    open: Open,
    finish: Option<Finish>,
    usage: Option<Tokens>,
    service_tier: Option<String>,
}

/// Of what kind the open block is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Open {
    #[default]
    Text,
    Thoughts,
    Call,
}

impl StreamWriter for Writer {
    fn write(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Start(head) => {
                self.service_tier.clone_from(&head.service_tier);
                send("messageStart", out, |it| it.string("role", "assistant"));
            }
            ChatEvent::BlockStart {
                choice: 0,
                block,
                start,
            } => self.start(*block, start, out),
            ChatEvent::BlockDelta {
                choice: 0,
                block,
                delta,
            } => self.delta(*block, delta, out),
            ChatEvent::BlockEnd { choice: 0, block } => {
                send("contentBlockStop", out, |it| {
                    it.integer("contentBlockIndex", *block);
                });
            }
            ChatEvent::Finish { choice: 0, finish } => self.finish = Some(finish.clone()),
            ChatEvent::ServiceTier(tier) => self.service_tier = Some(tier.clone()),
            ChatEvent::Usage(tokens) => self.usage = Some(*tokens),
            ChatEvent::Error(fault) => {
                let mut json = JsonOut::default();
                json.object(|it| it.string("message", &fault.message));
                let kind = fault.error_type.as_deref();
                let kind = kind.filter(|it| it.ends_with("Exception"));
                let headers = [
                    (":message-type", "exception"),
                    (
                        ":exception-type",
                        kind.unwrap_or("modelStreamErrorException"),
                    ),
                    (":content-type", "application/json"),
                ];
                out.put_slice(&encode(&headers, &json.finish()));
            }
            ChatEvent::End => self.end(out),
            _ => {}
        }
    }
}

impl Writer {
    fn start(&mut self, block: u32, start: &BlockStart, out: &mut BytesMut) {
        match start {
            BlockStart::Text | BlockStart::Refusal => self.open = Open::Text,
            BlockStart::Reasoning { .. } => self.open = Open::Thoughts,
            BlockStart::ToolCall { id, name, .. } => {
                self.open = Open::Call;
                send("contentBlockStart", out, |it| {
                    it.object("start", |it| {
                        it.object("toolUse", |it| {
                            it.string("toolUseId", id);
                            it.string("name", name);
                        });
                    });
                    it.integer("contentBlockIndex", block);
                });
            }
            BlockStart::Whole(whole) => {
                self.open = Open::Text;
                write_whole(block, whole, out);
            }
        }
    }

    fn delta(&self, block: u32, delta: &Delta, out: &mut BytesMut) {
        let write = |it: &mut Members<'_>| match (self.open, delta) {
            (Open::Thoughts, Delta::Text(text)) => {
                it.object("reasoningContent", |it| it.string("text", text));
            }
            (Open::Thoughts, Delta::Seal(seal)) => {
                it.object("reasoningContent", |it| {
                    it.string("signature", &seal.for_client(NAME));
                });
            }
            (Open::Call, Delta::Input(input)) => {
                it.object("toolUse", |it| it.string("input", input));
            }
            (_, Delta::Text(text) | Delta::Input(text)) => it.string("text", text),
            (_, Delta::Citation(citation)) => {
                let is_own = citation.native.as_ref().is_some_and(is_bedrocks);
                citations::write(it.member("citation"), citation, is_own);
            }
            (_, Delta::Seal(_)) => {}
        };
        // Calls carry no seal here.
        if matches!(delta, Delta::Seal(_)) && self.open != Open::Thoughts {
            return;
        }
        send("contentBlockDelta", out, |it| {
            it.object("delta", write);
            it.integer("contentBlockIndex", block);
        });
    }

    fn end(&self, out: &mut BytesMut) {
        let finish = self.finish.clone().unwrap_or_default();
        // The native word is another dialect's, unless it is one of Bedrock's.
        let native = finish.native.as_deref().unwrap_or_default();
        let is_own = native == finish::write(&finish::read(native, None), false)
            || matches!(native, "guardrail_intervened" | "malformed_tool_use");
        send("messageStop", out, |it| {
            it.string("stopReason", finish::write(&finish, is_own));
            if let Some(word) = &finish.stop_sequence {
                it.object("additionalModelResponseFields", |it| {
                    it.string("stop_sequence", word);
                });
            }
        });
        send("metadata", out, |it| {
            if let Some(tokens) = &self.usage {
                it.object("usage", |it| usage::write(it, tokens));
            }
            it.object("metrics", |it| it.integer("latencyMs", 0));
            if let Some(tier) = &self.service_tier {
                it.object("serviceTier", |it| it.string("type", tier));
            }
        });
    }
}

/// Bedrock's citations have no `type`, those of others do.
fn is_bedrocks(native: &crate::types::chat::RawJson) -> bool {
    Object::read(native.get()).is_ok_and(|it| it.get("type").is_none())
}

/// A block that comes whole: hidden thoughts, or media as far as a stream can carry them.
fn write_whole(block: u32, whole: &Block, out: &mut BytesMut) {
    if matches!(whole.body, BlockBody::Native(_)) {
        return;
    }
    let delta = |it: &mut Members<'_>| {
        if let BlockBody::Reasoning(thought) = &whole.body {
            let seal = thought.seal.as_ref().map(|seal| seal.for_client(NAME));
            return it.object("reasoningContent", |it| {
                if thought.is_hidden {
                    it.string("redactedContent", seal.as_deref().unwrap_or_default());
                } else {
                    it.string("text", &thought.text);
                }
            });
        }
        let mut pen = Pen {
            is_own: false,
            is_upstream: false,
            family: Family::Unknown,
            names: FxHashSet::default(),
        };
        let mut json = JsonOut::default();
        json.array(|list| pen.block(list, whole));
        let text = json.into_string();
        let written = Raw::parse(&text).ok().and_then(Raw::array);
        let first = written.and_then(|it| it.first()?.object());
        if let Some(object) = first {
            it.extra(&object.rest());
        }
    };
    send("contentBlockDelta", out, |it| {
        it.object("delta", delta);
        it.integer("contentBlockIndex", block);
    });
}

fn send(name: &str, out: &mut BytesMut, members: impl FnOnce(&mut Members<'_>)) {
    let mut json = JsonOut::with_capacity(128);
    json.object(members);
    let json = json.into_vec();
    let headers = [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    out.put_slice(&encode(&headers, &json));
}
