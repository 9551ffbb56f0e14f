//! `tollgate report --reconcile`: the ledger against a provider's own export, by UTC day and model.

mod amount;
pub(super) mod csv;
mod invoice;
mod names;
mod show;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use jiff::ToSpan;
use jiff::civil::Date;

use self::invoice::{Classes, Invoice};
use self::names::Names;
use super::{Format, ReportError, View, period};
use crate::stores::{Dimension, ReportQuery, ReportReads, ReportRow, TimeRange};
use crate::types::PicoUsd;

/// The arguments of a reconciliation.
#[derive(Debug, clap::Args)]
pub struct ReconcileArgs {
    /// Compare with a provider's export (CSV): OpenAI's costs or usage, Anthropic's costs or usage, or
    /// any with a date, a model, and costs or tokens. Exit code 1 when a line differs
    #[arg(long, value_name = "INVOICE", conflicts_with_all = ["by", "currency", "no_compare"])]
    pub reconcile: Option<PathBuf>,
    /// The provider whose invoice it is [default: those whose models it names]
    #[arg(long, requires = "reconcile")]
    pub provider: Option<String>,
    /// Differences up to this are none, for each model and day: USD, a share, or both (either will do):
    /// 0.01, 0.5%, 0.01,0.5%
    #[arg(long, value_name = "T", default_value = "0.01", requires = "reconcile")]
    pub tolerance: Tolerance,
    /// What the invoice's columns mean: date=Day,model=Name,cost=Total; also currency, requests, input,
    /// `all_input` (cached input included), `cached_input`, `cache_write`, output
    #[arg(long, value_name = "MEANING=COLUMN,…", requires = "reconcile")]
    pub columns: Option<String>,
    /// Another name for a model of the invoice, as the ledger has it; may be given several times
    #[arg(long = "map", value_name = "NAME=MODEL", requires = "reconcile", value_parser = pair)]
    pub maps: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    pair.map(|(name, model)| (name.trim().to_owned(), model.trim().to_owned()))
        .filter(|(name, model)| !name.is_empty() && !model.is_empty())
        .ok_or_else(|| "write it as INVOICE-NAME=MODEL".to_owned())
}

/// A whole, in the unit of [`Tolerance::share`].
const SHARE_UNIT: u128 = 1_000_000_000_000;

/// What counts as no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance {
    usd: PicoUsd,
    /// In 10⁻¹² of the invoice's figure.
    share: i128,
}

impl std::str::FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("`{text}` is no tolerance; it is 0.01 (USD), 0.5% or 0.01,0.5%");
        let read = |text: &str| {
            let amount = PicoUsd::parse_usd(text.trim()).map_err(|_| bad())?;
            (amount >= PicoUsd::ZERO).then_some(amount).ok_or_else(bad)
        };
        let mut tolerance = Self {
            usd: PicoUsd::ZERO,
            share: 0,
        };
        for part in text.split(',') {
            match part.trim().strip_suffix('%') {
                Some(percent) => tolerance.share = read(percent)?.pico() / 100,
                None => tolerance.usd = read(part)?,
            }
        }
        Ok(tolerance)
    }
}

impl Tolerance {
    fn covers_cost(self, ledger: PicoUsd, invoice: PicoUsd) -> bool {
        let difference = (ledger - invoice).pico().unsigned_abs();
        difference <= self.usd.pico().unsigned_abs() || self.covers(difference, invoice.pico())
    }

    fn covers_count(self, ledger: u64, invoice: u64) -> bool {
        self.covers(ledger.abs_diff(invoice).into(), invoice.into())
    }

    fn covers(self, difference: u128, of: i128) -> bool {
        let scaled = of.unsigned_abs().saturating_mul(self.share.unsigned_abs());
        difference <= scaled / SHARE_UNIT
    }
}

/// What one side says of one model on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Side {
    cost: PicoUsd,
    /// The part of it that rests on our estimate; never of an invoice.
    estimated_cost: PicoUsd,
    requests: u64,
    tokens: Classes,
}

impl Side {
    fn add_row(&mut self, row: &ReportRow) {
        let sums = &row.sums;
        self.cost += sums.cost;
        self.estimated_cost += sums.estimated_cost;
        self.requests = self.requests.saturating_add(sums.attempts);
        let (sum, more) = (&mut self.tokens, &sums.tokens);
        sum.input = sum.input.saturating_add(more.input);
        sum.cached_input = sum.cached_input.saturating_add(more.cached_input);
        sum.cache_write = sum.cache_write.saturating_add(more.all_cache_write());
        sum.output = sum.output.saturating_add(more.all_output());
    }
}

