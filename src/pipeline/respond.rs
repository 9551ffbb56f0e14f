//! From an answer or an error to the client's response: headers, cost, cache fill, and the last
//! step of the exchange.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::accounting::{
    AnswerBroke, Exchange, RelayedBody, StreamBody, StreamParts, StreamTimeouts,
};
use crate::classify::{self, Cell};
use crate::error::{ErrorKind, ProxyError};
use crate::gateway::{Active, Gateway};
use crate::types::chat::Notes;
use crate::types::{
    AppId, CacheOutcome, Call, Caller, Candidate, Endpoint, Features, LevelName, Outcome, PicoUsd,
    Reason, RequestId, RequestRecord, TaskName, TeamId,
};
use crate::upstream::{EventSource, Reply, StreamReply, WholeReply};
use crate::wire::{self, Dialect};
use crate::{ingress, limits};

use super::cached::Fill;
use super::gathering::Gathering;
use super::remembered::{self, Memo};

/// The body of every response of the data listener.
#[derive(Debug)]
pub enum ReplyBody {
    /// Bytes that are all there.
    Whole(Bytes),
    /// A stream that closes its exchange itself.
    Stream(Box<Gathering<StreamBody<EventSource>>>),
    /// An answer that is passed through; it closes its exchange itself too.
    Relayed(Box<RelayedBody<Incoming>>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = AnswerBroke;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerBroke>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => Pin::new(stream.as_mut())
                .poll_frame(context)
                .map_err(|never| match never {}),
            Self::Relayed(body) => Pin::new(body.as_mut()).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.is_end_stream(),
            Self::Relayed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
            Self::Relayed(body) => body.size_hint(),
        }
    }
}

/// A request's answer before it is put into a response.
pub(super) enum Answer {
    /// An upstream answered.
    Upstream(Box<UpstreamAnswer>),
    /// A cache, a template or a rule answered.
    Canned(CannedAnswer),
}

/// An upstream's answer and what is needed to pass it on.
pub(super) struct UpstreamAnswer {
    reply: Reply,
    call: Call,
    caller: Caller,
    fill: Fill,
    deadline: Instant,
    memo: Option<Box<Memo>>,
}

/// An answer that no upstream gave.
pub(super) struct CannedAnswer {
    /// The bytes in the form that the client asked for.
    pub body: Bytes,
    /// True for server-sent events.
    pub events: bool,
    /// Age, for `age`, when it comes from the cache.
    pub age_seconds: Option<u64>,
    /// True when an idempotency key asked for it again.
    pub replayed: bool,
    /// Who answered, for the rate-limit headers.
    pub caller: Caller,
    /// How it is kept.
    pub memo: Option<Box<Memo>>,
}

impl Answer {
    /// An upstream's answer.
    pub(super) fn upstream(
        reply: Reply,
        call: Call,
        caller: Caller,
        fill: Fill,
        deadline: Instant,
    ) -> Self {
        Self::Upstream(Box::new(UpstreamAnswer {
            reply,
            call,
            caller,
            fill,
            deadline,
            memo: None,
        }))
    }

    /// The answer, to be kept as this says.
    pub(super) fn remembered(mut self, memo: Option<Box<Memo>>) -> Self {
        match &mut self {
            Self::Upstream(answer) => answer.memo = memo,
            // What is said again to an idempotency key is kept already.
            Self::Canned(canned) => canned.memo = memo.filter(|_| !canned.replayed),
        }
        self
    }

    /// Turns the answer into a response; the exchange closes here or with the stream. A whole answer may
    /// go out when the ledger has written its record down.
    pub(super) fn into_response(
        self,
        gw: &Arc<Gateway>,
        active: &Arc<Active>,
        exchange: Exchange,
    ) -> Response<ReplyBody> {
        match self {
            Self::Canned(canned) => canned_response(gw, active, canned, exchange),
            Self::Upstream(answer) => {
                let UpstreamAnswer {
                    reply,
                    call,
                    caller,
                    fill,
                    deadline,
                    memo,
                } = *answer;
                match reply {
                    Reply::Whole(whole) => {
                        let served = Served { caller, fill, memo };
                        whole_response(gw, active, whole, served, exchange)
                    }
                    Reply::Stream(stream) => stream_response(
                        gw,
                        active,
                        StreamInput {
                            stream,
                            call,
                            deadline,
                            served: Served { caller, fill, memo },
                        },
                        exchange,
                    ),
                }
            }
        }
    }
}

