//! Money is conserved under any order of reserve, settle, void and reload.

use std::convert::Infallible;
use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

mod model;
mod pacing;
mod schedules;
mod users;

/// 2026-11-21 00:00:00 UTC, a Saturday.
const MIDNIGHT_MS: i64 = 1_795_219_200_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn pico(amount: i128) -> PicoUsd {
    PicoUsd::from_pico(amount)
}

fn budget(name: &str, limit: i128) -> BudgetParams {
    BudgetParams {
        id: name.into(),
        matches: BudgetMatch::default(),
        limit: pico(limit),
        overrun: None,
        period: Period::Day,
        timezone: TimeZone::UTC,
        paced: true,
        reserve_per_day: None,
        on_exhausted: OnExhausted::Block,
        alert_at: vec![],
    }
}

fn of_team(name: &str, team: &str, limit: i128) -> BudgetParams {
    let mut params = budget(name, limit);
    params.matches.team = Some(team.into());
    params
}

fn payer(team: &str, model: &str) -> Payer {
    Payer {
        team: team.into(),
        app: "default".into(),
        key: None,
        model: model.into(),
        provider: "p".into(),
        end_user: None,
    }
}

fn caller(team: &str) -> Caller {
    Caller {
        key: None,
        key_sha256: None,
        team: team.into(),
        app: "default".into(),
        tier: crate::types::Tier::Premium,
        allow: crate::types::AllowList::all(),
        regions: Arc::new([]),
    }
}

/// Budgets on a clock that is moved by hand, with an empty ledger.
struct Bench {
    budgets: Arc<Budgets>,
    clock: Clock,
}

impl Bench {
    fn new(params: &[BudgetParams]) -> Self {
        let clock = Clock::manual(MIDNIGHT_MS + 12 * HOUR_MS);
        let budgets = Arc::new(Budgets::new(clock.clone()));
        let bench = Self { budgets, clock };
        bench.apply(params);
        bench
    }

    fn apply(&self, params: &[BudgetParams]) {
        self.apply_with(params, 0);
    }

    fn apply_with(&self, params: &[BudgetParams], in_ledger: i128) {
        let ledger = |_: &BudgetParams, _: Range<i64>| Ok::<_, Infallible>(pico(in_ledger).into());
        let Ok(()) = self.budgets.apply(params, &ledger);
    }

    fn reserve(&self, team: &str, amount: i128) -> Result<Reservation, Exhausted> {
        self.budgets.reserve(&payer(team, "m"), pico(amount))
    }

    fn spend(&self, team: &str, amount: i128) {
        let reservation = self.reserve(team, 0).expect("nothing to pay");
        reservation.settle(pico(amount));
    }

    /// `(spent, reserved)` of a budget.
    fn stands(&self, name: &str) -> (i128, i128) {
        let view = self.view(name);
        (view.spent.pico(), view.reserved.pico())
    }

    fn view(&self, name: &str) -> BudgetView {
        let views = self.budgets.view();
        let found = views.into_iter().find(|view| view.budget == name.into());
        found.expect("the budget")
    }
}

#[test]
fn every_matching_budget_pays_or_none() {
    let mut of_model = budget("model", 50);
    of_model.matches.model = Some("m".into());
    let bench = Bench::new(&[
        budget("all", 1_000),
        of_team("team", "t", 100),
        of_team("other", "u", 1),
        of_model,
    ]);
    let first = bench.reserve("t", 40).expect("fits");
    assert_eq!(bench.stands("all"), (0, 40));
    assert_eq!(bench.stands("other"), (0, 0));
    let exhausted = bench
        .reserve("t", 20)
        .expect_err("the model's budget is short");
    assert_eq!(exhausted.budget, "model".into());
    assert!(exhausted.in_flight_blocks);
    assert_eq!(bench.stands("team"), (0, 40), "nothing was taken");
    first.settle(pico(10));
    assert_eq!(bench.stands("model"), (10, 0));
    drop(bench.reserve("t", 40).expect("fits"));
    assert_eq!(bench.stands("all"), (10, 0));
}

