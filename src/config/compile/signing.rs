//! `api_key`, `auth_header` and `auth`: how requests to a provider are signed. `None` instead of a
//! signer means that its provider (or deployment) is switched off, which is reported.

use std::sync::Arc;

use http::{HeaderName, Uri};
use ring::signature::RsaKeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::providers::{dialect_of, encode, is_local};
use super::secret::{self, Resolved};
use super::{Context, at};
use crate::config::schema::{
    EntraConfig, GoogleServiceAccountConfig, PlatformConfig, ProviderAuthConfig, ProviderConfig,
    SecretText, SigV4Config,
};
use crate::config::snapshot::{GrantParams, Proof, SigV4Params, Signer};
use crate::config::tree::Step;

/// What happens without a provider's secret.
const OFF: &str = "the provider is switched off";
/// Where Google sells tokens, for keys that do not say.
const GOOGLE_TOKENS: &str = "https://oauth2.googleapis.com/token";

/// What carries an `api_key`.
#[derive(Clone)]
pub enum Carrier {
    /// `authorization: Bearer …`
    Bearer,
    /// A header of this name.
    Header(HeaderName),
    /// A query parameter of this name, percent-encoded.
    Query(Box<str>),
}

impl Carrier {
    /// What carries the key of this signer; `None` where no key is carried as it is.
    pub fn of(signer: &Signer) -> Option<Self> {
        match signer {
            Signer::None | Signer::Bearer(_) => Some(Self::Bearer),
            Signer::Header(name, _) => Some(Self::Header(name.clone())),
            Signer::Query(name, _) => Some(Self::Query(name.clone())),
            Signer::SigV4(_) | Signer::Grant(_) => None,
        }
    }

    fn signer(self, key: SecretString) -> Signer {
        match self {
            Self::Bearer => Signer::Bearer(key),
            Self::Header(name) => Signer::Header(name, key),
            Self::Query(name) => Signer::Query(name, key),
        }
    }
}

/// How requests to a provider are signed.
pub fn provider(cx: &mut Context<'_, '_>, name: &str, provider: &ProviderConfig) -> Option<Signer> {
    let auth = &provider.auth;
    let methods = methods(auth);
    if methods.len() > 1 || (methods.len() == 1 && provider.auth_header.is_some()) {
        let also = provider.auth_header.as_ref().map(|_| "auth_header");
        let named: Vec<&str> = also.into_iter().chain(methods).collect();
        let hint = format!("keep one of {}", crate::config::suggest::list(&named));
        let message = "a provider's requests are signed in one way";
        cx.error_hint(at!["providers", name, "auth"], message, hint);
        return None;
    }
    let signed_without_key = if let Some(sigv4) = &auth.sigv4 {
        self::sigv4(cx, name, sigv4)
    } else if let Some(google) = &auth.google_service_account {
        self::google(cx, name, google)
    } else if let Some(entra) = &auth.entra {
        self::entra(cx, name, entra)
    } else {
        let carrier = carrier(cx, name, provider)?;
        let at = at!["providers", name, "api_key"];
        return keyed(cx, at, provider.api_key.as_ref(), carrier, OFF);
    };
    if provider.api_key.is_some() {
        cx.error_hint(
            at!["providers", name, "api_key"],
            format!("not used: `auth.{}` signs the requests", methods[0]),
            "remove one of the two",
        );
    }
    signed_without_key
}

fn methods(auth: &ProviderAuthConfig) -> Vec<&'static str> {
    let given = [
        ("header", auth.header.is_some()),
        ("query", auth.query.is_some()),
        ("sigv4", auth.sigv4.is_some()),
        (
            "google_service_account",
            auth.google_service_account.is_some(),
        ),
        ("entra", auth.entra.is_some()),
    ];
    given
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
}

/// A key as it is, or nothing where there is none.
pub fn keyed(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    api_key: Option<&SecretText>,
    carrier: Carrier,
    consequence: &str,
) -> Option<Signer> {
    let Some(api_key) = api_key else {
        return Some(Signer::None);
    };
    ready(secret::resolve(cx, at, api_key, consequence)).map(|key| carrier.signer(key))
}

