//! An upstream's stream into neutral events, chunk by chunk.

use super::answer_read::{self, annotation, images, refuse, thinking_text};
use super::messages_read::take_seal;
use super::reasoning::{Detail, NAME};
use super::turn::{CallPiece, Turn};
use super::usage;
use super::with_mended;
use crate::types::Tokens;
use crate::types::chat::event::StreamFault;
use crate::types::chat::{ChatEvent, FinishReason, ReasoningBlock};
use crate::wire::dialect::openai_chat::{answer, stream};
use crate::wire::facts::{ErrorReport, NotADialect};
use crate::wire::json_in::{Object, Raw};
use crate::wire::translate::{StreamReader, WireEvent};

/// Most choices of one stream; OpenAI allows no more in a request.
const MAX_CHOICES: u64 = 128;

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct ChunkReader {
    started: bool,
    over: bool,
    turns: Vec<Turn>,
    service_tier: Option<String>,
    usage: Option<Tokens>,
}

impl StreamReader for ChunkReader {
    fn read(&mut self, event: WireEvent<'_>, out: &mut Vec<ChatEvent>) -> Result<(), NotADialect> {
        let data = event.data.trim_ascii();
        if self.over {
            return Ok(());
        }
        if data.is_empty() {
            out.push(ChatEvent::Ping);
            return Ok(());
        }
        if data == b"[DONE]" {
            self.end(out);
            return Ok(());
        }
        let text = std::str::from_utf8(data).map_err(|_| refuse("an event is not UTF-8"))?;
        let named_error = event.name == Some("error");
        let read = with_mended(text, |chunk| self.chunk(chunk, named_error, text, out));
        read.map_err(|error| refuse(format!("an event is no JSON object: {error}")))
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) {
        let complete = !self.turns.is_empty() && self.turns.iter().all(|turn| turn.finished);
        if !self.over && complete {
            self.end(out);
        }
    }
}

impl ChunkReader {
    fn chunk(
        &mut self,
        mut chunk: Object<'_>,
        named_error: bool,
        text: &str,
        out: &mut Vec<ChatEvent>,
    ) {
        let choices = chunk.take("choices").and_then(Raw::array);
        let choices = choices.unwrap_or_default();
        let is_error = named_error
            || chunk.get("error").is_some()
            || (choices.is_empty() && chunk.get("message").is_some());
        if !choices.is_empty() && !self.started {
            self.started = true;
            let head = answer_read::head(&mut chunk);
            self.service_tier.clone_from(&head.service_tier);
            out.push(ChatEvent::Start(head));
        } else if let Some(tier) = chunk.get("service_tier").and_then(Raw::text) {
            self.see_tier(&tier, out);
        }
        for value in choices {
            if let Some(choice) = value.object() {
                self.choice(choice, out);
            }
        }
        if let Some(value) = chunk.take("usage") {
            self.see_usage(value, out);
        }
        if is_error {
            let report = answer::read(text.as_bytes()).ok();
            let report = report.and_then(|answer| answer.error).unwrap_or_default();
            self.over = true;
            out.push(ChatEvent::Error(fault(report)));
        }
    }

    fn see_tier(&mut self, tier: &str, out: &mut Vec<ChatEvent>) {
        if self.started && self.service_tier.as_deref() != Some(tier) {
            self.service_tier = Some(tier.to_owned());
            out.push(ChatEvent::ServiceTier(tier.to_owned()));
        }
    }

    fn see_usage(&mut self, value: Raw<'_>, out: &mut Vec<ChatEvent>) {
        let Some(tokens) = usage::of(value) else {
            return;
        };
        let tokens = stream::with_earlier(tokens, self.usage);
        if self.usage != Some(tokens) {
            self.usage = Some(tokens);
            out.push(ChatEvent::Usage(tokens));
        }
    }

