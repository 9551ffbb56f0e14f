//! A recorded stream as the whole answer that it brought.

use std::collections::BTreeMap;

use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Members, ObjectWriter, array_of, members};
use crate::wire::framing::sse::SseFramer;

/// The events of one complete stream as a `chat.completion` or `text_completion`. `None` when the
/// stream did not finish, carried an error, or was not of the dialect.
#[must_use]
pub fn stream_to_whole(events: &Bytes) -> Option<Bytes> {
    let mut framer = SseFramer::new(events.len());
    framer.push(events.clone()).ok()?;
    let mut assembly = Assembly::default();
    while let Some(event) = framer.next_event().or_else(|| framer.finish()) {
        let Some(data) = event.data() else { continue };
        match data.trim_ascii() {
            b"" => {}
            b"[DONE]" => break,
            data => assembly.add(&members(data)?)?,
        }
    }
    assembly.finish()
}

/// What the chunks have brought so far.
#[derive(Default)]
struct Assembly {
    /// `id`, `created`, `model` and whatever else stands beside the choices; the first one wins.
    head: IndexMap<String, Box<RawValue>>,
    choices: BTreeMap<u64, Choice>,
    usage: Option<Box<RawValue>>,
    legacy: bool,
}

#[derive(Default)]
struct Choice {
    /// What stands in the deltas, put together.
    message: IndexMap<String, Value>,
    tool_calls: BTreeMap<u64, IndexMap<String, Value>>,
    text: String,
    /// The lists inside `logprobs`, put together.
    logprobs: IndexMap<String, Vec<Box<RawValue>>>,
    finish_reason: Option<Box<RawValue>>,
}

impl Assembly {
    fn add(&mut self, chunk: &Members<'_>) -> Option<()> {
        for (name, value) in chunk {
            match (name.as_str(), value.get()) {
                ("error" | "usage", "null") | ("object" | "obfuscation", _) => {}
                ("error", _) => return None,
                ("choices", choices) => {
                    for choice in serde_json::from_str::<Vec<Members<'_>>>(choices).ok()? {
                        self.add_choice(&choice)?;
                    }
                }
                ("usage", _) => self.usage = Some((*value).to_owned()),
                (name, _) if !self.head.contains_key(name) => {
                    self.head.insert(name.to_owned(), (*value).to_owned());
                }
                _ => {}
            }
        }
        Some(())
    }

    fn add_choice(&mut self, chunk: &Members<'_>) -> Option<()> {
        let index = chunk
            .get("index")
            .and_then(|index| index.get().parse().ok());
        let choice = self.choices.entry(index.unwrap_or(0)).or_default();
        for (name, value) in chunk {
            match (name.as_str(), value.get()) {
                (_, "null") | ("finish_reason", "\"\"") => {}
                ("delta", delta) => {
                    for (name, value) in
                        serde_json::from_str::<IndexMap<String, Value>>(delta).ok()?
                    {
                        choice.add_delta(name, value);
                    }
                }
                ("text", text) => {
                    self.legacy = true;
                    choice
                        .text
                        .push_str(&serde_json::from_str::<String>(text).ok()?);
                }
                ("logprobs", logprobs) => choice.add_logprobs(logprobs)?,
                ("finish_reason", _) => choice.finish_reason = Some((*value).to_owned()),
                _ => {}
            }
        }
        Some(())
    }

    fn finish(self) -> Option<Bytes> {
        let complete = |choice: &Choice| choice.finish_reason.is_some();
        if self.choices.is_empty() || !self.choices.values().all(complete) {
            return None;
        }
        let object: &[u8] = if self.legacy {
            b"\"text_completion\""
        } else {
            b"\"chat.completion\""
        };
        let mut whole = ObjectWriter::new();
        for (name, value) in &self.head {
            whole.member(name, value.get().as_bytes());
        }
        let legacy = self.legacy;
        let choices = self.choices.into_iter();
        let choices: Vec<Vec<u8>> = choices
            .map(|(index, choice)| choice.finish(index, legacy))
            .collect();
        whole
            .member("object", object)
            .member("choices", &array_of(choices));
        if let Some(usage) = &self.usage {
            whole.member("usage", usage.get().as_bytes());
        }
        Some(Bytes::from(whole.finish()))
    }
}

