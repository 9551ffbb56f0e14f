//! Amazon's binary event stream (`application/vnd.amazon.eventstream`), cut into messages.
//!
//! Owns the format that the AWS SDKs' specification "Event Stream" defines: a prelude of two lengths and
//! their CRC-32, headers, a payload, and the CRC-32 of all of it; every number is big-endian. Sits
//! between the upstream's body and the dialect's stream reader, as [`super::sse`] does. Does no I/O and
//! knows no dialect. A checksum that is wrong ends the stream: nothing after it can be trusted.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::wire::json_text;

/// Cap on one message: the format's own cap on a payload, 16 MiB.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// The format's own cap on the headers of a message.
pub const MAX_HEADER_BYTES: usize = 128 * 1024;

/// Two lengths and their checksum.
const PRELUDE_BYTES: usize = 12;

/// A message without headers and payload: the prelude and the checksum of the whole.
const MIN_MESSAGE_BYTES: usize = PRELUDE_BYTES + 4;

/// Why a byte stream cannot be cut into messages further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventstreamError {
    /// A message is longer than the cap.
    #[error("a message of the event stream has {bytes} bytes; at most {max_bytes} are allowed")]
    TooLarge {
        /// What its prelude says.
        bytes: usize,
        /// The cap.
        max_bytes: usize,
    },
    /// The lengths of a prelude contradict each other or the format.
    #[error(
        "the lengths of a message of the event stream cannot be: {bytes} bytes, of them {header_bytes} of headers"
    )]
    Lengths {
        /// The length of the whole.
        bytes: usize,
        /// The length of the headers.
        header_bytes: usize,
    },
    /// A checksum is wrong.
    #[error("a message of the event stream is damaged: the checksum of its {part} is wrong")]
    Checksum {
        /// `prelude` or `message`.
        part: &'static str,
    },
    /// Headers that cannot be read.
    #[error("a message of the event stream has headers that cannot be read")]
    Headers,
    /// The stream ended inside a message.
    #[error("the event stream ends inside a message, after {bytes} bytes of it")]
    Torn {
        /// What was there of the message.
        bytes: usize,
    },
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// Types 0 (true) and 1 (false).
    Boolean(bool),
    /// Types 2 to 5: 8, 16, 32 and 64 bits.
    Integer(i64),
    /// Type 6.
    Bytes(Bytes),
    /// Type 7.
    Text(String),
    /// Type 8: milliseconds since the Unix epoch.
    Timestamp(i64),
    /// Type 9.
    Uuid([u8; 16]),
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventstreamMessage {
    /// The message as it came. All messages of a stream in a row are the stream.
    pub raw: Bytes,
    header_bytes: usize,
}

impl EventstreamMessage {
    /// Its payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let end = self.raw.len().saturating_sub(4);
        self.raw
            .get(PRELUDE_BYTES + self.header_bytes..end)
            .unwrap_or_default()
    }

    /// Its headers, in order.
    pub fn headers(&self) -> impl Iterator<Item = (String, HeaderValue)> {
        let end = PRELUDE_BYTES + self.header_bytes;
        let mut rest = self.raw.slice(PRELUDE_BYTES..end.min(self.raw.len()));
        std::iter::from_fn(move || {
            let header = read_header(&mut rest)?;
            let name = String::from_utf8_lossy(&header.name).into_owned();
            Some((name, header.value()))
        })
    }

    /// The text of a header of type 7.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let end = PRELUDE_BYTES + self.header_bytes;
        let mut rest = self.raw.get(PRELUDE_BYTES..end)?;
        loop {
            let header = split_header(&mut rest)?;
            if header.name == name.as_bytes() && header.kind == TEXT {
                return std::str::from_utf8(header.value).ok();
            }
        }
    }

    /// True for what tells that the upstream failed: `:message-type` is `exception` (modelled, with a
    /// payload) or `error` (not modelled, with a code and a message in headers).
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self.header(":message-type"), Some("exception" | "error"))
    }

    /// What kind of event, exception or error it is.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self.header(":message-type") {
            Some("exception") => self.header(":exception-type"),
            Some("error") => self.header(":error-code"),
            _ => self.header(":event-type"),
        }
    }

    /// What it says: the payload; of an error without one its message, as an exception's payload would
    /// say it.
    #[must_use]
    pub fn data(&self) -> Cow<'_, [u8]> {
        let payload = self.payload();
        if !payload.is_empty() || self.header(":message-type") != Some("error") {
            return Cow::Borrowed(payload);
        }
        let text = json_text::quoted(self.header(":error-message").unwrap_or_default());
        Cow::Owned([b"{\"message\":", text.as_slice(), b"}"].concat())
    }
}

