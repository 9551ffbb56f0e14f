//! The tables and their versions, in a schema of their own, `tollgate`, so that the database may
//! hold other things too. A migration is never changed once it has shipped; a change is a new one at
//! the end of the list, and adds only: replicas of the version before go on writing beside it.

use tokio_postgres::Client;

use super::server::{Failure, Server};
use crate::stores::usage::LedgerError;

/// What brings a database from version n to n + 1.
const MIGRATIONS: [&str; 2] = [include_str!("v1.sql"), include_str!("v2.sql")];

/// The newest version, the count of migrations.
#[allow(clippy::cast_possible_wrap, reason = "a handful of migrations")]
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The advisory lock under which replicas that start at once migrate one after the other (`TLGT`).
const MIGRATION_LOCK: i64 = 0x544c_4754;

/// The tables that the ledger writes to.
const WRITTEN: &str = "'requests', 'records', 'attempts', 'feedback', 'spend'";

/// The version of the database: 0 when it has no ledger yet.
pub(super) async fn version(client: &Client) -> Result<i64, Failure> {
    let exists = "SELECT to_regclass('tollgate.schema_version') IS NOT NULL";
    if !client.query_one(exists, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let newest = "SELECT coalesce(max(version), 0) FROM tollgate.schema_version";
    Ok(client.query_one(newest, &[]).await?.try_get(0)?)
}

/// Brings the database to the newest version, and makes sure that it can be written.
///
/// # Errors
/// When it is newer, or this user may not set it up or write to it.
pub(super) async fn prepare(client: &mut Client, server: &Server) -> Result<(), LedgerError> {
    let failed = |failure: Failure| server.error("set the ledger up", &failure);
    let mut found = version(client).await.map_err(failed)?;
    if found < VERSION {
        found = migrate(client).await.map_err(failed)?;
    }
    if found > VERSION {
        return Err(newer(server, found));
    }
    let lacking = lacking_rights(client).await.map_err(failed)?;
    if lacking.is_empty() {
        return Ok(());
    }
    let tables = lacking.join(", ");
    Err(server.refused(format!(
        "this user may not read and write {tables}; grant SELECT, INSERT and UPDATE on all tables \
         in schema tollgate"
    )))
}

/// What is said to a database that a later version wrote.
pub(super) fn newer(server: &Server, found: i64) -> LedgerError {
    server.refused(format!(
        "written by a newer tollgate (schema {found}, this one knows up to {VERSION}); run that version"
    ))
}

/// Migrates under the lock; the version afterwards, which another replica may have brought further.
pub(super) async fn migrate(client: &mut Client) -> Result<i64, Failure> {
    let transaction = client.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
        .await?;
    // `CREATE SCHEMA IF NOT EXISTS` asks for the right to create even where there is nothing to do.
    let exists = "SELECT to_regnamespace('tollgate') IS NOT NULL";
    if !transaction
        .query_one(exists, &[])
        .await?
        .try_get::<_, bool>(0)?
    {
        transaction.batch_execute("CREATE SCHEMA tollgate").await?;
    }
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS tollgate.schema_version (version bigint PRIMARY KEY, \
             applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .await?;
    let newest = "SELECT coalesce(max(version), 0) FROM tollgate.schema_version";
    let found: i64 = transaction.query_one(newest, &[]).await?.try_get(0)?;
    let pending = MIGRATIONS
        .iter()
        .zip(1_i64..)
        .filter(|(_, version)| *version > found);
    for (migration, version) in pending {
        transaction.batch_execute(migration).await?;
        let note = "INSERT INTO tollgate.schema_version (version) VALUES ($1)";
        transaction.execute(note, &[&version]).await?;
    }
    transaction.commit().await?;
    Ok(found.max(VERSION))
}

async fn lacking_rights(client: &Client) -> Result<Vec<String>, Failure> {
    let sql = format!(
        "SELECT name FROM unnest(ARRAY[{WRITTEN}]) AS name \
         WHERE NOT (has_table_privilege('tollgate.' || name, 'SELECT') \
                    AND has_table_privilege('tollgate.' || name, 'INSERT') \
                    AND has_table_privilege('tollgate.' || name, 'UPDATE'))"
    );
    let rows = client.query(&sql, &[]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
