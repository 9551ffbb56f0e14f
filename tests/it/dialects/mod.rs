//! Every client's dialect against every upstream's: what was said arrives, whole and streamed, with
//! tools and errors, and is billed by what the upstream counted.

mod clients;
pub mod upstreams;

use serde_json::{Value, json};

use crate::harness::{Proxy, Upstream};

use clients::{ENDPOINTS, hear, request};
use upstreams::{Scene, TEXT, UPSTREAMS, answer};

async fn proxy(upstream: &Upstream, dialect: &str) -> Proxy {
    let base = match dialect {
        "anthropic_messages" | "bedrock_converse" => format!("http://{}", upstream.address),
        "gemini_generate" => format!("http://{}/v1beta", upstream.address),
        _ => upstream.base_url(),
    };
    let yaml = format!(
        r#"
version: 1
state: {{ store: memory }}
auth: {{ mode: open }}
providers: {{ up: {{ dialect: {dialect}, base_url: "{base}" }} }}
models: {{ m: {{ provider: up, upstream_model: up-1, price: {{ input: 1.0, cached_input: 0.1, output: 10.0 }}, context_tokens: 128000, max_output_tokens: 4096 }} }}
matrix: {{ default: {{ simple: [m], complex: [m], critical: [m] }} }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
"#
    );
    Proxy::start(&yaml).await
}

/// 60 fresh tokens at one dollar per million, 40 from the cache at a tenth of it, 20 of output at ten.
const COST_PICO_USD: i128 = 60_000_000 + 4_000_000 + 200_000_000;

/// Runs `scene` for every client and every upstream that `served` names.
async fn everywhere(scene: Scene, check: impl Fn(&str, &str, bool, &crate::harness::Reply)) {
    for &dialect in UPSTREAMS {
        let upstream = Upstream::start(move |request| answer(dialect, scene, request)).await;
        let proxy = proxy(&upstream, dialect).await;
        for &endpoint in ENDPOINTS {
            for stream in [false, true] {
                if scene == Scene::Torn && !stream {
                    continue;
                }
                let reply = proxy
                    .client()
                    .post(endpoint, &request(endpoint, stream))
                    .await;
                check(dialect, endpoint, stream, &reply);
                if matches!(scene, Scene::Text | Scene::ToolCall) {
                    let record = proxy.record(&reply.request_id()).await;
                    let place = format!("{dialect} {endpoint} stream={stream}");
                    assert_eq!(record.cost.pico(), COST_PICO_USD, "{place}: {record:#?}");
                    assert_eq!(record.estimated_cost.pico(), 0, "{place}");
                    assert_eq!(record.attempts.len(), 1, "{place}");
                }
            }
        }
        for seen in upstream.received() {
            check_request(dialect, &seen.json());
        }
        proxy.stop().await;
    }
}

/// What an upstream was asked is what the client said.
fn check_request(dialect: &str, body: &Value) {
    let text = body.to_string();
    for said in [
        "Be brief.",
        "Hello.",
        "Weather in Málaga?",
        "get_weather",
        "The weather",
        "500",
    ] {
        assert!(text.contains(said), "{dialect}: no {said:?} in {text}");
    }
    let schema = match dialect {
        "openai_chat" => &body["tools"][0]["function"]["parameters"],
        "openai_responses" => &body["tools"][0]["parameters"],
        "anthropic_messages" => &body["tools"][0]["input_schema"],
        "gemini_generate" => {
            let function = &body["tools"][0]["functionDeclarations"][0];
            if function["parametersJsonSchema"].is_null() {
                &function["parameters"]
            } else {
                &function["parametersJsonSchema"]
            }
        }
        _ => &body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"],
    };
    assert_eq!(schema["required"], json!(["city"]), "{dialect}: {text}");
}

fn finish(endpoint: &str, calls: bool) -> &'static str {
    match (endpoint, calls) {
        ("/v1/chat/completions", false) => "stop",
        ("/v1/chat/completions", true) => "tool_calls",
        ("/v1/messages", false) => "end_turn",
        ("/v1/messages", true) => "tool_use",
        _ => "completed",
    }
}

#[tokio::test]
async fn a_text_arrives_whoever_asks_and_whoever_answers() {
    everywhere(Scene::Text, |dialect, endpoint, stream, reply| {
        let place = format!("{dialect} {endpoint} stream={stream}");
        assert_eq!(reply.status, 200, "{place}: {}", reply.text());
        let heard = hear(endpoint, stream, reply);
        assert_eq!(heard.text, TEXT, "{place}");
        assert_eq!(heard.finish, finish(endpoint, false), "{place}");
        assert_eq!(heard.usage, (100, 40, 20), "{place}: {}", reply.text());
        assert_eq!(heard.error, None, "{place}");
        let model = if dialect == "bedrock_converse" {
            &heard.model
        } else {
            "up-1"
        };
        assert_eq!(heard.model, model, "{place}");
    })
    .await;
}

#[tokio::test]
async fn a_tool_call_arrives_whoever_asks_and_whoever_answers() {
    everywhere(Scene::ToolCall, |dialect, endpoint, stream, reply| {
        let place = format!("{dialect} {endpoint} stream={stream}");
        assert_eq!(reply.status, 200, "{place}: {}", reply.text());
        let heard = hear(endpoint, stream, reply);
        let call = ("get_weather".to_owned(), json!({"city": "Málaga"}));
        assert_eq!(heard.calls, [call], "{place}: {}", reply.text());
        assert_eq!(heard.finish, finish(endpoint, true), "{place}");
    })
    .await;
}

#[tokio::test]
async fn a_refusal_arrives_in_the_clients_form_and_the_upstreams_words() {
    everywhere(Scene::Refused, |dialect, endpoint, stream, reply| {
        let place = format!("{dialect} {endpoint} stream={stream}");
        assert_eq!(reply.status, 400, "{place}: {}", reply.text());
        let body = reply.json();
        assert_eq!(
            body["error"]["message"], "temperature: must not be negative",
            "{place}: {body}"
        );
        if endpoint == "/v1/messages" {
            assert_eq!(body["type"], "error", "{place}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_torn_stream_ends_with_an_error_in_the_clients_form() {
    everywhere(Scene::Torn, |dialect, endpoint, stream, reply| {
        let place = format!("{dialect} {endpoint} stream={stream}");
        assert_eq!(reply.status, 200, "{place}");
        let heard = hear(endpoint, stream, reply);
        assert!(
            TEXT.starts_with(&heard.text) && !heard.text.is_empty(),
            "{place}"
        );
        assert!(heard.error.is_some(), "{place}: {}", reply.text());
    })
    .await;
}
