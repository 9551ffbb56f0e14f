//! One budget on several replicas: whatever the order of admissions, settlements, messages, crashes,
//! reloads and losses of memory, the limit holds at every step and every cent is somewhere.

use std::convert::Infallible;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::stores::{LEASE_TTL_MS, RECOVERY_MS, SharedMemory};
use crate::types::Replica;

const START_MS: i64 = 1_700_000_000_000;
const LIMIT: i128 = 1_000;

fn units(count: i128) -> PicoUsd {
    PicoUsd::from_pico(count * 1_000_000)
}

fn payer() -> Payer {
    Payer {
        team: "team".into(),
        app: "app".into(),
        key: None,
        model: "model".into(),
        provider: "provider".into(),
        end_user: None,
    }
}

fn params(limit: i128, period: Period) -> BudgetParams {
    BudgetParams {
        id: "all".into(),
        matches: BudgetMatch::default(),
        limit: units(limit),
        overrun: None,
        period,
        timezone: jiff::tz::TimeZone::UTC,
        paced: true,
        reserve_per_day: None,
        on_exhausted: OnExhausted::Block,
        alert_at: vec![],
    }
}

/// A replica: its memory, which a crash takes, and its ledger, which it does not.
struct Node {
    name: Arc<str>,
    incarnation: u64,
    budgets: Option<Arc<Budgets>>,
    open: Vec<(Reservation, i128)>,
    /// By time: what its ledger has.
    ledger: Vec<(i64, i128)>,
}

struct World {
    clock: Clock,
    store: SharedMemory,
    nodes: Vec<Node>,
    limit: i128,
    /// The highest limit that was ever in force.
    highest: i128,
    /// What the upstream will bill: everything that was sent, settled or not.
    billed: i128,
    /// What journals of crashed replicas have above that: they know only what was in flight at most.
    overestimated: i128,
    period: Period,
}

impl World {
    fn new(count: usize, period: Period) -> Self {
        let clock = Clock::manual(START_MS);
        let mut world = Self {
            store: SharedMemory::new(clock.clone()),
            clock,
            nodes: Vec::new(),
            limit: LIMIT,
            highest: LIMIT,
            billed: 0,
            overestimated: 0,
            period,
        };
        for at in 0..count {
            world.nodes.push(Node {
                name: Arc::from(format!("replica-{at}")),
                incarnation: 0,
                budgets: None,
                open: Vec::new(),
                ledger: Vec::new(),
            });
            world.boot(at);
        }
        world.sync_all();
        world.clock.advance_ms(RECOVERY_MS);
        world.sync_all();
        world
    }

    fn boot(&mut self, at: usize) {
        let sharing = Sharing {
            one_ledger: false,
            open_when_away: false,
        };
        // What was journalled before lies before the start.
        self.clock.advance_ms(1);
        let budgets = Budgets::new(self.clock.clone()).shared(sharing, Bell::default());
        self.nodes[at].incarnation += 1;
        self.nodes[at].budgets = Some(Arc::new(budgets));
        self.reload(at);
    }

    fn reload(&mut self, at: usize) {
        let node = &self.nodes[at];
        let Some(budgets) = &node.budgets else { return };
        let spent = |_: &BudgetParams, range: Range<i64>| {
            let rows = node
                .ledger
                .iter()
                .filter(|(at_ms, _)| range.contains(at_ms));
            Ok::<_, Infallible>(units(rows.map(|(_, cost)| cost).sum()).into())
        };
        let Ok(()) = budgets.apply(&[params(self.limit, self.period)], &spent);
    }

    /// One exchange with the store; what is lost on the way is as if it had not come in time.
    fn sync(&mut self, at: usize, all: bool, lost: Lost) {
        let node = &self.nodes[at];
        let Some(budgets) = &node.budgets else { return };
        let calls = budgets.lease_calls(all);
        let replica = Replica {
            name: Arc::clone(&node.name),
            incarnation: node.incarnation,
        };
        if lost == Lost::Call {
            budgets.store_away();
            return;
        }
        let Ok(replies) = self.store.lease_now(&replica, &calls) else {
            budgets.store_away();
            return;
        };
        if lost == Lost::Answer {
            budgets.store_away();
            return;
        }
        let pots = calls.iter().map(|call| Arc::clone(&call.pot));
        let answers: Vec<_> = pots.zip(replies).collect();
        budgets.lease_answered(&answers);
    }

    fn sync_all(&mut self) {
        for at in 0..self.nodes.len() {
            self.sync(at, true, Lost::Nothing);
        }
    }

