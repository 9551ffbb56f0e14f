//! Backups, checks, old rows, and disks and files that refuse.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use super::super::{SqliteSink, SqliteStore};
use crate::stores::aging::old_rows_become_sums;
use crate::stores::sample::{four_days, record};
use crate::stores::{
    Ledger, LedgerError, LedgerFile, LedgerOptions, ReportQuery, ReportReads, SpendFilter,
    TimeRange, UsageSink,
};
use crate::types::{RequestId, RequestRecord};

const PATIENCE: Duration = Duration::from_secs(20);
const ALWAYS: TimeRange = TimeRange::since(0);

fn options(slots: usize) -> LedgerOptions {
    LedgerOptions {
        slots,
        batch_records: 4,
        batch_delay: Duration::from_hours(1),
        ..LedgerOptions::default()
    }
}

fn commit(ledger: &Ledger, id: &str) {
    ledger.reserve().expect("a slot").commit(record(id));
}

fn counted(path: &Path) -> (u64, i128) {
    let query = ReportQuery {
        range: ALWAYS,
        by: Vec::new(),
        at_most: None,
    };
    let file = LedgerFile::open(path).expect("a ledger");
    let total = file.report(&query).expect("a report").total;
    (total.requests, total.cost.pico())
}

#[test]
fn a_backup_beside_a_running_process_is_a_ledger_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, copy) = (
        directory.path().join("l.db"),
        directory.path().join("copy.db"),
    );
    let ledger = Ledger::sqlite_with(&path, options(64)).expect("a ledger");
    for number in 0..3 {
        commit(&ledger, &format!("req_{number}"));
    }
    ledger.flush_blocking(PATIENCE).expect("stored");
    for number in 3..5 {
        commit(&ledger, &format!("req_{number}"));
    }
    let cost = record("req").cost.pico();
    let contents = LedgerFile::backup(&path, &copy).expect("a backup");
    assert_eq!((contents.requests, contents.cost.pico()), (5, 5 * cost));
    assert_eq!(counted(&copy), (5, 5 * cost));
    let files = || {
        let names = std::fs::read_dir(directory.path()).expect("a directory");
        let names = names.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names
            .map(|name| name.into_string().expect("text"))
            .collect();
        names.retain(|name| name.starts_with("copy"));
        names.sort();
        names
    };
    assert_eq!(files(), ["copy.db"], "one file, nothing beside it");

    let refused = LedgerFile::backup(&path, &copy).expect_err("it is there");
    assert!(matches!(refused, LedgerError::Exists { .. }), "{refused}");
    let live = LedgerFile::restore(&copy, &path, true).expect_err("live");
    assert!(matches!(live, LedgerError::InUse { .. }), "{live}");
    for number in 5..9 {
        commit(&ledger, &format!("req_{number}"));
    }
    drop(ledger);

    let there = LedgerFile::restore(&copy, &path, false).expect_err("it is there");
    assert!(matches!(there, LedgerError::Exists { .. }), "{there}");
    let aside = LedgerFile::restore(&copy, &path, true).expect("restored");
    assert_eq!(counted(&path), (5, 5 * cost));
    assert_eq!(counted(&aside.expect("put aside")), (9, 9 * cost));
    let ledger = Ledger::sqlite(&path).expect("it serves again");
    commit(&ledger, "req_5");
    let spent = ledger.spent(&SpendFilter::default(), ALWAYS);
    assert_eq!(spent.expect("a sum").pico(), 6 * cost);
}

