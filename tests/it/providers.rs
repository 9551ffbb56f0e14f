//! Every provider of docs/providers.md as it stands there, but for its host: each model is asked, and what
//! arrives has the path and the credentials that the provider documents.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;
use tollgate::types::Endpoint;
use tollgate::types::chat::{AnswerHead, Block, ChatAnswer, Choice, FinishReason};
use tollgate::wire::DialectId;
use tollgate::wire::translate::Asked;

use super::harness::{Proxy, Received, Script, Upstream};

const PAGE: &str = include_str!("../../docs/providers.md");
const KEY_PEM: &str = include_str!("../fixtures/google/test_only_key.pem");

/// Provider, path with query, header, what the header's value begins with. In the order of the page.
const EXPECTED: [(&str, &str, &str, &str); 23] = [
    (
        "openai",
        "/v1/chat/completions",
        "authorization",
        "Bearer set",
    ),
    (
        "azure",
        "/openai/deployments/my-deployment/chat/completions?api-version=2025-04-01-preview",
        "api-key",
        "set",
    ),
    (
        "azure-v1",
        "/openai/v1/chat/completions",
        "authorization",
        "Bearer t",
    ),
    (
        "bedrock",
        "/openai/v1/chat/completions",
        "authorization",
        AWS,
    ),
    (
        "bedrock-converse",
        "/model/us.amazon.nova-pro-v1%3A0/converse",
        "authorization",
        AWS,
    ),
    (
        "bedrock-converse",
        "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse",
        "authorization",
        AWS,
    ),
    (
        "bedrock-claude",
        "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke",
        "authorization",
        AWS,
    ),
    (
        "gemini",
        "/v1beta/openai/chat/completions",
        "authorization",
        "Bearer set",
    ),
    (
        "gemini-native",
        "/v1beta/models/gemini-3.8-flash:generateContent",
        "x-goog-api-key",
        "set",
    ),
    (
        "vertex",
        "/v1/projects/PROJECT/locations/europe-west1/endpoints/openapi/chat/completions",
        "authorization",
        "Bearer t",
    ),
    (
        "vertex-gemini",
        "/v1/projects/PROJECT/locations/europe-west1/publishers/google/models/gemini-3.8-flash:generateContent",
        "authorization",
        "Bearer t",
    ),
    (
        "vertex-claude",
        "/v1/projects/PROJECT/locations/europe-west1/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
        "authorization",
        "Bearer t",
    ),
    (
        "groq",
        "/openai/v1/chat/completions",
        "authorization",
        "Bearer set",
    ),
    (
        "mistral",
        "/v1/chat/completions",
        "authorization",
        "Bearer set",
    ),
    (
        "deepseek",
        "/v1/chat/completions",
        "authorization",
        "Bearer set",
    ),
    ("xai", "/v1/chat/completions", "authorization", "Bearer set"),
    (
        "together",
        "/v1/chat/completions",
        "authorization",
        "Bearer set",
    ),
    (
        "fireworks",
        "/inference/v1/chat/completions",
        "authorization",
        "Bearer set",
    ),
    (
        "openrouter",
        "/api/v1/chat/completions",
        "http-referer",
        "https://apps.example",
    ),
    ("ollama", "/v1/chat/completions", "", ""),
    ("vllm", "/v1/chat/completions", "", ""),
    ("llama-cpp", "/v1/chat/completions", "", ""),
    ("lm-studio", "/v1/chat/completions", "", ""),
];

const AWS: &str = "AWS4-HMAC-SHA256 Credential=set/";

/// An answer in the dialect that the path is of.
fn answer(request: &Received) -> Script {
    let path = &request.path;
    let dialect = if path.contains("enerateContent") {
        DialectId::GeminiGenerate
    } else if path.contains("/converse") {
        DialectId::BedrockConverse
    } else if path.contains("/invoke") || path.contains("awPredict") {
        DialectId::AnthropicMessages
    } else {
        DialectId::OpenaiChat
    };
    let said = ChatAnswer {
        dialect: "none",
        head: AnswerHead {
            id: "a1".into(),
            model: "m".into(),
            ..AnswerHead::default()
        },
        choices: vec![Choice {
            blocks: vec![Block::text("hi")],
            finish: FinishReason::Stop.into(),
            ..Choice::default()
        }],
        ..ChatAnswer::default()
    };
    let none = Bytes::new();
    let asked = Asked {
        endpoint: Endpoint::ChatCompletions,
        body: &none,
        include_usage: true,
        id: "r1",
        created: 7,
        from: "none",
    };
    let body = dialect.translate().write_answer(&said, &asked);
    Script::json(200, &serde_json::from_slice(&body).expect("JSON"))
}

