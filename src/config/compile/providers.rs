//! `providers`

use http::{HeaderName, HeaderValue, Uri};
use indexmap::IndexMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::{Context, at, billing, milliseconds, signing};
use crate::config::schema::{
    DialectConfig, PlatformConfig, ProviderConfig, QuirkConfig, SimulatedConfig,
};
use crate::config::snapshot::{HttpEndpoint, Provider, ProviderEndpoint, Quirks, Signer};
use crate::runtime::SimulatedParams;
use crate::types::ProviderId;
use crate::wire::DialectId;
use crate::wire::translate::Host;

/// Headers that the proxy itself must set, or that would break its framing.
const OWN_HEADERS: [&str; 10] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "accept-encoding",
    "te",
    "upgrade",
    "trailer",
    "expect",
];

pub fn compile(
    cx: &mut Context<'_, '_>,
    providers: &IndexMap<String, ProviderConfig>,
) -> Vec<Provider> {
    providers
        .iter()
        .map(|(name, provider)| compile_one(cx, name, provider))
        .collect()
}

fn compile_one(cx: &mut Context<'_, '_>, name: &str, provider: &ProviderConfig) -> Provider {
    let endpoint = endpoint(cx, name, provider);
    let dialect = dialect_of(provider.dialect);
    let signer = signing::provider(cx, name, provider);
    warn_clear_text(cx, name, provider);
    let limits = cx.limits(at!["providers", name, "limits"], provider.limits);
    Provider {
        id: ProviderId::new(name),
        dialect,
        host: match provider.platform {
            PlatformConfig::Native => Host::Native,
            PlatformConfig::Vertex => Host::Vertex,
            PlatformConfig::Bedrock => Host::Bedrock,
        },
        enabled: signer.is_some(),
        billing: billing::compile(&provider.billing, &endpoint),
        endpoint,
        signer: signer.unwrap_or(Signer::None),
        headers: headers(cx, name, &provider.headers),
        limits,
        prompt_cache: Duration::from_secs(provider.prompt_cache_seconds),
        propagate_trace: provider.propagate_trace,
        quirks: quirks(&provider.quirks),
    }
}

fn quirks(named: &[QuirkConfig]) -> Quirks {
    let mut quirks = Quirks::default();
    for quirk in named {
        match quirk {
            QuirkConfig::NoStreamOptions => quirks.no_stream_options = true,
            QuirkConfig::ShortCallIds => quirks.short_call_ids = true,
        }
    }
    quirks
}

/// The dialect that the file names.
pub const fn dialect_of(dialect: DialectConfig) -> DialectId {
    match dialect {
        DialectConfig::OpenaiChat => DialectId::OpenaiChat,
        DialectConfig::OpenaiResponses => DialectId::OpenaiResponses,
        DialectConfig::AnthropicMessages => DialectId::AnthropicMessages,
        DialectConfig::GeminiGenerate => DialectId::GeminiGenerate,
        DialectConfig::BedrockConverse => DialectId::BedrockConverse,
    }
}

fn endpoint(cx: &mut Context<'_, '_>, name: &str, provider: &ProviderConfig) -> ProviderEndpoint {
    match (&provider.base_url, &provider.simulated) {
        (None, Some(simulated)) => {
            if !matches!(provider.dialect, DialectConfig::OpenaiChat) {
                cx.error_hint(
                    at!["providers", name, "dialect"],
                    "simulated providers answer in `openai_chat`, which is translated for every client",
                    "leave `dialect` out",
                );
            }
            ProviderEndpoint::Simulated(simulated_params(simulated))
        }
        (Some(base_url), None) => {
            ProviderEndpoint::Http(http_endpoint(cx, name, base_url, provider))
        }
        (Some(_), Some(_)) => {
            cx.error(
                at!["providers", name, "simulated"],
                "a provider has either `base_url` or `simulated`, not both",
            );
            ProviderEndpoint::Simulated(simulated_params(&SimulatedConfig::default()))
        }
        (None, None) => {
            let there = ["base_url", "simulated"]
                .iter()
                .any(|key| cx.was_removed(at!["providers", name, *key]));
            if !there {
                cx.error_hint(
                    at!["providers", name],
                    "missing key `base_url`",
                    "for example `base_url: https://api.openai.com/v1`; or `simulated: {}` for tests",
                );
            }
            ProviderEndpoint::Simulated(simulated_params(&SimulatedConfig::default()))
        }
    }
}

