//! Which price is applied: by tier, length, class, image and day; and of the model that answered.

use serde_json::{Value, json};
use tollgate::types::{PicoUsd, RequestRecord, ServiceTier, UsageSource};

use super::*;
use crate::harness::proxy::chat;
use crate::harness::{Proxy, Upstream};

/// `small` with every kind of price; `other` is what the upstream serves in its place.
fn priced(base_url: &str) -> String {
    format!(
        r#"
version: 1
state: {{ store: memory }}
auth: {{ mode: open }}
providers:
  up: {{ dialect: openai_chat, base_url: "{base_url}" }}
models:
  small:
    provider: up
    price:
      input: 1
      cached_input: 0.1
      cache_write: 1.25
      cache_write_1h: 2
      output: 4
      reasoning: 5
      per_request_usd: 0.001
      per_image_usd: 0.0002
      long_context:
        - {{ above_input_tokens: 1000, input: 2, cached_input: 0.2, cache_write: 2.5, cache_write_1h: 4, output: 6, reasoning: 7 }}
      service_tiers:
        flex: {{ input: 0.5, cached_input: 0.05, cache_write: 0.625, cache_write_1h: 1, output: 2, reasoning: 2.5, long_context: [] }}
        priority: {{ input: 2, cached_input: 0.2, cache_write: 2.5, cache_write_1h: 4, output: 8, reasoning: 10, long_context: [] }}
    max_output_tokens: 100
  other: {{ provider: up, upstream_model: other-model, price: {{ input: 10, output: 40 }} }}
  dated:
    provider: up
    price: [ {{ input: 1, output: 4 }}, {{ from: 2020-01-01, input: 3, output: 12 }}, {{ from: 2999-01-01, input: 9, output: 9 }} ]
matrix:
  default: {{ simple: [small], complex: [small], critical: [small] }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
budgets: [ {{ name: all, limit_usd: 1000, period: total }} ]
"#
    )
}

/// Sends `body` to an upstream that answers as `model`, at `tier`, with `usage`; what was recorded and
/// what `GET /v1/requests/{id}` shows of the attempt.
async fn ask(
    body: &Value,
    (model, tier): (&'static str, Option<&'static str>),
    usage: Value,
) -> (RequestRecord, Value) {
    let upstream = Upstream::start(move |request| answer_as(request, model, tier, &usage)).await;
    let proxy = Proxy::start(&priced(&upstream.base_url())).await;
    let client = proxy.client();
    let reply = client.chat(body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let record = proxy.record(&reply.request_id()).await;
    let spent = proxy.gateway.budgets.view()[0].spent;
    assert_eq!(spent, record.cost, "the budget and the ledger differ");
    if body.get("stream").is_none() {
        assert_eq!(reply.header("x-tollgate-cost-usd"), record.cost.to_string());
    }
    let path = format!("/v1/requests/{}", reply.request_id());
    let shown = shown(&client.get(&path).await);
    let substituted = proxy.metric("tollgate_substituted_answers_total", &[]);
    assert_eq!(substituted > 0.5, record.attempts[0].substituted);
    proxy.stop().await;
    (record, shown)
}

/// What every request costs here whatever it uses, pico-USD.
const FEE: i128 = 1_000_000_000;

#[tokio::test]
async fn each_class_has_its_price_and_so_has_the_request() {
    let usage = json!({
        "prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 20},
        "cache_creation": {"ephemeral_1h_input_tokens": 15},
        "completion_tokens_details": {"reasoning_tokens": 10},
    });
    let (record, shown) = ask(&chat("small", "hi"), ("small", None), usage).await;
    let tokens = 40 * 1_000_000
        + 40 * 100_000
        + 5 * 1_250_000
        + 15 * 2_000_000
        + 20 * 4_000_000
        + 10 * 5_000_000;
    assert_eq!(cost_of(&record), tokens + FEE);
    assert_eq!(record.tokens().cache_write_1h, 15);
    assert_eq!(shown["price"]["cache_write_1h"], 2.0);
    assert_eq!(shown["price_version"].as_str().map(str::len), Some(8));
}

#[tokio::test]
async fn an_image_is_charged_apart_from_its_tokens() {
    let mut body = chat("small", "hi");
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}});
    body["messages"][0]["content"] = json!([{"type": "text", "text": "what is it"}, image, image]);
    let (record, shown) = ask(&body, ("small", None), usage_of(10, 0, 0, 1, 0)).await;
    assert_eq!(
        cost_of(&record),
        10_000_000 + 4_000_000 + FEE + 2 * 200_000_000
    );
    assert_eq!(shown["images"], 2);
}

#[tokio::test]
async fn above_the_step_the_whole_request_costs_more() {
    let (at, _) = ask(
        &chat("small", "hi"),
        ("small", None),
        usage_of(1000, 400, 0, 10, 0),
    )
    .await;
    assert_eq!(
        cost_of(&at),
        600 * 1_000_000 + 400 * 100_000 + 10 * 4_000_000 + FEE
    );
    assert_eq!(at.attempts[0].price_step_tokens, None);
    let (above, shown) = ask(
        &chat("small", "hi"),
        ("small", None),
        usage_of(1001, 400, 0, 10, 0),
    )
    .await;
    assert_eq!(
        cost_of(&above),
        601 * 2_000_000 + 400 * 200_000 + 10 * 6_000_000 + FEE
    );
    assert_eq!(shown["price_step_tokens"], 1000);
}

