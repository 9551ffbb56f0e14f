//! The shared store of replicas in one process: for tests, and the model for the others. It can be
//! made to fail as real ones do: away, or with all memory lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use super::bucket::Bucket;
use super::pot::{Born, Pot};
use super::{SharedError, SharedStore};
use crate::clock::Clock;
use crate::types::{DrawCall, DrawReply, LeaseCall, LeaseReply, Replica};

#[derive(Debug, Default)]
struct Contents {
    born: Born,
    pots: BTreeMap<Arc<str>, Pot>,
    buckets: BTreeMap<Arc<str>, Bucket>,
}

/// Several replicas' state in one process. Clones share it.
#[derive(Clone, Debug)]
pub struct SharedMemory {
    clock: Clock,
    contents: Arc<Mutex<Contents>>,
    away: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl SharedMemory {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            contents: Arc::default(),
            away: Arc::default(),
            calls: Arc::default(),
        }
    }

    /// Loses everything, as a server without persistence does when it restarts.
    pub fn forget(&self) {
        *self.contents.lock() = Contents::default();
    }

    /// From now on it cannot be reached, or can again.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// How often it was called: round trips, if it were far away.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// [`SharedStore::lease`], at once.
    ///
    /// # Errors
    /// While it is away.
    pub fn lease_now(
        &self,
        replica: &Replica,
        calls: &[LeaseCall],
    ) -> Result<Vec<LeaseReply>, SharedError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return Err(SharedError::Away("switched off".to_owned()));
        }
        let now_ms = self.clock.unix_ms();
        let mut contents = self.contents.lock();
        let Contents { born, pots, .. } = &mut *contents;
        pots.retain(|_, pot| pot.expires_ms == 0 || now_ms < pot.expires_ms);
        let replies = calls.iter().map(|call| {
            let mut created = false;
            let pot = pots.entry(Arc::clone(&call.pot)).or_insert_with(|| {
                created = true;
                Pot::of(call, now_ms)
            });
            let mut reply = pot.lease(born, replica, call, now_ms);
            reply.created = created;
            reply
        });
        Ok(replies.collect())
    }

    /// [`SharedStore::draw`], at once.
    ///
    /// # Errors
    /// While it is away.
    pub fn draw_now(
        &self,
        replica: &Replica,
        calls: &[DrawCall],
    ) -> Result<Vec<DrawReply>, SharedError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return Err(SharedError::Away("switched off".to_owned()));
        }
        let now_ms = self.clock.unix_ms();
        let mut contents = self.contents.lock();
        let replies = calls.iter().map(|call| {
            let buckets = &mut contents.buckets;
            let bucket = buckets
                .entry(Arc::clone(&call.pot))
                .or_insert_with(|| Bucket::full(call, now_ms));
            bucket.draw(&replica.name, call, now_ms)
        });
        Ok(replies.collect())
    }
}

impl SharedStore for SharedMemory {
    fn lease<'a>(
        &'a self,
        replica: &'a Replica,
        calls: &'a [LeaseCall],
    ) -> BoxFuture<'a, Result<Vec<LeaseReply>, SharedError>> {
        ready(self.lease_now(replica, calls)).boxed()
    }

    fn draw<'a>(
        &'a self,
        replica: &'a Replica,
        calls: &'a [DrawCall],
    ) -> BoxFuture<'a, Result<Vec<DrawReply>, SharedError>> {
        ready(self.draw_now(replica, calls)).boxed()
    }
}
