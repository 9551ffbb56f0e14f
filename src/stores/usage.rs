//! The vocabulary of the usage ledger: the traits that a back end implements, one per need, and the
//! values that go in and come out.
//!
//! Time rule, the same in every back end: an attempt's money belongs to the instant at which the
//! attempt was sent, a request to the instant at which its head arrived. Ranges include their start
//! and exclude their end.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::report::ReportReads;
use crate::types::{AppId, KeyId, ModelId, PicoUsd, ProviderId, RequestId, RequestRecord, TeamId};

/// Why the ledger could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file operation failed.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Another `serve` has the ledger.
    #[error(
        "{}: another tollgate process is using this ledger; stop it or give this one its own file",
        path.display()
    )]
    InUse {
        /// The ledger's file.
        path: PathBuf,
    },
    /// Another program holds SQLite's lock for longer than we wait.
    #[error(
        "{}: the file is locked by another program; close what has it open (a database browser, a copy \
         that is running)",
        path.display()
    )]
    Locked {
        /// The ledger's file.
        path: PathBuf,
    },
    /// A file would have to be overwritten.
    #[error(
        "{}: there is a file already; name another one, or put this one aside (`restore --replace` does)",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("{}: there is no ledger here; `tollgate serve` creates it", path.display())]
    Missing {
        /// The ledger's file.
        path: PathBuf,
    },
    /// The file is something else, or damaged.
    #[error("{}: not a tollgate ledger, or damaged: {why}", path.display())]
    NotALedger {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The ledger was written by a later version.
    #[error(
        "{}: written by a newer tollgate (schema {found}, this one knows up to {supported}); run that \
         version, or put back the copy that it left beside the file when it first opened it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest that we know.
        supported: i64,
    },
    /// The file is ours, and its contents are broken.
    #[error(
        "{}: the ledger is damaged ({why}); put it aside and bring a backup back with `tollgate ledger \
         restore`: what waits in the journal is added to it",
        path.display()
    )]
    Damaged {
        /// The ledger's file.
        path: PathBuf,
        /// SQLite's own words.
        why: String,
    },
    /// No room, or no more that the process may write.
    #[error(
        "{}: cannot {doing}: the disk is full; make room, and it goes on by itself",
        path.display()
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
    },
    /// The file, its directory or the disk takes no writes.
    #[error(
        "{}: cannot {doing}: it is read-only; give this user the right to write the file and its \
         directory",
        path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
    },
    /// Another `serve` has the journal.
    #[error(
        "{}: another tollgate process is using this journal; give each replica on a machine its own `state.journal`",
        path.display()
    )]
    JournalInUse {
        /// The journal's directory.
        path: PathBuf,
    },
    /// The ledger's server does not answer, or not now. Passes by itself or when somebody starts it.
    #[error("{place}: not reachable: {why}")]
    Unreachable {
        /// The server's address, without the password.
        place: String,
        /// What was tried and what came back.
        why: String,
    },
    /// The ledger's server refuses us: password, rights, database, certificate. Waiting does not help.
    #[error("{place}: refused: {why}")]
    Refused {
        /// The server's address, without the password.
        place: String,
        /// The server's words, and what to do.
        why: String,
    },
    /// The ledger's server refused something else.
    #[error("{place}: cannot {doing}: {why}")]
    Server {
        /// The server's address, without the password.
        place: String,
        /// What was being done.
        doing: &'static str,
        /// The server's words.
        why: String,
    },
    /// SQLite refused something else.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// SQLite's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Records are waiting because the store does not take them; they are kept and tried again.
    #[error("{records} records are waiting to be stored: {why}")]
    Behind {
        /// How many.
        records: u64,
        /// Why the last try failed.
        why: String,
    },
}

/// A span of time in milliseconds since the Unix epoch: `from` inclusive, `to` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first instant inside.
    pub from_ms: i64,
    /// The first instant after.
    pub to_ms: i64,
}

impl From<std::ops::Range<i64>> for TimeRange {
    fn from(range: std::ops::Range<i64>) -> Self {
        Self {
            from_ms: range.start,
            to_ms: range.end,
        }
    }
}

impl TimeRange {
    /// Everything from this instant on.
    #[must_use]
    pub const fn since(from_ms: i64) -> Self {
        Self {
            from_ms,
            to_ms: i64::MAX,
        }
    }

    /// True for an instant inside.
    #[must_use]
    pub const fn contains(&self, at_ms: i64) -> bool {
        self.from_ms <= at_ms && at_ms < self.to_ms
    }
}

