//! Every sum agrees with what the upstream bills, and no budget is overspent.

mod batches;
mod bugs;
mod caps;
mod day;
mod disconnects;
mod prices;

use serde_json::{Value, json};
use tollgate::types::RequestRecord;

use crate::harness::upstream::{chunk, completion, stream_payloads};
use crate::harness::{Received, Reply, Script, Step};

/// `usage` with every class that OpenAI's dialect has.
pub fn usage_of(prompt: u64, cached: u64, written: u64, completion: u64, reasoning: u64) -> Value {
    json!({
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    })
}

/// An answer as asked, whole or streamed, that names this model and tier.
pub fn answer_as(request: &Received, model: &str, tier: Option<&str>, usage: &Value) -> Script {
    if !request.wants_stream() {
        let mut body = completion(model, "one two three", usage);
        if let Some(tier) = tier {
            body["service_tier"] = json!(tier);
        }
        return Script::json(200, &body);
    }
    let named = |payload: String| {
        let Ok(mut chunk) = serde_json::from_str::<Value>(&payload) else {
            return payload;
        };
        chunk["model"] = json!(model);
        if let Some(tier) = tier {
            chunk["service_tier"] = json!(tier);
        }
        chunk.to_string()
    };
    let payloads = stream_payloads(request, "one two three", usage);
    let payloads: Vec<String> = payloads.into_iter().map(named).collect();
    Script::events(&payloads)
}

/// One event of a stream as a step.
pub fn event(payload: &str) -> Step {
    Step::Chunk(format!("data: {payload}\n\n").into_bytes())
}

/// A chunk of content as a step.
pub fn word(text: &str) -> Step {
    event(&chunk("small", &json!({"content": text}), None))
}

/// The only attempt of a record as `GET /v1/requests/{id}` shows it.
pub fn shown(record: &Reply) -> Value {
    record.json()["attempts"][0].clone()
}

/// The cost of a record's only attempt, pico-USD.
pub fn cost_of(record: &RequestRecord) -> i128 {
    assert_eq!(record.attempts.len(), 1, "{record:?}");
    assert_eq!(record.cost, record.attempts[0].cost);
    record.cost.pico()
}
