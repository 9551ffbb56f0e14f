//! What batches cost. A batch runs at its provider for hours and says at its end what its requests used
//! together. Then who made it pays, from every budget that matches, and the ledger gets a record whose
//! id follows from the batch's: it is there once, however often and by whomever the end is seen.
//!
//! The end is seen when a client asks for the batch, and by [`ask_about_batches`], which asks for those
//! that nobody asks for. Must not touch batches that were not made through this process: an account may
//! have others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Limited};
use tokio::time::Instant;

use crate::accounting::bill_batch;
use crate::config::price_book::{KnownPrice, Served};
use crate::config::snapshot::ProviderEndpoint;
use crate::error::{ErrorKind, ProxyError};
use crate::gateway::{Active, Gateway};
use crate::limits;
use crate::runtime::UploadBody;
use crate::runtime::batches::{BATCHES, BatchKey, BatchOwner};
use crate::runtime::budgets::Payer;
use crate::stores::Note;
use crate::types::{
    AttemptRecord, Caller, DeploymentId, Directives, Endpoint, ModelId, Outcome, PicoUsd, Price,
    ProviderId, RequestId, RequestRecord, ServiceTier, Tokens, UsageSource,
};
use crate::upstream::relay::{self, RelayOutbound};
use crate::wire::relayed::{self, BatchFacts};

use crate::pipeline::{observing, respond};

/// How often providers are asked about batches that nobody asks about.
const EVERY: Duration = Duration::from_mins(1);
/// Largest description of a batch that is read.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// How long a batch is asked about; OpenAI ends one within a day.
const GIVEN_UP_AFTER_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// Refuses a new batch whose budgets have nothing left. How much it will cost is not known before, so
/// that nothing is set aside for it, and a client's cap on it cannot be kept.
pub(super) async fn admit(
    gw: &Arc<Gateway>,
    caller: &Caller,
    provider: &ProviderId,
    directives: &Directives,
) -> Result<(), ProxyError> {
    if directives.max_cost.is_some() {
        let message = "what a batch will cost is not known before, so that \
                       x-tollgate-max-cost-usd cannot be kept";
        return Err(ProxyError::new(ErrorKind::BudgetExceeded, message));
    }
    let payer = Payer {
        team: caller.team.clone(),
        app: caller.app.clone(),
        key: caller.key.clone(),
        model: ModelId::from(""),
        provider: provider.clone(),
        end_user: None,
    };
    limits::ensure_something_is_left(&gw.budgets, &payer).await
}

/// Notes who made a batch, before the client hears of it.
pub(super) async fn made(gw: &Arc<Gateway>, record: &RequestRecord, facts: &BatchFacts) {
    let Some(provider) = record.provider.clone() else {
        return;
    };
    let at_ms = gw.clock.unix_ms();
    let owner = BatchOwner {
        key: record.key.clone(),
        team: record.team.clone(),
        app: record.app.clone(),
        tags: record.tags.clone(),
        made_at_ms: at_ms,
    };
    let note = Note {
        topic: BATCHES,
        key: format!("{provider}/{}", facts.id),
        text: serde_json::to_string(&owner).unwrap_or_default(),
        at_ms,
    };
    gw.batches.add((provider, facts.id.clone()), owner);
    let notebook = Arc::clone(&gw.notebook);
    let noted = tokio::task::spawn_blocking(move || notebook.put(&[note])).await;
    if !matches!(noted, Ok(Ok(()))) {
        tracing::error!(
            batch = facts.id,
            "who made a batch could not be noted; a restart would forget to bill it"
        );
    }
}

