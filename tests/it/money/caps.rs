//! Budgets hold: under a rush, when they are spent, and over a restart.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tollgate::types::PicoUsd;

use crate::harness::proxy::{chat, two_models};
use crate::harness::{Proxy, Script, Step, Upstream};

/// 20 input and 10 output tokens of `large`, pico-USD.
const ONE_ANSWER: i128 = 20 * 2_500_000 + 10 * 10_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_for_a_hundred_pays_for_a_hundred_of_five_hundred() {
    let upstream =
        Upstream::start(|request| Script::answer(request, "ok", 20, 10).before(Step::Gate)).await;
    // 20 input and at most 10 output tokens of `large`: 50 + 100 = 150 µUSD; the worst case counts the
    // request's bytes as input tokens, so it is larger than the bill.
    let limit = PicoUsd::parse_usd("0.05").expect("an amount");
    let more = "budgets: [ { name: tight, limit_usd: 0.05, period: month, timezone: UTC } ]";
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    let client = proxy.client();
    let mut body = chat("large", "hello");
    body["max_tokens"] = json!(10);

    let mut running: FuturesUnordered<_> = (0..500).map(|_| client.chat(&body)).collect();
    let gate = {
        let upstream = upstream.clone();
        async move {
            upstream.wait_for_calls(50).await;
            upstream.open_gate();
        }
    };
    let (mut paid, mut refused) = (0usize, 0usize);
    let collect = async {
        while let Some(reply) = running.next().await {
            match reply.status {
                200 => paid += 1,
                429 => {
                    let error = reply.json()["error"].clone();
                    assert_eq!(
                        (error["code"].as_str(), error["type"].as_str()),
                        (Some("budget_exceeded"), Some("insufficient_quota"))
                    );
                    refused += 1;
                }
                other => panic!("status {other}: {}", reply.text()),
            }
            let view = &proxy.gateway.budgets.view()[0];
            assert!(view.spent + view.reserved <= limit, "{view:?}");
        }
    };
    tokio::join!(gate, collect);
    assert_eq!(paid + refused, 500);
    assert_eq!(
        upstream.calls(),
        paid,
        "none of the refused reached the upstream"
    );

    // Whoever comes again finds what the others gave back: at least 95 % of the budget can be used.
    for _ in 0..500 {
        let reply = client.chat(&body).await;
        if reply.status == 429 {
            break;
        }
        paid += 1;
    }
    let view = &proxy.gateway.budgets.view()[0];
    assert_eq!(view.reserved, PicoUsd::ZERO);
    assert!(view.spent <= limit, "{view:?}");
    assert!(
        view.spent.pico() * 100 >= limit.pico() * 95,
        "only {} of {limit} USD could be used",
        view.spent
    );
    let billed = ONE_ANSWER * i128::try_from(upstream.calls()).expect("a count");
    assert_eq!(view.spent.pico(), billed);
    assert_eq!(upstream.calls(), paid);
    proxy.stop().await;
}

#[tokio::test]
async fn an_exhausted_budget_downgrades_routed_requests_and_refuses_pinned_ones() {
    let upstream = Upstream::plain("ok").await;
    let more = "budgets: [ { name: tiny, match: { model: large }, limit_usd: 0.0000001, period: month, timezone: UTC, on_exhausted: downgrade } ]";
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    let client = proxy.client();
    let pinned = client.chat(&chat("large", "hello")).await;
    assert_eq!(
        (pinned.status, pinned.header("x-should-retry")),
        (429, "false")
    );
    let routed = client
        .with("x-tollgate-level", "critical")
        .chat(&chat("auto", "hello"))
        .await;
    assert_eq!(
        (routed.status, routed.header("x-tollgate-model")),
        (200, "small")
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_the_ledger_is() {
    let upstream = Upstream::plain("ok").await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!(
        "store: \"sqlite:{}\"",
        folder.path().join("ledger.db").display()
    );
    let more = "budgets: [ { name: month, match: { team: default }, limit_usd: 10, period: month, timezone: UTC } ]";
    let yaml = two_models(&upstream.base_url(), more).replace("store: memory", &store);
    let before = Proxy::start(&yaml).await;
    let reply = before.client().chat(&chat("large", "hello")).await;
    assert_eq!(reply.status, 200);
    let spent = before.gateway.budgets.view()[0].spent;
    assert!(spent.is_positive());
    before.stop().await;

    let after = Proxy::start(&yaml).await;
    assert_eq!(after.gateway.budgets.view()[0].spent, spent);
    let record = after.record(&reply.request_id()).await;
    assert_eq!(record.cost, spent);
    after.client().chat(&chat("large", "hello")).await;
    assert_eq!(after.gateway.budgets.view()[0].spent, spent + spent);
    after.stop().await;
}
