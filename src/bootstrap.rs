//! The composition root: the only place that names concrete back ends and puts the rooms together.

pub mod alerts;
mod batches;
mod gossip;
mod hydrate;
mod keeping;
mod keys;
pub mod learned;
mod retention;
mod sharing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounting::Drains;
use crate::cache::Repeats;
use crate::cache::{ExactCache, FingerprintKey, Flights};
use crate::classify::configured::{Configured, configured};
use crate::clock::Clock;
use crate::config::snapshot::LedgerLocation;
use crate::config::{Diagnostic, Severity, Snapshot};
use crate::gateway::{Active, Gateway, ReloadStatus};
use crate::limits;
use crate::notify::Events;
use crate::runtime::arms::Arms;
use crate::runtime::clients::HttpClients;
use crate::runtime::deployments::Deployments;
use crate::runtime::grants::Grants;
use crate::runtime::latency::Latencies;
use crate::runtime::latency_target::LatencyTargets;
use crate::runtime::lengths::Lengths;
use crate::runtime::retry_budget::RetryBudget;
use crate::runtime::sessions::Sessions;
use crate::stores::{
    Ledger, LedgerError, LedgerOptions, Notebook, SharedError, ShelfError, StoredKeys,
};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{BudgetGauges, ReservesBelow};

pub use self::gossip::Gossip;
use self::hydrate::hydrate;
pub use self::retention::{RetentionClock, let_old_rows_go};
use self::sharing::Shared;
pub use self::sharing::store;

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger cannot be opened or read.
    #[error("the ledger cannot be used: {0}")]
    Ledger(#[from] LedgerError),
    /// The store of responses cannot be opened.
    #[error(transparent)]
    Responses(#[from] ShelfError),
    /// The shared store's address cannot be used.
    #[error(transparent)]
    Shared(#[from] SharedError),
    /// What the configuration names for the classifier cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Classifier(Vec<Diagnostic>),
    /// The metrics clash.
    #[error("the metrics cannot be defined: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl StartError {
    /// True when starting again will not help before somebody changes the configuration or what it
    /// names.
    #[must_use]
    pub const fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Self::Classifier(_)
                | Self::Ledger(LedgerError::Refused { .. } | LedgerError::JournalInUse { .. })
        )
    }
}

/// What a gateway is made of, beside its configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where time comes from.
    pub clock: Clock,
    /// Seed of the policies' random choices.
    pub seed: u64,
}

