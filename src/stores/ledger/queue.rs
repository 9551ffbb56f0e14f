//! Between the commits and the writer: the bounded queue of records that are not stored yet, in the
//! order of the journal, and who waits for them.
//!
//! A record stays in the queue until its batch is stored, so whoever looks here first and in the
//! store second never misses it. The lock is held for a push, a look-up or the journal's write,
//! never for the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;
use tokio::sync::watch;

use super::LedgerOptions;
use super::returned::{self, Returned};
use crate::stores::journal::{self, Journal, Segment, SegmentId, frame};
use crate::stores::usage::{LedgerError, UsageSink};
use crate::types::{RequestId, RequestRecord};

/// How far the writer has come.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Records stored since the start.
    stored: u64,
    /// Batches refused since the start.
    failures: u64,
    /// What the last refusal said.
    why: Arc<str>,
}

/// One record that is not stored yet.
struct Pending {
    record: Arc<RequestRecord>,
    /// The thread that made it.
    place: usize,
    /// Where the journal has it; `None` when it could not be written.
    segment: Option<SegmentId>,
    /// Where the journal has what the request was doing, when it has nothing better.
    superseded: Option<SegmentId>,
}

/// What waits for the journal's next write.
enum Staged {
    /// A record, by its number among those committed.
    Record(u64),
    /// What an open request says.
    Open(OpenId),
}

/// What the journal has of a request that is not over.
struct Open {
    /// Where; `None` when it could not be written.
    segment: Option<SegmentId>,
    /// The line, to be written again when its segment is in the way.
    frame: Vec<u8>,
}

/// What the writer is to do next.
pub(super) enum Work {
    /// Store these, the oldest that wait.
    Store(Vec<Arc<RequestRecord>>),
    /// Little or nothing waits: let some of what began before this instant go.
    Purge(i64),
    /// Nothing waits, and nothing will.
    End,
}

/// Names an [`Open`] among those of the process.
pub(super) type OpenId = u64;

struct Intake {
    /// Oldest first; the front is what the writer is storing.
    pending: VecDeque<Pending>,
    journal: Option<Journal>,
    /// What its next write will hold.
    staged: Vec<Staged>,
    /// Requests with an attempt in flight.
    open: FxHashMap<OpenId, Open>,
    last_open: OpenId,
    /// Records committed since the start.
    committed: u64,
    /// Requests that began before this instant may go, when there is nothing else to do.
    purge_before_ms: Option<i64>,
    /// A batch was stored since the last purge: where there is always something to store, every
    /// other turn is a purge's.
    purge_turn: bool,
    /// Somebody waits for everything up to this count.
    flush_to: u64,
    closing: bool,
}

/// Closed segments that may be kept for requests that are not over: 16 MiB of disk. Beyond that,
/// what the requests say is written again behind the newest segment, and the old ones can go.
const MOST_SEALED: usize = 4;

/// What was said before is no longer needed.
fn forget(intake: &mut Intake, replaced: Option<Open>) {
    if let (Some(journal), Some(segment)) = (
        intake.journal.as_mut(),
        replaced.and_then(|open| open.segment),
    ) {
        journal.stored(segment);
    }
}

/// Writes what open requests say into the active segment, so that no older one is needed for it.
fn carry_over(intake: &mut Intake) {
    let Intake { journal, open, .. } = intake;
    let Some(journal) = journal else { return };
    let active = journal.active();
    for open in open
        .values_mut()
        .filter(|open| open.segment != Some(active))
    {
        let Ok(segment) = journal.append(&open.frame) else {
            return;
        };
        if let Some(old) = open.segment.replace(segment) {
            journal.stored(old);
        }
    }
}

pub(super) struct Queue {
    options: LedgerOptions,
    intake: Mutex<Intake>,
    /// Wakes the writer.
    arrived: Condvar,
    /// Wakes threads that flush.
    moved: Condvar,
    progress: watch::Sender<Progress>,
    /// Slots in use: in flight or pending.
    occupied: AtomicUsize,
    lag: AtomicU64,
    unjournalled: AtomicU64,
    /// Frames that wait for the journal's next write.
    unwritten: AtomicUsize,
    store_refuses: AtomicBool,
    returned: Returned,
    /// Stores within the commit, when there is no writer.
    direct: Option<Mutex<Box<dyn UsageSink>>>,
}

