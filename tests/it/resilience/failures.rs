//! What each kind of failure leads to: nonsense, time-outs, refusals by kind of error.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate::types::{Outcome, UsageSource};

use crate::harness::proxy::chat;
use crate::harness::upstream::{completion, usage};
use crate::harness::{Proxy, Received, Script, Step, Upstream};

use super::*;

#[tokio::test]
async fn an_upstream_that_talks_nonsense_is_passed_over() {
    let whole = |text: &[u8], kind: &str| Script {
        whole: Some(text.to_vec()),
        headers: vec![("content-type".to_owned(), kind.to_owned())],
        ..Script::json(200, &Value::Null)
    };
    let answer = completion("first", "hi", &usage(1, 1)).to_string();
    let json = "application/json";
    let deep = "[".repeat(100_000);
    let nonsense = vec![
        whole(b"<html><body>502 Bad Gateway</body></html>", "text/html"),
        whole(&answer.as_bytes()[..answer.len() / 2], json),
        whole(b"", json),
        whole(b"null", json),
        whole(b"[]", json),
        whole(b"{}", json),
        whole(b"{\"choices\":\"none\"}", json),
        whole(b"\xff\xfe\x00", json),
        whole(deep.as_bytes(), json),
        whole(answer.as_bytes(), json).header("content-encoding", "gzip"),
        whole(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", json),
        Script {
            status: 302,
            ..whole(b"", json)
        }
        .header("location", "http://169.254.169.254/"),
        Script {
            status: 204,
            ..whole(b"", json)
        },
        Script {
            status: 418,
            ..whole(b"", "text/plain")
        },
        Script::json(
            200,
            &json!({"error": {"message": "no", "type": "server_error"}}),
        ),
        Script::json(404, &json!({"error": {"message": "no such model"}})),
        Script::json(401, &json!({"error": {"message": "bad key"}})),
        Script::steps(vec![Step::Raw(b"zz\r\n".to_vec()), Step::Cut]),
        whole(b"", json).before(Step::Cut),
        whole(b"", json).before(Step::Reset),
        whole(b"", json).before(Step::Raw(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec())),
    ];
    let count = nonsense.len();
    let first = Upstream::start(move |request| nonsense[request.number].clone()).await;
    let second = Upstream::plain("from second").await;
    let more = resilience("");
    let yaml = configuration(&first.base_url(), &second.base_url(), "", &more);
    let proxy = Proxy::start(&yaml).await;
    for number in 0..count {
        let reply = proxy.client().chat(&chat("auto", "hello")).await;
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(reply.status, 200, "{number}: {}", reply.text());
        assert_eq!(reply.header("x-tollgate-model"), "second", "{number}");
        assert_eq!(record.attempts.len(), 2, "{number}: {record:?}");
        let of_first = record.attempts[0].outcome;
        let fits = matches!(of_first, Outcome::UpstreamError | Outcome::UpstreamAuth);
        assert!(fits, "{number}: {of_first:?}");
        assert_eq!(first.calls(), number + 1);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn when_everybody_fails_the_error_is_honest_and_final() {
    let first = Upstream::start(failing(500)).await;
    let yaml = configuration(&first.base_url(), &nobody(), "", &resilience(""));
    let proxy = Proxy::start(&yaml).await;
    for body in [chat("auto", "hello"), streamed("auto")] {
        let reply = proxy.client().chat(&body).await;
        assert_eq!(reply.status, 502);
        assert_eq!(reply.json()["error"]["code"], "upstream_error");
        assert_eq!(reply.header("x-should-retry"), "false");
        assert_eq!(reply.header("x-tollgate-attempts"), "2");
        assert!(!reply.text().contains("SECRET"), "{}", reply.text());
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(
            outcomes(&record),
            [Outcome::UpstreamError, Outcome::Connect]
        );
        assert_eq!(record.status, 502);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn with_every_breaker_open_it_says_when_to_come_back() {
    let more = "resilience: { retry: { max_attempts: 1 }, breaker: { consecutive_failures: 1, open_seconds: 7, jitter: 0 } }";
    let yaml = configuration(&nobody(), &nobody(), "", more);
    let proxy = Proxy::start(&yaml).await;
    assert_eq!(
        proxy.client().chat(&chat("auto", "hello")).await.status,
        502
    );
    let reply = proxy.client().chat(&chat("auto", "hello")).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["error"]["code"], "no_candidate_available");
    let after: u64 = reply.header("retry-after").parse().expect("seconds");
    assert!((1..=7).contains(&after), "{after}");
    assert!(proxy.record(&reply.request_id()).await.attempts.is_empty());
    proxy.stop().await;
}

#[tokio::test]
async fn when_everybody_is_slow_it_is_a_timeout() {
    let slow = |_: &Received| Script::json(200, &json!({})).before(Step::Stall);
    let (first, second) = (Upstream::start(slow).await, Upstream::start(slow).await);
    let more = resilience(", timeouts: { first_event_ms: 60, response_ms: 60 }");
    let yaml = configuration(&first.base_url(), &second.base_url(), "", &more);
    let proxy = Proxy::start(&yaml).await;
    for body in [chat("auto", "hello"), streamed("auto")] {
        let reply = proxy.client().chat(&body).await;
        assert_eq!(reply.status, 504);
        assert_eq!(reply.json()["error"]["code"], "upstream_timeout");
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(outcomes(&record), [Outcome::Timeout, Outcome::Timeout]);
        // They may have worked, and bill for it.
        assert!(
            record
                .attempts
                .iter()
                .all(|it| it.usage == UsageSource::Estimated)
        );
    }
    tokio::time::timeout(Duration::from_secs(5), first.wait_for_abandoned(2))
        .await
        .expect("a time-out cancels the upstream");
    proxy.stop().await;
}

#[tokio::test]
async fn the_total_timeout_bounds_all_attempts() {
    let slow = |_: &Received| Script::json(200, &json!({})).before(Step::Stall);
    let (first, second) = (Upstream::start(slow).await, Upstream::start(slow).await);
    let more = resilience(", timeouts: { response_ms: 10000, total_ms: 200 }");
    let yaml = configuration(&first.base_url(), &second.base_url(), "", &more);
    let proxy = Proxy::start(&yaml).await;
    let reply = proxy.client().chat(&chat("auto", "hello")).await;
    assert_eq!(reply.status, 504, "{}", reply.text());
    assert_eq!((first.calls(), second.calls()), (1, 0));
    proxy.stop().await;
}

#[tokio::test]
async fn a_prompt_too_long_goes_to_a_larger_context_only() {
    let first = Upstream::start(|request| match request.model().as_str() {
        "big" => Script::answer(request, "it fits", 10, 5),
        _ => Script::error(
            400,
            "context_length_exceeded",
            "maximum context length is 8000",
        ),
    })
    .await;
    let url = first.base_url();
    let yaml = configuration(&url, &url, "", &resilience(""))
        .replace(
            "matrix:",
            "  big: { provider: a, price: { input: 1, output: 2 }, context_tokens: 100000, max_output_tokens: 4000, tier: standard }\nmatrix:",
        )
        .replace("[first, second]", "[first, second, big]");
    let proxy = Proxy::start(&yaml).await;
    let reply = proxy.client().chat(&chat("auto", "hello")).await;
    assert_served_by(&reply, "big", "2");
    let record = proxy.record(&reply.request_id()).await;
    assert_eq!(outcomes(&record), [Outcome::ContextLength, Outcome::Ok]);
    assert_eq!(record.attempts[1].model.as_str(), "big");
    // With nobody larger, the client gets the provider's own words.
    let reply = proxy.client().chat(&chat("first", "hello")).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["code"], "context_length_exceeded");
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_the_requests_own_fault_is_handed_on_once() {
    let refusals = [
        (400, "content_filter", Outcome::ContentPolicy),
        (400, "invalid_value", Outcome::Invalid),
        (422, "unprocessable", Outcome::Invalid),
    ];
    for (status, code, outcome) in refusals {
        let first = Upstream::start(move |_| Script::error(status, code, "say it otherwise")).await;
        let second = Upstream::plain("from second").await;
        let more = resilience(", fallback: { on_error: { content_policy: stop } }");
        let yaml = configuration(&first.base_url(), &second.base_url(), "", &more);
        let proxy = Proxy::start(&yaml).await;
        for body in [chat("auto", "hello"), streamed("auto")] {
            let reply = proxy.client().chat(&body).await;
            assert_eq!(reply.status, status);
            assert_eq!(reply.json()["error"]["code"], code);
            assert_eq!(reply.json()["error"]["message"], "say it otherwise");
            assert_eq!(reply.header("x-should-retry"), "false");
            let record = proxy.record(&reply.request_id()).await;
            assert_eq!(outcomes(&record), [outcome]);
            assert_eq!(record.cost.pico(), 0);
        }
        assert_eq!(second.calls(), 0);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn another_provider_may_have_another_policy() {
    let first = Upstream::start(|_| Script::error(400, "content_filter", "no")).await;
    let second = Upstream::plain("from second").await;
    let yaml = configuration(&first.base_url(), &second.base_url(), "", &resilience(""));
    let proxy = Proxy::start(&yaml).await;
    let reply = proxy.client().chat(&chat("auto", "hello")).await;
    assert_served_by(&reply, "second", "2");
    let record = proxy.record(&reply.request_id()).await;
    assert_eq!(outcomes(&record), [Outcome::ContentPolicy, Outcome::Ok]);
    proxy.stop().await;
}

#[tokio::test]
async fn when_everybody_is_limited_the_client_is_told_when_to_return() {
    let limited = |_: &Received| {
        Script::error(429, "rate_limit_exceeded", "slow down").header("retry-after", "20")
    };
    let (first, second) = (
        Upstream::start(limited).await,
        Upstream::start(limited).await,
    );
    let yaml = configuration(&first.base_url(), &second.base_url(), "", &resilience(""));
    let proxy = Proxy::start(&yaml).await;
    let reply = proxy.client().chat(&chat("auto", "hello")).await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert_eq!(reply.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(reply.header("retry-after"), "20");
    // Until then nobody is asked again.
    let reply = proxy.client().chat(&chat("auto", "hello")).await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    let after: u64 = reply.header("retry-after").parse().expect("seconds");
    assert!((1..=20).contains(&after), "{after}");
    assert_eq!((first.calls(), second.calls()), (1, 1));
    proxy.stop().await;
}
