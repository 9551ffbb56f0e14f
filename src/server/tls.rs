//! The listener's certificate, read again when its files change: certificates are renewed on disk
//! while the process runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::config::snapshot::TlsParams;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, unreadable or not PEM.
    #[error("cannot read `{path}`: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The key does not fit, or is of a kind that rustls does not take.
    #[error("the certificate and key cannot be used: {0}")]
    Unusable(String),
}

/// The certificate in force and where it came from.
pub struct TlsIdentity {
    params: TlsParams,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
    seen: Mutex<Option<[Option<SystemTime>; 2]>>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// When a file cannot be read or the two do not fit.
    pub fn load(params: &TlsParams) -> Result<Self, TlsError> {
        let current = Arc::new(Current(ArcSwap::from_pointee(read(params)?)));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Unusable(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Mutex::new(Some(modified(params)));
        Ok(Self {
            params: params.clone(),
            current,
            acceptor,
            seen,
        })
    }

    /// What performs the handshakes.
    pub const fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Reads the files again if they changed since the last look. A pair that cannot be used leaves
    /// the present one in force and is looked at again when the files change again. Blocks on the
    /// file system.
    ///
    /// # Errors
    /// When the changed files cannot be used.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let now = modified(&self.params);
        {
            let mut seen = self.seen.lock();
            if *seen == Some(now) {
                return Ok(false);
            }
            *seen = Some(now);
        }
        self.current.0.store(Arc::new(read(&self.params)?));
        Ok(true)
    }
}

fn modified(params: &TlsParams) -> [Option<SystemTime>; 2] {
    [&params.cert, &params.key].map(|path| {
        std::fs::metadata(path)
            .and_then(|meta| meta.modified())
            .ok()
    })
}

fn read(params: &TlsParams) -> Result<CertifiedKey, TlsError> {
    let file = |path: &PathBuf, cause: String| TlsError::File {
        path: path.clone(),
        cause,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&params.cert)
        .and_then(Iterator::collect)
        .map_err(|error| file(&params.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(file(&params.cert, "it holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&params.key)
        .map_err(|error| file(&params.key, error.to_string()))?;
    let signer = any_supported_type(&key).map_err(|error| TlsError::Unusable(error.to_string()))?;
    let certified = CertifiedKey::new(chain, signer);
    certified
        .keys_match()
        .map_err(|error| TlsError::Unusable(error.to_string()))?;
    Ok(certified)
}
