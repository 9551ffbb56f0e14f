//! How requests to a provider are signed: the compiled form of `api_key` and `auth`. Secrets are
//! never shown. The keys are here; access tokens that were bought with them live in
//! [`crate::runtime::grants`], the signing itself in `upstream::signer`.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use ring::signature::RsaKeyPair;
use secrecy::SecretString;

/// How requests are signed.
#[derive(Debug, Clone)]
pub enum Signer {
    /// Not at all.
    None,
    /// `authorization: Bearer …`
    Bearer(SecretString),
    /// A header of this name (Azure: `api-key`).
    Header(HeaderName, SecretString),
    /// A query parameter of this name, percent-encoded (Gemini: `key`).
    Query(Box<str>, SecretString),
    /// AWS Signature Version 4.
    SigV4(Arc<SigV4Params>),
    /// An access token that is bought at a token endpoint and sent as `authorization: Bearer …`
    Grant(Arc<GrantParams>),
}

/// An AWS account's credentials and what they are scoped to.
#[derive(Debug, Clone)]
pub struct SigV4Params {
    /// As `eu-west-1`.
    pub region: Box<str>,
    /// As `bedrock`.
    pub service: Box<str>,
    /// Public half of the key.
    pub access_key_id: SecretString,
    /// Secret half of the key.
    pub secret_access_key: SecretString,
    /// With temporary credentials.
    pub session_token: Option<SecretString>,
}

/// Where and how an access token is bought.
#[derive(Debug)]
pub struct GrantParams {
    /// The token endpoint.
    pub token_url: Box<str>,
    /// What is asked for.
    pub scope: Box<str>,
    /// What is shown for it.
    pub proof: Proof,
    /// Hash of everything above, secrets included: tokens that were bought with other credentials
    /// are not used.
    pub identity: [u8; 32],
}

/// What a token endpoint is shown.
pub enum Proof {
    /// A Google service account: a JWT that its key has signed (RFC 7523).
    ServiceAccount {
        /// The account, as `name@project.iam.gserviceaccount.com`.
        email: Box<str>,
        /// Which of its keys.
        key_id: Option<Box<str>>,
        /// The key.
        key: Box<RsaKeyPair>,
    },
    /// A client's id and secret (RFC 6749 §4.4), as Microsoft Entra takes them.
    ClientSecret {
        /// The application.
        client_id: Box<str>,
        /// Its secret.
        client_secret: SecretString,
    },
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceAccount { .. } => "ServiceAccount(…)",
            Self::ClientSecret { .. } => "ClientSecret(…)",
        })
    }
}
