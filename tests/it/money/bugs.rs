//! Bugs that other gateways had with money, each shown not to be ours. `docs/money.md` lists them with
//! their tests, here and elsewhere.

use serde_json::json;
use tollgate::types::{Outcome, PicoUsd, UsageSource};

use super::*;
use crate::harness::proxy::{chat, two_models};
use crate::harness::upstream::usage;
use crate::harness::{Proxy, Upstream};

#[tokio::test]
async fn whole_and_streamed_cost_the_same_with_every_detail() {
    let reported = usage_of(1000, 800, 50, 70, 40);
    let upstream =
        Upstream::start(move |request| answer_as(request, &request.model(), None, &reported)).await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let client = proxy.client();
    let mut costs = Vec::new();
    for stream in [false, true] {
        let mut body = chat("small", "hi");
        body["stream"] = json!(stream);
        let reply = client.chat(&body).await;
        let record = proxy.record(&reply.request_id()).await;
        let tokens = record.tokens();
        assert_eq!(
            tokens.by_kind().map(|(_, count)| count),
            [150, 800, 50, 30, 40]
        );
        costs.push(cost_of(&record));
    }
    // Cached input at its own price, written input once, reasoning inside the completion.
    let cost = 150 * 150_000 + 800 * 75_000 + 50 * 150_000 + 70 * 600_000;
    assert_eq!(costs, [cost, cost]);
    proxy.stop().await;
}

#[tokio::test]
async fn an_explicit_zero_is_a_report_and_not_a_gap() {
    for stream in [false, true] {
        let upstream =
            Upstream::start(|request| Script::answer(request, "one two three", 0, 0)).await;
        let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
        let mut body = chat("small", "hi");
        body["stream"] = json!(stream);
        let reply = proxy.client().chat(&body).await;
        let record = proxy.record(&reply.request_id()).await;
        let attempt = &record.attempts[0];
        assert_eq!(
            (attempt.usage, attempt.cost.pico()),
            (UsageSource::Reported, 0),
            "stream {stream}"
        );
        proxy.stop().await;
    }
}

#[tokio::test]
async fn cumulative_reports_are_not_added_up() {
    let report = |output| {
        let usage = usage(100, output);
        event(&json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "small", "choices": [], "usage": usage}).to_string())
    };
    let steps = vec![
        word("a "),
        report(1),
        word("b "),
        report(2),
        word("c"),
        report(3),
        event(&chunk("small", &json!({}), Some("stop"))),
        report(3),
        event("[DONE]"),
    ];
    let upstream = Upstream::start(move |_| Script::steps(steps.clone())).await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let mut body = chat("small", "hi");
    body["stream"] = json!(true);
    let reply = proxy.client().chat(&body).await;
    let record = proxy.record(&reply.request_id()).await;
    assert_eq!(cost_of(&record), 100 * 150_000 + 3 * 600_000);
    proxy.stop().await;
}

#[tokio::test]
async fn each_attempt_is_priced_at_its_own_model_and_failed_ones_keep_their_usage() {
    // The first model fails and says what it used; the second answers.
    let upstream = Upstream::start(|request| {
        if request.model() == "small" {
            let mut error = json!({"error": {"message": "x", "type": "server_error", "param": null, "code": null}});
            error["usage"] = usage(100, 50);
            return Script::json(500, &error);
        }
        Script::answer(request, "ok", 100, 50)
    })
    .await;
    let more = "resilience: { retry: { max_attempts: 1 } }";
    let yaml = two_models(&upstream.base_url(), more)
        .replace("quality: 0.6 }", "quality: 0.6, equivalents: [large] }");
    let proxy = Proxy::start(&yaml).await;
    let reply = proxy.client().chat(&chat("small", "hi")).await;
    assert_eq!(reply.header("x-tollgate-model"), "large");
    let record = proxy.record(&reply.request_id()).await;
    let costs: Vec<i128> = record
        .attempts
        .iter()
        .map(|attempt| attempt.cost.pico())
        .collect();
    assert_eq!(
        costs,
        [
            100 * 150_000 + 50 * 600_000,
            100 * 2_500_000 + 50 * 10_000_000
        ]
    );
    assert_eq!(reply.header("x-tollgate-cost-usd"), record.cost.to_string());
    proxy.stop().await;
}

