//! The tables and their versions. A new file gets `schema.sql`; an older one is brought to the same
//! tables step by step. A step is never changed once it has shipped; a change is a new one at the
//! end of the list.
//!
//! Money is whole pico-USD in SQLite's 64-bit integers: one row holds up to 9.2 million USD. Sums
//! are taken in two parts, so that no sum overflows.

use std::path::Path;

use rusqlite::Connection;

use super::migrate;
use super::refusal;
use crate::stores::usage::LedgerError;

/// Marks the file as ours in its header (`TLGT`), for `file(1)` and for the check below.
pub(super) const APPLICATION_ID: i64 = 0x544c_4754;

/// The tables of the newest version.
const TABLES: &str = include_str!("schema.sql");

/// What brings a file from version n to n + 1, beginning with version 1.
pub(super) const STEPS: [&str; 4] = [
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
];

/// The newest version.
#[allow(clippy::cast_possible_wrap, reason = "a handful of steps")]
pub(super) const VERSION: i64 = STEPS.len() as i64 + 1;

/// The tables and views without their indexes, for the temporary copies that a report fills.
pub(super) fn tables(schema: &str) -> String {
    let made = TABLES.split_inclusive(';').filter_map(|statement| {
        let verb = ["CREATE TABLE ", "CREATE VIEW "]
            .into_iter()
            .find(|verb| statement.contains(verb))?;
        let at = statement.find(verb)?;
        Some(statement[at..].replacen(verb, &format!("{verb}{schema}."), 1))
    });
    made.collect()
}

/// Sets a connection up.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn configure(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    // FULL syncs the log at each commit, which is once per batch: what is stored survives power. Each
    // checkpoint writes the ends of all tables and indices again, so it comes every 16 MiB.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA journal_size_limit = 67108864; \
             PRAGMA wal_autocheckpoint = 4096; PRAGMA temp_store = MEMORY;",
        )
        .map_err(|error| refusal(path, "set the ledger up", error))
}

/// Creates the tables, or brings those of an older version to the newest.
///
/// # Errors
/// When the file is something else, newer, or cannot be written.
pub(super) fn prepare(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    match check(connection, path)? {
        VERSION => Ok(()),
        0 => create(connection).map_err(|error| refusal(path, "create the ledger", error)),
        found => migrate::from_version(connection, path, found),
    }
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID}; \
         PRAGMA user_version = {VERSION}; COMMIT;"
    ))
}

/// The version of the file: 0 for an empty one.
///
/// # Errors
/// When the file is no ledger or was written by a newer version.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let number = |sql: &str| {
        connection
            .query_row(sql, (), |row| row.get::<_, i64>(0))
            .map_err(|error| refusal(path, "read the ledger's version", error))
    };
    let application = number("PRAGMA application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let found = number("PRAGMA user_version")?;
    if application != APPLICATION_ID && (tables > 0 || application != 0) {
        return Err(LedgerError::NotALedger {
            path: path.to_owned(),
            why: "it is another program's SQLite file".to_owned(),
        });
    }
    if found > VERSION {
        return Err(LedgerError::Newer {
            path: path.to_owned(),
            found,
            supported: VERSION,
        });
    }
    Ok(found)
}
