//! The circuit breaker of one deployment: closed = traffic flows, open = tripped, half-open =
//! probing with exactly one request.
//!
//! It trips on failures in a row, on the failure rate of a window, or on the share of slow calls in
//! it: each alone misses an outage that another sees. A 429 is no failure in a row (the upstream
//! lives), but counts in the rate and fails a probe. Every trip and every recovery begins a new
//! *epoch*; the result of a call that was let through in an earlier epoch says nothing about the
//! present and is dropped, so late results neither close nor prolong anything.
//!
//! It decides only whether a call may pass; which model is tried next is the plan's affair.

mod window;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::types::DeploymentId;

use self::window::Window;

/// When a caller may ask again while another request's probe decides: nobody knows how long that
/// takes, and a second is short for people and long for the machine.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// When a breaker trips and how it recovers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerParams {
    /// Length of the sliding window, kept as ten buckets with exact counts.
    pub window: Duration,
    /// Share of failures in the window that trips it (429 counts here).
    pub failure_rate: f64,
    /// Calls in the window before the rate means anything.
    pub min_requests: u32,
    /// Failures in a row that trip it (429 does not count here).
    pub consecutive_failures: u32,
    /// A call slower than this is slow.
    pub slow_call: Duration,
    /// Share of slow calls in the window that trips it.
    pub slow_rate: f64,
    /// First time open; doubles with each failed probe.
    pub open: Duration,
    /// Longest time open.
    pub open_max: Duration,
    /// Share of the open time that is added at random, 0..=1.
    pub jitter: f64,
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Traffic flows.
    Closed,
    /// Nothing passes.
    Open {
        /// When the next probe may pass.
        until: Instant,
    },
    /// One probe may pass, or is on its way.
    HalfOpen,
}

impl BreakerState {
    /// The word in logs and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// The value of `tollgate_breaker_state`: 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub const fn gauge(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open { .. } => 2,
        }
    }
}

/// How a call ended, as far as the upstream's health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallVerdict {
    /// It answered.
    Success {
        /// To the first event of a stream, or to the whole answer.
        latency: Duration,
    },
    /// A 5xx, a failed connection, a time-out, nonsense.
    Failure,
    /// A 429.
    RateLimited {
        /// What its `retry-after` asked for.
        retry_after: Option<Duration>,
    },
    /// Says nothing about the upstream: the client left, or its request was wrong.
    Neutral,
}

/// A change of state, for the log and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: BreakerState,
    /// What it is.
    pub to: BreakerState,
}

/// What tripped it: a slow probe is a failed one only when slowness is the complaint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complaint {
    Failing,
    Slow,
}

#[derive(Debug)]
enum Phase {
    Closed,
    /// Half-open once `until` has passed; `probing` while the one probe is on its way.
    Tripped {
        until: Instant,
        probing: bool,
        complaint: Complaint,
    },
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    /// Grows with every trip and every recovery.
    epoch: u64,
    consecutive_failures: u32,
    /// How often it tripped since it was last closed; doubles the open time.
    trips: u32,
    window: Window,
    /// Until when one failure is enough, because another replica's breaker is open.
    suspect_until: Option<Instant>,
}

/// The breaker of one deployment. All methods take a lock for some tens of nanoseconds.
#[derive(Debug)]
pub struct Breaker {
    inner: Mutex<Inner>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                phase: Phase::Closed,
                epoch: 0,
                consecutive_failures: 0,
                trips: 0,
                window: Window::new(),
                suspect_until: None,
            }),
        }
    }

    /// What it would let through at `now`. An open one whose time has passed shows half-open.
    pub fn state(&self, now: Instant, _params: &BreakerParams) -> BreakerState {
        self.inner.lock().state(now)
    }

    /// Whether [`Breaker::try_pass`] would let a call through at `now`; for choosing candidates.
    ///
    /// # Errors
    /// When it will be tried again.
    pub fn would_pass(&self, now: Instant) -> Result<(), Instant> {
        self.inner.lock().would_pass(now)
    }

    /// While it is open: which trip that is, and for how much longer.
    pub fn open(&self, now: Instant) -> Option<(u64, Duration)> {
        let inner = self.inner.lock();
        match inner.phase {
            Phase::Tripped { until, .. } if now < until => Some((inner.epoch, until - now)),
            Phase::Closed | Phase::Tripped { .. } => None,
        }
    }

    /// Half-trusts the upstream until then, on the word of another replica: the first call decides. A
    /// failure trips the breaker, an answer clears the suspicion. Traffic flows meanwhile, for what
    /// another sees may be its own network.
    pub fn suspect(&self, until: Instant) {
        let mut inner = self.inner.lock();
        if matches!(inner.phase, Phase::Closed) {
            inner.suspect_until = inner.suspect_until.max(Some(until));
        }
    }

    /// Asks to call the upstream. Half-open lets exactly one call through until its result is in.
    /// `rng_unit` in 0..1 is the jitter of the open time that this call may cause.
    ///
    /// # Errors
    /// When it will be tried again.
    pub fn try_pass(
        self: &Arc<Self>,
        now: Instant,
        _params: &BreakerParams,
        rng_unit: f64,
    ) -> Result<BreakerPass, Instant> {
        let mut inner = self.inner.lock();
        inner.would_pass(now)?;
        if let Phase::Tripped { probing, .. } = &mut inner.phase {
            *probing = true;
        }
        Ok(BreakerPass {
            epoch: inner.epoch,
            breaker: Arc::clone(self),
            rng_unit: rng_unit.clamp(0.0, 1.0),
            recorded: false,
        })
    }
}

