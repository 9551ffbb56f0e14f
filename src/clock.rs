//! Time, injectable. Monotonic time comes from tokio, so that tests can pause it; wall-clock time
//! comes from the system or, in tests and simulations, from a clock that is moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Where the process takes its time from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual_ms: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self { manual_ms: None }
    }

    /// A wall clock that stands at `unix_ms` until it is moved.
    #[must_use]
    pub fn manual(unix_ms: i64) -> Self {
        Self {
            manual_ms: Some(Arc::new(AtomicI64::new(unix_ms))),
        }
    }

    /// Moves a manual clock; no effect on the system's.
    pub fn advance_ms(&self, by_ms: i64) {
        if let Some(manual) = &self.manual_ms {
            manual.fetch_add(by_ms, Ordering::Relaxed);
        }
    }

    /// Monotonic time, for durations and deadlines.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Milliseconds since the Unix epoch, for records and budget periods.
    #[must_use]
    pub fn unix_ms(&self) -> i64 {
        match &self.manual_ms {
            Some(manual) => manual.load(Ordering::Relaxed),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
                }),
        }
    }
}
