//! Thoughts of a kept conversation go back to the account that made them and to nobody else, and whoever
//! goes on without them is told so.

use serde_json::{Value, json};

use super::{id_of, response, say};
use crate::harness::{Proxy, Script, Upstream};

/// A Responses answer with a thought that only `seal`'s maker can read.
fn thinking_response(seal: &str) -> Value {
    json!({
        "id": "resp_9", "object": "response", "created_at": 1_700_000_000, "status": "completed", "model": "gpt-5",
        "error": null, "incomplete_details": null, "instructions": null, "metadata": {}, "parallel_tool_calls": true,
        "temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": [],
        "output": [
            {"type": "reasoning", "id": format!("rs_{seal}"), "summary": [], "encrypted_content": seal},
            {"type": "message", "id": format!("msg_{seal}"), "status": "completed", "role": "assistant",
             "content": [{"type": "output_text", "text": format!("said by {seal}"), "annotations": [], "logprobs": []}]},
        ],
        "usage": {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 120},
    })
}

fn thinking_message() -> Value {
    json!({
        "id": "msg_9", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{"type": "thinking", "thinking": "Hm.", "signature": "SIGclaude"}, {"type": "text", "text": "said by claude"}],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 60, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0, "output_tokens": 20},
    })
}

#[tokio::test]
async fn sealed_thoughts_go_home_and_nowhere_else() {
    let east = Upstream::start(|_| Script::json(200, &thinking_response("gAAAeast"))).await;
    let west = Upstream::start(|_| Script::json(200, &thinking_response("gAAAwest"))).await;
    let claude = Upstream::start(|_| Script::json(200, &thinking_message())).await;
    let proxy = Proxy::start(&format!(
        r#"
version: 1
state: {{ store: memory }}
auth: {{ mode: open }}
providers:
  east: {{ dialect: openai_responses, base_url: "{}" }}
  west: {{ dialect: openai_responses, base_url: "{}" }}
  claude: {{ dialect: anthropic_messages, base_url: "http://{}" }}
models:
  at-east: {{ provider: east, upstream_model: gpt-5, price: {{ input: 1, output: 10 }}, context_tokens: 128000, max_output_tokens: 4096 }}
  at-west: {{ provider: west, upstream_model: gpt-5, price: {{ input: 1, output: 10 }}, context_tokens: 128000, max_output_tokens: 4096 }}
  at-claude: {{ provider: claude, upstream_model: claude-sonnet-4-5, price: {{ input: 1, output: 10 }}, context_tokens: 128000, max_output_tokens: 4096 }}
matrix: {{ default: {{ simple: [at-east], complex: [at-east], critical: [at-east] }} }}
"#,
        east.base_url(),
        west.base_url(),
        claude.address
    ))
    .await;
    let client = proxy.client();
    // Where the conversation goes, which seals its upstream sees, and whether others were left out.
    let turns = [
        (&east, "at-east", &[] as &[&str], false),
        (&west, "at-west", &[], true),
        (&claude, "at-claude", &[], true),
        (&east, "at-east", &["gAAAeast"], true),
        (&claude, "at-claude", &["SIGclaude"], true),
        (&west, "at-west", &["gAAAwest"], true),
    ];
    let mut previous = Value::Null;
    for (number, (upstream, model, own, notes)) in turns.into_iter().enumerate() {
        let place = format!("turn {number} at {model}");
        let asked = json!({"model": model, "input": format!("question {number}"),
            "reasoning": {"effort": "low"}, "previous_response_id": previous});
        let reply = say(&client, asked).await;
        let answer = response(&reply, false);
        let asked = upstream
            .received()
            .last()
            .expect("asked")
            .json()
            .to_string();
        for seal in ["gAAAeast", "gAAAwest", "SIGclaude"] {
            assert_eq!(
                asked.contains(&format!("\"{seal}\"")),
                own.contains(&seal),
                "{place}: {seal} in {asked}"
            );
        }
        assert!(!asked.contains("tollgate:"), "{place}: {asked}");
        for earlier in 0..number {
            assert!(asked.contains(&format!("question {earlier}")), "{place}");
        }
        let told = reply.headers.get("x-tollgate-translation");
        let told = told.map_or("", |value| value.to_str().expect("text"));
        assert_eq!(told.contains("reasoning"), notes, "{place}: `{told}`");
        previous = id_of(&answer).into();
    }
    proxy.stop().await;
}
