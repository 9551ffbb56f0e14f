//! The export against a schema of FOCUS 1.2's columns, and against the rules that no list of columns
//! holds: what adds up, what multiplies, which period lies in which.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::reconcile::csv;
use super::write;
use crate::stores::FocusGroup;
use crate::types::{PicoUsd, Price, TokenPrice, Tokens};

/// Column, level (mandatory, conditional, recommended, custom), type, nulls, allowed values.
const SCHEMA: &str = include_str!("../../../../tests/fixtures/focus_1_2_columns.csv");

/// FOCUS 1.2, "Columns": how many are mandatory.
const MANDATORY: usize = 21;

type Table = Vec<BTreeMap<String, String>>;

fn table(text: &str) -> (Vec<String>, Table) {
    let records = csv::read(text).expect("CSV");
    let texts = |record: &Vec<csv::Cell>| -> Vec<String> {
        record.iter().map(|cell| cell.text.clone()).collect()
    };
    let heading = texts(&records[0]);
    let rows = records[1..].iter().map(|record| {
        assert_eq!(record.len(), heading.len());
        heading.iter().cloned().zip(texts(record)).collect()
    });
    (heading.clone(), rows.collect())
}

fn group() -> FocusGroup {
    let price = Price {
        input: TokenPrice::from_pico(150_000),
        cached_input: TokenPrice::from_pico(75_000),
        cache_write: TokenPrice::from_pico(200_000),
        cache_write_1h: TokenPrice::from_pico(300_000),
        output: TokenPrice::from_pico(600_000),
        reasoning: TokenPrice::from_pico(600_000),
        per_request: PicoUsd::from_pico(1_000_000_000),
        per_image: PicoUsd::from_pico(40_000_000_000),
    };
    let tokens = Tokens {
        input: 1_000_003,
        cached_input: 7,
        cache_write: 5,
        cache_write_1h: 3,
        output: 11,
        reasoning: 13,
    };
    let images = PicoUsd::from_pico(2 * 40_000_000_000);
    let requests = PicoUsd::from_pico(3 * 1_000_000_000);
    let mut cost = images + requests;
    let classes = [
        (price.input, tokens.input),
        (price.cached_input, tokens.cached_input),
        (price.cache_write, tokens.cache_write),
        (price.cache_write_1h, tokens.cache_write_1h),
        (price.output, tokens.output),
        (price.reasoning, tokens.reasoning),
    ];
    for (price, count) in classes {
        cost += price.times(count);
    }
    FocusGroup {
        day: "2026-12-31".to_owned(),
        team: "search, \"eu\"".to_owned(),
        app: "=cmd()".to_owned(),
        provider: "openai".to_owned(),
        model: "gpt-4o".to_owned(),
        price,
        price_version: "2026-11-01/0a1b2c3d".to_owned(),
        service_tier: "priority".to_owned(),
        attempts: 5,
        images: 2,
        tokens,
        cost,
        is_estimate: false,
    }
}

fn exported(groups: &[FocusGroup]) -> (Vec<String>, Table) {
    let mut out = Vec::new();
    write(groups, &mut out).expect("written");
    table(&String::from_utf8(out).expect("text"))
}

/// Groups that between them have every kind of line.
fn groups() -> Vec<FocusGroup> {
    let whole = group();
    let mut odd = group();
    // The provider billed one pico-USD more than its price says.
    odd.cost += PicoUsd::from_pico(1);
    odd.is_estimate = true;
    let mut old = group();
    old.price_version = String::new();
    old.service_tier = String::new();
    vec![whole, odd, old]
}

#[test]
fn the_columns_are_those_of_the_schema_in_its_order() {
    let (_, schema) = table(SCHEMA);
    let (heading, rows) = exported(&groups());
    let names: Vec<_> = schema
        .iter()
        .map(|column| column["column"].clone())
        .collect();
    assert_eq!(heading, names);
    let mandatory = schema
        .iter()
        .filter(|column| column["level"] == "mandatory");
    assert_eq!(mandatory.count(), MANDATORY);
    for column in &schema {
        let is_custom = column["column"].starts_with("x_");
        assert_eq!(is_custom, column["level"] == "custom", "{column:?}");
        for row in &rows {
            check_value(column, &row[&column["column"]]);
        }
    }
    let first_own = heading.iter().position(|name| name.starts_with("x_"));
    let (focus, own) = heading.split_at(first_own.expect("ours"));
    assert!(focus.is_sorted() && own.iter().all(|name| name.starts_with("x_")));
}

