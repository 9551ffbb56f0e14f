//! The first model has a bad day: down, then slow, then limited, then cutting its streams.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate::types::{Outcome, RequestRecord, UsageSource};

use crate::harness::proxy::chat;
use crate::harness::upstream::{chunk, usage};
use crate::harness::{Client, Proxy, Reply, Script, Step, Upstream};

use super::*;

/// A proxy before two upstreams whose first has a bad day.
struct Day {
    first: Upstream,
    second: Upstream,
    proxy: Proxy,
    client: Client,
    records: Vec<RequestRecord>,
}

impl Day {
    async fn begin() -> Self {
        let first = Upstream::start(answers("from first")).await;
        let second = Upstream::start(answers("from second")).await;
        let more = "resilience: { retry: { max_attempts: 1 }, timeouts: { first_event_ms: 150, response_ms: 150 }, breaker: { consecutive_failures: 3, min_requests: 1000, open_seconds: 1, open_max_seconds: 1, jitter: 0 } }";
        let yaml = configuration(&first.base_url(), &second.base_url(), "", more);
        let proxy = Proxy::start(&yaml).await;
        let client = proxy.client();
        Self {
            first,
            second,
            proxy,
            client,
            records: Vec::new(),
        }
    }

    /// Asks and keeps the record.
    async fn ask(&mut self, body: &Value) -> Reply {
        let reply = self.client.chat(body).await;
        self.records
            .push(self.proxy.record(&reply.request_id()).await);
        reply
    }

    /// Three failures open the breaker; every request is answered by the second model nevertheless,
    /// and the next ones do not ask the first.
    async fn opens_and_falls_back(&mut self, outcome: Outcome, bodies: &[Value]) {
        let before = self.first.calls();
        for number in 0..3 {
            let reply = self.ask(&bodies[number % bodies.len()]).await;
            assert_served_by(&reply, "second", "2");
            let last = self.records.last().expect("a record");
            assert_eq!(outcomes(last), [outcome, Outcome::Ok]);
        }
        for number in 0..4 {
            let reply = self.ask(&bodies[number % bodies.len()]).await;
            assert_eq!(reply.header("x-tollgate-model"), "second");
            assert_eq!(reply.header("x-tollgate-attempts"), "1");
        }
        assert_eq!(
            self.first.calls(),
            before + 3,
            "an open breaker lets nobody pass"
        );
        assert!(breaker_is(&self.proxy, 2.0).await, "the metric says open");
    }

    /// The first is well again: one probe among ten requests at once, then it is closed.
    async fn probes_once_and_closes(&mut self) {
        let before = self.first.calls();
        let pause = Step::Sleep(Duration::from_millis(60));
        self.first
            .behave(move |request| answers("from first")(request).before(pause.clone()));
        tokio::time::sleep(Duration::from_millis(1020)).await;
        let body = chat("auto", "hello");
        let replies = join_all((0..10).map(|_| self.client.chat(&body))).await;
        for reply in &replies {
            assert_eq!(reply.status, 200, "{}", reply.text());
            self.records
                .push(self.proxy.record(&reply.request_id()).await);
        }
        assert_eq!(self.first.calls(), before + 1, "half-open admits one");
        assert!(breaker_is(&self.proxy, 0.0).await, "the probe closed it");
        self.first.behave(answers("from first"));
        let reply = self.ask(&body).await;
        assert_served_by(&reply, "first", "1");
    }

