//! Whether models keep their latency targets: the 95th percentile of each over a sliding window, with
//! hysteresis, so that a model at its target does not flap.
//!
//! Fed when an attempt ends, only for models with a target; judged once a second, off the requests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use crate::types::ModelId;

/// Samples that are kept for each model: with a thousand, the 95th percentile is off by less than a
/// percentile and a half.
const MAX_SAMPLES: usize = 1024;
/// A model is on target again when its percentile is below this share of it.
const RECOVERED_SHARE: f64 = 0.9;

/// What a model's latency is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyTarget {
    /// The target of the 95th percentile.
    pub target: Duration,
    /// How far back answers count.
    pub window: Duration,
    /// Answers before the percentile means anything.
    pub min_requests: u32,
}

/// A model began to miss its target, or keeps it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyChange {
    /// True when it misses it.
    pub missed: bool,
    /// The 95th percentile of the window.
    pub p95: Duration,
    /// Answers in the window.
    pub samples: usize,
}

#[derive(Debug, Default)]
struct Window {
    /// When (milliseconds since the Unix epoch) and how long.
    samples: VecDeque<(i64, Duration)>,
    has_news: bool,
    missed: bool,
}

/// The latency windows of every model with a target.
#[derive(Debug, Default)]
pub struct LatencyTargets {
    models: RwLock<FxHashMap<ModelId, Arc<Mutex<Window>>>>,
}

impl LatencyTargets {
    /// Adds an answer, or a try that timed out after this long.
    pub fn observe(&self, model: &ModelId, latency: Duration, now_ms: i64) {
        let window = self.window(model);
        let mut window = window.lock();
        if window.samples.len() >= MAX_SAMPLES {
            window.samples.pop_front();
        }
        window.samples.push_back((now_ms, latency));
        window.has_news = true;
    }

    /// Looks at a model's window; says so when it began to miss its target or keeps it again. Without
    /// new answers nothing changes.
    pub fn judge(
        &self,
        model: &ModelId,
        target: &LatencyTarget,
        now_ms: i64,
    ) -> Option<LatencyChange> {
        let window = self.models.read().get(model).map(Arc::clone)?;
        let mut window = window.lock();
        if !std::mem::take(&mut window.has_news) {
            return None;
        }
        let from_ms = now_ms - i64::try_from(target.window.as_millis()).unwrap_or(i64::MAX);
        while window.samples.front().is_some_and(|(at, _)| *at < from_ms) {
            window.samples.pop_front();
        }
        let samples = window.samples.len();
        if samples
            < usize::try_from(target.min_requests)
                .unwrap_or(usize::MAX)
                .max(1)
        {
            return None;
        }
        let mut latencies: Vec<Duration> = window.samples.iter().map(|(_, it)| *it).collect();
        // Nearest rank: the smallest that at least 95 of 100 do not exceed.
        let rank = (samples * 95).div_ceil(100) - 1;
        let (_, p95, _) = latencies.select_nth_unstable(rank);
        let p95 = *p95;
        let missed = if window.missed {
            p95 > target.target.mul_f64(RECOVERED_SHARE)
        } else {
            p95 > target.target
        };
        let changed = std::mem::replace(&mut window.missed, missed) != missed;
        changed.then_some(LatencyChange {
            missed,
            p95,
            samples,
        })
    }

    fn window(&self, model: &ModelId) -> Arc<Mutex<Window>> {
        if let Some(found) = self.models.read().get(model) {
            return Arc::clone(found);
        }
        Arc::clone(self.models.write().entry(model.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: LatencyTarget = LatencyTarget {
        target: Duration::from_millis(100),
        window: Duration::from_mins(1),
        min_requests: 20,
    };

    fn observe(targets: &LatencyTargets, count: usize, ms: u64, now_ms: i64) {
        for _ in 0..count {
            targets.observe(&"a".into(), Duration::from_millis(ms), now_ms);
        }
    }

    fn judge(targets: &LatencyTargets, now_ms: i64) -> Option<(bool, u128)> {
        let change = targets.judge(&"a".into(), &TARGET, now_ms)?;
        Some((change.missed, change.p95.as_millis()))
    }

    #[test]
    fn five_slow_in_a_hundred_are_within_the_target_and_six_are_not() {
        let targets = LatencyTargets::default();
        observe(&targets, 95, 50, 0);
        observe(&targets, 5, 900, 0);
        assert_eq!(judge(&targets, 0), None);
        observe(&targets, 1, 900, 0);
        assert_eq!(judge(&targets, 0), Some((true, 900)));
    }

    #[test]
    fn a_model_at_its_target_does_not_flap() {
        let targets = LatencyTargets::default();
        observe(&targets, 20, 101, 0);
        assert_eq!(judge(&targets, 0), Some((true, 101)));
        // Just below the target is not yet good again.
        observe(&targets, 100, 99, 70_000);
        assert_eq!(judge(&targets, 70_000), None);
        observe(&targets, 100, 101, 140_000);
        assert_eq!(judge(&targets, 140_000), None);
        observe(&targets, 100, 80, 210_000);
        assert_eq!(judge(&targets, 210_000), Some((false, 80)));
        observe(&targets, 100, 99, 280_000);
        assert_eq!(judge(&targets, 280_000), None);
    }

    #[test]
    fn a_few_answers_say_nothing_and_neither_does_silence() {
        let targets = LatencyTargets::default();
        observe(&targets, 19, 900, 0);
        assert_eq!(judge(&targets, 0), None);
        observe(&targets, 1, 900, 0);
        assert_eq!(judge(&targets, 0), Some((true, 900)));
        assert_eq!(judge(&targets, 600_000), None);
    }
}
