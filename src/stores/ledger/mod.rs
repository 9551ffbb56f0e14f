//! The front of the usage ledger: a slot is reserved before a request is sent upstream, and the
//! finished record is committed through it, from `Drop` if need be.
//!
//! The promise: when [`Slot::commit`] returns, the record survives the death of the process, and it
//! will be stored once. The commit neither waits for the store nor hops to another task: one write to
//! the journal's page cache, one push under a short lock. Backpressure exists only at
//! [`Ledger::reserve`]. Fail-closed: when records cannot be stored, they are kept and tried again
//! until the slots are used up, and then nothing is admitted that could not be accounted for.

mod queue;
mod returned;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use self::queue::{OpenId, Queue};
use super::journal::Journal;
use super::memory::MemoryStore;
use super::postgres::{PostgresStore, START_PATIENCE};
use super::report::ReportReads;
use super::sqlite::SqliteStore;
use super::usage::{
    Feedback, FeedbackOutcome, FeedbackStore, LedgerError, SpendBy, SpendFilter, SpendRow,
    TimeRange, UsageReads, UsageSink,
};
use crate::types::{PicoUsd, PostgresUrl, RequestId, RequestRecord};

/// Every slot is in use: requests in flight and records that wait for the store. Answer with
/// `overloaded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is full: {slots} requests are in flight or waiting to be stored")]
pub struct LedgerFull {
    /// How many slots there are.
    pub slots: usize,
}

/// How long a sum waits for the records before it: several tries of a store that refuses.
const SPENT_PATIENCE: Duration = Duration::from_secs(10);

/// The knobs of the front.
#[derive(Debug, Clone, Copy)]
pub struct LedgerOptions {
    /// Slots: requests in flight plus records that are not stored yet. At two KiB each, the default
    /// bounds what waits in memory to some 64 MiB.
    pub slots: usize,
    /// Records stored in one transaction. A row costs microseconds in a batch of hundreds and a
    /// file sync alone; more than this would only delay readers.
    pub batch_records: usize,
    /// How long the first record of a batch waits for company; also most of what a power cut can
    /// take.
    pub batch_delay: Duration,
    /// Whether a store that refuses leaves the ledger healthy while at least a quarter of the slots is
    /// free. So for a server that replicas share: if all of them left the balancer as soon as it goes
    /// away, an outage that nobody needs to notice would be everybody's.
    pub rides_out: bool,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            slots: 32_768,
            batch_records: 256,
            batch_delay: Duration::from_millis(25),
            rides_out: false,
        }
    }
}

/// What a back end offers to readers.
pub(in crate::stores) trait Stored: UsageReads + FeedbackStore {}
impl<T: UsageReads + FeedbackStore> Stored for T {}

/// The ledger of this process. Cheap to clone; the last clone or slot to go stores what is left and
/// lets go of the file.
#[derive(Clone)]
pub struct Ledger {
    front: Arc<Front>,
}

