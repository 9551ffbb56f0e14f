//! Signs an attempt's request. `ready` gets what must be there before the request is built (an access
//! token); `Credential::sign` then needs nothing but the request and the time; `heed` learns from the
//! answer. Secrets end up in headers marked sensitive and nowhere else.

mod purchase;
mod sigv4;

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri};
use secrecy::{ExposeSecret, SecretString};

use crate::config::snapshot::{SigV4Params, Signer};
use crate::runtime::retry_budget::parse_http_date;
use crate::runtime::{AccessToken, GrantError, Grants, HttpClient};
use crate::types::{AttemptFailure, Next, Outcome, ProviderId};

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const AMZ_SESSION: HeaderName = HeaderName::from_static("x-amz-security-token");
/// AWS takes signatures that are at most five minutes off; a refusal with less between the clocks is
/// about something else.
const CLOCKS_AGREE_MS: i64 = 4 * 60 * 1000;

/// What a request is signed with.
pub enum Credential<'a> {
    /// What the file says.
    Configured {
        /// How.
        signer: &'a Signer,
        /// How far the provider's clock is ahead of ours, milliseconds.
        clock_offset_ms: i64,
    },
    /// An access token that was bought.
    Bought(Arc<AccessToken>),
}

/// Whose credential is wanted.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// Tokens and clocks of all providers.
    pub grants: &'a Grants,
    /// The provider.
    pub provider: &'a ProviderId,
    /// How its requests are signed.
    pub signer: &'a Signer,
    /// Wall-clock time, milliseconds since the Unix epoch.
    pub unix_ms: i64,
}

/// The credential of an account; buys an access token where there is none that still holds.
///
/// # Errors
/// When none can be bought; nothing was sent to the provider.
///
/// # Cancel safety
/// A purchase goes on for those who also wait for it.
pub async fn ready<'a>(
    account: Account<'a>,
    client: &HttpClient,
) -> Result<Credential<'a>, AttemptFailure> {
    match account.signer {
        Signer::Grant(params) => {
            let buy = || purchase::buy(Arc::clone(params), client.clone(), account.unix_ms);
            let bought = account.grants.get(account.provider, params.identity, buy);
            bought
                .await
                .map(Credential::Bought)
                .map_err(|error| no_credential(&error))
        }
        signer => Ok(Credential::Configured {
            signer,
            clock_offset_ms: match signer {
                Signer::SigV4(_) => account.grants.clock_offset_ms(account.provider),
                _ => 0,
            },
        }),
    }
}

fn no_credential(error: &GrantError) -> AttemptFailure {
    let outcome = if error.refused {
        Outcome::UpstreamAuth
    } else {
        Outcome::Connect
    };
    AttemptFailure::unsent(outcome, Next::Fallback, error.to_string())
}

/// Learns from an answer's head. True when the same request may now fare better: the provider's clock
/// became known, or its refused access token was given up.
pub fn heed(
    account: Account<'_>,
    credential: &Credential<'_>,
    status: StatusCode,
    headers: &HeaderMap,
) -> bool {
    if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return false;
    }
    match credential {
        Credential::Bought(refused) => {
            status == StatusCode::UNAUTHORIZED && account.grants.refused(account.provider, refused)
        }
        Credential::Configured {
            signer: Signer::SigV4(_),
            clock_offset_ms,
        } => {
            let date = headers.get(DATE).and_then(|date| date.to_str().ok());
            let Some(theirs) = date.and_then(parse_http_date) else {
                return false;
            };
            let offset_ms = theirs.saturating_sub(account.unix_ms);
            let is_off = offset_ms.saturating_sub(*clock_offset_ms).saturating_abs();
            if is_off <= CLOCKS_AGREE_MS {
                return false;
            }
            tracing::warn!(
                provider = account.provider.as_str(),
                offset_ms,
                "the provider's clock differs from ours; requests are signed by its clock"
            );
            account
                .grants
                .set_clock_offset_ms(account.provider, offset_ms);
            true
        }
        Credential::Configured { .. } => false,
    }
}

