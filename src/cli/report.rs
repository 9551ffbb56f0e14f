//! `tollgate report`: what was spent, by whom and on what, from the ledger. Reads only: it works
//! beside a running `serve` and after one was killed, and counts what is still in the journal.
//!
//! Rows sum to the total: a request counts once, in the row of the model that served it; an attempt
//! that failed costs in the row of its own model.

mod export;
mod focus;
mod period;
mod table;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::snapshot::LedgerLocation;
use crate::config::suggest;
use crate::config::{Severity, load_file};
use crate::stores::{
    Dimension, LedgerError, LedgerSource, ReportQuery, ReportReads, UnknownDimension,
};

use crate::types::PostgresUrl;

use self::period::BadPeriod;

/// Read when neither a configuration nor a ledger is named.
const DEFAULT_CONFIG: &str = "routes.yaml";
/// The shipped configuration's ledger, taken when there is no configuration.
const DEFAULT_LEDGER: &str = "tollgate.db";

/// The arguments of `tollgate report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration that names the ledger [default: routes.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The ledger's file, or `postgres://user:password@host/database`; no configuration is read
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub ledger: Option<PathBuf>,
    /// First day or instant, included: 2026-11-01 (UTC) or 2026-11-01T08:00:00+01:00 [default: the
    /// first of this month]
    #[arg(long, value_name = "D")]
    pub from: Option<String>,
    /// First day or instant that is no longer included [default: the first of next month]
    #[arg(long, value_name = "D")]
    pub to: Option<String>,
    /// What to group by, comma-separated: team, app, model, task, level, provider, key, user, day,
    /// month, outcome, cache, endpoint, reason; `total` for one line. Not for `focus`
    #[arg(long, value_name = "DIMENSIONS", default_value = "team,model")]
    pub by: String,
    /// How to write it; amounts are exact in every format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
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
    /// The configuration does not lead to a ledger.
    #[error("{0}")]
    Config(String),
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
            | Self::Ledger(
                LedgerError::Missing { .. }
                | LedgerError::NotALedger { .. }
                | LedgerError::Refused { .. },
            ) => 2,
            Self::Ledger(_) | Self::Output(_) => 1,
        }
    }
}

/// Writes the report.
///
/// # Errors
/// When the arguments are wrong, or the ledger cannot be read.
pub fn run(args: &Args, view: View, out: &mut dyn Write) -> Result<(), ReportError> {
    let range = period::range(args.from.as_deref(), args.to.as_deref(), view.now_ms)?;
    let by = dimensions(&args.by)?;
    let source = ledger_source(args, view.now_ms)?;
    let ledger = source.open()?;
    if args.format == Format::Focus {
        focus::write(&ledger.focus(range)?, out)?;
        return Ok(());
    }
    let query = ReportQuery { range, by };
    let report = ledger.report(&query)?;
    match args.format {
        Format::Csv => export::csv(&query.by, &report, out)?,
        Format::Json => export::json(&query.by, &report, out)?,
        _ if report.rows.is_empty() => nothing(&source, &*ledger, &query, out)?,
        _ => table::write(&query, &report, view.colour, out)?,
    }
    Ok(())
}

/// Says that the period is empty, and which would not be.
fn nothing(
    source: &LedgerSource,
    ledger: &dyn ReportReads,
    query: &ReportQuery,
    out: &mut dyn Write,
) -> Result<(), ReportError> {
    let asked = period::describe(query.range);
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
        let dimension = word.parse().map_err(unknown_dimension)?;
        if !by.contains(&dimension) {
            by.push(dimension);
        }
    }
    Ok(by)
}

/// Says which dimension was probably meant, and all that there are.
fn unknown_dimension(unknown: UnknownDimension) -> ReportError {
    let names = Dimension::NAMED.map(|dimension| dimension.name());
    let meant = suggest::only(&unknown.0, names.iter().map(AsRef::as_ref));
    let hint = meant.map_or_else(String::new, |name| format!("did you mean `{name}`? "));
    let allowed = names.join(", ");
    ReportError::Dimension(format!(
        "{unknown}; {hint}allowed are {allowed} and tag:NAME"
    ))
}

/// Where the ledger is: as given, else as the configuration says.
fn ledger_source(args: &Args, now_ms: i64) -> Result<LedgerSource, ReportError> {
    if let Some(ledger) = &args.ledger {
        return named_source(ledger);
    }
    let config = match &args.config {
        Some(config) => config,
        None if Path::new(DEFAULT_CONFIG).exists() => Path::new(DEFAULT_CONFIG),
        None => return Ok(LedgerSource::Sqlite(DEFAULT_LEDGER.into())),
    };
    let snapshot =
        load_file(config, &|name| std::env::var(name).ok(), now_ms).map_err(|found| {
            let problems = found
                .iter()
                .filter(|problem| problem.severity == Severity::Error);
            let mut lines: Vec<_> = problems.map(ToString::to_string).collect();
            lines.push("a report needs only the ledger; name it with --ledger PATH".to_owned());
            ReportError::Config(lines.join("\n"))
        })?;
    match snapshot.state.ledger {
        LedgerLocation::Sqlite(path) => Ok(LedgerSource::Sqlite(path)),
        LedgerLocation::Postgres { url, journal } => Ok(LedgerSource::Postgres { url, journal }),
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
