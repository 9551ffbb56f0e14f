//! The first model is down, then slow, then rate-limited, then cuts its streams: whoever could be
//! answered is, the breaker opens, probes once and closes, and the ledger has the attempts that the
//! upstream saw.

use std::time::Duration;

use serde_json::json;
use tollgate::types::Outcome;

use crate::harness::proxy::{chat, two_models};
use crate::harness::upstream::chunk;
use crate::harness::{Client, Proxy, Received, Reply, Script, Step, Upstream};

/// Three failures in a row open a breaker for a second; nothing is retried on the same model.
const RESILIENCE: &str = "
resilience:
  breaker: { consecutive_failures: 3, failure_rate: 1.0, min_requests: 1000, open_seconds: 1, open_max_seconds: 1, jitter: 0 }
  retry: { max_attempts: 1 }
  timeouts: { connect_ms: 500, first_event_ms: 200, response_ms: 200, idle_ms: 500, total_ms: 10000 }
";

async fn start(
    small: impl Fn(&Received) -> Script + Send + Sync + 'static,
) -> (Upstream, Proxy, Client) {
    let upstream = Upstream::start(|_| Script::error(500, "unset", "unset")).await;
    first_model(&upstream, small);
    let proxy = Proxy::start(&two_models(&upstream.base_url(), RESILIENCE)).await;
    let client = proxy.client().with("x-tollgate-level", "simple");
    (upstream, proxy, client)
}

/// `small` does what it is told; `large` always answers.
fn first_model(upstream: &Upstream, small: impl Fn(&Received) -> Script + Send + Sync + 'static) {
    upstream.behave(move |request| match request.model().as_str() {
        "small" => small(request),
        _ => Script::answer(request, "from large", 10, 5),
    });
}

fn calls_of(upstream: &Upstream, model: &str) -> usize {
    upstream
        .received()
        .iter()
        .filter(|request| request.model() == model)
        .count()
}

async fn ask(client: &Client) -> Reply {
    client.chat(&chat("auto", "hello")).await
}

/// Answered by `model` after this many attempts; the ledger says the same.
async fn answered_by(proxy: &Proxy, reply: &Reply, model: &str, outcomes: &[Outcome]) {
    assert_eq!(
        (reply.status, reply.header("x-tollgate-model")),
        (200, model),
        "{}",
        reply.text()
    );
    assert_eq!(
        reply.header("x-tollgate-attempts"),
        outcomes.len().to_string()
    );
    let record = proxy.record(&reply.request_id()).await;
    let seen: Vec<Outcome> = record
        .attempts
        .iter()
        .map(|attempt| attempt.outcome)
        .collect();
    assert_eq!(seen, outcomes);
    let reason = if model == "large" {
        "fallback"
    } else {
        "matrix"
    };
    if outcomes.len() > 1 {
        assert_eq!(reply.header("x-tollgate-reason"), reason);
    }
}

#[tokio::test]
async fn a_model_that_is_down_is_left_alone_probed_once_and_taken_back() {
    let (upstream, proxy, client) = start(|_| Script::error(500, "server_error", "down")).await;
    for _ in 0..3 {
        answered_by(
            &proxy,
            &ask(&client).await,
            "large",
            &[Outcome::UpstreamError, Outcome::Ok],
        )
        .await;
    }
    // Open: nobody asks it any more.
    for _ in 0..5 {
        answered_by(&proxy, &ask(&client).await, "large", &[Outcome::Ok]).await;
    }
    assert_eq!(calls_of(&upstream, "small"), 3);
    assert!((proxy.metric("tollgate_fallbacks_total", &[("from", "small")]) - 3.0).abs() < 0.5);

    // After its time one probe goes through, and only one: the others find it half-open.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    first_model(&upstream, |request| {
        Script::answer(request, "back", 10, 5).before(Step::Gate)
    });
    let probe = {
        let client = client.clone();
        tokio::spawn(async move { ask(&client).await })
    };
    upstream.wait_for_calls(3 + 8 + 1).await;
    for _ in 0..3 {
        answered_by(&proxy, &ask(&client).await, "large", &[Outcome::Ok]).await;
    }
    assert_eq!(calls_of(&upstream, "small"), 4, "one probe");
    upstream.open_gate();
    answered_by(
        &proxy,
        &probe.await.expect("the probe ends"),
        "small",
        &[Outcome::Ok],
    )
    .await;
    answered_by(&proxy, &ask(&client).await, "small", &[Outcome::Ok]).await;
    let calls = f64::from(u32::try_from(upstream.calls()).expect("a small count"));
    let counted = proxy.metric("tollgate_upstream_attempts_total", &[]);
    assert!((counted - calls).abs() < 0.5, "{counted} against {calls}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_model_that_is_slow_is_given_up_in_time() {
    let (_upstream, proxy, client) = start(|request| {
        Script::answer(request, "late", 10, 5).before(Step::Sleep(Duration::from_secs(5)))
    })
    .await;
    let reply = ask(&client).await;
    answered_by(&proxy, &reply, "large", &[Outcome::Timeout, Outcome::Ok]).await;
    let mut streamed = chat("auto", "hello");
    streamed["stream"] = json!(true);
    let reply = client.chat(&streamed).await;
    assert_eq!(
        (reply.status, reply.header("x-tollgate-model")),
        (200, "large")
    );
    assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"));
    proxy.stop().await;
}

