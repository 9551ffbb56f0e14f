//! What replicas share while they run: leases on budgets and limits, hints, learned statistics, keys.
//!
//! [`SharedStore`] is the trait; `memory` is its plainest implementation, for several replicas in one
//! process, and the model that `contract` tests hold every other one to. Nothing here is on a request's
//! way: callers are background tasks, and every call is bounded in time.

mod board;
mod bucket;
mod memory;
mod pot;

use futures_util::future::BoxFuture;

use crate::types::{DrawCall, DrawReply, LeaseCall, LeaseReply, Replica};

pub use self::board::{Post, Posted, SharedBoard, StoredKeys};
pub use self::memory::SharedMemory;

/// How long a replica may be silent before its leases on rates and places are free for others, and
/// those on money count as stranded. Several missed calls, so that one slow answer changes nothing.
pub const LEASE_TTL_MS: i64 = 3_000;
/// How long a store that is young or has forgotten grants no money, so that everyone who holds some
/// can say so first: several times the interval at which replicas call.
pub const RECOVERY_MS: i64 = 1_500;

/// Why the shared store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SharedError {
    /// It cannot be reached, or did not answer in time. What was asked may have been done.
    #[error("the shared store is away: {0}")]
    Away(String),
    /// It answers, but will not do this: wrong password, read-only, out of memory.
    #[error("the shared store refuses: {0}")]
    Refused(String),
    /// It answered something that is no answer of ours.
    #[error("the shared store holds something else under our names: {0}")]
    Garbled(String),
}

/// A store that several replicas talk to.
pub trait SharedStore: Send + Sync + std::fmt::Debug {
    /// Says how this replica's leases stand and asks for others; the answers come in the calls' order.
    /// Each pot is one atomic step; the calls together are not.
    ///
    /// # Errors
    /// The calls may or may not have been counted then; the next ones, with a greater `seq`, put
    /// everything right.
    ///
    /// # Cancel safety
    /// As with an error.
    fn lease<'a>(
        &'a self,
        replica: &'a Replica,
        calls: &'a [LeaseCall],
    ) -> BoxFuture<'a, Result<Vec<LeaseReply>, SharedError>>;

    /// Draws from shared rates; the answers come in the calls' order.
    ///
    /// # Errors
    /// What was drawn may be lost then, and comes back with time.
    ///
    /// # Cancel safety
    /// As with an error.
    fn draw<'a>(
        &'a self,
        replica: &'a Replica,
        calls: &'a [DrawCall],
    ) -> BoxFuture<'a, Result<Vec<DrawReply>, SharedError>>;
}