struct Front {
    queue: Arc<Queue>,
    stored: Arc<dyn Stored>,
    /// Absent when records are stored within the commit (in memory).
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Ledger {
    /// A ledger in memory. Every commit is stored at once, without a thread.
    #[must_use]
    pub fn memory() -> Self {
        Self::memory_with(LedgerOptions::default())
    }

    /// A ledger in memory with its own knobs.
    #[must_use]
    pub fn memory_with(options: LedgerOptions) -> Self {
        let store = MemoryStore::default();
        let queue = Queue::direct(options, Box::new(store.clone()));
        Self {
            front: Arc::new(Front {
                queue: Arc::new(queue),
                stored: Arc::new(store),
                writer: Mutex::new(None),
            }),
        }
    }

    /// Opens the SQLite file at `path`, creating it when there is none, and stores what an earlier
    /// process left in its journal. Blocks; for the start of the process.
    ///
    /// # Errors
    /// When another process has it, it is no ledger or a newer one, or the disk refuses.
    pub fn sqlite(path: &Path) -> Result<Self, LedgerError> {
        Self::sqlite_with(path, LedgerOptions::default())
    }

    /// Like [`Ledger::sqlite`] with its own knobs.
    ///
    /// # Errors
    /// As [`Ledger::sqlite`].
    pub fn sqlite_with(path: &Path, options: LedgerOptions) -> Result<Self, LedgerError> {
        let (sink, store, journal) = SqliteStore::open(path, options.batch_records)?;
        Self::start(options, Some(journal), Box::new(sink), Arc::new(store))
    }

    /// Opens the ledger in a Postgres database, with the journal of this replica in `journal`; sets
    /// the database up when it is empty, and stores what an earlier process left in the journal. Waits
    /// up to 30 seconds for a server that is not there yet. Blocks; for the start of the process.
    ///
    /// # Errors
    /// When another process has the journal, the server refuses or stays away, or the ledger is
    /// from a newer version.
    pub fn postgres(
        url: &PostgresUrl,
        journal: &Path,
        options: LedgerOptions,
    ) -> Result<Self, LedgerError> {
        Self::postgres_with(url, journal, options, START_PATIENCE)
    }

    /// Like [`Ledger::postgres`] with its own patience.
    ///
    /// # Errors
    /// As [`Ledger::postgres`].
    pub fn postgres_with(
        url: &PostgresUrl,
        journal: &Path,
        options: LedgerOptions,
        patience: Duration,
    ) -> Result<Self, LedgerError> {
        let options = LedgerOptions {
            rides_out: true,
            ..options
        };
        let (sink, store, journal) =
            PostgresStore::open(url, journal, options.batch_records, patience)?;
        Self::start(options, Some(journal), Box::new(sink), Arc::new(store))
    }

    pub(in crate::stores) fn start(
        options: LedgerOptions,
        journal: Option<Journal>,
        sink: Box<dyn UsageSink>,
        stored: Arc<dyn Stored>,
    ) -> Result<Self, LedgerError> {
        let queue = Arc::new(Queue::buffered(options, journal));
        let writer = writer::spawn(Arc::clone(&queue), sink)?;
        Ok(Self {
            front: Arc::new(Front {
                queue,
                stored,
                writer: Mutex::new(Some(writer)),
            }),
        })
    }

    /// Reserves the place of one record. To be called at admission, before anything is sent.
    ///
    /// # Errors
    /// When every slot is in use.
    pub fn reserve(&self) -> Result<Slot, LedgerFull> {
        if self.front.queue.reserve() {
            Ok(Slot {
                front: Arc::clone(&self.front),
                used: false,
                open: None,
            })
        } else {
            Err(LedgerFull {
                slots: self.front.queue.slots(),
            })
        }
    }

    /// Returns when all that was noted or committed before the call survives the process. With `company`
    /// the tasks that are ready now have their turn first, so that one write to the journal serves what
    /// they bring too; without, nothing is waited for.
    ///
    /// # Cancel safety
    /// What is not written yet when the future is dropped goes with the next write.
    pub async fn written(&self, company: bool) {
        let queue = &self.front.queue;
        if queue.unwritten() > 0 && company {
            tokio::task::yield_now().await;
        }
        if queue.unwritten() > 0 {
            queue.write_staged();
        }
    }

    /// Records that are committed but not in the store yet (`tollgate_ledger_lag_records`).
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.front.queue.lag()
    }

