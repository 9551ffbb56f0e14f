//! The body of a streamed answer: forwards the upstream's events, taps them for usage, and closes
//! the exchange exactly once — before the end of the answer leaves, so that whoever has seen the
//! end can find the bill.
//!
//! Past the commit point there is no retry and no fallback: a stream that fails here ends with an
//! error event and a clean end of body.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::config::snapshot::{BillingParams, OnDisconnect};
use crate::error::{ErrorKind, ProxyError};
use crate::types::{Endpoint, Outcome, PicoUsd, Tokens};
use crate::wire::facts::{EventKind, UsageReport};
use crate::wire::framing::sse::{DEFAULT_MAX_EVENT_BYTES, SseEvent, SseFramer};
use crate::wire::{Dialect, Tap};

use super::drain::{self, Abandoned, Drains};
use super::exchange::{AttemptEnd, Exchange, Verdict};

/// Time-outs of a stream that has begun.
#[derive(Debug, Clone, Copy)]
pub struct StreamTimeouts {
    /// Between two chunks of the upstream.
    pub idle: Duration,
    /// When the whole request must be over.
    pub deadline: Instant,
}

/// A stream that is over, for whoever wanted a copy of it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The upstream's events, when the answer is fit to be remembered: complete, not truncated, no
    /// tool calls, no error, not too large.
    pub events: Option<Bytes>,
    /// What it used.
    pub tokens: Tokens,
}

/// What a stream body is made of.
pub struct StreamParts<B> {
    /// The dialect of the events.
    pub dialect: &'static dyn Dialect,
    /// The open exchange, with its attempt.
    pub exchange: Exchange,
    /// Events that were taken already.
    pub first: Vec<SseEvent>,
    /// The framer that may hold more.
    pub framer: SseFramer,
    /// The upstream's body.
    pub source: B,
    /// The client asked for the usage chunk.
    pub include_usage: bool,
    /// How many choices the client asked for.
    pub choices: u32,
    /// Time-outs.
    pub timeouts: StreamTimeouts,
    /// Fires at the drain deadline.
    pub abort: WaitForCancellationFutureOwned,
    /// Where to read on when the client leaves and the provider goes on.
    pub drains: Drains,
    /// Called at the end with the upstream's events, when somebody wants them.
    pub record_events: Option<Box<dyn FnOnce(Recorded) + Send>>,
    /// What every event passes last, when somebody changes them on their way to the client.
    pub rewrite: Option<Rewrite>,
}

/// Changes events on their way to the client. Gets each whole, in order, the last one before it leaves.
pub type Rewrite = Box<dyn FnMut(Bytes) -> Bytes + Send>;

/// A streamed answer on its way to the client.
pub struct StreamBody<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: fmt::Display,
{
    codec: &'static dyn Dialect,
    endpoint: Endpoint,
    exchange: Option<Exchange>,
    tap: Box<dyn Tap>,
    framer: SseFramer,
    /// Gone only when the body itself goes.
    source: Option<Pin<Box<B>>>,
    ready: VecDeque<Bytes>,
    include_usage: bool,
    choices: u32,
    usage_shown: bool,
    source_ended: bool,
    timeouts: StreamTimeouts,
    last_chunk: Instant,
    timer: Pin<Box<Sleep>>,
    abort: Pin<Box<WaitForCancellationFutureOwned>>,
    drains: Drains,
    recorder: Option<Recorder>,
    rewrite: Option<Rewrite>,
}

/// Keeps a copy of the events for the cache, up to a size.
struct Recorder {
    events: BytesMut,
    done: Box<dyn FnOnce(Recorded) + Send>,
}

/// Streams above this are not kept for the cache.
const MAX_RECORDED_BYTES: usize = 1 << 20;
/// After the end marker the upstream gets this long to end its body, so that the connection can be
/// used again.
const END_GRACE: Duration = Duration::from_millis(250);