impl Choice {
    fn add_delta(&mut self, name: String, value: Value) {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("tool_calls", Value::Array(calls)) => {
                for call in calls {
                    self.add_tool_call(call);
                }
            }
            (_, value) => merge(&mut self.message, name, value),
        }
    }

    /// Pieces of a tool call belong together by index; servers that leave it out begin each call
    /// with a new id.
    fn add_tool_call(&mut self, call: Value) {
        let Value::Object(call) = call else { return };
        let last = self.tool_calls.keys().next_back().copied();
        let begins = call
            .get("id")
            .is_some_and(|id| id.as_str().is_some_and(|id| !id.is_empty()));
        let index = call
            .get("index")
            .and_then(Value::as_u64)
            .unwrap_or(match last {
                Some(last) if begins => last + 1,
                Some(last) => last,
                None => 0,
            });
        let whole = self.tool_calls.entry(index).or_default();
        for (name, value) in call {
            if name != "index" && !value.is_null() {
                merge(whole, name, value);
            }
        }
    }

    fn add_logprobs(&mut self, logprobs: &str) -> Option<()> {
        let lists: IndexMap<String, Option<Vec<Box<RawValue>>>> =
            serde_json::from_str(logprobs).ok()?;
        for (name, list) in lists {
            self.logprobs
                .entry(name)
                .or_default()
                .extend(list.unwrap_or_default());
        }
        Some(())
    }

    fn finish(self, index: u64, legacy: bool) -> Vec<u8> {
        let mut choice = ObjectWriter::new();
        choice.member("index", index.to_string().as_bytes());
        if legacy {
            choice.member("text", &to_json(&self.text));
        } else {
            choice.member("message", &to_json(&self.message()));
        }
        let logprobs = if self.logprobs.is_empty() {
            b"null".to_vec()
        } else {
            to_json(&self.logprobs)
        };
        choice.member("logprobs", &logprobs);
        let reason = self
            .finish_reason
            .as_ref()
            .map_or("null", |reason| reason.get());
        choice.member("finish_reason", reason.as_bytes());
        choice.finish()
    }

    fn message(&self) -> IndexMap<String, Value> {
        let mut message = self.message.clone();
        message
            .entry("role".to_owned())
            .or_insert_with(|| "assistant".into());
        // Beside tool calls an empty content is none.
        let content = message.entry("content".to_owned()).or_insert(Value::Null);
        if !self.tool_calls.is_empty() {
            if content.as_str() == Some("") {
                *content = Value::Null;
            }
            let calls = self.tool_calls.values();
            let calls = calls.map(|call| Value::Object(call.clone().into_iter().collect()));
            message.insert("tool_calls".to_owned(), Value::Array(calls.collect()));
        }
        message
    }
}

/// Adds a piece to what is there: names and ids stay as they came first, other texts and lists
/// grow, objects are put together member by member, anything else is replaced.
fn merge(whole: &mut IndexMap<String, Value>, name: String, piece: Value) {
    let fixed = matches!(name.as_str(), "role" | "id" | "type" | "name");
    match (whole.get_mut(&name), piece) {
        (Some(Value::String(text)), Value::String(piece)) => {
            if !fixed || text.is_empty() {
                text.push_str(&piece);
            }
        }
        (Some(Value::Array(list)), Value::Array(piece)) => list.extend(piece),
        (Some(Value::Object(object)), Value::Object(piece)) => {
            let mut merged: IndexMap<String, Value> = std::mem::take(object).into_iter().collect();
            for (name, value) in piece {
                merge(&mut merged, name, value);
            }
            object.extend(merged);
        }
        (Some(_), Value::Null) => {}
        (_, piece) => {
            whole.insert(name, piece);
        }
    }
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec())
}
