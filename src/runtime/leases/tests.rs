//! A lease follows demand, gives up what others need, and survives what happens to messages.

use std::sync::Arc;

use super::{Counter, Demand, Lease, Wish};
use crate::types::{Elsewhere, LeaseReply, OnDeath};

const LIMIT: u64 = 1_000;

fn counter(spent: u64, committed: u64) -> Counter {
    Counter {
        spent,
        committed,
        limit: LIMIT,
        ..Counter::default()
    }
}

fn wish(ceiling: u64) -> Wish {
    Wish {
        ceiling,
        ..Wish::default()
    }
}

fn grant(seq: u64, granted: u64) -> LeaseReply {
    LeaseReply {
        seq,
        granted,
        limit: LIMIT,
        ..LeaseReply::default()
    }
}

fn other(name: &str, spent: u64, granted: u64, live: bool) -> Elsewhere {
    Elsewhere {
        replica: Arc::from(name),
        spent,
        granted,
        weight: 0,
        live,
    }
}

/// A lease of so much, whose first call was answered.
fn leased(granted: u64) -> Lease {
    let mut lease = Lease::new(Arc::from("pot"), OnDeath::Charge, 0);
    let seq = lease.call(&counter(0, 0), &wish(granted), 0).seq;
    lease.answered(grant(seq, granted));
    lease
}

#[test]
fn only_an_answer_raises_the_ceiling() {
    let mut lease = Lease::new(Arc::from("pot"), OnDeath::Charge, 0);
    let call = lease.call(&counter(0, 0), &wish(300), 0);
    assert_eq!((call.want, call.held, lease.ceiling()), (300, 0, 0));
    lease.answered(grant(call.seq, 200));
    assert_eq!(lease.ceiling(), 200);
}

#[test]
fn what_is_given_up_is_given_up_before_the_store_hears_of_it() {
    let mut lease = leased(300);
    let call = lease.call(&counter(50, 80), &wish(100), 10);
    assert_eq!((call.held, lease.ceiling()), (100, 100));
    // Even when the call is lost, it is not taken back.
    let again = lease.call(&counter(50, 80), &wish(300), 20);
    assert_eq!((again.held, again.want, lease.ceiling()), (100, 300, 100));
}

#[test]
fn what_is_committed_is_never_given_up() {
    let mut lease = leased(300);
    let call = lease.call(&counter(50, 120), &wish(0), 10);
    assert_eq!((call.held, call.want, lease.ceiling()), (120, 120, 120));
    let last = lease.leave(&counter(50, 120), 20);
    assert!(last.leaving);
    assert_eq!((last.held, last.want), (120, 120));
}

#[test]
fn an_answer_that_comes_late_or_twice_changes_nothing() {
    let mut lease = leased(100);
    let first = lease.call(&counter(0, 0), &wish(200), 10).seq;
    let second = lease.call(&counter(0, 0), &wish(300), 20).seq;
    lease.answered(grant(first, 200));
    assert_eq!(lease.ceiling(), 100, "a later call is under way");
    lease.answered(grant(second, 300));
    lease.call(&counter(0, 0), &wish(150), 30);
    lease.answered(grant(second, 300));
    assert_eq!(lease.ceiling(), 150, "what was given up stays given up");
}

#[test]
fn another_process_of_the_same_name_is_noticed() {
    let mut lease = leased(100);
    let seq = lease.call(&counter(0, 0), &wish(200), 10).seq;
    let stale = LeaseReply {
        stale: true,
        ..grant(seq, 500)
    };
    lease.answered(stale);
    assert!(lease.is_fenced());
    assert_eq!(lease.ceiling(), 100);
}

#[test]
fn the_silent_strand_and_the_live_hold() {
    let mut lease = leased(100);
    let seq = lease.call(&counter(0, 0), &wish(100), 10).seq;
    let mut reply = grant(seq, 100);
    reply.others.push(other("dead", 200, 500, false));
    reply.others.push(other("live", 100, 250, true));
    lease.answered(reply);
    assert_eq!((lease.stranded(), lease.held_elsewhere()), (300, 150));
    // 300 spent elsewhere and 300 stranded: 400 of the limit can still come here.
    assert!(lease.may_come(&counter(0, 0), 400));
    assert!(!lease.may_come(&counter(0, 0), 401));
}

#[test]
fn a_store_that_forgot_hears_what_it_knew() {
    let mut lease = leased(100);
    let seq = lease.call(&counter(0, 0), &wish(100), 10).seq;
    let mut known = grant(seq, 100);
    known.others.push(other("b", 40, 90, true));
    lease.answered(known);
    let seq = lease.call(&counter(10, 10), &wish(100), 20).seq;
    let forgot = LeaseReply {
        forgot: true,
        recovering: true,
        ..grant(seq, 100)
    };
    lease.answered(forgot);
    assert!(lease.is_recovering());
    let call = lease.call(&counter(10, 10), &wish(100), 30);
    let witness = call.witness.expect("it remembers the others");
    assert_eq!(witness.others, [other("b", 40, 90, true)]);
    let seq = call.seq;
    lease.answered(grant(seq, 100));
    let settled = lease.call(&counter(10, 10), &wish(100), 40);
    assert!(settled.witness.is_none(), "the store knows again");
}

#[test]
fn a_lease_is_spoken_about_when_it_changes_and_seldom_when_idle() {
    let mut lease = leased(0);
    let (still, ask) = (counter(0, 0), wish(0));
    assert!(!lease.is_due(&still, &ask, 10));
    assert!(lease.is_due(&counter(5, 5), &ask, 10), "the counter moved");
    assert!(lease.is_due(&still, &wish(50), 10), "more is wanted");
    let seq = lease.call(&counter(5, 5), &ask, 20).seq;
    assert!(lease.is_due(&counter(5, 5), &ask, 30), "no answer yet");
    lease.answered(grant(seq, 0));
    let told = counter(5, 5);
    assert!(!lease.is_due(&told, &ask, 519));
    assert!(lease.is_due(&told, &ask, 520), "a heartbeat");
    let seq = lease.call(&told, &ask, 100_000).seq;
    lease.answered(grant(seq, 0));
    assert!(!lease.is_due(&told, &ask, 104_999), "idle for a minute");
    assert!(lease.is_due(&told, &ask, 105_000));
}

#[test]
fn demand_follows_what_is_asked_and_forgets_it() {
    let mut demand = Demand::default();
    demand.ask(700);
    assert_eq!(demand.slice(), 700, "at least the largest request");
    for look in 1..=100 {
        demand.ask(20);
        demand.look(look * 100);
    }
    let steady = demand.per_second();
    assert!((190.0..=210.0).contains(&steady), "{steady}");
    demand.look(60_000);
    assert_eq!(demand.slice(), 0);
}
