//! The framings: how events are cut out of a byte stream. A framing knows nothing of what the
//! events mean.

pub mod aws_eventstream;
pub mod sse;
