//! The front when the store or the journal refuses, and when the process dies.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Ledger, LedgerOptions};
use crate::stores::journal::{self, Journal};
use crate::stores::memory::MemoryStore;
use crate::stores::sample::record;
use crate::stores::usage::{LedgerError, SpendFilter, TimeRange, UsageSink};
use crate::types::{RequestId, RequestRecord};

const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> LedgerOptions {
    LedgerOptions {
        slots: 4,
        batch_records: 2,
        batch_delay: Duration::from_millis(1),
        ..LedgerOptions::default()
    }
}

fn commit(ledger: &Ledger, id: &str) {
    ledger.reserve().expect("a slot").commit(record(id));
}

/// A store that refuses until it is told otherwise.
struct Refusing {
    inner: MemoryStore,
    refuses: Arc<AtomicBool>,
}

impl UsageSink for Refusing {
    fn append(&mut self, batch: &[Arc<RequestRecord>]) -> Result<(), LedgerError> {
        if self.refuses.load(Ordering::Acquire) {
            return Err(LedgerError::Behind {
                records: 0,
                why: "the disk is full".to_owned(),
            });
        }
        self.inner.append(batch)
    }
}

fn refusing(journal: Journal) -> (Ledger, Arc<AtomicBool>) {
    let refuses = Arc::new(AtomicBool::new(true));
    let inner = MemoryStore::default();
    let sink = Refusing {
        inner: inner.clone(),
        refuses: Arc::clone(&refuses),
    };
    let ledger = Ledger::start(options(), Some(journal), Box::new(sink), Arc::new(inner));
    (ledger.expect("a ledger"), refuses)
}

fn journalled(directory: &Path) -> usize {
    let left = journal::read(directory).expect("readable");
    left.iter().map(|left| left.records.len()).sum()
}

#[test]
fn a_store_that_refuses_loses_nothing_and_stops_admission() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Journal::create(directory.path()).expect("a journal");
    let (ledger, refuses) = refusing(journal);
    for number in 0..4 {
        commit(&ledger, &format!("req_{number}"));
    }
    let error = ledger.flush_blocking(PATIENCE).expect_err("refused");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(!ledger.is_healthy());
    assert_eq!((ledger.lag(), journalled(directory.path())), (4, 4));
    assert!(
        ledger.reserve().is_err(),
        "nothing is admitted that could not be recorded"
    );
    let found = ledger
        .request(&RequestId::from_text("req_3"))
        .expect("a read");
    assert!(found.is_some(), "found before it is stored");

    refuses.store(false, Ordering::Release);
    while ledger.flush_blocking(PATIENCE).is_err() {}
    assert!(ledger.is_healthy());
    assert_eq!(ledger.lag(), 0);
    assert!(ledger.reserve().is_ok());
    drop(ledger);
    assert_eq!(journalled(directory.path()), 0);
}

#[test]
fn closing_with_a_store_that_refuses_leaves_the_journal() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Journal::create(directory.path()).expect("a journal");
    let (ledger, _) = refusing(journal);
    commit(&ledger, "req_1");
    drop(ledger);
    assert_eq!(journalled(directory.path()), 1);
}

/// Every write to this device fails as on a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_journal_shows_and_passes() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Journal::full(directory.path());
    let (ledger, refuses) = refusing(journal);
    commit(&ledger, "req_1");
    assert!(
        !ledger.is_healthy(),
        "the record would not survive the process"
    );
    refuses.store(false, Ordering::Release);
    while ledger.flush_blocking(PATIENCE).is_err() {}
    assert!(ledger.is_healthy());
}

const CHILD: &str = "TOLLGATE_TEST_LEDGER";
const LAST: usize = 499;

/// Not a test of its own: what `records_survive_kill_nine` kills.
#[test]
#[ignore = "run by records_survive_kill_nine"]
fn commits_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let ledger = Ledger::sqlite(Path::new(&path)).expect("a ledger");
    let mut out = std::io::stdout();
    for number in 0.. {
        let slot = loop {
            if let Ok(slot) = ledger.reserve() {
                break slot;
            }
        };
        slot.commit(record(&format!("req_{number:08}")));
        // From here on the client has seen the end of its answer.
        writeln!(out, "committed {number}").expect("a reader");
        out.flush().expect("a reader");
    }
}

#[test]
fn records_survive_kill_nine() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger.db");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("stores::ledger::tests::commits_until_it_is_killed")
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut numbers = lines.map_while(Result::ok).filter_map(|line| {
        let (_, number) = line.split_once("committed ")?;
        number.parse::<usize>().ok()
    });
    let seen = numbers.by_ref().find(|number| *number >= LAST);
    child.kill().expect("killed with SIGKILL");
    child.wait().expect("gone");
    let last = numbers.last().or(seen).expect("it committed");

    let ledger = Ledger::sqlite(&path).expect("the same ledger");
    for number in 0..=last {
        let id = RequestId::from_text(&format!("req_{number:08}"));
        let found = ledger.request(&id).expect("a read");
        assert!(found.is_some(), "{id} of {last} was lost");
    }
    let all = TimeRange::since(0);
    let spent = ledger
        .spent(&SpendFilter::default(), all)
        .expect("a sum")
        .pico();
    let cost = record("req").cost.pico();
    // The last commit may have been written but not announced.
    let count = last as i128 + 1;
    assert!(
        [count * cost, (count + 1) * cost].contains(&spent),
        "{spent}"
    );
}

#[tokio::test]
async fn what_waits_for_company_is_written_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Journal::create(directory.path()).expect("a journal");
    let (ledger, _refuses) = refusing(journal);
    let kept = || -> (usize, usize) {
        let left = journal::read(directory.path()).expect("readable");
        let count = |of: fn(&journal::Leftover) -> usize| left.iter().map(of).sum();
        (
            count(|left| left.records.len()),
            count(|left| left.open.len()),
        )
    };
    let mut slot = ledger.reserve().expect("a slot");
    slot.note(&record("req_1"));
    assert_eq!(kept(), (0, 0));
    ledger.written(true).await;
    assert_eq!(kept(), (0, 1));
    slot.commit_soon(record("req_1"));
    let mut other = ledger.reserve().expect("a slot");
    other.note(&record("req_2"));
    ledger.written(false).await;
    assert_eq!(kept(), (1, 2));
    // One that leaves at once takes along what waits.
    let late = ledger.reserve().expect("a slot");
    late.commit_soon(record("req_3"));
    commit(&ledger, "req_4");
    assert_eq!(kept(), (3, 2));
    drop(other);
}

/// What waited for company is lost to the journal, not to the ledger.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_shows_for_what_was_written_together() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ledger, refuses) = refusing(Journal::full(directory.path()));
    let mut slot = ledger.reserve().expect("a slot");
    slot.note(&record("req_1"));
    ledger.written(false).await;
    assert!(ledger.is_healthy(), "a note alone stops nobody");
    slot.commit_soon(record("req_1"));
    let second = ledger.reserve().expect("a slot");
    second.commit_soon(record("req_2"));
    ledger.written(false).await;
    assert!(
        !ledger.is_healthy(),
        "the records would not survive the process"
    );
    refuses.store(false, Ordering::Release);
    while ledger.flush_blocking(PATIENCE).is_err() {}
    assert!(ledger.is_healthy());
    assert_eq!(ledger.lag(), 0);
}