#[test]
fn nothing_to_pay_always_fits_and_is_counted_where_it_costs_after_all() {
    let bench = Bench::new(&[budget("all", 100)]);
    bench.spend("t", 100);
    assert!(bench.reserve("t", 1).is_err());
    let free = bench.reserve("t", 0).expect("a free model");
    free.settle(pico(7));
    assert_eq!(bench.stands("all"), (107, 0));
}

#[test]
fn a_refusal_says_when_to_come_back() {
    let mut total = budget("total", 100);
    total.period = Period::Total;
    let bench = Bench::new(&[budget("day", 100)]);
    bench.spend("t", 60);
    let until_midnight = Some(Duration::from_hours(12));
    let exhausted = bench.reserve("t", 50).expect_err("spent");
    assert!(!exhausted.in_flight_blocks);
    assert_eq!(exhausted.retry_after, until_midnight);
    assert_eq!(
        bench.reserve("t", 101).expect_err("never fits").retry_after,
        None
    );
    bench.apply(&[budget("day", 100), total]);
    bench.spend("t", 1);
    let exhausted = bench.reserve("t", 50).expect_err("both are short");
    assert_eq!(
        (exhausted.budget, exhausted.spent),
        ("total".into(), pico(61)),
        "what was settled before it came counts too"
    );
    assert_eq!(exhausted.retry_after, None, "the longest wait is told");
    let held = bench.reserve("t", 30).expect("fits");
    let exhausted = bench.reserve("t", 30).expect_err("in flight");
    assert!(exhausted.in_flight_blocks && exhausted.retry_after.is_some());
    drop(held);
}

#[test]
fn a_new_period_begins_with_what_is_in_flight_and_pays_what_settles_in_it() {
    let bench = Bench::new(&[budget("day", 100)]);
    bench.spend("t", 70);
    let held = bench.reserve("t", 30).expect("fits");
    bench.clock.advance_ms(12 * HOUR_MS);
    assert_eq!(bench.stands("day"), (0, 30));
    assert!(bench.reserve("t", 71).is_err());
    held.settle(pico(25));
    assert_eq!(bench.stands("day"), (25, 0));
    bench.clock.advance_ms(-HOUR_MS);
    assert_eq!(
        bench.stands("day"),
        (25, 0),
        "a clock set back changes nothing"
    );
}

#[test]
fn a_reload_keeps_what_is_known_and_asks_the_ledger_only_for_the_time_before_this_process() {
    let bench = Bench::new(&[budget("all", 100)]);
    bench.spend("t", 10);
    let held = bench.reserve("t", 5).expect("fits");
    let asked = Mutex::new(vec![]);
    let ledger = |params: &BudgetParams, range: Range<i64>| {
        asked.lock().push((params.id.clone(), range));
        // Settles while the ledger is being asked: in the tally, whatever the ledger says.
        bench.spend("t", 3);
        Ok::<_, Infallible>(pico(40).into())
    };
    let changed = [
        budget("all", 200),
        of_team("team", "t", 200),
        of_team("u", "u", 9),
    ];
    let Ok(()) = bench.budgets.apply(&changed, &ledger);
    let before_this_process = MIDNIGHT_MS..MIDNIGHT_MS + 12 * HOUR_MS;
    assert_eq!(
        asked.into_inner(),
        [
            ("team".into(), before_this_process.clone()),
            ("u".into(), before_this_process)
        ]
    );
    assert_eq!(bench.stands("all"), (16, 5));
    assert_eq!(bench.stands("team"), (40 + 16, 5));
    assert_eq!(bench.stands("u"), (40, 0));
    held.settle(pico(4));
    assert_eq!(bench.stands("team"), (60, 0));
}

#[test]
fn the_next_day_asks_the_ledger_nothing() {
    let bench = Bench::new(&[]);
    bench.spend("t", 10);
    bench.clock.advance_ms(DAY_MS);
    bench.spend("t", 20);
    let never = |_: &BudgetParams, _: Range<i64>| Err("asked");
    let applied = bench.budgets.apply(&[budget("all", 100)], &never);
    assert_eq!(applied, Ok(()));
    assert_eq!(bench.stands("all"), (20, 0));
}

