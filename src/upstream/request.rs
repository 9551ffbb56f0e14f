//! Builds the upstream's request: URL, headers, signature, body. Only what is listed here goes out;
//! of the client's headers none that could name a destination, a credential or an encoding.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request};
use http_body_util::Full;

use crate::config::snapshot::HttpEndpoint;
use crate::types::chat::Notes;
use crate::types::{AttemptFailure, Endpoint, Next, Outcome};
use crate::wire;
use crate::wire::translate::UpstreamPath;

use super::signer::Credential;
use super::{Outbound, abroad, translation};

pub(super) const OUR_NAME: HeaderValue =
    HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION")));
/// As it came: without spans of our own we take no part in the trace (W3C Trace Context §4.2).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// The request for one attempt.
///
/// # Errors
/// When the configured URL or credential cannot be put into a request; nothing was sent.
pub fn build(
    outbound: &Outbound<'_>,
    endpoint: &HttpEndpoint,
    credential: &Credential<'_>,
) -> Result<(Request<Full<Bytes>>, Notes), AttemptFailure> {
    let Content { body, path, notes } = content(outbound)?;
    let request = request(outbound, endpoint, credential, (body, path))?;
    Ok((request, notes))
}

/// The request that asks a provider how many tokens the call would take.
///
/// # Errors
/// As [`build`].
pub fn build_count(
    outbound: &Outbound<'_>,
    endpoint: &HttpEndpoint,
    credential: &Credential<'_>,
) -> Result<Request<Full<Bytes>>, AttemptFailure> {
    let call = outbound.call;
    let model = &outbound.deployment.upstream_model;
    let body = wire::spoken(call.endpoint).encode_request(call, model, false);
    let UpstreamPath { path, query } = translation::path(outbound);
    let path = UpstreamPath {
        path: format!("{path}/count_tokens").into(),
        query,
    };
    request(outbound, endpoint, credential, (body, path))
}

fn request(
    outbound: &Outbound<'_>,
    endpoint: &HttpEndpoint,
    credential: &Credential<'_>,
    (body, path): (Bytes, UpstreamPath),
) -> Result<Request<Full<Bytes>>, AttemptFailure> {
    let call = outbound.call;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url(endpoint, &path, &outbound.deployment.upstream_model))
        .body(Full::new(body.clone()))
        .map_err(|error| misconfigured(&format!("the provider's URL cannot be used: {error}")))?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(ACCEPT, if call.stream.wanted { EVENTS } else { JSON });
    headers.insert(USER_AGENT, OUR_NAME);
    let dialect = outbound.provider.dialect.translate();
    for (name, value) in dialect.headers(outbound.provider.host) {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    for (name, value) in &outbound.provider.headers {
        headers.insert(name, value.clone());
    }
    betas(outbound, headers);
    if let (true, Some(parent)) = (
        outbound.provider.propagate_trace,
        &call.directives.traceparent,
    ) && let Ok(value) = HeaderValue::from_str(parent)
    {
        headers.insert(TRACEPARENT, value);
    }
    credential.sign(&mut request, &body, outbound.unix_ms)?;
    Ok(request)
}

/// What a client of Anthropic's API turns on there goes on to a provider of that API, beside what the
/// file turns on.
fn betas(outbound: &Outbound<'_>, headers: &mut HeaderMap) {
    let Some(betas) = &outbound.call.directives.anthropic_beta else {
        return;
    };
    if wire::dialect_of(outbound.call.endpoint) != outbound.provider.dialect {
        return;
    }
    let configured = headers.get(ANTHROPIC_BETA);
    let together = match configured.and_then(|value| value.to_str().ok()) {
        Some(configured) => format!("{configured},{betas}"),
        None => betas.clone(),
    };
    if let Ok(value) = HeaderValue::from_str(&together) {
        headers.insert(ANTHROPIC_BETA, value);
    }
}

/// A body and where it goes.
struct Content {
    body: Bytes,
    path: UpstreamPath,
    notes: Notes,
}

/// The client's own bytes where the upstream speaks its dialect, else their translation.
fn content(outbound: &Outbound<'_>) -> Result<Content, AttemptFailure> {
    let call = outbound.call;
    let model = &outbound.deployment.upstream_model;
    if let Some(translation) = translation::between(call, outbound.provider) {
        let (body, notes) = translation.request(outbound)?;
        let path = translation.path(outbound);
        return Ok(Content { body, path, notes });
    }
    let path = match call.endpoint {
        Endpoint::Messages => translation::path(outbound),
        endpoint => UpstreamPath {
            path: endpoint.path().into(),
            query: None,
        },
    };
    if let Some(abroad) = abroad::of(outbound) {
        let (body, notes) = translation::settled(outbound, abroad)?;
        return Ok(Content { body, path, notes });
    }
    let ask_usage = call.stream.wanted
        && call.endpoint.generates()
        && !outbound.provider.quirks.no_stream_options;
    let body = wire::spoken(call.endpoint).encode_request(call, model, ask_usage);
    Ok(Content {
        body,
        path,
        notes: Notes::default(),
    })
}

fn misconfigured(message: &str) -> AttemptFailure {
    AttemptFailure::unsent(Outcome::Internal, Next::Fallback, message)
}

/// Base, path and query; `{model}` in the base stands for the upstream's model name.
pub(super) fn url(endpoint: &HttpEndpoint, path: &UpstreamPath, upstream_model: &str) -> String {
    let base = endpoint.base_url.trim_end_matches('/');
    let length = base.len() + path.path.len() + upstream_model.len() + 48;
    let mut url = String::with_capacity(length);
    match base.split_once("{model}") {
        Some((before, after)) => {
            url.push_str(before);
            url.push_str(upstream_model);
            url.push_str(after);
        }
        None => url.push_str(base),
    }
    // Some write the version into the base address although the path has it.
    let path_twice = path
        .path
        .strip_prefix("v1/")
        .filter(|_| url.ends_with("/v1"));
    url.push('/');
    url.push_str(path_twice.unwrap_or(&path.path));
    let queries = endpoint.query.as_deref().into_iter().chain(path.query);
    for (index, query) in queries.enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.push_str(query);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str, query: Option<&str>, expect: &str) {
        let endpoint = HttpEndpoint {
            base_url: base.to_owned(),
            origin: http::Uri::from_static("http://host"),
            query: query.map(str::to_owned),
            ca_file: None,
        };
        let path = UpstreamPath {
            path: "chat/completions".into(),
            query: None,
        };
        assert_eq!(url(&endpoint, &path, "gpt"), expect);
    }

    #[test]
    fn urls_are_data() {
        check("http://host/v1", None, "http://host/v1/chat/completions");
        check("http://host/v1/", None, "http://host/v1/chat/completions");
        check(
            "https://x.example/openai/deployments/{model}",
            Some("api-version=1"),
            "https://x.example/openai/deployments/gpt/chat/completions?api-version=1",
        );
    }
}
