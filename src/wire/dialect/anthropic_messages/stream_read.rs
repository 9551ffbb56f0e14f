//! An upstream's stream in neutral events.

use std::collections::HashMap;

use base64::Engine as _;

use super::held::Blocks;
use super::usage::Counts;
use super::{NAME, blocks_read, errors, finish};
use crate::types::chat::event::StreamFault;
use crate::types::chat::{
    AnswerHead, Block, BlockBody, BlockStart, ChatEvent, Delta, RawJson, Seal, ToolInput,
};
use crate::wire::facts::NotADialect;
use crate::wire::json_in::{Kind, Object, Raw};
use crate::wire::json_out::JsonOut;
use crate::wire::translate::{StreamReader, WireEvent};

/// Longest input that is gathered for a block that only comes whole.
const MAX_GATHERED_BYTES: usize = 4 << 20;

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    blocks: Blocks,
    /// Native blocks whose input comes in pieces, by the upstream's index.
    native: HashMap<u64, Native>,
    /// Inputs that stood in a call's start already, in case nothing follows.
    begun_inputs: HashMap<u64, String>,
    counts: Counts,
    service_tier: Option<String>,
    has_started: bool,
    has_finished: bool,
    has_ended: bool,
}

#[derive(Debug)]
struct Native {
    block: RawJson,
    input: String,
}

impl StreamReader for Reader {
    fn read(&mut self, event: WireEvent<'_>, out: &mut Vec<ChatEvent>) -> Result<(), NotADialect> {
        if self.has_ended || event.data.trim_ascii().is_empty() {
            return Ok(());
        }
        let text = std::str::from_utf8(event.data).map_err(|_| malformed("not UTF-8"))?;
        self.read_text(event.name, text, out)
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) {
        if self.has_finished && !self.has_ended {
            self.end(out);
        }
    }
}

