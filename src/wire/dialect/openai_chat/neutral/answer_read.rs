//! An upstream's whole answer into neutral form.

use super::media::source_of_url;
use super::messages_read::{legacy_call, part, tool_call};
use super::reasoning::{self, Detail, NAME};
use super::usage;
use crate::types::chat::{
    AnswerHead, Block, BlockBody, ChatAnswer, Choice, Citation, Extra, Finish, FinishReason, Media,
    ReasoningBlock, Seal,
};
use crate::wire::facts::NotADialect;
use crate::wire::json_in::{Object, Raw};
use crate::wire::nested::keep;

pub(super) fn refuse(reason: impl Into<String>) -> NotADialect {
    NotADialect {
        reason: reason.into(),
        tokens: None,
    }
}

/// Reads an answer.
pub(super) fn read(mut it: Object<'_>) -> Result<ChatAnswer, NotADialect> {
    let choices = it.take("choices").and_then(Raw::array);
    let choices = choices.filter(|choices| !choices.is_empty());
    let Some(choices) = choices else {
        let error = it.get("error").is_some();
        return Err(refuse(if error { "an error" } else { "no `choices`" }));
    };
    let head = head(&mut it);
    it.take_any("object");
    let usage = it.take("usage").and_then(usage::of);
    let mut answer = ChatAnswer {
        dialect: NAME,
        head,
        usage,
        ..ChatAnswer::default()
    };
    for value in choices {
        let object = value
            .object()
            .ok_or_else(|| refuse("a choice is no object"))?;
        answer.choices.push(choice(object));
    }
    answer.extra = it.rest();
    Ok(answer)
}

/// What stands beside the choices, in whole answers and in chunks.
pub(super) fn head(it: &mut Object<'_>) -> AnswerHead {
    AnswerHead {
        id: it.take_string("id").unwrap_or_default(),
        model: it.take_string("model").unwrap_or_default(),
        created: it.take_count("created"),
        service_tier: it.take_string("service_tier"),
    }
}

fn choice(mut choice: Object<'_>) -> Choice {
    choice.take_any("index");
    let mut blocks = Vec::new();
    let mut rest = Extra::none();
    if let Some(mut message) = choice.take("message").and_then(Raw::object) {
        blocks = said(&mut message);
        message.take_any("role");
        rest = message.rest();
    } else if let Some(text) = choice.take_string("text") {
        blocks.push(Block::text(text));
    }
    let finish = finish(&mut choice, |reason| settled(reason, &blocks));
    let logprobs = choice.take("logprobs").map(Raw::owned);
    let mut extra = choice.rest();
    keep(&mut extra, "message", &rest);
    Choice {
        blocks,
        finish,
        logprobs,
        extra,
    }
}

/// What a message of the assistant says.
fn said(message: &mut Object<'_>) -> Vec<Block> {
    let details = reasoning::joined(reasoning::take(message));
    let mut blocks: Vec<Block> = details.into_iter().map(sealed).collect();
    let content = message.take("content");
    if let Some(text) = content.and_then(Raw::string) {
        if !text.is_empty() {
            blocks.push(Block::text(text));
        }
    } else {
        for value in content.and_then(Raw::array).unwrap_or_default() {
            blocks.extend(answer_part(value));
        }
    }
    cite(message, &mut blocks);
    // Writers say that there is none.
    let refusal = message.take("refusal").and_then(Raw::string);
    if let Some(text) = refusal.filter(|it| !it.is_empty()) {
        blocks.push(BlockBody::Refusal { text }.into());
    }
    blocks.extend(images(message));
    for value in message
        .take("tool_calls")
        .and_then(Raw::array)
        .unwrap_or_default()
    {
        blocks.extend(tool_call(value));
    }
    if let Some(call) = message.take_if("function_call", Raw::object) {
        blocks.extend(legacy_call(call));
    }
    name_calls(&mut blocks);
    blocks
}

/// Thoughts of this dialect without a seal get an empty one, so that they come back to this dialect
/// and to no other.
fn sealed(block: ReasoningBlock) -> Block {
    let seal = block.seal.or_else(|| Some(Seal::read("", NAME)));
    BlockBody::Reasoning(ReasoningBlock { seal, ..block }).into()
}

/// One part of a content that is an array, as Mistral's reasoning models write it.
fn answer_part(value: Raw<'_>) -> Option<Block> {
    let kind = value.object()?.take_string("type");
    if kind.as_deref() == Some("thinking") {
        let text = thinking_text(value)?;
        return Some(sealed(ReasoningBlock {
            text,
            ..ReasoningBlock::default()
        }));
    }
    part(value, "content").ok()
}

