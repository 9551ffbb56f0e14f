//! Refusals as the client sees them.

use crate::error::{ErrorKind, LimitRefusal, ProxyError};
use crate::runtime::budgets::Exhausted;
use crate::runtime::limiter::{Limited, format_reset};

/// A refusal, and whether it may be over within moments.
pub(super) struct Refused {
    pub(super) error: ProxyError,
    /// True when replicas share what is short, and more has been asked for.
    pub(super) lease_short: bool,
}

impl Refused {
    pub(super) fn by_limit(limited: &Limited) -> Self {
        Self {
            error: rate_limited(limited),
            lease_short: limited.lease_short,
        }
    }

    pub(super) fn by_budget(exhausted: &Exhausted) -> Self {
        Self {
            error: budget_exceeded(exhausted),
            lease_short: exhausted.lease_short,
        }
    }
}

/// 429 `rate_limit_exceeded`. What can never pass says `x-should-retry: false`, since an SDK would
/// only sleep on it.
pub(super) fn rate_limited(limited: &Limited) -> ProxyError {
    let mut error = match limited.retry_after {
        Some(wait) => {
            let message = format!("{limited}; try again in {}", format_reset(wait));
            ProxyError::new(ErrorKind::RateLimitExceeded, message).with_retry_after(wait)
        }
        None => ProxyError::new(ErrorKind::RateLimitExceeded, limited.to_string())
            .with_should_retry(false),
    };
    error.limit = Some(LimitRefusal {
        scope: limited.scope.kind(),
        kind: limited.kind.as_str(),
    });
    error
}

/// 429 `budget_exceeded`. Only where money in flight is in the way does trying again soon help.
pub(super) fn budget_exceeded(exhausted: &Exhausted) -> ProxyError {
    let hint = match (exhausted.in_flight_blocks, exhausted.retry_after) {
        (true, _) => "; some of it may come free in a moment".to_owned(),
        (false, Some(wait)) => format!("; its period ends in {}", format_reset(wait)),
        (false, None) => String::new(),
    };
    let error = ProxyError::new(ErrorKind::BudgetExceeded, format!("{exhausted}{hint}"))
        .with_should_retry(exhausted.in_flight_blocks);
    match exhausted.retry_after {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}
