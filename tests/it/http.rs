//! HTTP itself: smuggling, slow clients, pipelining, connection caps, HTTP/2 and what is cut at the
//! end of a drain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use tollgate::types::Outcome;

use crate::harness::proxy::{chat, two_models};
use crate::harness::upstream::chunk;
use crate::harness::{Proxy, Raw, Script, Step, Upstream};

async fn start(more: &str) -> (Upstream, Proxy) {
    let upstream = Upstream::plain("ok").await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    (upstream, proxy)
}

const HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\n";

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// A message that two readers may understand differently is refused or understood in the one safe
/// way; nothing of it is ever taken for a second request.
#[tokio::test]
async fn what_is_ambiguous_smuggles_nothing() {
    let (upstream, proxy) = start("").await;
    let body = chat("small", "hello").to_string();
    let length = body.len();
    let smuggled = format!("{HEAD}content-length: {length}\r\n\r\n{body}");
    let refused = [
        format!("{HEAD}content-length: {length}\r\ncontent-length: 5\r\n\r\n{body}"),
        format!("{HEAD}content-length: {length}, 5\r\n\r\n{body}"),
        format!("{HEAD}content-length: +{length}\r\n\r\n{body}"),
        format!("{HEAD}content-length: -1\r\n\r\n{body}"),
        format!(
            "{HEAD}transfer-encoding: xchunked\r\n\r\n{}",
            chunked(&body)
        ),
        format!(
            "{HEAD}transfer-encoding: chunked, identity\r\n\r\n{}",
            chunked(&body)
        ),
        format!(
            "{HEAD}transfer-encoding : chunked\r\n\r\n{}",
            chunked(&body)
        ),
        format!("{HEAD}x-a: b\r\n folded\r\ncontent-length: {length}\r\n\r\n{body}"),
        format!("{HEAD}x-a: b\u{0}\r\ncontent-length: {length}\r\n\r\n{body}"),
        format!(
            "POST /v1/chat/completions HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{}",
            chunked(&body)
        ),
        format!(
            "POST /v1/chat/completions HTTP/3.0\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"
        ),
        format!("{HEAD}transfer-encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n"),
    ];
    for request in refused {
        let mut connection = Raw::connect(proxy.data).await;
        connection.send(format!("{request}{smuggled}")).await;
        let reply = connection.reply().await;
        assert!(reply.is_none_or(|it| it.status == 400), "{request}");
        connection.closed().await;
        assert_eq!(upstream.calls(), 0, "{request}");
    }
    // Both lengths: refused, and the connection ends, so that nothing can follow.
    for lengths in [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
    ] {
        let before = upstream.calls();
        let mut connection = Raw::connect(proxy.data).await;
        connection
            .send(format!("{HEAD}{lengths}\r\n{}{smuggled}", chunked(&body)))
            .await;
        let reply = connection.reply().await;
        let reply = reply.expect("an answer");
        assert_eq!(reply.status, 400);
        assert_eq!(reply.json()["error"]["param"], "transfer-encoding");
        connection.closed().await;
        assert_eq!(upstream.calls(), before, "nothing was smuggled");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn requests_in_a_pipeline_are_answered_in_order() {
    let upstream = Upstream::start(|request| {
        let text = request.last_text();
        Script::answer(request, &text, 10, 5)
    })
    .await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let mut connection = Raw::connect(proxy.data).await;
    let requests: String = ["one", "two", "three"]
        .iter()
        .map(|text| {
            let body = chat("small", text).to_string();
            format!("{HEAD}content-length: {}\r\n\r\n{body}", body.len())
        })
        .collect();
    connection.send(requests).await;
    for text in ["one", "two", "three"] {
        let reply = connection.reply().await.expect("an answer");
        assert_eq!(reply.json()["choices"][0]["message"]["content"], text);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn nothing_hop_by_hop_crosses_the_proxy() {
    let upstream = Upstream::start(|request| {
        Script::answer(request, "ok", 10, 5)
            .header("connection", "x-private")
            .header("x-private", "1")
            .header("keep-alive", "timeout=5")
            .header("set-cookie", "a=b")
            .header("server", "upstream/1")
            .header("x-request-id", "theirs")
    })
    .await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let client = proxy
        .client()
        .with("connection", "x-named, keep-alive")
        .with("x-named", "1")
        .with("keep-alive", "timeout=5")
        .with("te", "trailers")
        .with("proxy-authorization", "Basic eA==")
        .with("upgrade", "websocket")
        .with("x-api-key", "sk-client")
        .with("openai-organization", "org")
        .with("host", "evil.example");
    let reply = client.chat(&chat("small", "hello")).await;
    assert_eq!(reply.status, 200);
    for name in ["x-private", "set-cookie", "server", "keep-alive"] {
        assert_eq!(reply.header(name), "", "{name} came back");
    }
    assert_ne!(reply.request_id(), "theirs");
    let received = upstream.received();
    let seen = &received[0].headers;
    for name in [
        "x-named",
        "keep-alive",
        "te",
        "proxy-authorization",
        "upgrade",
        "x-api-key",
    ] {
        assert!(!seen.contains_key(name), "{name} went upstream: {seen:?}");
    }
    assert_eq!(seen["host"], upstream.address.to_string());
    proxy.stop().await;
}

#[tokio::test]
async fn a_head_or_a_body_that_dribbles_is_given_up() {
    let (upstream, proxy) = start("server: { header_timeout_ms: 150, body_timeout_ms: 150 }").await;
    let started = Instant::now();
    let mut connection = Raw::connect(proxy.data).await;
    connection.send("POST /v1/chat/completions HTT").await;
    connection.closed().await;

    let mut connection = Raw::connect(proxy.data).await;
    connection
        .send(format!("{HEAD}content-length: 1000\r\n\r\n{{\"model\""))
        .await;
    let reply = connection.reply().await.expect("an answer");
    assert_eq!(reply.status, 408, "{}", reply.text());
    assert_eq!(reply.json()["error"]["code"], "request_timeout");
    connection.closed().await;
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );

    // A connection that says nothing at all, and one that is idle between two requests.
    let mut idle = Raw::connect(proxy.data).await;
    assert_eq!(
        idle.post_json(&chat("small", "hello"))
            .await
            .expect("alive")
            .status,
        200
    );
    assert_eq!(upstream.calls(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_refused_before_it_sends() {
    let (_upstream, proxy) = start("server: { max_body_bytes: 2000 }").await;
    let mut connection = Raw::connect(proxy.data).await;
    let started = Instant::now();
    connection
        .send(format!(
            "{HEAD}expect: 100-continue\r\ncontent-length: 5000\r\n\r\n"
        ))
        .await;
    let reply = connection.reply().await.expect("an answer");
    assert_eq!(reply.status, 413);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "it did not wait for the body"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn beyond_the_connection_cap_clients_wait_and_a_drain_still_ends() {
    let (upstream, mut proxy) = start("server: { max_connections: 1, drain_seconds: 1 }").await;
    let mut first = Raw::connect(proxy.data).await;
    assert_eq!(
        first
            .post_json(&chat("small", "hello"))
            .await
            .expect("alive")
            .status,
        200
    );
    let mut second = Raw::connect(proxy.data).await;
    let body = chat("small", "hello");
    let early = tokio::time::timeout(Duration::from_millis(100), second.post_json(&body)).await;
    assert!(early.is_err(), "one connection at a time");
    drop(first);
    assert_eq!(second.reply().await.expect("its turn").status, 200);
    assert_eq!(upstream.calls(), 2);
    // Full again; the listener must hear of the drain all the same.
    let stopping = proxy.running.take().expect("it runs").stop();
    tokio::time::timeout(Duration::from_secs(8), stopping)
        .await
        .expect("the drain ends");
}

#[tokio::test]
async fn over_http2_a_stream_that_is_reset_cancels_its_upstream_only() {
    let upstream = Upstream::start(|request| {
        let first = chunk(&request.model(), &json!({"content": "hello"}), None);
        let first = Step::Chunk(format!("data: {first}\n\n").into_bytes());
        match request.last_text().as_str() {
            "leave" => Script::steps(vec![first, Step::Stall]),
            _ => Script::steps(vec![
                first,
                Step::Gate,
                Step::Chunk(b"data: [DONE]\n\n".to_vec()),
            ]),
        }
    })
    .await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let _already_set = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let open = |text: &str| {
        let mut body = chat("small", text);
        body["stream"] = json!(true);
        client
            .post(format!("http://{}/v1/chat/completions", proxy.data))
            .body(body.to_string())
            .send()
    };
    let (stays, leaves) = (open("stay").await, open("leave").await);
    let (stays, leaves) = (stays.expect("an answer"), leaves.expect("an answer"));
    assert_eq!(stays.version(), reqwest::Version::HTTP_2);
    let id = leaves.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let mut events = leaves.bytes_stream();
    assert!(events.next().await.is_some_and(|it| it.is_ok()));
    drop(events);
    tokio::time::timeout(Duration::from_secs(5), upstream.wait_for_abandoned(1))
        .await
        .expect("the upstream is told");
    assert_eq!(proxy.record(&id).await.outcome, Outcome::Cancelled);
    upstream.open_gate();
    let text = stays.text().await.expect("its neighbour goes on");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_whole_answer_that_outlives_the_drain_is_recorded() {
    let upstream = Upstream::start(|_| Script::json(200, &json!({})).before(Step::Stall)).await;
    let yaml = two_models(&upstream.base_url(), "server: { drain_seconds: 0 }");
    let mut proxy = Proxy::start(&yaml).await;
    let mut connection = Raw::connect(proxy.data).await;
    let body = chat("small", "hello").to_string();
    connection
        .send(format!(
            "{HEAD}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    upstream.wait_for_calls(1).await;
    let gateway = Arc::clone(&proxy.gateway);
    let stopping = proxy.running.take().expect("it runs").stop();
    tokio::time::timeout(Duration::from_secs(8), stopping)
        .await
        .expect("nothing hangs on an answer that does not come");
    let kept = gateway.ledger.recent(10).expect("reads");
    assert_eq!(
        kept.len(),
        1,
        "what was sent upstream is in the ledger before it is flushed"
    );
    assert_eq!(kept[0].attempts.len(), 1);
    let reply = connection.reply().await.expect("an honest answer");
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["error"]["code"], "overloaded");
}
