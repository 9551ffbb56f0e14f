//! Reports from records in memory: what the SQL of the other back ends says, in plain Rust. The
//! contract suite compares them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{
    CellScore, Dimension, FocusGroup, Repeated, Repeats, Report, ReportQuery, ReportReads,
    ReportRow, Sums,
};
use crate::stores::usage::{Feedback, LedgerError, TimeRange};
use crate::types::{
    AttemptRecord, KeyId, ModelId, Outcome, ProviderId, Reason, RequestId, RequestRecord,
    ServiceTier, UsageSource,
};

/// Shown where there is no value.
const NONE: &str = "-";

/// The records of one moment.
#[derive(Debug)]
pub(in crate::stores) struct Records {
    pub records: Vec<Arc<RequestRecord>>,
    pub feedback: BTreeMap<RequestId, Feedback>,
}

impl Records {
    fn attempts(&self, range: TimeRange) -> impl Iterator<Item = (&RequestRecord, &AttemptRecord)> {
        self.records
            .iter()
            .flat_map(|record| {
                record
                    .attempts
                    .iter()
                    .map(move |attempt| (&**record, attempt))
            })
            .filter(move |(_, attempt)| range.contains(attempt.started_at_ms))
    }

    fn requests(&self, range: TimeRange) -> impl Iterator<Item = &RequestRecord> {
        self.records
            .iter()
            .map(|record| &**record)
            .filter(move |record| range.contains(record.started_at_ms))
    }
}

impl ReportReads for Records {
    fn report(&self, query: &ReportQuery) -> Result<Report, LedgerError> {
        let mut rows: BTreeMap<Vec<String>, Sums> = BTreeMap::new();
        let values = |record, attempt| -> Vec<String> {
            let value = |by| value(by, record, attempt);
            query.by.iter().map(value).collect()
        };
        for record in self.requests(query.range) {
            *rows.entry(values(record, None)).or_default() += of_request(record);
        }
        for (record, attempt) in self.attempts(query.range) {
            *rows.entry(values(record, Some(attempt))).or_default() += of_attempt(attempt);
        }
        let rows = rows
            .into_iter()
            .map(|(values, sums)| ReportRow { values, sums });
        Ok(Report::from_rows(rows.collect(), query))
    }

    fn span(&self) -> Result<Option<(i64, i64)>, LedgerError> {
        let instants = || {
            self.records.iter().flat_map(|record| {
                let attempts = record.attempts.iter().map(|attempt| attempt.started_at_ms);
                attempts.chain([record.started_at_ms])
            })
        };
        Ok(instants().min().zip(instants().max()))
    }

    fn focus(&self, range: TimeRange) -> Result<Vec<FocusGroup>, LedgerError> {
        let mut groups: Vec<FocusGroup> = Vec::new();
        for (record, attempt) in self.attempts(range) {
            let key = FocusGroup {
                day: value(&Dimension::Day, record, Some(attempt)),
                team: record.team.to_string(),
                app: record.app.to_string(),
                provider: attempt.provider.to_string(),
                model: attempt.model.to_string(),
                price: attempt.price,
                price_version: attempt.price_version.clone(),
                service_tier: attempt
                    .service_tier
                    .map_or("", ServiceTier::as_str)
                    .to_owned(),
                attempts: 1,
                images: attempt.images.into(),
                tokens: attempt.tokens,
                cost: attempt.cost,
                is_estimate: attempt.usage == UsageSource::Estimated,
            };
            match groups.iter_mut().find(|group| group.is_like(&key)) {
                Some(group) => {
                    group.attempts += 1;
                    group.images += key.images;
                    group.tokens += key.tokens;
                    group.cost += key.cost;
                }
                None => groups.push(key),
            }
        }
        groups.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(groups)
    }

    fn scores(&self, range: TimeRange) -> Result<Vec<CellScore>, LedgerError> {
        let mut scores: BTreeMap<[&str; 3], CellScore> = BTreeMap::new();
        for record in self
            .requests(range)
            .filter(|record| !record.attempts.is_empty())
        {
            let (Some(model), Some(feedback)) =
                (&record.model, self.feedback.get(&record.request_id))
            else {
                continue;
            };
            let (task, level, model) =
                (record.task.as_str(), record.level.as_str(), model.as_str());
            let score = scores
                .entry([task, level, model])
                .or_insert_with(|| CellScore {
                    task: task.to_owned(),
                    level: level.to_owned(),
                    model: model.to_owned(),
                    scored: 0,
                    reward_sum: 0.0,
                    reward_square_sum: 0.0,
                });
            score.scored += 1;
            score.reward_sum += feedback.reward;
            score.reward_square_sum += feedback.reward * feedback.reward;
        }
        Ok(scores.into_values().collect())
    }

