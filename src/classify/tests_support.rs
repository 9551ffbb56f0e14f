//! Calls built from texts, for the tests of this room and of the rooms that need features.

use bytes::Bytes;
use smallvec::smallvec;

use super::excerpt::{Bounds, Excerpt};
use crate::types::{Call, Directives, Endpoint, Needs, Part, Role, Span, StreamRequest, Turn};

/// A chat request with these turns, as ingress would decode it.
pub fn call_of(turns: &[(Role, &str)]) -> Call {
    let mut body = String::from("{\"model\":\"auto\",\"messages\":[");
    let mut decoded = Vec::new();
    for (at, (role, text)) in turns.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        let word = match role {
            Role::System => "system",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            _ => "user",
        };
        body.push_str("{\"role\":\"");
        body.push_str(word);
        body.push_str("\",\"content\":");
        let quoted = serde_json::to_string(text).expect("a JSON string");
        let start = body.len() + 1;
        body.push_str(&quoted);
        let end = body.len() - 1;
        body.push('}');
        decoded.push(Turn {
            role: *role,
            parts: smallvec![Part::Text(Span {
                start: u32::try_from(start).expect("small"),
                end: u32::try_from(end).expect("small"),
            })],
            tool_calls: 0,
        });
    }
    body.push_str("]}");
    Call {
        endpoint: Endpoint::ChatCompletions,
        body: Bytes::from(body),
        model: "auto".to_owned(),
        model_value: Span { start: 9, end: 15 },
        fields: Vec::new(),
        stream: StreamRequest::default(),
        turns: decoded,
        needs: Needs::default(),
        max_output_tokens: None,
        choices: 1,
        tools: 0,
        end_user: None,
        metadata: Vec::new(),
        directives: Directives::default(),
    }
}

/// A chat request with one user turn.
pub fn call_with(text: &str) -> Call {
    call_of(&[(Role::User, text)])
}

/// The excerpt of one user turn.
pub fn excerpt_of(text: &str) -> Excerpt {
    let call = call_with(text);
    let bounds = Bounds {
        head: 4096,
        tail: 1024,
    };
    Excerpt::of(&call, call.turns.iter(), bounds)
}
