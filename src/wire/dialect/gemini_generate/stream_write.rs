//! One stream for a client of Google's API: every event is an answer of its own with what is new; the
//! last one has the reasons to finish and the usage.

use bytes::{BufMut, BytesMut};
use rustc_hash::FxHashMap;

use super::model::Generation;
use super::parts_write::Pen;
use super::{errors, finish, grounding, logprobs, usage};
use crate::types::Tokens;
use crate::types::chat::{
    Block, BlockBody, BlockStart, ChatEvent, Citation, Delta, Finish, Notes, ReasoningBlock,
    ToolCall, ToolInput,
};
use crate::wire::json_in::Object;
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::sse_lines;
use crate::wire::translate::StreamWriter;

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    id: String,
    model: String,
    service_tier: Option<String>,
    usage: Option<Tokens>,
    choices: Vec<State>,
    created: Option<String>,
    /// Kept for its room.
    scratch: Vec<u8>,
}

/// What has to be kept of one choice.
#[derive(Debug, Default)]
struct State {
    open: Open,
    /// The texts so far and what they rest on.
    texts: Vec<(String, Vec<Citation>)>,
    finish: Option<Finish>,
}

#[derive(Debug, Default)]
enum Open {
    #[default]
    Nothing,
    Text,
    Thoughts,
    Call(ToolCall),
}

impl Writer {
    /// For an answer whose upstream may give it no id of its own.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            model: String::new(),
            service_tier: None,
            usage: None,
            choices: Vec::new(),
            created: None,
            scratch: Vec::new(),
        }
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Start(head) => {
                self.model.clone_from(&head.model);
                self.service_tier.clone_from(&head.service_tier);
                self.created = head.created.and_then(timestamp);
                if !head.id.is_empty() {
                    self.id.clone_from(&head.id);
                }
            }
            ChatEvent::BlockStart { choice, start, .. } => self.start(*choice, start, out),
            ChatEvent::BlockDelta { choice, delta, .. } => self.delta(*choice, delta, out),
            ChatEvent::BlockEnd { choice, .. } => {
                if let Open::Call(call) = std::mem::take(&mut self.state(*choice).open) {
                    self.part(*choice, BlockBody::ToolCall(call).into(), out);
                }
            }
            ChatEvent::Logprobs { choice, logprobs } => {
                self.candidate(*choice, out, |it| {
                    logprobs::write(it.member("logprobsResult"), logprobs);
                });
            }
            ChatEvent::Finish { choice, finish } => {
                self.state(*choice).finish = Some(finish.clone());
            }
            ChatEvent::ServiceTier(tier) => self.service_tier = Some(tier.clone()),
            ChatEvent::Usage(tokens) => self.usage = Some(*tokens),
            ChatEvent::Ping => out.put_slice(b": ping\r\n\r\n"),
            ChatEvent::Error(fault) => {
                if self.usage.is_some() {
                    let (tokens, tier) = (self.usage, self.service_tier.clone());
                    self.chunk(out, |it| usage(it, tokens, tier.as_deref()));
                }
                frame(&errors::write(fault).into_vec(), out);
            }
            ChatEvent::End => self.end(out),
        }
    }
}

