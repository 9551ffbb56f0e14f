//! tollgate: a reverse proxy that speaks the OpenAI API and sends every LLM request to the right
//! model at the right price.
//!
//! The modules stand in the order in which a request meets them. Start at [`pipeline`].

// Vocabulary: no I/O, no async.
pub mod clock;
pub mod error;
pub mod types;
pub mod wire;

// State.
pub mod config;
pub mod runtime;
pub mod stores;
pub mod telemetry;

// Phases: socket to upstream and back.
pub mod accounting;
pub mod auth;
pub mod cache;
pub mod classify;
pub mod ingress;
pub mod limits;
pub mod policy;
pub mod resilience;
pub mod upstream;

// The request's way through them.
pub mod gateway;
pub mod pipeline;

// Beside the request.
pub mod admin;
pub mod bootstrap;
pub mod cli;
pub mod learn;
pub mod notify;
pub mod replicas;
pub mod server;
