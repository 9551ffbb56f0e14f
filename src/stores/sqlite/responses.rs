//! Kept responses in a SQLite file of their own: texts of conversations have another owner, another
//! retention and other readers than the ledger, and can be deleted without it.
//!
//! One process writes. `secure_delete` overwrites what is deleted.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

use super::connect;
use crate::stores::responses::{Bounds, KeptResponse, Shelf, ShelfError, horizon_ms};

/// The form of the file, kept as its `user_version`.
const VERSION: i64 = 1;

const SCHEMA: &str = "\
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS responses (
  number INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  origin TEXT NOT NULL,
  response BLOB NOT NULL,
  input BLOB NOT NULL,
  items TEXT NOT NULL,
  UNIQUE (tenant, id)
) STRICT;
CREATE INDEX IF NOT EXISTS responses_by_age ON responses (created_ms, bytes);
CREATE TABLE IF NOT EXISTS items (
  tenant TEXT NOT NULL,
  item TEXT NOT NULL,
  response INTEGER NOT NULL,
  PRIMARY KEY (tenant, item)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_by_response ON items (response);
";

/// The responses of one file.
#[derive(Debug)]
pub(crate) struct ResponsesFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    writer: Mutex<Writer>,
    reader: Mutex<Connection>,
}

#[derive(Debug)]
struct Writer {
    connection: Connection,
    /// What all rows count together.
    bytes: u64,
}

impl ResponsesFile {
    pub(crate) fn open(path: &Path, bounds: Bounds) -> Result<Self, ShelfError> {
        private(path).map_err(|error| ShelfError(format!("{}: {error}", path.display())))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let failed = |error: &dyn std::fmt::Display| ShelfError(error.to_string());
        let connection = connect(path, flags).map_err(|error| failed(&error))?;
        let prepared = prepare(&connection)
            .map_err(|error| ShelfError(format!("{}: {error}", path.display())))?;
        if prepared > VERSION {
            return Err(ShelfError(format!(
                "{} has form {prepared}, which a newer version wrote",
                path.display()
            )));
        }
        let sum = "SELECT COALESCE(SUM(bytes), 0) FROM responses";
        let bytes: i64 = connection
            .query_row(sum, [], |row| row.get(0))
            .map_err(|error| failed(&error))?;
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        Ok(Self(Arc::new(Inner {
            bounds,
            writer: Mutex::new(Writer {
                connection,
                bytes: u64::try_from(bytes).unwrap_or(0),
            }),
            reader: Mutex::new(reader.map_err(|error| failed(&error))?),
        })))
    }

    /// Runs a read or a write off the workers.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ShelfError>> {
        let inner = Arc::clone(&self.0);
        async move {
            let done = tokio::task::spawn_blocking(move || work(&inner)).await;
            done.map_err(|_| ShelfError("a fault while it was used".to_owned()))?
                .map_err(|error| ShelfError(error.to_string()))
        }
        .boxed()
    }
}

/// Makes the file readable for its owner alone; SQLite gives what lies beside it the same mode.
fn private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ())
}

/// The form of the file, made first where there is none.
fn prepare(connection: &Connection) -> rusqlite::Result<i64> {
    let version = || connection.pragma_query_value(None, "user_version", |row| row.get(0));
    let found: i64 = version()?;
    if found > VERSION {
        return Ok(found);
    }
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    Ok(VERSION)
}

impl Inner {
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &mut u64) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut writer = self.writer.lock();
        let mut bytes = writer.bytes;
        let transaction = writer
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction, &mut bytes)?;
        transaction.commit()?;
        writer.bytes = bytes;
        Ok(done)
    }

    fn put(&self, batch: &[Arc<KeptResponse>]) -> rusqlite::Result<()> {
        self.write(|transaction, bytes| {
            for kept in batch {
                remove(transaction, &kept.tenant, &kept.id, bytes)?;
                insert(transaction, kept)?;
                *bytes += kept.bytes() as u64;
            }
            if *bytes > self.bounds.max_bytes {
                make_room(transaction, self.bounds.max_bytes, bytes)?;
            }
            Ok(())
        })
    }
}

fn insert(transaction: &Transaction<'_>, kept: &KeptResponse) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO responses (tenant, id, created_ms, bytes, origin, response, input, items) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            &*kept.tenant,
            &*kept.id,
            kept.created_ms,
            i64::try_from(kept.bytes()).unwrap_or(i64::MAX),
            &*kept.origin,
            &kept.response[..],
            &kept.input[..],
            kept.items.join("\n"),
        ))?;
    let number = transaction.last_insert_rowid();
    let mut statement = transaction.prepare_cached(
        "INSERT INTO items (tenant, item, response) VALUES (?1, ?2, ?3) \
         ON CONFLICT (tenant, item) DO UPDATE SET response = excluded.response",
    )?;
    for item in &kept.items {
        statement.execute((&*kept.tenant, item, number))?;
    }
    Ok(())
}

