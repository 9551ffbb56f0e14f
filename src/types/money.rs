//! Money: whole pico-USD (10⁻¹² USD), never floats.
//!
//! Many prices are not whole nano-USD per token (0.0375 USD per million tokens is 37 500 pico-USD
//! each), so the unit is the pico-USD; sums are `i128`.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::price::BillBound;
use super::usage::Tokens;

/// Pico-USD in one USD.
const PICO_PER_USD: i128 = 1_000_000_000_000;
/// Digits after the point that a pico-USD amount can have.
const PICO_DIGITS: usize = 12;

/// Why a text is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a plain decimal number.
    #[error("`{0}` is not a decimal amount in USD, such as 0.15")]
    NotDecimal(String),
    /// More digits than a pico-USD can hold.
    #[error("`{0}` is finer than a pico-USD (12 digits after the point)")]
    TooFine(String),
    /// Beyond what the type holds.
    #[error("`{0}` is too large an amount")]
    TooLarge(String),
}

/// An exact amount in pico-USD. Signed: savings and differences can be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PicoUsd(i128);

impl PicoUsd {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// From whole pico-USD.
    #[must_use]
    pub const fn from_pico(pico: i128) -> Self {
        Self(pico)
    }

    /// Whole pico-USD.
    #[must_use]
    pub const fn pico(self) -> i128 {
        self.0
    }

    /// Reads a plain decimal amount in USD (`12`, `0.15`, `-3.5`, `1e-6`) exactly.
    ///
    /// # Errors
    /// When the text is no decimal number, is finer than a pico-USD, or does not fit.
    pub fn parse_usd(text: &str) -> Result<Self, MoneyError> {
        parse_scaled(text, PICO_DIGITS).map(Self)
    }

    /// For gauges, objectives and charts only; never add these up.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "a display value; the integer stays the truth"
    )]
    pub fn as_usd_f64(self) -> f64 {
        self.0 as f64 / 1e12
    }

    /// Adds without wrapping; at the type's end it stays there.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Multiplies by a count without wrapping.
    #[must_use]
    pub const fn saturating_mul(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count as i128))
    }

    /// True for amounts above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// The larger of this and zero.
    #[must_use]
    pub fn at_least_zero(self) -> Self {
        Self(self.0.max(0))
    }
}

/// Reads `text` as a decimal and returns it times 10^`digits`, exactly.
fn parse_scaled(text: &str, digits: usize) -> Result<i128, MoneyError> {
    let bad = || MoneyError::NotDecimal(text.to_owned());
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| bad())?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(bad());
    }
    let fraction = fraction.trim_end_matches('0');
    let joined: String = [whole, fraction].concat();
    let significant = joined.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let shift = i64::try_from(digits).unwrap_or(0) + i64::from(exponent)
        - i64::try_from(fraction.len()).unwrap_or(i64::MAX / 2);
    let trimmed = significant.trim_end_matches('0');
    let zeros = i64::try_from(significant.len() - trimmed.len()).unwrap_or(0);
    let power = shift + zeros;
    if power < 0 {
        return Err(MoneyError::TooFine(text.to_owned()));
    }
    let too_large = || MoneyError::TooLarge(text.to_owned());
    let base: i128 = trimmed.parse().map_err(|_| too_large())?;
    let factor = u32::try_from(power)
        .ok()
        .and_then(|power| 10i128.checked_pow(power));
    let value = factor
        .and_then(|factor| base.checked_mul(factor))
        .ok_or_else(too_large)?;
    Ok(if negative { -value } else { value })
}

impl fmt::Display for PicoUsd {
    /// Exact plain decimal in USD without trailing zeros: `0.00123`, `0`, `-1.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let unit = PICO_PER_USD.unsigned_abs();
        let (whole, fraction) = (magnitude / unit, magnitude % unit);
        let mut text: SmallVec<[u8; 48]> = SmallVec::new();
        if self.0 < 0 {
            text.push(b'-');
        }
        text.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
        if fraction > 0 {
            text.push(b'.');
            // Behind a one, so that the zeros in front of the first digit are written too.
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(unit + fraction)[1..].trim_end_matches('0');
            text.extend_from_slice(digits.as_bytes());
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl Add for PicoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for PicoUsd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for PicoUsd {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl AddAssign for PicoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for PicoUsd {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for PicoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl Serialize for PicoUsd {
    /// As whole pico-USD: the form of the journal and of the ledger's decision records.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i128(self.0)
    }
}

impl<'de> Deserialize<'de> for PicoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i128::deserialize(deserializer).map(Self)
    }
}

/// A price per token in whole pico-USD. 1 USD per million tokens is 10⁶ pico-USD per token.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TokenPrice(i64);

impl TokenPrice {
    /// Nothing: the model was declared free.
    pub const FREE: Self = Self(0);

    /// Reads USD per million tokens exactly; up to six digits after the point.
    ///
    /// # Errors
    /// When the text is no decimal number, is finer than a pico-USD per token, or does not fit.
    pub fn parse_usd_per_million(text: &str) -> Result<Self, MoneyError> {
        let pico = parse_scaled(text, 6)?;
        i64::try_from(pico)
            .map(Self)
            .map_err(|_| MoneyError::TooLarge(text.to_owned()))
    }

