use std::time::Duration;

use http::HeaderMap;

use super::refusal::{budget_exceeded, rate_limited};
use super::*;
use crate::runtime::budgets::{Exhausted, OnExhausted, Period};
use crate::runtime::limiter::{LimitKind, Limited, Standing};
use crate::types::PicoUsd;

fn limited(kind: LimitKind, retry_after: Option<Duration>) -> Limited {
    Limited {
        scope: Scope::Key("search-prod".into()),
        kind,
        limit: 600,
        asked: 900,
        retry_after,
    }
}

#[test]
fn a_rate_limit_names_its_scope_and_limit_and_says_when() {
    let wait = Duration::from_millis(1_500);
    let error = rate_limited(&limited(LimitKind::Requests, Some(wait)));
    assert_eq!(
        error.message,
        "key `search-prod` is limited to 600 requests per minute; try again in 1.5s"
    );
    assert_eq!((error.retry_after, error.should_retry), (Some(wait), None));
    let labels = error.limit.expect("labels");
    assert_eq!((labels.scope, labels.kind), ("key", "requests"));
}

#[test]
fn what_can_never_pass_is_not_worth_a_retry() {
    let error = rate_limited(&limited(LimitKind::Tokens, None));
    assert!(
        error
            .message
            .starts_with("this request may need 900 tokens, more than the 600")
    );
    assert_eq!((error.retry_after, error.should_retry), (None, Some(false)));
}

#[test]
fn an_exhausted_budget_is_worth_a_retry_only_while_money_is_in_flight() {
    let usd = |text| PicoUsd::parse_usd(text).expect("an amount");
    let mut exhausted = Exhausted {
        budget: "search".into(),
        limit: usd("200"),
        period: Period::Month,
        spent: usd("199.5"),
        reserved: usd("0.4"),
        asked: usd("0.3"),
        on_exhausted: OnExhausted::Block,
        retry_after: Some(Duration::from_secs(2)),
        in_flight_blocks: true,
    };
    assert_eq!(budget_exceeded(&exhausted).should_retry, Some(true));
    exhausted.in_flight_blocks = false;
    exhausted.retry_after = Some(Duration::from_secs(3_600));
    let error = budget_exceeded(&exhausted);
    assert_eq!(error.should_retry, Some(false));
    assert_eq!(
        error.message,
        "budget `search` (200 USD per month) cannot pay for this request: 199.5 USD spent, \
         0.4 USD held for requests in flight, and it may cost up to 0.3 USD; \
         its period ends in 1h0m0s"
    );
}

#[test]
fn headers_are_in_openais_form() {
    let standing = RateStanding {
        requests: Some(Standing {
            limit: 600,
            remaining: 59,
            reset: Duration::from_millis(100),
        }),
        tokens: None,
    };
    let mut headers = HeaderMap::new();
    write_headers(&mut headers, &standing);
    let value = |name: &str| headers.get(name).map(|value| value.to_str().expect("text"));
    assert_eq!(value("x-ratelimit-limit-requests"), Some("600"));
    assert_eq!(value("x-ratelimit-remaining-requests"), Some("59"));
    assert_eq!(value("x-ratelimit-reset-requests"), Some("100ms"));
    assert_eq!(headers.len(), 3);
}