#[tokio::test]
async fn a_spent_budget_leaves_models_that_cost_nothing_usable() {
    let upstream = Upstream::plain("ok").await;
    let more = "budgets: [ { name: spent, limit_usd: 0, period: total } ]";
    let yaml = two_models(&upstream.base_url(), more).replace(
        "price: { input: 0.15, cached_input: 0.075, output: 0.60 }",
        "price: 0",
    );
    let proxy = Proxy::start(&yaml).await;
    let client = proxy.client();
    assert_eq!(client.chat(&chat("small", "hi")).await.status, 200);
    assert_eq!(client.chat(&chat("large", "hi")).await.status, 429);
    proxy.stop().await;
}

#[tokio::test]
async fn every_way_to_end_gives_back_what_was_reserved() {
    let upstream = Upstream::start(|request| match request.last_text().as_str() {
        "refused" => Script::error(400, "invalid_request_error", "no"),
        "limited" => Script::error(429, "rate_limit_exceeded", "slow down"),
        "broken" => Script::error(500, "server_error", "down"),
        "nonsense" => Script::json(200, &json!({"hello": "world"})),
        "cut" => Script::steps(vec![word("a "), Step::Cut]),
        "reset" => Script::steps(vec![Step::Reset]),
        "silent" => Script::answer(request, "ok", 1, 1).before(Step::Stall),
        _ => Script::answer(request, "ok", 10, 5),
    })
    .await;
    let more = "
budgets: [ { name: all, limit_usd: 1000, period: total } ]
resilience: { timeouts: { response_ms: 100, first_event_ms: 100 }, retry: { base_delay_ms: 1 }, breaker: { consecutive_failures: 1000, failure_rate: 1.0, min_requests: 1000 } }
";
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    let client = proxy.client();
    let mut billed = PicoUsd::ZERO;
    for text in [
        "refused", "limited", "broken", "nonsense", "cut", "reset", "silent", "fine",
    ] {
        for stream in [false, true] {
            let mut body = chat("small", text);
            body["stream"] = json!(stream);
            let reply = client.chat(&body).await;
            let record = proxy.record(&reply.request_id()).await;
            billed += record.cost;
            let budget = &proxy.gateway.budgets.view()[0];
            assert_eq!(
                (budget.spent, budget.reserved),
                (billed, PicoUsd::ZERO),
                "{text} {stream}"
            );
            if matches!(text, "refused" | "limited" | "broken") {
                assert_eq!(record.cost, PicoUsd::ZERO, "{text} {stream}");
            }
            if text == "fine" {
                assert_eq!(record.outcome, Outcome::Ok);
            }
        }
    }
    proxy.stop().await;
}

#[tokio::test]
async fn first_requests_of_an_unknown_end_user_share_one_budget() {
    let upstream =
        Upstream::start(|request| Script::answer(request, "ok", 10, 10).before(Step::Gate)).await;
    // 100 output tokens of `small` at most are 60 µUSD, so that a limit of 300 admits four at a time.
    let more = "budgets: [ { name: each, match: { team: default, end_user: \"*\" }, limit_usd: 0.0003, period: total } ]";
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    let client = proxy.client();
    let body_of = |user: &str| {
        let mut body = chat("small", "hi");
        body["max_tokens"] = json!(100);
        body["user"] = json!(user);
        body
    };
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (client, body) = (client.clone(), body_of("stranger"));
        asking.spawn(async move { client.chat(&body).await.status });
    }
    // Those who cannot pay are refused while the others wait at the gate.
    let mut refused = 0;
    while refused < 36 {
        let status = asking
            .join_next()
            .await
            .expect("some are left")
            .expect("an answer");
        assert_eq!(status, 429);
        refused += 1;
    }
    let arrived = std::time::Duration::from_secs(10);
    let some = tokio::time::timeout(arrived, upstream.wait_for_calls(1)).await;
    assert!(
        some.is_ok() && upstream.calls() <= 4,
        "{}",
        upstream.calls()
    );
    upstream.open_gate();
    assert_eq!(client.chat(&body_of("another")).await.status, 200);
    proxy.stop().await;
}

#[test]
fn every_bug_of_others_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/money.md")).expect("the page");
    let table = page.split("## Bugs of others").nth(1).expect("the table");
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
        .collect();
    assert!(rows.len() >= 30, "{}", rows.len());
    for row in rows {
        let named: Vec<&str> = row.split('`').filter(|it| it.contains(".rs::")).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for test in named {
            let (file, name) = test.split_once("::").expect("file::test");
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            assert!(
                text.contains(&format!("fn {name}(")),
                "{test} does not exist"
            );
        }
    }
    // Every number of the reference that the table was made from.
    let numbers = table.matches('#').count();
    assert!(numbers >= 45, "{numbers} bugs");
}
