//! The Responses API, forwarded and translated.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::OpenaiResponses;
use crate::types::Role as R;
use crate::types::chat::Speaker as S;
use crate::types::chat::{
    AnswerHead, BlockBody, BlockStart, ChatAnswer, ChatEvent, ChatRequest, Citation, Delta,
    FinishReason, Notes, Seal, ToolInput,
};
use crate::types::{Directives, Endpoint, PicoUsd, StreamRequest, Tokens};
use crate::wire::dialect::{Dialect, Synthetic};
use crate::wire::facts::{EventKind, StreamFacts};
use crate::wire::framing::sse::SseFramer;
use crate::wire::translate::{Asked, Host, Target, Translate, WireEvent};

const TARGET: Target<'static> = Target {
    upstream_model: "gpt-5",
    stream: false,
    max_output_tokens: 4096,
    ask_stream_usage: true,
    host: Host::Native,
};

fn asked(body: &Bytes) -> Asked<'_> {
    Asked {
        endpoint: Endpoint::Responses,
        body,
        include_usage: true,
        id: "req-1",
        created: 1_700_000_000,
        from: "none",
    }
}

fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("JSON")
}

fn read_request(body: &Value) -> ChatRequest {
    OpenaiResponses
        .read_request(Endpoint::Responses, &body.to_string())
        .expect("a request")
}

fn written(request: &ChatRequest) -> (Value, Notes) {
    let mut notes = Notes::default();
    let bytes = OpenaiResponses
        .write_request(request, &TARGET, &mut notes)
        .expect("expressible");
    (value(&bytes), notes)
}

fn events_of(stream: &[u8], size: usize) -> Vec<ChatEvent> {
    let mut framer = SseFramer::new(1 << 20);
    let mut reader = OpenaiResponses.reader();
    let mut events = Vec::new();
    for piece in stream.chunks(size.max(1)) {
        framer
            .push(Bytes::copy_from_slice(piece))
            .expect("within the cap");
        while let Some(event) = framer.next_event() {
            if let Some(data) = event.data() {
                let name = event.name().and_then(|name| std::str::from_utf8(name).ok());
                let _malformed = reader.read(WireEvent { name, data: &data }, &mut events);
            }
        }
    }
    reader.finish(&mut events);
    events
}

fn write_events(events: &[ChatEvent], body: &Value) -> Bytes {
    let body = Bytes::from(body.to_string());
    let mut writer = OpenaiResponses.writer(&asked(&body));
    let mut out = BytesMut::new();
    for event in events {
        writer.write(event, &mut out);
    }
    out.freeze()
}

fn tapped(stream: &Bytes) -> (StreamFacts, Vec<EventKind>) {
    let mut framer = SseFramer::new(1 << 20);
    framer.push(stream.clone()).expect("within the cap");
    let mut tap = OpenaiResponses.tap();
    let mut kinds = Vec::new();
    while let Some(event) = framer.next_event() {
        kinds.push(tap.see(&event));
    }
    (tap.facts().clone(), kinds)
}

fn request() -> Value {
    json!({
        "model": "gpt-5",
        "instructions": "Be brief.",
        "input": [
            {"role": "developer", "content": "In French."},
            {"role": "user", "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
                {"type": "input_image", "file_id": "file-1"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"},
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                {"type": "odd", "x": 1}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
             "encrypted_content": "c2Vj"},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
                {"type": "output_text", "text": "A cat.", "annotations": [], "logprobs": []},
                {"type": "refusal", "refusal": "No."}]},
            {"role": "assistant", "content": "More."},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{\"a\":1}", "status": "completed"},
            {"type": "custom_tool_call", "call_id": "call_2", "name": "g", "input": "x = 1"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "function_call_output", "call_id": "call_1", "output": "4"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": [
                {"type": "input_text", "text": "5"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
        ],
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true, "odd": 1},
            {"type": "custom", "name": "g", "format": {"type": "text"}},
            {"type": "web_search"}],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [
            {"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]},
        "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto", "context": "auto"},
        "max_output_tokens": 100, "temperature": 0.5, "top_p": 0.9, "top_logprobs": 2,
        "include": ["message.output_text.logprobs", "file_search_call.results"],
        "metadata": {"k": "v"}, "user": "u", "service_tier": "flex", "prompt_cache_key": "p",
        "truncation": "auto", "max_tool_calls": 3,
    })
}

