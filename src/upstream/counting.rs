//! How many tokens a request would take, asked of a provider that counts for nothing.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use tokio::time::Instant;

use crate::config::snapshot::{HttpEndpoint, Provider, ProviderEndpoint};
use crate::runtime::HttpClient;
use crate::wire::DialectId;
use crate::wire::translate::Host;

use super::{Outbound, request, signer};

/// A count is worth waiting for as long as nobody waits for an answer in the meantime.
const PATIENCE: Duration = Duration::from_secs(5);
/// `{"input_tokens":2095}` and room for what may be added.
const MAX_COUNT_BYTES: usize = 64 * 1024;

/// Where a provider is asked; `None` for those that do not count. Anthropic does on its own host, free
/// of charge.
#[must_use]
pub fn counts(provider: &Provider) -> Option<&HttpEndpoint> {
    let is_anthropic =
        provider.dialect == DialectId::AnthropicMessages && provider.host == Host::Native;
    match &provider.endpoint {
        ProviderEndpoint::Http(endpoint) if is_anthropic && provider.enabled => Some(endpoint),
        ProviderEndpoint::Http(_) | ProviderEndpoint::Simulated(_) => None,
    }
}

/// The provider's count; `None` when it does not give one in time.
pub async fn count_tokens(
    outbound: &Outbound<'_>,
    endpoint: &HttpEndpoint,
    client: &HttpClient,
) -> Option<u64> {
    let until = outbound.deadline.min(Instant::now() + PATIENCE);
    let asked = ask(outbound, endpoint, client);
    tokio::time::timeout_at(until, asked).await.ok()?
}

async fn ask(outbound: &Outbound<'_>, endpoint: &HttpEndpoint, client: &HttpClient) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Count {
        input_tokens: u64,
    }
    let credential = signer::ready(outbound.account(), client).await.ok()?;
    let request = request::build_count(outbound, endpoint, &credential).ok()?;
    let response = client.request(request).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let body = Limited::new(response.into_body(), MAX_COUNT_BYTES);
    let body = body.collect().await.ok()?.to_bytes();
    let count: Count = serde_json::from_slice(&body).ok()?;
    Some(count.input_tokens)
}
