//! Log probabilities: Google's `logprobsResult` and OpenAI's form, which is the neutral one.

use crate::types::chat::RawJson;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::{JsonOut, Members};

/// `logprobsResult` in OpenAI's form.
pub(super) fn read(result: Raw<'_>) -> Option<RawJson> {
    let mut result = result.object()?;
    let chosen = result.take("chosenCandidates")?.array()?;
    let tops = result.take("topCandidates").and_then(Raw::array);
    let tops = tops.unwrap_or_default();
    let mut json = JsonOut::with_capacity(64 * chosen.len());
    json.object(|it| {
        it.array("content", |list| {
            for (index, chosen) in chosen.into_iter().enumerate() {
                let top = tops
                    .get(index)
                    .and_then(|top| top.object()?.take("candidates"));
                list.object(|it| {
                    write_word(it, chosen);
                    it.array("top_logprobs", |list| {
                        for other in top.and_then(Raw::array).unwrap_or_default() {
                            list.object(|it| write_word(it, other));
                        }
                    });
                });
            }
        });
        it.null("refusal");
    });
    Some(RawJson::new(&json.into_string()))
}

fn write_word(it: &mut Members<'_>, word: Raw<'_>) {
    let mut word = word.object().unwrap_or_default();
    let text = word.take_string("token").unwrap_or_default();
    it.string("token", &text);
    let logprob = word.take("logProbability").and_then(super::members::number);
    it.member("logprob").number(logprob.unwrap_or(-9999.0));
    it.array("bytes", |list| {
        for byte in text.bytes() {
            list.integer(byte);
        }
    });
}

/// OpenAI's form as `logprobsResult`.
pub(super) fn write(json: &mut JsonOut, logprobs: &RawJson) {
    let words = Object::read(logprobs.get())
        .ok()
        .and_then(|mut object| object.take("content")?.array());
    let words: Vec<_> = words
        .unwrap_or_default()
        .into_iter()
        .filter_map(Raw::object)
        .collect();
    json.object(|it| {
        it.array("topCandidates", |list| {
            for word in &words {
                let top = word.get("top_logprobs").and_then(Raw::array);
                list.object(|it| {
                    it.array("candidates", |list| {
                        for other in top.unwrap_or_default() {
                            write_candidate(list, &other.object().unwrap_or_default());
                        }
                    });
                });
            }
        });
        it.array("chosenCandidates", |list| {
            for word in &words {
                write_candidate(list, word);
            }
        });
    });
}

fn write_candidate(list: &mut JsonOut, word: &Object<'_>) {
    list.object(|it| {
        let text = word.get("token").and_then(Raw::string);
        it.string("token", text.as_deref().unwrap_or_default());
        let logprob = word.get("logprob").and_then(Raw::number);
        it.maybe_number("logProbability", logprob);
    });
}
