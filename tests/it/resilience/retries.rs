//! Retries on the same model and its deployments, paid for by a budget; pinned models.

use std::time::Duration;

use futures_util::future::join_all;
use tollgate::types::Outcome;

use crate::harness::proxy::chat;
use crate::harness::{Proxy, Received, Script, Step, Upstream};

use super::*;

#[tokio::test]
async fn a_retry_may_help_and_says_so() {
    let first = Upstream::start(|request| match request.number % 2 {
        0 => Script::error(503, "server_error", "try again"),
        _ => Script::answer(request, "now", 10, 5),
    })
    .await;
    let more = "resilience: { retry: { max_attempts: 2, base_delay_ms: 1, min_per_second: 10 } }";
    let yaml = configuration(&first.base_url(), &nobody(), "", more);
    let proxy = Proxy::start(&yaml).await;
    for body in [chat("auto", "hello"), streamed("auto")] {
        let reply = proxy.client().chat(&body).await;
        assert_served_by(&reply, "first", "2");
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(outcomes(&record), [Outcome::UpstreamError, Outcome::Ok]);
    }
    let retries = proxy.metric("tollgate_retries_total", &[("model", "first")]);
    assert!((retries - 2.0).abs() < 0.1, "{retries}");
    proxy.stop().await;
}

#[tokio::test]
async fn retries_are_a_share_of_requests_however_bad_it_gets() {
    let first = Upstream::start(failing(500)).await;
    let more = "resilience: { retry: { max_attempts: 5, base_delay_ms: 0, min_per_second: 0, budget_ratio: 0.2 }, breaker: { consecutive_failures: 1000, min_requests: 1000 } }";
    let yaml = configuration(&first.base_url(), &nobody(), "", more);
    let proxy = Proxy::start(&yaml).await;
    let client = proxy.client();
    let body = chat("first", "hello");
    let replies = join_all((0..50).map(|_| client.chat(&body))).await;
    assert!(replies.iter().all(|it| it.status == 502));
    let calls = first.calls();
    assert!((51..=60).contains(&calls), "{calls} calls for 50 requests");
    proxy.stop().await;
}

#[tokio::test]
async fn a_pinned_model_is_never_silently_replaced() {
    let first = Upstream::start(failing(500)).await;
    let second = Upstream::plain("from second").await;
    let (a, b) = (first.base_url(), second.base_url());
    let proxy = Proxy::start(&configuration(&a, &b, "", &resilience(""))).await;
    let reply = proxy.client().chat(&chat("first", "hello")).await;
    assert_eq!(reply.status, 502);
    assert_eq!(second.calls(), 0);
    proxy.stop().await;

    let yaml = configuration(&a, &b, ", equivalents: [second]", &resilience(""));
    let proxy = Proxy::start(&yaml).await;
    let reply = proxy.client().chat(&chat("first", "hello")).await;
    assert_served_by(&reply, "second", "2");
    proxy.stop().await;
}

#[tokio::test]
async fn deployments_share_the_load_and_a_dead_one_is_skipped() {
    let slow = |request: &Received| answers("hi")(request).before(Step::Gate);
    let (left, right) = (Upstream::start(slow).await, Upstream::start(slow).await);
    let both = ", deployments: [{ provider: a }, { provider: b }]";
    let yaml = configuration(&left.base_url(), &right.base_url(), both, &resilience(""));
    let proxy = Proxy::start(&yaml).await;
    let client = proxy.client();
    let mut asking = Vec::new();
    for count in 1..=6 {
        let client = client.clone();
        asking.push(tokio::spawn(async move {
            client.chat(&chat("first", "hello")).await
        }));
        while left.calls() + right.calls() < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    assert_eq!(
        (left.calls(), right.calls()),
        (3, 3),
        "by outstanding requests"
    );
    left.open_gate();
    right.open_gate();
    for reply in join_all(asking).await {
        assert_eq!(reply.expect("answered").status, 200);
    }
    proxy.stop().await;

    let alive = Upstream::plain("alive").await;
    let more = "resilience: { retry: { max_attempts: 2, min_per_second: 10 }, breaker: { consecutive_failures: 2, min_requests: 1000 } }";
    let yaml = configuration(&nobody(), &alive.base_url(), both, more);
    let proxy = Proxy::start(&yaml).await;
    let mut dead = 0;
    for _ in 0..20 {
        let reply = proxy.client().chat(&chat("first", "hello")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("x-tollgate-model"), "first");
        let record = proxy.record(&reply.request_id()).await;
        dead += outcomes(&record)
            .iter()
            .filter(|it| **it == Outcome::Connect)
            .count();
    }
    assert_eq!(dead, 2, "then its own breaker keeps it out");
    assert_eq!(alive.calls(), 20);
    proxy.stop().await;
}