impl Inner {
    fn state(&self, now: Instant) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Tripped { until, .. } if now < until => BreakerState::Open { until },
            Phase::Tripped { .. } => BreakerState::HalfOpen,
        }
    }

    fn would_pass(&self, now: Instant) -> Result<(), Instant> {
        match self.phase {
            Phase::Tripped { until, .. } if now < until => Err(until),
            Phase::Tripped { probing: true, .. } => Err(now + PROBE_WAIT),
            Phase::Closed | Phase::Tripped { .. } => Ok(()),
        }
    }

    /// Takes in the result of a call of this epoch and says what to do about it.
    fn judge(
        &mut self,
        verdict: CallVerdict,
        now: Instant,
        params: &BreakerParams,
    ) -> Option<Judgement> {
        match self.phase {
            Phase::Closed => self.judge_closed(verdict, now, params),
            Phase::Tripped { complaint, .. } => Some(judge_probe(verdict, complaint, params)),
        }
    }

    fn judge_closed(
        &mut self,
        verdict: CallVerdict,
        now: Instant,
        params: &BreakerParams,
    ) -> Option<Judgement> {
        let retry_after = match verdict {
            CallVerdict::Neutral => return None,
            CallVerdict::Success { latency } => {
                self.consecutive_failures = 0;
                self.suspect_until = None;
                let slow = latency > params.slow_call;
                self.window.count(now, params.window, false, slow);
                // Only a bad result can trip: a success that completes the minimum count after a
                // bad start is a sign of recovery.
                let trips = slow && self.window.slow_at_least(params.slow_rate, params);
                return trips.then_some(Judgement::Trip {
                    complaint: Complaint::Slow,
                    retry_after: None,
                });
            }
            CallVerdict::Failure => {
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
                None
            }
            CallVerdict::RateLimited { retry_after } => retry_after,
        };
        self.window.count(now, params.window, true, false);
        let in_a_row = verdict == CallVerdict::Failure
            && params.consecutive_failures > 0
            && self.consecutive_failures >= params.consecutive_failures;
        let rate = self.window.failures_at_least(params.failure_rate, params);
        let suspected =
            verdict == CallVerdict::Failure && self.suspect_until.is_some_and(|until| now < until);
        (in_a_row || rate || suspected).then_some(Judgement::Trip {
            complaint: Complaint::Failing,
            retry_after,
        })
    }

    fn trip(&mut self, complaint: Complaint, until: Instant) {
        self.phase = Phase::Tripped {
            until,
            probing: false,
            complaint,
        };
        self.trips = self.trips.saturating_add(1);
        self.begin_epoch();
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.trips = 0;
        self.begin_epoch();
    }

    /// Forgets what was counted: a trip and a recovery both clear the window.
    fn begin_epoch(&mut self) {
        self.epoch += 1;
        self.consecutive_failures = 0;
        self.suspect_until = None;
        self.window = Window::new();
    }

    /// How long it stays open now: doubled for each trip in a row, jitter added, never above
    /// `open_max`; a longer `retry-after` is honoured up to the same bound, so that one hostile
    /// hint cannot hold an upstream out for ever.
    fn open_time(
        &self,
        retry_after: Option<Duration>,
        params: &BreakerParams,
        rng_unit: f64,
    ) -> Duration {
        let doubled = params
            .open
            .saturating_mul(1u32.checked_shl(self.trips.min(30)).unwrap_or(u32::MAX))
            .min(params.open_max);
        let jitter = doubled.mul_f64(params.jitter.clamp(0.0, 1.0) * rng_unit);
        doubled
            .saturating_add(jitter)
            .max(retry_after.unwrap_or_default())
            .min(params.open_max)
    }
}

