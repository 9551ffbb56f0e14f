//! The data listener's door: TLS with a certificate that is renewed on disk, HTTP/2, drain, and what
//! never goes upstream.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tollgate::config::snapshot::TlsParams;
use tollgate::server::TlsIdentity;

use crate::harness::proxy::{chat, two_models};
use crate::harness::upstream::{stream_payloads, usage};
use crate::harness::{Proxy, Script, Step, Upstream};

fn write_certificate(folder: &Path) -> String {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    fs::write(folder.join("cert.pem"), cert.pem()).expect("written");
    fs::write(folder.join("key.pem"), signing_key.serialize_pem()).expect("written");
    cert.pem()
}

fn trusting(pem: &str) -> reqwest::Client {
    let _already_set = rustls::crypto::ring::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(pem.as_bytes()).expect("a root");
    reqwest::Client::builder()
        .tls_certs_only([root])
        .build()
        .expect("a client")
}

#[tokio::test]
async fn tls_speaks_http2_and_takes_a_renewed_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let pem = write_certificate(folder.path());
    let upstream = Upstream::plain("over TLS").await;
    let tls = format!(
        "server: {{ tls: {{ cert: \"{0}/cert.pem\", key: \"{0}/key.pem\" }} }}",
        folder.path().display()
    );
    let proxy = Proxy::start(&two_models(&upstream.base_url(), &tls)).await;
    let url = format!(
        "https://localhost:{}/v1/chat/completions",
        proxy.data.port()
    );
    let post = |client: reqwest::Client| {
        client
            .post(&url)
            .body(chat("small", "hello").to_string())
            .send()
    };
    let reply = post(trusting(&pem)).await.expect("an answer");
    assert_eq!(
        (reply.status().as_u16(), reply.version()),
        (200, reqwest::Version::HTTP_2)
    );

    let renewed = write_certificate(folder.path());
    let mut last = None;
    for _ in 0..100 {
        last = Some(post(trusting(&renewed)).await);
        if matches!(&last, Some(Ok(_))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        last.expect("tried")
            .expect("the renewed certificate is served")
            .status()
            .as_u16(),
        200
    );
    proxy.stop().await;
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_the_last_one_in_force() {
    let folder = tempfile::tempdir().expect("a folder");
    write_certificate(folder.path());
    let params = TlsParams {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
    };
    let identity = TlsIdentity::load(&params).expect("it fits");
    assert!(!identity.refresh().expect("nothing changed"));
    let later = std::time::SystemTime::now() + Duration::from_secs(10);
    fs::write(&params.cert, "no certificate").expect("written");
    fs::File::options()
        .write(true)
        .open(&params.cert)
        .expect("there")
        .set_modified(later)
        .expect("touched");
    assert!(identity.refresh().is_err());
    assert!(!identity.refresh().expect("looked at once for each change"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lets_streams_finish_and_takes_nothing_new() {
    let upstream = Upstream::start(|request| {
        let mut steps: Vec<Step> = stream_payloads(request, "one two", &usage(10, 5))
            .iter()
            .map(|payload| Step::Chunk(format!("data: {payload}\n\n").into_bytes()))
            .collect();
        steps.insert(1, Step::Gate);
        Script::steps(steps)
    })
    .await;
    let mut proxy = Proxy::start(&two_models(
        &upstream.base_url(),
        "server: { drain_seconds: 30 }",
    ))
    .await;
    let (client, admin) = (proxy.client(), proxy.admin_client());
    let mut streamed = chat("small", "hello");
    streamed["stream"] = json!(true);
    let stream = client
        .open("POST", "/v1/chat/completions", streamed.to_string())
        .await;
    let request_id = stream.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(admin.get("/readyz").await.status, 200);

    let gateway = Arc::clone(&proxy.gateway);
    let stopping = tokio::spawn(proxy.running.take().expect("it runs").stop());
    gateway.stop.cancelled().await;
    assert_eq!(
        admin.get("/readyz").await.status,
        503,
        "readiness fails at once"
    );
    upstream.open_gate();
    let body = stream
        .into_body()
        .collect()
        .await
        .expect("not cut")
        .to_bytes();
    assert!(body.ends_with(b"data: [DONE]\n\n"), "{body:?}");
    stopping.await.expect("the drain ends");
    assert!(
        tokio::net::TcpStream::connect(proxy.data).await.is_err(),
        "nothing listens any more"
    );
    let id = tollgate::types::RequestId::from_text(&request_id);
    assert!(
        gateway.ledger.request(&id).expect("reads").is_some(),
        "the record is there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_outlives_the_drain_ends_with_an_error_event() {
    let upstream = Upstream::start(|request| {
        let first = &stream_payloads(request, "one", &usage(10, 5))[1];
        Script::steps(vec![
            Step::Chunk(format!("data: {first}\n\n").into_bytes()),
            Step::Stall,
        ])
    })
    .await;
    let mut proxy = Proxy::start(&two_models(
        &upstream.base_url(),
        "server: { drain_seconds: 1 }",
    ))
    .await;
    let mut streamed = chat("small", "hello");
    streamed["stream"] = json!(true);
    let stream = proxy
        .client()
        .open("POST", "/v1/chat/completions", streamed.to_string())
        .await;
    let stopping = tokio::spawn(proxy.running.take().expect("it runs").stop());
    let body = stream
        .into_body()
        .collect()
        .await
        .expect("a clean end of body")
        .to_bytes();
    let text = String::from_utf8_lossy(&body);
    assert!(
        text.contains("\"code\":\"overloaded\"") && !text.contains("[DONE]"),
        "{text}"
    );
    stopping.await.expect("nothing hangs on an open stream");
}

#[tokio::test]
async fn credentials_and_connection_headers_of_the_client_stay_here() {
    let upstream = Upstream::plain("ok").await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let client = proxy
        .client()
        .with("authorization", "Bearer sk-client")
        .with("cookie", "session=1")
        .with("accept-encoding", "gzip")
        .with("x-forwarded-for", "1.2.3.4")
        .with("x-tollgate-tags", "a=b");
    assert_eq!(client.chat(&chat("small", "hello")).await.status, 200);
    let seen = &upstream.received()[0].headers;
    for name in [
        "authorization",
        "cookie",
        "accept-encoding",
        "x-forwarded-for",
        "x-tollgate-tags",
    ] {
        assert!(!seen.contains_key(name), "{name} went upstream: {seen:?}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_model_is_found_by_every_name_that_chat_takes() {
    let upstream = Upstream::plain("ok").await;
    let proxy = Proxy::start(&two_models(
        &upstream.base_url(),
        "aliases: { \"gpt-4*\": auto }",
    ))
    .await;
    let client = proxy.client();
    for name in ["auto", "small", "gpt-4o"] {
        assert_eq!(client.chat(&chat(name, "hello")).await.status, 200);
        let found = client.get(&format!("/v1/models/{name}")).await;
        assert_eq!(
            (found.status, found.json()["id"].as_str()),
            (200, Some(name))
        );
    }
    assert_eq!(
        client.get("/v1/models/gpt-5").await.json()["error"]["code"],
        "model_not_found"
    );
    proxy.stop().await;
}
