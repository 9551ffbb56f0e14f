//! Chat Completions through the neutral form.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::types::chat::{
    Block, BlockBody, ChatEvent, ChatRequest, Effort, FinishReason, Notes, ReasoningBlock, Seal,
    Speaker, ToolInput,
};
use crate::types::{Endpoint, Tokens};
use crate::wire::dialect::openai_chat::{OpenaiChat, inspect_response, stream::StreamTap};
use crate::wire::framing::sse::SseFramer;
use crate::wire::translate::{Asked, Host, Target, Translate, WireEvent};

const TARGET: Target<'static> = Target {
    upstream_model: "some-model",
    stream: false,
    max_output_tokens: 4096,
    ask_stream_usage: true,
    host: Host::Native,
};

/// The crate's name stays out of the file's, so that the room can be built alone.
fn snapshot(name: &str, text: &str) {
    insta::with_settings!({prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!(name, text);
    });
}

fn asked(body: &Bytes) -> Asked<'_> {
    Asked {
        from: "none",
        endpoint: Endpoint::ChatCompletions,
        body,
        include_usage: true,
        id: "req-1",
        created: 1_700_000_000,
    }
}

fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("JSON")
}

fn read_request(body: &Value) -> ChatRequest {
    OpenaiChat
        .read_request(Endpoint::ChatCompletions, &body.to_string())
        .expect("a request")
}

fn written(request: &ChatRequest) -> (Value, Notes) {
    let mut notes = Notes::default();
    let bytes = OpenaiChat
        .write_request(request, &TARGET, &mut notes)
        .expect("expressible");
    (value(&bytes), notes)
}

/// Reads every event of a stream in pieces of `size` bytes.
fn events_of(stream: &[u8], size: usize) -> Vec<ChatEvent> {
    let mut framer = SseFramer::new(1 << 20);
    let mut reader = OpenaiChat.reader();
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

fn write_events(events: &[ChatEvent]) -> BytesMut {
    let body = Bytes::new();
    let mut writer = OpenaiChat.writer(&asked(&body));
    let mut out = BytesMut::new();
    for event in events {
        writer.write(event, &mut out);
    }
    out
}

fn chunks(data: &[Value]) -> Vec<u8> {
    let event = |data: &Value| format!("data: {data}\n\n");
    let mut stream = data.iter().map(event).collect::<Vec<_>>().concat();
    stream.push_str("data: [DONE]\n\n");
    stream.into_bytes()
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "reads better where it is called"
)]
fn delta(delta: Value) -> Value {
    json!({"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"id": "c-1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

#[test]
fn a_request_comes_back_as_it_went() {
    let body = json!({
        "model": "some-model",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "In French."},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low", "x": 1}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "video_url", "video_url": {"url": "https://example.com/v.mp4"}},
            ]},
            {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"},
                 "extra_content": {"google": {"thought_signature": "c2ln"}}},
                {"id": "call_2", "type": "custom", "custom": {"name": "g", "input": "x = 1"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "4"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "5"}, {"type": "text", "text": "6"}]},
            {"role": "assistant", "content": "Done.", "refusal": "No.", "audio": {"id": "a-1"}},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d",
                "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}, "strict": true, "q": 2}},
            {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}},
            {"type": "web_search_preview"},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": true}},
        "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "frequency_penalty": 0.1,
        "presence_penalty": -0.1, "seed": -3, "stop": ["a", "b"], "n": 2, "logprobs": true, "top_logprobs": 3,
        "reasoning_effort": "low", "service_tier": "flex", "user": "u", "metadata": {"k": "v"},
        "logit_bias": {"5": 1}, "made_up": [1, null],
    });
    let request = read_request(&body);
    assert_eq!(request.messages[2].blocks.len(), 7);
    assert_eq!(request.messages[2].speaker, Speaker::User);
    let wish = request.reasoning.as_ref().expect("a wish");
    assert_eq!(wish.effort, Some(Effort::Low));
    let (back, notes) = written(&request);
    let mut expect = body;
    expect["messages"][4]["content"] = json!("4");
    assert_eq!(back, expect);
    assert!(notes.is_empty());
}

