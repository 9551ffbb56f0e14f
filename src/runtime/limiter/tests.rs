//! No limit is ever exceeded, and nothing that was taken is lost.

use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;

fn key(name: &str) -> Scope {
    Scope::Key(name.into())
}

fn requests(per_minute: u32, burst: Option<u32>) -> LimitParams {
    LimitParams {
        requests_per_minute: Some(per_minute),
        burst_requests: burst,
        ..LimitParams::default()
    }
}

fn tokens(per_minute: u64, burst: Option<u64>) -> LimitParams {
    LimitParams {
        tokens_per_minute: Some(per_minute),
        burst_tokens: burst,
        ..LimitParams::default()
    }
}

fn concurrent(most: u32) -> LimitParams {
    LimitParams {
        concurrent: Some(most),
        ..LimitParams::default()
    }
}

/// Limiters on a clock that is moved by hand.
struct Bench {
    limiters: Arc<Limiters>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let limiters = Arc::new(Limiters::new());
        let now = limiters.origin;
        Self { limiters, now }
    }

    fn admit(&self, scopes: &[(Scope, LimitParams)]) -> Result<Permit, Limited> {
        self.limiters.admit(scopes, self.now)
    }

    /// How many pass at this moment.
    fn admitted(&self, scopes: &[(Scope, LimitParams)]) -> u32 {
        let mut count = 0;
        while self.admit(scopes).is_ok() {
            count += 1;
        }
        count
    }

    fn reserve(
        &self,
        scopes: &[(Scope, LimitParams)],
        tokens: u64,
    ) -> Result<TokenReservation, Limited> {
        self.limiters.reserve_tokens(scopes, tokens, self.now)
    }

    fn tokens_left(&self, scopes: &[(Scope, LimitParams)]) -> u64 {
        let standing = self.limiters.standing(scopes, self.now);
        standing.tokens.expect("limited").remaining
    }

    fn wait(&mut self, by: Duration) {
        self.now += by;
    }
}

#[test]
fn requests_refill_continuously_with_a_burst_of_a_tenth() {
    let mut bench = Bench::new();
    let scopes = [(key("a"), requests(600, None))];
    assert_eq!(bench.admitted(&scopes), 60);
    let limited = bench.admit(&scopes).expect_err("the burst is used");
    assert_eq!(limited.kind, LimitKind::Requests);
    assert_eq!(limited.limit, 600);
    assert_eq!(limited.retry_after, Some(Duration::from_millis(100)));
    bench.wait(Duration::from_millis(250));
    assert_eq!(bench.admitted(&scopes), 2);
    bench.wait(Duration::from_hours(1));
    assert_eq!(bench.admitted(&scopes), 60);
}

#[test]
fn a_refusal_by_one_scope_costs_the_others_nothing() {
    let bench = Bench::new();
    let wide = (Scope::Global, requests(6_000, Some(100)));
    let narrow = (key("a"), requests(60, Some(3)));
    assert_eq!(bench.admitted(&[narrow.clone(), wide.clone()]), 3);
    assert_eq!(bench.admitted(std::slice::from_ref(&wide)), 97);
    assert_eq!(bench.limiters.in_flight(&Scope::Global), 0);
    let _held = bench.admit(&[(key("b"), concurrent(1))]).expect("free");
    let both = [(key("b"), concurrent(1)), (key("c"), requests(60, Some(1)))];
    let limited = bench.admit(&both).expect_err("occupied");
    assert_eq!(
        (limited.kind, limited.scope),
        (LimitKind::Concurrency, key("b"))
    );
    assert_eq!(bench.admitted(&both[1..]), 1);
}

#[test]
fn the_longest_wait_is_the_one_that_is_told() {
    let bench = Bench::new();
    let scopes = [
        (Scope::Global, requests(6_000, Some(1))),
        (key("a"), requests(1, Some(1))),
    ];
    assert_eq!(bench.admitted(&scopes), 1);
    assert_eq!(bench.admit(&scopes).expect_err("used").scope, key("a"));
}

#[test]
fn the_same_scope_twice_counts_once() {
    let bench = Bench::new();
    let twice = [(key("a"), concurrent(1)), (key("a"), concurrent(1))];
    let permit = bench.admit(&twice).expect("free");
    assert_eq!(bench.limiters.in_flight(&key("a")), 1);
    drop(permit);
    assert_eq!(bench.limiters.in_flight(&key("a")), 0);
}

#[test]
fn a_permit_holds_its_place_until_it_is_dropped_whatever_the_parameters_become() {
    let bench = Bench::new();
    let unlimited = [(key("a"), LimitParams::default())];
    let permits: Vec<_> = (0..5).map(|_| bench.admit(&unlimited)).collect();
    let limited = [(key("a"), concurrent(5))];
    assert!(bench.admit(&limited).is_err());
    drop(permits);
    assert!(bench.admit(&limited).is_ok());
}

