//! The admin listener: metrics, probes, dashboard and what it reads, reload. Its own socket, so that
//! nothing here can be reached through the data listener.

mod finance;
mod overview;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use secrecy::ExposeSecret;
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::bootstrap;
use crate::cli::report::ReportError;
use crate::config::Diagnostic;
use crate::gateway::Gateway;
use crate::server::Handler;

const DASHBOARD: &str = include_str!("dashboard.html");
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// The Prometheus text format's content type.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Reads the configuration again and takes it over or says why not; blocks.
pub type Reload = Arc<dyn Fn() -> Result<(), Vec<Diagnostic>> + Send + Sync>;

/// Serves the admin listener.
pub struct Admin {
    gateway: Arc<Gateway>,
    reload: Option<Reload>,
}

impl Admin {
    /// Serves `gateway`; `reload` is absent when the configuration comes from no file.
    pub const fn new(gateway: Arc<Gateway>, reload: Option<Reload>) -> Self {
        Self { gateway, reload }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let method = request.method();
        // Probes come from a kubelet, which has no token.
        match (method, path) {
            (&Method::GET, "/livez") => return text(StatusCode::OK, "ok\n"),
            (&Method::GET, "/readyz") => return self.readiness(),
            // The page holds no figures; it asks for the token when `/api` wants one.
            (&Method::GET, "/") => return dashboard(),
            _ => {}
        }
        if !self.may(request.headers()) {
            return unauthorized();
        }
        match (method, path) {
            (&Method::GET, "/metrics") => self.metrics(),
            (&Method::GET, "/api/overview") => self.overview().await,
            (&Method::GET, "/api/finance") => {
                let by = finance::parameter(request.uri().query(), "by");
                self.figures(move |gw| finance::month(gw, by.as_deref()))
                    .await
            }
            (&Method::GET, "/api/insights") => self.figures(finance::insights).await,
            (&Method::POST, "/reload") => self.reload().await,
            _ => text(
                StatusCode::NOT_FOUND,
                "served are GET /, /livez, /readyz, /metrics, /api/overview, /api/finance, /api/insights \
                 and POST /reload\n",
            ),
        }
    }

    /// `authorization: Bearer <server.admin_token>`, when one is set. Compared by hash, so in
    /// constant time whatever the lengths.
    fn may(&self, headers: &HeaderMap) -> bool {
        let active = self.gateway.active.load();
        let Some(expected) = &active.snapshot.server.admin_token else {
            return true;
        };
        let given = headers
            .get(http::header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        let digest = |text: &str| -> [u8; 32] { Sha256::digest(text.as_bytes()).into() };
        digest(given)
            .ct_eq(&digest(expected.expose_secret()))
            .into()
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        if self.gateway.is_ready() {
            let ledger = &self.gateway.ledger;
            if ledger.trouble().is_none() {
                return text(StatusCode::OK, "ready\n");
            }
            let waiting = ledger.lag();
            let ready = format!(
                "ready, but the ledger's database takes nothing: {waiting} records wait in the journal\n"
            );
            return text(StatusCode::OK, &ready);
        }
        let why = if self.gateway.stop.is_cancelled() {
            "draining\n"
        } else {
            "the ledger cannot be written\n"
        };
        text(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        bootstrap::refresh_gauges(&self.gateway);
        match self.gateway.metrics.render() {
            Ok(body) => respond(StatusCode::OK, EXPOSITION, Bytes::from(body)),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }

    async fn overview(&self) -> Response<Full<Bytes>> {
        let gateway = Arc::clone(&self.gateway);
        match tokio::task::spawn_blocking(move || overview::overview(&gateway)).await {
            Ok(Ok(value)) => respond(StatusCode::OK, JSON, Bytes::from(value.to_string())),
            Ok(Err(error)) => {
                let body = json!({"error": {"message": error.to_string()}});
                respond(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    JSON,
                    Bytes::from(body.to_string()),
                )
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "a fault in the proxy\n"),
        }
    }

    /// Figures of finance, read aside from the async threads.
    async fn figures(
        &self,
        read: impl FnOnce(&Gateway) -> Result<Box<RawValue>, ReportError> + Send + 'static,
    ) -> Response<Full<Bytes>> {
        let gateway = Arc::clone(&self.gateway);
        match tokio::task::spawn_blocking(move || read(&gateway)).await {
            Ok(Ok(value)) => respond(StatusCode::OK, JSON, Bytes::from(value.to_string())),
            Ok(Err(error)) => {
                // What was asked for is wrong, or the ledger cannot be read.
                let status = if error.exit_code() == crate::cli::EXIT_BAD_INPUT {
                    StatusCode::BAD_REQUEST
                } else {
                    StatusCode::INTERNAL_SERVER_ERROR
                };
                let body = json!({"error": {"message": error.to_string()}});
                respond(status, JSON, Bytes::from(body.to_string()))
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "a fault in the proxy\n"),
        }
    }

    async fn reload(&self) -> Response<Full<Bytes>> {
        let Some(reload) = self.reload.clone() else {
            let body = json!({"reloaded": false, "errors": ["the configuration is built in; start with --config to have a file to reload"]});
            return respond(StatusCode::CONFLICT, JSON, Bytes::from(body.to_string()));
        };
        let result = tokio::task::spawn_blocking(move || reload()).await;
        let version = self.gateway.active.load().snapshot.version.clone();
        let (status, errors) = match result {
            Ok(Ok(())) => (StatusCode::OK, Vec::new()),
            Ok(Err(errors)) => (StatusCode::UNPROCESSABLE_ENTITY, errors),
            Err(_) => return text(StatusCode::INTERNAL_SERVER_ERROR, "a fault in the proxy\n"),
        };
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let body =
            json!({"reloaded": lines.is_empty(), "config_version": version, "errors": lines});
        respond(status, JSON, Bytes::from(body.to_string()))
    }
}

impl Handler for Admin {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.answer(request).await
    }

    fn on_panic(&self) -> Response<Full<Bytes>> {
        text(StatusCode::INTERNAL_SERVER_ERROR, "a fault in the proxy\n")
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

fn dashboard() -> Response<Full<Bytes>> {
    let mut response = respond(
        StatusCode::OK,
        "text/html; charset=utf-8",
        Bytes::from_static(DASHBOARD.as_bytes()),
    );
    // Everything the page needs is in it; nothing may be loaded from elsewhere.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

fn unauthorized() -> Response<Full<Bytes>> {
    let body = json!({"error": {"message": "this listener wants `authorization: Bearer <server.admin_token>`"}});
    let mut response = respond(
        StatusCode::UNAUTHORIZED,
        JSON,
        Bytes::from(body.to_string()),
    );
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    respond(status, TEXT, Bytes::copy_from_slice(body.as_bytes()))
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
