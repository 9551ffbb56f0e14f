//! Limits for each end user: bounded, and never wider for want of a name.

use super::*;
use crate::runtime::budgets::users::MAX_END_USERS;

fn each(name: &str, limit: i128) -> BudgetParams {
    let mut params = of_team(name, "t", limit);
    params.matches.end_user = Some(EndUserMatch::Each);
    params
}

fn of(user: Option<&str>) -> Payer {
    Payer {
        end_user: user.map(Arc::from),
        ..payer("t", "m")
    }
}

fn reserve(bench: &Bench, user: Option<&str>, amount: i128) -> Result<Reservation, Exhausted> {
    bench.budgets.reserve(&of(user), pico(amount))
}

fn spend(bench: &Bench, user: Option<&str>, amount: i128) {
    reserve(bench, user, amount)
        .expect("fits")
        .settle(pico(amount));
}

/// How many end users have a cell.
fn known(bench: &Bench) -> usize {
    let view = bench.view("each");
    view.end_users.expect("a budget for end users")
}

#[test]
fn each_end_user_has_a_limit_of_his_own() {
    let bench = Bench::new(&[each("each", 100), of_team("team", "t", 150)]);
    spend(&bench, Some("ann"), 90);
    assert_eq!(
        reserve(&bench, Some("ann"), 20).expect_err("ann").budget,
        "each".into()
    );
    spend(&bench, Some("bob"), 50);
    assert_eq!(bench.stands("each"), (90, 0), "the one who spent most");
    assert_eq!(
        reserve(&bench, Some("cid"), 20).expect_err("team").budget,
        "team".into()
    );
    assert_eq!(known(&bench), 2, "cid was refused and leaves no trace");
    let affordance = |user| bench.budgets.affordance(&caller("t"), user).remaining;
    assert_eq!(affordance(Some("ann")), Some(pico(10)));
    assert!(!bench.budgets.affords(&of(Some("ann")), pico(20)));
    assert!(bench.budgets.affords(&of(Some("dora")), pico(10)));
    assert!(!bench.budgets.affords(&of(Some("dora")), pico(101)));
    assert_eq!(known(&bench), 2, "looking makes no cell");
    bench.clock.advance_ms(DAY_MS);
    spend(&bench, Some("ann"), 90);
}

#[test]
fn who_names_nobody_shares_one_limit_and_nobody_escapes_by_silence() {
    let bench = Bench::new(&[each("each", 100)]);
    spend(&bench, None, 60);
    assert!(reserve(&bench, None, 50).is_err());
    let endless = "x".repeat(10_000);
    assert!(
        reserve(&bench, Some(&endless), 50).is_err(),
        "an absurd name counts as none"
    );
    spend(&bench, Some("ann"), 100);
}

#[test]
fn one_named_end_user_is_limited_and_others_are_not() {
    let mut params = each("one", 100);
    params.matches.end_user = Some(EndUserMatch::One("ann".into()));
    let bench = Bench::new(&[params]);
    spend(&bench, Some("ann"), 100);
    assert!(reserve(&bench, Some("ann"), 1).is_err());
    assert!(!bench.budgets.affords(&of(Some("ann")), pico(1)));
    spend(&bench, Some("bob"), 1_000);
    spend(&bench, None, 1_000);
    assert_eq!(bench.stands("one"), (100, 0));
}

#[test]
fn beyond_the_bound_everybody_new_shares_one_limit_until_the_period_turns() {
    let bench = Bench::new(&[each("each", 100)]);
    for number in 0..MAX_END_USERS {
        spend(&bench, Some(&format!("user-{number}")), 1);
    }
    assert_eq!(known(&bench), MAX_END_USERS);
    spend(&bench, Some("late-1"), 60);
    assert!(reserve(&bench, Some("late-2"), 60).is_err(), "fail closed");
    spend(&bench, Some("user-7"), 99);
    assert_eq!(known(&bench), MAX_END_USERS);
    let held = reserve(&bench, Some("user-8"), 10).expect("fits");
    bench.clock.advance_ms(DAY_MS);
    spend(&bench, Some("late-1"), 60);
    spend(&bench, Some("late-2"), 60);
    assert_eq!(known(&bench), 3, "the others were idle");
    held.settle(pico(10));
    assert!(reserve(&bench, Some("user-8"), 91).is_err());
}

