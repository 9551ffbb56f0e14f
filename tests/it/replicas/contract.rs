//! The contract of a shared store, held by the one in memory and by a real Redis.

use std::sync::Arc;
use std::time::Duration;

use tollgate::clock::Clock;
use tollgate::stores::{LEASE_TTL_MS, RECOVERY_MS, RedisStore, SharedMemory, SharedStore};
use tollgate::types::{Elsewhere, LeaseCall, LeaseReply, OnDeath, Replica, Witness};

use crate::harness::redis_server::Redis;

/// One store under test, and how to do to it what the world does.
struct Subject {
    store: Arc<dyn SharedStore>,
    clock: Option<Clock>,
    memory: Option<SharedMemory>,
    redis: Option<Redis>,
}

impl Subject {
    fn memory() -> Self {
        let clock = Clock::manual(1_700_000_000_000);
        let memory = SharedMemory::new(clock.clone());
        Self {
            store: Arc::new(memory.clone()),
            clock: Some(clock),
            memory: Some(memory),
            redis: None,
        }
    }

    fn redis() -> Option<Self> {
        let redis = Redis::start()?;
        let store = RedisStore::new(&redis.address(), "test").expect("an address");
        Some(Self {
            store: Arc::new(store),
            clock: None,
            memory: None,
            redis: Some(redis),
        })
    }

    /// Lets this much time pass for the store.
    async fn pass(&self, ms: i64) {
        match &self.clock {
            Some(clock) => clock.advance_ms(ms),
            None => tokio::time::sleep(Duration::from_millis(ms.unsigned_abs() + 5)).await,
        }
    }

    /// The store is past its first moments.
    async fn settle(&self) {
        let first = call("settle", 1).limit(0);
        self.one("settler", &first).await;
        self.pass(RECOVERY_MS).await;
    }

    async fn forget(&self) {
        if let Some(memory) = &self.memory {
            memory.forget();
        }
        if let Some(redis) = &self.redis {
            redis.ask("FLUSHALL").expect("an answer");
        }
    }

    async fn one(&self, name: &str, call: &LeaseCall) -> LeaseReply {
        self.life(name, 1, call).await
    }

    async fn life(&self, name: &str, incarnation: u64, call: &LeaseCall) -> LeaseReply {
        let replica = Replica {
            name: name.into(),
            incarnation,
        };
        let calls = [call.clone()];
        let mut replies = self.store.lease(&replica, &calls).await.expect("an answer");
        assert_eq!(replies.len(), 1);
        replies.remove(0)
    }
}

/// Short words for a call.
trait Say: Sized {
    fn limit(self, limit: u64) -> Self;
    fn holds(self, spent: u64, held: u64) -> Self;
    fn wants(self, want: u64) -> Self;
    fn needs(self, need: u64) -> Self;
    fn acked(self, acked: u64) -> Self;
    fn free(self) -> Self;
}

impl Say for LeaseCall {
    fn limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }
    fn holds(mut self, spent: u64, held: u64) -> Self {
        (self.spent, self.held) = (spent, held);
        self
    }
    fn wants(mut self, want: u64) -> Self {
        self.want = want;
        self
    }
    fn needs(mut self, need: u64) -> Self {
        self.need = need;
        self
    }
    fn acked(mut self, acked: u64) -> Self {
        self.acked = acked;
        self
    }
    fn free(mut self) -> Self {
        self.on_death = OnDeath::Free;
        self
    }
}

fn call(pot: &str, seq: u64) -> LeaseCall {
    LeaseCall {
        pot: pot.into(),
        on_death: OnDeath::Charge,
        limit: 1_000,
        limit_version: 1,
        seq,
        acked: 0,
        spent: 0,
        held: 0,
        want: 0,
        need: 0,
        weight: 0,
        base: None,
        has_past: false,
        leaving: false,
        expires_ms: 0,
        witness: None,
    }
}

async fn granted(subject: &Subject, name: &str, call: &LeaseCall) -> u64 {
    subject.one(name, call).await.granted
}

/// What every shared store does.
async fn keeps_the_contract(it: &Subject) {
    young_stores_grant_no_money(it).await;
    a_lone_replica_gets_all_and_two_share(it).await;
    calls_count_once(it).await;
    what_waits_is_heard_and_parts_come_together(it).await;
    the_dead_keep_their_money_and_lose_their_places(it).await;
    a_later_life_takes_over(it).await;
    limits_change(it).await;
    large_amounts_are_exact(it).await;
    what_is_forgotten_is_told_again(it).await;
}

