//! The codec as a whole: what comes back of what was read, and what others' requests become.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::AnthropicMessages;
use crate::types::Endpoint;
use crate::types::chat::{
    Block, BlockBody, ChatEvent, ChatRequest, Effort, Inexpressible, Message, Notes, OutputFormat,
    ReasoningWish, Speaker, Tool, ToolCall, ToolChoice, ToolInput, ToolKind, ToolResult,
};
use crate::wire::framing::sse::SseFramer;
use crate::wire::translate::{Asked, Host, Target, Translate, WireEvent};

const CODEC: AnthropicMessages = AnthropicMessages;

fn target(model: &str) -> Target<'_> {
    Target {
        upstream_model: model,
        stream: false,
        max_output_tokens: 8192,
        ask_stream_usage: false,
        host: Host::Native,
    }
}

pub(super) fn asked(body: &Bytes) -> Asked<'_> {
    Asked {
        from: "none",
        endpoint: Endpoint::Messages,
        body,
        include_usage: true,
        id: "req-1",
        created: 1_700_000_000,
    }
}

fn read(body: &Value) -> ChatRequest {
    let read = CODEC.read_request(Endpoint::Messages, &body.to_string());
    read.expect("a request")
}

pub(super) fn write(request: &ChatRequest, model: &str) -> Result<(Value, Notes), Inexpressible> {
    let mut notes = Notes::default();
    let bytes = CODEC.write_request(request, &target(model), &mut notes)?;
    let json = serde_json::from_slice(&bytes).expect("JSON");
    Ok((json, notes))
}

fn comes_back(mut body: Value) {
    body["model"] = json!("claude-test");
    let (back, notes) = write(&read(&body), "claude-test").expect("its own request");
    assert_eq!(back, body);
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn requests_come_back_as_they_were() {
    comes_back(json!({
        "max_tokens": 100,
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}, "new": 1},
                {"type": "document", "source": {"type": "file", "file_id": "f_1"}, "title": "t", "citations": {"enabled": true}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "aGlk"},
                {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"q": 1}},
                {"type": "text", "text": "x", "citations": [{"type": "char_location", "cited_text": "c", "document_index": 0, "document_title": "d", "start_char_index": 0, "end_char_index": 1}]},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, "\n"]}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok", "is_error": true},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "image", "source": {"type": "url", "url": "https://x.example/"}}]},
                {"type": "tool_result", "tool_use_id": "toolu_3"},
            ]},
        ],
        "tools": [
            {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true, "cache_control": {"type": "ephemeral"}, "eager_input_streaming": true},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "temperature": 1, "top_p": 0.5, "top_k": 5,
        "stop_sequences": ["a", " "],
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "container": {"id": "c"},
        "stream": false,
    }).as_object().map(|it| {
        let mut it = it.clone();
        it.remove("stream");
        Value::Object(it)
    }).expect("an object"));
    comes_back(json!({
        "max_tokens": 1, "messages": [],
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "low", "task_budget": {"type": "tokens", "total": 9}},
        "metadata": {"user_id": "u", "more": 1},
        "tool_choice": {"type": "new"},
    }));
    comes_back(json!({
        "max_tokens": 1, "messages": [{"role": "user", "content": "a", "x": null}],
        "thinking": {"type": "disabled"}, "tool_choice": {"type": "none"},
    }));
}

fn foreign(messages: Vec<Message>) -> ChatRequest {
    ChatRequest {
        dialect: "openai_chat",
        messages,
        ..ChatRequest::default()
    }
}

fn said(speaker: Speaker, text: &str) -> Message {
    Message::new(speaker, vec![Block::text(text)])
}

#[test]
fn a_foreign_conversation_is_put_into_shape() {
    let call = |id: &str, input: &str| -> Block {
        BlockBody::ToolCall(ToolCall {
            id: id.to_owned(),
            name: "f".to_owned(),
            input: ToolInput::Json(input.to_owned()),
            seal: None,
        })
        .into()
    };
    let result = |id: &str| {
        let result = ToolResult {
            call_id: id.to_owned(),
            name: None,
            blocks: vec![Block::text("42")],
            is_error: false,
        };
        Message::new(Speaker::Tool, vec![BlockBody::ToolResult(result).into()])
    };
    let request = foreign(vec![
        said(Speaker::System, "be kind"),
        said(Speaker::Developer, "be brief"),
        said(Speaker::User, "go"),
        Message::new(
            Speaker::Assistant,
            vec![
                Block::text(""),
                call("call.1", "{\"a\":1}"),
                call("call_2", "{oops"),
                call("c3", ""),
            ],
        ),
        result("call.1"),
        result("call_2"),
        result("c3"),
        said(Speaker::User, "and?"),
    ]);
    let (json, notes) = write(&request, "claude-test").expect("expressible");
    assert!(notes.is_empty(), "{notes:?}");
    let id = json["messages"][1]["content"][0]["id"].clone();
    assert_ne!(id, "call.1");
    assert_eq!(
        json,
        json!({
            "model": "claude-test",
            "max_tokens": 8192,
            "system": [{"type": "text", "text": "be kind"}, {"type": "text", "text": "be brief"}],
            "messages": [
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": id, "name": "f", "input": {"a": 1}},
                    {"type": "tool_use", "id": "call_2", "name": "f", "input": {"_invalid_json": "{oops"}},
                    {"type": "tool_use", "id": "c3", "name": "f", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": id, "content": "42"},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "42"},
                    {"type": "tool_result", "tool_use_id": "c3", "content": "42"},
                    {"type": "text", "text": "and?"},
                ]},
            ],
        })
    );
}

