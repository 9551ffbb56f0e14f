//! A reconciliation for people and for programs.

use std::io::{self, Write};

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::super::export::{JsonPeriod, cell, csv_line, exact};
use super::super::period;
use super::super::table::{Grid, Paint, amount, grouped, name};
use super::{Reconciliation, Side, Tolerance, Verdict};
use crate::types::PicoUsd;

/// The least digits after the point of an amount: cents.
const LEAST_DIGITS: usize = 2;

/// Writes what was read and how, every line that is not fine, and the sums.
pub(super) fn table(
    found: &Reconciliation,
    tolerance: Tolerance,
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let paint = Paint { colour };
    write_head(found, paint, out)?;
    let has_cost = found.invoice.has_cost;
    let sums = sums(found);
    let digits = found
        .lines
        .iter()
        .flat_map(|line| [line.ledger, line.invoice])
        .flatten()
        .flat_map(|side| [side.cost, side.estimated_cost])
        .map(digits_of)
        .max()
        .unwrap_or(0)
        .max(LEAST_DIGITS);
    let mut heading: Vec<String> = ["day", "model", "verdict"].map(str::to_owned).to_vec();
    if has_cost {
        heading.extend(["ledger USD", "invoice USD", "difference", "estimated"].map(str::to_owned));
    } else {
        let classes = ["input", "cached", "cache write", "output"];
        heading.extend(classes.map(|class| format!("{class} (ledger/invoice)")));
    }
    let cells = |day: &str, model: &str, word: &str, ours: Option<Side>, theirs: Option<Side>| {
        let mut cells = vec![day.to_owned(), name(model), word.to_owned()];
        if has_cost {
            cells.extend(cost_cells(ours, theirs, digits));
        } else {
            cells.extend(token_cells(ours, theirs));
        }
        cells
    };
    let lines: Vec<Vec<String>> = found
        .lines
        .iter()
        .filter(|line| !line.verdict.is_fine())
        .map(|line| {
            let (day, word) = (line.day.to_string(), line.verdict.as_str());
            cells(&day, &line.model, word, line.ledger, line.invoice)
        })
        .collect();
    let total = cells("total", "", "", Some(sums[0]), Some(sums[1]));
    let grid = Grid::of(lines.iter().chain([&heading, &total]), 3);
    let heading = grid.line(&heading);
    writeln!(out, "{}", paint.bold(heading.trim_end()))?;
    for line in &lines {
        writeln!(out, "{}", grid.line(line).trim_end())?;
    }
    writeln!(out, "{}", paint.dim(&"─".repeat(heading.chars().count())))?;
    writeln!(out, "{}", paint.bold(grid.line(&total).trim_end()))?;
    write_verdicts(found, tolerance, out)
}

fn write_head(found: &Reconciliation, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let invoice = &found.invoice;
    writeln!(out, "{}", paint.dim(&period::describe(found.range)))?;
    writeln!(
        out,
        "invoice: {}: {}",
        invoice.form,
        invoice.recognised.join(", ")
    )?;
    if !invoice.ignored.is_empty() {
        writeln!(out, "ignored: {}", invoice.ignored.join(", "))?;
    }
    let providers = if found.providers.is_empty() {
        "none has a model of the invoice in this period; name one with --provider".to_owned()
    } else {
        found.providers.join(", ")
    };
    writeln!(out, "ledger:  provider {providers}")?;
    if found.left_out > 0 {
        writeln!(out, "left out: {} items of other days", found.left_out)?;
    }
    writeln!(out)
}

fn write_verdicts(
    found: &Reconciliation,
    tolerance: Tolerance,
    out: &mut dyn Write,
) -> io::Result<()> {
    let count = |verdict| {
        let lines = found.lines.iter();
        lines.filter(|line| line.verdict == verdict).count()
    };
    let (equal, within) = (count(Verdict::Equal), count(Verdict::Within));
    let others = found.lines.len() - equal - within;
    let allowed = allowed(tolerance);
    writeln!(
        out,
        "\n{equal} equal, {within} within {allowed}, {others} not, of {} by day and model",
        found.lines.len()
    )
}

fn allowed(tolerance: Tolerance) -> String {
    let share = PicoUsd::from_pico(tolerance.share.saturating_mul(100));
    match (tolerance.usd, tolerance.share) {
        (usd, 0) => format!("{usd} USD"),
        (PicoUsd::ZERO, _) => format!("{share} %"),
        (usd, _) => format!("{usd} USD or {share} %"),
    }
}

/// The ledger's sum and the invoice's.
fn sums(found: &Reconciliation) -> [Side; 2] {
    let mut sums = [Side::default(); 2];
    for line in &found.lines {
        for (sum, side) in sums.iter_mut().zip([line.ledger, line.invoice]) {
            let side = side.unwrap_or_default();
            sum.cost += side.cost;
            sum.estimated_cost += side.estimated_cost;
            sum.requests += side.requests;
            sum.tokens.input += side.tokens.input;
            sum.tokens.cached_input += side.tokens.cached_input;
            sum.tokens.cache_write += side.tokens.cache_write;
            sum.tokens.output += side.tokens.output;
        }
    }
    sums
}

fn digits_of(amount: PicoUsd) -> usize {
    let text = amount.to_string();
    text.split_once('.').map_or(0, |(_, digits)| digits.len())
}