/// Pays for a batch that has ended, once.
///
/// # Cancel safety
/// Dropped halfway, it is paid or not; the next look at the batch finds out which.
pub(super) async fn settle(
    gw: &Arc<Gateway>,
    active: &Active,
    provider: &ProviderId,
    facts: &BatchFacts,
) {
    if !facts.ended {
        return;
    }
    let key = (provider.clone(), facts.id.clone());
    let _paying = gw.batches.paying.lock().await;
    let Some(owner) = gw.batches.owner(&key) else {
        return;
    };
    let id = RequestId::from_text(&format!("{provider}.{}", facts.id));
    let (ledger, wanted) = (Arc::clone(&gw.ledger), id.clone());
    let known = tokio::task::spawn_blocking(move || ledger.request(&wanted)).await;
    match known {
        Ok(Ok(Some(_))) => {}
        Ok(Ok(None)) => {
            let batch = Ended {
                key: &key,
                owner: &owner,
                facts,
            };
            if !batch.pay(gw, active, id) {
                return;
            }
        }
        // Asked about again in a moment.
        Ok(Err(_)) | Err(_) => return,
    }
    strike_out(gw, key).await;
}

async fn strike_out(gw: &Arc<Gateway>, key: BatchKey) {
    gw.batches.remove(&key);
    let notebook = Arc::clone(&gw.notebook);
    let note = format!("{}/{}", key.0, key.1);
    let struck = tokio::task::spawn_blocking(move || notebook.remove(BATCHES, &note)).await;
    if !matches!(struck, Ok(Ok(()))) {
        tracing::warn!(batch = key.1, "the note of a batch that is paid stays");
    }
}

/// A batch that is to be paid.
struct Ended<'a> {
    key: &'a BatchKey,
    owner: &'a BatchOwner,
    facts: &'a BatchFacts,
}

impl Ended<'_> {
    /// False when the ledger has no room for it now.
    fn pay(&self, gw: &Arc<Gateway>, active: &Active, id: RequestId) -> bool {
        let Ok(slot) = gw.ledger.reserve() else {
            return false;
        };
        let Some(tokens) = self.facts.tokens else {
            if self.facts.answered > 0 {
                self.cannot_be_billed(gw, "usage");
            }
            return true;
        };
        if tokens.total() == 0 && self.facts.answered == 0 {
            return true;
        }
        let Some(known) = self.price(active) else {
            self.cannot_be_billed(gw, "price");
            return true;
        };
        let attempt = self.attempt(gw, known, tokens);
        let payer = Payer {
            team: self.owner.team.clone(),
            app: self.owner.app.clone(),
            key: self.owner.key.clone(),
            model: attempt.model.clone(),
            provider: attempt.provider.clone(),
            end_user: None,
        };
        // What costs nothing as far as is known always fits; what it does cost is counted in full.
        if let Ok(reservation) = gw.budgets.reserve(&payer, PicoUsd::ZERO) {
            reservation.settle(attempt.cost);
        }
        let mut record = respond::blank_record(gw, active, Endpoint::Batches, id);
        record.key.clone_from(&self.owner.key);
        record.team = self.owner.team.clone();
        record.app = self.owner.app.clone();
        record.tags.clone_from(&self.owner.tags);
        record.asked_model = self.facts.model.clone().unwrap_or_default();
        record.model = Some(attempt.model.clone());
        record.provider = Some(attempt.provider.clone());
        record.outcome = Outcome::Ok;
        record.status = 200;
        record.cost = attempt.cost;
        if attempt.usage == UsageSource::Estimated {
            record.estimated_cost = attempt.cost;
        }
        record.attempts.push(attempt);
        observing::batch_closed(gw, &record);
        slot.commit(record);
        true
    }

    /// What the provider's model costs, as far as the file or the catalogue say.
    fn price<'s>(&self, active: &'s Active) -> Option<&'s KnownPrice> {
        let snapshot = &active.snapshot;
        let provider = snapshot
            .providers
            .iter()
            .position(|provider| provider.id == self.key.0)?;
        let model = self.facts.model.as_deref()?;
        match snapshot.price_book.served(provider, &[], model) {
            Served::Other(known) => known,
            Served::Asked | Served::Variant(_) => None,
        }
    }

    fn attempt(&self, gw: &Gateway, known: &KnownPrice, tokens: Tokens) -> AttemptRecord {
        let at_ms = gw.clock.unix_ms();
        let bill = bill_batch(&known.list, at_ms, &tokens, self.facts.answered);
        let usage = if bill.is_certain() {
            UsageSource::Reported
        } else {
            UsageSource::Estimated
        };
        let mut attempt = AttemptRecord {
            attempt: 1,
            started_at_ms: at_ms,
            model: known.name.clone(),
            provider: self.key.0.clone(),
            deployment: DeploymentId::from(known.name.as_str()),
            response_model: self.facts.model.clone(),
            outcome: Outcome::Ok,
            status: Some(200),
            tokens,
            usage,
            cost: PicoUsd::ZERO,
            price: Price::default(),
            images: 0,
            price_version: String::new(),
            price_step_tokens: None,
            service_tier: Some(ServiceTier::Batch),
            substituted: false,
            priced_model: None,
            asked_cost: None,
            latency_us: 0,
            ttft_us: None,
        };
        bill.write(&mut attempt, 0, true);
        attempt
    }

    fn cannot_be_billed(&self, gw: &Gateway, lacks: &'static str) {
        let (provider, batch) = (self.key.0.as_str(), self.facts.id.as_str());
        gw.metrics.batch_unbilled(provider, lacks);
        tracing::error!(
            provider,
            batch,
            model = self.facts.model.as_deref().unwrap_or("-"),
            answered = self.facts.answered,
            lacks,
            "a batch cannot be billed: its provider reports no usage, or its model has no price here"
        );
    }
}