impl Credential<'_> {
    /// True when the signature covers the body, which must then be known as a whole.
    pub const fn covers_body(&self) -> bool {
        matches!(
            self,
            Self::Configured {
                signer: Signer::SigV4(_),
                ..
            }
        )
    }

    /// Signs a request that is otherwise complete.
    ///
    /// # Errors
    /// When a configured credential cannot be put into a request; nothing was sent.
    pub fn sign<B>(
        &self,
        request: &mut Request<B>,
        body: &[u8],
        unix_ms: i64,
    ) -> Result<(), AttemptFailure> {
        let (signer, clock_offset_ms) = match self {
            Self::Bought(bought) => {
                request
                    .headers_mut()
                    .insert(AUTHORIZATION, bought.header.clone());
                return Ok(());
            }
            Self::Configured {
                signer,
                clock_offset_ms,
            } => (signer, clock_offset_ms),
        };
        match signer {
            Signer::None => {}
            Signer::Bearer(key) => {
                let value = secret_header(&format!("Bearer {}", key.expose_secret()))?;
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            Signer::Header(name, key) => {
                let value = secret_header(key.expose_secret())?;
                request.headers_mut().insert(name.clone(), value);
            }
            Signer::Query(name, key) => {
                *request.uri_mut() = with_parameter(request.uri(), name, key)?;
            }
            Signer::SigV4(params) => {
                sign_for_aws(
                    request,
                    body,
                    params,
                    unix_ms.saturating_add(*clock_offset_ms),
                )?;
            }
            // `ready` never hands one out.
            Signer::Grant(_) => return Err(misconfigured("no access token was bought")),
        }
        Ok(())
    }
}

/// The address with one more parameter at the end of its query.
fn with_parameter(uri: &Uri, name: &str, key: &SecretString) -> Result<Uri, AttemptFailure> {
    let mut path = String::from(uri.path());
    path.push('?');
    if let Some(query) = uri.query() {
        path.push_str(query);
        path.push('&');
    }
    path.push_str(name);
    path.push('=');
    sigv4::encode(key.expose_secret().as_bytes(), &mut path);
    let unusable = || misconfigured("the provider's key cannot be put into its URL");
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| unusable())?);
    Uri::from_parts(parts).map_err(|_| unusable())
}

/// Signs host, content type and all of AWS's own headers; others may be changed on the way.
fn sign_for_aws<B>(
    request: &mut Request<B>,
    body: &[u8],
    params: &SigV4Params,
    unix_ms: i64,
) -> Result<(), AttemptFailure> {
    let date = sigv4::date(unix_ms);
    let host = host_of(request.uri())?;
    let headers = request.headers_mut();
    headers.insert(HOST, plain_header(&host)?);
    headers.insert(AMZ_DATE, plain_header(&date)?);
    if let Some(session) = &params.session_token {
        headers.insert(AMZ_SESSION, secret_header(session.expose_secret())?);
    }
    let signed: Vec<(&str, &str)> = request
        .headers()
        .iter()
        .filter(|(name, _)| {
            **name == HOST || **name == CONTENT_TYPE || name.as_str().starts_with("x-amz")
        })
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let value = sigv4::authorization(
        sigv4::Scope {
            region: &params.region,
            service: &params.service,
            access_key_id: params.access_key_id.expose_secret(),
            secret_access_key: params.secret_access_key.expose_secret(),
        },
        sigv4::Request {
            method: request.method().as_str(),
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            headers: &signed,
            body,
        },
        &date,
    );
    request
        .headers_mut()
        .insert(AUTHORIZATION, secret_header(&value)?);
    Ok(())
}

/// The host as it goes over the wire: with its port unless that is the scheme's own.
fn host_of(uri: &Uri) -> Result<String, AttemptFailure> {
    let host = uri
        .host()
        .ok_or_else(|| misconfigured("the provider's URL has no host"))?;
    let usual = match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    Ok(match uri.port_u16() {
        Some(port) if port != usual => format!("{host}:{port}"),
        _ => host.to_owned(),
    })
}

fn plain_header(text: &str) -> Result<HeaderValue, AttemptFailure> {
    HeaderValue::from_str(text).map_err(|_| {
        misconfigured("the provider's URL holds characters that a header cannot carry")
    })
}

fn secret_header(text: &str) -> Result<HeaderValue, AttemptFailure> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        misconfigured("the provider's key holds characters that a header cannot carry")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn misconfigured(message: &str) -> AttemptFailure {
    AttemptFailure::unsent(Outcome::Internal, Next::Fallback, message)
}