#[test]
fn another_dialects_request_is_put_into_its_words() {
    let mut request = read_request(&json!({
        "model": "m", "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "x"}],
        "top_k": 4, "made_up": 1, "metadata": {"a": "b"}, "service_tier": "auto",
    }));
    request.dialect = "anthropic_messages";
    let thought = ReasoningBlock {
        text: "hm".to_owned(),
        seal: Some(Seal::read("sig", "anthropic_messages")),
        ..ReasoningBlock::default()
    };
    request.messages[1]
        .blocks
        .insert(0, BlockBody::Reasoning(thought).into());
    let BlockBody::ToolResult(result) = &mut request.messages[2].blocks[0].body else {
        panic!("a result");
    };
    result.is_error = true;
    result.blocks.push(
        BlockBody::Image(
            crate::types::chat::Source::Base64 {
                media_type: "image/png".to_owned(),
                data: "AAAA".to_owned(),
            }
            .into(),
        )
        .into(),
    );
    request.messages[2].speaker = Speaker::User;
    request.messages[2].blocks.push(Block::text("go on"));
    let (back, notes) = written(&request);
    let notes: Vec<String> = notes
        .iter()
        .map(|it| format!("{}: {}", it.field, it.what))
        .collect();
    let body = serde_json::to_string_pretty(&back).expect("JSON");
    snapshot("foreign_request", &format!("{body}\n{}", notes.join("\n")));
}

#[test]
fn a_legacy_prompt_is_a_users_message() {
    let read = |body: Value| OpenaiChat.read_request(Endpoint::Completions, &body.to_string());
    for prompt in [json!("once"), json!(["once"])] {
        let request = read(json!({"model": "m", "prompt": prompt})).expect("a request");
        assert_eq!(request.messages[0].blocks, [Block::text("once")]);
    }
    for prompt in [json!(["a", "b"]), json!([1, 2]), json!(null)] {
        let error = read(json!({"model": "m", "prompt": prompt})).expect_err("refused");
        assert_eq!(error.param.as_deref(), Some("prompt"));
    }
}

fn answer() -> Value {
    json!({
        "id": "c-1", "object": "chat.completion", "created": 7, "model": "m", "service_tier": "default",
        "system_fingerprint": "fp",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": null,
                "reasoning_content": "ab",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "ab", "signature": "s1", "index": 0},
                    {"type": "reasoning.encrypted", "data": "x", "index": 1}],
                "annotations": [{"type": "url_citation", "url_citation":
                    {"start_index": 0, "end_index": 5, "url": "https://example.com", "title": "t"}}],
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "c2ln"}}}],
                "odd": 1},
             "logprobs": {"content": []}, "finish_reason": "tool_calls", "odd": 2},
            {"index": 1, "message": {"role": "assistant", "content": null, "refusal": "No."},
             "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 2}},
    })
}

#[test]
fn an_answer_comes_back_as_it_went() {
    let body = Bytes::new();
    let read = OpenaiChat
        .read_answer(&answer().to_string())
        .expect("an answer");
    assert_eq!(read.choices[1].finish.reason, FinishReason::Refusal);
    let back = OpenaiChat.write_answer(&read, &asked(&body));
    assert_eq!(value(&back), answer());
}

#[test]
fn a_legacy_answer_is_text() {
    let body = Bytes::new();
    let read = OpenaiChat
        .read_answer(&answer().to_string())
        .expect("an answer");
    let asked = Asked {
        from: "none",
        endpoint: Endpoint::Completions,
        ..asked(&body)
    };
    let back = value(&OpenaiChat.write_answer(&read, &asked));
    assert_eq!(back["object"], "text_completion");
    assert_eq!(back["choices"][0]["text"], "Hello");
}

