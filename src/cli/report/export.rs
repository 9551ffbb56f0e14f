//! A report for programs: CSV and JSON. Amounts are plain decimals with every digit, never floats.

use std::io::{self, Write};

use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::period;
use super::statement::{ConvertedSums, OthersLine, Statement};
use crate::stores::{Dimension, Sums, TimeRange};
use crate::types::PicoUsd;

/// What one line says beside its dimensions.
#[derive(Clone, Copy)]
struct Line<'a> {
    sums: &'a Sums,
    /// What it cost in the period before, where there is such a thing.
    before: Option<PicoUsd>,
    converted: Option<ConvertedSums>,
}

/// The numbers of a line by name, in the order of the columns; without a text where there is none.
fn numbers(statement: &Statement, line: Line<'_>) -> Vec<(String, Option<String>)> {
    let sums = line.sums;
    let mut numbers = Vec::with_capacity(24);
    let mut add = |name: &str, number: String| numbers.push((name.to_owned(), Some(number)));
    add("requests", sums.requests.to_string());
    add("attempts", sums.attempts.to_string());
    add("cost_usd", sums.cost.to_string());
    add("estimated_cost_usd", sums.estimated_cost.to_string());
    add("baseline_cost_usd", sums.baseline_cost.to_string());
    add("savings_usd", sums.savings.to_string());
    for (kind, count) in sums.tokens.by_kind() {
        add(&format!("{kind}_tokens"), count.to_string());
    }
    add(
        "share_percent",
        percent(sums.cost, statement.report.total.cost),
    );
    if statement.before.is_some() {
        let cost = line.before.map(|cost| cost.to_string());
        numbers.push(("previous_cost_usd".to_owned(), cost));
        let change = line.before.map(|before| (sums.cost - before).to_string());
        numbers.push(("change_usd".to_owned(), change));
    }
    if let (Some(converted), Some(amounts)) = (&statement.converted, line.converted) {
        let code = converted.code.to_lowercase();
        let amounts = [
            ("cost", amounts.cost),
            ("estimated_cost", amounts.estimated_cost),
            ("baseline_cost", amounts.baseline_cost),
            ("savings", amounts.savings),
        ];
        for (name, amount) in amounts {
            numbers.push((format!("{name}_{code}"), Some(amount.to_string())));
        }
    }
    numbers
}

fn total(statement: &Statement) -> Line<'_> {
    Line {
        sums: &statement.report.total,
        before: statement.before.as_ref().map(|before| before.total),
        converted: statement.converted.as_ref().map(|all| all.total),
    }
}

/// How many rows are not shown one by one, and their line.
fn others(of: &OthersLine) -> (usize, Line<'_>) {
    let line = Line {
        sums: &of.sums,
        before: of.before,
        converted: of.converted,
    };
    (of.rows, line)
}

fn rows(statement: &Statement) -> impl Iterator<Item = (&[String], Line<'_>)> {
    statement.report.rows.iter().map(|row| {
        let values = row.values.as_slice();
        let before = statement.before.as_ref();
        let converted = statement.converted.as_ref();
        let line = Line {
            sums: &row.sums,
            before: before.and_then(|before| before.cost_of(values)),
            converted: converted.map(|all| all.of(values)),
        };
        (values, line)
    })
}

/// The share of `part` in hundredths of a percent, rounded half up, as text: `12.34`.
pub(super) fn percent(part: PicoUsd, whole: PicoUsd) -> String {
    if !whole.is_positive() {
        return "0.00".to_owned();
    }
    let whole = whole.pico();
    let hundredths = part.pico().saturating_mul(10_000).saturating_add(whole / 2) / whole;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// One object: dimensions as strings, numbers as they are.
struct JsonRow<'a> {
    by: &'a [Dimension],
    values: &'a [String],
    numbers: Vec<(String, Option<String>)>,
}

impl Serialize for JsonRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (dimension, value) in self.by.iter().zip(self.values) {
            map.serialize_entry(&dimension.name(), value)?;
        }
        for (name, number) in &self.numbers {
            match number {
                Some(number) => {
                    map.serialize_entry(name, &exact(number).map_err(S::Error::custom)?)?;
                }
                None => map.serialize_entry(name, &())?,
            }
        }
        map.end()
    }
}

/// A number as JSON, every digit of it.
pub(super) fn exact(number: &str) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(number.to_owned())
}