    fn choice(&mut self, mut choice: Object<'_>, out: &mut Vec<ChatEvent>) {
        let index = choice.take_count("index").unwrap_or(0).min(MAX_CHOICES - 1);
        let index = u32::try_from(index).unwrap_or(0);
        // Moonshot reports the usage inside the last choice.
        if let Some(value) = choice.take("usage") {
            self.see_usage(value, out);
        }
        let at = index as usize;
        while self.turns.len() <= at {
            let next = u32::try_from(self.turns.len()).unwrap_or(0);
            self.turns.push(Turn::new(next).marking_thoughts(NAME));
        }
        let turn = &mut self.turns[at];
        if turn.finished {
            return;
        }
        let said = choice.take("delta").or_else(|| choice.take("message"));
        if let Some(mut delta) = said.and_then(Raw::object) {
            read_delta(&mut delta, turn, out);
        } else if let Some(text) = choice.take_string("text") {
            turn.text(text, out);
        }
        if let Some(logprobs) = choice.take("logprobs") {
            out.push(ChatEvent::Logprobs {
                choice: index,
                logprobs: logprobs.owned(),
            });
        }
        let word = choice.take_string("finish_reason");
        if let Some(word) = word.filter(|word| !word.is_empty()) {
            let stop = choice.take_string("stop_reason");
            let mut finish = answer_read::reason(&word, stop);
            finish.native = Some(word);
            turn.finish(finish, out);
        }
    }

    /// The end marker came, or the bytes ended after every choice was complete.
    fn end(&mut self, out: &mut Vec<ChatEvent>) {
        self.over = true;
        for turn in &mut self.turns {
            turn.finish(FinishReason::Stop.into(), out);
        }
        if self.started {
            out.push(ChatEvent::End);
        }
    }
}

fn fault(report: ErrorReport) -> StreamFault {
    StreamFault {
        message: report.message,
        error_type: report.error_type,
        code: report.code,
    }
}

fn read_delta(delta: &mut Object<'_>, turn: &mut Turn, out: &mut Vec<ChatEvent>) {
    for thought in answer_read::thoughts(delta) {
        turn.thought(thought, out);
    }
    let content = delta.take("content");
    if let Some(text) = content.and_then(Raw::string) {
        turn.text(text, out);
    } else {
        for value in content.and_then(Raw::array).unwrap_or_default() {
            content_part(value, turn, out);
        }
    }
    let cited = delta.take("annotations").and_then(Raw::array);
    for value in cited.unwrap_or_default() {
        turn.citation(annotation(value), out);
    }
    if let Some(text) = delta.take_string("refusal") {
        turn.refusal(text, out);
    }
    for block in images(delta) {
        turn.whole(block, out);
    }
    let calls = delta.take("tool_calls").and_then(Raw::array);
    for value in calls.unwrap_or_default() {
        if let Some(call) = value.object() {
            turn.call(call_piece(call), out);
        }
    }
    if let Some(mut call) = delta.take("function_call").and_then(Raw::object) {
        let name = call.take_string("name").unwrap_or_default();
        let id = if name.is_empty() {
            String::new()
        } else {
            format!("call_{name}")
        };
        let piece = CallPiece {
            index: Some(0),
            id,
            name,
            input: super::messages_read::arguments(&mut call),
            ..CallPiece::default()
        };
        turn.call(piece, out);
    }
}

/// A part of a content that is an array (Mistral's reasoning models).
fn content_part(value: Raw<'_>, turn: &mut Turn, out: &mut Vec<ChatEvent>) {
    let Some(mut part) = value.object() else {
        return;
    };
    match part.take_string("type").as_deref() {
        Some("thinking") => {
            let text = thinking_text(value).unwrap_or_default();
            let block = ReasoningBlock {
                text,
                ..ReasoningBlock::default()
            };
            turn.thought(Detail { index: None, block }, out);
        }
        _ => turn.text(part.take_string("text").unwrap_or_default(), out),
    }
}

fn call_piece(mut call: Object<'_>) -> CallPiece {
    let mut piece = CallPiece {
        index: call.take_count("index"),
        id: call.take_string("id").unwrap_or_default(),
        seal: take_seal(&mut call),
        ..CallPiece::default()
    };
    if let Some(mut custom) = call.take("custom").and_then(Raw::object) {
        piece.is_custom = true;
        piece.name = custom.take_string("name").unwrap_or_default();
        piece.input = custom.take_string("input").unwrap_or_default();
    } else if let Some(mut function) = call.take("function").and_then(Raw::object) {
        piece.name = function.take_string("name").unwrap_or_default();
        piece.input = super::messages_read::arguments(&mut function);
    }
    piece
}
