//! ONE attempt at one deployment: endpoint, signature, encoding, sending, and waiting until the
//! answer (or the first event of a stream) is there. Knows nothing of plans, retries or money.

mod abroad;
mod counting;
pub mod relay;
mod request;
mod response;
mod signer;
pub mod simulated;
mod translation;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::config::snapshot::{
    Deployment, HttpEndpoint, Model, Provider, ProviderEndpoint, Timeouts,
};
use crate::runtime::{Grants, HttpClient};
use crate::types::chat::Notes;
use crate::types::{AttemptFailure, Call, Next, Outcome};
use crate::wire::facts::ResponseFacts;
use crate::wire::framing::sse::{SseEvent, SseFramer};

pub use counting::{count_tokens, counts};
use simulated::{SimulatedAnswer, SimulatedStream};

/// What is sent where.
#[derive(Debug, Clone, Copy)]
pub struct Outbound<'a> {
    /// The client's request.
    pub call: &'a Call,
    /// The model.
    pub model: &'a Model,
    /// Which of its deployments.
    pub deployment: &'a Deployment,
    /// That deployment's provider.
    pub provider: &'a Provider,
    /// Time-outs of the attempt.
    pub timeouts: &'a Timeouts,
    /// When the whole request must have its answer's beginning.
    pub deadline: Instant,
    /// Wall-clock time, for signatures and `retry-after` dates.
    pub unix_ms: i64,
    /// Access tokens, for providers that want one.
    pub grants: &'a Grants,
}

impl<'a> Outbound<'a> {
    /// Whose credential the attempt needs.
    fn account(&self) -> signer::Account<'a> {
        signer::Account {
            grants: self.grants,
            provider: &self.provider.id,
            signer: self
                .deployment
                .signer
                .as_ref()
                .unwrap_or(&self.provider.signer),
            unix_ms: self.unix_ms,
        }
    }
}

/// What an upstream answered.
#[derive(Debug)]
pub enum Reply {
    /// A whole answer and what was found in it.
    Whole(WholeReply),
    /// A stream whose first event is there.
    Stream(StreamReply),
}

impl Reply {
    fn with_notes(mut self, notes: Notes) -> Self {
        match &mut self {
            Self::Whole(whole) => whole.notes.add(notes),
            Self::Stream(stream) => stream.notes = notes,
        }
        self
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct WholeReply {
    /// The upstream's bytes.
    pub body: Bytes,
    /// Usage, finish reasons, model.
    pub facts: ResponseFacts,
    /// What the upstream's dialect could not say of the request.
    pub notes: Notes,
}

/// A stream that has begun.
#[derive(Debug)]
pub struct StreamReply {
    /// Events that were taken already, the first with content last.
    pub first: Vec<SseEvent>,
    /// The framer, which may hold more.
    pub framer: SseFramer,
    /// What follows.
    pub body: EventSource,
    /// What the upstream's dialect could not say of the request.
    pub notes: Notes,
}

/// Where a stream's bytes come from.
#[derive(Debug)]
pub enum EventSource {
    /// An upstream over HTTP.
    Http(Incoming),
    /// A simulated provider.
    Simulated(SimulatedStream),
    /// An upstream of another dialect than the client's.
    Translated(Box<translation::Translated>),
    /// Nothing more: the answer came whole and was turned into events.
    Spent,
}

impl http_body::Body for EventSource {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Http(body) => Pin::new(body).poll_frame(context),
            Self::Simulated(stream) => stream
                .poll_chunk(context)
                .map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Translated(stream) => stream.poll_chunk(context),
            Self::Spent => Poll::Ready(None),
        }
    }
}

/// Makes one attempt.
///
/// # Errors
/// [`AttemptFailure`] with what may follow; nothing has reached the client.
///
/// # Cancel safety
/// Dropping the future closes (HTTP/1.1) or resets (HTTP/2) the upstream's request.
pub async fn send(
    outbound: Outbound<'_>,
    client: Option<&HttpClient>,
) -> Result<Reply, AttemptFailure> {
    let budget = if outbound.call.stream.wanted {
        outbound.timeouts.first_event
    } else {
        outbound.timeouts.response
    };
    let until = outbound.deadline.min(Instant::now() + budget);
    let attempt = async {
        match (&outbound.provider.endpoint, client) {
            (ProviderEndpoint::Simulated(params), _) => simulated_reply(outbound, params).await,
            (ProviderEndpoint::Http(endpoint), Some(client)) => {
                http_reply(&outbound, endpoint, client).await
            }
            (ProviderEndpoint::Http(_), None) => Err(AttemptFailure::unsent(
                Outcome::Internal,
                Next::Fallback,
                "no HTTP client for this provider",
            )),
        }
    };
    match tokio::time::timeout_at(until, attempt).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(outbound.call.stream.wanted, budget)),
    }
}

async fn http_reply(
    outbound: &Outbound<'_>,
    endpoint: &HttpEndpoint,
    client: &HttpClient,
) -> Result<Reply, AttemptFailure> {
    let account = outbound.account();
    let credential = signer::ready(account, client).await?;
    let (request, notes) = request::build(outbound, endpoint, &credential)?;
    let response = client
        .request(request)
        .await
        .map_err(|error| response::unreachable(&error))?;
    let again = signer::heed(account, &credential, response.status(), response.headers());
    response::read(outbound, response)
        .await
        .map(|reply| reply.with_notes(notes))
        .map_err(|failure| AttemptFailure {
            next: if again { Next::Retry } else { failure.next },
            ..failure
        })
}

fn timed_out(stream: bool, budget: Duration) -> AttemptFailure {
    let what = if stream {
        "no first event"
    } else {
        "no answer"
    };
    let message = format!("{what} within {} ms", budget.as_millis());
    AttemptFailure::sent(Outcome::Timeout, Next::Fallback, message)
}

async fn simulated_reply(
    outbound: Outbound<'_>,
    params: &crate::runtime::SimulatedParams,
) -> Result<Reply, AttemptFailure> {
    let simulation =
        simulated::simulate(params, outbound.call, &outbound.deployment.upstream_model);
    if !simulation.first_after.is_zero() {
        tokio::time::sleep(simulation.first_after).await;
    }
    match simulation.answer {
        SimulatedAnswer::Unavailable(body) => Err(response::refused(
            &outbound,
            http::StatusCode::SERVICE_UNAVAILABLE,
            &http::HeaderMap::new(),
            body,
        )),
        SimulatedAnswer::Whole(body) => response::whole(&outbound, body).map(Reply::Whole),
        SimulatedAnswer::Stream(stream) => {
            response::stream(&outbound, EventSource::Simulated(stream))
                .await
                .map(Reply::Stream)
        }
    }
}
