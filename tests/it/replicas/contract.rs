//! The contract of a shared store, held by the one in memory and by a real Redis.

use std::sync::Arc;
use std::time::Duration;

use tollgate::clock::Clock;
use tollgate::stores::{
    LEASE_TTL_MS, Post, Posted, RECOVERY_MS, RedisStore, SharedBoard, SharedMemory, SharedStore,
    StoredKeys,
};
use tollgate::types::{
    DrawCall, DrawReply, Elsewhere, LeaseCall, LeaseReply, OnDeath, Replica, Witness,
};

use crate::harness::redis_server::Redis;

/// One store under test, and how to do to it what the world does.
struct Subject {
    store: Arc<dyn SharedStore>,
    board: Arc<dyn SharedBoard>,
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
            board: Arc::new(memory.clone()),
            clock: Some(clock),
            memory: Some(memory),
            redis: None,
        }
    }

    fn redis() -> Option<Self> {
        let redis = Redis::start()?;
        let store = RedisStore::new(&redis.address(), "test").expect("an address");
        let store = Arc::new(store);
        Some(Self {
            board: Arc::<RedisStore>::clone(&store),
            store,
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

    async fn draws(&self, name: &str, call: &DrawCall) -> DrawReply {
        let replica = Replica {
            name: name.into(),
            incarnation: 1,
        };
        let calls = std::slice::from_ref(call);
        let mut replies = self.store.draw(&replica, calls).await.expect("an answer");
        assert_eq!(replies.len(), 1);
        replies.remove(0)
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

/// A draw from a bucket of 1,000,000 that takes a minute to gain 60, so that what a slow machine needs
/// for the calls themselves does not matter.
fn draw(pot: &str) -> DrawCall {
    DrawCall {
        pot: pot.into(),
        rate: 60,
        burst: 1_000_000,
        ..DrawCall::default()
    }
}

async fn a_bucket_begins_full_and_gives_what_is_in_it(it: &Subject) {
    let mut call = draw("full");
    (call.want, call.weight) = (3_000_000, 1);
    let first = it.draws("a", &call).await;
    assert_eq!(
        (first.granted, first.weights, first.live),
        (1_000_000, 1, 1)
    );
    call.held = 1_000_000;
    let more = it.draws("a", &call).await.granted;
    assert!(more < 100, "all of it is out");
    let mut back = draw("full");
    (back.held, back.back) = (600_000, 400_000);
    it.draws("a", &back).await;
    let b = it.draws("b", &DrawCall { held: 0, ..call }).await;
    assert!((400_000..400_100).contains(&b.granted), "{b:?}");
}

async fn who_is_asked_for_more_draws_more(it: &Subject) {
    for (name, weight) in [("a", 3), ("b", 1)] {
        let call = DrawCall {
            weight,
            ..draw("parts")
        };
        assert_eq!(it.draws(name, &call).await.granted, 0, "nothing was wanted");
    }
    let wants = |weight, need| DrawCall {
        want: 2_000_000,
        weight,
        need,
        ..draw("parts")
    };
    let a = it.draws("a", &wants(3, 0)).await;
    assert_eq!((a.granted / 100, a.weights, a.live), (7_500, 4, 2));
    let b = it.draws("b", &wants(1, 0)).await;
    assert!(
        (62_500..62_600).contains(&b.granted),
        "a quarter of the rest"
    );
    let c = it.draws("c", &wants(1, 100_000)).await;
    assert!(
        (100_000..100_100).contains(&c.granted),
        "what a request waits for, where it is there"
    );
    it.pass(LEASE_TTL_MS + 1).await;
    let alone = it.draws("c", &wants(1, 0)).await;
    assert_eq!((alone.weights, alone.live), (1, 1), "the others are gone");
}

/// A bucket fills at its rate; what replicas hold undrawn leaves it less room.
async fn a_bucket_fills_at_its_rate(it: &Subject) {
    let started = std::time::Instant::now();
    // 1,000 a millisecond.
    let wants = |pot: &str| DrawCall {
        pot: pot.into(),
        rate: 60_000_000,
        burst: 1_000_000,
        want: u64::MAX >> 12,
        weight: 1,
        ..DrawCall::default()
    };
    assert!(it.draws("a", &wants("fills")).await.granted >= 1_000_000);
    it.pass(200).await;
    let after = it.draws("a", &wants("fills")).await.granted;
    let most = match &it.clock {
        Some(_) => 200_000,
        None => u64::try_from(started.elapsed().as_micros()).expect("short") + 1,
    };
    assert!((200_000..=most).contains(&after), "{after} of {most}");
    // Above the burst, but within the minute: when the bucket is full.
    let nothing = DrawCall {
        want: 0,
        ..wants("large")
    };
    it.draws("a", &nothing).await;
    it.pass(450).await;
    let large = DrawCall {
        need: 5_000_000,
        want: 5_000_000,
        ..wants("large")
    };
    assert_eq!(it.draws("a", &large).await.granted, 5_000_000);
    let never = DrawCall {
        need: 60_000_001,
        want: 60_000_001,
        ..wants("never")
    };
    assert!(it.draws("a", &never).await.granted <= 1_000_000 + most);
}

async fn a_forgotten_bucket_is_full(it: &Subject) {
    let wants = DrawCall {
        want: 1_000_000,
        weight: 1,
        ..draw("forgotten")
    };
    assert_eq!(it.draws("a", &wants).await.granted, 1_000_000);
    it.forget().await;
    let held = DrawCall {
        held: 400_000,
        ..wants
    };
    let again = it.draws("a", &held).await.granted;
    assert_eq!(again, 600_000, "less what is said to be held");
}

/// What stands under the topic `topic`, for one that has read this version; posts a text first.
async fn posted(it: &Subject, replica: &str, text: Option<&str>, seen: u64) -> Posted {
    let posts = [Post {
        topic: "topic",
        lives: Duration::from_mins(1),
        text: text.map(str::to_owned),
        seen,
    }];
    let mut answers = it.board.exchange(replica, &posts).await.expect("an answer");
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

async fn everybody_reads_the_latest_texts(it: &Subject) {
    assert_eq!(posted(it, "a", None, 0).await.texts, None, "nothing yet");
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let one = posted(it, "a", Some("first"), 0).await;
    assert_eq!(one.texts, Some(vec![pair("a", "first")]));
    posted(it, "a", Some("second | with\nlines"), one.version).await;
    let both = posted(it, "b", Some(""), 0).await;
    let mut texts = both.texts.expect("news");
    texts.sort();
    assert_eq!(texts, [pair("a", "second | with\nlines"), pair("b", "")]);
    let quiet = posted(it, "a", None, both.version).await;
    assert_eq!((quiet.version, quiet.texts), (both.version, None));
    it.forget().await;
    let forgotten = posted(it, "a", None, both.version).await;
    assert_eq!(forgotten.version, 0, "an earlier version than was read");
    assert_eq!(forgotten.texts, Some(Vec::new()));
}

async fn one_of_all_claims(it: &Subject) {
    let claim = async |lives| {
        let lives = Duration::from_millis(lives);
        it.board.claim("what", lives).await.expect("an answer")
    };
    assert!(claim(1_000).await);
    assert!(!claim(1_000).await);
    it.pass(1_001).await;
    assert!(claim(1_000).await, "it is over");
}

async fn keys_are_kept_and_come_back(it: &Subject) {
    let known = async |known: &StoredKeys| it.board.keys(known).await.expect("an answer");
    let nothing = StoredKeys::default();
    assert_eq!(known(&nothing).await, None);
    it.board.put_key("one", "{}").await.expect("stored");
    it.board.put_key("two", "{2}").await.expect("stored");
    it.board.put_key("one", "").await.expect("revoked");
    let found = known(&nothing).await.expect("news");
    let texts = [("one", ""), ("two", "{2}")].map(|(id, text)| (id.to_owned(), text.to_owned()));
    assert_eq!((found.version, &found.texts[..]), (3, &texts[..]));
    assert_eq!(known(&found).await, None, "nothing new");
    it.forget().await;
    it.board.put_key("three", "{3}").await.expect("stored");
    let told = known(&found).await.expect("it had forgotten");
    let ids: Vec<&str> = told.texts.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["one", "three", "two"]);
    assert_eq!(told.texts[0].1, "", "what was revoked stays revoked");
    assert!(told.version > found.version);
    assert_eq!(known(&told).await, None);
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
    a_bucket_begins_full_and_gives_what_is_in_it(it).await;
    who_is_asked_for_more_draws_more(it).await;
    a_bucket_fills_at_its_rate(it).await;
    a_forgotten_bucket_is_full(it).await;
    everybody_reads_the_latest_texts(it).await;
    one_of_all_claims(it).await;
    keys_are_kept_and_come_back(it).await;
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
async fn a_wrong_password_is_a_refusal_that_says_so_and_names_no_password() {
    let Some(redis) = Redis::start() else {
        return;
    };
    redis
        .ask("CONFIG SET requirepass right-one")
        .expect("an answer");
    let replica = Replica {
        name: "a".into(),
        incarnation: 1,
    };
    let calls = [call("password", 1)];
    let at = redis.address();
    let ask = async |password: &str| {
        let address = at.replace("redis://", &format!("redis://{password}"));
        let store = RedisStore::new(&address, "test").expect("an address");
        store.lease(&replica, &calls).await
    };
    for (password, words) in [("", "auth"), (":wrong-one@", "password")] {
        let refused = ask(password).await.expect_err("refused");
        let text = refused.to_string();
        assert!(
            matches!(refused, tollgate::stores::SharedError::Refused(_)),
            "{text}"
        );
        assert!(text.to_ascii_lowercase().contains(words), "{text}");
        assert!(!text.contains("wrong-one"), "{text}");
    }
    ask(":right-one@").await.expect("let in");
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
