//! What reserving and settling cost: `cargo bench --bench budgets`. The bar is 5 µs for both together.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench fails loudly and prints its figures"
)]

use std::convert::Infallible;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use divan::{Bencher, black_box};
use tollgate::clock::Clock;
use tollgate::config;
use tollgate::runtime::budgets::{Amounts, BudgetParams, Budgets, Payer};
use tollgate::types::PicoUsd;

fn main() {
    divan::main();
}

/// One budget for everything, one with two windows for each of a thousand teams, one for each end user
/// of each of them, one for a model.
fn budgets() -> Arc<Budgets> {
    let mut text = config::builtin::BUILT_IN
        .replace("budgets:", "budgets_of_the_demo:")
        .split("budgets_of_the_demo:")
        .next()
        .expect("a beginning")
        .to_owned();
    text.push_str("\nteams:\n");
    for team in 0..1_000 {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "  team-{team}: {{}}");
    }
    text.push_str("budgets:\n  - { name: all, limit_usd: 1000000, period: month, overrun: { at_most_usd: 10 } }\n");
    for team in 0..1_000 {
        let _ = writeln!(
            text,
            "  - {{ name: t{team}, match: {{ team: team-{team} }}, windows: [ {{ limit_usd: 1000, period: day }}, {{ limit_usd: 10000, period: month }} ] }}\n  \
             - {{ name: u{team}, match: {{ team: team-{team}, end_user: \"*\" }}, limit_usd: 1000, period: day }}"
        );
    }
    let snapshot = config::load(&text, "bench", &|_| None, 0).expect("a sound file");
    let budgets = Arc::new(Budgets::new(Clock::system()));
    let empty = |_: &BudgetParams, _: Range<i64>| Ok::<_, Infallible>(PicoUsd::ZERO.into());
    let Ok(()) = budgets.apply(&snapshot.budgets, &empty);
    budgets
}

fn payer(team: usize) -> Payer {
    Payer {
        team: format!("team-{team}").as_str().into(),
        app: "default".into(),
        key: Some("key".into()),
        model: "sim-large".into(),
        provider: "simulated".into(),
        end_user: Some("user-1".into()),
    }
}

fn pay(budgets: &Arc<Budgets>, payer: &Payer) {
    let amounts = Amounts {
        worst_case: PicoUsd::from_pico(1_000_000),
        likely: PicoUsd::from_pico(1_000),
    };
    let held = budgets
        .reserve(black_box(payer), amounts)
        .expect("there is enough");
    held.settle(PicoUsd::from_pico(10));
}

/// Four cells for each request (everything, day, month, end user), among 3,001 budgets.
#[divan::bench]
fn reserve_and_settle(bencher: Bencher) {
    let budgets = budgets();
    let payers: Vec<Payer> = (0..1_000).map(payer).collect();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 1) % payers.len();
        pay(&budgets, &payers[turn]);
    });
}

/// The same with four threads that want the lock at once.
#[divan::bench(threads = [4])]
fn reserve_and_settle_in_parallel(bencher: Bencher) {
    let budgets = budgets();
    let payer = payer(7);
    bencher.bench(|| pay(&budgets, &payer));
}

/// What the policy asks for each candidate.
#[divan::bench]
fn affords(bencher: Bencher) {
    let (budgets, payer) = (budgets(), payer(7));
    bencher.bench(|| budgets.affords(black_box(&payer), PicoUsd::from_pico(1_000)));
}
