//! An upstream's stream into neutral events.

use super::answer_read::{self, ending, head, painted, refuse};
use super::items_read::{self, annotation};
use super::response::read_error;
use crate::types::Tokens;
use crate::types::chat::event::StreamFault;
use crate::types::chat::{BlockBody, ChatEvent, ReasoningBlock, Seal, ToolInput};
use crate::wire::dialect::openai_chat::neutral::reasoning::Detail;
use crate::wire::dialect::openai_chat::neutral::turn::{CallPiece, Turn};
use crate::wire::dialect::openai_chat::neutral::{take_seal, usage, with_mended};
use crate::wire::facts::NotADialect;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::JsonOut;
use crate::wire::translate::{StreamReader, WireEvent};

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    started: bool,
    over: bool,
    turn: Turn,
    service_tier: Option<String>,
    usage: Option<Tokens>,
    /// The item under way: its number and whether anything of its content came.
    item: Option<u64>,
    item_spoke: bool,
    /// The part of a summary that the last text belonged to.
    summary_part: Option<u64>,
    thought_id: Option<String>,
    thought_is_summary: bool,
}

impl StreamReader for EventReader {
    fn read(&mut self, event: WireEvent<'_>, out: &mut Vec<ChatEvent>) -> Result<(), NotADialect> {
        let data = event.data.trim_ascii();
        if self.over || data == b"[DONE]" {
            return Ok(());
        }
        if data.is_empty() {
            out.push(ChatEvent::Ping);
            return Ok(());
        }
        let text = std::str::from_utf8(data).map_err(|_| refuse("an event is not UTF-8"))?;
        let read = with_mended(text, |mut object| {
            let kind = object.take_string("type");
            let kind = kind
                .or_else(|| event.name.map(str::to_owned))
                .unwrap_or_default();
            self.event(&kind, object, text, out);
        });
        read.map_err(|error| refuse(format!("an event is no JSON object: {error}")))
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) {
        // Without its last event a response is torn.
        let _ = out;
    }
}

