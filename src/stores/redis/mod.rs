//! The shared store in Redis or Valkey: a few scripts, sent over one connection that is opened again when
//! it breaks.
//!
//! Times are the server's own (`TIME`), so that replicas' clocks need not agree. Every call is bounded
//! in time: a slow server counts as one that is away. Eviction must be off (`maxmemory-policy
//! noeviction`); a key that is gone all the same is noticed by those who had been answered about it.

mod board;
mod draw;
mod lease;
mod responses;

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, Script};
use tokio::sync::Mutex;

use super::shared::{SharedError, SharedStore};
use crate::types::{DrawCall, DrawReply, LeaseCall, LeaseReply, Replica};

/// How long an answer may take. A round trip takes well under a millisecond; requests that wait for a
/// lease wait for this at most.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long a connection may take to be made, TLS and authentication included.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// Pots in one run of the script: it holds the server up for some hundred microseconds.
const BATCH: usize = 64;

/// State that is shared through a Redis server. Made without a connection; the first call connects.
pub struct RedisStore {
    client: Client,
    /// What the names of all keys begin with.
    prefix: String,
    lease: Script,
    draw: Script,
    board: Script,
    keys: Script,
    /// Held while connecting only.
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl RedisStore {
    /// A store at this address (`redis://`, `rediss://`, `unix://`), under keys of this name space.
    /// Does not connect.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(address: &str, namespace: &str) -> Result<Self, SharedError> {
        let client = Client::open(address).map_err(|error| {
            SharedError::Refused(format!("no address of a Redis server: {error}"))
        })?;
        Ok(Self {
            client,
            // Braces keep all keys in one slot of a cluster, where one script may use them together.
            prefix: format!("{{{namespace}}}:"),
            lease: Script::new(include_str!("lease.lua")),
            draw: Script::new(include_str!("draw.lua")),
            board: Script::new(include_str!("board.lua")),
            keys: Script::new(include_str!("keys.lua")),
            connection: Mutex::new(None),
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The connection; made when there is none.
    async fn connection(&self) -> Result<MultiplexedConnection, SharedError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| failure(&error))?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    /// What an error means; the connection is given up where it may be the reason.
    async fn failed(&self, error: &RedisError) -> SharedError {
        let failure = failure(error);
        if matches!(failure, SharedError::Away(_)) {
            *self.connection.lock().await = None;
        }
        failure
    }
}

impl SharedStore for RedisStore {
    fn lease<'a>(
        &'a self,
        replica: &'a Replica,
        calls: &'a [LeaseCall],
    ) -> BoxFuture<'a, Result<Vec<LeaseReply>, SharedError>> {
        async move {
            let mut replies = Vec::with_capacity(calls.len());
            for batch in calls.chunks(BATCH) {
                replies.extend(self.lease_batch(replica, batch).await?);
            }
            Ok(replies)
        }
        .boxed()
    }

    fn draw<'a>(
        &'a self,
        replica: &'a Replica,
        calls: &'a [DrawCall],
    ) -> BoxFuture<'a, Result<Vec<DrawReply>, SharedError>> {
        async move {
            let mut replies = Vec::with_capacity(calls.len());
            for batch in calls.chunks(BATCH) {
                replies.extend(self.draw_batch(replica, batch).await?);
            }
            Ok(replies)
        }
        .boxed()
    }
}

/// The driver's words for what went wrong; neither address nor password is in them.
fn failure(error: &RedisError) -> SharedError {
    let refused = matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::RESP3NotSupported
    ) || matches!(
        error.code(),
        Some("NOAUTH" | "NOPERM" | "OOM" | "READONLY" | "WRONGPASS" | "WRONGTYPE" | "ERR")
    );
    if refused {
        SharedError::Refused(error.to_string())
    } else {
        SharedError::Away(error.to_string())
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client's own form would show the password.
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
