//! Batches that providers still work on, over a restart: read from the notebook at the start.

use crate::runtime::batches::{BATCHES, OpenBatches};
use crate::stores::{LedgerError, Notebook};
use crate::types::ProviderId;

/// The batches that an earlier process was asked for and did not live to pay.
pub(super) fn noted(notebook: &Notebook) -> Result<OpenBatches, LedgerError> {
    let batches = OpenBatches::default();
    for note in notebook.all(BATCHES)? {
        let parts = note.key.split_once('/');
        if let (Some((provider, id)), Ok(owner)) = (parts, serde_json::from_str(&note.text)) {
            batches.add((ProviderId::from(provider), id.to_owned()), owner);
        }
    }
    Ok(batches)
}
