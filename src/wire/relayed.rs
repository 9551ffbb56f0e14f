//! What answers that are passed through say about their use: images, audio, moderations, batches. OpenAI
//! writes `usage` there as its Responses API does; answers that are billed by the second or the image
//! have none in tokens.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::types::Tokens;

/// What a whole answer, or an event of a stream, says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RelayFacts {
    /// Tokens in disjoint classes.
    pub tokens: Option<Tokens>,
    /// Entries of `data`: images.
    pub items: Option<u32>,
    /// The model that answered.
    pub model: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    usage: Option<UsageObject>,
    model: Option<String>,
}

#[derive(Deserialize)]
struct UsageObject {
    #[serde(alias = "prompt_tokens")]
    input_tokens: Option<u64>,
    #[serde(alias = "completion_tokens")]
    output_tokens: Option<u64>,
    #[serde(alias = "prompt_tokens_details")]
    input_tokens_details: Option<InputDetails>,
    #[serde(alias = "completion_tokens_details")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct WithItems {
    data: Vec<IgnoredAny>,
}

/// Reads an answer; what is not there, or not JSON, says nothing.
#[must_use]
pub fn facts(body: &[u8]) -> RelayFacts {
    let said = serde_json::from_slice::<Said>(body).ok();
    let items = serde_json::from_slice::<WithItems>(body).ok();
    let (usage, model) = said.map_or((None, None), |said| (said.usage, said.model));
    RelayFacts {
        tokens: usage.and_then(|usage| tokens_of(&usage)),
        items: items.map(|items| u32::try_from(items.data.len()).unwrap_or(u32::MAX)),
        model,
    }
}

fn tokens_of(usage: &UsageObject) -> Option<Tokens> {
    let input = usage.input_tokens?;
    let details = usage.input_tokens_details.as_ref();
    let cached = details.and_then(|details| details.cached_tokens);
    let cached_input = cached.unwrap_or(0).min(input);
    let output = usage.output_tokens.unwrap_or(0);
    let details = usage.output_tokens_details.as_ref();
    let reasoning = details.and_then(|details| details.reasoning_tokens);
    let reasoning = reasoning.unwrap_or(0).min(output);
    Some(Tokens {
        input: input - cached_input,
        cached_input,
        output: output - reasoning,
        reasoning,
        ..Tokens::default()
    })
}

/// How a batch stands.
#[derive(Debug, PartialEq, Eq)]
pub struct BatchFacts {
    /// Its id at the provider.
    pub id: String,
    /// True once nothing more will be done, and so billed, for it.
    pub ended: bool,
    /// Requests that were answered, as far as the provider says.
    pub answered: u64,
    /// The model of all of its requests.
    pub model: Option<String>,
    /// What all of its requests used together. OpenAI says so for batches since September 7, 2025
    /// (its API reference, `batches/object`).
    pub tokens: Option<Tokens>,
}

#[derive(Deserialize)]
struct Batch {
    id: String,
    status: String,
    model: Option<String>,
    usage: Option<UsageObject>,
    request_counts: Option<RequestCounts>,
}

#[derive(Deserialize)]
struct RequestCounts {
    completed: Option<u64>,
}

/// Reads a batch; `None` where it is none.
#[must_use]
pub fn batch(body: &[u8]) -> Option<BatchFacts> {
    let batch = serde_json::from_slice::<Batch>(body).ok()?;
    let counts = batch.request_counts.as_ref();
    Some(BatchFacts {
        ended: matches!(
            batch.status.as_str(),
            "completed" | "failed" | "expired" | "cancelled"
        ),
        id: batch.id,
        answered: counts.and_then(|counts| counts.completed).unwrap_or(0),
        model: batch.model,
        tokens: batch.usage.as_ref().and_then(tokens_of),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_says_what_it_used_once_it_has_ended() {
        let body = r#"{"id": "batch_1", "status": "expired", "model": "gpt-4o-2024-08-06", "request_counts": {"total": 9, "completed": 7, "failed": 2},
            "usage": {"input_tokens": 50, "input_tokens_details": {"cached_tokens": 20}, "output_tokens": 30, "output_tokens_details": {"reasoning_tokens": 10}}}"#;
        let expect = BatchFacts {
            id: "batch_1".to_owned(),
            ended: true,
            answered: 7,
            model: Some("gpt-4o-2024-08-06".to_owned()),
            tokens: Some(Tokens {
                input: 30,
                cached_input: 20,
                output: 20,
                reasoning: 10,
                ..Tokens::default()
            }),
        };
        assert_eq!(batch(body.as_bytes()), Some(expect));
        let running = batch(br#"{"id": "batch_1", "status": "finalizing", "usage": null}"#);
        assert!(running.is_some_and(|it| !it.ended && it.tokens.is_none()));
        assert_eq!(batch(br#"{"object": "list", "data": []}"#), None);
    }

    #[test]
    fn usage_is_read_in_every_form() {
        let check = |body: &str, input, cached_input, output, items| {
            let found = facts(body.as_bytes());
            let expect = Tokens {
                input,
                cached_input,
                output,
                ..Tokens::default()
            };
            assert_eq!((found.tokens, found.items), (Some(expect), items), "{body}");
        };
        check(
            r#"{"data": [{}, {}], "usage": {"input_tokens": 50, "output_tokens": 7, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}}"#,
            50,
            0,
            7,
            Some(2),
        );
        check(
            r#"{"text": "a", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 4}}}"#,
            10,
            4,
            4,
            None,
        );
        check(r#"{"usage": {"prompt_tokens": 3}}"#, 3, 0, 0, None);
        for silent in [
            r#"{"usage": {"type": "duration", "seconds": 3}}"#,
            "WEBVTT",
            "{}",
        ] {
            assert_eq!(facts(silent.as_bytes()), RelayFacts::default(), "{silent}");
        }
    }
}
