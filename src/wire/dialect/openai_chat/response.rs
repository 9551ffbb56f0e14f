//! Whole answers: what they say, and the one change that we make to them.

use bytes::Bytes;

use super::answer;
use crate::types::{Endpoint, PicoUsd};
use crate::wire::facts::{NotADialect, ResponseFacts, UsageReport};
use crate::wire::json_text;
use crate::wire::splice::Splices;

/// Reads a whole answer, success or error.
///
/// # Errors
/// When the body is not JSON, or has neither what this endpoint answers with nor an error.
pub fn inspect_response(endpoint: Endpoint, body: &Bytes) -> Result<ResponseFacts, NotADialect> {
    let refuse = |reason: String| {
        Err(NotADialect {
            reason,
            tokens: None,
        })
    };
    if u32::try_from(body.len()).is_err() {
        return refuse("the body is 4 GiB or longer".to_owned());
    }
    if let Err(error) = std::str::from_utf8(body) {
        return refuse(format!("not UTF-8 at byte {}", error.valid_up_to()));
    }
    let answer = match answer::read(body) {
        Ok(answer) => answer,
        Err(error) => return refuse(format!("not a JSON object: {error}")),
    };
    let (choices, member) = if endpoint.generates() {
        (answer.choices, "choices")
    } else {
        (answer.vectors, "data")
    };
    if choices == 0 && answer.error.is_none() {
        return Err(NotADialect {
            reason: format!("neither `{member}` nor `error`"),
            tokens: answer.usage.and_then(|usage| usage.tokens),
        });
    }
    let model = answer.model.map(|inside| {
        let text = json_text::to_string_lossy(&body[inside.range()]);
        text.into_owned()
    });
    let usage_tier = answer.usage.and_then(|usage| usage.service_tier);
    Ok(ResponseFacts {
        usage: answer.usage,
        model,
        service_tier: answer.service_tier.or(usage_tier),
        finish: answer.finish,
        choices,
        tool_calls: answer.tool_calls,
        output_bytes: answer.output_bytes,
        error: answer.error,
    })
}

/// Writes `usage.cost` (USD, exact plain decimal) into a whole answer whose facts are `facts`,
/// in place of an upstream's own. An answer without a usage object stays as it is.
#[must_use]
pub fn insert_cost(body: Bytes, facts: &ResponseFacts, cost: PicoUsd) -> Bytes {
    match &facts.usage {
        Some(report) => with_cost(&body, report, 0, cost),
        None => body,
    }
}

/// `body` with the cost in the usage object that `report` found, `offset` bytes further on.
pub(in crate::wire) fn with_cost(
    body: &Bytes,
    report: &UsageReport,
    offset: usize,
    cost: PicoUsd,
) -> Bytes {
    let mut splices = Splices::new();
    let text = cost.to_string();
    if let Some(old) = report.cost {
        let range = old.range();
        splices.replace(range.start + offset..range.end + offset, text.into_bytes());
        return splices.apply(body);
    }
    let object = report.object.range();
    let closing = object.end + offset - 1;
    let inside = body
        .get(object.start + offset + 1..closing)
        .unwrap_or_default();
    let inside = inside.trim_ascii_end();
    let comma = if inside.trim_ascii_start().is_empty() {
        ""
    } else {
        ","
    };
    let member = format!("{comma}\"cost\":{text}");
    let at = object.start + offset + 1 + inside.len();
    splices.replace(at..at, member.into_bytes());
    splices.apply(body)
}
