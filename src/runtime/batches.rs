//! Batches that providers work on for hours: who asked for each, until its cost is known and paid.
//!
//! Only what was asked for through this process is here, and in its notebook; batches that an account
//! has from elsewhere are nobody's here.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::types::{AppId, KeyId, ProviderId, TeamId};

/// The notebook's topic for them; the key is the provider and the batch's id, the text its owner.
pub const BATCHES: &str = "batches";

/// A batch's provider and its id there.
pub type BatchKey = (ProviderId, String);

/// Who pays for a batch, as noted when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchOwner {
    /// The virtual key; `None` in `auth: open`.
    pub key: Option<KeyId>,
    /// The team.
    pub team: TeamId,
    /// The application.
    pub app: AppId,
    /// Tags of the request that made it.
    pub tags: Vec<(String, String)>,
    /// When it was made, milliseconds since the Unix epoch.
    pub made_at_ms: i64,
}

/// The batches whose cost is not known yet.
#[derive(Debug, Default)]
pub struct OpenBatches {
    open: Mutex<BTreeMap<BatchKey, BatchOwner>>,
    /// Held while one is paid for, so that nobody pays for it twice.
    pub paying: tokio::sync::Mutex<()>,
}

impl OpenBatches {
    /// Notes a batch.
    pub fn add(&self, key: BatchKey, owner: BatchOwner) {
        self.open.lock().insert(key, owner);
    }

    /// Who asked for it; `None` when it is paid, or was not asked for here.
    pub fn owner(&self, key: &BatchKey) -> Option<BatchOwner> {
        self.open.lock().get(key).cloned()
    }

    /// Strikes a batch out.
    pub fn remove(&self, key: &BatchKey) {
        self.open.lock().remove(key);
    }

    /// All of them.
    pub fn keys(&self) -> Vec<BatchKey> {
        self.open.lock().keys().cloned().collect()
    }
}
