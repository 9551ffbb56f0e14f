//! What a purse promises, alone and, over a store in memory and a clock that is moved by hand, as one
//! of four: one rate, whoever is asked.

#![allow(clippy::cast_precision_loss, reason = "counts of a few minutes")]

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::*;
use crate::clock::Clock;
use crate::runtime::leases::Bell;
use crate::runtime::limiter::{Limiters, Permit};
use crate::stores::{LEASE_TTL_MS, SharedMemory};
use crate::types::Replica;

/// Requests a minute that all replicas may pass together.
const RATE: u32 = 600;
const BURST: u32 = 60;

fn purse() -> Purse {
    let mut purse = Purse::new("rate".into());
    purse.rate = u64::from(RATE) * PARTS;
    purse.burst = u64::from(BURST) * PARTS;
    purse
}

fn granted(permits: u64, weights: u64) -> DrawReply {
    DrawReply {
        granted: permits * PARTS,
        weights,
        live: 1,
    }
}

#[test]
fn a_purse_asks_for_what_waits_and_passes_what_it_was_given() {
    let mut purse = purse();
    let short = purse.short(3, LimitsWhenAway::Share, 0).expect("empty");
    assert!(short.may_come, "more can be drawn");
    let call = purse.call(100).expect("something to say");
    assert_eq!((call.need, call.want, call.back), (3 * PARTS, 3 * PARTS, 0));
    purse.drawn(&call, &granted(3, 0), 100);
    assert_eq!(purse.short(3, LimitsWhenAway::Share, 100), None);
    purse.take(3);
    assert_eq!(purse.standing().0, 0);
    purse.give_back(1);
    assert_eq!(purse.standing().0, 1);
}

#[test]
fn a_dry_bucket_is_believed_for_a_moment_only() {
    let mut purse = purse();
    purse.short(1, LimitsWhenAway::Share, 0);
    let call = purse.call(10).expect("a wish");
    purse.drawn(&call, &granted(0, 0), 10);
    let short = purse.short(1, LimitsWhenAway::Share, 20).expect("dry");
    assert!(!short.may_come, "nobody waits for what is not there");
    let later = purse.short(1, LimitsWhenAway::Share, 10 + DRY_MS);
    assert!(later.expect("still empty").may_come);
}

#[test]
fn what_an_idle_purse_holds_goes_back_once() {
    let mut purse = purse();
    purse.short(5, LimitsWhenAway::Share, 0);
    let call = purse.call(10).expect("a wish");
    purse.drawn(&call, &granted(5, 0), 10);
    let call = purse.call(IDLE_MS + 20).expect("something to give back");
    assert_eq!((call.want, call.back), (0, 5 * PARTS));
    assert_eq!(purse.standing().0, 0);
    assert_eq!(purse.call(IDLE_MS + 40), None, "there is nothing to say");
}

#[test]
fn without_the_store_a_purse_fills_as_the_file_says() {
    let minute_alone = |when_away, share: u64| {
        let mut purse = purse();
        purse.short(1, when_away, 0);
        let mut call = purse.call(10).expect("a wish");
        call.weight = share;
        purse.drawn(&call, &granted(0, 100), 10);
        purse.away(10);
        let mut passed = 0;
        for now_ms in 10..60_010 {
            if purse.short(1, when_away, now_ms).is_none() {
                purse.take(1);
                passed += 1;
            }
        }
        passed
    };
    assert_eq!(minute_alone(LimitsWhenAway::Closed, 25), 0);
    assert!((148..=150).contains(&minute_alone(LimitsWhenAway::Share, 25)));
    assert!((598..=600).contains(&minute_alone(LimitsWhenAway::Open, 25)));
}

/// Replicas that share one rate through a store in memory, as `replicas` carries it there.
struct Fleet {
    store: SharedMemory,
    clock: Clock,
    replicas: Vec<(Arc<Limiters>, Replica)>,
    limit: [(Scope, LimitParams); 1],
    origin: Instant,
    now_ms: u64,
    random: StdRng,
}

/// A request that was asked for at a replica and waits for a lease until then.
type Waiting = Option<u64>;

impl Fleet {
    fn of(count: usize, seed: u64) -> Self {
        let clock = Clock::manual(1_700_000_000_000);
        let params = LimitParams {
            requests_per_minute: Some(RATE),
            burst_requests: Some(BURST),
            ..LimitParams::default()
        };
        let replica = |number: usize| {
            let limiters = Limiters::new().shared(Bell::default(), LimitsWhenAway::Share);
            let replica = Replica {
                name: format!("r{number}").into(),
                incarnation: 1,
            };
            (Arc::new(limiters), replica)
        };
        Self {
            store: SharedMemory::new(clock.clone()),
            clock,
            replicas: (0..count).map(replica).collect(),
            limit: [(Scope::Global, params)],
            origin: Instant::now() + Duration::from_secs(1),
            now_ms: 0,
            random: StdRng::seed_from_u64(seed),
        }
    }

