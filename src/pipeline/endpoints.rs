//! The data listener's endpoints that call no upstream: models, explain, feedback, records.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::error::{ErrorKind, ProxyError};
use crate::gateway::{Active, Gateway};
use crate::ingress::{self, Route};
use crate::policy::{self, explain};
use crate::types::caller::wildcard_matches;
use crate::types::{Caller, Endpoint, RequestId, RequestRecord};
use crate::wire::dialect::openai_chat::models::{self, ModelEntry};
use crate::{auth, learn, limits};

use super::counting;
use super::kept;
use super::respond::{self, ReplyBody};

/// Most requests that one call of `/v1/route` may explain.
const MAX_EXPLAINED: usize = 1000;

/// Serves a route that is no model request.
pub(super) async fn serve(
    gw: &Arc<Gateway>,
    active: &Arc<Active>,
    request: Request<&mut Incoming>,
    route: Route,
    request_id: &RequestId,
) -> Response<ReplyBody> {
    let (head, body) = request.into_parts();
    let speaks = match route {
        Route::CountTokens => Endpoint::Messages,
        _ => Endpoint::ChatCompletions,
    };
    let answered = match route {
        Route::CountTokens => counting::count_tokens(gw, active, &head.headers, body).await,
        Route::Models => list_models(active, &head.headers),
        Route::Model(id) => one_model(active, &head.headers, &id),
        Route::Explain => explain(gw, active, &head.headers, body).await,
        Route::Feedback => feedback(gw, active, &head.headers, body).await,
        Route::RequestRecord(id) => record(gw, active, &head.headers, &id).await,
        Route::Response(_) | Route::ResponseInput(_) | Route::ResponseCancel(_) => {
            return kept::serve(gw, active, &head, &route, request_id).await;
        }
        Route::Generate(_) | Route::Relay(_) => return respond::on_panic(),
    };
    match answered {
        Ok(body) => respond::json(StatusCode::OK, body, request_id),
        Err(error) => respond::refusal(speaks, &error, request_id),
    }
}

fn list_models(active: &Active, headers: &HeaderMap) -> Result<Bytes, ProxyError> {
    let caller = auth::authenticate(&active.snapshot, headers)?;
    let entries = entries(active, &caller);
    Ok(models::list(entries))
}

fn one_model(active: &Active, headers: &HeaderMap, id: &str) -> Result<Bytes, ProxyError> {
    let caller = auth::authenticate(&active.snapshot, headers)?;
    let snapshot = &active.snapshot;
    let aliased = |id: &&str| {
        snapshot
            .aliases
            .iter()
            .any(|alias| wildcard_matches(&alias.pattern, id))
    };
    let found = entries(active, &caller)
        .into_iter()
        .find(|entry| entry.id == id)
        // An app that looks up the name it has always used must find it, as chat does.
        .or_else(|| {
            Some(id).filter(aliased).map(|id| ModelEntry {
                id,
                created: u64::try_from(snapshot.loaded_at_ms / 1000).unwrap_or(0),
                owned_by: "tollgate",
            })
        });
    found
        .map(models::one)
        .ok_or_else(|| policy::not_found(snapshot, &caller, id))
}

/// What this caller can ask for: the routed names first, then the models.
fn entries<'a>(active: &'a Active, caller: &Caller) -> Vec<ModelEntry<'a>> {
    let snapshot = &active.snapshot;
    let created = u64::try_from(snapshot.loaded_at_ms / 1000).unwrap_or(0);
    let mut routed: Vec<&str> = snapshot.virtual_models.keys().map(AsRef::as_ref).collect();
    routed.sort_unstable();
    let routed = routed.into_iter().map(|id| ModelEntry {
        id,
        created,
        owned_by: "tollgate",
    });
    let usable = snapshot.models.iter().filter(|model| {
        snapshot.providers[model.provider].enabled
            && caller.allow.allows(&model.id)
            && model.tier <= caller.tier
    });
    let own = usable.map(|model| ModelEntry {
        id: model.id.as_str(),
        created,
        owned_by: snapshot.providers[model.provider].id.as_str(),
    });
    routed.chain(own).collect()
}

