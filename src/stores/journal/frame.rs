//! How a record lies in the journal: one line, `length checksum json`, both numbers as eight hex
//! digits, with `~` behind the length when the request was not over yet. The length and CRC-32 (ISO 3309) of the JSON tell a whole record from a torn one; the line
//! end lets a reader find the next record behind a damaged one.

use std::io::Write;

use crate::types::RequestRecord;
use crate::wire::json_write;

/// `llllllll cccccccc `
const HEADER_BYTES: usize = 18;
/// Where a header says whether the record is final.
const MARK_AT: usize = 8;
const FINAL: u8 = b' ';
const OPEN: u8 = b'~';
/// A record with its decision takes one to three KiB: room for most without growing.
const USUAL_BYTES: usize = 3072;
/// Without it, half of one. Such a line stays in memory for as long as its request is under way.
const USUAL_OPEN_BYTES: usize = 1280;

/// Writes what a request will have cost at most, should the process die before it is over.
///
/// # Errors
/// As [`encode`].
pub(in crate::stores) fn encode_open(record: &RequestRecord) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = framed(record, USUAL_OPEN_BYTES)?;
    line[MARK_AT] = OPEN;
    Ok(line)
}

/// Writes a record as one line.
///
/// # Errors
/// When it cannot be written as JSON or is larger than 4 GiB.
pub(in crate::stores) fn encode(record: &RequestRecord) -> Result<Vec<u8>, serde_json::Error> {
    framed(record, USUAL_BYTES)
}

fn framed(record: &RequestRecord, room: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = Vec::with_capacity(room);
    line.extend_from_slice(&[b' '; HEADER_BYTES]);
    json_write::append(&mut line, record)?;
    let body = &mut line[HEADER_BYTES..];
    // The decision is JSON text as somebody wrote it, perhaps over several lines. Outside strings
    // (which cannot hold a bare line end) a space means the same.
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'\n', &body[from..]) {
        body[from + at] = b' ';
        from += at + 1;
    }
    let checksum = crc32fast::hash(body);
    let length = u32::try_from(body.len())
        .map_err(|error| serde_json::Error::io(std::io::Error::other(error)))?;
    let mut header = &mut line[..HEADER_BYTES];
    write!(header, "{length:08x} {checksum:08x} ").map_err(serde_json::Error::io)?;
    line.push(b'\n');
    Ok(line)
}

/// What a reader finds.
#[derive(Debug)]
pub(in crate::stores) enum Piece {
    /// A whole record.
    Record(Box<RequestRecord>),
    /// What a request was doing when this was written; its record came later, if it came.
    Open(Box<RequestRecord>),
    /// A whole frame whose JSON is no record of this version.
    Strange,
    /// This many bytes that are no whole frame.
    Torn(usize),
}

/// Cuts a segment into its records.
pub(in crate::stores) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Reads these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl Iterator for Frames<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.rest.is_empty() {
            return None;
        }
        let is_open = self.rest.get(MARK_AT) == Some(&OPEN);
        let Some((body, frame_bytes)) = whole_frame(self.rest) else {
            let torn = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
            self.rest = &self.rest[torn..];
            return Some(Piece::Torn(torn));
        };
        self.rest = &self.rest[frame_bytes..];
        Some(match understood(body) {
            None => Piece::Strange,
            Some(record) if is_open => Piece::Open(Box::new(record)),
            Some(record) => Piece::Record(Box::new(record)),
        })
    }
}

/// The record of a whole frame. Its money matters more than its explanation: when only the latter
/// is unknown to this version, the record comes without it.
fn understood(body: &[u8]) -> Option<RequestRecord> {
    if let Ok(record) = serde_json::from_slice(body) {
        return Some(record);
    }
    let mut fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(body).ok()?;
    for explanation in ["features", "decision"] {
        fields.insert(explanation.to_owned(), serde_json::Value::Null);
    }
    serde_json::from_value(fields.into()).ok()
}

/// The JSON of the frame at the start of `bytes` and the length of the whole frame.
fn whole_frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let header = bytes.get(..HEADER_BYTES)?;
    if !matches!(header[MARK_AT], FINAL | OPEN) {
        return None;
    }
    let length = usize::try_from(hex(&header[..8])?).ok()?;
    let checksum = hex(&header[9..17])?;
    let end = HEADER_BYTES.checked_add(length)?;
    let body = bytes.get(HEADER_BYTES..end)?;
    let whole = bytes.get(end) == Some(&b'\n') && crc32fast::hash(body) == checksum;
    whole.then_some((body, end + 1))
}

fn hex(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
