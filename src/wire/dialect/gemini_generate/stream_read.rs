//! One stream of Google's: every event is an answer of its own with what is new.
//!
//! There is no end marker, some models name a reason to finish in every event, and what an answer rests
//! on comes last: so blocks and choices are closed when the bytes are over.

use super::answer_read::{block_reason, not, read_head};
use super::call_ids::{AnswerIds, CallIds};
use super::grounding::{self, Cited};
use super::members::{count, take, take_as};
use super::{errors, finish, logprobs, parts_read, usage};
use crate::types::Tokens;
use crate::types::chat::{
    Block, BlockBody, BlockStart, ChatEvent, Delta, ReasoningBlock, ToolInput,
};
use crate::wire::facts::NotADialect;
use crate::wire::json_in::{Object, Raw};
use crate::wire::translate::{StreamReader, WireEvent};

/// Most choices of a stream; Google gives eight.
const MAX_CHOICES: usize = 128;

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    failed: bool,
    ended: bool,
    response_id: String,
    service_tier: Option<String>,
    usage: Option<Tokens>,
    choices: Vec<State>,
}

/// What is known of one choice.
#[derive(Debug)]
struct State {
    choice: u32,
    /// The number of the next block.
    next: u32,
    open: Open,
    /// The text of the last text block: places in it are counted in its bytes.
    text: String,
    calls_tools: bool,
    reason: Option<String>,
    ids: CallIds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Thoughts,
}

impl StreamReader for Reader {
    fn read(&mut self, event: WireEvent<'_>, out: &mut Vec<ChatEvent>) -> Result<(), NotADialect> {
        let data = std::str::from_utf8(event.data).map_err(|_| not("an event is not UTF-8"))?;
        let data = data.trim();
        if self.failed || data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        let document = Object::read(data).map_err(|_| not("an event is no JSON object"))?;
        if let Some(fault) = Raw::parse(data)
            .ok()
            .filter(|_| document.get("error").is_some())
            .and_then(|raw| errors::fault(&document, raw))
        {
            self.failed = true;
            out.push(ChatEvent::Error(fault));
            return Ok(());
        }
        self.read_chunk(document, out)
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) {
        let is_complete = self.choices.iter().any(|it| it.reason.is_some());
        if self.failed || self.ended || !is_complete {
            return;
        }
        self.ended = true;
        for state in &mut self.choices {
            state.close(out);
            if let Some(reason) = state.reason.take() {
                out.push(ChatEvent::Finish {
                    choice: state.choice,
                    finish: finish::read(&reason, state.calls_tools),
                });
            }
        }
        out.push(ChatEvent::End);
    }
}

impl Reader {
    fn read_chunk(
        &mut self,
        mut chunk: Object<'_>,
        out: &mut Vec<ChatEvent>,
    ) -> Result<(), NotADialect> {
        let report = take_as(&mut chunk, "usageMetadata", Raw::object).map(usage::read);
        let (tokens, tier) = report.map_or((None, None), |it| (it.tokens, it.service_tier));
        if !self.started {
            self.started = true;
            let mut head = read_head(&mut chunk);
            self.service_tier.clone_from(&tier);
            head.service_tier = tier;
            self.response_id.clone_from(&head.id);
            out.push(ChatEvent::Start(head));
        } else if tier.is_some() && tier != self.service_tier {
            self.service_tier.clone_from(&tier);
            out.extend(tier.map(ChatEvent::ServiceTier));
        }
        let candidates = take(&mut chunk, "candidates").and_then(Raw::array);
        for candidate in candidates.unwrap_or_default() {
            let candidate = candidate.object();
            let candidate = candidate.ok_or_else(|| not("a candidate is no object"))?;
            self.read_candidate(candidate, out)?;
        }
        if block_reason(&chunk).is_some() {
            let state = self.state(0)?;
            state
                .reason
                .get_or_insert(finish::PROMPT_BLOCKED.to_owned());
        }
        if tokens.is_some() && tokens != self.usage {
            self.usage = tokens;
            out.extend(tokens.map(ChatEvent::Usage));
        }
        Ok(())
    }

