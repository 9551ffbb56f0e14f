//! A neutral answer as a message for a client.

use std::borrow::Cow;

use bytes::Bytes;

use super::answer_read::USAGE;
use super::blocks_write::{Form, Reader};
use super::{NAME, finish, usage};
use crate::types::chat::{Block, BlockBody, ChatAnswer, Choice, Extra, RawJson};
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::JsonOut;
use crate::wire::translate::Asked;

/// Writes the first choice; a client of this dialect cannot ask for more.
pub(super) fn write(answer: &ChatAnswer, asked: &Asked<'_>) -> Bytes {
    let own = answer.dialect == NAME;
    let form = Form {
        reader: Reader::Client,
        own,
    };
    let nothing = Choice::default();
    let choice = answer.choices.first().unwrap_or(&nothing);
    JsonOut::document(1024, |it| {
        it.string("id", &message_id(&answer.head.id, asked.id));
        it.string("type", "message");
        it.string("role", "assistant");
        it.string("model", &answer.head.model);
        it.array("content", |out| {
            for block in &choice.blocks {
                if own || !is_empty(block) {
                    form.block(out, block);
                }
            }
        });
        let finish = &choice.finish;
        let reason = finish::write(finish, choice.blocks.iter().any(is_refusal));
        it.string("stop_reason", reason);
        match &finish.stop_sequence {
            Some(word) => it.string("stop_sequence", word),
            None => it.null("stop_sequence"),
        }
        let tier = answer.head.service_tier.as_deref();
        let beside = if own {
            usage_beside(&answer.extra)
        } else {
            Extra::none()
        };
        it.object("usage", |it| {
            usage::write(it, &answer.usage.unwrap_or_default(), tier, &beside);
        });
        if own {
            let rest = answer.extra.iter().filter(|(name, _)| *name != USAGE);
            rest.for_each(|(name, value)| it.raw(name, value));
        }
    })
}

fn usage_beside(extra: &Extra) -> Extra {
    let usage = extra.iter().find(|(name, _)| *name == USAGE);
    let object = usage.and_then(|(_, raw): (_, &RawJson)| Raw::parse(raw.get()).ok()?.object());
    object.map_or_else(Extra::none, Object::rest)
}

/// The answer's id with Anthropic's prefix; the request's where the upstream gave none.
pub(super) fn message_id<'a>(id: &'a str, request_id: &'a str) -> Cow<'a, str> {
    let id = if id.is_empty() { request_id } else { id };
    if id.starts_with("msg_") {
        Cow::Borrowed(id)
    } else {
        Cow::Owned(format!("msg_{id}"))
    }
}

pub(super) const fn is_refusal(block: &Block) -> bool {
    matches!(block.body, BlockBody::Refusal { .. })
}

fn is_empty(block: &Block) -> bool {
    matches!(&block.body, BlockBody::Text { text, .. } if text.is_empty())
}
