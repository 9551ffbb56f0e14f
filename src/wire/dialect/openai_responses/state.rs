//! What of a conversation is kept between requests, as text: what a request wants kept, how it goes on
//! from what was kept, and the members of a response that say so (`id`, `store`,
//! `previous_response_id`).
//!
//! A conversation is kept as the items of this dialect, since every other dialect's answer has become
//! such items by the time a client sees it. Where it is kept is not known here.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::types::chat::Seal;
use crate::types::{Call, Field};
use crate::wire::dialect::openai_chat::neutral::request_write::thinks;
use crate::wire::dialect::openai_chat::stream;
use crate::wire::framing::sse::SseEvent;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::JsonOut;
use crate::wire::json_text;
use crate::wire::splice::Splices;

/// What a request asks of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// The response is to be kept; so it is unless the request says otherwise, as at OpenAI.
    pub store: bool,
    /// The response that it goes on from.
    pub previous: Option<String>,
}

impl Wishes {
    /// What a call asks.
    #[must_use]
    pub fn of(call: &Call) -> Self {
        let value = |name| field(call, name).map(|field| call.raw_text(field.value));
        let previous = value("previous_response_id").and_then(|text| Raw::parse(text).ok());
        Self {
            store: value("store") != Some("false"),
            previous: previous.and_then(Raw::string),
        }
    }
}

/// The member of this name, however its name is escaped.
fn field<'c>(call: &'c Call, name: &str) -> Option<&'c Field> {
    let is_it = |field: &&Field| json_text::to_string_lossy(call.raw(field.name)) == name;
    call.fields.iter().find(is_it)
}

/// The items that a call's `input` holds, as a JSON array.
#[must_use]
pub fn items_of(call: &Call) -> String {
    let input = field(call, "input").map_or("[]", |field| call.raw_text(field.value));
    let Some(text) = Raw::parse(input).ok().and_then(Raw::string) else {
        return input.to_owned();
    };
    let mut json = JsonOut::with_capacity(text.len() + 96);
    json.array(|items| {
        items.object(|it| {
            it.string("type", "message");
            it.string("role", "user");
            it.array("content", |parts| {
                parts.object(|it| {
                    it.string("type", "input_text");
                    it.string("text", &text);
                });
            });
        });
    });
    json.into_string()
}

/// Two arrays as one.
#[must_use]
pub fn joined(earlier: &str, later: &str) -> String {
    let inside = |array: &str| -> String {
        let array = array.trim();
        let inside = array.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        inside.unwrap_or_default().trim().to_owned()
    };
    let (earlier, later) = (inside(earlier), inside(later));
    let comma = if earlier.is_empty() || later.is_empty() {
        ""
    } else {
        ","
    };
    format!("[{earlier}{comma}{later}]")
}

/// The ids of the items that an array names instead of holding them.
#[must_use]
pub fn references(items: &str) -> Vec<String> {
    if !items.contains("item_reference") {
        return Vec::new();
    }
    let elements = Raw::parse(items).ok().and_then(Raw::array);
    let elements = elements.unwrap_or_default().into_iter();
    elements.filter_map(|item| referred(item)).collect()
}

/// What an item refers to. OpenAI's own reference lets `type` be left out.
fn referred(item: Raw<'_>) -> Option<String> {
    let mut object = item.object()?;
    let kind = object.take_string("type");
    let bare = kind.is_none() && object.get("role").is_none();
    (bare || kind.as_deref() == Some("item_reference"))
        .then(|| object.take_string("id"))
        .flatten()
}

/// The array with every reference replaced by the item that it names; those that are not known stay,
/// and reading the request refuses them by their place.
#[must_use]
pub fn resolved(items: &str, known: impl Fn(&str) -> Option<String>) -> String {
    let elements = Raw::parse(items).ok().and_then(Raw::array);
    let Some(elements) = elements else {
        return items.to_owned();
    };
    let elements = elements.into_iter().map(|item| {
        let found = referred(item).and_then(|id| known(&id));
        found.map_or(Cow::Borrowed(item.get()), Cow::Owned)
    });
    let elements: Vec<_> = elements.collect();
    format!("[{}]", elements.join(","))
}

/// The call's body with other items in the place of its `input`.
#[must_use]
pub fn with_input(call: &Call, items: String) -> Bytes {
    let mut splices = Splices::new();
    if let Some(field) = field(call, "input") {
        splices.replace(field.value.range(), items.into_bytes());
    }
    splices.apply(&call.body)
}

/// The items that a response adds to its conversation. `origin` says who made them
/// (`dialect@provider`): thoughts are marked with it, since only their maker takes them back.
#[must_use]
pub fn carried(response: &str, origin: &str) -> String {
    let output = Object::read(response).ok();
    let output = output.and_then(|mut response| response.take("output"));
    let items = output.and_then(Raw::array).unwrap_or_default();
    let items = items.into_iter().map(|item| marked(item, origin));
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn marked<'j>(item: Raw<'j>, origin: &str) -> Cow<'j, str> {
    let thoughts = item.object().filter(|object| {
        let kind = object.get("type").and_then(Raw::string);
        kind.as_deref() == Some("reasoning")
    });
    let Some(mut object) = thoughts else {
        return Cow::Borrowed(item.get());
    };
    let sealed = object.take_any("encrypted_content").and_then(Raw::string);
    let mut sealed = Seal::read(sealed.as_deref().unwrap_or_default(), origin);
    sealed.sign(origin);
    let mut json = JsonOut::with_capacity(item.get().len() + 64);
    json.object(|it| {
        it.extra(&object.rest());
        it.string("encrypted_content", &sealed.for_client(""));
    });
    Cow::Owned(json.into_string())
}

