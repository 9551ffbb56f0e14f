//! The body of an answer that is passed through: forwards the bytes as they come, reads a stream's
//! usage in passing, and closes the exchange once, before the last byte leaves.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::types::{Outcome, Usage};
use crate::wire::framing::sse::{DEFAULT_MAX_EVENT_BYTES, SseFramer};
use crate::wire::relayed;

use super::exchange::{AttemptEnd, Exchange, Verdict};

/// An upstream's answer broke off: the client's connection is broken off too, since nothing in the
/// bytes of an image says that the rest is missing.
#[derive(Debug, thiserror::Error)]
#[error("the upstream's answer broke off")]
pub struct AnswerBroke;

/// What a relayed body is made of.
pub struct RelayedParts<B> {
    /// The open exchange, with its attempt if one is billed.
    pub exchange: Exchange,
    /// The upstream's body.
    pub source: B,
    /// The status that the client gets.
    pub status: u16,
    /// Bytes that will come, where the upstream said so.
    pub length: Option<u64>,
    /// The answer is a stream of events, whose usage is to be read.
    pub events: bool,
    /// Longest pause of the upstream.
    pub idle: Duration,
    /// Fires at the drain deadline.
    pub abort: WaitForCancellationFutureOwned,
}

/// An answer on its way through.
pub struct RelayedBody<B> {
    exchange: Option<Exchange>,
    source: Pin<Box<B>>,
    status: u16,
    left: Option<u64>,
    framer: Option<SseFramer>,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    abort: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
}

impl<B> RelayedBody<B>
where
    B: Body<Data = Bytes, Error: fmt::Display>,
{
    /// Begins to forward.
    pub fn new(parts: RelayedParts<B>) -> Self {
        let mut body = Self {
            exchange: Some(parts.exchange),
            source: Box::pin(parts.source),
            status: parts.status,
            left: parts.length,
            framer: parts
                .events
                .then(|| SseFramer::new(DEFAULT_MAX_EVENT_BYTES)),
            idle: parts.idle,
            timer: Box::pin(tokio::time::sleep(parts.idle)),
            abort: Box::pin(parts.abort),
            ended: false,
        };
        if body.left == Some(0) {
            body.close();
        }
        body
    }

    fn take(&mut self, chunk: Bytes) -> Bytes {
        self.timer.as_mut().reset(Instant::now() + self.idle);
        if let Some(framer) = &mut self.framer {
            // An event that is too long to be read is passed on all the same.
            let _readable = framer.push(chunk.clone()).is_ok();
            while let Some(event) = framer.next_event() {
                if let (Some(data), Some(exchange)) = (event.data(), &mut self.exchange) {
                    read_event(exchange, &data);
                }
            }
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(chunk.len() as u64);
            if *left == 0 {
                self.close();
            }
        }
        chunk
    }

    fn close(&mut self) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let latency = exchange.time_to_first_event();
        exchange.close_attempt(&AttemptEnd {
            outcome: Outcome::Ok,
            estimate: true,
            verdict: Verdict::Success(latency),
        });
        exchange.close(Outcome::Ok, self.status);
    }

    fn fail(&mut self, outcome: Outcome, verdict: Verdict) -> AnswerBroke {
        self.ended = true;
        if let Some(mut exchange) = self.exchange.take() {
            exchange.close_attempt(&AttemptEnd {
                outcome,
                estimate: true,
                verdict,
            });
            exchange.close(outcome, self.status);
        }
        AnswerBroke
    }
}

fn read_event(exchange: &mut Exchange, data: &[u8]) {
    if memchr::memmem::find(data, b"\"usage\"").is_none() {
        return;
    }
    let facts = relayed::facts(data);
    if let (Some(tokens), Some(attempt)) = (facts.tokens, exchange.attempt_mut()) {
        attempt.usage = Some(Usage {
            tokens,
            reported: true,
        });
    }
}

impl<B> Body for RelayedBody<B>
where
    B: Body<Data = Bytes, Error: fmt::Display>,
{
    type Data = Bytes;
    type Error = AnswerBroke;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerBroke>>> {
        let body = &mut *self;
        if body.ended {
            return Poll::Ready(None);
        }
        loop {
            match body.source.as_mut().poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Poll::Ready(Some(Ok(Frame::data(body.take(chunk)))));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(error = %error, "an answer that is passed through broke off");
                    let broke = body.fail(Outcome::StreamBroken, Verdict::Failure);
                    return Poll::Ready(Some(Err(broke)));
                }
                Poll::Ready(None) => {
                    body.ended = true;
                    body.close();
                    return Poll::Ready(None);
                }
                Poll::Pending => break,
            }
        }
        if body.abort.as_mut().poll(context).is_ready() {
            let broke = body.fail(Outcome::StreamBroken, Verdict::Neutral);
            return Poll::Ready(Some(Err(broke)));
        }
        if body.timer.as_mut().poll(context).is_ready() {
            let broke = body.fail(Outcome::Timeout, Verdict::Failure);
            return Poll::Ready(Some(Err(broke)));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<B> fmt::Debug for RelayedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayedBody")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
