//! Streams and answers that nobody reads to their end cost what their provider bills for them.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tollgate::types::{Outcome, PicoUsd, RequestRecord, UsageSource};

use super::*;
use crate::harness::proxy::{chat, two_models};
use crate::harness::upstream::usage;
use crate::harness::{Proxy, Upstream};

const DONE: &str = "[DONE]";

/// The two models behind a provider with this `billing`.
fn billed(base_url: &str, billing: &str) -> String {
    let more = "budgets: [ { name: all, limit_usd: 1000, period: total } ]";
    two_models(base_url, more).replace(
        "up: { dialect: openai_chat,",
        &format!("up: {{ billing: {{ {billing} }}, dialect: openai_chat,"),
    )
}

fn usage_event(input: u64, output: u64) -> Step {
    let usage = usage(input, output);
    event(&json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "small", "choices": [], "usage": usage}).to_string())
}

fn finish() -> Step {
    event(&chunk("small", &json!({}), Some("stop")))
}

/// What is recorded of a stream whose client leaves after its first event. `steps` go on after the gate,
/// which opens when the client is gone.
async fn leave(billing: &str, first: Vec<Step>, rest: Vec<Step>) -> (RequestRecord, Proxy) {
    let steps: Vec<Step> = first.into_iter().chain([Step::Gate]).chain(rest).collect();
    let upstream = Upstream::start(move |_| Script::steps(steps.clone())).await;
    let proxy = Proxy::start(&billed(&upstream.base_url(), billing)).await;
    let client = proxy.client();
    let mut body = chat("small", "Say something.");
    body["stream"] = json!(true);
    let response = client
        .open("POST", "/v1/chat/completions", body.to_string())
        .await;
    let id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let mut answer = response.into_body();
    answer.frame().await.expect("a frame").expect("readable");
    drop((answer, client));
    // Only then does the upstream go on, so that what follows is read without a client.
    tokio::time::sleep(Duration::from_millis(50)).await;
    upstream.open_gate();
    let record = proxy.record(&id).await;
    assert_eq!(record.outcome, Outcome::Cancelled, "{record:?}");
    let budget = &proxy.gateway.budgets.view()[0];
    assert_eq!((budget.spent, budget.reserved.pico()), (record.cost, 0));
    (record, proxy)
}

fn source_of(record: &RequestRecord) -> UsageSource {
    record.attempts[0].usage
}

#[tokio::test]
async fn a_provider_that_goes_on_is_read_to_its_usage_report() {
    let rest = || {
        vec![
            word("more "),
            word("and more"),
            finish(),
            usage_event(10, 70),
            event(DONE),
        ]
    };
    let (record, proxy) = leave("on_disconnect: drain", vec![word("a ")], rest()).await;
    assert_eq!(source_of(&record), UsageSource::Reported);
    assert_eq!(cost_of(&record), 10 * 150_000 + 70 * 600_000);
    proxy.stop().await;
    // The same provider, which stops when it is left: what was seen.
    let (record, proxy) = leave("on_disconnect: estimate", vec![word("four score ")], rest()).await;
    assert_eq!(source_of(&record), UsageSource::Estimated);
    assert_eq!(record.tokens().output, 3);
    proxy.stop().await;
    // One that bills nothing.
    let (record, proxy) = leave("on_disconnect: none", vec![word("a ")], rest()).await;
    assert_eq!(
        (source_of(&record), record.cost.pico()),
        (UsageSource::None, 0)
    );
    proxy.stop().await;
}

#[tokio::test]
async fn reading_on_is_bounded_in_bytes_and_in_time() {
    let flood = vec![
        word(&"x".repeat(4000)),
        word(&"y".repeat(4000)),
        finish(),
        usage_event(9, 9),
        event(DONE),
    ];
    let few = "on_disconnect: drain, drain_max_bytes: 3000";
    let (record, proxy) = leave(few, vec![word("four ")], flood).await;
    assert_eq!(source_of(&record), UsageSource::Estimated);
    proxy.stop().await;
    let started = std::time::Instant::now();
    let short = "on_disconnect: drain, drain_seconds: 1";
    let (record, proxy) = leave(short, vec![word("four ")], vec![Step::Stall]).await;
    assert_eq!(source_of(&record), UsageSource::Estimated);
    assert!(started.elapsed() < Duration::from_secs(8));
    proxy.stop().await;
}