impl<B> StreamBody<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: fmt::Display,
{
    /// Begins to forward.
    pub fn new(parts: StreamParts<B>) -> Self {
        let codec = parts.dialect;
        let now = Instant::now();
        let wake = parts.timeouts.deadline.min(now + parts.timeouts.idle);
        let recorder = parts.record_events.map(|done| Recorder {
            events: BytesMut::with_capacity(4096),
            done,
        });
        let mut body = Self {
            codec,
            endpoint: parts.exchange.record.endpoint,
            exchange: Some(parts.exchange),
            tap: codec.tap(),
            framer: parts.framer,
            source: Some(Box::pin(parts.source)),
            ready: VecDeque::new(),
            include_usage: parts.include_usage,
            choices: parts.choices,
            usage_shown: false,
            source_ended: false,
            timeouts: parts.timeouts,
            last_chunk: now,
            timer: Box::pin(tokio::time::sleep_until(wake)),
            abort: Box::pin(parts.abort),
            drains: parts.drains,
            recorder,
            rewrite: parts.rewrite,
        };
        for event in parts.first {
            body.take(event);
        }
        body
    }

    fn poll_inner(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            while self.exchange.is_some() {
                let Some(event) = self.framer.next_event() else {
                    break;
                };
                self.take(event);
            }
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(match &mut self.rewrite {
                    Some(rewrite) => rewrite(bytes),
                    None => bytes,
                }));
            }
            if self.source_ended {
                return Poll::Ready(None);
            }
            let Some(source) = &mut self.source else {
                return Poll::Ready(None);
            };
            match source.as_mut().poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => self.push(frame),
                Poll::Ready(Some(Err(error))) => self.source_broke(&error),
                Poll::Ready(None) => self.source_finished(),
                Poll::Pending => {
                    if !self.poll_interruptions(context) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn push(&mut self, frame: Frame<Bytes>) {
        self.last_chunk = Instant::now();
        let Ok(chunk) = frame.into_data() else { return };
        if self.exchange.is_none() {
            // What comes after the end marker is nobody's.
            return;
        }
        if let Err(error) = self.framer.push(chunk) {
            self.broken(&format!("the upstream's stream cannot be read: {error}"));
        }
    }

    /// True when something happened that the loop must look at.
    fn poll_interruptions(&mut self, context: &mut Context<'_>) -> bool {
        if self.exchange.is_none() {
            // Ended for the client; give the upstream a moment to end its body too.
            let until = self.last_chunk + END_GRACE;
            if self.timer.deadline() > until {
                self.timer.as_mut().reset(until);
            }
            self.source_ended = self.timer.as_mut().poll(context).is_ready();
            return self.source_ended;
        }
        if self.abort.as_mut().poll(context).is_ready() {
            self.fail(
                ErrorKind::Overloaded,
                Outcome::StreamBroken,
                Verdict::Neutral,
                "the proxy is shutting down",
            );
            return true;
        }
        if self.timer.as_mut().poll(context).is_pending() {
            return false;
        }
        let now = Instant::now();
        let idle_at = self.last_chunk + self.timeouts.idle;
        if now >= self.timeouts.deadline {
            self.fail(
                ErrorKind::UpstreamTimeout,
                Outcome::Timeout,
                Verdict::Neutral,
                "the request took longer than resilience.timeouts.total_ms",
            );
        } else if now >= idle_at {
            self.fail(
                ErrorKind::UpstreamTimeout,
                Outcome::Timeout,
                Verdict::Failure,
                "the upstream sent nothing for longer than resilience.timeouts.idle_ms",
            );
        } else {
            self.timer
                .as_mut()
                .reset(idle_at.min(self.timeouts.deadline));
        }
        true
    }

    /// Looks at one event and forwards, changes or withholds it.
    fn take(&mut self, event: SseEvent) {
        if self.exchange.is_none() {
            return;
        }
        let kind = self.tap.see(&event);
        self.record(&event);
        match kind {
            // Where the last event carries the usage, it is also the end.
            EventKind::Usage { report, .. } if self.tap.facts().done => {
                self.note_progress();
                self.usage_shown = true;
                let told = self.codec.event_with_cost(&event, &report, self.cost());
                self.complete(Some(SseEvent::new(told)));
            }
            EventKind::Usage { report, alone } => self.take_usage(event, &report, alone),
            EventKind::Done => self.complete(Some(event)),
            EventKind::Error => {
                self.note_progress();
                let estimate = self.billing().is_some_and(|it| it.errors_estimated);
                self.close(Outcome::StreamBroken, Verdict::Failure, estimate);
                self.ready.push_back(event.raw);
            }
            // Torn in the middle by the end of the body.
            EventKind::Malformed if !event.terminated => {}
            EventKind::Content { .. }
            | EventKind::Comment
            | EventKind::Other
            | EventKind::Malformed => {
                self.ready.push_back(event.raw);
            }
        }
    }

    fn take_usage(&mut self, event: SseEvent, report: &UsageReport, alone: bool) {
        self.note_progress();
        if !self.include_usage {
            if !alone {
                self.ready.push_back(event.raw);
            }
            return;
        }
        self.usage_shown = true;
        let cost = self.cost();
        self.ready
            .push_back(self.codec.event_with_cost(&event, report, cost));
    }

    /// The upstream is done: settle and record first, then let the client see the end.
    fn complete(&mut self, marker: Option<SseEvent>) {
        self.note_progress();
        let facts = self.tap.facts();
        let outcome = if facts.finish.truncated {
            Outcome::Truncated
        } else {
            Outcome::Ok
        };
        // What the client is told last is what it is billed.
        let is_told = self.usage_shown && self.usage_is_current();
        let late_usage = (self.include_usage && !is_told).then(|| {
            let tokens = self.billed_usage();
            self.codec
                .usage_event(self.endpoint, self.tap.facts(), &tokens, self.cost())
        });
        let latency = self
            .exchange
            .as_ref()
            .map_or(Duration::ZERO, Exchange::time_to_first_event);
        self.close(outcome, Verdict::Success(latency), true);
        let end = marker.map_or_else(|| self.codec.done_event(), |event| event.raw);
        // Dialects whose last event says it all have neither of their own.
        let ours = late_usage.into_iter().chain([end]);
        self.ready.extend(ours.filter(|event| !event.is_empty()));
    }

    fn source_finished(&mut self) {
        self.source_ended = true;
        if self.exchange.is_none() {
            return;
        }
        if let Some(event) = self.framer.finish().map(with_blank_line) {
            self.take(event);
        }
        if self.exchange.is_none() {
            return;
        }
        // A finish reason is the end of the answer; the end marker is a courtesy that some omit.
        if self.tap.facts().complete() {
            self.complete(None);
        } else {
            self.broken("the upstream's stream ended in the middle of the answer");
        }
    }

    /// The connection broke. An answer whose every choice had said why it ended is whole all the same.
    fn source_broke(&mut self, error: &B::Error) {
        let facts = self.tap.facts();
        let whole = facts.complete() && facts.finished >= self.choices;
        if self.exchange.is_some() && whole {
            self.source_ended = true;
            self.complete(None);
        } else {
            self.broken(&format!("the upstream's stream broke off: {error}"));
        }
    }

    fn broken(&mut self, why: &str) {
        self.source_ended = true;
        if self.exchange.is_some() {
            self.fail(
                ErrorKind::UpstreamError,
                Outcome::StreamBroken,
                Verdict::Failure,
                why,
            );
        }
    }

    /// Ends with an error event in the client's dialect; the body then ends cleanly, because an
    /// aborted connection makes clients raise before they see the event.
    fn fail(&mut self, kind: ErrorKind, outcome: Outcome, verdict: Verdict, why: &str) {
        self.source_ended = true;
        self.note_progress();
        let error = ProxyError::new(kind, why);
        if let Some(exchange) = &mut self.exchange {
            exchange.record.error_code = Some(error.presentation().code.to_owned());
        }
        let estimate = self.billing().is_some_and(|it| it.cuts_estimated());
        self.close(outcome, verdict, estimate);
        self.ready.push_back(self.codec.error_event(&error));
    }

    /// Tells the open attempt what the tap has seen so far.
    fn note_progress(&mut self) {
        let facts = self.tap.facts();
        if let Some(attempt) = self.exchange.as_mut().and_then(Exchange::attempt_mut) {
            attempt.note(facts);
        }
    }

    /// How the provider bills what is not read to its end.
    fn billing(&mut self) -> Option<BillingParams> {
        let attempt = self.exchange.as_mut().and_then(Exchange::attempt_mut)?;
        Some(attempt.billing)
    }

    /// True unless the provider's last report is of less than what came.
    fn usage_is_current(&mut self) -> bool {
        let attempt = self.exchange.as_mut().and_then(Exchange::attempt_mut);
        attempt.is_none_or(|attempt| attempt.usage.is_none_or(|usage| usage.reported))
    }

    fn billed_usage(&mut self) -> Tokens {
        let attempt = self.exchange.as_mut().and_then(Exchange::attempt_mut);
        attempt
            .map(|attempt| attempt.billed_tokens())
            .unwrap_or_default()
    }

    fn cost(&self) -> PicoUsd {
        self.exchange
            .as_ref()
            .map_or(PicoUsd::ZERO, Exchange::cost_so_far)
    }

    fn close(&mut self, outcome: Outcome, verdict: Verdict, estimate: bool) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        exchange.close_attempt(&AttemptEnd {
            outcome,
            estimate,
            verdict,
        });
        let tokens = exchange.record.tokens();
        exchange.close(outcome, http::StatusCode::OK.as_u16());
        let facts = self.tap.facts();
        let storable = outcome == Outcome::Ok && !facts.tool_calls && !facts.finish.content_filter;
        if let Some(recorder) = self.recorder.take() {
            let events = storable.then(|| recorder.events.freeze());
            (recorder.done)(Recorded { events, tokens });
        }
    }

    fn record(&mut self, event: &SseEvent) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if recorder.events.len() + event.raw.len() > MAX_RECORDED_BYTES {
            if let Some(recorder) = self.recorder.take() {
                (recorder.done)(Recorded {
                    events: None,
                    tokens: Tokens::default(),
                });
            }
            return;
        }
        recorder.events.extend_from_slice(&event.raw);
    }
}

