//! Access tokens that were bought for providers, and what is known of their clocks.
//!
//! A token is bought on use: by the first request that needs one, and again by the first that finds
//! it near its end, which goes on with what it has. One purchase at a time for each provider, in a
//! task of its own, so that it survives the request that began it. Nothing is locked across an await,
//! and a request that finds a good token waits for nobody.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::types::ProviderId;

/// A token is bought anew when this much of its life is left, and at most `REFRESH_AT_MOST`: early
/// enough that several failed purchases fit before its end.
const REFRESH_SHARE: u32 = 5;
/// Token endpoints may hand out the same token again until shortly before its end.
const REFRESH_AT_MOST: Duration = Duration::from_mins(5);
/// A token is not used in its last seconds: the request may arrive late, and clocks differ.
const SKEW_MARGIN: Duration = Duration::from_secs(30);
/// A short-lived token loses at most this part of its life to the margin.
const SKEW_SHARE: u32 = 10;
/// After a failed purchase the endpoint is left alone this long, twice as long after each more.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A token that the provider refuses is given up once it is this old; a younger one was refused for
/// another reason, which another purchase would not change.
const REFUSED_TOO_YOUNG: Duration = Duration::from_secs(30);

/// An access token.
#[derive(Debug)]
pub struct AccessToken {
    /// The value of `authorization`; marked sensitive, so that it is never shown.
    pub header: HeaderValue,
    bought: Instant,
    refresh_from: Instant,
    ends: Instant,
}

impl AccessToken {
    /// A token of this life, counted from the moment at which its purchase began.
    #[must_use]
    pub fn new(mut header: HeaderValue, began: Instant, lives: Duration) -> Self {
        header.set_sensitive(true);
        let ends = began + lives.saturating_sub(SKEW_MARGIN.min(lives / SKEW_SHARE));
        let refresh_from = began + lives.saturating_sub(REFRESH_AT_MOST.min(lives / REFRESH_SHARE));
        Self {
            header,
            bought: began,
            refresh_from: refresh_from.min(ends),
            ends,
        }
    }
}

/// Why there is no access token.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct GrantError {
    /// For the log and for people; holds no secret.
    pub message: Arc<str>,
    /// True when the endpoint answered and refused; false when it could not be asked.
    pub refused: bool,
}

/// What is kept of one provider.
#[derive(Debug)]
struct Grant {
    identity: [u8; 32],
    standing: Mutex<Standing>,
    /// Counts purchases that have ended, whichever way.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Standing {
    good: Option<Arc<AccessToken>>,
    buying: bool,
    failures: u32,
    failed: Option<(Instant, GrantError)>,
}

/// What a request finds.
enum Found {
    /// A token that can be used; true: the finder is to buy the next one.
    Good(Arc<AccessToken>, bool),
    /// None; true: the finder is to buy one. Then wait.
    Wait(bool),
    /// None, and the endpoint is left alone for now.
    Failed(GrantError),
}

impl Grant {
    fn new(identity: [u8; 32]) -> Self {
        Self {
            identity,
            standing: Mutex::default(),
            ended: watch::channel(0).0,
        }
    }

    /// `waited`: a token that was just bought is used once, however short it lives.
    fn look(&self, now: Instant, waited: bool) -> Found {
        let mut standing = self.standing.lock();
        let resting = standing
            .failed
            .as_ref()
            .filter(|(until, _)| now < *until)
            .map(|(_, error)| error.clone());
        let fresh = waited && !standing.buying && standing.failed.is_none();
        let good = standing
            .good
            .clone()
            .filter(|good| fresh || now < good.ends);
        let due = !fresh && good.as_ref().is_none_or(|good| now >= good.refresh_from);
        let buy = due && !standing.buying && resting.is_none();
        if buy {
            standing.buying = true;
        }
        match (good, resting) {
            (Some(good), _) => Found::Good(good, buy),
            (None, Some(error)) if !standing.buying => Found::Failed(error),
            (None, _) => Found::Wait(buy),
        }
    }

    fn end(&self, bought: Result<AccessToken, GrantError>, now: Instant) {
        let mut standing = self.standing.lock();
        standing.buying = false;
        match bought {
            Ok(good) => {
                standing.good = Some(Arc::new(good));
                standing.failures = 0;
                standing.failed = None;
            }
            Err(error) => {
                let doublings = standing.failures.min(16);
                let pause = FIRST_PAUSE
                    .saturating_mul(1 << doublings)
                    .min(LONGEST_PAUSE);
                standing.failures = standing.failures.saturating_add(1);
                standing.failed = Some((now + pause, error));
            }
        }
        drop(standing);
        self.ended.send_modify(|count| *count += 1);
    }
}

