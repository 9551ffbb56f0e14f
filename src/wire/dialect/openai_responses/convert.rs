//! One form of an answer into the other, for stored answers: a response as the events that would have
//! brought it, and the response that the last event of a stream holds.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::wire::framing::sse::SseFramer;

/// The events of one complete stream as the response. `None` when the stream did not finish or failed.
pub(super) fn stream_to_whole(events: &Bytes) -> Option<Bytes> {
    let mut framer = SseFramer::new(events.len());
    framer.push(events.clone()).ok()?;
    while let Some(event) = framer.next_event().or_else(|| framer.finish()) {
        let Some(data) = event.data() else { continue };
        let Ok(event) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(&data) else {
            continue;
        };
        match event.get("type").map(|kind| kind.get().trim_matches('"')) {
            Some("response.completed" | "response.incomplete") => {
                return Some(Bytes::from(event.get("response")?.get().to_owned()));
            }
            Some("response.failed" | "error") => return None,
            _ => {}
        }
    }
    None
}

/// A response as a stream; `None` when it is none.
pub(super) fn whole_to_stream(whole: &Bytes) -> Option<Bytes> {
    let response: Value = serde_json::from_slice(whole).ok()?;
    let output = response.get("output")?.as_array()?.clone();
    let mut events = Events::default();
    let mut begun = response.clone();
    let members = begun.as_object_mut()?;
    members.insert("status".to_owned(), "in_progress".into());
    members.insert("output".to_owned(), json!([]));
    for later in ["incomplete_details", "error", "completed_at"] {
        members.insert(later.to_owned(), Value::Null);
    }
    // OpenAI's document does not let it be null.
    members.remove("usage");
    events.say("response.created", json!({ "response": begun }));
    events.say("response.in_progress", json!({ "response": begun }));
    for (index, item) in output.iter().enumerate() {
        events.item(index, item);
    }
    let incomplete = response.get("status").and_then(Value::as_str) == Some("incomplete");
    let kind = if incomplete {
        "response.incomplete"
    } else {
        "response.completed"
    };
    events.say(kind, json!({ "response": response }));
    Some(Bytes::from(events.out))
}

#[derive(Default)]
struct Events {
    out: String,
    sequence_number: u64,
}

impl Events {
    fn say(&mut self, kind: &str, mut event: Value) {
        if let Some(event) = event.as_object_mut() {
            event.insert("type".to_owned(), kind.into());
            event.insert("sequence_number".to_owned(), self.sequence_number.into());
        }
        self.sequence_number += 1;
        let event = format!("event: {kind}\ndata: {event}\n\n");
        self.out.push_str(&event);
    }

    fn item(&mut self, index: usize, item: &Value) {
        let id = item.get("id").cloned().unwrap_or_else(|| "".into());
        let place = json!({ "item_id": id, "output_index": index });
        let mut begun = item.clone();
        for (member, empty) in [
            ("status", json!("in_progress")),
            ("content", json!([])),
            ("summary", json!([])),
            ("arguments", json!("")),
            ("input", json!("")),
        ] {
            if let Some(value) = begun.get_mut(member) {
                *value = empty;
            }
        }
        let added = json!({ "output_index": index, "item": begun });
        self.say("response.output_item.added", added);
        self.parts(item, "summary", &place);
        self.parts(item, "content", &place);
        let calls = [
            (
                "function_call",
                "arguments",
                "response.function_call_arguments",
            ),
            (
                "custom_tool_call",
                "input",
                "response.custom_tool_call_input",
            ),
        ];
        for (kind, member, event) in calls {
            let input = item.get(member).and_then(Value::as_str);
            if let (Some(input), true) = (input, item["type"] == kind) {
                self.say(
                    &format!("{event}.delta"),
                    with(&place, &[("delta", input.into())]),
                );
                let mut done = with(&place, &[(member, input.into())]);
                if kind == "function_call" {
                    done["name"] = item["name"].clone();
                }
                self.say(&format!("{event}.done"), done);
            }
        }
        let done = json!({ "output_index": index, "item": item });
        self.say("response.output_item.done", done);
    }

    /// The texts of a message or of thoughts.
    fn parts(&mut self, item: &Value, member: &str, place: &Value) {
        let parts = item.get(member).and_then(Value::as_array);
        for (index, part) in parts.into_iter().flatten().enumerate() {
            let kind = part["type"].as_str().unwrap_or_default();
            let (event, text, number) = match kind {
                "output_text" => ("response.output_text", "text", "content_index"),
                "refusal" => ("response.refusal", "refusal", "content_index"),
                "reasoning_text" => ("response.reasoning_text", "text", "content_index"),
                "summary_text" => ("response.reasoning_summary_text", "text", "summary_index"),
                _ => continue,
            };
            let part_event = if kind == "summary_text" {
                "response.reasoning_summary_part"
            } else {
                "response.content_part"
            };
            let place = with(place, &[(number, index.into())]);
            let mut empty = part.clone();
            empty[text] = "".into();
            if empty.get("annotations").is_some() {
                empty["annotations"] = json!([]);
            }
            self.say(
                &format!("{part_event}.added"),
                with(&place, &[("part", empty)]),
            );
            let said = part[text].clone();
            let logprobs = part.get("logprobs").cloned().unwrap_or_else(|| json!([]));
            let mut delta = with(&place, &[("delta", said.clone())]);
            let mut done = with(&place, &[(text, said)]);
            if kind == "output_text" {
                delta["logprobs"] = logprobs.clone();
                done["logprobs"] = logprobs;
            }
            self.say(&format!("{event}.delta"), delta);
            let cited = part.get("annotations").and_then(Value::as_array);
            for (number, annotation) in cited.into_iter().flatten().enumerate() {
                let cited = [
                    ("annotation_index", number.into()),
                    ("annotation", annotation.clone()),
                ];
                self.say(
                    "response.output_text.annotation.added",
                    with(&place, &cited),
                );
            }
            self.say(&format!("{event}.done"), done);
            self.say(
                &format!("{part_event}.done"),
                with(&place, &[("part", part.clone())]),
            );
        }
    }
}

fn with(place: &Value, more: &[(&str, Value)]) -> Value {
    let mut event = place.clone();
    for (name, value) in more {
        event[*name] = value.clone();
    }
    event
}
