//! The limits of a request: rate and concurrency once per request, tokens and money once per
//! attempt. Turns refusals into what the client sees; the state is in `runtime`.
//!
//! Per request: the whole proxy, the key, the team. Per attempt: the provider and the model too,
//! for only then it is known which. A cache hit thus takes from the caller's request rate and from
//! nothing else.

mod attempt;
mod headers;
mod refusal;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashSet;
use smallvec::{SmallVec, smallvec};
use tokio::time::Instant;

use crate::config::Snapshot;
use crate::config::snapshot::{Model, Provider};
use crate::error::ProxyError;
use crate::runtime::leases::Bell;
use crate::runtime::limiter::{LimitKind, LimitParams, Limiters, Permit, RateStanding, Scope};
use crate::types::{Caller, KeyId};

pub use self::attempt::{
    AttemptRequest, ensure_something_is_left, reserve_attempt, reserve_attempt_patiently,
    why_unaffordable,
};
pub use self::headers::write_headers;
use self::refusal::rate_limited;
pub use crate::runtime::AttemptReservation;

/// How long a request waits for this replica's part of a shared limit or budget to grow: some calls to
/// the store and a few of the other replicas', far below any client's patience.
const LEASE_PATIENCE: Duration = Duration::from_millis(500);

/// Scopes with the limits that hold there.
pub type Scopes = SmallVec<[(Scope, LimitParams); 5]>;

/// What every request of a caller counts against.
pub fn scopes_of(snapshot: &Snapshot, caller: &Caller) -> Scopes {
    let mut scopes: Scopes = smallvec![(Scope::Global, snapshot.limits)];
    if let Some(id) = &caller.key {
        let key = caller.key_sha256.and_then(|hash| snapshot.keys.get(&hash));
        let limits = key.map(|key| key.limits).unwrap_or_default();
        scopes.push((Scope::Key(id.clone()), limits));
    }
    let team = snapshot.teams.get(&caller.team);
    let limits = team.map(|team| team.limits).unwrap_or_default();
    scopes.push((Scope::Team(caller.team.clone()), limits));
    scopes
}

/// What an attempt counts against beside its caller's scopes.
fn upstream_scopes(model: &Model, provider: &Provider) -> [(Scope, LimitParams); 2] {
    [
        (Scope::Provider(provider.id.clone()), provider.limits),
        (Scope::Model(model.id.clone()), model.limits),
    ]
}

/// Admits a request to the proxy, its key and its team. The permit counts as one request in flight
/// until it is dropped.
///
/// # Errors
/// 429 `rate_limit_exceeded` that names the scope and its limit.
pub fn admit(
    limiters: &Arc<Limiters>,
    snapshot: &Snapshot,
    caller: &Caller,
) -> Result<Permit, ProxyError> {
    let scopes = scopes_of(snapshot, caller);
    limiters
        .admit(&scopes, Instant::now())
        .map_err(|limited| rate_limited(&limited))
}

/// [`admit`], which waits for a moment where replicas share a limit and this one has used up its part.
///
/// # Errors
/// As [`admit`].
///
/// # Cancel safety
/// Dropped while it waits, it has taken nothing.
pub async fn admit_patiently(
    limiters: &Arc<Limiters>,
    bell: &Bell,
    snapshot: &Snapshot,
    caller: &Caller,
) -> Result<Permit, ProxyError> {
    let scopes = scopes_of(snapshot, caller);
    let attempt = || limiters.admit(&scopes, Instant::now());
    let admitted = bell.patiently(LEASE_PATIENCE, attempt, |limited| limited.lease_short);
    admitted.await.map_err(|limited| rate_limited(&limited))
}

/// Whether provider and model would take an attempt now; for choosing candidates. Takes nothing.
pub fn would_admit(limiters: &Limiters, model: &Model, provider: &Provider) -> bool {
    let now = Instant::now();
    let scopes = upstream_scopes(model, provider);
    scopes
        .iter()
        .all(|(scope, limits)| limiters.would_admit(scope, limits, now))
}

/// What keeps provider and model from taking an attempt now, the longest wait first: how long that
/// lasts, and whether the upstream itself asked for it. `None` when they would take one.
pub fn obstacle(limiters: &Limiters, model: &Model, provider: &Provider) -> Option<Obstacle> {
    let now = Instant::now();
    let scopes = upstream_scopes(model, provider);
    let refused = scopes
        .iter()
        .filter_map(|(scope, limits)| limiters.would_refuse(scope, limits, now));
    refused
        .max_by_key(|limited| limited.retry_after.unwrap_or(Duration::MAX))
        .map(|limited| Obstacle {
            wait: limited.retry_after,
            by_upstream: limited.kind == LimitKind::Upstream,
        })
}

/// Why a model takes no attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obstacle {
    /// How long it lasts; `None` when waiting does not help.
    pub wait: Option<Duration>,
    /// True when the provider's own refusals are the reason, not our limits.
    pub by_upstream: bool,
}

/// Learns a provider's own rate limit from its 429: until `retry_after` has passed (at most
/// `longest`, so that one hostile hint cannot hold a model out for ever), the model is no candidate.
/// A model with several deployments is left to their breakers, since the others may have room.
pub fn learn_upstream_limit(
    limiters: &Limiters,
    model: &Model,
    retry_after: Option<Duration>,
    longest: Duration,
) {
    if let (Some(wait), [_]) = (retry_after, model.deployments.as_slice()) {
        let until = Instant::now() + wait.min(longest);
        limiters.penalize(&Scope::Model(model.id.clone()), until);
    }
}

/// How the tightest of a caller's limits stands, for [`write_headers`].
pub fn standing(limiters: &Limiters, snapshot: &Snapshot, caller: &Caller) -> RateStanding {
    limiters.standing(&scopes_of(snapshot, caller), Instant::now())
}

/// After a reload: forgets the state of scopes that the configuration no longer has.
pub fn forget_removed(limiters: &Limiters, snapshot: &Snapshot) {
    let keys: FxHashSet<&KeyId> = snapshot.keys.values().map(|key| &key.id).collect();
    limiters.retain(|scope| match scope {
        Scope::Global => true,
        Scope::Key(id) => keys.contains(id),
        Scope::Team(id) => snapshot.teams.contains_key(id),
        Scope::Provider(id) => snapshot.providers.iter().any(|provider| provider.id == *id),
        Scope::Model(id) => snapshot.model_index.contains_key(id),
    });
}
