//! What two real processes on one real Redis tell each other: open breakers, what was learned, keys.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::processes::{Process, client, config};
use crate::harness::redis_server::Redis;
use crate::harness::{Script, Upstream};

/// How long what one knows may take to be known to the other on a busy machine; it takes a second.
const SOON: Duration = Duration::from_secs(20);

const OPEN: &str = "tollgate_breaker_state{model=\"small\"}";
const MEAN: &str = "tollgate_reward_mean{";

/// Asks again and again until the answer is right.
async fn soon<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Posts to a process; the status and the answer.
async fn post(process: &Process, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
    let mut request = http::Request::post(format!("http://{}{path}", process.data))
        .header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let body = Full::new(Bytes::from(body.to_string()));
    let request = request.body(body).expect("a request");
    let reply = client().request(request).await.expect("an answer");
    let status = reply.status().as_u16();
    let id = reply
        .headers()
        .get("x-request-id")
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned);
    let body = reply.into_body().collect().await.expect("a body");
    let mut answer: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    if let (Some(fields), Some(id)) = (answer.as_object_mut(), id) {
        fields.insert("request_id".to_owned(), id.into());
    }
    (status, answer)
}

fn chat(text: &str) -> Value {
    json!({ "model": "auto", "max_tokens": 100, "messages": [{ "role": "user", "content": text }] })
}

