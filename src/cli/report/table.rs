//! A report for people: aligned columns, the share as a bar, the total below. Amounts in USD show as
//! many digits as the finest of them needs, so the column adds up to the last one; those in a
//! declared currency are rounded, each for itself.

use std::io::{self, Write};

use super::export::{others_name, percent};
use super::period;
use super::statement::{ConvertedSums, Statement};
use crate::stores::Sums;
use crate::types::{CurrencyAmount, PicoUsd};

/// Longer names are cut here.
const NAME_CHARS: usize = 40;
/// Width of the bar in characters, each of which has eight steps.
const BAR_CHARS: i128 = 10;
/// Eighths of a block, from none to seven.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Digits after the point of amounts in a declared currency: a request costs fractions of a cent.
const CURRENCY_DIGITS: usize = 6;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const CYAN: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

/// Writes the table.
pub(super) fn write(statement: &Statement, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let paint = Paint { colour };
    let (query, report) = (&statement.query, &statement.report);
    let layout = Layout::of(statement);
    let heading = layout.grid.line(&layout.heading);
    writeln!(out, "{}\n", paint.dim(&period::describe(query.range)))?;
    writeln!(out, "{}", paint.bold(heading.trim_end()))?;
    // Without dimensions the only row is the total.
    let rows = if query.by.is_empty() {
        &[]
    } else {
        &report.rows[..]
    };
    let costs = rows.iter().map(|row| row.sums.cost);
    let others = report.others.map(|others| others.sums.cost);
    for (line, cost) in layout.rows.iter().zip(costs.chain(others)) {
        let bar = bar(cost, report.total.cost);
        let text = format!("{}  {}", layout.grid.line(line), paint.cyan(&bar));
        writeln!(out, "{}", text.trim_end())?;
    }
    writeln!(out, "{}", paint.dim(&"─".repeat(heading.chars().count())))?;
    writeln!(
        out,
        "{}",
        paint.bold(layout.grid.line(&layout.total).trim_end())
    )?;
    let notes = notes(statement);
    if !notes.is_empty() {
        writeln!(out, "\n{}", paint.dim(&notes.join("\n")))?;
    }
    Ok(())
}

/// Styles, when the output is a terminal that wants them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    pub colour: bool,
}

impl Paint {
    fn with(self, style: &str, text: &str) -> String {
        if self.colour {
            format!("{style}{text}{RESET}")
        } else {
            text.to_owned()
        }
    }

    pub fn bold(self, text: &str) -> String {
        self.with(BOLD, text)
    }

    pub fn dim(self, text: &str) -> String {
        self.with(DIM, text)
    }

    fn cyan(self, text: &str) -> String {
        self.with(CYAN, text)
    }
}

/// What the columns mean where that is not plain.
fn notes(statement: &Statement) -> Vec<String> {
    let mut notes = Vec::new();
    if statement.report.total.estimated_cost != PicoUsd::ZERO {
        notes.push(
            "estimated: the part of the cost that rests on our estimate of the tokens".to_owned(),
        );
    }
    if let Some(before) = statement
        .before
        .as_ref()
        .filter(|before| before.total != PicoUsd::ZERO)
    {
        notes.push(format!(
            "change: against {} USD from {}",
            before.total,
            period::ends(before.range)
        ));
    }
    if let Some(converted) = &statement.converted {
        let code = &converted.code;
        let rates = converted.rates.iter();
        let rates: Vec<_> = rates
            .map(|rate| format!("{} from {}", rate.per_usd, rate.from))
            .collect();
        notes.push(format!(
            "{code} per USD: {}; each day at its own rate, rounded to {CURRENCY_DIGITS} digits",
            rates.join(", ")
        ));
    }
    notes
}

/// Columns with the width of their widest cell.
pub(super) struct Grid {
    widths: Vec<usize>,
    /// How many columns are names, aligned to the left.
    names: usize,
}

