//! What is told of how things stand: thresholds of budgets, latency targets, the ledger, reloads.
//! Looks at the state from outside, once a second; what requests themselves raise is in
//! `pipeline::telling`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::config::Diagnostic;
use crate::config::snapshot::AlertParams;
use crate::gateway::Gateway;
use crate::notify::{Channel, OUTBOX};
use crate::runtime::{BudgetAlert, BudgetView, LatencyTarget};
use crate::stores::Note;
use crate::types::{AppId, Event, EventKind, KeyId, ModelId, ProviderId, Severity, TeamId};

/// The notebook's topic for thresholds that were told of.
const ALERTED: &str = "alerted";
/// How long it is remembered that a threshold was told of: longer than any period.
const REMEMBERED_MS: i64 = 400 * 24 * 60 * 60 * 1_000;

/// Starts carrying events to webhooks; `None` when they are carried already.
pub fn start_channel(gw: &Arc<Gateway>) -> Option<Channel> {
    let active = Arc::clone(gw);
    let params = Arc::new(move || Arc::clone(&active.active.load().snapshot.alerts));
    let notebook = Arc::clone(&gw.notebook);
    Channel::start(
        &gw.events,
        params,
        notebook,
        (gw.metrics.clone(), gw.clock.clone()),
    )
}

/// Tells of thresholds that were crossed since the last call, each once per period, also across
/// restarts. Reads and writes the notebook, off the workers.
pub async fn announce_budgets(gw: &Arc<Gateway>) {
    let alerts = gw.budgets.take_alerts();
    if alerts.is_empty() {
        return;
    }
    let gateway = Arc::clone(gw);
    let told = tokio::task::spawn_blocking(move || news_of_budgets(&gateway, alerts)).await;
    let Ok(news) = told else {
        tracing::error!("a fault while telling of a budget's threshold");
        return;
    };
    for news in news {
        if is_ours(gw, &news).await {
            tell(gw, news);
        }
    }
}

/// Whether this replica is the one that tells of it. One that has it in its notebook and loses here will
/// not tell of it after a restart either.
async fn is_ours(gw: &Arc<Gateway>, news: &News) -> bool {
    let Some(replicas) = &gw.replicas else {
        return true;
    };
    let lives = Duration::from_millis(REMEMBERED_MS.unsigned_abs());
    let what = format!("{ALERTED}/{}", news.marker);
    if replicas.claims(&what, lives).await {
        return true;
    }
    let (gateway, id) = (Arc::clone(gw), news.event.id.clone());
    let forgotten = tokio::task::spawn_blocking(move || gateway.notebook.remove(OUTBOX, &id)).await;
    if !matches!(forgotten, Ok(Ok(()))) {
        tracing::warn!("a restart may tell of a threshold that another replica has told of");
    }
    false
}

/// Tells at the start of thresholds that an earlier process reached and did not live to tell of.
pub(super) fn catch_up(gw: &Gateway) {
    let now_ms = gw.clock.unix_ms();
    if let Err(error) = gw.notebook.forget(ALERTED, now_ms - REMEMBERED_MS) {
        tracing::warn!(%error, "old notes of alerts stay");
    }
    let active = gw.active.load();
    let mut reached = Vec::new();
    for view in gw.budgets.view() {
        let mut budgets = active.snapshot.budgets.iter();
        let thresholds = budgets
            .find(|params| params.id == view.budget)
            .map(|params| params.alert_at.as_slice());
        for &threshold in thresholds.unwrap_or_default() {
            // Shares are floats here: a hair's breadth below counts as reached.
            if view.share + 1e-9 >= threshold && view.limit.is_positive() {
                reached.push(BudgetAlert {
                    budget: view.budget.clone(),
                    threshold,
                    spent: view.spent,
                    limit: view.limit,
                    period_start_ms: view.period_start_ms,
                });
            }
        }
    }
    if gw.replicas.is_some() {
        // Who tells is settled between replicas, once there is a connection.
        gw.budgets.alert_again(reached);
        return;
    }
    for news in news_of_budgets(gw, reached) {
        tell(gw, news);
    }
}