#[tokio::test]
async fn a_model_at_its_providers_limit_is_not_asked_again_before_its_time() {
    let limited = |_: &Received| {
        Script::error(429, "rate_limit_exceeded", "slow down").header("retry-after", "30")
    };
    let (upstream, proxy, client) = start(limited).await;
    answered_by(
        &proxy,
        &ask(&client).await,
        "large",
        &[Outcome::RateLimited, Outcome::Ok],
    )
    .await;
    for _ in 0..3 {
        answered_by(&proxy, &ask(&client).await, "large", &[Outcome::Ok]).await;
    }
    assert_eq!(calls_of(&upstream, "small"), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn a_model_that_cuts_its_streams_ends_them_with_an_error_and_trips() {
    let cut = |request: &Received| {
        let first = chunk(&request.model(), &json!({"content": "half an ans"}), None);
        Script::steps(vec![
            Step::Chunk(format!("data: {first}\n\n").into_bytes()),
            Step::Cut,
        ])
    };
    let (upstream, proxy, client) = start(cut).await;
    let mut streamed = chat("auto", "hello");
    streamed["stream"] = json!(true);
    for _ in 0..3 {
        let reply = client.chat(&streamed).await;
        let events = reply.events();
        assert_eq!(reply.status, 200);
        let last: serde_json::Value =
            serde_json::from_str(events.last().expect("an event")).expect("JSON");
        assert_eq!(last["error"]["code"], "upstream_error", "{events:?}");
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(record.outcome, Outcome::StreamBroken);
        assert_eq!(
            record.attempts.len(),
            1,
            "nothing is retried behind what the client has seen"
        );
    }
    let reply = client.chat(&streamed).await;
    assert_eq!(
        (
            reply.header("x-tollgate-model"),
            calls_of(&upstream, "small")
        ),
        ("large", 3)
    );
    assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"));
    proxy.stop().await;
}

#[tokio::test]
async fn when_everything_fails_the_error_is_honest_and_not_retried() {
    let upstream = Upstream::start(|_| Script::error(500, "server_error", "down")).await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), RESILIENCE)).await;
    let reply = proxy.client().chat(&chat("auto", "hello")).await;
    assert_eq!(
        (
            reply.status,
            reply.header("x-should-retry"),
            reply.header("x-tollgate-attempts")
        ),
        (502, "false", "2")
    );
    assert_eq!(reply.json()["error"]["code"], "upstream_error");
    assert_eq!(upstream.calls(), 2);
    proxy.stop().await;
}

#[tokio::test]
async fn nonsense_from_an_upstream_is_an_attempt_and_the_next_one_answers() {
    for nonsense in ["<html>502</html>", "{\"choices\": [", ""] {
        let body = nonsense.as_bytes().to_vec();
        let (_upstream, proxy, client) = start(move |_| Script {
            status: 200,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            before: Vec::new(),
            steps: Vec::new(),
            whole: Some(body.clone()),
        })
        .await;
        answered_by(
            &proxy,
            &ask(&client).await,
            "large",
            &[Outcome::UpstreamError, Outcome::Ok],
        )
        .await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_stale_answer_stands_in_when_everything_is_down() {
    let upstream = Upstream::plain("remember me").await;
    let yaml =
        two_models(&upstream.base_url(), RESILIENCE).replace("ttl_seconds: 0", "ttl_seconds: 1");
    let proxy = Proxy::start(&yaml).await;
    let client = proxy.client();
    let first = ask(&client).await;
    assert_eq!(first.header("x-tollgate-cache"), "miss");
    let again = ask(&client).await;
    assert_eq!(
        (
            again.header("x-tollgate-cache"),
            again.header("x-tollgate-cost-usd")
        ),
        ("hit-exact", "0")
    );
    upstream.behave(|_| Script::error(500, "server_error", "down"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let stale = ask(&client).await;
    assert_eq!(
        (stale.status, stale.header("x-tollgate-cache")),
        (200, "hit-stale"),
        "{}",
        stale.text()
    );
    proxy.stop().await;
}