    /// From whole pico-USD per token.
    #[must_use]
    pub const fn from_pico(pico: i64) -> Self {
        Self(pico)
    }

    /// Whole pico-USD per token.
    #[must_use]
    pub const fn pico(self) -> i64 {
        self.0
    }

    /// What `tokens` cost.
    #[must_use]
    pub const fn times(self, tokens: u64) -> PicoUsd {
        PicoUsd((self.0 as i128).saturating_mul(tokens as i128))
    }
}

/// What a request is billed at: by class of token, and apart from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Uncached input.
    pub input: TokenPrice,
    /// Input read from the provider's prompt cache.
    pub cached_input: TokenPrice,
    /// Input written to the provider's prompt cache.
    pub cache_write: TokenPrice,
    /// Input written to the provider's prompt cache to be kept for an hour.
    #[serde(default)]
    pub cache_write_1h: TokenPrice,
    /// Visible output.
    pub output: TokenPrice,
    /// Hidden reasoning output.
    pub reasoning: TokenPrice,
    /// For each request that is billed at all, whatever it uses.
    #[serde(default)]
    pub per_request: PicoUsd,
    /// For each image.
    #[serde(default)]
    pub per_image: PicoUsd,
}

impl Price {
    /// What these tokens cost: the sum over the disjoint classes.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens) -> PicoUsd {
        self.input.times(tokens.input)
            + self.cached_input.times(tokens.cached_input)
            + self.cache_write.times(tokens.cache_write)
            + self.cache_write_1h.times(tokens.cache_write_1h)
            + self.output.times(tokens.output)
            + self.reasoning.times(tokens.reasoning)
    }

    /// What a request costs that used these tokens and so many images: the tokens and what is charged
    /// apart from them.
    #[must_use]
    pub fn bill(&self, tokens: &Tokens, images: u32) -> PicoUsd {
        self.cost(tokens) + self.per_request + self.per_image.saturating_mul(images.into())
    }

    /// The most that a request can cost at this price, each side at its dearest class.
    #[must_use]
    pub fn worst_case(&self, bound: &BillBound) -> PicoUsd {
        let mut input = self.input.max(self.cached_input).max(self.cache_write);
        if bound.hour_cache {
            input = input.max(self.cache_write_1h);
        }
        let output = self.output.max(self.reasoning);
        input.times(bound.input_tokens)
            + output.times(bound.output_tokens)
            + self.per_request
            + self.per_image.saturating_mul(bound.images)
    }

    /// True when every class costs nothing: such a model needs no budget.
    #[must_use]
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_usd(text: &str, pico: i128, shown: &str) {
        let amount = PicoUsd::parse_usd(text).expect("an amount");
        assert_eq!(amount.pico(), pico, "{text}");
        assert_eq!(amount.to_string(), shown, "{text}");
    }

    #[test]
    fn amounts_are_exact_in_both_directions() {
        check_usd("0.15", 150_000_000_000, "0.15");
        check_usd("1000", 1_000_000_000_000_000, "1000");
        check_usd("-3.50", -3_500_000_000_000, "-3.5");
        check_usd("1e-12", 1, "0.000000000001");
        check_usd("2.5E2", 250_000_000_000_000, "250");
        check_usd("0.000", 0, "0");
        check_usd(".5", 500_000_000_000, "0.5");
    }

    #[test]
    fn what_is_no_amount_says_why() {
        assert!(matches!(
            PicoUsd::parse_usd("ten"),
            Err(MoneyError::NotDecimal(_))
        ));
        assert!(matches!(
            PicoUsd::parse_usd(""),
            Err(MoneyError::NotDecimal(_))
        ));
        assert!(matches!(
            PicoUsd::parse_usd("1e-13"),
            Err(MoneyError::TooFine(_))
        ));
        assert!(matches!(
            PicoUsd::parse_usd("1e40"),
            Err(MoneyError::TooLarge(_))
        ));
    }

    #[test]
    fn a_price_per_million_is_whole_pico_usd_per_token() {
        let price = TokenPrice::parse_usd_per_million("0.0375").expect("a price");
        assert_eq!(price.pico(), 37_500);
        assert_eq!(price.times(1_000_000).to_string(), "0.0375");
        assert!(TokenPrice::parse_usd_per_million("0.0000001").is_err());
    }

    #[test]
    fn the_worst_case_covers_every_split_into_classes() {
        let price = Price {
            input: TokenPrice::from_pico(3),
            cached_input: TokenPrice::from_pico(1),
            cache_write: TokenPrice::from_pico(4),
            output: TokenPrice::from_pico(15),
            reasoning: TokenPrice::from_pico(15),
            ..Price::default()
        };
        let tokens = Tokens {
            input: 10,
            cached_input: 20,
            cache_write: 5,
            output: 7,
            reasoning: 3,
            ..Tokens::default()
        };
        assert_eq!(price.cost(&tokens).pico(), 30 + 20 + 20 + 105 + 45);
        let bound = BillBound {
            input_tokens: tokens.all_input(),
            output_tokens: tokens.all_output(),
            images: 0,
            tiers: crate::types::PossibleTiers::Standard,
            hour_cache: false,
        };
        assert!(price.worst_case(&bound) >= price.bill(&tokens, 0));
    }
}
