//! When an upstream wants to be asked again, out of its response headers.

use std::time::Duration;

use http::HeaderMap;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;

/// Anything later is a year from now: keeps arithmetic on hostile hints in bounds.
const FAR: Duration = Duration::from_hours(365 * 24);

/// How long the upstream asks us to wait: `retry-after-ms`, then `retry-after` (seconds or a date,
/// RFC 9110 §10.2.3), then the reset of whichever of OpenAI's limits has nothing remaining. A date
/// in the past is no wait. `None` when it says nothing that we understand.
///
/// Meant for 429 and 503 only; the caller caps it.
#[must_use]
pub fn parse_retry_after(headers: &HeaderMap, now_unix_ms: i64) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(wait) = text("retry-after-ms").and_then(|ms| from_number(ms, 1e-3)) {
        return Some(wait);
    }
    if let Some(value) = text("retry-after") {
        let wait = from_number(value, 1.0).or_else(|| from_http_date(value, now_unix_ms));
        if wait.is_some() {
            return wait;
        }
    }
    let exhausted = |kind: &str| {
        let remaining = text(&format!("x-ratelimit-remaining-{kind}"));
        let nothing_left = remaining.is_none_or(|left| left.parse::<f64>().is_ok_and(|n| n <= 0.0));
        let reset = text(&format!("x-ratelimit-reset-{kind}"))?;
        nothing_left.then(|| from_units(reset)).flatten()
    };
    exhausted("requests").max(exhausted("tokens"))
}

/// A plain number of units of `seconds_per_unit`.
fn from_number(text: &str, seconds_per_unit: f64) -> Option<Duration> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = text.parse().ok().filter(|_| plain)?;
    Some(seconds(number * seconds_per_unit))
}

/// OpenAI's durations: `12ms`, `1.5s`, `6m0s`, `1h2m3s`, `1d`; a bare number is seconds.
fn from_units(text: &str) -> Option<Duration> {
    if let Some(wait) = from_number(text, 1.0) {
        return Some(wait);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let scale = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    (!text.is_empty()).then(|| seconds(total))
}

fn from_http_date(text: &str, now_unix_ms: i64) -> Option<Duration> {
    let wait_ms = parse_http_date(text)?.saturating_sub(now_unix_ms);
    Some(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)).min(FAR))
}

/// A date of HTTP, milliseconds since the Unix epoch: the three forms of RFC 9110 §5.6.7, all in GMT.
#[must_use]
pub fn parse_http_date(text: &str) -> Option<i64> {
    let obsolete = || {
        ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
            .iter()
            .find_map(|form| strtime::parse(form, text).ok()?.to_datetime().ok())
            .and_then(|at| at.to_zoned(TimeZone::UTC).ok())
    };
    let at = rfc2822::parse(text).ok().or_else(obsolete)?;
    Some(at.timestamp().as_millisecond())
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(FAR, |wait| wait.min(FAR))
}
