//! What reports add up, read as short numbers: requests and attempts of a range in the order in which
//! they lie in the file, and the sums of those whose rows are gone.
//!
//! Adding up is done by the reader, not by SQL: a hash table of a few numbers takes a row in tens of
//! nanoseconds, where SQLite sorts every row by words.

use rusqlite::{Connection, Row, named_params};

use super::write::PART;
use crate::stores::usage::TimeRange;
use crate::types::Tokens;

/// A UTC day.
pub(super) const DAY_MS: i64 = 86_400_000;

/// One request, one attempt, or the sums of many of a day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact {
    /// When it began, milliseconds since the Unix epoch; of an archived day its beginning.
    pub at_ms: i64,
    /// True when the rows are gone, and with them end users, tags and the time of day.
    pub is_archived: bool,
    /// The request's kind.
    pub request_kind: i64,
    /// The attempt's kind; 0 when this is about requests.
    pub attempt_kind: i64,
    /// What [`Texts`] called the end user and the tags; 0 when they are not wanted.
    pub texts: u32,
    pub requests: u64,
    pub attempts: u64,
    /// Of attempts.
    pub cost_pico: i128,
    /// Requests whose baseline is known.
    pub baselines: u64,
    /// What the baseline would have cost for those.
    pub baseline_pico: i128,
    /// That, less what they did cost.
    pub savings_pico: i128,
    /// Of attempts, in disjoint classes.
    pub tokens: Tokens,
    /// Images that were charged one by one.
    pub images: u64,
}

impl Fact {
    const NOTHING: Self = Fact {
        at_ms: 0,
        is_archived: false,
        request_kind: 0,
        attempt_kind: 0,
        texts: 0,
        requests: 0,
        attempts: 0,
        cost_pico: 0,
        baselines: 0,
        baseline_pico: 0,
        savings_pico: 0,
        tokens: Tokens {
            input: 0,
            cached_input: 0,
            cache_write: 0,
            cache_write_1h: 0,
            output: 0,
            reasoning: 0,
        },
        images: 0,
    };
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// `main` for the file, `temp` for what is still in the journal.
    pub schema: &'a str,
    pub range: TimeRange,
    /// Whether requests are wanted beside attempts.
    pub requests: bool,
}

/// Gives numbers to what the end user and the tags (JSON) of a request say, either empty for none.
pub(super) trait Texts {
    /// The number of these two; never 0.
    fn number(&mut self, end_user: &str, tags: &str) -> u32;
}

/// Hands every fact of a range to `each`. End users and tags are text and are left unread without
/// `texts`.
pub(super) fn read(
    connection: &Connection,
    wanted: Wanted<'_>,
    mut texts: Option<&mut impl Texts>,
    each: &mut impl FnMut(&Fact),
) -> rusqlite::Result<()> {
    let no_texts = texts.as_mut().map_or(0, |texts| texts.number("", ""));
    archived(connection, wanted, no_texts, each)?;
    let numbers = if let Some(texts) = texts {
        requests_with_texts(connection, wanted, texts, each)?
    } else {
        if wanted.requests {
            requests(connection, wanted, each)?;
        }
        ByRow::default()
    };
    attempts(connection, wanted, &numbers, each)
}

/// The numbers of the texts of requests, by the requests' place in the file. A million of them take
/// four megabytes, and spare every attempt the search for its request.
#[derive(Debug, Default)]
struct ByRow {
    first: i64,
    numbers: Vec<u32>,
}

impl ByRow {
    fn note(&mut self, seq: i64, number: u32) {
        if self.numbers.is_empty() {
            self.first = seq;
        }
        // Rows that retention took leave gaps, which stand for no text.
        let at = usize::try_from(seq - self.first).unwrap_or(0);
        self.numbers.resize(at, 0);
        self.numbers.push(number);
    }

    fn of(&self, seq: i64) -> u32 {
        let at = usize::try_from(seq.saturating_sub(self.first)).ok();
        at.and_then(|at| self.numbers.get(at)).copied().unwrap_or(0)
    }
}

