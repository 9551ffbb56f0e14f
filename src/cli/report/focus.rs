//! A report in the form of FinOps FOCUS 1.2 (FinOps Open Cost and Usage Specification, 2025-05): its
//! mandatory columns, those that say what was used at which price, the ones that readers of 1.0
//! expect, and our own with the prefix `x_`.
//!
//! One line for each UTC day, team, app, model, price and class of what was used; `BilledCost` sums to
//! the cost of the other formats. The price that was recorded with each attempt splits its cost by
//! class; where it does not give the recorded cost to the last digit (a provider billed otherwise),
//! the group is one line of class `all`. Savings are not charges and are not here. tollgate knows a
//! provider by its name in the configuration, which therefore stands for account, issuer and publisher.

use std::io::{self, Write};

use jiff::ToSpan;
use jiff::civil::Date;

use super::export::{cell, csv_line};
use crate::stores::FocusGroup;
use crate::types::PicoUsd;

/// A column: its name and what a line has in it. Empty is FOCUS's null.
type Column = (&'static str, fn(&Line<'_>) -> String);

/// The columns in order: FOCUS's by name, then ours.
const COLUMNS: [Column; 51] = [
    ("BilledCost", |line| line.charge.cost.to_string()),
    ("BillingAccountId", provider),
    ("BillingAccountName", provider),
    ("BillingCurrency", |_| "USD".to_owned()),
    ("BillingPeriodEnd", |line| midnight(line.next_month())),
    ("BillingPeriodStart", |line| {
        midnight(line.day.first_of_month())
    }),
    ("ChargeCategory", |_| "Usage".to_owned()),
    // No correction.
    ("ChargeClass", null),
    ("ChargeDescription", |line| {
        format!("{}: {}", model(line), line.charge.meter.to_lowercase())
    }),
    ("ChargeFrequency", |_| "Usage-Based".to_owned()),
    ("ChargePeriodEnd", |line| {
        midnight(line.day.saturating_add(1.day()))
    }),
    ("ChargePeriodStart", |line| midnight(line.day)),
    ("CommitmentDiscountCategory", null),
    ("CommitmentDiscountId", null),
    ("CommitmentDiscountName", null),
    ("CommitmentDiscountStatus", null),
    ("CommitmentDiscountType", null),
    ("ConsumedQuantity", |line| line.charge.consumed.to_string()),
    ("ConsumedUnit", |line| line.charge.consumed_unit.to_owned()),
    ("ContractedCost", |line| line.charge.cost.to_string()),
    ("ContractedUnitPrice", |line| {
        line.charge.unit_price.to_string()
    }),
    ("EffectiveCost", |line| line.charge.cost.to_string()),
    ("InvoiceIssuerName", provider),
    ("ListCost", |line| line.charge.cost.to_string()),
    ("ListUnitPrice", |line| line.charge.unit_price.to_string()),
    ("PricingCategory", |_| "Standard".to_owned()),
    ("PricingQuantity", |line| line.charge.priced.to_string()),
    ("PricingUnit", |line| line.charge.priced_unit.to_owned()),
    ("ProviderName", provider),
    ("PublisherName", provider),
    ("RegionId", null),
    ("RegionName", null),
    ("ResourceId", model),
    ("ResourceName", model),
    ("ResourceType", |_| "Model".to_owned()),
    ("ServiceCategory", |_| "AI and Machine Learning".to_owned()),
    ("ServiceName", |_| "LLM inference".to_owned()),
    ("ServiceSubcategory", |_| "Generative AI".to_owned()),
    ("SkuId", |line| {
        format!("{}/{}", model(line), line.charge.class)
    }),
    ("SkuMeter", |line| line.charge.meter.to_owned()),
    ("SkuPriceDetails", price_details),
    ("SkuPriceId", |line| {
        let (class, price) = (line.charge.class, line.charge.unit_price);
        format!("{}/{class}@{price}", model(line))
    }),
    ("SubAccountId", null),
    ("SubAccountName", null),
    ("Tags", |line| {
        serde_json::json!({ "team": line.group.team, "app": line.group.app }).to_string()
    }),
    ("x_team", |line| cell(&line.group.team)),
    ("x_app", |line| cell(&line.group.app)),
    ("x_model", model),
    ("x_token_class", |line| line.charge.class.to_owned()),
    ("x_usage_source", |line| {
        let is_estimate = line.group.is_estimate;
        if is_estimate { "estimated" } else { "reported" }.to_owned()
    }),
    ("x_service_tier", |line| line.group.service_tier.clone()),
];

