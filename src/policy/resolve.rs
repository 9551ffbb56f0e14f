//! The name in `model` → what it means: routed by the matrix, or pinned to one model.

use crate::config::Snapshot;
use crate::config::snapshot::VirtualModel;
use crate::error::{ErrorKind, ProxyError};
use crate::types::caller::wildcard_matches;
use crate::types::{Call, Caller, Endpoint, ModelId};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Routed; the name of the virtual model.
    Routed {
        /// A key of the snapshot's `virtual_models`.
        virtual_model: Box<str>,
    },
    /// This model and no other but its equivalents.
    Pinned {
        /// Index into the snapshot's models.
        index: usize,
    },
}

/// Names offered when one is not known.
const SUGGESTIONS: usize = 3;
/// Similarity (Jaro–Winkler) from which a name is worth suggesting.
const SIMILAR: f64 = 0.75;

/// Resolves the name: a virtual model, then the first alias that matches, then a model.
///
/// # Errors
/// 404 when there is no such name; 403 when the key may not use the model; 400 when the model does not
/// serve the endpoint.
pub fn resolve(snapshot: &Snapshot, caller: &Caller, call: &Call) -> Result<Asked, ProxyError> {
    let name = call.model.as_str();
    let alias = || {
        snapshot
            .aliases
            .iter()
            .find(|alias| wildcard_matches(&alias.pattern, name))
    };
    let meant = if snapshot.virtual_models.contains_key(name) {
        name
    } else {
        alias().map_or(name, |alias| &alias.target)
    };
    if let Some((virtual_model, _)) = snapshot.virtual_models.get_key_value(meant) {
        return Ok(Asked::Routed {
            virtual_model: virtual_model.clone(),
        });
    }
    match snapshot.model_index.get(meant) {
        Some(&index) => pinned(snapshot, caller, call, index),
        None => Err(not_found(snapshot, caller, name)),
    }
}

/// The virtual model of a routed request.
#[must_use]
pub fn virtual_model<'s>(snapshot: &'s Snapshot, asked: &Asked) -> Option<&'s VirtualModel> {
    match asked {
        Asked::Routed { virtual_model } => snapshot.virtual_models.get(virtual_model),
        Asked::Pinned { .. } => None,
    }
}

/// The model of a request that is passed through: a name under `models`, or an alias of one.
///
/// # Errors
/// 404 when there is no such name; 403 when the key may not use the model; 400 when the name is routed.
pub fn resolve_relayed(
    snapshot: &Snapshot,
    caller: &Caller,
    name: &str,
) -> Result<usize, ProxyError> {
    let known = |name: &str| snapshot.model_index.get(name).copied();
    let alias = || {
        let mut aliases = snapshot.aliases.iter();
        aliases.find(|alias| wildcard_matches(&alias.pattern, name))
    };
    let meant = known(name).or_else(|| known(&alias()?.target));
    let Some(index) = meant else {
        if snapshot.virtual_models.contains_key(name) {
            let message = format!("`{name}` is routed by what is asked; name a model here");
            return Err(ProxyError::invalid("model", message));
        }
        return Err(not_found(snapshot, caller, name));
    };
    permitted(snapshot, caller, index)?;
    Ok(index)
}

fn pinned(
    snapshot: &Snapshot,
    caller: &Caller,
    call: &Call,
    index: usize,
) -> Result<Asked, ProxyError> {
    permitted(snapshot, caller, index)?;
    let model = &snapshot.models[index];
    let embeds = call.endpoint == Endpoint::Embeddings;
    if model.embeddings != embeds {
        return Err(ProxyError::invalid(
            "model",
            format!(
                "the model `{}` does not serve {}",
                model.id,
                call.endpoint.path()
            ),
        ));
    }
    Ok(Asked::Pinned { index })
}

fn permitted(snapshot: &Snapshot, caller: &Caller, index: usize) -> Result<(), ProxyError> {
    let model = &snapshot.models[index];
    if !may_use(caller, &model.id) {
        return Err(with_param(ProxyError::new(
            ErrorKind::ModelNotAllowed,
            format!("this key may not use the model `{}`", model.id),
        )));
    }
    if model.tier > caller.tier {
        return Err(with_param(ProxyError::new(
            ErrorKind::ModelNotAllowed,
            format!(
                "the model `{}` is of tier {}; this key may use models up to tier {}",
                model.id, model.tier, caller.tier
            ),
        )));
    }
    Ok(())
}

fn may_use(caller: &Caller, model: &ModelId) -> bool {
    caller.allow.allows(model)
}

fn with_param(mut error: ProxyError) -> ProxyError {
    error.param = Some("model".to_owned());
    error
}

/// The error for a name that stands for nothing, with the nearest names that this caller may use.
pub fn not_found(snapshot: &Snapshot, caller: &Caller, name: &str) -> ProxyError {
    let shown = &name[..name.floor_char_boundary(name.len().min(96))];
    let lower = shown.to_lowercase();
    let models = snapshot
        .models
        .iter()
        .map(|model| &model.id)
        .filter(|id| may_use(caller, id))
        .map(ModelId::as_str);
    let mut near: Vec<(f64, &str)> = snapshot
        .virtual_models
        .keys()
        .map(AsRef::as_ref)
        .chain(models)
        .map(|known| (strsim::jaro_winkler(&lower, &known.to_lowercase()), known))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.truncate(SUGGESTIONS);
    let names: Vec<String> = near.iter().map(|(_, name)| format!("`{name}`")).collect();
    let hint = if names.is_empty() {
        "`GET /v1/models` lists what there is; `auto` is routed".to_owned()
    } else {
        format!("did you mean {}?", names.join(", "))
    };
    with_param(ProxyError::new(
        ErrorKind::ModelNotFound,
        format!("there is no model `{shown}`; {hint}"),
    ))
}
