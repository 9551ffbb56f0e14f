//! Reads an upstream's answer up to the commit point: the whole of it, or the first event of its
//! stream. Everything that is no proper answer becomes an [`AttemptFailure`] that says what may follow.

use std::error::Error;
use std::pin::Pin;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use crate::error::UpstreamRefusal;
use crate::runtime::retry_budget::parse_retry_after;
use crate::types::chat::Notes;
use crate::types::{AttemptFailure, Next, Outcome, Tokens, Usage};
use crate::wire;
use crate::wire::facts::{EventKind, NotADialect};
use crate::wire::framing::sse::{DEFAULT_MAX_EVENT_BYTES, SseEvent, SseFramer};

use crate::wire::json_in::{Kind, Raw};
use crate::wire::translate::Translate;

use super::relay::RelayOutbound;
use super::{EventSource, Outbound, Reply, StreamReply, WholeReply, translation};

/// Largest whole answer: images and audio come in base64.
const MAX_ANSWER_BYTES: usize = 128 << 20;
/// Largest error body that is looked at.
pub(super) const MAX_ERROR_BYTES: usize = 64 << 10;

/// The client could not reach the upstream, or the connection broke before the head came.
pub fn unreachable(error: &hyper_util::client::legacy::Error) -> AttemptFailure {
    if error.is_connect() {
        return AttemptFailure::unsent(
            Outcome::Connect,
            Next::Retry,
            format!("cannot connect: {}", root_cause(error)),
        );
    }
    let hyper = error
        .source()
        .and_then(|source| source.downcast_ref::<hyper::Error>());
    if hyper.is_some_and(hyper::Error::is_canceled) {
        // A pooled connection went away before the request was written to it.
        return AttemptFailure::unsent(
            Outcome::Connect,
            Next::Retry,
            "the pooled connection was closed",
        );
    }
    AttemptFailure::sent(
        Outcome::UpstreamError,
        Next::Retry,
        format!("the connection broke: {}", root_cause(error)),
    )
}

fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Reads a response's head and as much of its body as is needed.
pub async fn read(
    outbound: &Outbound<'_>,
    response: Response<Incoming>,
) -> Result<Reply, AttemptFailure> {
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        let body = Limited::new(body, MAX_ERROR_BYTES).collect().await;
        let body = body
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        return Err(refused(outbound, head.status, &head.headers, body));
    }
    if let Some(encoding) = head
        .headers
        .get(CONTENT_ENCODING)
        .filter(|it| it.as_bytes() != b"identity")
    {
        let message = format!("the answer is encoded as {encoding:?}, which was not asked for");
        return Err(nonsense(head.status, message));
    }
    let is_events = head
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(is_event_stream);
    if outbound.call.stream.wanted && is_events {
        return stream(outbound, EventSource::Http(body))
            .await
            .map(Reply::Stream);
    }
    let whole = whole_body(outbound, head.status, body).await?;
    if outbound.call.stream.wanted {
        whole_as_stream(outbound, &whole).map(Reply::Stream)
    } else {
        Ok(Reply::Whole(whole))
    }
}

/// True for the content types of the framings that streams come in.
fn is_event_stream(content_type: &str) -> bool {
    let content_type = content_type.trim_start().to_ascii_lowercase();
    ["text/event-stream", "application/vnd.amazon.eventstream"]
        .iter()
        .any(|framing| content_type.starts_with(framing))
}

async fn whole_body(
    outbound: &Outbound<'_>,
    status: StatusCode,
    body: Incoming,
) -> Result<WholeReply, AttemptFailure> {
    let collected = Limited::new(body, MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|error| AttemptFailure {
            status: Some(status.as_u16()),
            broke_off: true,
            ..AttemptFailure::sent(
                Outcome::UpstreamError,
                Next::Retry,
                format!("the answer broke off: {error}"),
            )
        })?;
    whole(outbound, collected.to_bytes())
}