async fn young_stores_grant_no_money(it: &Subject) {
    let first = it.one("a", &call("young", 1).wants(10)).await;
    assert!(first.created && first.recovering && !first.forgot);
    assert_eq!(first.granted, 0);
    let places = it.one("a", &call("young-places", 1).free().wants(10)).await;
    assert_eq!(places.granted, 10, "places are granted at once");
    it.pass(RECOVERY_MS).await;
    let second = it.one("a", &call("young", 2).acked(1).wants(10)).await;
    assert!(!second.created && !second.recovering && !second.forgot);
    assert_eq!(second.granted, 10);
    let mut past = call("past", 1).wants(10);
    past.has_past = true;
    past.base = Some(100);
    let reply = it.one("a", &past).await;
    assert!(reply.recovering, "others may have used it before");
    assert_eq!((reply.granted, reply.base), (0, 100));
    it.pass(RECOVERY_MS).await;
    let all = call("past", 2).acked(1).wants(1_000);
    assert_eq!(
        granted(it, "a", &all).await,
        900,
        "what it began with is gone"
    );
}

async fn a_lone_replica_gets_all_and_two_share(it: &Subject) {
    assert_eq!(
        granted(it, "a", &call("share", 1).wants(5_000)).await,
        1_000
    );
    let back = call("share", 2).acked(1).holds(100, 1_000).wants(200);
    assert_eq!(granted(it, "a", &back).await, 200, "the rest went back");
    let half = it.one("b", &call("share", 1).wants(1_000)).await;
    assert_eq!(half.granted, 400, "half of what is free");
    let other = &half.others[..];
    let a = Elsewhere {
        replica: "a".into(),
        spent: 100,
        granted: 200,
        weight: 0,
        live: true,
    };
    assert_eq!(other, &[a]);
    let less = call("share", 2).acked(1).holds(0, 400).wants(401);
    assert_eq!(
        granted(it, "b", &less).await,
        401,
        "what is asked for, where there is more"
    );
}

async fn calls_count_once(it: &Subject) {
    let first = call("once", 1).wants(300);
    assert_eq!(granted(it, "a", &first).await, 300);
    assert_eq!(granted(it, "a", &first).await, 300, "the same again");
    assert_eq!(
        granted(it, "a", &call("once", 3).acked(1).holds(50, 300).wants(500)).await,
        500
    );
    let late = it
        .one("a", &call("once", 2).acked(1).holds(0, 300).wants(10))
        .await;
    assert!(late.stale, "it was overtaken");
    assert_eq!(late.granted, 500);
    let b = it.one("b", &call("once", 1).wants(1_000)).await;
    assert_eq!(b.others[0].granted, 500);
}

async fn what_waits_is_heard_and_parts_come_together(it: &Subject) {
    assert_eq!(granted(it, "a", &call("wait", 1).wants(970)).await, 970);
    let b = it.one("b", &call("wait", 1).wants(60).needs(50)).await;
    assert_eq!(b.granted, 0, "a part that is of no use is left where it is");
    let a = it
        .one("a", &call("wait", 2).acked(1).holds(900, 940).wants(940))
        .await;
    assert!(a.hungry, "somebody waits");
    let b = it
        .one("b", &call("wait", 2).acked(1).wants(60).needs(50))
        .await;
    assert_eq!(b.granted, 50, "at least what is needed");
    let a = it
        .one("a", &call("wait", 3).acked(2).holds(900, 940).wants(940))
        .await;
    assert!(!a.hungry);
}

async fn the_dead_keep_their_money_and_lose_their_places(it: &Subject) {
    assert_eq!(granted(it, "dead", &call("death", 1).wants(600)).await, 600);
    let told = call("death", 2).acked(1).holds(250, 600).wants(600);
    assert_eq!(granted(it, "dead", &told).await, 600);
    let places = call("places", 1).free().limit(10);
    assert_eq!(granted(it, "dead", &places.clone().wants(8)).await, 8);
    assert_eq!(granted(it, "b", &places.wants(8)).await, 2);
    it.pass(LEASE_TTL_MS + 1).await;
    let b = it.one("b", &call("death", 1).wants(1_000)).await;
    assert_eq!(b.granted, 400, "nobody knows what it spent, so all of it");
    assert!(!b.others[0].live);
    assert_eq!((b.others[0].spent, b.others[0].granted), (250, 600));
    let places = call("places", 2).free().limit(10).holds(0, 2).wants(10);
    assert_eq!(
        granted(it, "b", &places).await,
        10,
        "places die with their user"
    );
    let mut leaving = call("places", 3).free().limit(10).holds(0, 10);
    leaving.leaving = true;
    it.one("b", &leaving).await;
    assert_eq!(
        granted(it, "c", &call("places", 1).free().limit(10).wants(10)).await,
        10
    );
}