#[test]
fn a_changed_rate_keeps_what_is_used_of_the_burst() {
    let bench = Bench::new();
    assert_eq!(bench.admitted(&[(key("a"), requests(60, Some(10)))]), 10);
    assert_eq!(bench.admitted(&[(key("a"), requests(600, Some(25)))]), 15);
    assert_eq!(bench.admitted(&[(key("a"), requests(60, Some(5)))]), 0);
}

#[test]
fn a_limit_of_nothing_lets_nothing_pass() {
    let bench = Bench::new();
    for params in [requests(0, None), tokens(0, None), concurrent(0)] {
        let scopes = [(key("a"), params)];
        let refused = bench
            .admit(&scopes)
            .err()
            .or(bench.reserve(&scopes, 1).err());
        assert_eq!(refused.expect("refused").retry_after, None);
        assert!(!bench.limiters.would_admit(&key("a"), &params, bench.now));
    }
}

#[test]
fn tokens_are_reserved_settled_and_given_back() {
    let mut bench = Bench::new();
    let scopes = [
        (key("a"), tokens(6_000, None)),
        (Scope::Global, tokens(60_000, None)),
    ];
    let first = bench.reserve(&scopes, 4_000).expect("fits");
    assert_eq!(bench.tokens_left(&scopes), 2_000);
    let limited = bench.reserve(&scopes, 3_000).expect_err("does not fit");
    assert_eq!(limited.retry_after, Some(Duration::from_secs(10)));
    assert_eq!(bench.tokens_left(&scopes[1..]), 56_000, "nothing was taken");
    first.settle_at(500, bench.now);
    assert_eq!(bench.tokens_left(&scopes), 5_500);
    drop(bench.reserve(&scopes, 5_500).expect("fits"));
    assert_eq!(bench.tokens_left(&scopes), 5_500);
    let over = bench.reserve(&scopes, 5_000).expect("fits");
    over.settle_at(7_500, bench.now);
    assert_eq!(bench.tokens_left(&scopes), 0);
    bench.wait(Duration::from_secs(30));
    assert_eq!(
        bench.tokens_left(&scopes),
        1_000,
        "the excess is waited for"
    );
}

#[test]
fn what_is_used_above_the_reserve_is_not_forgiven_by_earlier_idleness() {
    let mut bench = Bench::new();
    let scopes = [(key("a"), tokens(6_000, None))];
    let reservation = bench.reserve(&scopes, 100).expect("fits");
    bench.wait(Duration::from_mins(10));
    reservation.settle_at(4_100, bench.now);
    assert_eq!(bench.tokens_left(&scopes), 2_000);
}

#[test]
fn a_request_above_the_burst_passes_when_nothing_is_owed_but_not_above_the_minute() {
    let mut bench = Bench::new();
    let scopes = [(key("a"), tokens(6_000, Some(600)))];
    let limited = bench.reserve(&scopes, 6_001).expect_err("too large");
    assert_eq!(limited.retry_after, None);
    assert!(
        limited
            .to_string()
            .contains("more than the 6000 per minute")
    );
    bench
        .reserve(&scopes, 100)
        .expect("fits")
        .settle_at(100, bench.now);
    let limited = bench
        .reserve(&scopes, 6_000)
        .expect_err("something is owed");
    assert_eq!(limited.retry_after, Some(Duration::from_secs(1)));
    bench.wait(Duration::from_secs(1));
    let large = bench.reserve(&scopes, 6_000).expect("nothing is owed");
    large.settle_at(6_000, bench.now);
    let limited = bench.reserve(&scopes, 600).expect_err("owes a minute");
    assert_eq!(limited.retry_after, Some(Duration::from_mins(1)));
}

#[test]
fn a_penalty_holds_until_its_end_and_the_later_one_wins() {
    let mut bench = Bench::new();
    let scope = Scope::Provider("openai".into());
    let scopes = [(scope.clone(), LimitParams::default())];
    let until = |seconds| bench.now + Duration::from_secs(seconds);
    bench.limiters.penalize(&scope, until(20));
    bench.limiters.penalize(&scope, until(5));
    assert!(!bench.limiters.would_admit(&scope, &scopes[0].1, bench.now));
    let limited = bench.admit(&scopes).expect_err("penalized");
    assert_eq!(limited.kind, LimitKind::Upstream);
    assert_eq!(limited.retry_after, Some(Duration::from_secs(20)));
    bench.wait(Duration::from_secs(20));
    assert!(bench.limiters.would_admit(&scope, &scopes[0].1, bench.now));
    assert!(bench.admit(&scopes).is_ok());
}