fn ready(resolved: Resolved) -> Option<SecretString> {
    match resolved {
        Resolved::Ready(secret) => Some(secret),
        Resolved::Missing | Resolved::Wrong => None,
    }
}

fn carrier(cx: &mut Context<'_, '_>, name: &str, provider: &ProviderConfig) -> Option<Carrier> {
    let auth = &provider.auth;
    if let Some(query) = &auth.query {
        let at = at!["providers", name, "auth", "query"];
        if query.is_empty() {
            cx.error(at, "an empty name of a parameter");
            return None;
        }
        if provider.api_key.is_none() {
            cx.error_hint(at, "there is no key to carry", "add `api_key`");
            return None;
        }
        let mut encoded = String::new();
        encode(&mut encoded, query);
        return Some(Carrier::Query(encoded.into()));
    }
    let (at, header): (&[Step<'_>], _) = match (&auth.header, &provider.auth_header) {
        (Some(header), _) => (at!["providers", name, "auth", "header"], header),
        (None, Some(header)) => (at!["providers", name, "auth_header"], header),
        (None, None) => return Some(customary(provider)),
    };
    match HeaderName::from_bytes(header.as_bytes()) {
        Ok(parsed) if parsed == http::header::AUTHORIZATION => Some(Carrier::Bearer),
        Ok(parsed) => Some(Carrier::Header(parsed)),
        Err(_) => {
            cx.error(at, format!("`{header}` is no name of a header"));
            None
        }
    }
}

/// What carries a key where the file does not say: the header that the dialect's makers read, at their
/// own hosts. The clouds' tokens are bearer tokens whatever they serve.
fn customary(provider: &ProviderConfig) -> Carrier {
    let header = match provider.platform {
        PlatformConfig::Native => dialect_of(provider.dialect).translate().auth_header(),
        PlatformConfig::Vertex | PlatformConfig::Bedrock => None,
    };
    header.map_or(Carrier::Bearer, |name| {
        Carrier::Header(HeaderName::from_static(name))
    })
}

fn sigv4(cx: &mut Context<'_, '_>, name: &str, config: &SigV4Config) -> Option<Signer> {
    for (key, value) in [("region", &config.region), ("service", &config.service)] {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if value.is_empty() || !value.bytes().all(plain) {
            cx.error(
                at!["providers", name, "auth", "sigv4", key],
                format!("`{value}` is no {key}: small letters, digits and `-`"),
            );
            return None;
        }
    }
    let place = at!["providers", name, "auth", "sigv4", "access_key_id"];
    let id = ready(secret::resolve_name(cx, place, &config.access_key_id, OFF));
    let place = at!["providers", name, "auth", "sigv4", "secret_access_key"];
    let key = ready(secret::resolve(cx, place, &config.secret_access_key, OFF));
    let place = at!["providers", name, "auth", "sigv4", "session_token"];
    let session = config
        .session_token
        .as_ref()
        .map(|session| secret::resolve_optional(cx, place, session));
    let session_token = match session {
        None | Some(Resolved::Missing) => None,
        Some(Resolved::Ready(session)) => Some(session),
        Some(Resolved::Wrong) => return None,
    };
    Some(Signer::SigV4(Arc::new(SigV4Params {
        region: config.region.as_str().into(),
        service: config.service.as_str().into(),
        access_key_id: id?,
        secret_access_key: key?,
        session_token,
    })))
}

/// The JSON key of a service account, as Google hands it out.
#[derive(Deserialize)]
struct ServiceAccountKey {
    #[serde(rename = "type", default)]
    kind: String,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

fn google(
    cx: &mut Context<'_, '_>,
    name: &str,
    config: &GoogleServiceAccountConfig,
) -> Option<Signer> {
    let place = at![
        "providers",
        name,
        "auth",
        "google_service_account",
        "credentials"
    ];
    let text = ready(secret::resolve_document(
        cx,
        place,
        &config.credentials,
        OFF,
    ))?;
    match google_grant(&text, &config.scope) {
        Ok(grant) => {
            warn_clear_text(cx, place, &grant.token_url);
            Some(Signer::Grant(Arc::new(grant)))
        }
        Err(problem) => {
            let hint = "make a JSON key for the service account; it begins with \
                        `{ \"type\": \"service_account\"`";
            cx.error_hint(
                place,
                format!("no key of a service account: {problem}"),
                hint,
            );
            None
        }
    }
}

fn google_grant(text: &SecretString, scope: &str) -> Result<GrantParams, String> {
    let key: ServiceAccountKey = serde_json::from_str(text.expose_secret())
        .map_err(|error| format!("no JSON (line {}, column {})", error.line(), error.column()))?;
    if key.kind != "service_account" {
        return Err(format!(
            "its `type` is `{}`",
            crate::config::shape::shorten(&key.kind)
        ));
    }
    let (email, pem) = match (key.client_email, key.private_key) {
        (Some(email), Some(pem)) => (email, SecretString::from(pem)),
        (None, _) => return Err("it has no `client_email`".to_owned()),
        (_, None) => return Err("it has no `private_key`".to_owned()),
    };
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose_secret().as_bytes())
        .map_err(|_| "its `private_key` is no PEM of a PKCS#8 key".to_owned())?;
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
        .map_err(|rejected| format!("its `private_key` cannot be used: {rejected}"))?;
    let token_url = key.token_uri.unwrap_or_else(|| GOOGLE_TOKENS.to_owned());
    if !is_url(&token_url) {
        return Err("its `token_uri` is no URL".to_owned());
    }
    let identity = identity(&[&token_url, scope, &email, pem.expose_secret()]);
    Ok(GrantParams {
        token_url: token_url.into(),
        scope: scope.into(),
        proof: Proof::ServiceAccount {
            email: email.into(),
            key_id: key.private_key_id.map(Into::into),
            key: Box::new(pair),
        },
        identity,
    })
}

fn entra(cx: &mut Context<'_, '_>, name: &str, config: &EntraConfig) -> Option<Signer> {
    let place = at!["providers", name, "auth", "entra", "authority"];
    let authority = config.authority.trim_end_matches('/');
    if !is_url(authority) {
        let hint = "write it as https://login.microsoftonline.com";
        cx.error_hint(place, format!("`{authority}` is no URL"), hint);
        return None;
    }
    warn_clear_text(cx, place, authority);
    let place = at!["providers", name, "auth", "entra", "tenant"];
    let tenant = ready(secret::resolve_name(cx, place, &config.tenant, OFF));
    let place = at!["providers", name, "auth", "entra", "client_id"];
    let client_id = ready(secret::resolve_name(cx, place, &config.client_id, OFF));
    let place = at!["providers", name, "auth", "entra", "client_secret"];
    let client_secret = ready(secret::resolve(cx, place, &config.client_secret, OFF));
    let (tenant, client_id, client_secret) = (tenant?, client_id?, client_secret?);
    let mut token_url = format!("{authority}/");
    encode(&mut token_url, tenant.expose_secret());
    token_url.push_str("/oauth2/v2.0/token");
    let identity = identity(&[
        &token_url,
        &config.scope,
        client_id.expose_secret(),
        client_secret.expose_secret(),
    ]);
    Some(Signer::Grant(Arc::new(GrantParams {
        token_url: token_url.into(),
        scope: config.scope.as_str().into(),
        proof: Proof::ClientSecret {
            client_id: client_id.expose_secret().into(),
            client_secret,
        },
        identity,
    })))
}

fn is_url(text: &str) -> bool {
    text.parse::<Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

fn warn_clear_text(cx: &mut Context<'_, '_>, at: &[Step<'_>], url: &str) {
    if url.starts_with("http://") && !is_local(url) {
        cx.warn(
            at,
            "the token endpoint is asked in clear text",
            "use https://",
        );
    }
}

/// A hash of parts, each with its length, so that no two lists have the same.
fn identity(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}