impl Queue {
    pub fn buffered(options: LedgerOptions, journal: Option<Journal>) -> Self {
        Self {
            options,
            intake: Mutex::new(Intake {
                pending: VecDeque::new(),
                journal,
                staged: Vec::new(),
                open: FxHashMap::default(),
                last_open: 0,
                purge_before_ms: None,
                purge_turn: true,
                committed: 0,
                flush_to: 0,
                closing: false,
            }),
            arrived: Condvar::new(),
            moved: Condvar::new(),
            progress: watch::Sender::new(Progress::default()),
            occupied: AtomicUsize::new(0),
            lag: AtomicU64::new(0),
            unjournalled: AtomicU64::new(0),
            unwritten: AtomicUsize::new(0),
            store_refuses: AtomicBool::new(false),
            returned: Returned::default(),
            direct: None,
        }
    }

    pub fn direct(options: LedgerOptions, sink: Box<dyn UsageSink>) -> Self {
        Self {
            direct: Some(Mutex::new(sink)),
            ..Self::buffered(options, None)
        }
    }

    pub const fn slots(&self) -> usize {
        self.options.slots
    }

    pub fn reserve(&self) -> bool {
        let taken = self
            .occupied
            .try_update(Ordering::AcqRel, Ordering::Acquire, |occupied| {
                (occupied < self.options.slots).then_some(occupied + 1)
            });
        taken.is_ok()
    }

    pub fn release(&self, slots: usize) {
        self.occupied.fetch_sub(slots, Ordering::AcqRel);
    }

    pub fn lag(&self) -> u64 {
        self.lag.load(Ordering::Acquire)
    }

    pub fn is_healthy(&self) -> bool {
        let LedgerOptions {
            slots, rides_out, ..
        } = self.options;
        let has_room = rides_out && self.occupied.load(Ordering::Acquire) <= slots / 4 * 3;
        (has_room || !self.store_refuses.load(Ordering::Acquire))
            && self.unjournalled.load(Ordering::Acquire) == 0
    }

    pub fn trouble(&self) -> Option<Arc<str>> {
        let refuses = self.store_refuses.load(Ordering::Acquire);
        refuses.then(|| Arc::clone(&self.progress.borrow().why))
    }

    pub fn find(&self, id: &RequestId) -> Option<Arc<RequestRecord>> {
        let intake = self.intake.lock();
        let mut newest_first = intake.pending.iter().rev();
        newest_first
            .find(|pending| pending.record.request_id == *id)
            .map(|pending| Arc::clone(&pending.record))
    }

    /// Queues the record and writes it to the journal, or, `soon`, leaves that to [`Self::write_staged`].
    /// The caller holds a slot, which is given back when the record is stored.
    pub fn commit(&self, record: RequestRecord, open: Option<OpenId>, soon: bool) {
        let record = Arc::new(record);
        if let Some(sink) = &self.direct {
            if let Err(error) = sink.lock().append(&[record]) {
                tracing::error!(%error, "the ledger's store refused a record");
            }
            self.release(1);
            return;
        }
        let frame = frame::encode(&record);
        let mut intake = self.intake.lock();
        let mut superseded = open.and_then(|id| intake.open.remove(&id)?.segment);
        let number = Staged::Record(intake.committed);
        let staged = match (&frame, soon) {
            (Ok(frame), true) => self.stage(&mut intake, frame, number),
            _ => None,
        };
        let segment = staged.or_else(|| {
            self.write_out(&mut intake);
            let segment = self.journalled(intake.journal.as_mut(), frame.as_deref());
            // The record says it all now, if it is as durable as what it replaces.
            if let (Some(_), Some(journal)) = (segment, intake.journal.as_mut())
                && let Some(old) = superseded.take()
            {
                journal.stored(old);
            }
            segment
        });
        intake.pending.push_back(Pending {
            record,
            place: returned::place(),
            segment,
            superseded,
        });
        intake.committed += 1;
        self.lag.fetch_add(1, Ordering::AcqRel);
        let waiting = intake.pending.len();
        drop(intake);
        // The writer sleeps either until the first record or until a batch is full.
        if waiting == 1 || waiting == self.options.batch_records {
            self.arrived.notify_one();
        }
        self.returned.free_some();
    }

