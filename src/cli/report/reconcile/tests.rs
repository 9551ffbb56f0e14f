//! A ledger of three days against invoices in several forms.

use clap::Parser;

use crate::cli::report::{Args, ReportError, View};
use crate::stores::sample::{NOON_MS, attempt, record};
use crate::stores::{Ledger, ReportReads};
use crate::types::{RequestRecord, Tokens, UsageSource};

const DAY_MS: i64 = 86_400_000;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// A request on the given day (from 2026-11-10) that cost a million input tokens at 1 USD.
fn spent(number: i64, day: i64, model: &str, answered_as: &str, provider: &str) -> RequestRecord {
    let mut record = record(&format!("req_{number}"));
    let tokens = Tokens {
        input: 1_000_000,
        ..Tokens::default()
    };
    let mut attempt = attempt(1, model, tokens);
    attempt.response_model = Some(answered_as.to_owned());
    attempt.provider = provider.into();
    attempt.started_at_ms = NOON_MS + day * DAY_MS;
    record.started_at_ms = attempt.started_at_ms;
    (record.model, record.provider) = (Some(model.into()), Some(provider.into()));
    record.cost = attempt.cost;
    record.attempts = vec![attempt];
    record
}

fn ledger() -> Box<dyn ReportReads> {
    let ledger = Ledger::memory();
    let mut cut = spent(3, 1, "big", "gpt-4o-2024-08-06", "openai");
    cut.attempts[0].usage = UsageSource::Estimated;
    let records = [
        spent(1, 0, "big", "gpt-4o-2024-08-06", "openai"),
        spent(2, 0, "small", "gpt-4o-mini-2024-07-18", "openai"),
        cut,
        spent(4, 2, "small", "gpt-4o-mini-2024-07-18", "openai"),
        spent(5, 0, "haiku", "claude-haiku-4-5-20251001", "anthropic"),
    ];
    for record in records {
        ledger.reserve().expect("a slot").commit(record);
    }
    ledger.reports().expect("a view")
}

fn reconcile(invoice: &str, words: &[&str]) -> Result<(bool, String), ReportError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("invoice.csv");
    std::fs::write(&path, invoice).expect("written");
    let path = path.to_str().expect("a path");
    let words = ["report", "--reconcile", path]
        .into_iter()
        .chain(words.iter().copied());
    let args = Cli::try_parse_from(words).expect("arguments").args;
    let view = View {
        now_ms: NOON_MS,
        colour: false,
    };
    let mut out = Vec::new();
    let agrees = super::run(&args, view, &*ledger(), &mut out)?;
    Ok((
        agrees,
        String::from_utf8(out)
            .expect("text")
            .replace(path, "invoice.csv"),
    ))
}

const COSTS: &str = "\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id
1794268800,1794355200,2026-11-10T00:00:00,2026-11-11T00:00:00,1.0000000000000000000,usd,\"gpt-4o, input\",p
1794268800,1794355200,2026-11-10T00:00:00,2026-11-11T00:00:00,0.995,usd,\"gpt-4o-mini-2024-07-18, input\",p
1794355200,1794441600,2026-11-11T00:00:00,2026-11-12T00:00:00,0.8,usd,\"gpt-4o, input\",p
1794355200,1794441600,2026-11-11T00:00:00,2026-11-12T00:00:00,0.3,usd,\"o3, input\",p
";

#[test]
fn differences_are_listed_by_day_and_model() {
    let (agrees, text) = reconcile(COSTS, &["--to", "2026-11-13", "--from", "2026-11-10"])
        .expect("a reconciliation");
    assert!(!agrees);
    insta::assert_snapshot!(text);
    let (_, json) = reconcile(COSTS, &["--format", "json"]).expect("a reconciliation");
    insta::assert_snapshot!(json);
    let (_, csv) = reconcile(COSTS, &["--format", "csv"]).expect("a reconciliation");
    insta::assert_snapshot!(csv);
}

#[test]
fn the_period_is_the_invoices_own_and_the_tolerance_is_for_each_line() {
    let one_day = COSTS.lines().take(3).collect::<Vec<_>>().join(
        "
",
    );
    let (agrees, text) = reconcile(&one_day, &[]).expect("a reconciliation");
    assert!(agrees, "{text}");
    assert!(
        text.contains("1 equal, 1 within 0.01 USD, 0 not, of 2"),
        "{text}"
    );
    let agrees = |tolerance: &str| {
        let words = ["--tolerance", tolerance];
        reconcile(&one_day, &words).expect("a reconciliation").0
    };
    assert!(!agrees("0"));
    assert!(!agrees("0.004"));
    assert!(agrees("0.005"));
    assert!(!agrees("0.4%"));
    assert!(agrees("0.6%"));
    assert!(agrees("0.001,0.6%"));
}

#[test]
fn tokens_are_compared_where_an_export_has_no_costs() {
    let usage = "\
        usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_read,usage_output_tokens\n\
        2026-11-10,claude-haiku-4-5-20251001,999999,0,0\n";
    let (agrees, text) = reconcile(usage, &[]).expect("a reconciliation");
    assert!(!agrees);
    insta::assert_snapshot!(text);
    assert!(reconcile(usage, &["--tolerance", "0.01%"]).expect("one").0);
}

#[test]
fn other_names_and_no_names_at_all() {
    let named = "date,model,cost\n2026-11-10,our big deployment,1\n2026-11-10,gpt-4o-mini,1\n";
    let words = ["--map", "our big deployment=big", "--provider", "openai"];
    let (agrees, text) = reconcile(named, &words).expect("a reconciliation");
    assert!(agrees, "{text}");
    let anonymous = "date,cost\n2026-11-10,2\n2026-11-11,1\n";
    let words = ["--provider", "openai"];
    let (agrees, text) = reconcile(anonymous, &words).expect("a reconciliation");
    assert!(agrees, "{text}");
    let (agrees, _) = reconcile(anonymous, &[]).expect("a reconciliation");
    assert!(!agrees, "the other provider's day is in it too");
}

#[test]
fn what_is_no_invoice_is_refused_with_its_place() {
    let error = reconcile("date,cost\nx,1\n", &[]).expect_err("refused");
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    assert!(
        text.ends_with("invoice.csv:2:1: `x` is no day, instant or Unix time"),
        "{text}"
    );
    let empty = reconcile("date,cost\n", &[])
        .expect_err("refused")
        .to_string();
    assert!(
        empty.ends_with("it has a heading and no charges"),
        "{empty}"
    );
    for wrong in ["-1", "x", "1%,y"] {
        let words = ["report", "--reconcile", "i.csv", "--tolerance", wrong];
        assert!(Cli::try_parse_from(words).is_err(), "{wrong}");
    }
}
