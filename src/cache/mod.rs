//! Answers that were given before: exact (the same request of the same tenant) with single flight
//! for identical requests in flight, answers by idempotency key, and canned answers from templates.
//!
//! Errors never get in, truncated answers and tool calls only by idempotency key; the tenant is part of the key, not a filter.

mod exact;
mod fingerprint;
mod flight;
mod key;
mod repeats;
mod template;

pub use exact::{ExactCache, Found, Stored, StoredForm};
pub use fingerprint::FingerprintKey;
pub use flight::{Flight, Flights, Leader, Outcome as FlightOutcome, wait};
pub use key::{CacheKey, key_of};
pub use repeats::{Keeper, Repeat, Repeats, Reused, ended};
pub use template::{Expanded, expand};
