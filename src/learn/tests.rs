//! What arms learn from the ends of requests and from opinions.

use super::{ReceivedFeedback, apply_feedback, observe_outcome};
use crate::config::Snapshot;
use crate::runtime::{ArmKey, ArmStats, Arms};
use crate::stores::FeedbackOutcome;
use crate::stores::sample::{NOON_MS, record};
use crate::types::{Outcome, RequestRecord};

const QUALITY: f64 = 0.5;

struct Case {
    arms: Arms,
    snapshot: Snapshot,
    record: RequestRecord,
}

impl Case {
    fn new() -> Self {
        Self {
            arms: Arms::default(),
            snapshot: crate::config::builtin::built_in(0).expect("sound"),
            record: record("req_1"),
        }
    }

    fn stats(&self, task: &str) -> ArmStats {
        let key = ArmKey {
            task: task.into(),
            level: self.record.level.clone(),
            model: self.record.attempts[0].model.clone(),
        };
        let params = &self.snapshot.select.learn;
        self.arms.stats(&key, QUALITY, params, NOON_MS)
    }

    fn says(&self, reward: f64, outcome: &FeedbackOutcome) -> ReceivedFeedback {
        let feedback = ReceivedFeedback {
            request_id: self.record.request_id.clone(),
            reward,
            kind: "score",
            comment: None,
        };
        apply_feedback(
            &self.arms,
            &self.snapshot,
            &self.record,
            &feedback,
            outcome,
            NOON_MS,
        );
        feedback
    }
}

fn task(case: &Case) -> String {
    case.record.task.to_string()
}

#[test]
fn an_outcome_moves_its_arm_as_much_as_it_says() {
    let learned = |outcome: Outcome| {
        let mut case = Case::new();
        case.record.attempts[0].outcome = outcome;
        observe_outcome(&case.arms, &case.snapshot, &case.record, NOON_MS + 1_000);
        let stats = case.stats(&task(&case));
        (stats.count > 0.0, stats.mean())
    };
    let prior = Case::new().stats("none").mean();
    assert!(learned(Outcome::Ok).1 > prior);
    assert!(learned(Outcome::UpstreamError).1 < prior);
    assert!(learned(Outcome::Timeout).1 < learned(Outcome::Truncated).1);
    for silent in [Outcome::Cancelled, Outcome::Invalid, Outcome::RateLimited] {
        assert!(!learned(silent).0, "{silent:?}");
    }
}

#[test]
fn feedback_counts_once_and_a_change_of_mind_replaces_it() {
    let case = Case::new();
    let task = task(&case);
    let first = case.says(1.0, &FeedbackOutcome::New);
    let once = case.stats(&task);
    assert!((once.count - 1.0).abs() < 1e-6, "{once:?}");
    case.says(1.0, &FeedbackOutcome::Same);
    assert_eq!(case.stats(&task), once);
    let stored = first.into_stored(NOON_MS);
    case.says(0.0, &FeedbackOutcome::Replaced(stored));
    let changed = case.stats(&task);
    assert!((changed.count - 1.0).abs() < 1e-6, "{changed:?}");
    assert!(changed.mean() < once.mean());
}

#[test]
fn arms_are_kept_by_the_row_that_the_plan_was_made_from() {
    let mut case = Case::new();
    let decision = r#"{"row":"default","candidates":[]}"#.to_owned();
    case.record.decision = serde_json::value::RawValue::from_string(decision).ok();
    case.says(1.0, &FeedbackOutcome::New);
    assert!(case.stats("default").count > 0.9);
}

#[test]
fn an_answer_from_the_cache_is_nobodys_merit() {
    let mut case = Case::new();
    let attempts = std::mem::take(&mut case.record.attempts);
    case.says(1.0, &FeedbackOutcome::New);
    case.record.attempts = attempts;
    assert!(case.stats(&task(&case)).count < 1e-9);
}
