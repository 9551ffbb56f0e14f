//! A consistent copy of a ledger's file while others read and write it.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode};

use super::{refusal, with_suffix};
use crate::stores::usage::LedgerError;

/// Copies the file behind `source` to `to`, replacing what is there; `from` is for messages. The copy
/// has its name only when it is whole and on the disk.
///
/// # Errors
/// When it cannot be read or written.
pub(super) fn file(source: &Connection, from: &Path, to: &Path) -> Result<(), LedgerError> {
    let partial = with_suffix(to, ".partial");
    let io = |action: &'static str| {
        let path = partial.clone();
        move |source| LedgerError::Io {
            path,
            action,
            source,
        }
    };
    remove_if_there(&partial).map_err(io("delete the rest of an earlier copy"))?;
    let copied = pages(source, from, &partial);
    if let Err(error) = copied {
        // What is left of it is of no use and may be what fills the disk.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    let synced = File::open(&partial).and_then(|file| file.sync_all());
    synced.map_err(io("sync the copy"))?;
    publish(&partial, to)
}

/// Gives a whole file its name, durably.
pub(super) fn publish(partial: &Path, to: &Path) -> Result<(), LedgerError> {
    let named = fs::rename(partial, to).and_then(|()| sync_directory(to));
    named.map_err(|source| LedgerError::Io {
        path: to.to_owned(),
        action: "give the copy its name",
        source,
    })
}

fn sync_directory(of: &Path) -> std::io::Result<()> {
    let directory = match of.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// All pages in one step: one read transaction, so the copy is of one moment, whoever writes.
fn pages(source: &Connection, from: &Path, partial: &Path) -> Result<(), LedgerError> {
    let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            refusal(from, "copy the ledger", error)
        }
        _ => refusal(partial, "write the copy", error),
    };
    let mut copy = Connection::open(partial).map_err(failed)?;
    copy.execute_batch("PRAGMA synchronous = OFF")
        .map_err(failed)?;
    {
        let backup = Backup::new(source, &mut copy).map_err(failed)?;
        let busy = || LedgerError::Locked {
            path: from.to_owned(),
        };
        match backup.step(-1).map_err(failed)? {
            StepResult::Done => {}
            _ => return Err(busy()),
        }
    }
    copy.close().map_err(|(_, error)| failed(error))
}
