//! Requests that are passed through to a provider: images, audio and moderations to that of the model
//! that they name, files and batches to one that the file names. The same phases as `run`, without
//! classifier, cache and matrix: authenticate → read what is needed → resolve → admit → reserve → send.

mod attempt;
mod batches;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::accounting::{AttemptEnd, Exchange, RelayedBody, RelayedParts, Verdict};
use crate::config::snapshot::{Model, Provider, ProviderEndpoint};
use crate::error::{ErrorKind, ProxyError};
use crate::gateway::{Active, Gateway};
use crate::resilience::{Execution, TryError};
use crate::types::{
    BillBound, Caller, Candidate, Endpoint, LevelName, Outcome, PicoUsd, Plan, PossibleTiers,
    Reason, RelayPath, RequestId, TaskName, Usage,
};
use crate::wire::relayed;
use crate::{auth, ingress, limits, policy, resilience};

use super::respond::{self, ReplyBody};
use super::{last_resort, observing, planning};
use attempt::{Destination, Relaying};
use upload::{Caps, Said, Upload};

pub use batches::{ask_about_batches, look_after_batches};

/// Largest whole answer that is read for its usage: images come in base64.
const MAX_READ_BYTES: usize = 128 << 20;
/// Most images that one request can ask for, where it does not say.
const MOST_IMAGES: u64 = 10;
/// Output that is reserved where the file does not cap it.
const UNSTATED_OUTPUT: u64 = 16_384;
/// Parameters of a list that are passed on.
const LIST_PARAMETERS: [&str; 4] = ["purpose", "limit", "order", "after"];
/// Names the provider of files and batches.
const PROVIDER: &str = "x-tollgate-provider";

/// Serves one request that is passed through. Every exit settles the exchange exactly once.
pub(super) async fn serve(
    gw: &Arc<Gateway>,
    active: &Arc<Active>,
    request: Request<&mut Incoming>,
    path: &RelayPath,
    (started, request_id): (Instant, RequestId),
) -> Response<ReplyBody> {
    let record = respond::blank_record(gw, active, path.endpoint(), request_id);
    let observer = Arc::clone(gw) as Arc<dyn crate::accounting::Observer>;
    let mut exchange = Exchange::open(record, started, observer);
    exchange.count_in_flight(gw.metrics.in_flight());
    let passed = tokio::select! {
        biased;
        passed = run(gw, active, request, path, &mut exchange) => passed,
        () = gw.abort_streams.cancelled() => Err(super::overloaded("the proxy is shutting down")),
    };
    match passed {
        Ok(passed) => answer(gw, active, passed, path, exchange).await,
        Err(error) => respond::failure(&error, exchange),
    }
}

/// An upstream's answer and whose it is.
struct Passed {
    response: Response<Incoming>,
    caller: Caller,
    makes_batch: bool,
}

