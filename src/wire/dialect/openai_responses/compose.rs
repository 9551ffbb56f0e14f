//! Putting a response object together: what it repeats of the request, its items, its end.

use bytes::Bytes;

use super::NAME;
use super::answer_read::LOGPROBS;
use super::items_write::{write_call, write_said, write_thought};
use crate::types::Tokens;
use crate::types::chat::{
    AnswerHead, Block, BlockBody, Extra, Finish, FinishReason, ReasoningBlock, Source, ToolCall,
};
use crate::wire::dialect::openai_chat::neutral::usage::{self, Names};
use crate::wire::dialect::openai_chat::neutral::{with_mended, write_seal};
use crate::wire::dialect::openai_chat::stream::one_line;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::has;
use crate::wire::translate::Asked;

/// The Responses API's names for the counts.
pub(super) const RESPONSES: Names = Names {
    input: "input_tokens",
    output: "output_tokens",
    input_details: "input_tokens_details",
    output_details: "output_tokens_details",
};

/// Members that a response repeats from its request, and what stands there when the request has none;
/// nothing for those that OpenAI's document does not let be null.
const REPEATED: [(&str, &str); 20] = [
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", ""),
    ("prompt_cache_retention", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", ""),
    ("store", "true"),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1.0"),
    ("truncation", r#""disabled""#),
    ("user", ""),
];

/// What all objects of one response share.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub id: String,
    created: u64,
    model: String,
    pub service_tier: Option<String>,
    /// Members that are repeated from the request, each one line.
    repeated: Vec<(&'static str, String)>,
}

/// Where a response stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage<'s> {
    /// It is being written.
    InProgress,
    /// It ended for this reason.
    Ended(&'s Finish),
    /// It failed, with this code and message.
    Failed(&'s str, &'s str),
}

impl Frame {
    pub fn new(head: &AnswerHead, asked: &Asked<'_>) -> Self {
        // Ids name what is stored, so they are ours unless the upstream speaks this dialect.
        let id = if head.id.starts_with("resp_") {
            head.id.clone()
        } else {
            let ours = asked.id.chars().filter(char::is_ascii_alphanumeric);
            format!("resp_{}", ours.collect::<String>())
        };
        let body = std::str::from_utf8(asked.body).unwrap_or_default();
        let repeated = with_mended(body, |object| repeated(&object));
        Self {
            id,
            created: head.created.unwrap_or(asked.created),
            model: head.model.clone(),
            service_tier: head.service_tier.clone(),
            repeated: repeated.unwrap_or_else(|_| self::repeated(&Object::default())),
        }
    }

    /// The id of the item of this kind (`msg`, `rs`, `fc`) and number.
    pub fn item_id(&self, kind: &str, number: usize) -> String {
        format!("{kind}_{}_{number}", self.id.trim_start_matches("resp_"))
    }

    /// The response object.
    pub fn response(
        &self,
        it: &mut Members<'_>,
        stage: Stage<'_>,
        output: &[String],
        usage: Option<&Tokens>,
        extra: &Extra,
    ) {
        it.string("id", &self.id);
        it.string("object", "response");
        it.integer("created_at", self.created);
        it.string("status", status(stage));
        match stage {
            Stage::Failed(code, message) => it.object("error", |it| {
                it.string("code", code);
                it.string("message", message);
            }),
            _ => it.null("error"),
        }
        match stage {
            Stage::Ended(finish) if status(stage) == "incomplete" => {
                it.object("incomplete_details", |it| {
                    it.string("reason", incomplete_reason(finish));
                });
            }
            _ => it.null("incomplete_details"),
        }
        it.string("model", &self.model);
        it.array("output", |list| {
            for item in output {
                list.raw_text(item);
            }
        });
        let given = |name: &str| extra.iter().any(|(other, _)| other == name);
        for (name, value) in self.repeated.iter().filter(|(name, _)| !given(name)) {
            it.member(name).raw_text(value);
        }
        // What was served, never what was asked for: a price may depend on it.
        match &self.service_tier {
            Some(tier) => it.string("service_tier", tier),
            None => it.null("service_tier"),
        }
        // OpenAI's document does not let it be null.
        if let Some(tokens) = usage {
            it.object("usage", |it| usage::write(it, tokens, &RESPONSES));
        }
        it.extra(extra);
    }
}

fn repeated(body: &Object<'_>) -> Vec<(&'static str, String)> {
    let of = |(name, unless): (&'static str, &str)| {
        let said = body.get(name).map_or(unless, Raw::get);
        let line = String::from_utf8(one_line(said.as_bytes())).unwrap_or_default();
        (name, line)
    };
    let repeated = REPEATED.into_iter().map(of);
    repeated.filter(|(_, line)| !line.is_empty()).collect()
}

fn status(stage: Stage<'_>) -> &'static str {
    match stage {
        Stage::InProgress => "in_progress",
        Stage::Failed(..) => "failed",
        Stage::Ended(finish) => match finish.reason {
            FinishReason::Length | FinishReason::ContentFilter => "incomplete",
            FinishReason::Error => "failed",
            _ => "completed",
        },
    }
}

/// The event that ends a stream.
pub(super) fn last_event(finish: &Finish) -> &'static str {
    match status(Stage::Ended(finish)) {
        "incomplete" => "response.incomplete",
        "failed" => "response.failed",
        _ => "response.completed",
    }
}

fn incomplete_reason(finish: &Finish) -> &'static str {
    match finish.reason {
        FinishReason::ContentFilter => "content_filter",
        _ => "max_output_tokens",
    }
}

/// A message item of these parts (JSON).
pub(super) fn message_item(id: &str, status: &str, parts: &[String], extra: &Extra) -> String {
    let mut json = JsonOut::with_capacity(256);
    json.object(|it| {
        let given = |name: &str| extra.iter().any(|(other, _)| other == name);
        if !given("id") {
            it.string("id", id);
        }
        if !given("type") {
            it.string("type", "message");
        }
        if !given("status") {
            it.string("status", status);
        }
        it.string("role", "assistant");
        it.array("content", |list| {
            for part in parts {
                list.raw_text(part);
            }
        });
        it.extra(extra);
    });
    json.into_string()
}

/// A text part or a refusal (JSON).
pub(super) fn said_part(block: &Block, logprobs: &str, own: bool) -> String {
    let mut json = JsonOut::with_capacity(128);
    json.array(|list| write_said(list, block, own));
    let part = json.into_string();
    let part = &part[1..part.len() - 1];
    let is_said = own && has(&block.extra, LOGPROBS);
    if is_said || matches!(block.body, BlockBody::Refusal { .. }) {
        return part.to_owned();
    }
    // Official clients expect the member in every text.
    format!("{},\"logprobs\":{logprobs}}}", &part[..part.len() - 1])
}

/// A reasoning item.
pub(super) fn reasoning_item(id: &str, block: &ReasoningBlock, own: bool, extra: &Extra) -> String {
    let shown = ReasoningBlock {
        // Clients show and return summaries; the other form is for this dialect's own thoughts.
        is_summary: block.is_summary || !own,
        ..block.clone()
    };
    let seal = block.seal.as_ref().map(|seal| seal.for_client(NAME));
    let mut json = JsonOut::with_capacity(256);
    json.object(|it| {
        it.string("id", block.id.as_deref().unwrap_or(id));
        it.string("type", "reasoning");
        let seal = seal.as_deref().filter(|seal| !seal.is_empty());
        write_thought(it, &shown, seal, Some(extra));
    });
    json.into_string()
}

/// The item of a call.
pub(super) fn call_item(id: &str, status: &str, call: &ToolCall, extra: &Extra) -> String {
    let mut json = JsonOut::with_capacity(256);
    json.object(|it| {
        let given = |name: &str| extra.iter().any(|(other, _)| other == name);
        if !given("id") {
            it.string("id", id);
        }
        write_call(it, call);
        if !given("status") {
            it.string("status", status);
        }
        if let Some(seal) = &call.seal {
            write_seal(it, &seal.for_client(NAME));
        }
        it.extra(extra);
    });
    json.into_string()
}

/// A painted image, where its bytes are here.
pub(super) fn image_item(id: &str, block: &Block, own: bool) -> Option<String> {
    let BlockBody::Image(media) = &block.body else {
        return None;
    };
    let Source::Base64 { media_type, data } = &media.source else {
        return None;
    };
    let mut json = JsonOut::with_capacity(data.len() + 128);
    json.object(|it| {
        let extra = if own {
            block.extra.clone()
        } else {
            Extra::none()
        };
        if extra.iter().all(|(name, _)| name != "id") {
            it.string("id", id);
        }
        it.string("type", "image_generation_call");
        it.string("status", "completed");
        it.string("result", data);
        it.string("output_format", media_type.trim_start_matches("image/"));
        it.extra(&extra);
    });
    Some(json.into_string())
}

/// A document of its own.
pub(super) fn document(
    frame: &Frame,
    stage: Stage<'_>,
    output: &[String],
    usage: Option<&Tokens>,
    extra: &Extra,
) -> Bytes {
    JsonOut::document(2048, |it| frame.response(it, stage, output, usage, extra))
}