#[test]
fn a_request_comes_back_as_it_went() {
    let read = read_request(&request());
    let speakers: Vec<S> = read.messages.iter().map(|it| it.speaker).collect();
    let expect = [
        S::System,
        S::Developer,
        S::User,
        S::Assistant,
        S::Tool,
        S::Tool,
    ];
    assert_eq!(speakers, expect);
    let (back, notes) = written(&read);
    assert_eq!(back, kept_here(request()));
    assert!(notes.is_empty());
}

/// A request as an upstream gets it: nothing is stored there, and thoughts come sealed.
fn kept_here(mut request: Value) -> Value {
    request["store"] = false.into();
    let include = request["include"].as_array_mut().expect("an array");
    include.push("reasoning.encrypted_content".into());
    request
}

#[test]
fn a_text_alone_is_a_users_message() {
    let read = read_request(
        &json!({"model": "m", "input": "hi", "store": false, "previous_response_id": null}),
    );
    assert_eq!(read.messages.len(), 1);
    assert!(read.extra.is_empty());
    let error = OpenaiResponses
        .read_request(
            Endpoint::Responses,
            r#"{"model":"m","input":[{"type":"item_reference","id":"rs_1"}]}"#,
        )
        .expect_err("unknown");
    assert_eq!(error.param.as_deref(), Some("input[0].id"));
}

#[test]
fn another_dialects_request_is_put_into_items() {
    let mut read = read_request(&json!({"model": "m", "instructions": "a", "input": [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "tollgate:anthropic_messages:sig"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "x"}],
        "tools": [{"type": "function", "name": "f"}], "odd": 1}));
    let BlockBody::Reasoning(thought) = &read.messages[2].blocks[0].body else {
        panic!("thoughts");
    };
    assert!(!thought.is_hidden && !thought.is_summary);
    assert_eq!(thought.seal, Some(Seal::read("sig", "anthropic_messages")));
    read.dialect = "anthropic_messages";
    read.sampling.top_k = Some(4);
    let (back, notes) = written(&read);
    assert_eq!(
        back,
        json!({"model": "gpt-5", "instructions": "a", "input": [
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "x"}],
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": false}],
            "include": ["reasoning.encrypted_content"], "store": false})
    );
    let notes: Vec<&str> = notes.iter().map(|note| &*note.field).collect();
    assert_eq!(notes, ["top_k", "odd", "messages[1].reasoning"]);
    read.stop.push("x".to_owned());
    let refused = OpenaiResponses.write_request(&read, &TARGET, &mut Notes::default());
    assert_eq!(refused.expect_err("refused").field, "stop");
}

