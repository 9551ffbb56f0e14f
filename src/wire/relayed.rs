//! What answers that are passed through say about their use: images, audio, moderations. OpenAI writes
//! `usage` there as its Responses API does; answers that are billed by the second or the image have
//! none in tokens.

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
}

#[derive(Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
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
    Some(Tokens {
        input: input - cached_input,
        cached_input,
        output: usage.output_tokens.unwrap_or(0),
        ..Tokens::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