    /// Stages for the journal what a request will have cost at most should the process die now,
    /// in place of what it said before. Nothing without a journal. A disk that refuses stops no
    /// request: what is written down then is tried again with the next segment.
    pub fn open(&self, earlier: Option<OpenId>, record: &RequestRecord) -> Option<OpenId> {
        if self.direct.is_some() {
            return None;
        }
        let frame = frame::encode_open(record).ok()?;
        let mut intake = self.intake.lock();
        intake.journal.as_ref()?;
        let id = earlier.unwrap_or_else(|| {
            intake.last_open += 1;
            intake.last_open
        });
        let segment = self.stage(&mut intake, &frame, Staged::Open(id));
        let replaced = intake.open.insert(id, Open { segment, frame });
        forget(&mut intake, replaced);
        Some(id)
    }

    /// The request came to nothing and leaves no record.
    pub fn abandon(&self, id: OpenId) {
        let mut intake = self.intake.lock();
        let replaced = intake.open.remove(&id);
        forget(&mut intake, replaced);
    }

    /// How many frames wait for the journal's next write.
    pub fn unwritten(&self) -> usize {
        self.unwritten.load(Ordering::Acquire)
    }

    /// Writes to the journal what waits for it, whoever staged it.
    pub fn write_staged(&self) {
        self.write_out(&mut self.intake.lock());
    }

    fn stage(&self, intake: &mut Intake, frame: &[u8], what: Staged) -> Option<SegmentId> {
        let segment = intake.journal.as_mut()?.stage(frame)?;
        intake.staged.push(what);
        self.unwritten.store(intake.staged.len(), Ordering::Release);
        Some(segment)
    }

    fn write_out(&self, intake: &mut Intake) {
        if intake.staged.is_empty() {
            return;
        }
        self.unwritten.store(0, Ordering::Release);
        let mut staged = std::mem::take(&mut intake.staged);
        let written = intake.journal.as_mut().map(Journal::write_staged);
        if let Some(Err(error)) = written {
            self.lose(intake, &staged, &error);
        }
        // Its memory is used again.
        staged.clear();
        intake.staged = staged;
    }

    /// What could not be written is in memory only.
    fn lose(&self, intake: &mut Intake, staged: &[Staged], error: &std::io::Error) {
        let Intake {
            pending,
            journal,
            open,
            committed,
            ..
        } = intake;
        let Some(journal) = journal else { return };
        let oldest = *committed - pending.len() as u64;
        for what in staged {
            let place = match what {
                Staged::Open(id) => open.get_mut(id).map(|open| &mut open.segment),
                Staged::Record(number) => {
                    // One that is stored already has no place, and needs none.
                    let at = number.checked_sub(oldest).map(usize::try_from);
                    let record = at.and_then(|at| pending.get_mut(at.ok()?));
                    let segment = record.map(|record| &mut record.segment);
                    segment.inspect(|_| self.count_unjournalled(error))
                }
            };
            if let Some(segment) = place.and_then(Option::take) {
                journal.stored(segment);
            }
        }
    }

    fn count_unjournalled(&self, error: &std::io::Error) {
        if self.unjournalled.fetch_add(1, Ordering::AcqRel) == 0 {
            tracing::error!(%error, "cannot write the ledger's journal; records are kept in memory only");
        }
    }

    /// Appends to the journal, if there is one; counts what it could not take.
    fn journalled(
        &self,
        journal: Option<&mut Journal>,
        frame: Result<&[u8], &serde_json::Error>,
    ) -> Option<SegmentId> {
        let journal = journal?;
        let result = frame
            .map_err(|error| std::io::Error::other(error.to_string()))
            .and_then(|frame| journal.append(frame));
        match result {
            Ok(segment) => Some(segment),
            Err(error) => {
                self.count_unjournalled(&error);
                None
            }
        }
    }

