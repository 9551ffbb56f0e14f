//! A whole answer for a client of Google's API.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::model::Generation;
use super::parts_write::Pen;
use super::{NAME, finish, grounding, logprobs, usage};
use crate::types::chat::{BlockBody, ChatAnswer, Choice, Citation, Notes};
use crate::wire::json_in::Object;
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{has, kept, others};
use crate::wire::translate::Asked;

/// Writes an answer.
pub(super) fn write(answer: &ChatAnswer, asked: &Asked<'_>) -> Bytes {
    let is_own = answer.dialect == NAME;
    let is_made = |it: &&Choice| it.finish.native.as_deref() != Some(finish::PROMPT_BLOCKED);
    JsonOut::document(1024, |it| {
        it.array("candidates", |list| {
            let made = answer.choices.iter().filter(is_made);
            for (index, choice) in made.enumerate() {
                list.object(|it| write_candidate(it, choice, index, is_own));
            }
        });
        if answer.usage.is_some() || (is_own && has(&answer.extra, "usageMetadata")) {
            it.object("usageMetadata", |it| {
                if let Some(tokens) = &answer.usage {
                    usage::write(it, tokens, tool_use(answer));
                }
                if is_own {
                    kept(it, &answer.extra, "usageMetadata");
                } else {
                    it.maybe_string("serviceTier", answer.head.service_tier.as_deref());
                }
            });
        }
        it.string("modelVersion", &answer.head.model);
        let id = answer.head.id.as_str();
        it.string("responseId", if id.is_empty() { asked.id } else { id });
        if is_own {
            others(it, &answer.extra, &["usageMetadata"]);
        }
    })
}

/// What the members that are written back say of the tools' share.
fn tool_use(answer: &ChatAnswer) -> u64 {
    if answer.dialect != NAME {
        return 0;
    }
    let mut extra = answer.extra.iter();
    let usage = extra.find(|(name, _)| *name == "usageMetadata");
    let usage = usage.and_then(|(_, usage)| Object::read(usage.get()).ok());
    usage.map_or(0, |usage| usage::tool_use(&usage))
}

fn write_candidate(it: &mut Members<'_>, choice: &Choice, index: usize, is_own: bool) {
    it.object("content", |it| {
        it.array("parts", |list| {
            let mut notes = Notes::default();
            let mut pen = Pen {
                is_own,
                is_upstream: false,
                takes_ids: true,
                generation: Generation::of(""),
                functions: FxHashMap::default(),
                notes: &mut notes,
            };
            pen.parts(list, &choice.blocks, index);
        });
        it.string("role", "model");
        if is_own {
            kept(it, &choice.extra, "content");
        }
    });
    it.string("finishReason", finish::write(&choice.finish, is_own));
    it.integer("index", index as u64);
    if is_own {
        return others(it, &choice.extra, &["content"]);
    }
    if let Some(logprobs) = &choice.logprobs {
        logprobs::write(it.member("logprobsResult"), logprobs);
    }
    grounding::write(it, &texts(choice));
}

/// The texts that have citations, by the part that they are.
fn texts(choice: &Choice) -> Vec<(usize, &str, &[Citation])> {
    let blocks = choice.blocks.iter().enumerate();
    blocks
        .filter_map(|(index, block)| match &block.body {
            BlockBody::Text { text, citations } if !citations.is_empty() => {
                Some((index, text.as_str(), citations.as_slice()))
            }
            _ => None,
        })
        .collect()
}
