//! The exact cache: moka, bounded in bytes, with the age checked at the look-up, so that a reload
//! may change the time to live and an expired answer is still there when everything upstream fails.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::sync::Cache;
use tokio::time::Instant;

use crate::types::{CacheControl, ModelId, ProviderId, Tokens};

use super::key::CacheKey;

/// How long past its time to live an answer is kept for `stale_if_error`.
const STALE_FOR: Duration = Duration::from_hours(24);
/// What an entry costs beside its body: key, hashes, bookkeeping.
const ENTRY_OVERHEAD_BYTES: u32 = 256;
/// Answers above this are not kept: a handful of them would push out thousands of others.
const MAX_ENTRY_BYTES: usize = 4 << 20;

/// In which form an answer was recorded.
#[derive(Debug, Clone)]
pub enum StoredForm {
    /// A whole answer, as the upstream sent it.
    Whole(Bytes),
    /// The events of a stream, as the upstream sent them.
    Events(Bytes),
}

impl StoredForm {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) | Self::Events(bytes) => bytes.len(),
        }
    }
}

/// A remembered answer.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The answer.
    pub form: StoredForm,
    /// Which model gave it.
    pub model: ModelId,
    /// That model's provider.
    pub provider: ProviderId,
    /// What it used then: what a hit saves.
    pub tokens: Tokens,
    /// When it was given.
    pub at: Instant,
}

/// A hit.
#[derive(Debug, Clone)]
pub struct Found {
    /// The answer.
    pub stored: Arc<Stored>,
    /// How old it is.
    pub age: Duration,
}

/// The exact cache. Shared; survives reloads.
#[derive(Debug, Clone)]
pub struct ExactCache {
    entries: Cache<CacheKey, Arc<Stored>>,
}

impl ExactCache {
    /// A cache of at most `max_bytes` of answers.
    pub fn new(max_bytes: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, stored: &Arc<Stored>| {
                u32::try_from(stored.form.len())
                    .unwrap_or(u32::MAX)
                    .saturating_add(ENTRY_OVERHEAD_BYTES)
            })
            .build();
        Self { entries }
    }

    /// A fresh answer, as far as `ttl` and the client's `cache-control` allow one.
    pub fn fresh(&self, key: &CacheKey, ttl: Duration, control: &CacheControl) -> Option<Found> {
        let limit = control.max_age.map_or(ttl, |max_age| max_age.min(ttl));
        self.get(key).filter(|found| found.age <= limit)
    }

    /// An answer of any age that is still kept, for when everything upstream failed.
    pub fn stale(&self, key: &CacheKey, ttl: Duration) -> Option<Found> {
        self.get(key).filter(|found| found.age <= ttl + STALE_FOR)
    }

    fn get(&self, key: &CacheKey) -> Option<Found> {
        let stored = self.entries.get(key)?;
        let age = stored.at.elapsed();
        Some(Found { stored, age })
    }

    /// Remembers an answer. The caller has made sure that it is complete, no error, not truncated
    /// and without tool calls. The bytes are copied when they are a slice of a larger buffer, which
    /// they would otherwise pin.
    pub fn put(&self, key: CacheKey, stored: Stored) {
        if stored.form.len() <= MAX_ENTRY_BYTES {
            self.entries.insert(key, Arc::new(stored));
        }
    }

    /// Bytes held now, approximately (eviction is lazy).
    pub fn weight(&self) -> u64 {
        self.entries.weighted_size()
    }
}