/// The part of a table in which the rows of a range lie: rows are in the order in which requests
/// ended, which is nearly that of time, so that everything outside is left unread without the detour
/// over an index for each row.
fn part(connection: &Connection, wanted: Wanted<'_>, table: &str) -> rusqlite::Result<(i64, i64)> {
    let Wanted { schema, range, .. } = wanted;
    let ends = format!(
        "SELECT (SELECT min(started_at_ms) FROM {schema}.{table}), \
                (SELECT max(started_at_ms) FROM {schema}.{table})"
    );
    let ends = connection.query_row(&ends, (), |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
    })?;
    let all =
        matches!(ends, (Some(first), Some(last)) if range.contains(first) && range.contains(last));
    if all {
        return Ok((i64::MIN, i64::MAX));
    }
    let sql = format!(
        "SELECT coalesce(min(seq), 0), coalesce(max(seq), -1) FROM {schema}.{table} \
         WHERE started_at_ms >= :from AND started_at_ms < :to"
    );
    connection.query_row(
        &sql,
        named_params! {":from": range.from_ms, ":to": range.to_ms},
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// `+` keeps SQLite from taking the index on time for the range and then one row after the other.
const IN_PART: &str =
    "t.seq BETWEEN :first AND :last AND +t.started_at_ms >= :from AND +t.started_at_ms < :to";

/// The columns of a request's fact.
const OF_REQUEST: &str = "t.started_at_ms, t.request_kind, t.cost_pico, t.baseline_cost_pico";

fn request_fact(row: &Row<'_>, texts: u32) -> rusqlite::Result<Fact> {
    let cost: i64 = row.get(2)?;
    let baseline: Option<i64> = row.get(3)?;
    Ok(Fact {
        at_ms: row.get(0)?,
        request_kind: row.get(1)?,
        texts,
        requests: 1,
        baselines: baseline.is_some().into(),
        baseline_pico: baseline.unwrap_or(0).into(),
        savings_pico: baseline.map_or(0, |baseline| i128::from(baseline) - i128::from(cost)),
        ..Fact::NOTHING
    })
}

fn requests(
    connection: &Connection,
    wanted: Wanted<'_>,
    each: &mut impl FnMut(&Fact),
) -> rusqlite::Result<()> {
    let (first, last) = part(connection, wanted, "request_rows")?;
    let Wanted { schema, range, .. } = wanted;
    let sql = format!("SELECT {OF_REQUEST} FROM {schema}.request_rows t WHERE {IN_PART}");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(named_params! {
        ":first": first, ":last": last, ":from": range.from_ms, ":to": range.to_ms,
    })?;
    while let Some(row) = rows.next()? {
        each(&request_fact(row, 0)?);
    }
    Ok(())
}

/// The same with the numbers of the texts of all requests that are in the range or have an attempt
/// there, in one pass over the rows.
fn requests_with_texts(
    connection: &Connection,
    wanted: Wanted<'_>,
    texts: &mut impl Texts,
    each: &mut impl FnMut(&Fact),
) -> rusqlite::Result<ByRow> {
    let of_attempts = part(connection, wanted, "attempt_rows")?;
    let of_requests = part(connection, wanted, "request_rows")?;
    let Wanted { schema, range, .. } = wanted;
    let sql = format!(
        "SELECT {OF_REQUEST}, t.seq, t.end_user, t.tags FROM {schema}.request_rows t \
         WHERE t.seq BETWEEN :first AND :last ORDER BY t.seq"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(named_params! {
        ":first": of_attempts.0.min(of_requests.0), ":last": of_attempts.1.max(of_requests.1),
    })?;
    let mut found = ByRow::default();
    while let Some(row) = rows.next()? {
        let number = texts.number(text(row, 5)?, text(row, 6)?);
        found.note(row.get(4)?, number);
        if wanted.requests && range.contains(row.get(0)?) {
            each(&request_fact(row, number)?);
        }
    }
    Ok(found)
}

fn attempts(
    connection: &Connection,
    wanted: Wanted<'_>,
    texts: &ByRow,
    each: &mut impl FnMut(&Fact),
) -> rusqlite::Result<()> {
    let (first, last) = part(connection, wanted, "attempt_rows")?;
    let Wanted { schema, range, .. } = wanted;
    let sql = format!(
        "SELECT t.started_at_ms, t.request_kind, t.attempt_kind, t.cost_pico, t.input_tokens, \
           t.cached_input_tokens, t.cache_write_tokens, t.output_tokens, t.reasoning_tokens, \
           t.cache_write_1h_tokens, t.images, t.seq \
         FROM {schema}.attempt_rows t WHERE {IN_PART}"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(named_params! {
        ":first": first, ":last": last, ":from": range.from_ms, ":to": range.to_ms,
    })?;
    while let Some(row) = rows.next()? {
        let number = |at: usize| row.get::<_, i64>(at);
        each(&Fact {
            at_ms: number(0)?,
            request_kind: number(1)?,
            attempt_kind: number(2)?,
            texts: texts.of(number(11)?),
            attempts: 1,
            cost_pico: number(3)?.into(),
            tokens: tokens([
                number(4)?,
                number(5)?,
                number(6)?,
                number(7)?,
                number(8)?,
                number(9)?,
            ]),
            images: number(10)?.unsigned_abs(),
            ..Fact::NOTHING
        });
    }
    Ok(())
}

/// Days of which any part is in the range count when they begin in it.
fn archived(
    connection: &Connection,
    wanted: Wanted<'_>,
    no_texts: u32,
    each: &mut impl FnMut(&Fact),
) -> rusqlite::Result<()> {
    let Wanted { schema, range, .. } = wanted;
    let sql = format!(
        "SELECT day, request_kind, attempt_kind, requests, attempts, cost_hi, cost_lo, baselines, \
           baseline_hi, baseline_lo, savings_hi, savings_lo, input_tokens, cached_input_tokens, cache_write_tokens, \
           output_tokens, reasoning_tokens, cache_write_1h_tokens, images \
         FROM {schema}.archive WHERE day >= :from AND day < :to"
    );
    let first_day = |at_ms: i64| at_ms.div_euclid(DAY_MS) + i64::from(at_ms.rem_euclid(DAY_MS) > 0);
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(named_params! {
        ":from": first_day(range.from_ms), ":to": first_day(range.to_ms),
    })?;
    while let Some(row) = rows.next()? {
        let number = |at: usize| row.get::<_, i64>(at);
        let amount = |hi: usize| -> rusqlite::Result<i128> {
            Ok(i128::from(number(hi)?) * i128::from(PART) + i128::from(number(hi + 1)?))
        };
        each(&Fact {
            at_ms: number(0)?.saturating_mul(DAY_MS),
            is_archived: true,
            request_kind: number(1)?,
            attempt_kind: number(2)?,
            texts: no_texts,
            requests: number(3)?.unsigned_abs(),
            attempts: number(4)?.unsigned_abs(),
            cost_pico: amount(5)?,
            baselines: number(7)?.unsigned_abs(),
            baseline_pico: amount(8)?,
            savings_pico: amount(10)?,
            tokens: tokens([
                number(12)?,
                number(13)?,
                number(14)?,
                number(15)?,
                number(16)?,
                number(17)?,
            ]),
            images: number(18)?.unsigned_abs(),
        });
    }
    Ok(())
}

fn text<'a>(row: &'a Row<'_>, at: usize) -> rusqlite::Result<&'a str> {
    Ok(row.get_ref(at)?.as_str_or_null()?.unwrap_or_default())
}

/// Tokens as rows have them, where every write to the prompt cache is one count and those for an hour
/// are counted again.
fn tokens(counts: [i64; 6]) -> Tokens {
    let [
        input,
        cached_input,
        writes,
        output,
        reasoning,
        cache_write_1h,
    ] = counts.map(i64::unsigned_abs);
    Tokens {
        input,
        cached_input,
        cache_write: writes.saturating_sub(cache_write_1h),
        cache_write_1h,
        output,
        reasoning,
    }
}
