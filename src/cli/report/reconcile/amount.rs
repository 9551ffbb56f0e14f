//! Amounts as invoices write them: with a currency sign, separators of thousands, an exponent, or
//! more digits than a pico-USD has.

use crate::types::{MoneyError, PicoUsd};

/// Reads an amount; digits beyond the pico-USD are rounded, halves away from zero.
pub(super) fn read(text: &str) -> Result<PicoUsd, MoneyError> {
    let plain: String = text
        .trim()
        .trim_start_matches("US")
        .chars()
        .filter(|letter| !matches!(letter, '$' | ',' | ' '))
        .collect();
    match PicoUsd::parse_usd(&plain) {
        Err(MoneyError::TooFine(_)) => rounded(&plain),
        amount => amount,
    }
}

/// Digits of a pico-USD after the point.
const DIGITS: i64 = 12;

/// Writes the number without exponent, as far as the digit that decides, and rounds there.
fn rounded(text: &str) -> Result<PicoUsd, MoneyError> {
    let bad = || MoneyError::NotDecimal(text.to_owned());
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| bad())?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let point = i64::try_from(whole.len()).map_err(|_| bad())? + exponent;
    // How many of the digits stand left of the last pico-USD's.
    let kept = usize::try_from(point + DIGITS).unwrap_or(0);
    let Some((head, tail)) = digits.split_at_checked(kept) else {
        return Err(bad());
    };
    let head: i128 = if head.is_empty() {
        0
    } else {
        head.parse()
            .map_err(|_| MoneyError::TooLarge(text.to_owned()))?
    };
    // With nothing kept the first digit decides only if it stands right behind the last pico-USD's.
    let decides = point + DIGITS >= 0 && tail.bytes().next().is_some_and(|digit| digit >= b'5');
    Ok(PicoUsd::from_pico(sign * (head + i128::from(decides))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(read(text).expect("an amount").to_string(), expect, "{text}");
    }

    #[test]
    fn amounts_as_invoices_write_them() {
        check("0.003835980000000000000000000000", "0.00383598");
        check("$1,234.50", "1234.5");
        check("US$ 3", "3");
        check("1.2345678901234e-05", "0.000012345679");
        check("0.0000000000005", "0.000000000001");
        check("0.00000000000049", "0");
        check("9e-14", "0");
        check("-0.0000000000015", "-0.000000000002");
        check("-2.5", "-2.5");
        assert!(read("abc").is_err());
        assert!(read("").is_err());
        assert!(read("1.2.3").is_err());
    }
}
