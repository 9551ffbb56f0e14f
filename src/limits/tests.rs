//! Admission and reservation against limits and budgets together.

use std::convert::Infallible;
use std::ops::Range;

use http::HeaderMap;

use super::refusal::{budget_exceeded, rate_limited};
use super::*;
use crate::clock::Clock;
use crate::config::load;
use crate::error::ErrorKind;
use crate::runtime::budgets::{BudgetParams, Budgets, Exhausted, OnExhausted, Period};
use crate::runtime::limiter::{LimitKind, Limited, Standing};
use crate::types::{AllowList, PicoUsd, Tier};

fn limited(kind: LimitKind, retry_after: Option<Duration>) -> Limited {
    Limited {
        scope: Scope::Key("search-prod".into()),
        kind,
        limit: 600,
        asked: 900,
        retry_after,
        lease_short: false,
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
        lease_short: false,
    };
    assert_eq!(budget_exceeded(&exhausted).should_retry, Some(true));
    exhausted.in_flight_blocks = false;
    exhausted.retry_after = Some(Duration::from_hours(1));
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
            limit: 60,
            remaining: 59,
            reset: Duration::from_millis(100),
        }),
        tokens: None,
    };
    let mut headers = HeaderMap::new();
    write_headers(&mut headers, &standing);
    let value = |name: &str| headers.get(name).map(|value| value.to_str().expect("text"));
    assert_eq!(value("x-ratelimit-limit-requests"), Some("60"));
    assert_eq!(value("x-ratelimit-remaining-requests"), Some("59"));
    assert_eq!(value("x-ratelimit-reset-requests"), Some("100ms"));
    assert_eq!(headers.len(), 3);
}

const FILE: &str = r#"
version: 1
providers:
  p: { dialect: openai_chat, base_url: "http://127.0.0.1:9/v1", limits: { requests_per_minute: 60, burst: 2 } }
models:
  small: { provider: p, price: { input: 1, output: 2 }, limits: { tokens_per_minute: 1000 } }
matrix:
  default: { simple: [small], complex: [small], critical: [small] }
teams:
  default: { limits: { concurrent: 2 } }
budgets:
  - { name: all, limit_usd: 1, period: total }
"#;

/// One configuration with the state that outlives it.
struct Bench {
    snapshot: Snapshot,
    limiters: Arc<Limiters>,
    budgets: Arc<Budgets>,
    caller: Caller,
}

impl Bench {
    fn new() -> Self {
        let snapshot = load(FILE, "routes.yaml", &|_| None, 0).expect("a sound file");
        let budgets = Arc::new(Budgets::new(Clock::manual(0)));
        let empty = |_: &BudgetParams, _: Range<i64>| Ok::<_, Infallible>(PicoUsd::ZERO.into());
        let Ok(()) = budgets.apply(&snapshot.budgets, &empty);
        Self {
            snapshot,
            limiters: Arc::new(Limiters::new()),
            budgets,
            caller: Caller {
                key: None,
                key_sha256: None,
                team: "default".into(),
                app: "default".into(),
                tier: Tier::Premium,
                allow: AllowList::all(),
                regions: Arc::new([]),
            },
        }
    }

    fn reserve(&self, tokens: u64, usd: &str) -> Result<AttemptReservation, ProxyError> {
        let request = AttemptRequest {
            caller: &self.caller,
            model: &self.snapshot.models[0],
            provider: &self.snapshot.providers[0],
            tokens,
            money: PicoUsd::parse_usd(usd).expect("an amount").into(),
            end_user: None,
        };
        reserve_attempt(&self.limiters, &self.budgets, &self.snapshot, &request)
    }

    /// Tokens of the model, dollars of the budget, requests of the provider that are left.
    fn left(&self) -> (u64, String, u64) {
        let model = &self.snapshot.models[0];
        let scopes = upstream_scopes(model, &self.snapshot.providers[0]);
        let standing = self.limiters.standing(&scopes, Instant::now());
        let view = &self.budgets.view()[0];
        (
            standing.tokens.expect("limited").remaining,
            (view.limit - view.spent - view.reserved).to_string(),
            standing.requests.expect("limited").remaining,
        )
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_a_place_in_the_team_until_it_is_dropped() {
    let bench = Bench::new();
    let admit = || admit(&bench.limiters, &bench.snapshot, &bench.caller);
    let held = (admit().expect("the first"), admit().expect("the second"));
    let error = admit().expect_err("full");
    assert_eq!(error.kind, ErrorKind::RateLimitExceeded);
    assert!(
        error
            .message
            .starts_with("team `default` is limited to 2 requests at once")
    );
    drop(held);
    assert!(admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_sets_everything_aside_or_nothing_and_settles_both_sides_once() {
    let bench = Bench::new();
    assert_eq!(bench.left(), (1_000, "1".into(), 2));
    let error = bench.reserve(500, "1.5").expect_err("too dear");
    assert_eq!(error.kind, ErrorKind::BudgetExceeded);
    let error = bench.reserve(1_500, "0.5").expect_err("too long");
    assert_eq!(error.limit.map(|limit| limit.scope), Some("model"));
    assert_eq!(bench.left(), (1_000, "1".into(), 2), "nothing was taken");

    let attempt = bench.reserve(600, "0.5").expect("fits");
    assert_eq!(bench.left(), (400, "0.5".into(), 1));
    attempt.settle(100, PicoUsd::parse_usd("0.2").expect("an amount"));
    assert_eq!(bench.left(), (900, "0.8".into(), 1));

    drop(bench.reserve(600, "0.5").expect("fits"));
    assert_eq!(
        bench.left(),
        (900, "0.8".into(), 0),
        "a request rate gives nothing back"
    );
    let error = bench.reserve(1, "0.1").expect_err("the provider's rate");
    assert_eq!(error.limit.map(|limit| limit.scope), Some("provider"));
    assert_eq!(
        bench.left(),
        (900, "0.8".into(), 0),
        "the rest was given back"
    );
    let model = &bench.snapshot.models[0];
    assert!(!would_admit(
        &bench.limiters,
        model,
        &bench.snapshot.providers[0]
    ));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(would_admit(
        &bench.limiters,
        model,
        &bench.snapshot.providers[0]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_reload_forgets_the_scopes_that_are_gone() {
    let bench = Bench::new();
    let gone = [(Scope::Model("gone".into()), LimitParams::default())];
    let held = bench.limiters.admit(&gone, Instant::now()).expect("free");
    let kept = admit(&bench.limiters, &bench.snapshot, &bench.caller).expect("free");
    forget_removed(&bench.limiters, &bench.snapshot);
    assert_eq!(bench.limiters.in_flight(&gone[0].0), 0);
    assert_eq!(bench.limiters.in_flight(&Scope::Global), 1);
    drop((held, kept));
}

#[tokio::test(start_paused = true)]
async fn a_providers_own_limit_keeps_its_model_out_for_a_while() {
    let bench = Bench::new();
    let (model, provider) = (&bench.snapshot.models[0], &bench.snapshot.providers[0]);
    let longest = Duration::from_secs(20);
    learn_upstream_limit(&bench.limiters, model, None, longest);
    assert!(would_admit(&bench.limiters, model, provider));
    learn_upstream_limit(
        &bench.limiters,
        model,
        Some(Duration::from_hours(24)),
        longest,
    );
    assert!(!would_admit(&bench.limiters, model, provider));
    let error = bench.reserve(1, "0.1").expect_err("penalized");
    assert_eq!(error.limit.map(|limit| limit.kind), Some("upstream"));
    tokio::time::advance(longest).await;
    assert!(would_admit(&bench.limiters, model, provider));
}