fn cost_cells(ours: Option<Side>, theirs: Option<Side>, digits: usize) -> [String; 4] {
    let shown =
        |side: Option<Side>| side.map_or_else(|| "-".to_owned(), |side| amount(side.cost, digits));
    let difference = ours.unwrap_or_default().cost - theirs.unwrap_or_default().cost;
    let sign = if difference.is_positive() { "+" } else { "" };
    let estimated = ours.unwrap_or_default().estimated_cost;
    [
        shown(ours),
        shown(theirs),
        format!("{sign}{}", amount(difference, digits)),
        if estimated == PicoUsd::ZERO {
            "-".to_owned()
        } else {
            amount(estimated, digits)
        },
    ]
}

fn token_cells(ours: Option<Side>, theirs: Option<Side>) -> [String; 4] {
    let (ours, theirs) = (
        ours.unwrap_or_default().tokens,
        theirs.unwrap_or_default().tokens,
    );
    let pair = |ours: u64, theirs: u64| {
        format!(
            "{} / {}",
            grouped(&ours.to_string()),
            grouped(&theirs.to_string())
        )
    };
    [
        pair(ours.input, theirs.input),
        pair(ours.cached_input, theirs.cached_input),
        pair(ours.cache_write, theirs.cache_write),
        pair(ours.output, theirs.output),
    ]
}

/// The columns of a side, in the order of [`figures`].
const FIGURES: [&str; 6] = [
    "cost_usd",
    "requests",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
];

fn figures(side: Side) -> [String; 6] {
    [
        side.cost.to_string(),
        side.requests.to_string(),
        side.tokens.input.to_string(),
        side.tokens.cached_input.to_string(),
        side.tokens.cache_write.to_string(),
        side.tokens.output.to_string(),
    ]
}

/// Every line, with empty cells for the side that lacks it.
pub(super) fn csv(found: &Reconciliation, out: &mut dyn Write) -> io::Result<()> {
    let mut heading: Vec<String> = ["day", "model", "verdict"].map(str::to_owned).to_vec();
    for side in ["ledger", "invoice"] {
        heading.extend(FIGURES.map(|figure| format!("{side}_{figure}")));
    }
    heading.extend(["ledger_estimated_cost_usd", "difference_usd"].map(str::to_owned));
    csv_line(&heading, out)?;
    for line in &found.lines {
        let mut cells = vec![
            line.day.to_string(),
            cell(&line.model),
            line.verdict.as_str().to_owned(),
        ];
        for side in [line.ledger, line.invoice] {
            cells.extend(side.map_or_else(|| [const { String::new() }; 6], figures));
        }
        let ours = line.ledger.unwrap_or_default();
        cells.push(ours.estimated_cost.to_string());
        cells.push((ours.cost - line.invoice.unwrap_or_default().cost).to_string());
        csv_line(&cells, out)?;
    }
    Ok(())
}

#[derive(serde::Serialize)]
struct JsonReconciliation<'a> {
    period: JsonPeriod,
    form: &'a str,
    recognised: &'a [String],
    ignored: &'a [String],
    providers: &'a [String],
    left_out: usize,
    lines: Vec<JsonLine<'a>>,
    total: JsonSides,
    agrees: bool,
}

#[derive(serde::Serialize)]
struct JsonLine<'a> {
    day: String,
    model: &'a str,
    verdict: &'a str,
    #[serde(flatten)]
    sides: JsonSides,
}

#[derive(serde::Serialize)]
struct JsonSides {
    ledger: Option<IndexMap<&'static str, Box<RawValue>>>,
    invoice: Option<IndexMap<&'static str, Box<RawValue>>>,
    difference_usd: Box<RawValue>,
}

impl JsonSides {
    fn of(ours: Option<Side>, theirs: Option<Side>) -> io::Result<Self> {
        let figures = |side: Side| -> serde_json::Result<IndexMap<_, _>> {
            let named = FIGURES.into_iter().zip(figures(side));
            named
                .map(|(name, figure)| Ok((name, exact(&figure)?)))
                .collect()
        };
        let difference = ours.unwrap_or_default().cost - theirs.unwrap_or_default().cost;
        Ok(Self {
            ledger: ours.map(figures).transpose()?,
            invoice: theirs.map(figures).transpose()?,
            difference_usd: exact(&difference.to_string())?,
        })
    }
}

/// Every line and the sums.
pub(super) fn json(found: &Reconciliation, out: &mut dyn Write) -> io::Result<()> {
    let lines = found.lines.iter().map(|line| {
        Ok(JsonLine {
            day: line.day.to_string(),
            model: &line.model,
            verdict: line.verdict.as_str(),
            sides: JsonSides::of(line.ledger, line.invoice)?,
        })
    });
    let [ours, theirs] = sums(found);
    let document = JsonReconciliation {
        period: JsonPeriod::of(found.range),
        form: found.invoice.form,
        recognised: &found.invoice.recognised,
        ignored: &found.invoice.ignored,
        providers: &found.providers,
        left_out: found.left_out,
        lines: lines.collect::<io::Result<_>>()?,
        total: JsonSides::of(Some(ours), Some(theirs))?,
        agrees: found.lines.iter().all(|line| line.verdict.is_fine()),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}