/// The text of Mistral's `thinking` part.
pub(super) fn thinking_text(value: Raw<'_>) -> Option<String> {
    let thinking = value.object()?.take("thinking")?;
    if let Some(text) = thinking.string() {
        return Some(text);
    }
    let parts = thinking.array()?.into_iter();
    let texts = parts.filter_map(|part| part.object()?.take_string("text"));
    Some(texts.collect())
}

/// `images`, as OpenRouter returns what models paint.
pub(super) fn images(message: &mut Object<'_>) -> Vec<Block> {
    let images = message.take_if("images", |value| {
        let of = |value: Raw<'_>| {
            let url = value.object()?.take("image_url")?;
            let url = url.string().or_else(|| url.object()?.take_string("url"))?;
            Some(BlockBody::Image(Media::from(source_of_url(&url))).into())
        };
        value.array()?.into_iter().map(of).collect()
    });
    images.unwrap_or_default()
}

/// Every call has an id.
fn name_calls(blocks: &mut [Block]) {
    let calls = blocks.iter_mut().filter_map(|block| match &mut block.body {
        BlockBody::ToolCall(call) => Some(call),
        _ => None,
    });
    for (index, call) in calls.enumerate() {
        if call.id.is_empty() {
            call.id = format!("call_{index}");
        }
    }
}

/// `annotations` as sources of the first text.
fn cite(message: &mut Object<'_>, blocks: &mut [Block]) {
    let texts = |block: &&mut Block| matches!(block.body, BlockBody::Text { .. });
    let Some(BlockBody::Text { citations, .. }) =
        blocks.iter_mut().find(texts).map(|block| &mut block.body)
    else {
        return;
    };
    let found = message.take_if("annotations", |value| {
        Some(
            value
                .array()?
                .into_iter()
                .map(annotation)
                .collect::<Vec<_>>(),
        )
    });
    citations.extend(found.unwrap_or_default());
}

/// One annotation.
pub(super) fn annotation(value: Raw<'_>) -> Citation {
    url_citation(value).unwrap_or_else(|| Citation {
        native: Some(value.owned()),
        ..Citation::default()
    })
}

fn url_citation(value: Raw<'_>) -> Option<Citation> {
    let mut outer = value.object()?;
    if outer.take_string("type")? != "url_citation" {
        return None;
    }
    let mut inner = outer.take("url_citation")?.object()?;
    let (start, end) = (
        inner.take_count("start_index"),
        inner.take_count("end_index"),
    );
    let citation = Citation {
        url: inner.take_string("url").filter(|url| !url.is_empty()),
        title: inner.take_string("title").filter(|title| !title.is_empty()),
        cited_text: inner.take_string("content"),
        range: start.zip(end),
        native: None,
    };
    let unknown = !inner.rest().is_empty() || !outer.rest().is_empty();
    Some(Citation {
        native: unknown.then(|| value.owned()),
        ..citation
    })
}

/// The finish reason of a choice, `settle`d by what was said.
fn finish(choice: &mut Object<'_>, settle: impl Fn(FinishReason) -> FinishReason) -> Finish {
    let native = choice.take_string("finish_reason");
    // vLLM: the word it stopped at, or the number of a token, which is no word.
    let stop_sequence = choice.take_string("stop_reason");
    let mut finish = reason(native.as_deref().unwrap_or_default(), stop_sequence);
    finish.reason = settle(finish.reason);
    finish.native = native;
    finish
}

/// What a finish reason's word means.
pub(super) fn reason(word: &str, stop_sequence: Option<String>) -> Finish {
    let reason = match word {
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        "error" => FinishReason::Error,
        _ if stop_sequence.is_some() => FinishReason::StopSequence,
        _ => FinishReason::Stop,
    };
    Finish {
        reason,
        stop_sequence,
        native: None,
    }
}

/// Servers say `stop` also of an answer that calls tools or declines.
fn settled(reason: FinishReason, blocks: &[Block]) -> FinishReason {
    let has = |is: fn(&BlockBody) -> bool| blocks.iter().any(|block| is(&block.body));
    match reason {
        FinishReason::Stop if has(|body| matches!(body, BlockBody::ToolCall(_))) => {
            FinishReason::ToolCalls
        }
        FinishReason::Stop if has(|body| matches!(body, BlockBody::Refusal { .. })) => {
            FinishReason::Refusal
        }
        reason => reason,
    }
}

/// The thoughts in a delta.
pub(super) fn thoughts(delta: &mut Object<'_>) -> Vec<Detail> {
    reasoning::take(delta)
}
