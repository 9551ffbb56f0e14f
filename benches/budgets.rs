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
use tollgate::runtime::budgets::{Amounts, BudgetParams, Budgets, Payer, Sharing};
use tollgate::runtime::leases::Bell;
use tollgate::stores::SharedMemory;
use tollgate::types::{PicoUsd, Replica};

fn main() {
    divan::main();
}

fn budgets() -> Arc<Budgets> {
    made(Budgets::new(Clock::system()))
}

/// One budget for everything, one with two windows for each of a thousand teams, one for each end user
/// of each of them, one for a model.
fn made(budgets: Budgets) -> Arc<Budgets> {
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
    let budgets = Arc::new(budgets);
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

/// The same budgets as one of several replicas has them: every cell holds a lease. What is within the lease
/// asks nobody, which is counted: the bench fails on a call to the store, or when its request does not pass.
#[divan::bench]
fn reserve_and_settle_leased(bencher: Bencher) {
    let clock = Clock::manual(1_793_491_200_000);
    let store = SharedMemory::new(clock.clone());
    let sharing = Sharing {
        one_ledger: false,
        open_when_away: false,
    };
    let budgets = made(Budgets::new(clock.clone()).shared(sharing, Bell::default()));
    let payers: Vec<Payer> = (0..100).map(payer).collect();
    // Requests show their demand, and leases grow to it, as in the seconds after a start. End users who
    // have spent nothing leave no trace, and no lease.
    for _ in 0..8 {
        for payer in &payers {
            if let Ok(held) = budgets.reserve(payer, PicoUsd::from_pico(1_000_000)) {
                held.settle(PicoUsd::from_pico(10));
            }
        }
        look_after_leases(&budgets, &store);
        clock.advance_ms(500);
    }
    let calls = store.calls();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 1) % payers.len();
        pay(&budgets, &payers[turn]);
    });
    assert_eq!(store.calls(), calls, "a request made a round trip");
}

/// One exchange with the store, as the background task has it ten times a second.
fn look_after_leases(budgets: &Budgets, store: &SharedMemory) {
    let replica = Replica {
        name: "bench".into(),
        incarnation: 1,
    };
    let calls = budgets.lease_calls(true);
    let replies = store.lease_now(&replica, &calls).expect("it is there");
    let pots = calls.into_iter().map(|call| call.pot);
    let answers: Vec<_> = pots.zip(replies).collect();
    budgets.lease_answered(&answers);
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