/// For whom an answer is, and who remembers it.
struct Served {
    caller: Caller,
    fill: Fill,
    memo: Option<Box<Memo>>,
}

fn whole_response(
    gw: &Gateway,
    active: &Active,
    whole: WholeReply,
    served: Served,
    mut exchange: Exchange,
) -> Response<ReplyBody> {
    let Served { caller, fill, memo } = served;
    let whole = match &memo {
        Some(memo) => memo.on_whole(whole),
        None => whole,
    };
    let outcome = if whole.facts.finish.truncated {
        Outcome::Truncated
    } else {
        Outcome::Ok
    };
    fill.whole(gw, &whole, &exchange.record);
    let cost = exchange.cost_so_far();
    let body = wire::spoken(exchange.record.endpoint).insert_cost(whole.body, &whole.facts, cost);
    let mut headers = common_headers(&exchange);
    note_translation(&mut headers, &mut exchange.record, &whole.notes);
    put(&mut headers, COST, &cost.to_string());
    rate_headers(gw, active, &caller, &mut headers);
    headers.insert(CONTENT_TYPE, JSON);
    if let Some(memo) = memo {
        store_header(&mut headers, &memo);
        let origin = remembered::origin_of(&active.snapshot, &exchange.record);
        memo.keep(body.clone(), &origin);
    }
    exchange.close_soon(outcome, StatusCode::OK.as_u16());
    response(StatusCode::OK, headers, ReplyBody::Whole(body))
}

struct StreamInput {
    stream: StreamReply,
    call: Call,
    deadline: Instant,
    served: Served,
}

fn stream_response(
    gw: &Arc<Gateway>,
    active: &Active,
    input: StreamInput,
    mut exchange: Exchange,
) -> Response<ReplyBody> {
    let mut headers = common_headers(&exchange);
    note_translation(&mut headers, &mut exchange.record, &input.stream.notes);
    let Served { caller, fill, memo } = input.served;
    rate_headers(gw, active, &caller, &mut headers);
    event_headers(&mut headers);
    let record_events = fill.stream(gw, &exchange.record);
    let rewrite = memo.map(|memo| {
        store_header(&mut headers, &memo);
        memo.rewrite(remembered::origin_of(&active.snapshot, &exchange.record))
    });
    let body = StreamBody::new(StreamParts {
        dialect: wire::spoken(input.call.endpoint),
        exchange,
        first: input.stream.first,
        framer: input.stream.framer,
        source: input.stream.body,
        include_usage: input.call.stream.include_usage,
        choices: input.call.choices,
        timeouts: StreamTimeouts {
            idle: active.snapshot.resilience.timeouts.idle,
            deadline: input.deadline,
        },
        abort: gw.abort_streams.clone().cancelled_owned(),
        drains: gw.drains.clone(),
        record_events,
        rewrite,
    });
    response(
        StatusCode::OK,
        headers,
        ReplyBody::Stream(Box::new(Gathering::new(body))),
    )
}

fn canned_response(
    gw: &Gateway,
    active: &Active,
    canned: CannedAnswer,
    exchange: Exchange,
) -> Response<ReplyBody> {
    let mut headers = common_headers(&exchange);
    // What failed attempts cost before a rule or a stale answer stood in is still this request's.
    put(&mut headers, COST, &exchange.cost_so_far().to_string());
    rate_headers(gw, active, &canned.caller, &mut headers);
    if let Some(age) = canned.age_seconds {
        headers.insert(http::header::AGE, HeaderValue::from(age));
    }
    if canned.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if canned.events {
        event_headers(&mut headers);
    } else {
        headers.insert(CONTENT_TYPE, JSON);
    }
    let body = match canned.memo {
        None => canned.body,
        Some(memo) => {
            store_header(&mut headers, &memo);
            let origin = remembered::origin_of(&active.snapshot, &exchange.record);
            memo.on_canned(canned.body, canned.events, &origin)
        }
    };
    exchange.close(Outcome::Ok, StatusCode::OK.as_u16());
    response(StatusCode::OK, headers, ReplyBody::Whole(body))
}

