//! Money under random schedules: strict budgets are never overrun, those that accept an overrun never
//! by more than they declare, and what is spent is the bill.

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Admit {
        user: usize,
        model: usize,
        worst: i128,
        likely: i128,
    },
    Settle {
        which: usize,
        percent: i128,
    },
    Cancel {
        which: usize,
    },
    Reload {
        seed: usize,
    },
    Wait {
        ms: i64,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..4usize, 0..2usize, 0..70i128, 0..=100i128).prop_map(|(user, model, worst, share)| {
            Act::Admit { user, model, worst, likely: worst * share / 100 }
        }),
        4 => (any::<usize>(), 0..=100i128).prop_map(|(which, percent)| Act::Settle { which, percent }),
        2 => any::<usize>().prop_map(|which| Act::Cancel { which }),
        1 => any::<usize>().prop_map(|seed| Act::Reload { seed }),
        1 => (0..9 * HOUR_MS).prop_map(|ms| Act::Wait { ms }),
    ];
    prop::collection::vec(act, 1..150)
}

const USERS: [Option<&str>; 4] = [None, Some("ann"), Some("bob"), Some("cid")];

fn payer_of(user: usize, model: usize) -> Payer {
    Payer {
        end_user: USERS[user].map(Arc::from),
        ..payer("t", ["m", "n"][model])
    }
}

/// Budgets over everything, a model, each end user and one of them, in two windows.
fn strict() -> Vec<BudgetParams> {
    let mut total = budget("total", 4_000);
    total.period = Period::Total;
    let mut of_model = budget("model", 900);
    of_model.matches.model = Some("m".into());
    of_model.period = Period::Week;
    of_model.timezone = TimeZone::get("America/Havana").expect("a time zone");
    let mut each = of_team("each", "t", 150);
    each.matches.end_user = Some(EndUserMatch::Each);
    let mut one = of_team("one", "t", 120);
    one.matches.end_user = Some(EndUserMatch::One("bob".into()));
    one.period = Period::Month;
    vec![total, budget("day", 400), of_model, each, one]
}

/// The same budgets in another order, with limits that are at least as high as they were.
fn changed(budgets: &[BudgetParams], seed: usize) -> Vec<BudgetParams> {
    let mut next = budgets.to_vec();
    let count = next.len();
    next.rotate_left(seed % count);
    let raised = &mut next[seed % 7 % count];
    raised.limit += pico(i128::try_from(seed % 50).unwrap_or(0));
    raised.alert_at = vec![0.5];
    next
}

