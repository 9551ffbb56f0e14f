//! Prices: exact, dated, by step and tier; never unknown, never negative, never guessed.

use super::*;

#[test]
fn prices_are_exact_and_never_unknown() {
    let at = "f:6:39: models.big.price.input: ";
    let check_input = |price: &str, expect: &str| {
        check(
            "{ input: 2,",
            &format!("{{ input: {price},"),
            &[&format!("{at}{expect}")],
        );
    };
    check_input("-1", "-1 is out of range; allowed: 0 or more");
    check_input(
        "0.0000001",
        "`0.0000001` is finer than a pico-USD (12 digits after the point); prices are USD per million tokens",
    );
    check(
        "price: { input: 2, output: 10 }, tier",
        "price: 0, tier",
        &[],
    );
    check(
        "price: { input: 2, output: 10 }, tier",
        "price: 5, tier",
        &["f:6:30: models.big.price: 5 is out of range; only 0 is allowed"],
    );
    check(
        "price: { input: 2, output: 10 }, ",
        "",
        &[
            "f:6:8: models.big: missing key `price`: an unknown price is never taken as zero; write \
         `price: { input: …, output: … }` in USD per million tokens, or `price: 0` if it is free",
        ],
    );
    check(
        "price: { input: 2, output: 10 }, ",
        "upstream_model: gpt-6-luna, ",
        &[
            "f:6:8: models.big: missing key `price`: an unknown price is never taken as zero; the \
           catalogue of 2026-11-21 has `price: { input: 0.1, cached_input: 0.01, cache_write: 0.125, \
           output: 0.5, long_context: [{ above_input_tokens: 272000, input: 0.2, cached_input: 0.02, \
           cache_write: 0.25, output: 0.75 }] }`",
        ],
    );
    check(
        ", output: 10",
        "",
        &["f:6:30: models.big.price: missing key `output`: only embedding models may leave it out"],
    );
}

/// The sound file with another price of `big`.
fn with_price(price: &str) -> String {
    BASE.replacen("{ input: 2, output: 10 }", price, 1)
}

/// Expects this problem, without its place, for a price of `big`.
fn check_price(price: &str, expect: &str) {
    let problems = problems_of(&with_price(price));
    let found = problems.iter().any(|problem| problem.contains(expect));
    assert!(problems.len() == 1 && found, "{price}: {problems:?}");
}

#[test]
fn steps_tiers_and_fees_are_read_exactly() {
    let text = with_price(
        "{ input: 2, cached_input: 0.2, output: 10, per_request_usd: 0.005, per_image_usd: 0.00006,
           long_context: [ { above_input_tokens: 272000, input: 4, cached_input: 0.4, output: 15 } ],
           service_tiers: { priority: { input: 4, cached_input: 0.4, output: 20, long_context: [] } } }",
    );
    let snapshot = load_base(&text).expect("a sound file");
    let price = &snapshot.model("big").expect("the model").price;
    let entry = price.at(0);
    let input = |tier, tokens| {
        let applied = entry.applied(tier, tokens);
        (
            applied.price.input.pico(),
            applied.price.cached_input.pico(),
        )
    };
    assert_eq!(input(ServiceTier::Standard, 272_000), (2_000_000, 200_000));
    assert_eq!(input(ServiceTier::Standard, 272_001), (4_000_000, 400_000));
    assert_eq!(input(ServiceTier::Priority, 900_000), (4_000_000, 400_000));
    assert!(!entry.applied(ServiceTier::Flex, 1).tier_is_priced);
    let usual = usual(snapshot.model("big").expect("the model"));
    assert_eq!(usual.per_request.to_string(), "0.005");
    assert_eq!(usual.per_image.to_string(), "0.00006");
    assert_eq!(usual.cache_write_1h, usual.cache_write);
}

#[test]
fn a_price_holds_from_its_day() {
    let text =
        with_price("[ { input: 2, output: 10 }, { from: 2026-12-01, input: 1, output: 5 } ]");
    let snapshot = load_base(&text).expect("a sound file");
    let price = &snapshot.model("big").expect("the model").price;
    let midnight: jiff::Timestamp = "2026-12-01T00:00:00Z".parse().expect("an instant");
    let input_at = |at_ms| {
        let entry = price.at(at_ms);
        entry.applied(ServiceTier::Standard, 1).price.input.pico()
    };
    assert_eq!(input_at(midnight.as_millisecond() - 1), 2_000_000);
    assert_eq!(input_at(midnight.as_millisecond()), 1_000_000);
    assert!(price.at(i64::MAX).version.starts_with("2026-12-01/"));
}

#[test]
fn what_a_price_leaves_open_is_an_error() {
    check_price(
        "[]",
        "an empty list of prices: an unknown price is never taken as zero",
    );
    check_price(
        "{ input: 2, output: -10 }",
        "-10 is out of range; allowed: 0 or more",
    );
    check_price(
        "{ input: 2, output: 10, per_request_usd: -1 }",
        "-1 is out of range; allowed: 0 or more",
    );
    check_price(
        "[ { input: 2, output: 10 }, { input: 1, output: 5 } ]",
        "price[1]: missing key `from`: the day from which this price holds",
    );
    check_price(
        "[ { from: 2026-12-01, input: 2, output: 10 } ]",
        "price: no price holds yet: an unknown price is never taken as zero; put today's price first",
    );
    check_price(
        "[ { input: 2, output: 10 }, { from: 2026-12-01, input: 1, output: 5 }, \
           { from: 2026-11-01, input: 1, output: 5 } ]",
        "price[2].from: not after the entry before it; prices stand in order",
    );
    check_price(
        "[ { input: 2, output: 10 }, { from: \"next week\", input: 1, output: 5 } ]",
        "price[1].from: `next week` is no day; write it as 2026-12-01",
    );
    check_price(
        "{ input: 2, cached_input: 0.2, output: 10, \
           long_context: [ { above_input_tokens: 9, input: 4, output: 15 } ] }",
        "price.long_context[0]: missing key `cached_input`: the usual price has it, and what it is \
         here is not guessed",
    );
    check_price(
        "{ input: 2, output: 10, long_context: [ { above_input_tokens: 9, input: 4, output: 15 }, \
           { above_input_tokens: 9, input: 5, output: 15 } ] }",
        "price.long_context[1].above_input_tokens: not above the step before it",
    );
    check_price(
        "{ input: 2, output: 10, long_context: [ { above_input_tokens: 9, input: 4, output: 15 } ], \
           service_tiers: { flex: { input: 1, output: 5 } } }",
        "price.service_tiers.flex: missing key `long_context`: the usual price has steps; write",
    );
    check_price(
        "{ input: 2, reasoning: 12, output: 10, service_tiers: { batch: { input: 1, output: 5 } } }",
        "price.service_tiers.batch: missing key `reasoning`",
    );
    check_price(
        "{ input: 2, output: 10, service_tiers: { fast: { input: 1, output: 5 } } }",
        "unknown key `fast`",
    );
}
