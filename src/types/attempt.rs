//! How one attempt at an upstream can fail, and what may follow.

use std::time::Duration;

use crate::error::UpstreamRefusal;

use super::record::Outcome;
use super::usage::Usage;

/// Whether another attempt may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same model may do better in a moment.
    Retry,
    /// Another model may do better.
    Fallback,
    /// Nobody will: the request itself is at fault.
    Stop,
}

/// A failed attempt. Nothing of it has reached the client.
#[derive(Debug, Clone)]
pub struct AttemptFailure {
    /// How it ended.
    pub outcome: Outcome,
    /// What may follow.
    pub next: Next,
    /// True when the upstream may have begun to work (and to bill).
    pub sent: bool,
    /// The upstream's status, when it sent one.
    pub status: Option<u16>,
    /// True when an answer had begun and broke off, so that the upstream may bill it.
    pub broke_off: bool,
    /// When the upstream wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Usage that the upstream reported in spite of the failure.
    pub usage: Option<Usage>,
    /// The upstream's own refusal of a bad request, for the client.
    pub refusal: Option<UpstreamRefusal>,
    /// For the log and for people; never an upstream's raw text.
    pub message: String,
}

impl AttemptFailure {
    /// A failure before anything was sent.
    pub fn unsent(outcome: Outcome, next: Next, message: impl Into<String>) -> Self {
        Self {
            outcome,
            next,
            sent: false,
            status: None,
            broke_off: false,
            retry_after: None,
            usage: None,
            refusal: None,
            message: message.into(),
        }
    }

    /// A failure after the request went out.
    pub fn sent(outcome: Outcome, next: Next, message: impl Into<String>) -> Self {
        Self {
            sent: true,
            ..Self::unsent(outcome, next, message)
        }
    }
}