/// Judges a whole answer of status 200.
pub fn whole(outbound: &Outbound<'_>, body: Bytes) -> Result<WholeReply, AttemptFailure> {
    let call = outbound.call;
    let read = match translation::between(call, outbound.provider) {
        Some(translation) => {
            if is_error(outbound, &body) {
                return Err(refused(
                    outbound,
                    StatusCode::BAD_GATEWAY,
                    &HeaderMap::new(),
                    body,
                ));
            }
            return translation
                .whole(outbound, &body, now_s(outbound))
                .map_err(|error| no_answer(&error));
        }
        None => wire::spoken(call.endpoint).inspect_response(call.endpoint, &body),
    };
    match read {
        Ok(facts) if facts.error.is_some() => Err(refused(
            outbound,
            StatusCode::BAD_GATEWAY,
            &HeaderMap::new(),
            body,
        )),
        Ok(facts) => Ok(WholeReply {
            body,
            facts,
            notes: Notes::default(),
        }),
        Err(error) => Err(no_answer(&error)),
    }
}

fn no_answer(error: &NotADialect) -> AttemptFailure {
    AttemptFailure {
        usage: error.tokens.map(reported),
        ..nonsense(StatusCode::OK, error.to_string())
    }
}

/// True for an error of the upstream's dialect.
fn is_error(outbound: &Outbound<'_>, body: &[u8]) -> bool {
    let text = std::str::from_utf8(body).unwrap_or_default();
    translation::spoken_by(outbound).read_error(text).is_some()
}

fn now_s(outbound: &Outbound<'_>) -> u64 {
    u64::try_from(outbound.unix_ms / 1000).unwrap_or(0)
}

/// What an upstream says it used, answer or not.
const fn reported(tokens: Tokens) -> Usage {
    Usage {
        tokens,
        reported: true,
    }
}

/// What an error says was used.
fn usage_in(outbound: &Outbound<'_>, body: &Bytes) -> Option<Usage> {
    if translation::between(outbound.call, outbound.provider).is_some() {
        return None;
    }
    let endpoint = outbound.call.endpoint;
    let tokens = match wire::spoken(endpoint).inspect_response(endpoint, body) {
        Ok(facts) => facts.usage?.tokens,
        Err(error) => error.tokens,
    };
    tokens.map(reported)
}

/// An upstream that answers a streamed request with a whole answer.
fn whole_as_stream(
    outbound: &Outbound<'_>,
    whole: &WholeReply,
) -> Result<StreamReply, AttemptFailure> {
    let codec = wire::spoken(outbound.call.endpoint);
    let events = codec.whole_to_stream(&whole.body, true).ok_or_else(|| {
        nonsense(
            StatusCode::OK,
            "the answer cannot be turned into events".to_owned(),
        )
    })?;
    let mut framer = SseFramer::new(DEFAULT_MAX_EVENT_BYTES);
    let pushed = framer.push(events);
    pushed.map_err(|error| nonsense(StatusCode::OK, error.to_string()))?;
    Ok(StreamReply {
        first: Vec::new(),
        framer,
        body: EventSource::Spent,
        notes: Notes::default(),
    })
}

/// Waits for the first event that carries data and makes sure that it is no error.
pub async fn stream(
    outbound: &Outbound<'_>,
    body: EventSource,
) -> Result<StreamReply, AttemptFailure> {
    let mut body = match translation::between(outbound.call, outbound.provider) {
        Some(translation) => translation.stream(outbound, body, now_s(outbound)),
        None => body,
    };
    let mut framer = SseFramer::new(DEFAULT_MAX_EVENT_BYTES);
    let mut first = Vec::new();
    loop {
        while let Some(event) = framer.next_event() {
            let carries_data = event.data().is_some_and(|data| !data.is_empty());
            if carries_data {
                if let Some(failure) = opening_failure(outbound, &event) {
                    return Err(failure);
                }
                first.push(event);
                return Ok(StreamReply {
                    first,
                    framer,
                    body,
                    notes: Notes::default(),
                });
            }
            first.push(event);
        }
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        match frame {
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    framer
                        .push(chunk)
                        .map_err(|error| nonsense(StatusCode::OK, error.to_string()))?;
                }
            }
            Some(Err(error)) => {
                let message = format!(
                    "the stream broke before its first event: {}",
                    root_cause(&error)
                );
                return Err(AttemptFailure::sent(
                    Outcome::UpstreamError,
                    Next::Retry,
                    message,
                ));
            }
            None => {
                let message = "the stream ended before its first event";
                return Err(AttemptFailure::sent(
                    Outcome::UpstreamError,
                    Next::Retry,
                    message,
                ));
            }
        }
    }
}

