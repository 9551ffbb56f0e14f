//! The process that a journal belongs to: only one at a time, and what the last one left is stored
//! before the first request is admitted.

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
pub(in crate::stores) fn recover(
    sink: &mut dyn UsageSink,
    directory: &Path,
    batch_records: usize,
) -> Result<(), LedgerError> {
    for mut leftover in read(directory)? {
        let records: Vec<_> = leftover.records.drain(..).map(Arc::new).collect();
        for batch in records.chunks(batch_records.max(1)) {
            sink.append(batch)?;
        }
        if !records.is_empty() {
            tracing::info!(
                records = records.len(),
                "stored what the last process had left in the journal"
            );
        }
        leftover.put_away();
    }
    Ok(())
}
