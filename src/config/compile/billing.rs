//! `providers.*.billing`, and what is known of providers by their address.
//!
//! Whether a provider stops (and stops billing) when its client goes away is taken from OpenRouter's
//! list of providers that support stream cancellation (openrouter.ai/docs/api-reference/streaming):
//! those that do are billed by what was seen, those that do not go on to the end of the
//! answer and bill all of it. OpenRouter itself is among the latter, since it passes on what its providers
//! do. Assumption: hosts that nobody lists stop.

use std::sync::Arc;
use std::time::Duration;

use crate::config::catalogue;
use crate::config::price_book::{KnownPrice, PriceBook, ProviderPrices};
use crate::config::schema::{BillingConfig, OnDisconnectConfig, OnErrorConfig};
use crate::config::snapshot::{BillingParams, Model, OnDisconnect, Provider, ProviderEndpoint};
use crate::types::ModelId;

/// What an address says about its provider.
struct Vendor {
    /// The host, or its end with a dot in front.
    host: &'static str,
    /// Its name in the catalogue; empty where the catalogue has none.
    catalogue: &'static str,
    /// What it does when its client goes away.
    on_disconnect: OnDisconnect,
}

const fn vendor(
    host: &'static str,
    catalogue: &'static str,
    on_disconnect: OnDisconnect,
) -> Vendor {
    Vendor {
        host,
        catalogue,
        on_disconnect,
    }
}

const VENDORS: [Vendor; 18] = [
    vendor("api.openai.com", "openai", OnDisconnect::Estimate),
    vendor("api.anthropic.com", "anthropic", OnDisconnect::Estimate),
    vendor(".openai.azure.com", "", OnDisconnect::Estimate),
    vendor("api.deepseek.com", "deepseek", OnDisconnect::Estimate),
    vendor("api.x.ai", "xai", OnDisconnect::Estimate),
    vendor("api.together.xyz", "together", OnDisconnect::Estimate),
    vendor("api.together.ai", "together", OnDisconnect::Estimate),
    vendor("api.fireworks.ai", "fireworks", OnDisconnect::Estimate),
    vendor("api.cohere.com", "cohere", OnDisconnect::Estimate),
    vendor("api.cohere.ai", "cohere", OnDisconnect::Estimate),
    vendor("openrouter.ai", "", OnDisconnect::Drain),
    vendor(
        "generativelanguage.googleapis.com",
        "google",
        OnDisconnect::Drain,
    ),
    vendor(".aiplatform.googleapis.com", "", OnDisconnect::Drain),
    vendor(".amazonaws.com", "", OnDisconnect::Drain),
    vendor("api.groq.com", "groq", OnDisconnect::Drain),
    vendor("api.mistral.ai", "mistral", OnDisconnect::Drain),
    vendor("api.perplexity.ai", "", OnDisconnect::Drain),
    vendor("api.sambanova.ai", "", OnDisconnect::Drain),
];

fn vendor_of(endpoint: &ProviderEndpoint) -> Option<&'static Vendor> {
    let ProviderEndpoint::Http(endpoint) = endpoint else {
        return None;
    };
    let host = endpoint.origin.host()?.to_ascii_lowercase();
    VENDORS.iter().find(|vendor| {
        host == vendor.host || (vendor.host.starts_with('.') && host.ends_with(vendor.host))
    })
}

/// How a provider bills what is not read to its end.
pub fn compile(billing: &BillingConfig, endpoint: &ProviderEndpoint) -> BillingParams {
    let usual = vendor_of(endpoint).map_or(OnDisconnect::Estimate, |vendor| vendor.on_disconnect);
    BillingParams {
        on_disconnect: match billing.on_disconnect {
            None => usual,
            Some(OnDisconnectConfig::Estimate) => OnDisconnect::Estimate,
            Some(OnDisconnectConfig::Drain) => OnDisconnect::Drain,
            Some(OnDisconnectConfig::None) => OnDisconnect::Nothing,
        },
        errors_estimated: matches!(billing.on_error, OnErrorConfig::Estimate),
        drain: Duration::from_secs(billing.drain_seconds),
        drain_max_bytes: billing.drain_max_bytes,
    }
}

/// Every price that is known, by provider.
pub fn price_book(providers: &[Provider], models: &[Model]) -> PriceBook {
    let of = |(index, provider): (usize, &Provider)| ProviderPrices {
        declared: declared(index, models),
        catalogue: vendor_of(&provider.endpoint)
            .map(|vendor| in_catalogue(vendor.catalogue))
            .unwrap_or_default(),
    };
    PriceBook(providers.iter().enumerate().map(of).collect())
}

fn declared(provider: usize, models: &[Model]) -> Vec<KnownPrice> {
    let mut known: Vec<KnownPrice> = Vec::new();
    for model in models {
        let hosts = model.deployments.iter();
        for host in hosts.filter(|host| host.provider == provider) {
            let name = host.upstream_model.as_str();
            if known.iter().all(|known| *known.upstream_model != *name) {
                known.push(KnownPrice {
                    upstream_model: name.into(),
                    name: model.id.clone(),
                    list: Arc::clone(&model.price),
                });
            }
        }
    }
    known
}

fn in_catalogue(vendor: &str) -> Vec<KnownPrice> {
    let entries = catalogue::entries().iter();
    entries
        .filter(|entry| entry.provider == vendor)
        .filter_map(|entry| {
            Some(KnownPrice {
                upstream_model: entry.name.as_str().into(),
                name: ModelId::new(entry.name.as_str()),
                list: Arc::new(entry.price_list()?),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::snapshot::HttpEndpoint;

    fn check(host: &str, on_disconnect: OnDisconnect, in_catalogue: bool) {
        let endpoint = ProviderEndpoint::Http(HttpEndpoint {
            base_url: format!("https://{host}/v1"),
            origin: format!("https://{host}").parse().expect("a URL"),
            query: None,
            ca_file: None,
        });
        let params = compile(&BillingConfig::default(), &endpoint);
        assert_eq!(params.on_disconnect, on_disconnect, "{host}");
        let known = vendor_of(&endpoint).is_some_and(|vendor| !vendor.catalogue.is_empty());
        assert_eq!(known, in_catalogue, "{host}");
    }

    #[test]
    fn what_a_cut_stream_costs_follows_from_the_address() {
        check("api.openai.com", OnDisconnect::Estimate, true);
        check("API.MISTRAL.AI", OnDisconnect::Drain, true);
        check("me.openai.azure.com", OnDisconnect::Estimate, false);
        check(
            "eu-aiplatform.googleapis.com",
            OnDisconnect::Estimate,
            false,
        );
        check("eu.aiplatform.googleapis.com", OnDisconnect::Drain, false);
        check("api.openai.com.example.org", OnDisconnect::Estimate, false);
        check("127.0.0.1:11434", OnDisconnect::Estimate, false);
    }

    #[test]
    fn every_vendor_of_the_catalogue_has_an_address() {
        for entry in catalogue::entries() {
            let known = VENDORS
                .iter()
                .any(|vendor| vendor.catalogue == entry.provider);
            assert!(known, "{}", entry.provider);
            assert!(entry.price_list().is_some(), "{}", entry.name);
        }
    }
}
