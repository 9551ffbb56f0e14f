//! The credential out of the request's headers.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

/// Far above any key that is handed out, and little to hash.
const MAX_KEY_BYTES: usize = 512;

static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Why a credential is not accepted. Never holds any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadCredential {
    #[error("missing API key: send it as `Authorization: Bearer <key>` or `x-api-key: <key>`")]
    Missing,
    #[error("unknown API key")]
    Unknown,
    #[error("malformed authorization header: it must be `Bearer <key>`")]
    NotBearer,
    #[error("malformed API key: it must be visible ASCII without spaces")]
    NotVisible,
    #[error("malformed API key: it is longer than {MAX_KEY_BYTES} bytes")]
    TooLong,
    #[error("ambiguous API key: the request carries several different ones")]
    Ambiguous,
}

/// The key that a request carries, in whichever of the two headers. Sent twice, it must be the same.
pub(super) fn credential(headers: &HeaderMap) -> Result<Option<&[u8]>, BadCredential> {
    let bearer = headers
        .get_all(AUTHORIZATION)
        .iter()
        .map(|value| after_bearer(value.as_bytes()));
    let plain = headers
        .get_all(&X_API_KEY)
        .iter()
        .map(|value| Ok(value.as_bytes().trim_ascii()));
    let mut found: Option<&[u8]> = None;
    for key in bearer.chain(plain) {
        let key = well_formed(key?)?;
        match found {
            Some(first) if first != key => return Err(BadCredential::Ambiguous),
            _ => found = Some(key),
        }
    }
    Ok(found)
}

fn after_bearer(value: &[u8]) -> Result<&[u8], BadCredential> {
    const SCHEME: &[u8] = b"bearer";
    let value = value.trim_ascii();
    let (scheme, key) = value
        .split_at_checked(SCHEME.len())
        .ok_or(BadCredential::NotBearer)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) || !key.starts_with(b" ") {
        return Err(BadCredential::NotBearer);
    }
    Ok(key.trim_ascii())
}

fn well_formed(key: &[u8]) -> Result<&[u8], BadCredential> {
    if key.is_empty() {
        return Err(BadCredential::Missing);
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(BadCredential::TooLong);
    }
    if !key.iter().all(u8::is_ascii_graphic) {
        return Err(BadCredential::NotVisible);
    }
    Ok(key)
}
