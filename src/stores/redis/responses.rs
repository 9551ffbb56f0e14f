//! Kept responses in Redis, so that a replica can go on with another's conversation: a hash for each,
//! and an index by age that bounds them all. Redis lets go of them by its own expiry, too.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::{AsyncCommands, Script};
use sha2::{Digest, Sha256};

use super::RedisStore;
use crate::stores::responses::{Bounds, KeptResponse, Shelf, ShelfError};
use crate::stores::shared::SharedError;

/// Responses in one Redis.
#[derive(Debug)]
pub(crate) struct ResponsesShelf {
    store: RedisStore,
    bounds: Bounds,
    put: Script,
    delete: Script,
}

impl RedisStore {
    /// The store as one of responses.
    pub(crate) fn shelf(self, bounds: Bounds) -> ResponsesShelf {
        ResponsesShelf {
            store: self,
            bounds,
            put: Script::new(include_str!("responses.lua")),
            delete: Script::new(DELETE),
        }
    }
}

/// KEYS: the response, the index, the sum. ARGV: its name in the index.
const DELETE: &str = "\
local bytes = redis.call('HGET', KEYS[1], 'bytes')
if not bytes then return 0 end
redis.call('DEL', KEYS[1])
if redis.call('ZREM', KEYS[2], bytes .. '|' .. ARGV[1]) == 1 then
  redis.call('DECRBY', KEYS[3], bytes)
end
return 1";

/// A name of fixed length and harmless characters: tenants' names are the file's, ids are clients'.
fn named(tenant: &str, id: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((tenant.len() as u64).to_le_bytes());
    hash.update(tenant);
    hash.update(id);
    let digest = hash.finalize();
    digest[..16].iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write as _;
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

impl ResponsesShelf {
    fn response_key(&self, tenant: &str, id: &str) -> String {
        self.store.key(&format!("response:{}", named(tenant, id)))
    }

    fn item_key(&self, tenant: &str, item: &str) -> String {
        let name = named(tenant, item);
        self.store.key(&format!("response-item:{name}"))
    }

    async fn put_one(&self, kept: &KeptResponse) -> Result<(), SharedError> {
        let mut run = self.put.prepare_invoke();
        run.key(self.response_key(&kept.tenant, &kept.id));
        run.key(self.store.key("responses"));
        run.key(self.store.key("responses-bytes"));
        for item in &kept.items {
            run.key(self.item_key(&kept.tenant, item));
        }
        let retention = u64::try_from(self.bounds.retention.as_millis()).unwrap_or(u64::MAX);
        run.arg(retention)
            .arg(self.bounds.max_bytes)
            .arg(kept.bytes());
        run.arg(named(&kept.tenant, &kept.id));
        run.arg(self.store.key("response:"));
        run.arg(kept.created_ms).arg(&*kept.origin);
        run.arg(&kept.response[..]).arg(&kept.input[..]);
        run.arg(kept.items.join("\n")).arg(&*kept.id);
        let mut connection = self.store.connection().await?;
        match run.invoke_async::<i64>(&mut connection).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.store.failed(&error).await),
        }
    }

    async fn read(&self, tenant: &str, id: &str) -> Result<Option<KeptResponse>, SharedError> {
        let mut connection = self.store.connection().await?;
        let fields: HashMap<String, Vec<u8>> =
            match connection.hgetall(self.response_key(tenant, id)).await {
                Ok(fields) => fields,
                Err(error) => return Err(self.store.failed(&error).await),
            };
        if fields.is_empty() {
            return Ok(None);
        }
        let text = |name: &str| {
            let field = fields.get(name).map(Vec::as_slice).unwrap_or_default();
            String::from_utf8_lossy(field).into_owned()
        };
        let bytes = |name: &str| Bytes::from(fields.get(name).cloned().unwrap_or_default());
        let garbled = || SharedError::Garbled("a kept response".to_owned());
        Ok(Some(KeptResponse {
            tenant: tenant.into(),
            id: id.into(),
            created_ms: text("created").parse().map_err(|_| garbled())?,
            origin: text("origin").into(),
            response: bytes("response"),
            input: bytes("input"),
            items: text("items").lines().map(str::to_owned).collect(),
        }))
    }

    async fn remove(&self, tenant: &str, id: &str) -> Result<bool, SharedError> {
        let mut run = self.delete.prepare_invoke();
        run.key(self.response_key(tenant, id));
        run.key(self.store.key("responses"));
        run.key(self.store.key("responses-bytes"));
        run.arg(named(tenant, id));
        let mut connection = self.store.connection().await?;
        match run.invoke_async::<i64>(&mut connection).await {
            Ok(gone) => Ok(gone == 1),
            Err(error) => Err(self.store.failed(&error).await),
        }
    }

    async fn holder_of(&self, tenant: &str, item: &str) -> Result<Option<String>, SharedError> {
        let mut connection = self.store.connection().await?;
        match connection.get(self.item_key(tenant, item)).await {
            Ok(id) => Ok(id),
            Err(error) => Err(self.store.failed(&error).await),
        }
    }
}

fn unusable(error: &SharedError) -> ShelfError {
    ShelfError(error.to_string())
}

impl Shelf for ResponsesShelf {
    fn put<'a>(&'a self, batch: &'a [Arc<KeptResponse>]) -> BoxFuture<'a, Result<(), ShelfError>> {
        async move {
            for kept in batch {
                self.put_one(kept).await.map_err(|error| unusable(&error))?;
            }
            Ok(())
        }
        .boxed()
    }

    fn get<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<KeptResponse>, ShelfError>> {
        async move {
            self.read(tenant, id)
                .await
                .map_err(|error| unusable(&error))
        }
        .boxed()
    }

    fn holder<'a>(
        &'a self,
        tenant: &'a str,
        item: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, ShelfError>> {
        async move {
            self.holder_of(tenant, item)
                .await
                .map_err(|error| unusable(&error))
        }
        .boxed()
    }

    fn delete<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, ShelfError>> {
        async move {
            self.remove(tenant, id)
                .await
                .map_err(|error| unusable(&error))
        }
        .boxed()
    }

    /// The server's own expiry does it.
    fn expire(&self, _: i64) -> BoxFuture<'_, Result<(), ShelfError>> {
        futures_util::future::ready(Ok(())).boxed()
    }
}
