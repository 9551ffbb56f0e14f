//! Budgets through the whole proxy: end users, tags, fallbacks that cost money, learned reserves.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tollgate::types::PicoUsd;

use crate::harness::proxy::{chat, two_models};
use crate::harness::{Proxy, Script, Step, Upstream};

fn from_user(model: &str, user: &str) -> Value {
    let mut body = chat(model, &format!("hello from {user}"));
    body["user"] = json!(user);
    body["max_tokens"] = json!(10);
    body
}

#[tokio::test]
async fn an_end_user_spends_his_own_and_a_restart_remembers_it() {
    let upstream = Upstream::start(|request| Script::answer(request, "ok", 20, 10)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!(
        "store: \"sqlite:{}\"",
        folder.path().join("ledger.db").display()
    );
    // One request of `large` costs 150 µUSD; its worst case is a little more.
    let more = "budgets: [ { name: each, match: { team: default, end_user: \"*\" }, limit_usd: 0.001, period: total } ]";
    let yaml = two_models(&upstream.base_url(), more).replace("store: memory", &store);
    let proxy = Proxy::start(&yaml).await;
    let mut answered = 0;
    while proxy.client().chat(&from_user("large", "ann")).await.status == 200 {
        answered += 1;
        assert!(answered < 7, "six would be nearly the whole limit");
    }
    assert!(answered > 0);
    let other = proxy.client().chat(&from_user("large", "bob")).await;
    assert_eq!(other.status, 200, "{}", other.text());
    let spent = proxy.gateway.budgets.view()[0].spent;
    assert_eq!(spent.pico(), 150_000_000 * answered);
    proxy.stop().await;

    let proxy = Proxy::start(&yaml).await;
    assert_eq!(proxy.gateway.budgets.view()[0].spent, spent);
    let again = proxy.client().chat(&from_user("large", "ann")).await;
    assert_eq!(again.status, 429, "{}", again.text());
    assert_eq!(
        proxy.client().chat(&from_user("large", "bob")).await.status,
        200
    );
    proxy.stop().await;
}

#[tokio::test]
async fn tags_that_a_client_sets_select_no_budget_and_those_of_the_file_do() {
    let upstream = Upstream::plain("ok").await;
    let more = "teams: { default: { tags: { cost_center: x } }, other: { tags: { cost_center: y } } }\n\
        budgets:\n  - { name: x, match: { tags: { cost_center: x } }, limit_usd: 1, period: total }\n  \
        - { name: y, match: { tags: { cost_center: y } }, limit_usd: 1, period: total, alert_at: [] }\n";
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    let client = proxy.client().with("x-tollgate-tags", "cost_center=y");
    let mut body = chat("large", "hello");
    body["metadata"] = json!({"cost_center": "y"});
    assert_eq!(client.chat(&body).await.status, 200);
    let views = proxy.gateway.budgets.view();
    assert!(views[0].spent.is_positive(), "the file's tag");
    assert_eq!(views[1].spent, PicoUsd::ZERO, "the client's");
    proxy.stop().await;
}

#[tokio::test]
async fn a_paid_fallback_of_a_free_model_is_checked_and_free_models_serve_on() {
    let upstream = Upstream::start(|request| match request.model().as_str() {
        "small" => Script::error(500, "server_error", "no"),
        _ => Script::answer(request, "ok", 20, 10),
    })
    .await;
    let more = "budgets: [ { name: spent, limit_usd: 0.0000001, period: month } ]\n\
        resilience: { retry: { max_attempts: 1 } }";
    let yaml = two_models(&upstream.base_url(), more).replace(
        "price: { input: 0.15, cached_input: 0.075, output: 0.60 }",
        "price: 0",
    );
    assert!(yaml.contains("price: 0"), "{yaml}");
    let proxy = Proxy::start(&yaml).await;
    let failed = proxy.client().chat(&chat("auto", "hello")).await;
    assert_ne!(failed.status, 200, "{}", failed.text());
    let asked = || {
        let received = upstream.received();
        received
            .iter()
            .map(super::harness::upstream::Received::model)
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(), ["small"], "the paid model was never asked");
    upstream.behave(|request| Script::answer(request, "ok", 20, 10));
    let served = proxy.client().chat(&chat("auto", "hello again")).await;
    assert_eq!(
        (served.status, served.header("x-tollgate-model")),
        (200, "small")
    );
    assert_eq!(served.header("x-tollgate-cost-usd"), "0");
    let paid = proxy.client().chat(&chat("large", "hello")).await;
    assert_eq!(paid.status, 429);
    proxy.stop().await;
}

/// Requests that may write a long answer and write a short one: strict budgets hold the long one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_learned_lets_more_through_at_once_and_the_declared_sum_bounds_it() {
    // 8,000 tokens of output at 10 USD per million: 0.08 USD at most, 0.00015 in fact.
    let at_once = async |overrun: &str| {
        let upstream = Upstream::start(|request| Script::answer(request, "ok", 20, 10)).await;
        let more =
            format!("budgets: [ {{ name: agents, limit_usd: 0.2, period: total, {overrun} }} ]");
        let proxy = Proxy::start(&two_models(&upstream.base_url(), &more)).await;
        let client = proxy.client();
        let body = |number: usize| {
            let mut body = chat("large", &format!("request {number}"));
            body["max_tokens"] = json!(8_000);
            body
        };
        for number in 0..30 {
            assert_eq!(client.chat(&body(number)).await.status, 200);
        }
        upstream.behave(|request| Script::answer(request, "ok", 20, 10).before(Step::Gate));
        let bodies: Vec<Value> = (100..120).map(body).collect();
        let mut running: FuturesUnordered<_> =
            bodies.iter().map(|body| client.chat(body)).collect();
        let refused = std::cell::Cell::new(0);
        let gate = async {
            // The gate opens once each of the twenty is either refused or with the upstream.
            while upstream.calls() - 30 + refused.get() < 20 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            upstream.open_gate();
        };
        let collect = async {
            let mut answered = 0;
            while let Some(reply) = running.next().await {
                match reply.status {
                    200 => answered += 1,
                    429 => refused.set(refused.get() + 1),
                    other => panic!("status {other}: {}", reply.text()),
                }
                let view = &proxy.gateway.budgets.view()[0];
                assert!(view.spent + view.reserved <= view.limit, "{view:?}");
            }
            answered
        };
        let ((), answered) = tokio::join!(gate, collect);
        proxy.stop().await;
        answered
    };
    assert_eq!(at_once("").await, 2, "strict");
    let learned = at_once("overrun: { at_most_usd: 0.5, probability: 0.1 }").await;
    assert_eq!(
        learned, 8,
        "the limit and the declared sum hold eight worst cases"
    );
}

