//! The process that a journal belongs to: only one at a time, and what the last one left is stored
//! before the first request is admitted.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;

use super::read;
use crate::stores::usage::{LedgerError, UsageSink};

/// Takes the lock that keeps two processes from one ledger or journal (`whole`, for messages). The
/// system lets go of it when the process ends, however it ends.
pub(in crate::stores) fn lock(lock_path: &Path, whole: &Path) -> Result<File, LedgerError> {
    let failed = |action| {
        move |source| LedgerError::Io {
            path: lock_path.to_owned(),
            action,
            source,
        }
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(lock_path)
        .map_err(failed("create the lock file"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse {
            path: whole.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed("lock the lock file")(error)),
    }
}

/// Stores what lies in the journal, then puts it away. Twice the same record is stored once.
///
/// A request that was in flight when the process died is stored with the most that its open attempt
/// can have cost, as an estimate: nobody knows what the provider bills for it.
pub(in crate::stores) fn recover(
    sink: &mut dyn UsageSink,
    directory: &Path,
    batch_records: usize,
) -> Result<(), LedgerError> {
    let mut leftovers = read(directory)?;
    let mut known = HashSet::new();
    let mut open = HashMap::new();
    for leftover in &mut leftovers {
        let records: Vec<_> = leftover.records.drain(..).map(Arc::new).collect();
        for batch in records.chunks(batch_records.max(1)) {
            sink.append(batch)?;
        }
        known.extend(records.iter().map(|record| record.request_id.clone()));
        open.extend(
            leftover
                .open
                .drain(..)
                .map(|record| (record.request_id.clone(), Arc::new(record))),
        );
    }
    if !known.is_empty() {
        tracing::info!(
            records = known.len(),
            "stored what the last process had left in the journal"
        );
    }
    // Those whose record was stored before are known to the store and skipped by it.
    let died: Vec<_> = open
        .into_values()
        .filter(|record| !known.contains(&record.request_id))
        .collect();
    for batch in died.chunks(batch_records.max(1)) {
        sink.append(batch)?;
    }
    if !died.is_empty() {
        tracing::warn!(
            requests = died.len(),
            "requests were in flight when the last process died; billed as the most they can cost, as \
             an estimate, unless their record is there"
        );
    }
    for leftover in leftovers {
        leftover.put_away()?;
    }
    Ok(())
}