async fn run(
    gw: &Arc<Gateway>,
    active: &Arc<Active>,
    request: Request<&mut Incoming>,
    path: &RelayPath,
    exchange: &mut Exchange,
) -> Result<Passed, ProxyError> {
    let snapshot = &active.snapshot;
    let (head, body) = request.into_parts();
    let caller = auth::authenticate(snapshot, &head.headers)?;
    respond::attribute(&mut exchange.record, &caller);
    let slot = gw.ledger.reserve();
    exchange.enlist(slot.map_err(|error| super::overloaded(&error.to_string()))?);
    super::shed_load(gw, active)?;
    let directives = ingress::directives(&head.headers)?;
    exchange.record.tags.clone_from(&directives.tags);
    let (upload, said) = read(active, path, &head, body).await?;
    exchange.record.end_user.clone_from(&said.end_user);

    let goal = if path.names_model() {
        let asked = said.model.as_deref().or(path.usual_model());
        let name = asked.ok_or_else(|| ProxyError::invalid("model", "`model` is missing"))?;
        name.clone_into(&mut exchange.record.asked_model);
        let index = policy::resolve_relayed(snapshot, &caller, name)?;
        ensure_served(active, &caller, index, path)?;
        Goal::Model(index)
    } else {
        Goal::Provider(provider_of(active, &head.headers)?)
    };
    let permit = limits::admit_patiently(&gw.limiters, gw.budgets.bell(), snapshot, &caller)
        .await
        .inspect_err(|refused| observing::limited(gw, refused))?;
    exchange.hold(permit);
    exchange.mark_overhead();

    let images = match path.endpoint() {
        Endpoint::Images => said.count.unwrap_or(1),
        _ => 0,
    };
    let input_bytes = upload.at_most_bytes();
    let mut relaying = Relaying {
        gw,
        active,
        caller: &caller,
        path,
        headers: &head.headers,
        exchange,
        upload: Some(upload),
        images: u32::try_from(images).unwrap_or(u32::MAX),
        input_tokens: said.input_chars,
        end_user: said.end_user,
    };
    let response = match goal {
        Goal::Model(index) => {
            let asked_count = said.count.unwrap_or(MOST_IMAGES);
            let worst_case = worst_case(
                gw,
                &snapshot.models[index],
                path,
                (input_bytes, asked_count),
            );
            if directives.max_cost.is_some_and(|cap| worst_case > cap) {
                let message = format!(
                    "the request may cost up to {worst_case} USD, more than x-tollgate-max-cost-usd"
                );
                return Err(ProxyError::new(ErrorKind::BudgetExceeded, message));
            }
            to_model(&mut relaying, index, worst_case).await?
        }
        Goal::Provider(provider) => {
            if path.is_new_batch(&head.method) {
                let id = &snapshot.providers[provider].id;
                batches::admit(gw, &caller, id, &directives).await?;
            }
            let query = list_query(head.uri.query());
            to_provider(&mut relaying, provider, (&head.method, &query)).await?
        }
    };
    let makes_batch = path.is_new_batch(&head.method);
    Ok(Passed {
        response,
        caller,
        makes_batch,
    })
}

/// Where a request goes.
enum Goal {
    /// Index into the snapshot's models.
    Model(usize),
    /// Index into the snapshot's providers.
    Provider(usize),
}

/// Reads as much of the body as must be known.
async fn read<'b>(
    active: &Active,
    path: &RelayPath,
    head: &http::request::Parts,
    body: &'b mut Incoming,
) -> Result<(Upload<'b>, Said), ProxyError> {
    let server = &active.snapshot.server;
    let caps = Caps {
        held: server.max_body_bytes,
        passed: active.snapshot.pass_through.max_body_bytes,
        pause: server.body_timeout,
    };
    match path {
        _ if head.method != Method::POST => Ok((Upload::none(), Said::default())),
        RelayPath::Files => {
            let upload = Upload::flowing(&head.headers, body, caps)?;
            Ok((upload, Said::default()))
        }
        RelayPath::ImageEdits
        | RelayPath::ImageVariations
        | RelayPath::Transcriptions
        | RelayPath::Translations => Upload::form(&head.headers, body, caps).await,
        RelayPath::Batches | RelayPath::BatchCancel(_) => {
            let body = super::read_body(active, &head.headers, body).await?;
            Ok((Upload::whole(body), Said::default()))
        }
        _ => Upload::json(super::read_body(active, &head.headers, body).await?),
    }
}

/// True where OpenAI's own endpoints are spoken.
fn speaks_openai(provider: &Provider) -> bool {
    provider.dialect.as_str().starts_with("openai_")
        && matches!(provider.endpoint, ProviderEndpoint::Http(_))
}

/// A model whose provider does not speak OpenAI's endpoints is refused, with those that would serve.
fn ensure_served(
    active: &Active,
    caller: &Caller,
    index: usize,
    path: &RelayPath,
) -> Result<(), ProxyError> {
    const NAMED: usize = 5;
    let snapshot = &active.snapshot;
    let model = &snapshot.models[index];
    let provider = &snapshot.providers[model.provider];
    if !speaks_openai(provider) {
        let would = snapshot.models.iter().filter(|other| {
            let provider = &snapshot.providers[other.provider];
            provider.enabled && speaks_openai(provider) && policy::may_use(caller, other)
        });
        let names: Vec<String> = would
            .take(NAMED)
            .map(|other| format!("`{}`", other.id))
            .collect();
        let hint = if names.is_empty() {
            "no model here is".to_owned()
        } else {
            format!("models that are: {}", names.join(", "))
        };
        let message = format!(
            "`{}` is not served for {}: its provider `{}` is not asked in OpenAI's form; {hint}",
            model.id,
            path.upstream(),
            provider.id
        );
        return Err(ProxyError::invalid("model", message));
    }
    if !model.deployments.iter().any(|it| it.enabled) {
        let message = format!("the provider of `{}` is switched off", model.id);
        return Err(ProxyError::new(ErrorKind::NoCandidateAvailable, message));
    }
    Ok(())
}

