//! A whole answer for a client of Bedrock's API.

use bytes::Bytes;
use rustc_hash::FxHashSet;

use super::blocks_write::Pen;
use super::family::Family;
use super::{NAME, finish, usage};
use crate::types::chat::{ChatAnswer, Choice};
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{has, kept, others};

/// Writes an answer: its first choice, since Bedrock gives one.
pub(super) fn write(answer: &ChatAnswer) -> Bytes {
    let is_own = answer.dialect == NAME;
    let none = Choice::default();
    let choice = answer.choices.first().unwrap_or(&none);
    JsonOut::document(1024, |it| {
        it.object("output", |it| {
            it.object("message", |it| {
                it.string("role", "assistant");
                write_content(it, choice, is_own);
                if is_own {
                    kept(it, &choice.extra, "message");
                }
            });
            if is_own {
                kept(it, &choice.extra, "output");
            }
        });
        it.string("stopReason", finish::write(&choice.finish, is_own));
        if answer.usage.is_some() || (is_own && has(&answer.extra, "usage")) {
            it.object("usage", |it| {
                if let Some(tokens) = &answer.usage {
                    usage::write(it, tokens);
                }
                if is_own {
                    kept(it, &answer.extra, "usage");
                }
            });
        }
        if is_own {
            return others(it, &answer.extra, &["usage"]);
        }
        it.object("metrics", |it| it.integer("latencyMs", 0));
        if let Some(word) = &choice.finish.stop_sequence {
            it.object("additionalModelResponseFields", |it| {
                it.string("stop_sequence", word);
            });
        }
        if let Some(tier) = &answer.head.service_tier {
            it.object("serviceTier", |it| it.string("type", tier));
        }
    })
}

fn write_content(it: &mut Members<'_>, choice: &Choice, is_own: bool) {
    let mut pen = Pen {
        is_own,
        is_upstream: false,
        family: Family::Unknown,
        names: FxHashSet::default(),
    };
    it.array("content", |list| {
        for block in &choice.blocks {
            pen.block(list, block);
        }
    });
}
