//! How requests that wait for a lease and the task that fetches it find each other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Rung by those who need a lease, and by the task when one has come. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bell {
    wanted: Arc<Notify>,
    came: watch::Sender<u64>,
}

impl Default for Bell {
    fn default() -> Self {
        Self {
            wanted: Arc::default(),
            came: watch::Sender::new(0),
        }
    }
}

impl Bell {
    /// Something is needed that is not at hand.
    pub fn ring(&self) {
        self.wanted.notify_one();
    }

    /// Waits until something is needed.
    ///
    /// # Cancel safety
    /// A ring is not lost.
    pub async fn rung(&self) {
        self.wanted.notified().await;
    }

    /// Leases have changed.
    pub fn announce(&self) {
        self.came
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Tries until it works, fails for another reason than a lease that is too small, or `patience` is
    /// over. The first try, which is all in the common case, neither waits nor yields.
    ///
    /// # Errors
    /// The last try's.
    pub async fn patiently<T, E>(
        &self,
        patience: Duration,
        mut attempt: impl FnMut() -> Result<T, E>,
        waits: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        match attempt() {
            Err(error) if waits(&error) && !patience.is_zero() => {}
            done => return done,
        }
        let deadline = Instant::now() + patience;
        let mut came = self.came.subscribe();
        loop {
            // What came between the last try and the subscription is seen by trying once more.
            let failed = match attempt() {
                Err(error) if waits(&error) => error,
                done => return done,
            };
            self.ring();
            let changed = tokio::time::timeout_at(deadline, came.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(failed);
            }
        }
    }
}
