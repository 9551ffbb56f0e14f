//! Speaks with the store that several replicas share: carries the calls of budgets and limits there and
//! the answers back, ten times a second and whenever somebody waits; and what replicas post for each
//! other, once a second.
//!
//! Beside the request: no request ever waits for a round trip unless what this replica holds is used up,
//! and then for a bounded time. What happens while the store is away, the budgets and limits decide
//! themselves; here it is only noticed and said. State is in `runtime`, the store in `stores`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::runtime::budgets::Budgets;
use crate::runtime::leases::Bell;
use crate::runtime::limiter::Limiters;
use crate::stores::{Post, Posted, RECOVERY_MS, SharedBoard, SharedError, SharedStore, StoredKeys};
use crate::types::{LeaseCall, LeaseReply, Replica};

/// How often leases are looked after; requests that wait ring for more at once.
const TICK: Duration = Duration::from_millis(100);
/// Calls that are rung for are at least this far apart, so that those who wait together are served
/// together.
const APART: Duration = Duration::from_millis(4);
/// How long a start waits for its first leases, and a drain for its last word.
const PATIENCE: Duration = Duration::from_secs(2);

/// The replicas' side of this process.
#[derive(Debug)]
pub struct Replicas {
    store: Arc<dyn SharedStore>,
    board: Arc<dyn SharedBoard>,
    replica: Replica,
    /// What it is called on the board, through all its lives.
    signature: Arc<str>,
    bell: Bell,
    up: AtomicBool,
    round_trips: AtomicU64,
    /// What the store said when it last would not do something.
    refusal: Mutex<Option<SharedError>>,
    leave: CancellationToken,
    left: CancellationToken,
}

