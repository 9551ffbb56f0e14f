//! `routes.yaml`: schema → validate (all errors at once) → snapshot; reload.

pub mod diagnostic;
pub mod snapshot;

pub use diagnostic::{Diagnostic, Severity};
pub use snapshot::Snapshot;