/// Whose spending is asked for: every field that is given must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendFilter {
    /// The team.
    pub team: Option<TeamId>,
    /// The application.
    pub app: Option<AppId>,
    /// The virtual key.
    pub key: Option<KeyId>,
    /// The model of the attempt (not of the request: a failed attempt costs on its own model).
    pub model: Option<ModelId>,
    /// The provider of the attempt.
    pub provider: Option<ProviderId>,
}

/// By what spending is broken down on the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendBy {
    /// By team.
    Team,
    /// By application.
    App,
    /// By virtual key (`-` for none).
    Key,
    /// By model: money by the attempt's, requests by the one that served (`-` for none).
    Model,
    /// By provider, like the model.
    Provider,
}

/// One line of a breakdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendRow {
    /// The team, app, key, model or provider.
    pub name: String,
    /// Requests.
    pub requests: u64,
    /// Attempts.
    pub attempts: u64,
    /// What the attempts cost.
    pub cost: PicoUsd,
}

/// What a client thought of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// Which request.
    pub request_id: RequestId,
    /// The reward, 0..=1; higher is better.
    pub reward: f64,
    /// The form that it came in: `score`, `rating`, `thumbs`.
    pub kind: String,
    /// The client's words.
    pub comment: Option<String>,
    /// When it came, milliseconds since the Unix epoch.
    pub at_ms: i64,
}

impl Feedback {
    /// True when both say the same thing, whenever they said it.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.reward.to_bits() == other.reward.to_bits()
            && self.kind == other.kind
            && self.comment == other.comment
    }
}

/// What became of a piece of feedback.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedbackOutcome {
    /// The request had none before: learn from it.
    New,
    /// It was said before: learn nothing.
    Same,
    /// It takes the place of an earlier opinion: undo that one, learn from this.
    Replaced(Feedback),
}

impl FeedbackOutcome {
    /// The word in answers: `new`, `same` or `replaced`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Same => "same",
            Self::Replaced(_) => "replaced",
        }
    }
}

/// Takes finished records. Used by one thread.
pub trait UsageSink: Send {
    /// Stores the batch, all or nothing, durably. A record whose request id is known is skipped, an
    /// attempt by request id and number, so the same batch may come again after a failure or crash.
    ///
    /// # Errors
    /// When nothing of the batch was stored.
    fn append(&mut self, batch: &[Arc<RequestRecord>]) -> Result<(), LedgerError>;

    /// Lets up to `at_most` requests go that began before `before_ms`, the oldest first, keeping
    /// their sums for reports and budgets. Returns how many there were: fewer than `at_most` means
    /// that none is left. A back end that keeps everything does nothing.
    ///
    /// # Errors
    /// When nothing was let go.
    fn purge(&mut self, _before_ms: i64, _at_most: usize) -> Result<usize, LedgerError> {
        Ok(0)
    }
}

/// Reads what has been stored. Calls block for as long as a disk takes: not for async code.
pub trait UsageReads: Send + Sync {
    /// One request with its attempts.
    fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, LedgerError>;
    /// The exact cost of all attempts sent in the range that the filter covers.
    fn spent(&self, filter: &SpendFilter, range: TimeRange) -> Result<PicoUsd, LedgerError>;
    /// The same by the end user whom the client named (`None`: nobody), in no order; reads the rows of
    /// the range one by one.
    fn spent_by_end_user(
        &self,
        filter: &SpendFilter,
        range: TimeRange,
    ) -> Result<Vec<(Option<String>, PicoUsd)>, LedgerError>;
    /// The breakdown of a range, dearest first, then by name.
    fn spend_by(&self, by: SpendBy, range: TimeRange) -> Result<Vec<SpendRow>, LedgerError>;
    /// The last `count` requests, newest first.
    fn recent(&self, count: usize) -> Result<Vec<RequestRecord>, LedgerError>;
    /// A view of this moment for reports.
    fn reports(&self) -> Result<Box<dyn ReportReads>, LedgerError>;
}

/// Keeps one opinion for each request. Calls block for as long as a disk takes.
pub trait FeedbackStore: Send + Sync {
    /// Stores an opinion, replacing an earlier one of the same request. Does not check that the
    /// request exists or whose it was: that is the caller's part.
    fn put_feedback(&self, feedback: &Feedback) -> Result<FeedbackOutcome, LedgerError>;
    /// The opinion about a request.
    fn feedback(&self, id: &RequestId) -> Result<Option<Feedback>, LedgerError>;
}
