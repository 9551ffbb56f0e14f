//! What operators do with a ledger's file: back it up while it is used, bring it back, check it.

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::write::{self, Inserts, PART};
use super::{
    LedgerFile, connect, connect_to_write, copy, journal_directory, refusal, schema, with_suffix,
};
use crate::stores::journal;
use crate::stores::usage::LedgerError;
use crate::types::PicoUsd;

/// How many ledgers that were put aside may lie beside one: nobody restores that often.
const MOST_ASIDE: u32 = 9_999;

/// What a ledger holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerContents {
    /// Requests in rows.
    pub requests: u64,
    /// Attempts in rows.
    pub attempts: u64,
    /// Requests whose rows were too old to be kept: only their sums are left.
    pub archived_requests: u64,
    /// What everything cost, archived or not.
    pub cost: PicoUsd,
    /// Records that wait in the journal.
    pub journalled: u64,
    /// What is wrong, in words; nothing when all is well.
    pub problems: Vec<String>,
}

impl LedgerFile {
    /// Writes a copy of the ledger to `to`: one file that holds what was committed before the call,
    /// also what is still in the journal. Works beside a running `serve` and after one was killed.
    /// Blocks for as long as it takes to read and write the file once.
    ///
    /// # Errors
    /// When there is something at `to` already, or a file cannot be read or written.
    pub fn backup(path: &Path, to: &Path) -> Result<LedgerContents, LedgerError> {
        if to.exists() {
            return Err(LedgerError::Exists {
                path: to.to_owned(),
            });
        }
        // The journal first: what leaves it in between is in the file.
        let leftovers = journal::read(&journal_directory(path))?;
        let source = open_present(path)?;
        let staged = with_suffix(to, ".staged");
        copy::file(&source, path, &staged)?;
        drop(source);
        let contents = complete(&staged, leftovers);
        let contents = match contents {
            Ok(contents) => contents,
            Err(error) => {
                let _ = fs::remove_file(&staged);
                return Err(error);
            }
        };
        copy::publish(&staged, to)?;
        Ok(contents)
    }