#[test]
fn a_ledger_that_fails_changes_nothing() {
    let bench = Bench::new(&[budget("all", 100)]);
    let failing = |_: &BudgetParams, _: Range<i64>| Err("disk");
    let changed = [budget("all", 1), budget("new", 1)];
    assert_eq!(bench.budgets.apply(&changed, &failing), Err("disk"));
    assert_eq!(bench.budgets.view().len(), 1);
    assert_eq!(bench.view("all").limit, pico(100));
}

#[test]
fn a_budget_that_means_other_money_learns_it_anew() {
    let bench = Bench::new(&[of_team("b", "t", 100)]);
    bench.spend("t", 10);
    bench.spend("u", 20);
    bench.apply_with(&[of_team("b", "u", 100)], 5);
    assert_eq!(bench.stands("b"), (25, 0));
}

#[test]
fn what_is_in_flight_in_a_removed_budget_settles_harmlessly_and_comes_back_with_it() {
    let bench = Bench::new(&[budget("all", 100)]);
    let (first, second) = (bench.reserve("t", 20), bench.reserve("t", 30));
    bench.apply(&[]);
    first.expect("fits").settle(pico(15));
    bench.apply(&[budget("all", 100)]);
    assert_eq!(bench.stands("all"), (15, 30));
    drop(second);
    assert_eq!(bench.stands("all"), (15, 0));
}

#[test]
fn thresholds_alert_once_per_period() {
    let mut params = budget("all", 100);
    params.alert_at = vec![0.5, 0.8, 1.0];
    let bench = Bench::new(&[params.clone()]);
    let alerted = || -> Vec<f64> {
        let alerts = bench.budgets.take_alerts();
        alerts.into_iter().map(|alert| alert.threshold).collect()
    };
    bench.spend("t", 49);
    assert!(alerted().is_empty());
    bench.spend("t", 31);
    assert_eq!(alerted(), [0.5, 0.8]);
    bench.spend("t", 1);
    bench.apply(&[params.clone()]);
    assert!(alerted().is_empty());
    params.limit = pico(81);
    bench.apply(&[params.clone()]);
    assert_eq!(alerted(), [0.5, 0.8, 1.0], "of the new limit");
    bench.clock.advance_ms(DAY_MS);
    bench.spend("t", 41);
    assert_eq!(alerted(), [0.5]);
}

#[test]
fn a_restart_does_not_alert_again() {
    let mut params = budget("all", 100);
    params.alert_at = vec![0.5, 0.9];
    let bench = Bench::new(&[]);
    let restarted = Bench {
        budgets: Arc::new(Budgets::new(bench.clock.clone())),
        clock: bench.clock.clone(),
    };
    restarted.apply_with(&[params], 60);
    assert_eq!(restarted.stands("all"), (60, 0));
    assert_eq!(restarted.budgets.take_alerts(), []);
    restarted.spend("t", 30);
    assert_eq!(restarted.budgets.take_alerts().len(), 1);
}

#[test]
fn the_price_of_money_rises_ahead_of_pace_and_falls_as_time_catches_up() {
    let bench = Bench::new(&[budget("all", 1_000_000)]);
    let price = || bench.budgets.affordance(&caller("t"), None).shadow_price;
    bench.spend("t", 495_000);
    assert!(price().abs() < 1e-9, "half of the day, half of the money");
    let mut last = 0.0;
    for _ in 0..9 {
        bench.spend("t", 10_000);
        assert!(price() > last, "{last}");
        last = price();
    }
    assert!((0.5..1.0).contains(&last), "9 % ahead: {last}");
    for _ in 0..2 {
        bench.clock.advance_ms(HOUR_MS);
        assert!(price() < last, "{last}");
        last = price();
    }
    bench.clock.advance_ms(HOUR_MS);
    assert!(price().abs() < 1e-9, "time has caught up");
    bench.spend("t", 400_000);
    assert!(price() > 9.0, "almost nothing is left");
    bench.clock.advance_ms(8 * HOUR_MS);
    bench.clock.advance_ms(HOUR_MS);
    assert!(price().abs() < 1e-9, "a new day");
}

