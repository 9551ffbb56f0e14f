//! `currency`

use schemars::JsonSchema;
use serde::Deserialize;

use super::Decimal;

/// A currency in which reports and the dashboard can also show amounts. Money is kept in USD.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurrencyConfig {
    /// ISO 4217 code, such as `EUR`.
    #[schemars(length(min = 3, max = 3))]
    pub code: String,
    /// Rates by date. Each holds until the next begins; a report over several uses each day's own.
    #[schemars(length(min = 1))]
    pub rates: Vec<RateConfig>,
}

/// An exchange rate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// The first day on which it holds (from midnight UTC), `2026-01-01`.
    pub from: String,
    /// How many of the currency one USD is, with up to twelve digits after the point.
    pub per_usd: Decimal,
}