fn remove(
    transaction: &Transaction<'_>,
    tenant: &str,
    id: &str,
    bytes: &mut u64,
) -> rusqlite::Result<bool> {
    let found: Option<(i64, i64)> = transaction
        .prepare_cached("SELECT number, bytes FROM responses WHERE tenant = ?1 AND id = ?2")?
        .query_row((tenant, id), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some(row) => remove_row(transaction, row, bytes).map(|()| true),
        None => Ok(false),
    }
}

fn remove_row(
    transaction: &Transaction<'_>,
    (number, size): (i64, i64),
    bytes: &mut u64,
) -> rusqlite::Result<()> {
    for delete in [
        "DELETE FROM items WHERE response = ?1",
        "DELETE FROM responses WHERE number = ?1",
    ] {
        transaction.prepare_cached(delete)?.execute([number])?;
    }
    *bytes = bytes.saturating_sub(u64::try_from(size).unwrap_or(0));
    Ok(())
}

/// Lets the oldest go until a twentieth of the bound is free, so that not every response makes room.
fn make_room(
    transaction: &Transaction<'_>,
    max_bytes: u64,
    bytes: &mut u64,
) -> rusqlite::Result<()> {
    let goal = max_bytes - max_bytes / 20;
    let mut oldest = transaction.prepare_cached(
        "SELECT number, bytes FROM responses ORDER BY created_ms, number LIMIT 1",
    )?;
    while *bytes > goal {
        let row = oldest.query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
        match row.optional()? {
            Some(row) => remove_row(transaction, row, bytes)?,
            None => break,
        }
    }
    Ok(())
}

/// Old rows that go in one transaction.
const EXPIRE_ROWS: u32 = 500;

fn expire(inner: &Inner, before_ms: i64) -> rusqlite::Result<()> {
    loop {
        let gone = inner.write(|transaction, bytes| {
            let rows: Vec<(i64, i64)> = transaction
                .prepare_cached(
                    "SELECT number, bytes FROM responses WHERE created_ms <= ?1 LIMIT ?2",
                )?
                .query_map((before_ms, EXPIRE_ROWS), |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect::<rusqlite::Result<_>>()?;
            for row in &rows {
                remove_row(transaction, *row, bytes)?;
            }
            Ok(rows.len())
        })?;
        if gone < EXPIRE_ROWS as usize {
            break;
        }
    }
    let writer = inner.writer.lock();
    writer
        .connection
        .execute_batch("PRAGMA incremental_vacuum(2048)")
}

impl Shelf for ResponsesFile {
    fn put<'a>(&'a self, batch: &'a [Arc<KeptResponse>]) -> BoxFuture<'a, Result<(), ShelfError>> {
        let batch = batch.to_vec();
        self.run(move |inner| inner.put(&batch))
    }

    fn get<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<KeptResponse>, ShelfError>> {
        let (tenant, id): (Box<str>, Box<str>) = (tenant.into(), id.into());
        self.run(move |inner| {
            let reader = inner.reader.lock();
            let mut statement = reader.prepare_cached(
                "SELECT created_ms, origin, response, input, items FROM responses \
                 WHERE tenant = ?1 AND id = ?2",
            )?;
            let read = |row: &rusqlite::Row<'_>| {
                let items: String = row.get(4)?;
                Ok(KeptResponse {
                    tenant: tenant.clone(),
                    id: id.clone(),
                    created_ms: row.get(0)?,
                    origin: row.get(1)?,
                    response: Bytes::from(row.get::<_, Vec<u8>>(2)?),
                    input: Bytes::from(row.get::<_, Vec<u8>>(3)?),
                    items: items.lines().map(str::to_owned).collect(),
                })
            };
            statement.query_row((&*tenant, &*id), read).optional()
        })
    }

    fn holder<'a>(
        &'a self,
        tenant: &'a str,
        item: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, ShelfError>> {
        let (tenant, item) = (tenant.to_owned(), item.to_owned());
        self.run(move |inner| {
            let reader = inner.reader.lock();
            let mut statement = reader.prepare_cached(
                "SELECT responses.id FROM items JOIN responses ON number = items.response \
                 WHERE items.tenant = ?1 AND item = ?2",
            )?;
            statement
                .query_row((tenant, item), |row| row.get(0))
                .optional()
        })
    }

    fn delete<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, ShelfError>> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.run(move |inner| {
            inner.write(|transaction, bytes| remove(transaction, &tenant, &id, bytes))
        })
    }

    fn expire(&self, now_ms: i64) -> BoxFuture<'_, Result<(), ShelfError>> {
        self.run(move |inner| expire(inner, horizon_ms(now_ms, inner.bounds.retention)))
    }
}
