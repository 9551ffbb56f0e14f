//! What the dashboard reads: one JSON object that says how things stand.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config::snapshot::{Matrix, Model, ProviderEndpoint, Row, Snapshot};
use crate::gateway::{Active, Gateway};
use crate::runtime::breaker::BreakerState;
use crate::runtime::deployments::DeploymentState;
use crate::stores::{LedgerError, SpendBy, SpendRow, TimeRange};
use crate::types::{Event, PicoUsd, RequestRecord};

/// How many of the last requests are shown.
const RECENT: usize = 25;
/// Tokens of the answer whose time is shown as the expected latency: the first one.
const FIRST_TOKEN: u64 = 1;

/// Reads the gateway and the ledger; blocks.
///
/// # Errors
/// When the ledger cannot be read.
pub fn overview(gw: &Gateway) -> Result<Value, LedgerError> {
    let active = gw.active.load_full();
    let today = TimeRange::since(midnight_utc_ms(gw.clock.unix_ms()));
    // A server that is away takes the sums along, but not breakers and budgets, for which one looks
    // here just then.
    let mut trouble = gw.ledger.trouble().map(|trouble| trouble.to_string());
    let mut unless_away = |rows: Result<Vec<SpendRow>, LedgerError>| match rows {
        Err(error @ LedgerError::Unreachable { .. }) => {
            trouble = Some(error.to_string());
            Ok(Vec::new())
        }
        rows => rows,
    };
    let by_team = unless_away(gw.ledger.spend_by(SpendBy::Team, today))?;
    let by_model = unless_away(gw.ledger.spend_by(SpendBy::Model, today))?;
    let recent = match gw.ledger.recent(RECENT) {
        Err(LedgerError::Unreachable { .. }) => Vec::new(),
        recent => recent?,
    };
    let reload = gw.last_reload.lock().clone();
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": uptime(gw.started.elapsed().as_secs()),
        "simulated": all_simulated(&active.snapshot),
        "config": {
            "version": active.snapshot.version,
            "loaded_at": time_of(active.snapshot.loaded_at_ms),
            "last_reload_at": time_of(reload.at_ms),
            "last_reload_ok": reload.errors.is_empty(),
            "last_reload_errors": reload.errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "in_flight": gw.metrics.in_flight().get(),
        "ledger": {"lag_records": gw.ledger.lag(), "healthy": gw.ledger.is_healthy(), "trouble": trouble},
        "today": totals(&by_team),
        "saved_since_start_usd": saved_since_start(gw),
        "by_team": by_team.iter().map(spend_value).collect::<Vec<_>>(),
        "by_model": by_model.iter().map(spend_value).collect::<Vec<_>>(),
        "budgets": budgets(gw),
        "models": models(gw, &active),
        "matrix": matrix(gw, &active.snapshot),
        "events": gw.events.recent().iter().map(event_value).collect::<Vec<_>>(),
        "recent": recent.iter().map(recent_value).collect::<Vec<_>>(),
    }))
}

fn totals(rows: &[SpendRow]) -> Value {
    let cost: PicoUsd = rows.iter().map(|row| row.cost).sum();
    let requests: u64 = rows.iter().map(|row| row.requests).sum();
    json!({"requests": requests, "cost_usd": cost.to_string()})
}

/// Against the declared baseline, what routing cost more than it taken off. For display.
fn saved_since_start(gw: &Gateway) -> f64 {
    let sum = |family: &str| {
        gw.metrics
            .samples(family)
            .into_iter()
            .map(|(_, value)| value)
            .sum::<f64>()
    };
    sum("tollgate_savings_usd_total") - sum("tollgate_extra_cost_usd_total")
}

fn spend_value(row: &SpendRow) -> Value {
    json!({"name": row.name, "requests": row.requests, "cost_usd": row.cost.to_string()})
}

fn budgets(gw: &Gateway) -> Vec<Value> {
    let value = |view: crate::runtime::budgets::BudgetView| {
        json!({
            "name": view.budget,
            "limit_usd": view.limit.to_string(),
            "spent_usd": view.spent.to_string(),
            "reserved_usd": view.reserved.to_string(),
            "shadow_price": view.shadow_price,
            "forecast_usd": view.forecast_usd,
            "period": view.period.as_str(),
            "period_ends_at": view.period_end_ms.map(time_of),
            "end_users": view.end_users,
            "lease": view.lease.map(|lease| json!({
                "ceiling_usd": lease.ceiling.to_string(),
                "held_elsewhere_usd": lease.held_elsewhere.to_string(),
                "stranded_usd": lease.stranded.to_string(),
                "store_away": lease.store_away,
            })),
        })
    };
    gw.budgets.view().into_iter().map(value).collect()
}

