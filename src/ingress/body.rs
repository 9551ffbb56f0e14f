//! A request's body: collected whole, under a cap and a deadline.
//!
//! Memory follows the bytes that have arrived, never the length that a client claims.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Duration, Instant, timeout, timeout_at};

use crate::config::snapshot::ServerParams;
use crate::error::{ErrorKind, ProxyError};

/// How much is set aside on the word of `content-length` alone.
const MAX_TRUSTED_BYTES: usize = 64 * 1024;
/// An unwanted body is read for this long at most; at ten megabytes per second a body at the
/// default cap is through in three seconds.
const DISCARD_TIME: Duration = Duration::from_secs(3);
/// How many times the cap an unwanted body may have before the connection is given up.
const DISCARD_FACTOR: usize = 4;

/// Collects `body` under the server's cap and time-out; see [`collect`].
///
/// # Errors
/// As [`collect`].
pub async fn read_body<B>(
    headers: &HeaderMap,
    body: B,
    params: &ServerParams,
) -> Result<Bytes, ProxyError>
where
    B: Body<Data = Bytes>,
{
    let deadline = Instant::now() + params.body_timeout;
    collect(body, headers, params.max_body_bytes, deadline).await
}

/// Collects `body`, of at most `max_bytes`, until `deadline`. A body that comes in one piece is
/// returned without a copy.
///
/// # Errors
/// `RequestTooLarge` (before reading, where `content-length` says so), `RequestTimeout`, and
/// `InvalidRequest` for an encoded body or one that breaks off.
///
/// # Cancel safety
/// Dropping the future drops the body with what has been read of it.
pub async fn collect<B>(
    body: B,
    headers: &HeaderMap,
    max_bytes: usize,
    deadline: Instant,
) -> Result<Bytes, ProxyError>
where
    B: Body<Data = Bytes>,
{
    refuse_encoded(headers)?;
    let claimed = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|bytes| bytes > max_bytes as u64) {
        return Err(too_large(max_bytes));
    }
    let claimed = claimed.and_then(|bytes| usize::try_from(bytes).ok());
    timeout_at(deadline, read(body, claimed.unwrap_or(0), max_bytes))
        .await
        .unwrap_or_else(|_| {
            let message = "the body did not arrive in time; send it without pauses";
            Err(ProxyError::new(ErrorKind::RequestTimeout, message))
        })
}

/// Reads on and forgets, for an answer that comes before its request has been read: closing a
/// connection with bytes unread resets it, and the client sees the reset instead of the answer.
/// Bounded by a multiple of the server's cap and by three seconds.
///
/// # Cancel safety
/// May be dropped at any time.
pub async fn discard<B>(body: B, max_bytes: usize)
where
    B: Body<Data = Bytes>,
{
    let mut left = max_bytes.saturating_mul(DISCARD_FACTOR);
    let reading = async {
        let mut body = std::pin::pin!(body);
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            if bytes > left {
                return;
            }
            left -= bytes;
        }
    };
    // Whether all of it came does not matter: the connection is closed if not.
    let _finished = timeout(DISCARD_TIME, reading).await;
}

/// Shorter bodies are copied: a part of the connection's buffer would hold the whole of it for as long as the
/// answer takes, and the connection would need another.
const COPIED_BYTES: usize = 4 * 1024;

async fn read<B>(body: B, claimed: usize, max_bytes: usize) -> Result<Bytes, ProxyError>
where
    B: Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(ProxyError::invalid("", "the body broke off"));
        };
        // Trailers are of no use here.
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        let before = first.len() + joined.len();
        if piece.len() > max_bytes - before {
            return Err(too_large(max_bytes));
        }
        if before == 0 {
            first = piece;
        } else {
            if joined.is_empty() {
                joined.reserve(claimed.min(MAX_TRUSTED_BYTES).max(before + piece.len()));
                joined.extend_from_slice(&std::mem::take(&mut first));
            }
            joined.extend_from_slice(&piece);
        }
    }
    Ok(if !joined.is_empty() {
        joined.freeze()
    } else if first.len() <= COPIED_BYTES {
        Bytes::copy_from_slice(&first)
    } else {
        first
    })
}

fn too_large(max_bytes: usize) -> ProxyError {
    let message = format!("the body must have at most {max_bytes} bytes");
    ProxyError::new(ErrorKind::RequestTooLarge, message)
}

