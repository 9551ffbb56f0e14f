//! What can be limited, by how much, and how a refusal says so.

use std::fmt;
use std::time::Duration;

use crate::types::{KeyId, ModelId, ProviderId, TeamId};

use super::tokens::TokenRate;

/// Limits of one scope (global, key, team, provider, model); `None`: unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitParams {
    /// Requests per minute.
    pub requests_per_minute: Option<u32>,
    /// Requests that may come at once; a tenth of the rate unless set, at least 1.
    pub burst_requests: Option<u32>,
    /// Tokens per minute, input and output.
    pub tokens_per_minute: Option<u64>,
    /// Tokens that may be reserved at once; the whole rate unless set.
    pub burst_tokens: Option<u64>,
    /// Requests in flight.
    pub concurrent: Option<u32>,
}

impl LimitParams {
    /// The rate of the tokens; `None`: unlimited.
    pub(super) fn token_rate(&self) -> Option<TokenRate> {
        let per_minute = self.tokens_per_minute?;
        let burst = self.burst_tokens.unwrap_or(per_minute).max(1);
        Some(TokenRate { per_minute, burst })
    }
}

/// What a limit is a limit of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All requests.
    Global,
    /// A virtual key.
    Key(KeyId),
    /// A team.
    Team(TeamId),
    /// An API account.
    Provider(ProviderId),
    /// A model.
    Model(ModelId),
}

impl Scope {
    /// The label of `tollgate_rate_limited_total`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Key(_) => "key",
            Self::Team(_) => "team",
            Self::Provider(_) => "provider",
            Self::Model(_) => "model",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("this proxy"),
            Self::Key(id) => write!(f, "key `{id}`"),
            Self::Team(id) => write!(f, "team `{id}`"),
            Self::Provider(id) => write!(f, "provider `{id}`"),
            Self::Model(id) => write!(f, "model `{id}`"),
        }
    }
}

/// Which of a scope's limits was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Requests in flight.
    Concurrency,
    /// The upstream's own limit, learned from its 429.
    Upstream,
}

impl LimitKind {
    /// The label of `tollgate_rate_limited_total`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrency => "concurrency",
            Self::Upstream => "upstream",
        }
    }
}

/// A limit that was reached. Nothing was taken from any scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// Whose limit.
    pub scope: Scope,
    /// Which of its limits.
    pub kind: LimitKind,
    /// The limit as configured; 0 for an upstream's, which we do not know.
    pub limit: u64,
    /// What was asked for: 1 for requests, else tokens.
    pub asked: u64,
    /// When it would pass, as things stand; `None`: never, for it is more than a whole minute's.
    pub retry_after: Option<Duration>,
    /// True when the limit is shared by replicas and this one may get more within moments.
    pub lease_short: bool,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scope,
            limit,
            asked,
            ..
        } = self;
        match (self.kind, self.retry_after) {
            (LimitKind::Requests, _) => {
                write!(f, "{scope} is limited to {limit} requests per minute")
            }
            (LimitKind::Tokens, Some(_)) => {
                write!(
                    f,
                    "{scope} is limited to {limit} tokens per minute; this request may need {asked}"
                )
            }
            (LimitKind::Tokens, None) => {
                write!(
                    f,
                    "this request may need {asked} tokens, more than the {limit} per minute that {scope} is limited to; send less or lower `max_tokens`"
                )
            }
            (LimitKind::Concurrency, _) => {
                write!(f, "{scope} is limited to {limit} requests at once")
            }
            (LimitKind::Upstream, _) => {
                write!(f, "{scope} is at a rate limit of its own upstream")
            }
        }
    }
}

impl std::error::Error for Limited {}