#[test]
fn a_restored_ledger_gets_what_waits_in_the_journal() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, copy) = (
        directory.path().join("l.db"),
        directory.path().join("copy.db"),
    );
    let ledger = Ledger::sqlite_with(&path, options(64)).expect("a ledger");
    commit(&ledger, "req_0");
    LedgerFile::backup(&path, &copy).expect("a backup");
    commit(&ledger, "req_1");
    ledger.flush_blocking(PATIENCE).expect("stored");
    // As after a kill: the journal stays, and with it what the backup lacks.
    let journal = directory.path().join("l.db.journal");
    let kept = directory.path().join("kept");
    std::fs::create_dir(&kept).expect("a directory");
    for entry in std::fs::read_dir(&journal).expect("the journal") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), kept.join(entry.file_name())).expect("a copy");
    }
    drop(ledger);
    for entry in std::fs::read_dir(&kept).expect("what was kept") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), journal.join(entry.file_name())).expect("a copy");
    }
    LedgerFile::restore(&copy, &path, true).expect("restored");
    drop(Ledger::sqlite(&path).expect("a start"));
    assert_eq!(counted(&path), (2, 2 * record("req").cost.pico()));
    assert_eq!(LedgerFile::check(&path).expect("a check").problems, [""; 0]);
}

#[test]
fn a_check_finds_what_disagrees_and_what_is_damaged() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("l.db");
    let ledger = Ledger::sqlite(&path).expect("a ledger");
    for number in 0..200 {
        commit(&ledger, &format!("req_{number}"));
    }
    drop(ledger);
    let sound = LedgerFile::check(&path).expect("a check");
    assert_eq!((sound.requests, sound.problems.len()), (200, 0));

    let connection = Connection::open(&path).expect("the file");
    let tamper = "UPDATE attempt_rows SET cost_pico = cost_pico + 1 WHERE seq = 7";
    connection.execute_batch(tamper).expect("tampered");
    connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .expect("in the file");
    drop(connection);
    let found = LedgerFile::check(&path).expect("a check").problems;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[1].starts_with("1 requests cost something else"),
        "{found:?}"
    );

    let mut bytes = std::fs::read(&path).expect("the file");
    let half = bytes.len() / 2;
    bytes[half..half + 8192].fill(0xa5);
    std::fs::write(&path, &bytes).expect("damaged");
    let problems = LedgerFile::check(&path).expect("a check").problems;
    assert!(!problems.is_empty());
    let copy = directory.path().join("copy.db");
    let error = LedgerFile::restore(&path, &copy, false).expect_err("refused");
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
    assert!(
        error.to_string().contains("tollgate ledger restore"),
        "{error}"
    );
}

#[test]
fn old_rows_become_sums_and_everything_still_adds_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("l.db");
    let (mut sink, store, _journal) = SqliteStore::open(&path, 64).expect("a ledger");
    let reports = || -> Box<dyn ReportReads> { Box::new(LedgerFile::open(&path).expect("it")) };
    let old = old_rows_become_sums(&mut sink, &store, &reports, |_, _| {});
    let checked = LedgerFile::check(&path).expect("a check");
    assert_eq!(checked.problems, [""; 0]);
    assert_eq!(checked.archived_requests, old as u64);
}

#[test]
fn the_writer_lets_old_rows_go_between_batches_and_a_replay_brings_none_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("l.db");
    let quick = LedgerOptions {
        batch_delay: Duration::from_millis(1),
        ..options(1024)
    };
    let ledger = Ledger::sqlite_with(&path, quick).expect("a ledger");
    let records = four_days();
    for record in &records {
        ledger.reserve().expect("a slot").commit((**record).clone());
    }
    ledger.flush_blocking(PATIENCE).expect("stored");
    let before = counted(&path);
    ledger.purge_before(i64::MAX);
    let mut newer = 0;
    while ledger.recent(usize::MAX).expect("records").len() > newer {
        // Traffic goes on meanwhile; as new as it is, it goes as well.
        commit(&ledger, &format!("req_new_{newer}"));
        newer += 1;
        ledger.flush_blocking(PATIENCE).expect("stored");
        std::thread::sleep(Duration::from_millis(2));
        assert!(newer <= 2_000, "the writer never came to it");
    }
    let (requests, cost) = counted(&path);
    assert_eq!(requests, before.0 + newer as u64);
    assert_eq!(cost, before.1 + newer as i128 * record("req").cost.pico());
    // What a crash leaves in the journal now is nothing that was archived before the last purge.
    let replayed = crate::stores::journal::read(&directory.path().join("l.db.journal"));
    let old: Vec<_> = replayed
        .expect("readable")
        .into_iter()
        .flat_map(|left| left.records)
        .filter(|replayed| !replayed.request_id.as_str().starts_with("req_new"))
        .collect();
    assert!(old.is_empty(), "{}", old.len());
}

