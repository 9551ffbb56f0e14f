//! Server-sent events, cut out of a byte stream without changing a byte of it.
//!
//! Owns the line rules of the WHATWG HTML standard (§9.2.6 "Interpreting an event stream"): LF,
//! CRLF and lone CR end a line, a byte order mark may open the stream, a blank line ends an event.
//! Sits between the upstream's body and the dialect's stream tap. Does no I/O, knows no dialect,
//! and scans every byte once for line ends whatever the split into chunks.
//!
//! One deliberate delay: a CR at the very end of a chunk may be half of a CRLF, so it is decided
//! when the next byte arrives. Only a provider that ends lines with lone CRs would notice.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// Cap on one event. Base64 audio and images arrive as one `data:` line of a few MiB; beyond this
/// the upstream is broken or hostile.
pub const DEFAULT_MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Why a byte stream cannot be framed further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// An event is longer than the cap. The stream is of no further use.
    #[error("an event of the stream is longer than {max_bytes} bytes")]
    EventTooLarge {
        /// The cap.
        max_bytes: usize,
    },
}

/// One event: the exact bytes, its terminating blank line included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// The bytes as they came. All events of a stream in a row are the stream.
    pub raw: Bytes,
    /// False for what was left when the stream ended without a blank line. Browsers drop such an
    /// event; upstreams that forget the last blank line are served all the same.
    pub terminated: bool,
    data: DataRef,
}

/// Where an event's data stands in `raw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DataRef {
    /// No `data` field: a comment, a `retry`, stray blank lines.
    None,
    /// One `data` line, at this range.
    Line { start: usize, end: usize },
    /// Several `data` lines, to be joined, from byte `skip` on.
    Lines { skip: usize },
}

impl SseEvent {
    /// Takes `raw` as one whole event from the middle of a stream.
    #[must_use]
    pub fn new(raw: Bytes) -> Self {
        let data = locate_data(&raw, 0);
        Self {
            raw,
            terminated: true,
            data,
        }
    }

    /// Takes `raw` as the first event of a stream, where a byte order mark does not count.
    fn opening(raw: Bytes) -> Self {
        let skip = if raw.starts_with(BOM) { BOM.len() } else { 0 };
        let data = locate_data(&raw, skip);
        Self {
            raw,
            terminated: true,
            data,
        }
    }

    /// The event's data: one line as it stands in `raw`, several joined by LF; `None` when there is
    /// no `data` field (a comment, for example).
    #[must_use]
    pub fn data(&self) -> Option<Cow<'_, [u8]>> {
        match self.data {
            DataRef::None => None,
            DataRef::Line { start, end } => self.raw.get(start..end).map(Cow::Borrowed),
            DataRef::Lines { skip } => Some(Cow::Owned(join_data(&self.raw, skip))),
        }
    }

    /// The range of the data in `raw`, when it is a single line.
    #[must_use]
    pub const fn data_range(&self) -> Option<std::ops::Range<usize>> {
        match self.data {
            DataRef::Line { start, end } => Some(start..end),
            DataRef::None | DataRef::Lines { .. } => None,
        }
    }

    /// The value of the last `event` field: the event's type.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        if self.raw.starts_with(b"data:")
            && self
                .data_range()
                .is_some_and(|data| only_line_ends(&self.raw[data.end..]))
        {
            return None;
        }
        let fields = Lines::new(&self.raw, 0).map(|(start, end)| field(&self.raw, start, end));
        fields
            .filter(|field| field.name == b"event")
            .last()
            .and_then(|field| self.raw.get(field.value_start..field.value_end))
    }
}