#[test]
fn decoding_finds_what_routing_needs() {
    let body = Bytes::from(request().to_string());
    let call = OpenaiResponses
        .decode(Endpoint::Responses, body, Directives::default())
        .expect("a call");
    assert_eq!(call.model, "gpt-5");
    assert_eq!(call.max_output_tokens, Some(100));
    assert_eq!(call.tools, 3);
    assert!(call.needs.tools && call.needs.vision && call.needs.json_schema);
    assert_eq!(call.directives.prompt_cache_key.as_deref(), Some("p"));
    assert_eq!(call.end_user.as_deref(), Some("u"));
    assert!(call.stream.include_usage && !call.stream.wanted);
    let roles: Vec<R> = call.turns.iter().map(|turn| turn.role).collect();
    let expect = [
        R::System,
        R::System,
        R::User,
        R::Assistant,
        R::Assistant,
        R::Assistant,
        R::Assistant,
        R::Assistant,
        R::Assistant,
        R::Tool,
        R::Tool,
    ];
    assert_eq!(roles, expect);
    let encoded = OpenaiResponses.encode_request(&call, "other", true);
    let mut expect = request();
    expect["model"] = "other".into();
    expect["store"] = false.into();
    assert_eq!(value(&encoded), expect);
    let encoded = OpenaiResponses.encode_request(&call, "o4-mini", true);
    let mut expect = kept_here(request());
    expect["model"] = "o4-mini".into();
    assert_eq!(value(&encoded), expect);
    for bad in [
        r#"{"model":"m"}"#,
        r#"{"model":"m","input":[]}"#,
        r#"{"model":"m","input":7}"#,
        r#"{"model":"m","input":[{"content":"x"}]}"#,
        r#"{"model":"m","input":"x","input":"y"}"#,
        r#"{"model":"m","input":"x","Instructions":"y"}"#,
        r#"{"model":"m","input":"x","previous_response_id":7}"#,
        r#"{"model":"m","input":"x","store":"yes"}"#,
        r#"{"model":"m","input":"x","conversation":"conv_1"}"#,
        r#"{"model":"m","input":"x","background":true}"#,
    ] {
        let decoded =
            OpenaiResponses.decode(Endpoint::Responses, Bytes::from(bad), Directives::default());
        decoded.expect_err(bad);
    }
}

fn response() -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 7, "status": "completed", "error": null,
        "incomplete_details": null, "model": "gpt-5", "service_tier": "default",
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "c2Vj"},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
                {"type": "output_text", "text": "Hello", "logprobs": [{"token": "Hello", "bytes": [72], "logprob": -0.5, "top_logprobs": []}],
                 "annotations": [{"type": "url_citation", "start_index": 0, "end_index": 5, "url": "https://example.com", "title": "t"}]}]},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"}],
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1}, "output_tokens_details": {"reasoning_tokens": 2}},
        "background": false, "instructions": null, "max_output_tokens": null, "max_tool_calls": null, "metadata": {},
        "parallel_tool_calls": true, "previous_response_id": null, "prompt_cache_key": null,
        "prompt_cache_retention": null, "reasoning": {"effort": "low", "summary": null}, "safety_identifier": null,
        "store": true, "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
        "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": null, "odd": 1,
    })
}

fn read_answer(response: &Value) -> ChatAnswer {
    OpenaiResponses
        .read_answer(&response.to_string())
        .expect("an answer")
}

#[test]
fn a_response_comes_back_as_it_went() {
    let body = Bytes::new();
    let read = read_answer(&response());
    assert_eq!(read.choices[0].finish.reason, FinishReason::ToolCalls);
    assert_eq!(
        value(&OpenaiResponses.write_answer(&read, &asked(&body))),
        response()
    );
    let mut cut = response();
    cut["status"] = "incomplete".into();
    cut["incomplete_details"] = json!({"reason": "max_output_tokens"});
    let read = read_answer(&cut);
    assert_eq!(read.choices[0].finish.reason, FinishReason::Length);
    assert_eq!(
        value(&OpenaiResponses.write_answer(&read, &asked(&body))),
        cut
    );
}

#[test]
fn a_foreign_answer_repeats_the_request_and_has_ids_of_ours() {
    let body = Bytes::from(request().to_string());
    let mut read = read_answer(&response());
    read.dialect = "openai_chat";
    read.head = AnswerHead {
        model: "m".to_owned(),
        ..AnswerHead::default()
    };
    let back = value(&OpenaiResponses.write_answer(&read, &asked(&body)));
    assert_eq!(back["id"], "resp_req1");
    assert_eq!(back["created_at"], 1_700_000_000);
    assert_eq!(back["tools"], request()["tools"]);
    assert_eq!(back["reasoning"], request()["reasoning"]);
    assert_eq!(back["output"][1]["id"], "msg_req1_1");
    assert_eq!(
        back["output"].as_array().map(Vec::len),
        Some(3),
        "what is native is left out"
    );
}

