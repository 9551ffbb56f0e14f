//! Per deployment: its breaker and how many attempts are outstanding there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

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
}
