//! An older file becomes a present one: a copy is put beside it first, then every step is taken in one
//! transaction, which commits only if requests, attempts and money are the same as before.
//!
//! Whatever fails leaves the file as it was, to be opened again by this version or the older one.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::schema::{STEPS, VERSION};
use super::write::PART;
use super::{copy, refusal, with_suffix};
use crate::stores::usage::LedgerError;

/// Where the copy of a file of this version goes.
pub(super) fn kept_copy(path: &Path, version: i64) -> PathBuf {
    with_suffix(path, &format!(".schema-{version}"))
}

/// Brings a file from an older version to the newest.
///
/// # Errors
/// When the copy cannot be written or a step fails.
pub(super) fn from_version(
    connection: &Connection,
    path: &Path,
    found: i64,
) -> Result<(), LedgerError> {
    let kept = kept_copy(path, found);
    tracing::info!(path = %path.display(), copy = %kept.display(), from = found, to = VERSION,
        "the ledger is of an older version: it is copied, then brought up to date");
    copy::file(connection, path, &kept)?;
    take_steps(connection, path, found)?;
    tracing::info!(path = %path.display(), copy = %kept.display(),
        "the ledger is up to date; the copy may be deleted when this version has proved itself");
    Ok(())
}

fn take_steps(connection: &Connection, path: &Path, found: i64) -> Result<(), LedgerError> {
    let failed = |error| refusal(path, "bring the ledger up to date", error);
    let transaction =
        rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
            .map_err(failed)?;
    let before = Contents::of(&transaction).map_err(failed)?;
    let taken = usize::try_from(found - 1).unwrap_or(0);
    for step in STEPS.iter().skip(taken) {
        transaction.execute_batch(step).map_err(failed)?;
    }
    let after = Contents::of(&transaction).map_err(failed)?;
    if before != after {
        return Err(LedgerError::NotALedger {
            path: path.to_owned(),
            why: format!(
                "bringing it up to date would have changed it from {before:?} to {after:?}"
            ),
        });
    }
    transaction
        .execute_batch(&format!("PRAGMA user_version = {VERSION}"))
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// What no migration may change. `requests` and `attempts` have these columns in every version.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    requests: i64,
    attempts: i64,
    pico_usd: i128,
    tokens: i64,
}

impl Contents {
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let requests =
            connection.query_row("SELECT count(*) FROM requests", (), |row| row.get(0))?;
        let sql = format!(
            "SELECT count(*), coalesce(sum(cost_pico / {PART}), 0), \
               coalesce(sum(cost_pico % {PART}), 0), \
               coalesce(sum(input_tokens + cached_input_tokens + cache_write_tokens \
                            + output_tokens + reasoning_tokens), 0) FROM attempts"
        );
        connection.query_row(&sql, (), |row| {
            let (hi, lo): (i64, i64) = (row.get(1)?, row.get(2)?);
            Ok(Self {
                requests,
                attempts: row.get(0)?,
                pico_usd: i128::from(hi) * i128::from(PART) + i128::from(lo),
                tokens: row.get(3)?,
            })
        })
    }
}
