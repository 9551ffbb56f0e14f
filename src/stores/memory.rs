//! The ledger in memory, for tests and try-outs: the same contract as a file, gone with the process.
//! Looks through all records at every question, so it is not for long runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::report::{Records, ReportReads};
use super::usage::{
    Feedback, FeedbackOutcome, FeedbackStore, LedgerError, SpendBy, SpendFilter, SpendRow,
    TimeRange, UsageReads, UsageSink,
};
use crate::types::{AttemptRecord, KeyId, ModelId, PicoUsd, ProviderId, RequestId, RequestRecord};

/// Shown where a request has no key, model or provider.
const NONE: &str = "-";

/// Records and opinions of this process. Cheap to clone: the clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryStore {
    kept: Arc<RwLock<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Request ids are ordered by time, and so is this.
    requests: BTreeMap<RequestId, Arc<RequestRecord>>,
    feedback: BTreeMap<RequestId, Feedback>,
}

impl UsageSink for MemoryStore {
    fn append(&mut self, batch: &[Arc<RequestRecord>]) -> Result<(), LedgerError> {
        let mut kept = self.kept.write();
        for record in batch {
            kept.requests
                .entry(record.request_id.clone())
                .or_insert_with(|| Arc::clone(record));
        }
        Ok(())
    }
}

impl UsageReads for MemoryStore {
    fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, LedgerError> {
        let kept = self.kept.read();
        Ok(kept.requests.get(id).map(|record| (**record).clone()))
    }

    fn spent(&self, filter: &SpendFilter, range: TimeRange) -> Result<PicoUsd, LedgerError> {
        let kept = self.kept.read();
        let sum = kept
            .requests
            .values()
            .flat_map(|record| record.attempts.iter().map(move |attempt| (record, attempt)))
            .filter(|(record, attempt)| {
                range.contains(attempt.started_at_ms) && covers(filter, record, attempt)
            })
            .map(|(_, attempt)| attempt.cost)
            .sum();
        Ok(sum)
    }

    fn spent_by_end_user(
        &self,
        filter: &SpendFilter,
        range: TimeRange,
    ) -> Result<Vec<(Option<String>, PicoUsd)>, LedgerError> {
        let kept = self.kept.read();
        let mut sums: BTreeMap<Option<String>, PicoUsd> = BTreeMap::new();
        for record in kept.requests.values() {
            for attempt in &record.attempts {
                if range.contains(attempt.started_at_ms) && covers(filter, record, attempt) {
                    *sums.entry(record.end_user.clone()).or_default() += attempt.cost;
                }
            }
        }
        Ok(sums.into_iter().collect())
    }

    fn spend_by(&self, by: SpendBy, range: TimeRange) -> Result<Vec<SpendRow>, LedgerError> {
        let kept = self.kept.read();
        let mut rows: BTreeMap<String, SpendRow> = BTreeMap::new();
        let mut row = |name: &str, requests: u64, attempt: Option<&AttemptRecord>| {
            let row = rows.entry(name.to_owned()).or_insert_with(|| SpendRow {
                name: name.to_owned(),
                requests: 0,
                attempts: 0,
                cost: PicoUsd::ZERO,
            });
            row.requests += requests;
            if let Some(attempt) = attempt {
                row.attempts += 1;
                row.cost += attempt.cost;
            }
        };
        for record in kept.requests.values() {
            if range.contains(record.started_at_ms) {
                row(name_of(by, record, None), 1, None);
            }
            for attempt in &record.attempts {
                if range.contains(attempt.started_at_ms) {
                    row(name_of(by, record, Some(attempt)), 0, Some(attempt));
                }
            }
        }
        let mut rows: Vec<_> = rows.into_values().collect();
        rows.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.name.cmp(&b.name)));
        Ok(rows)
    }

    fn recent(&self, count: usize) -> Result<Vec<RequestRecord>, LedgerError> {
        let kept = self.kept.read();
        let mut records: Vec<_> = kept.requests.values().collect();
        records.sort_by_key(|record| std::cmp::Reverse((record.started_at_ms, &record.request_id)));
        let newest = records.into_iter().take(count);
        Ok(newest.map(|record| (**record).clone()).collect())
    }

    fn reports(&self) -> Result<Box<dyn ReportReads>, LedgerError> {
        let kept = self.kept.read();
        Ok(Box::new(Records {
            records: kept.requests.values().cloned().collect(),
            feedback: kept.feedback.clone(),
        }))
    }
}

fn covers(filter: &SpendFilter, record: &RequestRecord, attempt: &AttemptRecord) -> bool {
    fn agrees<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
        wanted.is_none() || wanted == found
    }
    agrees(filter.team.as_ref(), Some(&record.team))
        && agrees(filter.app.as_ref(), Some(&record.app))
        && agrees(filter.key.as_ref(), record.key.as_ref())
        && agrees(filter.model.as_ref(), Some(&attempt.model))
        && agrees(filter.provider.as_ref(), Some(&attempt.provider))
}

fn name_of<'a>(
    by: SpendBy,
    record: &'a RequestRecord,
    attempt: Option<&'a AttemptRecord>,
) -> &'a str {
    match by {
        SpendBy::Team => record.team.as_str(),
        SpendBy::App => record.app.as_str(),
        SpendBy::Key => record.key.as_ref().map_or(NONE, KeyId::as_str),
        SpendBy::Model => attempt
            .map(|attempt| &attempt.model)
            .or(record.model.as_ref())
            .map_or(NONE, ModelId::as_str),
        SpendBy::Provider => attempt
            .map(|attempt| &attempt.provider)
            .or(record.provider.as_ref())
            .map_or(NONE, ProviderId::as_str),
    }
}

impl FeedbackStore for MemoryStore {
    fn put_feedback(&self, feedback: &Feedback) -> Result<FeedbackOutcome, LedgerError> {
        let mut kept = self.kept.write();
        let id = feedback.request_id.clone();
        match kept.feedback.get(&id) {
            Some(earlier) if earlier.says_the_same(feedback) => Ok(FeedbackOutcome::Same),
            _ => {
                let earlier = kept.feedback.insert(id, feedback.clone());
                Ok(earlier.map_or(FeedbackOutcome::New, FeedbackOutcome::Replaced))
            }
        }
    }

    fn feedback(&self, id: &RequestId) -> Result<Option<Feedback>, LedgerError> {
        Ok(self.kept.read().feedback.get(id).cloned())
    }
}
