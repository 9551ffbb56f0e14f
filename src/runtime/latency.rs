//! Recent latency of each model, for the policy `fastest` and for the objective.
//!
//! Fed by accounting when an attempt ends, read by the policies. Only whole answers are timed: a fast
//! error is no fast answer. Failures lengthen the expectation instead, as an answer that comes only
//! after some tries would. What was seen fades, so that a model that was slow is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::types::ModelId;

/// An observation of this age counts half: latencies of hosted models drift within minutes.
const HALF_LIFE_MS: f64 = 120_000.0;
/// Below this discounted weight nothing is known: some nine half-lives after a single call.
const LEAST_WEIGHT: f64 = 0.002;
/// A model that always fails is not infinitely slow, just this many times slower.
const MOST_TRIES: f64 = 20.0;

/// One answered attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencySample {
    /// From sending to the first event; streams only.
    pub ttft: Option<Duration>,
    /// From sending to the last byte.
    pub total: Duration,
    /// Output tokens, hidden reasoning included.
    pub output_tokens: u64,
}

/// A discounted mean.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Mean {
    weight: f64,
    sum: f64,
}

impl Mean {
    fn age(&mut self, discount: f64) {
        self.weight *= discount;
        self.sum *= discount;
    }

    fn add(&mut self, value: f64) {
        self.weight += 1.0;
        self.sum += value;
    }

    fn get(&self) -> Option<f64> {
        (self.weight > LEAST_WEIGHT).then(|| self.sum / self.weight)
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Averages {
    /// Seconds to the first token.
    ttft: Mean,
    /// Seconds for each output token after the first.
    per_token: Mean,
    /// Seconds of whole answers whose first token was not seen.
    whole: Mean,
    /// 1 for a failure, 0 for an answer.
    failures: Mean,
    updated_ms: i64,
}

/// The latency of every model.
#[derive(Debug, Default)]
pub struct Latencies {
    models: RwLock<FxHashMap<ModelId, Arc<Mutex<Averages>>>>,
    /// Something was seen since the other replicas were last told.
    has_untold: AtomicBool,
    /// What other replicas have seen.
    elsewhere: RwLock<FxHashMap<ModelId, Averages>>,
}

impl Latencies {
    /// Adds an answered attempt.
    #[allow(
        clippy::cast_precision_loss,
        reason = "token counts are far below 2^52"
    )]
    pub fn observe(&self, model: &ModelId, sample: LatencySample, now_ms: i64) {
        let cell = self.cell(model);
        let mut averages = cell.lock();
        averages.age_to(now_ms);
        averages.failures.add(0.0);
        let Some(ttft) = sample.ttft else {
            averages.whole.add(sample.total.as_secs_f64());
            return;
        };
        averages.ttft.add(ttft.as_secs_f64());
        if sample.output_tokens > 1 {
            let rest = sample.total.saturating_sub(ttft).as_secs_f64();
            averages
                .per_token
                .add(rest / (sample.output_tokens - 1) as f64);
        }
    }

    /// Adds an attempt that failed: its time says nothing, but that it failed does.
    pub fn observe_failure(&self, model: &ModelId, now_ms: i64) {
        let cell = self.cell(model);
        let mut averages = cell.lock();
        averages.age_to(now_ms);
        averages.failures.add(1.0);
    }

    /// How long an answer of this many tokens takes until its end; `None` when nothing is known of late.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "token counts are far below 2^52"
    )]
    pub fn expected(&self, model: &ModelId, output_tokens: u64, now_ms: i64) -> Option<Duration> {
        let own = self.models.read().get(model).map(|cell| *cell.lock());
        let others = self.elsewhere.read().get(model).copied();
        let averages = match (own, others) {
            (Some(own), Some(others)) => own.joined(others, now_ms),
            (one, other) => {
                let mut averages = one.or(other)?;
                averages.age_to(now_ms);
                averages
            }
        };
        let streamed = averages.ttft.get().map(|ttft| {
            ttft + averages.per_token.get().unwrap_or(0.0) * output_tokens.saturating_sub(1) as f64
        });
        let seconds = match (streamed, averages.whole.get()) {
            (Some(streamed), Some(whole)) => {
                // As often as each was seen.
                let (a, b) = (averages.ttft.weight, averages.whole.weight);
                (streamed * a + whole * b) / (a + b)
            }
            (Some(one), None) | (None, Some(one)) => one,
            // Only failures: as slow as can be, until they are forgotten.
            (None, None) => averages.failures.get().map(|_| 60.0)?,
        };
        let failing = averages.failures.get().unwrap_or(0.0);
        let tries = (1.0 / (1.0 - failing).max(1e-3)).min(MOST_TRIES);
        Some(Duration::from_secs_f64(
            (seconds * tries).clamp(0.0, 3_600.0),
        ))
    }

    /// What this process itself has seen, as a text for the other replicas; `None` when there is no
    /// news since the last call, unless it is asked for all the same.
    #[must_use]
    pub fn posted(&self, again: bool) -> Option<String> {
        if !self.has_untold.swap(false, Ordering::Relaxed) && !again {
            return None;
        }
        let models = self.models.read();
        let seen: Vec<(&ModelId, Averages)> = models
            .iter()
            .map(|(model, cell)| (model, *cell.lock()))
            .collect();
        serde_json::to_string(&seen).ok()
    }

    /// Takes in what the other replicas say now, in the place of what they said before. A text of
    /// another version says nothing.
    pub fn heard<'a>(&self, texts: impl Iterator<Item = &'a str>, now_ms: i64) {
        let mut found: FxHashMap<ModelId, Averages> = FxHashMap::default();
        let seen =
            texts.filter_map(|text| serde_json::from_str::<Vec<(ModelId, Averages)>>(text).ok());
        for (model, averages) in seen.flatten() {
            let known = found.entry(model).or_default();
            *known = known.joined(averages, now_ms);
        }
        *self.elsewhere.write() = found;
    }

    fn cell(&self, model: &ModelId) -> Arc<Mutex<Averages>> {
        self.has_untold.store(true, Ordering::Relaxed);
        if let Some(found) = self.models.read().get(model) {
            return Arc::clone(found);
        }
        Arc::clone(self.models.write().entry(model.clone()).or_default())
    }
}