/// How a line came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Equal,
    Within,
    Differs,
    NotInLedger,
    NotInInvoice,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Within => "within tolerance",
            Self::Differs => "differs",
            Self::NotInLedger => "not in the ledger",
            Self::NotInInvoice => "not in the invoice",
        }
    }

    const fn is_fine(self) -> bool {
        matches!(self, Self::Equal | Self::Within)
    }
}

/// One model on one day.
#[derive(Debug)]
struct Line {
    day: Date,
    model: String,
    ledger: Option<Side>,
    invoice: Option<Side>,
    verdict: Verdict,
}

/// The whole comparison.
#[derive(Debug)]
struct Reconciliation {
    invoice: Invoice,
    range: TimeRange,
    /// The providers of the ledger that were compared.
    providers: Vec<String>,
    /// Items of the invoice outside of the period.
    left_out: usize,
    lines: Vec<Line>,
}

/// Shown for what has no model.
const NO_MODEL: &str = "(all models)";

/// Compares and writes; true when no line differs.
pub(super) fn run(
    args: &super::Args,
    view: View,
    ledger: &dyn ReportReads,
    out: &mut dyn Write,
) -> Result<bool, ReportError> {
    let own = &args.reconciliation;
    let path = own
        .reconcile
        .as_deref()
        .unwrap_or(std::path::Path::new("-"));
    let file = path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|error| ReportError::Invoice(format!("{file}: cannot be read: {error}")))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut invoice = invoice::read(&file, &text, own.columns.as_deref())
        .map_err(|problems| ReportError::Invoice(problems.0.join("\n")))?;
    rename(&mut invoice, &own.maps);
    let range = match args.asked_range(view.now_ms)? {
        Some(range) => range,
        None => whole(&invoice).ok_or_else(|| {
            ReportError::Invoice(format!("{file}: it has a heading and no charges"))
        })?,
    };
    let reconciliation = compare(invoice, ledger, own, range)?;
    match args.format {
        Format::Table => show::table(&reconciliation, own.tolerance, view.colour, out)?,
        Format::Csv => show::csv(&reconciliation, out)?,
        Format::Json => show::json(&reconciliation, out)?,
        Format::Focus => {
            return Err(ReportError::Arguments(
                "--reconcile has no FOCUS form; take table, csv or json",
            ));
        }
    }
    let mut lines = reconciliation.lines.iter();
    Ok(lines.all(|line| line.verdict.is_fine()))
}

fn rename(invoice: &mut Invoice, maps: &[(String, String)]) {
    for (name, model) in maps {
        let items = std::mem::take(&mut invoice.items);
        for ((day, found), item) in items {
            let found = if found == *name { model.clone() } else { found };
            let entry = invoice.items.entry((day, found)).or_default();
            entry.add(&item);
        }
    }
}

/// From the invoice's first day to the end of its last.
fn whole(invoice: &Invoice) -> Option<TimeRange> {
    let days = || invoice.items.keys().map(|(day, _)| *day);
    Some(TimeRange {
        from_ms: period::midnight_ms(days().min()?),
        to_ms: period::midnight_ms(days().max()?.saturating_add(1.day())),
    })
}

