//! Every back end answers every question of a report as plain Rust does over the same records.

use std::time::Duration;

use super::{Dimension, ReportQuery, ReportReads};
use crate::stores::sample::{NOON_MS, attempt, bare_record, record};
use crate::stores::servers::Postgres;
use crate::stores::{Feedback, Ledger, LedgerOptions, LedgerSource, TimeRange};
use crate::types::{
    CacheOutcome, Outcome, PicoUsd, PostgresUrl, RequestRecord, Tokens, UsageSource,
};

const HOUR_MS: i64 = 3_600_000;

/// Some hundred requests over two days that differ in everything that a report looks at.
fn records() -> Vec<RequestRecord> {
    (0..120_i64).map(nth).collect()
}

fn nth(number: i64) -> RequestRecord {
    let id = format!("req_{number:03}");
    if number % 11 == 0 {
        return bare_record(&id);
    }
    let unsigned = number.unsigned_abs();
    let pick = |of: &[&'static str]| of[usize::try_from(unsigned).unwrap_or(0) % of.len()];
    let mut record = record(&id);
    let offset = number * 1_700_000;
    record.started_at_ms += offset;
    record.team = pick(&["search", "mail"]).into();
    record.app = pick(&["checkout", "inbox", "bot"]).into();
    record.task = pick(&["translation", "open_qa"]).into();
    record.end_user = (number % 4 != 0).then(|| format!("user-{}", number % 5));
    record.tags = vec![
        ("feature".to_owned(), pick(&["a", "b\"", ""]).to_owned()),
        ("feature".to_owned(), "second".to_owned()),
        ("it's".to_owned(), "x".to_owned()),
    ];
    let tokens = Tokens {
        input: 100 + unsigned,
        cached_input: unsigned % 3,
        output: 10 + unsigned % 7,
        ..Tokens::default()
    };
    record.attempts = vec![attempt(1, pick(&["small", "large", "tiny"]), tokens)];
    if number % 5 == 0 {
        record.attempts[0].outcome = Outcome::UpstreamError;
        record.attempts[0].response_model = None;
        record.attempts.push(attempt(2, "small", tokens));
    }
    if number % 7 == 0 {
        record.attempts[0].usage = UsageSource::Estimated;
    }
    for attempt in &mut record.attempts {
        attempt.started_at_ms += offset + 3;
    }
    let last = record.attempts[record.attempts.len() - 1].clone();
    (record.model, record.provider) = (Some(last.model), Some(last.provider));
    record.cost = record.attempts.iter().map(|attempt| attempt.cost).sum();
    // Some routing choices were dearer than the baseline, some requests have none.
    record.baseline_cost = (number % 3 != 0).then(|| PicoUsd::from_pico(i128::from(number) << 22));
    record.fingerprint = (number % 6 != 0).then_some(number % 9 - 4);
    if number % 13 == 0 {
        record.cache = CacheOutcome::HitExact;
        record.attempts.clear();
        record.cost = PicoUsd::ZERO;
    }
    record
}

fn fill(ledger: &Ledger, records: &[RequestRecord]) {
    for (number, record) in (0_u32..).zip(records) {
        ledger.reserve().expect("a slot").commit(record.clone());
        if number % 2 == 0 {
            let opinion = Feedback {
                request_id: record.request_id.clone(),
                // Binary fractions, whose sums are exact in any order.
                reward: f64::from(number % 5) / 4.0,
                kind: "score".to_owned(),
                comment: None,
                at_ms: record.started_at_ms,
            };
            ledger.put_feedback(&opinion).expect("stored");
        }
    }
}

fn check_alike(view: &dyn ReportReads, plain: &dyn ReportReads, what: &str) {
    let whole = TimeRange::since(0);
    let part = TimeRange {
        from_ms: NOON_MS + 7 * HOUR_MS,
        to_ms: NOON_MS + 31 * HOUR_MS + 1_234_567,
    };
    let tag = |name: &str| Dimension::Tag(name.to_owned());
    let mut questions: Vec<Vec<Dimension>> = Dimension::NAMED.map(|by| vec![by]).into();
    questions.push(Vec::new());
    questions.push(vec![tag("feature"), Dimension::Day, tag("it's")]);
    questions.push(vec![tag("nobody set it")]);
    questions.push(vec![Dimension::User, tag("feature")]);
    questions.push(vec![Dimension::Month, Dimension::User]);
    questions.push(vec![Dimension::Team, Dimension::Hour, Dimension::Model]);
    for range in [whole, part, TimeRange::from(5..6)] {
        let tops = [None, Some(1), Some(3)];
        for (by, at_most) in questions.iter().flat_map(|by| tops.map(|top| (by, top))) {
            let query = ReportQuery {
                range,
                by: by.clone(),
                at_most,
            };
            let found = view.report(&query).expect("a report");
            assert_eq!(
                found,
                plain.report(&query).expect("one"),
                "{what} {query:?}"
            );
        }
        let focus = |of: &dyn ReportReads| {
            let mut groups = of.focus(range).expect("groups");
            groups.sort_by_key(|group| format!("{group:?}"));
            groups
        };
        for (found, expected) in focus(view).iter().zip(&focus(plain)) {
            assert_eq!(found, expected, "{what}");
        }
        assert_eq!(focus(view).len(), focus(plain).len(), "{what}");
        let scores = |of: &dyn ReportReads| of.scores(range).expect("scores");
        assert_eq!(scores(view), scores(plain), "{what}");
        let repeats = |of: &dyn ReportReads| of.repeats(range).expect("repeats");
        assert_eq!(repeats(view), repeats(plain), "{what}");
    }
    assert_eq!(view.span().expect("a span"), plain.span().expect("one"));
}

#[test]
fn every_back_end_answers_like_plain_rust() {
    let records = records();
    let memory = Ledger::memory();
    fill(&memory, &records);
    let plain = memory.reports().expect("a view");
    assert!(
        !plain
            .scores(TimeRange::since(0))
            .expect("scores")
            .is_empty()
    );
    assert!(
        !plain
            .repeats(TimeRange::since(0))
            .expect("repeats")
            .is_empty()
    );

    let directory = tempfile::tempdir().expect("a directory");
    let options = LedgerOptions {
        batch_delay: Duration::from_hours(1),
        ..LedgerOptions::default()
    };
    let file = Ledger::sqlite_with(&directory.path().join("l.db"), options).expect("a ledger");
    fill(&file, &records[..70]);
    file.flush_blocking(Duration::from_secs(10))
        .expect("stored");
    fill(&file, &records[70..]);
    let view = file.reports().expect("a view");
    check_alike(&*view, &*plain, "stored and journalled");
    file.flush_blocking(Duration::from_secs(10))
        .expect("stored");
    let view = file.reports().expect("a view");
    check_alike(&*view, &*plain, "stored");
}

#[test]
fn postgres_answers_like_plain_rust() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let records = records();
    let memory = Ledger::memory();
    fill(&memory, &records);
    let plain = memory.reports().expect("a view");
    let directory = tempfile::tempdir().expect("a directory");
    let url = PostgresUrl::parse(&server.database()).expect("an address");
    let journal = directory.path().join("journal");
    let open = |journal| {
        let options = LedgerOptions {
            batch_delay: Duration::from_hours(1),
            ..LedgerOptions::default()
        };
        Ledger::postgres_with(&url, journal, options, Duration::ZERO).expect("a ledger")
    };
    let ledger = open(&journal);
    check_alike(
        &*ledger.reports().expect("a view"),
        &*Ledger::memory().reports().expect("a view"),
        "empty",
    );
    fill(&ledger, &records[..70]);
    ledger
        .flush_blocking(Duration::from_secs(10))
        .expect("stored");
    fill(&ledger, &records[70..]);
    let view = ledger.reports().expect("a view");
    check_alike(&*view, &*plain, "stored and journalled");
    ledger
        .flush_blocking(Duration::from_secs(10))
        .expect("stored");
    check_alike(&*view, &*plain, "the moment at which it was opened");
    let elsewhere = LedgerSource::Postgres {
        url: Box::new(url.clone()),
        journal: directory.path().join("none"),
    };
    check_alike(
        &*elsewhere.open().expect("a view"),
        &*plain,
        "from elsewhere",
    );
}

#[test]
fn an_empty_ledger_answers_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    let empty = Ledger::sqlite(&directory.path().join("l.db")).expect("a ledger");
    let plain = Ledger::memory().reports().expect("a view");
    check_alike(&*empty.reports().expect("a view"), &*plain, "empty");
}
