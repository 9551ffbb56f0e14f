//! `tollgate report`: what was spent, by whom and on what, from the ledger. Reads only: it works
//! beside a running `serve` and after one was killed, and counts what is still in the journal.
//!
//! Rows sum to the total: a request counts once, in the row of the model that served it; an attempt
//! that failed costs in the row of its own model.

mod export;
mod focus;
mod insights;
mod period;
mod reconcile;
mod statement;
mod table;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use crate::config::snapshot::LedgerLocation;
use crate::config::{Severity, Snapshot, load_file, suggest};
use crate::stores::{
    Dimension, LedgerError, LedgerSource, ReportQuery, ReportReads, TimeRange, UnknownDimension,
};
use crate::types::{Currency, PostgresUrl};

use self::period::BadPeriod;
use self::statement::Statement;

/// Read when neither a configuration nor a ledger is named.
const DEFAULT_CONFIG: &str = "routes.yaml";
/// The shipped configuration's ledger, taken when there is no configuration.
const DEFAULT_LEDGER: &str = "tollgate.db";

/// Rows of a table unless told otherwise: more than anybody reads, and a million of them would take
/// longer to lay out than to add up.
const TABLE_ROWS: usize = 1_000;
/// Rows that the dashboard gets.
const DASHBOARD_ROWS: usize = 1_000;

/// The arguments of `tollgate report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration that names the ledger and the currency [default: routes.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The ledger's file, or `postgres://user:password@host/database`, instead of the configuration's
    #[arg(long, value_name = "PATH")]
    pub ledger: Option<PathBuf>,
    /// First day or instant, included: 2026-11-01 (UTC) or 2026-11-01T08:00:00+01:00 [default: the
    /// first of this month]
    #[arg(long, value_name = "D")]
    pub from: Option<String>,
    /// First day or instant that is no longer included [default: the first of next month]
    #[arg(long, value_name = "D")]
    pub to: Option<String>,
    /// A period by its name, UTC: today, yesterday, week, last-week, month, last-month, year,
    /// last-year, 2026, 2026-11, 2026-11-01
    #[arg(long, value_name = "PERIOD", conflicts_with_all = ["from", "to"])]
    pub period: Option<String>,
    /// What to group by, comma-separated: team, app, key, user, model, `response_model`, provider, task,
    /// level, endpoint, outcome, cache, reason, hour, day, month, tag:NAME; `total` for one line. Not
    /// for `focus`
    #[arg(long, value_name = "DIMENSIONS", default_value = "team,model")]
    pub by: String,
    /// How to write it; amounts are exact in every format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Only the dearest N rows, and the sum of the others in a line of its own [default: 1000 for a
    /// table, all for csv and json]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["insights", "reconcile"])]
    pub top: Option<u32>,
    /// Also show amounts in the currency that the configuration declares, at its dated rates
    #[arg(long, value_name = "CODE", num_args = 0..=1, default_missing_value = "")]
    pub currency: Option<String>,
    /// Do not compare with the period before
    #[arg(long)]
    pub no_compare: bool,
    /// Where money could be saved: the dearest patterns, repeats that a cache would have served, cells
    /// where a cheaper model scores the same
    #[arg(long, conflicts_with_all = ["by", "reconcile", "currency", "no_compare"])]
    pub insights: bool,
    /// Comparing with an invoice.
    #[command(flatten)]
    pub reconciliation: reconcile::ReconcileArgs,
}

impl Args {
    /// How many rows are shown one by one.
    fn at_most(&self) -> Option<usize> {
        let usual = (self.format == Format::Table).then_some(TABLE_ROWS);
        let asked = self
            .top
            .map(|top| usize::try_from(top).unwrap_or(usize::MAX));
        asked.or(usual)
    }

    /// The period, when one was asked for.
    fn asked_range(&self, now_ms: i64) -> Result<Option<TimeRange>, BadPeriod> {
        match (&self.period, &self.from, &self.to) {
            (Some(word), _, _) => period::named(word, now_ms).map(Some),
            (None, None, None) => Ok(None),
            (None, from, to) => period::range(from.as_deref(), to.as_deref(), now_ms).map(Some),
        }
    }
}

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One line for each row, without the total
    Csv,
    /// Rows and total
    Json,
    /// A CSV in the form of FinOps FOCUS 1.2: a line for each day, team, app, model and token class
    Focus,
}