/// Cuts a byte stream into events.
///
/// Push a chunk, take events until there are none, push the next. An event that lies whole inside
/// one chunk is a slice of it; only an unfinished tail is copied.
#[derive(Debug)]
pub struct SseFramer {
    max_event_bytes: usize,
    /// The beginning of an event whose end has not come yet.
    tail: BytesMut,
    /// What has been pushed and not been given out.
    chunk: Bytes,
    /// Lengths in `chunk` of the complete events at its front.
    complete: VecDeque<usize>,
    /// The sum of `complete`.
    complete_bytes: usize,
    /// How far `chunk` has been scanned for line ends.
    scanned: usize,
    line: LineState,
    /// True until the first event has been given out.
    opening: bool,
    failed: Option<FramingError>,
}

/// What the bytes scanned so far leave open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineState {
    /// At the beginning of a line; a line end here ends the event.
    Start,
    /// Inside a line.
    Inside,
    /// After a CR that ended a line that had bytes in it; an LF belongs to it.
    AfterCr,
    /// After a CR that ended a blank line; an LF belongs to it, then the event is over.
    AfterBlankCr,
}

impl SseFramer {
    /// A framer that refuses events of more than `max_event_bytes`.
    #[must_use]
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            tail: BytesMut::new(),
            chunk: Bytes::new(),
            complete: VecDeque::new(),
            complete_bytes: 0,
            scanned: 0,
            line: LineState::Start,
            opening: true,
            failed: None,
        }
    }

    /// Adds the next bytes of the stream.
    ///
    /// # Errors
    /// When an event exceeds the cap. The events before it can still be taken; nothing after it.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), FramingError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            // The caller did not take all events first; rare, so a copy is fine.
            self.chunk = Bytes::from([&self.chunk[..], &chunk[..]].concat());
        }
        while let Some(end) = self.scan() {
            let event_bytes = end - self.complete_bytes;
            if self.held_back() + event_bytes > self.max_event_bytes {
                return Err(self.fail());
            }
            self.complete.push_back(event_bytes);
            self.complete_bytes = end;
            self.line = LineState::Start;
        }
        if self.held_back() + self.chunk.len() - self.complete_bytes > self.max_event_bytes {
            return Err(self.fail());
        }
        Ok(())
    }

    /// The next complete event, or `None` when more bytes are needed.
    pub fn next_event(&mut self) -> Option<SseEvent> {
        let Some(length) = self.complete.pop_front() else {
            self.tail.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
            self.scanned = 0;
            return None;
        };
        let piece = self.chunk.split_to(length);
        self.complete_bytes -= length;
        self.scanned -= length;
        Some(self.event(piece, true))
    }

    /// The stream is over: gives what is left, if anything, as a last event. Take all events first.
    pub fn finish(&mut self) -> Option<SseEvent> {
        let rest = std::mem::take(&mut self.chunk);
        let whole = self.line == LineState::AfterBlankCr;
        self.complete.clear();
        self.complete_bytes = 0;
        self.scanned = 0;
        self.line = LineState::Start;
        let event = self.event(rest, whole);
        (!event.raw.is_empty() && self.failed.is_none()).then_some(event)
    }

    /// Bytes held back because their event is not complete.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.tail.len() + self.chunk.len() - self.complete_bytes
    }

    /// Bytes in front of `chunk` that belong to the event under way.
    fn held_back(&self) -> usize {
        if self.complete.is_empty() {
            self.tail.len()
        } else {
            0
        }
    }

    fn fail(&mut self) -> FramingError {
        let error = FramingError::EventTooLarge {
            max_bytes: self.max_event_bytes,
        };
        if self.complete.is_empty() {
            self.tail = BytesMut::new();
        }
        self.chunk.truncate(self.complete_bytes);
        self.scanned = self.complete_bytes;
        self.failed = Some(error);
        error
    }

    /// The held-back beginning and `piece` as one event.
    fn event(&mut self, piece: Bytes, terminated: bool) -> SseEvent {
        let raw = if self.tail.is_empty() {
            piece
        } else {
            self.tail.extend_from_slice(&piece);
            self.tail.split().freeze()
        };
        let event = if std::mem::replace(&mut self.opening, false) {
            SseEvent::opening(raw)
        } else {
            SseEvent::new(raw)
        };
        SseEvent {
            terminated,
            ..event
        }
    }

    /// Scans on; returns where in `chunk` the current event ends.
    fn scan(&mut self) -> Option<usize> {
        let bytes: &[u8] = &self.chunk;
        let mut at = self.scanned;
        let mut line = self.line;
        let end = loop {
            let Some(&byte) = bytes.get(at) else {
                break None;
            };
            match line {
                LineState::AfterBlankCr => break Some(at + usize::from(byte == b'\n')),
                LineState::AfterCr => {
                    at += usize::from(byte == b'\n');
                    line = LineState::Start;
                }
                LineState::Start if byte == b'\n' => break Some(at + 1),
                LineState::Start if byte == b'\r' => {
                    at += 1;
                    line = LineState::AfterBlankCr;
                }
                LineState::Start | LineState::Inside => {
                    let found = memchr2(b'\n', b'\r', &bytes[at..]);
                    line = match found.map(|offset| bytes[at + offset]) {
                        None => LineState::Inside,
                        Some(b'\n') => LineState::Start,
                        Some(_) => LineState::AfterCr,
                    };
                    at = found.map_or(bytes.len(), |offset| at + offset + 1);
                }
            }
        };
        self.scanned = end.unwrap_or(at);
        self.line = line;
        end
    }
}

