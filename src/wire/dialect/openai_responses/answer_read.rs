//! An upstream's whole response into neutral form.

use super::{NAME, items_read};
use crate::types::chat::{
    AnswerHead, Block, BlockBody, ChatAnswer, Choice, Finish, FinishReason, Media, RawJson, Source,
};
use crate::wire::dialect::openai_chat::neutral::usage;
use crate::wire::facts::NotADialect;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::JsonOut;

pub(super) fn refuse(reason: impl Into<String>) -> NotADialect {
    NotADialect {
        reason: reason.into(),
        tokens: None,
    }
}

/// Reads a response.
pub(super) fn read(mut it: Object<'_>) -> Result<ChatAnswer, NotADialect> {
    let output = it.take("output").and_then(Raw::array);
    let failed = it.get("error").is_some();
    let Some(output) = output.filter(|_| !failed) else {
        return Err(refuse(if failed { "an error" } else { "no `output`" }));
    };
    let head = head(&mut it);
    it.take_any("object");
    it.take_any("error");
    let usage = it.take("usage").and_then(usage::of);
    let mut finish = ending(&mut it);
    let mut blocks = Vec::new();
    let mut logprobs = Vec::new();
    for value in output {
        if let Some(object) = value.object() {
            blocks.extend(item(object, value, &mut logprobs));
        }
    }
    settle(&mut finish, &blocks);
    let choice = Choice {
        blocks,
        finish,
        logprobs: joined(&logprobs),
        ..Choice::default()
    };
    Ok(ChatAnswer {
        dialect: NAME,
        head,
        choices: vec![choice],
        usage,
        extra: it.rest(),
    })
}

/// Id, model, time and service tier.
pub(super) fn head(it: &mut Object<'_>) -> AnswerHead {
    AnswerHead {
        id: it.take_string("id").unwrap_or_default(),
        model: it.take_string("model").unwrap_or_default(),
        created: it.take_count("created_at"),
        service_tier: it.take("service_tier").and_then(Raw::string),
    }
}

/// `status` and `incomplete_details`.
pub(super) fn ending(it: &mut Object<'_>) -> Finish {
    let status = it.take_string("status").unwrap_or_default();
    let details = it.take("incomplete_details").and_then(Raw::object);
    let reason = details.and_then(|mut details| details.take_string("reason"));
    let is_incomplete = status == "incomplete";
    let shared = match reason.as_deref() {
        Some("content_filter") => FinishReason::ContentFilter,
        _ if is_incomplete => FinishReason::Length,
        _ if status == "failed" || status == "cancelled" => FinishReason::Error,
        _ => FinishReason::Stop,
    };
    Finish {
        reason: shared,
        stop_sequence: None,
        native: reason.or(Some(status).filter(|status| !status.is_empty())),
    }
}

fn settle(finish: &mut Finish, blocks: &[Block]) {
    let has = |is: fn(&BlockBody) -> bool| blocks.iter().any(|block| is(&block.body));
    if finish.reason != FinishReason::Stop {
        return;
    }
    if has(|body| matches!(body, BlockBody::ToolCall(_))) {
        finish.reason = FinishReason::ToolCalls;
    } else if has(|body| matches!(body, BlockBody::Refusal { .. })) {
        finish.reason = FinishReason::Refusal;
    }
}

/// The log probabilities of a part.
pub(super) const LOGPROBS: &str = "logprobs";

/// One item of the output. Log probabilities of its parts are told apart, and stay with them for this
/// dialect.
fn item(object: Object<'_>, whole: Raw<'_>, logprobs: &mut Vec<RawJson>) -> Vec<Block> {
    if let Some(image) = painted(whole) {
        return vec![image];
    }
    let blocks = items_read::assistant_item(object, whole);
    let members = blocks.iter().flat_map(|block| block.extra.iter());
    for (_, value) in members.filter(|(name, _)| *name == LOGPROBS) {
        let elements = Raw::parse(value.get()).ok().and_then(Raw::array);
        logprobs.extend(elements.unwrap_or_default().into_iter().map(Raw::owned));
    }
    blocks
}

/// An `image_generation_call` as the image that it painted.
pub(super) fn painted(whole: Raw<'_>) -> Option<Block> {
    let mut object = whole.object()?;
    if object.take_string("type")? != "image_generation_call" {
        return None;
    }
    let data = object.take_string("result")?;
    let format = object.take_string("output_format");
    let source = Source::Base64 {
        media_type: format!("image/{}", format.as_deref().unwrap_or("png")),
        data,
    };
    object.take_any("status");
    Some(Block {
        body: BlockBody::Image(Media::from(source)),
        cache_mark: None,
        extra: object.rest(),
    })
}

/// Log probabilities in the neutral form.
pub(super) fn joined(logprobs: &[RawJson]) -> Option<RawJson> {
    if logprobs.is_empty() {
        return None;
    }
    let mut json = JsonOut::default();
    json.object(|it| {
        it.array("content", |list| {
            for one in logprobs {
                list.raw(one);
            }
        });
        it.null("refusal");
    });
    Some(RawJson::new(&json.into_string()))
}
