//! `POST /v1/messages` and `count_tokens`: what a client of Anthropic's API meets.

use serde_json::{Value, json};

use crate::harness::{Proxy, Received, Reply, Script, Upstream, upstream};

const STREAM: &[&str] = &[
    r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],"usage":{"input_tokens":10,"output_tokens":1}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}}"#,
    r#"{"type":"message_stop"}"#,
];

fn anthropic(request: &Received) -> Script {
    if request.path.ends_with("/count_tokens") {
        return Script::json(200, &json!({"input_tokens": 77}));
    }
    if request.wants_stream() {
        return Script::events(STREAM);
    }
    Script::json(
        200,
        &json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
            "content": [{"type": "text", "text": "Hello"}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 10, "output_tokens": 5},
        }),
    )
}

/// `claude` at an upstream of Anthropic's dialect, `gpt` at one of OpenAI's.
async fn proxy(claude: &Upstream, gpt: &Upstream) -> Proxy {
    let yaml = format!(
        r#"
version: 1
state: {{ store: memory }}
auth: {{ mode: open }}
providers:
  a: {{ dialect: anthropic_messages, base_url: "{}", headers: {{ anthropic-beta: "from-file" }} }}
  o: {{ base_url: "{}" }}
models:
  claude: {{ provider: a, upstream_model: claude-x, price: {{ input: 1.0, output: 10.0 }}, context_tokens: 128000 }}
  gpt: {{ provider: o, upstream_model: gpt-x, price: {{ input: 1.0, output: 10.0 }}, context_tokens: 128000 }}
matrix: {{ default: {{ simple: [gpt], complex: [claude], critical: [claude] }} }}
"#,
        claude.base_url(),
        gpt.base_url()
    );
    Proxy::start(&yaml).await
}

fn ask(model: &str) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello."}]})
}

fn check_error(reply: &Reply, status: u16, error_type: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["type"], "error", "{body}");
    assert_eq!(body["error"]["type"], error_type, "{body}");
    assert!(body["error"]["message"].is_string(), "{body}");
    assert_eq!(reply.header("request-id"), reply.request_id());
}

#[tokio::test]
async fn a_request_reaches_anthropic_as_it_was_sent() {
    let claude = Upstream::start(anthropic).await;
    let gpt = Upstream::plain("Hello").await;
    let proxy = proxy(&claude, &gpt).await;
    let client = proxy
        .client()
        .with("anthropic-beta", "from-client-2025-01-01");
    let mut body = ask("claude");
    body["thinking"] = json!({"type": "new", "unknown": [1, null]});
    body["cache_control"] = json!({"type": "ephemeral"});
    for path in ["/v1/messages", "/messages", "/v1/messages/"] {
        let reply = client.post(path, &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("request-id"), reply.request_id());
        assert_eq!(reply.json()["usage"]["cost"], 0.00006);
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(record.cost.pico(), 60_000_000);
        body["cache_control"]["ttl"] = json!(path);
    }
    let seen = &claude.received()[0];
    assert_eq!(seen.path, "/v1/messages");
    let mut expect = ask("claude-x");
    expect["thinking"] = json!({"type": "new", "unknown": [1, null]});
    expect["cache_control"] = json!({"type": "ephemeral"});
    assert_eq!(seen.json(), expect);
    let header = |name: &str| {
        seen.headers
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    };
    assert_eq!(header("anthropic-version"), "2023-06-01");
    assert_eq!(header("anthropic-beta"), "from-file,from-client-2025-01-01");

    let reply = client.post("/v1/messages", &ask("gpt")).await;
    assert_eq!(reply.json()["content"][0]["text"], "Hello");
    let seen = &gpt.received()[0];
    assert_eq!(seen.headers.get("anthropic-beta"), None);
    assert_eq!(seen.headers.get("anthropic-version"), None);
    proxy.stop().await;
}