fn spoken() -> Vec<ChatEvent> {
    let at = |block| {
        move |delta| ChatEvent::BlockDelta {
            choice: 0,
            block,
            delta,
        }
    };
    let start = |block, start| ChatEvent::BlockStart {
        choice: 0,
        block,
        start,
    };
    let end = |block| ChatEvent::BlockEnd { choice: 0, block };
    let text = |text: &str| Delta::Text(text.to_owned());
    vec![
        ChatEvent::Start(AnswerHead {
            id: "resp_9".to_owned(),
            model: "m".to_owned(),
            created: Some(7),
            service_tier: None,
        }),
        start(
            0,
            BlockStart::Reasoning {
                id: None,
                is_summary: true,
            },
        ),
        at(0)(text("h")),
        at(0)(text("m")),
        at(0)(Delta::Seal(Seal::read("s1", "anthropic_messages"))),
        end(0),
        start(1, BlockStart::Text),
        at(1)(text("He")),
        at(1)(text("llö \"x\"\n")),
        at(1)(Delta::Citation(Box::new(Citation {
            url: Some("https://example.com".to_owned()),
            title: Some("t".to_owned()),
            range: Some((0, 3)),
            ..Citation::default()
        }))),
        end(1),
        start(2, BlockStart::Text),
        at(2)(text("more")),
        end(2),
        start(3, BlockStart::Refusal),
        at(3)(text("No.")),
        end(3),
        start(
            4,
            BlockStart::ToolCall {
                id: "call_1".to_owned(),
                name: "f".to_owned(),
                input: ToolInput::Json(String::new()),
                seal: None,
            },
        ),
        at(4)(Delta::Input("{\"a\":".to_owned())),
        at(4)(Delta::Input("1}".to_owned())),
        end(4),
        start(
            5,
            BlockStart::ToolCall {
                id: "call_2".to_owned(),
                name: "g".to_owned(),
                input: ToolInput::Text(String::new()),
                seal: None,
            },
        ),
        at(5)(Delta::Input("x = 1".to_owned())),
        end(5),
        ChatEvent::Finish {
            choice: 0,
            finish: crate::types::chat::Finish {
                reason: FinishReason::ToolCalls,
                stop_sequence: None,
                native: Some("completed".to_owned()),
            },
        },
        ChatEvent::Usage(Tokens {
            input: 3,
            output: 2,
            reasoning: 1,
            ..Tokens::default()
        }),
        ChatEvent::End,
    ]
}

#[test]
fn a_stream_reads_back_at_every_split() {
    let stream = write_events(&spoken(), &request());
    let expect = events_of(&stream, stream.len());
    // The thoughts' seal says whose they are; the item's id is new.
    let mut said = spoken();
    if let ChatEvent::BlockStart {
        start: BlockStart::Reasoning { id, .. },
        ..
    } = &mut said[1]
    {
        *id = Some("rs_9_0".to_owned());
    }
    assert_eq!(expect, said);
    for size in 1..200 {
        assert_eq!(events_of(&stream, size), expect, "in pieces of {size}");
    }
}

