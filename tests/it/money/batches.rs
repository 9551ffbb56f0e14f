//! Batches: what they used is paid once, by who made them, at the batch tier, whoever sees their end.

use serde_json::{Value, json};
use tollgate::pipeline::ask_about_batches;
use tollgate::types::{Endpoint, ServiceTier, UsageSource};

use crate::harness::{Client, Proxy, Received, Script, Upstream};

/// Two teams on one account. `foo` is of team `a`, `bar` of team `b`.
fn config(base_url: &str, more: &str) -> String {
    format!(
        r#"
version: 1
auth: {{ mode: keys }}
teams: {{ a: {{}}, b: {{}} }}
keys:
  - {{ id: one, team: a, sha256: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" }}
  - {{ id: two, team: b, sha256: "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9" }}
providers:
  up: {{ base_url: "{base_url}", api_key: ours }}
models:
  m:
    provider: up
    upstream_model: gpt-4o
    price:
      input: 2
      cached_input: 1
      output: 8
      long_context: [ {{ above_input_tokens: 200000, input: 20, cached_input: 20, output: 80 }} ]
      service_tiers: {{ batch: {{ input: 1, cached_input: 0.5, output: 4, long_context: [] }} }}
  plain: {{ provider: up, upstream_model: o3, price: {{ input: 1, output: 1, per_request_usd: 0.001 }} }}
matrix: {{ default: {{ simple: [m] }} }}
budgets:
  - {{ name: a, match: {{ team: a }}, limit_usd: 10, period: month }}
  - {{ name: b, match: {{ team: b }}, limit_usd: 10, period: month }}
pass_through: {{ files: [up] }}
{more}
"#
    )
}

/// A provider whose batches are made as `batch_N`, and have ended by their second look.
async fn provider(model: &'static str, usage: Value) -> Upstream {
    Upstream::start(move |request: &Received| {
        let path = request.path.as_str();
        let looks = |upstream_status: &str| {
            json!({
                "id": path.rsplit('/').next().filter(|_| path != "/v1/batches").unwrap_or("batch_1"),
                "object": "batch", "status": upstream_status, "model": model,
                "request_counts": {"total": 3, "completed": 3, "failed": 0},
                "usage": if upstream_status == "completed" { usage.clone() } else { Value::Null },
            })
        };
        match request.method.as_str() {
            "POST" => Script::json(200, &looks("validating")),
            _ if path == "/v1/batches" => Script::json(200, &json!({"object": "list", "data": []})),
            _ if request.number == 1 => Script::json(200, &looks("in_progress")),
            _ => Script::json(200, &looks("completed")),
        }
    })
    .await
}

/// A million of input, of which 400,000 cached, and 100,000 of output, a fifth of it reasoning.
fn usage() -> Value {
    json!({
        "input_tokens": 1_000_000, "input_tokens_details": {"cached_tokens": 400_000},
        "output_tokens": 100_000, "output_tokens_details": {"reasoning_tokens": 20_000},
        "total_tokens": 1_100_000,
    })
}

fn spent(proxy: &Proxy, budget: &str) -> String {
    let views = proxy.gateway.budgets.view();
    let view = views.iter().find(|view| view.budget.as_str() == budget);
    view.expect("a budget").spent.to_string()
}

async fn make(client: &Client) {
    let asked = json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let reply = client.post("/v1/batches", &asked).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["id"], "batch_1", "as the provider said it");
}

#[tokio::test]
async fn a_batch_is_paid_once_by_who_made_it_at_the_batch_tier() {
    let upstream = provider("gpt-4o-2024-08-06", usage()).await;
    let text = config(&upstream.base_url(), "state: { store: memory }");
    let proxy = Proxy::start(&text).await;
    let one = proxy.client().with("authorization", "Bearer foo");
    let two = proxy.client().with("authorization", "Bearer bar");
    make(&one).await;
    two.get("/v1/batches/batch_1").await;
    assert_eq!(spent(&proxy, "a"), "0", "it runs");
    // Its end is seen by another team, twice, by the first, and by the proxy itself.
    for client in [&two, &two, &one] {
        let reply = client.get("/v1/batches/batch_1").await;
        assert_eq!(reply.json()["usage"]["input_tokens"], 1_000_000);
    }
    ask_about_batches(&proxy.gateway).await;
    // 600,000 at 1, 400,000 at 0.5 and 100,000 at 4 USD per million. Together they are above the usual
    // price's step, of which none may be.
    assert_eq!(spent(&proxy, "a"), "1.2");
    assert_eq!(spent(&proxy, "b"), "0");
    let record = proxy.record("up.batch_1").await;
    assert_eq!(record.cost.to_string(), "1.2");
    assert_eq!(
        (record.endpoint, record.team.as_str()),
        (Endpoint::Batches, "a")
    );
    let attempt = &record.attempts[0];
    assert_eq!(attempt.model.as_str(), "m");
    assert_eq!(attempt.service_tier, Some(ServiceTier::Batch));
    assert_eq!(attempt.usage, UsageSource::Reported);
    assert_eq!(
        (attempt.tokens.output, attempt.tokens.reasoning),
        (80_000, 20_000)
    );
    let counted = proxy.metric("tollgate_cost_usd_total", &[("team", "a"), ("model", "m")]);
    assert!((counted - 1.2).abs() < 1e-9, "{counted}");
    // What nobody made here is nobody's here.
    one.get("/v1/batches/batch_of_somebody_else").await;
    assert_eq!(spent(&proxy, "a"), "1.2");
    proxy.stop().await;
}

#[tokio::test]
async fn a_batch_that_nobody_asks_about_is_paid_also_after_a_restart() {
    // Without a price for batches the usual one counts, as an estimate, and each request's fee.
    let upstream = provider("o3", usage()).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger.db");
    let state = format!("state: {{ ledger: \"sqlite:{}\" }}", path.display());
    let text = config(&upstream.base_url(), &state);
    let proxy = Proxy::start(&text).await;
    make(&proxy.client().with("authorization", "Bearer foo")).await;
    proxy.stop().await;
    let proxy = Proxy::start(&text).await;
    while upstream.calls() < 3 {
        ask_about_batches(&proxy.gateway).await;
    }
    ask_about_batches(&proxy.gateway).await;
    let record = proxy.record("up.batch_1").await;
    assert_eq!(record.cost.to_string(), "1.103");
    assert_eq!(record.estimated_cost, record.cost);
    assert_eq!(spent(&proxy, "a"), "1.103");
    let calls = upstream.calls();
    ask_about_batches(&proxy.gateway).await;
    assert_eq!(upstream.calls(), calls, "it is paid");
    proxy.stop().await;
    let proxy = Proxy::start(&text).await;
    ask_about_batches(&proxy.gateway).await;
    assert_eq!(spent(&proxy, "a"), "1.103", "once");
    proxy.stop().await;
}

#[tokio::test]
async fn a_spent_budget_makes_no_batch_and_no_cap_is_promised() {
    let upstream = provider("o3", usage()).await;
    let text = config(&upstream.base_url(), "state: { store: memory }")
        .replace("team: a }, limit_usd: 10", "team: a }, limit_usd: 1");
    let proxy = Proxy::start(&text).await;
    let one = proxy.client().with("authorization", "Bearer foo");
    let capped = one.clone().with("x-tollgate-max-cost-usd", "5");
    let reply = capped.post("/v1/batches", &json!({})).await;
    assert_eq!(reply.json()["error"]["code"], "budget_exceeded");
    assert_eq!(upstream.calls(), 0);
    make(&one).await;
    for _ in 0..2 {
        one.get("/v1/batches/batch_1").await;
    }
    assert_eq!(spent(&proxy, "a"), "1.103", "counted in full");
    let reply = one.post("/v1/batches", &json!({})).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["code"].as_str()),
        (429, Some("budget_exceeded")),
        "{}",
        reply.text()
    );
    proxy.stop().await;
}

#[tokio::test]
async fn what_cannot_be_billed_is_counted_and_said() {
    for (model, used, lacks) in [("mystery", usage(), "price"), ("o3", Value::Null, "usage")] {
        let upstream = provider(model, used).await;
        let text = config(&upstream.base_url(), "state: { store: memory }");
        let proxy = Proxy::start(&text).await;
        let one = proxy.client().with("authorization", "Bearer foo");
        make(&one).await;
        for _ in 0..3 {
            one.get("/v1/batches/batch_1").await;
        }
        let unbilled = proxy.metric("tollgate_unbilled_batches_total", &[("lacks", lacks)]);
        assert!((unbilled - 1.0).abs() < f64::EPSILON, "{lacks}: {unbilled}");
        proxy.stop().await;
    }
}
