//! The period of a report: words, dates or instants in, a range of milliseconds out; and the period
//! before it.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

use crate::config::suggest;
use crate::stores::TimeRange;

/// The words of `--period`, beside a year, a month or a day.
const WORDS: [&str; 8] = [
    "today",
    "yesterday",
    "week",
    "last-week",
    "month",
    "last-month",
    "year",
    "last-year",
];

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
    /// No word for a period.
    #[error(
        "--period: `{text}` is no period{hint}; allowed are {words}, a year 2026, a month 2026-11 \
         and a day 2026-11-01",
        words = WORDS.join(", ")
    )]
    NotAPeriod {
        /// What it said.
        text: String,
        /// What was probably meant.
        hint: String,
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

/// The range of a word of `--period`. Weeks begin on Monday.
pub(super) fn named(text: &str, now_ms: i64) -> Result<TimeRange, BadPeriod> {
    let today = date(now_ms);
    let days_since_monday = i64::from(today.weekday().since(Weekday::Monday));
    let monday = today.saturating_sub(days_since_monday.days());
    let (first_of_month, first_of_year) = (today.first_of_month(), today.first_of_year());
    let (from, length) = match text {
        "today" => (today, 1.day()),
        "yesterday" => (today.saturating_sub(1.day()), 1.day()),
        "week" => (monday, 1.week()),
        "last-week" => (monday.saturating_sub(1.week()), 1.week()),
        "month" => (first_of_month, 1.month()),
        "last-month" => (first_of_month.saturating_sub(1.month()), 1.month()),
        "year" => (first_of_year, 1.year()),
        "last-year" => (first_of_year.saturating_sub(1.year()), 1.year()),
        _ => written_out(text).ok_or_else(|| BadPeriod::NotAPeriod {
            text: text.to_owned(),
            hint: suggest::only(text, WORDS)
                .map_or_else(String::new, |word| format!("; did you mean `{word}`?")),
        })?,
    };
    Ok(days(from, length))
}

/// A year, a month or a day by its number.
fn written_out(text: &str) -> Option<(Date, Span)> {
    let (suffix, length) = match text.len() {
        4 => ("-01-01", 1.year()),
        7 => ("-01", 1.month()),
        10 => ("", 1.day()),
        _ => return None,
    };
    Some((format!("{text}{suffix}").parse().ok()?, length))
}

fn days(from: Date, length: Span) -> TimeRange {
    TimeRange {
        from_ms: midnight_ms(from),
        to_ms: midnight_ms(from.saturating_add(length)),
    }
}

/// The period before: the calendar month before a month, the year before a year, else the same
/// length directly before. While the period is not over, it is cut where the present one stands, so
/// that like is compared with like.
pub(super) fn before(range: TimeRange, now_ms: i64) -> TimeRange {
    let from = date(range.from_ms);
    let is = |length: Span| days(from, length) == range;
    let whole = if is(1.month()) && from.day() == 1 {
        days(from.saturating_sub(1.month()), 1.month())
    } else if is(1.year()) && from.day_of_year() == 1 {
        days(from.saturating_sub(1.year()), 1.year())
    } else {
        let length_ms = range.to_ms.saturating_sub(range.from_ms);
        TimeRange {
            from_ms: range.from_ms.saturating_sub(length_ms),
            to_ms: range.from_ms,
        }
    };
    if !range.contains(now_ms) {
        return whole;
    }
    let elapsed_ms = now_ms - range.from_ms;
    TimeRange {
        to_ms: whole.to_ms.min(whole.from_ms.saturating_add(elapsed_ms)),
        ..whole
    }
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

/// The midnight, UTC, with which a day begins.
pub(super) fn midnight_ms(day: Date) -> i64 {
    day.to_zoned(TimeZone::UTC)
        .map_or(0, |midnight| midnight.timestamp().as_millisecond())
}

/// The UTC day of an instant.
pub(super) fn day(at_ms: i64) -> String {
    date(at_ms).to_string()
}

/// `2026-11-01 to 2026-12-01 (UTC, end excluded)`
pub(super) fn describe(range: TimeRange) -> String {
    format!("{} (UTC, end excluded)", ends(range))
}

/// `2026-11-01 to 2026-12-01`
pub(super) fn ends(range: TimeRange) -> String {
    format!("{} to {}", shown(range.from_ms), shown(range.to_ms))
}

/// A midnight as its day, any other instant in full.
pub(super) fn shown(at_ms: i64) -> String {
    if midnight_ms(date(at_ms)) == at_ms {
        return day(at_ms);
    }
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    // Milliseconds mean nothing to people.
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-11T06:30:00Z, a Wednesday.
    const NOW_MS: i64 = 1_794_378_600_000;

    fn check_named(word: &str, expect: &str, expect_before: &str) {
        let range = named(word, NOW_MS).expect("a period");
        assert_eq!(ends(range), expect, "{word}");
        assert_eq!(ends(before(range, NOW_MS)), expect_before, "before {word}");
    }

    #[test]
    fn words_are_periods_and_each_has_one_before() {
        check_named(
            "today",
            "2026-11-11 to 2026-11-12",
            "2026-11-10 to 2026-11-10T06:30:00Z",
        );
        check_named(
            "yesterday",
            "2026-11-10 to 2026-11-11",
            "2026-11-09 to 2026-11-10",
        );
        check_named(
            "week",
            "2026-11-09 to 2026-11-16",
            "2026-11-02 to 2026-11-04T06:30:00Z",
        );
        check_named(
            "month",
            "2026-11-01 to 2026-12-01",
            "2026-10-01 to 2026-10-11T06:30:00Z",
        );
        check_named(
            "last-month",
            "2026-10-01 to 2026-11-01",
            "2026-09-01 to 2026-10-01",
        );
        check_named(
            "2026-03",
            "2026-03-01 to 2026-04-01",
            "2026-02-01 to 2026-03-01",
        );
        check_named(
            "2025",
            "2025-01-01 to 2026-01-01",
            "2024-01-01 to 2025-01-01",
        );
        check_named(
            "2026-01-15",
            "2026-01-15 to 2026-01-16",
            "2026-01-14 to 2026-01-15",
        );
    }

    #[test]
    fn a_long_month_is_not_compared_beyond_the_end_of_a_short_one() {
        let march = named("2026-03", NOW_MS).expect("a month");
        let on_the_31st = march.to_ms - 1;
        assert_eq!(ends(before(march, on_the_31st)), "2026-02-01 to 2026-03-01");
    }

    #[test]
    fn a_wrong_word_is_answered_with_the_nearest() {
        let error = named("last-mont", NOW_MS).expect_err("refused").to_string();
        assert!(error.contains("did you mean `last-month`?"), "{error}");
        for wrong in ["2026-13", "20261", "", "2026-02-30", "année"] {
            assert!(named(wrong, NOW_MS).is_err(), "{wrong}");
        }
    }
}
