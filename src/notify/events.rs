//! Where events are raised. Never waits: a look at the rate limit under a short lock, a line in the
//! log, a count, a push into a bounded queue.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::limit::Limiter;
use crate::clock::Clock;
use crate::telemetry::Metrics;
use crate::types::{Event, EventKind, Severity};

/// Events that wait to be handed to the webhooks' own queues: a burst, not a backlog.
const QUEUE: usize = 1024;
/// Events that the dashboard can show.
const RECENT: usize = 50;

/// The end of the queue that [`super::Channel`] reads.
pub type Receiver = mpsc::Receiver<Event>;

/// Takes events from anywhere in the process.
#[derive(Debug)]
pub struct Events {
    clock: Clock,
    metrics: Metrics,
    limiter: Mutex<Limiter>,
    recent: Mutex<VecDeque<Event>>,
    queue: mpsc::Sender<Event>,
    receiver: Mutex<Option<Receiver>>,
}

impl Events {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        Self {
            clock,
            metrics,
            limiter: Mutex::default(),
            recent: Mutex::default(),
            queue,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// Tells of an event unless one like it was told within the interval; then it is held back,
    /// counted, and the last of its kind and subject follows when the interval ends.
    pub fn raise(&self, event: Event, min_interval: Duration) {
        let kind = event.kind;
        let admitted = self
            .limiter
            .lock()
            .admit(event, self.clock.unix_ms(), min_interval);
        match admitted {
            Some(event) => self.announce(event),
            None => self.metrics.alert_suppressed(kind.as_str()),
        }
    }

    /// Tells of what was held back and whose time has come.
    pub fn release_due(&self, min_interval: Duration) {
        let due = self.limiter.lock().due(self.clock.unix_ms(), min_interval);
        for event in due {
            self.announce(event);
        }
    }

    /// Tells of an event without looking at the rate limit: for what cannot repeat itself.
    pub fn announce(&self, event: Event) {
        log(&event);
        self.metrics.alerted(event.kind.as_str());
        let mut recent = self.recent.lock();
        recent.truncate(RECENT - 1);
        recent.push_front(event.clone());
        drop(recent);
        self.resume(event);
    }

    /// Sends an event on that was told already, by an earlier process.
    pub fn resume(&self, event: Event) {
        if self.queue.try_send(event).is_err() {
            self.metrics.alert_delivery("all", "dropped");
        }
    }

    /// The last events, newest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Event> {
        self.recent.lock().iter().cloned().collect()
    }

    /// The queue's other end; `None` when it is taken already.
    #[must_use]
    pub fn receiver(&self) -> Option<Receiver> {
        self.receiver.lock().take()
    }
}

/// One line per event, target `tollgate::alerts`.
fn log(event: &Event) {
    let Event {
        id,
        kind,
        subject,
        text,
        suppressed,
        ..
    } = event;
    let kind = EventKind::as_str(*kind);
    match event.severity {
        Severity::Info => {
            tracing::info!(target: "tollgate::alerts", event = kind, %subject, %id, suppressed, "{text}");
        }
        Severity::Warning => {
            tracing::warn!(target: "tollgate::alerts", event = kind, %subject, %id, suppressed, "{text}");
        }
        Severity::Critical => {
            tracing::error!(target: "tollgate::alerts", event = kind, %subject, %id, suppressed, "{text}");
        }
    }
}
