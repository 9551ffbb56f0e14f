//! `kill -9` at random moments under load: what clients saw the end of is in the ledger once, nothing
//! is there twice, and the budget goes on without overspending, by the upstream's own bill.
//!
//! Ten kills by default; `TOLLGATE_KILLS=200 cargo test --test it kills -- --nocapture` for the whole
//! proof with its figures.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tollgate::stores::{
    Dimension, Ledger, LedgerFile, ReportQuery, ReportReads, SpendFilter, Sums, TimeRange,
};
use tollgate::types::{PicoUsd, RequestId, RequestRecord};

use crate::harness::{Client, Script, Upstream};

/// How many kills, unless `TOLLGATE_KILLS` says otherwise.
const KILLS: u64 = 10;
/// Clients that send one request after the other.
const CLIENTS: usize = 16;
/// What the budget gets for each life of the process, whole pico-USD: some lives spend it all.
const PER_LIFE_PICO: i128 = 600_000_000;
/// Pico-USD for each token: 0.15 and 0.60 USD per million.
const INPUT_PICO: u64 = 150_000;
const OUTPUT_PICO: u64 = 600_000;
/// How long a process may take until it serves.
const PATIENCE: Duration = Duration::from_secs(20);

/// A real process of the built binary.
pub struct Process {
    child: Child,
    pub data: SocketAddr,
    pub admin: SocketAddr,
}

impl Process {
    fn start(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self::spawn(command, config)
    }

