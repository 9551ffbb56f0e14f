//! The fixtures: every request and answer comes back as it was, every stream reads the same however its
//! bytes are cut and says what the whole answer beside it says, and what all of them mean is on record.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tests::{asked, events_of, write, written};
use super::{AnthropicMessages, NAME};
use crate::types::Endpoint;
use crate::types::chat::{ChatEvent, Delta};
use crate::wire::translate::Translate;
use crate::wire::whole;

const CODEC: AnthropicMessages = AnthropicMessages;

fn cases(file: &str) -> Vec<(String, PathBuf)> {
    let root = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/anthropic_messages"
    ));
    let mut found: Vec<_> = fs::read_dir(root)
        .expect("the fixtures")
        .map(|entry| entry.expect("a case").path())
        .filter(|case| case.join(file).exists())
        .map(|case| {
            let name = case
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, case.join(file))
        })
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn snapshot(name: &str, value: &impl std::fmt::Debug) {
    insta::with_settings!({
        prepend_module_to_snapshot => false,
        snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/anthropic_messages/neutral"),
        omit_expression => true,
    }, {
        insta::assert_debug_snapshot!(name, value);
    });
}

#[test]
fn requests_come_back_as_they_were() {
    for (name, path) in cases("request.json") {
        let text = fs::read_to_string(path).expect("a request");
        let request = CODEC
            .read_request(Endpoint::Messages, &text)
            .expect("a request");
        snapshot(&format!("{name}.request"), &request);
        let (mut back, notes) = write(&request, "claude-test").expect("its own request");
        assert!(notes.is_empty(), "{name}: {notes:?}");
        let expect: Value = serde_json::from_str(&text).expect("JSON");
        if request.stream {
            back["stream"] = Value::Bool(true);
        }
        assert_eq!(back, expect, "{name}");
    }
}

#[test]
fn answers_come_back_as_they_were() {
    for (name, path) in cases("response.json") {
        let text = fs::read_to_string(path).expect("an answer");
        let answer = CODEC.read_answer(&text).expect("an answer");
        snapshot(&format!("{name}.response"), &answer);
        let body = bytes::Bytes::new();
        let back = CODEC.write_answer(&answer, &asked(&body));
        let value = |json: &[u8]| serde_json::from_slice::<Value>(json).expect("JSON");
        assert_eq!(value(&back), value(text.as_bytes()), "{name}");
    }
}

/// The events with what is said in pieces joined, and without signs of life and all usage but the last.
fn essence(events: &[ChatEvent]) -> Vec<ChatEvent> {
    let mut essence: Vec<ChatEvent> = Vec::new();
    let mut usage = None;
    for event in events {
        match (essence.last_mut(), event) {
            (_, ChatEvent::Ping) => {}
            (_, ChatEvent::Usage(tokens)) => usage = Some(*tokens),
            (
                Some(ChatEvent::BlockDelta {
                    delta: Delta::Text(said),
                    ..
                }),
                ChatEvent::BlockDelta {
                    delta: Delta::Text(more),
                    ..
                },
            )
            | (
                Some(ChatEvent::BlockDelta {
                    delta: Delta::Input(said),
                    ..
                }),
                ChatEvent::BlockDelta {
                    delta: Delta::Input(more),
                    ..
                },
            ) => said.push_str(more),
            (_, event) => essence.push(event.clone()),
        }
    }
    essence.extend(usage.map(ChatEvent::Usage));
    essence
}

#[test]
fn streams_read_the_same_however_they_are_cut_and_come_back() {
    for (name, path) in cases("stream.sse") {
        let bytes = fs::read(path).expect("a stream");
        let events = events_of(&bytes, 0);
        snapshot(&format!("{name}.stream"), &events);
        for split in 0..=bytes.len() {
            assert_eq!(events_of(&bytes, split), events, "{name} cut at {split}");
        }
        let again = events_of(&written(&events), 0);
        assert_eq!(essence(&again), essence(&events), "{name}");
    }
}

#[test]
fn streams_say_what_whole_answers_say() {
    for (name, path) in cases("response.json") {
        let mut whole = CODEC
            .read_answer(&fs::read_to_string(&path).expect("an answer"))
            .expect("an answer");
        let stream = fs::read(path.with_file_name("stream.sse")).expect("a stream");
        let streamed = whole::of_events(NAME, &events_of(&stream, 0)).expect("an answer");
        // Streams have no place for what stands beside the answer.
        whole.extra = crate::types::chat::Extra::none();
        let canonical = |answer: &crate::types::chat::ChatAnswer| {
            let body = bytes::Bytes::new();
            let json = CODEC.write_answer(answer, &asked(&body));
            serde_json::from_slice::<Value>(&json).expect("JSON")
        };
        assert_eq!(canonical(&streamed), canonical(&whole), "{name}");
    }
}

#[test]
fn errors_are_understood() {
    let check = |file: &str, message: &str, error_type: Option<&str>, enveloped: bool| {
        let path = format!(
            "{}/tests/fixtures/anthropic_messages/errors/{file}",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = fs::read_to_string(path).expect("an error");
        let report = CODEC.read_error(&text).expect(file);
        assert_eq!(report.message, message);
        assert_eq!(report.error_type.as_deref(), error_type);
        assert_eq!(report.enveloped, enveloped);
    };
    check(
        "overloaded.json",
        "Overloaded",
        Some("overloaded_error"),
        true,
    );
    check(
        "invalid.json",
        "max_tokens: Field required",
        Some("invalid_request_error"),
        true,
    );
    check(
        "vertex.json",
        "Quota exceeded",
        Some("RESOURCE_EXHAUSTED"),
        false,
    );
    check(
        "vertex_list.json",
        "No such model",
        Some("NOT_FOUND"),
        false,
    );
    check(
        "bedrock.json",
        "The security token included in the request is invalid.",
        None,
        false,
    );
    assert_eq!(CODEC.read_error("<html>"), None);
    assert_eq!(CODEC.read_error("{}"), None);
}
