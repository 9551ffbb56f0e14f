//! Requests per minute of one scope: governor's GCRA, on time and state that we hand to it, so that
//! it can be looked at before anything is taken and carried over when the quota changes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::LimitParams;
use super::standing::Standing;

/// Time in nanoseconds as the caller last told it; never steps back.
#[derive(Debug, Clone, Default)]
struct ToldTime(Arc<AtomicU64>);

impl Clock for ToldTime {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

/// GCRA's theoretical arrival time, shared with the governor that moves it.
#[derive(Debug, Clone, Default)]
struct Tat(Arc<InMemoryState>);

impl StateStore for Tat {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, key: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, f)
    }
}

impl Tat {
    fn get(&self) -> u64 {
        let read = self
            .0
            .measure_and_replace(&NotKeyed::NonKey, Err::<((), Nanos), _>);
        read.err().flatten().map_or(0, Nanos::as_u64)
    }

    fn set(&self, ticks: u64) {
        let set = self
            .0
            .measure_and_replace(&NotKeyed::NonKey, |_| Ok::<_, ()>(((), ticks.into())));
        debug_assert!(set.is_ok(), "the closure always replaces");
    }
}

/// Requests per minute and how many may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestQuota {
    per_minute: NonZeroU32,
    burst: NonZeroU32,
}

impl RequestQuota {
    /// The quota of these parameters; `None` when requests are not limited (or are not let pass
    /// at all, which needs no quota).
    pub(super) fn of(params: &LimitParams) -> Option<Self> {
        let per_minute = NonZeroU32::new(params.requests_per_minute?)?;
        let asked = params.burst_requests.unwrap_or(per_minute.get() / 10);
        // Governor multiplies interval and burst in 64 bits; the bound is centuries away.
        let most = u64::MAX / 4 / interval(per_minute);
        let burst = asked.min(u32::try_from(most).unwrap_or(u32::MAX));
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        Some(Self { per_minute, burst })
    }
}

/// Nanoseconds that one request is worth, as governor computes it.
fn interval(per_minute: NonZeroU32) -> u64 {
    let interval = Duration::from_mins(1) / per_minute.get();
    u64::try_from(interval.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// One scope's requests under one quota. `ticks` are nanoseconds since the limiters began.
#[derive(Debug)]
pub(super) struct RequestCell {
    quota: RequestQuota,
    interval: u64,
    time: ToldTime,
    tat: Tat,
    governor: RateLimiter<NotKeyed, Tat, ToldTime, NoOpMiddleware<Nanos>>,
}

impl RequestCell {
    /// A cell of this quota, which keeps what was in use of the present one's burst, counted in
    /// requests.
    pub(super) fn carry_over(present: Option<Self>, quota: RequestQuota, ticks: u64) -> Self {
        let cell = Self::new(quota);
        if let Some(present) = present {
            let used = present.used(ticks).min(u64::from(quota.burst.get()));
            let owed = used.saturating_mul(cell.interval);
            cell.tat.set(ticks.saturating_add(owed));
        }
        cell
    }

    fn new(quota: RequestQuota) -> Self {
        let (time, tat) = (ToldTime::default(), Tat::default());
        let governed = Quota::per_minute(quota.per_minute).allow_burst(quota.burst);
        Self {
            quota,
            interval: interval(quota.per_minute),
            governor: RateLimiter::new(governed, tat.clone(), time.clone()),
            time,
            tat,
        }
    }

    pub(super) const fn quota(&self) -> RequestQuota {
        self.quota
    }

    pub(super) const fn per_minute(&self) -> u32 {
        self.quota.per_minute.get()
    }

    /// Requests of the burst that are in use, rounded up.
    fn used(&self, ticks: u64) -> u64 {
        self.tat.get().saturating_sub(ticks).div_ceil(self.interval)
    }

    /// How long until a request would pass; `None`: it passes now. Takes nothing.
    pub(super) fn wait(&self, ticks: u64) -> Option<Duration> {
        let tolerance = self.interval * u64::from(self.quota.burst.get() - 1);
        let earliest = self.tat.get().saturating_sub(tolerance);
        (ticks < earliest).then(|| Duration::from_nanos(earliest - ticks))
    }

    /// Takes one request, which [`RequestCell::wait`] has just found to pass (under the same lock).
    pub(super) fn take(&self, ticks: u64) {
        self.time.0.fetch_max(ticks, Ordering::Relaxed);
        let taken = self.governor.check();
        debug_assert!(taken.is_ok(), "it was found to pass under the same lock");
    }

    pub(super) fn standing(&self, ticks: u64) -> Standing {
        let burst = u64::from(self.quota.burst.get());
        Standing {
            limit: burst,
            remaining: burst.saturating_sub(self.used(ticks)),
            reset: Duration::from_nanos(self.tat.get().saturating_sub(ticks)),
        }
    }
}
