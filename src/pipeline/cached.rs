//! The caches in the request's way: look-up before the plan, fill after the answer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::accounting::{Exchange, Recorded};
use crate::cache::{
    self, CacheKey, ExactCache, Flight, FlightOutcome, Found, Keeper, Leader, Stored, StoredForm,
};
use crate::error::{ErrorKind, ProxyError};
use crate::gateway::{Active, Gateway};
use crate::policy;
use crate::types::{
    CacheOutcome, Call, Caller, ModelId, PicoUsd, ProviderId, Reason, RequestRecord, Role, Tokens,
};
use crate::upstream::WholeReply;
use crate::wire::facts::EventKind;
use crate::wire::framing::sse::{DEFAULT_MAX_EVENT_BYTES, SseFramer};
use crate::wire::json_text;
use crate::wire::{self, Dialect, Synthetic};

use super::respond::{Answer, CannedAnswer};

/// What the look-up found.
pub(super) enum Lookup {
    /// An answer.
    Answered(Answer),
    /// Nothing; go upstream, and fill this afterwards.
    Go(Fill),
}

/// What is to be filled when an answer is there.
#[derive(Debug, Default)]
pub(super) struct Fill {
    target: Option<CacheKey>,
    leader: Option<Leader>,
    keeper: Option<Keeper>,
}

/// Looks in the templates, then in the exact cache; waits for an identical request in flight.
///
/// # Errors
/// `NotCached` for `only-if-cached`; a time-out while waiting for an identical request.
pub(super) async fn look_up(
    gw: &Gateway,
    active: &Active,
    caller: &Caller,
    call: &Call,
    exchange: &mut Exchange,
) -> Result<Lookup, ProxyError> {
    let params = &active.snapshot.cache;
    if let Some(answer) = from_template(gw, active, caller, call, &mut exchange.record) {
        return Ok(Lookup::Answered(answer));
    }
    let key = cache::key_of(call, caller);
    exchange.record.fingerprint = Some(gw.fingerprints.of(&key));
    let control = &call.directives.cache;
    if params.exact_ttl.is_zero() || control.no_store {
        if control.only_if_cached {
            return Err(not_cached());
        }
        gw.metrics.cache_looked_up("exact", "bypass");
        return Ok(Lookup::Go(Fill::default()));
    }
    if control.no_cache {
        gw.metrics.cache_looked_up("exact", "bypass");
        return Ok(Lookup::Go(Fill {
            target: Some(key),
            leader: None,
            keeper: None,
        }));
    }
    let fresh = || {
        let found = gw.cache.fresh(&key, params.exact_ttl, control);
        found.filter(|found| may_serve(active, caller, found))
    };
    let deadline = exchange.started() + active.snapshot.resilience.timeouts.total;
    loop {
        if let Some(found) = fresh() {
            return hit(gw, active, caller, call, exchange, &found);
        }
        if control.only_if_cached {
            gw.metrics.cache_looked_up("exact", "miss");
            exchange.record.cache = CacheOutcome::Miss;
            return Err(not_cached());
        }
        match gw.flights.join(key) {
            Flight::Lead(leader) => {
                // The flight before ours may have landed between the look-up and the join.
                if let Some(found) = fresh() {
                    leader.land(FlightOutcome::Stored);
                    return hit(gw, active, caller, call, exchange, &found);
                }
                gw.metrics.cache_looked_up("exact", "miss");
                exchange.record.cache = CacheOutcome::Miss;
                return Ok(Lookup::Go(Fill {
                    target: Some(key),
                    leader: Some(leader),
                    keeper: None,
                }));
            }
            Flight::Follow(outcome) => {
                let landed = tokio::time::timeout_at(deadline, cache::wait(outcome)).await;
                match landed {
                    Ok(FlightOutcome::NotShared) => {
                        gw.metrics.cache_looked_up("exact", "miss");
                        exchange.record.cache = CacheOutcome::Miss;
                        return Ok(Lookup::Go(Fill {
                            target: Some(key),
                            leader: None,
                            keeper: None,
                        }));
                    }
                    Ok(_) => {}
                    Err(_) => {
                        let message = "an identical request in flight took longer than resilience.timeouts.total_ms";
                        return Err(ProxyError::new(ErrorKind::UpstreamTimeout, message));
                    }
                }
            }
        }
    }
}

