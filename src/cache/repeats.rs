//! Answers by `idempotency-key`: a request that is sent again with its key gets the answer of the first
//! time, and is paid for once (draft-ietf-httpapi-idempotency-key-header).
//!
//! Only whole answers are kept; an error is not, so that a retry after one is a real one. While the
//! first request is under way its repetitions wait; when it leaves or fails, one of them takes its
//! place. Bounded in bytes and time, of one process.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::exact::{Found, Stored};
use super::key::CacheKey;
use crate::types::{Call, Caller};

/// Answers above this are not kept: a handful of them would push out thousands of others.
const MAX_ENTRY_BYTES: usize = 4 << 20;
/// What an entry costs beside its body.
const ENTRY_OVERHEAD_BYTES: u32 = 320;
/// No configuration keeps answers longer; the age is checked at the look-up.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// SHA-256 of a request's body.
type BodyHash = [u8; 32];

/// The key was used before with another body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reused;

/// What a request with an idempotency key does.
#[derive(Debug)]
pub enum Repeat {
    /// It is the first: go on, and keep the answer.
    First(Keeper),
    /// It was answered before.
    Answered(Found),
    /// The first is under way: wait until it ends, then ask again.
    Wait(watch::Receiver<()>),
}

#[derive(Debug)]
struct UnderWay {
    body: BodyHash,
    ended: watch::Receiver<()>,
}

/// Answers by idempotency key. Shared; survives reloads.
#[derive(Debug, Clone)]
pub struct Repeats {
    answers: Cache<CacheKey, (BodyHash, Arc<Stored>)>,
    under_way: Arc<Mutex<FxHashMap<CacheKey, UnderWay>>>,
}

impl Repeats {
    /// Keeps at most `max_bytes` of answers.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let answers = Cache::builder()
            .max_capacity(max_bytes)
            .time_to_live(LONGEST)
            .weigher(|_, (_, stored): &(BodyHash, Arc<Stored>)| {
                u32::try_from(stored.form.len())
                    .unwrap_or(u32::MAX)
                    .saturating_add(ENTRY_OVERHEAD_BYTES)
            })
            .build();
        Self {
            answers,
            under_way: Arc::default(),
        }
    }

    /// What this request does about its key, `key`, with answers of at most the age `ttl`.
    ///
    /// # Errors
    /// When the key belongs to another body.
    pub fn ask(
        &self,
        call: &Call,
        caller: &Caller,
        key: &str,
        ttl: Duration,
    ) -> Result<Repeat, Reused> {
        let name = name_of(call, caller, key);
        let body: BodyHash = Sha256::digest(&call.body).into();
        // Under the lock, so that the first cannot end between the two looks.
        let mut under_way = self.under_way.lock();
        if let Some((of, stored)) = self.answers.get(&name) {
            let age = stored.at.elapsed();
            if age <= ttl {
                let found = Found { stored, age };
                return if of == body {
                    Ok(Repeat::Answered(found))
                } else {
                    Err(Reused)
                };
            }
        }
        if let Some(first) = under_way.get(&name) {
            return if first.body == body {
                Ok(Repeat::Wait(first.ended.clone()))
            } else {
                Err(Reused)
            };
        }
        let (end, ended) = watch::channel(());
        under_way.insert(name, UnderWay { body, ended });
        drop(under_way);
        Ok(Repeat::First(Keeper {
            repeats: self.clone(),
            name,
            body,
            _end: end,
        }))
    }

    /// Forgets the answer of a key, which may not be given any more.
    pub fn forget(&self, call: &Call, caller: &Caller, key: &str) {
        self.answers.invalidate(&name_of(call, caller, key));
    }
}

/// The duty of the first request: its answer is for those who repeat it. Drop lets one of them go.
#[derive(Debug)]
pub struct Keeper {
    repeats: Repeats,
    name: CacheKey,
    body: BodyHash,
    /// Wakes those who wait when it goes.
    _end: watch::Sender<()>,
}

impl Keeper {
    /// Keeps the answer.
    pub fn keep(self, stored: Stored) {
        if stored.form.len() <= MAX_ENTRY_BYTES {
            let kept = (self.body, Arc::new(stored));
            self.repeats.answers.insert(self.name, kept);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.repeats.under_way.lock().remove(&self.name);
    }
}

/// Waits until the first request has ended, however it did, or until the deadline; true when it has.
pub async fn ended(mut receiver: watch::Receiver<()>, deadline: Instant) -> bool {
    // Nothing is ever sent: the channel closes when the first request ends.
    tokio::time::timeout_at(deadline, receiver.changed())
        .await
        .is_ok()
}

/// The key within its tenant and endpoint: one client cannot ask for another's answer.
fn name_of(call: &Call, caller: &Caller, key: &str) -> CacheKey {
    let mut hash = Sha256::new();
    let id = caller.key.as_ref().map_or("", |key| key.as_str());
    for part in [
        "tollgate-repeat-1",
        caller.team.as_str(),
        id,
        call.endpoint.as_str(),
        key,
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}