impl EventReader {
    fn event(&mut self, kind: &str, mut it: Object<'_>, text: &str, out: &mut Vec<ChatEvent>) {
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                if let Some(mut response) = it.take("response").and_then(Raw::object) {
                    self.start(&mut response, out);
                }
            }
            "response.output_item.added" => self.item_added(&mut it, out),
            "response.content_part.added" => {
                let part = it.take("part").and_then(Raw::object);
                let kind = part.and_then(|mut part| part.take_string("type"));
                match kind.as_deref() {
                    Some("output_text") => self.turn.begin_text(out),
                    Some("refusal") => self.turn.begin_refusal(out),
                    _ => {}
                }
            }
            "response.output_text.delta" => self.text_delta(&mut it, out),
            "response.refusal.delta" => {
                self.item_spoke = true;
                self.turn
                    .refusal(it.take_string("delta").unwrap_or_default(), out);
            }
            "response.reasoning_summary_text.delta" => {
                let part = it.take_count("summary_index");
                self.thought(&mut it, part, true, out);
            }
            "response.reasoning_text.delta" => {
                let part = it.take_count("content_index");
                self.thought(&mut it, part, false, out);
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                self.item_spoke = true;
                let piece = CallPiece {
                    index: it.take_count("output_index").or(self.item),
                    input: it.take_string("delta").unwrap_or_default(),
                    is_custom: kind == "response.custom_tool_call_input.delta",
                    ..CallPiece::default()
                };
                self.turn.call(piece, out);
            }
            "response.output_text.annotation.added" => {
                if let Some(value) = it.take("annotation") {
                    self.turn.citation(annotation(value), out);
                }
            }
            "response.output_item.done" => self.item_done(&mut it, out),
            "response.completed" | "response.incomplete" | "response.done" => {
                if let Some(response) = it.take("response").and_then(Raw::object) {
                    self.end(response, out);
                }
            }
            "response.failed" | "error" => self.failed(&mut it, text, out),
            _ if it.get("error").is_some() => self.failed(&mut it, text, out),
            _ => {}
        }
    }

    fn start(&mut self, response: &mut Object<'_>, out: &mut Vec<ChatEvent>) {
        if !std::mem::replace(&mut self.started, true) {
            let mut head = head(response);
            // As it was asked for; the last event says what it was.
            head.service_tier = head.service_tier.filter(|tier| tier != "auto");
            self.service_tier.clone_from(&head.service_tier);
            out.push(ChatEvent::Start(head));
        }
    }

    fn item_added(&mut self, it: &mut Object<'_>, out: &mut Vec<ChatEvent>) {
        self.start(&mut Object::default(), out);
        self.item = it.take_count("output_index");
        self.item_spoke = false;
        self.summary_part = None;
        let Some(mut item) = it.take("item").and_then(Raw::object) else {
            return;
        };
        let kind = item.take_string("type").unwrap_or_default();
        match kind.as_str() {
            "reasoning" => self.thought_id = item.take_string("id"),
            "function_call" | "custom_tool_call" => {
                let piece = CallPiece {
                    index: self.item,
                    id: item.take_string("call_id").unwrap_or_default(),
                    name: item.take_string("name").unwrap_or_default(),
                    input: String::new(),
                    is_custom: kind == "custom_tool_call",
                    seal: take_seal(&mut item).map(|seal| Seal::read(&seal.value, &seal.dialect)),
                };
                self.turn.call(piece, out);
            }
            _ => {}
        }
    }

    fn text_delta(&mut self, it: &mut Object<'_>, out: &mut Vec<ChatEvent>) {
        self.item_spoke = true;
        self.turn
            .text(it.take_string("delta").unwrap_or_default(), out);
        let logprobs = it.take("logprobs").and_then(Raw::array).unwrap_or_default();
        let logprobs: Vec<_> = logprobs.into_iter().map(Raw::owned).collect();
        if let Some(logprobs) = answer_read::joined(&logprobs) {
            out.push(ChatEvent::Logprobs {
                choice: 0,
                logprobs,
            });
        }
    }

    fn thought(
        &mut self,
        it: &mut Object<'_>,
        part: Option<u64>,
        is_summary: bool,
        out: &mut Vec<ChatEvent>,
    ) {
        let mut text = it.take_string("delta").unwrap_or_default();
        if self.item_spoke && self.summary_part != part {
            text.insert_str(0, "\n\n");
        }
        self.item_spoke = true;
        self.summary_part = part;
        self.thought_is_summary = is_summary;
        let block = ReasoningBlock {
            id: self.thought_id.clone(),
            text,
            is_summary,
            ..ReasoningBlock::default()
        };
        let index = self.item;
        self.turn.thought(Detail { index, block }, out);
    }

    /// What an item is in the end: seals come here, and what an upstream did not say in pieces.
    fn item_done(&mut self, it: &mut Object<'_>, out: &mut Vec<ChatEvent>) {
        let Some(value) = it.take("item") else {
            return;
        };
        let index = it.take_count("output_index").or(self.item);
        let Some(object) = value.object() else {
            return;
        };
        let spoke = std::mem::take(&mut self.item_spoke);
        if let Some(image) = painted(value) {
            self.turn.whole(image, out);
            return;
        }
        for block in items_read::assistant_item(object, value) {
            match block.body {
                BlockBody::Reasoning(mut thought) => {
                    if spoke {
                        thought.text.clear();
                        thought.is_hidden = false;
                        thought.is_summary = self.thought_is_summary;
                    } else {
                        thought.is_hidden &= thought.text.is_empty();
                    }
                    self.turn.thought(
                        Detail {
                            index,
                            block: thought,
                        },
                        out,
                    );
                }
                BlockBody::ToolCall(call) if !spoke => {
                    let is_custom = matches!(call.input, ToolInput::Text(_));
                    let (ToolInput::Json(input) | ToolInput::Text(input)) = call.input;
                    let piece = CallPiece {
                        index,
                        id: call.id,
                        name: call.name,
                        input,
                        is_custom,
                        seal: None,
                    };
                    self.turn.call(piece, out);
                }
                BlockBody::Text { text, .. } if !spoke => self.turn.text(text, out),
                BlockBody::Refusal { text } if !spoke => self.turn.refusal(text, out),
                BlockBody::Native(_) => self.turn.whole(block, out),
                _ => {}
            }
        }
    }

    fn end(&mut self, mut response: Object<'_>, out: &mut Vec<ChatEvent>) {
        if self.started {
            let tier = response.take("service_tier").and_then(Raw::string);
            let tier =
                tier.filter(|tier| tier != "auto" && self.service_tier.as_ref() != Some(tier));
            out.extend(tier.map(ChatEvent::ServiceTier));
        }
        self.start(&mut response, out);
        if self.turn.is_silent() {
            // An upstream that says everything in its last event.
            for value in response
                .take("output")
                .and_then(Raw::array)
                .unwrap_or_default()
            {
                let mut json = JsonOut::default();
                json.object(|it| it.raw("item", &value.owned()));
                let json = json.into_string();
                if let Ok(mut item) = Object::read(&json) {
                    self.item_done(&mut item, out);
                }
            }
        }
        self.turn.finish(ending(&mut response), out);
        if let Some(tokens) = response.take("usage").and_then(usage::of) {
            self.usage = Some(tokens);
            out.push(ChatEvent::Usage(tokens));
        }
        out.push(ChatEvent::End);
        self.over = true;
    }

    fn failed(&mut self, it: &mut Object<'_>, text: &str, out: &mut Vec<ChatEvent>) {
        let response = it.take("response");
        let usage = response.and_then(Raw::object);
        if let Some(tokens) = usage
            .and_then(|mut it| it.take("usage"))
            .and_then(usage::of)
        {
            out.push(ChatEvent::Usage(tokens));
        }
        let report = read_error(response.map_or(text, Raw::get)).unwrap_or_default();
        self.over = true;
        out.push(ChatEvent::Error(StreamFault {
            message: report.message,
            error_type: report.error_type,
            code: report.code,
        }));
    }
}