    pub async fn flush(&self) -> Result<(), LedgerError> {
        let mut progress = self.progress.subscribe();
        let failures = progress.borrow_and_update().failures;
        let target = self.ask_for_flush();
        let reached =
            |progress: &Progress| progress.stored >= target || progress.failures > failures;
        // The sender lives as long as `self`: waiting cannot fail.
        let _ = progress.wait_for(reached).await;
        let now = progress.borrow().clone();
        self.verdict(target, &now)
    }

    pub fn flush_blocking(&self, patience: Duration) -> Result<(), LedgerError> {
        let deadline = Instant::now() + patience;
        let failures = self.progress.borrow().failures;
        let target = self.ask_for_flush();
        let mut intake = self.intake.lock();
        loop {
            let now = self.progress.borrow().clone();
            if now.stored >= target || now.failures > failures {
                return self.verdict(target, &now);
            }
            if self.moved.wait_until(&mut intake, deadline).timed_out() {
                return Err(LedgerError::Behind {
                    records: self.lag(),
                    why: format!("not done within {patience:?}"),
                });
            }
        }
    }

    fn ask_for_flush(&self) -> u64 {
        if self.direct.is_some() {
            return 0;
        }
        let mut intake = self.intake.lock();
        intake.flush_to = intake.committed;
        let target = intake.committed;
        drop(intake);
        self.arrived.notify_one();
        target
    }

    fn verdict(&self, target: u64, progress: &Progress) -> Result<(), LedgerError> {
        if progress.stored >= target {
            return Ok(());
        }
        Err(LedgerError::Behind {
            records: self.lag(),
            why: progress.why.to_string(),
        })
    }

    /// Tells the writer to store what is there and end.
    pub fn close(&self) {
        self.intake.lock().closing = true;
        self.arrived.notify_one();
    }

    // What follows is the writer's side.

    /// Waits for records and lends out the oldest.
    pub fn next(&self) -> Work {
        let mut intake = self.intake.lock();
        loop {
            let waiting = intake.pending.len();
            if let Some(before_ms) = intake.purge_before_ms
                && !intake.closing
                && (waiting == 0 || (intake.purge_turn && waiting < self.options.batch_records))
            {
                intake.purge_turn = false;
                return Work::Purge(before_ms);
            }
            if waiting > 0 {
                break;
            }
            if intake.closing {
                return Work::End;
            }
            self.arrived.wait(&mut intake);
        }
        let deadline = Instant::now() + self.options.batch_delay;
        while intake.pending.len() < self.options.batch_records
            && !intake.closing
            && self.progress.borrow().stored >= intake.flush_to
        {
            if self.arrived.wait_until(&mut intake, deadline).timed_out() {
                break;
            }
        }
        intake.purge_turn = true;
        let oldest = intake.pending.iter().take(self.options.batch_records);
        Work::Store(oldest.map(|pending| Arc::clone(&pending.record)).collect())
    }

    /// Lets the writer purge in quiet moments what began before this instant.
    pub fn purge_before(&self, before_ms: i64) {
        self.intake.lock().purge_before_ms = Some(before_ms);
        self.arrived.notify_one();
    }

    /// Nothing is left to purge, or it has to wait for the next time.
    pub fn purged(&self) {
        self.intake.lock().purge_before_ms = None;
    }

    /// Rids the journal of everything that is stored. A record in it would be stored again after a
    /// crash, as new if its row were gone by then. True when it worked.
    pub fn forget_stored(&self) -> bool {
        let next = {
            let intake = self.intake.lock();
            match intake.journal.as_ref() {
                None => return true,
                Some(journal) if journal.is_fresh() => None,
                Some(journal) => Some(journal.next_segment()),
            }
        };
        let next = next.map(|(directory, id)| journal::create_segment(&directory, id));
        let mut intake = self.intake.lock();
        self.write_out(&mut intake);
        let Some(journal) = &mut intake.journal else {
            return true;
        };
        match next {
            Some(Err(_)) => return false,
            Some(Ok(segment)) => journal.rotate(segment),
            None => {}
        }
        carry_over(&mut intake);
        let Some(journal) = &mut intake.journal else {
            return true;
        };
        let free = journal.take_free();
        let is_clean = journal.sealed() == 0;
        drop(intake);
        journal::delete_segments(free) && is_clean
    }

