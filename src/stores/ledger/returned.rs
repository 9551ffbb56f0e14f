//! Records that are stored, on their way back to the threads that made them.
//!
//! A record has some forty pieces of memory. Whoever frees what another thread has allocated makes both touch
//! memory that the other's cache holds, so the writer hands records back, and each thread frees a few of its
//! own with each one that it commits.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::types::RequestRecord;

/// Threads beyond these share.
const PLACES: usize = 64;
/// What waits for a thread that commits nothing more is bounded: some megabyte.
const MOST_WAITING: usize = 256;
/// Freed with each commit: more than come.
const FREED_AT_ONCE: usize = 2;

/// The calling thread's place.
pub(super) fn place() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    PLACE.get().unwrap_or_else(|| {
        let place = THREADS.fetch_add(1, Ordering::Relaxed) % PLACES;
        PLACE.set(Some(place));
        place
    })
}

/// What waits to be freed, by thread.
pub(super) struct Returned([Mutex<Vec<Arc<RequestRecord>>>; PLACES]);

impl Default for Returned {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Returned {
    /// Hands a record back. Where too many wait it is freed here.
    pub fn give(&self, place: usize, record: Arc<RequestRecord>) {
        let mut waiting = self.0[place % PLACES].lock();
        if waiting.len() < MOST_WAITING {
            waiting.push(record);
        }
    }

    /// Frees some of the calling thread's own.
    pub fn free_some(&self) {
        let mut waiting = self.0[place()].lock();
        let kept = waiting.len().saturating_sub(FREED_AT_ONCE);
        let freed: smallvec::SmallVec<[_; FREED_AT_ONCE]> = waiting.drain(kept..).collect();
        drop(waiting);
        drop(freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::sample::record;

    #[test]
    fn a_thread_frees_its_own_and_few_wait() {
        let returned = Returned::default();
        let own = Arc::new(record("req_1"));
        for _ in 0..3 {
            returned.give(place(), Arc::clone(&own));
        }
        let foreign = std::thread::spawn(place).join().expect("a place");
        for _ in 0..2 * MOST_WAITING {
            returned.give(foreign, Arc::clone(&own));
        }
        assert_eq!(Arc::strong_count(&own), 1 + 3 + MOST_WAITING);
        returned.free_some();
        returned.free_some();
        returned.free_some();
        assert_eq!(Arc::strong_count(&own), 1 + MOST_WAITING);
    }
}
