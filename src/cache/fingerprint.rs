//! Fingerprints: what the ledger keeps of a request so that repeats can be counted. 64 bits of a
//! SHA-256 over a secret key and the exact cache's key, which itself covers the caller: equal only for
//! equal requests of one caller. Whoever has the ledger but not the key cannot try prompts against it.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::CacheKey;

/// Version of this scheme: bump it when the meaning of a fingerprint changes.
const SCHEME: &[u8] = b"tollgate-fingerprint-1";

/// The secret under which requests are named. Both its forms have a fixed length and the hash is cut
/// short, so that a plain prefix is as good as an HMAC.
pub struct FingerprintKey([u8; 32]);

impl FingerprintKey {
    /// The key that `cache.fingerprint_key` gives, the same on every replica and after every start;
    /// without one, a key of this process, under which repeats are known until it ends.
    pub fn new(secret: Option<&SecretString>) -> Self {
        Self(match secret {
            Some(secret) => {
                let mut hash = Sha256::new_with_prefix(SCHEME);
                hash.update(secret.expose_secret().as_bytes());
                hash.finalize().into()
            }
            None => rand::random(),
        })
    }

    /// The fingerprint of a request. The sign means nothing.
    pub fn of(&self, key: &CacheKey) -> i64 {
        let mut hash = Sha256::new_with_prefix(self.0);
        hash.update(key);
        let digest: [u8; 32] = hash.finalize().into();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        i64::from_be_bytes(first)
    }
}

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_the_request_and_on_the_secret() {
        let key = |secret: &str| FingerprintKey::new(Some(&SecretString::from(secret)));
        let one = key("a").of(&[1; 32]);
        assert_eq!(one, key("a").of(&[1; 32]), "the same after a restart");
        assert_ne!(one, key("a").of(&[2; 32]));
        assert_ne!(one, key("b").of(&[1; 32]));
        let random = FingerprintKey::new(None);
        assert_ne!(random.of(&[1; 32]), FingerprintKey::new(None).of(&[1; 32]));
    }
}
