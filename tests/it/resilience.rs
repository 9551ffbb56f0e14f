//! Upstreams that are down, slow, rate-limited, broken or talking nonsense: whoever can be answered
//! is, and the ledger's attempts are those that the upstreams saw.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate::types::{Outcome, RequestRecord, UsageSource};

use crate::harness::proxy::chat;
use crate::harness::upstream::{chunk, completion, usage};
use crate::harness::{Client, Proxy, Received, Reply, Script, Step, Upstream};

/// Two models on two upstreams, asked in this order; `first_more` adds to the first model.
fn configuration(first: &str, second: &str, first_more: &str, more: &str) -> String {
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
fn resilience(more: &str) -> String {
    format!(
        "resilience: {{ retry: {{ max_attempts: 1 }}, breaker: {{ consecutive_failures: 1000, min_requests: 1000 }}{more} }}"
    )
}

/// A loopback address where nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address: SocketAddr = listener.local_addr().expect("bound");
    format!("http://{address}/v1")
}

fn streamed(model: &str) -> Value {
    let mut body = chat(model, "hello");
    body["stream"] = json!(true);
    body
}

fn answers(text: &'static str) -> impl Fn(&Received) -> Script + Send + Sync + 'static {
    move |request| Script::answer(request, text, 10, 5)
}

fn failing(status: u16) -> impl Fn(&Received) -> Script + Send + Sync + 'static {
    move |_| Script::error(status, "server_error", "SECRET upstream text")
}

fn outcomes(record: &RequestRecord) -> Vec<Outcome> {
    record.attempts.iter().map(|it| it.outcome).collect()
}

fn assert_served_by(reply: &Reply, model: &str, attempts: &str) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-tollgate-model"), model);
    assert_eq!(reply.header("x-tollgate-attempts"), attempts);
    let fell_back = reply.header("x-tollgate-reason") == "fallback";
    assert_eq!(fell_back, model != "first", "{:?}", reply.headers);
}

/// Waits until the first model's breaker shows this state (0 closed, 1 half-open, 2 open).
async fn breaker_is(proxy: &Proxy, state: f64) -> bool {
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

// ---- A bad day, phase by phase ---------------------------------------------------------------

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

// ---- Nonsense --------------------------------------------------------------------------------

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

// ---- Rules by kind of error --------------------------------------------------------------------

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

// ---- Retries -----------------------------------------------------------------------------------

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

// ---- Down the ladder ---------------------------------------------------------------------------

/// One model per tier, each on its own upstream; the matrix names one of them.
fn ladder(urls: [&str; 3], cell: &str, more: &str) -> String {
    let [premium, standard, local] = urls;
    format!(
        r#"
version: 1
state: {{ store: memory }}
auth: {{ mode: open }}
providers:
  p: {{ dialect: openai_chat, base_url: "{premium}" }}
  s: {{ dialect: openai_chat, base_url: "{standard}" }}
  l: {{ dialect: openai_chat, base_url: "{local}" }}
models:
  prem: {{ provider: p, price: {{ input: 5, output: 9 }}, context_tokens: 8000, max_output_tokens: 4000, tier: premium }}
  std: {{ provider: s, price: {{ input: 1, output: 2 }}, context_tokens: 8000, max_output_tokens: 4000, tier: standard }}
  loc: {{ provider: l, price: {{ input: 0, output: 0 }}, context_tokens: 8000, max_output_tokens: 4000, tier: local }}
matrix:
  default: {{ simple: [{cell}], complex: [{cell}], critical: [{cell}] }}
{more}
"#
    )
}

#[tokio::test]
async fn the_ladder_goes_down_and_never_up() {
    let premium = Upstream::start(failing(500)).await;
    let local = Upstream::plain("from local").await;
    let (p, l) = (premium.base_url(), local.base_url());
    let none = nobody();
    let more = format!(
        "cache: {{ exact: {{ ttl_seconds: 0 }} }}\n{}",
        resilience("")
    );
    let proxy = Proxy::start(&ladder([&p, &none, &l], "prem", &more)).await;
    let reply = proxy.client().chat(&chat("auto", "hello")).await;
    assert_served_by(&reply, "loc", "3");
    proxy.stop().await;

    let proxy = Proxy::start(&ladder([&l, &none, &none], "std", &more)).await;
    let before = local.calls();
    let reply = proxy.client().chat(&chat("auto", "hello")).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert_eq!(local.calls(), before, "the premium model is above");
    proxy.stop().await;
}

#[tokio::test]
async fn below_the_ladder_a_stale_answer_then_a_rule_then_an_error() {
    let down = Arc::new(AtomicUsize::new(0));
    let is_down = Arc::clone(&down);
    let upstream = Upstream::start(move |request| match is_down.load(Ordering::SeqCst) {
        0 => Script::answer(request, "remembered", 10, 5),
        _ => Script::error(500, "server_error", "down"),
    })
    .await;
    let url = upstream.base_url();
    let more = "cache: { exact: { ttl_seconds: 1 } }
resilience: { retry: { max_attempts: 1 }, breaker: { consecutive_failures: 10, min_requests: 1000 }, fallback: { stale_if_error: true, rules: [{ when: { keywords: [opening hours] }, answer: \"We open at nine.\" }] } }";
    let proxy = Proxy::start(&ladder([&url, &url, &url], "loc", more)).await;
    let client = proxy.client();
    let known = chat("auto", "what did you say before");
    assert_eq!(client.chat(&known).await.header("x-tollgate-cache"), "miss");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    down.store(1, Ordering::SeqCst);

    let reply = client.chat(&known).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-tollgate-cache"), "hit-stale");
    assert!(!reply.header("age").is_empty());
    assert!(reply.text().contains("remembered"));
    let record = proxy.record(&reply.request_id()).await;
    assert_eq!(outcomes(&record), [Outcome::UpstreamError]);

    for stream in [false, true] {
        let mut hours = chat("auto", "what are your opening hours");
        hours["stream"] = json!(stream);
        let reply = client.chat(&hours).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("x-tollgate-cache"), "hit-template");
        assert_eq!(reply.header("x-tollgate-reason"), "template");
        assert_eq!(reply.header("x-tollgate-attempts"), "1", "{stream}");
        assert!(reply.text().contains("nine"), "{}", reply.text());
    }

    let reply = client.chat(&chat("auto", "something else")).await;
    assert_eq!(reply.status, 502);
    assert_eq!(reply.header("x-should-retry"), "false");

    // The same when the breaker lets nobody through any more.
    let calls = upstream.calls();
    for _ in 0..10 {
        client.chat(&chat("auto", "something else")).await;
    }
    assert_eq!(
        upstream.calls(),
        calls + 6,
        "open after ten failures in all"
    );
    let reply = client.chat(&known).await;
    assert_eq!(
        reply.header("x-tollgate-cache"),
        "hit-stale",
        "{}",
        reply.text()
    );
    assert_eq!(reply.header("x-tollgate-attempts"), "0");
    let reply = client.chat(&chat("auto", "your opening hours")).await;
    assert_eq!(reply.header("x-tollgate-cache"), "hit-template");
    let reply = client.chat(&chat("auto", "something else")).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(!reply.header("retry-after").is_empty());
    proxy.stop().await;
}

// ---- Pinned models and deployments -------------------------------------------------------------

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
