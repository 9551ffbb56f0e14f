//! What price lists apply and reserve: steps, tiers, days, fees; that a bill is never above its bound.

use proptest::prelude::*;

use super::*;
use crate::types::TokenPrice;

fn price(input: i64, output: i64) -> Price {
    Price {
        input: TokenPrice::from_pico(input),
        cached_input: TokenPrice::from_pico(input / 10),
        cache_write: TokenPrice::from_pico(input + input / 4),
        cache_write_1h: TokenPrice::from_pico(input * 2),
        output: TokenPrice::from_pico(output),
        reasoning: TokenPrice::from_pico(output),
        ..Price::default()
    }
}

fn tier(base: Price, steps: &[(u64, Price)]) -> TierPrice {
    let step = |&(above_input_tokens, price)| PriceStep {
        above_input_tokens,
        price,
    };
    TierPrice {
        base,
        steps: steps.iter().map(step).collect(),
    }
}

fn bound(input_tokens: u64, tiers: PossibleTiers) -> BillBound {
    BillBound {
        input_tokens,
        output_tokens: 10,
        images: 0,
        tiers,
        hour_cache: false,
    }
}

/// 100 and 400 per token; twice and one and a half times that above 1000; flex half, priority double.
fn list() -> PriceList {
    let standard = tier(price(100, 400), &[(1000, price(200, 600))]);
    let others = [
        Some(tier(price(50, 200), &[])),
        Some(tier(price(200, 800), &[])),
        None,
    ];
    PriceList::new(vec![PriceEntry::new(None, standard, others)]).expect("an entry")
}

#[test]
fn above_the_step_the_whole_request_is_dearer() {
    let list = list();
    let entry = list.at(0);
    let at = |tokens| {
        let applied = entry.applied(ServiceTier::Standard, tokens);
        (applied.price.input.pico(), applied.step_tokens)
    };
    assert_eq!(at(0), (100, None));
    assert_eq!(at(1000), (100, None));
    assert_eq!(at(1001), (200, Some(1000)));
    let tokens = Tokens {
        input: 601,
        cached_input: 400,
        output: 10,
        ..Tokens::default()
    };
    assert_eq!(
        list.cost(0, &tokens).pico(),
        601 * 200 + 400 * 20 + 10 * 600
    );
}

#[test]
fn the_tier_that_served_is_billed_and_the_dearest_is_reserved() {
    let list = list();
    let entry = list.at(0);
    let input_of = |tier| {
        let applied = entry.applied(tier, 10);
        (applied.price.input.pico(), applied.tier_is_priced)
    };
    assert_eq!(input_of(ServiceTier::Flex), (50, true));
    assert_eq!(input_of(ServiceTier::Priority), (200, true));
    assert_eq!(input_of(ServiceTier::Batch), (100, false));

    let worst = |asked: &[u8]| {
        let tiers = PossibleTiers::asked(asked);
        list.worst_case(0, &bound(8, tiers)).pico()
    };
    assert_eq!(worst(b"\"default\""), 8 * 125 + 10 * 400);
    assert_eq!(worst(b"\"flex\""), 8 * 125 + 10 * 400);
    assert_eq!(worst(b"\"priority\""), 8 * 250 + 10 * 800);
    assert_eq!(worst(b"\"auto\""), 8 * 250 + 10 * 800);
    assert_eq!(worst(b"null"), 8 * 250 + 10 * 800);
}

#[test]
fn a_price_holds_from_its_day_and_the_reservation_sees_it_coming() {
    let from = |at_ms, day, input| {
        let standard = tier(price(input, 400), &[]);
        PriceEntry::new(Some((at_ms, day)), standard, [None, None, None])
    };
    let day = 86_400_000;
    let list = PriceList::new(vec![
        from(20 * day, "1970-01-21", 300),
        PriceEntry::new(None, tier(price(100, 400), &[]), [None, None, None]),
    ])
    .expect("entries");
    let input_at = |at_ms| {
        let entry = list.at(at_ms);
        entry.applied(ServiceTier::Standard, 1).price.input.pico()
    };
    assert_eq!(input_at(0), 100);
    assert_eq!(input_at(20 * day - 1), 100);
    assert_eq!(input_at(20 * day), 300);
    assert!(!list.is_all_future(0));
    let worst = |at_ms| {
        list.worst_case(at_ms, &bound(4, PossibleTiers::Standard))
            .pico()
    };
    assert_eq!(worst(0), 4 * 125 + 4000);
    assert_eq!(worst(20 * day - 5), 4 * 375 + 4000);
    assert_ne!(list.at(0).version, list.at(20 * day).version);
    assert!(list.at(20 * day).version.starts_with("1970-01-21/"));
}

#[test]
fn an_hour_in_the_prompt_cache_is_reserved_only_where_it_may_apply() {
    let list = list();
    assert!(list.has_hour_cache());
    let usual = bound(8, PossibleTiers::Standard);
    let hour = BillBound {
        hour_cache: true,
        ..usual
    };
    assert_eq!(list.worst_case(0, &usual).pico(), 8 * 125 + 4000);
    assert_eq!(list.worst_case(0, &hour).pico(), 8 * 200 + 4000);
}

#[test]
fn fees_apart_from_tokens_are_billed_and_reserved() {
    let base = Price {
        per_request: PicoUsd::from_pico(7000),
        per_image: PicoUsd::from_pico(900),
        ..price(100, 400)
    };
    let list = PriceList::flat(base);
    let tokens = Tokens {
        input: 3,
        ..Tokens::default()
    };
    assert_eq!(base.bill(&tokens, 2).pico(), 300 + 7000 + 1800);
    let bound = BillBound {
        images: 2,
        ..bound(3, PossibleTiers::Standard)
    };
    assert_eq!(
        list.worst_case(0, &bound).pico(),
        3 * 125 + 4000 + 7000 + 1800
    );
    assert!(!list.is_free() && PriceList::default().is_free());
}

proptest! {
    /// Whatever the provider bills, within what was asked for, was reserved.
    #[test]
    fn no_bill_is_above_the_reservation(
        classes in prop::array::uniform6(0_u64..2000), tier in 0_usize..4, hour in any::<bool>(),
        slack in 0_u64..500, images in 0_u32..3,
    ) {
        let list = list();
        let [input, cached_input, cache_write, cache_write_1h, output, reasoning] = classes;
        let cache_write_1h = if hour { cache_write_1h } else { 0 };
        let tokens = Tokens { input, cached_input, cache_write, cache_write_1h, output, reasoning };
        let bound = BillBound {
            input_tokens: tokens.all_input() + slack,
            output_tokens: tokens.all_output() + slack,
            images: images.into(),
            tiers: PossibleTiers::Any,
            hour_cache: hour,
        };
        let entry = list.at(0);
        let applied = entry.applied(ServiceTier::ALL[tier], tokens.all_input());
        prop_assert!(applied.price.bill(&tokens, images) <= list.worst_case(0, &bound));
    }

    /// More of any class never costs less, also over a step.
    #[test]
    fn the_cost_grows_with_every_class(classes in prop::array::uniform6(0_u64..2000), more in 0_usize..6) {
        let list = list();
        let of = |classes: [u64; 6]| {
            let [input, cached_input, cache_write, cache_write_1h, output, reasoning] = classes;
            list.cost(0, &Tokens { input, cached_input, cache_write, cache_write_1h, output, reasoning })
        };
        let mut grown = classes;
        grown[more] += 1;
        prop_assert!(of(grown) >= of(classes));
    }
}
