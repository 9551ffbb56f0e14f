//! What outlives the process: the usage ledger, behind small traits, and the back ends that hold it.
//!
//! [`Ledger`] is the front that the pipeline talks to. Driver crates are named only below this
//! module, and nothing here knows about HTTP, configuration or phases.

mod journal;
mod ledger;
mod memory;
mod notebook;
mod postgres;
mod redis;
mod report;
mod responses;
mod shared;
mod source;
mod sqlite;
mod usage;

#[cfg(test)]
mod aging;
#[cfg(test)]
mod contract;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
#[path = "../../tests/it/harness/servers.rs"]
#[allow(dead_code, reason = "shared with the integration tests")]
mod servers;

pub use ledger::{Ledger, LedgerFull, LedgerOptions, Slot};
pub use notebook::{Note, Notebook};
pub use redis::RedisStore;
pub use report::{
    CellScore, Dimension, FocusGroup, Repeated, Repeats, Report, ReportQuery, ReportReads,
    ReportRow, Sums, UnknownDimension,
};
pub use responses::{Bounds, KeptResponse, Responses, ShelfError, ShelfFull};
pub use shared::{
    LEASE_TTL_MS, Post, Posted, RECOVERY_MS, SharedBoard, SharedError, SharedMemory, SharedStore,
    StoredKeys,
};
pub use source::LedgerSource;
pub use sqlite::{LedgerContents, LedgerFile};
pub use usage::{
    Feedback, FeedbackOutcome, FeedbackStore, LedgerError, SpendBy, SpendFilter, SpendRow,
    TimeRange, UsageReads, UsageSink,
};