fn check_value(column: &BTreeMap<String, String>, value: &str) {
    let name = &column["column"];
    if value.is_empty() {
        assert_eq!(column["nulls"], "yes", "{name} is null");
        return;
    }
    let allowed: Vec<_> = column["allowed"].split('|').collect();
    assert!(
        allowed == [""] || allowed.contains(&value),
        "{name}: {value}"
    );
    match column["type"].as_str() {
        "decimal" => {
            // Plain: no sign of plus, no thousands, no exponent.
            let plain = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
            assert!(value.chars().all(plain), "{name}: {value}");
            PicoUsd::parse_usd(value).expect("a decimal");
        }
        "datetime" => {
            assert!(value.ends_with('Z'), "{name}: {value}");
            value.parse::<Timestamp>().expect("an instant");
        }
        "json" => {
            let object: serde_json::Value = serde_json::from_str(value).expect("JSON");
            assert!(object.is_object(), "{name}: {value}");
        }
        kind => assert_eq!(kind, "string", "{name}"),
    }
}

#[test]
fn costs_are_quantity_times_price_and_periods_nest() {
    let groups = groups();
    let (_, rows) = exported(&groups);
    let mut billed = PicoUsd::ZERO;
    for row in &rows {
        let amount = |name: &str| PicoUsd::parse_usd(&row[name]).expect("an amount");
        let quantity: u64 = row["PricingQuantity"].parse().expect("a count");
        billed += amount("BilledCost");
        for (cost, price) in [
            ("ListCost", "ListUnitPrice"),
            ("ContractedCost", "ContractedUnitPrice"),
        ] {
            assert_eq!(
                amount(price).saturating_mul(quantity),
                amount(cost),
                "{row:?}"
            );
        }
        for cost in ["EffectiveCost", "ListCost", "ContractedCost"] {
            assert_eq!(row[cost], row["BilledCost"]);
        }
        let at = |name: &str| row[name].parse::<Timestamp>().expect("an instant");
        assert!(at("BillingPeriodStart") <= at("ChargePeriodStart"));
        assert!(at("ChargePeriodStart") < at("ChargePeriodEnd"));
        assert!(at("ChargePeriodEnd") <= at("BillingPeriodEnd"), "{row:?}");
        // FOCUS 1.2: a usage charge that is no correction has a price and a SKU.
        assert!(row["ChargeClass"].is_empty());
        for name in [
            "SkuId",
            "SkuPriceId",
            "ListUnitPrice",
            "PricingCategory",
            "ConsumedUnit",
        ] {
            assert!(!row[name].is_empty(), "{name}");
        }
    }
    assert_eq!(billed, groups.iter().map(|group| group.cost).sum());
}

#[test]
fn every_class_has_its_line_and_what_does_not_split_has_one() {
    let classes = |group: FocusGroup| -> Vec<(String, String)> {
        let (_, rows) = exported(&[group]);
        let line = |row: &BTreeMap<String, String>| {
            let quantity = format!("{} {}", row["PricingQuantity"], row["PricingUnit"]);
            (row["x_token_class"].clone(), quantity)
        };
        rows.iter().map(line).collect()
    };
    let found = classes(group());
    let found: Vec<_> = found
        .iter()
        .map(|(class, count)| (&**class, &**count))
        .collect();
    assert_eq!(
        found,
        [
            ("input", "1000003 Tokens"),
            ("cached_input", "7 Tokens"),
            ("cache_write", "5 Tokens"),
            ("cache_write_1h", "3 Tokens"),
            ("output", "11 Tokens"),
            ("reasoning", "13 Tokens"),
            ("image", "2 Images"),
            ("request", "3 Requests"),
        ]
    );
    let mut odd = group();
    odd.cost += PicoUsd::from_pico(1);
    assert_eq!(classes(odd), [("all".to_owned(), "1 Charges".to_owned())]);
    let (_, rows) = exported(&[group()]);
    assert_eq!(rows[0]["x_app"], "'=cmd()", "a sheet would run it");
}
