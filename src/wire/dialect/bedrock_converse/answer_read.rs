//! A whole answer to the neutral form.

use super::{NAME, blocks_read, finish, usage};
use crate::types::chat::{ChatAnswer, Choice};
use crate::wire::facts::NotADialect;
use crate::wire::json_in::{Object, Raw};
use crate::wire::nested::keep;

/// Reads an answer. It names neither itself nor its model.
///
/// # Errors
/// When the body is none.
pub(super) fn read(body: &str) -> Result<ChatAnswer, NotADialect> {
    let mut body = Object::read(body).map_err(|_| not("it is no JSON object"))?;
    let mut output = body
        .take("output")
        .and_then(Raw::object)
        .ok_or_else(|| not("it has no output"))?;
    let mut message = output
        .take("message")
        .and_then(Raw::object)
        .ok_or_else(|| not("its output is no message"))?;
    message.take_if("role", |role| {
        role.text().filter(|role| role == "assistant")
    });
    let content = message.take("content").and_then(Raw::array);
    let blocks = blocks_read::read_all(content.unwrap_or_default());
    let word = body.take_string("stopReason");
    let stop_sequence = stop_sequence(&body);
    let mut answer = ChatAnswer {
        dialect: NAME,
        ..ChatAnswer::default()
    };
    answer.head.service_tier = service_tier(&body);
    let reported = body.take_if("usage", Raw::object).map(usage::read);
    answer.extra = body.rest();
    if let Some((tokens, rest)) = reported {
        answer.usage = tokens;
        keep(&mut answer.extra, "usage", &rest);
    }
    let mut choice = Choice {
        blocks,
        finish: finish::read(word.as_deref().unwrap_or("end_turn"), stop_sequence),
        ..Choice::default()
    };
    keep(&mut choice.extra, "message", &message.rest());
    keep(&mut choice.extra, "output", &output.rest());
    answer.choices.push(choice);
    Ok(answer)
}

pub(super) fn not(reason: &str) -> NotADialect {
    NotADialect {
        reason: reason.to_owned(),
        tokens: None,
    }
}

/// `serviceTier: {"type": …}`, which stays among the members that are left.
pub(super) fn service_tier(body: &Object<'_>) -> Option<String> {
    let tier = body.get("serviceTier")?.object()?;
    tier.get("type").and_then(Raw::string)
}

/// The word it stopped before, where it was asked for
/// (`additionalModelResponseFieldPaths: ["/stop_sequence"]`).
pub(super) fn stop_sequence(body: &Object<'_>) -> Option<String> {
    let more = body.get("additionalModelResponseFields")?.object()?;
    more.get("stop_sequence").and_then(Raw::string)
}