/// What one line charges for.
struct Charge {
    class: &'static str,
    meter: &'static str,
    consumed: u64,
    consumed_unit: &'static str,
    priced: u64,
    priced_unit: &'static str,
    /// USD for one of `priced_unit`; times `priced` it is `cost`, exactly.
    unit_price: PicoUsd,
    cost: PicoUsd,
}

/// What a line is made from.
struct Line<'a> {
    group: &'a FocusGroup,
    charge: &'a Charge,
    day: Date,
}

impl Line<'_> {
    fn next_month(&self) -> Date {
        self.day.first_of_month().saturating_add(1.month())
    }
}

fn null(_: &Line<'_>) -> String {
    String::new()
}

fn provider(line: &Line<'_>) -> String {
    cell(&line.group.provider)
}

fn model(line: &Line<'_>) -> String {
    cell(&line.group.model)
}

fn midnight(date: Date) -> String {
    format!("{date}T00:00:00Z")
}

/// Which entry of the price list it was; our own keys have FOCUS's prefix.
fn price_details(line: &Line<'_>) -> String {
    let (version, tier) = (&line.group.price_version, &line.group.service_tier);
    let mut details = serde_json::Map::new();
    let named = [("x_PriceVersion", version), ("x_ServiceTier", tier)];
    for (name, text) in named.into_iter().filter(|(_, text)| !text.is_empty()) {
        details.insert(name.to_owned(), text.as_str().into());
    }
    if details.is_empty() {
        return String::new();
    }
    serde_json::Value::Object(details).to_string()
}

/// Writes the heading and a line for each charge.
pub(super) fn write(groups: &[FocusGroup], out: &mut dyn Write) -> io::Result<()> {
    csv_line(&COLUMNS.map(|(name, _)| name), out)?;
    for group in groups {
        let day = group.day.parse().unwrap_or_default();
        for charge in &charges(group) {
            let line = Line { group, charge, day };
            csv_line(&COLUMNS.map(|(_, value)| value(&line)), out)?;
        }
    }
    Ok(())
}

fn charges(group: &FocusGroup) -> Vec<Charge> {
    let (tokens, price) = (&group.tokens, &group.price);
    let of = |class, meter, unit, count, unit_price: PicoUsd| Charge {
        class,
        meter,
        consumed: count,
        consumed_unit: unit,
        priced: count,
        priced_unit: unit,
        unit_price,
        cost: unit_price.saturating_mul(count),
    };
    let token_classes = [
        ("input", "Input tokens", tokens.input, price.input),
        (
            "cached_input",
            "Cached input tokens",
            tokens.cached_input,
            price.cached_input,
        ),
        (
            "cache_write",
            "Cache write tokens",
            tokens.cache_write,
            price.cache_write,
        ),
        (
            "cache_write_1h",
            "Cache write tokens kept for an hour",
            tokens.cache_write_1h,
            price.cache_write_1h,
        ),
        ("output", "Output tokens", tokens.output, price.output),
        (
            "reasoning",
            "Reasoning tokens",
            tokens.reasoning,
            price.reasoning,
        ),
    ];
    let mut charges: Vec<_> = token_classes
        .into_iter()
        .map(|(class, meter, count, price)| of(class, meter, "Tokens", count, price.times(1)))
        .collect();
    charges.push(of(
        "image",
        "Images",
        "Images",
        group.images,
        price.per_image,
    ));
    let split: PicoUsd = charges.iter().map(|charge| charge.cost).sum();
    let requests = flat_charges(group.cost - split, price.per_request, group.attempts);
    charges.push(of(
        "request",
        "Requests",
        "Requests",
        requests,
        price.per_request,
    ));
    let split: PicoUsd = charges.iter().map(|charge| charge.cost).sum();
    if split == group.cost {
        charges.retain(|charge| charge.priced > 0);
        return charges;
    }
    vec![Charge {
        consumed: tokens.total(),
        consumed_unit: "Tokens",
        ..of("all", "Tokens", "Charges", 1, group.cost)
    }]
}

/// How many of the attempts were charged the price of a request: not every attempt is.
fn flat_charges(rest: PicoUsd, per_request: PicoUsd, attempts: u64) -> u64 {
    if !per_request.is_positive() || !rest.is_positive() {
        return 0;
    }
    let times = rest.pico() / per_request.pico();
    u64::try_from(times).unwrap_or(0).min(attempts)
}

#[cfg(test)]
mod tests;
