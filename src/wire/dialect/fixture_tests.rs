//! Every fixture under `tests/fixtures/<dialect>/<case>/`, read into the neutral form (a snapshot beside
//! the fixture) and written back as it was; streams at every split of their bytes. And what holds for
//! whatever a client or an upstream sends: a mutated document is read or refused, never a panic.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::Value;

use super::bedrock_converse::BedrockConverse;
use super::gemini_generate::GeminiGenerate;
use super::laws::check_order;
use crate::types::Endpoint;
use crate::types::chat::{ChatEvent, Notes};
use crate::wire::DialectId;
use crate::wire::framing::aws_eventstream::{EventstreamFramer, encode};
use crate::wire::framing::sse::SseFramer;
use crate::wire::json_in::Raw;
use crate::wire::translate::{Asked, Framing, Host, Target, Translate, WireEvent};

const CODECS: [&dyn Translate; 2] = [&GeminiGenerate, &BedrockConverse];

/// Files of this name below the dialect's directory, with the case's directory.
fn fixtures(codec: &dyn Translate, file: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let cases = std::fs::read_dir(root.join(codec.name())).expect("fixtures");
    let mut cases: Vec<PathBuf> = cases.map(|it| it.expect("an entry").path()).collect();
    cases.sort();
    let read = |case: PathBuf| Some((case.clone(), std::fs::read_to_string(case.join(file)).ok()?));
    let found: Vec<_> = cases.into_iter().filter_map(read).collect();
    assert!(!found.is_empty(), "no {file} of {}", codec.name());
    found
}

fn snapshot(case: &Path, name: &str, value: &impl Debug) {
    insta::with_settings!({
        snapshot_path => case,
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, format!("{value:#?}"));
    });
}

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).expect("valid JSON")
}

/// By the grammar alone: numbers may be larger than any type.
fn assert_json(text: &[u8]) {
    let text = std::str::from_utf8(text).expect("UTF-8");
    Raw::parse(text).expect("valid JSON");
}

pub(super) fn asked<'a>(body: &'a Bytes, from: &dyn Translate) -> Asked<'a> {
    Asked {
        from: from.name(),
        endpoint: Endpoint::ChatCompletions,
        body,
        include_usage: true,
        id: "req-1",
        created: 7,
    }
}

pub(super) fn target(upstream_model: &str) -> Target<'_> {
    Target {
        upstream_model,
        stream: false,
        max_output_tokens: 8192,
        ask_stream_usage: true,
        host: Host::Native,
    }
}

#[test]
fn requests_come_back_as_they_were() {
    for codec in CODECS {
        for (case, text) in fixtures(codec, "request.json") {
            let request = codec.read_request(Endpoint::ChatCompletions, &text);
            let request = request.expect("a request of the dialect");
            snapshot(&case, "request", &request);
            let mut notes = Notes::default();
            let target = target("gemini-2.5-flash");
            let back = codec.write_request(&request, &target, &mut notes);
            let back = json(&back.expect("its own request"));
            assert_eq!(back, json(text.as_bytes()), "{}", case.display());
            assert!(notes.is_empty(), "{notes:?}");
        }
    }
}

#[test]
fn answers_come_back_as_they_were() {
    for codec in CODECS {
        for (case, text) in fixtures(codec, "response.json") {
            let answer = codec.read_answer(&text).expect("an answer of the dialect");
            snapshot(&case, "response", &answer);
            let none = Bytes::new();
            let back = json(&codec.write_answer(&answer, &asked(&none, codec)));
            assert_eq!(back, json(text.as_bytes()), "{}", case.display());
        }
    }
}

#[test]
fn errors_are_read() {
    for codec in CODECS {
        for (case, text) in fixtures(codec, "error.json") {
            let report = codec.read_error(&text).expect("an error of the dialect");
            snapshot(&case, "error", &report);
            assert!(codec.read_answer(&text).is_err(), "an error is no answer");
        }
    }
}

/// The bytes of a stream; those in Amazon's framing are kept as lines `[name, payload]`.
fn streams(codec: &dyn Translate) -> Vec<(PathBuf, Vec<u8>)> {
    if codec.framing(Host::Native) == Framing::Sse {
        let found = fixtures(codec, "stream.sse");
        return found
            .into_iter()
            .map(|(case, it)| (case, it.into_bytes()))
            .collect();
    }
    let frame = |line: &str| {
        let (name, payload): (String, Box<serde_json::value::RawValue>) =
            serde_json::from_str(line).expect("a name and a payload");
        let kind = if name.ends_with("Exception") {
            [
                (":message-type", "exception"),
                (":exception-type", name.as_str()),
            ]
        } else {
            [(":message-type", "event"), (":event-type", name.as_str())]
        };
        encode(&kind, payload.get().as_bytes())
    };
    let found = fixtures(codec, "stream.jsonl").into_iter();
    found
        .map(|(case, text)| (case, text.lines().flat_map(frame).collect()))
        .collect()
}

/// The events of a stream that comes in two pieces.
pub(super) fn events(codec: &dyn Translate, stream: &[u8], at: usize) -> Vec<ChatEvent> {
    events_as(codec, codec.framing(Host::Native), stream, at)
}

/// The events of a stream in a framing.
pub(super) fn events_as(
    codec: &dyn Translate,
    framing: Framing,
    stream: &[u8],
    at: usize,
) -> Vec<ChatEvent> {
    let pieces = [&stream[..at], &stream[at..]].map(Bytes::copy_from_slice);
    events_in(codec, framing, &pieces)
}

