//! What can go wrong with a request, and ONE table of how it looks from outside.
//!
//! Constructing an error has no side effect; it is logged once, where the exchange closes.

use std::time::Duration;

use http::StatusCode;

use crate::types::Outcome;

/// The kinds of failure that a client can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is malformed or asks for what cannot be.
    InvalidRequest,
    /// No or a wrong key.
    InvalidApiKey,
    /// The key may not use this model.
    ModelNotAllowed,
    /// No such model.
    ModelNotFound,
    /// No such resource (path, request id).
    NotFound,
    /// The path exists but not with this method.
    MethodNotAllowed,
    /// The body is larger than the cap.
    RequestTooLarge,
    /// The head is larger than the cap.
    HeadersTooLarge,
    /// The request waited too long for its own head or body.
    RequestTimeout,
    /// A rate or concurrency limit.
    RateLimitExceeded,
    /// A budget cannot pay for it.
    BudgetExceeded,
    /// Every upstream failed.
    UpstreamError,
    /// Every upstream was too slow.
    UpstreamTimeout,
    /// Nothing can serve it at the moment.
    NoCandidateAvailable,
    /// We are shedding load or draining.
    Overloaded,
    /// An `idempotency-key` that came with another body before.
    IdempotencyKeyReused,
    /// `previous_response_id` names nothing that is kept for this key.
    PreviousResponseNotFound,
    /// `only-if-cached`, and it is not (RFC 9111 §5.2.1.7).
    NotCached,
    /// A fault of our own.
    Internal,
}

/// How a kind looks from outside: one row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Presentation {
    /// The HTTP status.
    pub status: StatusCode,
    /// `error.type`.
    pub error_type: &'static str,
    /// `error.code`.
    pub code: &'static str,
    /// The record's and metrics' outcome.
    pub outcome: Outcome,
    /// Whether a client gains anything by trying again soon.
    pub retryable: bool,
}

impl ErrorKind {
    /// The one table: kind → status, type, code, outcome, retryable.
    #[must_use]
    #[allow(clippy::too_many_lines, reason = "one table, one row for each kind")]
    pub const fn presentation(self) -> Presentation {
        const fn row(
            status: StatusCode,
            error_type: &'static str,
            code: &'static str,
            outcome: Outcome,
            retryable: bool,
        ) -> Presentation {
            Presentation {
                status,
                error_type,
                code,
                outcome,
                retryable,
            }
        }
        use StatusCode as S;
        const INVALID: &str = "invalid_request_error";
        match self {
            Self::InvalidRequest => row(S::BAD_REQUEST, INVALID, INVALID, Outcome::Invalid, false),
            Self::InvalidApiKey => row(
                S::UNAUTHORIZED,
                "authentication_error",
                "invalid_api_key",
                Outcome::Denied,
                false,
            ),
            Self::ModelNotAllowed => row(
                S::FORBIDDEN,
                "permission_error",
                "model_not_allowed",
                Outcome::Denied,
                false,
            ),
            Self::ModelNotFound => row(
                S::NOT_FOUND,
                INVALID,
                "model_not_found",
                Outcome::Invalid,
                false,
            ),
            Self::NotFound => row(S::NOT_FOUND, INVALID, "not_found", Outcome::Invalid, false),
            Self::MethodNotAllowed => row(
                S::METHOD_NOT_ALLOWED,
                INVALID,
                "method_not_allowed",
                Outcome::Invalid,
                false,
            ),
            Self::HeadersTooLarge => row(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                INVALID,
                "headers_too_large",
                Outcome::Invalid,
                false,
            ),
            Self::RequestTooLarge => row(
                S::PAYLOAD_TOO_LARGE,
                INVALID,
                "request_too_large",
                Outcome::Invalid,
                false,
            ),
            Self::RequestTimeout => row(
                S::REQUEST_TIMEOUT,
                INVALID,
                "request_timeout",
                Outcome::Invalid,
                true,
            ),
            Self::RateLimitExceeded => row(
                S::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "rate_limit_exceeded",
                Outcome::RateLimited,
                true,
            ),
            Self::BudgetExceeded => row(
                S::TOO_MANY_REQUESTS,
                "insufficient_quota",
                "budget_exceeded",
                Outcome::Budget,
                false,
            ),
            Self::UpstreamError => row(
                S::BAD_GATEWAY,
                "api_error",
                "upstream_error",
                Outcome::UpstreamError,
                false,
            ),
            Self::UpstreamTimeout => row(
                S::GATEWAY_TIMEOUT,
                "api_error",
                "upstream_timeout",
                Outcome::Timeout,
                false,
            ),
            Self::NoCandidateAvailable => row(
                S::SERVICE_UNAVAILABLE,
                "api_error",
                "no_candidate_available",
                Outcome::Unavailable,
                true,
            ),
            Self::Overloaded => row(
                S::SERVICE_UNAVAILABLE,
                "api_error",
                "overloaded",
                Outcome::Unavailable,
                true,
            ),
            // draft-ietf-httpapi-idempotency-key-header-07 §2.7.
            Self::IdempotencyKeyReused => row(
                S::UNPROCESSABLE_ENTITY,
                INVALID,
                "idempotency_key_reused",
                Outcome::Invalid,
                false,
            ),
            // The status and code that OpenAI gives.
            Self::PreviousResponseNotFound => row(
                S::BAD_REQUEST,
                INVALID,
                "previous_response_not_found",
                Outcome::Invalid,
                false,
            ),
            Self::NotCached => row(
                S::GATEWAY_TIMEOUT,
                INVALID,
                "not_cached",
                Outcome::Invalid,
                false,
            ),
            Self::Internal => row(
                S::INTERNAL_SERVER_ERROR,
                "api_error",
                "internal_error",
                Outcome::Internal,
                false,
            ),
        }
    }
}