#[test]
fn the_tightest_scope_is_shown() {
    let bench = Bench::new();
    let scopes = [
        (Scope::Global, requests(6_000, None)),
        (key("a"), requests(600, None)),
        (Scope::Team("t".into()), tokens(90_000, None)),
    ];
    drop(bench.admit(&scopes).expect("passes"));
    let standing = bench.limiters.standing(&scopes, bench.now);
    let expect = Standing {
        limit: 60,
        remaining: 59,
        reset: Duration::from_millis(100),
    };
    assert_eq!(standing.requests, Some(expect));
    assert_eq!(standing.tokens.map(|tokens| tokens.remaining), Some(90_000));
    let none = bench
        .limiters
        .standing(&[(key("b"), LimitParams::default())], bench.now);
    assert_eq!(none, RateStanding::default());
}

#[test]
fn durations_are_written_as_openai_writes_them() {
    let check = |micros: u64, expect: &str| {
        assert_eq!(format_reset(Duration::from_micros(micros)), expect);
    };
    check(0, "0s");
    check(12_000, "12ms");
    check(11_001, "12ms");
    check(1_000_000, "1s");
    check(1_500_000, "1.5s");
    check(59_999_500, "1m0s");
    check(360_000_000, "6m0s");
    check(3_603_020_000, "1h0m3.02s");
}

#[test]
fn concurrency_stays_at_or_below_its_limit_under_threads() {
    let bench = Bench::new();
    let scopes = [(Scope::Global, concurrent(7)), (key("a"), concurrent(3))];
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    if let Ok(permit) = bench.admit(&scopes) {
                        let now_inside = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now_inside, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                }
            });
        }
    });
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    assert_eq!(bench.limiters.in_flight(&Scope::Global), 0);
}

#[test]
fn scopes_in_any_order_never_deadlock_and_the_burst_holds_under_threads() {
    let bench = Bench::new();
    let passed = AtomicU64::new(0);
    let scopes = [
        (Scope::Global, requests(600, Some(50))),
        (key("a"), requests(600, Some(80))),
    ];
    let reversed = [scopes[1].clone(), scopes[0].clone()];
    std::thread::scope(|scope| {
        for order in [&scopes, &reversed, &scopes, &reversed] {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    if bench.admit(order).is_ok() {
                        passed.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(passed.load(Ordering::SeqCst), 50);
}

#[allow(clippy::cast_precision_loss, reason = "small counts")]
mod properties {
    use super::*;
    proptest! {
        /// In every stretch of time, not only from the start.
        #[test]
        fn requests_never_exceed_rate_times_time_plus_burst(
            per_minute in 1u32..5_000,
            burst in 1u32..50,
            gaps_ms in prop::collection::vec(0u64..300, 1..300),
        ) {
            let mut bench = Bench::new();
            let scopes = [(key("a"), requests(per_minute, Some(burst)))];
            let mut passed_at = vec![];
            for gap in gaps_ms {
                bench.wait(Duration::from_millis(gap));
                if bench.admit(&scopes).is_ok() {
                    passed_at.push(bench.now);
                }
            }
            for (first, from) in passed_at.iter().enumerate() {
                for (last, to) in passed_at.iter().enumerate().skip(first) {
                    let minutes = (*to - *from).as_secs_f64() / 60.0;
                    // governor cuts the interval to whole nanoseconds: a millionth of slack.
                    let most = f64::from(per_minute) * minutes * 1.000_001 + f64::from(burst);
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6);
                }
            }
        }

        /// What was used, as settled, never exceeds the rate plus the larger of burst and request, and
        /// when everything is settled the debt is what was used and not yet worked off.
        #[test]
        fn tokens_never_exceed_their_rate_and_settling_conserves(
            per_minute in 1_000u64..100_000,
            steps in prop::collection::vec((1u64..5_000, 0u64..100, 0u64..400, any::<bool>()), 1..200),
        ) {
            let mut bench = Bench::new();
            let start = bench.now;
            let scopes = [(key("a"), tokens(per_minute, None))];
            let mut open = vec![];
            let mut used = 0u64;
            for (asked, percent, gap_ms, settle_first) in steps {
                bench.wait(Duration::from_millis(gap_ms));
                if settle_first && let Some((reservation, actual)) = open.pop() {
                    let reservation: TokenReservation = reservation;
                    reservation.settle_at(actual, bench.now);
                    used += actual;
                }
                if let Ok(reservation) = bench.reserve(&scopes, asked) {
                    open.push((reservation, asked * percent / 100));
                }
                let minutes = (bench.now - start).as_secs_f64() / 60.0;
                let reserved: u64 = open.iter().map(|(reservation, _)| reservation.tokens()).sum();
                let most = per_minute as f64 * (minutes + 1.0);
                prop_assert!((used + reserved) as f64 <= most + 1.0);
            }
            for (reservation, actual) in open {
                reservation.settle_at(actual, bench.now);
                used += actual;
            }
            let owed = per_minute - bench.tokens_left(&scopes);
            prop_assert!(owed <= used + 1);
        }
    }
}
