//! Events on their way to webhooks: signed, retried, once, never at a request's expense.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tollgate::notify::sign;
use tollgate::types::{Event, EventKind};

use crate::harness::proxy::chat;
use crate::harness::{Proxy, Received, Script, Step, Upstream};

const SECRET: &str = "whsec_c2lnbmluZyBrZXkgb2YgdGhlIHRlc3Rz";
const KEY: &[u8] = b"signing key of the tests";

/// The receiver's address with a path that nobody else may see.
fn hook_url(receiver: &Upstream) -> String {
    format!("http://{}/hooks/T0KEN-1N-PATH", receiver.address)
}

fn webhook(url: &str, more: &str) -> String {
    format!(
        "alerts: {{ webhooks: [{{ name: ops, url: \"{url}\", secret: {SECRET}, retry_base_ms: 10, retry_max_seconds: 1{more} }}], latency_min_requests: 3 }}"
    )
}

/// One model at 1 USD per request (the upstream reports a million input tokens).
fn one_model(base_url: &str, state: &str, more: &str) -> String {
    format!(
        r#"
version: 1
state: {{ store: "{state}" }}
providers:
  up: {{ base_url: "{base_url}" }}
models:
  m: {{ provider: up, price: {{ input: 1, output: 0 }}, context_tokens: 2000000, max_output_tokens: 10, latency_target_ms: 5 }}
matrix:
  default: {{ simple: [m] }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
{more}
"#
    )
}

async fn million_tokens() -> Upstream {
    Upstream::start(|request| Script::answer(request, "yes", 1_000_000, 1)).await
}

/// Checks the signature as a receiver would, and gives the body.
fn verified(received: &Received) -> Value {
    let header = |name: &str| received.headers[name].as_str();
    let body = std::str::from_utf8(&received.body).expect("UTF-8");
    let timestamp: i64 = header("webhook-timestamp").parse().expect("seconds");
    let now = jiff::Timestamp::now().as_second();
    assert!((now - timestamp).abs() < 300, "an old timestamp");
    let expected = sign(KEY, header("webhook-id"), timestamp, body);
    assert_eq!(header("webhook-signature"), expected);
    let value: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(value["id"], header("webhook-id"));
    value
}

/// Waits for what is due at the once-a-second look as well.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not in time: {what}");
}

fn of_kind(receiver: &Upstream, kind: &str) -> Vec<Value> {
    let received = receiver.received();
    let bodies = received.iter().map(verified);
    bodies.filter(|body| body["type"] == kind).collect()
}

/// Waits for the first event of a kind.
async fn first_of(receiver: &Upstream, kind: &str) -> Value {
    until(kind, || !of_kind(receiver, kind).is_empty()).await;
    of_kind(receiver, kind).remove(0)
}

/// Raises an event that nothing else raises and waits until it has arrived: whatever was before it
/// has arrived too.
async fn sentinel(proxy: &Proxy, receiver: &Upstream) {
    let now_ms = proxy.gateway.clock.unix_ms();
    let event = Event::new(EventKind::Test, "sentinel", "after all others", now_ms);
    let id = event.id.clone();
    proxy.gateway.events.announce(event);
    until("the sentinel", || {
        receiver
            .received()
            .iter()
            .any(|it| it.headers["webhook-id"] == id)
    })
    .await;
}

