//! What feeds the policies, beside the request: rewards from how a request ended and from what its
//! sender says about it afterwards.
//!
//! Reads finished records, writes bandit arms. Never on a request's way: what happens here can delay
//! nobody. Idempotent by the ledger, which says whether an opinion is new, the same or a change.

mod feedback;
mod reward;
#[cfg(test)]
mod tests;

pub use feedback::{ReceivedFeedback, parse_feedback};
pub use reward::{apply_feedback, implicit, observe_outcome};
