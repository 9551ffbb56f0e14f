//! A declared currency: exact amounts in it, at dated rates. Money is kept in USD; this is for showing.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use super::money::PicoUsd;

/// Digits after the point of an amount: twelve of the USD amount, twelve of the rate.
const DIGITS: usize = 24;

/// How many of a currency one USD is, in 10⁻¹² of it. Always positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerUsd(i128);

impl PerUsd {
    /// Reads a plain decimal such as `0.92`, with up to twelve digits after the point; `None` for
    /// what is none, or not above zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let scaled = PicoUsd::parse_usd(text).ok()?;
        scaled.is_positive().then_some(Self(scaled.pico()))
    }

    /// The amount in the currency: the exact product.
    #[must_use]
    pub const fn times(self, usd: PicoUsd) -> CurrencyAmount {
        CurrencyAmount(usd.pico().saturating_mul(self.0))
    }
}

impl fmt::Display for PerUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PicoUsd::from_pico(self.0).fmt(f)
    }
}

/// A rate and when it begins to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeRate {
    /// The first UTC day, `2026-01-01`.
    pub from: String,
    /// Its midnight, milliseconds since the Unix epoch.
    pub from_ms: i64,
    /// The rate.
    pub per_usd: PerUsd,
}

/// A currency beside the USD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Currency {
    /// ISO 4217, upper case.
    pub code: String,
    /// By date, the earliest first; at least one. Each holds until the next begins.
    pub rates: Vec<ExchangeRate>,
}

impl Currency {
    /// The rate that holds at an instant; `None` before the first.
    #[must_use]
    pub fn rate_at(&self, at_ms: i64) -> Option<&ExchangeRate> {
        self.rates.iter().rev().find(|rate| rate.from_ms <= at_ms)
    }

    /// The parts of a span of time in which one rate holds, with that rate; the part before the first
    /// rate has none.
    #[must_use]
    pub fn spans(&self, from_ms: i64, to_ms: i64) -> Vec<(i64, i64, Option<&ExchangeRate>)> {
        let mut bounds = vec![from_ms];
        let changes = self.rates.iter().map(|rate| rate.from_ms);
        bounds.extend(changes.filter(|&at_ms| from_ms < at_ms && at_ms < to_ms));
        let ends = bounds[1..].iter().copied().chain([to_ms]);
        let spans = bounds.iter().copied().zip(ends);
        spans
            .map(|(from_ms, to_ms)| (from_ms, to_ms, self.rate_at(from_ms)))
            .collect()
    }
}

/// An exact amount in a declared currency, in 10⁻²⁴ of it: up to 170 million million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CurrencyAmount(i128);

impl CurrencyAmount {
    /// The amount with so many digits after the point, halves away from zero.
    #[must_use]
    pub fn rounded(self, digits: usize) -> String {
        let cut = DIGITS - digits.min(DIGITS);
        let unit = 10_u128.pow(u32::try_from(cut).unwrap_or(0));
        let magnitude = self.0.unsigned_abs().saturating_add(unit / 2) / unit;
        let sign = if self.0 < 0 && magnitude > 0 { "-" } else { "" };
        let text = format!("{magnitude:0>width$}", width = digits + 1);
        let (whole, fraction) = text.split_at(text.len() - digits);
        if digits == 0 {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{fraction}")
        }
    }
}

impl fmt::Display for CurrencyAmount {
    /// Exact plain decimal without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.rounded(DIGITS);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Add for CurrencyAmount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for CurrencyAmount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for CurrencyAmount {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for CurrencyAmount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(usd: &str, per_usd: &str, exact: &str, cents: &str) {
        let rate = PerUsd::parse(per_usd).expect("a rate");
        let amount = rate.times(PicoUsd::parse_usd(usd).expect("an amount"));
        assert_eq!(amount.to_string(), exact, "{usd} x {per_usd}");
        assert_eq!(amount.rounded(2), cents, "{usd} x {per_usd}");
    }

    #[test]
    fn products_are_exact_and_rounded_only_when_shown() {
        check("100", "0.92", "92", "92.00");
        check("0.000000000001", "0.9195", "0.0000000000009195", "0.00");
        check("1.5", "0.123456789012", "0.185185183518", "0.19");
        check("-0.125", "1", "-0.125", "-0.13");
        check("-0.001", "1", "-0.001", "0.00");
        check("0", "151.3", "0", "0.00");
        check("1000000000", "16000", "16000000000000", "16000000000000.00");
    }

    #[test]
    fn a_rate_is_a_positive_decimal() {
        for text in ["0", "-1", "abc", "", "0.0000000000001", "1,1"] {
            assert_eq!(PerUsd::parse(text), None, "{text}");
        }
    }

    #[test]
    fn each_rate_holds_until_the_next_begins() {
        let rate = |from_ms, per_usd| ExchangeRate {
            from: String::new(),
            from_ms,
            per_usd: PerUsd::parse(per_usd).expect("a rate"),
        };
        let euro = Currency {
            code: "EUR".to_owned(),
            rates: vec![rate(10, "0.9"), rate(20, "0.8")],
        };
        let spans = |from_ms, to_ms| -> Vec<_> {
            let spans = euro.spans(from_ms, to_ms).into_iter();
            spans
                .map(|(from, to, rate)| (from, to, rate.map(|rate| rate.per_usd.to_string())))
                .collect()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(spans(12, 18), [(12, 18, some("0.9"))]);
        assert_eq!(spans(20, 30), [(20, 30, some("0.8"))]);
        assert_eq!(
            spans(5, 25),
            [(5, 10, None), (10, 20, some("0.9")), (20, 25, some("0.8"))]
        );
    }
}
