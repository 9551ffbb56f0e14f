//! A real process whose files cannot grow any more, as on a full disk: it says that it is not ready,
//! goes on answering while records fit into memory, and loses no bill when there is room again. Responses
//! that clients want kept wait in memory, and beyond a bound are answered and not kept, and say so.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tollgate::stores::Ledger;
use tollgate::types::RequestId;

use crate::harness::proxy::chat;
use crate::harness::{Client, Upstream};
use crate::kills::Process;

/// The largest that any file of the process may grow, in the shell's blocks of 512 bytes: room for
/// an empty ledger and some hundred requests.
const BLOCKS: &str = "1200";

fn config(directory: &Path, upstream: &Upstream) -> String {
    format!(
        r#"
version: 1
state: {{ store: "sqlite:{ledger}" }}
auth: {{ mode: open }}
providers:
  up: {{ dialect: openai_chat, base_url: "{base_url}" }}
models:
  small: {{ provider: up, price: {{ input: 0.15, output: 0.60 }}, context_tokens: 128000, max_output_tokens: 16384, tier: standard, quality: 0.6 }}
matrix:
  default: {{ simple: [small] }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
"#,
        ledger = directory.join("ledger.db").display(),
        base_url = upstream.base_url(),
    )
}

async fn becomes(admin: &Client, status: u16) {
    for _ in 0..2_000 {
        if admin.get("/readyz").await.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("/readyz never became {status}");
}

/// A process whose files cannot grow beyond [`BLOCKS`].
fn confined(file: &Path) -> Process {
    // Beyond the limit the system sends SIGXFSZ unless it is ignored; then writes fail.
    let mut shell = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -S -f {BLOCKS}; exec \"$@\"");
    shell.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_tollgate")]);
    shell.stdout(Stdio::null()).stderr(Stdio::null());
    Process::spawn(shell, file)
}

fn make_room(process: &Process) {
    let made_room = Command::new("prlimit")
        .args(["--pid", &process.id().to_string(), "--fsize=unlimited"])
        .status()
        .expect("prlimit of util-linux");
    assert!(made_room.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_shows_costs_no_bill_and_passes() {
    let directory = tempfile::tempdir().expect("a directory");
    let upstream = Upstream::plain("fine").await;
    let file = directory.path().join("routes.yaml");
    std::fs::write(&file, config(directory.path(), &upstream)).expect("written");
    let process = confined(&file);
    let (client, admin) = (Client::new(process.data), Client::new(process.admin));
    becomes(&admin, 200).await;

    let mut answered = Vec::new();
    let mut after_the_end = 0;
    for number in 0..4_000 {
        let reply = client
            .chat(&chat("small", &format!("number {number}")))
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        answered.push(reply.request_id());
        if number % 20 == 0 && admin.get("/readyz").await.status == 503 {
            after_the_end += 1;
        }
        if after_the_end == 3 {
            break;
        }
    }
    assert_eq!(after_the_end, 3, "the disk was never full");

    make_room(&process);
    becomes(&admin, 200).await;
    process.kill();
    let ledger = Ledger::sqlite(&directory.path().join("ledger.db")).expect("the ledger");
    for id in &answered {
        let found = ledger.request(&RequestId::from_text(id)).expect("a read");
        assert!(found.is_some(), "{id} of {} was lost", answered.len());
    }
    let there = ledger.recent(usize::MAX).expect("records").len();
    assert_eq!(there, answered.len(), "nothing is there twice");
}

/// The metric's value on the admin listener's page.
async fn metric(admin: &Client, sample: &str) -> f64 {
    let page = admin.get("/metrics").await.text();
    let line = page.lines().find(|line| line.starts_with(sample));
    let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
    value.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_keeps_no_answer_back_and_says_what_is_not_kept() {
    /// Four of these are more than may wait in memory.
    const LARGE: usize = 17 << 20;
    let directory = tempfile::tempdir().expect("a directory");
    let upstream = Upstream::plain("fine").await;
    let file = directory.path().join("routes.yaml");
    std::fs::write(&file, config(directory.path(), &upstream)).expect("written");
    let process = confined(&file);
    let (client, admin) = (Client::new(process.data), Client::new(process.admin));
    becomes(&admin, 200).await;

    let large = "a ".repeat(LARGE / 2);
    let ask = async |text: &str| {
        let body = json!({"model": "small", "input": text});
        let reply = client.post("/v1/responses", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let id = reply.json()["id"].as_str().expect("an id").to_owned();
        let store = reply.json()["store"] == true;
        let header = reply.headers.get("x-tollgate-store").cloned();
        assert_eq!(store, header.is_none());
        assert!(store || header.is_some_and(|value| value == "unavailable"));
        (id, store)
    };
    let mut waiting = Vec::new();
    let refused = loop {
        let (id, store) = ask(&large).await;
        if !store {
            break id;
        }
        waiting.push(id);
        assert!(waiting.len() < 6, "the disk was never full");
    };
    assert_eq!(waiting.len(), 4);
    let shown = async |id: &str| client.get(&format!("/v1/responses/{id}")).await.status;
    assert_eq!(shown(&refused).await, 404);
    assert_eq!(shown(&waiting[0]).await, 200, "what waits is found");
    let not_kept = "tollgate_responses_kept_total{result=\"refused\"}";
    assert!(metric(&admin, not_kept).await > 0.5);
    assert!(metric(&admin, "tollgate_responses_waiting_bytes").await > 6e7);

    make_room(&process);
    for _ in 0..2_000 {
        if metric(&admin, "tollgate_responses_waiting_bytes").await < 1.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (id, store) = ask("short").await;
    assert!(store, "there is room again");
    assert_eq!(shown(&id).await, 200);
    for id in &waiting {
        assert_eq!(shown(id).await, 200, "what waited was written");
    }
    process.kill();
}
