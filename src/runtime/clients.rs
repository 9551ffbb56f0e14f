//! HTTP clients: in each lane one connection pool for all providers, and one for each private root
//! certificate.
//!
//! hyper-util's client rather than reqwest's: it sends the bytes that it is given and nothing else
//! (no redirects, no ambient proxies, no decompression); see `docs/adr/0004-upstream-client.md`.

mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::lane;

pub use upload::{Piece, UploadBody, UploadBroke};

/// A pooled client that sends whole bodies.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;
/// A pooled client that sends bodies while they still come in.
pub type UploadClient = Client<HttpsConnector<HttpConnector>, UploadBody>;

/// Idle connections are closed after this: below the 60–75 s after which common servers close them,
/// so that a request seldom meets a connection that is just going away.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// How often an HTTP/2 connection is checked while streams wait on it.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// One slow client must not drain the window that its neighbours share.
const HTTP2_STREAM_WINDOW: u32 = 1 << 20;
/// Room for many streams at a full stream window each.
const HTTP2_CONNECTION_WINDOW: u32 = 16 << 20;

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file with private roots cannot be used.
    #[error("cannot read root certificates from `{path}`: {cause}")]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// rustls refused the set-up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Every client of the process, made on first use. A lane's pool is its own: a connection is driven by
/// the runtime on which it was opened, and whoever sends from another thread wakes that one twice.
#[derive(Debug)]
pub struct HttpClients {
    made: [Mutex<Vec<Made<Full<Bytes>>>>; LANES],
    uploads: [Mutex<Vec<Made<UploadBody>>>; LANES],
}

impl Default for HttpClients {
    fn default() -> Self {
        Self {
            made: std::array::from_fn(|_| Mutex::default()),
            uploads: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

/// Lanes beyond these share.
const LANES: usize = 64;

/// One client and what it was made for.
#[derive(Debug)]
struct Made<B> {
    ca_file: Option<PathBuf>,
    connect_timeout: Duration,
    client: Client<HttpsConnector<HttpConnector>, B>,
}

impl HttpClients {
    /// The client for hosts that are trusted by `ca_file` (or by the public roots).
    ///
    /// # Errors
    /// When the file of roots is missing or holds none.
    pub fn get(
        &self,
        ca_file: Option<&Path>,
        connect_timeout: Duration,
    ) -> Result<HttpClient, ClientError> {
        found_or_made(&self.made, ca_file, connect_timeout)
    }

    /// As [`HttpClients::get`], for bodies that are passed on while they come in; with connections of
    /// its own.
    ///
    /// # Errors
    /// When the file of roots is missing or holds none.
    pub fn uploads(
        &self,
        ca_file: Option<&Path>,
        connect_timeout: Duration,
    ) -> Result<UploadClient, ClientError> {
        found_or_made(&self.uploads, ca_file, connect_timeout)
    }
}

/// The calling thread's client. There are as many as the file has roots: few enough to look at each.
fn found_or_made<B>(
    lanes: &[Mutex<Vec<Made<B>>>; LANES],
    ca_file: Option<&Path>,
    connect_timeout: Duration,
) -> Result<Client<HttpsConnector<HttpConnector>, B>, ClientError>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut lane = lanes[lane::place() % LANES].lock();
    let fits =
        |it: &&Made<B>| it.ca_file.as_deref() == ca_file && it.connect_timeout == connect_timeout;
    if let Some(made) = lane.iter().find(fits) {
        return Ok(made.client.clone());
    }
    let client = build(ca_file, connect_timeout)?;
    lane.push(Made {
        ca_file: ca_file.map(Path::to_path_buf),
        connect_timeout,
        client: client.clone(),
    });
    Ok(client)
}

fn build<B>(
    ca_file: Option<&Path>,
    connect_timeout: Duration,
) -> Result<Client<HttpsConnector<HttpConnector>, B>, ClientError>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = ca_file {
        add_roots(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    tcp.set_keepalive(Some(Duration::from_mins(1)));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .retry_canceled_requests(false)
        .http2_initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .http2_initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
        .build(connector))
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), ClientError> {
    let wrong = |cause: String| ClientError::Roots {
        path: path.to_path_buf(),
        cause,
    };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let mut added = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(error.to_string()))?;
        added += 1;
    }
    if added == 0 {
        Err(wrong("it holds no certificate".to_owned()))
    } else {
        Ok(())
    }
}
