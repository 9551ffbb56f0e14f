//! `state`: where the ledger is kept, and what of responses.

use std::path::PathBuf;
use std::time::Duration;

use super::secret::address;
use super::{Context, at};
use crate::config::schema::{ServerConfig, StateConfig};
use crate::config::snapshot::{LedgerLocation, ResponsesParams, ResponsesPlace, StateParams};
use crate::config::tree::Step;
use crate::types::{PostgresTls, PostgresUrl};

pub fn compile_state(
    cx: &mut Context<'_, '_>,
    state: &StateConfig,
    server: &ServerConfig,
) -> StateParams {
    let store = at!["state", "store"];
    let shared = super::replicas::compile_shared(cx, state);
    let ledger = match &state.ledger {
        Some(ledger) if shared.is_some() => {
            location(cx, at!["state", "ledger"], &ledger.0, &state.journal)
        }
        None if shared.is_some() => {
            cx.error_hint(
                store,
                "replicas share counters here; the ledger has to be somewhere else",
                "name it as `ledger`: `postgres://…`, or `sqlite:PATH` for each replica its own",
            );
            LedgerLocation::Memory
        }
        Some(ledger) => {
            // Nothing but the ledger is kept there; still, a wrong name is wrong.
            store_alone(cx, store, &state.store);
            location(cx, at!["state", "ledger"], &ledger.0, &state.journal)
        }
        None if PostgresUrl::is_meant_by(&state.store) => {
            cx.error_hint(
                store,
                "Postgres holds the ledger only",
                "name it as `ledger`, and leave `store` away",
            );
            LedgerLocation::Memory
        }
        None => location(cx, store, &state.store, &state.journal),
    };
    if state.ledger_buffer_records < u64::from(server.max_in_flight) {
        cx.warn(
            at!["state", "ledger_buffer_records"],
            "fewer than `server.max_in_flight`: every request in flight takes one",
            format!("make it at least {}", server.max_in_flight),
        );
    }
    if state.retention_days.is_some() && matches!(ledger, LedgerLocation::Memory) {
        cx.warn(
            at!["state", "retention_days"],
            "a ledger in memory forgets everything with the process",
            "leave it away, or keep the ledger in SQLite or Postgres",
        );
    }
    let responses = responses(state, shared.is_some(), &ledger);
    StateParams {
        ledger,
        responses,
        retention_days: state.retention_days,
        ledger_buffer_records: usize::try_from(state.ledger_buffer_records).unwrap_or(usize::MAX),
        shared,
    }
}

/// What is kept of responses, and where.
fn responses(
    state: &StateConfig,
    is_shared: bool,
    ledger: &LedgerLocation,
) -> Option<ResponsesParams> {
    const MIB: u64 = 1 << 20;
    let place = match ledger {
        _ if is_shared => ResponsesPlace::Shared,
        LedgerLocation::Sqlite(path) => ResponsesPlace::File(path.with_extension("responses.db")),
        // A process's own, beside its journal.
        LedgerLocation::Postgres { journal, .. } => {
            ResponsesPlace::File(journal.with_extension("responses.db"))
        }
        LedgerLocation::Memory => ResponsesPlace::Memory,
    };
    let usual = match place {
        ResponsesPlace::File(_) => 1024 * MIB,
        ResponsesPlace::Memory | ResponsesPlace::Shared => 256 * MIB,
    };
    let config = state.responses;
    config.store.then(|| ResponsesParams {
        place,
        retention: Duration::from_hours(24 * u64::from(config.retention_days)),
        max_bytes: config.max_bytes.unwrap_or(usual),
    })
}

/// A store that is not asked for the ledger.
fn store_alone(cx: &mut Context<'_, '_>, at: &[Step<'_>], text: &str) {
    if PostgresUrl::is_meant_by(text) {
        cx.error_hint(
            at,
            "Postgres holds the ledger only",
            "leave `store` away beside `ledger`",
        );
    } else {
        location(cx, at, text, "");
    }
}

fn location(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    text: &str,
    journal: &str,
) -> LedgerLocation {
    let Some(text) = address(cx, at, text) else {
        return LedgerLocation::Memory;
    };
    if PostgresUrl::is_meant_by(&text) {
        return postgres(cx, at, &text, journal);
    }
    match text.split_once(':') {
        None if text == "memory" => LedgerLocation::Memory,
        Some(("sqlite", file)) if !file.is_empty() => LedgerLocation::Sqlite(PathBuf::from(file)),
        Some(("redis" | "rediss", _)) => {
            cx.error_hint(
                at,
                "Redis holds what replicas share, not the ledger",
                "name it as `store`, and as `ledger` postgres://… or sqlite:PATH",
            );
            LedgerLocation::Memory
        }
        scheme => {
            // Of an address that is not understood only the scheme is shown: the rest may be secret.
            let shown = match scheme {
                Some((scheme, rest)) if rest.contains('@') => format!("{scheme}:…"),
                _ => text.clone(),
            };
            let message = format!(
                "unknown store `{shown}`; it is `sqlite:PATH`, `memory`, or as `ledger` `postgres://…`"
            );
            cx.error(at, message);
            LedgerLocation::Memory
        }
    }
}

fn postgres(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    text: &str,
    journal: &str,
) -> LedgerLocation {
    if journal.is_empty() {
        cx.error(at!["state", "journal"], "the journal needs a directory");
    }
    let url = match PostgresUrl::parse(text) {
        Ok(url) => url,
        Err(error) => {
            cx.error(at, error.to_string());
            return LedgerLocation::Memory;
        }
    };
    if url.tls == PostgresTls::Prefer && url.hosts.iter().any(|(host, _)| is_remote(host)) {
        cx.warn(
            at,
            "prompts do not go there, money does: the connection may be unencrypted",
            "add ?sslmode=verify-full (or `disable`, if the network is your own)",
        );
    }
    LedgerLocation::Postgres {
        url: Box::new(url),
        journal: PathBuf::from(journal),
    }
}

/// True for what is neither this machine nor a socket's directory.
fn is_remote(host: &str) -> bool {
    let is_loopback = host
        .parse::<std::net::IpAddr>()
        .map_or(host == "localhost", |address| address.is_loopback());
    !is_loopback && !host.starts_with('/')
}