    /// False while the store refuses records (a shared server: and most slots are used up) or one of
    /// them could not be written to the journal (so that it would not survive the process). For
    /// readiness.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.front.queue.is_healthy()
    }

    /// What the store said when it refused the last batch; none while it takes them.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.front.queue.trouble()
    }

    /// Lets requests go that began before this instant, milliseconds since the Unix epoch: the writer
    /// archives and deletes them in small batches while nothing else is to be done. Reports keep
    /// adding up and budgets know what was spent; see `docs/adr/0003-ledger.md` for what is lost.
    /// Returns at once; call it again from time to time.
    pub fn purge_before(&self, before_ms: i64) {
        self.front.queue.purge_before(before_ms);
    }

    /// Waits until everything that was committed before the call is in the store.
    ///
    /// # Errors
    /// When the store refuses a batch meanwhile; the records are kept and tried again.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn flush(&self) -> Result<(), LedgerError> {
        self.front.queue.flush().await
    }

    /// Like [`Ledger::flush`], for threads; gives up after `patience`.
    ///
    /// # Errors
    /// When the store refuses a batch, or is not done in time.
    pub fn flush_blocking(&self, patience: Duration) -> Result<(), LedgerError> {
        self.front.queue.flush_blocking(patience)
    }

    /// One request with its attempts, wherever it is: a request is found as soon as its commit has
    /// returned. Blocks for as long as a disk takes, like all that follow: not for async code.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, LedgerError> {
        if let Some(record) = self.front.queue.find(id) {
            return Ok(Some((*record).clone()));
        }
        self.front.stored.request(id)
    }

    /// What was spent on attempts sent in the range, exactly, with all that was committed before
    /// the call. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read, or does not take the waiting records within ten seconds.
    pub fn spent(&self, filter: &SpendFilter, range: TimeRange) -> Result<PicoUsd, LedgerError> {
        self.flush_blocking(SPENT_PATIENCE)?;
        self.front.stored.spent(filter, range)
    }

    /// The same by the end user whom the client named; `None`: nobody. Blocks.
    ///
    /// # Errors
    /// As for [`Ledger::spent`].
    pub fn spent_by_end_user(
        &self,
        filter: &SpendFilter,
        range: TimeRange,
    ) -> Result<Vec<(Option<String>, PicoUsd)>, LedgerError> {
        self.flush_blocking(SPENT_PATIENCE)?;
        self.front.stored.spent_by_end_user(filter, range)
    }

    /// The breakdown of a range for the dashboard, dearest first; as of the last batch. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn spend_by(&self, by: SpendBy, range: TimeRange) -> Result<Vec<SpendRow>, LedgerError> {
        self.front.stored.spend_by(by, range)
    }

    /// The last `count` stored requests, newest first; as of the last batch. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn recent(&self, count: usize) -> Result<Vec<RequestRecord>, LedgerError> {
        self.front.stored.recent(count)
    }

    /// A view of this moment for reports, with all that was committed before the call. Blocks, and
    /// so does what is asked of it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn reports(&self) -> Result<Box<dyn ReportReads>, LedgerError> {
        self.front.stored.reports()
    }

    /// Keeps a client's opinion about a request, durably. The caller checks first that the request
    /// exists and is the client's own. Blocks.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_feedback(&self, feedback: &Feedback) -> Result<FeedbackOutcome, LedgerError> {
        self.front.stored.put_feedback(feedback)
    }

    /// The opinion about a request. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn feedback(&self, id: &RequestId) -> Result<Option<Feedback>, LedgerError> {
        self.front.stored.feedback(id)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("lag", &self.lag())
            .field("healthy", &self.is_healthy())
            .finish_non_exhaustive()
    }
}

impl Drop for Front {
    /// Stores what is left (one try: it is in the journal anyway) and joins the writer, so that the
    /// file is free for the next process.
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the ledger's writer panicked; its records are in the journal");
        }
    }
}

/// The reserved place of one record. Dropping it unused gives it back.
#[must_use = "a slot that is dropped gives its place back"]
pub struct Slot {
    front: Arc<Front>,
    used: bool,
    open: Option<OpenId>,
}

impl Slot {
    /// Hands the finished record over. Synchronous and short: from the moment of its return the
    /// record survives the process. Never fails: what cannot be written to the journal is kept in
    /// memory, tried again, and shows in [`Ledger::is_healthy`].
    pub fn commit(mut self, record: RequestRecord) {
        self.used = true;
        self.front.queue.commit(record, self.open.take(), false);
    }

    /// The same, but the record survives the process only when [`Ledger::written`] has returned, or
    /// anything else was written to the journal.
    pub fn commit_soon(mut self, record: RequestRecord) {
        self.used = true;
        self.front.queue.commit(record, self.open.take(), true);
    }

    /// Notes, before an attempt is sent, what the request will have cost at most: if the process dies
    /// before the commit, this is what the next one stores, so that no money that a provider may bill
    /// is ever spent twice. A later note replaces an earlier one. It is to be sent only when
    /// [`Ledger::written`] has returned.
    pub fn note(&mut self, provisional: &RequestRecord) {
        self.open = self.front.queue.open(self.open, provisional);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.used {
            if let Some(open) = self.open {
                self.front.queue.abandon(open);
            }
            self.front.queue.release(1);
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}
