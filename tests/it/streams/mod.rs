//! What a stream may look like on the wire, how it may break, and what the client and the ledger
//! see of it.

mod breaking;
mod identity;
mod leaving;
mod usage;

use serde_json::{Value, json};
use tollgate::types::{RequestRecord, UsageSource};

use crate::harness::proxy::{chat, two_models};
use crate::harness::upstream::{chunk, usage as usage_of};
use crate::harness::{Proxy, Reply, Script, Step, Upstream};

pub const DONE: &str = "data: [DONE]\n\n";

/// A streamed request; `include_usage` as the client wants it.
pub fn streamed(model: &str, include_usage: bool) -> Value {
    let mut body = chat(model, "Say something.");
    body["stream"] = json!(true);
    if include_usage {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

pub fn usage_payload(input: u64, output: u64) -> String {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "small", "choices": [], "usage": usage_of(input, output)})
        .to_string()
}

pub fn content(text: &str) -> String {
    chunk("small", &json!({"content": text}), None)
}

pub fn finish() -> String {
    chunk("small", &json!({}), Some("stop"))
}

pub fn event(payload: &str) -> String {
    format!("data: {payload}\n\n")
}

pub fn bytes(text: impl Into<String>) -> Step {
    Step::Chunk(text.into().into_bytes())
}

/// One pinned stream against an upstream that plays `steps`: what the client and the ledger saw.
pub async fn play(steps: Vec<Step>, include_usage: bool) -> (Reply, RequestRecord) {
    play_with(steps, include_usage, "").await
}

pub async fn play_with(
    steps: Vec<Step>,
    include_usage: bool,
    more: &str,
) -> (Reply, RequestRecord) {
    let upstream = Upstream::start(move |_| Script::steps(steps.clone())).await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    let reply = proxy.client().chat(&streamed("small", include_usage)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let record = proxy.record(&reply.request_id()).await;
    assert_eq!(upstream.calls(), record.attempts.len());
    proxy.stop().await;
    (reply, record)
}

/// The last event of a broken stream: an error object and no end marker.
pub fn assert_ends_with_error(reply: &Reply, code: &str) {
    let events = reply.events();
    let last: Value = serde_json::from_str(events.last().expect("an event")).expect("JSON");
    assert_eq!(last["error"]["code"], code, "{}", reply.text());
    for field in ["message", "type", "param"] {
        assert!(last["error"].get(field).is_some(), "{last}");
    }
    assert!(!reply.text().contains("[DONE]"), "{}", reply.text());
}

/// Takes out what tollgate wrote into the usage chunk, which must be there once.
pub fn without_cost(text: &str) -> String {
    let start = text.find(",\"cost\":").expect("a cost");
    let end = start + text[start..].find('}').expect("the end of usage");
    let stripped = format!("{}{}", &text[..start], &text[end..]);
    assert!(!stripped.contains("\"cost\":"), "{text}");
    stripped
}

pub fn tokens_of(record: &RequestRecord) -> (u64, u64, UsageSource) {
    let attempt = &record.attempts[0];
    (
        attempt.tokens.all_input(),
        attempt.tokens.all_output(),
        attempt.usage,
    )
}