impl Grid {
    pub fn of<'a>(lines: impl Iterator<Item = &'a Vec<String>>, names: usize) -> Self {
        let mut widths = Vec::new();
        for line in lines {
            widths.resize(line.len().max(widths.len()), 0);
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        Self { widths, names }
    }

    pub fn line(&self, cells: &[String]) -> String {
        let cells = cells.iter().zip(&self.widths).enumerate();
        let padded = cells.map(|(at, (cell, width))| {
            if at < self.names {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        padded.collect::<Vec<_>>().join("  ")
    }
}

/// All cells as text, and how wide each column is.
struct Layout {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
    total: Vec<String>,
    grid: Grid,
}

impl Layout {
    fn of(statement: &Statement) -> Self {
        let (by, report) = (&statement.query.by, &statement.report);
        let names = by.len().max(1);
        let mut heading: Vec<String> = by.iter().map(|by| by.name().into_owned()).collect();
        heading.resize(names, String::new());
        let shape = Shape::of(statement);
        heading.extend(shape.heading());
        let mut rows: Vec<Vec<String>> = (report.rows.iter())
            .map(|row| {
                let mut cells: Vec<_> = row.values.iter().map(|value| name(value)).collect();
                cells.resize(names, String::new());
                let before = statement.before.as_ref();
                let before = before.and_then(|before| before.cost_of(&row.values));
                let converted = statement.converted.as_ref();
                let converted = converted.map(|all| all.of(&row.values));
                cells.extend(shape.cells(&row.sums, before, converted));
                cells
            })
            .collect();
        if let Some(others) = statement.others() {
            let mut cells = vec![String::new(); names];
            cells[0] = others_name(others.rows);
            cells.extend(shape.cells(&others.sums, others.before, others.converted));
            rows.push(cells);
        }
        let mut total = vec![String::new(); names];
        "total".clone_into(&mut total[0]);
        let before = statement.before.as_ref().map(|before| before.total);
        let converted = statement.converted.as_ref().map(|all| all.total);
        total.extend(shape.cells(&report.total, before, converted));
        let grid = Grid::of(rows.iter().chain([&heading, &total]), names);
        Self {
            heading,
            rows,
            total,
            grid,
        }
    }
}

/// How the numbers of one table are written.
struct Shape {
    /// Digits after the point of amounts in USD.
    digits: usize,
    total: PicoUsd,
    /// The declared currency, when amounts are shown in it.
    code: Option<String>,
    /// Whether there was anything before to compare with.
    compares: bool,
}

impl Shape {
    fn of(statement: &Statement) -> Self {
        let report = &statement.report;
        let others = report.others.map(|others| others.sums);
        let amounts = report.rows.iter().map(|row| row.sums);
        let amounts = amounts.chain(others).chain([report.total]);
        let digits = amounts
            .flat_map(|sums| [sums.cost, sums.estimated_cost, sums.savings])
            .map(digits_of)
            .max();
        let before = statement.before.as_ref();
        Self {
            // Cents at least: it is money.
            digits: digits.unwrap_or(0).max(2),
            total: report.total.cost,
            code: statement.converted.as_ref().map(|all| all.code.clone()),
            compares: before.is_some_and(|before| before.total != PicoUsd::ZERO),
        }
    }

    fn heading(&self) -> Vec<String> {
        let code = self.code.as_deref().unwrap_or("USD");
        let mut heading = ["requests", "attempts", "input", "output"]
            .map(str::to_owned)
            .to_vec();
        heading.extend([
            format!("cost {code}"),
            "estimated".to_owned(),
            format!("saved {code}"),
            "share".to_owned(),
        ]);
        if self.compares {
            heading.push("change".to_owned());
        }
        heading
    }

    fn cells(
        &self,
        sums: &Sums,
        before: Option<PicoUsd>,
        converted: Option<ConvertedSums>,
    ) -> Vec<String> {
        let money = |usd: PicoUsd, of: fn(ConvertedSums) -> CurrencyAmount| match converted {
            Some(converted) if usd != PicoUsd::ZERO => {
                with_groups(&of(converted).rounded(CURRENCY_DIGITS))
            }
            _ => amount(usd, self.digits),
        };
        let dash = || "-".to_owned();
        let mut cells = vec![
            grouped(&sums.requests.to_string()),
            grouped(&sums.attempts.to_string()),
            grouped(&sums.tokens.all_input().to_string()),
            grouped(&sums.tokens.all_output().to_string()),
            money(sums.cost, |sums| sums.cost),
            if sums.estimated_cost == PicoUsd::ZERO {
                dash()
            } else {
                money(sums.estimated_cost, |sums| sums.estimated_cost)
            },
            if sums.baseline_requests == 0 {
                dash()
            } else {
                money(sums.savings, |sums| sums.savings)
            },
            format!("{}%", percent(sums.cost, self.total)),
        ];
        if self.compares {
            cells.push(before.map_or_else(dash, |before| change(sums.cost, before)));
        }
        cells
    }
}

fn digits_of(amount: PicoUsd) -> usize {
    let text = amount.to_string();
    text.split_once('.').map_or(0, |(_, digits)| digits.len())
}

/// An amount with so many digits after the point.
pub(super) fn amount(amount: PicoUsd, digits: usize) -> String {
    if amount == PicoUsd::ZERO {
        return "0".to_owned();
    }
    let text = amount.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{}.{fraction:0<digits$}", grouped(whole))
}

/// A decimal with a comma before every three digits of its whole part.
fn with_groups(decimal: &str) -> String {
    match decimal.split_once('.') {
        Some((whole, fraction)) => format!("{}.{fraction}", grouped(whole)),
        None => grouped(decimal),
    }
}

/// By how much a cost has changed, in tenths of a percent: `+12.3%`.
fn change(cost: PicoUsd, before: PicoUsd) -> String {
    if !before.is_positive() {
        return if cost.is_positive() { "new" } else { "-" }.to_owned();
    }
    let before = before.pico();
    let scaled = (cost.pico() - before).saturating_mul(1000);
    let half = if scaled < 0 { -before / 2 } else { before / 2 };
    let tenths = scaled.saturating_add(half) / before;
    let sign = match tenths {
        1.. => "+",
        0 => "",
        _ => "-",
    };
    let tenths = tenths.unsigned_abs();
    format!(
        "{sign}{}.{}%",
        grouped(&(tenths / 10).to_string()),
        tenths % 10
    )
}

/// A whole number with a comma before every three digits.
pub(super) fn grouped(number: &str) -> String {
    let (sign, digits) = number
        .strip_prefix('-')
        .map_or(("", number), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A name that a client may have chosen: no control characters reach the terminal.
pub(super) fn name(value: &str) -> String {
    let clean = value
        .chars()
        .map(|letter| if letter.is_control() { '�' } else { letter });
    let mut text: String = clean.collect();
    if text.chars().count() > NAME_CHARS {
        text = text.chars().take(NAME_CHARS - 1).chain(['…']).collect();
    }
    text
}

fn bar(part: PicoUsd, whole: PicoUsd) -> String {
    if !whole.is_positive() {
        return String::new();
    }
    let eighths = part.at_least_zero().pico().saturating_mul(BAR_CHARS * 8) / whole.pico();
    let full = usize::try_from(eighths / 8).unwrap_or(0);
    let rest = usize::try_from(eighths % 8).unwrap_or(0);
    format!("{}{}", "█".repeat(full), EIGHTHS.get(rest).unwrap_or(&""))
}
