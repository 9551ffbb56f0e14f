//! `resilience`

use schemars::JsonSchema;
use serde::Deserialize;

use super::WhenConfig;
use crate::types::Tier;

/// Breakers, retries, time-outs and what follows when a plan is spent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResilienceConfig {
    /// When a deployment is left alone for a while.
    pub breaker: BreakerConfig,
    /// When an attempt is repeated on the same model.
    pub retry: RetryConfig,
    /// How long things may take.
    pub timeouts: TimeoutsConfig,
    /// What follows when a plan is spent.
    pub fallback: FallbackConfig,
}

/// When a deployment is left alone for a while.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Length of the sliding window, seconds.
    #[schemars(range(min = 1, max = 3600))]
    pub window_seconds: u64,
    /// Share of failures in the window that opens it, 0..=1; a 429 counts here.
    #[schemars(range(min = 0.01, max = 1))]
    pub failure_rate: f64,
    /// Calls in the window before a share means anything.
    #[schemars(range(min = 1, max = 100_000))]
    pub min_requests: u32,
    /// Failures in a row that open it; a 429 does not count here.
    #[schemars(range(min = 1, max = 100_000))]
    pub consecutive_failures: u32,
    /// A call that takes longer to its first output is slow, milliseconds.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub slow_call_ms: u64,
    /// Share of slow calls in the window that opens it, 0..=1.
    #[schemars(range(min = 0.01, max = 1))]
    pub slow_rate: f64,
    /// How long it stays open the first time, seconds; doubles with each failed probe.
    #[schemars(range(min = 1, max = 3600))]
    pub open_seconds: u64,
    /// The longest that it stays open, seconds.
    #[schemars(range(min = 1, max = 86_400))]
    pub open_max_seconds: u64,
    /// Share of the open time that is added at random, 0..=1, so that replicas do not probe together.
    #[schemars(range(min = 0, max = 1))]
    pub jitter: f64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            // Polly's sampling time.
            window_seconds: 30,
            // resilience4j's.
            failure_rate: 0.5,
            // Model calls are few: with Envoy's 100 an outage would go unseen for minutes.
            min_requests: 10,
            // Envoy's `consecutive_5xx`.
            consecutive_failures: 5,
            // resilience4j's slow call.
            slow_call_ms: 60_000,
            // resilience4j's: only when every call is slow.
            slow_rate: 1.0,
            // Between Polly's 5 s and Envoy's 30 s: one probe costs little.
            open_seconds: 10,
            // Envoy's `max_ejection_time`.
            open_max_seconds: 300,
            // linkerd2-proxy's.
            jitter: 0.5,
        }
    }
}

/// When an attempt is repeated on the same model; only while nothing has reached the client.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Most attempts on one candidate, the first included; 1 means no retry.
    #[schemars(range(min = 1, max = 10))]
    pub max_attempts: u32,
    /// Retries as a share of requests, 0..=1, so that they cannot multiply an outage.
    #[schemars(range(min = 0, max = 1))]
    pub budget_ratio: f64,
    /// Retries per second that are allowed whatever the share, so that a quiet proxy can retry at all.
    #[schemars(range(min = 0, max = 1000))]
    pub min_per_second: f64,
    /// First delay, milliseconds; doubles, with full jitter.
    #[schemars(range(min = 0, max = 60_000))]
    pub base_delay_ms: u64,
    /// Longest delay, milliseconds.
    #[schemars(range(min = 0, max = 600_000))]
    pub max_delay_ms: u64,
    /// A provider's `retry-after` above this means the next candidate instead, seconds.
    #[schemars(range(min = 0, max = 3600))]
    pub max_retry_after_seconds: u64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            // SDKs send three attempts themselves, and there are further candidates.
            max_attempts: 2,
            // Finagle's and tower's.
            budget_ratio: 0.2,
            // A tenth of tower's: model calls are dear.
            min_per_second: 1.0,
            // Between the AWS SDKs' 50 ms and the OpenAI SDK's 500 ms.
            base_delay_ms: 200,
            // Longer, and the next candidate is the better answer.
            max_delay_ms: 2000,
            max_retry_after_seconds: 5,
        }
    }
}

/// How long things may take.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutsConfig {
    /// To connect to a provider, milliseconds.
    #[schemars(range(min = 1, max = 600_000))]
    pub connect_ms: u64,
    /// To a stream's first event, milliseconds.
    #[schemars(range(min = 1, max = 86_400_000))]
    pub first_event_ms: u64,
    /// To a whole answer (no stream), milliseconds.
    #[schemars(range(min = 1, max = 86_400_000))]
    pub response_ms: u64,
    /// Between two events of a stream, milliseconds.
    #[schemars(range(min = 1, max = 86_400_000))]
    pub idle_ms: u64,
    /// For the request with all its attempts, milliseconds.
    #[schemars(range(min = 1, max = 86_400_000))]
    pub total_ms: u64,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            // Envoy's is 5 s; a provider's edge answers within one.
            connect_ms: 3000,
            // Reasoning models think before they write.
            first_event_ms: 60_000,
            // Half of `total_ms`, so that another candidate still has a chance.
            response_ms: 300_000,
            // Reasoning models also pause in mid-stream.
            idle_ms: 60_000,
            // The OpenAI SDK's own time-out.
            total_ms: 600_000,
        }
    }
}

/// What follows when a plan is spent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FallbackConfig {
    /// Tiers to fall back along after the cell's own candidates, in this order; only those below the
    /// plan's first candidate are used.
    pub ladder: Vec<Tier>,
    /// Serve an expired answer from the cache, marked `hit-stale`, when everything upstream failed.
    pub stale_if_error: bool,
    /// Answers of last resort; the first that holds is given, marked as such.
    pub rules: Vec<AnswerRuleConfig>,
    /// What to do about errors that another model may not have.
    pub on_error: ErrorRulesConfig,
}

impl Default for FallbackConfig {
    fn default() -> Self {
        Self {
            ladder: vec![Tier::Premium, Tier::Standard, Tier::Local],
            // An old answer, marked as such, is better than none.
            stale_if_error: true,
            rules: Vec::new(),
            on_error: ErrorRulesConfig::default(),
        }
    }
}

/// An answer of last resort.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerRuleConfig {
    /// For these tasks; empty: any.
    #[serde(default)]
    pub tasks: Vec<String>,
    /// Conditions, as of a level.
    #[serde(default)]
    pub when: WhenConfig,
    /// The text to answer with.
    #[schemars(length(min = 1))]
    pub answer: String,
    /// Hand the conversation to a person: whoever is under `alerts.webhooks` gets the event
    /// `conversation.handoff`, with the request, who made it and its session, without any text.
    #[serde(default)]
    pub handoff: bool,
}

/// What to do about errors that another model may not have.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorRulesConfig {
    /// The prompt is too long for the model.
    pub context_length: ErrorRuleConfig,
    /// The provider's content policy refused.
    pub content_policy: ErrorRuleConfig,
    /// The provider's rate limit.
    pub rate_limit: ErrorRuleConfig,
    /// The provider refused our credentials.
    pub auth: ErrorRuleConfig,
}

impl Default for ErrorRulesConfig {
    fn default() -> Self {
        Self {
            context_length: ErrorRuleConfig::LargerContext,
            content_policy: ErrorRuleConfig::Next,
            rate_limit: ErrorRuleConfig::Next,
            auth: ErrorRuleConfig::Next,
        }
    }
}

/// What follows an error.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorRuleConfig {
    /// Try the next candidate.
    Next,
    /// Try only candidates that take more context.
    LargerContext,
    /// Answer with the error.
    Stop,
}
