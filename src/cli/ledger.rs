//! `tollgate ledger …`: back the ledger up, bring a backup back, check it. All of them work without
//! the proxy; `backup` and `check` also beside a running one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::load_file;
use crate::config::snapshot::LedgerLocation;
use crate::stores::{LedgerContents, LedgerError, LedgerFile};

use super::{DEFAULT_CONFIG, EXIT_BAD_INPUT, EXIT_FAILED, EXIT_OK};

/// The shipped configuration's ledger, taken when there is no configuration.
const DEFAULT_LEDGER: &str = "tollgate.db";

/// `ledger …`
#[derive(Debug, clap::Subcommand)]
pub enum LedgerCommand {
    /// Copy the ledger into one file, also while `serve` runs
    #[command(after_help = "Example:
  tollgate ledger backup --to /backups/tollgate-$(date +%F).db

The copy holds every request that was over when the command began, journal included, and is a ledger
of its own: `tollgate report --ledger COPY` reads it. An existing file is never overwritten.")]
    Backup(BackupArgs),
    /// Bring a backup back as the ledger; `serve` must not be running
    #[command(after_help = "Examples:
  tollgate ledger restore --from /backups/tollgate-2026-11-01.db
  tollgate ledger restore --from /backups/tollgate-2026-11-01.db --replace

The backup is checked first. With --replace the present ledger is put aside as FILE.replaced-N. What waits
in the journal stays there: the next `serve` adds what the backup lacks of it.")]
    Restore(RestoreArgs),
    /// Read the whole ledger and hold its sums against each other
    #[command(
        after_help = "Exit code: 0 when it is sound, 1 when it is not, 2 when there is none."
    )]
    Check(Which),
}

/// Which ledger.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// The configuration that names the ledger [default: routes.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The ledger's file; no configuration is read
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub ledger: Option<PathBuf>,
}

/// `ledger backup`
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// Which ledger
    #[command(flatten)]
    pub which: Which,
    /// Where the copy goes; there must be nothing yet
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

/// `ledger restore`
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// Which ledger
    #[command(flatten)]
    pub which: Which,
    /// The backup
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Put a ledger that is there aside
    #[arg(long)]
    pub replace: bool,
}

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// The configuration does not lead to a ledger in a file.
    #[error("{0}")]
    Config(String),
    /// The ledger or the backup is not as it should be.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl CareError {
    /// 2 when what was asked for is wrong, 1 when the work failed.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Ledger(
                LedgerError::Missing { .. }
                | LedgerError::Exists { .. }
                | LedgerError::NotALedger { .. }
                | LedgerError::Newer { .. },
            ) => EXIT_BAD_INPUT,
            Self::Ledger(_) | Self::Output(_) => EXIT_FAILED,
        }
    }
}

/// Runs one of the commands. `now_ms` is for the configuration's prices.
///
/// # Errors
/// When it came to nothing.
pub fn run(command: &LedgerCommand, now_ms: i64, out: &mut dyn Write) -> Result<u8, CareError> {
    match command {
        LedgerCommand::Backup(args) => {
            let contents = LedgerFile::backup(&args.which.path(now_ms)?, &args.to)?;
            writeln!(out, "{}: {}", args.to.display(), Summary(&contents))?;
        }
        LedgerCommand::Restore(args) => {
            let path = args.which.path(now_ms)?;
            let aside = LedgerFile::restore(&args.from, &path, args.replace)?;
            writeln!(
                out,
                "{} is back from {}",
                path.display(),
                args.from.display()
            )?;
            if let Some(aside) = aside {
                writeln!(out, "what was there is now {}", aside.display())?;
            }
        }
        LedgerCommand::Check(which) => return check(&which.path(now_ms)?, out),
    }
    Ok(EXIT_OK)
}

fn check(path: &Path, out: &mut dyn Write) -> Result<u8, CareError> {
    let contents = LedgerFile::check(path)?;
    for problem in &contents.problems {
        writeln!(out, "{}: {problem}", path.display())?;
    }
    if contents.problems.is_empty() {
        writeln!(out, "{} is sound: {}", path.display(), Summary(&contents))?;
        return Ok(EXIT_OK);
    }
    writeln!(
        out,
        "bring a backup back with `tollgate ledger restore --from FILE --replace`"
    )?;
    Ok(EXIT_FAILED)
}

/// What a ledger holds, in one line.
struct Summary<'a>(&'a LedgerContents);

impl std::fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LedgerContents {
            requests,
            attempts,
            archived_requests,
            cost,
            journalled,
            ..
        } = self.0;
        write!(f, "{requests} requests, {attempts} attempts, {cost} USD")?;
        if *archived_requests > 0 {
            write!(f, "; the sums of {archived_requests} older requests")?;
        }
        if *journalled > 0 {
            write!(f, "; {journalled} records came from the journal")?;
        }
        Ok(())
    }
}

impl Which {
    /// The ledger's file: as given, else as the configuration says.
    fn path(&self, now_ms: i64) -> Result<PathBuf, CareError> {
        if let Some(path) = &self.ledger {
            return Ok(path.clone());
        }
        let config = match &self.config {
            Some(config) => config,
            None if Path::new(DEFAULT_CONFIG).exists() => Path::new(DEFAULT_CONFIG),
            None => return Ok(DEFAULT_LEDGER.into()),
        };
        let snapshot =
            load_file(config, &|name| std::env::var(name).ok(), now_ms).map_err(|found| {
                let mut lines: Vec<_> = found.iter().map(ToString::to_string).collect();
                lines.push("the ledger alone is needed: name it with --ledger PATH".to_owned());
                CareError::Config(lines.join("\n"))
            })?;
        if let LedgerLocation::Sqlite(path) = snapshot.state.ledger {
            return Ok(path);
        }
        Err(CareError::Config(format!(
            "{}: the ledger is not a file; for Postgres use `pg_dump` and `pg_restore`",
            config.display()
        )))
    }
}