fn compare(
    invoice: Invoice,
    ledger: &dyn ReportReads,
    args: &ReconcileArgs,
    range: TimeRange,
) -> Result<Reconciliation, ReportError> {
    let query = ReportQuery {
        range,
        by: vec![
            Dimension::Day,
            Dimension::Provider,
            Dimension::ResponseModel,
            Dimension::Model,
        ],
        at_most: None,
    };
    // An attempt that was not billed is on no invoice.
    let rows = ledger.report(&query)?.rows.into_iter();
    let rows: Vec<_> = rows
        .filter(|row| row.sums.tokens.total() > 0 || row.sums.cost != PicoUsd::ZERO)
        .filter_map(LedgerRow::of)
        .collect();
    let inside = |day: Date| range.contains(period::midnight_ms(day));
    let is_anonymous = invoice.items.keys().all(|(_, model)| model.is_empty());
    let names = Names::new(
        invoice.items.keys().map(|(_, model)| model.as_str()),
        rows.iter()
            .flat_map(|row| [row.response_model(), row.model()]),
    );
    let providers = providers(args, &rows, &names, is_anonymous);
    let mut lines: BTreeMap<(Date, String), [Option<Side>; 2]> = BTreeMap::new();
    for row in rows
        .iter()
        .filter(|row| providers.contains(&row.provider().to_owned()))
    {
        let label = if is_anonymous {
            NO_MODEL.to_owned()
        } else {
            let label = names.of_ledger(row.response_model(), row.model());
            label.unwrap_or_else(|| row.response_model().to_owned())
        };
        let [side, _] = lines.entry((row.day, label)).or_default();
        side.get_or_insert_default().add_row(&row.row);
    }
    let mut left_out = 0;
    for ((day, model), item) in &invoice.items {
        if !inside(*day) {
            left_out += 1;
            continue;
        }
        let label = if model.is_empty() {
            NO_MODEL.to_owned()
        } else {
            names.of_invoice(model)
        };
        let [_, side] = lines.entry((*day, label)).or_default();
        let side = side.get_or_insert_default();
        let mut sum = invoice::Item {
            cost: side.cost,
            requests: side.requests,
            tokens: side.tokens,
        };
        sum.add(item);
        *side = Side {
            cost: sum.cost,
            estimated_cost: PicoUsd::ZERO,
            requests: sum.requests,
            tokens: sum.tokens,
        };
    }
    let lines = lines.into_iter().map(|((day, model), [ledger, invoiced])| {
        let verdict = verdict(&invoice, args.tolerance, ledger, invoiced);
        Line {
            day,
            model,
            ledger,
            invoice: invoiced,
            verdict,
        }
    });
    Ok(Reconciliation {
        lines: lines.collect(),
        invoice,
        range,
        providers,
        left_out,
    })
}

/// A row of the ledger with its day read.
struct LedgerRow {
    day: Date,
    row: ReportRow,
}

impl LedgerRow {
    fn of(row: ReportRow) -> Option<Self> {
        let day = row.values.first()?.parse().ok()?;
        Some(Self { day, row })
    }

    fn value(&self, at: usize) -> &str {
        self.row.values.get(at).map_or("", String::as_str)
    }

    fn provider(&self) -> &str {
        self.value(1)
    }

    fn response_model(&self) -> &str {
        self.value(2)
    }

    fn model(&self) -> &str {
        self.value(3)
    }
}

/// The provider that was named, else those that have a model of the invoice, else all.
fn providers(
    args: &ReconcileArgs,
    rows: &[LedgerRow],
    names: &Names,
    is_anonymous: bool,
) -> Vec<String> {
    if let Some(provider) = &args.provider {
        return vec![provider.clone()];
    }
    let named = |row: &&LedgerRow| {
        is_anonymous || names.of_ledger(row.response_model(), row.model()).is_some()
    };
    let found = rows
        .iter()
        .filter(named)
        .map(|row| row.provider().to_owned());
    let mut found: Vec<String> = found.collect();
    found.sort();
    found.dedup();
    found
}

/// Costs decide where the invoice has them, tokens otherwise.
fn verdict(
    invoice: &Invoice,
    tolerance: Tolerance,
    ledger: Option<Side>,
    invoiced: Option<Side>,
) -> Verdict {
    let (ours, theirs) = (ledger.unwrap_or_default(), invoiced.unwrap_or_default());
    let pairs = [
        (ours.tokens.input, theirs.tokens.input),
        (ours.tokens.cached_input, theirs.tokens.cached_input),
        (ours.tokens.cache_write, theirs.tokens.cache_write),
        (ours.tokens.output, theirs.tokens.output),
    ];
    let (is_equal, is_within) = if invoice.has_cost {
        (
            ours.cost == theirs.cost,
            tolerance.covers_cost(ours.cost, theirs.cost),
        )
    } else {
        let covered = |(ours, theirs): &(u64, u64)| tolerance.covers_count(*ours, *theirs);
        (
            pairs.iter().all(|(ours, theirs)| ours == theirs),
            pairs.iter().all(covered),
        )
    };
    match (ledger, invoiced) {
        _ if is_equal => Verdict::Equal,
        _ if is_within => Verdict::Within,
        (None, _) => Verdict::NotInLedger,
        (_, None) => Verdict::NotInInvoice,
        _ => Verdict::Differs,
    }
}

#[cfg(test)]
mod tests;
