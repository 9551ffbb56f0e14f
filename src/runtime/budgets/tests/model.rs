//! Cells against a model that keeps every reservation and settlement, under any schedule of reloads.

use proptest::prelude::*;

use super::*;

/// A step of a random schedule.
#[derive(Debug, Clone)]
enum Step {
    Reserve {
        team: usize,
        model: usize,
        amount: i128,
    },
    Settle {
        which: usize,
        percent: i128,
    },
    Drop {
        which: usize,
    },
    Apply {
        budgets: u8,
    },
    Wait {
        ms: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..2usize, 0..2usize, 0..60i128)
            .prop_map(|(team, model, amount)| Step::Reserve { team, model, amount }),
        4 => (any::<usize>(), 0..=130i128).prop_map(|(which, percent)| Step::Settle { which, percent }),
        2 => any::<usize>().prop_map(|which| Step::Drop { which }),
        1 => any::<u8>().prop_map(|budgets| Step::Apply { budgets }),
        1 => (0..9 * HOUR_MS).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 1..120)
}

const TEAMS: [&str; 2] = ["t", "u"];
const MODELS: [&str; 2] = ["m", "n"];

/// Up to four budgets, chosen by the bits of a number.
fn chosen(bits: u8) -> Vec<BudgetParams> {
    let mut of_model = budget("model", 300);
    of_model.matches.model = Some("m".into());
    of_model.period = Period::Week;
    let mut total = of_team("total", "u", 500);
    total.period = Period::Total;
    let mut madrid = budget("all", 400);
    madrid.timezone = TimeZone::get("Europe/Madrid").expect("a time zone");
    let all = [madrid, of_team("team", "t", 200), of_model, total];
    let kept = all.into_iter().enumerate();
    kept.filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, params)| params)
        .collect()
}

/// What really happened, kept naively: every settlement, and every reservation in flight.
#[derive(Default)]
struct Model {
    settled: Vec<(i64, Payer, i128)>,
    in_flight: Vec<(Payer, i128, Reservation)>,
}

impl Model {
    /// What a budget must show: settlements of its period, reservations that match.
    fn stands(&self, view: &BudgetView) -> (i128, i128) {
        let matches = |payer: &Payer| {
            view.matches
                .team
                .as_ref()
                .is_none_or(|team| *team == payer.team)
                && view
                    .matches
                    .model
                    .as_ref()
                    .is_none_or(|model| *model == payer.model)
        };
        let of_period = self
            .settled
            .iter()
            .filter(|(at, payer, _)| *at >= view.period_start_ms && matches(payer));
        let held = self.in_flight.iter().filter(|(payer, _, _)| matches(payer));
        (
            of_period.map(|(_, _, cost)| cost).sum(),
            held.map(|(_, amount, _)| amount).sum(),
        )
    }
}

proptest! {
    #[test]
    fn under_any_schedule_the_cells_show_what_happened_and_never_promise_too_much(
        first in any::<u8>(),
        schedule in steps(),
    ) {
        let bench = Bench::new(&chosen(first));
        let mut model = Model::default();
        for step in schedule {
            match step {
                Step::Reserve { team, model: name, amount } => {
                    let payer = payer(TEAMS[team], MODELS[name]);
                    if let Ok(held) = bench.budgets.reserve(&payer, pico(amount)) {
                        // A reservation was only let in where it fits in every budget.
                        let fits = |view: &BudgetView| {
                            let (spent, reserved) = model.stands(view);
                            let mut with = Model::default();
                            with.in_flight.push((payer.clone(), amount, bench.reserve("-", 0).expect("free")));
                            with.stands(view).1 == 0 || spent + reserved + amount <= view.limit.pico()
                        };
                        prop_assert!(bench.budgets.view().iter().all(fits));
                        model.in_flight.push((payer, amount, held));
                    }
                }
                Step::Settle { which, percent } if !model.in_flight.is_empty() => {
                    let which = which % model.in_flight.len();
                    let (payer, amount, held) = model.in_flight.swap_remove(which);
                    let cost = amount * percent / 100;
                    held.settle(pico(cost));
                    model.settled.push((bench.clock.unix_ms(), payer, cost));
                }
                Step::Drop { which } if !model.in_flight.is_empty() => {
                    drop(model.in_flight.swap_remove(which % model.in_flight.len()));
                }
                Step::Apply { budgets } => bench.apply(&chosen(budgets)),
                Step::Wait { ms } => bench.clock.advance_ms(ms),
                Step::Settle { .. } | Step::Drop { .. } => {}
            }
            for view in bench.budgets.view() {
                let shown = (view.spent.pico(), view.reserved.pico());
                prop_assert_eq!(shown, model.stands(&view), "{}", view.budget);
            }
        }
    }
}

/// Threads that reserve, settle and drop while a reload adds and removes budgets: in the end every
/// budget shows every settlement exactly once.
#[test]
fn reloads_among_settlements_count_each_exactly_once() {
    use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
    let bench = Bench::new(&chosen(0));
    let (settled, done) = (AtomicI64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            for bits in 0..=255u8 {
                bench.apply(&chosen(bits));
                std::thread::yield_now();
            }
            done.store(true, Ordering::SeqCst);
        });
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    if let Ok(held) = bench.budgets.reserve(&payer("t", "m"), pico(2)) {
                        held.settle(pico(1));
                        settled.fetch_add(1, Ordering::SeqCst);
                    }
                    drop(bench.budgets.reserve(&payer("t", "m"), pico(1)));
                }
            });
        }
        reloading.join().expect("reloads");
    });
    bench.apply(&chosen(0b111));
    let settled = i128::from(settled.into_inner());
    for name in ["all", "team", "model"] {
        assert_eq!(bench.stands(name), (settled, 0), "{name}");
    }
}
