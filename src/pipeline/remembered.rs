//! Responses that are kept: what a request goes on from, what its answer says of that, and what of it is
//! kept.
//!
//! A request that goes on from a kept response becomes one that holds the whole conversation, before
//! anything looks at it: classifier, caches, limits and upstreams of any dialect see the same as if the
//! client had sent it. Answers get an id of ours, whoever gave them; upstreams store nothing.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::HeaderValue;

use crate::config::Snapshot;
use crate::error::{ErrorKind, ProxyError};
use crate::gateway::Gateway;
use crate::stores::{KeptResponse, ShelfError};
use crate::types::{Call, Caller, Endpoint, RequestRecord};
use crate::upstream::WholeReply;
use crate::wire;
use crate::wire::dialect::openai_responses::state::{self, Stamp, Wishes};
use crate::wire::framing::sse::{DEFAULT_MAX_EVENT_BYTES, SseFramer};

/// What the answer of one request says of itself, and where it is kept.
pub(super) struct Memo {
    stamp: Stamp,
    tenant: Box<str>,
    /// The conversation up to the answer.
    input: Bytes,
    /// It should be kept and cannot.
    is_lost: bool,
    gw: Arc<Gateway>,
}

/// Whose responses a caller finds: those of its team and key, as in the caches.
pub(super) fn tenant_of(caller: &Caller) -> Box<str> {
    let key = caller.key.as_ref().map_or("", |key| key.as_str());
    let team = caller.team.as_str();
    format!("{}:{team}:{key}", team.len()).into()
}

/// Puts what a request goes on from into it.
///
/// # Errors
/// When there is no such response for this caller, or the store cannot be read.
pub(super) async fn recall(
    gw: &Arc<Gateway>,
    caller: &Caller,
    call: Call,
    request_id: &str,
) -> Result<(Call, Option<Box<Memo>>), ProxyError> {
    if call.endpoint != Endpoint::Responses {
        return Ok((call, None));
    }
    let wishes = Wishes::of(&call);
    let tenant = tenant_of(caller);
    let shelf = Shelf {
        gw,
        tenant: &tenant,
    };
    let mut items = state::items_of(&call);
    let named = state::references(&items);
    let is_changed = !named.is_empty() || wishes.previous.is_some();
    if !named.is_empty() {
        items = shelf.resolved(&items, named).await?;
    }
    if let Some(id) = &wishes.previous {
        let earlier = shelf.previous(id).await?;
        items = state::joined(&conversation(&earlier), &items);
    }
    let is_asked = wishes.store && !call.directives.cache.no_store;
    let has_room = gw.responses.as_ref().is_some_and(|it| it.has_room());
    let memo = Box::new(Memo {
        stamp: Stamp {
            id: id_of(request_id),
            store: is_asked && has_room,
            previous: wishes.previous,
        },
        tenant,
        input: Bytes::from(items.clone()),
        is_lost: is_asked && gw.responses.is_some() && !has_room,
        gw: Arc::clone(gw),
    });
    if memo.is_lost {
        gw.metrics.response_kept("refused");
    }
    if !is_changed {
        return Ok((call, Some(memo)));
    }
    let body = state::with_input(&call, items);
    let call = wire::decode(call.endpoint, body, call.directives)?;
    Ok((call, Some(memo)))
}

/// A response's id: the request's, so that either leads to the other.
fn id_of(request_id: &str) -> String {
    let bare = request_id.trim_start_matches("req_");
    let ours = bare.chars().filter(char::is_ascii_alphanumeric);
    format!("resp_{}", ours.collect::<String>())
}

/// All that was said up to the end of a kept response.
fn conversation(kept: &KeptResponse) -> String {
    let made = state::carried(&text(&kept.response), &kept.origin);
    state::joined(&text(&kept.input), &made)
}

fn text(json: &Bytes) -> String {
    String::from_utf8_lossy(json).into_owned()
}

/// The responses that one caller finds.
pub(super) struct Shelf<'a> {
    pub gw: &'a Gateway,
    pub tenant: &'a str,
}