fn simulated_params(simulated: &SimulatedConfig) -> SimulatedParams {
    SimulatedParams {
        seed: simulated.seed,
        latency: milliseconds(simulated.latency_ms),
        latency_sigma: simulated.latency_sigma,
        chunk_gap: milliseconds(simulated.chunk_gap_ms),
        error_rate: simulated.error_rate,
        output_tokens: simulated.output_tokens,
    }
}

fn http_endpoint(
    cx: &mut Context<'_, '_>,
    name: &str,
    base_url: &str,
    provider: &ProviderConfig,
) -> HttpEndpoint {
    let at = at!["providers", name, "base_url"];
    let origin = match parse_base(base_url) {
        Ok(origin) => origin,
        // A reference in it is reported where all of them are.
        Err(_) if base_url.contains("${") => Uri::from_static("http://invalid/"),
        Err(problem) => {
            let hint = "write it as https://host/path, for example https://api.openai.com/v1";
            cx.error_hint(at, format!("`base_url` {problem}"), hint);
            Uri::from_static("http://invalid/")
        }
    };
    let base = base_url.trim_end_matches('/');
    for endpoint in ["/chat/completions", "/completions", "/embeddings"] {
        if let Some(rest) = base.strip_suffix(endpoint) {
            let hint = format!("write {rest}");
            cx.error_hint(
                at,
                "`base_url` ends with an endpoint, which is appended by itself",
                hint,
            );
            break;
        }
    }
    HttpEndpoint {
        base_url: base.to_owned(),
        origin,
        query: query(&provider.query),
        ca_file: provider.ca_file.as_ref().map(PathBuf::from),
    }
}

/// Scheme and authority of a base URL, or what is wrong with it.
fn parse_base(base_url: &str) -> Result<Uri, &'static str> {
    let plain = base_url.replace("{model}", "model");
    if plain.contains(['{', '}']) {
        return Err("has a placeholder other than `{model}`");
    }
    let uri: Uri = plain.parse().map_err(|_| "is no URL")?;
    let scheme = uri.scheme_str().unwrap_or_default();
    if scheme != "http" && scheme != "https" {
        return Err("must begin with http:// or https://");
    }
    let authority = uri.authority().ok_or("has no host")?;
    if authority.as_str().contains('@') {
        return Err("must not hold credentials; they belong in `api_key`");
    }
    if uri.query().is_some() {
        return Err("must not have a query; it belongs in `query`");
    }
    Uri::builder()
        .scheme(scheme)
        .authority(authority.clone())
        .path_and_query("/")
        .build()
        .map_err(|_| "is no URL")
}

fn query(parameters: &IndexMap<String, String>) -> Option<String> {
    let mut text = String::new();
    for (key, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        encode(&mut text, key);
        text.push('=');
        encode(&mut text, value);
    }
    (!text.is_empty()).then_some(text)
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub fn encode(text: &mut String, raw: &str) {
    for byte in raw.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

fn headers(
    cx: &mut Context<'_, '_>,
    provider: &str,
    headers: &IndexMap<String, String>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut compiled = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let at = at!["providers", provider, "headers", name.as_str()];
        let parsed = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        );
        match parsed {
            (Err(_), _) => cx.error(at, format!("`{name}` is no name of a header")),
            (_, Err(_)) => cx.error(at, "holds characters that no header can carry"),
            (Ok(header), _) if header == http::header::AUTHORIZATION => {
                cx.error_hint(at, "credentials do not belong here", "use `api_key`");
            }
            (Ok(header), _) if OWN_HEADERS.contains(&header.as_str()) => {
                cx.error(at, format!("the proxy sets `{header}` itself"));
            }
            (Ok(header), Ok(value)) => compiled.push((header, value)),
        }
    }
    compiled
}

fn warn_clear_text(cx: &mut Context<'_, '_>, name: &str, provider: &ProviderConfig) {
    let Some(base_url) = provider.base_url.as_deref() else {
        return;
    };
    let auth = &provider.auth;
    let has_secret = provider.api_key.is_some()
        || auth.sigv4.is_some()
        || auth.google_service_account.is_some()
        || auth.entra.is_some();
    if base_url.starts_with("http://") && has_secret && !is_local(base_url) {
        cx.warn(
            at!["providers", name, "base_url"],
            "the key goes over the network in clear text",
            "use https://",
        );
    }
}

/// True for addresses that never leave this machine.
pub fn is_local(url: &str) -> bool {
    let uri = url.replace("{model}", "model").parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    ["localhost", "127.0.0.1", "[::1]"].contains(&host)
}