/// A stream that opens with an error, with its end, or with what is not of its dialect.
fn opening_failure(outbound: &Outbound<'_>, event: &SseEvent) -> Option<AttemptFailure> {
    let out_of_place = |what: &str| {
        Some(nonsense(
            StatusCode::OK,
            format!("the stream begins with {what}"),
        ))
    };
    let mut tap = wire::spoken(outbound.call.endpoint).tap();
    match tap.see(event) {
        EventKind::Error => {
            let data = event.data().unwrap_or_default();
            // A translated stream is of the client's dialect.
            let dialect = wire::dialect_of(outbound.call.endpoint).translate();
            let error = ErrorFacts::read(dialect, &data);
            let mut failure = failure_of(outbound, StatusCode::BAD_GATEWAY, &error);
            failure.usage = usage_in(outbound, &Bytes::copy_from_slice(&data));
            Some(failure)
        }
        EventKind::Done => out_of_place("its end"),
        EventKind::Malformed => out_of_place("what is not of its dialect"),
        EventKind::Content { .. }
        | EventKind::Usage { .. }
        | EventKind::Comment
        | EventKind::Other => None,
    }
}

fn nonsense(status: StatusCode, message: String) -> AttemptFailure {
    AttemptFailure {
        status: Some(status.as_u16()),
        ..AttemptFailure::sent(Outcome::UpstreamError, Next::Fallback, message)
    }
}

/// An answer that is an error: what kind, and what may follow.
pub fn refused(
    outbound: &Outbound<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    body: Bytes,
) -> AttemptFailure {
    let error = ErrorFacts::read(translation::spoken_by(outbound), &body);
    let mut failure = failure_of(outbound, status, &error);
    failure.retry_after = parse_retry_after(headers, outbound.unix_ms);
    failure.usage = usage_in(outbound, &body);
    if matches!(
        failure.outcome,
        Outcome::Invalid | Outcome::ContextLength | Outcome::ContentPolicy
    ) && error.is_object
        && status.is_client_error()
    {
        failure.refusal = words_of(outbound, status, body);
    }
    failure
}

/// What an error says, whatever it is written in.
fn failure_of(outbound: &Outbound<'_>, status: StatusCode, error: &ErrorFacts) -> AttemptFailure {
    let mut failure = kind_of(status, error);
    failure.status = Some(status.as_u16());
    tracing::debug!(
        provider = outbound.provider.id.as_str(),
        model = outbound.model.id.as_str(),
        status = status.as_u16(),
        outcome = failure.outcome.as_str(),
        "upstream refused"
    );
    failure
}

/// The upstream's own words for the client: its error object as it is, or put into the client's dialect.
fn words_of(outbound: &Outbound<'_>, status: StatusCode, body: Bytes) -> Option<UpstreamRefusal> {
    let body = match translation::between(outbound.call, outbound.provider) {
        Some(translation) => translation.refusal(outbound.call, &body)?,
        None => body,
    };
    Some(UpstreamRefusal { status, body })
}