/// Puts a gateway together. Reads the ledger, so that budgets go on where they were.
///
/// # Errors
/// When the ledger cannot be opened.
pub fn gateway(mut snapshot: Snapshot, options: Options) -> Result<Arc<Gateway>, StartError> {
    let metrics = Metrics::new()?;
    let configured = configured(&snapshot.classifier).map_err(StartError::Classifier)?;
    let knobs = LedgerOptions {
        slots: snapshot.state.ledger_buffer_records,
        ..LedgerOptions::default()
    };
    let ledger = match &snapshot.state.ledger {
        LedgerLocation::Memory => Ledger::memory_with(knobs),
        LedgerLocation::Sqlite(path) => Ledger::sqlite_with(path, knobs)?,
        LedgerLocation::Postgres { url, journal } => Ledger::postgres(url, journal, knobs)?,
    };
    let ledger = Arc::new(ledger);
    let notebook = match &snapshot.state.ledger {
        LedgerLocation::Sqlite(path) => Notebook::sqlite(path)?,
        // A replica's own, beside its journal.
        LedgerLocation::Postgres { journal, .. } => {
            Notebook::sqlite(&journal.with_extension("notes.db"))?
        }
        LedgerLocation::Memory => Notebook::memory(),
    };
    let Shared {
        budgets,
        limiters,
        replicas,
    } = sharing::shared(&snapshot.state, &notebook, options.clock.clone())?;
    let responses = keeping::responses(&snapshot.state)?;
    let stored_keys = match replicas {
        Some(_) => keys::noted(&notebook)?,
        None => StoredKeys::default(),
    };
    keys::add(&mut snapshot, &stored_keys);
    hydrate(&budgets, &ledger, &snapshot)?;
    let arms = Arms::default();
    learned::restore(&arms, &notebook)?;
    let batches = batches::noted(&notebook)?;
    let deployments = Deployments::default();
    let cache = ExactCache::new(snapshot.cache.exact_max_bytes);
    let repeats = Repeats::new(snapshot.cache.idempotency_max_bytes);
    let fingerprints = FingerprintKey::new(snapshot.cache.fingerprint_key.as_ref());
    let loaded_at_ms = snapshot.loaded_at_ms;
    let active = bind(snapshot, configured, &deployments);
    let (tasks, abort_streams) = (TaskTracker::new(), CancellationToken::new());
    let gateway = Gateway {
        active: ArcSwap::from_pointee(active),
        limiters,
        responses,
        replicas,
        stored_keys: Mutex::new(stored_keys),
        budgets,
        lengths: Lengths::default(),
        retry_budget: RetryBudget::new(),
        deployments,
        arms: Arc::new(arms),
        latencies: Arc::new(Latencies::default()),
        latency_targets: LatencyTargets::default(),
        sessions: Sessions::default(),
        clients: HttpClients::default(),
        grants: Grants::new(tasks.clone()),
        cache,
        flights: Flights::default(),
        repeats,
        fingerprints,
        ledger,
        batches,
        notebook: Arc::new(notebook),
        events: Events::new(options.clock.clone(), metrics.clone()),
        ledger_was_healthy: AtomicBool::new(true),
        metrics,
        clock: options.clock,
        seed: options.seed,
        drains: Drains::new(tasks.clone(), abort_streams.clone()),
        tasks,
        stop: CancellationToken::new(),
        abort_streams,
        started: Instant::now(),
        last_reload: Mutex::new(ReloadStatus {
            at_ms: loaded_at_ms,
            errors: Vec::new(),
        }),
        ready: AtomicBool::new(true),
    };
    gateway.metrics.reloaded(true, seconds(loaded_at_ms));
    refresh_gauges(&gateway);
    crate::notify::resume(&gateway.events, &gateway.notebook)?;
    alerts::catch_up(&gateway);
    Ok(Arc::new(gateway))
}

fn bind(mut snapshot: Snapshot, configured: Configured, deployments: &Deployments) -> Active {
    snapshot.warnings.extend(configured.warnings);
    let bound = snapshot
        .models
        .iter()
        .map(|model| deployments.bind(model.deployments.iter().map(|deployment| &deployment.id)))
        .collect();
    Active {
        snapshot,
        bound,
        classifier: configured.classifier,
    }
}

/// Loads the configuration again and takes it over, or keeps the last good one and says why. One
/// reload at a time. Blocks on the file and the ledger; requests go on meanwhile.
///
/// # Errors
/// Every problem of the file, all at once.
pub fn reload(
    gw: &Gateway,
    load: impl FnOnce() -> Result<Snapshot, Vec<Diagnostic>>,
) -> Result<(), Vec<Diagnostic>> {
    let mut status = gw.last_reload.lock();
    let at_ms = gw.clock.unix_ms();
    let taken = load().and_then(|snapshot| {
        let configured = configured(&snapshot.classifier)?;
        hydrate(&gw.budgets, &gw.ledger, &snapshot)
            .map_err(|error| vec![ledger_problem(&error)])?;
        Ok((snapshot, configured))
    });
    let outcome = match taken {
        Ok((snapshot, configured)) => {
            take_over(gw, snapshot, configured);
            Ok(())
        }
        Err(errors) => {
            for error in &errors {
                tracing::error!(%error, "configuration rejected; the last good one stays in force");
            }
            Err(errors)
        }
    };
    gw.metrics.reloaded(outcome.is_ok(), seconds(at_ms));
    let had_failed = !status.errors.is_empty();
    *status = ReloadStatus {
        at_ms,
        errors: outcome.clone().err().unwrap_or_default(),
    };
    alerts::announce_reload(gw, &status.errors, had_failed);
    outcome
}

