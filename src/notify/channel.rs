//! From the one queue of events to each webhook's own: who wants which kind is asked of the
//! configuration in force, so a reload changes it at once.
//!
//! Durable kinds are written to the outbox in the notebook before they are sent and struck out when
//! every receiver is done with them; what an earlier process left there is sent again with its old id.
//! So such an event reaches each receiver at least once, and the id tells a repetition.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::endpoint::{Delivery, Endpoint};
use super::events::{Events, Receiver};
use super::send::Sender;
use crate::clock::Clock;
use crate::config::snapshot::{AlertParams, WebhookParams};
use crate::stores::{LedgerError, Note, Notebook};
use crate::telemetry::Metrics;
use crate::types::Event;

/// The notebook's topic for events under way; the key is the event's id.
pub const OUTBOX: &str = "outbox";

/// Asks for the alerts of the configuration in force.
pub type Params = Arc<dyn Fn() -> Arc<AlertParams> + Send + Sync>;

/// What the tasks of the channel share.
pub(super) struct Shared {
    pub params: Params,
    pub sender: Sender,
    pub metrics: Metrics,
    pub clock: Clock,
    pub drain: CancellationToken,
    notebook: Arc<Notebook>,
    tasks: TaskTracker,
}

/// Which receivers of a durable event are not done with it.
#[derive(Debug)]
pub(super) struct Ticket {
    id: String,
    open: AtomicUsize,
}

impl Shared {
    /// A webhook of the configuration in force.
    pub fn webhook(&self, name: &str) -> Option<WebhookParams> {
        let params = (self.params)();
        params.webhooks.iter().find(|it| it.name == name).cloned()
    }

    /// One receiver is done; the last one strikes the event out.
    pub fn settle(&self, ticket: &Ticket) {
        if ticket.open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let (notebook, id) = (Arc::clone(&self.notebook), ticket.id.clone());
        self.tasks.spawn_blocking(move || {
            if let Err(error) = notebook.remove(OUTBOX, &id) {
                tracing::warn!(%error, id, "a delivered event stays in the outbox and will be sent again");
            }
        });
    }
}

/// Raises again what an earlier process left in the outbox. For the start, before anything else is
/// raised.
///
/// # Errors
/// When the outbox cannot be read.
pub fn resume(events: &Events, notebook: &Notebook) -> Result<(), LedgerError> {
    for note in notebook.all(OUTBOX)? {
        match serde_json::from_str(&note.text) {
            Ok(event) => events.resume(event),
            // Of another version; nobody could deliver it.
            Err(_) => notebook.remove(OUTBOX, &note.key)?,
        }
    }
    Ok(())
}

/// The running channel.
pub struct Channel {
    shared: Arc<Shared>,
}

impl Channel {
    /// Starts carrying events; `None` when they are carried already.
    #[must_use]
    pub fn start(
        events: &Events,
        params: Params,
        notebook: Arc<Notebook>,
        (metrics, clock): (Metrics, Clock),
    ) -> Option<Self> {
        let receiver = events.receiver()?;
        let shared = Arc::new(Shared {
            params,
            sender: Sender::default(),
            metrics,
            clock,
            drain: CancellationToken::new(),
            notebook,
            tasks: TaskTracker::new(),
        });
        let carrying = carry(Arc::clone(&shared), receiver);
        shared.tasks.spawn(carrying);
        Some(Self { shared })
    }

    /// Gives what waits one more try each, for at most `patience`. Events that are raised after this
    /// are not delivered.
    pub async fn stop(self, patience: Duration) {
        self.shared.drain.cancel();
        self.shared.tasks.close();
        let all = tokio::time::timeout(patience, self.shared.tasks.wait()).await;
        if all.is_err() {
            tracing::warn!(
                "stopping while a webhook has not answered; durable events are sent at the next start"
            );
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

async fn carry(shared: Arc<Shared>, mut receiver: Receiver) {
    let mut endpoints: IndexMap<String, Arc<Endpoint>> = IndexMap::new();
    loop {
        let next = tokio::select! {
            biased;
            event = receiver.recv() => event,
            () = shared.drain.cancelled() => receiver.try_recv().ok(),
        };
        let Some(event) = next else {
            break;
        };
        hand_over(&shared, &mut endpoints, event).await;
    }
    for endpoint in endpoints.values() {
        endpoint.close();
    }
}

/// Puts an event into the queue of everybody who wants it.
async fn hand_over(
    shared: &Arc<Shared>,
    endpoints: &mut IndexMap<String, Arc<Endpoint>>,
    event: Event,
) {
    let params = (shared.params)();
    // A removed webhook's task ends, and its queue with it.
    endpoints.retain(|name, endpoint| {
        let stays = params.webhooks.iter().any(|it| it.name == *name);
        if !stays {
            endpoint.close();
        }
        stays
    });
    let wanted: Vec<&WebhookParams> = params
        .webhooks
        .iter()
        .filter(|webhook| webhook.events.contains(&event.kind))
        .collect();
    let ticket = event.kind.is_durable().then(|| {
        Arc::new(Ticket {
            id: event.id.clone(),
            // One more for this function, so that nobody strikes it out before all have it.
            open: AtomicUsize::new(wanted.len() + 1),
        })
    });
    if ticket.is_some() && !wanted.is_empty() {
        keep(shared, &event).await;
    }
    let body: Arc<str> = event.body().into();
    let event = Arc::new(event);
    for webhook in wanted {
        let endpoint = endpoints.entry(webhook.name.clone()).or_insert_with(|| {
            let endpoint = Arc::new(Endpoint::new(&webhook.name));
            let running = Arc::clone(&endpoint).run(Arc::clone(shared));
            shared.tasks.spawn(running);
            endpoint
        });
        let delivery = Delivery {
            event: Arc::clone(&event),
            body: Arc::clone(&body),
            ticket: ticket.clone(),
        };
        endpoint.push(shared, delivery);
    }
    if let Some(ticket) = ticket {
        shared.settle(&ticket);
    }
}

/// Writes a durable event to the outbox. Failing that it is sent all the same.
async fn keep(shared: &Shared, event: &Event) {
    let note = Note {
        topic: OUTBOX,
        key: event.id.clone(),
        text: serde_json::to_string(event).unwrap_or_default(),
        at_ms: event.at_ms,
    };
    let notebook = Arc::clone(&shared.notebook);
    let kept = tokio::task::spawn_blocking(move || notebook.put(&[note])).await;
    if let Ok(Err(error)) = kept {
        tracing::warn!(%error, id = event.id, "an event could not be written to the outbox; a restart would lose it");
    }
}