    /// Brings the backup `from` back as the ledger at `path`. A ledger that is there is put aside
    /// with `replace`, under the name that is returned, and never overwritten. Records in the
    /// journal stay: the next `serve` adds those that the backup lacks.
    ///
    /// # Errors
    /// When a process has the ledger, there is one and `replace` is not set, the backup is damaged,
    /// no ledger or from a newer version, or a file cannot be written.
    pub fn restore(
        from: &Path,
        path: &Path,
        replace: bool,
    ) -> Result<Option<PathBuf>, LedgerError> {
        if !from.exists() {
            return Err(LedgerError::Missing {
                path: from.to_owned(),
            });
        }
        let backup = connect(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        if schema::check(&backup, from)? == 0 {
            return Err(LedgerError::NotALedger {
                path: from.to_owned(),
                why: "it is empty".to_owned(),
            });
        }
        if let Some(why) = damage(&backup, from)?.into_iter().next() {
            return Err(LedgerError::Damaged {
                path: from.to_owned(),
                why,
            });
        }
        let _lock = journal::lock(&with_suffix(path, ".lock"), path)?;
        if path.exists() && !replace {
            return Err(LedgerError::Exists {
                path: path.to_owned(),
            });
        }
        let aside = put_aside(path)?;
        copy::file(&backup, from, path)?;
        Ok(aside)
    }

    /// Reads the whole file and holds its sums against each other: every request against its
    /// attempts, the sums that budgets read against the rows that reports read.
    ///
    /// # Errors
    /// When it cannot be read at all; what is wrong inside is in the answer.
    pub fn check(path: &Path) -> Result<LedgerContents, LedgerError> {
        let leftovers = journal::read(&journal_directory(path))?;
        let connection = open_present(path)?;
        connection
            .execute_batch("BEGIN")
            .map_err(|error| refusal(path, "read the ledger", error))?;
        let mut problems = damage(&connection, path)?;
        let mut contents = LedgerContents::default();
        match contents_of(&connection) {
            Ok((found, disagreements)) => {
                contents = found;
                problems.extend(disagreements);
            }
            Err(error) if problems.is_empty() => {
                return Err(refusal(path, "add the ledger up", error));
            }
            Err(error) => problems.push(error.to_string()),
        }
        contents.journalled = leftovers.iter().map(|left| left.records.len() as u64).sum();
        contents.problems = problems;
        Ok(contents)
    }
}

/// Opens a ledger of the present version to read it.
fn open_present(path: &Path) -> Result<Connection, LedgerError> {
    if !path.exists() {
        return Err(LedgerError::Missing {
            path: path.to_owned(),
        });
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let found = schema::check(&connection, path)?;
    if found != schema::VERSION {
        return Err(LedgerError::NotALedger {
            path: path.to_owned(),
            why: format!(
                "its schema is {found}; start `tollgate serve` once to bring it to {}",
                schema::VERSION
            ),
        });
    }
    Ok(connection)
}

/// Adds the journal's records to a copy and makes it one file.
fn complete(
    staged: &Path,
    leftovers: Vec<journal::Leftover>,
) -> Result<LedgerContents, LedgerError> {
    let failed = |error| refusal(staged, "complete the copy", error);
    let mut connection = connect_to_write(staged)?;
    let mut inserts = Inserts::into_schema("main");
    let mut journalled = 0;
    for leftover in leftovers {
        let records: Vec<_> = leftover
            .records
            .into_iter()
            .map(std::sync::Arc::new)
            .collect();
        journalled += records.len() as u64;
        write::append(&mut connection, &mut inserts, &records).map_err(failed)?;
    }
    let (contents, _) = contents_of(&connection).map_err(failed)?;
    connection
        .execute_batch("PRAGMA journal_mode = DELETE")
        .map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    let synced = File::open(staged).and_then(|file| file.sync_all());
    synced.map_err(|source| LedgerError::Io {
        path: staged.to_owned(),
        action: "sync the copy",
        source,
    })?;
    Ok(LedgerContents {
        journalled,
        ..contents
    })
}

/// Moves a ledger's file, with the log that SQLite keeps beside it, out of the way.
fn put_aside(path: &Path) -> Result<Option<PathBuf>, LedgerError> {
    let free = |number: &u32| !with_suffix(path, &format!(".replaced-{number}")).exists();
    let number = (1..=MOST_ASIDE).find(free).unwrap_or(MOST_ASIDE);
    let aside = with_suffix(path, &format!(".replaced-{number}"));
    let mut moved = None;
    for suffix in ["", "-wal", "-shm"] {
        let from = with_suffix(path, suffix);
        if !from.exists() {
            continue;
        }
        fs::rename(&from, with_suffix(&aside, suffix)).map_err(|source| LedgerError::Io {
            path: from,
            action: "put the present ledger aside",
            source,
        })?;
        moved = Some(aside.clone());
    }
    Ok(moved)
}

/// What SQLite finds broken.
fn damage(connection: &Connection, path: &Path) -> Result<Vec<String>, LedgerError> {
    let found = connection
        .prepare("PRAGMA quick_check(10)")
        .and_then(|mut statement| {
            let lines = statement.query_map((), |row| row.get::<_, String>(0))?;
            lines.collect::<rusqlite::Result<Vec<_>>>()
        });
    match found {
        Ok(lines) => Ok(lines.into_iter().filter(|line| line != "ok").collect()),
        Err(error) => match refusal(path, "check the ledger", error) {
            LedgerError::Damaged { why, .. } => Ok(vec![why]),
            other => Err(other),
        },
    }
}

/// Counts and sums, and where they disagree.
fn contents_of(connection: &Connection) -> rusqlite::Result<(LedgerContents, Vec<String>)> {
    let number = |sql: &str| -> rusqlite::Result<u64> {
        let count: i64 = connection.query_row(sql, (), |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    };
    let money = |table: &str, hi: &str, lo: &str| {
        let sql = format!("SELECT coalesce(sum({hi}), 0), coalesce(sum({lo}), 0) FROM {table}");
        connection.query_row(&sql, (), |row| {
            Ok(super::read::joined(row.get(0)?, row.get(1)?))
        })
    };
    let (hi, lo) = (format!("cost_pico / {PART}"), format!("cost_pico % {PART}"));
    let in_rows = money("attempt_rows", &hi, &lo)?;
    let archived = money("archive", "cost_hi", "cost_lo")?;
    let for_budgets = money("spend", "cost_hi", "cost_lo")?;
    let contents = LedgerContents {
        requests: number("SELECT count(*) FROM request_rows")?,
        attempts: number("SELECT count(*) FROM attempt_rows")?,
        archived_requests: number("SELECT coalesce(sum(requests), 0) FROM archive")?,
        cost: in_rows + archived,
        ..LedgerContents::default()
    };
    let mut problems = Vec::new();
    if for_budgets != contents.cost {
        problems.push(format!(
            "budgets read {for_budgets} USD, the attempts add up to {} USD",
            contents.cost
        ));
    }
    let counted = number("SELECT coalesce(sum(requests), 0) FROM spend")?;
    if counted != contents.requests + contents.archived_requests {
        problems.push(format!(
            "budgets count {counted} requests, there are {}",
            contents.requests + contents.archived_requests
        ));
    }
    let unlike = unlike_their_attempts(connection)?;
    if unlike > 0 {
        problems.push(format!(
            "{unlike} requests cost something else than their attempts together"
        ));
    }
    Ok((contents, problems))
}

/// Requests whose cost is not that of their attempts; as rows hold amounts, up to 2⁶³.
fn unlike_their_attempts(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare(
        "SELECT r.seq, r.cost_pico, coalesce(a.cost_pico, 0) \
         FROM request_rows r LEFT JOIN attempt_rows a ON a.seq = r.seq ORDER BY r.seq",
    )?;
    let mut rows = statement.query(())?;
    let mut unlike = 0;
    let mut current: Option<(i64, i64, i128)> = None;
    let differs =
        |(_, cost, sum): (i64, i64, i128)| u64::from(i128::from(cost) != sum.min(i64::MAX.into()));
    while let Some(row) = rows.next()? {
        let (seq, cost): (i64, i64) = (row.get(0)?, row.get(1)?);
        let of_attempt = i128::from(row.get::<_, i64>(2)?);
        match &mut current {
            Some((same, _, sum)) if *same == seq => *sum += of_attempt,
            _ => {
                let before = current.replace((seq, cost, of_attempt));
                unlike += before.map_or(0, differs);
            }
        }
    }
    Ok(unlike + current.map_or(0, differs))
}