impl Averages {
    /// Both together, at this moment.
    fn joined(mut self, mut other: Self, now_ms: i64) -> Self {
        self.age_to(now_ms);
        other.age_to(now_ms);
        for (mine, theirs) in [
            (&mut self.ttft, other.ttft),
            (&mut self.per_token, other.per_token),
            (&mut self.whole, other.whole),
            (&mut self.failures, other.failures),
        ] {
            mine.weight += theirs.weight;
            mine.sum += theirs.sum;
        }
        self
    }

    #[allow(clippy::cast_precision_loss, reason = "ages are far below 2^52")]
    fn age_to(&mut self, now_ms: i64) {
        let age = (now_ms - self.updated_ms).max(0);
        let discount = (-(age as f64) / HALF_LIFE_MS).exp2();
        self.ttft.age(discount);
        self.per_token.age(discount);
        self.whole.age(discount);
        self.failures.age(discount);
        self.updated_ms = self.updated_ms.max(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(total_ms: u64) -> LatencySample {
        LatencySample {
            ttft: None,
            total: Duration::from_millis(total_ms),
            output_tokens: 10,
        }
    }

    #[test]
    fn unknown_and_forgotten_models_have_no_expectation() {
        let latencies = Latencies::default();
        let model = ModelId::new("a");
        assert_eq!(latencies.expected(&model, 10, 0), None);
        latencies.observe(&model, answer(500), 0);
        let known = latencies.expected(&model, 10, 1_000).expect("known");
        assert!((known.as_secs_f64() - 0.5).abs() < 1e-6);
        assert_eq!(latencies.expected(&model, 10, 3_600_000), None);
    }

    #[test]
    fn fast_errors_do_not_make_a_model_fast() {
        let latencies = Latencies::default();
        let (steady, flaky) = (ModelId::new("steady"), ModelId::new("flaky"));
        for _ in 0..10 {
            latencies.observe(&steady, answer(500), 0);
            latencies.observe(&flaky, answer(400), 0);
            latencies.observe_failure(&flaky, 0);
        }
        assert!(latencies.expected(&flaky, 10, 0) > latencies.expected(&steady, 10, 0));
    }

    #[test]
    fn streams_grow_with_their_length() {
        let latencies = Latencies::default();
        let model = ModelId::new("a");
        let sample = LatencySample {
            ttft: Some(Duration::from_millis(200)),
            total: Duration::from_millis(1_200),
            output_tokens: 101,
        };
        latencies.observe(&model, sample, 0);
        let seconds = |tokens| {
            latencies
                .expected(&model, tokens, 0)
                .expect("known")
                .as_secs_f64()
        };
        assert!((seconds(101) - 1.2).abs() < 1e-6);
        assert!((seconds(1) - 0.2).abs() < 1e-6);
    }

    #[test]
    fn replicas_expect_what_they_have_seen_together() {
        let (a, b) = (Latencies::default(), Latencies::default());
        let model = ModelId::new("a");
        a.observe(&model, answer(400), 0);
        b.observe(&model, answer(800), 0);
        let text = a.posted(false).expect("news");
        b.heard([text.as_str()].into_iter(), 0);
        let together = b.expected(&model, 10, 0).expect("known");
        assert!((together.as_secs_f64() - 0.6).abs() < 1e-6);
        b.heard(std::iter::empty(), 0);
        let alone = b.expected(&model, 10, 0).expect("known");
        assert!((alone.as_secs_f64() - 0.8).abs() < 1e-6);
        let fresh = Latencies::default();
        fresh.heard([text.as_str()].into_iter(), 0);
        assert!(fresh.expected(&model, 10, 0).is_some());
    }
}
