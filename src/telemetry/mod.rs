//! Metrics with their units and help, closed label sets, log set-up.

pub mod drift;
pub mod logging;
pub mod metrics;

pub use metrics::Metrics;
