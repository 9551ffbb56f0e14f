//! `budgets`

use std::sync::Arc;

use jiff::tz::TimeZone;
use rustc_hash::FxHashSet;

use super::{Context, at};
use crate::config::schema::{
    BudgetConfig, Decimal, ExhaustedConfig, KeyConfig, MatchConfig, PeriodConfig,
};
use crate::config::snapshot::{Model, Provider};
use crate::config::tree::Step;
use crate::runtime::{BudgetMatch, BudgetParams, OnExhausted, Period};
use crate::types::{AppId, BudgetId, KeyId, ModelId, PicoUsd, ProviderId, TeamId};

pub fn compile(
    cx: &mut Context<'_, '_>,
    budgets: &[BudgetConfig],
    keys: &[KeyConfig],
    models: &[Model],
    providers: &[Provider],
) -> Arc<[BudgetParams]> {
    let mut names: FxHashSet<&str> = FxHashSet::default();
    let mut compiled = Vec::with_capacity(budgets.len());
    for (index, budget) in budgets.iter().enumerate() {
        if !names.insert(budget.name.as_str()) {
            let at = at!["budgets", index, "name"];
            cx.error(at, format!("a second budget with name `{}`", budget.name));
        }
        let matches = check_names(cx, index, &budget.matches);
        if matches {
            warn_no_match(cx, index, &budget.matches, keys, models, providers);
        }
        compiled.push(compile_one(cx, index, budget));
    }
    compiled.into()
}

fn compile_one(cx: &mut Context<'_, '_>, index: usize, budget: &BudgetConfig) -> BudgetParams {
    let limit = amount(cx, at!["budgets", index, "limit_usd"], &budget.limit_usd);
    let at = at!["budgets", index, "pacing", "reserve_usd_per_day"];
    let reserve_per_day = budget
        .pacing
        .reserve_usd_per_day
        .as_ref()
        .map(|reserve| amount(cx, at, reserve));
    if reserve_per_day.is_some() && matches!(budget.period, PeriodConfig::Total) {
        cx.error(at, "a budget without a period has no days to reserve for");
    }
    if reserve_per_day.is_some_and(|reserve| reserve > limit) {
        cx.warn(
            at,
            "more per day than the whole budget: only the cheapest models would ever be used",
            "lower it",
        );
    }
    let timezone = TimeZone::get(&budget.timezone).unwrap_or_else(|_| {
        let hint = nearest_zone(&budget.timezone);
        let at = at!["budgets", index, "timezone"];
        let message = format!("unknown time zone `{}`", budget.timezone);
        cx.error_hint(at, message, hint);
        TimeZone::UTC
    });
    let mut alert_at = budget.alert_at.clone();
    alert_at.sort_by(f64::total_cmp);
    alert_at.dedup();
    BudgetParams {
        id: BudgetId::new(budget.name.as_str()),
        matches: BudgetMatch {
            team: budget.matches.team.as_deref().map(TeamId::new),
            app: budget.matches.app.as_deref().map(AppId::new),
            key: budget.matches.key.as_deref().map(KeyId::new),
            model: budget.matches.model.as_deref().map(ModelId::new),
            provider: budget.matches.provider.as_deref().map(ProviderId::new),
        },
        limit,
        period: match budget.period {
            PeriodConfig::Day => Period::Day,
            PeriodConfig::Week => Period::Week,
            PeriodConfig::Month => Period::Month,
            PeriodConfig::Total => Period::Total,
        },
        timezone,
        reserve_per_day,
        on_exhausted: match budget.on_exhausted {
            ExhaustedConfig::Block => OnExhausted::Block,
            ExhaustedConfig::Downgrade => OnExhausted::Downgrade,
            ExhaustedConfig::LocalOnly => OnExhausted::LocalOnly,
        },
        alert_at,
    }
}

fn amount(cx: &mut Context<'_, '_>, at: &[Step<'_>], text: &Decimal) -> PicoUsd {
    PicoUsd::parse_usd(&text.0).unwrap_or_else(|error| {
        cx.error(at, error.to_string());
        PicoUsd::ZERO
    })
}

fn nearest_zone(zone: &str) -> String {
    let names: Vec<String> = jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .collect();
    crate::config::suggest::nearest(zone, names.iter().map(String::as_str))
        .filter(|hint| hint.starts_with("did you"))
        .unwrap_or_else(|| "use an IANA name such as `Europe/Madrid`".to_owned())
}

/// True when every name that the budget matches exists; unknown ones are errors, because such a
/// budget would guard nothing.
fn check_names(cx: &mut Context<'_, '_>, index: usize, matches: &MatchConfig) -> bool {
    let before = cx.findings.errors();
    if let Some(team) = &matches.team
        && !cx.names.teams.contains(team.as_str())
    {
        cx.unknown(
            at!["budgets", index, "match", "team"],
            "team",
            team,
            |names| &names.teams,
        );
    }
    if let Some(app) = &matches.app
        && !cx.names.apps.contains(app.as_str())
    {
        let at = at!["budgets", index, "match", "app"];
        cx.unknown(at, "app", app, |names| &names.apps);
    }
    if let Some(key) = &matches.key
        && !cx.names.keys.contains(key.as_str())
    {
        cx.unknown(at!["budgets", index, "match", "key"], "key", key, |names| {
            &names.keys
        });
    }
    if let Some(model) = &matches.model {
        cx.model(at!["budgets", index, "match", "model"], model);
    }
    if let Some(provider) = &matches.provider
        && !cx.names.providers.contains(provider.as_str())
    {
        let at = at!["budgets", index, "match", "provider"];
        cx.unknown(at, "provider", provider, |names| &names.providers);
    }
    cx.findings.errors() == before
}

fn warn_no_match(
    cx: &mut Context<'_, '_>,
    index: usize,
    matches: &MatchConfig,
    keys: &[KeyConfig],
    models: &[Model],
    providers: &[Provider],
) {
    let agrees = |wanted: Option<&String>, has: Option<&String>| {
        wanted.is_none_or(|wanted| wanted == has.map_or("default", String::as_str))
    };
    let by_caller = keys.iter().any(|key| {
        agrees(matches.team.as_ref(), key.team.as_ref())
            && agrees(matches.app.as_ref(), key.app.as_ref())
            && matches.key.as_ref().is_none_or(|id| *id == key.id)
    });
    // Without keys everybody is team and app `default`.
    let by_default = matches.key.is_none()
        && agrees(matches.team.as_ref(), None)
        && agrees(matches.app.as_ref(), None);
    let by_model = match (&matches.model, &matches.provider) {
        (Some(model), Some(provider)) => models
            .iter()
            .filter(|candidate| candidate.id.as_str() == model)
            .flat_map(|candidate| candidate.deployments.iter())
            .filter_map(|deployment| providers.get(deployment.provider))
            .any(|candidate| candidate.id.as_str() == provider),
        _ => true,
    };
    if !by_model || !(by_caller || by_default) {
        let at = at!["budgets", index, "match"];
        let what = if by_model { "no key" } else { "no deployment" };
        let message = format!("matches nothing: {what} agrees with all of its fields");
        cx.warn(at, message, "this budget would guard nothing");
    }
}
