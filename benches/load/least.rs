//! The least that a hyper proxy can do for an LLM API: reads the body, takes `model` out of it,
//! forwards with hyper-util's client, passes the answer on. With TLS where a certificate is given.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    model: std::borrow::Cow<'a, str>,
}

/// Serves until killed; prints its address first. Takes the upstream's address and, for TLS, the files
/// of a certificate and its key.
pub fn run(arguments: &[String]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let upstream = arguments[0].clone();
    let acceptor = match arguments {
        [_, chain, key] => Some(acceptor(chain, key)),
        _ => None,
    };
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket
            .bind("127.0.0.1:0".parse().expect("an address"))
            .expect("a port");
        let listener = socket.listen(4_096).expect("a listener");
        println!("{}", listener.local_addr().expect("an address"));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                continue;
            };
            let _small_writes_at_once = socket.set_nodelay(true);
            let (client, upstream, acceptor) = (client.clone(), upstream.clone(), acceptor.clone());
            #[allow(clippy::disallowed_methods, reason = "ends with the process")]
            tokio::spawn(async move {
                let service =
                    service_fn(move |request| forward(client.clone(), upstream.clone(), request));
                let builder = Builder::new(TokioExecutor::new());
                let _ended = match acceptor {
                    None => {
                        builder
                            .serve_connection(TokioIo::new(socket), service)
                            .await
                    }
                    Some(acceptor) => {
                        let Ok(socket) = acceptor.accept(socket).await else {
                            return;
                        };
                        builder
                            .serve_connection(TokioIo::new(socket), service)
                            .await
                    }
                };
            });
        }
    })
}

fn acceptor(chain: &str, key: &str) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(chain)
        .expect("a certificate")
        .collect::<Result<Vec<_>, _>>()
        .expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate and its key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn forward(
    client: Client<HttpConnector, Full<Bytes>>,
    upstream: String,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let named: Named<'_> = serde_json::from_slice(&body).expect("a model");
    std::hint::black_box(&named.model);
    let request = Request::post(format!("http://{upstream}{path}"))
        .header("content-type", "application/json")
        .body(Full::new(body.clone()))
        .expect("a request");
    Ok(client.request(request).await.expect("an answer"))
}
