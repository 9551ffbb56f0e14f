//! What a dialect finds in an upstream's answer, in terms that every dialect shares.

use crate::types::{ServiceTier, Span, Tokens};

/// A usage report as it stands in a body or in an event's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageReport {
    /// The counts in disjoint classes; `None` when the object has no count that we can read.
    pub tokens: Option<Tokens>,
    /// The usage object, braces included.
    pub object: Span,
    /// The value of its `cost`, when the upstream wrote one.
    pub cost: Option<Span>,
    /// The service tier that it names (Anthropic does so here).
    pub service_tier: Option<ServiceTier>,
}

/// How the choices of an answer ended: the union over all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finish {
    /// Some choice gave a reason: the answer is complete.
    pub seen: bool,
    /// Some choice was cut by the output cap.
    pub truncated: bool,
    /// Some choice was withheld or cut by the provider's content filter.
    pub content_filter: bool,
    /// Some choice ended because the provider failed.
    pub error: bool,
}

/// An error object of an upstream. Its texts are the upstream's own: for deciding and for debug
/// logs, not for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorReport {
    /// `message`, at most 1 KiB of it.
    pub message: String,
    /// `type`.
    pub error_type: Option<String>,
    /// `code`, a number written out.
    pub code: Option<String>,
    /// `param`.
    pub param: Option<String>,
    /// True when the whole is exactly the dialect's error envelope, so that it can be handed on.
    pub enveloped: bool,
}

/// What a whole answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseFacts {
    /// The usage report.
    pub usage: Option<UsageReport>,
    /// The name that the upstream says it served with.
    pub model: Option<String>,
    /// The service tier that the upstream says it served at.
    pub service_tier: Option<ServiceTier>,
    /// How the choices ended.
    pub finish: Finish,
    /// How many choices there are (embeddings: vectors).
    pub choices: u32,
    /// True when a choice calls tools.
    pub tool_calls: bool,
    /// Bytes of generated text, reasoning and tool arguments: to estimate by when usage is missing.
    pub output_bytes: u64,
    /// The error object, when the answer is one.
    pub error: Option<ErrorReport>,
}

/// What a stream has said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFacts {
    /// The counts of the last usage report (they are cumulative, so the last one wins).
    pub usage: Option<Tokens>,
    /// What `output_bytes` was when that report came: what was written since is not in it.
    pub output_bytes_at_usage: u64,
    /// The service tier that the upstream says it serves at; the last word counts.
    pub service_tier: Option<ServiceTier>,
    /// The answer's id.
    pub id: Option<String>,
    /// When the upstream says the answer was created, seconds since the Unix epoch.
    pub created: Option<u64>,
    /// The name that the upstream says it serves with.
    pub model: Option<String>,
    /// How the choices ended.
    pub finish: Finish,
    /// How many events gave a finish reason: one per choice.
    pub finished: u32,
    /// The end marker (`[DONE]`) has been seen.
    pub done: bool,
    /// True when a choice calls tools.
    pub tool_calls: bool,
    /// Bytes of generated text, reasoning and tool arguments.
    pub output_bytes: u64,
    /// An error that arrived inside the stream.
    pub error: Option<ErrorReport>,
    /// Events whose data was not of the dialect.
    pub malformed: u32,
}

impl StreamFacts {
    /// True once the answer is complete: a finish reason or the end marker was seen, and no error
    /// (some upstreams report one as a finish reason).
    /// The end marker alone is not required: some upstreams never send it.
    #[must_use]
    pub const fn complete(&self) -> bool {
        (self.finish.seen || self.done) && !self.finish.error && self.error.is_none()
    }
}

/// What one event of a stream is, by what the proxy does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A part of the answer, with this many bytes of text (0: a role or a finish reason only).
    Content {
        /// Bytes of text, reasoning and tool arguments.
        bytes: u32,
    },
    /// Carries a usage report. Its spans point into the event's data.
    Usage {
        /// The report.
        report: UsageReport,
        /// True when it carries nothing else, so that it can be withheld from a client that did
        /// not ask for it.
        alone: bool,
    },
    /// The end marker.
    Done,
    /// An error object.
    Error,
    /// No data: a comment, a keep-alive.
    Comment,
    /// Data of the dialect that is none of these.
    Other,
    /// Data that is not of the dialect.
    Malformed,
}

impl EventKind {
    /// True for what is part of the answer itself: once it has been forwarded, no other model can
    /// take over.
    #[must_use]
    pub const fn carries_answer(self) -> bool {
        matches!(
            self,
            Self::Content { .. } | Self::Usage { alone: false, .. }
        )
    }
}

/// The body is no answer of the dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's answer is not of its dialect: {reason}")]
pub struct NotADialect {
    /// What is wrong with it; never quotes it.
    pub reason: String,
    /// What it says was used all the same.
    pub tokens: Option<Tokens>,
}