#[test]
fn a_stream_is_put_in_order_at_every_split() {
    let stream = chunks(&[
        json!({"id": "", "choices": [], "prompt_filter_results": []}),
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"reasoning_content": "h"})),
        delta(json!({"reasoning_content": "m", "content": null})),
        delta(json!({"content": "He"})),
        delta(json!({"content": "llö \"x\""})),
        delta(
            json!({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
        ),
        delta(
            json!({"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{\"z\":"}}]}),
        ),
        delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"a\":\"}\"}"}}]})),
        delta(json!({"tool_calls": [{"index": 1, "function": {"arguments": "1}"}}]})),
        finish("tool_calls"),
        json!({"id": "c-1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}),
    ]);
    let expect = events_of(&stream, stream.len());
    snapshot("events_in_order", &format!("{expect:#?}"));
    for size in 1..stream.len() {
        assert_eq!(events_of(&stream, size), expect, "in pieces of {size}");
    }
    let back = events_of(&write_events(&expect), 1 << 20);
    assert_eq!(back, expect);
}

#[test]
fn calls_without_numbers_or_with_one_number_are_told_apart() {
    for index in [json!(null), json!(0)] {
        let call = |id: &str, name: &str| {
            delta(
                json!({"tool_calls": [{"index": index, "id": id, "type": "function",
                "function": {"name": name, "arguments": "{}"}}]}),
            )
        };
        let events = events_of(
            &chunks(&[call("a", "f"), call("b", "g"), finish("stop")]),
            4096,
        );
        let starts = events.iter().filter_map(|event| match event {
            ChatEvent::BlockStart {
                block,
                start: crate::types::chat::BlockStart::ToolCall { id, .. },
                ..
            } => Some((*block, id.as_str())),
            _ => None,
        });
        assert_eq!(starts.collect::<Vec<_>>(), [(0, "a"), (1, "b")]);
        assert!(events.iter().any(|event| matches!(event,
            ChatEvent::Finish { finish, .. } if finish.reason == FinishReason::ToolCalls)));
    }
}

#[test]
fn a_torn_stream_has_no_end_and_an_error_is_the_last() {
    let torn = format!("data: {}\n\n", delta(json!({"content": "a"})));
    let events = events_of(torn.as_bytes(), 7);
    assert!(!events.contains(&ChatEvent::End));
    let failed = chunks(&[
        delta(json!({"content": "a"})),
        json!({"error": {"message": "overloaded", "type": "server_error", "code": 503}}),
        delta(json!({"content": "b"})),
    ]);
    let events = events_of(&failed, 4096);
    let Some(ChatEvent::Error(fault)) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(fault.message, "overloaded");
    assert_eq!(fault.code.as_deref(), Some("503"));
}

fn tokens() -> impl Strategy<Value = Tokens> {
    let count = 0u64..1_000_000_000;
    [
        count.clone(),
        count.clone(),
        count.clone(),
        count.clone(),
        count.clone(),
        count,
    ]
    .prop_map(
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
        let events = [ChatEvent::Start(crate::types::chat::AnswerHead::default()),
            ChatEvent::Finish { choice: 0, finish: FinishReason::Length.into() },
            ChatEvent::Usage(tokens), ChatEvent::End];
        let mut framer = SseFramer::new(1 << 20);
        framer.push(write_events(&events).freeze()).expect("within the cap");
        let mut tap = StreamTap::new();
        while let Some(event) = framer.next_event() {
            tap.see(&event);
        }
        prop_assert_eq!(tap.facts().usage, Some(tokens));
        prop_assert!(tap.facts().done && tap.facts().finish.truncated);

        let mut answer = OpenaiChat.read_answer(&answer().to_string()).expect("an answer");
        answer.usage = Some(tokens);
        let body = Bytes::new();
        let whole = OpenaiChat.write_answer(&answer, &asked(&body));
        let facts = inspect_response(Endpoint::ChatCompletions, &whole).expect("an answer");
        prop_assert_eq!(facts.usage.and_then(|usage| usage.tokens), Some(tokens));
    }
}

#[test]
fn inputs_keep_their_kind() {
    let request = read_request(
        &json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": [
        {"id": "c", "type": "custom", "custom": {"name": "g", "input": "x"}}]}]}),
    );
    let BlockBody::ToolCall(call) = &request.messages[0].blocks[0].body else {
        panic!("a call");
    };
    assert_eq!(call.input, ToolInput::Text("x".to_owned()));
}
