//! Images, audio, moderations, files and batches go to the provider that the model, or the file, names:
//! bytes as they are, our credentials, and a bill.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tollgate::types::{Endpoint, Outcome, UsageSource};

use super::harness::{Client, Proxy, Received, Reply, Script, Step, Upstream};

const FORM: &str = "multipart/form-data; boundary=xx";

fn config(base_url: &str, more: &str) -> String {
    format!(
        r#"
version: 1
state: {{ store: memory }}
providers:
  up: {{ base_url: "{base_url}", api_key: ours }}
  sim: {{ simulated: {{}} }}
models:
  m: {{ provider: sim, price: 0 }}
  picture: {{ provider: up, upstream_model: gpt-image-1, price: {{ input: 5, output: 40 }}, context_tokens: 10000, max_output_tokens: 10000 }}
  dall-e-2: {{ provider: up, price: {{ input: 0, output: 0, per_image_usd: 0.02 }} }}
  voice: {{ provider: up, upstream_model: tts-1, price: {{ input: 15, output: 0 }} }}
  ears: {{ provider: up, upstream_model: whisper-1, price: {{ input: 2.5, output: 10, per_request_usd: 0.001 }}, context_tokens: 16000, max_output_tokens: 2000 }}
  omni-moderation-latest: {{ provider: up, price: 0 }}
  embedder: {{ provider: up, price: {{ input: 1 }}, supports: [embeddings] }}
aliases: {{ whisper-1: ears }}
matrix: {{ default: {{ simple: [m] }} }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
{more}
"#
    )
}

async fn start(upstream: &Upstream, more: &str) -> (Proxy, Client) {
    let proxy = Proxy::start(&config(&upstream.base_url(), more)).await;
    let client = proxy
        .client()
        .with("authorization", "Bearer theirs")
        .with("x-secret", "theirs");
    (proxy, client)
}

/// What reached the upstream holds nothing of the client's.
fn assert_clean(received: &Received) {
    assert_eq!(received.headers["authorization"], "Bearer ours");
    for (name, value) in &received.headers {
        assert!(!value.contains("theirs"), "{name}: {value}");
    }
}

fn form(model: &str, file: &[u8]) -> Vec<u8> {
    let mut body = b"--xx\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\
                     content-type: audio/mpeg\r\n\r\n"
        .to_vec();
    body.extend_from_slice(file);
    body.extend_from_slice(
        format!("\r\n--xx\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--xx--\r\n").as_bytes(),
    );
    body
}

/// The next bytes of a body, or that it broke off.
async fn next(body: &mut Incoming) -> Option<Result<Vec<u8>, ()>> {
    let frame = body.frame().await?;
    Some(match frame {
        Ok(frame) => Ok(frame
            .into_data()
            .map(|data| data.to_vec())
            .unwrap_or_default()),
        Err(_) => Err(()),
    })
}

#[tokio::test]
async fn images_are_billed_by_what_the_answer_says() {
    let answer = json!({"created": 1, "data": [{"b64_json": "AAAA"}], "usage": {"input_tokens": 100, "output_tokens": 1000, "total_tokens": 1100}});
    let upstream = Upstream::start(move |_| Script::json(200, &answer)).await;
    let (proxy, client) = start(&upstream, "").await;
    let asked = json!({"prompt": "a cat", "model": "picture", "n": 1, "strange": [1]});
    let reply = client.post("/v1/images/generations", &asked).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-tollgate-model"), "picture");
    assert_eq!(reply.header("x-tollgate-provider"), "up");
    assert_eq!(reply.header("x-tollgate-reason"), "pinned");
    // 100 × 5 + 1000 × 40 USD per million.
    assert_eq!(reply.header("x-tollgate-cost-usd"), "0.0405");
    let received = &upstream.received()[0];
    assert_eq!(received.path, "/v1/images/generations");
    assert_eq!(
        String::from_utf8_lossy(&received.body),
        asked.to_string().replace("\"picture\"", "\"gpt-image-1\"")
    );
    assert_clean(received);
    let record = proxy.record(&reply.request_id()).await;
    assert_eq!(
        (record.endpoint, record.outcome),
        (Endpoint::Images, Outcome::Ok)
    );
    assert_eq!(record.cost.to_string(), "0.0405");
    assert_eq!(record.attempts[0].usage, UsageSource::Reported);
    proxy.stop().await;
}

#[tokio::test]
async fn images_without_a_model_are_openai_s_usual_one_and_charged_one_by_one() {
    let answer = json!({"data": [{"url": "a"}, {"url": "b"}]});
    let upstream = Upstream::start(move |_| Script::json(200, &answer)).await;
    let (proxy, client) = start(&upstream, "").await;
    let reply = client
        .post("/images/generations", &json!({"prompt": "a cat", "n": 3}))
        .await;
    assert_eq!(
        reply.header("x-tollgate-cost-usd"),
        "0.04",
        "{}",
        reply.text()
    );
    let reply = client.post("/v1/moderations", &json!({"input": "x"})).await;
    assert_eq!(reply.header("x-tollgate-model"), "omni-moderation-latest");
    proxy.stop().await;
}

#[tokio::test]
async fn speech_flows_through_as_it_comes() {
    let upstream = Upstream::start(|_| {
        let mut script = Script::steps(vec![
            Step::Chunk(vec![0, 255, 1]),
            Step::Gate,
            Step::Chunk(vec![254, 2]),
        ]);
        script.headers = vec![("content-type".to_owned(), "audio/mpeg".to_owned())];
        script
    })
    .await;
    let (proxy, client) = start(&upstream, "").await;
    let asked = json!({"model": "voice", "input": "h\u{e9}llo", "voice": "alloy"});
    let response = client
        .open("POST", "/v1/audio/speech", asked.to_string())
        .await;
    assert_eq!(response.headers()["content-type"], "audio/mpeg");
    let request_id = response.headers()["x-request-id"].clone();
    let mut body = response.into_body();
    assert_eq!(next(&mut body).await, Some(Ok(vec![0, 255, 1])));
    upstream.open_gate();
    assert_eq!(next(&mut body).await, Some(Ok(vec![254, 2])));
    assert_eq!(next(&mut body).await, None);
    let record = proxy.record(request_id.to_str().expect("an id")).await;
    // Five characters at 15 USD per million; nobody reported them.
    assert_eq!(record.cost.to_string(), "0.000075");
    assert_eq!(record.attempts[0].usage, UsageSource::Estimated);
    proxy.stop().await;
}

#[tokio::test]
async fn a_form_s_model_is_found_behind_its_file_and_renamed() {
    let answer =
        json!({"text": "hi", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45}});
    let upstream = Upstream::start(move |_| Script::json(200, &answer)).await;
    let (proxy, client) = start(&upstream, "").await;
    let file: Vec<u8> = (0..200_000_u32)
        .map(|n| u8::try_from(n % 251).expect("small"))
        .collect();
    let reply = client
        .send_as(
            "POST",
            "/v1/audio/transcriptions",
            FORM,
            form("ears", &file),
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let received = &upstream.received()[0];
    assert_eq!(received.headers["content-type"], FORM);
    assert_eq!(received.body, form("whisper-1", &file));
    assert_clean(received);
    // 0.001 + 14 × 2.5 + 45 × 10 USD per million.
    assert_eq!(reply.header("x-tollgate-cost-usd"), "0.001485");

    let reply = client
        .send_as(
            "POST",
            "/v1/audio/translations",
            FORM,
            form("whisper-1", b"x"),
        )
        .await;
    assert_eq!(reply.header("x-tollgate-model"), "ears", "an alias");
    let mut twice = form("ears", b"x");
    twice.truncate(twice.len() - "--xx--\r\n".len());
    twice.extend_from_slice(&form("voice", b"x"));
    let calls = upstream.calls();
    let reply = client
        .send_as("POST", "/v1/audio/translations", FORM, twice)
        .await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.text().contains("more than once"), "{}", reply.text());
    assert_eq!(upstream.calls(), calls);
    proxy.stop().await;
}