#[derive(serde::Serialize)]
struct JsonReport<'a> {
    period: JsonPeriod,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_period: Option<JsonPeriod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<JsonCurrency<'a>>,
    rows: Vec<JsonRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    others: Option<JsonOthers<'a>>,
    total: JsonRow<'a>,
}

/// Rows beyond `--top`.
#[derive(serde::Serialize)]
struct JsonOthers<'a> {
    rows: usize,
    #[serde(flatten)]
    sums: JsonRow<'a>,
}

/// A range of time, its end excluded.
#[derive(serde::Serialize)]
pub(super) struct JsonPeriod {
    from: String,
    to: String,
}

impl JsonPeriod {
    pub fn of(range: TimeRange) -> Self {
        Self {
            from: period::shown(range.from_ms),
            to: period::shown(range.to_ms),
        }
    }
}

#[derive(serde::Serialize)]
struct JsonCurrency<'a> {
    code: &'a str,
    rates: Vec<JsonRate<'a>>,
}

#[derive(serde::Serialize)]
struct JsonRate<'a> {
    from: &'a str,
    per_usd: Box<RawValue>,
}

/// Writes rows and total as one JSON object.
pub(super) fn json(statement: &Statement, out: &mut dyn Write) -> io::Result<()> {
    let by = statement.query.by.as_slice();
    let currency = statement.converted.as_ref().map(|converted| {
        let rates = converted.rates.iter().map(|rate| {
            Ok(JsonRate {
                from: &rate.from,
                per_usd: exact(&rate.per_usd.to_string())?,
            })
        });
        Ok::<_, serde_json::Error>(JsonCurrency {
            code: &converted.code,
            rates: rates.collect::<Result<_, serde_json::Error>>()?,
        })
    });
    let row = |values, line| JsonRow {
        by,
        values,
        numbers: numbers(statement, line),
    };
    let before = statement.before.as_ref();
    let left = statement.others();
    let document = JsonReport {
        period: JsonPeriod::of(statement.query.range),
        previous_period: before.map(|before| JsonPeriod::of(before.range)),
        currency: currency.transpose()?,
        rows: rows(statement)
            .map(|(values, line)| row(values, line))
            .collect(),
        others: left.as_ref().map(|left| {
            let (rows, line) = others(left);
            JsonOthers {
                rows,
                sums: row(&[], line),
            }
        }),
        total: row(&[], total(statement)),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

/// What the line of the rows beyond `--top` is called.
pub(super) fn others_name(rows: usize) -> String {
    format!("({rows} others)")
}

/// Writes the rows with a heading, without the total (so that a sheet can sum them).
pub(super) fn csv(statement: &Statement, out: &mut dyn Write) -> io::Result<()> {
    let by = statement.query.by.iter();
    let names = numbers(statement, total(statement));
    let heading: Vec<_> = (by.map(|dimension| cell(&dimension.name())))
        .chain(names.into_iter().map(|(name, _)| name))
        .collect();
    csv_line(&heading, out)?;
    let mut write = |values: &[String], line| {
        let numbers = numbers(statement, line).into_iter();
        let numbers = numbers.map(|(_, number)| number.unwrap_or_default());
        let cells = values.iter().map(|value| cell(value));
        csv_line(&cells.chain(numbers).collect::<Vec<_>>(), out)
    };
    for (values, line) in rows(statement) {
        write(values, line)?;
    }
    if let Some(left) = statement.others() {
        let (rows, line) = others(&left);
        let mut values = vec![String::new(); statement.query.by.len()];
        if let Some(first) = values.first_mut() {
            *first = others_name(rows);
        }
        write(&values, line)?;
    }
    Ok(())
}

/// A text as a spreadsheet may see it: users are named by clients, and a sheet would run what
/// begins like a formula (OWASP, "CSV Injection"), so such a text gets an apostrophe in front.
pub(super) fn cell(text: &str) -> String {
    let is_formula = text != "-" && text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// One line as RFC 4180 has it, but ended by a bare line feed.
pub(super) fn csv_line<S: AsRef<str>>(cells: &[S], out: &mut dyn Write) -> io::Result<()> {
    for (at, cell) in cells.iter().map(AsRef::as_ref).enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        if cell.contains([',', '"', '\n', '\r']) {
            write!(out, "\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}
