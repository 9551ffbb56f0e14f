//! One webhook: its own bounded queue and one task that empties it, oldest first. A delivery that
//! failed goes to the end of the queue and the task pauses, longer with each failure in a row; one that
//! is taken ends the pauses. So a dead receiver costs one try now and then, a receiver that is back
//! hears of everything at once, and one event that it cannot stomach does not hold the others up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::channel::{Shared, Ticket};
use super::send::DeliveryError;
use crate::config::snapshot::WebhookParams;
use crate::runtime::{RetryParams, backoff};
use crate::types::Event;

/// Events that wait for one receiver. Beyond it the oldest goes: how things stand now matters more.
const QUEUE: usize = 256;

/// An event on its way to one receiver.
#[derive(Debug)]
pub(super) struct Delivery {
    pub event: Arc<Event>,
    pub body: Arc<str>,
    pub ticket: Option<Arc<Ticket>>,
}

/// What the task of a webhook works on.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub name: String,
    waiting: Mutex<VecDeque<Delivery>>,
    wake: Notify,
    /// Nothing more will come.
    closed: AtomicBool,
}

impl Endpoint {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            waiting: Mutex::default(),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Puts a delivery at the end of the queue.
    pub fn push(&self, shared: &Shared, delivery: Delivery) {
        let mut waiting = self.waiting.lock();
        let oldest = if waiting.len() >= QUEUE {
            waiting.pop_front()
        } else {
            None
        };
        waiting.push_back(delivery);
        let count = waiting.len();
        drop(waiting);
        shared.metrics.alert_queue(&self.name, count);
        if let Some(dropped) = oldest {
            self.give_up(shared, dropped, "dropped");
        }
        self.wake.notify_one();
    }

    /// Lets the task end once its queue is empty.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Delivers until the webhook is gone from the file, or until the drain has given everything
    /// that waits one more try.
    pub async fn run(self: Arc<Self>, shared: Arc<Shared>) {
        let mut failures = 0;
        while let Some(delivery) = self.next(&shared).await {
            let Some(params) = shared.webhook(&self.name) else {
                self.give_up(&shared, delivery, "removed");
                continue;
            };
            let posted = shared
                .sender
                .post(
                    &params,
                    (&delivery.event.id, &delivery.body),
                    shared.clock.unix_ms(),
                )
                .await;
            match posted {
                Ok(_) => {
                    shared.metrics.alert_delivery(&self.name, "delivered");
                    if std::mem::take(&mut failures) > 0 {
                        tracing::info!(webhook = self.name, "the webhook takes events again");
                    }
                    settle(&shared, delivery);
                }
                Err(error) => {
                    shared.metrics.alert_delivery(&self.name, error.label());
                    self.complain(failures, &delivery, &error);
                    failures += 1;
                    let pause = pause(failures, &params, error.retry_after());
                    self.put_back(&shared, delivery, &params, &error);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = shared.drain.cancelled() => {}
                    }
                }
            }
            shared
                .metrics
                .alert_queue(&self.name, self.waiting.lock().len());
        }
    }

    /// The next delivery; waits for one. `None` when no more will come.
    async fn next(&self, shared: &Shared) -> Option<Delivery> {
        loop {
            let woken = self.wake.notified();
            if let Some(delivery) = self.waiting.lock().pop_front() {
                return Some(delivery);
            }
            if self.closed.load(Ordering::Relaxed) || shared.webhook(&self.name).is_none() {
                return None;
            }
            woken.await;
        }
    }

    /// A failed delivery goes to the end of the queue, unless it is too old, not wanted any more, or
    /// the process ends.
    fn put_back(
        &self,
        shared: &Shared,
        delivery: Delivery,
        params: &WebhookParams,
        error: &DeliveryError,
    ) {
        let age_ms = shared.clock.unix_ms() - delivery.event.at_ms;
        let too_old = age_ms >= millis(params.give_up_after);
        if too_old || error.is_final() {
            self.give_up(shared, delivery, "given_up");
        } else if shared.drain.is_cancelled() {
            // What is durable stays in the outbox, for the next start.
            shared.metrics.alert_delivery(&self.name, "abandoned");
            tracing::warn!(
                webhook = self.name,
                event = delivery.event.kind.as_str(),
                id = delivery.event.id,
                kept = delivery.ticket.is_some(),
                "stopping before the event was delivered"
            );
        } else {
            let mut waiting = self.waiting.lock();
            if waiting.len() < QUEUE {
                waiting.push_back(delivery);
            } else {
                drop(waiting);
                self.give_up(shared, delivery, "dropped");
            }
        }
    }

    fn give_up(&self, shared: &Shared, delivery: Delivery, outcome: &str) {
        shared.metrics.alert_delivery(&self.name, outcome);
        tracing::error!(
            webhook = self.name,
            event = delivery.event.kind.as_str(),
            id = delivery.event.id,
            outcome,
            "an event was not delivered"
        );
        settle(shared, delivery);
    }

    /// Says so once when a receiver begins to fail, and in detail for whoever looks closely.
    fn complain(&self, failures: u32, delivery: &Delivery, error: &DeliveryError) {
        if failures == 0 {
            tracing::warn!(webhook = self.name, id = delivery.event.id, %error, "an event could not be delivered; it will be tried again");
        } else {
            tracing::debug!(webhook = self.name, id = delivery.event.id, failures, %error, "an event could not be delivered");
        }
    }
}

/// The receiver is done with the event, for better or worse.
fn settle(shared: &Shared, delivery: Delivery) {
    if let Some(ticket) = delivery.ticket {
        shared.settle(&ticket);
    }
}

/// Full jitter over a bound that doubles, at least a tenth of the base so that a queue of failures
/// cannot spin; longer when the receiver asks for it, within the longest pause.
fn pause(failures: u32, params: &WebhookParams, retry_after: Option<Duration>) -> Duration {
    let retry = RetryParams {
        max_attempts: u32::MAX,
        budget_ratio: 1.0,
        min_per_second: 0.0,
        base_delay: params.retry_base,
        max_delay: params.retry_max,
        max_retry_after: params.retry_max,
    };
    backoff(failures, &retry, rand::random())
        .max(params.retry_base / 10)
        .max(retry_after.unwrap_or_default())
        .min(params.retry_max)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> WebhookParams {
        WebhookParams {
            name: "a".to_owned(),
            url: String::new().into(),
            key: None,
            events: Vec::new(),
            timeout: Duration::from_secs(1),
            retry_base: Duration::from_secs(1),
            retry_max: Duration::from_mins(5),
            give_up_after: Duration::from_hours(1),
            ca_file: None,
        }
    }

    #[test]
    fn pauses_grow_within_bounds() {
        let params = params();
        for failures in 1..64 {
            let pause = pause(failures, &params, None);
            assert!(pause >= Duration::from_millis(100) && pause <= params.retry_max);
        }
        let asked = pause(1, &params, Some(Duration::from_secs(30)));
        assert_eq!(asked, Duration::from_secs(30));
        let hostile = pause(1, &params, Some(Duration::from_hours(24)));
        assert_eq!(hostile, params.retry_max);
    }
}
