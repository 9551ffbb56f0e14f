//! When a budget's period begins and ends, in its own time zone, across changes of the clock.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::Period;

/// A period: start inclusive, end exclusive, milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

/// Of a total: everything that a ledger can hold.
const WITHOUT_END: Bounds = Bounds {
    start_ms: 0,
    end_ms: i64::MAX,
};

/// The period that `now_ms` lies in. Costs microseconds; to be kept until it ends.
pub(super) fn bounds(period: Period, timezone: &TimeZone, now_ms: i64) -> Bounds {
    // Only a clock beyond the year 9999 has no calendar date: then the period never ends.
    calendar(period, timezone, now_ms).unwrap_or(WITHOUT_END)
}

fn calendar(period: Period, timezone: &TimeZone, now_ms: i64) -> Option<Bounds> {
    let now = Timestamp::from_millisecond(now_ms).ok()?;
    let today = Zoned::new(now, timezone.clone()).date();
    let (first, next) = match period {
        Period::Day => (today, today.tomorrow().ok()?),
        Period::Week => {
            let monday = today.weekday().to_monday_zero_offset();
            let first = today.checked_sub(i64::from(monday).days()).ok()?;
            (first, first.checked_add(7.days()).ok()?)
        }
        Period::Month => {
            let first = today.first_of_month();
            (first, first.checked_add(1.month()).ok()?)
        }
        Period::Total => return Some(WITHOUT_END),
    };
    Some(Bounds {
        start_ms: midnight(first, timezone)?,
        end_ms: midnight(next, timezone)?,
    })
}

/// The first instant of a day: where clocks skip midnight, the instant at which they go on.
fn midnight(date: Date, timezone: &TimeZone) -> Option<i64> {
    let start = date.to_zoned(timezone.clone()).ok()?;
    Some(start.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(period: Period, zone: &str, now: &str, expect: (&str, &str)) {
        let timezone = TimeZone::get(zone).expect("a time zone");
        let at = |text: &str| {
            let timestamp: Timestamp = text.parse().expect("an instant");
            timestamp.as_millisecond()
        };
        let found = bounds(period, &timezone, at(now));
        let expected = Bounds {
            start_ms: at(expect.0),
            end_ms: at(expect.1),
        };
        assert_eq!(found, expected, "{period:?} in {zone} at {now}");
    }

    #[test]
    fn days_are_as_long_as_the_clocks_make_them() {
        let zone = "Europe/Madrid";
        check(
            Period::Day,
            zone,
            "2026-03-29T10:00:00Z",
            ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        );
        check(
            Period::Day,
            zone,
            "2026-10-25T22:59:59Z",
            ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        );
        check(
            Period::Day,
            "Asia/Kathmandu",
            "2026-05-01T18:15:00Z",
            ("2026-05-01T18:15:00Z", "2026-05-02T18:15:00Z"),
        );
    }

    #[test]
    fn a_skipped_midnight_begins_when_the_clocks_go_on() {
        check(
            Period::Day,
            "Africa/Cairo",
            "2024-04-26T12:00:00Z",
            ("2024-04-25T22:00:00Z", "2024-04-26T21:00:00Z"),
        );
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        check(
            Period::Week,
            "UTC",
            "2026-11-22T23:59:59Z",
            ("2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
        );
        check(
            Period::Month,
            "America/New_York",
            "2026-11-01T03:00:00Z",
            ("2026-10-01T04:00:00Z", "2026-11-01T04:00:00Z"),
        );
        check(
            Period::Month,
            "America/New_York",
            "2026-11-15T00:00:00Z",
            ("2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"),
        );
    }

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn the_days_of_the_changes_have_23_and_25_hours() {
        let hours = |zone: &str, now: &str| {
            let timezone = TimeZone::get(zone).expect("a time zone");
            let now: Timestamp = now.parse().expect("an instant");
            let day = bounds(Period::Day, &timezone, now.as_millisecond());
            (day.end_ms - day.start_ms) / HOUR_MS
        };
        assert_eq!(hours("Europe/Madrid", "2026-03-29T12:00:00Z"), 23);
        assert_eq!(hours("Europe/Madrid", "2026-10-25T12:00:00Z"), 25);
        // Clocks that change at midnight: it is skipped in spring and comes twice in autumn.
        assert_eq!(hours("America/Santiago", "2026-09-06T12:00:00Z"), 23);
        assert_eq!(hours("America/Havana", "2026-03-08T12:00:00Z"), 23);
        assert_eq!(hours("America/Havana", "2026-11-01T12:00:00Z"), 25);
        assert_eq!(hours("Asia/Beirut", "2026-03-29T12:00:00Z"), 23);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        /// Changes at midnight, of half an hour, a day that never was, and none at all.
        const ZONES: [&str; 12] = [
            "UTC",
            "Europe/Madrid",
            "America/New_York",
            "America/Santiago",
            "America/Havana",
            "America/Asuncion",
            "Africa/Cairo",
            "Asia/Beirut",
            "Asia/Kathmandu",
            "Australia/Lord_Howe",
            "Pacific/Apia",
            "Pacific/Chatham",
        ];
        const PERIODS: [Period; 3] = [Period::Day, Period::Week, Period::Month];
        /// 2010 to 2036.
        const YEARS: std::ops::Range<i64> = 1_262_304_000_000..2_082_758_400_000;

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(2_000))]
            #[test]
            fn periods_hold_their_instants_and_join_without_gap_or_overlap(
                now_ms in YEARS, zone in 0..ZONES.len(), period in 0..PERIODS.len(),
            ) {
                let timezone = TimeZone::get(ZONES[zone]).expect("a time zone");
                let at = |ms| bounds(PERIODS[period], &timezone, ms);
                let here = at(now_ms);
                prop_assert!(here.start_ms <= now_ms && now_ms < here.end_ms, "{:?}", here);
                prop_assert_eq!(at(here.start_ms), here);
                prop_assert_eq!(at(here.end_ms - 1), here);
                prop_assert_eq!(at(here.end_ms).start_ms, here.end_ms, "the next follows at once");
                prop_assert_eq!(at(here.start_ms - 1).end_ms, here.start_ms);
                let days = (here.end_ms - here.start_ms) / HOUR_MS;
                let (least, most) = [(23, 25), (143, 169), (27 * 24, 745)][period];
                prop_assert!((least..=most).contains(&days), "{} hours", days);
            }
        }
    }
}