    fn state(&mut self, index: u64) -> Result<&mut State, NotADialect> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if index >= MAX_CHOICES {
            return Err(not("a candidate has an index beyond all that are given"));
        }
        while self.choices.len() <= index {
            let choice = u32::try_from(self.choices.len()).unwrap_or(u32::MAX);
            let id = if choice == 0 {
                self.response_id.clone()
            } else {
                format!("{}-{choice}", self.response_id)
            };
            self.choices.push(State::new(choice, &id));
        }
        Ok(&mut self.choices[index])
    }

    fn read_candidate(
        &mut self,
        mut candidate: Object<'_>,
        out: &mut Vec<ChatEvent>,
    ) -> Result<(), NotADialect> {
        let index = take_as(&mut candidate, "index", count).unwrap_or(0);
        let state = self.state(index)?;
        let content = take(&mut candidate, "content").and_then(Raw::object);
        let parts = content.and_then(|mut it| it.take("parts")?.array());
        let mut blocks = Vec::new();
        for part in parts.unwrap_or_default() {
            parts_read::read(part, &mut state.ids, &mut blocks);
        }
        for block in blocks {
            state.add(block, out);
        }
        for cited in grounding::read(&candidate) {
            state.cite(cited, out);
        }
        if let Some(logprobs) = candidate.get("logprobsResult").and_then(logprobs::read) {
            out.push(ChatEvent::Logprobs {
                choice: state.choice,
                logprobs,
            });
        }
        let word = candidate.take_string("finishReason");
        if let Some(word) = word.filter(|word| word != "FINISH_REASON_UNSPECIFIED") {
            state.reason = Some(word);
        }
        Ok(())
    }
}

impl State {
    fn new(choice: u32, response_id: &str) -> Self {
        Self {
            choice,
            next: 0,
            open: Open::Nothing,
            text: String::new(),
            calls_tools: false,
            reason: None,
            ids: CallIds::Answer(AnswerIds::new(response_id)),
        }
    }

    fn add(&mut self, block: Block, out: &mut Vec<ChatEvent>) {
        match block.body {
            BlockBody::Text { text, .. } if text.is_empty() => {}
            BlockBody::Text { text, .. } => {
                self.open(Open::Text, out);
                self.text.push_str(&text);
                self.delta(Delta::Text(text), out);
            }
            BlockBody::Reasoning(thought) if !thought.is_hidden => self.think(thought, out),
            BlockBody::ToolCall(call) => {
                self.close(out);
                self.calls_tools = true;
                let (arguments, input) = match call.input {
                    ToolInput::Json(text) => (text, ToolInput::Json(String::new())),
                    ToolInput::Text(text) => (text, ToolInput::Text(String::new())),
                };
                let start = BlockStart::ToolCall {
                    id: call.id,
                    name: call.name,
                    input,
                    seal: call.seal,
                };
                self.start(start, out);
                self.delta(Delta::Input(arguments), out);
                self.end(out);
            }
            body => {
                self.close(out);
                let whole = Block { body, ..block };
                self.start(BlockStart::Whole(Box::new(whole)), out);
                self.end(out);
            }
        }
    }

    fn think(&mut self, thought: ReasoningBlock, out: &mut Vec<ChatEvent>) {
        self.open(Open::Thoughts, out);
        if !thought.text.is_empty() {
            self.delta(Delta::Text(thought.text), out);
        }
        if let Some(seal) = thought.seal {
            self.delta(Delta::Seal(seal), out);
            self.close(out);
        }
    }

    /// A citation belongs to the text that is open; where none is, to an empty one.
    fn cite(&mut self, cited: Cited, out: &mut Vec<ChatEvent>) {
        let range = cited.bytes;
        let range = range.and_then(|bytes| grounding::in_characters(&self.text, bytes));
        self.open(Open::Text, out);
        let mut citation = cited.citation;
        citation.range = range;
        self.delta(Delta::Citation(Box::new(citation)), out);
    }

    /// Opens a block of this kind unless it is open.
    fn open(&mut self, kind: Open, out: &mut Vec<ChatEvent>) {
        if self.open == kind {
            return;
        }
        self.close(out);
        self.open = kind;
        let start = if kind == Open::Thoughts {
            BlockStart::Reasoning {
                id: None,
                is_summary: true,
            }
        } else {
            self.text.clear();
            BlockStart::Text
        };
        self.start(start, out);
    }

    fn close(&mut self, out: &mut Vec<ChatEvent>) {
        if self.open != Open::Nothing {
            self.open = Open::Nothing;
            self.end(out);
        }
    }

    fn start(&mut self, start: BlockStart, out: &mut Vec<ChatEvent>) {
        out.push(ChatEvent::BlockStart {
            choice: self.choice,
            block: self.next,
            start,
        });
    }

    fn delta(&mut self, delta: Delta, out: &mut Vec<ChatEvent>) {
        out.push(ChatEvent::BlockDelta {
            choice: self.choice,
            block: self.next,
            delta,
        });
    }

    fn end(&mut self, out: &mut Vec<ChatEvent>) {
        out.push(ChatEvent::BlockEnd {
            choice: self.choice,
            block: self.next,
        });
        self.next += 1;
    }
}
