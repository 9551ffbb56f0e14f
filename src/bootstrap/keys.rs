//! Virtual keys beside those of the file: the store that replicas share has them, all replicas admit them
//! within about a second of `tollgate keys add`, and none a second after `tollgate keys revoke`.
//!
//! Fail-safe: while the store is away, and after a start without it, the keys that this replica last heard
//! of hold (they are noted beside its ledger); a store that has forgotten them is told again.

use std::sync::Arc;

use super::bind_keys;
use crate::config::{Snapshot, stored_key};
use crate::gateway::Gateway;
use crate::replicas::Replicas;
use crate::stores::{LedgerError, Note, Notebook, StoredKeys};

/// The notebook's topic.
const TOPIC: &str = "stored_keys";
/// The note that has all of them.
const ALL: &str = "all";

/// What this replica last heard.
pub(super) fn noted(notebook: &Notebook) -> Result<StoredKeys, LedgerError> {
    let notes = notebook.all(TOPIC)?;
    let text = notes.into_iter().find(|note| note.key == ALL);
    let known = text.and_then(|note| serde_json::from_str(&note.text).ok());
    let (version, texts) = known.unwrap_or_default();
    Ok(StoredKeys { version, texts })
}

/// Puts stored keys among the file's. One that the file cannot take is left out, and said.
pub(super) fn add(snapshot: &mut Snapshot, stored: &StoredKeys) {
    snapshot.keys.retain(|_, key| !key.is_stored);
    for (id, text) in stored.texts.iter().filter(|(_, text)| !text.is_empty()) {
        match stored_key(text, snapshot) {
            Ok(key) => {
                snapshot.keys.insert(key.sha256, Arc::new(key));
            }
            Err(why) => tracing::warn!(key = id, why, "a stored key cannot be used here"),
        }
    }
}

/// Takes over what has changed in the store.
pub(super) async fn follow(gw: &Arc<Gateway>, replicas: &Replicas) {
    let known = gw.stored_keys.lock().clone();
    let Some(found) = replicas.stored_keys(&known).await else {
        return;
    };
    let note = Note {
        topic: TOPIC,
        key: ALL.to_owned(),
        text: serde_json::to_string(&(found.version, &found.texts)).unwrap_or_default(),
        at_ms: gw.clock.unix_ms(),
    };
    let gateway = Arc::clone(gw);
    let taken = tokio::task::spawn_blocking(move || {
        // One at a time with reloads, which put the keys into the file's next version.
        let _no_reload = gateway.last_reload.lock();
        *gateway.stored_keys.lock() = found;
        bind_keys(&gateway);
        gateway.notebook.put(&[note])
    });
    match taken.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the stored keys could not be noted; a start without the store would lack them");
        }
        Err(error) => tracing::error!(%error, "a fault while taking over the stored keys"),
    }
}
