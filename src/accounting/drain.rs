//! Reading on without the client. Some providers go on with an answer whose client has left, and bill
//! all of it: such an attempt outlives its handler here, with its exchange and all that it holds, until
//! the provider has said what it used.
//!
//! Drop cannot await, so what is dropped hands itself to a tracked task, which the server's drain waits
//! for. Reading on is bounded in time, in bytes and in number; past any of these bounds what was seen
//! is estimated, as it is for providers that stop.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::types::{Outcome, Usage};
use crate::wire::facts::{EventKind, StreamFacts};
use crate::wire::framing::sse::{SseEvent, SseFramer};
use crate::wire::{Dialect, Tap};

use super::exchange::{AttemptEnd, CLIENT_CLOSED_REQUEST, Exchange, OpenAttempt, Verdict};

/// Most answers that are read on at a time: each holds a connection and a few kilobytes.
const MOST_AT_ONCE: usize = 1024;

/// Where answers are read on whose clients have left.
#[derive(Clone, Debug)]
pub struct Drains {
    tasks: TaskTracker,
    abort: CancellationToken,
    places: Arc<Semaphore>,
}

impl Drains {
    /// `tasks` is awaited when the server stops; `abort` ends what is still being read.
    pub fn new(tasks: TaskTracker, abort: CancellationToken) -> Self {
        Self {
            tasks,
            abort,
            places: Arc::new(Semaphore::new(MOST_AT_ONCE)),
        }
    }

    /// A place to read one answer on; `None` when too many are being read, or the server is stopping.
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        if self.abort.is_cancelled() {
            return None;
        }
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Runs to its end what no request waits for any more.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.tasks.spawn_on(task, &runtime);
        }
    }
}

/// A stream whose client has left.
pub(super) struct Abandoned<B> {
    pub exchange: Exchange,
    pub tap: Box<dyn Tap>,
    pub framer: SseFramer,
    pub source: Pin<Box<B>>,
}

impl<B> Abandoned<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: fmt::Display,
{
    /// Reads on in a task of its own, or settles at once when there is no place for it.
    pub fn drain(self, drains: &Drains) {
        match drains.place() {
            Some(place) => {
                let abort = drains.abort.clone();
                drains.spawn(async move {
                    self.read_on(abort).await;
                    drop(place);
                });
            }
            None => self.settle(),
        }
    }

    /// Reads to the end of the answer, as far as the bounds allow, and settles.
    pub async fn read_on(mut self, abort: CancellationToken) {
        let Some(billing) = self.exchange.attempt_mut().map(|attempt| attempt.billing) else {
            return;
        };
        let until = Instant::now() + billing.drain;
        let mut bytes_left = billing.drain_max_bytes;
        while !self.is_over() {
            let source = &mut self.source;
            let next = std::future::poll_fn(|context| source.as_mut().poll_frame(context));
            let frame = tokio::select! {
                frame = next => frame,
                () = tokio::time::sleep_until(until) => break,
                () = abort.cancelled() => break,
            };
            let Some(Ok(frame)) = frame else {
                if let Some(event) = self.framer.finish() {
                    self.tap.see(&event);
                }
                break;
            };
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            let size = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if size > bytes_left || self.framer.push(chunk).is_err() {
                break;
            }
            bytes_left -= size;
        }
        self.settle();
    }

    /// Looks at the events that are there; true at the answer's end.
    fn is_over(&mut self) -> bool {
        while let Some(event) = self.framer.next_event() {
            if matches!(self.tap.see(&event), EventKind::Done | EventKind::Error) {
                return true;
            }
        }
        false
    }

    fn settle(mut self) {
        let facts = self.tap.facts();
        let estimate = self.exchange.attempt_mut().is_none_or(|attempt| {
            attempt.note(facts);
            facts.error.is_none() || attempt.billing.errors_estimated
        });
        abandon(self.exchange, estimate);
    }
}

/// A request that was sent and whose handler went away before its answer came.
#[derive(Debug)]
pub struct Orphaned {
    exchange: Exchange,
    drains: Drains,
}