    fn now(&self) -> Instant {
        self.origin + Duration::from_millis(self.now_ms)
    }

    fn exchange(&self, at: usize) {
        let (limiters, replica) = &self.replicas[at];
        let draws = limiters.draws(self.now());
        let replies = self.store.draw_now(replica, &draws.calls).ok();
        limiters.drawn(&draws, replies.as_deref(), self.now());
    }

    /// Whether one request passes now; `Err(true)`: it may wait for a lease.
    fn admit(&self, at: usize) -> Result<Permit, bool> {
        let admitted = self.replicas[at].0.admit(&self.limit, self.now());
        admitted.map_err(|limited| limited.lease_short)
    }

    /// Lets so many seconds pass, in which each replica is asked for so many requests a second, at
    /// random moments; how many passed. Time goes in steps of the distance between two calls that
    /// are rung for.
    fn run(&mut self, seconds: u64, per_second: &[f64]) -> u64 {
        const STEP_MS: u64 = 5;
        const TICK_MS: u64 = 100;
        const PATIENCE_MS: u64 = 500;
        let mut waiting: Vec<Vec<Waiting>> = vec![Vec::new(); per_second.len()];
        let mut passed = 0;
        for _ in 0..seconds * 1_000 / STEP_MS {
            self.now_ms += STEP_MS;
            self.clock.advance_ms(5);
            for (at, rate) in per_second.iter().enumerate() {
                // Replicas tick apart from each other.
                let ticks = (self.now_ms + at as u64 * 25).is_multiple_of(TICK_MS);
                if ticks || !waiting[at].is_empty() {
                    self.exchange(at);
                }
                if self.random.random::<f64>() < rate * STEP_MS as f64 / 1_000.0 {
                    waiting[at].push(Some(self.now_ms + PATIENCE_MS));
                }
                for slot in &mut waiting[at] {
                    match self.admit(at) {
                        Ok(_) => {
                            passed += 1;
                            *slot = None;
                        }
                        Err(may_come) => {
                            *slot = slot.filter(|until| may_come && self.now_ms < *until);
                        }
                    }
                }
                waiting[at].retain(Option::is_some);
            }
        }
        passed
    }

    /// Asks for several minutes and checks each of them.
    fn holds_the_rate(&mut self, minutes: Range<u32>, per_second: &[f64]) {
        for minute in minutes {
            let passed = self.run(60, per_second);
            let off = (passed as f64 / f64::from(RATE) - 1.0).abs();
            assert!(off <= 0.01, "minute {minute}: {passed} of {RATE} passed");
        }
    }
}

#[test]
fn four_replicas_keep_one_rate_within_one_percent_in_every_minute() {
    for seed in 0..3 {
        let mut fleet = Fleet::of(4, seed);
        let burst = fleet.run(10, &[15.0; 4]);
        let most = u64::from(BURST) + u64::from(RATE) / 6 + 4;
        assert!(burst <= most, "{burst} in the first ten seconds");
        fleet.holds_the_rate(0..3, &[15.0; 4]);
    }
}

#[test]
fn the_rate_follows_the_demand_and_a_lone_replica_has_all_of_it() {
    let mut fleet = Fleet::of(4, 7);
    fleet.run(10, &[15.0; 4]);
    fleet.holds_the_rate(0..2, &[40.0, 5.0, 5.0, 0.5]);
    fleet.run(10, &[40.0, 0.0, 0.0, 0.0]);
    fleet.holds_the_rate(2..4, &[40.0, 0.0, 0.0, 0.0]);
}

#[test]
fn what_a_dead_replica_drew_from_the_rate_is_all_that_is_missing() {
    let mut fleet = Fleet::of(4, 3);
    fleet.run(10, &[15.0; 4]);
    fleet.run(LEASE_TTL_MS.unsigned_abs() / 1_000, &[20.0, 20.0, 20.0]);
    fleet.holds_the_rate(0..2, &[20.0, 20.0, 20.0]);
}

#[test]
fn a_store_that_is_away_or_forgets_costs_at_most_a_burst() {
    let mut fleet = Fleet::of(4, 5);
    fleet.run(10, &[15.0; 4]);
    fleet.store.set_away(true);
    let alone = fleet.run(60, &[15.0; 4]);
    let most = u64::from(RATE + BURST);
    assert!((540..=most).contains(&alone), "{alone} while it was away");
    fleet.store.set_away(false);
    fleet.store.forget();
    let again = fleet.run(60, &[15.0; 4]);
    assert!(again <= most + 4, "{again} after it had forgotten");
    fleet.holds_the_rate(0..1, &[15.0; 4]);
}
