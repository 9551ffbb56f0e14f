//! Which rows of the ledger are too old to be kept.

use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::runtime::budgets::{BudgetView, Period};

/// How often old rows are looked for: rows are kept for days.
const EVERY: Duration = Duration::from_hours(1);
const DAY_MS: i64 = 86_400_000;

/// When old rows are looked for next.
#[derive(Debug)]
pub struct RetentionClock(Instant);

impl Default for RetentionClock {
    /// At once.
    fn default() -> Self {
        Self(Instant::now())
    }
}

/// Tells the ledger once an hour which rows may go, if the configuration says how long they are kept.
/// Cheap; to be called every second or so.
pub fn let_old_rows_go(gw: &Gateway, next: &mut RetentionClock) {
    let now = Instant::now();
    if now < next.0 {
        return;
    }
    next.0 = now + EVERY;
    let Some(days) = gw.active.load().snapshot.state.retention_days else {
        return;
    };
    let before_ms = horizon_ms(days, gw.clock.unix_ms(), &gw.budgets.view());
    gw.ledger.purge_before(before_ms);
}

/// The beginning of the oldest UTC day of which rows stay. Whole days go, so that what is left of one
/// is either rows or sums. A budget reads what its period has cost again at each start: sums by
/// quarter of an hour are never deleted and do for most, end users are known by rows only.
fn horizon_ms(days: u32, now_ms: i64, budgets: &[BudgetView]) -> i64 {
    let kept_ms = now_ms.saturating_sub(i64::from(days).saturating_mul(DAY_MS));
    let needed = budgets
        .iter()
        .filter(|budget| budget.period != Period::Total || budget.matches.end_user.is_some())
        .map(|budget| budget.period_start_ms);
    let oldest_ms = needed.fold(kept_ms, i64::min);
    oldest_ms.div_euclid(DAY_MS).saturating_mul(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::budgets::{BudgetMatch, EndUserMatch, OnExhausted};
    use crate::types::PicoUsd;

    const NOON_MS: i64 = 1_794_312_000_000;

    fn budget(period: Period, period_start_ms: i64, end_user: Option<EndUserMatch>) -> BudgetView {
        BudgetView {
            budget: "all".into(),
            matches: BudgetMatch {
                end_user,
                ..BudgetMatch::default()
            },
            limit: PicoUsd::ZERO,
            spent: PicoUsd::ZERO,
            reserved: PicoUsd::ZERO,
            lease: None,
            period,
            period_start_ms,
            period_end_ms: None,
            shadow_price: 0.0,
            forecast_usd: None,
            share: 0.0,
            floor: false,
            on_exhausted: OnExhausted::Block,
            end_users: None,
            learned: None,
        }
    }

    fn check(days: u32, budgets: &[BudgetView], expect_days_ago: i64) {
        let midnight = NOON_MS - NOON_MS.rem_euclid(DAY_MS);
        let found = horizon_ms(days, NOON_MS, budgets);
        assert_eq!(found, midnight - expect_days_ago * DAY_MS);
    }

    #[test]
    fn whole_days_go_and_never_those_of_a_present_period() {
        check(7, &[], 7);
        let month = budget(Period::Month, NOON_MS - 9 * DAY_MS - 3_600_000, None);
        check(7, std::slice::from_ref(&month), 9);
        check(30, &[month], 30);
        check(7, &[budget(Period::Total, 0, None)], 7);
        let each = budget(Period::Total, 0, Some(EndUserMatch::Each));
        assert_eq!(horizon_ms(7, NOON_MS, &[each]), 0);
    }
}