/// An error in answer to what was passed through. What is about the client's own request goes to the
/// client as it is.
pub(super) fn refused_relay(
    head: &http::response::Parts,
    body: Bytes,
    outbound: &RelayOutbound<'_>,
) -> AttemptFailure {
    let error = ErrorFacts::read(outbound.provider.dialect.translate(), &body);
    let status = head.status;
    let mut failure = kind_of(status, &error);
    failure.status = Some(status.as_u16());
    failure.retry_after = parse_retry_after(&head.headers, outbound.unix_ms);
    let ours = matches!(status.as_u16(), 401 | 403 | 408 | 429);
    let not_found = status == StatusCode::NOT_FOUND && !outbound.not_found_is_an_answer;
    if status.is_client_error() && !ours && !not_found && error.is_object {
        failure.outcome = match failure.outcome {
            Outcome::UpstreamError => Outcome::Invalid,
            other => other,
        };
        failure.next = Next::Stop;
        failure.refusal = Some(UpstreamRefusal { status, body });
    }
    failure
}

/// What an error body says, as far as routing needs it.
#[derive(Debug, Default)]
struct ErrorFacts {
    /// The body is JSON at all: an API speaks, not something in front of it.
    is_json: bool,
    /// It is an error object of the dialect's form.
    is_object: bool,
    code: String,
    kind: String,
    message: String,
}

impl ErrorFacts {
    fn read(dialect: &dyn Translate, body: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(body) else {
            return Self::default();
        };
        let is_json = Raw::parse(text).is_ok_and(|json| json.kind() == Kind::Object);
        let Some(report) = dialect.read_error(text) else {
            return Self {
                is_json,
                ..Self::default()
            };
        };
        let lower = |text: Option<String>| text.unwrap_or_default().to_ascii_lowercase();
        Self {
            is_json: true,
            is_object: report.enveloped,
            code: lower(report.code),
            kind: lower(report.error_type),
            message: report.message.to_ascii_lowercase(),
        }
    }

    fn says_context_length(&self) -> bool {
        self.code == "context_length_exceeded"
            || self.message.contains("maximum context length")
            || self.message.contains("context window")
            || self.message.contains("prompt is too long")
            || self.message.contains("input is too long")
            || self
                .message
                .contains("exceeds the maximum number of tokens")
    }

    fn says_content_policy(&self) -> bool {
        matches!(
            self.code.as_str(),
            "content_filter" | "content_policy_violation" | "moderation_blocked"
        ) || self.kind == "content_policy_violation"
    }

    fn says_out_of_quota(&self) -> bool {
        self.code == "insufficient_quota" || self.kind == "insufficient_quota"
    }
}

fn kind_of(status: StatusCode, error: &ErrorFacts) -> AttemptFailure {
    let of = |outcome, next, message: &str| AttemptFailure::sent(outcome, next, message);
    if error.says_context_length() {
        return of(
            Outcome::ContextLength,
            Next::Fallback,
            "the prompt is too long for the model",
        );
    }
    if error.says_content_policy() {
        return of(
            Outcome::ContentPolicy,
            Next::Stop,
            "the provider's content policy refused the request",
        );
    }
    match status.as_u16() {
        429 if error.says_out_of_quota() => of(
            Outcome::RateLimited,
            Next::Fallback,
            "the provider's account is out of quota",
        ),
        429 => of(
            Outcome::RateLimited,
            Next::Retry,
            "the provider's rate limit",
        ),
        401 | 403 => of(
            Outcome::UpstreamAuth,
            Next::Fallback,
            "the provider refused our credentials",
        ),
        404 => of(
            Outcome::UpstreamError,
            Next::Fallback,
            "the provider does not know the model or the path",
        ),
        413 => of(
            Outcome::ContextLength,
            Next::Fallback,
            "the request is too large for the provider",
        ),
        408 | 409 | 425 | 500..=599 => {
            let message = format!("the provider answered {}", status.as_u16());
            of(Outcome::UpstreamError, Next::Retry, &message)
        }
        400..=499 if !error.is_json => {
            let message = format!("the provider answered {} and no error", status.as_u16());
            of(Outcome::UpstreamError, Next::Fallback, &message)
        }
        400..=499 => of(
            Outcome::Invalid,
            Next::Stop,
            "the provider refused the request",
        ),
        _ => {
            let message = format!(
                "the provider answered {}, which is no answer",
                status.as_u16()
            );
            of(Outcome::UpstreamError, Next::Fallback, &message)
        }
    }
}