    fn admit(&mut self, at: usize, amount: i128, actual: i128) -> bool {
        let node = &mut self.nodes[at];
        let Some(budgets) = &node.budgets else {
            return false;
        };
        let Ok(reservation) = budgets.reserve(&payer(), units(amount)) else {
            return false;
        };
        node.open.push((reservation, actual.min(amount)));
        true
    }

    fn settle(&mut self, at: usize, which: usize) {
        let node = &mut self.nodes[at];
        if node.open.is_empty() {
            return;
        }
        let (reservation, actual) = node.open.swap_remove(which % node.open.len());
        node.ledger.push((self.clock.unix_ms(), actual));
        self.billed += actual;
        reservation.settle(units(actual));
    }

    fn cancel(&mut self, at: usize, which: usize) {
        let node = &mut self.nodes[at];
        if !node.open.is_empty() {
            drop(node.open.swap_remove(which % node.open.len()));
        }
    }

    /// The process is gone. What it had sent is billed; the journal says so at the next start, as
    /// estimates of the worst case.
    fn crash(&mut self, at: usize) {
        let now_ms = self.clock.unix_ms();
        let node = &mut self.nodes[at];
        if node.budgets.take().is_none() {
            return;
        }
        for (reservation, actual) in node.open.drain(..) {
            let at_most = reservation.amount().pico() / 1_000_000;
            self.billed += actual;
            self.overestimated += at_most - actual;
            node.ledger.push((now_ms, at_most));
            std::mem::forget(reservation);
        }
    }