fn models(gw: &Gateway, active: &Active) -> Vec<Value> {
    let now = Instant::now();
    let snapshot = &active.snapshot;
    let params = &snapshot.resilience.breaker;
    let value = |(model, states): (&Model, &[Arc<DeploymentState>])| {
        let provider = &snapshot.providers[model.provider];
        let (mut breaker, mut reopens) = ("open", None);
        for state in states {
            match state.breaker.state(now, params) {
                BreakerState::Closed => breaker = "closed",
                BreakerState::HalfOpen if breaker == "open" => breaker = "half-open",
                BreakerState::HalfOpen => {}
                BreakerState::Open { until } => {
                    let wait = until.saturating_duration_since(now).as_secs();
                    reopens = Some(reopens.map_or(wait, |least: u64| least.min(wait)));
                }
            }
        }
        let latency = gw
            .latencies
            .expected(&model.id, FIRST_TOKEN, gw.clock.unix_ms());
        json!({
            "model": model.id,
            "provider": provider.id,
            "tier": model.tier,
            "enabled": provider.enabled,
            "breaker": breaker,
            "reopens_in_seconds": reopens.filter(|_| breaker == "open"),
            "outstanding": states.iter().map(|state| state.outstanding()).sum::<u32>(),
            "ttft_ms": latency.map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
        })
    };
    let bound = active.bound.iter().map(AsRef::as_ref);
    snapshot.models.iter().zip(bound).map(value).collect()
}

/// Every cell with its candidates and how often the policy chose each since the start. Tasks that have
/// no such cell of their own count in the default row; requests for a model by name count nowhere.
fn matrix(gw: &Gateway, snapshot: &Snapshot) -> Vec<Value> {
    let Matrix { rows, default } = &snapshot.matrix;
    let has_cell = |task: &str, level: &str| {
        let row = rows.iter().find(|(name, _)| name.as_str() == task);
        row.is_some_and(|(_, row)| row.cells.keys().any(|name| name.as_str() == level))
    };
    let mut chosen: HashMap<(String, String, String), f64> = HashMap::new();
    for (labels, count) in gw.metrics.samples("tollgate_policy_choices_total") {
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let (task, level) = (label("task"), label("level"));
        let row = if has_cell(&task, &level) {
            task
        } else {
            "default".to_owned()
        };
        if label("reason") != crate::types::Reason::Pinned.as_str() {
            *chosen.entry((row, level, label("model"))).or_default() += count;
        }
    }
    let mut named: Vec<(&str, &Row)> = rows
        .iter()
        .map(|(task, row)| (task.as_str(), row))
        .collect();
    named.sort_by_key(|(task, _)| *task);
    named.push(("default", default));
    let mut cells = Vec::new();
    for (task, row) in named {
        let mut levels: Vec<_> = row.cells.iter().collect();
        levels.sort_by_key(|(level, _)| (rank(level.as_str()), level.as_str().to_owned()));
        for (level, candidates) in levels {
            let of = |model: &str| {
                chosen
                    .get(&(task.to_owned(), level.to_string(), model.to_owned()))
                    .copied()
                    .unwrap_or(0.0)
            };
            let candidates: Vec<Value> = candidates
                .iter()
                .map(|&index| {
                    let model = snapshot.models[index].id.as_str();
                    json!({"model": model, "requests": of(model)})
                })
                .collect();
            let requests: f64 = candidates
                .iter()
                .filter_map(|candidate| candidate["requests"].as_f64())
                .sum();
            cells.push(json!({"task": task, "level": level, "candidates": candidates, "requests": requests}));
        }
    }
    cells
}

/// The standard levels in their order; a row's own ones after them by name.
fn rank(level: &str) -> usize {
    ["simple", "complex", "critical"]
        .iter()
        .position(|standard| *standard == level)
        .unwrap_or(usize::MAX)
}

fn recent_value(record: &RequestRecord) -> Value {
    json!({
        "time": time_of(record.started_at_ms),
        "request_id": record.request_id,
        "team": record.team,
        "task": record.task,
        "level": record.level,
        "model": record.model.as_ref().map_or("–", |model| model.as_str()),
        "reason": record.reason.map_or("–", crate::types::Reason::as_str),
        "outcome": record.outcome.as_str(),
        "cost_usd": record.cost.to_string(),
        "latency_ms": record.latency_us / 1000,
        "translation": record.decision.as_deref().and_then(|decision| left_out(decision.get())),
    })
}

/// What was dropped or put otherwise between two dialects, as the answer's header said it: a member of
/// the decision.
fn left_out(decision: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Told {
        translation: Option<String>,
    }
    serde_json::from_str::<Told>(decision).ok()?.translation
}

fn event_value(event: &Event) -> Value {
    json!({
        "time": time_of(event.at_ms),
        "event": event.kind.as_str(),
        "severity": event.severity.as_str(),
        "text": event.text,
        "suppressed": event.suppressed,
    })
}

fn all_simulated(snapshot: &Snapshot) -> bool {
    let mut enabled = snapshot
        .providers
        .iter()
        .filter(|provider| provider.enabled);
    enabled.all(|provider| matches!(provider.endpoint, ProviderEndpoint::Simulated(_)))
}

fn time_of(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms)
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
        .unwrap_or_default()
}

fn midnight_utc_ms(now_ms: i64) -> i64 {
    let today = Timestamp::from_millisecond(now_ms).map(|now| now.to_zoned(TimeZone::UTC).date());
    today
        .and_then(|date| date.to_zoned(TimeZone::UTC))
        .map_or(0, |midnight| midnight.timestamp().as_millisecond())
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_translation_left_out_is_found_in_the_decision() {
        let said = left_out(r#"{"row":"default","translation":"logit_bias: dropped"}"#);
        assert_eq!(said.as_deref(), Some("logit_bias: dropped"));
        assert_eq!(left_out(r#"{"row":"default"}"#), None);
    }
}
