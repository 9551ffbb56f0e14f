//! Per deployment: its breaker and how many attempts are outstanding there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::types::DeploymentId;

use super::breaker::Breaker;

/// The state of one host or key of a model; survives reloads.
#[derive(Debug)]
pub struct DeploymentState {
    /// Its name.
    pub id: DeploymentId,
    /// Its breaker.
    pub breaker: Arc<Breaker>,
    outstanding: AtomicU32,
}

impl DeploymentState {
    /// Attempts in flight here.
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Counts an attempt until the guard is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Outstanding {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Outstanding {
            of: Arc::clone(self),
        }
    }
}

/// Counts one attempt in flight; Drop ends it.
#[derive(Debug)]
pub struct Outstanding {
    of: Arc<DeploymentState>,
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.of.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Every deployment that any configuration of this process has named.
#[derive(Debug, Default)]
pub struct Deployments {
    known: Mutex<FxHashMap<DeploymentId, Arc<DeploymentState>>>,
}

impl Deployments {
    /// The state of these deployments, in order: the same as before a reload for the same name.
    pub fn bind<'a>(
        &self,
        ids: impl Iterator<Item = &'a DeploymentId>,
    ) -> Box<[Arc<DeploymentState>]> {
        let mut known = self.known.lock();
        ids.map(|id| {
            let state = known.entry(id.clone()).or_insert_with(|| {
                Arc::new(DeploymentState {
                    id: id.clone(),
                    breaker: Arc::new(Breaker::new()),
                    outstanding: AtomicU32::new(0),
                })
            });
            Arc::clone(state)
        })
        .collect()
    }

    /// The open breakers: whose, which trip of it, and for how much longer.
    #[must_use]
    pub fn open_breakers(&self, now: Instant) -> Vec<(DeploymentId, u64, Duration)> {
        let known = self.known.lock();
        let open = known.values().filter_map(|state| {
            let (trip, left) = state.breaker.open(now)?;
            Some((state.id.clone(), trip, left))
        });
        open.collect()
    }

    /// Half-trusts a deployment until then; see [`Breaker::suspect`]. False when none has this name.
    pub fn suspect(&self, id: &DeploymentId, until: Instant) -> bool {
        let state = self.known.lock().get(id).cloned();
        if let Some(state) = &state {
            state.breaker.suspect(until);
        }
        state.is_some()
    }
}