#[tokio::test]
async fn budgets_and_limits_hold_here_too() {
    let upstream = Upstream::start(|_| Script::json(200, &json!({"data": []}))).await;
    let budgets = "budgets: [{ name: b, limit_usd: 0.05, period: month }]";
    let (proxy, client) = start(&upstream, budgets).await;
    let asked = json!({"model": "dall-e-2", "prompt": "x", "n": 3});
    let reply = client.post("/v1/images/generations", &asked).await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert_eq!(reply.json()["error"]["code"], "budget_exceeded");
    let capped = client.clone().with("x-tollgate-max-cost-usd", "0.01");
    let asked = json!({"model": "dall-e-2", "prompt": "x"});
    let reply = capped.post("/v1/images/generations", &asked).await;
    assert_eq!(reply.json()["error"]["code"], "budget_exceeded");
    assert_eq!(upstream.calls(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn an_end_user_s_budget_pays_here_too() {
    let upstream = Upstream::start(|_| Script::json(200, &json!({"data": [{"url": "a"}]}))).await;
    let budgets = "budgets: [{ name: each, match: { team: default, end_user: \"*\" }, limit_usd: 0.05, period: total }]";
    let (proxy, client) = start(&upstream, budgets).await;
    let asked = |user: &str| json!({"model": "dall-e-2", "prompt": "x", "n": 1, "user": user});
    for (user, status) in [("ann", 200), ("ann", 200), ("ann", 429), ("bob", 200)] {
        let reply = client.post("/v1/images/generations", &asked(user)).await;
        assert_eq!(reply.status, status, "{user}: {}", reply.text());
    }
    // In a form before its file; two cents each.
    let edit = |user: &str| {
        let field = |name: &str, value: &str| {
            format!("--xx\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let fields = field("model", "dall-e-2") + &field("n", "1") + &field("user", user);
        let image = "--xx\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\npng\r\n--xx--\r\n";
        (fields + image).into_bytes()
    };
    for (user, status) in [("bob", 200), ("bob", 429), ("cid", 200)] {
        let sent = client.send_as("POST", "/v1/images/edits", FORM, edit(user));
        let reply = sent.await;
        assert_eq!(reply.status, status, "{user}: {}", reply.text());
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(record.end_user.as_deref(), Some(user));
    }
    proxy.stop().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_said_with_what_can() {
    let upstream = Upstream::plain("x").await;
    let (proxy, client) = start(&upstream, "").await;
    let check = async |model: Value, status: u16, text: &str| {
        let mut asked = json!({"prompt": "x"});
        if !model.is_null() {
            asked["model"] = model;
        }
        let reply: Reply = client.post("/v1/audio/speech", &asked).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        let message = reply.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(message.contains(text), "{message}");
    };
    check(json!("pictrue"), 404, "did you mean `picture`?").await;
    check(json!("m"), 400, "models that are: `picture`, `dall-e-2`").await;
    check(json!("auto"), 400, "`auto` is routed").await;
    check(Value::Null, 400, "`model` is missing").await;
    check(json!(1), 400, "`model` must be text").await;
    let reply = client.get("/v1/audio/speech").await;
    assert_eq!((reply.status, reply.header("allow")), (405, "POST"));
    assert_eq!(upstream.calls(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_signature_that_covers_the_body_refuses_one_that_flows() {
    let upstream = Upstream::start(|_| Script::json(200, &json!({"id": "file-1"}))).await;
    let auth = "auth: { sigv4: { region: eu-west-1, service: bedrock, access_key_id: AKIDEXAMPLE, secret_access_key: hush } }";
    let text = config(&upstream.base_url(), "pass_through: { files: [up] }")
        .replace("api_key: ours", auth);
    let proxy = Proxy::start(&text).await;
    let client = proxy.client();
    let reply = client
        .post("/v1/batches", &json!({"input_file_id": "f"}))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let signature = &upstream.received()[0].headers["authorization"];
    assert!(signature.starts_with("AWS4-HMAC-SHA256"), "{signature}");
    let file = vec![b'x'; 4 << 20];
    let reply = client
        .send_as("POST", "/v1/files", FORM, form("any", &file))
        .await;
    assert!(reply.status >= 500, "{} {}", reply.status, reply.text());
    let record = proxy.record(&reply.request_id()).await;
    assert_eq!(record.cost.pico(), 0);
    assert_eq!(upstream.calls(), 1, "nothing is sent unsigned");
    assert!(reply.text().contains("covers the body"), "{}", reply.text());
    proxy.stop().await;
}

#[tokio::test]
async fn files_and_batches_go_to_the_provider_that_the_file_names() {
    let upstream = Upstream::start(|request| match request.path.as_str() {
        "/v1/files/gone" => Script::error(404, "not_found", "No such File object: gone"),
        _ => Script::json(
            200,
            &json!({"seen": request.path, "method": request.method}),
        ),
    })
    .await;
    let (proxy, client) = start(&upstream, "pass_through: { files: [up] }").await;
    let reply = client
        .send_as("POST", "/v1/files", FORM, form("no-model-of-ours", b"{}"))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(upstream.received()[0].body, form("no-model-of-ours", b"{}"));
    assert_eq!(reply.header("x-tollgate-provider"), "up");
    let reply = client
        .get("/v1/files?purpose=batch&key=1&limit=5&after=a/b")
        .await;
    assert_eq!(reply.json()["seen"], "/v1/files?purpose=batch&limit=5");
    let reply = client.get("/v1/files/file-1/content").await;
    assert_eq!(reply.json()["seen"], "/v1/files/file-1/content");
    let reply = client.send("DELETE", "/v1/files/file-1", "").await;
    assert_eq!(reply.json()["method"], "DELETE");
    let reply = client
        .post(
            "/v1/batches",
            &json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions"}),
        )
        .await;
    assert_eq!(reply.json()["seen"], "/v1/batches");
    let reply = client.get("/v1/files/gone").await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["error"]["code"], "not_found");
    let record = proxy.record(&reply.request_id()).await;
    assert_eq!((record.endpoint, record.cost.pico()), (Endpoint::Files, 0));
    let reply = client
        .clone()
        .with("x-tollgate-provider", "sim")
        .get("/v1/files")
        .await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    for received in upstream.received() {
        assert_clean(&received);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn with_keys_nobody_shares_files_unless_the_file_says_so() {
    let upstream = Upstream::plain("x").await;
    let keys = "auth: { mode: keys }\nkeys: [{ id: k, sha256: \"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\" }]";
    let proxy = Proxy::start(&config(&upstream.base_url(), keys)).await;
    let client = proxy.client().with("authorization", "Bearer foo");
    let reply = client.get("/v1/files").await;
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert!(reply.text().contains("pass_through.files"));
    assert_eq!(proxy.client().get("/v1/files").await.status, 401);
    assert_eq!(upstream.calls(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn an_upstream_that_fails_is_retried_while_its_bytes_are_here() {
    let upstream = Upstream::start(|request| match request.number {
        0 => Script::error(503, "overloaded", "later"),
        _ => Script::json(200, &json!({"data": [{}]})),
    })
    .await;
    let retry = "resilience: { retry: { base_delay_ms: 1, max_delay_ms: 1 } }";
    let (proxy, client) = start(&upstream, retry).await;
    let asked = json!({"model": "dall-e-2", "prompt": "x"});
    let reply = client.post("/v1/images/generations", &asked).await;
    assert_eq!(
        (reply.status, upstream.calls()),
        (200, 2),
        "{}",
        reply.text()
    );
    assert_eq!(reply.header("x-tollgate-attempts"), "2");
    proxy.stop().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_complete() {
    let upstream = Upstream::start(|_| {
        let mut script = Script::steps(vec![Step::Chunk(vec![1, 2, 3]), Step::Cut]);
        script.headers = vec![("content-type".to_owned(), "audio/mpeg".to_owned())];
        script
    })
    .await;
    let (proxy, client) = start(&upstream, "").await;
    let asked = json!({"model": "voice", "input": "hello"});
    let response = client
        .open("POST", "/v1/audio/speech", asked.to_string())
        .await;
    let request_id = response.headers()["x-request-id"].clone();
    let mut body = response.into_body();
    assert_eq!(next(&mut body).await, Some(Ok(vec![1, 2, 3])));
    assert_eq!(next(&mut body).await, Some(Err(())));
    let record = proxy.record(request_id.to_str().expect("an id")).await;
    assert_eq!(record.outcome, Outcome::StreamBroken);
    proxy.stop().await;
}

#[tokio::test]
async fn embeddings_keep_their_dimensions_and_encoding() {
    let answer = json!({"object": "list", "model": "embedder", "data": [{"object": "embedding", "index": 0, "embedding": "AACAPw=="}], "usage": {"prompt_tokens": 2, "total_tokens": 2}});
    let upstream = Upstream::start(move |_| Script::json(200, &answer)).await;
    let (proxy, client) = start(&upstream, "").await;
    let asked =
        json!({"model": "embedder", "input": ["a"], "dimensions": 1, "encoding_format": "base64"});
    let reply = client.post("/v1/embeddings", &asked).await;
    assert_eq!(reply.json()["data"][0]["embedding"], "AACAPw==");
    assert_eq!(upstream.received()[0].json(), asked);
    proxy.stop().await;
}