/// The events of a stream that comes in these pieces.
pub(super) fn events_in(
    codec: &dyn Translate,
    framing: Framing,
    pieces: &[Bytes],
) -> Vec<ChatEvent> {
    let mut reader = codec.reader();
    let mut out = Vec::new();
    let (mut sse, mut aws) = (SseFramer::new(1 << 20), EventstreamFramer::new(1 << 20));
    for piece in pieces {
        let piece = piece.clone();
        if framing == Framing::AwsEventstream {
            aws.push(piece).expect("intact");
            while let Some(message) = aws.next_event() {
                let event = WireEvent {
                    name: message.name(),
                    data: &message.data(),
                };
                reader.read(event, &mut out).expect("of the dialect");
            }
            continue;
        }
        sse.push(piece).expect("short");
        while let Some(event) = sse.next_event() {
            let Some(data) = event.data() else { continue };
            let name = event.name().and_then(|it| std::str::from_utf8(it).ok());
            let event = WireEvent { name, data: &data };
            reader.read(event, &mut out).expect("of the dialect");
        }
    }
    reader.finish(&mut out);
    out
}

pub(super) fn written(codec: &dyn Translate, events: &[ChatEvent]) -> BytesMut {
    let none = Bytes::new();
    let mut writer = codec.writer(&asked(&none, codec));
    let mut out = BytesMut::new();
    for event in events {
        writer.write(event, &mut out);
    }
    out
}

/// The last usage counts, wherever it stands.
fn settled(events: Vec<ChatEvent>) -> (Vec<ChatEvent>, Option<ChatEvent>) {
    let (usage, rest): (Vec<_>, Vec<_>) = events
        .into_iter()
        .partition(|it| matches!(it, ChatEvent::Usage(_)));
    (rest, usage.into_iter().last())
}

#[test]
fn streams_are_the_same_at_every_split_and_come_back_as_they_were() {
    for codec in CODECS {
        for (case, stream) in streams(codec) {
            let whole = events(codec, &stream, 0);
            check_order(&whole);
            snapshot(&case, "stream", &whole);
            for at in 0..=stream.len() {
                assert_eq!(
                    events(codec, &stream, at),
                    whole,
                    "{} at {at}",
                    case.display()
                );
            }
            let back = events(codec, &written(codec, &whole), 0);
            assert_eq!(settled(back), settled(whole), "{}", case.display());
        }
    }
}

/// A document with a piece of it replaced.
fn mutated() -> impl Strategy<Value = (usize, String)> {
    let files = |index: usize| -> Vec<String> {
        let codec = CODECS[index];
        let all = ["request.json", "response.json", "error.json"];
        let files = all.iter().flat_map(|file| fixtures(codec, file));
        let files = files.map(|(_, text)| text);
        let stream = match codec.framing(Host::Native) {
            Framing::Sse => "stream.sse",
            Framing::AwsEventstream => "stream.jsonl",
        };
        let lines = fixtures(codec, stream).into_iter().flat_map(|(_, text)| {
            let line = |line: &str| {
                let payload = serde_json::from_str::<(String, Value)>(line).ok();
                payload.map_or_else(
                    || line.trim_start_matches("data: ").to_owned(),
                    |(_, payload)| payload.to_string(),
                )
            };
            text.lines().map(line).collect::<Vec<_>>()
        });
        files.chain(lines).collect()
    };
    let pieces = vec![
        "",
        "null",
        "{}",
        "[]",
        "\"\"",
        "-1",
        "1e999",
        "18446744073709551615",
        "true",
        "\"x\"",
        "\\u00",
        "\\ud800",
        "{",
        "]",
        ",",
        "\"",
        "é",
    ];
    (0..CODECS.len()).prop_flat_map(move |index| {
        let file = prop::sample::select(files(index));
        let piece = prop::sample::select(pieces.clone());
        (file, any::<prop::sample::Index>(), 0_usize..24, piece).prop_map(
            move |(mut text, at, length, piece)| {
                // Whole values are replaced more often than by chance: from a colon on.
                let colons: Vec<usize> = text.match_indices(':').map(|(at, _)| at + 1).collect();
                let from = if length % 2 == 0 && !colons.is_empty() {
                    colons[at.index(colons.len())]
                } else {
                    at.index(text.len() + 1)
                };
                let fits = |it: &usize| text.is_char_boundary(*it);
                let from = (0..=from).rev().find(fits).unwrap_or(0);
                let to = (from + length).min(text.len());
                let to = (to..=text.len()).find(fits).unwrap_or(text.len());
                text.replace_range(from..to, piece);
                (index, text)
            },
        )
    })
}

const EVENT_NAMES: [Option<&str>; 5] = [
    None,
    Some("contentBlockStart"),
    Some("contentBlockDelta"),
    Some("messageStop"),
    Some("metadata"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever was read can also be written, by every dialect, as valid JSON.
    #[test]
    fn a_mutated_document_never_panics((index, text) in mutated()) {
        let codec = CODECS[index];
        let none = Bytes::new();
        let others = || DialectId::ALL.iter().map(|it| it.translate());
        if let Ok(request) = codec.read_request(Endpoint::ChatCompletions, &text) {
            for other in others() {
                let written = other.write_request(&request, &target("m"), &mut Notes::default());
                if let Ok(written) = written {
                    assert_json(&written);
                }
            }
        }
        if let Ok(answer) = codec.read_answer(&text) {
            for other in others() {
                assert_json(&other.write_answer(&answer, &asked(&none, codec)));
            }
        }
        let _report = codec.read_error(&text);
        for name in EVENT_NAMES {
            let mut reader = codec.reader();
            let mut out = Vec::new();
            for _ in 0..2 {
                let _malformed = reader.read(WireEvent { name, data: text.as_bytes() }, &mut out);
            }
            reader.finish(&mut out);
            for other in others() {
                written(other, &out);
            }
        }
    }
}