    /// The attempts in the ledger are exactly those that the upstreams saw.
    fn add_up(&self) {
        let of = |model: &str| {
            let attempts = self.records.iter().flat_map(|it| &it.attempts);
            attempts.filter(|it| it.model.as_str() == model).count()
        };
        assert_eq!(of("first"), self.first.calls());
        assert_eq!(of("second"), self.second.calls());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn down_then_slow_then_limited_then_cutting() {
    let mut day = Day::begin().await;
    let bodies = [chat("auto", "hello"), streamed("auto")];
    assert_served_by(&day.ask(&bodies[0]).await, "first", "1");

    day.first.behave(failing(500));
    day.opens_and_falls_back(Outcome::UpstreamError, &bodies)
        .await;
    day.probes_once_and_closes().await;

    day.first
        .behave(|_| Script::json(200, &json!({})).before(Step::Stall));
    day.opens_and_falls_back(Outcome::Timeout, &bodies).await;
    day.probes_once_and_closes().await;

    // Limited: no failure in a row, but nobody asks again before its time.
    day.first.behave(|_| {
        Script::error(429, "rate_limit_exceeded", "slow down").header("retry-after", "1")
    });
    let reply = day.ask(&bodies[0]).await;
    assert_served_by(&reply, "second", "2");
    assert_eq!(
        outcomes(day.records.last().expect("one"))[0],
        Outcome::RateLimited
    );
    let before = day.first.calls();
    for body in &bodies {
        assert_eq!(day.ask(body).await.header("x-tollgate-model"), "second");
    }
    assert_eq!(day.first.calls(), before, "retry-after is obeyed");
    day.first.behave(answers("from first"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_served_by(&day.ask(&bodies[1]).await, "first", "1");

    // Cutting in mid-stream: past the first byte nobody falls back, but the breaker learns.
    day.first.behave(|request| {
        let first = chunk(&request.model(), &json!({"content": "par"}), None);
        Script::steps(vec![
            Step::Chunk(format!("data: {first}\n\n").into_bytes()),
            Step::Cut,
        ])
    });
    for _ in 0..3 {
        let reply = day.ask(&bodies[1]).await;
        assert_eq!(reply.header("x-tollgate-model"), "first");
        assert!(reply.text().contains("upstream_error"), "{}", reply.text());
        let record = day.records.last().expect("one");
        assert_eq!(outcomes(record), [Outcome::StreamBroken]);
        assert_eq!(record.attempts[0].usage, UsageSource::Estimated);
    }
    let reply = day.ask(&bodies[1]).await;
    assert_eq!(reply.header("x-tollgate-model"), "second");
    assert!(breaker_is(&day.proxy, 2.0).await);
    day.probes_once_and_closes().await;
    day.add_up();
    day.proxy.stop().await;
}

#[tokio::test]
async fn a_refused_connection_costs_nothing_and_falls_back() {
    let second = Upstream::plain("from second").await;
    let yaml = configuration(&nobody(), &second.base_url(), "", &resilience(""));
    let proxy = Proxy::start(&yaml).await;
    for body in [chat("auto", "hello"), streamed("auto")] {
        let reply = proxy.client().chat(&body).await;
        assert_served_by(&reply, "second", "2");
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(outcomes(&record), [Outcome::Connect, Outcome::Ok]);
        assert_eq!(record.attempts[0].cost.pico(), 0);
        assert_eq!(record.attempts[0].usage, UsageSource::None);
    }
    let fallbacks = proxy.metric(
        "tollgate_fallbacks_total",
        &[("from", "first"), ("to", "second"), ("reason", "connect")],
    );
    assert!((fallbacks - 2.0).abs() < 0.1, "{fallbacks}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_probe_that_fails_opens_again() {
    let first = Upstream::start(failing(503)).await;
    let second = Upstream::plain("from second").await;
    let more = "resilience: { retry: { max_attempts: 1 }, breaker: { consecutive_failures: 1, min_requests: 1000, open_seconds: 1, open_max_seconds: 1, jitter: 0 } }";
    let yaml = configuration(&first.base_url(), &second.base_url(), "", more);
    let proxy = Proxy::start(&yaml).await;
    let client = proxy.client();
    let body = chat("auto", "hello");
    client.chat(&body).await;
    tokio::time::sleep(Duration::from_millis(1020)).await;
    assert_served_by(&client.chat(&body).await, "second", "2");
    client.chat(&body).await;
    assert_eq!(first.calls(), 2, "one failure, one probe");
    proxy.stop().await;
}
