//! Bodies that are passed on while they still come in.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// The body of a request that is passed through.
#[derive(Debug)]
pub struct UploadBody {
    ready: VecDeque<Bytes>,
    rest: Option<mpsc::Receiver<Piece>>,
    left: Option<u64>,
}

/// What follows of a body.
#[derive(Debug)]
pub enum Piece {
    /// More bytes.
    Bytes(Bytes),
    /// Its proper end.
    End,
}

/// The body's source went away before its end; the request must not look complete.
#[derive(Debug, thiserror::Error)]
#[error("the client's body broke off")]
pub struct UploadBroke;

impl UploadBody {
    /// A body that is all there.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self {
            left: Some(bytes.len() as u64),
            ready: VecDeque::from([bytes]),
            rest: None,
        }
    }

    /// A body that begins with these bytes and goes on with what is sent. `length` is the whole, where
    /// it is known.
    #[must_use]
    pub fn flowing(
        first: VecDeque<Bytes>,
        rest: mpsc::Receiver<Piece>,
        length: Option<u64>,
    ) -> Self {
        Self {
            ready: first,
            rest: Some(rest),
            left: length,
        }
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadBroke;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadBroke>>> {
        let next = match self.ready.pop_front() {
            Some(bytes) => Some(Piece::Bytes(bytes)),
            None => match &mut self.rest {
                None => return Poll::Ready(None),
                Some(rest) => match rest.poll_recv(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(piece) => piece,
                },
            },
        };
        match next {
            Some(Piece::Bytes(bytes)) => {
                self.left = self
                    .left
                    .map(|left| left.saturating_sub(bytes.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Piece::End) => {
                self.rest = None;
                Poll::Ready(None)
            }
            None => {
                self.rest = None;
                Poll::Ready(Some(Err(UploadBroke)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.iter().all(Bytes::is_empty) && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
