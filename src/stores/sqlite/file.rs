//! A ledger as a report reads it: beside a running `serve` or after it was killed, without writing
//! to it and without its lock.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::write::{Inserts, has_request};
use super::{connect, insight, journal_directory, query, refusal, schema};
use crate::stores::journal;
use crate::stores::report::{CellScore, FocusGroup, Repeats, Report, ReportQuery, ReportReads};
use crate::stores::usage::{LedgerError, TimeRange};
use crate::types::RequestRecord;

/// A read-only view of a ledger's file and its journal, of the moment at which it was opened.
///
/// Each record counts once, wherever it is. The journal is read before the file: what leaves the
/// journal in between is in the file, and what is in both is recognised by its id.
#[derive(Debug)]
pub struct LedgerFile {
    connection: Connection,
    schemas: &'static [&'static str],
    path: Box<Path>,
}

impl LedgerFile {
    /// Opens the ledger at `path`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read, or it is from a newer version.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let leftovers = journal::read(&journal_directory(path))?;
        let records: Vec<_> = leftovers
            .into_iter()
            .flat_map(|left| left.records)
            .collect();
        if !path.exists() {
            return Err(LedgerError::Missing {
                path: path.to_owned(),
            });
        }
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let found = schema::check(&connection, path)?;
        let failed = |error| refusal(path, "read the ledger", error);
        // A file that is older than our schema (or that `serve` is just creating) has nothing that
        // we could ask in our words.
        let is_current = found == schema::VERSION;
        if !is_current && found > 0 {
            return Err(LedgerError::NotALedger {
                path: path.to_owned(),
                why: format!(
                    "its schema is {found}; start `tollgate serve` once to bring it to {}",
                    schema::VERSION
                ),
            });
        }
        connection
            .execute_batch("PRAGMA temp_store = MEMORY; BEGIN")
            .map_err(failed)?;
        let has_late = overlay(&connection, &records, is_current).map_err(failed)?;
        Ok(Self {
            connection,
            schemas: match (is_current, has_late) {
                (true, false) => &["main"],
                (true, true) => &["main", "temp"],
                (false, _) => &["temp"],
            },
            path: path.into(),
        })
    }
}

impl ReportReads for LedgerFile {
    fn report(&self, query: &ReportQuery) -> Result<Report, LedgerError> {
        query::report(&self.connection, self.schemas, query)
            .map_err(|error| refusal(&self.path, "sum the ledger up", error))
    }

    fn span(&self) -> Result<Option<(i64, i64)>, LedgerError> {
        query::span(&self.connection, self.schemas)
            .map_err(|error| refusal(&self.path, "read the ledger", error))
    }

    fn focus(&self, range: TimeRange) -> Result<Vec<FocusGroup>, LedgerError> {
        query::focus(&self.connection, self.schemas, range)
            .map_err(|error| refusal(&self.path, "sum the ledger up", error))
    }

    fn scores(&self, range: TimeRange) -> Result<Vec<CellScore>, LedgerError> {
        insight::scores(&self.connection, self.schemas, range)
            .map_err(|error| refusal(&self.path, "sum the feedback up", error))
    }

    fn repeats(&self, range: TimeRange) -> Result<Vec<Repeats>, LedgerError> {
        insight::repeats(&self.connection, self.schemas, range)
            .map_err(|error| refusal(&self.path, "look for repeats", error))
    }
}

/// Puts the journal's records that the file lacks into temporary tables of the same form. True when
/// there are any.
fn overlay(
    connection: &Connection,
    records: &[RequestRecord],
    is_current: bool,
) -> rusqlite::Result<bool> {
    if records.is_empty() && is_current {
        return Ok(false);
    }
    connection.execute_batch(&schema::tables("temp"))?;
    let mut inserts = Inserts::into_schema("temp");
    let mut statements = inserts.prepare(connection)?;
    for record in records {
        if is_current && has_request(connection, record)? {
            continue;
        }
        inserts.record(&mut statements, record, &mut |_, _| {})?;
    }
    Ok(true)
}
