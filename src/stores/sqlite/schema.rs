//! The tables and their versions. A migration is never changed once it has shipped; a change is a
//! new one at the end of the list.
//!
//! Money is whole pico-USD in SQLite's 64-bit integers: one row holds up to 9.2 million USD. Sums
//! are taken in two parts, so that no sum overflows.

use std::path::Path;

use rusqlite::Connection;

use super::refusal;
use crate::stores::usage::LedgerError;

/// Marks the file as ours in its header (`TLGT`), for `file(1)` and for the check below.
const APPLICATION_ID: i64 = 0x544c_4754;

/// What brings a file from version n to n + 1.
const MIGRATIONS: [&str; 3] = [
    include_str!("v1.sql"),
    include_str!("v2.sql"),
    include_str!("v3.sql"),
];

/// The newest version, the count of migrations.
#[allow(clippy::cast_possible_wrap, reason = "a handful of migrations")]
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The tables without their indexes, for the temporary copies that a report fills.
pub(super) fn tables(schema: &str) -> String {
    let statements = MIGRATIONS.join("\n");
    let tables = statements.split_inclusive(';').filter_map(|statement| {
        let verb = ["CREATE TABLE ", "ALTER TABLE "]
            .into_iter()
            .find(|verb| statement.contains(verb))?;
        let at = statement.find(verb)?;
        Some(statement[at..].replacen(verb, &format!("{verb}{schema}."), 1))
    });
    tables.collect()
}

/// Sets a connection up and brings the file to the newest version.
///
/// # Errors
/// When the file is something else, newer, or cannot be written.
pub(super) fn prepare(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let failed = |error| refusal(path, "set the ledger up", error);
    let found = check(connection, path)?;
    // FULL syncs the log at each commit, which is once per batch: what is stored survives power.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY;",
        )
        .map_err(failed)?;
    if found == VERSION {
        return Ok(());
    }
    let pending: String = MIGRATIONS
        .iter()
        .skip(usize::try_from(found).unwrap_or(0))
        .copied()
        .collect();
    connection
        .execute_batch(&format!(
            "BEGIN IMMEDIATE; {pending} PRAGMA application_id = {APPLICATION_ID}; \
             PRAGMA user_version = {VERSION}; COMMIT;"
        ))
        .map_err(failed)
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
