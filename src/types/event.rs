//! Events that people wait for: a closed set of kinds, and one that happened. What `notify` carries to
//! webhooks, the log and the dashboard. Holds names from the configuration and identifiers, never
//! text of a prompt or an answer.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What kind of thing happened. The names are public: they stand in `alerts.webhooks[].events`, in
/// bodies as `type`, and in metrics as `event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// A budget reached one of its `alert_at`.
    #[serde(rename = "budget.threshold_reached")]
    BudgetThreshold,
    /// A deployment is left alone.
    #[serde(rename = "breaker.opened")]
    BreakerOpened,
    /// A deployment is used again.
    #[serde(rename = "breaker.closed")]
    BreakerClosed,
    /// A changed file was not taken over.
    #[serde(rename = "config.reload_failed")]
    ReloadFailed,
    /// The file was taken over after it had been refused.
    #[serde(rename = "config.reload_recovered")]
    ReloadRecovered,
    /// A model takes longer than its target.
    #[serde(rename = "model.latency_high")]
    LatencyHigh,
    /// A model keeps its target again.
    #[serde(rename = "model.latency_recovered")]
    LatencyRecovered,
    /// A rule handed a conversation to a person.
    #[serde(rename = "conversation.handoff")]
    Handoff,
    /// The ledger cannot store records.
    #[serde(rename = "ledger.unhealthy")]
    LedgerUnhealthy,
    /// The ledger stores records again.
    #[serde(rename = "ledger.recovered")]
    LedgerRecovered,
    /// Somebody tries the channel out.
    #[serde(rename = "alerts.test")]
    Test,
}

impl EventKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::BudgetThreshold,
        Self::BreakerOpened,
        Self::BreakerClosed,
        Self::ReloadFailed,
        Self::ReloadRecovered,
        Self::LatencyHigh,
        Self::LatencyRecovered,
        Self::Handoff,
        Self::LedgerUnhealthy,
        Self::LedgerRecovered,
        Self::Test,
    ];

    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BudgetThreshold => "budget.threshold_reached",
            Self::BreakerOpened => "breaker.opened",
            Self::BreakerClosed => "breaker.closed",
            Self::ReloadFailed => "config.reload_failed",
            Self::ReloadRecovered => "config.reload_recovered",
            Self::LatencyHigh => "model.latency_high",
            Self::LatencyRecovered => "model.latency_recovered",
            Self::Handoff => "conversation.handoff",
            Self::LedgerUnhealthy => "ledger.unhealthy",
            Self::LedgerRecovered => "ledger.recovered",
            Self::Test => "alerts.test",
        }
    }

    /// How much it matters.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::LedgerUnhealthy => Severity::Critical,
            Self::BudgetThreshold
            | Self::BreakerOpened
            | Self::ReloadFailed
            | Self::LatencyHigh
            | Self::Handoff => Severity::Warning,
            Self::BreakerClosed
            | Self::ReloadRecovered
            | Self::LatencyRecovered
            | Self::LedgerRecovered
            | Self::Test => Severity::Info,
        }
    }

    /// True when it must reach its receivers even if the process ends first: nothing else would say
    /// it again.
    #[must_use]
    pub const fn is_durable(self) -> bool {
        matches!(self, Self::BudgetThreshold | Self::Handoff)
    }
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must act now.
    Critical,
}

impl Severity {
    /// The word in bodies and lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `evt_` and a version 7 UUID: the same in every delivery of this event, so that a receiver can
    /// drop what it has seen.
    pub id: String,
    /// What kind.
    pub kind: EventKind,
    /// When it happened, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// How much it matters.
    pub severity: Severity,
    /// Which budget, deployment, model or conversation.
    pub subject: String,
    /// One sentence for people.
    pub text: String,
    /// Events of the same kind and subject since the last one that was sent, which were not.
    pub suppressed: u64,
    /// What a program wants to know.
    pub data: Map<String, Value>,
}

impl Event {
    /// An event of now.
    #[must_use]
    pub fn new(kind: EventKind, subject: &str, text: impl Into<String>, at_ms: i64) -> Self {
        Self {
            id: format!("evt_{}", uuid::Uuid::now_v7().as_simple()),
            kind,
            at_ms,
            severity: kind.severity(),
            subject: subject.to_owned(),
            text: text.into(),
            suppressed: 0,
            data: Map::new(),
        }
    }

    /// With one more thing that a program wants to know; `null` is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.data.insert(name.to_owned(), value);
        }
        self
    }

    /// The body that a webhook gets: JSON, the same bytes for the same event.
    #[must_use]
    pub fn body(&self) -> String {
        let timestamp = jiff::Timestamp::from_millisecond(self.at_ms).unwrap_or_default();
        let body = Body {
            id: &self.id,
            kind: self.kind,
            timestamp: timestamp.to_string(),
            severity: self.severity,
            subject: &self.subject,
            text: &self.text,
            suppressed: self.suppressed,
            data: &self.data,
        };
        // Strings, numbers and maps with text keys: nothing that could fail.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

/// `type`, `timestamp` and `data` as the Standard Webhooks specification recommends; `text` is what
/// chat systems show.
#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: EventKind,
    timestamp: String,
    severity: Severity,
    subject: &'a str,
    text: &'a str,
    suppressed: u64,
    data: &'a Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_everywhere() {
        for kind in EventKind::ALL {
            let written = serde_json::to_value(kind).expect("written");
            assert_eq!(written, Value::from(kind.as_str()));
        }
    }

    #[test]
    fn a_body_says_what_when_and_of_whom() {
        let event = Event::new(EventKind::BreakerOpened, "small", "gone", 1_763_704_280_123)
            .with("model", "small")
            .with("nothing", Value::Null);
        let body: Value = serde_json::from_str(&event.body()).expect("JSON");
        assert_eq!(body["type"], "breaker.opened");
        assert_eq!(body["timestamp"], "2025-11-21T05:51:20.123Z");
        assert_eq!(body["data"], serde_json::json!({"model": "small"}));
        assert_eq!(body["severity"], "warning");
    }
}
