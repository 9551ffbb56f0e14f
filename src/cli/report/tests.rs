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

/// A configuration beside the fixture that declares euros.
fn with_euros(fixture: &Fixture, rates: &str) -> String {
    let config = fixture.path.with_file_name("routes.yaml");
    let text = format!(
        "version: 1\n\
         providers: {{ p: {{ base_url: \"http://127.0.0.1:1/v1\" }} }}\n\
         models: {{ m: {{ provider: p, price: 0 }} }}\n\
         matrix: {{ default: {{ simple: [m] }} }}\n\
         currency: {{ code: EUR, rates: [{rates}] }}\n"
    );
    std::fs::write(&config, text).expect("written");
    config.to_str().expect("a path").to_owned()
}

fn in_euros(rates: &str, words: &[&str]) -> Result<String, ReportError> {
    let fixture = fixture();
    let config = with_euros(&fixture, rates);
    let words = [&["--config", &config, "--currency"], words].concat();
    report(&fixture, &words)
}

#[test]
fn a_currency_is_exact_and_each_day_has_its_own_rate() {
    let one = "{ from: 2026-01-01, per_usd: 0.92 }";
    let two = "{ from: 2026-11-11, per_usd: 0.5 }, { from: 2026-01-01, per_usd: 0.92 }";
    insta::assert_snapshot!(in_euros(two, &["--by", "team"]).expect("a report"));
    let euros = |rates: &str, by: &str| {
        let words = ["EUR", "--format", "json", "--by", by];
        let json = in_euros(rates, &words).expect("a report");
        let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        // With its digits: `Value` makes floats of them.
        let (_, total) = json.split_once("\"total\"").expect("a total");
        let (_, cost) = total.split_once("\"cost_eur\": ").expect("a cost");
        let cost = cost.split_once(',').expect("its end").0.to_owned();
        (report, cost)
    };
    let fixture = fixture();
    let usd = |day: &str| {
        let words = ["--format", "csv", "--by", "day", "--period", day];
        let csv = report(&fixture, &words).expect("a report");
        let line = csv.lines().nth(1).expect("a line");
        PicoUsd::parse_usd(line.split(',').nth(3).expect("a cost")).expect("an amount")
    };
    let (first, second) = (usd("2026-11-10"), usd("2026-11-11"));
    let rate = |text| crate::types::PerUsd::parse(text).expect("a rate");
    let all = rate("0.92").times(first + second);
    assert_eq!(euros(one, "team").1, all.to_string());
    let both = rate("0.92").times(first) + rate("0.5").times(second);
    for by in ["team", "day", "model,user", "total"] {
        let (report, cost) = euros(two, by);
        assert_eq!(cost, both.to_string(), "{by}");
        assert_eq!(report["currency"]["rates"][1]["from"], "2026-11-11");
    }
}

#[test]
fn a_currency_that_is_not_there_says_what_to_do() {
    let rates = "{ from: 2026-11-11, per_usd: 0.5 }";
    let refused = |rates: &str, code: &str| {
        let error = in_euros(rates, &[code]).expect_err("refused");
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    assert_eq!(
        refused(rates, "EUR"),
        "no rate for EUR before 2026-11-11, but money was spent from 2026-11-01 to 2026-11-11 (UTC, \
         end excluded); add a rate under `currency.rates`, or begin later with --from 2026-11-11"
    );
    assert_eq!(
        refused(rates, "CHF"),
        "--currency: `CHF` is not declared; the configuration declares `EUR`"
    );
    let later = in_euros(rates, &["--from", "2026-11-11"]).expect("a report");
    assert!(later.contains("cost EUR"), "{later}");
}

#[test]
fn the_period_before_is_compared_row_by_row() {
    let fixture = fixture();
    let words = ["--by", "team,model", "--period", "2026-11-11"];
    insta::assert_snapshot!(report(&fixture, &words).expect("a report"));
    let csv = |words: &[&str]| {
        let words = [&["--period", "2026-11-11", "--format", "csv"], words].concat();
        report(&fixture, &words).expect("a report")
    };
    assert!(csv(&["--by", "team"]).contains("share_percent,previous_cost_usd,change_usd"));
    assert!(!csv(&["--by", "team", "--no-compare"]).contains("previous"));
    // Rows of days have no counterpart; the total has.
    let by_day = csv(&["--by", "day"]);
    assert!(by_day.trim_end().ends_with(",,"), "{by_day}");
}

#[test]
fn tags_are_dimensions() {
    let csv = written(&["--by", "tag:feature,tag:none", "--format", "csv"]);
    assert!(csv.starts_with("tag:feature,tag:none,requests,"), "{csv}");
    assert!(csv.contains("\"a \"\"quoted\"\"\nvalue\",-,"), "{csv}");
}

#[test]
fn rows_beyond_the_top_are_one_line_and_the_total_stays() {
    let fixture = fixture();
    let by_model = ["--by", "model", "--no-compare"];
    let written = |more: &[&str]| {
        let words = [&by_model[..], more].concat();
        report(&fixture, &words).expect("a report")
    };
    let json = |more: &[&str]| -> serde_json::Value {
        let text = written(&[more, &["--format", "json"]].concat());
        serde_json::from_str(&text).expect("JSON")
    };
    let (all, top) = (json(&[]), json(&["--top", "1"]));
    assert_eq!(top["total"], all["total"]);
    assert_eq!(top["rows"].as_array().map(Vec::len), Some(1));
    assert_eq!(top["rows"][0], all["rows"][0], "the dearest");
    let rest = all["rows"].as_array().map_or(0, Vec::len) - 1;
    assert_eq!(top["others"]["rows"], rest);
    for number in ["requests", "attempts", "input_tokens"] {
        let of = |row: &serde_json::Value| row[number].as_u64().expect("a count");
        assert_eq!(of(&top["others"]) + of(&top["rows"][0]), of(&top["total"]));
    }
    assert!(all.get("others").is_none());
    let table = written(&["--top", "1"]);
    assert!(table.contains(&format!("({rest} others)")), "{table}");
    let csv = written(&["--top", "1", "--format", "csv"]);
    assert!(
        csv.lines().last().is_some_and(|line| line.starts_with('(')),
        "{csv}"
    );
}
