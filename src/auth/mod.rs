//! Credential to caller: who is asking, who pays, and what they may use.
//!
//! A virtual key comes as `Authorization: Bearer …` or `x-api-key: …`. Only the SHA-256 of the
//! whole key is known here; it is compared in constant time, with the same work for an unknown key.
//! Messages say what is wrong with a credential, never what it was.

mod credential;

#[cfg(test)]
mod tests;

use http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Snapshot;
use crate::config::snapshot::{AuthParams, VirtualKey};
use crate::error::{ErrorKind, ProxyError};
use crate::types::{AllowList, AppId, Caller, TeamId, Tier};

use self::credential::{BadCredential, credential};

/// Team and application of callers that no key says more about.
const DEFAULT: &str = "default";

/// Finds out who is asking. With `auth: open` nobody needs a key, but a known one still says whose
/// request it is; anything else that is presented (an SDK insists on some key) is ignored.
///
/// # Errors
/// With `auth: keys`: 401 `invalid_api_key` when the key is missing, malformed, ambiguous or
/// unknown.
pub fn authenticate(snapshot: &Snapshot, headers: &HeaderMap) -> Result<Caller, ProxyError> {
    let presented = credential(headers);
    let known = match &presented {
        Ok(Some(key)) => find(snapshot, key),
        Ok(None) | Err(_) => None,
    };
    if let Some(key) = known {
        return Ok(caller_of(snapshot, key));
    }
    match snapshot.auth {
        AuthParams::Open => Ok(anybody(snapshot)),
        AuthParams::Keys => {
            let why = presented.map_or_else(
                |bad| bad,
                |key| match key {
                    Some(_) => BadCredential::Unknown,
                    None => BadCredential::Missing,
                },
            );
            Err(ProxyError::new(ErrorKind::InvalidApiKey, why.to_string()))
        }
    }
}

/// The virtual key of this text. An unknown key is compared too, with a hash that no text has been
/// found to have, so that both answers take the same work.
fn find<'a>(snapshot: &'a Snapshot, key: &[u8]) -> Option<&'a VirtualKey> {
    const NOBODYS: [u8; 32] = [0; 32];
    let hash: [u8; 32] = Sha256::digest(key).into();
    let candidate = snapshot.keys.get(&hash);
    let stored = candidate.map_or(&NOBODYS, |key| &key.sha256);
    let same = bool::from(hash.ct_eq(stored));
    candidate.filter(|_| same).map(AsRef::as_ref)
}

/// The key's caller: of tier and allow list, what both the key and its team permit.
fn caller_of(snapshot: &Snapshot, key: &VirtualKey) -> Caller {
    let team = snapshot.teams.get(&key.team);
    Caller {
        key: Some(key.id.clone()),
        key_sha256: Some(key.sha256),
        team: key.team.clone(),
        app: key.app.clone(),
        tier: team.map_or(key.tier, |team| team.tier.min(key.tier)),
        allow: team.map_or_else(|| key.allow.clone(), |team| team.allow.and(&key.allow)),
        regions: team.map_or_else(|| [].into(), |team| team.regions.clone()),
    }
}

/// The caller of `auth: open`: team and application `default`, with what that team may use.
fn anybody(snapshot: &Snapshot) -> Caller {
    let team = snapshot.teams.get(DEFAULT);
    Caller {
        key: None,
        key_sha256: None,
        team: TeamId::new(DEFAULT),
        app: AppId::new(DEFAULT),
        tier: team.map_or(Tier::Premium, |team| team.tier),
        allow: team.map_or_else(AllowList::all, |team| team.allow.clone()),
        regions: team.map_or_else(|| [].into(), |team| team.regions.clone()),
    }
}
