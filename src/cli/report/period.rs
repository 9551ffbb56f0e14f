//! The period of a report: two dates or instants in, a range of milliseconds out.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::stores::TimeRange;

/// Why a period makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPeriod {
    /// Neither a day nor an instant.
    #[error(
        "--{flag}: `{text}` is neither a day like 2026-11-01 (midnight UTC) nor an instant like \
         2026-11-01T08:00:00+01:00"
    )]
    NotADate {
        /// Which argument.
        flag: &'static str,
        /// What it said.
        text: String,
    },
    /// The end is not after the start.
    #[error("the period from {from} to {to} is empty; --to is the first instant not included")]
    Empty {
        /// The start.
        from: String,
        /// The end.
        to: String,
    },
}

/// The range from `from` (included) to `to` (excluded). Without an end it is the end of the month of
/// `now_ms`, without a start the first of the month before the end.
pub(super) fn range(
    from: Option<&str>,
    to: Option<&str>,
    now_ms: i64,
) -> Result<TimeRange, BadPeriod> {
    let to_ms = match to {
        Some(text) => instant("to", text)?,
        None => midnight_ms(first_of_month(now_ms).saturating_add(1.month())),
    };
    let from_ms = match from {
        Some(text) => instant("from", text)?,
        None => midnight_ms(first_of_month(to_ms.saturating_sub(1))),
    };
    if from_ms >= to_ms {
        return Err(BadPeriod::Empty {
            from: shown(from_ms),
            to: shown(to_ms),
        });
    }
    Ok(TimeRange { from_ms, to_ms })
}

fn instant(flag: &'static str, text: &str) -> Result<i64, BadPeriod> {
    // A full instant also reads as a date with its time cut off, so it is tried first.
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let is_day = text.len() == "2026-11-01".len();
    match text.parse::<Date>() {
        Ok(day) if is_day => Ok(midnight_ms(day)),
        _ => Err(BadPeriod::NotADate {
            flag,
            text: text.to_owned(),
        }),
    }
}

fn date(at_ms: i64) -> Date {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).date()
}

fn first_of_month(at_ms: i64) -> Date {
    date(at_ms).first_of_month()
}

fn midnight_ms(day: Date) -> i64 {
    day.to_zoned(TimeZone::UTC)
        .map_or(0, |midnight| midnight.timestamp().as_millisecond())
}

/// The UTC day of an instant.
pub(super) fn day(at_ms: i64) -> String {
    date(at_ms).to_string()
}

/// `2026-11-01 to 2026-12-01 (UTC, end excluded)`
pub(super) fn describe(range: TimeRange) -> String {
    let (from, to) = (shown(range.from_ms), shown(range.to_ms));
    format!("{from} to {to} (UTC, end excluded)")
}

/// A midnight as its day, any other instant in full.
fn shown(at_ms: i64) -> String {
    if midnight_ms(date(at_ms)) == at_ms {
        return day(at_ms);
    }
    Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}
