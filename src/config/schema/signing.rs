//! `providers.NAME.auth`

use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretText;

/// How requests to a provider are signed, where that is not `authorization: Bearer` with its
/// `api_key`. One of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderAuthConfig {
    /// Name of the header that carries `api_key`; the same as `auth_header`.
    pub header: Option<String>,
    /// Name of the query parameter that carries `api_key`. Gemini: `key`.
    pub query: Option<String>,
    /// AWS Signature Version 4, as Bedrock wants it.
    pub sigv4: Option<SigV4Config>,
    /// A Google service account, as Vertex wants it: access tokens are bought with its key and
    /// refreshed before they end.
    pub google_service_account: Option<GoogleServiceAccountConfig>,
    /// A Microsoft Entra application, as Azure takes it instead of a key: access tokens are bought
    /// with its secret (client credentials) and refreshed before they end.
    pub entra: Option<EntraConfig>,
}

/// An AWS account's credentials. References are allowed in all but `region` and `service`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigV4Config {
    /// The region that is signed for, as `eu-west-1`.
    pub region: String,
    /// The service that is signed for.
    #[serde(default = "bedrock")]
    pub service: String,
    /// Public half of the key, as `${AWS_ACCESS_KEY_ID}`.
    pub access_key_id: SecretText,
    /// Secret half of the key, as `${AWS_SECRET_ACCESS_KEY}`.
    pub secret_access_key: SecretText,
    /// With temporary credentials, as `${AWS_SESSION_TOKEN}`; none while that variable is unset.
    pub session_token: Option<SecretText>,
}

fn bedrock() -> String {
    "bedrock".to_owned()
}

/// A Google service account.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoogleServiceAccountConfig {
    /// Its JSON key: `file:/path/key.json`, or a variable that holds the JSON or the path of such a
    /// file, as `${GOOGLE_APPLICATION_CREDENTIALS}`. Tokens are bought at the key's own `token_uri`.
    pub credentials: SecretText,
    /// What the access tokens are for.
    #[serde(default = "cloud_platform")]
    pub scope: String,
}

fn cloud_platform() -> String {
    "https://www.googleapis.com/auth/cloud-platform".to_owned()
}

/// A Microsoft Entra application. References are allowed in `tenant`, `client_id` and
/// `client_secret`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntraConfig {
    /// The directory's id or domain, as `${AZURE_TENANT_ID}`.
    pub tenant: SecretText,
    /// The application's id, as `${AZURE_CLIENT_ID}`.
    pub client_id: SecretText,
    /// The application's secret, as `${AZURE_CLIENT_SECRET}`.
    pub client_secret: SecretText,
    /// What the access tokens are for.
    #[serde(default = "cognitive_services")]
    pub scope: String,
    /// Where tokens are bought; other clouds have their own.
    #[serde(default = "public_cloud")]
    pub authority: String,
}

fn cognitive_services() -> String {
    "https://cognitiveservices.azure.com/.default".to_owned()
}

fn public_cloud() -> String {
    "https://login.microsoftonline.com".to_owned()
}
