//! What every back end of the ledger promises, run against each of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::sample::{NOON_MS, as_json, attempt, bare_record, record};
use super::servers::Postgres;
use super::{Feedback, FeedbackOutcome, Ledger, LedgerOptions, SpendBy, SpendFilter, TimeRange};
use crate::types::{Outcome, PicoUsd, PostgresUrl, RequestId, RequestRecord, Tokens};

const ALWAYS: TimeRange = TimeRange {
    from_ms: i64::MIN,
    to_ms: i64::MAX,
};

fn options(slots: usize) -> LedgerOptions {
    LedgerOptions {
        slots,
        batch_records: 4,
        batch_delay: Duration::from_millis(1),
        ..LedgerOptions::default()
    }
}

/// Runs a promise against every back end.
async fn check<F: Future<Output = ()>>(slots: usize, promise: impl Fn(Ledger) -> F) {
    promise(Ledger::memory_with(options(slots))).await;
    let directory = tempfile::tempdir().expect("a directory");
    let ledger = sqlite(&directory.path().join("ledger.db"), slots);
    promise(ledger).await;
    if let Some(server) = Postgres::shared() {
        let ledger = postgres(server, &directory.path().join("journal"), slots);
        promise(ledger).await;
    }
}

fn postgres(server: &Postgres, journal: &Path, slots: usize) -> Ledger {
    let url = PostgresUrl::parse(&server.database()).expect("an address");
    let ledger = Ledger::postgres_with(&url, journal, options(slots), Duration::ZERO);
    ledger.expect("a ledger")
}

fn sqlite(path: &Path, slots: usize) -> Ledger {
    Ledger::sqlite_with(path, options(slots)).expect("a ledger")
}

fn commit(ledger: &Ledger, record: RequestRecord) {
    ledger.reserve().expect("a slot").commit(record);
}

fn spent(ledger: &Ledger, filter: &SpendFilter, from_ms: i64, to_ms: i64) -> i128 {
    let range = TimeRange { from_ms, to_ms };
    ledger.spent(filter, range).expect("a sum").pico()
}

#[tokio::test]
async fn a_committed_record_is_found_at_once_and_reads_back_whole() {
    check(8, async |ledger: Ledger| {
        for written in [record("req_1"), bare_record("req_2")] {
            commit(&ledger, written.clone());
            for _ in 0..2 {
                let id = &written.request_id;
                let found = ledger.request(id).expect("a read").expect("a record");
                assert_eq!(as_json(&found), as_json(&written));
                ledger.flush().await.expect("stored");
            }
        }
        let unknown = ledger.request(&RequestId::from_text("req_9"));
        assert!(unknown.expect("a read").is_none());
        assert_eq!(ledger.lag(), 0);
        assert!(ledger.is_healthy());
    })
    .await;
}

#[tokio::test]
async fn every_closed_word_reads_back() {
    check(64, async |ledger: Ledger| {
        let outcomes = [
            Outcome::Ok,
            Outcome::Truncated,
            Outcome::Cancelled,
            Outcome::Invalid,
            Outcome::RateLimited,
            Outcome::UpstreamError,
            Outcome::StreamBroken,
            Outcome::ContentPolicy,
            Outcome::ContextLength,
            Outcome::UpstreamAuth,
            Outcome::Unavailable,
            Outcome::Internal,
        ];
        for (number, outcome) in outcomes.into_iter().enumerate() {
            let mut written = record(&format!("req_{number}"));
            written.outcome = outcome;
            written.attempts[0].outcome = outcome;
            commit(&ledger, written.clone());
            ledger.flush().await.expect("stored");
            let found = ledger.request(&written.request_id).expect("a read");
            assert_eq!(as_json(&found.expect("a record")), as_json(&written));
        }
    })
    .await;
}