    fn repeats(&self, range: TimeRange) -> Result<Vec<Repeats>, LedgerError> {
        let mut paid: Vec<_> = self
            .requests(range)
            .filter(|record| record.outcome == Outcome::Ok && record.cost.is_positive())
            .filter_map(|record| record.fingerprint.map(|fingerprint| (fingerprint, record)))
            .collect();
        paid.sort_by_key(|(fingerprint, record)| {
            (*fingerprint, record.started_at_ms, &record.request_id)
        });
        let mut repeats: BTreeMap<[&str; 3], Repeats> = BTreeMap::new();
        for pair in paid.windows(2) {
            let [(first, earlier), (second, record)] = pair else {
                continue;
            };
            if first != second {
                continue;
            }
            let (team, app, task) = (
                record.team.as_str(),
                record.app.as_str(),
                record.task.as_str(),
            );
            let row = repeats.entry([team, app, task]).or_insert_with(|| Repeats {
                team: team.to_owned(),
                app: app.to_owned(),
                task: task.to_owned(),
                ..Repeats::default()
            });
            let gap_ms = record.started_at_ms - earlier.started_at_ms;
            row.ever.add(record.cost);
            if gap_ms <= Repeated::DAY_MS {
                row.within_day.add(record.cost);
            }
            if gap_ms <= Repeated::HOUR_MS {
                row.within_hour.add(record.cost);
            }
        }
        Ok(repeats.into_values().collect())
    }
}

impl FocusGroup {
    fn is_like(&self, other: &Self) -> bool {
        self.order() == other.order()
            && self.price == other.price
            && self.is_estimate == other.is_estimate
    }

    fn order(&self) -> [&str; 7] {
        [
            &self.day,
            &self.team,
            &self.app,
            &self.provider,
            &self.model,
            &self.service_tier,
            &self.price_version,
        ]
    }
}

fn of_request(record: &RequestRecord) -> Sums {
    let baseline = record.baseline_cost;
    Sums {
        requests: 1,
        baseline_requests: u64::from(baseline.is_some()),
        baseline_cost: baseline.unwrap_or_default(),
        savings: baseline
            .map(|baseline| baseline - record.cost)
            .unwrap_or_default(),
        ..Sums::default()
    }
}

fn of_attempt(attempt: &AttemptRecord) -> Sums {
    let is_estimate = attempt.usage == UsageSource::Estimated;
    Sums {
        attempts: 1,
        cost: attempt.cost,
        estimated_cost: if is_estimate {
            attempt.cost
        } else {
            Sums::default().cost
        },
        tokens: attempt.tokens,
        ..Sums::default()
    }
}

/// The value of a dimension for a request, or for one of its attempts.
fn value(by: &Dimension, record: &RequestRecord, attempt: Option<&AttemptRecord>) -> String {
    let at_ms = attempt.map_or(record.started_at_ms, |attempt| attempt.started_at_ms);
    let model = attempt
        .map(|attempt| &attempt.model)
        .or(record.model.as_ref())
        .map_or("", ModelId::as_str);
    let text = match by {
        Dimension::Team => record.team.as_str(),
        Dimension::App => record.app.as_str(),
        Dimension::Key => record.key.as_ref().map_or("", KeyId::as_str),
        Dimension::User => record.end_user.as_deref().unwrap_or_default(),
        Dimension::Model => model,
        // A request is called as its last attempt was answered.
        Dimension::ResponseModel => attempt
            .or(record.attempts.last())
            .and_then(|attempt| attempt.response_model.as_deref())
            .unwrap_or(model),
        Dimension::Provider => attempt
            .map(|attempt| &attempt.provider)
            .or(record.provider.as_ref())
            .map_or("", ProviderId::as_str),
        Dimension::Task => record.task.as_str(),
        Dimension::Level => record.level.as_str(),
        Dimension::Endpoint => record.endpoint.as_str(),
        Dimension::Outcome => record.outcome.as_str(),
        Dimension::Cache => record.cache.as_str(),
        Dimension::Reason => record.reason.map_or("", Reason::as_str),
        Dimension::Hour => return instant("%Y-%m-%dT%H:00Z", at_ms),
        Dimension::Day => return instant("%Y-%m-%d", at_ms),
        Dimension::Month => return instant("%Y-%m", at_ms),
        Dimension::Tag(tag) => {
            let mut tags = record.tags.iter();
            tags.find(|(name, _)| name == tag)
                .map_or("", |(_, value)| value.as_str())
        }
    };
    if text.is_empty() { NONE } else { text }.to_owned()
}

fn instant(format: &str, at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    at.strftime(format).to_string()
}
