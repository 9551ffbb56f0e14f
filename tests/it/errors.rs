//! Bad input: OpenAI's error object with a message that names the field, the right status, and a
//! connection that can be used afterwards.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::proxy::{chat, two_models};
use crate::harness::{Proxy, Raw, Reply, Upstream};

async fn start(more: &str) -> (Upstream, Proxy) {
    let upstream = Upstream::plain("ok").await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    (upstream, proxy)
}

/// OpenAI's error object, all four members, and the headers that every error carries.
fn assert_error(reply: &Reply, status: u16, code: &str, shown: &str) -> Value {
    assert_eq!(reply.status, status, "{shown}: {}", reply.text());
    assert!(!reply.request_id().is_empty(), "{shown}");
    assert_eq!(reply.header("content-type"), "application/json", "{shown}");
    let error = reply.json()["error"].clone();
    for member in ["message", "type", "param", "code"] {
        assert!(error.get(member).is_some(), "{shown}: no {member}: {error}");
    }
    assert_eq!(error["code"], code, "{shown}: {error}");
    assert!(
        error["message"].as_str().is_some_and(|it| it.len() < 1000),
        "{shown}"
    );
    error
}

fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned()
}

/// Bodies with the field that their refusal must name.
fn wrong_bodies() -> Vec<(Vec<u8>, &'static str)> {
    let with = |member: &str, value: Value| {
        let mut body = chat("small", "hello");
        body[member] = value;
        body.to_string().into_bytes()
    };
    let raw = |text: &str| text.as_bytes().to_vec();
    let hi = r#""messages":[{"role":"user","content":"hi"}]"#;
    let deep = "[".repeat(100_000);
    vec![
        (raw(""), ""),
        (raw("{"), ""),
        (raw("hello"), ""),
        (raw("[]"), ""),
        (raw("null"), ""),
        (raw("{}"), "model"),
        (raw("{\"model\":\"small\"} trailing"), ""),
        (b"{\"model\":\"sm\xff\xfeall\"}".to_vec(), ""),
        (raw("\u{feff}{\"model\":\"small\"}"), ""),
        (
            raw("{\"model\":\"small\",\"messages\":[{\"role\":\"user\",\"content\":\"\u{1}\"}]}"),
            "",
        ),
        (raw(&deep), ""),
        (raw(&format!("{{\"model\":\"small\",{hi},\"x\":{deep}")), ""),
        (
            raw(&format!(
                "{{\"model\":\"small\",{hi},\"x\":{}1{}}}",
                "{\"a\":".repeat(5000),
                "}".repeat(5000)
            )),
            "",
        ),
        (with("model", json!(5)), "model"),
        (with("model", Value::Null), "model"),
        (with("model", json!("")), "model"),
        (with("messages", json!("hi")), "messages"),
        (with("messages", json!([])), "messages"),
        (with("messages", json!(["hi"])), "messages[0]"),
        (
            with("messages", json!([{"content": "hi"}])),
            "messages[0].role",
        ),
        (
            with("messages", json!([{"role": "user", "content": 5}])),
            "messages[0].content",
        ),
        (
            with(
                "messages",
                json!([{"role": "user", "content": [{"type": "text", "text": 5}]}]),
            ),
            "messages[0].content[0].text",
        ),
        (with("stream", json!("yes")), "stream"),
        (with("stream_options", json!(5)), "stream_options"),
        (with("max_tokens", json!(-1)), "max_tokens"),
        (with("max_tokens", json!("many")), "max_tokens"),
        (
            with("max_completion_tokens", json!(1.5)),
            "max_completion_tokens",
        ),
        (with("n", json!(0)), "n"),
        (with("n", json!(100_000)), "n"),
        (with("tools", json!({})), "tools"),
        (with("metadata", json!("x")), "metadata"),
        // Judged by one and sent with the other: refused, however the second is written.
        (
            raw(&format!("{{\"model\":\"small\",{hi},\"model\":\"large\"}}")),
            "model",
        ),
        (
            raw(&format!(
                "{{\"model\":\"small\",{hi},\"mod\\u0065l\":\"large\"}}"
            )),
            "model",
        ),
        (
            raw(&format!("{{\"model\":\"small\",{hi},{hi}}}")),
            "messages",
        ),
    ]
}

