//! A report for programs: CSV and JSON. Amounts are plain decimals with every digit, never floats.

use std::io::{self, Write};

use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::stores::{Dimension, Report, Sums};
use crate::types::PicoUsd;

/// The numbers of a row, by name and as text, in the order of the columns.
pub(super) fn numbers(sums: &Sums, total: PicoUsd) -> Vec<(String, String)> {
    let mut numbers = vec![
        ("requests".to_owned(), sums.requests.to_string()),
        ("attempts".to_owned(), sums.attempts.to_string()),
        ("cost_usd".to_owned(), sums.cost.to_string()),
        (
            "estimated_cost_usd".to_owned(),
            sums.estimated_cost.to_string(),
        ),
        (
            "baseline_cost_usd".to_owned(),
            sums.baseline_cost.to_string(),
        ),
        ("savings_usd".to_owned(), sums.savings.to_string()),
    ];
    for (kind, count) in sums.tokens.by_kind() {
        numbers.push((format!("{kind}_tokens"), count.to_string()));
    }
    numbers.push(("share_percent".to_owned(), percent(sums.cost, total)));
    numbers
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
    numbers: Vec<(String, String)>,
}

impl Serialize for JsonRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (dimension, value) in self.by.iter().zip(self.values) {
            map.serialize_entry(&dimension.name(), value)?;
        }
        for (name, number) in &self.numbers {
            let exact = RawValue::from_string(number.clone()).map_err(S::Error::custom)?;
            map.serialize_entry(name, &exact)?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct JsonReport<'a> {
    rows: Vec<JsonRow<'a>>,
    total: JsonRow<'a>,
}

/// Writes rows and total as one JSON object.
pub(super) fn json(by: &[Dimension], report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let row = |values, sums: &Sums| JsonRow {
        by,
        values,
        numbers: numbers(sums, report.total.cost),
    };
    let rows = report.rows.iter();
    let document = JsonReport {
        rows: rows.map(|entry| row(&entry.values, &entry.sums)).collect(),
        total: row(&[], &report.total),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

/// Writes the rows with a heading, without the total (so that a sheet can sum them).
pub(super) fn csv(by: &[Dimension], report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let names = numbers(&report.total, report.total.cost)
        .into_iter()
        .map(|(name, _)| name);
    let heading: Vec<_> = (by.iter().map(|dimension| dimension.name().into_owned()))
        .chain(names)
        .collect();
    csv_line(&heading, out)?;
    for row in &report.rows {
        let numbers = numbers(&row.sums, report.total.cost)
            .into_iter()
            .map(|(_, number)| number);
        let line: Vec<_> = (row.values.iter().map(|value| cell(value)))
            .chain(numbers)
            .collect();
        csv_line(&line, out)?;
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
