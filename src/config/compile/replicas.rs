//! `state.store` where several replicas share one, and what goes with it.

use secrecy::SecretString;

use super::secret::address;
use super::{Context, at};
use crate::config::schema::{BudgetsOnStoreDown, LimitsOnStoreDown, StateConfig};
use crate::config::snapshot::SharedParams;
use crate::runtime::limiter::LimitsWhenAway;

/// Schemes of the shared store.
const SCHEMES: [&str; 3] = ["redis://", "rediss://", "redis+unix://"];

/// The shared store, when the file names one.
pub fn compile_shared(cx: &mut Context<'_, '_>, state: &StateConfig) -> Option<SharedParams> {
    let meant = |text: &str| SCHEMES.iter().any(|scheme| text.starts_with(scheme));
    // What is no reference and names another store is another's to read.
    let text = state.store.trim();
    let is_reference = text.starts_with("${") || text.starts_with("file:");
    if !meant(text) && !is_reference {
        unused(cx, state);
        return None;
    }
    let address = address(cx, at!["state", "store"], text)?;
    if !meant(&address) {
        return None;
    }
    for (name, value) in [
        ("replica", state.replica.as_ref()),
        ("namespace", Some(&state.namespace)),
    ] {
        let sound = |value: &String| {
            (1..=128).contains(&value.len())
                && value
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
        };
        if value.is_some_and(|value| !sound(value)) {
            cx.error(
                at!["state", name],
                "a name has 1 to 128 letters, digits and `-`, `_`, `.`, `:`",
            );
        }
    }
    Some(SharedParams {
        address: SecretString::from(address),
        namespace: state.namespace.clone(),
        replica: state.replica.clone(),
        budgets_open_when_away: state.on_store_down.budgets == BudgetsOnStoreDown::Open,
        limits_when_away: match state.on_store_down.limits {
            LimitsOnStoreDown::Share => LimitsWhenAway::Share,
            LimitsOnStoreDown::Open => LimitsWhenAway::Open,
            LimitsOnStoreDown::Closed => LimitsWhenAway::Closed,
        },
    })
}

fn unused(cx: &mut Context<'_, '_>, state: &StateConfig) {
    if state.replica.is_some() {
        cx.warn(
            at!["state", "replica"],
            "a name for a replica, but no store that replicas share",
            "set `store: redis://…`, or leave it away",
        );
    }
}
