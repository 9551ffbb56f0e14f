//! What every behaviour test starts from: a proxy, an upstream, a client.

pub mod client;
pub mod proxy;
pub mod raw;
pub mod redis_server;
pub mod servers;
pub mod upstream;

pub use client::{Client, Reply};
pub use proxy::Proxy;
pub use raw::Raw;
pub use upstream::{Received, Script, Step, Upstream};