fn not_cached() -> ProxyError {
    let message = "cache-control says only-if-cached, and no stored answer is fresh enough";
    ProxyError::new(ErrorKind::NotCached, message)
}

fn hit(
    gw: &Gateway,
    active: &Active,
    caller: &Caller,
    call: &Call,
    exchange: &mut Exchange,
    found: &Found,
) -> Result<Lookup, ProxyError> {
    gw.metrics.cache_looked_up("exact", "hit");
    replay(
        active,
        caller,
        call,
        &mut exchange.record,
        found,
        CacheOutcome::HitExact,
    )
    .map(Lookup::Answered)
    .ok_or_else(|| ProxyError::new(ErrorKind::Internal, "a stored answer cannot be replayed"))
}

/// Whether the configuration in force lets this caller have the stored answer: its model may have gone,
/// or be for others now.
pub(super) fn may_serve(active: &Active, caller: &Caller, found: &Found) -> bool {
    let model = active.snapshot.model(found.stored.model.as_str());
    model.is_some_and(|model| policy::may_use(caller, model))
}

/// A stored answer in the form that the client asked for.
pub(super) fn replay(
    active: &Active,
    caller: &Caller,
    call: &Call,
    record: &mut RequestRecord,
    found: &Found,
    outcome: CacheOutcome,
) -> Option<Answer> {
    let codec = wire::spoken(call.endpoint);
    let include_usage = call.stream.include_usage;
    let body = match (&found.stored.form, call.stream.wanted) {
        (StoredForm::Whole(whole), false) => free_of_charge(call, whole.clone()),
        (StoredForm::Whole(whole), true) => replay_events(
            codec,
            &codec.whole_to_stream(whole, include_usage)?,
            include_usage,
        ),
        (StoredForm::Events(events), true) => replay_events(codec, events, include_usage),
        (StoredForm::Events(events), false) => free_of_charge(call, codec.stream_to_whole(events)?),
    };
    record.cache = outcome;
    record.reason = Some(Reason::Cache);
    record.model = Some(found.stored.model.clone());
    record.provider = Some(found.stored.provider.clone());
    let baseline = active
        .snapshot
        .baseline
        .map(|index| &active.snapshot.models[index].price);
    record.baseline_cost =
        baseline.map(|price| price.cost(record.started_at_ms, &found.stored.tokens));
    Some(Answer::Canned(CannedAnswer {
        body,
        events: call.stream.wanted,
        age_seconds: Some(found.age.as_secs()),
        replayed: false,
        caller: caller.clone(),
        memo: None,
    }))
}

fn free_of_charge(call: &Call, body: Bytes) -> Bytes {
    let codec = wire::spoken(call.endpoint);
    match codec.inspect_response(call.endpoint, &body) {
        Ok(facts) => codec.insert_cost(body, &facts, PicoUsd::ZERO),
        Err(_) => body,
    }
}

/// Stored events as this client wants them: the usage chunk only if it asked, at no cost.
fn replay_events(codec: &dyn Dialect, events: &Bytes, include_usage: bool) -> Bytes {
    let (mut framer, mut tap) = (SseFramer::new(DEFAULT_MAX_EVENT_BYTES), codec.tap());
    let mut replayed = BytesMut::with_capacity(events.len() + 64);
    if framer.push(events.clone()).is_err() {
        return events.clone();
    }
    while let Some(event) = framer.next_event().or_else(|| framer.finish()) {
        match tap.see(&event) {
            EventKind::Usage { report, .. } if include_usage => {
                replayed.extend_from_slice(&codec.event_with_cost(&event, &report, PicoUsd::ZERO));
            }
            EventKind::Usage { alone: true, .. } => {}
            _ => replayed.extend_from_slice(&event.raw),
        }
    }
    replayed.freeze()
}

fn from_template(
    gw: &Gateway,
    active: &Active,
    caller: &Caller,
    call: &Call,
    record: &mut RequestRecord,
) -> Option<Answer> {
    let templates = &active.snapshot.cache.templates;
    if templates.is_empty() || !call.endpoint.generates() {
        return None;
    }
    let text = last_user_text(call)?;
    let Some(expanded) = cache::expand(templates, &text) else {
        gw.metrics.cache_looked_up("template", "miss");
        return None;
    };
    gw.metrics.cache_looked_up("template", "hit");
    record.cache = CacheOutcome::HitTemplate;
    record.reason = Some(Reason::Template);
    Some(canned(record, caller, call, "template", &expanded.answer))
}

