//! `server` and `auth`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::{Context, at, milliseconds, seconds, secret};
use crate::config::schema::{AuthConfig, AuthMode, ServerConfig};
use crate::config::snapshot::{AuthParams, ServerParams, TlsParams};
use crate::config::tree::Step;

pub fn compile_server(
    cx: &mut Context<'_, '_>,
    server: &ServerConfig,
    auth: &AuthConfig,
) -> ServerParams {
    let data_loopback = address(cx, at!["server", "listen"], &server.listen);
    let admin_loopback = address(cx, at!["server", "admin_listen"], &server.admin_listen);
    if server.listen == server.admin_listen && !server.listen.ends_with(":0") {
        cx.error(
            at!["server", "admin_listen"],
            "the admin listener cannot share the data listener's address",
        );
    }
    if data_loopback == Some(false) && matches!(auth.mode, AuthMode::Open) {
        cx.warn(
            at!["server", "listen"],
            "reachable from the network while `auth.mode` is `open`: `serve` refuses it without \
             --insecure-open",
            "use `auth: { mode: keys }`, or listen on 127.0.0.1",
        );
    }
    let admin_token = secret::admin(cx, server.admin_token.as_ref());
    if admin_loopback == Some(false) && admin_token.is_none() {
        cx.error_hint(
            at!["server", "admin_listen"],
            "an admin listener off loopback needs `server.admin_token`",
            "set `admin_token: \"${TOLLGATE_ADMIN_TOKEN}\"`, or listen on 127.0.0.1",
        );
    }
    ServerParams {
        listen: server.listen.clone(),
        admin_listen: server.admin_listen.clone(),
        max_body_bytes: usize::try_from(server.max_body_bytes).unwrap_or(usize::MAX),
        max_connections: server.max_connections as usize,
        max_in_flight: server.max_in_flight as usize,
        header_timeout: milliseconds(server.header_timeout_ms),
        body_timeout: milliseconds(server.body_timeout_ms),
        tls: server.tls.as_ref().map(|tls| TlsParams {
            cert: PathBuf::from(&tls.cert),
            key: PathBuf::from(&tls.key),
        }),
        admin_token,
        drain: seconds(server.drain_seconds),
    }
}

/// Whether the address is loopback; `None` (and an error) when it is no address.
fn address(cx: &mut Context<'_, '_>, at: &[Step<'_>], text: &str) -> Option<bool> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip().is_loopback());
    }
    let host_and_port = text
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match host_and_port {
        Some((host, _)) if host.parse::<IpAddr>().is_err() && !host.contains(':') => {
            Some(host.eq_ignore_ascii_case("localhost"))
        }
        _ => {
            let message = format!("`{text}` is no `host:port`");
            cx.error_hint(at, message, "write it as 127.0.0.1:8080 or \"[::1]:8080\"");
            None
        }
    }
}

pub fn compile_auth(cx: &mut Context<'_, '_>, auth: &AuthConfig, keys: usize) -> AuthParams {
    match auth.mode {
        AuthMode::Open => {
            if keys > 0 {
                cx.warn(
                    at!["keys"],
                    "keys are defined, but nobody is asked for one",
                    "set `auth: { mode: keys }`",
                );
            }
            AuthParams::Open
        }
        AuthMode::Keys => {
            if cx.names.keys.is_empty() {
                cx.warn(
                    at!["auth", "mode"],
                    "no key is defined: every request gets 401",
                    "make one with `tollgate keys new`",
                );
            }
            AuthParams::Keys
        }
    }
}
