//! THE REQUEST: `handle` and `run`, the phases in order, on one screen.
//!
//! authenticate → decode → admit → recall → classify → cache → plan → per attempt: reserve tokens and money,
//! send → answer. Each `?` leaves through the same door: the exchange settles what is open, records
//! what happened and answers in the client's dialect. A new phase is one line here and one module.

mod attempting;
mod cached;
mod counting;
mod detached;
mod endpoints;
mod gathering;
mod kept;
mod last_resort;
mod observing;
mod planning;
mod relay;
mod remembered;
mod repeated;
mod respond;
mod stakes;
mod telling;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::accounting::{Exchange, Keeper, Observer};
use crate::error::{ErrorKind, ProxyError};
use crate::gateway::{Active, Gateway};
use crate::policy::Asked;
use crate::resilience::Execution;
use crate::server::TwoLengths;
use crate::types::{Call, Caller, Endpoint, Features, RequestId};
use crate::wire;
use crate::{auth, classify, ingress, limits, policy, resilience};

use attempting::Attempting;
use cached::Lookup;
use last_resort::Stranded;
use planning::Question;
use repeated::Repeated;
use respond::Answer;

pub use planning::explain;
pub use relay::{ask_about_batches, look_after_batches};
pub use respond::{ReplyBody, on_panic};

/// Serves one request of the data listener.
pub async fn handle(gw: &Arc<Gateway>, request: Request<Incoming>) -> Response<ReplyBody> {
    let active = gw.active.load_full();
    let (head, mut body) = request.into_parts();
    // A client that waits for permission to send its body is not given it by reading on.
    let asks_first = head.headers.contains_key(http::header::EXPECT);
    let response = dispatch(gw, &active, Request::from_parts(head, &mut body)).await;
    if !body.is_end_stream() && !asks_first {
        ingress::discard(body, active.snapshot.server.max_body_bytes).await;
    }
    response
}

async fn dispatch(
    gw: &Arc<Gateway>,
    active: &Arc<Active>,
    request: Request<&mut Incoming>,
) -> Response<ReplyBody> {
    let started = Instant::now();
    let request_id = RequestId::generate();
    let head = match request.extensions().get() {
        Some(TwoLengths) => Err(ingress::two_lengths()),
        None => ingress::check_head(request.version(), request.headers()),
    };
    match head.and_then(|()| ingress::route(request.method(), request.uri().path())) {
        Ok(ingress::Route::Generate(endpoint)) => {
            generate(gw, active, request, endpoint, started, request_id).await
        }
        Ok(ingress::Route::Relay(path)) => {
            relay::serve(gw, active, request, &path, (started, request_id)).await
        }
        Ok(route) => endpoints::serve(gw, active, request, route, &request_id).await,
        Err(error) => respond::misdirected(&error, request.uri().path(), &request_id),
    }
}

/// Serves one model request. Every exit settles the exchange exactly once.
async fn generate(
    gw: &Arc<Gateway>,
    active: &Arc<Active>,
    request: Request<&mut Incoming>,
    endpoint: Endpoint,
    started: Instant,
    request_id: RequestId,
) -> Response<ReplyBody> {
    let record = respond::blank_record(gw, active, endpoint, request_id);
    let mut exchange = Exchange::open(record, started, Arc::clone(gw) as Arc<dyn Observer>);
    exchange.count_in_flight(gw.metrics.in_flight());
    let mut keeper = Keeper::new(exchange);
    let Some(exchange) = keeper.exchange_mut() else {
        return on_panic();
    };
    let answered = tokio::select! {
        biased;
        answered = run(gw, active, request, endpoint, exchange) => answered,
        () = gw.abort_streams.cancelled() => Err(overloaded("the proxy is shutting down")),
    };
    let Some(exchange) = keeper.release() else {
        return on_panic();
    };
    match answered {
        Ok(answer) => {
            let response = answer.into_response(gw, active, exchange);
            written(gw).await;
            response
        }
        Err(error) => respond::failure(&error, exchange),
    }
}

/// Fewer requests than this in flight have nobody to share a write to the journal with.
const COMPANY: i64 = 4;

/// Waits until what was noted or committed survives the process.
async fn written(gw: &Gateway) {
    gw.ledger
        .written(gw.metrics.in_flight().get() >= COMPANY)
        .await;
}

