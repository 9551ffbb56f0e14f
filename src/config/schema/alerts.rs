//! `alerts`

use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretText;

/// Who is told when something happens that people wait for. Every event is also in the log, in the
/// metric `tollgate_alerts_total` and on the dashboard.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsConfig {
    /// Where events are sent, each signed and retried on its own.
    pub webhooks: Vec<WebhookConfig>,
    /// Events of one kind about the same thing are sent at most once in this time, seconds; what was
    /// held back is counted in the next one. 0: no limit. Budget thresholds come once per period anyway.
    #[schemars(range(min = 0, max = 86_400))]
    pub min_interval_seconds: u64,
    /// The window over which the 95th percentile of a model's latency is compared with its
    /// `latency_target_ms`, seconds.
    #[schemars(range(min = 1, max = 86_400))]
    pub latency_window_seconds: u64,
    /// Answers in the window before its percentile means anything.
    #[schemars(range(min = 1, max = 1000))]
    pub latency_min_requests: u32,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            webhooks: Vec::new(),
            // A breaker that flaps tells nothing new within five minutes.
            min_interval_seconds: 300,
            // Long enough for twenty answers of a quiet model.
            latency_window_seconds: 300,
            // With fewer, one slow answer is the 95th percentile.
            latency_min_requests: 20,
        }
    }
}

/// A receiver of events: gets a POST with JSON, signed by the Standard Webhooks convention.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Its name in metrics and in the log; the address's host when not set. The address itself, which
    /// may hold a secret, is shown nowhere.
    #[schemars(length(min = 1))]
    pub name: Option<String>,
    /// Where to POST, as `https://host/path`, `${VARIABLE}` or `file:/path`. A webhook whose variable
    /// is unset is switched off with a warning.
    pub url: SecretText,
    /// What bodies are signed with, as `${VARIABLE}` or `file:/path`: `whsec_` and base64, or any
    /// text, whose bytes are the key then. Without it bodies are not signed.
    pub secret: Option<SecretText>,
    /// Which events: names, or patterns such as `budget.*`. Empty: all.
    #[serde(default)]
    pub events: Vec<String>,
    /// How long the receiver may take to answer, milliseconds.
    #[serde(default = "timeout_ms")]
    #[schemars(range(min = 100, max = 60_000))]
    pub timeout_ms: u64,
    /// The first pause after a failed delivery, milliseconds; doubles, with full jitter.
    #[serde(default = "retry_base_ms")]
    #[schemars(range(min = 10, max = 60_000))]
    pub retry_base_ms: u64,
    /// The longest pause, seconds.
    #[serde(default = "retry_max_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub retry_max_seconds: u64,
    /// An event that could not be delivered for this long is given up, seconds.
    #[serde(default = "give_up_after_seconds")]
    #[schemars(range(min = 1, max = 604_800))]
    pub give_up_after_seconds: u64,
    /// PEM file with extra root certificates, for private hosts.
    pub ca_file: Option<String>,
}

/// Receivers are asked to put events aside and answer at once.
const fn timeout_ms() -> u64 {
    5000
}

/// A restart of the receiver takes seconds.
const fn retry_base_ms() -> u64 {
    1000
}

/// A receiver that is back hears of what it missed within minutes.
const fn retry_max_seconds() -> u64 {
    300
}

/// A night and a day: somebody has looked by then.
const fn give_up_after_seconds() -> u64 {
    86_400
}
