//! A stream for a client: chunks of Chat Completions, or of legacy completions.

use bytes::{BufMut, BytesMut};

use super::answer_write::{self, annotation, image};
use super::media::url_of;
use super::messages_write::write_seal;
use super::reasoning::{self, NAME};
use super::usage;
use crate::types::chat::event::StreamFault;
use crate::types::chat::message::ToolInput;
use crate::types::chat::{
    AnswerHead, Block, BlockBody, BlockStart, ChatEvent, Citation, Delta, ReasoningBlock, ToolCall,
};
use crate::types::{Endpoint, Tokens};
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::sse_lines;
use crate::wire::translate::{Asked, StreamWriter};

/// Writes one stream.
pub(super) struct ChunkWriter {
    legacy: bool,
    id: String,
    created: u64,
    /// The members that every chunk begins with, brace included.
    head: String,
    answer: AnswerHead,
    /// The dialect that the answer comes from is this one.
    own: bool,
    choices: Vec<Speaking>,
    /// Kept for its room.
    scratch: Vec<u8>,
    usage: Option<Tokens>,
}

/// Where one choice stands.
#[derive(Default)]
struct Speaking {
    begun: bool,
    open: Open,
    calls: u32,
    thoughts: usize,
    /// Characters of content so far.
    characters: u64,
    /// Where the open text begins.
    text_from: u64,
    said_refusal: bool,
}

/// What the open block is.
#[derive(Default, PartialEq)]
enum Open {
    #[default]
    Nothing,
    Text,
    Refusal,
    Thought(ReasoningBlock),
    Call {
        input: ToolInput,
        is_empty: bool,
    },
}

impl ChunkWriter {
    pub fn new(asked: &Asked<'_>) -> Self {
        let mut writer = Self {
            legacy: asked.endpoint == Endpoint::Completions,
            id: asked.id.to_owned(),
            created: asked.created,
            head: String::new(),
            answer: AnswerHead::default(),
            own: asked.from == NAME,
            choices: Vec::new(),
            scratch: Vec::new(),
            usage: None,
        };
        writer.begin(AnswerHead::default());
        writer
    }

    fn begin(&mut self, head: AnswerHead) {
        let object = if self.legacy {
            "text_completion"
        } else {
            "chat.completion.chunk"
        };
        let mut json = JsonOut::with_capacity(256);
        json.object(|it| {
            it.string(
                "id",
                if head.id.is_empty() {
                    &self.id
                } else {
                    &head.id
                },
            );
            it.string("object", object);
            it.integer("created", head.created.unwrap_or(self.created));
            it.string("model", &head.model);
            it.maybe_string("service_tier", head.service_tier.as_deref());
        });
        self.head = json.into_string();
        self.head.pop();
        self.answer = head;
    }