/// What follows from a result.
enum Judgement {
    Trip {
        complaint: Complaint,
        retry_after: Option<Duration>,
    },
    Close,
    /// The probe told nothing: another may try.
    GiveBackProbe,
}

fn judge_probe(verdict: CallVerdict, complaint: Complaint, params: &BreakerParams) -> Judgement {
    match verdict {
        CallVerdict::Neutral => Judgement::GiveBackProbe,
        CallVerdict::Success { latency }
            if complaint == Complaint::Slow && latency > params.slow_call =>
        {
            Judgement::Trip {
                complaint: Complaint::Slow,
                retry_after: None,
            }
        }
        CallVerdict::Success { .. } => Judgement::Close,
        CallVerdict::Failure => Judgement::Trip {
            complaint: Complaint::Failing,
            retry_after: None,
        },
        CallVerdict::RateLimited { retry_after } => Judgement::Trip {
            complaint: Complaint::Failing,
            retry_after,
        },
    }
}

/// Leave to call the upstream once. Dropped without a record, it counts as neutral: a probe's slot
/// is given back and nothing is learned.
#[derive(Debug)]
#[must_use = "record how the call ended, or the breaker learns nothing"]
pub struct BreakerPass {
    breaker: Arc<Breaker>,
    epoch: u64,
    rng_unit: f64,
    recorded: bool,
}

impl BreakerPass {
    /// Says how the call ended. Returns the change of state that this brought about, if any.
    #[allow(clippy::must_use_candidate, reason = "the transition is only news")]
    pub fn record(
        mut self,
        verdict: CallVerdict,
        now: Instant,
        params: &BreakerParams,
    ) -> Option<Transition> {
        self.recorded = true;
        let mut inner = self.breaker.inner.lock();
        if inner.epoch != self.epoch {
            return None;
        }
        // A result of this epoch in the tripped phase can only be the probe's.
        let from = match inner.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Tripped { .. } => BreakerState::HalfOpen,
        };
        match inner.judge(verdict, now, params)? {
            Judgement::GiveBackProbe => {
                inner.give_back_probe();
                None
            }
            Judgement::Close => {
                inner.close();
                let to = BreakerState::Closed;
                Some(Transition { from, to })
            }
            Judgement::Trip {
                complaint,
                retry_after,
            } => {
                let open_time = inner.open_time(retry_after, params, self.rng_unit);
                let until = now.checked_add(open_time).unwrap_or(now);
                inner.trip(complaint, until);
                let to = BreakerState::Open { until };
                Some(Transition { from, to })
            }
        }
    }
}

impl Inner {
    fn give_back_probe(&mut self) {
        if let Phase::Tripped { probing, .. } = &mut self.phase {
            *probing = false;
        }
    }
}

impl Drop for BreakerPass {
    fn drop(&mut self) {
        if self.recorded {
            return;
        }
        let mut inner = self.breaker.inner.lock();
        if inner.epoch == self.epoch {
            inner.give_back_probe();
        }
    }
}

/// The breakers of all deployments, by their stable ids; they survive a reload.
#[derive(Debug, Default)]
pub struct Breakers {
    by_deployment: RwLock<FxHashMap<DeploymentId, Arc<Breaker>>>,
}

impl Breakers {
    /// The breaker of a deployment; closed when it is first asked for.
    pub fn of(&self, deployment: &DeploymentId) -> Arc<Breaker> {
        if let Some(breaker) = self.by_deployment.read().get(deployment) {
            return Arc::clone(breaker);
        }
        let mut by_deployment = self.by_deployment.write();
        Arc::clone(by_deployment.entry(deployment.clone()).or_default())
    }

    /// Forgets the breakers of deployments that the configuration no longer has. Passes in flight
    /// still record harmlessly.
    pub fn retain(&self, keep: impl Fn(&DeploymentId) -> bool) {
        self.by_deployment
            .write()
            .retain(|deployment, _| keep(deployment));
    }
}