    /// The oldest `count` records are stored: forget them, and give their slots back.
    pub fn stored(&self, count: usize) {
        let mut intake = self.intake.lock();
        let Intake {
            pending, journal, ..
        } = &mut *intake;
        let mut unjournalled = 0;
        for done in pending.drain(..count) {
            match (journal.as_mut(), done.segment) {
                (Some(journal), Some(segment)) => journal.stored(segment),
                (Some(_), None) => unjournalled += 1,
                (None, _) => {}
            }
            if let (Some(journal), Some(segment)) = (journal.as_mut(), done.superseded) {
                journal.stored(segment);
            }
            self.returned.give(done.place, done.record);
        }
        let waiting = pending.len();
        let free = journal.as_mut().map(Journal::take_free);
        self.unjournalled.fetch_sub(unjournalled, Ordering::AcqRel);
        if self.store_refuses.swap(false, Ordering::AcqRel) {
            tracing::info!(waiting, "the ledger's store takes records again");
        }
        self.lag.fetch_sub(count as u64, Ordering::AcqRel);
        self.release(count);
        self.progress
            .send_modify(|progress| progress.stored += count as u64);
        self.moved.notify_all();
        drop(intake);
        // One that stays is replayed at the next start, where its records are known.
        let _ = journal::delete_segments(free.unwrap_or_default());
    }

    /// The store refused. Records stay, and those that the journal lacks are written again.
    pub fn refused(&self, error: &LedgerError) {
        if !self.store_refuses.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "the ledger's store refuses records; they are kept and tried again");
        }
        let mut intake = self.intake.lock();
        self.write_out(&mut intake);
        self.write_missing(&mut intake);
        self.progress.send_modify(|progress| {
            progress.failures += 1;
            progress.why = error.to_string().into();
        });
        self.moved.notify_all();
    }

    /// Gives records that are only in memory another chance to survive the process. Stops at the
    /// first refusal: the disk is full for the others too.
    fn write_missing(&self, intake: &mut Intake) {
        if self.unjournalled.load(Ordering::Acquire) == 0 {
            return;
        }
        let Intake {
            pending, journal, ..
        } = intake;
        let Some(journal) = journal else { return };
        for missing in pending.iter_mut().filter(|entry| entry.segment.is_none()) {
            let Ok(frame) = frame::encode(&missing.record) else {
                continue;
            };
            let Ok(segment) = journal.append(&frame) else {
                break;
            };
            missing.segment = Some(segment);
            self.unjournalled.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits before the next try; true when the queue is closing.
    pub fn pause(&self, for_at_most: Duration) -> bool {
        let mut intake = self.intake.lock();
        let deadline = Instant::now() + for_at_most;
        while !intake.closing {
            if self.arrived.wait_until(&mut intake, deadline).timed_out() {
                break;
            }
        }
        intake.closing
    }

    /// Replaces a full or broken segment, creating the file outside the lock.
    pub fn rotate_journal(&self) {
        let wanted = {
            let intake = self.intake.lock();
            let journal = intake.journal.as_ref();
            journal.and_then(|journal| journal.wants_rotation().then(|| journal.next_segment()))
        };
        let Some((directory, id)) = wanted else {
            return;
        };
        let next: Segment = match journal::create_segment(&directory, id) {
            Ok(segment) => segment,
            Err(error) => {
                tracing::warn!(%error, "the journal goes on in its old segment");
                return;
            }
        };
        let mut intake = self.intake.lock();
        self.write_out(&mut intake);
        if let Some(journal) = &mut intake.journal {
            journal.rotate(next);
            if journal.sealed() > MOST_SEALED {
                carry_over(&mut intake);
            }
        }
    }

    /// Ends the journal after the last batch.
    pub fn close_journal(&self) {
        let mut intake = self.intake.lock();
        self.write_out(&mut intake);
        if let Some(journal) = intake.journal.take() {
            journal.close();
        }
    }
}
