//! What a reload keeps: breakers, limits, budgets, what was learned; and what it says when the file
//! is wrong. (Saves under open streams: `saves`.)

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::harness::proxy::{chat, two_models};
use crate::harness::{Proxy, Script, Upstream};

/// A watched file in its own folder.
struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("routes.yaml");
        std::fs::write(&path, text).expect("written");
        Self {
            _folder: folder,
            path,
        }
    }

    /// As editors save: a new file, renamed over the old one.
    fn save(&self, text: &str) {
        let fresh = self.path.with_extension("new");
        std::fs::write(&fresh, text).expect("written");
        std::fs::rename(&fresh, &self.path).expect("renamed");
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

async fn reload(proxy: &Proxy) {
    let reply = proxy.admin_client().send("POST", "/reload", "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Waits until the metric says whether the last reload went well.
async fn last_reload_was(proxy: &Proxy, good: bool) {
    let expect = if good { 1.0 } else { 0.0 };
    for _ in 0..1000 {
        let shown = proxy.metric("tollgate_config_last_reload_successful", &[]);
        if (shown - expect).abs() < 0.1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the metric never became {expect}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_is_noticed_by_itself_and_a_wrong_one_is_shown() {
    let upstream = Upstream::plain("ok").await;
    let sound = two_models(&upstream.base_url(), "");
    let file = File::new(&sound);
    let proxy = Proxy::start_file(file.path().to_owned()).await;
    let version = || proxy.gateway.active.load().snapshot.version.clone();
    let first = version();

    file.save(&sound.replace("[small, large]", "[smal, large]"));
    last_reload_was(&proxy, false).await;
    assert_eq!(version(), first);
    let overview = proxy.admin_client().get("/api/overview").await;
    assert!(overview.text().contains("smal"), "{}", overview.text());
    let metrics = proxy.admin_client().get("/metrics").await.text();
    assert!(metrics.contains("tollgate_config_last_reload_successful 0"));
    assert_eq!(proxy.client().chat(&chat("auto", "hi")).await.status, 200);

    // In place, as scripts save.
    std::fs::write(file.path(), sound.replace("[small, large]", "[large]")).expect("written");
    last_reload_was(&proxy, true).await;
    assert_ne!(version(), first);
    let reply = proxy.client().chat(&chat("auto", "hi")).await;
    assert_eq!(reply.header("x-tollgate-model"), "large");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_is_asked_for_says_every_error() {
    let upstream = Upstream::plain("ok").await;
    let sound = two_models(&upstream.base_url(), "");
    let file = File::new(&sound);
    let proxy = Proxy::start_file(file.path().to_owned()).await;
    let wrong = sound
        .replace("tier: premium", "tier: gold")
        .replace("baseline: large", "baseline: larg\nchache: {}");
    file.save(&wrong);
    let reply = proxy.admin_client().send("POST", "/reload", "").await;
    assert_eq!(reply.status, 422);
    let errors = reply.json()["errors"].to_string();
    for part in ["gold", "chache", "cache", "routes.yaml:"] {
        assert!(errors.contains(part), "no {part} in {errors}");
    }
    std::fs::remove_file(file.path()).expect("removed");
    let reply = proxy.admin_client().send("POST", "/reload", "").await;
    assert_eq!(reply.status, 422, "{}", reply.text());
    assert_eq!(proxy.client().chat(&chat("auto", "hi")).await.status, 200);
    file.save(&sound);
    reload(&proxy).await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breakers_limits_and_budgets_survive() {
    let upstream = Upstream::start(|request| match request.model().as_str() {
        "small" => Script::error(500, "server_error", "down"),
        _ => Script::answer(request, "ok", 10, 5),
    })
    .await;
    let yaml = |note: &str| {
        two_models(
            &upstream.base_url(),
            &format!(
                "limits: {{ requests_per_minute: 6, burst: 4 }}\nbudgets: [ {{ name: all, limit_usd: 100, period: total }} ]\nresilience: {{ retry: {{ max_attempts: 1 }}, breaker: {{ consecutive_failures: 2, open_seconds: 60 }} }}\n# {note}\n"
            ),
        )
    };
    let file = File::new(&yaml("first"));
    let proxy = Proxy::start_file(file.path().to_owned()).await;
    let client = proxy.client();
    for _ in 0..2 {
        let reply = client.chat(&chat("auto", "hi")).await;
        assert_eq!(reply.header("x-tollgate-attempts"), "2", "{}", reply.text());
    }
    let spent = proxy.gateway.budgets.view()[0].spent;
    assert!(spent.is_positive());

    file.save(&yaml("second"));
    reload(&proxy).await;
    assert_eq!(proxy.gateway.budgets.view()[0].spent, spent);
    let reply = client.chat(&chat("auto", "hi")).await;
    assert_eq!(reply.header("x-tollgate-model"), "large");
    assert_eq!(
        reply.header("x-tollgate-attempts"),
        "1",
        "its breaker is still open"
    );
    assert_eq!(client.chat(&chat("auto", "hi")).await.status, 200);
    // Four were let through; without its memory the limit would begin anew.
    file.save(&yaml("third"));
    reload(&proxy).await;
    let reply = client.chat(&chat("auto", "hi")).await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert_eq!(reply.json()["error"]["code"], "rate_limit_exceeded");
    assert!(!reply.header("retry-after").is_empty());
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_learned_survives() {
    let upstream = Upstream::plain("ok").await;
    let yaml = |note: &str| {
        let more = format!("select: {{ policy: thompson }}\n# {note}\n");
        two_models(&upstream.base_url(), &more)
    };
    let file = File::new(&yaml("first"));
    let proxy = Proxy::start_file(file.path().to_owned()).await;
    let client = proxy.client();
    let reply = client.chat(&chat("auto", "hi")).await;
    let verdict = json!({"request_id": reply.request_id(), "score": 0.0});
    proxy.record(&reply.request_id()).await;
    let answer = client.post("/v1/feedback", &verdict).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let learned = || {
        tollgate::bootstrap::refresh_gauges(&proxy.gateway);
        proxy.gateway.metrics.samples("tollgate_reward_mean").len()
    };
    let before = learned();
    assert!(before > 0);
    file.save(&yaml("second"));
    reload(&proxy).await;
    assert_eq!(learned(), before);
    proxy.stop().await;
}

/// The examples of a task, as a person would write them.
const REFUNDS: &str = r"
tasks:
  refunds:
    examples:
      - My blender arrived cracked, I'd like my money back please. Order 88213.
      - how long until the refund shows up on my card
      - I returned the shoes two weeks ago and nobody has reimbursed me yet
      - I was charged twice for the same subscription. Please refund one of them.
      - can i send this jacket back? i still have the receipt
      - The concert was cancelled. How do I get the price of the tickets back?
      - I cancelled within the trial period but you still took 49 euros. I want that returned.
      - Where do I find the return label for order A-5531? I want a refund
      - everything in the parcel is ruined, I expect a full refund
      - Do I get my shipping costs back too if I return the item?
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_the_file_is_routed_explained_and_counted() {
    let upstream = Upstream::plain("ok").await;
    let plain = two_models(&upstream.base_url(), "");
    let file = File::new(&plain);
    let proxy = Proxy::start_file(file.path().to_owned()).await;
    let client = proxy.client();
    let asked = chat(
        "auto",
        "the lamp is broken, how do I get a refund on my card for the order?",
    );
    let before = client.chat(&asked).await;
    assert_ne!(before.header("x-tollgate-task"), "refunds");

    let with_row = plain.replace("  default:", "  refunds: { simple: [large] }\n  default:");
    file.save(&format!("{with_row}{REFUNDS}"));
    reload(&proxy).await;
    let reply = client.chat(&asked).await;
    assert_eq!(reply.header("x-tollgate-task"), "refunds");
    assert_eq!(reply.header("x-tollgate-model"), "large");
    let record = proxy.record(&reply.request_id()).await;
    assert_eq!(record.task.as_str(), "refunds");
    let shown = client
        .get(&format!("/v1/requests/{}", reply.request_id()))
        .await
        .json();
    assert_eq!(shown["task"], "refunds");
    let signals = shown["features"]["signals"].to_string();
    assert!(signals.contains("refund"), "{shown}");
    let counted = proxy.metric("tollgate_classified_total", &[("task", "refunds")]);
    assert!(counted >= 1.0, "{counted}");
    let explained = client.post("/v1/route", &asked).await.json();
    assert_eq!(explained["task"], "refunds", "{explained}");
    assert_eq!(explained["row"], "refunds");
    assert!(
        explained["tasks"]["refunds"].as_f64().expect("a share") > 0.5,
        "{explained}"
    );
    assert!(
        explained["signals"].to_string().contains("refund"),
        "{explained}"
    );
    let chosen = proxy.metric("tollgate_policy_choices_total", &[("task", "refunds")]);
    assert!(chosen >= 1.0, "{chosen}");

    let other = client
        .post("/v1/route", &chat("auto", "Write a poem about the sea"))
        .await
        .json();
    assert_eq!(other["task"], "creative_writing", "{other}");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_replaced_with_the_file_and_bad_ones_refused() {
    let upstream = Upstream::plain("ok").await;
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("my.bin");
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built_in = std::fs::read(built_in.join("models/tollgate-classifier.bin")).expect("there");
    std::fs::write(&weights, &built_in).expect("written");
    let plain = two_models(&upstream.base_url(), "");
    let named = format!("{plain}classifier: {{ model: {} }}\n", weights.display());
    let file = File::new(&named);
    let proxy = Proxy::start_file(file.path().to_owned()).await;
    let checksum = || proxy.gateway.active.load().classifier.model().checksum();
    let first = checksum();

    // Broken off in the middle, as by a copy that is not done: the last good ones stay.
    std::fs::write(&weights, &built_in[..built_in.len() / 2]).expect("written");
    let reply = proxy.admin_client().send("POST", "/reload", "").await;
    assert_eq!(reply.status, 422);
    let errors = reply.json()["errors"].to_string();
    assert!(
        errors.contains("end too early") && errors.contains("classifier.model"),
        "{errors}"
    );
    assert_eq!(checksum(), first);
    assert_eq!(proxy.client().chat(&chat("auto", "hi")).await.status, 200);

    // Others, with the file that names them as it was.
    let data = folder.path().join("rows.jsonl");
    let row = r#"{"text":"Translate this to French: good morning","task":"translation","complexity":0.2}"#;
    std::fs::write(&data, format!("{row}\n{row}\n")).expect("written");
    let args = tollgate::cli::train::Args {
        data: vec![data],
        out: weights,
        without: Vec::new(),
        from_ledger: None,
        fast: true,
    };
    assert_eq!(
        tollgate::cli::train::run(&args, &mut Vec::new()).expect("writes"),
        0
    );
    reload(&proxy).await;
    assert_ne!(checksum(), first);
    assert_eq!(proxy.client().chat(&chat("auto", "hi")).await.status, 200);
    proxy.stop().await;
}
