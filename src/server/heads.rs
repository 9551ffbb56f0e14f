//! What hyper does not tell: whether a head named its body's length twice, and what a client gets
//! whose first head it cannot read.
//!
//! hyper drops `content-length` beside `transfer-encoding` before anybody can see it, and answers a
//! broken head with an empty body. So the bytes of each head are looked at here on their way to it,
//! and its bare refusal is replaced by an error object, as long as nothing else was answered on the
//! connection: then nothing but such a refusal can be written.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use memchr::memmem::{self, Finder};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::{ErrorKind, ProxyError};
use crate::types::Endpoint;
use crate::types::RequestId;
use crate::wire;

/// Heads are looked at up to here: what honest clients send is far below.
const LOOKED_AT_BYTES: usize = 16 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";
/// Made once: to make one costs more than to search a head.
static END_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(HEAD_END));

/// The head that is being read.
#[derive(Debug, Default)]
struct Present {
    bytes: Vec<u8>,
    is_whole: bool,
    /// Something was written since: the next bytes that are read begin a new head.
    is_answered: bool,
    /// Handed to the handler already.
    is_taken: bool,
    /// Any head of this connection was.
    any_taken: bool,
    /// HTTP/2 has frames instead of heads: nothing is looked at.
    is_http2: bool,
}

/// Shared by a connection's two sides: its bytes and its requests.
#[derive(Clone, Debug, Default)]
pub struct Heads(Arc<Mutex<Present>>);

impl Heads {
    /// True when the head of the request that begins now has both lengths (RFC 9112 §6.3: such a message
    /// is probably an attempt to smuggle one request inside another). Of requests in a pipeline only
    /// the first is known.
    #[must_use]
    pub fn begin_request(&self) -> bool {
        let mut present = self.0.lock();
        present.any_taken = true;
        let is_first_look = !std::mem::replace(&mut present.is_taken, true);
        is_first_look && present.is_whole && has_both_lengths(&present.bytes)
    }

    fn read(&self, bytes: &[u8]) {
        let mut present = self.0.lock();
        if present.is_http2 {
            return;
        }
        if std::mem::take(&mut present.is_answered) {
            present.bytes.clear();
            present.is_whole = false;
            present.is_taken = false;
        }
        if present.is_whole || present.bytes.len() >= LOOKED_AT_BYTES {
            return;
        }
        let from = present.bytes.len().saturating_sub(HEAD_END.len() - 1);
        let room = LOOKED_AT_BYTES - present.bytes.len();
        present
            .bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        if let Some(at) = END_FINDER.find(&present.bytes[from..]) {
            present.bytes.truncate(from + at);
            present.is_whole = true;
            present.is_http2 = present.bytes.starts_with(b"PRI * HTTP/2");
        }
    }

    /// Notes that something is written; true while no request of the connection was handled.
    fn write(&self) -> bool {
        let mut present = self.0.lock();
        present.is_answered = true;
        !present.any_taken
    }
}

/// Names are compared as whole lines' beginnings, in any case.
fn has_both_lengths(head: &[u8]) -> bool {
    let names = |name: &str| {
        head.split(|byte| *byte == b'\n').any(|line| {
            line.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
        })
    };
    names("transfer-encoding:") && names("content-length:")
}

/// A connection's stream whose heads are looked at.
#[derive(Debug)]
pub struct WatchedStream<T> {
    inner: T,
    heads: Heads,
    /// What goes out in the place of a bare refusal, and how much of it has.
    instead: Option<(Vec<u8>, usize)>,
}

impl<T> WatchedStream<T> {
    /// Watches `inner`.
    pub const fn new(inner: T, heads: Heads) -> Self {
        Self {
            inner,
            heads,
            instead: None,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WatchedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let bytes = &buffer.filled()[before..];
        if !bytes.is_empty() {
            self.heads.read(bytes);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> WatchedStream<T> {
    /// Writes the error object that stands for `bytes`, all of which count as written then.
    fn poll_instead(&mut self, context: &mut Context<'_>, bytes: usize) -> Poll<io::Result<usize>> {
        while let Some((answer, written)) = &mut self.instead {
            if *written == answer.len() {
                self.instead = None;
                break;
            }
            let count = ready!(Pin::new(&mut self.inner).poll_write(context, &answer[*written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count;
        }
        Poll::Ready(Ok(bytes))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WatchedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.heads.write() && self.instead.is_none() {
            self.instead = refusal_of(bytes).map(|answer| (answer, 0));
        }
        if self.instead.is_some() {
            return self.poll_instead(context, bytes.len());
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.heads.write() {
            // Before the first request nothing is written but a refusal, or HTTP/2's settings.
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| slice));
        }
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// Our answer in the place of hyper's bare one; `None` for anything else.
fn refusal_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_bare =
        bytes.ends_with(HEAD_END) && memmem::find(bytes, b"content-length: 0\r\n").is_some();
    let error = match bytes.get(..b"HTTP/1.1 400".len())? {
        b"HTTP/1.1 400" if is_bare => ProxyError::new(
            ErrorKind::InvalidRequest,
            "the head of the request is malformed: a request line, header lines `name: value`, one length",
        ),
        b"HTTP/1.1 431" | b"HTTP/1.1 414" if is_bare => ProxyError::new(
            ErrorKind::HeadersTooLarge,
            "the head of the request is too large",
        ),
        _ => return None,
    };
    let status = error.presentation().status;
    let reason = status.canonical_reason().unwrap_or_default();
    let body = wire::spoken(Endpoint::ChatCompletions).encode_error(&error);
    let mut answer = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\nx-request-id: {}\r\nx-should-retry: false\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        status.as_u16(),
        RequestId::generate(),
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reads: &[&str], expect: bool) {
        let heads = Heads::default();
        for read in reads {
            heads.read(read.as_bytes());
        }
        assert_eq!(heads.begin_request(), expect, "{reads:?}");
    }

    #[test]
    fn two_lengths_are_seen_however_the_bytes_come() {
        let head =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTRANSFER-ENCODING: chunked\r\n\r\n";
        check(&[head], true);
        for at in 1..head.len() {
            check(&[&head[..at], &head[at..]], true);
        }
        check(
            &[
                "POST / HTTP/1.1\r\ncontent-length: 40\r\n\r\n\r\ntransfer-encoding: chunked\r\n\r\n",
            ],
            false,
        );
        check(
            &["POST / HTTP/1.1\r\nx: content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"],
            false,
        );
    }

    #[test]
    fn each_head_is_looked_at_by_itself() {
        let heads = Heads::default();
        heads.read(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc");
        assert!(!heads.begin_request());
        heads.write();
        heads.read(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
        assert!(!heads.begin_request());
        heads.write();
        heads.read(b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n");
        assert!(heads.begin_request());
    }

    #[test]
    fn only_bare_refusals_are_replaced() {
        let bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let answer = refusal_of(bare).expect("replaced");
        let text = String::from_utf8(answer).expect("UTF-8");
        assert!(
            text.contains("\"code\":\"invalid_request_error\""),
            "{text}"
        );
        assert!(refusal_of(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_none());
        assert!(refusal_of(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 9\r\n\r\n").is_none());
        assert!(refusal_of(b"PRI").is_none());
    }
}
