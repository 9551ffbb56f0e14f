//! Joins the pieces of a streamed body that are there at the same time into one frame.
//!
//! An upstream often sends several events in one segment, but its body hands them over one by one:
//! each costs a turn of the connection's task, and each frame that reaches the server costs a write.
//! So a piece waits until the other tasks that are ready now have had their turn (tokio defers such
//! a wake-up to the moment before its worker would sleep, or at the latest every 61 polls), and
//! leaves together with what they brought; while they bring more, it waits for another turn, a few at
//! most. No timer is involved: a piece that comes alone leaves in the same turn of the event loop. The
//! bytes and their order stay as they are.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame};

/// What is joined at most: what one write to a socket usually takes.
const MAX_JOINED_BYTES: usize = 16 * 1024;
/// Turns that are waited for while each brings more: an event loop's turn takes microseconds.
const MOST_TURNS: u8 = 4;
/// Room for the events of one segment.
const JOINED_BYTES: usize = 4 * 1024;

/// A body whose pieces leave joined.
#[derive(Debug)]
pub struct Gathering<B> {
    source: B,
    held: Held,
    turn: Arc<Turn>,
    waiting: bool,
    /// Turns that were waited for, and whether the present one brought something.
    turns: u8,
    grew: bool,
    ended: bool,
}

#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    /// Forwarded as it came, without a copy.
    One(Bytes),
    Joined(BytesMut),
}

/// Whether the tasks that were ready have had their turn.
#[derive(Debug, Default)]
struct Turn {
    over: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.over.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Held {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(bytes) => bytes.len(),
            Self::Joined(bytes) => bytes.len(),
        }
    }

    fn add(&mut self, piece: Bytes) {
        *self = match std::mem::take(self) {
            Self::Nothing => Self::One(piece),
            Self::One(first) => {
                let length = first.len() + piece.len();
                let mut joined = BytesMut::with_capacity(length.max(JOINED_BYTES));
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&piece);
                Self::Joined(joined)
            }
            Self::Joined(mut joined) => {
                joined.extend_from_slice(&piece);
                Self::Joined(joined)
            }
        };
    }

    fn take(&mut self) -> Option<Bytes> {
        match std::mem::take(self) {
            Self::Nothing => None,
            Self::One(bytes) => Some(bytes),
            Self::Joined(bytes) => Some(bytes.freeze()),
        }
    }
}

impl<B> Gathering<B> {
    /// Gathers what this body has.
    pub fn new(source: B) -> Self {
        Self {
            source,
            held: Held::Nothing,
            turn: Arc::default(),
            waiting: false,
            turns: 0,
            grew: false,
            ended: false,
        }
    }

    /// True when the others have had their turn; else the task is woken when they have.
    fn turn_is_over(&mut self, context: &Context<'_>) -> bool {
        self.turn.task.register(context.waker());
        if !self.waiting {
            self.waiting = true;
            self.turn.over.store(false, Ordering::Release);
            let waker = Waker::from(Arc::clone(&self.turn));
            // Asks for the deferred wake-up; the future itself has nothing more to say.
            let _asked = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
        }
        self.turn.over.load(Ordering::Acquire)
    }

    /// True when the turn brought more and there may be another.
    fn goes_on(&mut self) -> bool {
        let goes_on = std::mem::take(&mut self.grew) && self.turns < MOST_TURNS;
        self.waiting = false;
        self.turns += 1;
        goes_on
    }

    fn release<E>(&mut self) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        self.waiting = false;
        self.turns = 0;
        self.grew = false;
        Poll::Ready(self.held.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Gathering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let body = self.get_mut();
        while !body.ended {
            match Pin::new(&mut body.source).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Our streams have no trailers.
                    let Ok(piece) = frame.into_data() else {
                        continue;
                    };
                    body.held.add(piece);
                    body.grew |= body.waiting;
                    if body.held.len() >= MAX_JOINED_BYTES {
                        return body.release();
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => body.ended = true,
                Poll::Pending if body.held.len() > 0 && body.turn_is_over(context) => {
                    if !body.goes_on() {
                        return body.release();
                    }
                    // Asks for the next turn; it cannot be over yet.
                    let _not_yet = body.turn_is_over(context);
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        body.release()
    }

    fn is_end_stream(&self) -> bool {
        self.held.len() == 0 && (self.ended || self.source.is_end_stream())
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test's tasks end with its runtime"
)]
mod tests {
    use std::convert::Infallible;

    use futures_util::StreamExt as _;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    type Source = StreamBody<
        Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>,
    >;

    /// A body that another task feeds piece by piece, as a connection does.
    fn fed() -> (mpsc::Sender<&'static str>, Gathering<Source>) {
        let (sender, receiver) = mpsc::channel::<&'static str>(1);
        let pieces = futures_util::stream::unfold(receiver, async |mut receiver| {
            let piece = receiver.recv().await?;
            Some((
                Ok(Frame::data(Bytes::from_static(piece.as_bytes()))),
                receiver,
            ))
        });
        (sender, Gathering::new(StreamBody::new(pieces.boxed())))
    }

    async fn frame(body: &mut Gathering<Source>) -> Option<Bytes> {
        let frame = body.frame().await?;
        Some(frame.expect("infallible").into_data().expect("data"))
    }

    #[tokio::test]
    async fn pieces_that_are_there_together_leave_together() {
        let (sender, mut body) = fed();
        let feed = tokio::spawn(async move {
            for piece in ["a", "b", "c", "d"] {
                sender.send(piece).await.expect("read");
            }
        });
        // A task among tasks, as a connection is; the test's own future has no turn in the queue.
        let read = tokio::spawn(async move {
            assert_eq!(frame(&mut body).await.as_deref(), Some(&b"abcd"[..]));
            assert_eq!(frame(&mut body).await, None);
            assert!(body.is_end_stream());
        });
        read.await.expect("read");
        feed.await.expect("fed");
    }

    #[tokio::test]
    async fn a_piece_that_comes_alone_does_not_wait_for_another() {
        let (sender, mut body) = fed();
        for piece in ["a", "b"] {
            sender.send(piece).await.expect("read");
            assert_eq!(frame(&mut body).await.as_deref(), Some(piece.as_bytes()));
        }
    }

    #[tokio::test]
    async fn a_frame_stays_bounded() {
        const PIECE: &str = "0123456789abcdef0123456789abcdef";
        let (sender, mut body) = fed();
        let pieces = 4 * MAX_JOINED_BYTES / PIECE.len();
        let feed = tokio::spawn(async move {
            for _ in 0..pieces {
                sender.send(PIECE).await.expect("read");
            }
        });
        let mut total = 0;
        while let Some(bytes) = frame(&mut body).await {
            assert!(bytes.len() < MAX_JOINED_BYTES + PIECE.len());
            total += bytes.len();
        }
        assert_eq!(total, pieces * PIECE.len());
        feed.await.expect("fed");
    }
}
