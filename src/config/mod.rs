//! `routes.yaml`: tree (text with positions) → shape (against the schema) → compile (meaning) →
//! snapshot; reload. Every problem is found in one run and shown at its line.

pub mod builtin;
pub mod catalogue;
mod compile;
mod de;
pub mod diagnostic;
mod findings;
mod load;
pub mod price_book;
pub mod reference;
pub mod reload;
pub mod schema;
mod shape;
mod signing;
pub mod snapshot;
pub(crate) mod suggest;
mod tree;

pub use compile::{BUILT_IN_TASKS, stored_key};
pub use diagnostic::{Diagnostic, Place, Severity};
pub use load::{LoadError, load, load_file};
pub use shape::schema as json_schema;
pub use snapshot::Snapshot;

#[cfg(test)]
mod tests;
