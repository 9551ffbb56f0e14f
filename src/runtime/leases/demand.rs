//! How much of something a replica is asked for, as a smoothed rate, and the slice that follows.

/// How fast the rate forgets: short enough to follow traffic that moves to another replica within a
/// few seconds, long enough to bridge the gaps between requests.
const MEMORY_MS: f64 = 1_000.0;
/// For how long a slice should last. Calls come several times a second; a slice that lasts for one
/// second bridges several lost ones, and strands about one second's money.
const HORIZON_SECONDS: f64 = 1.0;

/// Demand in units.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand {
    /// Units asked for since the last look.
    asked: u64,
    /// The largest single request of late.
    largest: u64,
    per_second: f64,
    looked_ms: i64,
}

impl Demand {
    /// Counts a request for this much, whether it was granted or not.
    pub const fn ask(&mut self, units: u64) {
        self.asked = self.asked.saturating_add(units);
        if units > self.largest {
            self.largest = units;
        }
    }

    /// Brings the rate up to date.
    #[allow(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    pub fn look(&mut self, now_ms: i64) {
        let passed = (now_ms - self.looked_ms).clamp(0, 60_000) as f64;
        if passed <= 0.0 {
            return;
        }
        let latest = self.asked as f64 * 1_000.0 / passed.max(50.0);
        let weight = 1.0 - (-passed / MEMORY_MS).exp();
        self.per_second += weight * (latest - self.per_second);
        if self.per_second < 1e-3 {
            self.per_second = 0.0;
            self.largest = 0;
        }
        self.asked = 0;
        self.looked_ms = now_ms;
    }

    /// Units per second.
    #[must_use]
    pub const fn per_second(&self) -> f64 {
        self.per_second
    }

    /// What should be at hand: enough for the horizon, and at least for the largest request.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits"
    )]
    #[must_use]
    pub fn slice(&self) -> u64 {
        let horizon = (self.per_second * HORIZON_SECONDS).clamp(0.0, 9e15) as u64;
        horizon.max(self.largest)
    }
}