/// Compressed bodies are refused: a few bytes could unfold into gigabytes.
fn refuse_encoded(headers: &HeaderMap) -> Result<(), ProxyError> {
    let plain = |value: &http::HeaderValue| {
        let value = value.as_bytes().trim_ascii();
        value.is_empty() || value.eq_ignore_ascii_case(b"identity")
    };
    if headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        return Ok(());
    }
    let message = "header `content-encoding` must be absent or `identity`";
    Err(ProxyError::invalid(CONTENT_ENCODING.as_str(), message))
}

#[cfg(test)]
mod tests {

    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use http::HeaderValue;
    use http_body::Frame;

    use super::*;

    /// Gives its pieces, then ends, breaks off, or never ends.
    struct Script {
        pieces: Vec<&'static [u8]>,
        end: End,
    }

    #[derive(Clone, Copy)]
    enum End {
        Clean,
        Broken,
        Never,
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if !self.pieces.is_empty() {
                let piece = self.pieces.remove(0);
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece)))));
            }
            match self.end {
                End::Clean => Poll::Ready(None),
                End::Broken => Poll::Ready(Some(Err("reset"))),
                End::Never => Poll::Pending,
            }
        }
    }

    async fn read(
        pieces: &[&'static [u8]],
        end: End,
        header: (&'static str, &'static str),
    ) -> Result<Bytes, ErrorKind> {
        let mut headers = HeaderMap::new();
        headers.insert(header.0, HeaderValue::from_static(header.1));
        let script = Script {
            pieces: pieces.to_vec(),
            end,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        let read = collect(script, &headers, 8, deadline).await;
        read.map_err(|error| error.kind)
    }

    const NO_HEADER: (&str, &str) = ("x", "y");

    #[tokio::test(start_paused = true)]
    async fn pieces_are_joined_up_to_the_cap() {
        let ok = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
        assert_eq!(read(&[], End::Clean, NO_HEADER).await, ok(""));
        assert_eq!(
            read(&[b"12345678"], End::Clean, NO_HEADER).await,
            ok("12345678")
        );
        assert_eq!(
            read(&[b"123", b"", b"45", b"678"], End::Clean, NO_HEADER).await,
            ok("12345678")
        );
        let large = Err(ErrorKind::RequestTooLarge);
        assert_eq!(read(&[b"123456789"], End::Clean, NO_HEADER).await, large);
        assert_eq!(
            read(&[b"12345678", b"9"], End::Never, NO_HEADER).await,
            large
        );
        assert_eq!(read(&[], End::Never, ("content-length", "9")).await, large);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_times_out_and_a_broken_one_is_invalid() {
        let slow = read(&[b"123"], End::Never, ("content-length", "8")).await;
        assert_eq!(slow, Err(ErrorKind::RequestTimeout));
        let broken = read(&[b"123"], End::Broken, NO_HEADER).await;
        assert_eq!(broken, Err(ErrorKind::InvalidRequest));
    }

    #[tokio::test(start_paused = true)]
    async fn encoded_bodies_are_refused() {
        for encoding in ["gzip", "br", "identity, gzip"] {
            let read = read(&[b"1"], End::Clean, ("content-encoding", encoding)).await;
            assert_eq!(read, Err(ErrorKind::InvalidRequest), "{encoding}");
        }
        for encoding in ["identity", "Identity", ""] {
            let read = read(&[b"1"], End::Clean, ("content-encoding", encoding)).await;
            assert!(read.is_ok(), "{encoding}");
        }
    }

    #[tokio::test]
    async fn only_a_short_body_in_one_piece_is_copied() {
        for (length, copied) in [(9, true), (COPIED_BYTES, true), (COPIED_BYTES + 1, false)] {
            let piece = Bytes::from(vec![b'x'; length]);
            let body = http_body_util::Full::<Bytes>::new(piece.clone());
            let deadline = Instant::now() + Duration::from_secs(30);
            let read = collect(body, &HeaderMap::new(), 1 << 20, deadline).await;
            let read: Bytes = read.expect("a body");
            assert_eq!(read, piece);
            assert_eq!(read.as_ptr() != piece.as_ptr(), copied, "{length} bytes");
        }
    }
}
