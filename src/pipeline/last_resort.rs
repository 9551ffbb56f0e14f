//! What follows when no candidate answered: a stale answer, a rule's answer, an honest error.

use tokio::time::Instant;

use crate::accounting::Exchange;
use crate::classify;
use crate::error::{ErrorKind, Origin, ProxyError};
use crate::gateway::{Active, Gateway};
use crate::resilience::Spent;
use crate::types::{AttemptFailure, CacheOutcome, Call, Caller, Features, Outcome, Plan, Reason};

use super::cached::{self, Fill};
use super::planning;
use super::respond::Answer;
use super::telling;

/// What a last resort has to go by.
pub(super) struct Stranded<'a> {
    pub gw: &'a Gateway,
    pub active: &'a Active,
    pub caller: &'a Caller,
    pub call: &'a Call,
    pub features: &'a Features,
    pub plan: &'a Plan,
}

/// Serves a stale answer or a rule's, else says honestly what went wrong.
///
/// # Errors
/// The error that says most about why nobody answered.
pub(super) fn answer(
    stranded: &Stranded<'_>,
    spent: Spent,
    exchange: &mut Exchange,
    fill: Fill,
) -> Result<Answer, ProxyError> {
    let upstream_is_down = spent
        .failure
        .as_ref()
        .is_none_or(|failure| failure.refusal.is_none());
    if upstream_is_down && !is_our_refusal(&spent) {
        if let Some(answer) = stand_in(stranded, exchange, fill) {
            return Ok(answer);
        }
    } else {
        fill.give_up();
    }
    Err(error_of(stranded.plan, spent))
}

/// What stands in when nothing could be tried at all, because every breaker is open or no upstream
/// wants to be asked.
///
/// # Errors
/// `error`, when nothing does or upstreams are not the reason.
pub(super) fn without_candidates(
    stranded: &Stranded<'_>,
    error: ProxyError,
    exchange: &mut Exchange,
    fill: Fill,
) -> Result<Answer, ProxyError> {
    let about_upstreams = matches!(
        error.kind,
        ErrorKind::NoCandidateAvailable | ErrorKind::RateLimitExceeded
    );
    if about_upstreams && planning::upstreams_are_down(stranded.gw, stranded.active, stranded.plan)
    {
        return stand_in(stranded, exchange, fill).ok_or(error);
    }
    fill.give_up();
    Err(error)
}

/// A stale answer, or a rule's.
fn stand_in(stranded: &Stranded<'_>, exchange: &mut Exchange, fill: Fill) -> Option<Answer> {
    let Stranded {
        gw,
        active,
        caller,
        call,
        ..
    } = stranded;
    let key = fill.key().copied();
    fill.give_up();
    let fallback = &active.snapshot.resilience.fallback;
    if fallback.stale_if_error
        && let Some(key) = key
        && let Some(found) = gw.cache.stale(&key, active.snapshot.cache.exact_ttl)
        && cached::may_serve(active, caller, &found)
        && let Some(answer) = cached::replay(
            active,
            caller,
            call,
            &mut exchange.record,
            &found,
            CacheOutcome::HitStale,
        )
    {
        gw.metrics.cache_looked_up("exact", "stale");
        return Some(answer);
    }
    by_rule(stranded, exchange)
}

/// True when only our own limits or budgets stood in the way: then nothing is "down".
fn is_our_refusal(spent: &Spent) -> bool {
    spent.failure.is_none() && spent.refusal.is_some()
}

fn by_rule(stranded: &Stranded<'_>, exchange: &mut Exchange) -> Option<Answer> {
    let Stranded {
        active,
        call,
        features,
        ..
    } = stranded;
    if !call.endpoint.generates() {
        return None;
    }
    let task = &exchange.record.task;
    let mut text = None;
    let rule = active
        .snapshot
        .resilience
        .fallback
        .rules
        .iter()
        .find(|rule| {
            (rule.tasks.is_empty() || rule.tasks.contains(task))
                && classify::holds(&rule.when, call, features, &mut text)
        })?;
    if rule.handoff {
        telling::handed_over(stranded.gw, &exchange.record, call);
    }
    exchange.record.reason = Some(Reason::Template);
    exchange.record.cache = CacheOutcome::HitTemplate;
    Some(cached::canned(
        &exchange.record,
        stranded.caller,
        call,
        "rule",
        &rule.answer,
    ))
}

/// The error that says most about why nobody answered.
pub(super) fn error_of(plan: &Plan, spent: Spent) -> ProxyError {
    let had_attempts = spent.failure.is_some();
    let error = match (spent.failure, spent.refusal) {
        (Some(failure), _) => of_failure(failure, spent.out_of_time),
        (None, Some(refusal)) => return refusal,
        (None, None) if spent.out_of_time => ProxyError::new(
            ErrorKind::UpstreamTimeout,
            "the request took longer than resilience.timeouts.total_ms",
        ),
        (None, None) => nobody_left(plan, spent.reopens),
    };
    // Our retries and fallbacks are spent: an SDK that retries on top would only multiply them.
    if had_attempts {
        error.with_should_retry(false)
    } else {
        error
    }
}

fn nobody_left(plan: &Plan, reopens: Option<Instant>) -> ProxyError {
    let models: Vec<&str> = plan
        .candidates
        .iter()
        .map(|candidate| candidate.model.as_str())
        .collect();
    let message = format!("every candidate's breaker is open: {}", models.join(", "));
    let error = ProxyError::new(ErrorKind::NoCandidateAvailable, message);
    match reopens {
        Some(at) => error.with_retry_after(at.saturating_duration_since(Instant::now())),
        None => error,
    }
}

/// The client's error for the failure of an attempt.
pub(super) fn of_failure(failure: AttemptFailure, out_of_time: bool) -> ProxyError {
    if let Some(refusal) = failure.refusal {
        let mut error = ProxyError::new(ErrorKind::InvalidRequest, failure.message);
        error.origin = Origin::Client;
        error.upstream = Some(refusal);
        return error;
    }
    let message = |prefix: &str| format!("{prefix}: {}", failure.message);
    match failure.outcome {
        Outcome::Timeout => ProxyError::new(
            ErrorKind::UpstreamTimeout,
            message("every upstream was too slow; the last one"),
        ),
        _ if out_of_time => ProxyError::new(
            ErrorKind::UpstreamTimeout,
            message("out of time; the last upstream"),
        ),
        Outcome::RateLimited => {
            let error = ProxyError::new(
                ErrorKind::RateLimitExceeded,
                message("every upstream is at its limit; the last one"),
            );
            match failure.retry_after {
                Some(after) => error.with_retry_after(after),
                None => error,
            }
        }
        Outcome::Invalid | Outcome::ContextLength | Outcome::ContentPolicy => {
            ProxyError::new(ErrorKind::InvalidRequest, message("refused upstream"))
        }
        _ => ProxyError::new(
            ErrorKind::UpstreamError,
            message("every upstream failed; the last one"),
        ),
    }
}