async fn a_later_life_takes_over(it: &Subject) {
    let old = call("lives", 1).wants(600);
    assert_eq!(it.life("a", 7, &old).await.granted, 600);
    let known = call("lives", 1).holds(320, 320).wants(320);
    assert_eq!(
        it.life("a", 8, &known).await.granted,
        320,
        "its ledger knows what it spent"
    );
    let late = it
        .life("a", 7, &call("lives", 2).acked(1).holds(0, 600).wants(900))
        .await;
    assert!(late.stale, "the earlier life is over");
    assert_eq!(
        it.one("b", &call("lives", 1).wants(1_000)).await.granted,
        340
    );
    it.life(
        "a",
        8,
        &call("lives", 2).acked(1).holds(400, 400).wants(400),
    )
    .await;
    let poorer = it
        .life("a", 9, &call("lives", 1).holds(150, 150).wants(150))
        .await;
    assert_eq!(poorer.base, 250, "what a ledger has lost stays spent");
}

async fn limits_change(it: &Subject) {
    let mut lower = call("limits", 1).wants(800);
    assert_eq!(granted(it, "a", &lower).await, 800);
    lower = call("limits", 2)
        .acked(1)
        .holds(500, 800)
        .wants(800)
        .limit(600);
    lower.limit_version = 2;
    let a = it.one("a", &lower).await;
    assert_eq!(
        (a.granted, a.limit),
        (800, 600),
        "what is held is not torn away"
    );
    let old = it.one("b", &call("limits", 1).wants(100)).await;
    assert_eq!((old.granted, old.limit), (0, 600), "the newest limit holds");
    let mut given = call("limits", 3)
        .acked(2)
        .holds(500, 500)
        .wants(500)
        .limit(600);
    given.limit_version = 2;
    it.one("a", &given).await;
    assert_eq!(
        granted(it, "b", &call("limits", 2).acked(1).wants(100)).await,
        50
    );
}

async fn large_amounts_are_exact(it: &Subject) {
    let limit = tollgate::types::MAX_UNITS - 1;
    let a = call("large", 1).limit(limit).wants(limit - 3);
    assert_eq!(granted(it, "a", &a).await, limit - 3);
    let b = call("large", 1).limit(limit).wants(10).needs(3);
    assert_eq!(granted(it, "b", &b).await, 3);
}

async fn what_is_forgotten_is_told_again(it: &Subject) {
    assert_eq!(granted(it, "a", &call("amnesia", 1).wants(300)).await, 300);
    assert_eq!(
        granted(it, "dead", &call("amnesia", 1).wants(300)).await,
        300
    );
    let a = it
        .one("a", &call("amnesia", 2).acked(1).holds(100, 300).wants(300))
        .await;
    let witness = Witness {
        base: a.base,
        others: a.others.to_vec(),
    };
    it.forget().await;
    let fresh = it.one("new", &call("amnesia", 1).wants(1_000)).await;
    assert!(fresh.recovering && !fresh.forgot, "a newcomer has to wait");
    assert_eq!(fresh.granted, 0);
    let a = it
        .one("a", &call("amnesia", 3).acked(2).holds(150, 300).wants(500))
        .await;
    assert!(a.forgot && a.recovering);
    assert_eq!(a.granted, 300, "what it holds stays, more is not granted");
    let mut told = call("amnesia", 4).acked(3).holds(150, 300).wants(500);
    told.witness = Some(witness.clone());
    let a = it.one("a", &told).await;
    assert!(!a.forgot);
    let dead = a
        .others
        .iter()
        .find(|other| &*other.replica == "dead")
        .expect("remembered");
    assert_eq!((dead.granted, dead.live), (300, false));
    told.seq = 5;
    it.one("a", &told).await;
    it.pass(RECOVERY_MS).await;
    let fresh = it
        .one("new", &call("amnesia", 2).acked(1).wants(1_000))
        .await;
    assert_eq!(fresh.granted, 200, "half of what nobody holds");
    let back = it
        .one(
            "dead",
            &call("amnesia", 2).acked(1).holds(280, 300).wants(300),
        )
        .await;
    assert!(back.forgot, "who comes back hears that its word was lost");
    assert_eq!(back.granted, 300, "and its own word counts");
}

#[tokio::test]
async fn the_store_in_memory_keeps_the_contract() {
    let subject = Subject::memory();
    keeps_the_contract(&subject).await;
}

#[tokio::test]
async fn a_real_redis_keeps_the_contract() {
    let Some(subject) = Subject::redis() else {
        return;
    };
    keeps_the_contract(&subject).await;
}

#[tokio::test]
async fn a_redis_that_is_away_says_so_in_time_and_is_found_again() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let store = RedisStore::new(&redis.address(), "test").expect("an address");
    let replica = Replica {
        name: "a".into(),
        incarnation: 1,
    };
    let calls = [call("away", 1).free().wants(5)];
    assert_eq!(
        store.lease(&replica, &calls).await.expect("there")[0].granted,
        5
    );
    redis.stop();
    for _ in 0..2 {
        let started = std::time::Instant::now();
        let refused = store.lease(&replica, &calls).await.expect_err("gone");
        assert!(
            matches!(refused, tollgate::stores::SharedError::Away(_)),
            "{refused}"
        );
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    redis.resume();
    let again = store.lease(&replica, &calls).await.expect("found again");
    assert!(again[0].created);
}