#[test]
fn thinking_follows_the_models_generation() {
    let mut request = foreign(vec![said(Speaker::User, "go")]);
    request.reasoning = Some(ReasoningWish {
        effort: Some(Effort::High),
        ..ReasoningWish::default()
    });
    request.sampling.temperature = Some(0.2);
    let (json, notes) = write(&request, "claude-sonnet-4-5").expect("expressible");
    assert_eq!(
        json["thinking"],
        json!({"type": "enabled", "budget_tokens": 6553})
    );
    assert_eq!(json.get("temperature"), None);
    assert_eq!(notes.iter().count(), 1);
    let (json, _) = write(&request, "claude-opus-4-7").expect("expressible");
    assert_eq!(json["thinking"], json!({"type": "adaptive"}));
    assert_eq!(json["output_config"], json!({"effort": "high"}));
    let (json, notes) = write(&request, "claude-3-5-haiku-latest").expect("expressible");
    assert_eq!(json.get("thinking"), None);
    assert_eq!(json["temperature"], 0.2);
    assert_eq!(notes.iter().count(), 1);
    request.tools = vec![Tool {
        kind: ToolKind::Function {
            parameters: None,
            strict: None,
        },
        name: "f".to_owned(),
        description: None,
        cache_mark: None,
        extra: crate::types::chat::Extra::none(),
    }];
    request.tool_choice = Some(ToolChoice::Required);
    request.parallel_tool_calls = Some(false);
    let (json, _) = write(&request, "claude-opus-4-7").expect("expressible");
    assert_eq!(json.get("thinking"), None);
    assert_eq!(
        json["tool_choice"],
        json!({"type": "any", "disable_parallel_tool_use": true})
    );
    assert_eq!(
        json["tools"][0]["input_schema"],
        json!({"type": "object", "properties": {}})
    );
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let check = |change: fn(&mut ChatRequest), field: &str| {
        let mut request = foreign(vec![said(Speaker::User, "go")]);
        change(&mut request);
        let refused = write(&request, "claude-3-opus-20240229").expect_err("inexpressible");
        assert_eq!(refused.field, field);
    };
    check(|it| it.choices = Some(2), "n");
    check(
        |it| {
            it.output_format = Some(OutputFormat::Schema(crate::types::chat::SchemaFormat {
                name: None,
                description: None,
                schema: crate::types::chat::RawJson::new("{}"),
                strict: None,
            }));
        },
        "response_format",
    );
    check(
        |it| {
            let native = BlockBody::Native(crate::types::chat::RawJson::new("{}"));
            it.messages[0].blocks.push(native.into());
        },
        "messages[0].content[1]",
    );
}

#[test]
fn clouds_have_their_own_paths() {
    let body = json!({"max_tokens": 1, "messages": [], "stream": true});
    let request = read(&body);
    let check = |host, path: &str, expect: Value| {
        let target = Target {
            host,
            stream: true,
            ..target("anthropic.claude:0")
        };
        assert_eq!(CODEC.path(&target).path, path);
        let bytes = CODEC.write_request(&request, &target, &mut Notes::default());
        let json: Value = serde_json::from_slice(&bytes.expect("expressible")).expect("JSON");
        assert_eq!(json, expect);
    };
    check(
        Host::Native,
        "v1/messages",
        json!({"model": "anthropic.claude:0", "max_tokens": 1, "messages": [], "stream": true}),
    );
    check(
        Host::Vertex,
        "publishers/anthropic/models/anthropic.claude:0:streamRawPredict",
        json!({"anthropic_version": "vertex-2023-10-16", "max_tokens": 1, "messages": [], "stream": true}),
    );
    check(
        Host::Bedrock,
        "model/anthropic.claude%3A0/invoke-with-response-stream",
        json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1, "messages": []}),
    );
}

#[test]
fn answers_come_back_as_they_were() {
    let answer = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "text", "text": "x", "citations": null},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null, "container": {"id": "c"},
        "usage": {
            "input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 3,
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4},
            "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 2},
            "service_tier": "standard", "server_tool_use": {"web_search_requests": 1},
        },
    });
    let read = CODEC.read_answer(&answer.to_string()).expect("an answer");
    let body = Bytes::new();
    let back: Value =
        serde_json::from_slice(&CODEC.write_answer(&read, &asked(&body))).expect("JSON");
    assert_eq!(back, answer);
}

pub(super) fn events_of(stream: &[u8], split: usize) -> Vec<ChatEvent> {
    let mut framer = SseFramer::new(1 << 20);
    let mut reader = CODEC.reader();
    let mut events = Vec::new();
    let (a, b) = stream.split_at(split);
    for chunk in [a, b] {
        framer.push(Bytes::copy_from_slice(chunk)).expect("a frame");
        while let Some(event) = framer.next_event() {
            let name = event
                .name()
                .map(|name| String::from_utf8_lossy(name).into_owned());
            let data = event.data().unwrap_or_default();
            let event = WireEvent {
                name: name.as_deref(),
                data: &data,
            };
            reader.read(event, &mut events).expect("of the dialect");
        }
    }
    reader.finish(&mut events);
    events
}

pub(super) fn written(events: &[ChatEvent]) -> Vec<u8> {
    let body = Bytes::new();
    let mut writer = CODEC.writer(&asked(&body));
    let mut out = BytesMut::new();
    for event in events {
        writer.write(event, &mut out);
    }
    out.to_vec()
}
