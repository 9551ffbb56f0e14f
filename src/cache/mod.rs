//! Answers that were given before: exact (the same request of the same tenant) with single flight
//! for identical requests in flight, and canned answers from templates.
//!
//! Errors, truncated answers and tool calls never get in; the tenant is part of the key, not a filter.

mod exact;
mod fingerprint;
mod flight;
mod key;
mod template;

pub use exact::{ExactCache, Found, Stored, StoredForm};
pub use fingerprint::FingerprintKey;
pub use flight::{Flight, Flights, Leader, Outcome as FlightOutcome, wait};
pub use key::{CacheKey, key_of};
pub use template::{Expanded, expand};
