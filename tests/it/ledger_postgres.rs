//! Replicas with one ledger in Postgres: their totals add up, each answers for the others' requests, the
//! server may go away, and a replica may be killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tollgate::stores::{LedgerSource, ReportQuery, TimeRange};
use tollgate::types::PostgresUrl;

use crate::harness::proxy::{chat, two_models};
use crate::harness::servers::{Postgres, database_name, free_port, skip};
use crate::harness::{Client, Proxy, Reply, Script, Upstream};

const PATIENCE: Duration = Duration::from_secs(30);

fn config(upstream: &Upstream, address: &str, journal: &Path) -> String {
    let state = format!(
        "state: {{ ledger: \"{address}\", journal: \"{}\" }}",
        journal.display()
    );
    let more = "budgets: [ { name: all, limit_usd: 100, period: total } ]";
    two_models(&upstream.base_url(), more).replace("state: { store: memory }", &state)
}

async fn upstream() -> Upstream {
    Upstream::start(|request| Script::answer(request, "ok", 100, 50)).await
}

/// Sends this many requests; the ids of their answers.
async fn ask(client: &Client, count: usize) -> Vec<String> {
    let body = chat("small", "hello");
    let replies = join_all((0..count).map(|_| client.chat(&body))).await;
    for reply in &replies {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    replies.iter().map(Reply::request_id).collect()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Requests, attempts and pico-USD as a report from another machine has them.
fn reported(address: &str) -> (u64, u64, i128) {
    let source = LedgerSource::Postgres {
        url: Box::new(PostgresUrl::parse(address).expect("an address")),
        journal: "none".into(),
    };
    let query = ReportQuery {
        range: TimeRange::since(0),
        by: Vec::new(),
        at_most: None,
    };
    let total = source.open().expect("a ledger").report(&query);
    let total = total.expect("a report").total;
    (total.requests, total.attempts, total.cost.pico())
}

/// 100 tokens in at 0.15, 50 out at 0.60 USD per million.
const COST_PICO: i128 = 100 * 150_000 + 50 * 600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_fill_one_ledger_and_answer_for_each_other() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let (address, upstream) = (server.database(), upstream().await);
    let folder = tempfile::tempdir().expect("a folder");
    let start = async |name: &str| {
        Proxy::start(&config(&upstream, &address, &folder.path().join(name))).await
    };
    let (one, two) = (start("one").await, start("two").await);
    let (one_client, two_client) = (one.client(), two.client());
    let (ids, more) = tokio::join!(ask(&one_client, 30), ask(&two_client, 20));
    for ledger in [&one.gateway.ledger, &two.gateway.ledger] {
        ledger.flush().await.expect("stored");
    }
    assert_eq!(reported(&address), (50, 50, 50 * COST_PICO));

    let bill = two_client.get(&format!("/v1/requests/{}", ids[7])).await;
    assert_eq!(bill.status, 200, "{}", bill.text());
    let opinion = json!({"request_id": more[3], "score": 1});
    let told = one_client.post("/v1/feedback", &opinion).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let overview = one.admin_client().get("/api/overview").await.json();
    assert_eq!(overview["today"]["requests"], 50, "{overview}");

    // Whoever starts now knows what all have spent.
    let three = start("three").await;
    assert_eq!(three.gateway.budgets.view()[0].spent.pico(), 50 * COST_PICO);
    for proxy in [one, two, three] {
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_stops_and_starts_and_no_request_notices() {
    let Some(mut server) = Postgres::own(&[]) else {
        return skip("a Postgres server", "postgresql");
    };
    let (address, upstream) = (server.database(), upstream().await);
    let folder = tempfile::tempdir().expect("a folder");
    let one = Proxy::start(&config(&upstream, &address, &folder.path().join("one"))).await;
    let two = Proxy::start(&config(&upstream, &address, &folder.path().join("two"))).await;
    let (one_client, two_client) = (one.client(), two.client());
    let both = async |count| tokio::join!(ask(&one_client, count), ask(&two_client, count));
    both(20).await;
    server.stop(true);
    let (ids, _) = both(20).await;
    let admin = one.admin_client();
    until("the outage shows", async || {
        admin
            .get("/readyz")
            .await
            .text()
            .contains("wait in the journal")
    })
    .await;
    let ready = admin.get("/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    assert!(one.metric("tollgate_ledger_lag_records", &[]) >= 0.0);
    let metrics = admin.get("/metrics").await.text();
    assert!(
        !metrics.contains("tollgate_ledger_lag_records 0\n"),
        "it lags"
    );
    let overview = admin.get("/api/overview").await;
    assert_eq!(overview.status, 200, "{}", overview.text());
    assert!(overview.json()["ledger"]["trouble"].is_string());
    let bill = one_client.get(&format!("/v1/requests/{}", ids[0])).await;
    assert_eq!(bill.status, 200, "from the journal");

    server.start();
    both(20).await;
    until("everything is stored", async || {
        one.gateway.ledger.lag() + two.gateway.ledger.lag() == 0
    })
    .await;
    assert_eq!(reported(&address), (120, 120, 120 * COST_PICO));
    assert_eq!(admin.get("/readyz").await.text(), "ready\n");
    let sums = server.sql(
        database_name(&address),
        "SELECT sum(requests), sum(attempts), sum(cost_pico) FROM tollgate.spend",
    );
    assert_eq!(sums, format!("120|120|{}", 120 * COST_PICO));
    one.stop().await;
    two.stop().await;
}

/// A replica in a process of its own, to be killed.
struct Replica {
    child: std::process::Child,
    client: Client,
}

impl Replica {
    async fn start(config: &Path) -> Self {
        let data = format!("127.0.0.1:{}", free_port());
        let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["serve", "--listen", &data, "--config"])
            .arg(config)
            .args(["--admin-listen", &format!("127.0.0.1:{}", free_port())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let client = Client::new(data.parse().expect("an address"));
        until("it listens", async || {
            tokio::net::TcpStream::connect(&data).await.is_ok()
        })
        .await;
        // It listens before it has stored what the journal holds, and answers after.
        assert_eq!(client.get("/v1/models").await.status, 200);
        Self { child, client }
    }

    fn kill(&mut self) {
        self.child.kill().expect("killed with SIGKILL");
        self.child.wait().expect("gone");
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_ships_its_journal_at_its_next_start_once() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let (address, upstream) = (server.database(), upstream().await);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("routes.yaml");
    let text = config(&upstream, &address, &folder.path().join("killed"));
    std::fs::write(&file, text).expect("written");
    let other = Proxy::start(&config(&upstream, &address, &folder.path().join("other"))).await;
    let other_client = other.client();
    let mut answered = 0;
    for _ in 0..3 {
        let mut replica = Replica::start(&file).await;
        let (ids, _) = tokio::join!(ask(&replica.client, 30), ask(&other_client, 10));
        replica.kill();
        answered += ids.len() as u64;
    }
    let last = Replica::start(&file).await;
    other.gateway.ledger.flush().await.expect("stored");
    let requests = answered + 30;
    assert_eq!(
        reported(&address),
        (requests, requests, i128::from(requests) * COST_PICO)
    );
    drop(last);
    other.stop().await;
}

#[test]
fn wrong_credentials_end_the_start_with_two_and_no_password_in_sight() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let serve = |address: &str| {
        let file = folder.path().join("routes.yaml");
        let text = format!(
            "version: 1\nstate: {{ ledger: \"{address}\", journal: \"{}/journal\" }}\n\
             providers: {{ s: {{ simulated: {{}} }} }}\n\
             models: {{ m: {{ provider: s, price: {{ input: 0, output: 0 }} }} }}\n\
             matrix: {{ default: {{ simple: [m] }} }}\n",
            folder.path().display()
        );
        std::fs::write(&file, text).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .arg("--config")
            .arg(&file)
            .env("LEDGER_PASSWORD", "hunter2/@")
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(!said.contains("hunter2"), "{said}");
        (output.status.code(), said)
    };
    let (code, said) = serve(&server.address("tollgate", "${LEDGER_PASSWORD}", "postgres"));
    assert!(said.contains("password authentication failed"), "{said}");
    assert_eq!(code, Some(2));
    let (code, said) = serve("postgres://u:hunter2@h:x/d");
    assert!(said.contains("`x` is no port"), "{said}");
    assert_eq!(code, Some(2));
    let (code, said) = serve("mysql://u:hunter2@h/d");
    assert!(said.contains("unknown store `mysql:…`"), "{said}");
    assert_eq!(code, Some(2));
}