#[tokio::test]
async fn the_input_that_was_reported_at_the_start_is_kept() {
    // Anthropic's way: the input and one token of output first, the rest only at the end.
    let start = || vec![usage_event(154, 1), word("four score and seven years ago")];
    let (record, proxy) = leave("on_disconnect: estimate", start(), vec![Step::Stall]).await;
    assert_eq!(
        (record.tokens().all_input(), source_of(&record)),
        (154, UsageSource::Estimated)
    );
    assert_eq!(record.tokens().output, 1 + 30_u64.div_ceil(4));
    proxy.stop().await;
    // A provider that reports with every chunk has said all there is to say.
    let each = vec![word("four "), usage_event(154, 2)];
    let (record, proxy) = leave("on_disconnect: estimate", each, vec![Step::Stall]).await;
    assert_eq!(
        (record.tokens().total(), source_of(&record)),
        (156, UsageSource::Reported)
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_stop_of_the_server_awaits_what_is_read_on() {
    let steps = vec![
        word("a "),
        Step::Gate,
        Step::Sleep(Duration::from_millis(300)),
        finish(),
        usage_event(10, 7),
        event(DONE),
    ];
    let upstream = Upstream::start(move |_| Script::steps(steps.clone())).await;
    let proxy = Proxy::start(&billed(&upstream.base_url(), "on_disconnect: drain")).await;
    let mut body = chat("small", "hi");
    body["stream"] = json!(true);
    let client = proxy.client();
    let response = client
        .open("POST", "/v1/chat/completions", body.to_string())
        .await;
    let id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let mut answer = response.into_body();
    answer.frame().await.expect("a frame").expect("readable");
    drop((answer, client));
    tokio::time::sleep(Duration::from_millis(50)).await;
    upstream.open_gate();
    let gateway = std::sync::Arc::clone(&proxy.gateway);
    proxy.stop().await;
    let id = tollgate::types::RequestId::from_text(&id);
    let record = gateway
        .ledger
        .request(&id)
        .expect("reads")
        .expect("the record");
    assert_eq!(
        (source_of(&record), record.tokens().output),
        (UsageSource::Reported, 7)
    );
}

/// Leaves before the answer has begun; what is recorded.
async fn leave_early(billing: &str, stream: bool) -> RequestRecord {
    let upstream =
        Upstream::start(|request| Script::answer(request, "one two", 20, 8).before(Step::Gate))
            .await;
    let proxy = Proxy::start(&billed(&upstream.base_url(), billing)).await;
    let client = proxy.client();
    let mut body = chat("small", "hello");
    body["stream"] = json!(stream);
    let asking = tokio::spawn(async move { client.chat(&body).await });
    upstream.wait_for_calls(1).await;
    asking.abort();
    assert!(asking.await.is_err());
    tokio::time::sleep(Duration::from_millis(50)).await;
    upstream.open_gate();
    let found = || proxy.gateway.ledger.recent(1).expect("reads").pop();
    let mut record = found();
    for _ in 0..1000 {
        if record.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        record = found();
    }
    let record = record.expect("a record");
    assert_eq!(
        (record.outcome, record.attempts.len()),
        (Outcome::Cancelled, 1)
    );
    assert_eq!(upstream.calls(), 1);
    proxy.stop().await;
    record
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_billed_whole_where_the_provider_goes_on() {
    for stream in [false, true] {
        let drained = leave_early("on_disconnect: drain", stream).await;
        assert_eq!(
            source_of(&drained),
            UsageSource::Reported,
            "stream {stream}"
        );
        assert_eq!(cost_of(&drained), 20 * 150_000 + 8 * 600_000);
        let estimated = leave_early("on_disconnect: estimate", stream).await;
        assert_eq!(source_of(&estimated), UsageSource::Estimated);
        assert!(estimated.cost.is_positive());
        let nothing = leave_early("on_disconnect: none", stream).await;
        assert_eq!(
            (source_of(&nothing), nothing.cost.pico()),
            (UsageSource::None, 0)
        );
    }
}

/// A pinned stream that is read to its end: what the client and the ledger saw.
async fn read(billing: &str, steps: Vec<Step>) -> (Reply, RequestRecord) {
    let upstream = Upstream::start(move |_| Script::steps(steps.clone())).await;
    let proxy = Proxy::start(&billed(&upstream.base_url(), billing)).await;
    let mut body = chat("small", "Say something.");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let reply = proxy.client().chat(&body).await;
    let record = proxy.record(&reply.request_id()).await;
    proxy.stop().await;
    (reply, record)
}

fn cut() -> Vec<Step> {
    vec![word("four score "), Step::Cut]
}

fn failed(early_usage: bool) -> Vec<Step> {
    let error =
        json!({"error": {"message": "x", "type": "server_error", "param": null, "code": null}});
    let mut steps = vec![word("four score "), event(&error.to_string())];
    if early_usage {
        steps.insert(0, usage_event(30, 1));
    }
    steps
}

#[tokio::test]
async fn a_stream_that_breaks_off_costs_what_its_provider_bills() {
    for (billing, source) in [
        ("on_disconnect: estimate", UsageSource::Estimated),
        ("on_disconnect: drain", UsageSource::Estimated),
        ("on_disconnect: none", UsageSource::None),
    ] {
        let (_, record) = read(billing, cut()).await;
        assert_eq!(record.outcome, Outcome::StreamBroken);
        assert_eq!(source_of(&record), source, "{billing}");
        assert_eq!(record.cost.is_positive(), source == UsageSource::Estimated);
    }
    let (_, record) = read("", failed(false)).await;
    assert_eq!(
        (source_of(&record), record.cost.pico()),
        (UsageSource::None, 0)
    );
    let (_, record) = read("on_error: estimate", failed(false)).await;
    assert_eq!(source_of(&record), UsageSource::Estimated);
    let (_, record) = read("", failed(true)).await;
    assert_eq!(
        (source_of(&record), record.tokens().total()),
        (UsageSource::Reported, 31)
    );
}

#[tokio::test]
async fn usage_before_the_end_in_halves_or_in_a_wrong_shape_is_billed_once() {
    // Before the end, and of less than the whole: the client is told again, and last, what it is billed.
    let early = vec![
        usage_event(30, 1),
        word("four score and seven"),
        finish(),
        event(DONE),
    ];
    let (reply, record) = read("", early).await;
    assert_eq!(
        (record.tokens().input, source_of(&record)),
        (30, UsageSource::Estimated)
    );
    let costs: Vec<Value> = reply
        .events()
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter_map(|event| event["usage"].get("cost").cloned())
        .collect();
    let last = costs
        .last()
        .map(|cost| PicoUsd::parse_usd(&cost.to_string()).expect("a cost"));
    assert_eq!(costs.len(), 2, "{}", reply.text());
    assert_eq!(last, Some(record.cost));
    // Before the end, and of the whole.
    let whole = vec![
        usage_event(30, 9),
        word("four score"),
        finish(),
        event(DONE),
    ];
    let (_, record) = read("", whole).await;
    assert_eq!(
        (record.tokens().total(), source_of(&record)),
        (39, UsageSource::Reported)
    );
    // The input at the start, and only the output at the end.
    let half = json!({"choices": [], "usage": {"completion_tokens": 6}}).to_string();
    let halves = vec![
        usage_event(30, 0),
        word("four score"),
        finish(),
        event(&half),
        event(DONE),
    ];
    let (_, record) = read("", halves).await;
    assert_eq!((record.tokens().input, record.tokens().output), (30, 6));
    assert_eq!(source_of(&record), UsageSource::Reported);
    // No object, or no number in it.
    for shape in [
        json!("many"),
        json!([1, 2]),
        json!({"prompt_tokens": "7"}),
        json!(null),
    ] {
        let odd = json!({"choices": [], "usage": shape}).to_string();
        let steps = vec![word("four score"), finish(), event(&odd), event(DONE)];
        let (_, record) = read("", steps).await;
        assert_eq!(
            (record.outcome, source_of(&record)),
            (Outcome::Ok, UsageSource::Estimated)
        );
        assert!(
            record.tokens().input > 0 && record.tokens().output == 3,
            "{record:?}"
        );
    }
}