#[test]
fn affordance_is_that_of_the_tightest_budget() {
    let mut team = of_team("team", "t", 100);
    team.on_exhausted = OnExhausted::Downgrade;
    team.reserve_per_day = Some(pico(40));
    let mut of_model = budget("model", 10);
    of_model.matches.model = Some("m".into());
    let bench = Bench::new(&[budget("all", 1_000), team, of_model]);
    assert_eq!(
        bench.budgets.affordance(&caller("t"), None),
        Affordance {
            remaining: Some(pico(100)),
            ..Affordance::default()
        }
    );
    let held = bench
        .budgets
        .reserve(&payer("t", "n"), pico(30))
        .expect("fits");
    let affordance = bench.budgets.affordance(&caller("t"), None);
    assert_eq!(affordance.remaining, Some(pico(70)));
    held.settle(pico(81));
    assert!(
        bench.budgets.affordance(&caller("t"), None).floor,
        "19 left for half a day"
    );
    let other = bench
        .budgets
        .reserve(&payer("t", "n"), pico(19))
        .expect("fits");
    other.settle(pico(19));
    let affordance = bench.budgets.affordance(&caller("t"), None);
    assert_eq!(affordance.exhausted, Some(OnExhausted::Downgrade));
    assert_eq!(affordance.remaining, Some(PicoUsd::ZERO));
    assert_eq!(bench.budgets.affordance(&caller("u"), None).exhausted, None);
    let for_model = bench.budgets.affordance_for(&payer("u", "m"));
    assert_eq!(for_model.remaining, Some(pico(10)));
}

#[test]
fn a_budget_matches_when_every_dimension_that_it_names_agrees() {
    let named = |key: Option<&str>, provider: Option<&str>| {
        let mut params = of_team("b", "t", 100);
        params.matches.key = key.map(Into::into);
        params.matches.provider = provider.map(Into::into);
        let bench = Bench::new(&[params]);
        bench.spend("t", 1);
        bench.stands("b").0 == 1
    };
    assert!(named(None, None) && named(None, Some("p")));
    assert!(!named(Some("k"), None) && !named(None, Some("q")));
}

/// Sixteen threads against a budget that can pay for a part of them.
#[test]
fn concurrent_requests_never_overspend_and_use_all_there_is() {
    let bench = Bench::new(&[budget("all", 10_000), of_team("team", "t", 10_000)]);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let bench = &bench;
            scope.spawn(move || {
                for step in 0..500_i128 {
                    let Ok(held) = bench.reserve("t", 10) else {
                        continue;
                    };
                    let view = bench.view("all");
                    assert!(view.spent + view.reserved <= view.limit);
                    match (step + thread) % 4 {
                        0 => drop(held),
                        _ => held.settle(pico(10)),
                    }
                }
            });
        }
    });
    assert_eq!(bench.stands("all"), (10_000, 0));
    assert_eq!(bench.stands("team"), (10_000, 0));
}

#[test]
fn what_is_dearer_than_its_learned_reserve_is_counted() {
    let mut learned = budget("learned", 1_000);
    learned.overrun = Some(Overrun {
        at_most: pico(500),
        probability: 0.01,
    });
    let bench = Bench::new(&[learned, budget("strict", 10_000)]);
    let amounts = |worst_case, likely| Amounts {
        worst_case: pico(worst_case),
        likely: pico(likely),
    };
    let pay = |amounts, cost| {
        let reserved = bench.budgets.reserve(&payer("a", "m"), amounts);
        reserved.expect("it fits").settle(pico(cost));
    };
    pay(amounts(100, 10), 10);
    pay(amounts(100, 10), 25);
    pay(amounts(100, 10), 11);
    // Nothing is known of its length: the worst case is reserved, and there is nothing to learn from it.
    pay(amounts(100, 100), 120);
    drop(bench.budgets.reserve(&payer("a", "m"), amounts(100, 10)));
    let views = bench.budgets.view();
    let expect = LearnedReserves {
        attempts: 3,
        overruns: 2,
        overrun: pico(16),
    };
    assert_eq!(views[0].learned, Some(expect));
    assert_eq!(views[1].learned, None, "a strict budget has none");
}
