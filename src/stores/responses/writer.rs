//! Writes down what is kept, beside the requests, and lets old responses go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{KeptResponse, Responses, ShelfError};
use crate::clock::Clock;

/// Responses in one transaction, so that none waits long for a lock.
const BATCH: usize = 64;
/// How long a store that fails is left alone.
const AGAIN: Duration = Duration::from_secs(1);
/// How often old responses are looked for: they are kept for days.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);

impl Responses {
    /// Writes until `stop`. What waits then is for [`Self::flush`].
    pub async fn write_until(self: Arc<Self>, stop: CancellationToken, clock: Clock) {
        let mut expire_at = Instant::now();
        loop {
            let written = self.write_all().await;
            let mut wait = EXPIRE_EVERY;
            match &written {
                Ok(()) if Instant::now() >= expire_at => {
                    expire_at = Instant::now() + EXPIRE_EVERY;
                    if let Err(error) = self.shelf.expire(clock.unix_ms()).await {
                        tracing::warn!(%error, "old responses cannot be let go");
                    }
                }
                Ok(()) => {}
                Err(_) => wait = AGAIN,
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.work.notified(), if written.is_ok() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// When the store cannot be written; what waits, waits on.
    pub async fn flush(&self) -> Result<(), ShelfError> {
        self.write_all().await
    }

    async fn write_all(&self) -> Result<(), ShelfError> {
        loop {
            let _turn = self.turn.lock().await;
            let batch: Vec<Arc<KeptResponse>> = {
                let pending = self.pending.lock();
                pending.queue.iter().take(BATCH).map(Arc::clone).collect()
            };
            if batch.is_empty() {
                return Ok(());
            }
            let written = self.shelf.put(&batch).await;
            self.note_health(written.as_ref().err());
            written?;
            let mut pending = self.pending.lock();
            for kept in &batch {
                // One of the same id may have come in the meantime.
                let waiting = pending.find(&kept.tenant, &kept.id);
                if waiting.is_some_and(|waiting| Arc::ptr_eq(&waiting, kept)) {
                    pending.remove(&kept.tenant, &kept.id);
                }
            }
        }
    }

    fn note_health(&self, error: Option<&ShelfError>) {
        let was_healthy = self.healthy.swap(error.is_none(), Ordering::Relaxed);
        match error {
            Some(error) if was_healthy => {
                tracing::error!(%error, "responses are not written down; they wait in memory");
            }
            None if !was_healthy => tracing::info!("responses are written down again"),
            _ => {}
        }
    }
}