    /// Adds the arguments to what runs the binary, and waits until it serves.
    pub fn spawn(mut command: Command, config: &Path) -> Self {
        let (data, admin) = (free_address(), free_address());
        let child = command
            .args(["serve", "--config"])
            .arg(config)
            .args(["--listen", &data.to_string()])
            .args(["--admin-listen", &admin.to_string()])
            .spawn()
            .expect("the binary starts");
        let process = Self { child, data, admin };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(process.data).is_err()
            || TcpStream::connect(process.admin).is_err()
        {
            assert!(Instant::now() < deadline, "it does not serve");
            std::thread::sleep(Duration::from_millis(3));
        }
        process
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(mut self) {
        self.child.kill().expect("killed with SIGKILL");
        self.child.wait().expect("gone");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// An address that nobody listens on, below the ports that the system gives to outgoing connections:
/// one of those could take it meanwhile, or even connect to itself.
fn free_address() -> SocketAddr {
    loop {
        let port = rand::rng().random_range(10_000..30_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("an address");
        }
    }
}

/// What the clients saw of answers that they read to their end.
#[derive(Default)]
struct Seen {
    /// By request: the cost that the answer named.
    answers: HashMap<String, String>,
    refused: u64,
}

fn usage_of(number: usize) -> (u64, u64) {
    (10 + number as u64 % 7, 1 + number as u64 % 8)
}

async fn upstream(billed: Arc<AtomicU64>) -> Upstream {
    Upstream::start(move |request| {
        // Whoever asked pays, whether or not they live to read the answer.
        let (input, output) = usage_of(request.number);
        let cost = input * INPUT_PICO + output * OUTPUT_PICO;
        billed.fetch_add(cost, Ordering::SeqCst);
        Script::answer(request, "one two three", input, output)
    })
    .await
}

fn config(directory: &Path, upstream: &Upstream, limit: PicoUsd) -> PathBuf {
    let path = directory.join("routes.yaml");
    let text = format!(
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
budgets: [ {{ name: all, limit_usd: {limit}, period: total, on_exhausted: block }} ]
cache: {{ exact: {{ ttl_seconds: 0 }} }}
"#,
        ledger = directory.join("ledger.db").display(),
        base_url = upstream.base_url(),
    );
    std::fs::write(&path, text).expect("written");
    path
}

/// Sends until told to stop; notes every answer whose end it saw.
async fn client(data: SocketAddr, stop: Arc<AtomicBool>, seen: Arc<Mutex<Seen>>, number: usize) {
    let pool: Pool<_, Full<Bytes>> =
        Pool::builder(TokioExecutor::new()).build(HttpConnector::new());
    let mut round = number;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let stream = round.is_multiple_of(2);
        let body = json!({
            "model": "small", "max_tokens": 8, "stream": stream,
            "stream_options": stream.then(|| json!({"include_usage": true})),
            "messages": [{"role": "user", "content": format!("{number} asks for number {round}, in a few words")}],
        });
        let request = http::Request::post(format!("http://{data}/v1/chat/completions"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("a request");
        let Ok(response) = pool.request(request).await else {
            continue;
        };
        let (head, body) = response.into_parts();
        let Ok(body) = body.collect().await else {
            continue;
        };
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        let header = |name: &str| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        match head.status.as_u16() {
            200 if stream => {
                assert!(text.ends_with("data: [DONE]\n\n"), "a clean end: {text}");
                let cost = text.split("\"cost\":").nth(1).map(|rest| {
                    let digits = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.');
                    digits.collect::<String>()
                });
                let cost = cost.expect("the usage chunk names the cost");
                seen.lock().answers.insert(header("x-request-id"), cost);
            }
            200 => {
                let answer = (header("x-request-id"), header("x-tollgate-cost-usd"));
                seen.lock().answers.insert(answer.0, answer.1);
            }
            429 => {
                seen.lock().refused += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            other => panic!("{other}: {text}"),
        }
    }
}

fn in_ledger(path: &Path) -> Sums {
    let query = ReportQuery {
        range: TimeRange::since(0),
        by: vec![Dimension::Model],
        at_most: None,
    };
    let file = LedgerFile::open(path).expect("readable after a kill");
    file.report(&query).expect("a report").total
}

/// The budget's spending as the restarted process takes it from the ledger.
async fn budget_spent(process: &Process) -> f64 {
    let metrics = Client::new(process.admin).get("/metrics").await.text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("tollgate_budget_spent_usd{budget=\"all\"}"));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).expect("a gauge")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_moments_lose_nothing_double_nothing_and_overspend_nothing() {
    let kills = std::env::var("TOLLGATE_KILLS").map_or(KILLS, |kills| {
        kills.parse().expect("TOLLGATE_KILLS is a count")
    });
    let directory = tempfile::tempdir().expect("a directory");
    let ledger_path = directory.path().join("ledger.db");
    let billed = Arc::new(AtomicU64::new(0));
    let upstream = upstream(Arc::clone(&billed)).await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut random = StdRng::seed_from_u64(kills);
    let mut limit = PicoUsd::ZERO;
    let mut exhausted = 0_u64;
    for life in 0..kills {
        limit += PicoUsd::from_pico(PER_LIFE_PICO);
        let process = Process::start(&config(directory.path(), &upstream, limit));
        let spent = budget_spent(&process).await;
        let stored = in_ledger(&ledger_path).cost;
        let gap = (spent - stored.as_usd_f64()).abs();
        assert!(
            gap < 1e-12,
            "life {life}: the budget has {spent}, the ledger {stored}"
        );

        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
                tokio::spawn(client(process.data, stop, seen, number))
            })
            .collect();
        let refused = seen.lock().refused;
        tokio::time::sleep(Duration::from_micros(random.random_range(0..250_000))).await;
        process.kill();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.expect("a client ends well");
        }
        exhausted += u64::from(seen.lock().refused > refused);
        let billed = PicoUsd::from_pico(billed.load(Ordering::SeqCst).into());
        assert!(
            billed <= limit,
            "life {life}: {billed} was billed of {limit}"
        );
    }

    // What the last life left is stored by whoever opens the ledger next.
    let ledger = Ledger::sqlite(&ledger_path).expect("the ledger opens");
    let billed = PicoUsd::from_pico(billed.load(Ordering::SeqCst).into());
    check(&ledger, &ledger_path, &seen.lock(), (billed, limit));
    let (seen, total) = (seen.lock(), in_ledger(&ledger_path));
    println!(
        "{kills} kills: {} answers seen whole, {} requests in the ledger, {} calls upstream; billed {billed}, \
         in the ledger {} of which {} are estimates of what was in flight, limit {limit}; {exhausted} lives \
         spent it all",
        seen.answers.len(),
        total.requests,
        upstream.calls(),
        total.cost,
        total.estimated_cost,
    );
    assert!(!seen.answers.is_empty());
}

fn check(ledger: &Ledger, path: &Path, seen: &Seen, (billed, limit): (PicoUsd, PicoUsd)) {
    let records: Vec<RequestRecord> = ledger.recent(usize::MAX).expect("every record");
    let ids: HashSet<_> = records.iter().map(|record| &record.request_id).collect();
    assert_eq!(ids.len(), records.len(), "nothing is there twice");
    for (id, cost) in &seen.answers {
        let found = ledger.request(&RequestId::from_text(id)).expect("a read");
        let record =
            found.unwrap_or_else(|| panic!("{id} was seen whole and is not in the ledger"));
        assert_eq!(record.cost.to_string(), *cost, "{id}: as the answer said");
        assert_eq!(record.attempts.len(), 1);
    }
    // Sums by quarter, rows and records are the same money.
    let rows: PicoUsd = records.iter().map(|record| record.cost).sum();
    let quarters = ledger.spent(&SpendFilter::default(), TimeRange::since(0));
    assert_eq!(quarters.expect("a sum"), rows);
    let total = in_ledger(path);
    assert_eq!((total.cost, total.requests), (rows, records.len() as u64));
    assert!(
        rows >= billed,
        "{rows} in the ledger covers the bill of {billed}"
    );
    assert!(
        rows <= limit,
        "{rows} in the ledger is within the limit of {limit}"
    );
    assert!(
        rows - total.estimated_cost <= billed,
        "what is not an estimate was billed"
    );
}