#[tokio::test]
async fn a_wrong_body_is_named_by_its_field_and_costs_nothing() {
    let (upstream, proxy) = start("").await;
    // One connection for all of them: each must leave it usable.
    let mut connection = Raw::connect(proxy.data).await;
    for (body, param) in wrong_bodies() {
        let what = shown(&body);
        let reply = connection
            .post("", &body)
            .await
            .expect("the connection lives");
        let error = assert_error(&reply, 400, "invalid_request_error", &what);
        assert_eq!(
            error["param"].as_str().unwrap_or_default(),
            param,
            "{what}: {error}"
        );
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|it| it.contains(param)),
            "{what}: {error}"
        );
        assert_eq!(reply.header("x-should-retry"), "false");
    }
    assert_eq!(upstream.calls(), 0);
    let reply = connection.post_json(&chat("small", "hello")).await;
    assert_eq!(reply.expect("usable").status, 200);
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_odd_but_allowed_passes_untouched() {
    let (upstream, proxy) = start("").await;
    let mut connection = Raw::connect(proxy.data).await;
    let bodies = [
        // A lone surrogate, a NUL, a huge number and a field that nobody knows.
        r#"{"model":"small","messages":[{"role":"user","content":"\ud800 \u0000"}],"seed":123456789012345678901234567890,"vendor":{"a":[1,{"b":null}]}}"#.to_owned(),
        format!("{{\"model\":\"small\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],\"x\":{}1{}}}", "[".repeat(60), "]".repeat(60)),
        r#" {"messages" : [ {"role":"user","content":[{"type":"text","text":"hi"},{"type":"new_kind","blob":"x"}]} ] , "model" : "small" } "#.to_owned(),
    ];
    for body in bodies {
        let reply = connection.post("", body.as_bytes()).await.expect("alive");
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
        let received = upstream.received();
        let sent = &received.last().expect("one").body;
        assert_eq!(
            String::from_utf8_lossy(sent),
            body,
            "only the model's name is replaced"
        );
    }
    proxy.stop().await;
}

