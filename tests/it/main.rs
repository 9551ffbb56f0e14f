//! The integration tests: the real proxy on port 0 against a scripted upstream that misbehaves.
//! One binary; a file per behaviour.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::unused_async,
    clippy::too_many_lines,
    clippy::format_collect,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a test fails loudly, tells its story in one piece, and its tasks end with its runtime"
)]
#![allow(
    dead_code,
    unused_imports,
    reason = "the harness serves files that each use a part of it"
)]

mod agents;
mod alerts;
mod budgets;
mod contract;
mod conversations;
mod data;
mod deploy;
mod dialects;
mod door;
mod errors;
mod finance;
mod full_disk;
mod harness;
mod http;
mod kills;
mod ledger_postgres;
mod messages;
mod money;
mod month;
mod outages;
mod pass_through;
mod providers;
mod reload;
mod repeats;
mod replicas;
mod resilience;
mod saves;
mod signers;
mod streams;
mod tidy;