/// A threshold that this process has not told of.
struct News {
    alert: BudgetAlert,
    event: Event,
    marker: String,
}

fn tell(gw: &Gateway, news: News) {
    gw.metrics
        .budget_alerted(news.alert.budget.as_str(), news.alert.threshold);
    gw.events.announce(news.event);
}

/// Those of the alerts that are in no note yet; they are now.
fn news_of_budgets(gw: &Gateway, alerts: Vec<BudgetAlert>) -> Vec<News> {
    if alerts.is_empty() {
        return Vec::new();
    }
    let mut news = Vec::new();
    let views = gw.budgets.view();
    let now_ms = gw.clock.unix_ms();
    for alert in alerts {
        let view = views.iter().find(|view| view.budget == alert.budget);
        let event = of_budget(&alert, view, now_ms);
        let under_way = Note {
            topic: OUTBOX,
            key: event.id.clone(),
            text: serde_json::to_string(&event).unwrap_or_default(),
            at_ms: now_ms,
        };
        let marker = marker(&alert, now_ms);
        let is_news = gw.notebook.claim(&marker, &[under_way]);
        match is_news {
            Ok(true) => {}
            Ok(false) => continue,
            // Better told twice than not at all.
            Err(error) => {
                tracing::warn!(%error, "a restart may tell of this threshold again");
            }
        }
        news.push(News {
            alert,
            event,
            marker: marker.key,
        });
    }
    news
}

/// Once per period, threshold and limit: after a raise, the same share is another amount.
fn marker(alert: &BudgetAlert, now_ms: i64) -> Note {
    let BudgetAlert {
        budget,
        threshold,
        limit,
        period_start_ms,
        ..
    } = alert;
    let is_total = *period_start_ms == 0;
    Note {
        topic: ALERTED,
        key: format!("{budget}/{period_start_ms}/{threshold}/{limit}"),
        text: String::new(),
        at_ms: if is_total { i64::MAX } else { now_ms },
    }
}

fn of_budget(alert: &BudgetAlert, view: Option<&BudgetView>, now_ms: i64) -> Event {
    let BudgetAlert {
        budget,
        threshold,
        spent,
        limit,
        period_start_ms,
    } = alert;
    let period = view.map_or("", |view| view.period.phrase());
    let percent = threshold * 100.0;
    let text = format!(
        "budget `{budget}` has reached {percent} % of its {limit} USD {period}: {spent} USD spent"
    );
    let mut event = Event::new(
        EventKind::BudgetThreshold,
        budget.as_str(),
        text.replace("  ", " "),
        now_ms,
    )
    .with("budget", budget.as_str())
    .with("threshold", *threshold)
    .with("spent_usd", spent.to_string())
    .with("limit_usd", limit.to_string())
    .with("period_start", time_of(*period_start_ms));
    if *threshold >= 1.0 {
        event.severity = Severity::Critical;
    }
    let Some(view) = view else {
        return event;
    };
    let matches = &view.matches;
    let named = [
        ("team", matches.team.as_ref().map(TeamId::as_str)),
        ("app", matches.app.as_ref().map(AppId::as_str)),
        ("key", matches.key.as_ref().map(KeyId::as_str)),
        ("model", matches.model.as_ref().map(ModelId::as_str)),
        (
            "provider",
            matches.provider.as_ref().map(ProviderId::as_str),
        ),
    ];
    let matched: serde_json::Map<_, _> = named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    event
        .with("reserved_usd", view.reserved.to_string())
        .with("period_end", view.period_end_ms.map(time_of))
        .with(
            "forecast_usd",
            view.forecast_usd.map(|usd| format!("{usd:.2}")),
        )
        .with("match", matched)
}

