//! Which of the process's serving threads this is. Each of them has a runtime of its own, and what is
//! kept by lane (connections to upstreams) is used by the thread whose runtime drives it: no request has to
//! wake another thread.

use std::cell::Cell;

thread_local! {
    static LANE: Cell<usize> = const { Cell::new(0) };
}

/// Makes the calling thread serve in this lane, counted from 0. Once, before it serves.
pub fn enter(lane: usize) {
    LANE.set(lane + 1);
}

/// Where what is kept by lane lies: a number of its own for each lane, 0 for all threads without one.
#[must_use]
pub fn place() -> usize {
    LANE.get()
}