    /// One chunk of one choice.
    fn chunk(
        &mut self,
        out: &mut BytesMut,
        choice: u32,
        delta: impl FnOnce(&mut Members<'_>),
        finish: Option<&dyn Fn(&mut Members<'_>)>,
    ) {
        let legacy = self.legacy;
        let mut json = JsonOut::reusing(std::mem::take(&mut self.scratch));
        json.object(|it| {
            it.integer("index", choice);
            if legacy {
                delta(it);
            } else {
                it.object("delta", delta);
            }
            it.null("logprobs");
            match finish {
                Some(finish) => finish(it),
                None => it.null("finish_reason"),
            }
        });
        self.scratch = json.into_vec();
        self.event(out, &self.scratch);
    }

    /// A chunk of these choices (the inside of the array).
    fn event(&self, out: &mut BytesMut, choices: &[u8]) {
        out.reserve(self.head.len() + choices.len() + 48);
        out.put_slice(b"data: ");
        out.put_slice(self.head.as_bytes());
        out.put_slice(b",\"choices\":[");
        // Log probabilities pass through as they are, and an upstream may write them over lines.
        sse_lines::put(out, choices);
        out.put_slice(b"]}\n\n");
    }

    /// What a choice says.
    fn say(&mut self, out: &mut BytesMut, choice: u32, delta: impl FnOnce(&mut Members<'_>)) {
        self.open_choice(out, choice);
        self.chunk(out, choice, delta, None);
    }

    fn open_choice(&mut self, out: &mut BytesMut, choice: u32) {
        let speaking = self.speaking(choice);
        if !std::mem::replace(&mut speaking.begun, true) && !self.legacy {
            self.chunk(
                out,
                choice,
                |it| {
                    it.string("role", "assistant");
                    it.string("content", "");
                    it.null("refusal");
                },
                None,
            );
        }
    }

    fn speaking(&mut self, choice: u32) -> &mut Speaking {
        // Requests allow 128 choices; an upstream that numbers higher shares the last.
        let at = choice.min(127) as usize;
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, Speaking::default);
        }
        &mut self.choices[at]
    }

    fn text(&mut self, out: &mut BytesMut, choice: u32, text: &str) {
        if text.is_empty() {
            return;
        }
        self.speaking(choice).characters += text.chars().count() as u64;
        let name = if self.legacy { "text" } else { "content" };
        self.say(out, choice, |it| it.string(name, text));
    }

    fn refusal(&mut self, out: &mut BytesMut, choice: u32, text: &str) {
        self.speaking(choice).said_refusal = true;
        let name = if self.legacy { "text" } else { "refusal" };
        self.say(out, choice, |it| it.string(name, text));
    }

    /// A piece of thoughts: their text, or their seal.
    fn thought(
        &mut self,
        out: &mut BytesMut,
        choice: u32,
        block: &ReasoningBlock,
        text: &str,
        seal: Option<&str>,
    ) {
        if self.legacy {
            return;
        }
        let index = self.speaking(choice).thoughts;
        self.say(out, choice, |it| {
            if !text.is_empty() {
                it.string("reasoning_content", text);
            }
            it.array("reasoning_details", |list| {
                reasoning::write_detail(list, block, text, seal, index);
            });
        });
    }

    fn call_start(&mut self, out: &mut BytesMut, choice: u32, call: &ToolCall) {
        if self.legacy {
            return;
        }
        let index = self.speaking(choice).calls;
        self.say(out, choice, |it| {
            it.array("tool_calls", |list| {
                list.object(|it| {
                    it.integer("index", index);
                    it.string("id", &call.id);
                    begin_call(it, call);
                    if let Some(seal) = &call.seal {
                        write_seal(it, &seal.for_client(NAME));
                    }
                });
            });
        });
    }

    fn call_input(&mut self, out: &mut BytesMut, choice: u32, piece: &str) {
        let speaking = self.speaking(choice);
        let Open::Call { input, is_empty } = &mut speaking.open else {
            return;
        };
        *is_empty &= piece.is_empty();
        let (kind, member) = match input {
            ToolInput::Json(_) => ("function", "arguments"),
            ToolInput::Text(_) => ("custom", "input"),
        };
        let index = speaking.calls;
        if self.legacy {
            return;
        }
        self.say(out, choice, |it| {
            it.array("tool_calls", |list| {
                list.object(|it| {
                    it.integer("index", index);
                    it.object(kind, |it| it.string(member, piece));
                });
            });
        });
    }

    fn start(&mut self, out: &mut BytesMut, choice: u32, start: &BlockStart) {
        self.open_choice(out, choice);
        let open = match start {
            BlockStart::Text => {
                let speaking = self.speaking(choice);
                speaking.text_from = speaking.characters;
                Open::Text
            }
            BlockStart::Refusal => Open::Refusal,
            BlockStart::Reasoning { id, is_summary } => Open::Thought(ReasoningBlock {
                id: id.clone(),
                is_summary: *is_summary,
                ..ReasoningBlock::default()
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
                self.call_start(out, choice, &call);
                Open::Call {
                    input: unfilled(input),
                    is_empty: true,
                }
            }
            BlockStart::Whole(block) => {
                self.whole(out, choice, block);
                Open::Nothing
            }
        };
        self.speaking(choice).open = open;
    }

    fn delta(&mut self, out: &mut BytesMut, choice: u32, delta: &Delta) {
        match delta {
            Delta::Text(text) => match &self.speaking(choice).open {
                Open::Refusal => self.refusal(out, choice, text),
                Open::Thought(block) => {
                    let block = block.clone();
                    self.thought(out, choice, &block, text, None);
                }
                _ => self.text(out, choice, text),
            },
            Delta::Input(piece) => self.call_input(out, choice, piece),
            Delta::Seal(seal) => self.seal(out, choice, &seal.for_client(NAME)),
            Delta::Citation(citation) => self.citation(out, choice, citation),
        }
    }

    fn seal(&mut self, out: &mut BytesMut, choice: u32, seal: &str) {
        let legacy = self.legacy;
        let speaking = self.speaking(choice);
        let index = speaking.calls;
        match &speaking.open {
            // The mark of thoughts of this dialect that are not sealed.
            Open::Thought(_) if seal.is_empty() => {}
            Open::Thought(block) => {
                let block = block.clone();
                self.thought(out, choice, &block, "", Some(seal));
            }
            Open::Call { .. } if !legacy => self.say(out, choice, |it| {
                it.array("tool_calls", |list| {
                    list.object(|it| {
                        it.integer("index", index);
                        write_seal(it, seal);
                    });
                });
            }),
            _ => {}
        }
    }

    fn citation(&mut self, out: &mut BytesMut, choice: u32, citation: &Citation) {
        if self.legacy {
            return;
        }
        let speaking = self.speaking(choice);
        let (from, length) = (speaking.text_from, speaking.characters - speaking.text_from);
        let own = self.own;
        self.say(out, choice, |it| {
            it.array("annotations", |list| {
                annotation(list, citation, from, length, own);
            });
        });
    }

    fn end_block(&mut self, out: &mut BytesMut, choice: u32) {
        let speaking = self.speaking(choice);
        // Clients parse the arguments; nothing is no JSON.
        let unsaid = Open::Call {
            input: ToolInput::Json(String::new()),
            is_empty: true,
        };
        if speaking.open == unsaid {
            self.call_input(out, choice, "{}");
        }
        let speaking = self.speaking(choice);
        match std::mem::take(&mut speaking.open) {
            Open::Call { .. } => speaking.calls += 1,
            Open::Thought(_) => speaking.thoughts += 1,
            _ => {}
        }
    }

    /// A block that comes in one piece.
    fn whole(&mut self, out: &mut BytesMut, choice: u32, block: &Block) {
        match &block.body {
            BlockBody::Text { text, citations } => {
                let speaking = self.speaking(choice);
                speaking.text_from = speaking.characters;
                self.text(out, choice, text);
                for citation in citations {
                    self.citation(out, choice, citation);
                }
            }
            BlockBody::Refusal { text } => self.refusal(out, choice, text),
            BlockBody::Reasoning(thought) => {
                let seal = thought.seal.as_ref().map(|seal| seal.for_client(NAME));
                self.thought(out, choice, thought, &thought.text, seal.as_deref());
                self.speaking(choice).thoughts += 1;
            }
            BlockBody::ToolCall(call) => {
                self.call_start(out, choice, call);
                let (ToolInput::Json(input) | ToolInput::Text(input)) = &call.input;
                self.speaking(choice).open = Open::Call {
                    input: unfilled(&call.input),
                    is_empty: true,
                };
                if !input.is_empty() {
                    self.call_input(out, choice, input);
                }
                self.end_block(out, choice);
            }
            BlockBody::Image(media) if !self.legacy => {
                if let Some(url) = url_of(&media.source) {
                    self.say(out, choice, |it| {
                        it.array("images", |list| image(list, &url));
                    });
                }
            }
            _ => {}
        }
    }

    fn usage(&self, out: &mut BytesMut) {
        let Some(tokens) = &self.usage else {
            return;
        };
        let mut json = JsonOut::with_capacity(256);
        json.object(|it| usage::write(it, tokens, &usage::CHAT));
        out.put_slice(b"data: ");
        out.put_slice(self.head.as_bytes());
        out.put_slice(b",\"choices\":[],\"usage\":");
        out.put_slice(json.into_string().as_bytes());
        out.put_slice(b"}\n\n");
    }

    fn fault(&self, out: &mut BytesMut, fault: &StreamFault) {
        self.usage(out);
        let mut json = JsonOut::with_capacity(256);
        json.object(|it| {
            it.object("error", |it| {
                it.string("message", &fault.message);
                it.string("type", fault.error_type.as_deref().unwrap_or("api_error"));
                it.null("param");
                match &fault.code {
                    Some(code) => it.string("code", code),
                    None => it.null("code"),
                }
            });
        });
        out.put_slice(b"data: ");
        out.put_slice(json.into_string().as_bytes());
        out.put_slice(b"\n\n");
    }
}

/// The kind of input alone.
const fn unfilled(input: &ToolInput) -> ToolInput {
    match input {
        ToolInput::Json(_) => ToolInput::Json(String::new()),
        ToolInput::Text(_) => ToolInput::Text(String::new()),
    }
}

/// The kind and the name; the input follows.
fn begin_call(it: &mut Members<'_>, call: &ToolCall) {
    match &call.input {
        ToolInput::Json(_) => {
            it.string("type", "function");
            it.object("function", |it| {
                it.string("name", &call.name);
                it.string("arguments", "");
            });
        }
        ToolInput::Text(_) => {
            it.string("type", "custom");
            it.object("custom", |it| {
                it.string("name", &call.name);
                it.string("input", "");
            });
        }
    }
}

impl StreamWriter for ChunkWriter {
    fn write(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Start(head) => self.begin(head.clone()),
            ChatEvent::ServiceTier(tier) => {
                let mut head = std::mem::take(&mut self.answer);
                head.service_tier = Some(tier.clone());
                self.begin(head);
            }
            ChatEvent::BlockStart { choice, start, .. } => self.start(out, *choice, start),
            ChatEvent::BlockDelta { choice, delta, .. } => self.delta(out, *choice, delta),
            ChatEvent::BlockEnd { choice, .. } => self.end_block(out, *choice),
            ChatEvent::Logprobs { choice, logprobs } => {
                if self.legacy {
                    return;
                }
                self.open_choice(out, *choice);
                let mut json = JsonOut::with_capacity(64 + logprobs.get().len());
                json.object(|it| {
                    it.integer("index", *choice);
                    it.object("delta", |_| {});
                    it.raw("logprobs", logprobs);
                    it.null("finish_reason");
                });
                self.event(out, &json.into_vec());
            }
            ChatEvent::Finish { choice, finish } => {
                self.open_choice(out, *choice);
                let said_refusal = self.speaking(*choice).said_refusal;
                let (own, legacy) = (self.own, self.legacy);
                let write = |it: &mut Members<'_>| {
                    answer_write::finish(it, finish, said_refusal, own);
                };
                let delta = |it: &mut Members<'_>| {
                    if legacy {
                        it.string("text", "");
                    }
                };
                self.chunk(out, *choice, delta, Some(&write));
            }
            ChatEvent::Usage(tokens) => self.usage = Some(*tokens),
            ChatEvent::Ping => out.put_slice(b": ping\n\n"),
            ChatEvent::Error(fault) => self.fault(out, fault),
            ChatEvent::End => {
                self.usage(out);
                out.put_slice(b"data: [DONE]\n\n");
            }
        }
    }
}
