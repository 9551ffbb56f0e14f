//! Buys an access token at a token endpoint: the form, the call, the answer. Google's service
//! accounts show a JWT (RFC 7523), Entra's applications their secret (RFC 6749 §4.4).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::config::snapshot::{GrantParams, Proof};
use crate::runtime::retry_budget::parse_http_date;
use crate::runtime::{AccessToken, GrantError, HttpClient};

use super::sigv4::encode;

/// A token endpoint answers in a few hundred milliseconds; one that takes this long is stalled.
const LONGEST: Duration = Duration::from_secs(10);
/// Largest answer that is read; tokens have a few kilobytes.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// Longest life that Google allows an assertion.
const ASSERTION_SECONDS: i64 = 3600;
/// Life of a token whose endpoint does not say: what RFC 6749's example and both endpoints use.
const USUAL_SECONDS: u64 = 3600;
/// A clock that differs by less is not what a refusal is about.
const CLOCKS_AGREE_MS: i64 = 60_000;

/// Buys one token. Ends within a bounded time.
pub async fn buy(
    params: Arc<GrantParams>,
    client: HttpClient,
    unix_ms: i64,
) -> Result<AccessToken, GrantError> {
    let bought = async {
        match ask(&params, &client, unix_ms).await {
            // An assertion's times are ours; the endpoint's own clock is in its answer.
            Err(Refusal {
                clock_ms: Some(clock_ms),
                ..
            }) if matches!(params.proof, Proof::ServiceAccount { .. })
                && (clock_ms - unix_ms).abs() > CLOCKS_AGREE_MS =>
            {
                ask(&params, &client, clock_ms).await
            }
            other => other,
        }
    };
    match tokio::time::timeout(LONGEST, bought).await {
        Ok(bought) => bought.map_err(|refusal| refusal.error),
        Err(_) => Err(unreachable(format!(
            "the token endpoint did not answer within {} s",
            LONGEST.as_secs()
        ))),
    }
}

/// Why an endpoint sold nothing, and what its clock said.
struct Refusal {
    error: GrantError,
    clock_ms: Option<i64>,
}

impl From<GrantError> for Refusal {
    fn from(error: GrantError) -> Self {
        Self {
            error,
            clock_ms: None,
        }
    }
}

async fn ask(
    params: &GrantParams,
    client: &HttpClient,
    unix_ms: i64,
) -> Result<AccessToken, Refusal> {
    let began = Instant::now();
    let form = form(params, unix_ms)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(&*params.token_url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(Full::new(Bytes::from(form.expose_secret().to_owned())))
        .map_err(|error| refused(format!("the token endpoint's URL cannot be used: {error}")))?;
    let response = client
        .request(request)
        .await
        .map_err(|error| unreachable(format!("the token endpoint cannot be asked: {error}")))?;
    read(response, began).await
}

/// The form that is posted.
fn form(params: &GrantParams, unix_ms: i64) -> Result<SecretString, GrantError> {
    let mut form = String::with_capacity(1024);
    let mut add = |name: &str, value: &str| {
        form.push_str(if form.is_empty() { "" } else { "&" });
        form.push_str(name);
        form.push('=');
        encode(value.as_bytes(), &mut form);
    };
    match &params.proof {
        Proof::ServiceAccount { email, key_id, key } => {
            let claims = json!({
                "iss": email, "scope": params.scope, "aud": params.token_url,
                "iat": unix_ms / 1000, "exp": unix_ms / 1000 + ASSERTION_SECONDS,
            });
            add("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
            add("assertion", &jwt(key, key_id.as_deref(), &claims)?);
        }
        Proof::ClientSecret {
            client_id,
            client_secret,
        } => {
            add("grant_type", "client_credentials");
            add("client_id", client_id);
            add("client_secret", client_secret.expose_secret());
            add("scope", &params.scope);
        }
    }
    Ok(SecretString::from(form))
}

/// A JWT that is signed by RS256 (RFC 7515, RFC 7518 §3.3).
fn jwt(
    key: &RsaKeyPair,
    key_id: Option<&str>,
    claims: &serde_json::Value,
) -> Result<String, GrantError> {
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(key_id) = key_id {
        header["kid"] = json!(key_id);
    }
    let mut text = URL_SAFE_NO_PAD.encode(header.to_string());
    text.push('.');
    text.push_str(&URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .map_err(|_| refused("the service account's key cannot sign".to_owned()))?;
    text.push('.');
    text.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(text)
}

/// What a token endpoint says (RFC 6749 §5.1, §5.2). Entra writes numbers as text in some versions.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    expires_in: Option<serde_json::Value>,
    error: Option<String>,
    #[serde(default)]
    error_codes: Vec<u64>,
}

async fn read(response: Response<Incoming>, began: Instant) -> Result<AccessToken, Refusal> {
    let (head, body) = response.into_parts();
    let clock_ms = head
        .headers
        .get(DATE)
        .and_then(|date| parse_http_date(date.to_str().ok()?));
    let body = Limited::new(body, MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|error| unreachable(format!("the token endpoint's answer broke off: {error}")))?
        .to_bytes();
    let answer: Option<Answer> = serde_json::from_slice(&body).ok();
    match answer {
        Some(Answer {
            access_token: Some(bought),
            expires_in,
            ..
        }) if head.status == StatusCode::OK => {
            let seconds = expires_in.and_then(|it| match it {
                serde_json::Value::String(text) => text.parse().ok(),
                other => other.as_u64(),
            });
            let lives = Duration::from_secs(seconds.unwrap_or(USUAL_SECONDS));
            let header = HeaderValue::from_str(&format!("Bearer {bought}"))
                .map_err(|_| refused("the access token is no text for a header".to_owned()))?;
            Ok(AccessToken::new(header, began, lives))
        }
        answer => Err(Refusal {
            error: no_token(head.status, answer.as_ref()),
            clock_ms,
        }),
    }
}

/// An answer without a token: its status and its error's code, never its text.
fn no_token(status: StatusCode, answer: Option<&Answer>) -> GrantError {
    let mut message = format!("the token endpoint answered {}", status.as_u16());
    let is_code = |code: &&str| {
        !code.is_empty()
            && code.len() <= 64
            && code
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match answer
        .and_then(|answer| answer.error.as_deref())
        .filter(is_code)
    {
        Some(code) => {
            message.push_str(": ");
            message.push_str(code);
        }
        None if status == StatusCode::OK => message.push_str(" without an access token"),
        None => {}
    }
    if let Some(code) = answer.and_then(|answer| answer.error_codes.first()) {
        message = format!("{message} (AADSTS{code})");
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        unreachable(message)
    } else {
        refused(message)
    }
}

fn refused(message: String) -> GrantError {
    GrantError {
        message: message.into(),
        refused: true,
    }
}

fn unreachable(message: String) -> GrantError {
    GrantError {
        message: message.into(),
        refused: false,
    }
}
