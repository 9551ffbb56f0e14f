//! What an attempt sets aside before it is sent.

use std::sync::Arc;

use tokio::time::Instant;

use super::refusal::{Refused, budget_exceeded};
use super::{LEASE_PATIENCE, scopes_of, upstream_scopes};
use crate::config::Snapshot;
use crate::config::snapshot::{Model, Provider};
use crate::error::ProxyError;
use crate::runtime::AttemptReservation;
use crate::runtime::budgets::{Amounts, Budgets, Payer};
use crate::runtime::limiter::Limiters;
use crate::types::{Caller, PicoUsd};

/// An attempt that is about to be made.
#[derive(Debug, Clone, Copy)]
pub struct AttemptRequest<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// The model that is tried.
    pub model: &'a Model,
    /// The provider of the deployment that is tried.
    pub provider: &'a Provider,
    /// Tokens that it is expected to use, input and output.
    pub tokens: u64,
    /// What it may cost.
    pub money: Amounts,
    /// The end user that the client names.
    pub end_user: Option<&'a str>,
}

/// Sets aside all that the attempt may use: tokens of key, team, provider, model and proxy; money
/// in every budget that matches; a place at the provider and the model. All or nothing: what can be
/// given back is taken first, and the request rate, which cannot, last.
///
/// # Errors
/// 429 `rate_limit_exceeded` or `budget_exceeded`. Another candidate may still be served, since it
/// may cost less, and counts against another provider and model.
pub fn reserve_attempt(
    limiters: &Arc<Limiters>,
    budgets: &Arc<Budgets>,
    snapshot: &Snapshot,
    request: &AttemptRequest<'_>,
) -> Result<AttemptReservation, ProxyError> {
    set_aside(limiters, budgets, snapshot, request).map_err(|refused| refused.error)
}

/// [`reserve_attempt`], which waits for a moment where replicas share a limit or budget and this one
/// has used up its part. What is at hand is set aside without waiting or yielding.
///
/// # Errors
/// As [`reserve_attempt`].
///
/// # Cancel safety
/// Dropped while it waits, it has set nothing aside.
pub async fn reserve_attempt_patiently(
    limiters: &Arc<Limiters>,
    budgets: &Arc<Budgets>,
    snapshot: &Snapshot,
    request: &AttemptRequest<'_>,
) -> Result<AttemptReservation, ProxyError> {
    let attempt = || set_aside(limiters, budgets, snapshot, request);
    let reserved = budgets
        .bell()
        .patiently(LEASE_PATIENCE, attempt, |refused| refused.lease_short);
    reserved.await.map_err(|refused| refused.error)
}

fn set_aside(
    limiters: &Arc<Limiters>,
    budgets: &Arc<Budgets>,
    snapshot: &Snapshot,
    request: &AttemptRequest<'_>,
) -> Result<AttemptReservation, Refused> {
    let now = Instant::now();
    let upstream = upstream_scopes(request.model, request.provider);
    let mut scopes = scopes_of(snapshot, request.caller);
    scopes.extend(upstream.iter().cloned());
    let tokens = limiters
        .reserve_tokens(&scopes, request.tokens, now)
        .map_err(|limited| Refused::by_limit(&limited))?;
    let money = budgets
        .reserve(&payer_of(request), request.money)
        .map_err(|exhausted| Refused::by_budget(&exhausted))?;
    let permit = limiters
        .admit(&upstream, now)
        .map_err(|limited| Refused::by_limit(&limited))?;
    Ok(AttemptReservation::new(permit, tokens, money))
}

/// Refuses what costs nobody knows how much, when a budget that matches has nothing left.
///
/// # Errors
/// 429 `budget_exceeded`.
///
/// # Cancel safety
/// It sets nothing aside.
pub async fn ensure_something_is_left(
    budgets: &Arc<Budgets>,
    payer: &Payer,
) -> Result<(), ProxyError> {
    let look = || {
        let held = budgets.reserve(payer, PicoUsd::from_pico(1));
        held.map(drop)
            .map_err(|exhausted| Refused::by_budget(&exhausted))
    };
    let looked = budgets
        .bell()
        .patiently(LEASE_PATIENCE, look, |refused| refused.lease_short);
    looked.await.map_err(|refused| refused.error)
}

/// Why no budget can pay for this attempt now; `None` when money has come free in the meantime.
/// Takes nothing.
pub fn why_unaffordable(
    budgets: &Arc<Budgets>,
    request: &AttemptRequest<'_>,
) -> Option<ProxyError> {
    let refused = budgets.reserve(&payer_of(request), request.money).err()?;
    Some(budget_exceeded(&refused))
}

fn payer_of(request: &AttemptRequest<'_>) -> Payer {
    Payer {
        team: request.caller.team.clone(),
        app: request.caller.app.clone(),
        key: request.caller.key.clone(),
        model: request.model.id.clone(),
        provider: request.provider.id.clone(),
        end_user: request.end_user.map(Arc::from),
    }
}