/// Answers of very different lengths, many at once: no more of them cost more than was reserved than the
/// file accepts. `TOLLGATE_OVERRUN_REQUESTS=20000` asks more often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_attempts_exceed_their_learned_reserve_no_more_often_than_declared() {
    const PROBABILITY: f64 = 0.05;
    const AT_ONCE: usize = 16;
    let asked = std::env::var("TOLLGATE_OVERRUN_REQUESTS").ok();
    let requests: usize = asked.and_then(|text| text.parse().ok()).unwrap_or(800);
    // From 7 to 4,000 tokens, with a Pareto tail: of a thousand answers one has 1,000 times the shortest.
    let length = |number: usize| {
        let chance = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
        (7_000 / (1 + chance % 1_000)).clamp(7, 4_000)
    };
    let upstream =
        Upstream::start(move |request| Script::answer(request, "ok", 20, length(request.number)))
            .await;
    let more = format!(
        "budgets: [ {{ name: agents, limit_usd: 1000, period: total, overrun: {{ at_most_usd: 100, probability: {PROBABILITY} }} }} ]"
    );
    let proxy = Proxy::start(&two_models(&upstream.base_url(), &more)).await;
    let client = proxy.client();
    let ask = async |number: usize| {
        let mut body = chat("large", &format!("request {number}"));
        body["max_tokens"] = json!(4_000);
        assert_eq!(client.chat(&body).await.status, 200);
    };
    let numbers = futures_util::stream::iter(0..requests);
    numbers.for_each_concurrent(AT_ONCE, ask).await;
    let view = &proxy.gateway.budgets.view()[0];
    let learned = view.learned.expect("a budget with an overrun");
    let share = learned.overruns as f64 / learned.attempts as f64;
    println!(
        "{learned:?}: {:.2} % of {} %",
        100.0 * share,
        100.0 * PROBABILITY
    );
    assert!(2 * learned.attempts > requests as u64, "{learned:?}");
    assert!(learned.overruns > 0, "the bound is not the worst case");
    assert!(share <= PROBABILITY, "{share}: {learned:?}");
    proxy.stop().await;
}
