//! A small ledger in every format.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::{Args, ReportError, View, run};
use crate::stores::sample::{NOON_MS, attempt, bare_record, record};
use crate::stores::{Ledger, LedgerOptions};
use crate::types::{Outcome, PicoUsd, RequestRecord, Tokens, UsageSource};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

struct Fixture {
    _directory: tempfile::TempDir,
    path: PathBuf,
    /// Open while the report is made, with records that are only in the journal.
    _serving: Ledger,
}

/// A request that fell back, one that was cut, one refused, and one a day later: two of them stored,
/// two still in the journal of a running process.
fn fixture() -> Fixture {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tollgate.db");
    let options = LedgerOptions {
        batch_delay: Duration::from_hours(1),
        ..LedgerOptions::default()
    };
    let serving = Ledger::sqlite_with(&path, options).expect("a ledger");
    let commit = |record: RequestRecord| serving.reserve().expect("a slot").commit(record);
    commit(fallen());
    commit(bare_record("req_2"));
    serving
        .flush_blocking(Duration::from_secs(10))
        .expect("stored");
    commit(cut());
    commit(next_day());
    Fixture {
        _directory: directory,
        path,
        _serving: serving,
    }
}

fn tokens(input: u64, output: u64) -> Tokens {
    Tokens {
        input,
        output,
        ..Tokens::default()
    }
}

fn fallen() -> RequestRecord {
    let mut fallen = record("req_1");
    fallen.attempts = vec![
        attempt(1, "large", tokens(1_234_567, 0)),
        attempt(2, "small", tokens(1000, 200)),
    ];
    fallen.attempts[0].outcome = Outcome::StreamBroken;
    fallen.cost = fallen.attempts.iter().map(|attempt| attempt.cost).sum();
    fallen.baseline_cost = Some(PicoUsd::from_pico(1_000_000_000));
    fallen
}

fn cut() -> RequestRecord {
    let mut cut = record("req_3");
    cut.outcome = Outcome::Cancelled;
    cut.end_user = Some("=HYPERLINK(\"x\"),\u{1b}[31m".to_owned());
    cut.attempts[0].usage = UsageSource::Estimated;
    cut.estimated_cost = cut.cost;
    cut
}

fn next_day() -> RequestRecord {
    let mut next = record("req_4");
    next.team = "mail".into();
    next.started_at_ms += 86_400_000;
    next.attempts[0].started_at_ms += 86_400_000;
    // The provider billed one pico-USD more than its price says.
    next.attempts[0].cost += PicoUsd::from_pico(1);
    next.cost = next.attempts[0].cost;
    next
}

fn report(fixture: &Fixture, words: &[&str]) -> Result<String, ReportError> {
    let path = fixture.path.to_str().expect("a path");
    let words = ["report", "--ledger", path]
        .into_iter()
        .chain(words.iter().copied());
    let view = View {
        now_ms: NOON_MS,
        colour: false,
    };
    let mut out = Vec::new();
    run(&Cli::parse_from(words).args, view, &mut out)?;
    let text = String::from_utf8(out).expect("text");
    Ok(text.replace(path, "tollgate.db"))
}

fn written(words: &[&str]) -> String {
    report(&fixture(), words).expect("a report")
}

#[test]
fn the_table_is_for_people() {
    insta::assert_snapshot!(written(&["--by", "team,model"]));
    insta::assert_snapshot!(written(&["--by", "total"]));
}

#[test]
fn json_and_csv_are_exact() {
    insta::assert_snapshot!(written(&["--by", "team,model", "--format", "json"]));
    insta::assert_snapshot!(written(&["--by", "day,user,outcome", "--format", "csv"]));
}

#[test]
fn focus_has_a_line_for_each_token_class() {
    insta::assert_snapshot!(written(&["--format", "focus"]));
}

#[test]
fn rows_sum_to_the_total_by_every_dimension() {
    let fixture = fixture();
    let total = |by: &str| {
        let json = report(&fixture, &["--format", "json", "--by", by]).expect("a report");
        let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let sum = |name: &str| {
            let rows = report["rows"].as_array().expect("rows").iter();
            let amounts = rows.map(|row| PicoUsd::parse_usd(&row[name].to_string()));
            amounts
                .map(|amount| amount.expect("an amount"))
                .sum::<PicoUsd>()
        };
        for name in [
            "cost_usd",
            "estimated_cost_usd",
            "savings_usd",
            "requests",
            "input_tokens",
        ] {
            assert_eq!(
                sum(name).to_string(),
                report["total"][name].to_string(),
                "{by} {name}"
            );
        }
        report["total"].to_string()
    };
    let whole = total("team");
    for dimension in crate::stores::Dimension::NAMED {
        assert_eq!(total(&dimension.name()), whole, "{}", dimension.name());
    }
}

#[test]
fn a_period_excludes_its_end() {
    let first_day = [
        "--from",
        "2026-11-10",
        "--to",
        "2026-11-11",
        "--by",
        "day",
        "--format",
        "csv",
    ];
    assert_eq!(written(&first_day).lines().count(), 2);
    let to_the_first_attempt = ["--from", "2026-11-10", "--to", "2026-11-10T12:00:00.001Z"];
    let text = written(
        &[
            &to_the_first_attempt[..],
            &["--format", "csv", "--by", "total"],
        ]
        .concat(),
    );
    assert!(
        text.ends_with("\n3,0,0,0,1999395000,0,0,0,0,0,0.00\n") || text.contains("\n3,0,0,"),
        "{text}"
    );
}

#[test]
fn an_empty_period_says_which_is_not() {
    let text = written(&["--from", "2025-01-01", "--to", "2025-02-01"]);
    insta::assert_snapshot!(text, @"tollgate.db has nothing from 2025-01-01 to 2025-02-01 (UTC, end excluded). Its records are from 2026-11-10 to 2026-11-11: try --from 2026-11-10");
    let json = written(&[
        "--from",
        "2025-01-01",
        "--to",
        "2025-02-01",
        "--format",
        "json",
    ]);
    assert!(json.contains("\"rows\": []"), "{json}");
}

fn check_refused(words: &[&str], expect: &str) {
    let error = report(&fixture(), words).expect_err("refused");
    assert_eq!((error.to_string().as_str(), error.exit_code()), (expect, 2));
}

#[test]
fn what_makes_no_sense_is_refused_with_what_is_allowed() {
    check_refused(
        &["--by", "team,zzz"],
        "--by: unknown dimension `zzz`; allowed are team, app, key, user, model, response_model, \
         provider, task, level, endpoint, outcome, cache, reason, hour, day, month and tag:NAME",
    );
    check_refused(
        &["--by", "modle"],
        "--by: unknown dimension `modle`; did you mean `model`? allowed are team, app, key, user, \
         model, response_model, provider, task, level, endpoint, outcome, cache, reason, hour, day, \
         month and tag:NAME",
    );
    check_refused(
        &["--from", "yesterday"],
        "--from: `yesterday` is neither a day like 2026-11-01 (midnight UTC) nor an instant like \
         2026-11-01T08:00:00+01:00",
    );
    check_refused(
        &["--from", "2026-11-02", "--to", "2026-11-02"],
        "the period from 2026-11-02 to 2026-11-02 is empty; --to is the first instant not included",
    );
}

#[test]
fn a_missing_ledger_is_named() {
    let mut fixture = fixture();
    fixture.path.set_file_name("other.db");
    let error = report(&fixture, &[]).expect_err("refused");
    assert!(
        error
            .to_string()
            .ends_with("other.db: there is no ledger here; `tollgate serve` creates it")
    );
    assert_eq!(error.exit_code(), 2);
}