/// Where the report is seen.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Now, milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Whether the output is a terminal that wants colour.
    pub colour: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A date or period makes no sense.
    #[error(transparent)]
    Period(#[from] BadPeriod),
    /// A word after `--by` is unknown.
    #[error("--by: {0}")]
    Dimension(String),
    /// The configuration does not lead to a ledger, or not to the currency.
    #[error("{0}")]
    Config(String),
    /// Money was spent before the first rate of the currency.
    #[error(
        "no rate for {code} before {first}, but money was spent from {from}; add a rate under \
         `currency.rates`, or begin later with --from {first}"
    )]
    NoRate {
        /// The currency.
        code: String,
        /// The day of the first rate.
        first: String,
        /// The period without a rate.
        from: String,
    },
    /// The invoice cannot be read, or some of it makes no sense.
    #[error("{0}")]
    Invoice(String),
    /// Arguments that do not go together.
    #[error("{0}")]
    Arguments(&'static str),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The output cannot be written.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

impl ReportError {
    /// 2 when what was asked for is wrong, 1 when the work failed.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Period(_)
            | Self::Dimension(_)
            | Self::Config(_)
            | Self::NoRate { .. }
            | Self::Invoice(_)
            | Self::Arguments(_)
            | Self::Ledger(
                LedgerError::Missing { .. }
                | LedgerError::NotALedger { .. }
                | LedgerError::Refused { .. },
            ) => 2,
            Self::Ledger(_) | Self::Output(_) => 1,
        }
    }
}

/// Writes the report; false when a reconciliation found differences.
///
/// # Errors
/// When the arguments are wrong, or the ledger cannot be read.
pub fn run(args: &Args, view: View, out: &mut dyn Write) -> Result<bool, ReportError> {
    let asked = args.asked_range(view.now_ms)?;
    let by = dimensions(&args.by)?;
    if args.format == Format::Focus && args.currency.is_some() {
        return Err(ReportError::Arguments(
            "--currency: the FOCUS export is in USD, in which providers bill",
        ));
    }
    let sources = Sources::find(args, view.now_ms)?;
    let ledger = sources.ledger.open()?;
    if args.reconciliation.reconcile.is_some() {
        return reconcile::run(args, view, &*ledger, out);
    }
    let range = match asked {
        Some(range) => range,
        None => period::range(None, None, view.now_ms)?,
    };
    if args.insights {
        insights::write(args.format, view, &*ledger, range, out)?;
    } else if args.format == Format::Focus {
        focus::write(&ledger.focus(range)?, out)?;
    } else {
        let at_most = args.at_most();
        let query = ReportQuery { range, by, at_most };
        let compare_at_ms = (!args.no_compare).then_some(view.now_ms);
        let currency = sources.currency.as_ref();
        let statement = Statement::draw(&*ledger, query, compare_at_ms, currency)?;
        match args.format {
            Format::Csv => export::csv(&statement, out)?,
            Format::Json => export::json(&statement, out)?,
            _ if statement.report.rows.is_empty() => nothing(&sources, &*ledger, range, out)?,
            _ => table::write(&statement, view.colour, out)?,
        }
    }
    Ok(true)
}

/// The present month as JSON, for the dashboard. A currency that has no rate for all of it is left
/// out.
pub(crate) fn month_as_json(
    ledger: &dyn ReportReads,
    by: &str,
    now_ms: i64,
    currency: Option<&Currency>,
) -> Result<Box<RawValue>, ReportError> {
    let query = ReportQuery {
        range: period::named("month", now_ms)?,
        by: dimensions(by)?,
        at_most: Some(DASHBOARD_ROWS),
    };
    let statement = match Statement::draw(ledger, query.clone(), Some(now_ms), currency) {
        Err(ReportError::NoRate { .. }) => Statement::draw(ledger, query, Some(now_ms), None)?,
        drawn => drawn?,
    };
    let mut out = Vec::new();
    export::json(&statement, &mut out)?;
    let text = String::from_utf8_lossy(&out).into_owned();
    Ok(RawValue::from_string(text).map_err(io::Error::from)?)
}

/// The present month's insights as JSON, for the dashboard.
pub(crate) fn insights_as_json(
    ledger: &dyn ReportReads,
    now_ms: i64,
) -> Result<Box<RawValue>, ReportError> {
    let found = insights::Insights::draw(ledger, period::named("month", now_ms)?)?;
    Ok(found.to_json().map_err(io::Error::from)?)
}

/// Says that the period is empty, and which would not be.
fn nothing(
    sources: &Sources,
    ledger: &dyn ReportReads,
    range: TimeRange,
    out: &mut dyn Write,
) -> Result<(), ReportError> {
    let (source, asked) = (&sources.ledger, period::describe(range));
    write!(out, "{source} has nothing from {asked}. ")?;
    match ledger.span()? {
        Some((first, last)) => {
            let (first, last) = (period::day(first), period::day(last));
            writeln!(
                out,
                "Its records are from {first} to {last}: try --from {first}"
            )?;
        }
        None => writeln!(
            out,
            "It has no records yet: send a request through `tollgate serve`"
        )?,
    }
    Ok(())
}

