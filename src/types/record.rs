//! The ledger's records: one per request with one per attempt inside. What is billed, shown in
//! headers, counted in metrics and reported comes from here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::call::Endpoint;
use super::conversation::Conversation;
use super::features::Features;
use super::ids::{
    AppId, ConfigVersion, DeploymentId, KeyId, LevelName, ModelId, ProviderId, RequestId, TaskName,
    TeamId,
};
use super::money::{PicoUsd, Price};
use super::plan::Reason;
use super::usage::{ServiceTier, Tokens};

/// How a request or an attempt ended: a closed set, used as the metrics' `outcome`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered in full.
    Ok,
    /// Answered, but cut by the output cap.
    Truncated,
    /// The client went away first.
    #[default]
    Cancelled,
    /// The client's request was wrong.
    Invalid,
    /// Refused: no or wrong key, or not allowed.
    Denied,
    /// Refused by one of our limits, or by the provider's.
    RateLimited,
    /// Refused by a budget.
    Budget,
    /// The upstream answered with an error or nonsense.
    UpstreamError,
    /// The upstream's stream broke off after it had begun.
    StreamBroken,
    /// A time-out.
    Timeout,
    /// The upstream could not be reached.
    Connect,
    /// The content was refused by the provider's policy.
    ContentPolicy,
    /// The prompt is too long for the model.
    ContextLength,
    /// The provider refused our credentials.
    UpstreamAuth,
    /// No candidate, or shed because of overload.
    Unavailable,
    /// A fault of our own.
    Internal,
}

impl Outcome {
    /// The label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Truncated => "truncated",
            Self::Cancelled => "cancelled",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::RateLimited => "rate_limited",
            Self::Budget => "budget",
            Self::UpstreamError => "upstream_error",
            Self::StreamBroken => "stream_broken",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::ContentPolicy => "content_policy",
            Self::ContextLength => "context_length",
            Self::UpstreamAuth => "upstream_auth",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// True when the client got an answer.
    #[must_use]
    pub const fn answered(self) -> bool {
        matches!(self, Self::Ok | Self::Truncated)
    }
}

/// What the cache did: the values of `x-tollgate-cache`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheOutcome {
    /// The same request was answered before (also: shared with one in flight).
    HitExact,
    /// A request of the same meaning was answered before.
    HitSemantic,
    /// A template answered.
    HitTemplate,
    /// Everything upstream failed; an expired answer was served.
    HitStale,
    /// Looked up, not found.
    Miss,
    /// Not looked up.
    #[default]
    Bypass,
}

impl CacheOutcome {
    /// The header and label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HitExact => "hit-exact",
            Self::HitSemantic => "hit-semantic",
            Self::HitTemplate => "hit-template",
            Self::HitStale => "hit-stale",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// Where an attempt's token counts come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The provider reported them.
    Reported,
    /// We estimated them (a cut stream, a provider that reports nothing).
    Estimated,
    /// Nothing was used: the attempt failed before the provider did any work.
    #[default]
    None,
}

impl UsageSource {
    /// The word in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::None => "none",
        }
    }
}

/// One try at one deployment of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// 1 for the first.
    pub attempt: u32,
    /// When it was sent, milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// The model.
    pub model: ModelId,
    /// Its provider.
    pub provider: ProviderId,
    /// Which of its deployments.
    pub deployment: DeploymentId,
    /// The name that the upstream says it served with, when it said one.
    pub response_model: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The upstream's status code, when it sent one.
    pub status: Option<u16>,
    /// What it used, in disjoint classes.
    pub tokens: Tokens,
    /// Where `tokens` come from.
    pub usage: UsageSource,
    /// What it cost, in pico-USD.
    pub cost: PicoUsd,
    /// The price that was applied, so that the bill can be checked class by class even after
    /// prices have changed.
    pub price: Price,
    /// Images that were charged one by one.
    #[serde(default)]
    pub images: u32,
    /// Which entry of the price list was applied: the day from which it holds and a short hash of
    /// its amounts.
    #[serde(default)]
    pub price_version: String,
    /// The long-context step that was applied: its price holds above this many input tokens.
    #[serde(default)]
    pub price_step_tokens: Option<u64>,
    /// The service tier that the upstream named.
    #[serde(default)]
    pub service_tier: Option<ServiceTier>,
    /// True when the upstream served another model than the one asked for.
    #[serde(default)]
    pub substituted: bool,
    /// Whose price was applied, when it was not that of `model`.
    #[serde(default)]
    pub priced_model: Option<String>,
    /// What the same would have cost at the price of `model`, when another's was applied, pico-USD.
    #[serde(default)]
    pub asked_cost: Option<PicoUsd>,
    /// From sending to the end (or the failure), microseconds.
    pub latency_us: u64,
    /// From sending to the first event, microseconds; streams only.
    pub ttft_us: Option<u64>,
}