#[tokio::test]
async fn the_same_record_twice_counts_once() {
    check(8, async |ledger: Ledger| {
        for _ in 0..3 {
            commit(&ledger, record("req_1"));
        }
        let once = record("req_1").cost.pico();
        assert_eq!(spent(&ledger, &SpendFilter::default(), 0, i64::MAX), once);
        let rows = ledger.spend_by(SpendBy::Team, ALWAYS).expect("rows");
        assert_eq!((rows[0].requests, rows[0].attempts), (1, 1));
        assert_eq!(ledger.recent(9).expect("records").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn spending_by_end_user_is_exact_and_knows_who_named_nobody() {
    check(64, async |ledger: Ledger| {
        for (number, user) in [Some("ann"), None, Some("bob"), Some("ann")]
            .into_iter()
            .enumerate()
        {
            let mut written = record(&format!("req_{number}"));
            written.end_user = user.map(str::to_owned);
            commit(&ledger, written);
        }
        let cost = record("req_0").cost;
        let by_user = |filter: &SpendFilter, range| {
            let mut sums = ledger.spent_by_end_user(filter, range).expect("sums");
            sums.retain(|(_, spent)| spent.is_positive());
            sums.sort();
            sums
        };
        let expect = [
            (None, cost),
            (Some("ann".to_owned()), cost + cost),
            (Some("bob".to_owned()), cost),
        ];
        assert_eq!(by_user(&SpendFilter::default(), ALWAYS), expect);
        let nobodys = SpendFilter {
            team: Some("nobody".into()),
            ..SpendFilter::default()
        };
        assert_eq!(by_user(&nobodys, ALWAYS), []);
        let before = TimeRange {
            from_ms: 0,
            to_ms: 1,
        };
        assert_eq!(by_user(&SpendFilter::default(), before), []);
    })
    .await;
}

#[tokio::test]
async fn slots_bound_what_is_in_flight_and_come_back() {
    check(2, async |ledger: Ledger| {
        let first = ledger.reserve().expect("a slot");
        let second = ledger.reserve().expect("a slot");
        assert_eq!(ledger.reserve().expect_err("full").slots, 2);
        drop(first);
        let third = ledger.reserve().expect("the slot that was given back");
        second.commit(record("req_1"));
        third.commit(record("req_2"));
        ledger.flush().await.expect("stored");
        let again = (ledger.reserve(), ledger.reserve());
        assert!(again.0.is_ok() && again.1.is_ok());
    })
    .await;
}

#[tokio::test]
async fn spending_is_exact_whatever_the_range_and_the_filter() {
    check(64, async |ledger: Ledger| {
        let mut everything = Vec::new();
        for number in 0..20_i64 {
            let mut written = record(&format!("req_{number:02}"));
            let tokens = Tokens {
                input: 7 + number.unsigned_abs(),
                ..Tokens::default()
            };
            written.attempts = vec![attempt(1, "small", tokens), attempt(2, "large", tokens)];
            written.started_at_ms += number * 300_000 + 1;
            for attempt in &mut written.attempts {
                attempt.started_at_ms += number * 300_000 + 7;
            }
            written.team = if number % 2 == 0 { "search" } else { "mail" }.into();
            written.key = (number % 3 != 0).then(|| "key".into());
            everything.push(written.clone());
            commit(&ledger, written);
        }
        let bounds = [0, 1, 8, 9, 299_999, 900_000, 900_008, 1_800_000, 5_000_001];
        for from_ms in bounds.map(|offset| NOON_MS + offset) {
            for to_ms in bounds.map(|offset| NOON_MS + offset) {
                check_sums(&ledger, &everything, TimeRange { from_ms, to_ms });
            }
        }
    })
    .await;
}

fn check_sums(ledger: &Ledger, everything: &[RequestRecord], range: TimeRange) {
    let filter = SpendFilter {
        team: Some("search".into()),
        key: Some("key".into()),
        model: Some("large".into()),
        ..SpendFilter::default()
    };
    let attempts = || {
        everything
            .iter()
            .flat_map(|record| record.attempts.iter().map(move |attempt| (record, attempt)))
            .filter(|(_, attempt)| range.contains(attempt.started_at_ms))
    };
    let all: PicoUsd = attempts().map(|(_, attempt)| attempt.cost).sum();
    let some: PicoUsd = attempts()
        .filter(|(record, attempt)| {
            record.team.as_str() == "search"
                && record.key.is_some()
                && attempt.model.as_str() == "large"
        })
        .map(|(_, attempt)| attempt.cost)
        .sum();
    let (from, to) = (range.from_ms, range.to_ms);
    let found = spent(ledger, &SpendFilter::default(), from, to);
    assert_eq!(found, all.pico(), "{range:?}");
    assert_eq!(spent(ledger, &filter, from, to), some.pico(), "{range:?}");
    let by_team = ledger.spend_by(SpendBy::Team, range).expect("rows");
    assert_eq!(by_team.iter().map(|row| row.cost).sum::<PicoUsd>(), all);
    let requests: u64 = by_team.iter().map(|row| row.requests).sum();
    let expected = everything
        .iter()
        .filter(|record| range.contains(record.started_at_ms));
    assert_eq!(requests, expected.count() as u64, "{range:?}");
}

#[tokio::test]
async fn a_breakdown_shows_a_failed_attempt_on_its_own_model() {
    check(8, async |ledger: Ledger| {
        let tokens = |input| Tokens {
            input,
            ..Tokens::default()
        };
        let mut fallen = record("req_1");
        fallen.attempts = vec![
            attempt(1, "large", tokens(9)),
            attempt(2, "small", tokens(5)),
        ];
        commit(&ledger, fallen);
        commit(&ledger, bare_record("req_2"));
        ledger.flush().await.expect("stored");
        let rows = ledger.spend_by(SpendBy::Model, ALWAYS).expect("rows");
        let seen: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.name.as_str(),
                    row.requests,
                    row.attempts,
                    row.cost.pico(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("large", 0, 1, 9_000_000),
                ("small", 1, 1, 5_000_000),
                ("-", 1, 0, 0)
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn sums_go_beyond_sixty_four_bits() {
    check(8, async |ledger: Ledger| {
        let largest = i128::from(i64::MAX) - 5;
        for number in 0..4 {
            let mut dear = record(&format!("req_{number}"));
            dear.attempts[0].cost = PicoUsd::from_pico(largest);
            commit(&ledger, dear);
        }
        let all = spent(&ledger, &SpendFilter::default(), 0, i64::MAX);
        assert_eq!(all, 4 * largest);
        // A range inside one quarter of an hour sums rows, not quarters.
        let part = spent(&ledger, &SpendFilter::default(), NOON_MS + 1, NOON_MS + 2);
        assert_eq!(part, 4 * largest);
    })
    .await;
}

#[tokio::test]
async fn the_newest_requests_come_first() {
    check(8, async |ledger: Ledger| {
        for number in [2, 0, 3, 1] {
            let mut written = record(&format!("req_{number}"));
            written.started_at_ms += number;
            commit(&ledger, written);
        }
        ledger.flush().await.expect("stored");
        let recent = ledger.recent(3).expect("records");
        let ids: Vec<_> = recent
            .iter()
            .map(|record| record.request_id.as_str())
            .collect();
        assert_eq!(ids, ["req_3", "req_2", "req_1"]);
    })
    .await;
}

#[tokio::test]
async fn feedback_is_kept_once_for_each_request() {
    check(8, async |ledger: Ledger| {
        let opinion = |reward, at_ms| Feedback {
            request_id: RequestId::from_text("req_1"),
            reward,
            kind: "score".to_owned(),
            comment: Some("good".to_owned()),
            at_ms,
        };
        let put = |opinion| ledger.put_feedback(&opinion).expect("stored");
        assert_eq!(put(opinion(0.75, 1)), FeedbackOutcome::New);
        assert_eq!(put(opinion(0.75, 2)), FeedbackOutcome::Same);
        let replaced = put(opinion(0.25, 3));
        assert_eq!(replaced, FeedbackOutcome::Replaced(opinion(0.75, 1)));
        let kept = ledger.feedback(&RequestId::from_text("req_1"));
        assert_eq!(kept.expect("a read"), Some(opinion(0.25, 3)));
    })
    .await;
}

#[tokio::test]
async fn threads_commit_at_once_and_nothing_is_lost_or_doubled() {
    check(10_000, async |ledger: Ledger| {
        let cost = record("req").cost.pico();
        let ledger = Arc::new(ledger);
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let ledger = Arc::clone(&ledger);
                std::thread::spawn(move || {
                    for number in 0..100 {
                        commit(&ledger, record(&format!("req_{thread}_{number}")));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("a thread");
        }
        let all = spent(&ledger, &SpendFilter::default(), 0, i64::MAX);
        assert_eq!(all, 400 * cost);
        assert_eq!(ledger.lag(), 0);
        assert!(ledger.flush_blocking(Duration::from_secs(10)).is_ok());
    })
    .await;
}