#[tokio::test]
async fn a_threshold_is_told_once_through_every_way_of_failing() {
    let elsewhere = Upstream::plain("no").await;
    let target = format!("http://{}/stolen", elsewhere.address);
    let receiver = Upstream::start(move |request| match request.number {
        0 => Script::error(500, "x", "down"),
        1 => Script::json(200, &json!({})).before(Step::Cut),
        2 => Script::json(307, &json!({})).header("location", &target),
        3 => Script::json(200, &json!({})).before(Step::Stall),
        4 => Script::error(429, "x", "later").header("retry-after", "0"),
        _ => Script::json(204, &json!({})),
    })
    .await;
    let upstream = million_tokens().await;
    let more = format!(
        "budgets: [{{ name: all, limit_usd: 10, period: month, alert_at: [0.2] }}]\n{}",
        webhook(
            &hook_url(&receiver),
            ", timeout_ms: 200, events: [\"budget.*\"]"
        )
    );
    let proxy = Proxy::start(&one_model(&upstream.base_url(), "memory", &more)).await;
    for _ in 0..4 {
        assert_eq!(proxy.client().chat(&chat("m", "go")).await.status, 200);
    }
    receiver.wait_for_calls(6).await;
    sentinel(&proxy, &receiver).await;

    let received = receiver.received();
    let ids: Vec<&str> = received
        .iter()
        .filter(|it| verified(it)["type"] == "budget.threshold_reached")
        .map(|it| it.headers["webhook-id"].as_str())
        .collect();
    assert_eq!(ids.len(), 6, "five failures and one success");
    assert!(ids.iter().all(|id| *id == ids[0]), "one id for one event");
    assert_eq!(elsewhere.calls(), 0, "redirects are not followed");
    let body = verified(&received[0]);
    assert_eq!(received[0].path, "/hooks/T0KEN-1N-PATH");
    assert_eq!(body["subject"], "all");
    assert_eq!(body["data"]["threshold"], 0.2);
    assert_eq!(body["data"]["limit_usd"], "10");
    assert!(
        body["text"].as_str().expect("text").contains("20 %"),
        "{body}"
    );
    let outcome = |outcome| {
        proxy.metric(
            "tollgate_alert_deliveries_total",
            &[("webhook", "ops"), ("outcome", outcome)],
        )
    };
    for (label, count) in [
        ("refused", 2.0),
        ("connect", 1.0),
        ("redirected", 1.0),
        ("timeout", 1.0),
        ("delivered", 2.0),
    ] {
        assert!((outcome(label) - count).abs() < 0.1, "{label}");
    }
    let told = proxy.metric(
        "tollgate_alerts_total",
        &[("event", "budget.threshold_reached")],
    );
    assert!((told - 1.0).abs() < 0.1);
    proxy.stop().await;
}

#[tokio::test]
async fn a_threshold_survives_a_restart_and_is_not_told_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = format!("sqlite:{}", folder.path().join("t.db").display());
    let upstream = million_tokens().await;
    let receiver = Upstream::start(|_| Script::json(200, &json!({}))).await;
    let configuration = |alert_at: &str, url: &str| {
        let more = format!(
            "budgets: [{{ name: all, limit_usd: 10, period: total, alert_at: {alert_at} }}]\n{}",
            webhook(url, ", timeout_ms: 300")
        );
        one_model(&upstream.base_url(), &state, &more)
    };
    let dead = format!("http://127.0.0.1:9/{}", "x");

    // Told while nobody listens: it waits in the outbox.
    let proxy = Proxy::start(&configuration("[0.1]", &dead)).await;
    assert_eq!(proxy.client().chat(&chat("m", "go")).await.status, 200);
    until("the first try", || {
        proxy.metric("tollgate_alert_deliveries_total", &[("outcome", "connect")]) > 0.0
    })
    .await;
    proxy.stop().await;

    // The next process delivers it, and tells of a threshold that nobody has told of yet.
    let alive = configuration("[0.05, 0.1, 0.9]", &hook_url(&receiver));
    let proxy = Proxy::start(&alive).await;
    receiver.wait_for_calls(2).await;
    sentinel(&proxy, &receiver).await;
    let thresholds = |receiver: &Upstream| -> Vec<f64> {
        let told = of_kind(receiver, "budget.threshold_reached");
        let mut told: Vec<f64> = told
            .iter()
            .filter_map(|body| body["data"]["threshold"].as_f64())
            .collect();
        told.sort_by(f64::total_cmp);
        told
    };
    assert_eq!(thresholds(&receiver), [0.05, 0.1]);
    proxy.stop().await;

    // And the one after that has nothing to say.
    let proxy = Proxy::start(&alive).await;
    sentinel(&proxy, &receiver).await;
    assert_eq!(thresholds(&receiver), [0.05, 0.1]);
    proxy.stop().await;
}

