//! The journal: where a finished record is safe from the death of the process, one `write(2)` after
//! the client's last byte, until it is in the store.
//!
//! A directory of append-only segments. Records lie in the page cache after the write: they survive
//! `kill -9`, not a power cut (docs/adr/0003-ledger.md has that window). A segment is deleted when all
//! of its records are stored. Reading tolerates what a crash leaves: a torn last record.

pub(super) mod frame;
mod owner;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) use self::owner::{lock, recover};
use super::usage::LedgerError;
use crate::types::RequestRecord;

/// A segment is closed at this size: some thousand records, so that a report which overlaps it with
/// the store reads a few megabytes at most.
const SEGMENT_BYTES: u64 = 4 << 20;
/// What segments are called: their number and this.
const SEGMENT_SUFFIX: &str = "journal";
/// Where segments go that hold whole records that we cannot understand.
const REJECTED_SUFFIX: &str = "rejected";

/// Which segment a record lies in.
pub(super) type SegmentId = u64;

/// One file of the journal.
#[derive(Debug)]
pub(super) struct Segment {
    id: SegmentId,
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Records in it that are not stored yet, and requests in it that are not over.
    unstored: u64,
    /// Its end could not be restored after a failed write: nothing may follow.
    broken: bool,
}

impl Segment {
    fn create(directory: &Path, id: SegmentId) -> Result<Self, LedgerError> {
        let path = directory.join(format!("{id:016x}.{SEGMENT_SUFFIX}"));
        let created = OpenOptions::new().append(true).create_new(true).open(&path);
        match created {
            Ok(file) => Ok(Self::empty(id, path, file)),
            Err(source) => Err(LedgerError::Io {
                path,
                action: "create the journal segment",
                source,
            }),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the segment is waiting to be replaced"));
        }
        if let Err(error) = self.file.write_all(bytes) {
            // A part may have been written (disk full): cut it off, or nothing may follow it.
            self.broken = self.file.set_len(self.bytes).is_err();
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    const fn empty(id: SegmentId, path: PathBuf, file: File) -> Self {
        Self {
            id,
            path,
            file,
            bytes: 0,
            unstored: 0,
            broken: false,
        }
    }
}

/// The journal as the process that owns it sees it.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    active: Segment,
    sealed: VecDeque<Segment>,
    /// Frames that wait to be written together.
    staged: Vec<u8>,
}

impl Journal {
    /// Begins a fresh segment behind whatever the directory holds.
    pub fn create(directory: &Path) -> Result<Self, LedgerError> {
        fs::create_dir_all(directory).map_err(|source| LedgerError::Io {
            path: directory.to_owned(),
            action: "create the journal directory",
            source,
        })?;
        // Also past what was kept aside, which a later segment of its number would replace.
        let last = numbered(directory, &[SEGMENT_SUFFIX, REJECTED_SUFFIX])?
            .last()
            .map_or(0, |(id, _)| *id);
        Ok(Self {
            directory: directory.to_owned(),
            active: Segment::create(directory, last.saturating_add(1))?,
            sealed: VecDeque::new(),
            staged: Vec::new(),
        })
    }

    /// Appends one frame with a single write. On failure the segment is as it was before.
    pub fn append(&mut self, frame: &[u8]) -> io::Result<SegmentId> {
        let segment = &mut self.active;
        segment.write(frame)?;
        segment.unstored += 1;
        Ok(segment.id)
    }

    /// Puts one frame behind those that wait to be written together; `None` when the segment takes no more.
    /// It is not safe until [`Self::write_staged`] has returned.
    pub fn stage(&mut self, frame: &[u8]) -> Option<SegmentId> {
        if self.active.broken {
            return None;
        }
        self.staged.extend_from_slice(frame);
        self.active.unstored += 1;
        Some(self.active.id)
    }

    /// Writes the frames that wait, with a single write. On failure the segment is as it was before, and
    /// none of them is in it nor waits any longer; they still count as its own until [`Self::stored`].
    pub fn write_staged(&mut self) -> io::Result<()> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let written = self.active.write(&self.staged);
        self.staged.clear();
        written
    }

    /// Whether the active segment should be replaced: [`Self::next_segment`] then [`Self::rotate`].
    pub const fn wants_rotation(&self) -> bool {
        self.active.broken || self.active.bytes >= SEGMENT_BYTES
    }

    /// Where the next segment goes, so that it can be created outside the lock.
    pub fn next_segment(&self) -> (PathBuf, SegmentId) {
        (self.directory.clone(), self.active.id + 1)
    }

    /// Takes a new segment into use.
    pub fn rotate(&mut self, next: Segment) {
        let old = std::mem::replace(&mut self.active, next);
        self.sealed.push_back(old);
    }

    /// How many segments were closed and are still needed.
    pub fn sealed(&self) -> usize {
        self.sealed.len()
    }

    /// True when nothing was written to the active segment, nor waits to be.
    pub const fn is_fresh(&self) -> bool {
        self.active.bytes == 0 && self.staged.is_empty()
    }

    /// The segment that is written to.
    pub const fn active(&self) -> SegmentId {
        self.active.id
    }

