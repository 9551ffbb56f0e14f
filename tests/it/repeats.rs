//! What is asked again: by its idempotency key, from the cache after a reload, and what was learned
//! over a restart. And a trace that goes through.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::proxy::{chat, two_models};
use crate::harness::{Proxy, Reply, Script, Step, Upstream};

fn replayed(reply: &Reply) -> bool {
    reply.header("idempotent-replayed") == "true"
}

#[tokio::test]
async fn a_key_is_answered_once_and_paid_once() {
    let upstream = Upstream::start(|request| {
        let text = format!("answer {}", request.number);
        let payload = crate::harness::upstream::completion(
            &request.model(),
            &text,
            &crate::harness::upstream::usage(1_000_000, 1),
        );
        Script::json(200, &payload)
    })
    .await;
    let budget = "budgets: [{ name: all, limit_usd: 100, period: total }]";
    let proxy = Proxy::start(&two_models(&upstream.base_url(), budget)).await;
    let client = proxy
        .client()
        .with("idempotency-key", "stainless-python-retry-1");
    let first = client.chat(&chat("large", "go")).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert!(!replayed(&first));
    let again = client.chat(&chat("large", "go")).await;
    assert!(replayed(&again), "{:?}", again.headers);
    assert_eq!(upstream.calls(), 1);
    let content = |reply: &Reply| reply.json()["choices"].clone();
    assert_eq!(content(&again), content(&first));
    assert_ne!(again.request_id(), first.request_id());
    assert_eq!(again.header("x-tollgate-cost-usd"), "0");
    assert_eq!(again.json()["usage"]["cost"], json!(0));
    assert_eq!(again.header("x-tollgate-model"), "large");
    let record = proxy.record(&again.request_id()).await;
    assert!(record.attempts.is_empty() && record.baseline_cost.is_none());
    let spent = proxy.metric("tollgate_cost_usd_total", &[]);
    let paid: f64 = first.header("x-tollgate-cost-usd").parse().expect("USD");
    assert!(
        paid > 2.0 && (spent - paid).abs() < 1e-9,
        "{spent} against {paid}"
    );

    let other = client.chat(&chat("large", "something else")).await;
    assert_eq!(other.status, 422);
    assert_eq!(other.json()["error"]["code"], "idempotency_key_reused");
    assert_eq!(other.json()["error"]["param"], "idempotency-key");
    let fresh = proxy.client().chat(&chat("large", "go")).await;
    assert!(!replayed(&fresh));
    let no_store = client.clone().with("cache-control", "no-store");
    assert!(!replayed(&no_store.chat(&chat("large", "go")).await));
    let mut streamed = chat("large", "go");
    streamed["stream"] = json!(true);
    assert!(
        !replayed(&client.chat(&streamed).await),
        "streams are not kept"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_repetition_waits_for_the_first_and_takes_its_place_when_it_leaves() {
    let upstream =
        Upstream::start(|request| Script::answer(request, "slow", 10, 5).before(Step::Gate)).await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let client = proxy.client().with("idempotency-key", "k");
    let ask = |client: crate::harness::Client| {
        tokio::spawn(async move { client.chat(&chat("large", "go")).await })
    };
    let leaving = ask(client.clone());
    upstream.wait_for_calls(1).await;
    let waiting: Vec<_> = (0..20).map(|_| ask(client.clone())).collect();
    let reused = client.chat(&chat("large", "other")).await;
    assert_eq!(reused.status, 422, "also while the first is under way");
    leaving.abort();
    upstream.wait_for_calls(2).await;
    upstream.open_gate();
    let mut again = 0;
    for reply in waiting {
        let reply = reply.await.expect("answered");
        assert_eq!(reply.status, 200);
        again += usize::from(replayed(&reply));
    }
    assert_eq!((again, upstream.calls()), (19, 2));
    proxy.stop().await;
}

#[tokio::test]
async fn an_error_is_not_kept() {
    let upstream = Upstream::start(|request| {
        if request.number < 1 {
            Script::error(400, "invalid", "no such parameter")
        } else {
            Script::answer(request, "fine", 10, 5)
        }
    })
    .await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    let client = proxy.client().with("idempotency-key", "k");
    assert_eq!(client.chat(&chat("large", "go")).await.status, 400);
    let second = client.chat(&chat("large", "go")).await;
    assert_eq!(second.status, 200);
    assert!(!replayed(&second));
    assert!(replayed(&client.chat(&chat("large", "go")).await));
    proxy.stop().await;
}

#[tokio::test]
async fn the_cache_gives_nothing_that_the_present_file_forbids() {
    let upstream = Upstream::plain("yes").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("routes.yaml");
    let file = |allow: &str, cells: &str| {
        format!(
            "version: 1\nstate: {{ store: memory }}\nproviders: {{ up: {{ base_url: \"{}\" }} }}\n\
             models:\n  a: {{ provider: up, price: {{ input: 1, output: 1 }} }}\n  b: {{ provider: up, price: {{ input: 1, output: 1 }} }}\n\
             matrix: {{ default: {{ simple: [{cells}], complex: [{cells}], critical: [{cells}] }} }}\nteams: {{ default: {{ allow: [{allow}] }} }}\n",
            upstream.base_url()
        )
    };
    std::fs::write(&path, file("\"*\"", "a, b")).expect("written");
    let proxy = Proxy::start_file(path.clone()).await;
    let keyed = proxy.client().with("idempotency-key", "k");
    let cache_of = |reply: &Reply| {
        (
            reply.header("x-tollgate-model").to_owned(),
            reply.header("x-tollgate-cache").to_owned(),
        )
    };
    let pair = |model: &str, cache: &str| (model.to_owned(), cache.to_owned());
    proxy.client().chat(&chat("auto", "go")).await;
    keyed.chat(&chat("auto", "go")).await;
    let hit = proxy.client().chat(&chat("auto", "go")).await;
    assert_eq!(cache_of(&hit), pair("a", "hit-exact"));

    std::fs::write(&path, file("b", "a, b")).expect("written");
    assert_eq!(
        proxy
            .admin_client()
            .post("/reload", &json!({}))
            .await
            .status,
        200
    );
    let forbidden = proxy.client().chat(&chat("auto", "go")).await;
    assert_eq!(cache_of(&forbidden), pair("b", "miss"));
    let keyed_again = keyed.chat(&chat("auto", "go")).await;
    assert_eq!(keyed_again.header("x-tollgate-model"), "b");
    let hit = proxy.client().chat(&chat("auto", "go")).await;
    assert_eq!(cache_of(&hit), pair("b", "hit-exact"));
    proxy.stop().await;
}

#[tokio::test]
async fn what_was_learned_survives_a_restart() {
    let upstream = Upstream::plain("yes").await;
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = two_models(&upstream.base_url(), "select: { policy: thompson }").replace(
        "store: memory",
        &format!("store: \"sqlite:{}\"", folder.path().join("t.db").display()),
    );
    let proxy = Proxy::start(&yaml).await;
    let reply = proxy.client().chat(&chat("auto", "hello there")).await;
    let (id, model) = (
        reply.request_id(),
        reply.header("x-tollgate-model").to_owned(),
    );
    proxy.record(&id).await;
    let said = json!({"request_id": id, "thumbs": "down"});
    let feedback = proxy.client().post("/v1/feedback", &said).await;
    assert!(feedback.status < 300, "{}", feedback.text());
    let learned = |proxy: &Proxy| {
        tollgate::bootstrap::refresh_gauges(&proxy.gateway);
        proxy.metric("tollgate_reward_mean", &[("model", model.as_str())])
    };
    let before = learned(&proxy);
    assert!(before > 0.0 && before < 0.5, "{before}");
    proxy.stop().await;
    let proxy = Proxy::start(&yaml).await;
    assert!((learned(&proxy) - before).abs() < 1e-9);
    proxy.stop().await;
}

/// Collects what is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_trace_goes_through_where_the_file_says_so() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(move || writer.clone())
        .finish();
    // While there is only one subscriber, `tracing` asks the thread that meets a line first whether anybody
    // wants it, and other tests' threads have none.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let _logging = tracing::subscriber::set_default(subscriber);
    let upstream = Upstream::plain("yes").await;
    let yaml = two_models(&upstream.base_url(), "");
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for propagate in [false, true] {
        let yaml = yaml.replace(
            "dialect: openai_chat,",
            &format!("dialect: openai_chat, propagate_trace: {propagate},"),
        );
        let proxy = Proxy::start_here(&yaml).await;
        let client = proxy.client().with("traceparent", parent);
        let reply = client.chat(&chat("auto", "go")).await;
        let received = upstream.received().pop().expect("a call");
        let sent = received.headers.get("traceparent").map(String::as_str);
        assert_eq!(sent, propagate.then_some(parent));
        proxy.record(&reply.request_id()).await;
        let record: Value = client
            .get(&format!("/v1/requests/{}", reply.request_id()))
            .await
            .json();
        assert_eq!(
            record["decision"]["trace_id"],
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert!(record["decision"]["row"].is_string(), "{record}");
        proxy.stop().await;
    }
    let log = String::from_utf8_lossy(&lines.0.lock()).into_owned();
    let line = log.lines().find(|line| line.contains("tollgate::request"));
    let line = line.expect("the request's line");
    assert!(
        line.contains("\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\""),
        "{line}"
    );
}
