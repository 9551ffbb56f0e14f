//! What requests tell of: a breaker that opened or closed, a conversation that a rule hands to a
//! person. Never waits, never holds text of a prompt.

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::runtime::{BreakerState, Transition};
use crate::types::{AttemptRecord, Call, Event, EventKind, KeyId, RequestRecord};

/// A deployment's breaker changed. That an open one lets a probe through, which fails, is no news.
pub(super) fn breaker_changed(gw: &Gateway, attempt: &AttemptRecord, change: Transition) {
    let AttemptRecord {
        model,
        provider,
        deployment,
        outcome,
        ..
    } = attempt;
    tracing::debug!(
        deployment = deployment.as_str(),
        from = change.from.as_str(),
        to = change.to.as_str(),
        "breaker changed"
    );
    let (kind, text) = match (change.from, change.to) {
        (BreakerState::Closed, BreakerState::Open { .. }) => {
            let text = format!(
                "`{deployment}` at `{provider}` is left alone for a while; its last call ended with {}",
                outcome.as_str()
            );
            (EventKind::BreakerOpened, text)
        }
        (_, BreakerState::Closed) => {
            let text = format!("`{deployment}` at `{provider}` is used again");
            (EventKind::BreakerClosed, text)
        }
        _ => return,
    };
    let mut event = Event::new(kind, deployment.as_str(), text, gw.clock.unix_ms())
        .with("deployment", deployment.as_str())
        .with("model", model.as_str())
        .with("provider", provider.as_str());
    if let BreakerState::Open { until } = change.to {
        let wait = until.saturating_duration_since(Instant::now());
        event = event
            .with("outcome", outcome.as_str())
            .with("upstream_status", attempt.status)
            .with("probe_in_seconds", wait.as_secs());
    }
    raise(gw, event);
}

/// A rule hands a conversation to a person: with all that finds the conversation again, and without a
/// word of it.
pub(super) fn handed_over(gw: &Gateway, record: &RequestRecord, call: &Call) {
    let directives = &call.directives;
    let session = directives.session.as_deref();
    let session = session.or(directives.prompt_cache_key.as_deref());
    let end_user = record.end_user.as_deref();
    let subject = session
        .or(end_user)
        .unwrap_or_else(|| record.request_id.as_str());
    let text = format!(
        "a conversation of team `{}`, app `{}` waits for a person",
        record.team, record.app
    );
    let tags: Map<String, Value> = record
        .tags
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let event = Event::new(EventKind::Handoff, subject, text, gw.clock.unix_ms())
        .with("request_id", record.request_id.as_str())
        .with("team", record.team.as_str())
        .with("app", record.app.as_str())
        .with("key", record.key.as_ref().map(KeyId::as_str))
        .with("end_user", end_user)
        .with("session", session)
        .with("task", record.task.as_str())
        .with("level", record.level.as_str())
        .with("tags", tags);
    raise(gw, event);
}

fn raise(gw: &Gateway, event: Event) {
    let interval = gw.active.load().snapshot.alerts.min_interval;
    gw.events.raise(event, interval);
}
