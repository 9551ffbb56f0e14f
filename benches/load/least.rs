//! The least that a hyper proxy can do for an LLM API: reads the body, takes `model` out of it,
//! forwards with hyper-util's client, passes the answer on.

use std::convert::Infallible;
use std::process::ExitCode;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde::Deserialize;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    model: std::borrow::Cow<'a, str>,
}

/// Serves until killed; prints its address first.
pub fn run(upstream: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let upstream = upstream.to_owned();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                continue;
            };
            let _small_writes_at_once = socket.set_nodelay(true);
            let (client, upstream) = (client.clone(), upstream.clone());
            #[allow(clippy::disallowed_methods, reason = "ends with the process")]
            tokio::spawn(async move {
                let service =
                    service_fn(move |request| forward(client.clone(), upstream.clone(), request));
                let _ended = Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    })
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