/// The provider of files and batches: the one that the client names among those of the file, else the
/// first.
fn provider_of(active: &Active, headers: &HeaderMap) -> Result<usize, ProxyError> {
    let snapshot = &active.snapshot;
    let offered = &snapshot.pass_through.files;
    let usable = |index: &usize| {
        let provider = &snapshot.providers[*index];
        provider.enabled && speaks_openai(provider)
    };
    let Some(named) = headers.get(PROVIDER) else {
        return offered.iter().copied().find(usable).ok_or_else(|| {
            let message = "files and batches are not served here: `pass_through.files` names no \
                           provider that is switched on";
            ProxyError::new(ErrorKind::NotFound, message)
        });
    };
    let found = offered
        .iter()
        .copied()
        .find(|&index| snapshot.providers[index].id.as_str().as_bytes() == named.as_bytes());
    found.filter(usable).ok_or_else(|| {
        let names: Vec<String> = offered
            .iter()
            .filter(|index| usable(index))
            .map(|&index| format!("`{}`", snapshot.providers[index].id))
            .collect();
        let message = format!(
            "header `{PROVIDER}` must name a provider of files: {}",
            names.join(", ")
        );
        ProxyError::invalid(PROVIDER, message)
    })
}

/// The most that the request can cost: its bytes as input, up to the model's context, and the file's
/// cap as output.
fn worst_case(
    gw: &Gateway,
    model: &Model,
    path: &RelayPath,
    (bytes, count): (u64, u64),
) -> PicoUsd {
    let images = match path.endpoint() {
        Endpoint::Images => count,
        _ => 0,
    };
    let writes = !matches!(path, RelayPath::Speech | RelayPath::Moderations);
    let output = model.max_output_tokens.unwrap_or(UNSTATED_OUTPUT);
    model.price.worst_case(
        gw.clock.unix_ms(),
        &BillBound {
            input_tokens: bytes.min(model.context_tokens.unwrap_or(u64::MAX)),
            output_tokens: if writes {
                output.saturating_mul(images.max(1))
            } else {
                0
            },
            images,
            tiers: PossibleTiers::Standard,
            hour_cache: false,
        },
    )
}

async fn to_model(
    relaying: &mut Relaying<'_, '_>,
    index: usize,
    worst_case: PicoUsd,
) -> Result<Response<Incoming>, ProxyError> {
    let (gw, active) = (relaying.gw, relaying.active);
    let plan = Plan {
        row: TaskName::from("default"),
        level: LevelName::from("none"),
        candidates: vec![Candidate {
            index,
            model: active.snapshot.models[index].id.clone(),
            score: 1.0,
            estimated_cost: worst_case,
            worst_case,
        }],
        excluded: Vec::new(),
        reason: Reason::Pinned,
        propensity: 1.0,
        weighing: None,
        would_serve: Vec::new(),
        own: 1,
    };
    relaying.exchange.record.reason = Some(Reason::Pinned);
    relaying.exchange.record.propensity = Some(1.0);
    let seed = planning::seed_of(gw.seed, &relaying.exchange.record.request_id);
    let regions = &relaying.caller.regions;
    let execution = Execution {
        snapshot: &active.snapshot,
        bound: &active.bound,
        regions,
        retry_budget: &gw.retry_budget,
        metrics: &gw.metrics,
        deadline: relaying.exchange.started() + active.snapshot.resilience.timeouts.total,
    };
    let mut rng = StdRng::seed_from_u64(seed);
    resilience::execute(&plan, &execution, &mut rng, relaying)
        .await
        .map_err(|spent| last_resort::error_of(&plan, spent))
}

async fn to_provider(
    relaying: &mut Relaying<'_, '_>,
    index: usize,
    (method, query): (&Method, &str),
) -> Result<Response<Incoming>, ProxyError> {
    let active = relaying.active;
    let provider = &active.snapshot.providers[index];
    relaying.exchange.record.provider = Some(provider.id.clone());
    let deadline = relaying.exchange.started() + active.snapshot.resilience.timeouts.total;
    let to = Destination {
        provider,
        signer: &provider.signer,
        upstream_model: "",
        method,
        query: Some(query),
        deadline,
    };
    relaying.send(to).await.map_err(|error| match error {
        TryError::Failed(failure) => last_resort::of_failure(failure, false),
        TryError::Refused(error) => error,
    })
}