async fn explain(
    gw: &Gateway,
    active: &Active,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<Bytes, ProxyError> {
    let snapshot = &active.snapshot;
    let caller = auth::authenticate(snapshot, headers)?;
    let _permit = limits::admit_patiently(&gw.limiters, gw.budgets.bell(), snapshot, &caller)
        .await
        .inspect_err(|error| super::observing::limited(gw, error))?;
    let directives = ingress::directives(headers)?;
    let body = super::read_body(active, headers, body).await?;
    let value = match batch_of(&body)? {
        None => super::planning::explain(gw, active, &caller, body, directives)?,
        Some(requests) => {
            let explained = requests.into_iter().map(|one| {
                super::planning::explain(gw, active, &caller, one, directives.clone())
                    .unwrap_or_else(|error| error_value(&error))
            });
            json!({"results": explained.collect::<Vec<_>>()})
        }
    };
    Ok(Bytes::from(value.to_string()))
}

fn error_value(error: &ProxyError) -> Value {
    let row = error.presentation();
    json!({"error": {"message": error.message, "type": row.error_type, "param": error.param, "code": row.code}})
}

/// The bodies under `requests`, when the body has such an array.
fn batch_of(body: &Bytes) -> Result<Option<Vec<Bytes>>, ProxyError> {
    #[derive(serde::Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        requests: Option<&'a serde_json::value::RawValue>,
    }
    let Ok(Batch {
        requests: Some(raw),
    }) = serde_json::from_slice::<Batch<'_>>(body)
    else {
        return Ok(None);
    };
    let requests: Vec<&serde_json::value::RawValue> = serde_json::from_str(raw.get())
        .map_err(|_| ProxyError::invalid("requests", "`requests` must be an array of requests"))?;
    if requests.len() > MAX_EXPLAINED {
        let message = format!(
            "at most {MAX_EXPLAINED} requests can be explained in one call, got {}",
            requests.len()
        );
        return Err(ProxyError::invalid("requests", message));
    }
    Ok(Some(
        requests
            .into_iter()
            .map(|raw| body.slice_ref(raw.get().as_bytes()))
            .collect(),
    ))
}

async fn feedback(
    gw: &Arc<Gateway>,
    active: &Active,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<Bytes, ProxyError> {
    let caller = auth::authenticate(&active.snapshot, headers)?;
    let body = super::read_body(active, headers, body).await?;
    let feedback = learn::parse_feedback(&body)?;
    let record = own_record(gw, &caller, &feedback.request_id).await?;
    let ledger = Arc::clone(&gw.ledger);
    let stored = feedback.clone().into_stored(gw.clock.unix_ms());
    let outcome = blocking(move || ledger.put_feedback(&stored)).await?;
    let now_ms = gw.clock.unix_ms();
    learn::apply_feedback(
        &gw.arms,
        &active.snapshot,
        &record,
        &feedback,
        &outcome,
        now_ms,
    );
    Ok(Bytes::from(
        json!({"request_id": feedback.request_id, "status": outcome.as_str()}).to_string(),
    ))
}

async fn record(
    gw: &Arc<Gateway>,
    active: &Active,
    headers: &HeaderMap,
    id: &str,
) -> Result<Bytes, ProxyError> {
    let caller = auth::authenticate(&active.snapshot, headers)?;
    let record = own_record(gw, &caller, &RequestId::from_text(id)).await?;
    Ok(Bytes::from(explain::record(&record).to_string()))
}

/// The record of a request that this caller's key made. That of another's looks like none at all.
async fn own_record(
    gw: &Arc<Gateway>,
    caller: &Caller,
    id: &RequestId,
) -> Result<RequestRecord, ProxyError> {
    let ledger = Arc::clone(&gw.ledger);
    let asked = id.clone();
    let found = blocking(move || ledger.request(&asked)).await?;
    found
        .filter(|record| record.key == caller.key)
        .ok_or_else(|| {
            let mut error =
                ProxyError::new(ErrorKind::NotFound, "there is no such request of this key");
            error.param = Some("request_id".to_owned());
            error
        })
}

/// Runs a read or write of the ledger's database off the workers.
async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, ProxyError>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            tracing::error!(%error, "the ledger cannot be read or written");
            Err(ProxyError::new(
                ErrorKind::Internal,
                "the ledger cannot be read or written",
            ))
        }
        Err(_) => Err(ProxyError::new(ErrorKind::Internal, "a fault in the proxy")),
    }
}