#[test]
fn events_are_numbered_and_add_up_to_the_last() {
    let stream = write_events(&spoken(), &request());
    let mut framer = SseFramer::new(1 << 20);
    framer.push(stream.clone()).expect("within the cap");
    let mut kinds = Vec::new();
    let mut items = Vec::new();
    let mut last = Value::Null;
    let mut number = 0;
    while let Some(event) = framer.next_event() {
        let data = value(&event.data().expect("data"));
        assert_eq!(data["sequence_number"], number);
        assert_eq!(data["type"].as_str().map(str::as_bytes), event.name());
        number += 1;
        if data["type"] == "response.output_item.done" {
            assert_eq!(data["output_index"], items.len());
            items.push(data["item"].clone());
        }
        kinds.push(data["type"].as_str().expect("a type").to_owned());
        last = data;
    }
    insta::with_settings!({prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("kinds_of_events", kinds.join("\n"));
    });
    assert_eq!(last["response"]["output"], json!(items));
    let whole = OpenaiResponses
        .stream_to_whole(&stream)
        .expect("a response");
    assert_eq!(value(&whole), last["response"]);
    assert_eq!(whole_facts(&whole), tapped(&stream).0);
    let again = OpenaiResponses
        .whole_to_stream(&whole, true)
        .expect("a stream");
    assert_eq!(
        OpenaiResponses.stream_to_whole(&again).map(|it| value(&it)),
        Some(value(&whole))
    );
    let (facts, _) = tapped(&again);
    assert_eq!(facts.usage, tapped(&stream).0.usage);
    assert_eq!(facts.malformed, 0);
}

/// What a stream's facts would be for this response, as far as both say it.
fn whole_facts(whole: &Bytes) -> StreamFacts {
    let facts = OpenaiResponses
        .inspect_response(Endpoint::Responses, whole)
        .expect("a response");
    let response = value(whole);
    // A call's name is in no delta.
    let names = ["f", "g"].concat().len() as u64;
    let output_bytes = facts.output_bytes - names;
    StreamFacts {
        usage: facts.usage.and_then(|usage| usage.tokens),
        output_bytes_at_usage: output_bytes,
        service_tier: facts.service_tier,
        id: response["id"].as_str().map(str::to_owned),
        created: response["created_at"].as_u64(),
        model: facts.model,
        finish: facts.finish,
        finished: 1,
        done: true,
        tool_calls: facts.tool_calls,
        output_bytes,
        error: None,
        malformed: 0,
    }
}

#[test]
fn costs_go_into_the_last_event_and_the_whole() {
    let cost = PicoUsd::from_pico(1_500_000);
    let stream = write_events(&spoken(), &request());
    let mut framer = SseFramer::new(1 << 20);
    framer.push(stream).expect("within the cap");
    let mut tap = OpenaiResponses.tap();
    let mut told = 0;
    while let Some(event) = framer.next_event() {
        if let EventKind::Usage { report, alone } = tap.see(&event) {
            assert!(!alone && tap.facts().done);
            let bytes = OpenaiResponses.event_with_cost(&event, &report, cost);
            assert!(String::from_utf8_lossy(&bytes).contains("\"cost\":0.0000015}"));
            told += 1;
        }
    }
    assert_eq!(told, 1);
    let whole = Bytes::from(response().to_string());
    let facts = OpenaiResponses
        .inspect_response(Endpoint::Responses, &whole)
        .expect("a response");
    let whole = OpenaiResponses.insert_cost(whole, &facts, cost);
    assert_eq!(value(&whole)["usage"]["cost"], json!(0.000_001_5));
}

#[test]
fn failures_are_told_apart() {
    let failed = json!({"type": "response.failed", "response": {"id": "resp_1", "status": "failed",
        "error": {"code": "rate_limit_exceeded", "message": "slow down"}, "output": [],
        "usage": {"input_tokens": 3, "output_tokens": 0, "total_tokens": 3}}});
    let flat =
        json!({"type": "error", "code": "server_error", "message": "slow down", "param": null});
    let nested = json!({"type": "error", "error": {"type": "server_error", "code": "x", "message": "slow down"}});
    for event in [failed, flat, nested] {
        let stream = Bytes::from(format!("data: {event}\n\n"));
        let (facts, kinds) = tapped(&stream);
        assert_eq!(kinds, [EventKind::Error]);
        assert_eq!(
            facts.error.map(|error| error.message).as_deref(),
            Some("slow down"),
            "{event}"
        );
        let events = events_of(&stream, 4096);
        assert!(
            matches!(events.last(), Some(ChatEvent::Error(fault)) if fault.message == "slow down")
        );
        assert_eq!(OpenaiResponses.stream_to_whole(&stream), None);
    }
    let fault = crate::types::chat::event::StreamFault {
        message: "gone".to_owned(),
        ..Default::default()
    };
    let told = write_events(
        &[
            ChatEvent::Start(AnswerHead::default()),
            ChatEvent::Error(fault),
        ],
        &json!({}),
    );
    let (facts, _) = tapped(&told);
    assert_eq!(
        facts.error.map(|error| error.message).as_deref(),
        Some("gone")
    );
}

