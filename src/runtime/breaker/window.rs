//! The sliding window: ten buckets with exact counts.
//!
//! Exact counts rather than a moving average, since an average that is weighted by the time between
//! arrivals hides a total outage in a tight burst.

use std::time::Duration;

use tokio::time::Instant;

use super::BreakerParams;

/// Buckets in a window; at a tenth of the window, its edge moves finely enough.
const BUCKETS: usize = 10;

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    calls: u32,
    failures: u32,
    slow: u32,
}

/// Counts of the last `window`, to a tenth of its length.
#[derive(Debug)]
pub(super) struct Window {
    /// When the first bucket began and how long each is; unset until something is counted.
    frame: Option<Frame>,
    buckets: [Counts; BUCKETS],
    sum: Counts,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    origin: Instant,
    width: Duration,
    /// The bucket that is being filled, counted from `origin`.
    tick: u64,
}

impl Window {
    pub(super) const fn new() -> Self {
        const NONE: Counts = Counts {
            calls: 0,
            failures: 0,
            slow: 0,
        };
        Self {
            frame: None,
            buckets: [NONE; BUCKETS],
            sum: NONE,
        }
    }

    /// Counts one call that ended at `now`. A window of another length begins empty.
    pub(super) fn count(&mut self, now: Instant, window: Duration, failed: bool, slow: bool) {
        let bucket = self.advance(now, window);
        for counts in [&mut self.buckets[bucket], &mut self.sum] {
            counts.calls += 1;
            counts.failures += u32::from(failed);
            counts.slow += u32::from(slow);
        }
    }

    /// True when enough calls were counted and at least this share of them failed.
    pub(super) fn failures_at_least(&self, rate: f64, params: &BreakerParams) -> bool {
        self.share_reached(self.sum.failures, rate, params.min_requests)
    }

    /// True when enough calls were counted and at least this share of them was slow.
    pub(super) fn slow_at_least(&self, rate: f64, params: &BreakerParams) -> bool {
        self.share_reached(self.sum.slow, rate, params.min_requests)
    }

    fn share_reached(&self, bad: u32, rate: f64, min_requests: u32) -> bool {
        self.sum.calls >= min_requests.max(1)
            && bad > 0
            && f64::from(bad) >= rate * f64::from(self.sum.calls)
    }

    /// Empties the buckets that have left the window and returns the one to fill.
    fn advance(&mut self, now: Instant, window: Duration) -> usize {
        let width = (window / 10).max(Duration::from_nanos(1));
        let frame = match self.frame {
            Some(frame) if frame.width == width => frame,
            _ => {
                *self = Self::new();
                Frame {
                    origin: now,
                    width,
                    tick: 0,
                }
            }
        };
        let elapsed = now.saturating_duration_since(frame.origin).as_nanos();
        // Threads read the clock before they take the lock, so time may seem to step back.
        let tick = u64::try_from(elapsed / frame.width.as_nanos())
            .unwrap_or(u64::MAX)
            .max(frame.tick);
        if tick - frame.tick >= BUCKETS as u64 {
            *self = Self::new();
        } else {
            for passed in frame.tick + 1..=tick {
                self.empty(index(passed));
            }
        }
        self.frame = Some(Frame { tick, ..frame });
        index(tick)
    }

    fn empty(&mut self, bucket: usize) {
        let left = std::mem::take(&mut self.buckets[bucket]);
        self.sum.calls -= left.calls;
        self.sum.failures -= left.failures;
        self.sum.slow -= left.slow;
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a remainder of ten fits any type"
)]
const fn index(tick: u64) -> usize {
    (tick % BUCKETS as u64) as usize
}