/// Ends a purchase also when its task is dropped or panics, so that nobody waits for ever.
struct Purchase(Arc<Grant>);

impl Drop for Purchase {
    fn drop(&mut self) {
        if self.0.standing.lock().buying {
            let error = GrantError {
                message: "the purchase of an access token was broken off".into(),
                refused: false,
            };
            self.0.end(Err(error), Instant::now());
        }
    }
}

/// Every provider's access token and clock.
#[derive(Debug, Default)]
pub struct Grants {
    held: RwLock<FxHashMap<ProviderId, Arc<Grant>>>,
    offsets_ms: RwLock<FxHashMap<ProviderId, i64>>,
    tasks: TaskTracker,
}

impl Grants {
    /// Purchases run in `tasks`.
    #[must_use]
    pub fn new(tasks: TaskTracker) -> Self {
        Self {
            tasks,
            ..Self::default()
        }
    }

    /// A token for the provider. `identity` names the credentials: with others, another token is
    /// bought. `buy` makes the purchase, and must end by itself in bounded time.
    ///
    /// # Errors
    /// When there is no token that still holds and none could be bought.
    ///
    /// # Cancel safety
    /// Dropping the future leaves a purchase that it began to those who wait for it too.
    pub async fn get<F>(
        &self,
        provider: &ProviderId,
        identity: [u8; 32],
        buy: impl Fn() -> F,
    ) -> Result<Arc<AccessToken>, GrantError>
    where
        F: Future<Output = Result<AccessToken, GrantError>> + Send + 'static,
    {
        let grant = self.grant(provider, identity);
        let mut waited = false;
        loop {
            let mut ended = grant.ended.subscribe();
            let (found, begin) = match grant.look(Instant::now(), waited) {
                Found::Good(good, begin) => (Some(good), begin),
                Found::Wait(begin) => (None, begin),
                Found::Failed(error) => return Err(error),
            };
            if begin {
                self.begin(provider, &grant, buy());
            }
            match found {
                Some(good) => return Ok(good),
                // The sender lives in `grant`, so this only ever ends with a change.
                None => {
                    waited = ended.changed().await.is_ok();
                }
            }
        }
    }

    fn begin(
        &self,
        provider: &ProviderId,
        grant: &Arc<Grant>,
        purchase: impl Future<Output = Result<AccessToken, GrantError>> + Send + 'static,
    ) {
        let (provider, held) = (provider.clone(), Purchase(Arc::clone(grant)));
        self.tasks.spawn(async move {
            let bought = purchase.await;
            if let Err(error) = &bought {
                tracing::warn!(
                    provider = provider.as_str(),
                    error = &*error.message,
                    "no access token could be bought"
                );
            }
            held.0.end(bought, Instant::now());
        });
    }

    fn grant(&self, provider: &ProviderId, identity: [u8; 32]) -> Arc<Grant> {
        if let Some(grant) = self.held.read().get(provider)
            && grant.identity == identity
        {
            return Arc::clone(grant);
        }
        let mut grants = self.held.write();
        let grant = grants
            .entry(provider.clone())
            .or_insert_with(|| Arc::new(Grant::new(identity)));
        if grant.identity != identity {
            *grant = Arc::new(Grant::new(identity));
        }
        Arc::clone(grant)
    }

    /// The provider refused this token: it is given up unless it was bought just now. True when the
    /// next request will have another.
    pub fn refused(&self, provider: &ProviderId, refused: &Arc<AccessToken>) -> bool {
        let Some(grant) = self.held.read().get(provider).cloned() else {
            return false;
        };
        let mut standing = grant.standing.lock();
        let same = standing
            .good
            .as_ref()
            .is_some_and(|good| Arc::ptr_eq(good, refused));
        let old = refused.bought.elapsed() >= REFUSED_TOO_YOUNG;
        if same && old {
            standing.good = None;
        }
        // Another one may have been bought in the meantime.
        !same || old
    }

    /// How far the provider's clock is ahead of ours, as far as we were told; milliseconds.
    #[must_use]
    pub fn clock_offset_ms(&self, provider: &ProviderId) -> i64 {
        self.offsets_ms.read().get(provider).copied().unwrap_or(0)
    }

    /// Notes how far the provider's clock is ahead of ours.
    pub fn set_clock_offset_ms(&self, provider: &ProviderId, offset_ms: i64) {
        self.offsets_ms.write().insert(provider.clone(), offset_ms);
    }
}

#[cfg(test)]
mod tests;
