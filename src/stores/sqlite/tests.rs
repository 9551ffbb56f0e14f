//! What is particular to the file: whose it is, what it holds after a crash, which version it has.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;

use super::file::LedgerFile;
use crate::stores::journal::frame;
use crate::stores::sample::{NOON_MS, record};
use crate::stores::{
    Dimension, Ledger, LedgerError, LedgerOptions, ReportQuery, ReportReads, SpendFilter, TimeRange,
};

fn slow() -> LedgerOptions {
    LedgerOptions {
        batch_delay: Duration::from_hours(1),
        ..LedgerOptions::default()
    }
}

fn open(path: &Path) -> Ledger {
    Ledger::sqlite_with(path, slow()).expect("a ledger")
}

fn commit(ledger: &Ledger, number: usize) {
    let slot = ledger.reserve().expect("a slot");
    slot.commit(record(&format!("req_{number}")));
}

fn flush(ledger: &Ledger) {
    ledger
        .flush_blocking(Duration::from_secs(10))
        .expect("stored");
}

/// What a killed process leaves: its files as they are at this moment.
fn remains(of: &Path, to: &Path) {
    for entry in std::fs::read_dir(of).expect("a directory") {
        let (from, to) = entry
            .map(|entry| (entry.path(), to.join(entry.file_name())))
            .expect("an entry");
        if from.is_dir() {
            std::fs::create_dir(&to).expect("a directory");
            remains(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a copy");
        }
    }
}

fn counted(path: &Path) -> (u64, i128) {
    let query = ReportQuery {
        range: TimeRange::since(0),
        by: vec![Dimension::Model],
        at_most: None,
    };
    let total = LedgerFile::open(path)
        .expect("a file")
        .report(&query)
        .expect("a report")
        .total;
    (total.requests, total.cost.pico())
}

#[test]
fn a_report_counts_stored_and_journalled_records_once_before_and_after_a_kill() {
    let (living, dead) = (tempfile::tempdir(), tempfile::tempdir());
    let (living, dead) = (living.expect("a directory"), dead.expect("a directory"));
    let path = living.path().join("ledger.db");
    let ledger = open(&path);
    let cost = record("req").cost.pico();
    // Stored but, as its segment is still open, also in the journal.
    (0..3).for_each(|number| commit(&ledger, number));
    flush(&ledger);
    assert_eq!(counted(&path), (3, 3 * cost));
    (3..5).for_each(|number| commit(&ledger, number));
    assert_eq!(counted(&path), (5, 5 * cost), "beside a running process");

    remains(living.path(), dead.path());
    let dead_path = dead.path().join("ledger.db");
    assert_eq!(counted(&dead_path), (5, 5 * cost), "after it was killed");
    let again = open(&dead_path);
    let spent = again
        .spent(&SpendFilter::default(), TimeRange::since(0))
        .expect("a sum");
    assert_eq!(spent.pico(), 5 * cost, "at the next start");
    assert_eq!(counted(&dead_path), (5, 5 * cost));
    drop(again);
    assert_eq!(counted(&dead_path), (5, 5 * cost), "after a clean end");
    assert_eq!(
        std::fs::read_dir(dead.path().join("ledger.db.journal"))
            .expect("it")
            .count(),
        0
    );
}

#[test]
fn two_processes_cannot_share_a_ledger() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger.db");
    let first = open(&path);
    let error = Ledger::sqlite(&path).expect_err("refused");
    assert!(matches!(error, LedgerError::InUse { .. }), "{error}");
    assert!(error.to_string().starts_with(&path.display().to_string()));
    drop(first);
    assert!(Ledger::sqlite(&path).is_ok());
}

fn check_refused(prepare: impl Fn(&Path), expect: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger.db");
    prepare(&path);
    let writing = Ledger::sqlite(&path).expect_err("refused").to_string();
    let reading = LedgerFile::open(&path).expect_err("refused").to_string();
    let expect = format!("{}: {expect}", path.display());
    assert!(writing.starts_with(&expect), "{writing}");
    assert!(reading.starts_with(&expect), "{reading}");
}

#[test]
fn a_file_that_is_no_ledger_of_ours_is_left_alone() {
    let sql = |sql: &'static str| {
        move |path: &Path| {
            let connection = Connection::open(path).expect("a file");
            connection.execute_batch(sql).expect("written");
        }
    };
    check_refused(
        |path| std::fs::write(path, "x".repeat(5000)).expect("written"),
        "not a tollgate ledger, or damaged",
    );
    check_refused(
        sql("CREATE TABLE bookmarks (url TEXT)"),
        "not a tollgate ledger, or damaged: it is another program's SQLite file",
    );
    check_refused(
        sql(
            "PRAGMA application_id = 1414285140; PRAGMA user_version = 99; CREATE TABLE requests (x)",
        ),
        "written by a newer tollgate (schema 99, this one knows up to ",
    );
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nowhere/ledger.db");
    let error = Ledger::sqlite(&path).expect_err("refused").to_string();
    assert!(
        error.contains("nowhere/ledger.db.lock: cannot create the lock file"),
        "{error}"
    );
}

#[test]
fn budgets_read_the_same_sum_from_quarters_as_from_rows() {
    let directory = tempfile::tempdir().expect("a directory");
    let ledger = open(&directory.path().join("ledger.db"));
    (0..10).for_each(|number| commit(&ledger, number));
    let whole = TimeRange::since(NOON_MS - 86_400_000);
    let narrow = TimeRange::from(NOON_MS..NOON_MS + 2);
    let spent = |range| ledger.spent(&SpendFilter::default(), range).expect("a sum");
    assert_eq!(spent(whole), spent(narrow));
    assert!(spent(whole).is_positive());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever part of the journal reached the disk, and whatever part of it was stored before:
    /// whole records count once, others not at all.
    #[test]
    fn any_torn_journal_is_stored_once(cut in any::<prop::sample::Index>(), stored in 0..4_usize) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ledger.db");
        let ledger = open(&path);
        (0..stored).for_each(|number| commit(&ledger, number));
        drop(ledger);

        let frames: Vec<_> = (0..4)
            .map(|number| frame::encode(&record(&format!("req_{number}"))).expect("a frame"))
            .collect();
        let bytes = frames.concat();
        let end = cut.index(bytes.len() + 1);
        let segment = directory.path().join("ledger.db.journal/0000000000000009.journal");
        std::fs::write(segment, &bytes[..end]).expect("written");
        let ends = frames.iter().scan(0, |end, frame| {
            *end += frame.len();
            Some(*end)
        });
        let whole = ends.filter(|frame_end| *frame_end <= end).count().max(stored);

        let cost = record("req").cost.pico();
        let expect = (whole as u64, whole as i128 * cost);
        prop_assert_eq!(counted(&path), expect, "as a report sees it");
        for _ in 0..2 {
            drop(open(&path));
            prop_assert_eq!(counted(&path), expect, "after a start");
        }
    }
}
