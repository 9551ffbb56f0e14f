//! Files of every version that was ever written, brought to the present one.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::super::schema::{STEPS, VERSION};
use super::super::{connect_to_write, schema};
use super::{kept_copy, take_steps};
use crate::stores::{
    Dimension, Ledger, LedgerFile, ReportQuery, ReportReads, SpendFilter, TimeRange,
};
use crate::types::{KeyId, Outcome, PicoUsd, Reason, RequestId, UsageSource};

const V1: &str = include_str!("../golden/v1.sql");
const V4: &str = include_str!("../golden/v4.sql");
const V5: &str = include_str!("../golden/v5.sql");

const FELL_BACK: &str = "req_019a6c10000071238000000000000001";
const OVER_MIDNIGHT: &str = "req_019a6c10000071238000000000000002";

/// A directory with a ledger of this text.
fn golden(sql: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger.db");
    let connection = Connection::open(&path).expect("a file");
    connection.execute_batch(sql).expect("the golden file");
    (directory, path)
}

fn tables(connection: &Connection) -> Vec<(String, Option<String>)> {
    let sql = "SELECT name, sql FROM sqlite_schema ORDER BY type, name";
    let mut statement = connection.prepare(sql).expect("a question");
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)));
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

fn check_contents(path: &Path) {
    let ledger = Ledger::sqlite(path).expect("a ledger of an older version opens");
    let read = |id: &str| {
        let found = ledger.request(&RequestId::from_text(id)).expect("a read");
        found.expect("the record")
    };
    let fallen = read(FELL_BACK);
    assert_eq!(fallen.key.as_ref().map(KeyId::as_str), Some("search-prod"));
    assert_eq!(fallen.reason, Some(Reason::Fallback));
    assert_eq!(
        fallen.tags,
        [("feature".to_owned(), "a \"quoted\"\nvalue".to_owned())]
    );
    assert!(
        fallen
            .decision
            .is_some_and(|decision| decision.get().contains("large"))
    );
    let [failed, answered] = &fallen.attempts[..] else {
        panic!("two attempts: {:?}", fallen.attempts);
    };
    assert_eq!(
        (failed.outcome, failed.status),
        (Outcome::UpstreamError, Some(503))
    );
    assert_eq!(failed.response_model, None);
    assert_eq!(answered.response_model.as_deref(), Some("small-2026-08-06"));
    assert_eq!((answered.tokens.total(), answered.cost.pico()), (168, 700));
    assert_eq!(answered.price.reasoning.pico(), 5);
    assert_eq!(
        read(OVER_MIDNIGHT).attempts[0].usage,
        UsageSource::Estimated
    );

    let most = PicoUsd::from_pico(i64::MAX.into());
    let all = most + PicoUsd::from_pico(700);
    let spent = ledger.spent(&SpendFilter::default(), TimeRange::since(0));
    assert_eq!(spent.expect("a sum"), all, "budgets go on where they were");
    assert!(
        ledger
            .feedback(&fallen.request_id)
            .expect("a read")
            .is_some()
    );
    drop(ledger);
    let query = ReportQuery {
        range: TimeRange::since(0),
        by: vec![Dimension::ResponseModel, Dimension::Day],
        at_most: None,
    };
    let report = LedgerFile::open(path)
        .and_then(|file| file.report(&query))
        .expect("a report");
    assert_eq!((report.total.requests, report.total.attempts), (3, 3));
    assert_eq!(
        (report.total.cost, report.total.estimated_cost),
        (all, most)
    );
}

#[test]
fn every_version_becomes_the_present_one_and_keeps_every_cent() {
    for (version, sql) in [(1, V1), (4, V4), (5, V5)] {
        let (_directory, path) = golden(sql);
        let old = tables(&Connection::open(&path).expect("the file"));
        check_contents(&path);
        let kept = kept_copy(&path, version);
        assert_eq!(kept.exists(), version != VERSION, "{}", kept.display());
        if kept.exists() {
            let copy = Connection::open(&kept).expect("the copy");
            assert_eq!(tables(&copy), old, "the copy is as the file was");
        }
        // What is present already is left alone.
        check_contents(&path);
    }
}

#[test]
fn an_old_file_gets_the_tables_of_a_new_one() {
    let (_directory, path) = golden(V1);
    let migrated = connect_to_write(&path).expect("migrated");
    let new = connect_to_write(&path.with_extension("new")).expect("created");
    assert_eq!(tables(&migrated), tables(&new));
}

/// Fails when the tables are edited without a step that edits the files that are there already.
#[test]
fn the_present_tables_are_those_that_were_written_down() {
    assert_eq!(
        VERSION, 5,
        "a new version needs a golden file of its own here"
    );
    let (_directory, path) = golden(V5);
    let written_down = tables(&Connection::open(&path).expect("the file"));
    let new = connect_to_write(&path.with_extension("new")).expect("created");
    assert_eq!(written_down, tables(&new));
}

#[test]
fn a_step_that_fails_leaves_the_file_to_the_version_that_wrote_it() {
    let (_directory, path) = golden(V1);
    let connection = Connection::open(&path).expect("the file");
    let before = tables(&connection);
    // As on a disk without room: not one page more than there are.
    connection
        .execute_batch("PRAGMA max_page_count = 1")
        .expect("a limit");
    let error = take_steps(&connection, &path, 1).expect_err("no room");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    drop(connection);
    let connection = Connection::open(&path).expect("the file");
    assert_eq!(tables(&connection), before);
    assert_eq!(schema::check(&connection, &path).expect("a version"), 1);
    drop(connection);
    check_contents(&path);
}

#[test]
fn a_copy_that_cannot_be_written_stops_the_migration() {
    let (_directory, path) = golden(V1);
    // Something that cannot be replaced stands where the copy goes.
    std::fs::create_dir_all(kept_copy(&path, 1).join("inside")).expect("a directory");
    let error = Ledger::sqlite(&path).expect_err("refused").to_string();
    assert!(error.contains("ledger.db.schema-1"), "{error}");
    let connection = Connection::open(&path).expect("the file");
    assert_eq!(schema::check(&connection, &path).expect("a version"), 1);
}

#[test]
fn a_journal_that_an_older_version_left_is_stored_after_the_migration() {
    let (_directory, path) = golden(V1);
    let journal = path.with_extension("db.journal");
    std::fs::create_dir(&journal).expect("a directory");
    let line = include_bytes!("../golden/v1.journal");
    std::fs::write(journal.join("0000000000000001.journal"), line).expect("written");
    let ledger = Ledger::sqlite(&path).expect("a ledger");
    let found = ledger.request(&RequestId::from_text("req_journalled"));
    let record = found.expect("a read").expect("the record");
    assert_eq!(record.attempts[0].cost.pico(), 373_000_000);
    let spent = ledger.spent(&SpendFilter::default(), TimeRange::since(0));
    assert_eq!(
        spent.expect("a sum").pico(),
        i128::from(i64::MAX) + 700 + 373_000_000
    );
}

#[test]
fn a_version_is_one_step() {
    assert_eq!(i64::try_from(STEPS.len()).expect("few") + 1, VERSION);
}
