//! Attempts at providers that go on, and bill, when their client goes away before the answer has
//! begun. Such an attempt runs in a task of its own, which the handler waits for; when the handler goes
//! with its client, its exchange comes here, and the answer is waited for, read and billed all the same.

use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::accounting::{Exchange, Orphaned};
use crate::gateway::{Active, Gateway};
use crate::runtime::HttpClient;
use crate::types::{AttemptFailure, Call, Next, Outcome};
use crate::upstream::{self, Outbound, Reply};
use crate::wire;

/// Everything that an attempt needs to outlive its handler.
pub(super) struct Detached {
    pub gw: Arc<Gateway>,
    pub active: Arc<Active>,
    pub call: Call,
    /// Index of the model.
    pub model: usize,
    /// Index of its deployment.
    pub deployment: usize,
    pub deadline: Instant,
    pub client: Option<HttpClient>,
}

type Answer = Result<Reply, AttemptFailure>;

impl Detached {
    /// Sends, and waits for the answer.
    ///
    /// # Cancel safety
    /// Dropped with its handler, it leaves the answer to the task; the exchange must then be dropped
    /// by an [`accounting::Keeper`](crate::accounting::Keeper).
    pub(super) async fn send(self, exchange: &mut Exchange) -> Answer {
        let answer = Arc::new(Mutex::new(None));
        let (ready, is_ready) = oneshot::channel();
        let (heir, inherited) = oneshot::channel();
        exchange.set_heir(Some(heir));
        let drains = self.gw.drains.clone();
        drains.spawn(self.run(Arc::clone(&answer), ready, inherited));
        let _ready_or_gone = is_ready.await.is_ok();
        let answer = answer.lock().take();
        exchange.set_heir(None);
        answer.unwrap_or_else(|| {
            Err(AttemptFailure::sent(
                Outcome::Internal,
                Next::Fallback,
                "a fault in the proxy",
            ))
        })
    }

    async fn run(
        self,
        answer: Arc<Mutex<Option<Answer>>>,
        ready: oneshot::Sender<()>,
        mut inherited: oneshot::Receiver<Exchange>,
    ) {
        let snapshot = &self.active.snapshot;
        let model = &snapshot.models[self.model];
        let deployment = &model.deployments[self.deployment];
        let outbound = Outbound {
            call: &self.call,
            model,
            deployment,
            provider: &snapshot.providers[deployment.provider],
            timeouts: &snapshot.resilience.timeouts,
            deadline: self.deadline,
            unix_ms: self.gw.clock.unix_ms(),
            grants: &self.gw.grants,
        };
        let mut sending = pin!(upstream::send(outbound, self.client.as_ref()));
        let answered = tokio::select! {
            answered = &mut sending => answered,
            orphan = &mut inherited => {
                let Ok(exchange) = orphan else { return };
                let mut orphaned = Orphaned::new(exchange, self.gw.drains.clone());
                let answered = orphaned.outlast(sending).await;
                return self.settle(orphaned, answered).await;
            }
        };
        *answer.lock() = Some(answered);
        let _handler_waits = ready.send(()).is_ok();
        // The handler may go before it takes the answer.
        if let Ok(exchange) = inherited.await {
            let answered = answer.lock().take();
            let orphaned = Orphaned::new(exchange, self.gw.drains.clone());
            self.settle(orphaned, answered).await;
        }
    }

    /// Bills what nobody waits for any more. `None`: it was not waited for to the end.
    async fn settle(&self, orphaned: Orphaned, answered: Option<Answer>) {
        match answered {
            Some(Ok(Reply::Whole(whole))) => {
                orphaned.close(true, |attempt| {
                    super::attempting::note_whole(attempt, &whole);
                });
            }
            Some(Ok(Reply::Stream(stream))) => {
                let dialect = wire::spoken(self.call.endpoint);
                let source = (stream.first, stream.framer, stream.body);
                orphaned.stream(dialect, source).await;
            }
            Some(Err(failure)) => {
                let estimate = super::attempting::is_estimated(&failure);
                orphaned.close(estimate, |attempt| {
                    super::attempting::note_failure(attempt, &failure);
                });
            }
            None => orphaned.close(true, |_| ()),
        }
    }
}
