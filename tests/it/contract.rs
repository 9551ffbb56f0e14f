//! The contract's names, item by item: headers, statuses, fields and metrics that people outside the
//! code rely on. What they mean is proven elsewhere; here they must be there, spelt so, of that type.

use std::net::SocketAddr;

use clap::Parser;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate::cli::report::{self, View};
use tollgate::cli::{Cli, Command};
use tollgate::clock::Clock;

use crate::harness::proxy::{chat, two_models};
use crate::harness::{Client, Proxy, Reply, Script, Upstream};

/// Headers of every answer that a model gave, whole or streamed (but for the cost: see below).
const ANSWER_HEADERS: [&str; 16] = [
    "x-request-id",
    "x-tollgate-model",
    "x-tollgate-provider",
    "x-tollgate-task",
    "x-tollgate-level",
    "x-tollgate-complexity",
    "x-tollgate-reason",
    "x-tollgate-cache",
    "x-tollgate-attempts",
    "x-tollgate-overhead-us",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

const METRICS: &str = "requests_total request_duration_seconds time_to_first_token_seconds \
    overhead_seconds classify_seconds upstream_attempts_total upstream_duration_seconds \
    fallbacks_total retries_total breaker_state tokens_total cost_usd_total savings_usd_total \
    budget_limit_usd budget_spent_usd budget_reserved_usd budget_shadow_price rate_limited_total \
    cache_requests_total policy_choices_total reward_mean config_last_reload_successful \
    config_last_reload_success_timestamp_seconds config_reloads_total in_flight_requests \
    ledger_lag_records build_info";

/// Keys of the callers `ada` (team search), `bob` (may use `small` only), `poor` (has no money) and
/// `slow` (one request a minute), on one upstream.
fn with_keys(base_url: &str, more: &str) -> String {
    let hash = |key: &str| {
        Sha256::digest(key)
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    let keys = format!(
        r#"
keys:
  - {{ id: ada, sha256: "{}", team: search, app: checkout, limits: {{ requests_per_minute: 600, tokens_per_minute: 200000 }} }}
  - {{ id: bob, sha256: "{}", team: search, allow: [small] }}
  - {{ id: poor, sha256: "{}", team: broke }}
  - {{ id: slow, sha256: "{}", team: search, limits: {{ requests_per_minute: 1 }} }}
budgets:
  - {{ name: none-left, match: {{ team: broke }}, limit_usd: 0.000001, period: month }}
  - {{ name: company, limit_usd: 1000, period: month }}
{more}"#,
        hash("key-ada"),
        hash("key-bob"),
        hash("key-poor"),
        hash("key-slow"),
    );
    two_models(base_url, &keys).replace("mode: open", "mode: keys")
}

fn caller(proxy: &Proxy, name: &str) -> Client {
    proxy
        .client()
        .with("authorization", &format!("Bearer key-{name}"))
}

async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let _reset_by_peer = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn answers_carry_their_headers_whole_and_streamed() {
    let upstream = Upstream::plain("an answer").await;
    let proxy = Proxy::start(&with_keys(&upstream.base_url(), "")).await;
    let ada = caller(&proxy, "ada");
    let whole = ada.chat(&chat("auto", "hello")).await;
    let mut streamed = chat("auto", "hello");
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({"include_usage": true});
    let streamed = ada.post("/chat/completions", &streamed).await;
    for reply in [&whole, &streamed] {
        assert_eq!(reply.status, 200, "{}", reply.text());
        for name in ANSWER_HEADERS {
            assert!(
                !reply.header(name).is_empty(),
                "{name}: {:?}",
                reply.headers
            );
        }
        let complexity = reply.header("x-tollgate-complexity");
        assert!(complexity.parse::<f64>().is_ok() && complexity.len() == 5);
        assert_eq!(reply.header("x-tollgate-reason"), "matrix");
    }
    // 10 tokens at 0.15 and 5 at 0.60 USD per million.
    assert_eq!(whole.header("x-tollgate-cost-usd"), "0.0000045");
    assert_eq!(whole.json()["usage"]["cost"], json!(0.000_004_5));
    let events = streamed.events();
    let [.., usage, end] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(end, "[DONE]");
    let usage: Value = serde_json::from_str(usage).expect("JSON");
    assert_eq!(usage["usage"]["cost"], json!(0.000_004_5));
    proxy.stop().await;
}

#[tokio::test]
async fn route_explains_one_request_or_many() {
    let upstream = Upstream::plain("never asked").await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let client = proxy.client();
    let one = chat("auto", "Write a Python function that reverses a list");
    let batch = json!({"requests": [one, chat("nobody", "hi")]});
    let explained = client.post("/v1/route", &one).await.json();
    let several = client.post("/route", &batch).await.json();
    assert_eq!(several["results"][0], explained);
    assert_eq!(several["results"][1]["error"]["code"], "model_not_found");
    let bad = client.post("/v1/route", &json!({"requests": 1})).await;
    assert_eq!(
        (bad.status, bad.json()["error"]["param"].as_str()),
        (400, Some("requests"))
    );
    for name in [
        "task",
        "level",
        "language",
        "model",
        "reason",
        "config_version",
    ] {
        assert!(explained[name].is_string(), "{name}: {explained}");
    }
    for name in ["confidence", "complexity", "weak_fails", "propensity"] {
        let value = explained[name].as_f64();
        assert!(
            value.is_some_and(|it| (0.0..=1.0).contains(&it)),
            "{name}: {explained}"
        );
    }
    for name in ["input_tokens", "output_tokens_estimate"] {
        assert!(explained[name].is_u64(), "{name}: {explained}");
    }
    let tasks = explained["tasks"].as_object().expect("an object");
    assert!(tasks.values().all(Value::is_f64), "{tasks:?}");
    assert!(explained["needs"].is_array());
    let candidate = &explained["candidates"][0];
    assert!(candidate["model"].is_string() && candidate["score"].is_number());
    assert!(candidate["estimated_cost_usd"].is_number() && candidate["excluded_by"].is_null());
    assert_eq!(upstream.calls(), 0);
    proxy.stop().await;
}

fn refused(reply: &Reply, status: u16, code: &str, error_type: &str) {
    let error = &reply.json()["error"];
    let found = (reply.status, error["code"].as_str(), error["type"].as_str());
    assert_eq!(found, (status, Some(code), Some(error_type)), "{error}");
    assert!(error["message"].is_string() && error.get("param").is_some());
    assert!(!reply.request_id().is_empty() && !reply.header("x-should-retry").is_empty());
    if [429, 503].contains(&status) {
        let wait = reply.header("retry-after");
        assert!(
            wait.parse::<u64>().is_ok_and(|it| it > 0),
            "{wait:?} of {code}"
        );
    }
}

#[tokio::test]
async fn errors_have_their_status_code_and_type() {
    let upstream = Upstream::start(|_| Script::error(500, "server_error", "broken")).await;
    let proxy = Proxy::start(&with_keys(
        &upstream.base_url(),
        "server: { max_body_bytes: 4096 }",
    ))
    .await;
    let ada = caller(&proxy, "ada");
    let hello = chat("auto", "hello");
    let invalid = "invalid_request_error";
    let no_messages = json!({"model": "auto"});
    refused(&ada.chat(&no_messages).await, 400, invalid, invalid);
    let nobody = caller(&proxy, "nobody").chat(&hello).await;
    refused(&nobody, 401, "invalid_api_key", "authentication_error");
    let denied = caller(&proxy, "bob").chat(&chat("large", "hello")).await;
    refused(&denied, 403, "model_not_allowed", "permission_error");
    for reply in [
        ada.chat(&chat("smal", "hello")).await,
        ada.get("/v1/models/smal").await,
    ] {
        refused(&reply, 404, "model_not_found", invalid);
        let error = &reply.json()["error"];
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|it| it.contains("`small`"))
        );
    }
    let large = ada.chat(&chat("auto", &"a".repeat(5000))).await;
    refused(&large, 413, "request_too_large", invalid);
    let poor = caller(&proxy, "poor");
    let mut capped = hello.clone();
    capped["max_tokens"] = 1.into();
    let never_fits = poor.chat(&capped).await;
    refused(&never_fits, 429, "budget_exceeded", "insufficient_quota");
    assert_eq!(never_fits.header("x-should-retry"), "false");
    let dear = ada.clone().with("x-tollgate-max-cost-usd", "0.0000000001");
    refused(
        &dear.chat(&hello).await,
        429,
        "budget_exceeded",
        "insufficient_quota",
    );
    let slow = caller(&proxy, "slow");
    let _the_only_one = slow.chat(&hello).await;
    refused(
        &slow.chat(&hello).await,
        429,
        "rate_limit_exceeded",
        "rate_limit_error",
    );
    let spent = ada.chat(&hello).await;
    refused(&spent, 502, "upstream_error", "api_error");
    assert_eq!(spent.header("x-should-retry"), "false");
    proxy.stop().await;
}