async fn pair(directory: &Path, redis: &Redis, upstream: &Upstream, rest: &str) -> [Process; 2] {
    let spawn = |name| Process::spawn(&config(directory, name, redis, upstream, rest));
    let both = [spawn("a"), spawn("b")];
    for process in &both {
        process.serves().await;
    }
    both
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_that_opens_on_one_replica_needs_one_failure_on_the_other() {
    let Some(redis) = Redis::start() else { return };
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let upstream = Upstream::start(move |request| {
        if is_broken.load(Ordering::SeqCst) {
            Script::error(500, "server_error", "broken")
        } else {
            Script::answer(request, "one", 10, 10)
        }
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let rest = "resilience: { breaker: { open_seconds: 300, open_max_seconds: 300, consecutive_failures: 5, min_requests: 1000 } }";
    let [a, b] = pair(directory.path(), &redis, &upstream, rest).await;
    soon("the breaker opens", async || {
        post(&a, "/v1/chat/completions", None, &chat("why")).await;
        (a.gauge(OPEN).await > 1.5).then_some(())
    })
    .await;
    soon("it is posted", async || {
        let posted = redis.ask("HGET {tollgate}:board:breakers a")?;
        posted.contains("small").then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(b.gauge(OPEN).await < 0.5, "half-trusted, not cut off");
    let before = upstream.calls();
    post(&b, "/v1/chat/completions", None, &chat("why not")).await;
    assert_eq!(upstream.calls() - before, 1, "one failure was enough");
    assert!(b.gauge(OPEN).await > 1.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feedback_to_one_replica_moves_what_both_know_and_outlives_it() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let upstream = Upstream::start(|request| Script::answer(request, "one", 10, 10)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let [mut a, b] = pair(directory.path(), &redis, &upstream, "").await;
    let prompt = chat("Translate to Spanish: good morning");
    let (status, answer) = post(&a, "/v1/chat/completions", None, &prompt).await;
    assert_eq!(status, 200, "{answer}");
    let opinion = json!({ "request_id": answer["request_id"], "score": 0.25 });
    let (status, answer) = post(&a, "/v1/feedback", None, &opinion).await;
    assert!(status < 300, "{answer}");
    let mean = async |process: &Process| process.found(MEAN).await;
    let known = soon("the first one learns", async || mean(&a).await).await;
    let heard = soon("the other hears of it", async || mean(&b).await).await;
    assert!((known - heard).abs() < 1e-6, "{known} and {heard}");
    // A store that has forgotten is told again.
    tokio::task::block_in_place(|| {
        redis.stop();
        redis.resume();
    });
    soon("it is posted again", async || {
        let posted = redis.ask("HGET {tollgate}:board:arms a")?;
        posted.contains("small").then_some(())
    })
    .await;
    // Killed before it wrote anything down, it finds there what it knew.
    a.kill();
    a = Process::spawn(&directory.path().join("a.yaml"));
    a.serves().await;
    let again = soon("it knows it again", async || mean(&a).await).await;
    assert!((again - known).abs() < 1e-6, "{again} and {known}");
    assert!(b.found(MEAN).await.is_some());
}

/// The thresholds of which a webhook was told, in order. What is sent again by a process that was killed
/// before it noted that it had been received has the same id, by which receivers know it.
fn told(receiver: &Upstream) -> Vec<String> {
    let received = receiver.received();
    let mut ids = HashSet::new();
    let once = received
        .iter()
        .filter(|it| ids.insert(it.headers["webhook-id"].as_str()));
    let bodies = once.map(|it| serde_json::from_slice(&it.body));
    let mut thresholds: Vec<String> = bodies
        .map(|body: Result<Value, _>| body.expect("JSON"))
        .filter(|body| body["type"] == "budget.threshold_reached")
        .map(|body| body["data"]["threshold"].to_string())
        .collect();
    thresholds.sort();
    thresholds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_threshold_that_two_replicas_see_is_told_once() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::start(|request| Script::answer(request, "one", 50, 50)).await;
    let receiver = Upstream::plain("thanks").await;
    let directory = tempfile::tempdir().expect("a directory");
    let rest = format!(
        "budgets: [ {{ name: all, limit_usd: 0.002, period: month, alert_at: [0.25, 0.5] }} ]\n\
         alerts: {{ webhooks: [ {{ name: ops, url: \"http://{}/hook\", secret: whsec_c2lnbmluZyBrZXkgb2YgdGhlIHRlc3Rz }} ] }}",
        receiver.address
    );
    let [mut a, b] = pair(directory.path(), &redis, &upstream, &rest).await;
    // Each of them spends a part that is itself above the first threshold, and sees the other's.
    for _ in 0..7 {
        for process in [&a, &b] {
            let (status, answer) = post(process, "/v1/chat/completions", None, &chat("why")).await;
            assert_eq!(status, 200, "{answer}");
        }
    }
    for process in [&a, &b] {
        soon("it knows what both have spent", async || {
            let spent = process.gauge("tollgate_budget_spent_usd").await;
            (spent > 0.00139).then_some(())
        })
        .await;
    }
    soon("both thresholds are told of", async || {
        (told(&receiver).len() >= 2).then_some(())
    })
    .await;
    // Whoever starts anew finds the thresholds crossed, and told.
    a.kill();
    a = Process::spawn(&directory.path().join("a.yaml"));
    a.serves().await;
    post(&a, "/v1/chat/completions", None, &chat("why")).await;
    // Thresholds are looked at once a second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(told(&receiver), ["0.25", "0.5"]);
}

/// Runs `tollgate keys …` on a file.
fn keys(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("keys")
        .args(arguments)
        .arg("--config")
        .arg(config)
        .output()
        .expect("the binary starts")
}

fn said(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    format!("{out}{err}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_key_is_admitted_everywhere_until_it_is_revoked() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let upstream = Upstream::start(|request| Script::answer(request, "one", 10, 10)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let rest = "teams: { search: {} }\nkeys: [ { id: from-file, sha256: \"%HASH%\" } ]"
        .replace("%HASH%", &"ab".repeat(32));
    let closed: [PathBuf; 2] = ["a", "b"].map(|name| {
        let path = config(directory.path(), name, &redis, &upstream, &rest);
        let text = std::fs::read_to_string(&path).expect("written");
        let text = text.replace("auth: { mode: open }", "auth: { mode: keys }");
        std::fs::write(&path, text).expect("written");
        path
    });
    let mut both = closed.each_ref().map(|path| Process::spawn(path));
    for process in &both {
        process.serves().await;
    }
    let added = keys(&closed[0], &["add", "--id", "one", "--team", "search"]);
    assert!(added.status.success(), "{}", said(&added));
    let key = said(&added).lines().next().expect("the key").to_owned();
    let refused = [
        (&["add", "--id", "one"][..], "stored already"),
        (&["add", "--id", "from-file"][..], "the file has it"),
        (&["add", "--team", "nobody"][..], "unknown team"),
        (&["revoke", "two"][..], "no stored key"),
    ];
    for (arguments, words) in refused {
        let refused = keys(&closed[0], arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(said(&refused).contains(words), "{}", said(&refused));
    }
    let listed = said(&keys(&closed[1], &["list"]));
    assert_eq!(listed.trim(), "one  team search  app default  tier premium");
    let status = async |process: &Process| {
        let path = "/v1/chat/completions";
        post(process, path, Some(&key), &chat("why")).await.0
    };
    let becomes = async |process: &Process, wanted: u16| {
        soon("the key's state", async || {
            (status(process).await == wanted).then_some(())
        })
        .await;
    };
    for process in &both {
        becomes(process, 200).await;
    }
    // Redis forgets it; those who know it tell it again, and a start without Redis still admits it.
    tokio::task::block_in_place(|| {
        redis.stop();
        redis.resume();
    });
    soon("the key is stored again", async || {
        let stored = redis.ask("HGET {tollgate}:keys one")?;
        stored.contains("search").then_some(())
    })
    .await;
    both[1].kill();
    tokio::task::block_in_place(|| redis.stop());
    both[1] = Process::spawn(&closed[1]);
    both[1].serves().await;
    assert_eq!(status(&both[1]).await, 200);
    tokio::task::block_in_place(|| redis.resume());
    soon("the key is stored again", async || {
        let stored = redis.ask("HGET {tollgate}:keys one")?;
        stored.contains("search").then_some(())
    })
    .await;
    let revoked = keys(&closed[0], &["revoke", "one"]);
    assert!(revoked.status.success(), "{}", said(&revoked));
    for process in &both {
        becomes(process, 401).await;
    }
}