/// An error that ends a model request.
pub(super) fn failure(error: &ProxyError, exchange: Exchange) -> Response<ReplyBody> {
    let mut headers = common_headers(&exchange);
    if !exchange.record.attempts.is_empty() {
        put(&mut headers, COST, &exchange.cost_so_far().to_string());
    }
    let dialect = wire::spoken(exchange.record.endpoint);
    exchange.close_with(error);
    error_response(dialect, error, headers)
}

/// What a client gets whose request met a fault of ours.
pub fn on_panic() -> Response<ReplyBody> {
    let error = ProxyError::new(
        ErrorKind::Internal,
        "a fault in the proxy; the request can be sent again",
    );
    refusal(Endpoint::ChatCompletions, &error, &RequestId::generate())
}

/// A path or method that is not served; a 405 says which method is (RFC 9110 §15.5.6).
pub(super) fn misdirected(
    error: &ProxyError,
    path: &str,
    request_id: &RequestId,
) -> Response<ReplyBody> {
    let mut response = refusal(ingress::speaks(path), error, request_id);
    if let (ErrorKind::MethodNotAllowed, Some(allow)) = (error.kind, ingress::allow(path)) {
        response
            .headers_mut()
            .insert(http::header::ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// An error outside a model request, as a client of `endpoint` reads it.
pub(super) fn refusal(
    endpoint: Endpoint,
    error: &ProxyError,
    request_id: &RequestId,
) -> Response<ReplyBody> {
    let mut headers = HeaderMap::new();
    put_id(&mut headers, endpoint, request_id);
    error_response(wire::spoken(endpoint), error, headers)
}

/// `retry-after` where nobody knows when trying again will help: the least that the header can say.
const UNKNOWN_WAIT: Duration = Duration::from_secs(1);

/// Every 429 has `retry-after`. Where waiting alone will not help (the request may cost more than the
/// whole budget, or than its own cap) a day: by then somebody may have raised the limit.
const NO_USE_WAITING: Duration = Duration::from_hours(24);

fn error_response(
    dialect: &dyn Dialect,
    error: &ProxyError,
    mut headers: HeaderMap,
) -> Response<ReplyBody> {
    let row = error.presentation();
    let should_retry = error.should_retry.unwrap_or(row.retryable);
    // Whoever is told to come back is told when.
    let soon = should_retry.then_some(UNKNOWN_WAIT);
    let refused = (row.status == StatusCode::TOO_MANY_REQUESTS).then_some(NO_USE_WAITING);
    if let Some(after) = error.retry_after.or(soon).or(refused) {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    headers.insert(
        SHOULD_RETRY,
        HeaderValue::from_static(if should_retry { "true" } else { "false" }),
    );
    headers.insert(CONTENT_TYPE, JSON);
    let (status, body) = match &error.upstream {
        Some(refusal) => (refusal.status, refusal.body.clone()),
        None => (row.status, dialect.encode_error(error)),
    };
    response(status, headers, ReplyBody::Whole(body))
}

/// A JSON answer outside a model request.
pub(super) fn json(status: StatusCode, body: Bytes, request_id: &RequestId) -> Response<ReplyBody> {
    let mut headers = HeaderMap::new();
    put(&mut headers, REQUEST_ID, request_id.as_str());
    headers.insert(CONTENT_TYPE, JSON);
    response(status, headers, ReplyBody::Whole(body))
}

/// Events outside a model request, all of them there.
pub(super) fn events(body: Bytes, request_id: &RequestId) -> Response<ReplyBody> {
    let mut headers = HeaderMap::new();
    put(&mut headers, REQUEST_ID, request_id.as_str());
    event_headers(&mut headers);
    response(StatusCode::OK, headers, ReplyBody::Whole(body))
}

fn response(status: StatusCode, headers: HeaderMap, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Anthropic's name for it, which its SDKs read.
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const MODEL: HeaderName = HeaderName::from_static("x-tollgate-model");
const PROVIDER: HeaderName = HeaderName::from_static("x-tollgate-provider");
const TASK: HeaderName = HeaderName::from_static("x-tollgate-task");
const LEVEL: HeaderName = HeaderName::from_static("x-tollgate-level");
const COMPLEXITY: HeaderName = HeaderName::from_static("x-tollgate-complexity");
const REASON: HeaderName = HeaderName::from_static("x-tollgate-reason");
const CACHE: HeaderName = HeaderName::from_static("x-tollgate-cache");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-tollgate-attempts");
const COST: HeaderName = HeaderName::from_static("x-tollgate-cost-usd");
const OVERHEAD: HeaderName = HeaderName::from_static("x-tollgate-overhead-us");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const STORE: HeaderName = HeaderName::from_static("x-tollgate-store");
const TRANSLATION: HeaderName = HeaderName::from_static("x-tollgate-translation");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The headers that say which model answered and why.
fn common_headers(exchange: &Exchange) -> HeaderMap {
    let record = &exchange.record;
    let mut headers = HeaderMap::with_capacity(24);
    put_id(&mut headers, record.endpoint, &record.request_id);
    if let Some(features) = &record.features {
        put(&mut headers, TASK, record.task.as_str());
        put(&mut headers, LEVEL, record.level.as_str());
        put(
            &mut headers,
            COMPLEXITY,
            &format!("{:.3}", features.complexity),
        );
        put(&mut headers, CACHE, record.cache.as_str());
    } else if record.provider.is_none() {
        return headers;
    }
    if let Some(model) = &record.model {
        put(&mut headers, MODEL, model.as_str());
    }
    if let Some(provider) = &record.provider {
        put(&mut headers, PROVIDER, provider.as_str());
    }
    if let Some(reason) = record.reason {
        headers.insert(REASON, HeaderValue::from_static(reason.as_str()));
    }
    let mut digits = itoa::Buffer::new();
    put(&mut headers, ATTEMPTS, digits.format(exchange.attempts()));
    if record.overhead_us > 0 {
        put(&mut headers, OVERHEAD, digits.format(record.overhead_us));
    }
    headers
}

/// That a response should be kept and is not.
fn store_header(headers: &mut HeaderMap, memo: &Memo) {
    if let Some(value) = memo.header() {
        headers.insert(STORE, value);
    }
}

/// What the upstream's dialect could not say, member by member: for the client, and with the decision
/// for whoever looks at the record later.
fn note_translation(headers: &mut HeaderMap, record: &mut RequestRecord, notes: &Notes) {
    if notes.is_empty() {
        return;
    }
    let text = translation_text(notes);
    put(headers, TRANSLATION, &text);
    let decision = record.decision.as_ref().map(|decision| decision.get());
    let members = decision.and_then(|decision| decision.strip_suffix('}'));
    let Some(members) = members else {
        return;
    };
    let text = serde_json::Value::from(text);
    let more = format!("{members},\"translation\":{text}}}");
    if let Ok(decision) = RawValue::from_string(more) {
        record.decision = Some(decision);
    }
}

/// Names of members come from the client: what a header cannot carry is shown as `?`, and what is too
/// much for one ends with an ellipsis, so that nothing is dropped unseen.
fn translation_text(notes: &Notes) -> String {
    const MAX_BYTES: usize = 1024;
    let mut text = String::new();
    for note in notes.iter() {
        if !text.is_empty() {
            text.push_str("; ");
        }
        let visible = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
        text.extend(note.field.chars().take(MAX_BYTES).map(visible));
        text.push_str(": ");
        text.extend(note.what.chars().map(visible));
        if text.len() > MAX_BYTES {
            text.truncate(MAX_BYTES);
            text.push_str("...");
            break;
        }
    }
    text
}

fn rate_headers(gw: &Gateway, active: &Active, caller: &Caller, headers: &mut HeaderMap) {
    limits::write_headers(
        headers,
        &limits::standing(&gw.limiters, &active.snapshot, caller),
    );
}

/// The headers of an answer that is passed through, but for what its body is.
pub(super) fn relay_headers(
    gw: &Gateway,
    active: &Active,
    caller: &Caller,
    exchange: &Exchange,
) -> HeaderMap {
    let mut headers = common_headers(exchange);
    rate_headers(gw, active, caller, &mut headers);
    headers
}

/// What the request cost.
pub(super) fn put_cost(headers: &mut HeaderMap, exchange: &Exchange) {
    put(headers, COST, &exchange.cost_so_far().to_string());
}

/// An answer that is passed through.
pub(super) fn relayed(
    status: StatusCode,
    headers: HeaderMap,
    body: ReplyBody,
) -> Response<ReplyBody> {
    response(status, headers, body)
}

fn event_headers(headers: &mut HeaderMap) {
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx in front of us must not collect events.
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
}

/// The request's id, also by the name that the endpoint's clients know.
fn put_id(headers: &mut HeaderMap, endpoint: Endpoint, request_id: &RequestId) {
    put(headers, REQUEST_ID, request_id.as_str());
    if endpoint == Endpoint::Messages {
        put(headers, ANTHROPIC_REQUEST_ID, request_id.as_str());
    }
}

/// Names come from the configuration and may hold what a header cannot; such a header is left out.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The record of a request of which nothing is known yet.
pub(super) fn blank_record(
    gw: &Gateway,
    active: &Active,
    endpoint: Endpoint,
    request_id: RequestId,
) -> RequestRecord {
    RequestRecord {
        request_id,
        started_at_ms: gw.clock.unix_ms(),
        config_version: active.snapshot.version.clone(),
        key: None,
        team: TeamId::from("none"),
        app: AppId::from("none"),
        end_user: None,
        tags: Vec::new(),
        endpoint,
        asked_model: String::new(),
        stream: false,
        task: TaskName::from("other"),
        level: LevelName::from("none"),
        row: None,
        model: None,
        provider: None,
        reason: None,
        propensity: None,
        cache: CacheOutcome::Bypass,
        fingerprint: None,
        trace_id: None,
        conversation: None,
        outcome: Outcome::Cancelled,
        status: 0,
        error_code: None,
        cost: PicoUsd::ZERO,
        estimated_cost: PicoUsd::ZERO,
        baseline_cost: None,
        latency_us: 0,
        overhead_us: 0,
        ttft_us: None,
        features: None,
        decision: None,
        attempts: Vec::new(),
    }
}

/// Who asks.
pub(super) fn attribute(record: &mut RequestRecord, caller: &Caller) {
    record.key.clone_from(&caller.key);
    record.team = caller.team.clone();
    record.app = caller.app.clone();
}

/// What is asked.
pub(super) fn describe(record: &mut RequestRecord, call: &Call) {
    record.asked_model.clone_from(&call.model);
    record.stream = call.stream.wanted;
    record.end_user.clone_from(&call.end_user);
    record.trace_id = call.directives.trace_id().map(Box::from);
    record.tags = call
        .directives
        .tags
        .iter()
        .chain(&call.metadata)
        .cloned()
        .collect();
}

/// What the classifier found.
pub(super) fn classified(
    record: &mut RequestRecord,
    call: &Call,
    features: &Arc<Features>,
    cell: &Cell,
) {
    record.task = classify::task_of(call, features);
    record.level = cell.level.clone();
    record.features = Some(Arc::clone(features));
}

/// Says that another model than the plan's first answered.
pub(super) fn note_fallback(record: &mut RequestRecord, first: Option<&Candidate>) {
    if record.model.as_ref() != first.map(|candidate| &candidate.model) {
        record.reason = Some(Reason::Fallback);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_named_whatever_its_name() {
        let mut notes = Notes::default();
        notes.dropped("logit_bias");
        notes.dropped("ñ\n");
        assert_eq!(translation_text(&notes), "logit_bias: dropped; ??: dropped");
        notes.dropped("x".repeat(9000));
        let text = translation_text(&notes);
        assert!(text.len() == 1027 && text.ends_with("..."));
        assert!(HeaderValue::from_str(&text).is_ok());
    }
}
