//! Retries stay within their share; hints of when to come back are read in every form.

use http::HeaderMap;
use proptest::prelude::*;

use super::*;

const PARAMS: RetryParams = RetryParams {
    max_attempts: 3,
    budget_ratio: 0.2,
    min_per_second: 0.0,
    base_delay: Duration::from_millis(100),
    max_delay: Duration::from_secs(2),
    max_retry_after: Duration::from_secs(10),
};

fn withdrawals(budget: &RetryBudget, now: Instant, params: &RetryParams) -> u32 {
    let mut count = 0;
    while budget.try_withdraw(now, params) {
        count += 1;
    }
    count
}

#[test]
fn requests_earn_their_share_of_retries_and_credits_expire() {
    let (budget, start) = (RetryBudget::new(), Instant::now());
    assert_eq!(withdrawals(&budget, start, &PARAMS), 0);
    for _ in 0..50 {
        budget.deposit(start, &PARAMS);
    }
    assert_eq!(withdrawals(&budget, start, &PARAMS), 10);
    for _ in 0..50 {
        budget.deposit(start, &PARAMS);
    }
    let last_moment = start + Duration::from_millis(9_999);
    assert!(budget.try_withdraw(last_moment, &PARAMS));
    let expired = start + Duration::from_secs(10);
    assert_eq!(withdrawals(&budget, expired, &PARAMS), 0);
}

#[test]
fn the_floor_needs_no_requests_and_comes_back() {
    let params = RetryParams {
        min_per_second: 0.5,
        ..PARAMS
    };
    let (budget, start) = (RetryBudget::new(), Instant::now());
    assert_eq!(withdrawals(&budget, start, &params), 5);
    let later = start + Duration::from_secs(10);
    assert_eq!(withdrawals(&budget, later, &params), 5);
}

#[test]
fn the_delay_is_jittered_in_full_doubles_and_is_capped() {
    assert_eq!(backoff(1, &PARAMS, 1.0), Duration::from_millis(100));
    assert_eq!(backoff(1, &PARAMS, 0.0), Duration::ZERO);
    assert_eq!(backoff(2, &PARAMS, 0.5), Duration::from_millis(100));
    assert_eq!(backoff(4, &PARAMS, 1.0), Duration::from_millis(800));
    assert_eq!(backoff(u32::MAX, &PARAMS, 1.0), PARAMS.max_delay);
}

proptest! {
    #[test]
    fn retries_never_exceed_their_share(
        events in prop::collection::vec((any::<bool>(), 0u64..700), 1..400),
    ) {
        let params = RetryParams { min_per_second: 0.3, ..PARAMS };
        let budget = RetryBudget::new();
        let mut now = Instant::now();
        let (mut deposits, mut retries) = (0u32, 0u32);
        for (is_request, wait_ms) in events {
            now += Duration::from_millis(wait_ms);
            if is_request {
                budget.deposit(now, &params);
                deposits += 1;
            } else if budget.try_withdraw(now, &params) {
                retries += 1;
            }
        }
        let elapsed = 281.0 + 10.0; // the longest schedule, and the first ten seconds' floor
        prop_assert!(f64::from(retries) <= f64::from(deposits) * 0.2 + 0.3 * elapsed);
    }
}

/// Sun, 06 Nov 1994 08:49:37 GMT.
const NOW_MS: i64 = 784_111_777_000;

fn check(headers: &[(&'static str, &str)], expect_ms: Option<u64>) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().expect("a header value"));
    }
    assert_eq!(
        parse_retry_after(&map, NOW_MS),
        expect_ms.map(Duration::from_millis),
        "{headers:?}"
    );
}

#[test]
fn retry_after_is_read_in_every_form() {
    check(&[], None);
    check(&[("retry-after", "7")], Some(7_000));
    check(&[("retry-after", "1.5")], Some(1_500));
    check(&[("retry-after", "0")], Some(0));
    check(
        &[("retry-after-ms", "250"), ("retry-after", "1")],
        Some(250),
    );
    check(
        &[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")],
        Some(10_000),
    );
    check(
        &[("retry-after", "Sunday, 06-Nov-94 08:49:47 GMT")],
        Some(10_000),
    );
    check(&[("retry-after", "Sun Nov  6 08:49:47 1994")], Some(10_000));
    check(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], Some(0));
}

#[test]
fn what_is_no_time_is_passed_over() {
    for nonsense in ["", "-5", "soon", "NaN", "inf", "1e9", "0x10"] {
        check(&[("retry-after", nonsense)], None);
    }
    check(
        &[("retry-after", "99999999999999999999")],
        Some(365 * 24 * 3600 * 1000),
    );
    check(
        &[("retry-after-ms", "x"), ("retry-after", "2")],
        Some(2_000),
    );
}

#[test]
fn the_reset_of_a_spent_limit_stands_in() {
    check(
        &[
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ],
        Some(360_000),
    );
    check(&[("x-ratelimit-reset-requests", "12ms")], Some(12));
    check(&[("x-ratelimit-reset-tokens", "1h2m3.5s")], Some(3_723_500));
    check(&[("x-ratelimit-reset-tokens", "5 parsecs")], None);
    check(
        &[
            ("x-ratelimit-remaining-tokens", "100"),
            ("x-ratelimit-reset-tokens", "6s"),
        ],
        None,
    );
}
