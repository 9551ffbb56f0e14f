//! Where a ledger is, for whoever only reads it.

use std::fmt;
use std::path::PathBuf;

use super::postgres::PostgresReader;
use super::report::ReportReads;
use super::sqlite::LedgerFile;
use super::usage::LedgerError;
use crate::types::PostgresUrl;

/// A ledger that reports can be asked of, beside a running `serve` or after it was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerSource {
    /// A SQLite file with its journal beside it.
    Sqlite(PathBuf),
    /// A Postgres database, with the journal of the replica on this machine, if there is one.
    Postgres {
        /// Where the database is.
        url: Box<PostgresUrl>,
        /// The journal's directory; need not exist.
        journal: PathBuf,
    },
}

impl LedgerSource {
    /// A view of this moment. Blocks, and so does what is asked of it.
    ///
    /// # Errors
    /// When there is no ledger, or it cannot be read, or it is from another version.
    pub fn open(&self) -> Result<Box<dyn ReportReads>, LedgerError> {
        Ok(match self {
            Self::Sqlite(path) => Box::new(LedgerFile::open(path)?),
            Self::Postgres { url, journal } => Box::new(PostgresReader::open(url, journal)?),
        })
    }
}

impl fmt::Display for LedgerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres { url, .. } => url.fmt(f),
        }
    }
}