/// The items of a response's output that have an id: id and text.
#[must_use]
pub fn named_items(response: &str, origin: &str) -> Vec<(String, String)> {
    let items = carried(response, origin);
    let items = Raw::parse(&items).ok().and_then(Raw::array);
    let items = items.unwrap_or_default().into_iter();
    items
        .filter_map(|item| Some((item.object()?.take_string("id")?, item.get().to_owned())))
        .collect()
}

/// The call for an upstream of this dialect. State is kept by this proxy and nowhere else, so nothing is
/// to be stored there; thoughts come sealed instead, from models that have any.
#[must_use]
pub fn for_upstream(call: &Call, upstream_model: &str) -> Bytes {
    let mut splices = Splices::new();
    if call.model != upstream_model {
        splices.replace(call.model_value.range(), json_text::quoted(upstream_model));
    }
    // After the last member; there is one, since `model` is required.
    let end = call.fields.last().map_or(0, |last| last.value.range().end);
    let mut added = String::new();
    match field(call, "store") {
        Some(store) if call.raw(store.value) == b"false" => {}
        Some(store) => splices.replace(store.value.range(), b"false".as_slice()),
        None => added.push_str(r#","store":false"#),
    }
    if let Some(previous) = field(call, "previous_response_id") {
        splices.replace(previous.value.range(), b"null".as_slice());
    }
    if Wishes::of(call).store && thinks(upstream_model) {
        match field(call, "include") {
            Some(include) => {
                if let Some(more) = with_seals(call.raw_text(include.value)) {
                    splices.replace(include.value.range(), more.into_bytes());
                }
            }
            None => added.push_str(r#","include":["reasoning.encrypted_content"]"#),
        }
    }
    if !added.is_empty() {
        splices.replace(end..end, added.into_bytes());
    }
    splices.apply(&call.body)
}

/// What `include` becomes where sealed thoughts are to be included; `None` when they are.
pub(super) fn with_seals(include: &str) -> Option<String> {
    const SEALS: &str = r#"["reasoning.encrypted_content"]"#;
    let words = Raw::parse(include).ok()?;
    if words.is_null() {
        return Some(SEALS.to_owned());
    }
    let words: Vec<String> = words.array()?.into_iter().map_while(Raw::string).collect();
    let has = words
        .iter()
        .any(|word| word == "reasoning.encrypted_content");
    (!has).then(|| joined(include, SEALS))
}

/// What a response says of itself as something that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its id here.
    pub id: String,
    /// Whether it is kept.
    pub store: bool,
    /// What it went on from.
    pub previous: Option<String>,
}

impl Stamp {
    /// A whole response with these members; `None` when it is none.
    #[must_use]
    pub fn on_whole(&self, response: &str) -> Option<String> {
        let object = Object::read(response).ok()?;
        let mut previous = JsonOut::default();
        match &self.previous {
            Some(id) => previous.string(id),
            None => previous.null(),
        }
        let mut id = JsonOut::default();
        id.string(&self.id);
        let members = [
            ("id", id.into_string()),
            ("store", self.store.to_string()),
            ("previous_response_id", previous.into_string()),
        ];
        let mut splices = Splices::new();
        let mut missing = String::new();
        for (name, value) in members {
            match object.iter().find(|(other, _)| *other == name) {
                Some((_, old)) => splices.replace(place(response, old.get()), value.into_bytes()),
                None => missing.extend(["\"", name, "\":", value.as_str(), ","]),
            }
        }
        if !missing.is_empty() && object.iter().next().is_some() {
            let at = response.find('{')? + 1;
            splices.replace(at..at, missing.into_bytes());
        }
        let stamped = splices.apply(&Bytes::copy_from_slice(response.as_bytes()));
        String::from_utf8(stamped.into()).ok()
    }

    /// An event with these members in the response that it shows.
    #[must_use]
    pub fn on_event(&self, event: Bytes) -> StampedEvent {
        // Only the first events and the last show the response.
        if memchr::memmem::find(&event, b"\"response\"").is_none() {
            return StampedEvent::as_it_is(event);
        }
        self.stamped(&SseEvent::new(event.clone()))
            .unwrap_or_else(|| StampedEvent::as_it_is(event))
    }

    fn stamped(&self, event: &SseEvent) -> Option<StampedEvent> {
        let data = event.data()?;
        let json = std::str::from_utf8(&data).ok()?.trim();
        let mut object = Object::read(json).ok()?;
        let response = object.take("response")?;
        let response_text = self.on_whole(response.get())?;
        let kind = object.get("type").and_then(Raw::string);
        let is_last = matches!(
            kind.as_deref(),
            Some("response.completed" | "response.incomplete")
        );
        let at = place(json, response.get());
        let mut out = Vec::with_capacity(event.raw.len() + 128);
        if let Some(name) = event.name() {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(name);
            out.push(b'\n');
        }
        let json = [&json[..at.start], &response_text, &json[at.end..]].concat();
        out.extend_from_slice(&stream::event_of(&stream::one_line(json.as_bytes())));
        Some(StampedEvent {
            event: out.into(),
            last: is_last.then_some(response_text),
        })
    }
}

/// An event of a stamped stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedEvent {
    /// The event.
    pub event: Bytes,
    /// The response that it completes.
    pub last: Option<String>,
}

impl StampedEvent {
    const fn as_it_is(event: Bytes) -> Self {
        Self { event, last: None }
    }
}

/// Where `part`, a slice of `json`, stands in it.
fn place(json: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - json.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