/// What is passed on of a list's query: known parameters with plain values.
fn list_query(query: Option<&str>) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let kept = query.unwrap_or_default().split('&').filter(|parameter| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            LIST_PARAMETERS.contains(&name) && value.bytes().all(plain)
        })
    });
    kept.collect::<Vec<_>>().join("&")
}

/// Passes an answer on: whole where it is JSON of a model, so that its cost can stand in a header; else
/// as it comes.
async fn answer(
    gw: &Arc<Gateway>,
    active: &Arc<Active>,
    passed: Passed,
    path: &RelayPath,
    mut exchange: Exchange,
) -> Response<ReplyBody> {
    let (head, body) = passed.response.into_parts();
    let is = |kind: &str| {
        let value = head.headers.get(CONTENT_TYPE);
        value
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with(kind))
    };
    let timeouts = &active.snapshot.resilience.timeouts;
    let of_batch = path.names_batch() || passed.makes_batch;
    if is("application/json") && (path.names_model() || of_batch) {
        let until = exchange.started() + timeouts.total;
        let collecting = Limited::new(body, MAX_READ_BYTES).collect();
        let collected = tokio::time::timeout_at(until, collecting).await;
        let Ok(Ok(body)) = collected else {
            broke_off(&mut exchange);
            let message = "the upstream's answer broke off, or was too long";
            let error = ProxyError::new(ErrorKind::UpstreamError, message);
            return respond::failure(&error, exchange);
        };
        let body = body.to_bytes();
        if of_batch && let Some(facts) = relayed::batch(&body) {
            if passed.makes_batch {
                batches::made(gw, &exchange.record, &facts).await;
            }
            if let Some(provider) = exchange.record.provider.clone() {
                batches::settle(gw, active, &provider, &facts).await;
            }
        }
        let answered = (&head, body);
        return whole(gw, active, answered, &passed.caller, exchange);
    }
    let mut headers = respond::relay_headers(gw, active, &passed.caller, &exchange);
    for name in [CONTENT_TYPE, CONTENT_DISPOSITION, CONTENT_ENCODING] {
        if let Some(value) = head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let length = head.headers.get(CONTENT_LENGTH);
    let body = RelayedBody::new(RelayedParts {
        exchange,
        source: body,
        status: head.status.as_u16(),
        length: length.and_then(|value| value.to_str().ok()?.parse().ok()),
        events: is("text/event-stream"),
        idle: timeouts.idle,
        abort: gw.abort_streams.clone().cancelled_owned(),
    });
    respond::relayed(head.status, headers, ReplyBody::Relayed(Box::new(body)))
}

fn whole(
    gw: &Gateway,
    active: &Active,
    (head, body): (&http::response::Parts, Bytes),
    caller: &Caller,
    mut exchange: Exchange,
) -> Response<ReplyBody> {
    let facts = relayed::facts(&body);
    let mut latency = std::time::Duration::ZERO;
    if let Some(open) = exchange.attempt_mut() {
        open.record.response_model = facts.model;
        if open.pricing.images > 0 {
            open.pricing.images = facts.items.unwrap_or(open.pricing.images);
        }
        open.usage = Some(Usage {
            tokens: facts.tokens.unwrap_or_default(),
            reported: true,
        });
        open.record.ttft_us = None;
        latency = open.started.elapsed();
    }
    exchange.close_attempt(&AttemptEnd {
        outcome: Outcome::Ok,
        estimate: true,
        verdict: Verdict::Success(latency),
    });
    let mut headers = respond::relay_headers(gw, active, caller, &exchange);
    respond::put_cost(&mut headers, &exchange);
    if let Some(value) = head.headers.get(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, value.clone());
    }
    exchange.close(Outcome::Ok, head.status.as_u16());
    respond::relayed(head.status, headers, ReplyBody::Whole(body))
}

fn broke_off(exchange: &mut Exchange) {
    exchange.close_attempt(&AttemptEnd {
        outcome: Outcome::UpstreamError,
        estimate: true,
        verdict: Verdict::Failure,
    });
}