/// Puts the stored keys into the configuration in force.
fn bind_keys(gw: &Gateway) {
    let active = gw.active.load_full();
    let mut snapshot = active.snapshot.clone();
    keys::add(&mut snapshot, &gw.stored_keys.lock());
    limits::forget_removed(&gw.limiters, &snapshot);
    gw.active.store(Arc::new(Active {
        snapshot,
        bound: active.bound.clone(),
        classifier: active.classifier.clone(),
    }));
}

fn take_over(gw: &Gateway, mut snapshot: Snapshot, configured: Configured) {
    keys::add(&mut snapshot, &gw.stored_keys.lock());
    limits::forget_removed(&gw.limiters, &snapshot);
    let active = bind(snapshot, configured, &gw.deployments);
    for warning in &active.snapshot.warnings {
        tracing::warn!(%warning, "configuration");
    }
    tracing::info!(
        version = active.snapshot.version.as_str(),
        weights = active.classifier.model().checksum(),
        "configuration taken over"
    );
    gw.active.store(Arc::new(active));
    gw.metrics.forget_gauges();
    refresh_gauges(gw);
}

/// The file is sound, but what its budgets have spent cannot be read: better the old one.
fn ledger_problem(error: &LedgerError) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        file: "ledger".to_owned(),
        line: 0,
        column: 0,
        path: "budgets".to_owned(),
        message: format!("what was spent cannot be read: {error}"),
        suggestion: None,
        source_line: String::new(),
    }
}

/// Brings the gauges up to date: breakers, budgets, ledger, learned rewards. Called every second
/// and before each scrape.
pub fn refresh_gauges(gw: &Gateway) {
    let active = gw.active.load();
    let snapshot = &active.snapshot;
    let now = Instant::now();
    for (model, states) in snapshot.models.iter().zip(&active.bound) {
        let best = states
            .iter()
            .map(|state| breaker_level(state.breaker.state(now, &snapshot.resilience.breaker)))
            .min();
        gw.metrics.breaker(model.id.as_str(), best.unwrap_or(0));
    }
    for view in gw.budgets.view() {
        let gauges = BudgetGauges {
            limit: view.limit,
            spent: view.spent,
            reserved: view.reserved,
            stranded: view.lease.map(|lease| lease.stranded),
            shadow_price: view.shadow_price,
            forecast_usd: view.forecast_usd,
        };
        gw.metrics.budget(view.budget.as_str(), &gauges);
        if let Some(learned) = view.learned {
            let below = ReservesBelow {
                attempts: learned.attempts,
                overruns: learned.overruns,
                overrun: learned.overrun,
            };
            gw.metrics.learned_reserves(view.budget.as_str(), below);
        }
    }
    for arm in gw.arms.means(&snapshot.select.learn, gw.clock.unix_ms()) {
        gw.metrics.reward(
            arm.key.task.as_str(),
            arm.key.level.as_str(),
            arm.key.model.as_str(),
            arm.mean,
        );
    }
    if let Some(replicas) = &gw.replicas {
        gw.metrics.shared_store(replicas.is_up());
    }
    gw.metrics.ledger_lag(gw.ledger.lag());
    if let Some(responses) = &gw.responses {
        gw.metrics.responses_waiting(responses.waiting_bytes());
    }
    gw.metrics.refresh_drift();
}

const fn breaker_level(state: crate::runtime::breaker::BreakerState) -> i64 {
    use crate::runtime::breaker::BreakerState;
    match state {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::Open { .. } => 2,
    }
}

/// Marks the gateway as going away: readiness fails at once.
pub fn begin_drain(gw: &Gateway) {
    gw.ready.store(false, Ordering::Relaxed);
    gw.stop.cancel();
}

#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds since the epoch are far below 2^53"
)]
fn seconds(unix_ms: i64) -> f64 {
    unix_ms as f64 / 1e3
}
