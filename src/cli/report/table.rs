//! A report for people: aligned columns, the share as a bar, the total below. Amounts show as many
//! digits as the finest of them needs, so the column adds up to the last one.

use std::io::{self, Write};

use super::export::percent;
use super::period;
use crate::stores::{Report, ReportQuery, Sums};
use crate::types::PicoUsd;

/// Longer names are cut here.
const NAME_CHARS: usize = 40;
/// Width of the bar in characters, each of which has eight steps.
const BAR_CHARS: i128 = 10;
/// Eighths of a block, from none to seven.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const CYAN: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

/// Writes the table.
pub(super) fn write(
    query: &ReportQuery,
    report: &Report,
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let paint = |style: &str, text: &str| {
        if colour {
            format!("{style}{text}{RESET}")
        } else {
            text.to_owned()
        }
    };
    let layout = Layout::of(query, report);
    let heading = layout.line(&layout.heading);
    writeln!(out, "{}\n", paint(DIM, &period::describe(query.range)))?;
    writeln!(out, "{}", paint(BOLD, heading.trim_end()))?;
    // Without dimensions the only row is the total.
    let rows = if query.by.is_empty() {
        &[]
    } else {
        &report.rows[..]
    };
    for (line, row) in layout.rows.iter().zip(rows) {
        let bar = bar(row.sums.cost, report.total.cost);
        let text = format!("{}  {}", layout.line(line), paint(CYAN, &bar));
        writeln!(out, "{}", text.trim_end())?;
    }
    writeln!(out, "{}", paint(DIM, &"─".repeat(heading.chars().count())))?;
    writeln!(
        out,
        "{}",
        paint(BOLD, layout.line(&layout.total).trim_end())
    )?;
    if report.total.estimated_cost != PicoUsd::ZERO {
        let note = "estimated: the part of the cost that rests on our estimate of the tokens";
        writeln!(out, "\n{}", paint(DIM, note))?;
    }
    Ok(())
}

/// All cells as text, and how wide each column is.
struct Layout {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
    total: Vec<String>,
    widths: Vec<usize>,
    /// How many columns are names, aligned to the left.
    names: usize,
}

impl Layout {
    fn of(query: &ReportQuery, report: &Report) -> Self {
        let names = query.by.len().max(1);
        let mut heading: Vec<String> = query.by.iter().map(|by| by.name().into_owned()).collect();
        heading.resize(names, String::new());
        let numbers = [
            "requests",
            "attempts",
            "input",
            "output",
            "cost USD",
            "estimated",
            "saved USD",
            "share",
        ];
        heading.extend(numbers.map(str::to_owned));
        let shape = Shape::of(report);
        let rows: Vec<Vec<String>> = (report.rows.iter())
            .map(|row| {
                let mut cells: Vec<_> = row.values.iter().map(|value| name(value)).collect();
                cells.resize(names, String::new());
                cells.extend(shape.cells(&row.sums));
                cells
            })
            .collect();
        let mut total = vec![String::new(); names];
        "total".clone_into(&mut total[0]);
        total.extend(shape.cells(&report.total));
        let widths = (0..heading.len())
            .map(|at| {
                let cells = rows.iter().chain([&heading, &total]);
                let width =
                    |line: &Vec<String>| line.get(at).map_or(0, |cell| cell.chars().count());
                cells.map(width).max().unwrap_or(0)
            })
            .collect();
        Self {
            heading,
            rows,
            total,
            widths,
            names,
        }
    }

    fn line(&self, cells: &[String]) -> String {
        let padded = cells
            .iter()
            .zip(&self.widths)
            .enumerate()
            .map(|(at, (cell, width))| {
                if at < self.names {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
        padded.collect::<Vec<_>>().join("  ")
    }
}

/// How the amounts of one table are written.
struct Shape {
    digits: usize,
    total: PicoUsd,
}

impl Shape {
    fn of(report: &Report) -> Self {
        let amounts = report.rows.iter().map(|row| row.sums).chain([report.total]);
        let digits = amounts
            .flat_map(|sums| [sums.cost, sums.estimated_cost, sums.savings])
            .map(|amount| {
                amount
                    .to_string()
                    .split_once('.')
                    .map_or(0, |(_, digits)| digits.len())
            })
            .max();
        Self {
            // Cents at least: it is money.
            digits: digits.unwrap_or(0).max(2),
            total: report.total.cost,
        }
    }

    fn cells(&self, sums: &Sums) -> [String; 8] {
        let savings = if sums.baseline_requests > 0 {
            self.amount(sums.savings)
        } else {
            "-".to_owned()
        };
        [
            grouped(&sums.requests.to_string()),
            grouped(&sums.attempts.to_string()),
            grouped(&sums.tokens.all_input().to_string()),
            grouped(&sums.tokens.all_output().to_string()),
            self.amount(sums.cost),
            if sums.estimated_cost == PicoUsd::ZERO {
                "-".to_owned()
            } else {
                self.amount(sums.estimated_cost)
            },
            savings,
            format!("{}%", percent(sums.cost, self.total)),
        ]
    }

    fn amount(&self, amount: PicoUsd) -> String {
        if amount == PicoUsd::ZERO {
            return "0".to_owned();
        }
        let text = amount.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        format!(
            "{}.{fraction:0<digits$}",
            grouped(whole),
            digits = self.digits
        )
    }
}

/// A whole number with a comma before every three digits.
fn grouped(number: &str) -> String {
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
fn name(value: &str) -> String {
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