/// Gives an event that the upstream left without its blank line one, or what stands after it would
/// become part of it.
fn with_blank_line(event: SseEvent) -> SseEvent {
    if event.terminated {
        return event;
    }
    // A line feed after a lone carriage return belongs to it.
    let missing: &[u8] = if event.raw.ends_with(b"\n") {
        b"\n"
    } else {
        b"\n\n"
    };
    let raw = Bytes::from([&event.raw[..], missing].concat());
    let mut event = SseEvent::new(raw);
    event.terminated = false;
    event
}

impl<B> Body for StreamBody<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: fmt::Display,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = self.get_mut();
        // A panic here would escape the server's net and, on HTTP/2, take its neighbours along.
        let polled = catch_unwind(AssertUnwindSafe(|| body.poll_inner(context)));
        polled
            .unwrap_or_else(|_| {
                body.source_ended = true;
                body.fail(
                    ErrorKind::Internal,
                    Outcome::Internal,
                    Verdict::Neutral,
                    "a fault in the proxy",
                );
                Poll::Ready(body.ready.pop_back())
            })
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.source_ended && self.ready.is_empty()
    }
}

impl<B> Drop for StreamBody<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: fmt::Display,
{
    /// The client left: bill as the provider does.
    fn drop(&mut self) {
        self.note_progress();
        let (Some(billing), Some(exchange)) = (self.billing(), self.exchange.take()) else {
            return;
        };
        match self.source.take() {
            Some(source) if billing.on_disconnect == OnDisconnect::Drain => Abandoned {
                exchange,
                tap: std::mem::replace(&mut self.tap, self.codec.tap()),
                framer: std::mem::replace(
                    &mut self.framer,
                    SseFramer::new(DEFAULT_MAX_EVENT_BYTES),
                ),
                source,
            }
            .drain(&self.drains),
            _ => drain::abandon(exchange, billing.cuts_estimated()),
        }
    }
}

impl<B> fmt::Debug for StreamBody<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBody")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
