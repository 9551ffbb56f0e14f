//! Single flight: of identical requests at the same time one, the leader, goes upstream; the others
//! wait for its answer. A leader that leaves does not take them along: one of them leads next.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::watch;

use super::key::CacheKey;

/// How a leader's flight ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Still under way.
    Pending,
    /// The answer is in the cache now.
    Stored,
    /// There is an answer or an error, but not one to share: everyone goes for himself.
    NotShared,
    /// The leader left before it had an answer.
    Abandoned,
}

/// Requests under way by key.
#[derive(Debug, Clone, Default)]
pub struct Flights {
    under_way: Arc<Mutex<FxHashMap<CacheKey, watch::Receiver<Outcome>>>>,
}

/// What a request does about its key.
#[derive(Debug)]
pub enum Flight {
    /// Goes upstream; others may wait for it.
    Lead(Leader),
    /// Waits for the leader's outcome.
    Follow(watch::Receiver<Outcome>),
}

/// The leader's duty to tell how it ended; Drop says that it left.
#[derive(Debug)]
pub struct Leader {
    flights: Flights,
    key: CacheKey,
    outcome: watch::Sender<Outcome>,
}

impl Flights {
    /// Leads when nobody does, else follows.
    pub fn join(&self, key: CacheKey) -> Flight {
        let mut under_way = self.under_way.lock();
        if let Some(receiver) = under_way.get(&key) {
            return Flight::Follow(receiver.clone());
        }
        let (outcome, receiver) = watch::channel(Outcome::Pending);
        under_way.insert(key, receiver);
        Flight::Lead(Leader {
            flights: self.clone(),
            key,
            outcome,
        })
    }
}

impl Leader {
    /// Ends the flight; followers wake with this outcome.
    pub fn land(self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&self, outcome: Outcome) {
        self.flights.under_way.lock().remove(&self.key);
        self.outcome.send_if_modified(|current| {
            let pending = *current == Outcome::Pending;
            if pending {
                *current = outcome;
            }
            pending
        });
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // After `land` the key may belong to a new leader: only an unfinished flight is removed here.
        if *self.outcome.borrow() == Outcome::Pending {
            self.end(Outcome::Abandoned);
        }
    }
}

/// Waits for the leader; a leader that vanished counts as having left.
pub async fn wait(mut receiver: watch::Receiver<Outcome>) -> Outcome {
    match receiver
        .wait_for(|outcome| *outcome != Outcome::Pending)
        .await
    {
        Ok(outcome) => *outcome,
        Err(_) => Outcome::Abandoned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_leader_that_leaves_lets_another_lead() {
        let flights = Flights::default();
        let Flight::Lead(leader) = flights.join([1; 32]) else {
            panic!("the first leads")
        };
        let Flight::Follow(receiver) = flights.join([1; 32]) else {
            panic!("the second follows")
        };
        drop(leader);
        assert_eq!(wait(receiver).await, Outcome::Abandoned);
        assert!(matches!(flights.join([1; 32]), Flight::Lead(_)));
    }

    #[tokio::test]
    async fn followers_hear_how_the_leader_landed() {
        let flights = Flights::default();
        let Flight::Lead(leader) = flights.join([2; 32]) else {
            panic!("the first leads")
        };
        let Flight::Follow(receiver) = flights.join([2; 32]) else {
            panic!("the second follows")
        };
        leader.land(Outcome::Stored);
        assert_eq!(wait(receiver).await, Outcome::Stored);
    }
}
