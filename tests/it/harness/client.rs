//! A plain HTTP/1.1 client for the tests: whole answers, streams, and raw bytes.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A client of one address.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    pool: Pool<HttpConnector, Full<Bytes>>,
    headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `data:` payloads of a stream.
    pub fn events(&self) -> Vec<String> {
        self.text()
            .split("\n\n")
            .filter_map(|event| {
                event
                    .lines()
                    .find_map(|line| line.strip_prefix("data: ").map(str::to_owned))
            })
            .collect()
    }

    pub fn request_id(&self) -> String {
        self.header("x-request-id").to_owned()
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self {
            address,
            pool,
            headers: Vec::new(),
        }
    }

    /// The same client with one more header on every request.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn open(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        self.open_as(method, path, "application/json", body).await
    }

    pub async fn open_as(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request
            .header("content-type", content_type)
            .body(Full::new(body.into()))
            .expect("a request");
        self.pool.request(request).await.expect("an answer")
    }

    pub async fn send(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Reply {
        self.send_as(method, path, "application/json", body).await
    }

    pub async fn send_as(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Reply {
        let response = self.open_as(method, path, content_type, body).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, Bytes::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, body.to_string()).await
    }

    /// `POST /v1/chat/completions`
    pub async fn chat(&self, body: &Value) -> Reply {
        self.post("/v1/chat/completions", body).await
    }
}