/// Cuts a byte stream into messages.
///
/// Push a chunk, take messages until there are none, push the next. A message that lies whole inside
/// one chunk is a slice of it; only an unfinished one is copied.
#[derive(Debug)]
pub struct EventstreamFramer {
    max_message_bytes: usize,
    /// The beginning of a message whose end has not come yet.
    tail: BytesMut,
    complete: VecDeque<EventstreamMessage>,
    failed: Option<EventstreamError>,
}

impl EventstreamFramer {
    /// A framer that refuses messages of more than `max_message_bytes`.
    #[must_use]
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            tail: BytesMut::new(),
            complete: VecDeque::new(),
            failed: None,
        }
    }

    /// Adds the next bytes of the stream.
    ///
    /// # Errors
    /// When a message is damaged or exceeds the cap. The messages before it can still be taken; nothing
    /// after it.
    pub fn push(&mut self, mut chunk: Bytes) -> Result<(), EventstreamError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        while !chunk.is_empty() {
            match self.cut(&mut chunk) {
                Ok(Some(message)) => self.complete.push_back(message),
                Ok(None) => {}
                Err(error) => {
                    self.tail = BytesMut::new();
                    self.failed = Some(error);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The next complete message, or `None` when more bytes are needed.
    pub fn next_event(&mut self) -> Option<EventstreamMessage> {
        self.complete.pop_front()
    }

    /// The stream is over.
    ///
    /// # Errors
    /// When it ends inside a message, or has failed before.
    pub fn finish(&mut self) -> Result<(), EventstreamError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        if self.tail.is_empty() {
            return Ok(());
        }
        let error = EventstreamError::Torn {
            bytes: self.tail.len(),
        };
        self.failed = Some(error);
        Err(error)
    }

    /// Bytes held back because their message is not complete.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.tail.len()
    }

    /// Takes from `chunk` what completes a message, or all of it.
    fn cut(&mut self, chunk: &mut Bytes) -> Result<Option<EventstreamMessage>, EventstreamError> {
        if self.tail.is_empty() && chunk.len() >= PRELUDE_BYTES {
            let prelude = self.prelude(chunk)?;
            if chunk.len() >= prelude.bytes {
                return message(chunk.split_to(prelude.bytes), prelude).map(Some);
            }
        }
        self.fill(PRELUDE_BYTES, chunk);
        if self.tail.len() < PRELUDE_BYTES {
            return Ok(None);
        }
        let prelude = self.prelude(&self.tail)?;
        self.fill(prelude.bytes, chunk);
        if self.tail.len() < prelude.bytes {
            return Ok(None);
        }
        message(self.tail.split().freeze(), prelude).map(Some)
    }

    /// Moves bytes of `chunk` into the tail until that has `bytes`.
    fn fill(&mut self, bytes: usize, chunk: &mut Bytes) {
        let missing = bytes.saturating_sub(self.tail.len()).min(chunk.len());
        self.tail.extend_from_slice(&chunk.split_to(missing));
    }

    fn prelude(&self, bytes: &[u8]) -> Result<Prelude, EventstreamError> {
        let (lengths, mut rest) = bytes.split_at(8);
        if rest.get_u32() != crc32fast::hash(lengths) {
            return Err(EventstreamError::Checksum { part: "prelude" });
        }
        let mut lengths = lengths;
        let bytes = usize::try_from(lengths.get_u32()).unwrap_or(usize::MAX);
        let header_bytes = usize::try_from(lengths.get_u32()).unwrap_or(usize::MAX);
        let fits = header_bytes <= MAX_HEADER_BYTES
            && bytes >= MIN_MESSAGE_BYTES.saturating_add(header_bytes);
        if !fits {
            return Err(EventstreamError::Lengths {
                bytes,
                header_bytes,
            });
        }
        if bytes > self.max_message_bytes {
            let max_bytes = self.max_message_bytes;
            return Err(EventstreamError::TooLarge { bytes, max_bytes });
        }
        Ok(Prelude {
            bytes,
            header_bytes,
        })
    }
}

