//! `budgets`

mod matching;

use std::sync::Arc;

use indexmap::IndexMap;
use jiff::tz::TimeZone;
use rustc_hash::FxHashSet;

use super::{Context, at};
use crate::config::schema::{
    BudgetConfig, Decimal, ExhaustedConfig, KeyConfig, OverrunConfig, PeriodConfig, TeamConfig,
};
use crate::config::snapshot::{Model, Provider};
use crate::config::tree::Step;
use crate::runtime::{BudgetMatch, BudgetParams, OnExhausted, Overrun, Period};
use crate::types::{BudgetId, PicoUsd};

/// The other sections, as far as budgets name things of them.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    pub keys: &'a [KeyConfig],
    pub teams: &'a IndexMap<String, TeamConfig>,
    pub models: &'a [Model],
    pub providers: &'a [Provider],
}

pub fn compile(
    cx: &mut Context<'_, '_>,
    budgets: &[BudgetConfig],
    named: Named<'_>,
) -> Arc<[BudgetParams]> {
    let mut names: FxHashSet<BudgetId> = FxHashSet::default();
    let mut compiled = Vec::with_capacity(budgets.len());
    for (index, budget) in budgets.iter().enumerate() {
        let matches = matching::compile(cx, index, &budget.matches, named);
        let windows = windows(cx, index, budget);
        let common = compile_one(cx, index, budget, matches, &windows);
        for (id, limit, period) in windows {
            if !names.insert(id.clone()) {
                let at = at!["budgets", index, "name"];
                cx.error(at, format!("a second budget with name `{id}`"));
            }
            compiled.push(BudgetParams {
                id,
                limit,
                period,
                ..common.clone()
            });
        }
    }
    compiled.into()
}

/// What is reserved in all budgets that accept an overrun suits the most careful of them.
pub fn accepted_risk(budgets: &[BudgetParams]) -> Option<f64> {
    let accepted = budgets.iter().filter_map(|budget| budget.overrun);
    accepted
        .map(|overrun| overrun.probability)
        .min_by(f64::total_cmp)
}

/// Name, limit and period of each budget that an entry stands for.
fn windows(
    cx: &mut Context<'_, '_>,
    index: usize,
    budget: &BudgetConfig,
) -> Vec<(BudgetId, PicoUsd, Period)> {
    let name = budget.name.as_str();
    if budget.windows.is_empty() {
        return single(cx, index, budget).into_iter().collect();
    }
    if budget.limit_usd.is_some() || budget.period.is_some() {
        cx.error_hint(
            at!["budgets", index, "windows"],
            "stands beside `limit_usd` or `period`",
            "make that one a window too",
        );
    }
    let mut windows = Vec::with_capacity(budget.windows.len());
    let mut seen: FxHashSet<Period> = FxHashSet::default();
    for (place, window) in budget.windows.iter().enumerate() {
        let at = at!["budgets", index, "windows", place, "limit_usd"];
        let limit = amount(cx, at, &window.limit_usd);
        let period = period_of(window.period);
        if !seen.insert(period) {
            let at = at!["budgets", index, "windows", place, "period"];
            cx.error(
                at,
                format!("a second window of period `{}`", period.as_str()),
            );
            continue;
        }
        let id = BudgetId::new(format!("{name}/{}", period.as_str()));
        windows.push((id, limit, period));
    }
    windows
}

/// An entry with a limit and a period of its own; an error where either is missing.
fn single(
    cx: &mut Context<'_, '_>,
    index: usize,
    budget: &BudgetConfig,
) -> Option<(BudgetId, PicoUsd, Period)> {
    let mut missing = |key: &str, is_there: bool| {
        if !is_there && !cx.was_removed(at!["budgets", index, key]) {
            cx.error_hint(
                at!["budgets", index],
                format!("missing `{key}`"),
                "a budget has `limit_usd` and `period`, or `windows` that each have both",
            );
        }
    };
    missing("limit_usd", budget.limit_usd.is_some());
    missing("period", budget.period.is_some());
    let limit = budget.limit_usd.as_ref()?;
    let limit = amount(cx, at!["budgets", index, "limit_usd"], limit);
    let period = period_of(budget.period?);
    Some((BudgetId::new(budget.name.as_str()), limit, period))
}

/// What the windows of an entry have in common.
fn compile_one(
    cx: &mut Context<'_, '_>,
    index: usize,
    budget: &BudgetConfig,
    matches: BudgetMatch,
    windows: &[(BudgetId, PicoUsd, Period)],
) -> BudgetParams {
    let mut alert_at = budget.alert_at.clone();
    alert_at.sort_by(f64::total_cmp);
    alert_at.dedup();
    BudgetParams {
        id: BudgetId::new(budget.name.as_str()),
        matches,
        limit: PicoUsd::ZERO,
        overrun: budget
            .overrun
            .as_ref()
            .map(|overrun| compile_overrun(cx, index, overrun, windows)),
        period: Period::Total,
        timezone: timezone(cx, index, &budget.timezone),
        paced: budget.pacing.enabled,
        reserve_per_day: reserve_per_day(cx, index, budget, windows),
        on_exhausted: match budget.on_exhausted {
            ExhaustedConfig::Block => OnExhausted::Block,
            ExhaustedConfig::Downgrade => OnExhausted::Downgrade,
            ExhaustedConfig::LocalOnly => OnExhausted::LocalOnly,
        },
        alert_at,
    }
}

fn compile_overrun(
    cx: &mut Context<'_, '_>,
    index: usize,
    overrun: &OverrunConfig,
    windows: &[(BudgetId, PicoUsd, Period)],
) -> Overrun {
    let at = at!["budgets", index, "overrun", "at_most_usd"];
    let at_most = amount(cx, at, &overrun.at_most_usd);
    if windows.iter().any(|(_, limit, _)| at_most > *limit) {
        cx.warn(
            at,
            "more than the limit itself",
            "it should be what nobody would mind beyond the limit",
        );
    }
    Overrun {
        at_most,
        probability: overrun.probability,
    }
}

fn reserve_per_day(
    cx: &mut Context<'_, '_>,
    index: usize,
    budget: &BudgetConfig,
    windows: &[(BudgetId, PicoUsd, Period)],
) -> Option<PicoUsd> {
    let at = at!["budgets", index, "pacing", "reserve_usd_per_day"];
    let reserve = amount(cx, at, budget.pacing.reserve_usd_per_day.as_ref()?);
    if windows
        .iter()
        .any(|(_, _, period)| *period == Period::Total)
    {
        cx.error(at, "a budget without a period has no days to reserve for");
    }
    if windows.iter().any(|(_, limit, _)| reserve > *limit) {
        cx.warn(
            at,
            "more per day than the whole budget: only the cheapest models would ever be used",
            "lower it",
        );
    }
    Some(reserve)
}

fn timezone(cx: &mut Context<'_, '_>, index: usize, name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or_else(|_| {
        let hint = nearest_zone(name);
        let at = at!["budgets", index, "timezone"];
        let message = format!("unknown time zone `{name}`");
        cx.error_hint(at, message, hint);
        TimeZone::UTC
    })
}

const fn period_of(period: PeriodConfig) -> Period {
    match period {
        PeriodConfig::Day => Period::Day,
        PeriodConfig::Week => Period::Week,
        PeriodConfig::Month => Period::Month,
        PeriodConfig::Total => Period::Total,
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