#[tokio::test]
async fn a_request_is_its_own_keys_business() {
    let upstream = Upstream::plain("an answer").await;
    let proxy = Proxy::start(&with_keys(&upstream.base_url(), "")).await;
    let (ada, bob) = (caller(&proxy, "ada"), caller(&proxy, "bob"));
    let id = ada.chat(&chat("auto", "hello")).await.request_id();
    let _closed = proxy.record(&id).await;
    let path = format!("/v1/requests/{id}");
    assert_eq!(ada.get(&path).await.json()["request_id"], json!(id));
    refused(
        &bob.get(&path).await,
        404,
        "not_found",
        "invalid_request_error",
    );
    for verdict in [
        json!({"score": 1.0}),
        json!({"score": 1.0}),
        json!({"rating": 2}),
        json!({"thumbs": "up"}),
    ] {
        let mut feedback = verdict.clone();
        feedback["request_id"] = json!(id);
        assert_eq!(
            ada.post("/v1/feedback", &feedback).await.status,
            200,
            "{verdict}"
        );
        let other = bob.post("/v1/feedback", &feedback).await;
        refused(&other, 404, "not_found", "invalid_request_error");
    }
    let samples = proxy.gateway.metrics.samples("tollgate_reward_mean");
    assert!(
        samples.len() <= 1,
        "one request is one decision: {samples:?}"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn every_metric_is_announced_and_the_dashboard_counts_the_matrix() {
    let upstream = Upstream::plain("an answer").await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let metrics = async || proxy.admin_client().get("/metrics").await.text();
    let before = metrics().await;
    let reply = proxy.client().chat(&chat("auto", "hello")).await;
    let _closed = proxy.record(&reply.request_id()).await;
    for text in [before, metrics().await] {
        for name in METRICS.split_whitespace() {
            let line = format!("# TYPE tollgate_{name} ");
            assert_eq!(text.matches(&line).count(), 1, "{name}");
        }
    }
    let overview = proxy.admin_client().get("/api/overview").await.json();
    let cells = overview["matrix"].as_array().expect("an array");
    let used: Vec<&Value> = cells
        .iter()
        .filter(|cell| cell["requests"] != json!(0.0))
        .collect();
    let [cell] = used.as_slice() else {
        panic!("{cells:?}");
    };
    assert_eq!(
        (&cell["task"], &cell["requests"]),
        (&json!("default"), &json!(1.0))
    );
    proxy.stop().await;
}

#[tokio::test]
async fn the_report_has_rows_and_the_same_sums_as_a_total() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let upstream = Upstream::plain("an answer").await;
    let yaml = with_keys(&upstream.base_url(), "");
    let store = format!("store: \"sqlite:{}\"", path.display());
    let proxy = Proxy::start(&yaml.replace("store: memory", &store)).await;
    for model in ["auto", "large"] {
        let reply = caller(&proxy, "ada").chat(&chat(model, "hello")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    proxy.stop().await;
    let path = path.to_str().expect("a path");
    let words = ["tollgate", "report", "--ledger", path, "--format", "json"];
    let words = words.into_iter().chain(["--by", "team,app,model,task"]);
    let Command::Report(args) = Cli::parse_from(words).into_command() else {
        panic!("another command");
    };
    let view = View {
        now_ms: Clock::system().unix_ms(),
        colour: false,
    };
    let mut out = Vec::new();
    report::run(&args, view, &mut out).expect("a report");
    let report: Value = serde_json::from_slice(&out).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2, "{report}");
    for row in rows {
        assert_eq!(
            (&row["team"], &row["app"]),
            (&json!("search"), &json!("checkout"))
        );
        assert!(row["model"].is_string() && row["task"].is_string());
        for name in ["requests", "cost_usd", "estimated_cost_usd"] {
            assert!(
                row[name].is_number() && report["total"][name].is_number(),
                "{name}"
            );
        }
    }
    assert_eq!(report["total"]["requests"], 2);
    // 10 and 5 tokens of `small`, and of `large`.
    assert_eq!(report["total"]["cost_usd"], json!(0.000_079_5));
}

#[tokio::test]
async fn a_bad_head_is_answered_and_a_pipelined_one_holds_nothing_back() {
    let upstream = Upstream::plain("an answer").await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    for head in [
        "GET /v1/models HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
    ] {
        let answer = raw(proxy.data, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer:?}");
        assert!(
            answer.contains("\"code\":\"invalid_request_error\""),
            "{answer:?}"
        );
    }
    let mut socket = TcpStream::connect(proxy.data).await.expect("a connection");
    let first = "GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/mo";
    socket.write_all(first.as_bytes()).await.expect("sent");
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    proxy.stop().await;
}
