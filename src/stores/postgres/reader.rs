//! A ledger as a report reads it, from anywhere: one snapshot of the database and, where the report
//! runs on a replica's machine, what that replica's journal holds beyond it. Changes nothing.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_postgres::Client;

use super::server::{Failure, Server};
use super::{query, schema, write};
use crate::stores::journal;
use crate::stores::report::{CellScore, FocusGroup, Repeats, Report, ReportQuery, ReportReads};
use crate::stores::usage::{LedgerError, TimeRange};
use crate::types::{PostgresUrl, RequestRecord};

/// A view of a Postgres ledger and a journal, of the moment at which it was opened. Each record counts
/// once, wherever it is: the journal is read before the database.
#[derive(Debug)]
pub struct PostgresReader {
    server: Arc<Server>,
    /// In a transaction whose snapshot all answers come from.
    client: Mutex<Client>,
    schemas: &'static [&'static str],
}

impl PostgresReader {
    /// Opens the ledger in this database, with the records of the journal in `journal`, if there is
    /// one on this machine.
    ///
    /// # Errors
    /// When there is no ledger, or it cannot be read, or it is from another version.
    pub fn open(url: &PostgresUrl, journal: &Path) -> Result<Self, LedgerError> {
        Self::of(Server::new(url)?, journal)
    }

    pub(super) fn of(server: Arc<Server>, journal: &Path) -> Result<Self, LedgerError> {
        let leftovers = journal::read(journal)?;
        let records: Vec<_> = leftovers
            .into_iter()
            .flat_map(|left| left.records)
            .map(Arc::new)
            .collect();
        let failed = |failure: Failure| server.error("read the ledger", &failure);
        let (client, has_late) = server.wait(async || {
            let client = server.connect().await.map_err(failed)?;
            check_version(&client, &server).await?;
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ";
            client
                .batch_execute(begin)
                .await
                .map_err(|error| failed(error.into()))?;
            let has_late = overlay(&client, records).await.map_err(failed)?;
            Ok((client, has_late))
        })?;
        Ok(Self {
            server,
            client: Mutex::new(client),
            schemas: if has_late {
                &["tollgate", "pg_temp"]
            } else {
                &["tollgate"]
            },
        })
    }

    fn ask<T: Send>(
        &self,
        doing: &'static str,
        question: impl AsyncFn(&Client, &[&str]) -> Result<T, Failure> + Sync,
    ) -> Result<T, LedgerError> {
        let client = self.client.lock();
        let answer = self
            .server
            .wait(async || question(&client, self.schemas).await);
        answer.map_err(|failure| self.server.error(doing, &failure))
    }
}

async fn check_version(client: &Client, server: &Server) -> Result<(), LedgerError> {
    let found = schema::version(client)
        .await
        .map_err(|failure| server.error("read the ledger's version", &failure))?;
    let path = server.place().into();
    match found {
        schema::VERSION => Ok(()),
        0 => Err(LedgerError::Missing { path }),
        found if found > schema::VERSION => Err(schema::newer(server, found)),
        found => Err(LedgerError::NotALedger {
            path,
            why: format!(
                "its schema is {found}; start `tollgate serve` once to bring it to {}",
                schema::VERSION
            ),
        }),
    }
}

/// Puts the journal's records that the database lacks into temporary tables of the same form. True
/// when there are any.
async fn overlay(client: &Client, mut records: Vec<Arc<RequestRecord>>) -> Result<bool, Failure> {
    if records.is_empty() {
        return Ok(false);
    }
    let ids: Vec<_> = records.iter().map(|it| it.request_id.as_str()).collect();
    let sql = "SELECT request_id FROM tollgate.requests WHERE request_id = ANY($1)";
    let stored = client.query(sql, &[&ids]).await?;
    let stored = stored
        .iter()
        .map(|row| row.try_get::<_, &str>(0))
        .collect::<Result<std::collections::HashSet<_>, _>>()?;
    records.retain(|record| !stored.contains(record.request_id.as_str()));
    if records.is_empty() {
        return Ok(false);
    }
    for table in ["requests", "records", "attempts", "spend"] {
        let like = format!("CREATE TEMPORARY TABLE {table} (LIKE tollgate.{table} INCLUDING ALL)");
        client.batch_execute(&like).await?;
    }
    write::append_to("pg_temp", client, &records).await?;
    Ok(true)
}

impl ReportReads for PostgresReader {
    fn report(&self, asked: &ReportQuery) -> Result<Report, LedgerError> {
        self.ask("sum the ledger up", async |client, schemas| {
            query::report(client, schemas, asked).await
        })
    }

    fn span(&self) -> Result<Option<(i64, i64)>, LedgerError> {
        self.ask("read the ledger", async |client, schemas| {
            query::span(client, schemas).await
        })
    }

    fn focus(&self, range: TimeRange) -> Result<Vec<FocusGroup>, LedgerError> {
        self.ask("sum the ledger up", async |client, schemas| {
            query::focus(client, schemas, range).await
        })
    }

    fn scores(&self, range: TimeRange) -> Result<Vec<CellScore>, LedgerError> {
        self.ask("sum the feedback up", async |client, schemas| {
            query::scores(client, schemas, range).await
        })
    }

    fn repeats(&self, range: TimeRange) -> Result<Vec<Repeats>, LedgerError> {
        self.ask("look for repeats", async |client, schemas| {
            query::repeats(client, schemas, range).await
        })
    }
}