impl Shelf<'_> {
    /// The response of this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find(&self, id: &str) -> Result<Option<Arc<KeptResponse>>, ProxyError> {
        let Some(responses) = &self.gw.responses else {
            return Ok(None);
        };
        let found = responses.find(self.tenant, id, self.gw.clock.unix_ms());
        found.await.map_err(|error| unreadable(&error))
    }

    async fn previous(&self, id: &str) -> Result<Arc<KeptResponse>, ProxyError> {
        let found = self.find(id).await?;
        found.ok_or_else(|| {
            let message = if self.gw.responses.is_some() {
                format!("there is no response `{id}` of this key: it was not stored, was deleted, or is too old")
            } else {
                "responses are not stored here (`state.responses.store`); send the whole conversation as `input`".to_owned()
            };
            let mut error = ProxyError::new(ErrorKind::PreviousResponseNotFound, message);
            error.param = Some("previous_response_id".to_owned());
            error
        })
    }

    /// `items` with those in the place of references that kept responses added.
    async fn resolved(&self, items: &str, named: Vec<String>) -> Result<String, ProxyError> {
        let Some(responses) = &self.gw.responses else {
            return Ok(items.to_owned());
        };
        let now_ms = self.gw.clock.unix_ms();
        let mut known: HashMap<String, String> = HashMap::new();
        for id in named {
            if known.contains_key(&id) {
                continue;
            }
            let holder = responses.holder_of(self.tenant, &id, now_ms).await;
            if let Some(kept) = holder.map_err(|error| unreadable(&error))? {
                known.extend(state::named_items(&text(&kept.response), &kept.origin));
            }
        }
        Ok(state::resolved(items, |id| known.get(id).cloned()))
    }
}

/// The store cannot be read or written: trying again may help.
pub(super) fn unreadable(error: &ShelfError) -> ProxyError {
    tracing::warn!(%error, "a kept response was asked for");
    ProxyError::new(
        ErrorKind::Overloaded,
        "the store of responses does not answer",
    )
}

impl Memo {
    /// What the response's headers say where it should be kept and is not.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.is_lost
            .then_some(HeaderValue::from_static("unavailable"))
    }

    /// A whole answer under its id here.
    pub(super) fn on_whole(&self, mut whole: WholeReply) -> WholeReply {
        let Some(body) = self.stamped(&whole.body) else {
            return whole;
        };
        let codec = wire::spoken(Endpoint::Responses);
        if let Ok(mut facts) = codec.inspect_response(Endpoint::Responses, &body) {
            // The upstream's own counts stay.
            if let (Some(report), Some(earlier)) = (&mut facts.usage, whole.facts.usage) {
                report.tokens = earlier.tokens;
            }
            whole.facts = facts;
            whole.body = body;
        }
        whole
    }

    fn stamped(&self, body: &Bytes) -> Option<Bytes> {
        let stamped = self.stamp.on_whole(std::str::from_utf8(body).ok()?);
        stamped.map(Bytes::from)
    }

    /// An answer that no upstream gave just now, under its id here; kept.
    pub(super) fn on_canned(self, body: Bytes, is_stream: bool, origin: &str) -> Bytes {
        if !is_stream {
            let stamped = self.stamped(&body).unwrap_or(body);
            self.keep(stamped.clone(), origin);
            return stamped;
        }
        let mut framer = SseFramer::new(DEFAULT_MAX_EVENT_BYTES);
        if framer.push(body.clone()).is_err() {
            return body;
        }
        let mut rewrite = self.rewrite(origin.into());
        let mut stamped = BytesMut::with_capacity(body.len() + 256);
        while let Some(event) = framer.next_event().or_else(|| framer.finish()) {
            stamped.extend_from_slice(&rewrite(event.raw));
        }
        stamped.freeze()
    }

    /// What puts a stream's events under its id here, and keeps the response when it is complete, before
    /// its last event leaves.
    pub(super) fn rewrite(self, origin: Box<str>) -> Box<dyn FnMut(Bytes) -> Bytes + Send> {
        let mut memo = Some(self);
        Box::new(move |event| {
            let Some(open) = &memo else {
                return event;
            };
            let stamped = open.stamp.on_event(event);
            if let Some(last) = stamped.last
                && let Some(memo) = memo.take()
            {
                memo.keep(Bytes::from(last), &origin);
            }
            stamped.event
        })
    }

    /// Keeps a response that is complete, if it is to be kept.
    pub(super) fn keep(self, response: Bytes, origin: &str) {
        let Some(responses) = self.gw.responses.as_ref().filter(|_| self.stamp.store) else {
            return;
        };
        let items = state::named_items(&text(&response), origin);
        let kept = responses.keep(KeptResponse {
            tenant: self.tenant,
            id: self.stamp.id.into(),
            created_ms: self.gw.clock.unix_ms(),
            origin: origin.into(),
            response,
            input: self.input,
            items: items.into_iter().map(|(id, _)| id).collect(),
        });
        if let Err(error) = &kept {
            tracing::error!(%error, "a response is not kept");
        }
        let result = if kept.is_ok() { "kept" } else { "refused" };
        self.gw.metrics.response_kept(result);
    }
}

/// Who answered, as it is kept: `dialect@provider`.
pub(super) fn origin_of(snapshot: &Snapshot, record: &RequestRecord) -> Box<str> {
    let provider = record.provider.as_ref();
    let known = provider.and_then(|id| snapshot.providers.iter().find(|it| it.id == *id));
    match known {
        Some(provider) => format!("{}@{}", provider.dialect, provider.id.as_str()).into(),
        None => "tollgate".into(),
    }
}
