//! The ledger in one SQLite file. Everything that names `rusqlite` is below this module.
//!
//! Beside the file `tollgate.db` (with SQLite's own `-wal` and `-shm`) lie `tollgate.db.lock`, held
//! by the process that writes, and the directory `tollgate.db.journal`. WAL mode lets readers work
//! while the writer writes; `synchronous=FULL` makes a stored batch survive a power cut.

mod care;
mod copy;
mod facts;
mod file;
mod insight;
mod kinds;
mod migrate;
mod notes;
mod query;
mod read;
mod responses;
mod retention;
mod schema;
mod write;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use self::care::LedgerContents;
pub use self::file::LedgerFile;
pub(super) use self::notes::NotesFile;
pub(super) use self::responses::ResponsesFile;
use self::write::Inserts;
use super::journal::{self, Journal};
use super::report::ReportReads;
use super::usage::{
    Feedback, FeedbackOutcome, FeedbackStore, LedgerError, SpendBy, SpendFilter, SpendRow,
    TimeRange, UsageReads, UsageSink,
};
use crate::types::{PicoUsd, RequestId, RequestRecord};

/// How long a statement waits for another program's lock: longer than any transaction of ours.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Read connections that are kept open between questions; more are opened and closed as needed.
const IDLE_READERS: usize = 4;

/// Where the journal of a ledger lies.
fn journal_directory(path: &Path) -> PathBuf {
    with_suffix(path, ".journal")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Turns SQLite's refusals into ours, which say what to do.
fn refusal(path: &Path, doing: &'static str, error: rusqlite::Error) -> LedgerError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LedgerError::Locked { path },
        Some(ErrorCode::NotADatabase) => LedgerError::NotALedger {
            path,
            why: error.to_string(),
        },
        Some(ErrorCode::DatabaseCorrupt) => LedgerError::Damaged {
            path,
            why: error.to_string(),
        },
        Some(ErrorCode::DiskFull) => LedgerError::DiskFull { path, doing },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            LedgerError::ReadOnly { path, doing }
        }
        Some(ErrorCode::CannotOpen) if path.is_dir() => LedgerError::NotALedger {
            path,
            why: "it is a directory; name a file in it".to_owned(),
        },
        _ => LedgerError::Database {
            path,
            doing,
            source: Box::new(error),
        },
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, LedgerError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| refusal(path, "open the ledger", error))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(|error| refusal(path, "open the ledger", error))?;
    Ok(connection)
}

fn connect_to_write(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = connect(path, flags)?;
    schema::configure(&connection, path)?;
    schema::prepare(&connection, path)?;
    Ok(connection)
}

/// The writing side; belongs to the writer's thread.
#[derive(Debug)]
pub(super) struct SqliteSink {
    path: Arc<Path>,
    connection: Connection,
    inserts: Inserts,
    /// Declared last, dropped last: the file is free once everything else is closed.
    _lock: File,
}

impl UsageSink for SqliteSink {
    fn append(&mut self, batch: &[Arc<RequestRecord>]) -> Result<(), LedgerError> {
        write::append(&mut self.connection, &mut self.inserts, batch)
            .map_err(|error| refusal(&self.path, "store a batch", error))
    }

    fn purge(&mut self, before_ms: i64, at_most: usize) -> Result<usize, LedgerError> {
        retention::purge(&mut self.connection, before_ms, at_most)
            .map_err(|error| refusal(&self.path, "archive old rows", error))
    }
}

/// The reading side and the feedback.
#[derive(Debug)]
pub(super) struct SqliteStore {
    path: Arc<Path>,
    readers: Mutex<Vec<Connection>>,
    /// Feedback is rare and must not wait for a batch: it has its own connection.
    feedback: Mutex<Connection>,
}

impl SqliteStore {
    /// Opens or creates the file and stores what an earlier process left in the journal.
    pub fn open(
        path: &Path,
        batch_records: usize,
    ) -> Result<(SqliteSink, Self, Journal), LedgerError> {
        let lock = journal::lock(&with_suffix(path, ".lock"), path)?;
        let mut sink = SqliteSink {
            path: path.into(),
            connection: connect_to_write(path)?,
            inserts: Inserts::into_schema("main"),
            _lock: lock,
        };
        let directory = journal_directory(path);
        journal::recover(&mut sink, &directory, batch_records)?;
        let store = Self {
            path: path.into(),
            readers: Mutex::new(Vec::new()),
            feedback: Mutex::new(connect_to_write(path)?),
        };
        Ok((sink, store, Journal::create(&directory)?))
    }

    fn with_reader<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        let idle = self.readers.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        let answer =
            read(&connection).map_err(|error| refusal(&self.path, "read the ledger", error))?;
        let mut readers = self.readers.lock();
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
        Ok(answer)
    }
}

impl UsageReads for SqliteStore {
    fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, LedgerError> {
        self.with_reader(|connection| read::request(connection, id))
    }

    fn spent(&self, filter: &SpendFilter, range: TimeRange) -> Result<PicoUsd, LedgerError> {
        self.with_reader(|connection| read::spent(connection, filter, range))
    }

    fn spent_by_end_user(
        &self,
        filter: &SpendFilter,
        range: TimeRange,
    ) -> Result<Vec<(Option<String>, PicoUsd)>, LedgerError> {
        self.with_reader(|connection| read::spent_by_end_user(connection, filter, range))
    }

    fn spend_by(&self, by: SpendBy, range: TimeRange) -> Result<Vec<SpendRow>, LedgerError> {
        self.with_reader(|connection| read::spend_by(connection, by, range))
    }

    fn recent(&self, count: usize) -> Result<Vec<RequestRecord>, LedgerError> {
        self.with_reader(|connection| read::recent(connection, count))
    }

    fn reports(&self) -> Result<Box<dyn ReportReads>, LedgerError> {
        Ok(Box::new(LedgerFile::open(&self.path)?))
    }
}

impl FeedbackStore for SqliteStore {
    fn put_feedback(&self, feedback: &Feedback) -> Result<FeedbackOutcome, LedgerError> {
        write::put_feedback(&mut self.feedback.lock(), feedback)
            .map_err(|error| refusal(&self.path, "store feedback", error))
    }

    fn feedback(&self, id: &RequestId) -> Result<Option<Feedback>, LedgerError> {
        self.with_reader(|connection| read::feedback(connection, id))
    }
}
