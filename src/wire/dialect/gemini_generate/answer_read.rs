//! A whole answer to the neutral form.

use super::call_ids::{AnswerIds, CallIds};
use super::grounding::{self, Cited};
use super::members::{count, take, take_as};
use super::{NAME, errors, finish, logprobs, parts_read, usage};
use crate::types::chat::{AnswerHead, Block, BlockBody, ChatAnswer, Choice, Finish, FinishReason};
use crate::wire::facts::NotADialect;
use crate::wire::json_in::{Object, Raw};
use crate::wire::nested::keep;

/// Reads an answer. A prompt that was blocked is a choice without content.
///
/// # Errors
/// When the body is none.
pub(super) fn read(body: &str) -> Result<ChatAnswer, NotADialect> {
    let document = Raw::parse(body).map_err(|_| not("it is no JSON"))?;
    let mut body = document.object().ok_or_else(|| not("it is no object"))?;
    if errors::fault(&body, document).is_some() {
        return Err(not("it is an error"));
    }
    let report = take_as(&mut body, "usageMetadata", Raw::object).map(usage::read);
    let mut answer = ChatAnswer {
        dialect: NAME,
        head: read_head(&mut body),
        ..ChatAnswer::default()
    };
    let candidates = take(&mut body, "candidates").and_then(Raw::array);
    let is_blocked = block_reason(&body).is_some();
    let known = candidates.is_some() || is_blocked || report.is_some();
    if !known && answer.head.model.is_empty() {
        return Err(not("it has neither candidates nor a reason for that"));
    }
    let mut ids = CallIds::Answer(AnswerIds::new(&answer.head.id));
    for candidate in candidates.unwrap_or_default() {
        let candidate = candidate.object();
        let candidate = candidate.ok_or_else(|| not("a candidate is no object"))?;
        answer.choices.push(read_candidate(candidate, &mut ids));
    }
    if answer.choices.is_empty() && is_blocked {
        answer.choices.push(Choice {
            finish: finish::read(finish::PROMPT_BLOCKED, false),
            ..Choice::default()
        });
    }
    answer.extra = body.rest();
    if let Some(report) = report {
        answer.usage = report.tokens;
        answer.head.service_tier = report.service_tier;
        keep(&mut answer.extra, "usageMetadata", &report.rest);
    }
    Ok(answer)
}

pub(super) fn not(reason: &str) -> NotADialect {
    NotADialect {
        reason: reason.to_owned(),
        tokens: None,
    }
}

/// Takes out what the answer says of itself.
pub(super) fn read_head(body: &mut Object<'_>) -> AnswerHead {
    let created = body.get("createTime").and_then(Raw::text);
    let created = created.and_then(|it| it.parse::<jiff::Timestamp>().ok());
    AnswerHead {
        id: body.take_string("responseId").unwrap_or_default(),
        model: body.take_string("modelVersion").unwrap_or_default(),
        created: created.and_then(|it| u64::try_from(it.as_second()).ok()),
        service_tier: None,
    }
}

/// Why the prompt was blocked, if it was.
pub(super) fn block_reason(body: &Object<'_>) -> Option<String> {
    let feedback = body.get("promptFeedback")?.object()?;
    feedback.get("blockReason").and_then(Raw::string)
}

fn read_candidate(mut candidate: Object<'_>, ids: &mut CallIds) -> Choice {
    candidate.take_if("index", count);
    let mut content = take(&mut candidate, "content")
        .and_then(Raw::object)
        .unwrap_or_default();
    content.take_if("role", |role| role.text().filter(|role| role == "model"));
    let parts = content.take("parts").and_then(Raw::array);
    let parts = parts.unwrap_or_default();
    // Where the blocks of each part begin.
    let mut blocks = Vec::with_capacity(parts.len());
    let mut starts = Vec::with_capacity(parts.len());
    for part in parts {
        starts.push(blocks.len());
        parts_read::read(part, ids, &mut blocks);
    }
    for cited in grounding::read(&candidate) {
        cite(&mut blocks, &starts, cited);
    }
    let word = candidate.take_string("finishReason");
    let finish = word.map_or_else(
        || Finish {
            reason: FinishReason::Stop,
            ..Finish::default()
        },
        |word| finish::read(&word, finish::calls_tools(&blocks)),
    );
    let logprobs = candidate.get("logprobsResult").and_then(logprobs::read);
    let mut extra = candidate.rest();
    keep(&mut extra, "content", &content.rest());
    Choice {
        blocks,
        finish,
        logprobs,
        extra,
    }
}

/// Gives a citation to the text that it is about.
fn cite(blocks: &mut [Block], starts: &[usize], cited: Cited) {
    let first = cited.part.and_then(|part| starts.get(part).copied());
    let is_text = |block: &Block| matches!(block.body, BlockBody::Text { .. });
    let at = first
        .filter(|at| blocks.get(*at).is_some_and(is_text))
        .or_else(|| blocks.iter().position(is_text));
    let Some(BlockBody::Text { text, citations }) =
        at.and_then(|at| Some(&mut blocks.get_mut(at)?.body))
    else {
        return;
    };
    let mut citation = cited.citation;
    citation.range = cited
        .bytes
        .and_then(|bytes| grounding::in_characters(text, bytes));
    citations.push(citation);
}
