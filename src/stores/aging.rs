//! What every store promises of rows that are let go: they become sums, step by step, and nobody who asks
//! can tell.

use std::sync::Arc;

use super::sample::{DAY_MS, NOON_MS, four_days, reports_of_four_days};
use super::{Feedback, FeedbackStore, ReportReads, SpendFilter, TimeRange, UsageReads, UsageSink};
use crate::types::RequestRecord;

/// Rows that go in one step.
const STEP: usize = 7;

/// Stores four days, lets the first two go, and looks at everything after each step. `before` is run
/// when all is there and nothing has gone, with the horizon. Returns how many requests went.
pub(crate) fn old_rows_become_sums<S, R>(
    sink: &mut S,
    store: &R,
    reports: &dyn Fn() -> Box<dyn ReportReads>,
    before: impl FnOnce(&mut S, i64),
) -> usize
where
    S: UsageSink + ?Sized,
    R: UsageReads + FeedbackStore + ?Sized,
{
    let always = TimeRange::since(0);
    let records = four_days();
    sink.append(&records).expect("stored");
    for at in [1, 119] {
        let opinion = Feedback {
            request_id: records[at].request_id.clone(),
            reward: 0.5,
            kind: "score".to_owned(),
            comment: None,
            at_ms: NOON_MS,
        };
        store.put_feedback(&opinion).expect("stored");
    }
    let seen = || {
        let reads = reports();
        let focus = reads.focus(always).expect("groups");
        (reports_of_four_days(&*reads), focus)
    };
    let spent = || store.spent(&SpendFilter::default(), always).expect("a sum");
    let (seen_before, spent_before) = (seen(), spent());

    let horizon_ms = NOON_MS.div_euclid(DAY_MS) * DAY_MS + 2 * DAY_MS;
    let is_old = |record: &&Arc<RequestRecord>| record.started_at_ms < horizon_ms;
    let old = records.iter().filter(is_old).count();
    assert!((20..100).contains(&old), "{old}");
    before(sink, horizon_ms);
    let mut gone = 0;
    loop {
        let now = sink.purge(horizon_ms, STEP).expect("purged");
        gone += now;
        assert!(seen() == seen_before, "after {gone}");
        if now < STEP {
            break;
        }
    }
    assert_eq!(gone, old);
    assert_eq!(sink.purge(horizon_ms, STEP).expect("nothing left"), 0);
    assert_eq!(spent(), spent_before, "budgets without an end go on");
    for (at, is_there) in [(1, false), (119, true)] {
        let id = &records[at].request_id;
        assert_eq!(store.request(id).expect("a read").is_some(), is_there);
        assert_eq!(store.feedback(id).expect("a read").is_some(), is_there);
    }
    old
}
