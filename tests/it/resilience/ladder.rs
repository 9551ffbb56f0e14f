//! Down the ladder of tiers, then a stale answer, a rule's answer, an honest error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tollgate::types::Outcome;

use crate::harness::proxy::chat;
use crate::harness::{Proxy, Script, Upstream};

use super::*;

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
