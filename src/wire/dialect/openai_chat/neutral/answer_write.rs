//! A whole answer for a client.

use bytes::Bytes;

use super::media::url_of;
use super::messages_write::{CALL_MEMBERS, write_call, write_seal};
use super::reasoning::{self, NAME};
use super::usage;
use crate::types::Endpoint;
use crate::types::chat::{
    AnswerHead, Block, BlockBody, ChatAnswer, Choice, Citation, Finish, FinishReason,
};
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{kept, others};
use crate::wire::translate::Asked;

/// The answer as `chat.completion`, or as `text_completion` for a legacy completion.
pub(super) fn write(answer: &ChatAnswer, asked: &Asked<'_>) -> Bytes {
    let legacy = asked.endpoint == Endpoint::Completions;
    JsonOut::document(1024, |it| {
        let object = if legacy {
            "text_completion"
        } else {
            "chat.completion"
        };
        head(it, &answer.head, object, asked);
        let own = answer.dialect == NAME;
        it.array("choices", |list| {
            for (index, choice) in answer.choices.iter().enumerate() {
                list.object(|it| {
                    it.integer("index", i128::try_from(index).unwrap_or(0));
                    if legacy {
                        it.string("text", &text_of(&choice.blocks));
                        it.null("logprobs");
                    } else {
                        it.object("message", |it| message(it, choice, own));
                        match &choice.logprobs {
                            Some(logprobs) => it.raw("logprobs", logprobs),
                            None => it.null("logprobs"),
                        }
                    }
                    finish(it, &choice.finish, said_refusal(&choice.blocks), own);
                    if own {
                        others(it, &choice.extra, &["message"]);
                    }
                });
            }
        });
        if let Some(tokens) = &answer.usage {
            it.object("usage", |it| usage::write(it, tokens, &usage::CHAT));
        }
        if own {
            it.extra(&answer.extra);
        }
    })
}

/// What stands beside the choices, in whole answers and in chunks.
pub(super) fn head(it: &mut Members<'_>, head: &AnswerHead, object: &str, asked: &Asked<'_>) {
    it.string(
        "id",
        if head.id.is_empty() {
            asked.id
        } else {
            &head.id
        },
    );
    it.string("object", object);
    it.integer("created", head.created.unwrap_or(asked.created));
    it.string("model", &head.model);
    it.maybe_string("service_tier", head.service_tier.as_deref());
}

fn text_of(blocks: &[Block]) -> String {
    let texts = blocks.iter().filter_map(|block| match &block.body {
        BlockBody::Text { text, .. } | BlockBody::Refusal { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn said_refusal(blocks: &[Block]) -> bool {
    let refusal = |block: &Block| matches!(block.body, BlockBody::Refusal { .. });
    blocks.iter().any(refusal)
}

fn message(it: &mut Members<'_>, choice: &Choice, own: bool) {
    it.string("role", "assistant");
    let (mut texts, mut refusals) = (Vec::new(), Vec::new());
    let (mut thoughts, mut calls, mut images) = (Vec::new(), Vec::new(), Vec::new());
    let mut cited = Vec::new();
    let mut characters = 0;
    for block in &choice.blocks {
        match &block.body {
            BlockBody::Text { text, citations } => {
                let length = text.chars().count() as u64;
                let place = |citation| (citation, characters, length);
                cited.extend(citations.iter().map(place));
                characters += length;
                texts.push(text.as_str());
            }
            BlockBody::Refusal { text } => refusals.push(text.as_str()),
            BlockBody::Reasoning(thought) => {
                let seal = thought.seal.as_ref().map(|seal| seal.for_client(NAME));
                thoughts.push((thought, seal));
            }
            BlockBody::ToolCall(call) => calls.push((block, call)),
            BlockBody::Image(media) => images.extend(url_of(&media.source)),
            _ => {}
        }
    }
    if texts.is_empty() {
        it.null("content");
    } else {
        it.string("content", &texts.concat());
    }
    if refusals.is_empty() {
        it.null("refusal");
    } else {
        it.string("refusal", &refusals.concat());
    }
    reasoning::write(it, &thoughts);
    if !cited.is_empty() {
        it.array("annotations", |list| {
            for (citation, from, length) in cited {
                annotation(list, citation, from, length, own);
            }
        });
    }
    if !images.is_empty() {
        it.array("images", |list| {
            for url in &images {
                image(list, url);
            }
        });
    }
    if !calls.is_empty() {
        it.array("tool_calls", |list| {
            for (block, call) in calls {
                list.object(|it| {
                    it.string("id", &call.id);
                    write_call(it, call, own.then_some(&block.extra));
                    if let Some(seal) = &call.seal {
                        write_seal(it, &seal.for_client(NAME));
                    }
                    if own {
                        others(it, &block.extra, &CALL_MEMBERS);
                    }
                });
            }
        });
    }
    if own {
        kept(it, &choice.extra, "message");
    }
}

/// A painted image, as OpenRouter returns it.
pub(super) fn image(list: &mut JsonOut, url: &str) {
    list.object(|it| {
        it.string("type", "image_url");
        it.object("image_url", |it| it.string("url", url));
    });
}

/// A source, in a text that begins `from` characters into the content and has `length` of them.
pub(super) fn annotation(
    list: &mut JsonOut,
    citation: &Citation,
    from: u64,
    length: u64,
    own: bool,
) {
    if let (Some(native), true) = (&citation.native, own) {
        return list.raw(native);
    }
    let (start, end) = citation.range.unwrap_or((0, length));
    list.object(|it| {
        it.string("type", "url_citation");
        it.object("url_citation", |it| {
            it.integer("start_index", from + start);
            it.integer("end_index", from + end);
            it.string("url", citation.url.as_deref().unwrap_or_default());
            it.string("title", citation.title.as_deref().unwrap_or_default());
            it.maybe_string("content", citation.cited_text.as_deref());
        });
    });
}

/// `finish_reason`, and vLLM's `stop_reason` where a stop sequence came.
pub(super) fn finish(it: &mut Members<'_>, finish: &Finish, said_refusal: bool, own: bool) {
    let native = finish.native.as_deref().filter(|_| own);
    let word = native.unwrap_or_else(|| word(finish.reason, said_refusal));
    it.string("finish_reason", word);
    it.maybe_string("stop_reason", finish.stop_sequence.as_deref());
}

const fn word(reason: FinishReason, said_refusal: bool) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::StopSequence | FinishReason::Pause => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        // Words of refusal end an answer as others do; without words something was withheld.
        FinishReason::Refusal if said_refusal => "stop",
        FinishReason::Refusal | FinishReason::ContentFilter => "content_filter",
        FinishReason::Error => "error",
    }
}
