//! Rate limits (requests by GCRA, tokens in cells that reserve and settle) and concurrency permits.

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
