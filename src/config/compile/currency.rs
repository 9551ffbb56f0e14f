//! `currency`: dated rates, the earliest first.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Context, at};
use crate::config::schema::{CurrencyConfig, RateConfig};
use crate::types::{Currency, ExchangeRate, PerUsd};

pub fn compile(cx: &mut Context<'_, '_>, currency: Option<&CurrencyConfig>) -> Option<Currency> {
    let currency = currency?;
    let code = &currency.code;
    if code.len() != 3 || !code.bytes().all(|letter| letter.is_ascii_uppercase()) {
        let message = format!("`{code}` is no currency code; it has three capitals, such as EUR");
        cx.error(at!["currency", "code"], message);
    } else if code == "USD" {
        cx.error_hint(
            at!["currency", "code"],
            "amounts are in USD already",
            "name another currency, or leave `currency` out",
        );
    }
    let rates = currency.rates.iter().enumerate();
    let mut rates: Vec<(usize, ExchangeRate)> = rates
        .filter_map(|(index, rate)| Some((index, compile_rate(cx, index, rate)?)))
        .collect();
    rates.sort_by_key(|(_, rate)| rate.from_ms);
    for pair in rates.windows(2) {
        if let [(_, first), (index, second)] = pair
            && first.from_ms == second.from_ms
        {
            let message = format!("a second rate from {}", second.from);
            cx.error(at!["currency", "rates", *index, "from"], message);
        }
    }
    let rates: Vec<_> = rates.into_iter().map(|(_, rate)| rate).collect();
    if rates.is_empty() && currency.rates.is_empty() {
        cx.error(
            at!["currency", "rates"],
            "no rate is given; at least one is needed",
        );
    }
    (!rates.is_empty()).then(|| Currency {
        code: code.clone(),
        rates,
    })
}

fn compile_rate(cx: &mut Context<'_, '_>, index: usize, rate: &RateConfig) -> Option<ExchangeRate> {
    let is_day = rate.from.len() == "2026-01-01".len();
    let day = rate.from.parse::<Date>().ok().filter(|_| is_day);
    let from = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    if from.is_none() {
        let message = format!("`{}` is no day; write it as 2026-01-01", rate.from);
        cx.error(at!["currency", "rates", index, "from"], message);
    }
    let per_usd = PerUsd::parse(&rate.per_usd.0);
    if per_usd.is_none() {
        let message = format!(
            "`{}` is no rate; it is how many of the currency one USD is, above 0 and with up to 12 \
             digits after the point, such as 0.92",
            rate.per_usd.0
        );
        cx.error(at!["currency", "rates", index, "per_usd"], message);
    }
    Some(ExchangeRate {
        from: rate.from.clone(),
        from_ms: from?.timestamp().as_millisecond(),
        per_usd: per_usd?,
    })
}
