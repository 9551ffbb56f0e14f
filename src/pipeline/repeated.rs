//! A request that is sent again with its `idempotency-key`: the first one's answer, once paid for.

use crate::accounting::Exchange;
use crate::cache::{self, Keeper, Repeat, Reused};
use crate::error::{ErrorKind, ProxyError};
use crate::gateway::{Active, Gateway};
use crate::types::{CacheOutcome, Call, Caller};

use super::cached;
use super::respond::Answer;

/// What came of the look.
pub(super) enum Repeated {
    /// It was answered before.
    Answered(Answer),
    /// Go on; the keeper, if there is one, wants the answer.
    Go(Option<Keeper>),
}

/// Looks whether the request was answered before; waits while it is being answered. Streams are not
/// kept, nor is what `no-store` forbids to keep.
///
/// # Errors
/// 422 when the key belongs to another body; a time-out while waiting.
pub(super) async fn look(
    gw: &Gateway,
    active: &Active,
    caller: &Caller,
    call: &Call,
    exchange: &mut Exchange,
) -> Result<Repeated, ProxyError> {
    let snapshot = &active.snapshot;
    let ttl = snapshot.cache.idempotency_ttl;
    let directives = &call.directives;
    let Some(key) = directives.idempotency_key.as_deref() else {
        return Ok(Repeated::Go(None));
    };
    if ttl.is_zero() || call.stream.wanted || directives.cache.no_store {
        return Ok(Repeated::Go(None));
    }
    let deadline = exchange.started() + snapshot.resilience.timeouts.total;
    loop {
        let asked = gw.repeats.ask(call, caller, key, ttl);
        match asked.map_err(|Reused| reused())? {
            Repeat::First(keeper) => return Ok(Repeated::Go(Some(keeper))),
            Repeat::Answered(found) if cached::may_serve(active, caller, &found) => {
                let record = &mut exchange.record;
                let outcome = CacheOutcome::HitExact;
                let replayed = cached::replay(active, caller, call, record, &found, outcome);
                // Nothing was saved: nobody would have paid twice.
                record.baseline_cost = None;
                if let Some(Answer::Canned(mut canned)) = replayed {
                    canned.replayed = true;
                    return Ok(Repeated::Answered(Answer::Canned(canned)));
                }
                gw.repeats.forget(call, caller, key);
            }
            Repeat::Answered(_) => gw.repeats.forget(call, caller, key),
            Repeat::Wait(first) => {
                if !cache::ended(first, deadline).await {
                    let message = "the first request with this `idempotency-key` took longer than resilience.timeouts.total_ms";
                    return Err(ProxyError::new(ErrorKind::UpstreamTimeout, message));
                }
            }
        }
    }
}

fn reused() -> ProxyError {
    let message = "this `idempotency-key` came before with another body; a key names one request";
    let mut error = ProxyError::new(ErrorKind::IdempotencyKeyReused, message);
    error.param = Some("idempotency-key".into());
    error
}
