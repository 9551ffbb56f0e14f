//! One delivery: a signed POST, and what became of it. Redirects are not followed (the file names the
//! receiver, nobody else may), proxies of the environment are not used, nothing is repeated here, and
//! of the answer only the status counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, redirect, retry};
use rustc_hash::FxHashMap;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;

use super::signature::sign;
use crate::config::snapshot::WebhookParams;
use crate::runtime::parse_retry_after;

/// A receiver that does not even accept within this is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Alerts are rare: a connection is not kept long.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// Why a delivery failed. No text holds the address, whose path may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// It answered, but not with 2xx.
    #[error("the receiver answered {status}")]
    Refused {
        /// Its status.
        status: u16,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It sent us elsewhere, where we do not go.
    #[error("the receiver answered {0}, a redirect, which is not followed")]
    Redirected(u16),
    /// It took longer than `timeout_ms`.
    #[error("the receiver did not answer in time")]
    Timeout,
    /// It could not be reached, or broke off.
    #[error("the receiver could not be reached: {0}")]
    Connect(String),
    /// No client could be made for it.
    #[error("its `ca_file` cannot be used: {0}")]
    Roots(String),
}

impl DeliveryError {
    /// The label value of `tollgate_alert_deliveries_total`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Redirected(_) => "redirected",
            Self::Timeout => "timeout",
            Self::Connect(_) | Self::Roots(_) => "connect",
        }
    }

    /// True when the receiver says that it will never want this again (410, as Standard Webhooks
    /// reads it).
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status: 410, .. })
    }

    /// When the receiver wants to be asked again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What a receiver answered to a delivery that it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Its status, 2xx.
    pub status: u16,
}

/// Sends events; keeps a client for each set of root certificates.
#[derive(Debug, Default)]
pub struct Sender {
    clients: Mutex<FxHashMap<Option<PathBuf>, Client>>,
}

impl Sender {
    /// Posts a body once, signed for `now_ms` (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// Whatever is not a 2xx answer in time.
    ///
    /// # Cancel safety
    /// Dropping the future ends the delivery; the receiver may have it or not.
    pub async fn post(
        &self,
        webhook: &WebhookParams,
        (id, body): (&str, &str),
        now_ms: i64,
    ) -> Result<Answer, DeliveryError> {
        let client = self.client(webhook.ca_file.as_deref())?;
        let timestamp = now_ms / 1000;
        let mut request = client
            .post(webhook.url.expose_secret())
            .timeout(webhook.timeout)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp);
        if let Some(key) = &webhook.key {
            let signature = sign(key.expose(), id, timestamp, body);
            request = request.header("webhook-signature", signature);
        }
        let response = request.body(body.to_owned()).send().await;
        let response = response.map_err(|error| failure(&error.without_url()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Answer {
                status: status.as_u16(),
            });
        }
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return Err(DeliveryError::Redirected(status.as_u16()));
        }
        Err(DeliveryError::Refused {
            status: status.as_u16(),
            retry_after: parse_retry_after(response.headers(), now_ms),
        })
    }

    fn client(&self, ca_file: Option<&Path>) -> Result<Client, DeliveryError> {
        let key = ca_file.map(Path::to_path_buf);
        if let Some(client) = self.clients.lock().get(&key) {
            return Ok(client.clone());
        }
        let client = build(ca_file).map_err(DeliveryError::Roots)?;
        self.clients.lock().insert(key, client.clone());
        Ok(client)
    }
}

fn failure(error: &reqwest::Error) -> DeliveryError {
    if error.is_timeout() {
        return DeliveryError::Timeout;
    }
    // The cause says more than "error sending request".
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    DeliveryError::Connect(cause.to_string())
}

fn build(ca_file: Option<&Path>) -> Result<Client, String> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = ca_file {
        let certificates = CertificateDer::pem_file_iter(path).map_err(|it| it.to_string())?;
        for certificate in certificates {
            let certificate = certificate.map_err(|it| it.to_string())?;
            roots.add(certificate).map_err(|it| it.to_string())?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|it| it.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.without_url().to_string())
}