/// The phases of a model request.
async fn run(
    gw: &Arc<Gateway>,
    active: &Arc<Active>,
    request: Request<&mut Incoming>,
    endpoint: Endpoint,
    exchange: &mut Exchange,
) -> Result<Answer, ProxyError> {
    let snapshot = &active.snapshot;
    let (head, body) = request.into_parts();

    let caller = auth::authenticate(snapshot, &head.headers)?;
    respond::attribute(&mut exchange.record, &caller);
    exchange.enlist(
        gw.ledger
            .reserve()
            .map_err(|error| overloaded(&error.to_string()))?,
    );
    shed_load(gw, active)?;

    let directives = ingress::directives(&head.headers)?;
    let body = read_body(active, &head.headers, body).await?;
    let call = wire::decode(endpoint, body, directives)?;
    respond::describe(&mut exchange.record, &call);
    let asked = policy::resolve(snapshot, &caller, &call)?;

    let permit = limits::admit_patiently(&gw.limiters, gw.budgets.bell(), snapshot, &caller)
        .await
        .inspect_err(|refused| observing::limited(gw, refused))?;
    exchange.hold(permit);

    let request_id = exchange.record.request_id.clone();
    let recalled = remembered::recall(gw, &caller, call, request_id.as_str()).await?;
    let (call, memo) = recalled;
    let answer = answer(gw, active, (caller, call, asked), exchange).await?;
    Ok(answer.remembered(memo))
}

/// The phases of a request that is whole: from what it is about to its answer.
async fn answer(
    gw: &Arc<Gateway>,
    active: &Arc<Active>,
    (caller, mut call, asked): (Caller, Call, Asked),
    exchange: &mut Exchange,
) -> Result<Answer, ProxyError> {
    let snapshot = &active.snapshot;
    let features = Arc::new(classify(gw, active, &call));
    let cell = classify::cell_of(snapshot, &call, &features)?;
    respond::classified(&mut exchange.record, &call, &features, &cell);

    exchange.mark_overhead();
    let keeper = match repeated::look(gw, active, &caller, &call, exchange).await? {
        Repeated::Answered(answer) => return Ok(answer),
        Repeated::Go(keeper) => keeper,
    };
    let fill = match cached::look_up(gw, active, &caller, &call, exchange).await? {
        Lookup::Answered(answer) => return Ok(answer),
        Lookup::Go(fill) => fill.kept_by(keeper),
    };

    let (conversation, session) =
        planning::converse(gw, snapshot, &caller, &mut call, features.input_tokens);
    exchange.record.conversation = conversation;
    let question = Question {
        caller: &caller,
        call: &call,
        features: &features,
        cell: &cell,
        asked: &asked,
        session: session.as_ref(),
    };
    let mut rng = StdRng::seed_from_u64(planning::seed_of(gw.seed, &exchange.record.request_id));
    let plan = planning::decide(gw, active, &question, &mut rng);
    planning::record(gw, &mut exchange.record, &plan);
    let stranded = Stranded {
        gw,
        active,
        caller: &caller,
        call: &call,
        features: &features,
        plan: &plan,
    };
    if let Err(error) = planning::ensure_candidates(gw, active, &question, &plan) {
        return last_resort::without_candidates(&stranded, error, exchange, fill);
    }
    let baseline = snapshot.baseline.map(|index| &snapshot.models[index].price);
    exchange.set_baseline(baseline.cloned());

    let execution = Execution {
        snapshot,
        bound: &active.bound,
        regions: &caller.regions,
        retry_budget: &gw.retry_budget,
        metrics: &gw.metrics,
        deadline: exchange.started() + snapshot.resilience.timeouts.total,
    };
    let mut attempts = Attempting {
        gw,
        active,
        caller: &caller,
        call: &call,
        features: &features,
        exchange,
    };
    match resilience::execute(&plan, &execution, &mut rng, &mut attempts).await {
        Ok(reply) => {
            respond::note_fallback(&mut exchange.record, plan.candidates.first());
            let deadline = execution.deadline;
            Ok(Answer::upstream(reply, call, caller, fill, deadline))
        }
        Err(spent) => last_resort::answer(&stranded, spent, exchange, fill),
    }
}

/// Collects the body under the file's cap and deadline.
async fn read_body(
    active: &Active,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<Bytes, ProxyError> {
    let server = &active.snapshot.server;
    ingress::collect(
        body,
        headers,
        server.max_body_bytes,
        Instant::now() + server.body_timeout,
    )
    .await
}

/// Classifies and observes how long it took.
fn classify(gw: &Gateway, active: &Active, call: &Call) -> Features {
    let began = std::time::Instant::now();
    let features = active.classifier.classify(call);
    gw.metrics.classified(began.elapsed(), &features);
    features
}

/// Sheds early, before any work, when more is in flight than the file allows or the drain has begun.
fn shed_load(gw: &Gateway, active: &Active) -> Result<(), ProxyError> {
    if gw.stop.is_cancelled() {
        return Err(overloaded("the proxy is shutting down"));
    }
    let in_flight = usize::try_from(gw.metrics.in_flight().get()).unwrap_or(0);
    if in_flight > active.snapshot.server.max_in_flight {
        return Err(overloaded(
            "more requests are in flight than server.max_in_flight",
        ));
    }
    Ok(())
}

/// How soon a shed request may come again: long enough for a burst to pass.
const SHED_RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

fn overloaded(why: &str) -> ProxyError {
    ProxyError::new(ErrorKind::Overloaded, why).with_retry_after(SHED_RETRY_AFTER)
}
