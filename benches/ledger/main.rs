//! The ledger at scale: a month of a million requests is written through the ledger as `serve` writes
//! it, then reported by every kind of dimension.
//!
//! `cargo bench --bench ledger`; fewer rows with `-- --requests 100000`, other end users with `-- --users
//! 1000000` (then all of them ask alike). The file goes to the system's
//! directory for temporary files and is removed at the end: some two GiB for a million requests.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench fails loudly and prints its figures"
)]

mod month;

use std::path::Path;
use std::time::{Duration, Instant};

use month::Month;
use tollgate::stores::{Dimension, Ledger, LedgerFile, ReportQuery, ReportReads, TimeRange};
use tollgate::types::RequestRecord;

/// How many requests a month has, unless told otherwise.
const REQUESTS: u64 = 1_000_000;
/// Reports of one kind, of which the slowest is shown.
const ROUNDS: usize = 3;
/// How long a commit waits for a slot before it tries again: the bench commits faster than any proxy.
const BACKOFF: Duration = Duration::from_micros(200);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let given = |name: &str, usual: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(usual, |at| {
            let count = arguments.get(at + 1).and_then(|count| count.parse().ok());
            count.expect("a count behind the name")
        })
    };
    let month = Month::new(
        given("--requests", REQUESTS),
        given("--users", month::SOME_USERS),
    );
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger.db");
    write(&path, month);
    report(&path);
}

/// Commits a month through the ledger, at most as fast as it takes the records.
fn write(path: &Path, mut month: Month) {
    let ledger = Ledger::sqlite(path).expect("a ledger");
    // What is measured is the ledger, not the making of records: those are made before.
    let (mut rows, mut attempts, mut spent) = (0_u64, 0_u64, Duration::ZERO);
    let cpu = cpu_time();
    let mut making = Duration::ZERO;
    loop {
        let made = cpu_time();
        let batch: Vec<RequestRecord> = month.by_ref().take(20_000).collect();
        making += cpu_time().saturating_sub(made);
        if batch.is_empty() {
            break;
        }
        let started = Instant::now();
        for record in batch {
            rows += 1;
            attempts += record.attempts.len() as u64;
            commit(&ledger, record);
        }
        ledger
            .flush_blocking(Duration::from_mins(1))
            .expect("stored");
        spent += started.elapsed();
    }
    let cpu = cpu_time().saturating_sub(cpu).saturating_sub(making);
    let size = std::fs::metadata(path).expect("the file").len();
    println!("wrote {rows} requests with {attempts} attempts");
    println!("  {:>9.1} µs per request, elapsed", per(spent, rows));
    println!(
        "  {:>9.1} µs per request, CPU (journal and store)",
        per(cpu, rows)
    );
    println!("  {:>9} bytes per request in the file", size / rows.max(1));
}

fn commit(ledger: &Ledger, record: RequestRecord) {
    let slot = loop {
        match ledger.reserve() {
            Ok(slot) => break slot,
            Err(_) => std::thread::sleep(BACKOFF),
        }
    };
    slot.commit(record);
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn per(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}

/// CPU time of this process, all threads; zero where the system does not tell.
fn cpu_time() -> Duration {
    // Fields 14 and 15 of /proc/self/stat, in hundredths of a second, counted behind the name.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn report(path: &Path) {
    use Dimension::{
        App, Cache, Day, Endpoint, Key, Level, Model, Month, Outcome, Provider, Reason, Tag, Task,
        Team, User,
    };
    let tag = Tag("feature".to_owned());
    let alone: Vec<Dimension> = Dimension::NAMED.into_iter().chain([tag]).collect();
    let kinds: &[&[Dimension]] = &[
        &[],
        &[Team, Model],
        &[Month, Provider],
        &[Team, App, Model, Task, Level],
        &[Day, User, Model],
        &[Outcome, Cache, Endpoint, Reason],
        &[Key, Day, Task],
        &[
            Team, App, Model, Task, Level, Provider, Key, User, Day, Month, Outcome, Cache,
            Endpoint, Reason,
        ],
    ];
    println!("\nreports of the whole month, slowest of {ROUNDS} (seconds, CPU, rows, by)");
    let alone = alone.iter().map(std::slice::from_ref);
    for by in alone.chain(kinds.iter().copied()) {
        let names: Vec<_> = by.iter().map(Dimension::name).collect();
        timed(&names.join(","), || {
            let query = ReportQuery {
                range: TimeRange::since(0),
                by: by.to_vec(),
                at_most: None,
            };
            let file = LedgerFile::open(path).expect("a ledger");
            file.report(&query).expect("a report").rows.len()
        });
    }
    timed("(FOCUS export)", || {
        let file = LedgerFile::open(path).expect("a ledger");
        file.focus(TimeRange::since(0)).expect("groups").len()
    });
}

fn timed(name: &str, run: impl Fn() -> usize) {
    let mut slowest = (Duration::ZERO, Duration::ZERO, 0);
    for _ in 0..ROUNDS {
        let (started, cpu) = (Instant::now(), cpu_time());
        let rows = run();
        let cpu = cpu_time().saturating_sub(cpu);
        slowest = slowest.max((started.elapsed(), cpu, rows));
    }
    let (elapsed, cpu, rows) = slowest;
    println!(
        "  {:>7.3}  {:>5.2}  {rows:>7}  {name}",
        elapsed.as_secs_f64(),
        cpu.as_secs_f64()
    );
}
