//! Events on their way to the people who wait for them: the log, a metric, the dashboard, webhooks.
//!
//! Beside the request: whoever raises an event hands it to [`Events`], which never waits, and goes on.
//! [`Channel`] carries it to each webhook that asked for its kind, signed, one at a time, again until
//! it is taken or too old. A receiver that is slow, dead or hostile delays nobody but itself. Uses
//! the vocabulary and the state; knows nothing of phases.

mod channel;
mod endpoint;
mod events;
mod limit;
mod send;
mod signature;

pub use channel::{Channel, OUTBOX, Params, resume};
pub use events::{Events, Receiver};
pub use send::{Answer, DeliveryError, Sender};
pub use signature::sign;