#[test]
fn who_has_nothing_spent_and_nothing_in_flight_leaves_no_trace() {
    let bench = Bench::new(&[each("each", 100)]);
    let first = reserve(&bench, Some("ann"), 10).expect("fits");
    let second = reserve(&bench, Some("ann"), 0).expect("free");
    assert_eq!(known(&bench), 1);
    drop(first);
    assert_eq!(known(&bench), 1, "one is still in flight");
    second.settle(pico(0));
    assert_eq!(known(&bench), 0);
    let other = reserve(&bench, Some("bob"), 10).expect("fits");
    assert_eq!(bench.stands("each"), (0, 10), "the gap is used again");
    drop(other);
}

#[test]
fn reloads_keep_end_users_and_new_budgets_learn_them_from_the_ledger() {
    let bench = Bench::new(&[each("each", 100)]);
    let started_ms = bench.clock.unix_ms();
    bench.clock.advance_ms(1);
    spend(&bench, Some("ann"), 30);
    spend(&bench, None, 1);
    let held = reserve(&bench, Some("bob"), 30).expect("fits");
    let ledger = |params: &BudgetParams, range: Range<i64>| {
        assert_eq!(params.id, "new".into());
        assert_eq!(range.end, started_ms, "up to what is known from memory");
        Ok::<_, Infallible>(LedgerSpending {
            total: pico(1),
            by_end_user: vec![("ann".into(), pico(10)), ("cid".into(), pico(5))],
        })
    };
    let Ok(()) = bench
        .budgets
        .apply(&[each("new", 60), each("each", 70)], &ledger);
    assert!(reserve(&bench, Some("ann"), 30).is_err(), "40 of 60");
    assert_eq!(bench.stands("new"), (40, 0));
    assert!(reserve(&bench, None, 59).is_err(), "2 of 60");
    held.settle(pico(30));
    assert!(reserve(&bench, Some("bob"), 31).is_err(), "30 of 60");
    spend(&bench, Some("ann"), 20);
    assert_eq!(bench.stands("each"), (50, 0));
    assert!(reserve(&bench, Some("cid"), 56).is_err());
}

/// As `reloads_among_settlements_count_each_exactly_once`, by end user.
#[test]
fn reloads_among_settlements_of_end_users_count_each_exactly_once() {
    use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
    const USERS: [&str; 3] = ["ann", "bob", "cid"];
    let bench = Bench::new(&[]);
    let settled = [(); 3].map(|()| AtomicI64::new(0));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            for round in 0..200 {
                let budgets = [each("each", 1_000_000_000), each("again", 1_000_000_000)];
                bench.apply(&budgets[..round % 3]);
                std::thread::yield_now();
            }
            done.store(true, Ordering::SeqCst);
        });
        for (user, sum) in USERS.iter().zip(&settled) {
            let (bench, done) = (&bench, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let held = reserve(bench, Some(user), 2).expect("fits");
                    held.settle(pico(1));
                    sum.fetch_add(1, Ordering::SeqCst);
                    drop(reserve(bench, Some(user), 1));
                }
            });
        }
        reloading.join().expect("reloads");
    });
    bench.apply(&[]);
    for (user, sum) in USERS.iter().zip(settled) {
        let sum = i128::from(sum.into_inner());
        bench.apply(&[]);
        bench.apply(&[each("each", sum + 10)]);
        assert!(reserve(&bench, Some(user), 11).is_err(), "{user}: {sum}");
        drop(reserve(&bench, Some(user), 10).expect("exactly what is left"));
    }
}

#[test]
fn thresholds_alert_when_the_first_end_user_reaches_them() {
    let mut params = each("each", 100);
    params.alert_at = vec![0.5, 1.0];
    let bench = Bench::new(&[params]);
    let alerted = || bench.budgets.take_alerts().len();
    spend(&bench, Some("ann"), 60);
    assert_eq!(alerted(), 1);
    spend(&bench, Some("bob"), 60);
    assert_eq!(alerted(), 0, "not once for each of them");
    spend(&bench, Some("bob"), 40);
    assert_eq!(alerted(), 1);
    bench.clock.advance_ms(DAY_MS);
    spend(&bench, Some("cid"), 50);
    assert_eq!(alerted(), 1, "a new period");
}
