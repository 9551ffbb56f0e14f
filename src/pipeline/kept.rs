//! What a client asks of a response that is kept: to see it, whole or as its events, its input page by
//! page, and to delete it. Somebody else's looks like none at all.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};

use crate::auth;
use crate::error::{ErrorKind, ProxyError};
use crate::gateway::{Active, Gateway};
use crate::ingress::Route;
use crate::stores::KeptResponse;
use crate::types::{Endpoint, RequestId};
use crate::wire::dialect::openai_responses::listing::{self, Page};

use super::remembered::{self, Shelf};
use super::respond::{self, ReplyBody};

/// Serves a route below `/v1/responses/`.
pub(super) async fn serve(
    gw: &Gateway,
    active: &Active,
    head: &Parts,
    route: &Route,
    request_id: &RequestId,
) -> Response<ReplyBody> {
    let query = query_of(head);
    let answered = match route {
        Route::Response(id) if head.method == Method::DELETE => {
            delete(gw, active, head, id).await.map(Shown::Json)
        }
        Route::Response(id) => show(gw, active, head, id, &query).await,
        Route::ResponseInput(id) => input(gw, active, head, id, &query).await.map(Shown::Json),
        Route::ResponseCancel(_) => {
            let message =
                "only a response made with `background` can be cancelled, and there are none here";
            Err(ProxyError::new(ErrorKind::InvalidRequest, message))
        }
        _ => return respond::on_panic(),
    };
    match answered {
        Ok(Shown::Json(body)) => respond::json(StatusCode::OK, body, request_id),
        Ok(Shown::Events(body)) => respond::events(body, request_id),
        Err(error) => respond::refusal(Endpoint::Responses, &error, request_id),
    }
}

enum Shown {
    Json(Bytes),
    Events(Bytes),
}

async fn find(
    gw: &Gateway,
    active: &Active,
    head: &Parts,
    id: &str,
) -> Result<Arc<KeptResponse>, ProxyError> {
    let caller = auth::authenticate(&active.snapshot, &head.headers)?;
    let tenant = remembered::tenant_of(&caller);
    let shelf = Shelf {
        gw,
        tenant: &tenant,
    };
    shelf.find(id).await?.ok_or_else(|| missing(id))
}

fn missing(id: &str) -> ProxyError {
    let message = format!(
        "there is no response `{id}` of this key: it was not stored, was deleted, or is too old"
    );
    ProxyError::new(ErrorKind::NotFound, message)
}

async fn show(
    gw: &Gateway,
    active: &Active,
    head: &Parts,
    id: &str,
    query: &[(String, String)],
) -> Result<Shown, ProxyError> {
    let kept = find(gw, active, head, id).await?;
    let asked = |name: &str| {
        let found = query.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    };
    if asked("stream") != Some("true") {
        return Ok(Shown::Json(kept.response.clone()));
    }
    let after = asked("starting_after").map(|number| {
        let message = "`starting_after` must be the sequence number of an event";
        let wrong = |_| ProxyError::invalid("starting_after", message);
        number.parse::<u64>().map_err(wrong)
    });
    let events = listing::events(&kept.response, after.transpose()?);
    let unreadable = || ProxyError::new(ErrorKind::Internal, "the kept response cannot be read");
    events.map(Shown::Events).ok_or_else(unreadable)
}

async fn input(
    gw: &Gateway,
    active: &Active,
    head: &Parts,
    id: &str,
    query: &[(String, String)],
) -> Result<Bytes, ProxyError> {
    let kept = find(gw, active, head, id).await?;
    let page = Page::of(query)?;
    let input = String::from_utf8_lossy(&kept.input);
    listing::input_items(id, &input, &page)
}

async fn delete(
    gw: &Gateway,
    active: &Active,
    head: &Parts,
    id: &str,
) -> Result<Bytes, ProxyError> {
    let caller = auth::authenticate(&active.snapshot, &head.headers)?;
    let tenant = remembered::tenant_of(&caller);
    let gone = match &gw.responses {
        None => false,
        Some(responses) => responses
            .forget(&tenant, id)
            .await
            .map_err(|error| remembered::unreadable(&error))?,
    };
    gone.then(|| listing::deleted(id))
        .ok_or_else(|| missing(id))
}

/// The query's parameters. None of ours has a character that is encoded, so a `%` makes another one.
fn query_of(head: &Parts) -> Vec<(String, String)> {
    let query = head.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        })
        .collect()
}
