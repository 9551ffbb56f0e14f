//! Clients that leave, and clients that dawdle.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tollgate::types::{Outcome, RequestRecord, UsageSource};

use crate::harness::proxy::{chat, two_models};
use crate::harness::{Client, Proxy, Script, Step, Upstream};

use super::*;

async fn first_frame(client: &Client, body: &Value) -> (String, hyper::body::Incoming) {
    let response = client
        .open("POST", "/v1/chat/completions", body.to_string())
        .await;
    let id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let mut body = response.into_body();
    let frame = body.frame().await.expect("a frame").expect("readable");
    assert!(frame.is_data());
    (id, body)
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_upstream_and_is_billed_an_estimate() {
    let upstream = Upstream::start(|_| {
        Script::steps(vec![
            bytes(event(&content("four score and seven years ago"))),
            Step::Stall,
        ])
    })
    .await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let (id, body) = first_frame(&proxy.client(), &streamed("small", true)).await;
    drop(body);
    tokio::time::timeout(Duration::from_secs(5), upstream.wait_for_abandoned(1))
        .await
        .expect("the upstream is told");
    let record = proxy.record(&id).await;
    assert_eq!(record.outcome, Outcome::Cancelled);
    let (input, output, source) = tokens_of(&record);
    assert_eq!(source, UsageSource::Estimated);
    assert!(input > 0 && output > 0);
    assert_eq!(record.estimated_cost, record.cost);
    assert!(proxy.metric("tollgate_in_flight_requests", &[]) < 0.5);
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_the_upstream() {
    for stream in [true, false] {
        let upstream = Upstream::start(|_| Script::json(200, &json!({})).before(Step::Stall)).await;
        let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
        let mut body = chat("small", "hello");
        body["stream"] = json!(stream);
        let client = proxy.client();
        let asking = tokio::spawn(async move { client.chat(&body).await });
        upstream.wait_for_calls(1).await;
        asking.abort();
        tokio::time::timeout(Duration::from_secs(5), upstream.wait_for_abandoned(1))
            .await
            .expect("the upstream is told");
        let records = all_records(&proxy, 1).await;
        assert_eq!(records[0].outcome, Outcome::Cancelled);
        assert_eq!(records[0].attempts.len(), 1);
        assert_eq!(tokens_of(&records[0]).2, UsageSource::Estimated);
        proxy.stop().await;
    }
}

/// Every record, once there are `count`.
async fn all_records(proxy: &Proxy, count: usize) -> Vec<RequestRecord> {
    for _ in 0..1000 {
        let records = proxy.gateway.ledger.recent(100).expect("the ledger reads");
        if records.len() >= count {
            return records;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("fewer than {count} records");
}

#[tokio::test]
async fn a_slow_client_neither_loses_bytes_nor_times_out() {
    let word = "x".repeat(64 << 10);
    let mut whole = String::new();
    let mut steps = Vec::new();
    for _ in 0..64 {
        whole.push_str(&event(&content(&word)));
        steps.push(bytes(event(&content(&word))));
    }
    whole.push_str(&event(&finish()));
    whole.push_str(DONE);
    steps.push(bytes(format!("{}{DONE}", event(&finish()))));
    let upstream = Upstream::start(move |_| Script::steps(steps.clone())).await;
    let more = "resilience: { timeouts: { idle_ms: 150 } }";
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    let (id, body) = first_frame(&proxy.client(), &streamed("small", false)).await;
    // Longer than the idle time-out: the upstream is not silent, the client is not reading.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let rest = body.collect().await.expect("a clean end").to_bytes();
    assert!(whole.ends_with(&String::from_utf8_lossy(&rest).into_owned()));
    assert!(
        rest.len() + (200 << 10) > whole.len(),
        "little was read before"
    );
    assert_eq!(proxy.record(&id).await.outcome, Outcome::Ok);
    proxy.stop().await;
}