#[tokio::test]
async fn breakers_latency_and_handoffs_are_told_without_a_word_of_the_conversation() {
    let fails = Arc::new(AtomicUsize::new(0));
    let failing = Arc::clone(&fails);
    let upstream = Upstream::start(move |request| {
        if failing.load(Ordering::SeqCst) > 0 {
            Script::error(500, "server_error", "down")
        } else {
            let pause = Step::Sleep(Duration::from_millis(15));
            Script::answer(request, "yes", 10, 1).before(pause)
        }
    })
    .await;
    let receiver = Upstream::start(|_| Script::json(200, &json!({}))).await;
    let more = format!(
        "resilience:\n  retry: {{ max_attempts: 1 }}\n  breaker: {{ consecutive_failures: 3, open_seconds: 1, open_max_seconds: 1 }}\n  fallback: {{ stale_if_error: false, rules: [{{ answer: \"A colleague will answer.\", handoff: true }}] }}\n{}",
        webhook(&hook_url(&receiver), "")
    );
    let proxy = Proxy::start(&one_model(&upstream.base_url(), "memory", &more)).await;
    let client = proxy.client().with("x-tollgate-session", "chat-77");
    for _ in 0..4 {
        assert_eq!(client.chat(&chat("auto", "hello")).await.status, 200);
    }
    let late = first_of(&receiver, "model.latency_high").await;
    assert_eq!(late["data"]["target_ms"], 5);
    assert!(late["data"]["p95_ms"].as_u64() >= Some(15), "{late}");

    fails.store(1, Ordering::SeqCst);
    let mut body = chat("auto", "my SECRET-PROMPT trouble");
    body["user"] = json!("customer-5");
    for _ in 0..5 {
        let reply = client.chat(&body).await;
        assert!(reply.text().contains("A colleague"), "{}", reply.text());
    }
    let handoff = first_of(&receiver, "conversation.handoff").await;
    assert_eq!(handoff["subject"], "chat-77");
    assert_eq!(handoff["data"]["end_user"], "customer-5");
    assert!(
        handoff["data"]["request_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("req_"))
    );
    let opened = first_of(&receiver, "breaker.opened").await;
    assert_eq!(opened["data"]["model"], "m");
    assert_eq!(opened["data"]["outcome"], "upstream_error");
    assert!(opened["data"]["probe_in_seconds"].is_u64());

    fails.store(0, Ordering::SeqCst);
    until("the probe", || {
        tollgate::bootstrap::refresh_gauges(&proxy.gateway);
        proxy.metric("tollgate_breaker_state", &[("model", "m")]) < 1.5
    })
    .await;
    client.chat(&chat("auto", "hello")).await;
    first_of(&receiver, "breaker.closed").await;
    sentinel(&proxy, &receiver).await;
    assert_eq!(
        of_kind(&receiver, "conversation.handoff").len(),
        1,
        "one for one conversation"
    );
    let held = proxy.metric(
        "tollgate_alerts_suppressed_total",
        &[("event", "conversation.handoff")],
    );
    assert!((held - 4.0).abs() < 0.1, "{held}");
    for received in receiver.received() {
        let text = String::from_utf8_lossy(&received.body).into_owned();
        assert!(
            !text.contains("SECRET-PROMPT") && !text.contains("colleague"),
            "{text}"
        );
    }
    let overview = proxy.admin_client().get("/api/overview").await.json();
    assert!(
        overview["events"]
            .as_array()
            .is_some_and(|it| it.len() >= 4),
        "{overview}"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_refused_reload_is_told_and_so_is_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("routes.yaml");
    let receiver = Upstream::start(|_| Script::json(200, &json!({}))).await;
    let sound = one_model(
        "http://127.0.0.1:9/v1",
        "memory",
        &webhook(&hook_url(&receiver), ""),
    );
    std::fs::write(&path, &sound).expect("written");
    let proxy = Proxy::start_file(path.clone()).await;
    std::fs::write(&path, sound.replace("[m]", "[misspelt]")).expect("written");
    assert_eq!(
        proxy
            .admin_client()
            .post("/reload", &json!({}))
            .await
            .status,
        422
    );
    let failed = first_of(&receiver, "config.reload_failed").await;
    let errors = failed["data"]["errors"].to_string();
    assert!(errors.contains("unknown model `misspelt`"), "{errors}");
    std::fs::write(&path, &sound).expect("written");
    assert_eq!(
        proxy
            .admin_client()
            .post("/reload", &json!({}))
            .await
            .status,
        200
    );
    first_of(&receiver, "config.reload_recovered").await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_ledger_that_cannot_store_is_told_and_so_is_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("t.db");
    let upstream = Upstream::plain("yes").await;
    let receiver = Upstream::start(|_| Script::json(200, &json!({}))).await;
    let state = format!("sqlite:{}", file.display());
    let more = webhook(&hook_url(&receiver), ", events: [\"ledger.*\"]");
    let proxy = Proxy::start(&one_model(&upstream.base_url(), &state, &more)).await;
    let other = rusqlite::Connection::open(&file).expect("opened");
    other.execute_batch("BEGIN EXCLUSIVE").expect("locked");
    assert_eq!(proxy.client().chat(&chat("m", "go")).await.status, 200);
    let told = first_of(&receiver, "ledger.unhealthy").await;
    assert_eq!(told["severity"], "critical");
    assert!(
        told["data"]["waiting_records"].as_u64() >= Some(1),
        "{told}"
    );
    other.execute_batch("COMMIT").expect("let go");
    first_of(&receiver, "ledger.recovered").await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_dead_webhook_slows_no_request_and_bounds_its_queue() {
    let receiver = Upstream::start(|_| Script::json(200, &json!({})).before(Step::Stall)).await;
    let upstream = Upstream::plain("yes").await;
    let more = webhook(&hook_url(&receiver), ", timeout_ms: 60000");
    let proxy = Proxy::start(&one_model(&upstream.base_url(), "memory", &more)).await;
    for number in 0..1500 {
        let event = Event::new(EventKind::Test, &number.to_string(), "flood", 0);
        proxy.gateway.events.announce(event);
        if number % 50 == 0 {
            assert_eq!(proxy.client().chat(&chat("m", "go")).await.status, 200);
        }
    }
    receiver.wait_for_calls(1).await;
    until("the oldest are dropped", || {
        proxy.metric("tollgate_alert_deliveries_total", &[("outcome", "dropped")]) > 1000.0
    })
    .await;
    assert!(proxy.metric("tollgate_alert_queue_events", &[("webhook", "ops")]) <= 256.0);
    assert_eq!(receiver.calls(), 1, "one try at a time");
    assert_eq!(proxy.client().chat(&chat("m", "go")).await.status, 200);
    // The end is bounded too, though the receiver would stall for a minute.
    tokio::time::timeout(Duration::from_secs(20), proxy.stop())
        .await
        .expect("stopped in time");
}

/// Collects everything that is logged on this thread.
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
async fn neither_the_secret_nor_the_address_is_shown_anywhere() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let receiver = Upstream::start(|request| match request.number {
        0 => Script::error(500, "x", "down"),
        1 => Script::json(302, &json!({})).header("location", "/other"),
        2 => Script::json(200, &json!({})).before(Step::Reset),
        _ => Script::json(200, &json!({})),
    })
    .await;
    let more = webhook(&hook_url(&receiver), ", timeout_ms: 500");
    let proxy = Proxy::start(&one_model("http://127.0.0.1:9/v1", "memory", &more)).await;
    sentinel(&proxy, &receiver).await;
    receiver.wait_for_calls(4).await;
    let metrics = proxy.admin_client().get("/metrics").await.text();
    let overview = proxy.admin_client().get("/api/overview").await.text();
    let params = format!("{:?}", proxy.gateway.active.load().snapshot.alerts);
    proxy.stop().await;
    let log = String::from_utf8_lossy(&lines.0.lock()).into_owned();
    assert!(log.contains("an event could not be delivered"), "{log}");
    // What the HTTP library itself says at trace level is not ours; nobody runs with it.
    let ours: String = log
        .lines()
        .filter(|line| line.contains("tollgate"))
        .collect();
    for shown in [ours, metrics, overview, params] {
        assert!(
            !shown.contains("T0KEN") && !shown.contains("c2lnbmluZy"),
            "{shown}"
        );
    }
}

#[test]
fn check_explains_what_is_wrong_with_a_webhook() {
    let problems = |hook: &str| -> String {
        let yaml = one_model(
            "http://127.0.0.1:9/v1",
            "memory",
            &format!("alerts: {{ webhooks: [{hook}] }}"),
        );
        let loaded = tollgate::config::load(&yaml, "f", &|_| None, 0);
        let problems = match loaded {
            Ok(snapshot) => snapshot.warnings,
            Err(problems) => problems,
        };
        problems.iter().map(|it| format!("{it}\n")).collect()
    };
    let check = |hook: &str, expect: &[&str]| {
        let shown = problems(hook);
        for part in expect {
            assert!(shown.contains(part), "{hook}: {shown}");
        }
        assert!(!shown.contains("T0KEN"), "{shown}");
    };
    let signed = "secret: \"${S}\"";
    check(
        &format!("{{ url: \"ftp://h/T0KEN\", {signed} }}"),
        &["alerts.webhooks[0].url", "over HTTPS"],
    );
    check(
        "{ url: \"http://[T0KEN\", secret: whsec_YQ== }",
        &["no valid URL"],
    );
    check(
        "{ url: \"http://ops.example/T0KEN\", secret: whsec_YQ== }",
        &["in clear text", "plain text"],
    );
    check("{ url: \"https://ops.example/T0KEN\" }", &["no `secret`"]);
    check(
        &format!("{{ url: \"${{HOOK}}\", {signed} }}"),
        &["`HOOK` is not set", "`S` is not set", "switched off"],
    );
    check(
        "{ url: \"https://a.example\", secret: \"whsec_!\" }",
        &["after `whsec_` a secret is base64"],
    );
    check(
        "{ url: \"https://a.example\", secret: x, events: [budget.treshold_reached, \"breaker.*\"] }",
        &[
            "alerts.webhooks[0].events[0]",
            "did you mean `budget.threshold_reached`?",
        ],
    );
    check(
        "{ url: \"https://a.example\", secret: x }, { url: \"https://a.example/2\", secret: x }",
        &["a second webhook with name `a.example`"],
    );
}

async fn try_out(path: &Path) -> (u8, String) {
    let args = tollgate::cli::AlertsTestArgs {
        config: Some(path.to_owned()),
        webhook: None,
    };
    tokio::task::spawn_blocking(move || {
        let mut out = Vec::new();
        let code = tollgate::cli::alerts::run(&args, &mut out).expect("written");
        (code, String::from_utf8(out).expect("UTF-8"))
    })
    .await
    .expect("no fault")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_channel_can_be_tried_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("routes.yaml");
    let receiver = Upstream::start(|request| {
        if request.number == 0 {
            Script::json(202, &json!({}))
        } else {
            Script::error(403, "x", "no")
        }
    })
    .await;
    let yaml = one_model(
        "http://127.0.0.1:9/v1",
        "memory",
        &webhook(&hook_url(&receiver), ""),
    );
    std::fs::write(&path, yaml).expect("written");
    let (code, shown) = try_out(&path).await;
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("ops: taken with 202 (signed"), "{shown}");
    assert_eq!(verified(&receiver.received()[0])["type"], "alerts.test");
    let (code, shown) = try_out(&path).await;
    assert_eq!(code, 1, "{shown}");
    assert!(
        shown.contains("ops: not taken: the receiver answered 403"),
        "{shown}"
    );
    std::fs::write(&path, one_model("http://127.0.0.1:9/v1", "memory", "")).expect("written");
    assert_eq!(try_out(&path).await.0, 2);
}