/// The lengths that a message begins with.
#[derive(Clone, Copy, Debug)]
struct Prelude {
    bytes: usize,
    header_bytes: usize,
}

/// Checks a whole message.
fn message(raw: Bytes, prelude: Prelude) -> Result<EventstreamMessage, EventstreamError> {
    let (body, mut checksum) = raw.split_at(raw.len() - 4);
    if checksum.get_u32() != crc32fast::hash(body) {
        return Err(EventstreamError::Checksum { part: "message" });
    }
    let mut headers = &body[PRELUDE_BYTES..PRELUDE_BYTES + prelude.header_bytes];
    while !headers.is_empty() {
        split_header(&mut headers).ok_or(EventstreamError::Headers)?;
    }
    Ok(EventstreamMessage {
        header_bytes: prelude.header_bytes,
        raw,
    })
}

const TEXT: u8 = 7;

/// A header taken apart.
struct Header<'a> {
    name: &'a [u8],
    kind: u8,
    value: &'a [u8],
}

/// Takes the next header off `rest`; `None` when there is none or it cannot be read.
fn split_header<'a>(rest: &mut &'a [u8]) -> Option<Header<'a>> {
    let (&name_bytes, after) = rest.split_first()?;
    let (name, after) = after.split_at_checked(usize::from(name_bytes))?;
    let (&kind, after) = after.split_first()?;
    let (bytes, after) = match kind {
        0 | 1 => (0, after),
        2 => (1, after),
        3 => (2, after),
        4 => (4, after),
        5 | 8 => (8, after),
        6 | TEXT => {
            let (length, after) = after.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), after)
        }
        9 => (16, after),
        _ => return None,
    };
    let (value, after) = after.split_at_checked(bytes)?;
    *rest = after;
    Some(Header { name, kind, value })
}

/// A header that owns its bytes.
struct OwnedHeader {
    name: Bytes,
    kind: u8,
    value: Bytes,
}

fn read_header(rest: &mut Bytes) -> Option<OwnedHeader> {
    let mut bytes: &[u8] = rest;
    let header = split_header(&mut bytes)?;
    let (name, value) = (rest.slice_ref(header.name), rest.slice_ref(header.value));
    let (kind, left) = (header.kind, bytes.len());
    rest.advance(rest.len() - left);
    Some(OwnedHeader { name, kind, value })
}

impl OwnedHeader {
    fn value(mut self) -> HeaderValue {
        // The lengths were checked when the header was split off.
        match self.kind {
            0 => HeaderValue::Boolean(true),
            1 => HeaderValue::Boolean(false),
            2 => HeaderValue::Integer(self.value.get_i8().into()),
            3 => HeaderValue::Integer(self.value.get_i16().into()),
            4 => HeaderValue::Integer(self.value.get_i32().into()),
            5 => HeaderValue::Integer(self.value.get_i64()),
            8 => HeaderValue::Timestamp(self.value.get_i64()),
            9 => {
                let mut uuid = [0; 16];
                self.value.copy_to_slice(&mut uuid);
                HeaderValue::Uuid(uuid)
            }
            TEXT => HeaderValue::Text(String::from_utf8_lossy(&self.value).into_owned()),
            _ => HeaderValue::Bytes(self.value),
        }
    }
}

/// A message with headers of type 7, as Bedrock's are: what the scripted upstreams of the tests and
/// writers of this framing send. Names beyond 255 bytes and values beyond 64 KiB are cut.
#[must_use]
pub fn encode(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let mut head = BytesMut::new();
    for (name, value) in headers {
        let name = &name.as_bytes()[..name.len().min(255)];
        let value = &value.as_bytes()[..value.len().min(usize::from(u16::MAX))];
        head.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        head.put_slice(name);
        head.put_u8(TEXT);
        head.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        head.put_slice(value);
    }
    encode_raw(&head, payload)
}

/// A message with headers that are encoded already.
fn encode_raw(headers: &[u8], payload: &[u8]) -> Bytes {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let bytes = MIN_MESSAGE_BYTES + headers.len() + payload.len();
    let mut out = BytesMut::with_capacity(bytes);
    out.put_u32(length(bytes));
    out.put_u32(length(headers.len()));
    out.put_u32(crc32fast::hash(&out));
    out.put_slice(headers);
    out.put_slice(payload);
    out.put_u32(crc32fast::hash(&out));
    out.freeze()
}

#[cfg(test)]
#[path = "aws_eventstream_tests.rs"]
mod tests;