/// The lines of an event: `(start, end)` without their line ends.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }
}

impl Iterator for Lines<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let start = self.at;
        let rest = self.bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let end = start + memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let crlf = self.bytes.get(end..end + 2) == Some(b"\r\n");
        self.at = end + 1 + usize::from(crlf);
        Some((start, end))
    }
}

/// A line taken apart.
struct Field<'a> {
    name: &'a [u8],
    value_start: usize,
    value_end: usize,
}

/// `name: value`, one space after the colon dropped; a line without a colon is a name alone.
fn field(bytes: &[u8], start: usize, end: usize) -> Field<'_> {
    let line = &bytes[start..end];
    let colon = memchr(b':', line);
    let name = &line[..colon.unwrap_or(line.len())];
    let value_start = colon.map_or(end, |colon| {
        let after = start + colon + 1;
        after + usize::from(after < end && bytes[after] == b' ')
    });
    Field {
        name,
        value_start,
        value_end: end,
    }
}

/// The form of nearly every event: one `data` line and nothing else.
fn only_data_line(raw: &[u8]) -> Option<DataRef> {
    const NAME: usize = b"data:".len();
    let value = raw.strip_prefix(b"data:")?;
    let start = NAME + usize::from(value.first() == Some(&b' '));
    let end = start + memchr2(b'\n', b'\r', raw.get(start..)?)?;
    only_line_ends(&raw[end..]).then_some(DataRef::Line { start, end })
}

/// True for the line ends after which an event is over.
fn only_line_ends(rest: &[u8]) -> bool {
    rest.len() <= 4 && rest.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

/// Finds the data in the lines of `raw` from byte `skip` on.
fn locate_data(raw: &[u8], skip: usize) -> DataRef {
    if skip == 0
        && let Some(line) = only_data_line(raw)
    {
        return line;
    }
    let mut found = DataRef::None;
    for (start, end) in Lines::new(raw, skip) {
        let field = field(raw, start, end);
        if field.name != b"data" {
            continue;
        }
        if found != DataRef::None {
            return DataRef::Lines { skip };
        }
        found = DataRef::Line {
            start: field.value_start,
            end: field.value_end,
        };
    }
    found
}

fn join_data(raw: &[u8], skip: usize) -> Vec<u8> {
    let mut joined = Vec::with_capacity(raw.len());
    for (start, end) in Lines::new(raw, skip) {
        let field = field(raw, start, end);
        if field.name == b"data" {
            joined.extend_from_slice(&raw[field.value_start..field.value_end]);
            joined.push(b'\n');
        }
    }
    joined.pop();
    joined
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
