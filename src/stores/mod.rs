//! What outlives the process: the usage ledger, behind small traits, and the back ends that hold it.
//!
//! [`Ledger`] is the front that the pipeline talks to. Driver crates are named only below this
//! module, and nothing here knows about HTTP, configuration or phases.

mod journal;
mod ledger;
mod memory;
mod notebook;
mod redis;
mod report;
mod shared;
mod sqlite;
mod usage;

#[cfg(test)]
mod contract;
#[cfg(test)]
pub(crate) mod sample;

pub use ledger::{Ledger, LedgerFull, LedgerOptions, Slot};
pub use notebook::{Note, Notebook};
pub use redis::RedisStore;
pub use report::{
    CellScore, Dimension, FocusGroup, Repeated, Repeats, Report, ReportQuery, ReportReads,
    ReportRow, Sums, UnknownDimension,
};
pub use shared::{LEASE_TTL_MS, RECOVERY_MS, SharedError, SharedMemory, SharedStore};
pub use sqlite::LedgerFile;
pub use usage::{
    Feedback, FeedbackOutcome, FeedbackStore, LedgerError, SpendBy, SpendFilter, SpendRow,
    TimeRange, UsageReads, UsageSink,
};
