//! The key of the exact cache: a SHA-256 over the tenant and the canonical request.
//!
//! Canonical: members sorted by name, white space between JSON values left out, members that
//! cannot change the answer left out. Everything else counts, unknown members included.

use memchr::memchr2;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::types::{Call, Caller};

/// A collision-resistant name of a request within its tenant.
pub type CacheKey = [u8; 32];

/// Members that do not change what is answered, only how it is delivered or attributed.
const NEUTRAL: &[&str] = &[
    "stream",
    "stream_options",
    "user",
    "safety_identifier",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "store",
    "service_tier",
];

/// Version of this scheme: bump it when the meaning of a key changes.
const SCHEME: &str = "tollgate-exact-1";

/// The key of a call. The tenant is the team and the key: answers are not shared across either.
pub fn key_of(call: &Call, caller: &Caller) -> CacheKey {
    let directives = &call.directives;
    // Gathered first: the hash takes its input in blocks, and many small pieces cost more than it.
    let mut scope: SmallVec<[u8; 256]> = SmallVec::new();
    for field in [
        SCHEME,
        caller.team.as_str(),
        caller.key.as_ref().map_or("", |key| key.as_str()),
        caller.tier.as_str(),
        call.endpoint.as_str(),
        directives.task.as_deref().unwrap_or_default(),
        directives.level.as_deref().unwrap_or_default(),
        directives.tier.map_or("", crate::types::Tier::as_str),
    ] {
        scope.extend_from_slice(&(field.len() as u64).to_le_bytes());
        scope.extend_from_slice(field.as_bytes());
    }
    let mut hash = Sha256::new_with_prefix(&scope);
    let mut members: Vec<(&str, &[u8])> = call
        .fields
        .iter()
        .map(|member| (call.raw_text(member.name), call.raw(member.value)))
        .filter(|(name, _)| !NEUTRAL.contains(name))
        .collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    for (name, value) in members {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash_compact(&mut hash, value);
    }
    hash.finalize().into()
}

/// Hashes a JSON value without the white space between its parts, in runs.
fn hash_compact(hash: &mut Sha256, value: &[u8]) {
    let (mut at, mut run) = (0, 0);
    while let Some(&byte) = value.get(at) {
        if byte == b'"' {
            at = behind_string(value, at + 1);
            continue;
        }
        if byte.is_ascii_whitespace() {
            hash.update(&value[run..at]);
            run = at + 1;
        }
        at += 1;
    }
    hash.update(&value[run..]);
    // A separator that cannot occur outside a string: values of neighbours never run together.
    hash.update([0]);
}

/// Where a string ends whose inside begins at `at`.
fn behind_string(value: &[u8], mut at: usize) -> usize {
    while let Some(offset) = value.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += offset;
        if value[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(text: &str) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash_compact(&mut hash, text.as_bytes());
        hash.finalize().to_vec()
    }

    #[test]
    fn white_space_counts_only_inside_strings() {
        assert_eq!(
            compact("[1, 2,\n {\"a\" : \"b c\"}]"),
            compact("[1,2,{\"a\":\"b c\"}]")
        );
        assert_ne!(compact("\"b c\""), compact("\"bc\""));
        assert_eq!(compact("[\"\\\\\" , 1]"), compact("[\"\\\\\",1]"));
        assert_ne!(compact("\"a\\\" b\""), compact("\"a\\\"b\""));
    }
}
