//! Requests to providers are signed: keys in headers and queries, AWS signatures by the provider's
//! clock, access tokens from an endpoint that expires, refuses and stalls.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use tollgate::types::Outcome;

use super::harness::{Proxy, Received, Script, Step, Upstream, upstream};

const KEY_PEM: &str = include_str!("../fixtures/google/test_only_key.pem");
const PUBLIC_KEY: &[u8] = include_bytes!("../fixtures/google/test_only_key.pub.der");

/// A provider `up` that is signed for as `auth` says, and one that needs nothing.
fn config(base_url: &str, auth: &str) -> String {
    format!(
        r#"
version: 1
state: {{ store: memory }}
providers:
  up: {{ base_url: "{base_url}", {auth} }}
models:
  m: {{ provider: up, upstream_model: gpt, price: 0 }}
matrix: {{ default: {{ simple: [m] }} }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
resilience: {{ timeouts: {{ response_ms: 1500 }}, retry: {{ base_delay_ms: 1, max_delay_ms: 1 }} }}
"#
    )
}

fn ask() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]})
}

/// A token endpoint that sells `t1`, `t2`, … which live this long.
async fn token_server(lives_seconds: u64) -> Upstream {
    Upstream::start(move |request| {
        let bought = format!("t{}", request.number + 1);
        let answer =
            json!({"access_token": bought, "token_type": "Bearer", "expires_in": lives_seconds});
        Script::json(200, &answer)
    })
    .await
}

fn entra(tokens: &Upstream) -> String {
    format!(
        "auth: {{ entra: {{ tenant: contoso.example, client_id: app, client_secret: \"hush-hush\", authority: \"http://{}\" }} }}",
        tokens.address
    )
}

fn google(tokens: &Upstream) -> String {
    let key = json!({
        "type": "service_account", "client_email": "robot@project.iam.example",
        "private_key_id": "k1", "private_key": KEY_PEM,
        "token_uri": format!("http://{}/token", tokens.address),
    });
    let key = key.to_string().replace('\'', "''");
    format!("auth: {{ google_service_account: {{ credentials: '{key}' }} }}")
}

fn form(request: &Received) -> Vec<(String, String)> {
    let text = String::from_utf8(request.body.clone()).expect("text");
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let value = value
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2E", ".");
            (name.to_owned(), value)
        })
        .collect()
}

