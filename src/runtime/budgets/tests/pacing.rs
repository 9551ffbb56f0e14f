//! The price of money, the floor and the forecast, on a clock that is moved by hand.

use super::*;

const LIMIT: i128 = 1_000_000_000;

fn month() -> BudgetParams {
    let mut params = budget("month", LIMIT);
    params.period = Period::Month;
    params
}

/// From the first of the month on.
fn bench(params: BudgetParams) -> Bench {
    // 2026-12-01: 31 days of 24 hours.
    let clock = Clock::manual(MIDNIGHT_MS + 10 * DAY_MS);
    let budgets = Arc::new(Budgets::new(clock.clone()));
    let bench = Bench { budgets, clock };
    bench.apply(&[params]);
    bench
}

fn price(bench: &Bench) -> f64 {
    let price = bench.budgets.affordance(&caller("t"), None).shadow_price;
    assert!((price - bench.view("month").shadow_price).abs() < 1e-12);
    price
}

/// Spends a rate, relative to the even pace, hour by hour; returns the highest price on the way.
fn spend_for(bench: &Bench, hours: i64, rate: f64) -> f64 {
    let mut highest = 0.0_f64;
    for _ in 0..hours {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a test"
        )]
        let amount = (LIMIT as f64 / (31.0 * 24.0) * rate) as i128;
        bench.spend("t", amount);
        bench.clock.advance_ms(HOUR_MS);
        highest = highest.max(price(bench));
    }
    highest
}

#[test]
fn an_even_month_has_no_price_and_days_and_nights_hardly_one() {
    let even = bench(month());
    assert!(spend_for(&even, 31 * 24 - 1, 0.98) < 1e-6);
    let daily = bench(month());
    let mut highest = 0.0_f64;
    for _ in 0..30 {
        highest = highest.max(spend_for(&daily, 12, 1.7));
        highest = highest.max(spend_for(&daily, 12, 0.27));
    }
    assert!(highest < 0.3, "{highest}");
}

#[test]
fn a_surge_raises_the_price_smoothly_and_its_end_lowers_it_again() {
    let bench = bench(month());
    assert!(spend_for(&bench, 5 * 24, 1.0) < 0.2);
    let mut last = price(&bench);
    for _ in 0..96 {
        let now = spend_for(&bench, 1, 3.0);
        assert!(now >= last - 1e-9 && now - last < 0.2, "{last} → {now}");
        last = now;
    }
    assert!(last > 1.0, "{last}");
    // Half of what is left can bear: the price falls though spending is still ahead.
    for _ in 0..10 {
        spend_for(&bench, 24, 0.3);
        let now = price(&bench);
        assert!(now <= last, "{last} → {now}");
        last = now;
    }
    assert!(last < 0.5, "{last}");
    assert!(bench.view("month").share > 19.0 / 31.0, "still ahead");
}

#[test]
fn behind_its_pace_money_has_no_price_however_fast_it_goes() {
    let bench = bench(month());
    spend_for(&bench, 15 * 24, 0.3);
    assert!(spend_for(&bench, 24, 3.0) < 1e-9);
}

#[test]
fn the_price_is_restored_after_a_restart_and_anew_with_another_limit() {
    let before = bench(month());
    spend_for(&before, 10 * 24, 1.5);
    let (spent, held) = before.stands("month");
    assert_eq!(held, 0);
    let after = Bench {
        budgets: Arc::new(Budgets::new(before.clock.clone())),
        clock: before.clock.clone(),
    };
    after.apply_with(&[month()], spent);
    assert!(price(&after) > 0.5, "{}", price(&after));
    let mut raised = month();
    raised.limit = pico(LIMIT * 2);
    after.apply(&[raised]);
    assert!(price(&after) < 1e-9, "the new limit is far away");
    assert_eq!(after.stands("month").0, spent);
    let mut lowered = month();
    lowered.limit = pico(spent + 1);
    after.apply(&[lowered]);
    assert!(price(&after) > 9.0);
}

#[test]
fn a_wall_has_no_price_and_the_floor_has_the_highest() {
    let mut wall = month();
    wall.paced = false;
    let bench_of_wall = bench(wall);
    assert!(spend_for(&bench_of_wall, 10 * 24, 2.0) < 1e-12);
    let mut floor = month();
    floor.paced = false;
    // A 62nd of the limit must be left for each day.
    floor.reserve_per_day = Some(pico(LIMIT / 62));
    let bench = bench(floor);
    spend_for(&bench, 10 * 24, 1.0);
    assert!(!bench.view("month").floor && price(&bench) < 1e-12);
    spend_for(&bench, 4 * 24, 4.0);
    assert!(bench.view("month").floor);
    assert!((price(&bench) - 10.0).abs() < 1e-12, "nothing is dearer");
}

#[test]
fn the_forecast_goes_on_at_the_present_rate() {
    let bench = bench(month());
    let forecast = || {
        let usd = bench.view("month").forecast_usd?;
        Some(usd / pico(LIMIT).as_usd_f64())
    };
    let check = |expect: f64, margin: f64| {
        let found = forecast().expect("a forecast");
        assert!((found - expect).abs() < margin, "{found}, not {expect}");
    };
    spend_for(&bench, 2, 1.0);
    assert_eq!(forecast(), None, "too early to say");
    spend_for(&bench, 10 * 24 - 2, 0.8);
    check(0.8, 0.02);
    spend_for(&bench, 10 * 24, 1.6);
    // What is spent, and eleven days at nearly the new rate.
    check((0.8 * 10.0 + 1.6 * 21.0) / 31.0, 0.06);
    let mut total = month();
    total.period = Period::Total;
    total.id = "total".into();
    bench.apply(&[total]);
    assert_eq!(bench.view("total").forecast_usd, None);
}
