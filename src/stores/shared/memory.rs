//! The shared store of replicas in one process: for tests, and the model for the others. It can be
//! made to fail as real ones do: away, or with all memory lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use super::bucket::Bucket;
use super::pot::{Born, Pot};
use super::{Post, Posted, SharedBoard, SharedError, SharedStore, StoredKeys};
use crate::clock::Clock;
use crate::types::{DrawCall, DrawReply, LeaseCall, LeaseReply, Replica};

#[derive(Debug, Default)]
struct Contents {
    born: Born,
    pots: BTreeMap<Arc<str>, Pot>,
    buckets: BTreeMap<Arc<str>, Bucket>,
    topics: BTreeMap<&'static str, Topic>,
    claims: BTreeMap<String, i64>,
    keys_version: u64,
    keys: BTreeMap<String, String>,
}

/// What stands on the board under a topic, with the moment at which it was posted.
#[derive(Debug, Default)]
struct Topic {
    version: u64,
    texts: BTreeMap<String, (i64, String)>,
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

impl SharedMemory {
    /// Whether it can be reached, and the moment.
    fn reach(&self) -> Result<i64, SharedError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return Err(SharedError::Away("switched off".to_owned()));
        }
        Ok(self.clock.unix_ms())
    }

    fn exchange_now(&self, replica: &str, posts: &[Post]) -> Result<Vec<Posted>, SharedError> {
        let now_ms = self.reach()?;
        let mut contents = self.contents.lock();
        let answers = posts.iter().map(|post| {
            let topic = contents.topics.entry(post.topic).or_default();
            if let Some(text) = &post.text {
                let said = (now_ms, text.clone());
                topic.texts.insert(replica.to_owned(), said);
                topic.version += 1;
            }
            let version = topic.version;
            if version == post.seen {
                return Posted {
                    version,
                    texts: None,
                };
            }
            let lives_ms = millis(post.lives);
            topic
                .texts
                .retain(|_, (since_ms, _)| now_ms - *since_ms <= lives_ms);
            let texts = topic.texts.iter();
            let texts = texts.map(|(name, (_, text))| (name.clone(), text.clone()));
            Posted {
                version,
                texts: Some(texts.collect()),
            }
        });
        Ok(answers.collect())
    }

    fn keys_now(&self, known: &StoredKeys) -> Result<Option<StoredKeys>, SharedError> {
        self.reach()?;
        let mut contents = self.contents.lock();
        if contents.keys_version < known.version {
            for (id, text) in &known.texts {
                let kept = contents.keys.entry(id.clone());
                kept.or_insert_with(|| text.clone());
            }
            contents.keys_version = known.version + 1;
        }
        if contents.keys_version == known.version {
            return Ok(None);
        }
        let texts = contents.keys.iter();
        Ok(Some(StoredKeys {
            version: contents.keys_version,
            texts: texts.map(|(id, text)| (id.clone(), text.clone())).collect(),
        }))
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl SharedBoard for SharedMemory {
    fn exchange<'a>(
        &'a self,
        replica: &'a str,
        posts: &'a [Post],
    ) -> BoxFuture<'a, Result<Vec<Posted>, SharedError>> {
        ready(self.exchange_now(replica, posts)).boxed()
    }

    fn claim<'a>(
        &'a self,
        what: &'a str,
        lives: Duration,
    ) -> BoxFuture<'a, Result<bool, SharedError>> {
        let claimed = self.reach().map(|now_ms| {
            let mut contents = self.contents.lock();
            contents.claims.retain(|_, until_ms| now_ms < *until_ms);
            let until_ms = now_ms.saturating_add(millis(lives));
            let is_first = !contents.claims.contains_key(what);
            contents.claims.entry(what.to_owned()).or_insert(until_ms);
            is_first
        });
        ready(claimed).boxed()
    }

    fn keys<'a>(
        &'a self,
        known: &'a StoredKeys,
    ) -> BoxFuture<'a, Result<Option<StoredKeys>, SharedError>> {
        ready(self.keys_now(known)).boxed()
    }

    fn put_key<'a>(&'a self, id: &'a str, text: &'a str) -> BoxFuture<'a, Result<(), SharedError>> {
        let stored = self.reach().map(|_| {
            let mut contents = self.contents.lock();
            contents.keys.insert(id.to_owned(), text.to_owned());
            contents.keys_version += 1;
        });
        ready(stored).boxed()
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
