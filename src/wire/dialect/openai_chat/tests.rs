//! The dialect against its fixtures: requests in and out, answers, streams, errors.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::error::ErrorKind;
use crate::types::Tokens;
use crate::wire::facts::ErrorReport;
use crate::wire::framing::sse::SseFramer;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/openai_chat");

fn fixture(path: &str) -> Bytes {
    Bytes::from(std::fs::read(format!("{ROOT}/{path}")).expect(path))
}

fn call(body: &[u8]) -> Call {
    let body = Bytes::copy_from_slice(body);
    decode::decode(Endpoint::ChatCompletions, body, Directives::default()).expect("a call")
}

fn usd(text: &str) -> PicoUsd {
    PicoUsd::parse_usd(text).expect("an amount")
}

fn events(stream: &Bytes) -> Vec<SseEvent> {
    let mut framer = SseFramer::new(1 << 20);
    framer.push(stream.clone()).expect("within the cap");
    let mut events: Vec<SseEvent> = std::iter::from_fn(|| framer.next_event()).collect();
    events.extend(framer.finish());
    events
}

#[test]
fn requests_change_in_what_we_change_only() {
    let check = |body: &str, model: &str, usage: bool, expect: &str| {
        let out = encode::request(&call(body.as_bytes()), model, usage);
        assert_eq!(String::from_utf8_lossy(&out), expect);
    };
    let turns = r#""messages":[{"role":"user","content":"model"}]"#;
    let body = |rest: &str| format!(r#"{{"model" : "auto" ,{turns}{rest} }}"#);
    let named = |rest: &str| format!(r#"{{"model" : "up/\"m\"" ,{turns}{rest} }}"#);
    check(&body(""), "up/\"m\"", false, &named(""));
    check(
        &body(""),
        "up/\"m\"",
        true,
        &named(r#","stream_options":{"include_usage":true}"#),
    );
    for (before, after) in [
        (
            r#","stream_options":null,"z":1"#,
            r#","stream_options":{"include_usage":true},"z":1"#,
        ),
        (
            r#","stream_options":{ }"#,
            r#","stream_options":{"include_usage":true }"#,
        ),
        (
            r#","stream_options":{ "a":1}"#,
            r#","stream_options":{"include_usage":true, "a":1}"#,
        ),
        (
            r#","stream_options":{"include_usage": false}"#,
            r#","stream_options":{"include_usage": true}"#,
        ),
        (
            r#","stream_options":{"include_usage": null,"a":1}"#,
            r#","stream_options":{"include_usage": true,"a":1}"#,
        ),
        (
            r#","stream_options":{"include_usage":true}"#,
            r#","stream_options":{"include_usage":true}"#,
        ),
    ] {
        check(&body(before), "up/\"m\"", true, &named(after));
        check(&body(before), "up/\"m\"", false, &named(before));
    }
}

#[test]
fn a_request_that_need_not_change_is_not_copied() {
    for case in ["chat_plain", "chat_tools"] {
        let call = call(&fixture(&format!("{case}/request.json")));
        let same = encode::request(&call, &call.model, false);
        assert_eq!(same.as_ptr(), call.body.as_ptr());
    }
}

#[test]
fn the_fixtures_decode() {
    let call_plain = call(&fixture("chat_plain/request.json"));
    assert_eq!(
        (call_plain.model.as_str(), call_plain.turns.len()),
        ("auto", 2)
    );
    assert_eq!(call_plain.max_output_tokens, Some(200));
    assert_eq!(call_plain.fields.len(), 8);
    let call_tools = call(&fixture("chat_tools/request.json"));
    assert_eq!(
        call_tools.needs.names().to_vec(),
        ["vision", "tools", "json_schema", "parallel_tools"]
    );
    assert!(call_tools.stream.wanted && !call_tools.stream.include_usage);
}

#[test]
fn whole_answers_say_what_they_used_and_how_they_ended() {
    let facts = |path: &str| {
        let body = fixture(path);
        inspect_response(Endpoint::ChatCompletions, &body).expect("an answer")
    };
    let plain = facts("chat_plain/response.json");
    let tokens = Tokens {
        input: 95,
        cached_input: 1024,
        cache_write: 0,
        output: 46,
        reasoning: 64,
        ..Tokens::default()
    };
    assert_eq!(plain.usage.and_then(|usage| usage.tokens), Some(tokens));
    assert_eq!(plain.model.as_deref(), Some("gpt-4.1-2025-04-14"));
    assert_eq!((plain.choices, plain.output_bytes), (1, 78));
    assert!(plain.finish.seen && !plain.finish.truncated && !plain.tool_calls);
    assert_eq!(plain.error, None);
    let tools = facts("chat_tools/response.json");
    assert!(tools.tool_calls && tools.finish.seen);
    assert_eq!(tools.output_bytes, 11 + 26);
}

#[test]
fn choices_are_judged_together() {
    let facts = |choices: &str| {
        let body = Bytes::from(format!(r#"{{"choices":[{choices}]}}"#));
        inspect_response(Endpoint::ChatCompletions, &body).expect("an answer")
    };
    let said = r#"{"message":{"content":"ab","refusal":"c"},"finish_reason":"stop"}"#;
    let both = facts(&format!(
        r#"{said},{{"message":{{"content":"d"}},"finish_reason":"length"}}"#
    ));
    assert_eq!((both.choices, both.output_bytes), (2, 4));
    assert!(both.finish.truncated && !both.finish.content_filter);
    assert!(
        facts(r#"{"finish_reason":"content_filter"}"#)
            .finish
            .content_filter
    );
    assert!(facts(r#"{"message":{"function_call":{"name":"f","arguments":"{}"}}}"#).tool_calls);
    assert!(!facts(r#"{"message":{"tool_calls":[],"function_call":null}}"#).tool_calls);
    assert!(
        !facts(r#"{"message":{"content":"a"},"finish_reason":null}"#)
            .finish
            .seen
    );
}

#[test]
fn embeddings_and_completions_are_answers_of_their_endpoints() {
    let inspect = |endpoint, body: &'static str| inspect_response(endpoint, &Bytes::from(body));
    let vectors = r#"{"object":"list","data":[{"embedding":[0.1]},{"embedding":"AA=="}],"model":"e",
        "usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    let facts = inspect(Endpoint::Embeddings, vectors).expect("an answer");
    assert_eq!((facts.choices, facts.output_bytes), (2, 0));
    assert_eq!(
        facts
            .usage
            .and_then(|usage| usage.tokens)
            .map(|tokens| tokens.total()),
        Some(8)
    );
    assert!(inspect(Endpoint::ChatCompletions, vectors).is_err());
    let text = r#"{"choices":[{"text":"a\nb","finish_reason":"length"}]}"#;
    let facts = inspect(Endpoint::Completions, text).expect("an answer");
    assert_eq!((facts.output_bytes, facts.finish.truncated), (3, true));
    for nonsense in [
        "",
        "<html>",
        "[]",
        "{}",
        "null",
        r#"{"choices":[]}"#,
        r#"{"choices":[}"#,
    ] {
        let answer = inspect(Endpoint::ChatCompletions, nonsense);
        assert!(answer.is_err(), "{nonsense}");
    }
    let latin1 = Bytes::from_static(b"{\"choices\":[{\"text\":\"\xe9\"}]}");
    assert!(inspect_response(Endpoint::ChatCompletions, &latin1).is_err());
}

#[test]
fn errors_of_every_vendor_are_found() {
    let check = |case: &str, expect: [Option<&str>; 3], enveloped: bool| {
        let body = fixture(&format!("errors/{case}.json"));
        let facts = inspect_response(Endpoint::ChatCompletions, &body).expect("an error object");
        let report = facts.error.expect("an error");
        let ErrorReport {
            error_type,
            code,
            param,
            ..
        } = &report;
        let found = [error_type, code, param].map(|text| text.as_deref());
        assert_eq!((found, report.enveloped), (expect, enveloped), "{case}");
        assert!(!report.message.is_empty());
    };
    let openai = [
        Some("invalid_request_error"),
        Some("context_length_exceeded"),
        Some("messages"),
    ];
    check("openai", openai, true);
    check("vllm", [Some("NotFoundError"), Some("404"), None], false);
    check("ollama", [None, None, None], false);
    check("fastapi", [None, None, None], false);
}

#[test]
fn the_cost_goes_into_the_usage_object() {
    let check = |usage: &str, expect: &str| {
        let body = |usage: &str| format!(r#"{{"usage":{usage},"choices":[{{"usage2":{{}}}}]}}"#);
        let before = Bytes::from(body(usage));
        let facts = inspect_response(Endpoint::ChatCompletions, &before).expect("an answer");
        let after = response::insert_cost(before, &facts, usd("0.000123"));
        assert_eq!(String::from_utf8_lossy(&after), body(expect));
    };
    check(
        r#"{"prompt_tokens":1}"#,
        r#"{"prompt_tokens":1,"cost":0.000123}"#,
    );
    check("{\n \"a\": 1\n }", "{\n \"a\": 1,\"cost\":0.000123\n }");
    check("{ }", r#"{"cost":0.000123 }"#);
    check(r#"{"cost": 1e-3, "a":1}"#, r#"{"cost": 0.000123, "a":1}"#);
    check(r#"{"cost":null}"#, r#"{"cost":0.000123}"#);
    check("null", "null");
}

fn kinds(stream: &Bytes) -> (Vec<EventKind>, StreamFacts) {
    let mut tap = stream::StreamTap::new();
    let kinds = events(stream).iter().map(|event| tap.see(event)).collect();
    (kinds, tap.into_facts())
}

#[test]
fn a_plain_stream() {
    let stream = fixture("stream_plain/stream.sse");
    let (kinds, facts) = kinds(&stream);
    let text = "Hello 🎉\n\"x\"".len();
    assert_eq!(kinds[0], EventKind::Content { bytes: 0 });
    assert_eq!(
        kinds[1],
        EventKind::Content {
            bytes: u32::try_from(text).expect("small")
        }
    );
    assert_eq!(kinds[2], EventKind::Comment);
    assert_eq!(kinds[3], EventKind::Content { bytes: 0 });
    assert!(matches!(kinds[4], EventKind::Usage { alone: true, .. }));
    assert_eq!(kinds[5], EventKind::Done);
    assert_eq!(kinds.len(), 6);
    assert!(facts.complete() && facts.done && !facts.tool_calls);
    assert_eq!(
        facts.usage.map(|tokens| (tokens.input, tokens.output)),
        Some((19, 10))
    );
    assert_eq!(facts.model.as_deref(), Some("gpt-4o-mini-2024-07-18"));
    assert_eq!(
        (facts.id.as_deref(), facts.created),
        (Some("chatcmpl-123"), Some(1_694_268_190))
    );
    assert_eq!(facts.output_bytes, text as u64);
}

#[test]
fn a_stream_with_every_oddity_of_vendors() {
    let stream = fixture("stream_vendor/stream.sse");
    let (kinds, facts) = kinds(&stream);
    assert_eq!(kinds[0], EventKind::Comment);
    assert_eq!(kinds[1], EventKind::Content { bytes: 2 });
    assert!(matches!(kinds[2], EventKind::Usage { alone: false, .. }) && kinds[2].carries_answer());
    assert!(matches!(kinds[3], EventKind::Usage { alone: true, .. }));
    assert!(facts.complete() && !facts.done && facts.finish.truncated && facts.tool_calls);
    // The last report wins.
    assert_eq!(facts.usage.map(|tokens| tokens.output), Some(3));

    let last = events(&stream).pop().expect("an event");
    let EventKind::Usage { report, .. } = kinds[3] else {
        panic!("a usage report")
    };
    let bytes = stream::event_with_cost(&last, &report, usd("0.5"));
    let data = SseEvent::new(bytes)
        .data()
        .map(std::borrow::Cow::into_owned)
        .expect("data");
    let value: Value = serde_json::from_slice(&data).expect("JSON");
    assert_eq!(value["usage"]["cost"], 0.5);
}

#[test]
fn only_the_cost_changes_in_a_usage_event() {
    let stream = fixture("stream_plain/stream.sse");
    let event = &events(&stream)[4];
    let EventKind::Usage { report, .. } = stream::StreamTap::new().see(event) else {
        panic!("a usage report")
    };
    let bytes = stream::event_with_cost(event, &report, usd("0.0000089"));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let text = text.replacen(r#","cost":0.0000089"#, "", 1);
    assert_eq!(text.as_bytes(), &event.raw[..]);
}

fn check_kind(event: &'static str, expect: EventKind) {
    let event = SseEvent::new(Bytes::from(event));
    assert_eq!(stream::StreamTap::new().see(&event), expect, "{event:?}");
}

#[test]
fn events_by_what_the_proxy_does_with_them() {
    check_kind(
        "data: {\"error\":{\"message\":\"x\"}}\n\n",
        EventKind::Error,
    );
    check_kind(
        "event: error\ndata: {\"message\":\"x\"}\n\n",
        EventKind::Error,
    );
    check_kind("event: error\ndata: oops\n\n", EventKind::Error);
    check_kind(
        "data: {\"error\":null,\"choices\":[{}]}\n\n",
        EventKind::Content { bytes: 0 },
    );
    check_kind(
        "data: {\"choices\":[{\"delta\":{\"content\":\"error usage\"}}]}\n\n",
        EventKind::Content { bytes: 11 },
    );
    check_kind(
        "data: {\"choices\":[{\"delta\":{\"content\":\"cut \\ud83d\"}}]}\n\n",
        EventKind::Content { bytes: 7 },
    );
    check_kind(
        "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n",
        EventKind::Other,
    );
    check_kind("data: {\"choices\":[],\"usage\":{}}\n\n", EventKind::Other);
    check_kind("data: {\"choices\":[\n\n", EventKind::Malformed);
    check_kind("data: [1]\n\n", EventKind::Malformed);
    check_kind("data: [DONE] \n\n", EventKind::Done);
    check_kind("data:[DONE]\n\n", EventKind::Done);
    check_kind("data: \n\n", EventKind::Comment);
    check_kind("retry: 5\n\n", EventKind::Comment);
    let latin1 = SseEvent::new(Bytes::from_static(b"data: {\"a\":\"\xe9\"}\n\n"));
    assert_eq!(stream::StreamTap::new().see(&latin1), EventKind::Malformed);
}

/// What a tap says of each of `data` must not depend on what it saw before.
fn check_short_cut(data: &[String]) {
    let event = |data: &String| SseEvent::new(Bytes::from(format!("data: {data}\n\n")));
    let mut warm = stream::StreamTap::new();
    for data in data {
        let before = warm.facts().output_bytes;
        let mut fresh = stream::StreamTap::new();
        assert_eq!(warm.see(&event(data)), fresh.see(&event(data)), "{data}");
        assert_eq!(
            warm.facts().output_bytes - before,
            fresh.facts().output_bytes,
            "{data}"
        );
    }
}

#[test]
fn the_short_cut_is_taken_for_text_only() {
    let chunk = |text: &str, rest: &str| {
        format!(
            r#"{{"id":"1","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]{rest}}}"#
        )
    };
    let padded = |text: &str, padding: &str| chunk(text, &format!(r#","obfuscation":"{padding}""#));
    check_short_cut(&[
        chunk("a", ""),
        chunk("bc é 🎉", ""),
        chunk(r#"\n\"x\" \ud83d\ude00"#, ""),
        chunk(r"half \ud83d", ""),
        chunk(r"broken \q", ""),
        chunk("control \t", ""),
        chunk("", ""),
        chunk(
            r#"a"},"finish_reason":"stop"}],"x":[{"delta":{"content":""#,
            "",
        ),
        chunk("a", r#","usage":{"prompt_tokens":1}"#),
        chunk("a", "") + " x",
        chunk("a", "") + "}",
        padded("a", "xyz"),
        padded("bcd", ""),
        padded("e", r"\u0041"),
        padded("e", r#"x","usage":{"prompt_tokens":1},"y":""#),
        chunk("f", ""),
        r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#.to_owned(),
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\""}}]}}]}"#
            .to_owned(),
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"a"}}]}}]}"#
            .to_owned(),
    ]);
}

#[test]
fn a_stream_is_complete_with_a_reason_or_the_marker() {
    let complete = |stream: &'static str| kinds(&Bytes::from(stream)).1.complete();
    let begun = r#"data: {"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#;
    assert!(!complete(begun));
    assert!(complete("data: [DONE]\n\n"));
    assert!(complete(
        "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n"
    ));
    assert!(!complete(
        "data: {\"choices\":[{\"finish_reason\":\"\"}]}\n\n"
    ));
    assert!(!complete(
        "data: {\"choices\":[{\"finish_reason\":\"error\"}]}\n\ndata: [DONE]\n\n"
    ));
    assert!(!complete(
        "data: {\"error\":{\"message\":\"x\"}}\n\ndata: [DONE]\n\n"
    ));
}

#[test]
fn the_events_that_we_make() {
    let error = ProxyError::new(ErrorKind::UpstreamTimeout, "the upstream \"stalled\"\nhere");
    insta::assert_snapshot!(String::from_utf8_lossy(&stream::error_event(&error)), @r#"
    data: {"error":{"message":"the upstream \"stalled\"\nhere","type":"api_error","param":null,"code":"upstream_timeout"}}
    "#);
    assert_eq!(stream::done_event(), "data: [DONE]\n\n");
    let facts = StreamFacts {
        id: Some("chatcmpl-1".to_owned()),
        created: Some(7),
        model: Some("m".to_owned()),
        ..StreamFacts::default()
    };
    let tokens = Tokens {
        input: 5,
        cached_input: 3,
        cache_write: 2,
        output: 6,
        reasoning: 4,
        ..Tokens::default()
    };
    let event = stream::usage_event(Endpoint::ChatCompletions, &facts, &tokens, usd("0.25"));
    let mut tap = stream::StreamTap::new();
    assert!(matches!(
        tap.see(&SseEvent::new(event)),
        EventKind::Usage { alone: true, .. }
    ));
    assert_eq!(tap.facts().usage, Some(tokens));
    assert_eq!(tap.facts().id, facts.id);
}

#[test]
fn errors_and_models_as_openai_writes_them() {
    let refused = ProxyError::invalid("messages[2].content", "must be a string");
    insta::assert_snapshot!(String::from_utf8_lossy(&errors::encode_error(&refused)), @r#"{"error":{"message":"must be a string","type":"invalid_request_error","param":"messages[2].content","code":"invalid_request_error"}}"#);
    let entry = models::ModelEntry {
        id: "auto",
        created: 7,
        owned_by: "tollgate",
    };
    insta::assert_snapshot!(String::from_utf8_lossy(&models::list([entry])), @r#"{"object":"list","data":[{"id":"auto","object":"model","created":7,"owned_by":"tollgate"}]}"#);
    insta::assert_snapshot!(String::from_utf8_lossy(&models::one(entry)), @r#"{"id":"auto","object":"model","created":7,"owned_by":"tollgate"}"#);
}

proptest! {
    #[test]
    fn any_data_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut event = b"data: ".to_vec();
        event.extend_from_slice(&bytes);
        stream::StreamTap::new().see(&SseEvent::new(Bytes::from(event)));
        let body = Bytes::from(bytes);
        let _ = inspect_response(Endpoint::ChatCompletions, &body);
        let _ = convert::whole_to_stream(&body, true);
        let _ = convert::stream_to_whole(&body);
    }

    #[test]
    fn the_short_cut_never_changes_what_is_seen(
        texts in prop::collection::vec(("([a-z \"\\\\\n]|é|🎉){0,8}", "[a-z]{0,5}"), 1..8),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 32u8..127), 0..4),
    ) {
        let mut chunks: Vec<String> = texts.iter().map(|(text, padding)| {
            let text = serde_json::to_string(text).expect("JSON");
            format!(r#"{{"choices":[{{"index":0,"delta":{{"content":{text}}},"finish_reason":null}}],"usage":null,"obfuscation":"{padding}"}}"#)
        }).collect();
        for (chunk, at, byte) in edits {
            let chunk = { let at = chunk.index(chunks.len()); &mut chunks[at] };
            let at = chunk.floor_char_boundary(at.index(chunk.len()));
            chunk.insert(at, char::from(byte));
        }
        check_short_cut(&chunks);
    }

    #[test]
    fn mutated_streams_are_survived(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        for path in ["stream_plain/stream.sse", "stream_vendor/stream.sse"] {
            let mut stream = fixture(path).to_vec();
            for (at, byte) in &edits {
                let at = at.index(stream.len());
                stream[at] = *byte;
            }
            let stream = Bytes::from(stream);
            let mut tap = stream::StreamTap::new();
            for event in events(&stream) {
                if let EventKind::Usage { report, .. } = tap.see(&event) {
                    let bytes = stream::event_with_cost(&event, &report, PicoUsd::from_pico(7));
                    let again = stream::StreamTap::new().see(&SseEvent::new(bytes));
                    prop_assert!(matches!(again, EventKind::Usage { .. }), "{again:?}");
                }
            }
            let _ = convert::stream_to_whole(&stream);
        }
    }
}