impl Writer {
    fn state(&mut self, choice: u32) -> &mut State {
        let index = usize::try_from(choice).unwrap_or(usize::MAX).min(127);
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, State::default);
        }
        &mut self.choices[index]
    }

    fn start(&mut self, choice: u32, start: &BlockStart, out: &mut BytesMut) {
        let state = self.state(choice);
        match start {
            BlockStart::Text | BlockStart::Refusal => {
                state.open = Open::Text;
                state.texts.push((String::new(), Vec::new()));
            }
            BlockStart::Reasoning { .. } => state.open = Open::Thoughts,
            BlockStart::ToolCall {
                id,
                name,
                input,
                seal,
            } => {
                state.open = Open::Call(ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    input: input.clone(),
                    seal: seal.clone(),
                });
            }
            BlockStart::Whole(block) => self.part(choice, (**block).clone(), out),
        }
    }

    fn delta(&mut self, choice: u32, delta: &Delta, out: &mut BytesMut) {
        let state = self.state(choice);
        match (&mut state.open, delta) {
            (Open::Text, Delta::Text(text)) => {
                if let Some((whole, _)) = state.texts.last_mut() {
                    whole.push_str(text);
                }
                self.shown(choice, text, false, out);
            }
            (Open::Thoughts, Delta::Text(text)) => self.shown(choice, text, true, out),
            (Open::Thoughts, Delta::Seal(seal)) => {
                let thought = ReasoningBlock {
                    seal: Some(seal.clone()),
                    ..ReasoningBlock::default()
                };
                self.part(choice, BlockBody::Reasoning(thought).into(), out);
            }
            (Open::Call(call), Delta::Input(more)) => match &mut call.input {
                ToolInput::Json(text) | ToolInput::Text(text) => text.push_str(more),
            },
            (Open::Call(call), Delta::Seal(seal)) => call.seal = Some(seal.clone()),
            (_, Delta::Citation(citation)) => {
                if let Some((_, citations)) = state.texts.last_mut() {
                    citations.push((**citation).clone());
                }
            }
            _ => {}
        }
    }

    /// A piece of text, the usual event.
    fn shown(&mut self, choice: u32, text: &str, is_thought: bool, out: &mut BytesMut) {
        self.content(choice, out, |list| {
            list.object(|it| {
                it.string("text", text);
                if is_thought {
                    it.boolean("thought", true);
                }
            });
        });
    }

    /// A block as a part. Parts of Google's own have no `type`, foreign ones always do.
    fn part(&mut self, choice: u32, block: Block, out: &mut BytesMut) {
        let is_own = match &block.body {
            BlockBody::Native(native) => {
                let object = Object::read(native.get());
                object.is_ok_and(|it| it.get("type").is_none())
            }
            _ => false,
        };
        self.content(choice, out, |list| {
            let mut notes = Notes::default();
            let mut pen = Pen {
                is_own,
                is_upstream: false,
                takes_ids: true,
                generation: Generation::of(""),
                functions: FxHashMap::default(),
                notes: &mut notes,
            };
            pen.parts(list, &[block], 0);
        });
    }

    fn content(&mut self, choice: u32, out: &mut BytesMut, parts: impl FnOnce(&mut JsonOut)) {
        self.candidate(choice, out, |it| {
            it.object("content", |it| {
                it.array("parts", parts);
                it.string("role", "model");
            });
        });
    }

    fn candidate(
        &mut self,
        choice: u32,
        out: &mut BytesMut,
        members: impl FnOnce(&mut Members<'_>),
    ) {
        self.chunk(out, |it| {
            it.array("candidates", |list| {
                list.object(|it| {
                    members(it);
                    it.integer("index", choice);
                });
            });
        });
    }

    fn chunk(&mut self, out: &mut BytesMut, members: impl FnOnce(&mut Members<'_>)) {
        let mut json = JsonOut::reusing(std::mem::take(&mut self.scratch));
        json.object(|it| {
            members(it);
            it.maybe_string("createTime", self.created.as_deref());
            it.string("modelVersion", &self.model);
            it.string("responseId", &self.id);
        });
        self.scratch = json.into_vec();
        frame(&self.scratch, out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        let is_blocked = |it: &Finish| it.native.as_deref() == Some(finish::PROMPT_BLOCKED);
        let (tokens, tier) = (self.usage, self.service_tier.take());
        let choices = std::mem::take(&mut self.choices);
        self.chunk(out, |it| {
            let mut finished = choices.iter().filter_map(|it| it.finish.as_ref());
            if finished.any(is_blocked) {
                it.object("promptFeedback", |it| it.string("blockReason", "OTHER"));
            } else {
                it.array("candidates", |list| {
                    for (state, choice) in choices.iter().zip(0_u32..) {
                        list.object(|it| state.end(it, choice));
                    }
                });
            }
            usage(it, tokens, tier.as_deref());
        });
    }
}

fn usage(it: &mut Members<'_>, tokens: Option<Tokens>, tier: Option<&str>) {
    if let Some(tokens) = &tokens {
        it.object("usageMetadata", |it| {
            usage::write(it, tokens, 0);
            it.maybe_string("serviceTier", tier);
        });
    }
}

/// As protobuf's JSON writes a time.
fn timestamp(seconds: u64) -> Option<String> {
    let seconds = i64::try_from(seconds).ok()?;
    Some(jiff::Timestamp::from_second(seconds).ok()?.to_string())
}

impl State {
    fn end(&self, it: &mut Members<'_>, choice: u32) {
        if let Some(finish) = &self.finish {
            // The native word is another dialect's, unless it is one of Google's.
            let native = finish.native.as_deref();
            let is_own =
                native.is_some_and(|it| it.bytes().all(|it| it.is_ascii_uppercase() || it == b'_'));
            it.string("finishReason", finish::write(finish, is_own));
        }
        it.integer("index", choice);
        let texts = self.texts.iter().enumerate();
        let texts: Vec<_> = texts
            .map(|(index, (text, citations))| (index, text.as_str(), citations.as_slice()))
            .collect();
        grounding::write(it, &texts);
    }
}

fn frame(json: &[u8], out: &mut BytesMut) {
    out.reserve(json.len() + 10);
    out.put_slice(b"data: ");
    sse_lines::put(out, json);
    out.put_slice(b"\r\n\r\n");
}