#[tokio::test]
async fn an_unknown_model_gets_the_nearest_names() {
    let (upstream, proxy) = start("").await;
    for (asked, expect) in [("smal", "small"), ("Large", "large")] {
        let reply = proxy.client().chat(&chat(asked, "hello")).await;
        let error = assert_error(&reply, 404, "model_not_found", asked);
        assert_eq!(error["param"], "model");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|it| it.contains(expect)),
            "{error}"
        );
    }
    // A name that is an attack is a name that is not known.
    for asked in [
        "http://169.254.169.254/",
        "../../etc/passwd",
        "small\u{0}",
        "a\r\nx: y",
        "💥",
    ] {
        let reply = proxy.client().chat(&chat(asked, "hello")).await;
        assert_error(&reply, 404, "model_not_found", asked);
    }
    let reply = proxy
        .client()
        .chat(&chat(&"x".repeat(100_000), "hello"))
        .await;
    assert!(matches!(reply.status, 400 | 404), "{}", reply.status);
    assert!(reply.body.len() < 2000, "a long name is not echoed in full");
    assert_eq!(upstream.calls(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_huge_body_is_read_in_time_and_a_too_large_one_refused() {
    let (upstream, proxy) = start("server: { max_body_bytes: 4000000 }").await;
    let started = Instant::now();
    let mut connection = Raw::connect(proxy.data).await;
    let big = chat("small", &"lorem ipsum ".repeat(300_000)).to_string();
    assert_eq!(
        connection
            .post("", big.as_bytes())
            .await
            .expect("alive")
            .status,
        200
    );
    let wide: Vec<String> = (0..100_000).map(|it| format!("\"k{it}\":{it},")).collect();
    let wide = wide.concat();
    let wide = format!(
        "{{{wide}\"model\":\"small\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}"
    );
    assert_eq!(
        connection
            .post("", wide.as_bytes())
            .await
            .expect("alive")
            .status,
        200
    );
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    let calls = upstream.calls();

    // The client that writes on regardless still gets its answer, not a reset.
    let too_big = vec![b'x'; 8 << 20];
    let reply = connection.post("", &too_big).await.expect("an answer");
    assert_error(&reply, 413, "request_too_large", "content-length");
    let mut connection = Raw::connect(proxy.data).await;
    connection
        .send("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let piece = [b"80000\r\n".to_vec(), vec![b'x'; 0x80000], b"\r\n".to_vec()].concat();
    for _ in 0..10 {
        connection.send(&piece).await;
    }
    connection.send("0\r\n\r\n").await;
    let reply = connection.reply().await.expect("an answer");
    assert_error(&reply, 413, "request_too_large", "chunked");
    assert_eq!(upstream.calls(), calls);
    proxy.stop().await;
}

#[tokio::test]
async fn headers_that_are_too_long_get_431_and_the_connection_lives() {
    let (_upstream, proxy) = start("").await;
    let body = chat("small", "hello").to_string();
    let mut connection = Raw::connect(proxy.data).await;
    let long = format!("x-long: {}\r\n", "x".repeat(70_000));
    let reply = connection
        .post(&long, body.as_bytes())
        .await
        .expect("an answer");
    let error = assert_error(&reply, 431, "headers_too_large", "long");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|it| it.contains("65536")),
        "{error}"
    );
    let reply = connection
        .post("", body.as_bytes())
        .await
        .expect("the connection lives");
    assert_eq!(reply.status, 200);
    // Beyond any reason: no more than a status.
    for hopeless in [
        format!("x-long: {}\r\n", "x".repeat(1 << 20)),
        "x-many: y\r\n".repeat(300),
    ] {
        let mut connection = Raw::connect(proxy.data).await;
        let head = format!("GET /v1/models HTTP/1.1\r\nhost: x\r\n{hopeless}\r\n");
        connection.send(head).await;
        let reply = connection.reply().await;
        assert!(reply.is_none_or(|it| it.status == 431));
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_wrong_path_or_method_is_said_so() {
    let (upstream, proxy) = start("").await;
    let mut connection = Raw::connect(proxy.data).await;
    let cases = [
        (
            "GET",
            "/v1/chat/completions",
            405,
            "method_not_allowed",
            "POST",
        ),
        ("POST", "/v1/models", 405, "method_not_allowed", "GET"),
        (
            "DELETE",
            "/v1/embeddings",
            405,
            "method_not_allowed",
            "POST",
        ),
        ("POST", "/v1/nothing", 404, "not_found", ""),
        (
            "POST",
            "/v1/chat/completions/../../admin",
            404,
            "not_found",
            "",
        ),
        ("GET", "/v1/%2e%2e/metrics", 404, "not_found", ""),
        ("GET", "/metrics", 404, "not_found", ""),
        ("POST", "/reload", 404, "not_found", ""),
        ("GET", "/v1/models/nobody", 404, "model_not_found", ""),
        ("GET", "/v1/requests/nobody", 404, "not_found", ""),
    ];
    for (method, path, status, code, allow) in cases {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
        connection.send(head).await;
        let reply = connection.reply().await.expect("the connection lives");
        assert_error(&reply, status, code, path);
        assert_eq!(reply.header("allow"), allow, "{path}");
    }
    let reply = connection.post_json(&chat("small", "hello")).await;
    assert_eq!(reply.expect("usable").status, 200);
    assert_eq!(upstream.calls(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn directives_that_are_wrong_are_named() {
    let (upstream, proxy) = start("").await;
    for (name, value) in [
        ("x-tollgate-tier", "gold"),
        ("x-tollgate-max-cost-usd", "cheap"),
        ("x-tollgate-max-cost-usd", "-1"),
        ("x-tollgate-level", "nonsense"),
        ("x-tollgate-task", "nonsense"),
        ("content-encoding", "gzip"),
    ] {
        let client = proxy.client().with(name, value);
        let reply = client.chat(&chat("auto", "hello")).await;
        let error = assert_error(&reply, 400, "invalid_request_error", name);
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|it| it.contains(name)),
            "{error}"
        );
    }
    assert_eq!(upstream.calls(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn without_the_right_key_nothing_is_read_and_nothing_is_kept() {
    let upstream = Upstream::plain("ok").await;
    let hash: Vec<String> = Sha256::digest(b"sk-good")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let hash = hash.concat();
    let yaml = two_models(&upstream.base_url(), "").replace(
        "auth: { mode: open }",
        &format!(
            "auth: {{ mode: keys }}\nteams: {{ red: {{ tier: standard, allow: [small] }} }}\nkeys: [ {{ id: red-1, sha256: \"{hash}\", team: red, app: web }} ]"
        ),
    );
    let proxy = Proxy::start(&yaml).await;
    let body = chat("small", "hello").to_string();
    // More than a socket's buffers hold, so that the answer comes while the client still writes.
    let big = chat("small", &"x".repeat(6 << 20)).to_string();
    let mut connection = Raw::connect(proxy.data).await;
    for headers in [
        "",
        "authorization: Bearer sk-wrong\r\n",
        "authorization: Bearer \r\n",
        "authorization: Basic c2stZ29vZA==\r\n",
        "authorization: Bearer sk-good-and-more\r\n",
        "x-api-key: sk-goo\r\n",
    ] {
        for body in [&body, &big] {
            let reply = connection.post(headers, body.as_bytes()).await;
            let reply = reply.expect("an answer, and the connection lives");
            let error = assert_error(&reply, 401, "invalid_api_key", headers);
            assert_eq!(error["type"], "authentication_error");
            assert!(!reply.text().contains("sk-g"), "no key is echoed: {error}");
        }
    }
    for headers in [
        "authorization: Bearer sk-good\r\n",
        "x-api-key: sk-good\r\n",
    ] {
        let reply = connection
            .post(headers, body.as_bytes())
            .await
            .expect("alive");
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let forbidden = chat("large", "hello").to_string();
    let headers = "authorization: Bearer sk-good\r\n";
    let reply = connection
        .post(headers, forbidden.as_bytes())
        .await
        .expect("alive");
    assert_error(&reply, 403, "model_not_allowed", "large");
    // Strangers do not fill the ledger.
    let kept = proxy.gateway.ledger.recent(100).expect("reads");
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|it| it.team.as_str() == "red"));
    assert_eq!(upstream.calls(), 2);
    proxy.stop().await;
}