    /// Notes that this segment is no longer needed for one record or request.
    pub fn stored(&mut self, id: SegmentId) {
        let segment = if self.active.id == id {
            Some(&mut self.active)
        } else {
            self.sealed.iter_mut().find(|segment| segment.id == id)
        };
        if let Some(segment) = segment {
            segment.unstored = segment.unstored.saturating_sub(1);
        }
    }

    /// Takes out the segments that are no longer needed; the caller deletes them, outside the lock.
    pub fn take_free(&mut self) -> Vec<Segment> {
        if self.sealed.iter().all(|segment| segment.unstored > 0) {
            return Vec::new();
        }
        let (free, needed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sealed)
            .into_iter()
            .partition(|segment| segment.unstored == 0);
        self.sealed = needed.into();
        free
    }

    /// Ends the journal: every segment whose records are all stored is deleted.
    pub fn close(mut self) {
        self.sealed.push_back(self.active);
        for segment in self.sealed {
            if segment.unstored == 0 {
                delete(&segment.path);
            }
        }
    }
}

/// Creates the segment that [`Journal::next_segment`] named.
pub(super) fn create_segment(directory: &Path, id: SegmentId) -> Result<Segment, LedgerError> {
    Segment::create(directory, id)
}

/// Deletes segments that [`Journal::take_free`] gave out; false when one stays, as it does on a disk
/// that became read-only.
pub(super) fn delete_segments(segments: Vec<Segment>) -> bool {
    let mut all_gone = true;
    for segment in segments {
        all_gone &= delete(&segment.path);
    }
    all_gone
}

fn delete(path: &Path) -> bool {
    let gone = fs::remove_file(path);
    if let Err(error) = &gone {
        tracing::warn!(path = %path.display(), %error, "cannot delete a journal segment that is stored");
    }
    gone.is_ok()
}

/// The segments of a directory in the order in which they were written.
fn segments(directory: &Path) -> Result<Vec<(SegmentId, PathBuf)>, LedgerError> {
    numbered(directory, &[SEGMENT_SUFFIX])
}

/// The files of a directory with one of these suffixes, by their number. No directory, no files.
fn numbered(directory: &Path, suffixes: &[&str]) -> Result<Vec<(SegmentId, PathBuf)>, LedgerError> {
    let failed = |source| LedgerError::Io {
        path: directory.to_owned(),
        action: "list the journal",
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_segment = path
            .extension()
            .is_some_and(|found| suffixes.iter().any(|suffix| found == *suffix));
        let id = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| SegmentId::from_str_radix(stem, 16).ok());
        if let (true, Some(id)) = (is_segment, id) {
            found.push((id, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What one segment holds.
#[derive(Debug)]
pub(super) struct Leftover {
    path: PathBuf,
    /// Its whole records, in order.
    pub records: Vec<RequestRecord>,
    /// What requests that were not over would have cost at most, in order; the last one of a request
    /// counts, and only when its record is nowhere.
    pub open: Vec<RequestRecord>,
    /// Whole frames whose content is no record that we know.
    pub strange: usize,
    /// Bytes that are no whole frame.
    pub torn_bytes: usize,
}

impl Leftover {
    /// Puts the segment away after its records were stored: deleted, or kept aside when it holds
    /// anything that we could not read, since it may be money.
    ///
    /// # Errors
    /// When it can be neither: left in place, its records would be stored again one day, perhaps after
    /// their rows became too old to be kept.
    pub fn put_away(self) -> Result<(), LedgerError> {
        if self.torn_bytes > 0 {
            tracing::warn!(path = %self.path.display(), bytes = self.torn_bytes,
                "the journal ends in a torn record; its client had not seen the end of the answer");
        }
        let gone = if self.strange == 0 {
            fs::remove_file(&self.path)
        } else {
            let aside = self.path.with_extension(REJECTED_SUFFIX);
            tracing::error!(path = %aside.display(), records = self.strange,
                "the journal holds records that this version does not understand; kept aside");
            fs::rename(&self.path, &aside)
        };
        gone.map_err(|source| LedgerError::Io {
            path: self.path,
            action: "put the stored journal segment away",
            source,
        })
    }
}

/// Reads every segment. Takes no lock: beside a running `serve` it sees each record that was
/// appended before the call, unless that record's segment was stored and deleted meanwhile; so read
/// the journal first and the store after it.
pub(super) fn read(directory: &Path) -> Result<Vec<Leftover>, LedgerError> {
    let mut leftovers = Vec::new();
    for (_, path) in segments(directory)? {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => {
                return Err(LedgerError::Io {
                    path,
                    action: "read the journal segment",
                    source,
                });
            }
        };
        leftovers.push(decode(path, &bytes));
    }
    Ok(leftovers)
}

fn decode(path: PathBuf, bytes: &[u8]) -> Leftover {
    let mut leftover = Leftover {
        path,
        records: Vec::new(),
        open: Vec::new(),
        strange: 0,
        torn_bytes: 0,
    };
    for piece in frame::Frames::new(bytes) {
        match piece {
            frame::Piece::Record(record) => leftover.records.push(*record),
            frame::Piece::Open(record) => leftover.open.push(*record),
            frame::Piece::Strange => leftover.strange += 1,
            frame::Piece::Torn(bytes) => leftover.torn_bytes += bytes,
        }
    }
    leftover
}
