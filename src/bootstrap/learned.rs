//! What the policies have learned, over a restart: read at the start, written down now and then and at
//! the end. A killed process loses what it learned since the last time, and nothing else.

use std::sync::Arc;

use crate::gateway::Gateway;
use crate::runtime::arms::Arms;
use crate::stores::{LedgerError, Note, Notebook};

/// The notebook's topic.
const LEARNED: &str = "learned";

/// Reads what an earlier process learned.
pub(super) fn restore(arms: &Arms, notebook: &Notebook) -> Result<(), LedgerError> {
    for note in notebook.all(LEARNED)? {
        arms.restore(&note.text);
    }
    Ok(())
}

/// Writes down what was learned since the last call, off the workers.
pub async fn save(gw: &Arc<Gateway>) {
    let written = gw.arms.written();
    if written.is_empty() {
        return;
    }
    let at_ms = gw.clock.unix_ms();
    let notes: Vec<Note> = written
        .into_iter()
        .map(|(key, text)| Note {
            topic: LEARNED,
            key,
            text,
            at_ms,
        })
        .collect();
    let notebook = Arc::clone(&gw.notebook);
    let saved = tokio::task::spawn_blocking(move || notebook.put(&notes)).await;
    if let Ok(Err(error)) = saved {
        tracing::warn!(%error, "what was learned could not be written down; a restart would lose it");
    }
}
