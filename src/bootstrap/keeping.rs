//! Where responses are kept.

use std::sync::Arc;

use super::StartError;
use super::sharing;
use crate::config::snapshot::{ResponsesPlace, StateParams};
use crate::stores::{Bounds, Responses};

/// The responses of this process; `None` when nothing is kept.
///
/// # Errors
/// When the file cannot be opened, or the shared store's address is none.
pub(super) fn responses(state: &StateParams) -> Result<Option<Arc<Responses>>, StartError> {
    let Some(params) = &state.responses else {
        return Ok(None);
    };
    let bounds = Bounds {
        retention: params.retention,
        max_bytes: params.max_bytes,
    };
    let responses = match (&params.place, &state.shared) {
        (ResponsesPlace::File(path), _) => Responses::sqlite(path, bounds)?,
        // A connection of its own: a long conversation must not stand before a lease.
        (ResponsesPlace::Shared, Some(shared)) => Responses::redis(sharing::store(shared)?, bounds),
        (ResponsesPlace::Memory | ResponsesPlace::Shared, _) => Responses::memory(bounds),
    };
    Ok(Some(Arc::new(responses)))
}