#[tokio::test]
async fn a_stream_is_forwarded_with_its_cost_and_stored_for_both_forms() {
    let claude = Upstream::start(anthropic).await;
    let gpt = Upstream::plain("Hello").await;
    let proxy = proxy(&claude, &gpt).await;
    let mut body = ask("claude");
    body["temperature"] = json!(0);
    body["stream"] = json!(true);
    let reply = proxy.client().post("/v1/messages", &body).await;
    let events = reply.events();
    assert_eq!(events[..4], STREAM[..4]);
    assert_eq!(events[5], STREAM[5]);
    let usage: Value = serde_json::from_str(&events[4]).expect("JSON");
    assert_eq!(usage["usage"], json!({"output_tokens": 5, "cost": 0.00006}));

    let again = proxy.client().post("/v1/messages", &body).await;
    assert_eq!(
        again.header("x-tollgate-cache"),
        "hit-exact",
        "{}",
        again.text()
    );
    assert_eq!(again.events()[..4], STREAM[..4]);
    body["stream"] = json!(false);
    let whole = proxy.client().post("/v1/messages", &body).await;
    assert_eq!(whole.header("x-tollgate-cache"), "hit-exact");
    assert_eq!(
        whole.json()["content"],
        json!([{"type": "text", "text": "Hello"}])
    );
    assert_eq!(whole.json()["usage"]["cost"], 0);
    assert_eq!(claude.calls(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn errors_are_in_anthropics_form() {
    let claude = Upstream::start(|_| {
        Script::json(
            400,
            &json!({"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}, "request_id": "r"}),
        )
    })
    .await;
    let gpt = Upstream::start(|_| Script::error(400, "bad", "not so")).await;
    let proxy = proxy(&claude, &gpt).await;
    let client = proxy.client();
    let post = async |path: &str, body: Value| client.post(path, &body).await;
    check_error(
        &post("/v1/messages", json!({})).await,
        400,
        "invalid_request_error",
    );
    check_error(
        &post("/v1/messages", ask("nothing")).await,
        404,
        "not_found_error",
    );
    check_error(
        &client.get("/v1/messages").await,
        405,
        "invalid_request_error",
    );
    check_error(
        &post("/v1/messages/count_tokens", json!({})).await,
        400,
        "invalid_request_error",
    );
    for (model, message) in [("claude", "too long"), ("gpt", "not so")] {
        let reply = post("/v1/messages", ask(model)).await;
        check_error(&reply, 400, "invalid_request_error");
        assert_eq!(reply.json()["error"]["message"], message);
    }
    let odd = client.with("anthropic-beta", "a\"b");
    check_error(
        &odd.post("/v1/messages", &ask("claude")).await,
        400,
        "invalid_request_error",
    );
    proxy.stop().await;
}

#[tokio::test]
async fn tokens_are_counted_by_anthropic_or_estimated() {
    let claude = Upstream::start(anthropic).await;
    let gpt = Upstream::plain("Hello").await;
    let proxy = proxy(&claude, &gpt).await;
    let count = async |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Say hello."}]});
        let reply = proxy
            .client()
            .post("/v1/messages/count_tokens", &body)
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    assert_eq!(count("claude").await, json!({"input_tokens": 77}));
    assert_eq!(claude.received()[0].path, "/v1/messages/count_tokens");
    assert_eq!(claude.received()[0].json()["model"], "claude-x");
    for model in ["gpt", "auto"] {
        let answer = count(model).await;
        assert_eq!(answer["estimated"], true, "{model}");
        let tokens = answer["input_tokens"].as_u64().expect("a count");
        assert!((3..30).contains(&tokens), "{tokens}");
    }
    claude.behave(|_| Script::error(500, "down", "down"));
    assert_eq!(count("claude").await["estimated"], true);
    assert_eq!(gpt.calls(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn an_upstream_without_usage_is_estimated_and_the_client_is_told() {
    let gpt = Upstream::start(|request| {
        let chunks = [
            upstream::chunk(
                "gpt-x",
                &json!({"role": "assistant", "content": "Hello"}),
                None,
            ),
            upstream::chunk("gpt-x", &json!({}), Some("stop")),
            "[DONE]".to_owned(),
        ];
        assert!(request.wants_stream());
        Script::events(&chunks)
    })
    .await;
    let claude = Upstream::start(anthropic).await;
    let proxy = proxy(&claude, &gpt).await;
    let mut body = ask("gpt");
    body["stream"] = json!(true);
    let reply = proxy.client().post("/v1/messages", &body).await;
    let events = reply.events();
    assert_eq!(
        events.last().map(String::as_str),
        Some(r#"{"type":"message_stop"}"#)
    );
    let told: Value = serde_json::from_str(&events[events.len() - 2]).expect("JSON");
    assert_eq!(told["delta"]["stop_reason"], "end_turn");
    assert!(told["usage"]["output_tokens"].as_u64() > Some(0), "{told}");
    let record = proxy.record(&reply.request_id()).await;
    assert!(record.estimated_cost.pico() > 0);
    proxy.stop().await;
}