fn dimensions(words: &str) -> Result<Vec<Dimension>, ReportError> {
    let mut by = Vec::new();
    let words = words.split(',').map(str::trim);
    for word in words.filter(|word| !word.is_empty() && *word != "total") {
        let dimension = word
            .parse()
            .map_err(|unknown| unknown_dimension(&unknown))?;
        if !by.contains(&dimension) {
            by.push(dimension);
        }
    }
    Ok(by)
}

/// Says which dimension was probably meant, and all that there are.
fn unknown_dimension(unknown: &UnknownDimension) -> ReportError {
    let names = Dimension::NAMED.map(|dimension| dimension.name());
    let meant = suggest::only(&unknown.0, names.iter().map(AsRef::as_ref));
    let hint = meant.map_or_else(String::new, |name| format!("did you mean `{name}`? "));
    let allowed = names.join(", ");
    ReportError::Dimension(format!(
        "{unknown}; {hint}allowed are {allowed} and tag:NAME"
    ))
}

/// Where the report's figures come from.
struct Sources {
    /// The ledger.
    ledger: LedgerSource,
    /// The currency that was asked for.
    currency: Option<Currency>,
}

impl Sources {
    /// The ledger as given, else as the configuration says; the currency from the configuration.
    fn find(args: &Args, now_ms: i64) -> Result<Self, ReportError> {
        let config = match &args.config {
            Some(config) => Some(config.as_path()),
            None => Some(Path::new(DEFAULT_CONFIG)).filter(|config| config.exists()),
        };
        let is_needed = args.ledger.is_none() || args.currency.is_some();
        let snapshot = match config.filter(|_| is_needed) {
            Some(config) => Some((config, load(config, now_ms)?)),
            None => None,
        };
        let currency = match &args.currency {
            Some(code) => Some(currency(
                code,
                snapshot.as_ref().map(|(_, snapshot)| snapshot),
            )?),
            None => None,
        };
        let ledger = match (&args.ledger, &snapshot) {
            (Some(ledger), _) => named_source(ledger)?,
            (None, Some((config, snapshot))) => configured_source(config, snapshot)?,
            (None, None) => LedgerSource::Sqlite(DEFAULT_LEDGER.into()),
        };
        Ok(Self { ledger, currency })
    }
}

fn load(config: &Path, now_ms: i64) -> Result<Snapshot, ReportError> {
    load_file(config, &|name| std::env::var(name).ok(), now_ms).map_err(|found| {
        let problems = found
            .iter()
            .filter(|problem| problem.severity == Severity::Error);
        let mut lines: Vec<_> = problems.map(ToString::to_string).collect();
        lines.push("a report needs only the ledger; name it with --ledger PATH".to_owned());
        ReportError::Config(lines.join("\n"))
    })
}

fn configured_source(config: &Path, snapshot: &Snapshot) -> Result<LedgerSource, ReportError> {
    match &snapshot.state.ledger {
        LedgerLocation::Sqlite(path) => Ok(LedgerSource::Sqlite(path.clone())),
        LedgerLocation::Postgres { url, journal } => Ok(LedgerSource::Postgres {
            url: url.clone(),
            journal: journal.clone(),
        }),
        LedgerLocation::Memory => Err(ReportError::Config(format!(
            "{}: state.store is `memory`, which ends with the process; a report needs `sqlite:PATH`",
            config.display()
        ))),
    }
}

/// A ledger that was named on the command line. Of a database only what it has itself: whose
/// journal might lie here, only a configuration says.
fn named_source(ledger: &Path) -> Result<LedgerSource, ReportError> {
    let text = ledger.to_string_lossy();
    if !PostgresUrl::is_meant_by(&text) {
        return Ok(LedgerSource::Sqlite(ledger.to_owned()));
    }
    let url = PostgresUrl::parse(&text)
        .map_err(|error| ReportError::Config(format!("--ledger: {error}")))?;
    Ok(LedgerSource::Postgres {
        url: Box::new(url),
        journal: PathBuf::new(),
    })
}

/// The declared currency, when it is the one that was asked for; an empty code asks for any.
fn currency(code: &str, snapshot: Option<&Snapshot>) -> Result<Currency, ReportError> {
    let declared = snapshot.and_then(|snapshot| snapshot.currency.clone());
    match declared {
        Some(currency) if code.is_empty() || code.eq_ignore_ascii_case(&currency.code) => {
            Ok(currency)
        }
        Some(currency) => Err(ReportError::Config(format!(
            "--currency: `{code}` is not declared; the configuration declares `{}`",
            currency.code
        ))),
        None => Err(ReportError::Config(
            "--currency: the configuration declares none; add `currency: { code: EUR, rates: [{ \
             from: 2026-01-01, per_usd: 0.92 }] }`"
                .to_owned(),
        )),
    }
}