impl Orphaned {
    /// Takes the exchange of a handler that is gone.
    pub const fn new(exchange: Exchange, drains: Drains) -> Self {
        Self { exchange, drains }
    }

    /// Waits for what is under way, within the bounds of reading on; `None` past them.
    pub async fn outlast<T>(&mut self, under_way: impl Future<Output = T>) -> Option<T> {
        let attempt = self.exchange.attempt_mut()?;
        let until = Instant::now() + attempt.billing.drain;
        let _place = self.drains.place()?;
        tokio::select! {
            done = under_way => Some(done),
            () = tokio::time::sleep_until(until) => None,
            () = self.drains.abort.cancelled() => None,
        }
    }

    /// Settles it by what `note` says of its attempt. `estimate`: bill an estimate where nothing is
    /// reported.
    pub fn close(mut self, estimate: bool, note: impl FnOnce(&mut OpenAttempt)) {
        if let Some(attempt) = self.exchange.attempt_mut() {
            note(attempt);
        }
        abandon(self.exchange, estimate);
    }

    /// A stream began: it is read to its end. `source`: events that were taken, the framer that may hold
    /// more, and what follows.
    pub async fn stream<B>(
        self,
        dialect: &'static dyn Dialect,
        source: (Vec<SseEvent>, SseFramer, B),
    ) where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: fmt::Display,
    {
        let (first, framer, body) = source;
        let mut tap = dialect.tap();
        for event in &first {
            tap.see(event);
        }
        let abandoned = Abandoned {
            exchange: self.exchange,
            tap,
            framer,
            source: Box::pin(body),
        };
        abandoned.read_on(self.drains.abort).await;
    }
}

/// Closes the exchange of a client that left in the middle of a stream.
pub(super) fn abandon(mut exchange: Exchange, estimate: bool) {
    let latency = exchange.time_to_first_event();
    exchange.close_attempt(&AttemptEnd {
        outcome: Outcome::Cancelled,
        estimate,
        verdict: Verdict::Success(latency),
    });
    exchange.close(Outcome::Cancelled, CLIENT_CLOSED_REQUEST);
}

/// What a stream has used, as far as it was seen. The provider's report counts as it stands when the
/// stream is complete, or when nothing was written since; otherwise the input (which some report at the
/// start) is kept, and the output since is estimated.
pub(super) fn usage_of(facts: &StreamFacts) -> Option<Usage> {
    let mut tokens = facts.usage?;
    let since = facts
        .output_bytes
        .saturating_sub(facts.output_bytes_at_usage);
    let all_output = super::estimated_tokens(facts.output_bytes);
    // A report that came before the end of a complete stream may be of the whole all the same.
    let is_current = since == 0 || (facts.complete() && tokens.all_output() >= all_output);
    if !is_current && facts.error.is_none() {
        tokens.output = tokens.output.saturating_add(super::estimated_tokens(since));
    }
    Some(Usage {
        tokens,
        reported: is_current || facts.error.is_some(),
    })
}

/// Holds a request's exchange while its handler runs. When the handler goes away with the client, the
/// exchange goes to whoever reads the answer on, if anybody does, and otherwise closes as cancelled.
#[derive(Debug)]
pub struct Keeper(Option<Exchange>);

impl Keeper {
    /// Keeps an exchange.
    pub const fn new(exchange: Exchange) -> Self {
        Self(Some(exchange))
    }

    /// The exchange.
    pub const fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        self.0.as_mut()
    }

    /// The exchange, which from now on looks after itself.
    pub fn release(mut self) -> Option<Exchange> {
        self.0.take()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(mut exchange) = self.0.take()
            && let Some(heir) = exchange.take_heir()
        {
            // Nobody there: the exchange comes back, and closes as cancelled.
            let _returned = heir.send(exchange);
        }
    }
}

/// Where a handler's exchange goes when the handler goes away.
pub type Heir = oneshot::Sender<Exchange>;
