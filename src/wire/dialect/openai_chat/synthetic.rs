//! Answers that no model gave: templates and rule-based replies, in the form of a model's answer
//! with a usage of zero.

use bytes::Bytes;

use super::convert::whole_to_stream;
use super::stream::usage_object;
use crate::types::{Endpoint, Tokens};
use crate::wire::dialect::Synthetic;

impl Synthetic<'_> {
    /// As a whole answer.
    #[must_use]
    pub fn whole(&self) -> Bytes {
        let (object, choice) = match self.endpoint {
            Endpoint::Completions => (
                "text_completion",
                serde_json::json!({
                    "index": 0, "text": self.text, "logprobs": null, "finish_reason": "stop",
                }),
            ),
            _ => (
                "chat.completion",
                serde_json::json!({
                    "index": 0,
                    "message": { "role": "assistant", "content": self.text, "refusal": null },
                    "logprobs": null,
                    "finish_reason": "stop",
                }),
            ),
        };
        let answer = serde_json::json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            "usage": usage_object(&Tokens::default()),
        });
        Bytes::from(answer.to_string())
    }

    /// As a stream, with the usage chunk if the client asked for it.
    #[must_use]
    pub fn stream(&self, include_usage: bool) -> Bytes {
        // What we have just written is an answer.
        whole_to_stream(&self.whole(), include_usage).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::dialect::openai_chat::{convert, inspect_response};

    #[test]
    fn an_answer_of_our_own_is_an_answer() {
        for endpoint in [Endpoint::ChatCompletions, Endpoint::Completions] {
            let synthetic = Synthetic {
                endpoint,
                id: "req-1",
                created: 1_700_000_000,
                model: "template",
                text: "We open at \"nine\".\n",
            };
            let facts = inspect_response(endpoint, &synthetic.whole()).expect("an answer");
            assert_eq!(facts.model.as_deref(), Some("template"));
            assert!(facts.finish.seen && !facts.finish.truncated);
            let tokens = facts.usage.and_then(|usage| usage.tokens);
            assert_eq!(tokens, Some(Tokens::default()));
            let back = convert::stream_to_whole(&synthetic.stream(true)).expect("an answer");
            let facts = inspect_response(endpoint, &back).expect("an answer");
            assert_eq!(facts.output_bytes, synthetic.text.len() as u64);
        }
    }
}