/// Runs a schedule and checks every budget after every step; returns the bill and what is in flight.
fn run(
    mut budgets: Vec<BudgetParams>,
    schedule: Vec<Act>,
    mut check: impl FnMut(&[BudgetView]) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let bench = Bench::new(&budgets);
    let (mut bill, mut in_flight) = (0, Vec::new());
    for act in schedule {
        match act {
            Act::Admit {
                user,
                model,
                worst,
                likely,
            } => {
                let amounts = Amounts {
                    worst_case: pico(worst),
                    likely: pico(likely),
                };
                let payer = payer_of(user, model);
                let affords = bench.budgets.affords(&payer, amounts);
                let held = bench.budgets.reserve(&payer, amounts);
                prop_assert_eq!(affords, held.is_ok());
                in_flight.extend(held.ok().map(|held| (held, worst)));
            }
            Act::Settle { which, percent } if !in_flight.is_empty() => {
                let (held, worst) = in_flight.swap_remove(which % in_flight.len());
                held.settle(pico(worst * percent / 100));
                bill += worst * percent / 100;
            }
            Act::Cancel { which } if !in_flight.is_empty() => {
                drop(in_flight.swap_remove(which % in_flight.len()));
            }
            Act::Reload { seed } => {
                budgets = changed(&budgets, seed);
                bench.apply(&budgets);
            }
            Act::Wait { ms } => bench.clock.advance_ms(ms),
            Act::Settle { .. } | Act::Cancel { .. } => {}
        }
        check(&bench.budgets.view())?;
    }
    for (held, worst) in in_flight {
        held.settle(pico(worst));
        bill += worst;
    }
    let views = bench.budgets.view();
    check(&views)?;
    prop_assert_eq!(bench.stands("total"), (bill, 0));
    for view in views {
        prop_assert_eq!(view.reserved, PicoUsd::ZERO, "{}", view.budget);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_strict_budget_is_never_overrun_and_spends_the_bill(schedule in acts()) {
        run(strict(), schedule, |views| {
            for view in views {
                prop_assert!(view.spent + view.reserved <= view.limit, "{:?}", view);
            }
            Ok(())
        })?;
    }

    #[test]
    fn an_accepted_overrun_is_never_exceeded(schedule in acts()) {
        let mut budgets = strict();
        let accepted = pico(60);
        for budget in &mut budgets {
            budget.overrun = Some(Overrun { at_most: accepted, probability: 0.01 });
        }
        run(budgets, schedule, |views| {
            for view in views {
                prop_assert!(view.spent <= view.limit + accepted, "{:?}", view);
            }
            Ok(())
        })?;
    }
}

/// A hundred agents that ask for a dollar at most and cost a cent.
#[test]
fn huge_requests_freeze_a_strict_budget_and_not_one_that_accepts_a_risk() {
    let at_once = |overrun: Option<Overrun>| {
        let mut params = budget("agents", 1_000);
        params.overrun = overrun;
        let bench = Bench::new(&[params]);
        let amounts = Amounts {
            worst_case: pico(100),
            likely: pico(2),
        };
        let mut held = Vec::new();
        for _ in 0..100 {
            held.extend(bench.budgets.reserve(&payer("t", "m"), amounts));
        }
        let count = held.len();
        for held in held {
            held.settle(pico(1));
        }
        (count, bench.stands("agents").0)
    };
    assert_eq!(at_once(None), (10, 10));
    let accepted = |usd| {
        Some(Overrun {
            at_most: pico(usd),
            probability: 0.001,
        })
    };
    assert_eq!(at_once(accepted(2_000)), (30, 30), "3000 may be at stake");
    assert_eq!(at_once(accepted(10_000)), (100, 100));
}

#[test]
fn windows_on_one_scope_must_all_have_room() {
    let mut day = of_team("search/day", "t", 50);
    day.alert_at = vec![1.0];
    let mut month = of_team("search/month", "t", 120);
    month.period = Period::Month;
    let bench = Bench::new(&[day, month]);
    bench.reserve("t", 50).expect("fits").settle(pico(50));
    let exhausted = bench.reserve("t", 1).expect_err("the day is spent");
    assert_eq!(exhausted.budget, "search/day".into());
    for spent in [50, 20] {
        bench.clock.advance_ms(DAY_MS);
        bench
            .reserve("t", spent)
            .expect("a new day")
            .settle(pico(spent));
    }
    let exhausted = bench.reserve("t", 1).expect_err("the month is spent");
    assert_eq!(exhausted.budget, "search/month".into());
    assert!(exhausted.retry_after > Some(Duration::from_hours(24)));
}

#[test]
fn tags_match_teams_and_keys_as_the_file_gives_them() {
    let mut params = budget("center", 100);
    params.matches.tagged = Some(Tagged {
        tags: vec![("cost_center".into(), "x".into())],
        teams: vec!["t".into()],
        except: vec!["k2".into()],
        keys: vec!["k9".into()],
    });
    let bench = Bench::new(&[params]);
    let spend = |team: &str, key: Option<&str>| {
        let payer = Payer {
            key: key.map(Into::into),
            ..payer(team, "m")
        };
        let held = bench.budgets.reserve(&payer, pico(0)).expect("free");
        held.settle(pico(1));
        bench.stands("center").0
    };
    assert_eq!(spend("t", None), 1);
    assert_eq!(spend("t", Some("k1")), 2);
    assert_eq!(spend("t", Some("k2")), 2, "has another value");
    assert_eq!(spend("u", Some("k9")), 3);
    assert_eq!(spend("u", Some("k8")), 3);
}
