//! What this process shares with other replicas, if there are any.

use std::sync::Arc;

use super::StartError;
use crate::clock::Clock;
use crate::config::snapshot::{LedgerLocation, SharedParams, StateParams};
use crate::replicas::Replicas;
use crate::runtime::budgets::{Budgets, Sharing};
use crate::runtime::leases::Bell;
use crate::runtime::limiter::Limiters;
use crate::stores::{Note, Notebook, RedisStore, SharedError};
use crate::types::Replica;

/// Where a replica's name is noted.
const TOPIC: &str = "replica";

/// Budgets and limits, and who looks after what they share.
pub(super) struct Shared {
    pub(super) budgets: Arc<Budgets>,
    pub(super) limiters: Arc<Limiters>,
    pub(super) replicas: Option<Arc<Replicas>>,
}

/// Budgets and limits of one process, or of one replica among several.
///
/// # Errors
/// When the store's address is none, or the replica's name cannot be noted.
pub(super) fn shared(
    state: &StateParams,
    notebook: &Notebook,
    clock: Clock,
) -> Result<Shared, StartError> {
    let Some(params) = &state.shared else {
        return Ok(Shared {
            budgets: Arc::new(Budgets::new(clock)),
            limiters: Arc::new(Limiters::new()),
            replicas: None,
        });
    };
    let one_ledger = matches!(state.ledger, LedgerLocation::Postgres { .. });
    let incarnation = u64::try_from(clock.unix_ms()).unwrap_or(0);
    let signature = match &params.replica {
        Some(name) => name.clone(),
        None => noted_name(notebook, &clock)?,
    };
    let name = if one_ledger {
        // What an earlier life has spent is in everybody's ledger and cannot be told apart there: so
        // each life is a replica of its own.
        format!("{signature}#{incarnation}")
    } else {
        signature.clone()
    };
    let bell = Bell::default();
    let store = Arc::new(store(params)?);
    let sharing = Sharing {
        one_ledger,
        open_when_away: params.budgets_open_when_away,
    };
    let replica = Replica {
        name: name.into(),
        incarnation,
    };
    Ok(Shared {
        budgets: Arc::new(Budgets::new(clock).shared(sharing, bell.clone())),
        limiters: Arc::new(Limiters::new().shared(bell.clone(), params.limits_when_away)),
        replicas: Some(Arc::new(Replicas::new(
            store,
            replica,
            signature.into(),
            bell,
        ))),
    })
}

/// The store that the file names. Does not connect.
///
/// # Errors
/// When its address is none.
pub fn store(params: &SharedParams) -> Result<RedisStore, SharedError> {
    let address = secrecy::ExposeSecret::expose_secret(&params.address);
    RedisStore::new(address, &params.namespace)
}

/// The name that goes with this process's ledger: made at its first start and noted there, so that
/// whoever comes back with the ledger is the same replica.
fn noted_name(notebook: &Notebook, clock: &Clock) -> Result<String, StartError> {
    let fresh = Note {
        topic: TOPIC,
        key: "name".to_owned(),
        text: uuid::Uuid::now_v7().to_string(),
        at_ms: clock.unix_ms(),
    };
    notebook.claim(&fresh, &[])?;
    let noted = notebook.all(TOPIC)?;
    let name = noted.into_iter().find(|note| note.key == fresh.key);
    Ok(name.map_or(fresh.text, |note| note.text))
}
