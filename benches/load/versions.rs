//! Load over HTTP/1.1 or HTTP/2, plain or with TLS, by hyper's client; the generator costs more here,
//! so what counts is the proxy's CPU time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::generate::{Measured, Shape, histogram, runtime};
use crate::process::cpu_seconds;
use crate::targets::{Certificate, Target};

/// Requests under way on each HTTP/2 connection.
const STREAMS: usize = 8;

/// How the client speaks.
#[derive(Debug, Clone)]
pub struct Version {
    pub http2: bool,
    pub tls: Option<Certificate>,
}

/// Sends `count` requests, `concurrency` at a time, and measures.
pub fn run(
    target: &Target,
    version: &Version,
    shape: Shape,
    count: usize,
    concurrency: usize,
) -> Measured {
    let per_connection = if version.http2 { STREAMS } else { 1 };
    let body = Bytes::from(shape.body(target.model));
    let before = cpu_seconds(&target.pids);
    let began = Instant::now();
    let results = runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..concurrency / per_connection {
            let sender = Sender::connect(target, version).await;
            for _ in 0..per_connection {
                let (sender, body) = (sender.share(target, version).await, body.clone());
                let target = target.clone();
                tasks.spawn(async move {
                    worker(sender, &target, shape, body, count / concurrency).await
                });
            }
        }
        tasks.join_all().await
    });
    let took = began.elapsed();
    let mut latencies = histogram();
    let mut errors = 0;
    for (observed, failed) in results {
        for micros in observed {
            latencies.saturating_record(micros);
        }
        errors += failed;
    }
    Measured::of(&latencies, errors, took, cpu_seconds(&target.pids) - before)
}

async fn worker(
    mut sender: Sender,
    target: &Target,
    shape: Shape,
    body: Bytes,
    count: usize,
) -> (Vec<u64>, usize) {
    let (mut latencies, mut errors) = (Vec::with_capacity(count), 0);
    for _ in 0..count {
        let began = Instant::now();
        let exchange = sender.exchange(target, shape, body.clone());
        match tokio::time::timeout(Duration::from_mins(1), exchange).await {
            Ok(true) => {
                latencies.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            _ => errors += 1,
        }
    }
    (latencies, errors)
}

/// A connection to send on.
enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn connect(target: &Target, version: &Version) -> Self {
        let socket = TcpStream::connect(target.address)
            .await
            .expect("a connection");
        let _small_writes_at_once = socket.set_nodelay(true);
        match &version.tls {
            None => Self::over(socket, version.http2).await,
            Some(certificate) => {
                let connector = connector(certificate, version.http2);
                let name = ServerName::try_from("127.0.0.1").expect("a name");
                let socket = connector.connect(name, socket).await.expect("TLS");
                Self::over(socket, version.http2).await
            }
        }
    }

    async fn over<S>(socket: S, http2: bool) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        #[allow(clippy::disallowed_methods, reason = "ends with the connection")]
        if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
                .await
                .expect("HTTP/2");
            tokio::spawn(connection);
            Self::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(socket))
                .await
                .expect("HTTP/1.1");
            tokio::spawn(connection);
            Self::One(sender)
        }
    }

    /// Another of the same connection, where it takes several; else another connection.
    async fn share(&self, target: &Target, version: &Version) -> Self {
        match self {
            Self::Two(sender) => Self::Two(sender.clone()),
            Self::One(_) => Self::connect(target, version).await,
        }
    }

    /// One request and its answer; false for an answer that is no success.
    async fn exchange(&mut self, target: &Target, shape: Shape, body: Bytes) -> bool {
        let path = "/v1/chat/completions";
        let request = match self {
            Self::One(_) => Request::post(path).header("host", target.address.to_string()),
            Self::Two(_) => Request::post(format!("http://{}{path}", target.address)),
        }
        .header("authorization", format!("Bearer {}", target.key))
        .header("content-type", "application/json")
        .body(Full::new(body))
        .expect("a request");
        let answer = match self {
            Self::One(sender) => {
                if sender.ready().await.is_err() {
                    return false;
                }
                sender.send_request(request).await
            }
            Self::Two(sender) => sender.send_request(request).await,
        };
        let Ok(answer) = answer else { return false };
        let ok = answer.status() == 200;
        let Ok(body) = answer.into_body().collect().await else {
            return false;
        };
        let body = body.to_bytes();
        ok && (shape.answer == crate::generate::Answer::Whole
            || memchr::memmem::find(&body, b"data: [DONE]").is_some())
    }
}

fn connector(certificate: &Certificate, http2: bool) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for trusted in CertificateDer::pem_file_iter(&certificate.chain).expect("a certificate") {
        roots
            .add(trusted.expect("a certificate"))
            .expect("a root that is taken");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![if http2 {
        b"h2".to_vec()
    } else {
        b"http/1.1".to_vec()
    }];
    TlsConnector::from(Arc::new(config))
}
