//! A report in the form of FinOps FOCUS 1.2 (FinOps Open Cost and Usage Specification, 2025-05): its
//! mandatory columns, those that say what was used at which price, and our own with the prefix `x_`.
//!
//! One line for each UTC day, team, app, model, price and token class; `BilledCost` sums to the cost
//! of the other formats. The price that was recorded with each attempt splits its cost by class; where
//! it does not give the recorded cost to the last digit (a provider billed otherwise), the group stays
//! in one line of class `all`. Savings are not charges and are not here. tollgate knows a provider by
//! its name in the configuration, which therefore stands for account, issuer and publisher.

use std::io::{self, Write};

use jiff::civil::Date;

use super::export::{cell, csv_line};
use crate::stores::FocusGroup;
use crate::types::{PicoUsd, TokenPrice};

/// The columns in order: FOCUS's by name, then ours.
const COLUMNS: [&str; 39] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "Tags",
    "x_team",
    "x_app",
    "x_model",
    "x_token_class",
    "x_usage_source",
];

/// What one line charges for.
struct Charge {
    class: &'static str,
    meter: &'static str,
    tokens: u64,
    /// Unknown where classes with different prices are in one line.
    unit_price: Option<TokenPrice>,
    cost: PicoUsd,
}

/// Writes the heading and a line for each charge.
pub(super) fn write(groups: &[FocusGroup], out: &mut dyn Write) -> io::Result<()> {
    csv_line(&COLUMNS, out)?;
    for group in groups {
        for charge in charges(group) {
            csv_line(&line(group, &charge), out)?;
        }
    }
    Ok(())
}

fn charges(group: &FocusGroup) -> Vec<Charge> {
    let (tokens, price) = (&group.tokens, &group.price);
    let charge = |class, meter, tokens, unit_price: TokenPrice| Charge {
        class,
        meter,
        tokens,
        unit_price: Some(unit_price),
        cost: unit_price.times(tokens),
    };
    let classes = [
        charge("input", "Input tokens", tokens.input, price.input),
        charge(
            "cached_input",
            "Cached input tokens",
            tokens.cached_input,
            price.cached_input,
        ),
        charge(
            "cache_write",
            "Cache write tokens",
            tokens.cache_write,
            price.cache_write,
        ),
        charge("output", "Output tokens", tokens.output, price.output),
        charge(
            "reasoning",
            "Reasoning tokens",
            tokens.reasoning,
            price.reasoning,
        ),
    ];
    let split: PicoUsd = classes.iter().map(|charge| charge.cost).sum();
    if split == group.cost {
        return classes
            .into_iter()
            .filter(|charge| charge.tokens > 0)
            .collect();
    }
    vec![Charge {
        class: "all",
        meter: "Tokens",
        tokens: tokens.total(),
        unit_price: None,
        cost: group.cost,
    }]
}

fn line(group: &FocusGroup, charge: &Charge) -> [String; COLUMNS.len()] {
    let FocusGroup {
        team,
        app,
        provider,
        model,
        ..
    } = group;
    let (provider, model) = (cell(provider), cell(model));
    let periods = Periods::of(&group.day);
    let cost = charge.cost.to_string();
    let quantity = charge.tokens.to_string();
    let unit_price = charge
        .unit_price
        .map_or_else(String::new, |price| price.times(1).to_string());
    let source = if group.is_estimate {
        "estimated"
    } else {
        "reported"
    };
    let tags = serde_json::json!({ "team": team, "app": app }).to_string();
    let text = str::to_owned;
    [
        cost.clone(),
        provider.clone(),
        provider.clone(),
        text("USD"),
        periods.next_month,
        periods.month,
        text("Usage"),
        // Empty is FOCUS's null: not a correction.
        String::new(),
        format!("{model}: {}", charge.meter.to_lowercase()),
        text("Usage-Based"),
        periods.next_day,
        periods.day,
        quantity.clone(),
        text("Tokens"),
        cost.clone(),
        unit_price.clone(),
        cost.clone(),
        provider.clone(),
        cost,
        unit_price,
        text("Standard"),
        quantity,
        text("Tokens"),
        provider.clone(),
        provider,
        model.clone(),
        model.clone(),
        text("Model"),
        text("AI and Machine Learning"),
        text("LLM inference"),
        text("Generative AI"),
        format!("{model}/{}", charge.class),
        text(charge.meter),
        tags,
        cell(team),
        cell(app),
        model,
        text(charge.class),
        text(source),
    ]
}

/// The day and month of a charge as instants, both ends.
struct Periods {
    day: String,
    next_day: String,
    month: String,
    next_month: String,
}

impl Periods {
    fn of(day: &str) -> Self {
        use jiff::ToSpan;
        let date: Date = day.parse().unwrap_or_default();
        let month = date.first_of_month();
        let instant = |date: Date| format!("{date}T00:00:00Z");
        Self {
            day: instant(date),
            next_day: instant(date.saturating_add(1.day())),
            month: instant(month),
            next_month: instant(month.saturating_add(1.month())),
        }
    }
}