impl Reader {
    fn read_text(
        &mut self,
        name: Option<&str>,
        text: &str,
        out: &mut Vec<ChatEvent>,
    ) -> Result<(), NotADialect> {
        let raw = Raw::parse(text).map_err(|_| malformed("not JSON"))?;
        let mut event = raw.object().ok_or_else(|| malformed("not a JSON object"))?;
        let kind = event.get("type").and_then(Raw::string);
        if kind.is_none() {
            // Bedrock puts each event in base64 into one of its own.
            if let Some(inside) = event.take_string("bytes") {
                let bytes = base64::engine::general_purpose::STANDARD.decode(inside);
                let bytes = bytes.map_err(|_| malformed("its bytes are no base64"))?;
                let text = String::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
                if text.contains("\"bytes\"") && !text.contains("\"type\"") {
                    return Err(malformed("an event within an event within an event"));
                }
                return self.read_text(None, &text, out);
            }
        }
        match kind.as_deref().or(name).unwrap_or_default() {
            "message_start" => self.start(&mut event, out),
            "content_block_start" => self.block_start(&mut event, out),
            "content_block_delta" => self.block_delta(&mut event, out),
            "content_block_stop" => self.block_stop(&mut event, out),
            "message_delta" => self.message_delta(&mut event, out),
            "message_stop" => self.end(out),
            "ping" => out.push(ChatEvent::Ping),
            "error" => self.error(&mut event, out),
            // Amazon's own errors are named `throttlingException` and so on.
            name if name.ends_with("xception") => {
                let name = name.to_owned();
                self.error(&mut event, out);
                if let Some(ChatEvent::Error(fault)) = out.last_mut() {
                    fault.error_type.get_or_insert(name);
                }
            }
            _ if event.get("error").is_some() => self.error(&mut event, out),
            // Anthropic adds kinds of events, which clients are to pass over.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, event: &mut Object<'_>, out: &mut Vec<ChatEvent>) {
        let mut message = event.take_if("message", Raw::object).unwrap_or_default();
        let mut usage = message.take_if("usage", Raw::object).unwrap_or_default();
        self.counts.update(Counts::take(&mut usage));
        if !self.has_started {
            self.has_started = true;
            self.service_tier = usage.take_string("service_tier");
            out.push(ChatEvent::Start(AnswerHead {
                id: message.take_string("id").unwrap_or_default(),
                model: message.take_string("model").unwrap_or_default(),
                created: None,
                service_tier: self.service_tier.clone(),
            }));
        }
        self.report(out);
    }

    fn ensure_started(&mut self, out: &mut Vec<ChatEvent>) {
        if !self.has_started {
            self.has_started = true;
            out.push(ChatEvent::Start(AnswerHead::default()));
        }
    }

    fn report(&self, out: &mut Vec<ChatEvent>) {
        if let Some(tokens) = self.counts.disjoint() {
            out.push(ChatEvent::Usage(tokens));
        }
    }

    fn block_start(&mut self, event: &mut Object<'_>, out: &mut Vec<ChatEvent>) {
        self.ensure_started(out);
        let index = event.take_count("index").unwrap_or(0);
        let Some(raw) = event.take("content_block") else {
            return;
        };
        let Some(block) = blocks_read::block(raw) else {
            return;
        };
        let (start, first) = match block.body {
            BlockBody::Text { text, citations } => {
                let cited = citations
                    .into_iter()
                    .map(|it| Delta::Citation(Box::new(it)));
                let mut first = vec![Delta::Text(text)];
                first.extend(cited);
                (BlockStart::Text, first)
            }
            BlockBody::Reasoning(thoughts) if !thoughts.is_hidden || !thoughts.text.is_empty() => {
                let start = BlockStart::Reasoning {
                    id: None,
                    is_summary: thoughts.is_summary,
                };
                let mut first = vec![Delta::Text(thoughts.text)];
                first.extend(thoughts.seal.map(Delta::Seal));
                (start, first)
            }
            BlockBody::ToolCall(call) => {
                if let ToolInput::Json(json) = call.input
                    && Raw::parse(&json).is_ok_and(|raw| !is_empty_object(raw))
                {
                    self.begun_inputs.insert(index, json);
                }
                let start = BlockStart::ToolCall {
                    id: call.id,
                    name: call.name,
                    input: ToolInput::Json(String::new()),
                    seal: call.seal,
                };
                (start, Vec::new())
            }
            BlockBody::Native(block) => {
                let input = String::new();
                self.native.insert(index, Native { block, input });
                return;
            }
            body => {
                let block = Block {
                    body,
                    cache_mark: None,
                    extra: block.extra,
                };
                (BlockStart::Whole(Box::new(block)), Vec::new())
            }
        };
        self.blocks.open(index, start, out);
        for delta in first {
            if !matches!(&delta, Delta::Text(text) if text.is_empty()) {
                self.blocks.delta(index, delta, out);
            }
        }
    }

    fn block_delta(&mut self, event: &mut Object<'_>, out: &mut Vec<ChatEvent>) {
        let index = event.take_count("index").unwrap_or(0);
        let Some(mut delta) = event.take_if("delta", Raw::object) else {
            return;
        };
        let kind = delta.take_string("type").unwrap_or_default();
        if let Some(native) = self.native.get_mut(&index) {
            if let Some(piece) = delta.take_string("partial_json")
                && native.input.len() + piece.len() <= MAX_GATHERED_BYTES
            {
                native.input.push_str(&piece);
            }
            return;
        }
        let read = match kind.as_str() {
            "text_delta" => delta.take_string("text").map(Delta::Text),
            "thinking_delta" => delta.take_string("thinking").map(Delta::Text),
            "input_json_delta" => {
                let piece = delta.take_string("partial_json");
                if piece.as_ref().is_some_and(|piece| !piece.is_empty()) {
                    self.begun_inputs.remove(&index);
                }
                piece.map(Delta::Input)
            }
            "signature_delta" => delta
                .take_string("signature")
                .filter(|text| !text.is_empty())
                .map(|text| Delta::Seal(Seal::read(&text, NAME))),
            "citations_delta" => delta
                .take("citation")
                .and_then(blocks_read::citation)
                .map(|citation| Delta::Citation(Box::new(citation))),
            _ => None,
        };
        let is_empty = |delta: &Delta| matches!(delta, Delta::Text(text) | Delta::Input(text) if text.is_empty());
        let Some(delta) = read.filter(|delta| !is_empty(delta)) else {
            return;
        };
        if !self.blocks.is_open(index)
            && let Some(start) = begun_by(&delta)
        {
            self.ensure_started(out);
            self.blocks.open(index, start, out);
        }
        self.blocks.delta(index, delta, out);
    }

    fn block_stop(&mut self, event: &mut Object<'_>, out: &mut Vec<ChatEvent>) {
        let index = event.take_count("index").unwrap_or(0);
        self.settle(index, out);
        self.blocks.close(index, out);
    }

    /// Gives out what was only gathered for a block.
    fn settle(&mut self, index: u64, out: &mut Vec<ChatEvent>) {
        if let Some(native) = self.native.remove(&index) {
            let block = BlockBody::Native(native.whole()).into();
            let start = BlockStart::Whole(Box::new(block));
            self.blocks.open(index, start, out);
        }
        if let Some(input) = self.begun_inputs.remove(&index) {
            self.blocks.delta(index, Delta::Input(input), out);
        }
    }

    fn settle_all(&mut self, out: &mut Vec<ChatEvent>) {
        let gathered = self.native.keys().chain(self.begun_inputs.keys());
        let mut indices: Vec<u64> = gathered.copied().collect();
        indices.sort_unstable();
        for index in indices {
            self.settle(index, out);
        }
        self.blocks.close_all(out);
    }

    fn message_delta(&mut self, event: &mut Object<'_>, out: &mut Vec<ChatEvent>) {
        self.ensure_started(out);
        if let Some(mut usage) = event.take_if("usage", Raw::object) {
            self.counts.update(Counts::take(&mut usage));
            let tier = usage.take_string("service_tier");
            if tier.is_some() && tier != self.service_tier {
                self.service_tier.clone_from(&tier);
                out.extend(tier.map(ChatEvent::ServiceTier));
            }
        }
        let mut delta = event.take_if("delta", Raw::object).unwrap_or_default();
        let reason = delta.take_string("stop_reason");
        if reason.is_some() && !self.has_finished {
            self.has_finished = true;
            self.settle_all(out);
            let stop_sequence = delta.take_string("stop_sequence");
            out.push(ChatEvent::Finish {
                choice: 0,
                finish: finish::read(reason.as_deref(), stop_sequence),
            });
        }
        self.report(out);
    }

    fn end(&mut self, out: &mut Vec<ChatEvent>) {
        self.ensure_started(out);
        self.has_ended = true;
        if !self.has_finished {
            // Without a reason to finish it is over all the same: the upstream says so.
            self.settle_all(out);
            out.push(ChatEvent::Finish {
                choice: 0,
                finish: finish::read(None, None),
            });
        }
        out.push(ChatEvent::End);
    }

    fn error(&mut self, event: &mut Object<'_>, out: &mut Vec<ChatEvent>) {
        self.has_ended = true;
        let report = errors::report(event).unwrap_or_default();
        out.push(ChatEvent::Error(StreamFault::from(report)));
    }
}

impl Native {
    /// The block with the input that was gathered.
    fn whole(self) -> RawJson {
        let is_json = Raw::parse(&self.input).is_ok();
        let object = Raw::parse(self.block.get()).ok().and_then(Raw::object);
        let (true, Some(object)) = (is_json, object) else {
            return self.block;
        };
        let mut json = JsonOut::with_capacity(self.block.get().len() + self.input.len());
        json.object(|it| {
            for (name, value) in object.iter().filter(|(name, _)| *name != "input") {
                it.member(name).raw_text(value.get());
            }
            it.member("input").raw_text(self.input.trim());
        });
        RawJson::new(&json.into_string())
    }
}

/// The block that a delta belongs to whose start is missing.
const fn begun_by(delta: &Delta) -> Option<BlockStart> {
    match delta {
        Delta::Text(_) => Some(BlockStart::Text),
        Delta::Input(_) | Delta::Seal(_) | Delta::Citation(_) => None,
    }
}

fn is_empty_object(raw: Raw<'_>) -> bool {
    raw.kind() == Kind::Object && raw.object().is_some_and(|it| it.iter().next().is_none())
}

fn malformed(reason: &str) -> NotADialect {
    NotADialect {
        reason: reason.to_owned(),
        tokens: None,
    }
}
