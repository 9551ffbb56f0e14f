//! A whole answer as a stream: per choice its role, all it says, and its end; then the usage, if
//! asked for, and the end marker.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Members, ObjectWriter, array_of, members};
use crate::types::Endpoint;
use crate::wire::dialect::openai_chat::stream::{chunk_object, done_event, event_of};

/// A `chat.completion` or `text_completion` as the stream that would have brought it. `None` when
/// the body is neither.
#[must_use]
pub fn whole_to_stream(body: &Bytes, include_usage: bool) -> Option<Bytes> {
    let whole = members(body)?;
    let choices: Vec<Members<'_>> = parsed(whole.get("choices")?)?;
    let legacy = choices.first()?.contains_key("text");
    let endpoint = if legacy {
        Endpoint::Completions
    } else {
        Endpoint::ChatCompletions
    };
    let mut stream = StreamWriter {
        head: head(&whole, endpoint),
        include_usage,
        events: Vec::with_capacity(body.len() + 1024),
    };
    for (position, choice) in choices.iter().enumerate() {
        if legacy {
            stream.chunk(&legacy_choice(choice, position));
        } else {
            stream.chat_choice(choice, position)?;
        }
    }
    if let (true, Some(usage)) = (include_usage, whole.get("usage")) {
        stream.usage(usage.get().as_bytes());
    }
    stream.events.extend_from_slice(&done_event());
    Some(Bytes::from(stream.events))
}

fn parsed<'a, T: serde::Deserialize<'a>>(raw: &&'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// The members that every chunk repeats, without the closing brace.
fn head(whole: &Members<'_>, endpoint: Endpoint) -> Vec<u8> {
    let mut head = ObjectWriter::new();
    for (name, value) in whole {
        match name.as_str() {
            "choices" | "usage" => {}
            "object" => {
                let object = format!("\"{}\"", chunk_object(endpoint));
                head.member("object", object.as_bytes());
            }
            name => {
                head.member(name, value.get().as_bytes());
            }
        }
    }
    head.json
}

struct StreamWriter {
    head: Vec<u8>,
    include_usage: bool,
    events: Vec<u8>,
}

impl StreamWriter {
    fn chunk(&mut self, choice: &[u8]) {
        // With `include_usage`, OpenAI writes a null usage into every chunk but the last.
        let usage = self.include_usage.then_some(b"null".as_slice());
        self.write(&array_of([choice]), usage);
    }

    fn usage(&mut self, usage: &[u8]) {
        self.write(b"[]", Some(usage));
    }

    fn write(&mut self, choices: &[u8], usage: Option<&[u8]>) {
        let mut chunk = ObjectWriter {
            json: self.head.clone(),
        };
        chunk.member("choices", choices);
        if let Some(usage) = usage {
            chunk.member("usage", usage);
        }
        self.events.extend_from_slice(&event_of(&chunk.finish()));
    }

    fn chat_choice(&mut self, choice: &Members<'_>, position: usize) -> Option<()> {
        let message: Members<'_> = parsed(choice.get("message")?)?;
        let index = index_of(choice, position);
        let mut opening = ObjectWriter::new();
        let role = message
            .get("role")
            .map_or("\"assistant\"", |role| role.get());
        opening
            .member("role", role.as_bytes())
            .member("content", b"\"\"");
        self.chunk(&chat_chunk(&index, &opening.finish(), b"null", b"null"));

        let said = said(&message)?;
        let logprobs = raw_or_null(choice, "logprobs");
        if !said.is_empty() || logprobs != b"null" {
            self.chunk(&chat_chunk(&index, &said.finish(), logprobs, b"null"));
        }
        let reason = match raw_or_null(choice, "finish_reason") {
            b"null" => b"\"stop\"",
            reason => reason,
        };
        self.chunk(&chat_chunk(&index, b"{}", b"null", reason));
        Some(())
    }
}

/// Everything of a message but its role and what is null.
fn said(message: &Members<'_>) -> Option<ObjectWriter> {
    let mut said = ObjectWriter::new();
    for (name, value) in message {
        match (name.as_str(), value.get()) {
            ("role", _) | (_, "null") => {}
            ("tool_calls", _) => {
                let calls: Vec<Members<'_>> = parsed(value)?;
                let calls = calls.iter().enumerate().map(|(index, call)| {
                    let mut indexed = ObjectWriter::new();
                    indexed.member("index", index.to_string().as_bytes());
                    for (name, value) in call.iter().filter(|(name, _)| *name != "index") {
                        indexed.member(name, value.get().as_bytes());
                    }
                    indexed.finish()
                });
                said.member("tool_calls", &array_of(calls));
            }
            (name, value) => {
                said.member(name, value.as_bytes());
            }
        }
    }
    Some(said)
}

fn chat_chunk(index: &[u8], delta: &[u8], logprobs: &[u8], finish_reason: &[u8]) -> Vec<u8> {
    let mut choice = ObjectWriter::new();
    choice
        .member("index", index)
        .member("delta", delta)
        .member("logprobs", logprobs)
        .member("finish_reason", finish_reason);
    choice.finish()
}

fn legacy_choice(choice: &Members<'_>, position: usize) -> Vec<u8> {
    let mut chunk = ObjectWriter::new();
    chunk.member("index", &index_of(choice, position));
    for (name, value) in choice.iter().filter(|(name, _)| *name != "index") {
        chunk.member(name, value.get().as_bytes());
    }
    chunk.finish()
}

fn index_of(choice: &Members<'_>, position: usize) -> Vec<u8> {
    match choice.get("index") {
        Some(index) => index.get().as_bytes().to_vec(),
        None => position.to_string().into_bytes(),
    }
}

fn raw_or_null<'a>(choice: &Members<'a>, name: &str) -> &'a [u8] {
    choice
        .get(name)
        .map_or(b"null", |value| value.get().as_bytes())
}
