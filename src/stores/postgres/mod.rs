//! The ledger in a Postgres database that several replicas share. Everything that names the driver is
//! below this module.
//!
//! Each replica has a journal of its own in front, on its own disk: a record is safe there before it
//! is counted, and the writer ships batches from it. So the database may go away, and nothing waits
//! for it but the dashboard, until the ledger's slots are used up.

mod columns;
mod query;
mod read;
mod reader;
mod retention;
mod schema;
mod server;
mod tls;
mod write;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Statement};

pub use self::reader::PostgresReader;
use self::server::{Failure, Kind, Server};
use super::journal::{self, Journal};
use super::report::ReportReads;
use super::usage::{
    Feedback, FeedbackOutcome, FeedbackStore, LedgerError, SpendBy, SpendFilter, SpendRow,
    TimeRange, UsageReads, UsageSink,
};
use crate::types::{PicoUsd, PostgresUrl, RequestId, RequestRecord};

/// How long the start waits for a server that is not there yet: an orchestrator starts a database
/// and its users together, and a database that recovers takes seconds.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries of the start.
const START_PAUSE: Duration = Duration::from_millis(500);
/// How long a batch may take before its connection is given up.
const BATCH_PATIENCE: Duration = Duration::from_secs(30);

/// The writing side; belongs to the writer's thread.
pub(super) struct PostgresSink {
    server: Arc<Server>,
    /// A connection with the prepared statement; none after a failure.
    ready: Option<(Client, Statement)>,
    /// Where records go that the database will never take.
    aside: Box<Path>,
    /// Declared last, dropped last: the journal is free once everything else is closed.
    _lock: File,
}

impl UsageSink for PostgresSink {
    fn append(&mut self, batch: &[Arc<RequestRecord>]) -> Result<(), LedgerError> {
        match self.store(batch) {
            Ok(()) => Ok(()),
            Err(failure) if failure.kind() == Kind::Unfit => self.store_what_fits(batch, &failure),
            Err(failure) => Err(self.server.error("store a batch", &failure)),
        }
    }

    fn purge(&mut self, before_ms: i64, at_most: usize) -> Result<usize, LedgerError> {
        let Self { server, ready, .. } = self;
        let open = ready.take().filter(|(client, _)| !client.is_closed());
        let gone = server.wait(async || {
            let purging = async {
                let (mut client, statement) = match open {
                    Some(open) => open,
                    None => open_to_write(server).await?,
                };
                let gone = retention::purge(&mut client, before_ms, at_most).await?;
                Ok::<_, Failure>((gone, (client, statement)))
            };
            let gone = tokio::time::timeout(BATCH_PATIENCE, purging).await;
            gone.unwrap_or(Err(Failure::Silent))
        });
        match gone {
            Ok((gone, still_open)) => {
                *ready = Some(still_open);
                Ok(gone)
            }
            Err(failure) => Err(self.server.error("archive old rows", &failure)),
        }
    }
}

impl PostgresSink {
    fn store(&mut self, batch: &[Arc<RequestRecord>]) -> Result<(), Failure> {
        let Self { server, ready, .. } = self;
        // Whatever fails, the connection is not used again: a promoted standby is found by asking
        // anew.
        let open = ready.take().filter(|(client, _)| !client.is_closed());
        let still_open = server.wait(async || {
            let storing = async {
                let (client, statement) = match open {
                    Some(open) => open,
                    None => open_to_write(server).await?,
                };
                write::append(&client, &statement, batch).await?;
                Ok((client, statement))
            };
            let stored = tokio::time::timeout(BATCH_PATIENCE, storing).await;
            stored.unwrap_or(Err(Failure::Silent))
        })?;
        *ready = Some(still_open);
        Ok(())
    }

    /// Halves the batch until the record that does not fit is alone; the others are stored.
    fn store_what_fits(
        &mut self,
        batch: &[Arc<RequestRecord>],
        why: &Failure,
    ) -> Result<(), LedgerError> {
        if let [record] = batch {
            return self.set_aside(record, why);
        }
        let (first, second) = batch.split_at(batch.len() / 2);
        self.append(first)?;
        self.append(second)
    }

    /// Keeps a record that the database will never take in a file beside the journal, so that it holds
    /// up no other one. It is on the disk before the journal may forget it.
    fn set_aside(&self, record: &RequestRecord, why: &Failure) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::Io {
            path: self.aside.to_path_buf(),
            action: "set a record aside",
            source,
        };
        let mut line = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        // What was taken over as it came may be on several lines; inside of texts they are escaped.
        for byte in line
            .iter_mut()
            .filter(|byte| matches!(**byte, b'\n' | b'\r'))
        {
            *byte = b' ';
        }
        line.push(b'\n');
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.aside)
            .map_err(failed)?;
        file.write_all(&line).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        tracing::error!(
            request = record.request_id.as_str(),
            cost_usd = %record.cost,
            file = %self.aside.display(),
            why = why.words(),
            "the ledger's database will not take a record: it is set aside, and missing in sums until it is stored"
        );
        Ok(())
    }
}