    /// What is spent or may still be spent of the money that this process answers for.
    fn at_stake(&self) -> i128 {
        let open = self.nodes.iter().flat_map(|node| &node.open);
        let open: i128 = open.map(|(it, _)| it.amount().pico() / 1_000_000).sum();
        self.billed + self.overestimated + open
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    Nothing,
    Call,
    Answer,
}

#[derive(Debug, Clone)]
enum Step {
    Admit {
        at: usize,
        amount: i128,
        actual: i128,
    },
    Settle {
        at: usize,
        which: usize,
    },
    Cancel {
        at: usize,
        which: usize,
    },
    Sync {
        at: usize,
        all: bool,
        lost: Lost,
    },
    Pass(i64),
    Crash(usize),
    Boot(usize),
    Reload {
        at: usize,
        limit: i128,
    },
    Forget,
    Away(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0_usize..8;
    prop_oneof![
        12 => (at.clone(), 1_i128..120, 0_i128..120)
            .prop_map(|(at, amount, actual)| Step::Admit { at, amount, actual }),
        8 => (at.clone(), 0_usize..9).prop_map(|(at, which)| Step::Settle { at, which }),
        2 => (at.clone(), 0_usize..9).prop_map(|(at, which)| Step::Cancel { at, which }),
        12 => (at.clone(), any::<bool>(), prop_oneof![
                8 => Just(Lost::Nothing), 1 => Just(Lost::Call), 1 => Just(Lost::Answer)])
            .prop_map(|(at, all, lost)| Step::Sync { at, all, lost }),
        4 => (1_i64..400).prop_map(Step::Pass),
        1 => at.clone().prop_map(Step::Crash),
        2 => at.clone().prop_map(Step::Boot),
        1 => (at, 600_i128..1_400).prop_map(|(at, limit)| Step::Reload { at, limit }),
        1 => Just(Step::Forget),
        1 => any::<bool>().prop_map(Step::Away),
    ]
}

/// Runs a schedule on one to eight replicas.
fn run(count: usize, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new(count, Period::Total);
    for step in steps {
        match *step {
            Step::Admit { at, amount, actual } => {
                world.admit(at % count, amount, actual);
            }
            Step::Settle { at, which } => world.settle(at % count, which),
            Step::Cancel { at, which } => world.cancel(at % count, which),
            Step::Sync { at, all, lost } => world.sync(at % count, all, lost),
            Step::Pass(ms) => world.clock.advance_ms(ms),
            Step::Crash(at) => world.crash(at % count),
            Step::Boot(at) => {
                let at = at % count;
                if world.nodes[at].budgets.is_none() {
                    world.boot(at);
                }
            }
            Step::Reload { at, limit } => {
                world.limit = limit;
                world.highest = world.highest.max(limit);
                world.clock.advance_ms(1);
                for node in 0..count {
                    world.reload((at + node) % count);
                }
            }
            Step::Forget => {
                // Everyone who runs has heard of the others lately, and hears of the loss in time.
                world.store.set_away(false);
                world.sync_all();
                world.store.forget();
                world.sync_all();
                world.sync_all();
            }
            Step::Away(away) => world.store.set_away(away),
        }
        let now = world.at_stake();
        let most = world.highest;
        prop_assert!(now <= most, "{now} of {most} after {step:?}");
    }
    the_end_adds_up(&mut world)
}

/// Everyone comes back and settles: the budgets then say what the upstream bills, and what is known only
/// by its bound.
fn the_end_adds_up(world: &mut World) -> Result<(), TestCaseError> {
    world.store.set_away(false);
    for at in 0..world.nodes.len() {
        if world.nodes[at].budgets.is_none() {
            world.boot(at);
        }
        while !world.nodes[at].open.is_empty() {
            world.settle(at, 0);
        }
    }
    for _ in 0..4 {
        world.sync_all();
        world.clock.advance_ms(RECOVERY_MS + 1);
    }
    world.sync_all();
    for node in &world.nodes {
        let view = &node.budgets.as_ref().expect("booted").view()[0];
        prop_assert_eq!(view.spent, units(world.billed + world.overestimated));
        prop_assert_eq!(view.reserved, PicoUsd::ZERO);
        let lease = view.lease.expect("leased");
        prop_assert_eq!(lease.stranded, PicoUsd::ZERO);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("TOLLGATE_SCHEDULES").ok().and_then(|it| it.parse().ok()).unwrap_or(256),
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_limit_holds_at_every_step_and_the_bill_is_right_at_the_end(
        count in 1_usize..=8,
        steps in proptest::collection::vec(step(), 1..160),
    ) {
        run(count, &steps)?;
    }
}

#[test]
fn a_lone_replica_can_spend_all_of_it() {
    let mut world = World::new(1, Period::Month);
    let mut spent = 0;
    for _ in 0..200 {
        if world.admit(0, 10, 10) {
            world.settle(0, 0);
            spent += 10;
        } else {
            world.sync(0, false, Lost::Nothing);
        }
    }
    assert_eq!(spent, LIMIT);
    let refused = world.nodes[0]
        .budgets
        .as_ref()
        .expect("up")
        .reserve(&payer(), units(1));
    let refused = refused.expect_err("spent");
    assert!(!refused.lease_short, "nothing more can come");
}

#[test]
fn small_parts_on_many_replicas_come_together_for_one_request() {
    let mut world = World::new(4, Period::Month);
    let mut sent = 0;
    for round in 0..2_000 {
        let at = round % 4;
        if world.admit(at, 30, 30) {
            world.settle(at, 0);
            sent += 30;
        }
        world.sync(at, false, Lost::Nothing);
        world.clock.advance_ms(5);
    }
    assert!(LIMIT - sent < 30, "{} of {LIMIT} is left", LIMIT - sent);
}

#[test]
fn what_is_within_the_lease_asks_nobody() {
    let mut world = World::new(2, Period::Month);
    assert!(!world.admit(0, 100, 100), "not yet held");
    world.sync(0, false, Lost::Nothing);
    let calls = world.store.calls();
    for _ in 0..10 {
        assert!(world.admit(0, 10, 7));
    }
    for _ in 0..10 {
        world.settle(0, 0);
    }
    assert_eq!(world.store.calls(), calls, "no round trip");
}

#[test]
fn the_store_away_stops_what_goes_beyond_the_lease_unless_the_file_says_open() {
    for open in [false, true] {
        let mut world = World::new(1, Period::Month);
        let sharing = Sharing {
            one_ledger: false,
            open_when_away: open,
        };
        let budgets = Budgets::new(world.clock.clone()).shared(sharing, Bell::default());
        world.nodes[0].incarnation += 1;
        world.nodes[0].budgets = Some(Arc::new(budgets));
        world.reload(0);
        assert!(!world.admit(0, 100, 100));
        world.sync(0, true, Lost::Nothing);
        world.store.set_away(true);
        world.sync(0, true, Lost::Nothing);
        assert!(
            world.admit(0, 100, 100),
            "the lease lasts without the store"
        );
        assert_eq!(world.admit(0, 500, 500), open);
        assert!(
            !world.admit(0, 500, 500),
            "the limit holds for one replica's own spending"
        );
        world.store.set_away(false);
        world.settle(0, 0);
        world.sync(0, true, Lost::Nothing);
        world.sync(0, true, Lost::Nothing);
        let view = &world.nodes[0].budgets.as_ref().expect("up").view()[0];
        assert_eq!(view.spent, units(100), "counted once");
    }
}

#[test]
fn the_dead_keep_what_they_held_until_their_ledger_comes_back() {
    let mut world = World::new(2, Period::Month);
    world.admit(0, 200, 150);
    world.sync(0, false, Lost::Nothing);
    assert!(world.admit(0, 200, 150));
    world.crash(0);
    world.clock.advance_ms(LEASE_TTL_MS + 1);
    world.sync(1, true, Lost::Nothing);
    let lease = |world: &World| {
        let view = &world.nodes[1].budgets.as_ref().expect("up").view()[0];
        (view.spent, view.lease.expect("leased").stranded)
    };
    let (spent, stranded) = lease(&world);
    assert_eq!(spent, PicoUsd::ZERO);
    assert!(stranded >= units(200), "{stranded}");
    world.boot(0);
    world.sync(0, true, Lost::Nothing);
    world.sync(1, true, Lost::Nothing);
    assert_eq!(lease(&world), (units(200), PicoUsd::ZERO));
}

#[test]
fn a_period_that_turns_keeps_what_is_in_flight_in_it() {
    let mut world = World::new(2, Period::Day);
    let midnight = START_MS - START_MS % 86_400_000 + 86_400_000;
    world.admit(0, 600, 500);
    world.sync(0, false, Lost::Nothing);
    assert!(world.admit(0, 600, 500));
    world
        .clock
        .advance_ms(midnight - START_MS - RECOVERY_MS + 10);
    world.sync(0, false, Lost::Nothing);
    let mut admitted = false;
    for _ in 0..5 {
        admitted = admitted || world.admit(1, 900, 900);
        world.sync(1, false, Lost::Nothing);
        world.sync(0, false, Lost::Nothing);
        world.clock.advance_ms(100);
    }
    assert!(admitted, "the new day has all of its money");
    world.settle(0, 0);
    world.sync_all();
    world.sync_all();
    let view = &world.nodes[0].budgets.as_ref().expect("up").view()[0];
    assert_eq!((view.spent, view.reserved), (PicoUsd::ZERO, PicoUsd::ZERO));
}

/// Admits and settles a request of an end user; false when it is refused.
fn user_spends(world: &World, at: usize, user: &str, amount: i128) -> bool {
    let budgets = world.nodes[at].budgets.as_ref().expect("up");
    let payer = Payer {
        end_user: Some(user.into()),
        ..payer()
    };
    let reserved = budgets.reserve(&payer, units(amount));
    reserved.map(|held| held.settle(units(amount))).is_ok()
}

fn take_over(world: &World, budgets: &[BudgetParams]) {
    let nothing = |_: &BudgetParams, _: Range<i64>| Ok::<_, Infallible>(PicoUsd::ZERO.into());
    for node in &world.nodes {
        let Ok(()) = node.budgets.as_ref().expect("up").apply(budgets, &nothing);
    }
}

#[test]
fn each_end_user_has_one_limit_on_all_replicas() {
    let mut world = World::new(2, Period::Month);
    let mut each = params(100, Period::Month);
    each.id = "each".into();
    each.matches.team = Some("team".into());
    each.matches.end_user = Some(EndUserMatch::Each);
    take_over(&world, &[params(LIMIT, Period::Month), each.clone()]);
    world.sync_all();
    world.clock.advance_ms(RECOVERY_MS);
    for user in ["ann", "bob"] {
        let mut spent = 0;
        for round in 0..200 {
            let at = round % 2;
            spent += if user_spends(&world, at, user, 7) {
                7
            } else {
                0
            };
            world.sync(at, false, Lost::Nothing);
            world.clock.advance_ms(5);
        }
        assert!((94..=100).contains(&spent), "{user}: {spent} of 100");
    }
    // Whoever only asked leaves a lease, and nothing else; a reload lets it go, and it comes again.
    assert!(!user_spends(&world, 0, "cid", 50), "not yet held");
    world.sync(0, false, Lost::Nothing);
    each.alert_at = vec![0.5];
    take_over(&world, &[each.clone()]);
    take_over(&world, &[]);
    take_over(&world, &[each]);
    world.clock.advance_ms(5);
    assert!(!user_spends(&world, 0, "cid", 60), "not held any more");
    world.sync(0, false, Lost::Nothing);
    world.sync(1, true, Lost::Nothing);
    world.sync(0, false, Lost::Nothing);
    assert!(user_spends(&world, 0, "cid", 60));
}

#[test]
fn a_budget_that_a_reload_takes_away_and_brings_back_is_leased_again() {
    let mut world = World::new(1, Period::Month);
    assert!(!world.admit(0, 100, 100));
    world.sync(0, true, Lost::Nothing);
    assert!(world.admit(0, 100, 100));
    world.settle(0, 0);
    world.sync(0, true, Lost::Nothing);
    take_over(&world, &[]);
    world.clock.advance_ms(1);
    take_over(&world, &[params(LIMIT, Period::Month)]);
    assert!(!world.admit(0, 200, 200));
    world.sync(0, true, Lost::Nothing);
    assert!(world.admit(0, 200, 200), "the store hears it again");
    world.settle(0, 0);
    let view = &world.nodes[0].budgets.as_ref().expect("up").view()[0];
    assert_eq!(view.spent, units(300));
}