#[tokio::test]
async fn the_tier_that_the_answer_names_is_billed_whatever_was_asked() {
    let cost = |input: i128, output: i128| 10 * input + 5 * output + FEE;
    for stream in [false, true] {
        let mut body = chat("small", "hi");
        body["stream"] = json!(stream);
        body["service_tier"] = json!("priority");
        let usage = || usage_of(10, 0, 0, 5, 0);
        let (served, shown) = ask(&body, ("small", Some("priority")), usage()).await;
        assert_eq!(cost_of(&served), cost(2_000_000, 8_000_000));
        assert_eq!(shown["service_tier"], "priority");
        let (fallen_back, _) = ask(&body, ("small", Some("default")), usage()).await;
        assert_eq!(cost_of(&fallen_back), cost(1_000_000, 4_000_000));
        let (flex, _) = ask(&chat("small", "hi"), ("small", Some("flex")), usage()).await;
        assert_eq!(cost_of(&flex), cost(500_000, 2_000_000));
        assert_eq!(flex.attempts[0].service_tier, Some(ServiceTier::Flex));
    }
    // No price is known for batch: billed as usual, and said to be an estimate.
    let (batch, _) = ask(
        &chat("small", "hi"),
        ("small", Some("batch")),
        usage_of(10, 0, 0, 5, 0),
    )
    .await;
    assert_eq!(cost_of(&batch), cost(1_000_000, 4_000_000));
    assert_eq!(batch.attempts[0].usage, UsageSource::Estimated);
    assert_eq!(batch.estimated_cost, batch.cost);
}

#[tokio::test]
async fn a_dearer_tier_without_a_price_is_refused() {
    let upstream = Upstream::plain("ok").await;
    let proxy = Proxy::start(&priced(&upstream.base_url())).await;
    let mut body = chat("other", "hi");
    body["service_tier"] = json!("priority");
    let reply = proxy.client().chat(&body).await;
    assert_eq!(
        (reply.status, upstream.calls()),
        (400, 0),
        "{}",
        reply.text()
    );
    assert_eq!(reply.json()["error"]["param"], "service_tier");
    proxy.stop().await;
}

#[tokio::test]
async fn the_reservation_takes_the_dearest_that_may_apply() {
    let upstream = Upstream::start(|request| {
        answer_as(request, "small", None, &usage_of(10, 0, 0, 5, 0)).before(Step::Gate)
    })
    .await;
    let proxy = Proxy::start(&priced(&upstream.base_url())).await;
    let client = proxy.client();
    let mut reserved = Vec::new();
    for (tier, text) in [("default", "hi"), ("priority", "hi"), ("default", "1h")] {
        let mut body = chat("small", text);
        body["service_tier"] = json!(tier);
        if text == "1h" {
            body["messages"][0]["content"] = json!([{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
        }
        let asking = tokio::spawn({
            let client = client.clone();
            async move { client.chat(&body).await }
        });
        upstream.wait_for_calls(reserved.len() + 1).await;
        let sum = proxy.gateway.budgets.view()[0].reserved;
        let before: PicoUsd = reserved.iter().copied().sum();
        reserved.push(sum - before);
        drop(asking);
    }
    // 100 output tokens at most, at 5 or 10 USD per million for reasoning, and the input in the
    // prompt cache for an hour at 2 instead of 1.25.
    assert!(reserved[0].pico() >= 100 * 5_000_000 + FEE);
    assert!(reserved[1].pico() >= 100 * 10_000_000 + FEE);
    assert!(reserved[2] > reserved[0], "{reserved:?}");
    upstream.open_gate();
    proxy.stop().await;
}

#[tokio::test]
async fn the_model_that_answered_is_priced_and_the_difference_is_told() {
    let usage = || usage_of(10, 0, 0, 5, 0);
    let asked = 10 * 1_000_000 + 5 * 4_000_000 + FEE;
    let (record, shown) = ask(&chat("small", "hi"), ("other-model", None), usage()).await;
    assert_eq!(cost_of(&record), 10 * 10_000_000 + 5 * 40_000_000);
    assert_eq!(
        (&shown["substituted"], &shown["priced_model"]),
        (&json!(true), &json!("other"))
    );
    assert_eq!(
        record.attempts[0].asked_cost.map(PicoUsd::pico),
        Some(asked)
    );
    let mut streamed = chat("small", "hi");
    streamed["stream"] = json!(true);
    let (again, _) = ask(&streamed, ("other-model-2026-01-01", None), usage()).await;
    assert_eq!(again.cost, record.cost, "streamed, and by a dated name");
    // A name that nothing is known of: the price that was asked for, and the difference is told.
    let (unknown, shown) = ask(&chat("small", "hi"), ("mystery", None), usage()).await;
    assert_eq!(cost_of(&unknown), asked);
    assert_eq!(
        (&shown["substituted"], &shown["priced_model"]),
        (&json!(true), &Value::Null)
    );
    // A dated name of the model that was asked for is that model.
    let (same, _) = ask(&chat("small", "hi"), ("small-2026-01-01", None), usage()).await;
    assert_eq!(cost_of(&same), asked);
    assert!(!same.attempts[0].substituted);
}

#[tokio::test]
async fn the_price_in_force_when_the_attempt_begins_is_applied() {
    let (record, shown) = ask(
        &chat("dated", "hi"),
        ("dated", None),
        usage_of(10, 0, 0, 5, 0),
    )
    .await;
    assert_eq!(cost_of(&record), 10 * 3_000_000 + 5 * 12_000_000);
    let version = shown["price_version"].as_str().expect("a version");
    assert!(version.starts_with("2020-01-01/"), "{version}");
}