/// Whose fault it is; decides what the log says and whether the breaker hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The client's request.
    Client,
    /// Our limits, budgets or state.
    Gateway,
    /// A provider.
    Upstream,
}

/// An error on its way to the client.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ProxyError {
    /// What kind.
    pub kind: ErrorKind,
    /// Whose fault.
    pub origin: Origin,
    /// For people: what was wrong, where, what is allowed. Never an upstream's raw body, never a key.
    pub message: String,
    /// The request's field that is wrong, as `messages[2].content`.
    pub param: Option<String>,
    /// When trying again may help.
    pub retry_after: Option<Duration>,
    /// Overrides the table's `retryable` (`x-should-retry`).
    pub should_retry: Option<bool>,
    /// Which of our limits refused it: closed words, for the metrics.
    pub limit: Option<LimitRefusal>,
    /// An upstream's own client error (4xx) to hand on: its status and its error object, which we
    /// parsed and found to be one.
    pub upstream: Option<UpstreamRefusal>,
}

/// Which of our limits refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitRefusal {
    /// `global`, `key`, `team`, `provider` or `model`.
    pub scope: &'static str,
    /// `requests`, `tokens` or `concurrency`.
    pub kind: &'static str,
}

/// An upstream's own refusal of a bad request, in the client's dialect.
#[derive(Debug, Clone)]
pub struct UpstreamRefusal {
    /// The upstream's status.
    pub status: StatusCode,
    /// The upstream's body, an error object of the client's dialect.
    pub body: bytes::Bytes,
}

impl ProxyError {
    /// An error of this kind; the origin follows from it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let origin = match kind {
            ErrorKind::UpstreamError | ErrorKind::UpstreamTimeout => Origin::Upstream,
            ErrorKind::RateLimitExceeded
            | ErrorKind::BudgetExceeded
            | ErrorKind::NoCandidateAvailable
            | ErrorKind::Overloaded
            | ErrorKind::Internal => Origin::Gateway,
            _ => Origin::Client,
        };
        Self {
            kind,
            origin,
            message: message.into(),
            param: None,
            retry_after: None,
            should_retry: None,
            limit: None,
            upstream: None,
        }
    }

    /// A malformed request; `param` names the field.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::InvalidRequest, message);
        let param = param.into();
        error.param = (!param.is_empty()).then_some(param);
        error
    }

    /// Says when to come back.
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Says whether an SDK should retry by itself.
    #[must_use]
    pub const fn with_should_retry(mut self, should: bool) -> Self {
        self.should_retry = Some(should);
        self
    }

    /// The table's row for this error.
    #[must_use]
    pub const fn presentation(&self) -> Presentation {
        self.kind.presentation()
    }
}
