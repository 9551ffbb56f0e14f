//! THE REQUEST: `handle` and `run`, the phases in order, on one screen.
//!
//! authenticate → decode → admit → classify → cache → plan → per attempt: reserve tokens and money,
//! send → answer. Each `?` leaves through the same door: the exchange settles what is open, records
//! what happened and answers in the client's dialect. A new phase is one line here and one module.

mod attempting;
mod cached;
mod endpoints;
mod last_resort;
mod observing;
mod planning;
mod respond;

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::accounting::{Exchange, Observer};
use crate::error::{ErrorKind, ProxyError};
use crate::gateway::{Active, Gateway};
use crate::types::{Endpoint, RequestId};
use crate::wire::DialectId;
use crate::{auth, classify, ingress, limits, policy, resilience, wire};

use attempting::Attempting;
use cached::Lookup;
use respond::Answer;

pub use planning::{decide, explain};
pub use respond::ReplyBody;

/// Serves one request of the data listener.
pub async fn handle(gw: &Arc<Gateway>, request: Request<Incoming>) -> Response<ReplyBody> {
    let started = Instant::now();
    let request_id = RequestId::generate();
    let active = gw.active.load_full();
    match ingress::route(request.method(), request.uri().path()) {
        Ok(ingress::Route::Generate(endpoint)) => generate(gw, &active, request, endpoint, started, request_id).await,
        Ok(route) => endpoints::serve(gw, &active, request, route, &request_id).await,
        Err(error) => respond::refusal(&error, &request_id),
    }
}

/// Serves one model request. Every exit settles the exchange exactly once.
async fn generate(
    gw: &Arc<Gateway>,
    active: &Arc<Active>,
    request: Request<Incoming>,
    endpoint: Endpoint,
    started: Instant,
    request_id: RequestId,
) -> Response<ReplyBody> {
    let record = respond::blank_record(gw, active, endpoint, request_id);
    let mut exchange = Exchange::open(record, started, Arc::clone(gw) as Arc<dyn Observer>);
    exchange.count_in_flight(gw.metrics.in_flight());
    match run(gw, active, request, endpoint, &mut exchange).await {
        Ok(answer) => answer.into_response(gw, active, exchange),
        Err(error) => respond::failure(&error, exchange),
    }
}

/// The phases of a model request.
async fn run(
    gw: &Arc<Gateway>,
    active: &Arc<Active>,
    request: Request<Incoming>,
    endpoint: Endpoint,
    exchange: &mut Exchange,
) -> Result<Answer, ProxyError> {
    let snapshot = &active.snapshot;
    let (head, body) = request.into_parts();

    let caller = auth::authenticate(snapshot, &head.headers)?;
    respond::attribute(&mut exchange.record, &caller);
    exchange.enlist(gw.ledger.reserve().map_err(|error| overloaded(&error.to_string()))?);
    shed_load(gw, active)?;

    let directives = ingress::directives(&head.headers)?;
    let body = ingress::read_body(&head.headers, body, &snapshot.server).await?;
    let call = wire::decode(DialectId::OpenaiChat, endpoint, body, directives)?;
    respond::describe(&mut exchange.record, &call);
    let asked = policy::resolve(snapshot, &caller, &call)?;

    let permit = limits::admit(&gw.limiters, snapshot, &caller).inspect_err(|refused| observing::limited(gw, refused))?;
    exchange.hold(permit);

    let features = classify::timed(&gw.classifier, &call, &gw.metrics);
    let cell = classify::cell_of(snapshot, &call, &features)?;
    respond::classified(&mut exchange.record, &call, &features, &cell);

    let flight = match cached::look_up(gw, active, &caller, &call, exchange).await? {
        Lookup::Answered(answer) => return Ok(answer),
        Lookup::Go(flight) => flight,
    };

    let mut rng = StdRng::seed_from_u64(planning::seed_of(gw.seed, &exchange.record.request_id));
    let plan = planning::plan_for(gw, active, &caller, &call, &features, &cell, &asked, &mut rng);
    planning::record(gw, &mut exchange.record, &plan);
    planning::ensure_candidates(gw, active, &caller, &plan)?;

    let execution = resilience::Execution {
        snapshot,
        bound: &active.bound,
        retry_budget: &gw.retry_budget,
        metrics: &gw.metrics,
        deadline: exchange.started() + snapshot.resilience.timeouts.total,
    };
    let mut attempts = Attempting { gw, active, caller: &caller, call: &call, features: &features, exchange };
    match resilience::execute(&plan, &execution, &mut rng, &mut attempts).await {
        Ok(reply) => Ok(Answer::upstream(reply, call, caller, flight, execution.deadline)),
        Err(spent) => last_resort::answer(gw, active, &caller, &call, &features, &plan, spent, exchange, flight),
    }
}

/// Sheds early, before any work, when more is in flight than the file allows or the drain has begun.
fn shed_load(gw: &Gateway, active: &Active) -> Result<(), ProxyError> {
    if gw.stop.is_cancelled() {
        return Err(overloaded("the proxy is shutting down"));
    }
    let in_flight = usize::try_from(gw.metrics.in_flight().get()).unwrap_or(0);
    if in_flight > active.snapshot.server.max_in_flight {
        return Err(overloaded("more requests are in flight than server.max_in_flight"));
    }
    Ok(())
}

/// How soon a shed request may come again: long enough for a burst to pass.
const SHED_RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

fn overloaded(why: &str) -> ProxyError {
    ProxyError::new(ErrorKind::Overloaded, why).with_retry_after(SHED_RETRY_AFTER)
}