fn field(form: &[(String, String)], name: &str) -> String {
    let found = form.iter().find(|(have, _)| have == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_service_account_s_assertion_buys_one_token_for_all() {
    let tokens = token_server(3600).await;
    let api = Upstream::plain("hi").await;
    let proxy = Proxy::start(&config(&api.base_url(), &google(&tokens))).await;
    let client = proxy.client();
    let body = ask();
    let asked = (0..10).map(|_| client.post("/v1/chat/completions", &body));
    for reply in futures_util::future::join_all(asked).await {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!((tokens.calls(), api.calls()), (1, 10));
    for request in api.received() {
        assert_eq!(request.headers["authorization"], "Bearer t1");
    }
    let asked = &tokens.received()[0];
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/token")
    );
    let form = form(asked);
    assert_eq!(
        field(&form, "grant_type"),
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
    );
    let assertion = field(&form, "assertion");
    let (signed, signature) = assertion.rsplit_once('.').expect("a JWT");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC_KEY)
        .verify(signed.as_bytes(), &signature)
        .expect("signed by the account's key");
    let part = |index: usize| -> Value {
        let part = assertion.split('.').nth(index).expect("a part");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
    };
    assert_eq!(part(0), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let claims = part(1);
    assert_eq!(claims["iss"], "robot@project.iam.example");
    assert_eq!(claims["aud"], format!("http://{}/token", tokens.address));
    assert_eq!(
        claims["scope"],
        "https://www.googleapis.com/auth/cloud-platform"
    );
    let (from, to) = (claims["iat"].as_i64(), claims["exp"].as_i64());
    assert_eq!(to.expect("exp") - from.expect("iat"), 3600);
    proxy.stop().await;
}

#[tokio::test]
async fn an_assertion_is_made_again_by_the_endpoint_s_clock() {
    let tokens = Upstream::start(|request| {
        if request.number == 0 {
            return Script::json(400, &json!({"error": "invalid_grant"}))
                .header("date", "Mon, 01 Jan 2035 00:00:00 GMT");
        }
        Script::json(200, &json!({"access_token": "t", "expires_in": 3600}))
    })
    .await;
    let api = Upstream::plain("hi").await;
    let proxy = Proxy::start(&config(&api.base_url(), &google(&tokens))).await;
    let reply = proxy.client().post("/v1/chat/completions", &ask()).await;
    assert_eq!((reply.status, tokens.calls()), (200, 2));
    let assertion = field(&form(&tokens.received()[1]), "assertion");
    let claims = URL_SAFE_NO_PAD
        .decode(assertion.split('.').nth(1).expect("claims"))
        .expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!(claims["iat"], 2_051_222_400);
    proxy.stop().await;
}

#[tokio::test]
async fn tokens_that_expire_are_bought_again() {
    let tokens = token_server(0).await;
    let api = Upstream::plain("hi").await;
    let proxy = Proxy::start(&config(&api.base_url(), &entra(&tokens))).await;
    for number in 1..=3 {
        let reply = proxy.client().post("/v1/chat/completions", &ask()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let sent = &api.received()[number - 1].headers["authorization"];
        assert_eq!(*sent, format!("Bearer t{number}"));
    }
    let asked = &tokens.received()[0];
    assert_eq!(asked.path, "/contoso.example/oauth2/v2.0/token");
    let form = form(asked);
    assert_eq!(field(&form, "grant_type"), "client_credentials");
    assert_eq!(field(&form, "client_id"), "app");
    assert_eq!(field(&form, "client_secret"), "hush-hush");
    assert_eq!(
        field(&form, "scope"),
        "https://cognitiveservices.azure.com/.default"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_refusal_is_an_error_that_names_no_secret_and_is_not_repeated_at_once() {
    let tokens = Upstream::start(|_| {
        let answer = json!({"error": "invalid_client", "error_codes": [7_000_215], "error_description": "hush-hush is wrong"});
        Script::json(401, &answer)
    })
    .await;
    let api = Upstream::plain("hi").await;
    let proxy = Proxy::start(&config(&api.base_url(), &entra(&tokens))).await;
    for _ in 0..3 {
        let reply = proxy.client().post("/v1/chat/completions", &ask()).await;
        assert_eq!(reply.status, 502, "{}", reply.text());
        assert!(!reply.text().contains("hush"), "{}", reply.text());
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(record.attempts[0].outcome, Outcome::UpstreamAuth);
        assert_eq!(record.cost.pico(), 0);
    }
    assert_eq!((tokens.calls(), api.calls()), (1, 0));
    proxy.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_stalls_costs_an_attempt_its_time_and_no_more() {
    let tokens = Upstream::start(|_| Script::json(200, &json!({})).before(Step::Stall)).await;
    let api = Upstream::plain("hi").await;
    let text = config(&api.base_url(), &entra(&tokens)).replace("1500", "100");
    let proxy = Proxy::start(&text).await;
    let reply = proxy.client().post("/v1/chat/completions", &ask()).await;
    assert_eq!(reply.status, 504, "{}", reply.text());
    assert_eq!((tokens.calls(), api.calls()), (1, 0));
    let reply = proxy.client().post("/v1/chat/completions", &ask()).await;
    assert_eq!(reply.status, 504, "{}", reply.text());
    assert_eq!(tokens.calls(), 1, "one purchase at a time");
}

#[tokio::test]
async fn aws_requests_are_signed_by_the_provider_s_clock() {
    let api = Upstream::start(|request| {
        let date = &request.headers["x-amz-date"];
        if date.starts_with("2035") {
            return Script::answer(request, "hi", 10, 5);
        }
        Script::json(403, &json!({"message": "Signature expired"}))
            .header("date", "Mon, 01 Jan 2035 00:00:00 GMT")
    })
    .await;
    let auth = "auth: { sigv4: { region: eu-west-1, access_key_id: AKIDEXAMPLE, secret_access_key: hush, session_token: sess } }";
    let proxy = Proxy::start(&config(&api.base_url(), auth)).await;
    let client = proxy.client();
    let reply = client.post("/v1/chat/completions", &ask()).await;
    assert_eq!((reply.status, api.calls()), (200, 2), "{}", reply.text());
    let reply = client.post("/v1/chat/completions", &ask()).await;
    assert_eq!((reply.status, api.calls()), (200, 3), "{}", reply.text());
    let sent = &api.received()[2];
    assert_eq!(sent.headers["x-amz-security-token"], "sess");
    let signature = &sent.headers["authorization"];
    let expect = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20350101/eu-west-1/bedrock/aws4_request, \
                  SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
    assert!(signature.starts_with(expect), "{signature}");
    assert_eq!(sent.headers["host"], api.address.to_string());
    proxy.stop().await;
}

#[tokio::test]
async fn a_key_goes_into_the_query_where_the_file_says_so() {
    let api = Upstream::plain("hi").await;
    let auth = "api_key: \"a b&c\", query: { alt: json }, auth: { query: key }";
    let proxy = Proxy::start(&config(&api.base_url(), auth)).await;
    let reply = proxy.client().post("/v1/chat/completions", &ask()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent = &api.received()[0];
    assert_eq!(sent.path, "/v1/chat/completions?alt=json&key=a%20b%26c");
    assert!(!sent.headers.contains_key("authorization"));
    proxy.stop().await;
}

#[tokio::test]
async fn azure_is_configuration_both_ways() {
    let api = Upstream::plain("hi").await;
    let deployments = format!("http://{}/openai/deployments/{{model}}", api.address);
    let auth = "api_key: k, auth: { header: api-key }, query: { api-version: 2025-04-01-preview }";
    let proxy = Proxy::start(&config(&deployments, auth)).await;
    let reply = proxy.client().post("/v1/chat/completions", &ask()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    proxy.stop().await;

    let v1 = format!("http://{}/openai/v1", api.address);
    let proxy = Proxy::start(&config(&v1, "api_key: k, auth_header: api-key")).await;
    let reply = proxy.client().post("/v1/chat/completions", &ask()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    proxy.stop().await;

    let paths: Vec<String> = api.received().into_iter().map(|it| it.path).collect();
    assert_eq!(
        paths,
        [
            "/openai/deployments/gpt/chat/completions?api-version=2025-04-01-preview",
            "/openai/v1/chat/completions"
        ]
    );
    for request in api.received() {
        assert_eq!(request.headers["api-key"], "k");
        assert!(!request.headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn a_rotated_key_is_read_again_on_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let (key, file) = (folder.path().join("key"), folder.path().join("routes.yaml"));
    std::fs::write(&key, "old\n").expect("written");
    let api = Upstream::plain("hi").await;
    let auth = format!("api_key: \"file:{}\"", key.display());
    std::fs::write(&file, config(&api.base_url(), &auth)).expect("written");
    let proxy = Proxy::start_file(file).await;
    proxy.client().post("/v1/chat/completions", &ask()).await;
    std::fs::write(&key, "new\n").expect("written");
    let reply = proxy.admin_client().post("/reload", &json!({})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    proxy.client().post("/v1/chat/completions", &ask()).await;
    let sent: Vec<String> = api
        .received()
        .into_iter()
        .map(|request| request.headers["authorization"].clone())
        .collect();
    assert_eq!(sent, ["Bearer old", "Bearer new"]);
    proxy.stop().await;
}
