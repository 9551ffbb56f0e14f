//! The exchange: one client request from admission to its last byte, as a guard. However it ends,
//! its open attempt is settled and its record reaches the ledger exactly once; Drop means that the
//! client left.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::snapshot::BillingParams;
use crate::error::ProxyError;
use crate::runtime::breaker::{BreakerPass, CallVerdict};
use crate::runtime::deployments::Outstanding;
use crate::runtime::limiter::Permit;
use crate::runtime::reservation::AttemptReservation;
use crate::runtime::{BreakerParams, Transition};
use crate::stores::Slot;
use crate::types::{
    AttemptRecord, Outcome, PicoUsd, PriceList, RequestRecord, ServiceTier, Tokens, Usage,
    UsageSource,
};
use crate::wire::facts::StreamFacts;

use super::drain::Heir;
use super::pricing::{Bill, Pricing};

/// Hears of every closed exchange: metrics, log, learned statistics.
pub trait Observer: Send + Sync {
    /// Called once per request, after its money is settled and before its record is handed to the
    /// ledger. Must not block.
    fn closed(&self, record: &RequestRecord);

    /// Called when the end of an attempt changed its deployment's breaker. Must not block.
    fn breaker_changed(&self, _attempt: &AttemptRecord, _change: Transition) {}
}

/// What a request holds until it ends.
#[derive(Debug, Default)]
pub struct Held {
    /// Concurrency permits.
    pub permit: Option<Permit>,
    /// The count of requests in flight.
    pub in_flight: Option<InFlight>,
}

/// Counts one request in flight; Drop ends it.
#[derive(Debug)]
pub struct InFlight {
    gauge: prometheus::IntGauge,
}

impl InFlight {
    /// Counts a request in.
    pub fn enter(gauge: &prometheus::IntGauge) -> Self {
        gauge.inc();
        Self {
            gauge: gauge.clone(),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// What the breaker is told about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It went well; the time that counts for slow calls.
    Success(Duration),
    /// It failed through the upstream's fault.
    Failure,
    /// The upstream limits us.
    RateLimited(Option<Duration>),
    /// It says nothing about the upstream.
    Neutral,
}

/// One attempt in flight with everything that must be settled when it ends.
pub struct OpenAttempt {
    /// What is known so far.
    pub record: AttemptRecord,
    /// When it was sent.
    pub started: Instant,
    /// What its price follows from.
    pub pricing: Pricing,
    /// How its provider bills what is not read to its end.
    pub billing: BillingParams,
    /// The expected input, to bill by when the provider reports nothing.
    pub input_tokens: u64,
    /// Tokens and money that are set aside for it.
    pub reservation: AttemptReservation,
    /// The breaker's permission.
    pub pass: BreakerPass,
    /// The breaker's knobs.
    pub breaker: BreakerParams,
    /// The count of outstanding attempts.
    pub outstanding: Outstanding,
    /// True once the request may have reached the upstream.
    pub sent: bool,
    /// Bytes of output text that were seen.
    pub output_bytes: u64,
    /// The last usage that the provider reported.
    pub usage: Option<Usage>,
}

impl OpenAttempt {
    /// The usage to bill: the provider's, else our estimate of what it did, else nothing.
    fn billed(&self, estimate: bool) -> (Tokens, UsageSource) {
        match self.usage {
            Some(usage) if usage.reported => (usage.tokens, UsageSource::Reported),
            Some(usage) if estimate => (usage.tokens, UsageSource::Estimated),
            None if estimate && self.sent => {
                let output = super::estimated_tokens(self.output_bytes);
                let tokens = Tokens {
                    input: self.input_tokens,
                    output,
                    ..Tokens::default()
                };
                (tokens, UsageSource::Estimated)
            }
            _ => (Tokens::default(), UsageSource::None),
        }
    }

    /// Takes in what a stream has said so far.
    pub(super) fn note(&mut self, facts: &StreamFacts) {
        self.output_bytes = facts.output_bytes;
        self.usage = super::drain::usage_of(facts);
        self.record.service_tier = facts.service_tier;
        if self.record.response_model.is_none() {
            self.record.response_model.clone_from(&facts.model);
        }
    }

    /// The tokens that would be billed if the attempt ended now.
    pub fn billed_tokens(&self) -> Tokens {
        self.billed(true).0
    }

    /// What the attempt costs as far as it is known now.
    pub fn cost_so_far(&self) -> PicoUsd {
        let (tokens, source) = self.billed(true);
        match source {
            UsageSource::None => PicoUsd::ZERO,
            UsageSource::Reported | UsageSource::Estimated => self.bill(&tokens).cost,
        }
    }

    fn bill(&self, tokens: &Tokens) -> Bill<'_> {
        let answered = self.record.response_model.as_deref();
        self.pricing
            .bill(answered, self.record.service_tier, tokens)
    }
}

impl fmt::Debug for OpenAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAttempt")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub struct AttemptEnd {
    /// The outcome.
    pub outcome: Outcome,
    /// Bill our estimate when the provider reported nothing.
    pub estimate: bool,
    /// What the breaker is told.
    pub verdict: Verdict,
}