/// An answer of our own making.
pub(super) fn canned(
    record: &RequestRecord,
    caller: &Caller,
    call: &Call,
    model: &str,
    text: &str,
) -> Answer {
    let synthetic = Synthetic {
        endpoint: call.endpoint,
        id: record.request_id.as_str(),
        created: u64::try_from(record.started_at_ms / 1000).unwrap_or(0),
        model,
        text,
    };
    let body = wire::spoken(call.endpoint).synthetic(&synthetic, &call.stream);
    Answer::Canned(CannedAnswer {
        body,
        events: call.stream.wanted,
        age_seconds: None,
        replayed: false,
        caller: caller.clone(),
        memo: None,
    })
}

/// Templates and rules look at short texts only.
const MAX_TEMPLATE_TEXT_BYTES: usize = 4096;

/// The text of the last turn, when the user speaks there in one piece of moderate length.
pub(super) fn last_user_text(call: &Call) -> Option<String> {
    let turn = call.turns.last().filter(|turn| turn.role == Role::User)?;
    let [crate::types::Part::Text(span)] = turn.parts.as_slice() else {
        return None;
    };
    (span.len() <= MAX_TEMPLATE_TEXT_BYTES)
        .then(|| json_text::to_string_lossy(call.raw(*span)).into_owned())
}

impl Fill {
    /// Fills for repetitions by idempotency key as well.
    pub(super) fn kept_by(mut self, keeper: Option<Keeper>) -> Self {
        self.keeper = keeper;
        self
    }

    /// Remembers a whole answer, if it is fit to be.
    pub(super) fn whole(mut self, gw: &Gateway, reply: &WholeReply, record: &RequestRecord) {
        let facts = &reply.facts;
        if let (Some(keeper), Some(source)) = (self.keeper.take(), Source::of(record)) {
            keeper.keep(source.stored(StoredForm::Whole(reply.body.clone()), record.tokens()));
        }
        let fit = !facts.finish.truncated && !facts.finish.content_filter && !facts.tool_calls;
        let source = Source::of(record);
        let stored = match (self.target, source) {
            (Some(key), Some(source)) if fit => {
                source.store(
                    &gw.cache,
                    key,
                    StoredForm::Whole(reply.body.clone()),
                    record.tokens(),
                );
                true
            }
            _ => false,
        };
        self.land(stored);
    }

    /// What remembers a stream at its end, when somebody wants it.
    pub(super) fn stream(
        mut self,
        gw: &Arc<Gateway>,
        record: &RequestRecord,
    ) -> Option<Box<dyn FnOnce(Recorded) + Send>> {
        let key = self.target?;
        let source = Source::of(record)?;
        let cache = gw.cache.clone();
        Some(Box::new(move |recorded: Recorded| {
            let stored = recorded.events.is_some();
            if let Some(events) = recorded.events {
                source.store(&cache, key, StoredForm::Events(events), recorded.tokens);
            }
            self.land(stored);
        }))
    }

    /// The key under which a stale answer may stand.
    pub(super) const fn key(&self) -> Option<&CacheKey> {
        self.target.as_ref()
    }

    fn land(&mut self, stored: bool) {
        if let Some(leader) = self.leader.take() {
            leader.land(if stored {
                FlightOutcome::Stored
            } else {
                FlightOutcome::NotShared
            });
        }
    }

    /// Lets those who wait go for themselves.
    pub(super) fn give_up(mut self) {
        self.land(false);
    }
}

/// Who gave an answer.
struct Source {
    model: ModelId,
    provider: ProviderId,
}

impl Source {
    fn of(record: &RequestRecord) -> Option<Self> {
        Some(Self {
            model: record.model.clone()?,
            provider: record.provider.clone()?,
        })
    }

    fn stored(self, form: StoredForm, tokens: Tokens) -> Stored {
        Stored {
            form,
            model: self.model,
            provider: self.provider,
            tokens,
            at: Instant::now(),
        }
    }

    fn store(self, cache: &ExactCache, key: CacheKey, form: StoredForm, tokens: Tokens) {
        cache.put(key, self.stored(form, tokens));
    }
}
