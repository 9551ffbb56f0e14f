//! Four real processes on one real Redis: one budget, one rate, whatever dies.
//!
//! `TOLLGATE_RATE_SECONDS=60 cargo test --test it replicas:: -- --nocapture` measures the rate for whole
//! minutes, holds it to one percent and prints the figures. A few seconds on a busy machine cannot show
//! that; `runtime::limiter::leased` does, on a clock of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::harness::redis_server::Redis;
use crate::harness::{Script, Upstream};

/// How long a process may take until it serves.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the upstream bills for a request, in pico-USD: 100 tokens in and 100 out at 1 USD per million.
const BILL_PICO: u64 = 200_000_000;

pub struct Process {
    child: Child,
    pub data: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    pub fn spawn(config: &Path) -> Self {
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address")
        };
        let (data, admin) = (free(), free());
        let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["serve", "--config"])
            .arg(config)
            .args(["--listen", &data.to_string()])
            .args(["--admin-listen", &admin.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        Self { child, data, admin }
    }

    pub async fn serves(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready = Pool::builder(TokioExecutor::new())
                .build::<_, Full<Bytes>>(HttpConnector::new())
                .get(
                    format!("http://{}/readyz", self.admin)
                        .parse()
                        .expect("an address"),
                )
                .await;
            if ready.is_ok_and(|reply| reply.status().is_success())
                && TcpStream::connect(self.data).is_ok()
            {
                return;
            }
            assert!(Instant::now() < deadline, "it does not serve");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("killed with SIGKILL");
        self.child.wait().expect("gone");
    }

    /// A gauge as `/metrics` shows it.
    pub async fn gauge(&self, name: &str) -> f64 {
        let found = self.found(name).await;
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    /// What the admin listener answers.
    async fn admin(&self, path: &str) -> String {
        let address = format!("http://{}{path}", self.admin);
        let reply = client()
            .get(address.parse().expect("an address"))
            .await
            .expect("an answer");
        let body = reply.into_body().collect().await.expect("a body");
        String::from_utf8_lossy(&body.to_bytes()).into_owned()
    }

    /// The first budget as `/api/overview` shows it.
    async fn budget(&self) -> Value {
        let text = self.admin("/api/overview").await;
        let mut overview: Value = serde_json::from_str(&text).expect("JSON");
        overview["budgets"][0].take()
    }

    /// A gauge, if `/metrics` shows it.
    pub async fn found(&self, name: &str) -> Option<f64> {
        let text = self.admin("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(name));
        line?.rsplit(' ').next()?.parse().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

pub fn config(
    directory: &Path,
    name: &str,
    redis: &Redis,
    upstream: &Upstream,
    rest: &str,
) -> std::path::PathBuf {
    let path = directory.join(format!("{name}.yaml"));
    let text = format!(
        r#"
version: 1
state: {{ store: "{store}", ledger: "sqlite:{ledger}", replica: {name} }}
auth: {{ mode: open }}
providers:
  up: {{ dialect: openai_chat, base_url: "{base_url}" }}
models:
  small: {{ provider: up, price: {{ input: 1, output: 1 }}, context_tokens: 128000, max_output_tokens: 16384, tier: standard, quality: 0.6 }}
matrix:
  default: {{ simple: [small] }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
{rest}
"#,
        store = redis.address(),
        ledger = directory.join(format!("{name}.db")).display(),
        base_url = upstream.base_url(),
    );
    std::fs::write(&path, text).expect("written");
    path
}

async fn upstream(billed: Arc<AtomicU64>) -> Upstream {
    Upstream::start(move |request| {
        // Whoever asked pays, whether or not they live to read the answer.
        billed.fetch_add(1, Ordering::SeqCst);

        Script::answer(request, "one two three", 100, 100)
    })
    .await
}

pub type Client = Pool<HttpConnector, Full<Bytes>>;

pub fn client() -> Client {
    Pool::builder(TokioExecutor::new()).build(HttpConnector::new())
}

/// Sends one request whose worst case is a little above what it is billed; its status, 0 for none.
async fn send(client: &Client, data: SocketAddr, number: usize) -> u16 {
    send_from(client, data, number, None).await
}

async fn send_from(client: &Client, data: SocketAddr, number: usize, user: Option<&str>) -> u16 {
    let mut body = json!({
        "model": "small", "max_tokens": 100,
        "messages": [{"role": "user", "content": format!("{number:05} {}", "why ".repeat(22))}],
    });
    if let Some(user) = user {
        body["user"] = json!(user);
    }
    let request = http::Request::post(format!("http://{data}/v1/chat/completions"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a request");
    let Ok(reply) = client.request(request).await else {
        return 0;
    };
    let status = reply.status().as_u16();
    match reply.into_body().collect().await {
        Ok(_) => status,
        Err(_) => 0,
    }
}

/// 2,000 requests at once on a budget for 500; one process dies and Redis loses its memory midway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_overspends_though_a_replica_dies_and_redis_forgets() {
    const REQUESTS: usize = 2_000;
    const AFFORDS: u64 = 500;
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let billed = Arc::new(AtomicU64::new(0));
    let upstream = upstream(Arc::clone(&billed)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let budget = format!(
        "budgets: [ {{ name: all, limit_usd: {}, period: total, on_exhausted: block }} ]",
        AFFORDS as f64 * BILL_PICO as f64 / 1e12
    );
    let mut processes: Vec<Process> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| Process::spawn(&config(directory.path(), name, &redis, &upstream, &budget)))
        .collect();
    for process in &processes {
        process.serves().await;
    }
    let client = client();
    let (served, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let addresses: Vec<SocketAddr> = processes.iter().map(|process| process.data).collect();
    let sent: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let (client, data) = (client.clone(), addresses[number % 4]);
            let (served, refused) = (Arc::clone(&served), Arc::clone(&refused));
            tokio::spawn(async move {
                // Together, but not in one millisecond, so that there is a midway.
                tokio::time::sleep(Duration::from_millis(number as u64)).await;
                match send(&client, data, number).await {
                    200 => served.fetch_add(1, Ordering::SeqCst),
                    429 => refused.fetch_add(1, Ordering::SeqCst),
                    _ => 0,
                }
            })
        })
        .collect();
    while billed.load(Ordering::SeqCst) < AFFORDS / 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    processes[3].kill();
    while billed.load(Ordering::SeqCst) < AFFORDS / 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::task::block_in_place(|| {
        redis.stop();
        redis.resume();
    });
    for task in sent {
        task.await.expect("a client");
    }
    // What is left is found by those who go on asking.
    let deadline = Instant::now() + Duration::from_secs(12);
    let mut refusals = 0;
    while refusals < 12 && Instant::now() < deadline {
        for (number, &address) in addresses[..3].iter().enumerate() {
            refusals = match send(&client, address, REQUESTS + number).await {
                200 => 0,
                _ => refusals + 1,
            };
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let billed = billed.load(Ordering::SeqCst);
    let stranded_usd = processes[0]
        .gauge("tollgate_budget_stranded_usd{budget=\"all\"}")
        .await;
    let spent_usd = processes[0]
        .gauge("tollgate_budget_spent_usd{budget=\"all\"}")
        .await;
    let limit_usd = AFFORDS as f64 * BILL_PICO as f64 / 1e12;
    let billed_usd = billed as f64 * BILL_PICO as f64 / 1e12;
    println!(
        "{REQUESTS} requests: {} served, {} refused; billed {billed} of {AFFORDS}; \
         stranded {stranded_usd} USD, spent {spent_usd} USD of {limit_usd}",
        served.load(Ordering::SeqCst),
        refused.load(Ordering::SeqCst),
    );
    assert!(billed <= AFFORDS, "overspent: {billed}");
    // What the dead one was billed is a part of what it held, and counts once.
    assert!(
        spent_usd + stranded_usd >= 0.99 * limit_usd,
        "{spent_usd} spent by the living and {stranded_usd} stranded of {limit_usd}"
    );
    assert!(
        spent_usd <= billed_usd + 1e-9,
        "{spent_usd} of {billed_usd}"
    );
    assert!(processes[0].gauge("tollgate_shared_store_up").await > 0.5);
    // The dead one comes back with its ledger: what it had is known again.
    let path = directory.path().join("d.yaml");
    processes[3] = Process::spawn(&path);
    processes[3].serves().await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stranded = processes[0]
            .gauge("tollgate_budget_stranded_usd{budget=\"all\"}")
            .await;
        if stranded == 0.0 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{stranded} USD are still stranded"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The store is emptied midway, under the feet of both: nobody overspends, all of it is used, and the
/// overview shows who may spend what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_emptied_midway_costs_no_cent() {
    const AFFORDS: u64 = 120;
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let billed = Arc::new(AtomicU64::new(0));
    let upstream = upstream(Arc::clone(&billed)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let limit_usd = AFFORDS as f64 * BILL_PICO as f64 / 1e12;
    let budget = format!("budgets: [ {{ name: all, limit_usd: {limit_usd}, period: total }} ]");
    let both = ["a", "b"]
        .map(|name| Process::spawn(&config(directory.path(), name, &redis, &upstream, &budget)));
    for process in &both {
        process.serves().await;
    }
    let client = client();
    let deadline = Instant::now() + PATIENCE;
    let (mut number, mut refusals, mut emptied) = (0, 0, 0);
    while refusals < 12 && Instant::now() < deadline {
        let turn: [_; 6] = std::array::from_fn(|at| send(&client, both[at % 2].data, number + at));
        let served = futures_util::future::join_all(turn).await;
        number += served.len();
        refusals = if served.contains(&200) {
            0
        } else {
            refusals + 1
        };
        let sent = billed.load(Ordering::SeqCst);
        if emptied < 3 && sent >= (emptied + 1) * AFFORDS / 4 {
            emptied += 1;
            redis.ask("FLUSHALL").expect("done");
        }
        if refusals > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let billed = billed.load(Ordering::SeqCst);
    println!("emptied {emptied} times: {billed} of {AFFORDS} billed");
    assert_eq!(emptied, 3);
    assert!(billed <= AFFORDS, "overspent: {billed}");
    assert!(billed >= AFFORDS - 1, "{billed} of {AFFORDS}");
    for process in &both {
        let shown = process.budget().await;
        let usd = |value: &Value| {
            let text = value.as_str().expect("an amount");
            text.parse::<f64>().expect("an amount")
        };
        let lease = &shown["lease"];
        let held = usd(&lease["ceiling_usd"]) + usd(&lease["held_elsewhere_usd"]);
        assert!(held <= limit_usd + 1e-12, "{shown}");
        assert!(usd(&lease["stranded_usd"]).abs() < 1e-12, "{shown}");
        assert_eq!(lease["store_away"], false, "{shown}");
        assert!((usd(&shown["spent_usd"]) - billed as f64 * BILL_PICO as f64 / 1e12).abs() < 1e-9);
    }
    tokio::task::block_in_place(|| redis.stop());
    let deadline = Instant::now() + PATIENCE;
    while both[0].budget().await["lease"]["store_away"] != true {
        assert!(Instant::now() < deadline, "nobody notices");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// An end user's limit is one limit for all replicas too, and his first request is not the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_user_has_one_limit_on_all_replicas() {
    const AFFORDS: u64 = 10;
    let Some(redis) = Redis::start() else { return };
    let billed = Arc::new(AtomicU64::new(0));
    let upstream = upstream(Arc::clone(&billed)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let limit_usd = AFFORDS as f64 * BILL_PICO as f64 / 1e12;
    let budget = format!(
        "budgets: [ {{ name: each, match: {{ team: default, end_user: \"*\" }}, limit_usd: {limit_usd}, period: total }} ]"
    );
    let both = ["a", "b"]
        .map(|name| Process::spawn(&config(directory.path(), name, &redis, &upstream, &budget)));
    for process in &both {
        process.serves().await;
    }
    let client = client();
    for (round, user) in ["ann", "bob"].iter().enumerate() {
        let mut statuses = Vec::new();
        for number in 0..24 {
            let data = both[number % 2].data;
            statuses.push(send_from(&client, data, 100 * round + number, Some(user)).await);
        }
        let served = statuses.iter().filter(|status| **status == 200).count() as u64;
        assert!(
            (AFFORDS - 1..=AFFORDS).contains(&served),
            "{user}: {statuses:?}"
        );
        assert_eq!(statuses[0], 200, "{user}: {statuses:?}");
        assert_eq!(statuses[23], 429, "{user}: {statuses:?}");
    }
    assert!(billed.load(Ordering::SeqCst) <= 2 * AFFORDS);
}

/// From so many seconds on, what replicas hold in hand and what is on its way is below one percent.
const FIRM_SECONDS: u64 = 60;

/// One rate for four processes, all of which are asked for more than it allows; then all of the
/// traffic goes to one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_one_rate_for_all_replicas_together() {
    const PER_MINUTE: f64 = 600.0;
    // A permit in the hand of each, and what requests that wait for half a second may shift.
    const IN_HAND: f64 = 4.0 + PER_MINUTE / 120.0;
    let seconds = std::env::var("TOLLGATE_RATE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(12_u64);
    let Some(redis) = Redis::start() else { return };
    let passed = Arc::new(AtomicU64::new(0));
    let upstream = upstream(Arc::clone(&passed)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let limit = "limits: { requests_per_minute: 600, burst: 60 }";
    let processes: Vec<Process> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| Process::spawn(&config(directory.path(), name, &redis, &upstream, limit)))
        .collect();
    for process in &processes {
        process.serves().await;
    }
    let addresses: Vec<SocketAddr> = processes.iter().map(|process| process.data).collect();
    for targets in [&addresses[..], &addresses[..1]] {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..12)
            .map(|number| {
                let (data, stop) = (targets[number % targets.len()], Arc::clone(&stop));
                tokio::spawn(async move {
                    let client = client();
                    while !stop.load(Ordering::Relaxed) {
                        send(&client, data, number).await;
                        tokio::time::sleep(Duration::from_millis(60)).await;
                    }
                })
            })
            .collect();
        // The burst is used up, and the shares follow the demand.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (before, started) = (passed.load(Ordering::SeqCst), Instant::now());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let count = passed.load(Ordering::SeqCst) - before;
        let due = PER_MINUTE * started.elapsed().as_secs_f64() / 60.0;
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.expect("a client");
        }
        let asked = targets.len();
        println!("{asked} replicas asked: {count} requests of {due:.1} in {seconds} s");
        let slack = if seconds < FIRM_SECONDS { IN_HAND } else { 0.0 };
        assert!(
            (count as f64 - due).abs() <= due * 0.01 + slack,
            "{count} requests of {due} with {asked} replicas asked"
        );
    }
}

/// Starting again does not help before the file is changed, so it does not start.
#[test]
fn a_wrong_password_of_the_store_is_said_at_start() {
    let Some(redis) = Redis::start() else { return };
    redis.ask("CONFIG SET requirepass right-one").expect("done");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("routes.yaml");
    let store = redis.address().replace("redis://", "redis://:wrong-one@");
    let text = format!(
        r#"
version: 1
state: {{ store: "{store}", ledger: "sqlite:{ledger}" }}
auth: {{ mode: open }}
providers: {{ p: {{ simulated: {{}} }} }}
models: {{ m: {{ provider: p, price: 0 }} }}
matrix: {{ default: {{ simple: [m] }} }}
"#,
        ledger = directory.path().join("t.db").display(),
    );
    std::fs::write(&path, text).expect("written");
    let ended = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--config",
        ])
        .arg(&path)
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{said}");
    let last = said.lines().last().unwrap_or_default().to_ascii_lowercase();
    assert!(
        last.contains("state.store") && last.contains("password"),
        "{said}"
    );
    assert!(!said.contains("wrong-one"), "{said}");
}
