//! Upstreams that are down, slow, rate-limited, broken or talking nonsense: whoever can be answered
//! is, and the ledger's attempts are those that the upstreams saw.

mod day;
mod failures;
mod ladder;
mod retries;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::types::{Outcome, RequestRecord};

use crate::harness::proxy::chat;
use crate::harness::{Proxy, Received, Reply, Script};

/// Two models on two upstreams, asked in this order; `first_more` adds to the first model.
pub fn configuration(first: &str, second: &str, first_more: &str, more: &str) -> String {
    format!(
        r#"
version: 1
state: {{ store: memory }}
auth: {{ mode: open }}
providers:
  a: {{ dialect: openai_chat, base_url: "{first}" }}
  b: {{ dialect: openai_chat, base_url: "{second}" }}
models:
  first: {{ provider: a, price: {{ input: 1, output: 2 }}, context_tokens: 8000, max_output_tokens: 4000, tier: standard{first_more} }}
  second: {{ provider: b, price: {{ input: 1, output: 2 }}, context_tokens: 8000, max_output_tokens: 4000, tier: standard }}
matrix:
  default: {{ simple: [first, second], complex: [first, second], critical: [first, second] }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
{more}
"#
    )
}

/// Resilience with one try per candidate and a breaker that never opens, unless `more` says so.
pub fn resilience(more: &str) -> String {
    format!(
        "resilience: {{ retry: {{ max_attempts: 1 }}, breaker: {{ consecutive_failures: 1000, min_requests: 1000 }}{more} }}"
    )
}

/// A loopback address where nobody listens.
pub fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address: SocketAddr = listener.local_addr().expect("bound");
    format!("http://{address}/v1")
}

pub fn streamed(model: &str) -> Value {
    let mut body = chat(model, "hello");
    body["stream"] = json!(true);
    body
}

pub fn answers(text: &'static str) -> impl Fn(&Received) -> Script + Send + Sync + 'static {
    move |request| Script::answer(request, text, 10, 5)
}

pub fn failing(status: u16) -> impl Fn(&Received) -> Script + Send + Sync + 'static {
    move |_| Script::error(status, "server_error", "SECRET upstream text")
}

pub fn outcomes(record: &RequestRecord) -> Vec<Outcome> {
    record.attempts.iter().map(|it| it.outcome).collect()
}

pub fn assert_served_by(reply: &Reply, model: &str, attempts: &str) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-tollgate-model"), model);
    assert_eq!(reply.header("x-tollgate-attempts"), attempts);
    let fell_back = reply.header("x-tollgate-reason") == "fallback";
    assert_eq!(fell_back, model != "first", "{:?}", reply.headers);
}

/// Waits until the first model's breaker shows this state (0 closed, 1 half-open, 2 open).
pub async fn breaker_is(proxy: &Proxy, state: f64) -> bool {
    for _ in 0..600 {
        tollgate::bootstrap::refresh_gauges(&proxy.gateway);
        let shown = proxy.metric("tollgate_breaker_state", &[("model", "first")]);
        if (shown - state).abs() < 0.1 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}