/// One request from admission to its last byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The id that the client got in `x-request-id`.
    pub request_id: RequestId,
    /// When its head arrived, milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// The configuration that it was served on.
    pub config_version: ConfigVersion,
    /// The key that made it; `None` in `auth: open`.
    pub key: Option<KeyId>,
    /// Who pays.
    pub team: TeamId,
    /// Which application.
    pub app: AppId,
    /// The end user that the client named.
    pub end_user: Option<String>,
    /// Tags and metadata that the client named.
    pub tags: Vec<(String, String)>,
    /// Where it came in.
    pub endpoint: Endpoint,
    /// The model that was asked for.
    pub asked_model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The task that it was routed as.
    pub task: TaskName,
    /// The level that it was routed at.
    pub level: LevelName,
    /// The row of the matrix that the plan was made from, while the request is under way; `decision`
    /// keeps it.
    #[serde(skip)]
    pub row: Option<TaskName>,
    /// The model that answered (or was tried last).
    pub model: Option<ModelId>,
    /// Its provider.
    pub provider: Option<ProviderId>,
    /// Why that model.
    pub reason: Option<Reason>,
    /// The probability with which the policy chose.
    pub propensity: Option<f64>,
    /// What the cache did.
    pub cache: CacheOutcome,
    /// Names the request among those of its caller: equal for equal requests, a keyed hash, so that
    /// it tells nothing to whoever lacks the key. The sign means nothing.
    #[serde(default)]
    pub fingerprint: Option<i64>,
    /// The trace that the client's `traceparent` names, for the log line; `decision` keeps it.
    #[serde(skip)]
    pub trace_id: Option<Box<str>>,
    /// The conversation that it belongs to; not kept.
    #[serde(skip)]
    pub conversation: Option<Box<Conversation>>,
    /// How it ended.
    pub outcome: Outcome,
    /// The status that the client got.
    pub status: u16,
    /// The error's code, when it failed.
    pub error_code: Option<String>,
    /// The sum of all attempts, pico-USD.
    pub cost: PicoUsd,
    /// The part of `cost` that rests on our estimate, pico-USD.
    pub estimated_cost: PicoUsd,
    /// What the declared baseline model would have cost for the same tokens, pico-USD.
    pub baseline_cost: Option<PicoUsd>,
    /// From the head's arrival to the last byte, microseconds.
    pub latency_us: u64,
    /// Time in the proxy itself up to the first upstream call, microseconds.
    pub overhead_us: u64,
    /// From the head's arrival to the first event sent to the client, microseconds.
    pub ttft_us: Option<u64>,
    /// What the classifier found; shared with the request while it is under way.
    pub features: Option<Arc<Features>>,
    /// Candidates and exclusions, as `GET /v1/requests/{id}` shows them (JSON text).
    pub decision: Option<Box<serde_json::value::RawValue>>,
    /// Every try, in order.
    pub attempts: Vec<AttemptRecord>,
}

impl RequestRecord {
    /// Takes the record out of a request that is over; what is left behind lacks its longer parts.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let attempts = std::mem::take(&mut self.attempts);
        let decision = self.decision.take();
        let tags = std::mem::take(&mut self.tags);
        let asked_model = std::mem::take(&mut self.asked_model);
        Self {
            tags,
            asked_model,
            decision,
            attempts,
            ..self.clone()
        }
    }

    /// Tokens of every attempt together.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        let mut sum = Tokens::default();
        for attempt in &self.attempts {
            sum += attempt.tokens;
        }
        sum
    }
}