/// The example with hosts and secrets of this test.
fn local(example: &str, api: &Upstream, tokens: &Upstream) -> String {
    let account = json!({
        "type": "service_account", "client_email": "robot@project.iam.example",
        "private_key": KEY_PEM, "token_uri": format!("http://{}/token", tokens.address),
    });
    let account = account.to_string().replace('\'', "''");
    let mut text = String::new();
    for line in example.lines() {
        let mut line = line.to_owned();
        if let Some(at) = line.find("base_url: ") {
            let host = at + "base_url: ".len();
            let scheme = host + line[host..].find("//").expect("an address") + 2;
            let path = line[scheme..]
                .find('/')
                .map_or(line.len(), |it| scheme + it);
            line.replace_range(host..path, &format!("http://{}", api.address));
        }
        if line.trim_start().starts_with("client_secret:") {
            let indent = line.len() - line.trim_start().len();
            let authority = format!("authority: \"http://{}\"", tokens.address);
            line = format!("{line}\n{:indent$}{authority}", "");
        }
        line = line.replace(
            "\"${GOOGLE_APPLICATION_CREDENTIALS}\"",
            &format!("'{account}'"),
        );
        while let Some(from) = line.find("${") {
            let to = from + line[from..].find('}').expect("its end");
            line.replace_range(from..=to, "set");
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Names of an example's models and of the provider of each.
fn models(example: &str) -> Vec<(String, String)> {
    let listed = example.split("models:\n").nth(1).expect("models");
    let entries = listed.lines().filter(|line| line.contains("provider: "));
    entries
        .map(|line| {
            let (name, entry) = line.trim().split_once(": ").expect("an entry");
            let (_, rest) = entry.split_once("provider: ").expect("a provider");
            let provider = rest.split([',', ' ']).next().expect("a name");
            (name.to_owned(), provider.to_owned())
        })
        .collect()
}

#[tokio::test]
async fn every_example_asks_its_provider_at_the_right_place() {
    let api = Upstream::start(answer).await;
    let tokens = Upstream::start(|request| {
        let bought = format!("t{}", request.number + 1);
        Script::json(
            200,
            &json!({"access_token": bought, "token_type": "Bearer", "expires_in": 3600}),
        )
    })
    .await;
    let examples = PAGE.split("```yaml\n").skip(1);
    let examples = examples.filter_map(|rest| rest.split("```").next());
    let mut asked = Vec::new();
    for example in examples {
        let models = models(example);
        let text = local(example, &api, &tokens);
        let first = &models[0].0;
        let file = format!(
            "version: 1\nstate: {{ store: memory }}\n{text}matrix: {{ default: {{ simple: [\"{first}\"] }} }}\n"
        );
        let proxy = Proxy::start(&file).await;
        for (model, provider) in models {
            let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
            let reply = proxy.client().chat(&body).await;
            assert_eq!(reply.status, 200, "{provider}: {}", reply.text());
            assert_eq!(reply.json()["choices"][0]["message"]["content"], "hi");
            asked.push(provider);
        }
        proxy.stop().await;
    }
    let received = api.received();
    assert_eq!(received.len(), EXPECTED.len(), "{asked:?}");
    let sent = asked.iter().zip(&received);
    for ((provider, request), (name, path, header, value)) in sent.zip(EXPECTED) {
        let found: BTreeMap<_, _> = request.headers.iter().collect();
        assert_eq!((provider.as_str(), request.path.as_str()), (name, path));
        if header.is_empty() {
            assert!(!request.headers.contains_key("authorization"), "{name}");
            continue;
        }
        let is = request.headers.get(header);
        assert!(
            is.is_some_and(|it| it.starts_with(value)),
            "{name}: {found:?}"
        );
    }
}
