//! `POST /v1/messages/count_tokens`: how many tokens a request would take. Its provider says so where
//! it is one that counts for nothing; else it is our own estimate, and the answer says so.

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::Incoming;
use serde_json::json;

use crate::error::ProxyError;
use crate::gateway::{Active, Gateway};
use crate::policy::{self, Asked};
use crate::types::{Call, Endpoint};
use crate::{auth, ingress, limits, upstream, wire};

/// Counts the tokens of a request of the Messages API.
pub(super) async fn count_tokens(
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
    let call = wire::decode(Endpoint::Messages, body, directives)?;
    let asked = policy::resolve(snapshot, &caller, &call)?;
    let counted = match asked {
        Asked::Pinned { index } => by_provider(gw, active, &call, index).await,
        Asked::Routed { .. } => None,
    };
    let answer = if let Some(tokens) = counted {
        json!({"input_tokens": tokens})
    } else {
        let features = super::classify(gw, active, &call);
        json!({"input_tokens": features.input_tokens, "estimated": true})
    };
    Ok(Bytes::from(answer.to_string()))
}

/// What the first of the model's providers says that speaks Anthropic's API itself; `None` where there
/// is none or it fails.
async fn by_provider(gw: &Gateway, active: &Active, call: &Call, model: usize) -> Option<u64> {
    let snapshot = &active.snapshot;
    let deployments = snapshot.models[model].deployments.iter();
    let mut counting = deployments.filter_map(|deployment| {
        let provider = &snapshot.providers[deployment.provider];
        let endpoint = upstream::counts(provider)?;
        Some((deployment, provider, endpoint))
    });
    let (deployment, provider, endpoint) = counting.next()?;
    let timeouts = &snapshot.resilience.timeouts;
    let client = gw
        .clients
        .get(endpoint.ca_file.as_deref(), timeouts.connect);
    let outbound = upstream::Outbound {
        call,
        model: &snapshot.models[model],
        deployment,
        provider,
        timeouts,
        deadline: tokio::time::Instant::now() + timeouts.first_event,
        unix_ms: gw.clock.unix_ms(),
        grants: &gw.grants,
    };
    upstream::count_tokens(&outbound, endpoint, &client.ok()?).await
}
