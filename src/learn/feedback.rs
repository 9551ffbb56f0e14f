//! The body of `POST /v1/feedback` → a reward, with an error that names the field.

use serde_json::{Map, Value};

use crate::error::ProxyError;
use crate::stores::Feedback;
use crate::types::RequestId;

/// An opinion as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedFeedback {
    /// Which request it is about.
    pub request_id: RequestId,
    /// The reward, 0..=1; higher is better.
    pub reward: f64,
    /// The form that it came in: `score`, `rating` or `thumbs`.
    pub kind: &'static str,
    /// The client's words.
    pub comment: Option<String>,
}

/// Comments are for people; this is a long letter.
const MAX_COMMENT_BYTES: usize = 8_192;
/// Our ids have 36; room for those of other versions.
const MAX_REQUEST_ID_BYTES: usize = 128;
const FORMS: &str =
    "exactly one of `score` (0 to 1), `rating` (1 to 5) or `thumbs` (\"up\" or \"down\") is needed";

impl ReceivedFeedback {
    /// As the ledger keeps it.
    #[must_use]
    pub fn into_stored(self, at_ms: i64) -> Feedback {
        Feedback {
            request_id: self.request_id,
            reward: self.reward,
            kind: self.kind.to_owned(),
            comment: self.comment,
            at_ms,
        }
    }
}

/// Reads the body.
///
/// # Errors
/// 400 that names the field: not an object, unknown or missing members, none or several of the forms,
/// values out of range.
pub fn parse_feedback(body: &[u8]) -> Result<ReceivedFeedback, ProxyError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ProxyError::invalid("", format!("the body is not valid JSON: {error}")))?;
    let Value::Object(mut members) = value else {
        return Err(ProxyError::invalid("", "the body must be a JSON object"));
    };
    let request_id = request_id(&mut members)?;
    let comment = comment(&mut members)?;
    let (kind, reward) = opinion(&mut members)?;
    if let Some(unknown) = members.keys().next() {
        let name: String = unknown.chars().take(64).collect();
        let known = "known are `request_id`, `score`, `rating`, `thumbs`, `comment`";
        return Err(ProxyError::invalid(
            name.clone(),
            format!("unknown field `{name}`; {known}"),
        ));
    }
    Ok(ReceivedFeedback {
        request_id,
        reward,
        kind,
        comment,
    })
}

/// Takes a member out; `null` counts as absent.
fn take(members: &mut Map<String, Value>, name: &str) -> Option<Value> {
    members.remove(name).filter(|value| !value.is_null())
}

fn request_id(members: &mut Map<String, Value>) -> Result<RequestId, ProxyError> {
    match take(members, "request_id") {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES => {
            Ok(RequestId::from_text(&id))
        }
        Some(_) => Err(ProxyError::invalid(
            "request_id",
            "`request_id` must be the text of an `x-request-id`",
        )),
        None => Err(ProxyError::invalid(
            "request_id",
            "`request_id` is missing; it is the `x-request-id` of the answer",
        )),
    }
}

fn comment(members: &mut Map<String, Value>) -> Result<Option<String>, ProxyError> {
    match take(members, "comment") {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_COMMENT_BYTES => Ok(Some(text)),
        Some(Value::String(_)) => Err(ProxyError::invalid(
            "comment",
            format!("`comment` may have {MAX_COMMENT_BYTES} bytes"),
        )),
        Some(_) => Err(ProxyError::invalid("comment", "`comment` must be a text")),
    }
}

fn opinion(members: &mut Map<String, Value>) -> Result<(&'static str, f64), ProxyError> {
    let given: Vec<(&'static str, Value)> = ["score", "rating", "thumbs"]
        .into_iter()
        .filter_map(|name| take(members, name).map(|value| (name, value)))
        .collect();
    match given.as_slice() {
        [(name, value)] => Ok((name, reward_of(name, value)?)),
        [] => Err(ProxyError::invalid("score", FORMS)),
        [_, (second, _), ..] => Err(ProxyError::invalid(*second, FORMS)),
    }
}

fn reward_of(kind: &'static str, value: &Value) -> Result<f64, ProxyError> {
    let wrong = |allowed: &str| ProxyError::invalid(kind, format!("`{kind}` must be {allowed}"));
    match kind {
        "score" => value
            .as_f64()
            .filter(|score| (0.0..=1.0).contains(score))
            .ok_or_else(|| wrong("a number from 0 to 1")),
        "rating" => value
            .as_f64()
            .filter(|rating| (1.0..=5.0).contains(rating))
            .map(|rating| (rating - 1.0) / 4.0)
            .ok_or_else(|| wrong("a number from 1 to 5")),
        _ => match value.as_str() {
            Some("up") => Ok(1.0),
            Some("down") => Ok(0.0),
            _ => Err(wrong("\"up\" or \"down\"")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expect: Result<f64, &str>) {
        let got = parse_feedback(body.as_bytes());
        match (got, expect) {
            (Ok(feedback), Ok(reward)) => {
                assert!((feedback.reward - reward).abs() < 1e-12, "{body}");
            }
            (Err(error), Err(param)) => {
                assert_eq!(error.param.as_deref().unwrap_or_default(), param, "{body}");
            }
            (got, _) => panic!("{body}: {got:?}"),
        }
    }

    #[test]
    fn each_form_becomes_a_reward() {
        check(r#"{"request_id":"req_1","score":0.25}"#, Ok(0.25));
        check(r#"{"request_id":"req_1","score":1}"#, Ok(1.0));
        check(r#"{"request_id":"req_1","rating":1}"#, Ok(0.0));
        check(
            r#"{"request_id":"req_1","rating":4,"comment":"good"}"#,
            Ok(0.75),
        );
        check(
            r#"{"request_id":"req_1","thumbs":"up","score":null}"#,
            Ok(1.0),
        );
        check(r#"{"request_id":"req_1","thumbs":"down"}"#, Ok(0.0));
    }

    #[test]
    fn errors_name_the_field() {
        check("nonsense", Err(""));
        check("[]", Err(""));
        check(r#"{"score":1}"#, Err("request_id"));
        check(r#"{"request_id":7,"score":1}"#, Err("request_id"));
        check(r#"{"request_id":"req_1"}"#, Err("score"));
        check(
            r#"{"request_id":"req_1","score":1,"rating":5}"#,
            Err("rating"),
        );
        check(r#"{"request_id":"req_1","score":1.5}"#, Err("score"));
        check(r#"{"request_id":"req_1","score":"1"}"#, Err("score"));
        check(r#"{"request_id":"req_1","rating":0}"#, Err("rating"));
        check(
            r#"{"request_id":"req_1","thumbs":"sideways"}"#,
            Err("thumbs"),
        );
        check(
            r#"{"request_id":"req_1","score":1,"comment":[]}"#,
            Err("comment"),
        );
        check(
            r#"{"request_id":"req_1","score":1,"stars":5}"#,
            Err("stars"),
        );
    }
}
