//! Responses that clients asked to be kept (`store` of OpenAI's Responses API), with the conversation
//! that led to each, so that it can be read again and gone on from.
//!
//! What is kept is at hand at once and written down beside the requests: a client that has seen the end
//! of a response finds it. What cannot be written waits in memory, up to a bound; beyond it nothing more
//! is kept, and whoever asks is told so. A response belongs to its tenant: nobody else finds it.

mod memory;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::memory::MemoryShelf;
use super::redis::RedisStore;
use super::sqlite::ResponsesFile;

/// What may wait to be written: some hundred long conversations.
const MAX_PENDING_BYTES: usize = 64 << 20;
/// What a response takes beside its texts.
const OVERHEAD_BYTES: usize = 512;

/// A response that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptResponse {
    /// Whose it is.
    pub tenant: Box<str>,
    /// Its id.
    pub id: Box<str>,
    /// When it was complete, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Who made it: `dialect@provider`.
    pub origin: Box<str>,
    /// The response, as the client saw it: a JSON object.
    pub response: Bytes,
    /// The conversation up to it: a JSON array of items. Whole, so that it outlives the responses that it
    /// went on from.
    pub input: Bytes,
    /// The ids of the items that it added.
    pub items: Vec<String>,
}

impl KeptResponse {
    /// What it counts against the bound.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let names: usize = self.items.iter().map(|item| item.len() + 128).sum();
        self.response.len() + self.input.len() + names + OVERHEAD_BYTES
    }
}

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long.
    pub retention: Duration,
    /// How much; the oldest go first.
    pub max_bytes: u64,
}

/// The store cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of responses cannot be used: {0}")]
pub struct ShelfError(pub String);

/// A response cannot be kept: too much waits to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of responses does not take them, and too many wait for it")]
pub struct ShelfFull;

/// What was made up to this instant is too old.
pub(super) fn horizon_ms(now_ms: i64, retention: Duration) -> i64 {
    now_ms.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX))
}

/// A back end. Every method may take as long as a disk or a network does.
pub(super) trait Shelf: Send + Sync + fmt::Debug {
    /// Writes responses, in the place of those of the same id, and lets go of what is beyond the bounds.
    fn put<'a>(&'a self, batch: &'a [Arc<KeptResponse>]) -> BoxFuture<'a, Result<(), ShelfError>>;

    /// The response of this id.
    fn get<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<KeptResponse>, ShelfError>>;

    /// The id of the response that added the item of this id; of several the last.
    fn holder<'a>(
        &'a self,
        tenant: &'a str,
        item: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, ShelfError>>;

    /// Deletes; false when there was none.
    fn delete<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, ShelfError>>;

    /// Lets go of what is older than the retention at `now_ms`.
    fn expire(&self, now_ms: i64) -> BoxFuture<'_, Result<(), ShelfError>>;
}

/// The responses that this process keeps, or shares with other replicas.
#[derive(Debug)]
pub struct Responses {
    shelf: Box<dyn Shelf>,
    retention: Duration,
    pending: Mutex<Pending>,
    /// Whoever writes or deletes, one after the other: what is deleted is not written again.
    turn: tokio::sync::Mutex<()>,
    work: Notify,
    healthy: AtomicBool,
}

/// What is not written yet.
#[derive(Debug, Default)]
struct Pending {
    /// In the order in which they came.
    queue: Vec<Arc<KeptResponse>>,
    /// By tenant and id.
    by_id: HashMap<(Box<str>, Box<str>), Arc<KeptResponse>>,
    bytes: usize,
}

impl Pending {
    fn find(&self, tenant: &str, id: &str) -> Option<Arc<KeptResponse>> {
        self.by_id.get(&(tenant.into(), id.into())).map(Arc::clone)
    }

    fn remove(&mut self, tenant: &str, id: &str) -> bool {
        let Some(gone) = self.by_id.remove(&(tenant.into(), id.into())) else {
            return false;
        };
        self.bytes -= gone.bytes();
        self.queue.retain(|kept| !Arc::ptr_eq(kept, &gone));
        true
    }
}

impl Responses {
    /// Responses that go with the process.
    #[must_use]
    pub fn memory(bounds: Bounds) -> Self {
        Self::on(Box::new(MemoryShelf::new(bounds)), bounds)
    }

    /// Responses in the SQLite file at `path`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sqlite(path: &Path, bounds: Bounds) -> Result<Self, ShelfError> {
        Ok(Self::on(
            Box::new(ResponsesFile::open(path, bounds)?),
            bounds,
        ))
    }

    /// Responses that all replicas share.
    #[must_use]
    pub fn redis(store: RedisStore, bounds: Bounds) -> Self {
        Self::on(Box::new(store.shelf(bounds)), bounds)
    }

    fn on(shelf: Box<dyn Shelf>, bounds: Bounds) -> Self {
        Self {
            shelf,
            retention: bounds.retention,
            pending: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            work: Notify::new(),
            healthy: AtomicBool::new(true),
        }
    }

    /// True while a response that is complete now would be kept.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.pending.lock().bytes < MAX_PENDING_BYTES
    }

    /// What waits to be written, bytes.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.pending.lock().bytes
    }

    /// Keeps a response: found from now on, written down soon.
    ///
    /// # Errors
    /// When too much waits to be written.
    pub fn keep(&self, kept: KeptResponse) -> Result<(), ShelfFull> {
        let mut pending = self.pending.lock();
        if pending.bytes >= MAX_PENDING_BYTES {
            return Err(ShelfFull);
        }
        pending.remove(&kept.tenant, &kept.id);
        let kept = Arc::new(kept);
        pending.bytes += kept.bytes();
        pending.queue.push(Arc::clone(&kept));
        let place = (kept.tenant.clone(), kept.id.clone());
        pending.by_id.insert(place, kept);
        drop(pending);
        self.work.notify_one();
        Ok(())
    }

    /// The tenant's response of this id, unless it is older than the retention.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find(
        &self,
        tenant: &str,
        id: &str,
        now_ms: i64,
    ) -> Result<Option<Arc<KeptResponse>>, ShelfError> {
        let waiting = self.pending.lock().find(tenant, id);
        let found = match waiting {
            Some(found) => Some(found),
            None => self.shelf.get(tenant, id).await?.map(Arc::new),
        };
        let horizon_ms = horizon_ms(now_ms, self.retention);
        Ok(found.filter(|kept| kept.created_ms > horizon_ms))
    }

    /// The tenant's response that added the item of this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn holder_of(
        &self,
        tenant: &str,
        item: &str,
        now_ms: i64,
    ) -> Result<Option<Arc<KeptResponse>>, ShelfError> {
        let waiting = {
            let pending = self.pending.lock();
            let mut own = pending.queue.iter().rev();
            own.find(|kept| &*kept.tenant == tenant && kept.items.iter().any(|it| it == item))
                .map(Arc::clone)
        };
        if waiting.is_some() {
            return Ok(waiting);
        }
        match self.shelf.holder(tenant, item).await? {
            Some(id) => self.find(tenant, &id, now_ms).await,
            None => Ok(None),
        }
    }

    /// Deletes the tenant's response of this id; false when there was none.
    ///
    /// # Errors
    /// When the store cannot be written: it is there still.
    pub async fn forget(&self, tenant: &str, id: &str) -> Result<bool, ShelfError> {
        let _turn = self.turn.lock().await;
        let stored = self.shelf.delete(tenant, id).await?;
        Ok(self.pending.lock().remove(tenant, id) || stored)
    }

    /// True while what is kept is written down.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