/// One client request. Exactly one record comes out of it.
pub struct Exchange {
    /// The record so far.
    pub record: RequestRecord,
    started: Instant,
    current: Option<OpenAttempt>,
    slot: Option<Slot>,
    closed: bool,
    held: Held,
    heir: Option<Heir>,
    baseline: Option<Arc<PriceList>>,
    observer: Arc<dyn Observer>,
}

impl Exchange {
    /// Opens the exchange of a request whose head arrived at `started`.
    pub fn open(record: RequestRecord, started: Instant, observer: Arc<dyn Observer>) -> Self {
        Self {
            record,
            started,
            current: None,
            slot: None,
            closed: false,
            held: Held::default(),
            heir: None,
            baseline: None,
            observer,
        }
    }

    /// Gives the exchange its slot in the ledger. Requests that fail before this (no key, a wrong
    /// key) are counted and logged, but write no row: strangers must not fill the ledger.
    pub fn enlist(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    /// When the request's head arrived.
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// How long the open attempt took to its first event: what counts for slow calls, since a long
    /// answer is not a slow one.
    pub fn time_to_first_event(&self) -> Duration {
        let ttft_us = self
            .current
            .as_ref()
            .and_then(|attempt| attempt.record.ttft_us);
        Duration::from_micros(ttft_us.unwrap_or(0))
    }

    /// Keeps these until the end.
    pub fn hold(&mut self, permit: Permit) {
        self.held.permit = Some(permit);
    }

    /// Counts the request as in flight until the end.
    pub fn count_in_flight(&mut self, gauge: &prometheus::IntGauge) {
        self.held.in_flight = Some(InFlight::enter(gauge));
    }

    /// Says who takes the exchange over if its handler goes away; nobody any more with `None`.
    pub fn set_heir(&mut self, heir: Option<Heir>) {
        self.heir = heir;
    }

    pub(super) const fn take_heir(&mut self) -> Option<Heir> {
        self.heir.take()
    }

    /// Says what the baseline model costs, for the savings.
    pub fn set_baseline(&mut self, price: Option<Arc<PriceList>>) {
        self.baseline = price;
    }

    /// How many attempts were begun, the open one included.
    pub fn attempts(&self) -> usize {
        self.record.attempts.len() + usize::from(self.current.is_some())
    }

    /// Notes the time spent in the proxy itself so far; what follows may be waiting for others.
    pub fn mark_overhead(&mut self) {
        self.record.overhead_us = micros(self.started.elapsed());
    }

    /// Opens an attempt. An attempt that is still open is closed as cancelled first. What it may cost is
    /// noted for the ledger: it may be sent once [`Ledger::written`] has returned.
    ///
    /// [`Ledger::written`]: crate::stores::Ledger::written
    pub fn begin_attempt(&mut self, attempt: OpenAttempt) {
        self.abandon_attempt();
        if self.record.attempts.is_empty() {
            self.record.overhead_us = micros(self.started.elapsed());
        }
        self.record.model = Some(attempt.record.model.clone());
        self.record.provider = Some(attempt.record.provider.clone());
        self.current = Some(attempt);
        self.note();
    }

    /// Tells the ledger what the open attempt can cost at most. A process that dies before the
    /// request is over cannot know what the provider bills: then this counts, as an estimate.
    fn note(&mut self) {
        let (Some(slot), Some(open)) = (&mut self.slot, &self.current) else {
            return;
        };
        let at_most = open.reservation.money();
        if !at_most.is_positive() {
            return;
        }
        let tokens = open.billed_tokens();
        let mut attempt = open.record.clone();
        open.bill(&tokens)
            .write(&mut attempt, open.pricing.images, true);
        attempt.tokens = tokens;
        attempt.usage = UsageSource::Estimated;
        attempt.outcome = Outcome::Internal;
        attempt.cost = at_most;
        let explanation = (self.record.features.take(), self.record.decision.take());
        let mut provisional = self.record.clone();
        (self.record.features, self.record.decision) = explanation;
        provisional.attempts.push(attempt);
        provisional.outcome = Outcome::Internal;
        provisional.status = PROCESS_DIED_STATUS;
        provisional.error_code = Some(PROCESS_DIED.to_owned());
        total(&mut provisional);
        slot.note(&provisional);
    }

    /// The attempt in flight.
    pub const fn attempt_mut(&mut self) -> Option<&mut OpenAttempt> {
        self.current.as_mut()
    }

    /// Sum of all attempts so far, the open one included as far as it is known.
    pub fn cost_so_far(&self) -> PicoUsd {
        let closed: PicoUsd = self
            .record
            .attempts
            .iter()
            .map(|attempt| attempt.cost)
            .sum();
        closed
            + self
                .current
                .as_ref()
                .map_or(PicoUsd::ZERO, OpenAttempt::cost_so_far)
    }

    /// Settles the open attempt: its money, its limits, its breaker, its record. No effect when
    /// none is open, so calling it twice settles once.
    pub fn close_attempt(&mut self, end: &AttemptEnd) {
        let Some(attempt) = self.current.take() else {
            return;
        };
        let (tokens, mut source) = attempt.billed(end.estimate);
        let OpenAttempt {
            mut record,
            pricing,
            reservation,
            pass,
            ..
        } = attempt;
        let answered = record.response_model.as_deref();
        let bill = pricing.bill(answered, record.service_tier, &tokens);
        bill.write(&mut record, pricing.images, source != UsageSource::None);
        if source == UsageSource::Reported && !bill.is_certain() {
            tracing::warn!(
                model = record.model.as_str(),
                tier = record.service_tier.map_or("", ServiceTier::as_str),
                "served at a service tier without a price; billed at the usual one, as an estimate"
            );
            source = UsageSource::Estimated;
        }
        reservation.settle(tokens.total(), record.cost);
        let verdict = match end.verdict {
            Verdict::Success(latency) => CallVerdict::Success { latency },
            Verdict::Failure => CallVerdict::Failure,
            Verdict::RateLimited(retry_after) => CallVerdict::RateLimited { retry_after },
            Verdict::Neutral => CallVerdict::Neutral,
        };
        let change = pass.record(verdict, Instant::now(), &attempt.breaker);
        record.outcome = end.outcome;
        record.tokens = tokens;
        record.usage = source;
        record.latency_us = micros(attempt.started.elapsed());
        if let Some(change) = change {
            self.observer.breaker_changed(&record, change);
        }
        self.record.attempts.push(record);
    }

    /// Settles an attempt that nobody waits for, as its provider bills it.
    fn abandon_attempt(&mut self) {
        let estimate = self
            .current
            .as_ref()
            .is_some_and(|attempt| attempt.billing.cuts_estimated());
        self.close_attempt(&AttemptEnd {
            estimate,
            ..ABANDONED
        });
    }

    /// Closes the exchange: settles what is open, sums up, tells the observer, hands the record to
    /// the ledger's journal. After this the record survives the process.
    pub fn close(mut self, outcome: Outcome, status: u16) {
        self.finish(outcome, status, false);
    }

    /// The same, but the record survives the process when [`Ledger::written`] has returned, which is to
    /// be waited for before the client sees the end.
    ///
    /// [`Ledger::written`]: crate::stores::Ledger::written
    pub fn close_soon(mut self, outcome: Outcome, status: u16) {
        self.finish(outcome, status, true);
    }

    /// Closes the exchange with an error that the client is told.
    pub fn close_with(mut self, error: &ProxyError) {
        let row = error.presentation();
        self.record.error_code = Some(row.code.to_owned());
        let status = error
            .upstream
            .as_ref()
            .map_or(row.status, |refusal| refusal.status);
        self.finish(row.outcome, status.as_u16(), false);
    }

    fn finish(&mut self, outcome: Outcome, status: u16, soon: bool) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.abandon_attempt();
        let record = &mut self.record;
        record.outcome = outcome;
        record.status = status;
        record.latency_us = micros(self.started.elapsed());
        total(record);
        if let (Some(baseline), Some(served), true) =
            (&self.baseline, record.attempts.last(), outcome.answered())
        {
            record.baseline_cost = Some(baseline.cost(served.started_at_ms, &served.tokens));
        }
        if record.overhead_us == 0 {
            record.overhead_us = record.latency_us;
        }
        self.held = Held::default();
        self.observer.closed(&self.record);
        match self.slot.take() {
            Some(slot) if soon => slot.commit_soon(self.record.take()),
            Some(slot) => slot.commit(self.record.take()),
            None => {}
        }
    }
}

/// The `error_code` of a request that was in flight when the process died.
const PROCESS_DIED: &str = "process_died";
/// Its status: the client's connection broke; nobody was told any.
const PROCESS_DIED_STATUS: u16 = 500;

/// Sums a record's attempts up.
fn total(record: &mut RequestRecord) {
    record.cost = record.attempts.iter().map(|attempt| attempt.cost).sum();
    record.estimated_cost = record
        .attempts
        .iter()
        .filter(|attempt| attempt.usage == UsageSource::Estimated)
        .map(|attempt| attempt.cost)
        .sum();
}

/// The client left while an attempt was in flight.
const ABANDONED: AttemptEnd = AttemptEnd {
    outcome: Outcome::Cancelled,
    estimate: true,
    verdict: Verdict::Neutral,
};

/// nginx's status for a client that closed the request; it never goes out.
pub(super) const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Drop for Exchange {
    fn drop(&mut self) {
        self.finish(Outcome::Cancelled, CLIENT_CLOSED_REQUEST, false);
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("request_id", &self.record.request_id)
            .finish_non_exhaustive()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