/// Tells of models that began to miss their latency target, or keep it again.
pub fn announce_latency(gw: &Gateway) {
    let active = gw.active.load();
    let snapshot = &active.snapshot;
    let alerts = &snapshot.alerts;
    let now_ms = gw.clock.unix_ms();
    for model in &snapshot.models {
        let Some(target) = model.latency_target else {
            continue;
        };
        let params = LatencyTarget {
            target,
            window: alerts.latency_window,
            min_requests: alerts.latency_min_requests,
        };
        let Some(change) = gw.latency_targets.judge(&model.id, &params, now_ms) else {
            continue;
        };
        let (kind, what) = if change.missed {
            (EventKind::LatencyHigh, "misses")
        } else {
            (EventKind::LatencyRecovered, "keeps")
        };
        let (p95_ms, target_ms) = (change.p95.as_millis(), target.as_millis());
        let text = format!(
            "model `{}` {what} its latency target of {target_ms} ms: 95 % of {} answers within {p95_ms} ms",
            model.id, change.samples
        );
        let event = Event::new(kind, model.id.as_str(), text, now_ms)
            .with("model", model.id.as_str())
            .with("provider", snapshot.providers[model.provider].id.as_str())
            .with("p95_ms", json!(u64::try_from(p95_ms).unwrap_or(u64::MAX)))
            .with(
                "target_ms",
                json!(u64::try_from(target_ms).unwrap_or(u64::MAX)),
            )
            .with("requests", change.samples)
            .with("window_seconds", alerts.latency_window.as_secs());
        gw.events.raise(event, alerts.min_interval);
    }
}

/// Tells when the ledger begins to refuse records, or stores them again.
pub fn announce_ledger(gw: &Gateway) {
    let is_healthy = gw.ledger.is_healthy();
    if gw.ledger_was_healthy.swap(is_healthy, Ordering::Relaxed) == is_healthy {
        return;
    }
    let lag = gw.ledger.lag();
    let (kind, text) = if is_healthy {
        (
            EventKind::LedgerRecovered,
            "the ledger stores records again".to_owned(),
        )
    } else {
        let text = format!(
            "the ledger cannot store records: {lag} wait, and requests are refused once there is no room for more"
        );
        (EventKind::LedgerUnhealthy, text)
    };
    let event = Event::new(kind, "ledger", text, gw.clock.unix_ms()).with("waiting_records", lag);
    gw.events.raise(event, alerts_of(gw).min_interval);
}

/// Tells of what was held back and whose time has come.
pub fn release_held(gw: &Gateway) {
    gw.events.release_due(alerts_of(gw).min_interval);
}

/// Tells that a changed file was refused, or taken over after it had been.
pub(super) fn announce_reload(gw: &Gateway, errors: &[Diagnostic], had_failed: bool) {
    let alerts = alerts_of(gw);
    let now_ms = gw.clock.unix_ms();
    let version = gw.active.load().snapshot.version.clone();
    let event = match errors {
        [] if !had_failed => return,
        [] => Event::new(
            EventKind::ReloadRecovered,
            "config",
            format!("the configuration was taken over: version {version}"),
            now_ms,
        ),
        [first, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                count => format!(" (and {count} more)"),
            };
            // Places and messages, as `check` prints them; their source lines stay out.
            let shown: Vec<String> = errors.iter().take(10).map(ToString::to_string).collect();
            let text = format!(
                "the changed configuration was refused, version {version} stays in force: {first}{more}"
            );
            Event::new(EventKind::ReloadFailed, "config", text, now_ms)
                .with("errors", shown)
                .with("error_count", errors.len())
        }
    };
    let event = event.with("config_version", version.as_str());
    gw.events.raise(event, alerts.min_interval);
}

fn alerts_of(gw: &Gateway) -> Arc<AlertParams> {
    Arc::clone(&gw.active.load().snapshot.alerts)
}

fn time_of(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms)
        .unwrap_or_default()
        .to_string()
}