impl Replicas {
    /// This replica, before it has said anything.
    #[must_use]
    pub fn new<S: SharedStore + SharedBoard + 'static>(
        store: Arc<S>,
        replica: Replica,
        signature: Arc<str>,
        bell: Bell,
    ) -> Self {
        Self {
            board: Arc::<S>::clone(&store),
            store,
            replica,
            signature,
            bell,
            up: AtomicBool::new(true),
            round_trips: AtomicU64::new(0),
            refusal: Mutex::new(None),
            leave: CancellationToken::new(),
            left: CancellationToken::new(),
        }
    }

    /// What this replica is called.
    pub fn name(&self) -> &str {
        &self.replica.name
    }

    /// False while the shared store does not answer.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Calls to the store so far.
    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// What this replica is called on the board: the same after a restart.
    pub fn signature(&self) -> &str {
        &self.signature
    }

    /// Posts texts and reads what is new; `None` while the store is away.
    pub async fn exchange_posts(&self, posts: &[Post]) -> Option<Vec<Posted>> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let posted = self.board.exchange(&self.signature, posts).await;
        self.noted(posted)
    }

    /// Whether this replica is the one of all that should do something; true while the store is away, for
    /// twice is better than not at all.
    pub async fn claims(&self, what: &str, lives: Duration) -> bool {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let claimed = self.board.claim(what, lives).await;
        self.noted(claimed).unwrap_or(true)
    }

    /// The stored keys, when they are not the known ones; `None` also while the store is away.
    pub async fn stored_keys(&self, known: &StoredKeys) -> Option<StoredKeys> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let keys = self.board.keys(known).await;
        self.noted(keys).flatten()
    }

    /// Waits until the store has given this replica its first leases, or has had time to.
    ///
    /// # Errors
    /// When the store answers but refuses: a wrong password, a server that may not be written to. One
    /// that is away is waited for while requests are served.
    pub async fn join(&self, budgets: &Budgets, limiters: &Limiters) -> Result<(), SharedError> {
        let deadline =
            Instant::now() + PATIENCE + Duration::from_millis(RECOVERY_MS.unsigned_abs());
        while Instant::now() < deadline {
            // Without budgets and limits there would be nothing to say.
            let _heard = self.exchange_posts(&[]).await;
            let recovering = self.exchange(budgets, limiters, true).await;
            if let Some(refusal) = self.refusal.lock().take() {
                return Err(refusal);
            }
            if recovering == Some(false) {
                return Ok(());
            }
            tokio::time::sleep(TICK).await;
        }
        tracing::warn!(
            "the shared store has given no leases yet; what needs one is refused until it does"
        );
        Ok(())
    }

    /// Looks after the leases until [`Self::leave`], and then gives everything back.
    pub async fn keep(self: Arc<Self>, budgets: Arc<Budgets>, limiters: Arc<Limiters>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut forgot = false;
        loop {
            tokio::select! {
                () = self.leave.cancelled() => break,
                _ = ticks.tick() => {}
                () = self.bell.rung() => tokio::time::sleep(APART).await,
            }
            forgot = self.exchange(&budgets, &limiters, forgot).await == Some(true);
        }
        self.give_back(&budgets, &limiters).await;
        self.left.cancel();
    }

    /// Ends [`Self::keep`] when nothing is in flight any more, and waits until it has ended.
    pub async fn leave(&self) {
        self.leave.cancel();
        // A store that does not answer learns nothing: then the leases expire.
        let _in_time = tokio::time::timeout(PATIENCE, self.left.cancelled()).await;
    }

    /// One round: `Some(true)` when the store is young or has forgotten something, `None` when it is
    /// away.
    async fn exchange(&self, budgets: &Budgets, limiters: &Limiters, all: bool) -> Option<bool> {
        let money = budgets.lease_calls(all);
        let places = limiters.place_leases(Instant::now());
        let draws = limiters.draws(Instant::now());
        let mut calls = money.clone();
        calls.extend_from_slice(&places.calls);
        let mut forgot = false;
        if !calls.is_empty() {
            let Some(replies) = self.lease(&calls).await else {
                budgets.store_away();
                limiters.store_away(Instant::now());
                return None;
            };
            forgot = replies.iter().any(|reply| reply.forgot || reply.recovering);
            self.look_for_a_double(&replies);
            let of_places = replies.get(money.len()..).unwrap_or_default();
            limiters.places_answered(&places, of_places, Instant::now());
            let pots = money.into_iter().map(|call| call.pot);
            let answers: Vec<_> = pots.zip(replies).collect();
            if !answers.is_empty() {
                budgets.lease_answered(&answers);
            }
        }
        if !draws.calls.is_empty() {
            self.round_trips.fetch_add(1, Ordering::Relaxed);
            let drawn = self.store.draw(&self.replica, &draws.calls).await;
            let drawn = self.noted(drawn);
            limiters.drawn(&draws, drawn.as_deref(), Instant::now());
            drawn?;
        }
        Some(forgot)
    }

    async fn lease(&self, calls: &[LeaseCall]) -> Option<Vec<LeaseReply>> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let replies = self.store.lease(&self.replica, calls).await;
        self.noted(replies)
    }

    /// Says once when the store goes and once when it comes back.
    fn noted<T>(&self, answer: Result<T, SharedError>) -> Option<T> {
        match answer {
            Ok(answer) => {
                if !self.up.swap(true, Ordering::Relaxed) {
                    tracing::info!("the shared store answers again");
                }
                Some(answer)
            }
            Err(error) => {
                if matches!(error, SharedError::Refused(_)) {
                    *self.refusal.lock() = Some(error.clone());
                }
                if self.up.swap(false, Ordering::Relaxed) {
                    tracing::error!(%error, "the shared store does not answer; going on as state.on_store_down says");
                }
                None
            }
        }
    }

    fn look_for_a_double(&self, replies: &[LeaseReply]) {
        if replies.iter().any(|reply| reply.stale) {
            tracing::error!(
                replica = self.name(),
                "another process runs under this replica's name; give each its own state.replica"
            );
        }
    }

    async fn give_back(&self, budgets: &Budgets, limiters: &Limiters) {
        let (draws, places) = limiters.leave(Instant::now());
        let mut calls = budgets.leave_leases();
        calls.extend(places);
        let _left = self.lease(&calls).await;
        if !draws.is_empty() {
            let _drawn = self.noted(self.store.draw(&self.replica, &draws).await);
        }
    }
}
