//! What a request works with: the configuration in force and the state that outlives it. Made once
//! by `bootstrap`, shared by every worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounting::Drains;
use crate::cache::{ExactCache, FingerprintKey, Flights, Repeats};
use crate::classify::Classifier;
use crate::clock::Clock;
use crate::config::{Diagnostic, Snapshot};
use crate::notify::Events;
use crate::replicas::Replicas;
use crate::runtime::arms::Arms;
use crate::runtime::batches::OpenBatches;
use crate::runtime::budgets::Budgets;
use crate::runtime::clients::HttpClients;
use crate::runtime::deployments::{DeploymentState, Deployments};
use crate::runtime::grants::Grants;
use crate::runtime::latency::Latencies;
use crate::runtime::latency_target::LatencyTargets;
use crate::runtime::lengths::Lengths;
use crate::runtime::limiter::Limiters;
use crate::runtime::retry_budget::RetryBudget;
use crate::runtime::sessions::Sessions;
use crate::stores::{Ledger, Notebook, Responses, StoredKeys};
use crate::telemetry::Metrics;

/// One configuration version with the state that it names, by the model's index.
#[derive(Debug)]
pub struct Active {
    /// The configuration.
    pub snapshot: Snapshot,
    /// Deployments' states, index-aligned with `snapshot.models`.
    pub bound: Vec<Box<[Arc<DeploymentState>]>>,
    /// Reads requests, with the weights and the tasks that this version names.
    pub classifier: Classifier,
}

/// Everything that a request works with.
pub struct Gateway {
    /// The configuration in force; loaded once per request.
    pub active: ArcSwap<Active>,
    /// Request, concurrency and rate limits.
    pub limiters: Arc<Limiters>,
    /// Budgets.
    pub budgets: Arc<Budgets>,
    /// How much attempts really use.
    pub lengths: Lengths,
    /// The retry budget of the process.
    pub retry_budget: RetryBudget,
    /// Breakers and outstanding attempts.
    pub deployments: Deployments,
    /// What bandits have learned.
    pub arms: Arc<Arms>,
    /// Recent latency by model.
    pub latencies: Arc<Latencies>,
    /// Whether models keep their latency targets.
    pub latency_targets: LatencyTargets,
    /// Which model a session stays on.
    pub sessions: Sessions,
    /// Upstream connections.
    pub clients: HttpClients,
    /// Access tokens of providers that want them.
    pub grants: Grants,
    /// The exact cache.
    pub cache: ExactCache,
    /// Answers by idempotency key.
    pub repeats: Repeats,
    /// Identical requests in flight.
    pub flights: Flights,
    /// Names requests in the ledger.
    pub fingerprints: FingerprintKey,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// Responses that clients asked to be kept; `None`: nothing is kept.
    pub responses: Option<Arc<Responses>>,
    /// The store that replicas share; `None`: there are no others.
    pub replicas: Option<Arc<Replicas>>,
    /// The virtual keys that the shared store has beside the file's.
    pub stored_keys: Mutex<StoredKeys>,
    /// Batches that providers work on, whose cost is not known yet.
    pub batches: OpenBatches,
    /// Small notes that outlive the process.
    pub notebook: Arc<Notebook>,
    /// Where events are raised.
    pub events: Events,
    /// Whether the ledger was healthy when it was last looked at.
    pub ledger_was_healthy: AtomicBool,
    /// Metrics.
    pub metrics: Metrics,
    /// Time.
    pub clock: Clock,
    /// Seed of the policies' random choices.
    pub seed: u64,
    /// Work that outlives its request; the drain awaits it.
    pub tasks: TaskTracker,
    /// Where answers are read on whose clients have left.
    pub drains: Drains,
    /// Stop accepting; readiness fails.
    pub stop: CancellationToken,
    /// The drain deadline has passed: streams end.
    pub abort_streams: CancellationToken,
    /// When the process began.
    pub started: Instant,
    /// How the last reload went.
    pub last_reload: Mutex<ReloadStatus>,
    /// True once everything is loaded.
    pub ready: AtomicBool,
}

/// How the last reload went.
#[derive(Debug, Clone, Default)]
pub struct ReloadStatus {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The errors that kept the file from being taken over; empty when it was.
    pub errors: Vec<Diagnostic>,
}

impl Gateway {
    /// True while requests should be sent here.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.stop.is_cancelled() && self.ledger.is_healthy()
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("active", &self.active.load().snapshot.version)
            .finish_non_exhaustive()
    }
}