/// Asks about open batches for as long as the process runs.
pub async fn look_after_batches(gw: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = gw.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = gw.stop.cancelled() => return,
            () = ask_about_batches(&gw) => {}
        }
    }
}

/// Asks the provider of each open batch whether it has ended, and pays for those that have.
pub async fn ask_about_batches(gw: &Arc<Gateway>) {
    let active = gw.active.load_full();
    for key in gw.batches.keys() {
        match ask(gw, &active, &key).await {
            Some(facts) => settle(gw, &active, &key.0, &facts).await,
            None => give_up_when_old(gw, key).await,
        }
    }
}

async fn ask(gw: &Gateway, active: &Active, key: &BatchKey) -> Option<BatchFacts> {
    let snapshot = &active.snapshot;
    let provider = snapshot.providers.iter().find(|it| it.id == key.0)?;
    let ProviderEndpoint::Http(endpoint) = &provider.endpoint else {
        return None;
    };
    let timeouts = &snapshot.resilience.timeouts;
    let ca_file = endpoint.ca_file.as_deref();
    let small = gw.clients.get(ca_file, timeouts.connect).ok()?;
    let client = gw.clients.uploads(ca_file, timeouts.connect).ok()?;
    let until = Instant::now() + timeouts.response;
    let outbound = RelayOutbound {
        provider,
        endpoint,
        signer: &provider.signer,
        upstream_model: "",
        method: &Method::GET,
        path: &format!("batches/{}", key.1),
        query: None,
        headers: &HeaderMap::new(),
        whole: Some(&Bytes::new()),
        unix_ms: gw.clock.unix_ms(),
        grants: &gw.grants,
        until,
        not_found_is_an_answer: true,
    };
    let body = UploadBody::whole(Bytes::new());
    let answered = relay::relay(outbound, (&small, &client), body).await.ok()?;
    let collecting = Limited::new(answered.into_body(), MAX_BATCH_BYTES).collect();
    let collected = tokio::time::timeout_at(until, collecting)
        .await
        .ok()?
        .ok()?;
    relayed::batch(&collected.to_bytes()).filter(|facts| facts.id == key.1)
}

async fn give_up_when_old(gw: &Arc<Gateway>, key: BatchKey) {
    let Some(owner) = gw.batches.owner(&key) else {
        return;
    };
    if gw.clock.unix_ms() - owner.made_at_ms > GIVEN_UP_AFTER_MS {
        gw.metrics.batch_unbilled(key.0.as_str(), "answer");
        tracing::error!(
            provider = key.0.as_str(),
            batch = key.1,
            "a batch is given up: its provider has said nothing about it for thirty days"
        );
        strike_out(gw, key).await;
    }
}
