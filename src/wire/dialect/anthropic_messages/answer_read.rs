//! A whole answer in neutral form.

use super::usage::Counts;
use super::{NAME, blocks_read, finish};
use crate::types::chat::{AnswerHead, ChatAnswer, Choice, Extra, RawJson};
use crate::wire::facts::NotADialect;
use crate::wire::json_in::Raw;

/// Beside the answer: what its usage object says and no class of tokens holds.
pub(super) const USAGE: &str = "usage";

/// Reads a message.
///
/// # Errors
/// When the body is none.
pub(super) fn read(body: &str) -> Result<ChatAnswer, NotADialect> {
    let raw = Raw::parse(body).map_err(|error| no_answer(format!("not JSON: {error}")))?;
    let mut message = raw
        .object()
        .ok_or_else(|| no_answer("not a JSON object".to_owned()))?;
    let usage = message.take_if("usage", Raw::object);
    let (mut service_tier, mut tokens, mut rest) = (None, None, Extra::none());
    if let Some(mut usage) = usage {
        tokens = Counts::take(&mut usage).disjoint();
        service_tier = usage.take_string("service_tier");
        rest = usage.rest();
    }
    let Some(blocks) = message.take("content").and_then(blocks_read::blocks) else {
        return Err(NotADialect {
            reason: "no `content`".to_owned(),
            tokens,
        });
    };
    let reason = message.take_string("stop_reason");
    let stop_sequence = message.take_string("stop_sequence");
    for known in ["type", "role", "stop_reason", "stop_sequence"] {
        message.take_any(known);
    }
    let head = AnswerHead {
        id: message.take_string("id").unwrap_or_default(),
        model: message.take_string("model").unwrap_or_default(),
        created: None,
        service_tier,
    };
    let mut extra = message.rest();
    if !rest.is_empty() {
        extra.0.push((USAGE.to_owned(), object_of(&rest)));
    }
    Ok(ChatAnswer {
        dialect: NAME,
        head,
        choices: vec![Choice {
            blocks,
            finish: finish::read(reason.as_deref(), stop_sequence),
            ..Choice::default()
        }],
        usage: tokens,
        extra,
    })
}

fn object_of(extra: &Extra) -> RawJson {
    let json = crate::wire::json_out::JsonOut::document(64, |it| it.extra(extra));
    RawJson::new(&String::from_utf8_lossy(&json))
}

fn no_answer(reason: String) -> NotADialect {
    NotADialect {
        reason,
        tokens: None,
    }
}