/// A connection to write with. Sets up a database that was replaced by an empty one; one that a newer
/// replica has brought further meanwhile is written to as before.
async fn open_to_write(server: &Server) -> Result<(Client, Statement), Failure> {
    let mut client = server.connect().await?;
    if schema::version(&client).await? < schema::VERSION {
        schema::migrate(&mut client).await?;
    }
    let statement = write::prepare(&client).await?;
    Ok((client, statement))
}

/// The reading side and the feedback.
#[derive(Debug)]
pub(super) struct PostgresStore {
    server: Arc<Server>,
    journal: Box<Path>,
}

impl PostgresStore {
    /// Connects, sets the database up, and stores what an earlier process left in the journal. Waits
    /// up to `patience` for a server that is not there.
    pub fn open(
        url: &PostgresUrl,
        journal_directory: &Path,
        batch_records: usize,
        patience: Duration,
    ) -> Result<(PostgresSink, Self, Journal), LedgerError> {
        let lock = lock(journal_directory)?;
        let server = Server::new(url)?;
        patiently(patience, || prepare(&server))?;
        let mut sink = PostgresSink {
            server: Arc::clone(&server),
            ready: None,
            aside: aside(journal_directory),
            _lock: lock,
        };
        journal::recover(&mut sink, journal_directory, batch_records)?;
        let store = Self {
            server,
            journal: journal_directory.into(),
        };
        Ok((sink, store, Journal::create(journal_directory)?))
    }

    fn read<T: Send>(
        &self,
        question: impl AsyncFn(&mut Client) -> Result<T, Failure> + Sync,
    ) -> Result<T, LedgerError> {
        let failed = |failure| self.server.error("read the ledger", &failure);
        self.server.ask(question).map_err(failed)
    }
}

/// Where records are set aside: `journal.refused.jsonl`.
fn aside(journal_directory: &Path) -> Box<Path> {
    let mut path = journal_directory.as_os_str().to_owned();
    path.push(".refused.jsonl");
    Path::new(&path).into()
}

/// One journal, one process.
fn lock(journal_directory: &Path) -> Result<File, LedgerError> {
    let mut lock_path = journal_directory.as_os_str().to_owned();
    lock_path.push(".lock");
    journal::lock(Path::new(&lock_path), journal_directory).map_err(|error| match error {
        LedgerError::InUse { path } => LedgerError::JournalInUse { path },
        other => other,
    })
}

fn prepare(server: &Arc<Server>) -> Result<(), LedgerError> {
    server.wait(async || {
        let failed = |failure: Failure| server.error("connect", &failure);
        let mut client = server.connect().await.map_err(failed)?;
        schema::prepare(&mut client, server).await
    })
}

/// Tries again for a while as long as the server is away.
fn patiently(
    patience: Duration,
    mut attempt: impl FnMut() -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let deadline = Instant::now() + patience;
    let mut is_first = true;
    loop {
        match attempt() {
            Err(error @ LedgerError::Unreachable { .. }) if Instant::now() < deadline => {
                if is_first {
                    tracing::warn!(%error, "waiting up to {patience:?} for the ledger's server");
                    is_first = false;
                }
                std::thread::sleep(START_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

impl UsageReads for PostgresStore {
    fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, LedgerError> {
        self.read(async |client| read::request(client, id).await)
    }

    fn spent(&self, filter: &SpendFilter, range: TimeRange) -> Result<PicoUsd, LedgerError> {
        self.read(async |client| read::spent(client, filter, range).await)
    }

    fn spent_by_end_user(
        &self,
        filter: &SpendFilter,
        range: TimeRange,
    ) -> Result<Vec<(Option<String>, PicoUsd)>, LedgerError> {
        self.read(async |client| read::spent_by_end_user(client, filter, range).await)
    }

    fn spend_by(&self, by: SpendBy, range: TimeRange) -> Result<Vec<SpendRow>, LedgerError> {
        self.read(async |client| read::spend_by(client, by, range).await)
    }

    fn recent(&self, count: usize) -> Result<Vec<RequestRecord>, LedgerError> {
        self.read(async |client| read::recent(client, count).await)
    }

    fn reports(&self) -> Result<Box<dyn ReportReads>, LedgerError> {
        let reader = PostgresReader::of(Arc::clone(&self.server), &self.journal)?;
        Ok(Box::new(reader))
    }
}

impl FeedbackStore for PostgresStore {
    fn put_feedback(&self, feedback: &Feedback) -> Result<FeedbackOutcome, LedgerError> {
        let failed = |failure| self.server.error("store feedback", &failure);
        self.server
            .ask(async |client| write::put_feedback(client, feedback).await)
            .map_err(failed)
    }

    fn feedback(&self, id: &RequestId) -> Result<Option<Feedback>, LedgerError> {
        self.read(async |client| read::feedback(client, id).await)
    }
}