#[test]
fn an_answer_of_our_own_is_an_answer() {
    let synthetic = Synthetic {
        endpoint: Endpoint::Responses,
        id: "req-1",
        created: 1_700_000_000,
        model: "template",
        text: "We open at \"nine\".\n",
    };
    let whole = OpenaiResponses.synthetic(&synthetic, &StreamRequest::default());
    let facts = OpenaiResponses
        .inspect_response(Endpoint::Responses, &whole)
        .expect("an answer");
    assert_eq!(facts.output_bytes, synthetic.text.len() as u64);
    let wanted = StreamRequest {
        wanted: true,
        ..StreamRequest::default()
    };
    let (facts, _) = tapped(&OpenaiResponses.synthetic(&synthetic, &wanted));
    assert!(facts.complete() && facts.done);
    assert_eq!(facts.usage, Some(Tokens::default()));
}

fn tokens() -> impl Strategy<Value = Tokens> {
    prop::array::uniform6(0u64..1_000_000_000).prop_map(
        |[
            input,
            cached_input,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
        ]| Tokens {
            input,
            cached_input,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
        },
    )
}

proptest! {
    #[test]
    fn the_tap_reads_back_what_the_writer_says(tokens in tokens()) {
        let events = [ChatEvent::Start(AnswerHead::default()),
            ChatEvent::Finish { choice: 0, finish: FinishReason::Length.into() },
            ChatEvent::Usage(tokens), ChatEvent::End];
        let (facts, _) = tapped(&write_events(&events, &json!({})));
        prop_assert_eq!(facts.usage, Some(tokens));
        prop_assert!(facts.done && facts.finish.truncated);
        let mut answer = read_answer(&response());
        answer.usage = Some(tokens);
        let body = Bytes::new();
        let whole = OpenaiResponses.write_answer(&answer, &asked(&body));
        let facts = OpenaiResponses.inspect_response(Endpoint::Responses, &whole).expect("an answer");
        prop_assert_eq!(facts.usage.and_then(|usage| usage.tokens), Some(tokens));
    }

    #[test]
    fn damaged_bodies_are_errors_and_never_panics(at in 0usize..4000, byte in any::<u8>(), cut in 0usize..4000) {
        for whole in [request(), response()] {
            let mut bytes = whole.to_string().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut % 50));
            if let Ok(text) = std::str::from_utf8(&bytes) {
                let read = OpenaiResponses.read_request(Endpoint::Responses, text);
                if let Ok(request) = read {
                    let _ = OpenaiResponses.write_request(&request, &TARGET, &mut Notes::default());
                }
                let _ = OpenaiResponses.read_answer(text);
                let _ = OpenaiResponses.read_error(text);
            }
            let body = Bytes::from(bytes.clone());
            let _ = OpenaiResponses.inspect_response(Endpoint::Responses, &body);
            let _ = OpenaiResponses.whole_to_stream(&body, true);
            let _ = OpenaiResponses.decode(Endpoint::Responses, body, Directives::default());
            let event = [b"data: ", bytes.as_slice(), b"\n\n"].concat();
            let _ = events_of(&event, 64);
        }
        let mut stream = write_events(&spoken(), &request()).to_vec();
        let at = at % stream.len();
        stream[at] = byte;
        let _ = events_of(&stream, 512);
        let _ = tapped(&Bytes::from(stream));
    }
}