/// A sink whose file cannot grow while told so, as on a full disk.
struct OnADisk {
    sink: SqliteSink,
    full: Arc<AtomicBool>,
}

impl UsageSink for OnADisk {
    fn append(&mut self, batch: &[Arc<RequestRecord>]) -> Result<(), LedgerError> {
        let pages = if self.full.load(Ordering::Acquire) {
            1
        } else {
            1 << 30
        };
        let limit = format!("PRAGMA max_page_count = {pages}");
        self.sink.connection.execute_batch(&limit).expect("a limit");
        self.sink.append(batch)
    }
}

#[test]
fn a_full_disk_stops_admission_loses_nothing_and_passes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("l.db");
    let (sink, store, journal) = SqliteStore::open(&path, 64).expect("a ledger");
    let full = Arc::new(AtomicBool::new(true));
    let disk = OnADisk {
        sink,
        full: Arc::clone(&full),
    };
    let ledger = Ledger::start(options(40), Some(journal), Box::new(disk), Arc::new(store))
        .expect("a ledger");
    let mut committed = 0;
    while let Ok(slot) = ledger.reserve() {
        slot.commit(record(&format!("req_{committed}")));
        committed += 1;
        if committed % 10 == 0 && ledger.is_healthy() {
            let _ = ledger.flush_blocking(PATIENCE);
        }
        assert!(committed < 5_000, "the disk is never full");
    }
    let error = ledger
        .flush_blocking(PATIENCE)
        .expect_err("no room")
        .to_string();
    let expect = format!("{}: cannot store a batch: the disk is full", path.display());
    assert!(error.contains(&expect), "{error}");
    assert!(!ledger.is_healthy(), "not ready");
    assert_eq!(ledger.lag(), 40, "all that may wait");
    full.store(false, Ordering::Release);
    while ledger.flush_blocking(PATIENCE).is_err() {}
    assert!(ledger.is_healthy() && ledger.reserve().is_ok());
    assert_eq!(counted(&path).0, committed);
    let last = RequestId::from_text(&format!("req_{}", committed - 1));
    assert!(ledger.request(&last).expect("a read").is_some());
}

#[test]
fn refusals_name_the_file_and_the_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("l.db");
    let (mut sink, _store, _journal) = SqliteStore::open(&path, 64).expect("a ledger");
    let batch = [Arc::new(record("req_1"))];
    // Nobody wants to wait for five seconds here.
    let hurry = sink.connection.busy_timeout(Duration::from_millis(1));
    hurry.expect("a time-out");
    let other = Connection::open(&path).expect("another program");
    other.execute_batch("BEGIN IMMEDIATE").expect("its lock");
    let error = sink.append(&batch).expect_err("refused").to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(
        error.contains("locked by another program; close what has it open"),
        "{error}"
    );
    other.execute_batch("ROLLBACK").expect("let go");
    drop(other);
    sink.connection
        .execute_batch("PRAGMA query_only = 1")
        .expect("read-only");
    let error = sink.append(&batch).expect_err("refused").to_string();
    assert!(
        error.contains("it is read-only; give this user the right"),
        "{error}"
    );
    drop(sink);

    let error = Ledger::sqlite(directory.path())
        .expect_err("a directory")
        .to_string();
    assert!(
        error.contains("it is a directory; name a file in it"),
        "{error}"
    );
}
