//! ONE attempt to pass a request through: its bytes as they are, with our credentials instead of the
//! client's, until the answer's head is there. The body is the caller's.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::config::snapshot::{HttpEndpoint, Provider, Signer};
use crate::runtime::{Grants, HttpClient, UploadBody, UploadClient};
use crate::types::{AttemptFailure, Next, Outcome};
use crate::wire::translate::UpstreamPath;

use super::{request, response, signer};

/// What is passed on where.
#[derive(Clone, Copy)]
pub struct RelayOutbound<'a> {
    /// The provider.
    pub provider: &'a Provider,
    /// Its address.
    pub endpoint: &'a HttpEndpoint,
    /// How it is signed for.
    pub signer: &'a Signer,
    /// What the upstream calls the model; empty where none is named.
    pub upstream_model: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The path below the base.
    pub path: &'a str,
    /// Parameters of the query, checked and encoded.
    pub query: Option<&'a str>,
    /// The client's headers, of which only what the body is and what is wanted goes on.
    pub headers: &'a HeaderMap,
    /// The body, where it is all there: some signatures cover it.
    pub whole: Option<&'a Bytes>,
    /// Wall-clock time, milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// Access tokens.
    pub grants: &'a Grants,
    /// When the answer's head must be there.
    pub until: Instant,
    /// A 404 is about what the client named, not about our configuration.
    pub not_found_is_an_answer: bool,
}

/// Passes a request on and waits for the head of its answer.
///
/// # Errors
/// [`AttemptFailure`] with what may follow; nothing has reached the client.
///
/// # Cancel safety
/// Dropping the future closes or resets the upstream's request.
pub async fn relay(
    outbound: RelayOutbound<'_>,
    clients: (&HttpClient, &UploadClient),
    body: UploadBody,
) -> Result<Response<Incoming>, AttemptFailure> {
    match tokio::time::timeout_at(outbound.until, send(outbound, clients, body)).await {
        Ok(answered) => answered,
        Err(_) => Err(AttemptFailure::sent(
            Outcome::Timeout,
            Next::Fallback,
            "no answer in time",
        )),
    }
}

async fn send(
    outbound: RelayOutbound<'_>,
    (grants_client, client): (&HttpClient, &UploadClient),
    body: UploadBody,
) -> Result<Response<Incoming>, AttemptFailure> {
    let account = signer::Account {
        grants: outbound.grants,
        provider: &outbound.provider.id,
        signer: outbound.signer,
        unix_ms: outbound.unix_ms,
    };
    let credential = signer::ready(account, grants_client).await?;
    let request = build(&outbound, &credential, body)?;
    let response = client
        .request(request)
        .await
        .map_err(|error| response::unreachable(&error))?;
    let again = signer::heed(account, &credential, response.status(), response.headers());
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        return Ok(Response::from_parts(head, body));
    }
    let body = Limited::new(body, response::MAX_ERROR_BYTES)
        .collect()
        .await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let mut failure = response::refused_relay(&head, body, &outbound);
    if again {
        failure.next = Next::Retry;
    }
    Err(failure)
}

fn build(
    outbound: &RelayOutbound<'_>,
    credential: &signer::Credential<'_>,
    body: UploadBody,
) -> Result<Request<UploadBody>, AttemptFailure> {
    let misconfigured =
        |message: String| AttemptFailure::unsent(Outcome::Internal, Next::Fallback, message);
    if credential.covers_body() && outbound.whole.is_none() {
        let message = "the provider's signature covers the body, which is not there as a whole";
        return Err(misconfigured(message.to_owned()));
    }
    let path = UpstreamPath {
        path: outbound.path.to_owned().into(),
        query: None,
    };
    let mut url = request::url(outbound.endpoint, &path, outbound.upstream_model);
    if let Some(query) = outbound.query.filter(|query| !query.is_empty()) {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(query);
    }
    let mut request = Request::builder()
        .method(outbound.method)
        .uri(url)
        .body(body)
        .map_err(|error| misconfigured(format!("the provider's URL cannot be used: {error}")))?;
    let headers = request.headers_mut();
    for name in [CONTENT_TYPE, ACCEPT] {
        if let Some(value) = outbound.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers
        .entry(ACCEPT)
        .or_insert(HeaderValue::from_static("*/*"));
    headers.insert(USER_AGENT, request::OUR_NAME);
    for (name, value) in &outbound.provider.headers {
        headers.insert(name, value.clone());
    }
    let whole = outbound.whole.cloned().unwrap_or_default();
    credential.sign(&mut request, &whole, outbound.unix_ms)?;
    Ok(request)
}
