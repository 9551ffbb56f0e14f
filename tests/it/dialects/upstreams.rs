//! What upstreams of each dialect say to one question, as their documentation has it: a text, a tool
//! call, an error. Counts are the same everywhere, in each provider's own way of counting: 60 tokens of
//! fresh input and 40 from its cache, 20 of output and (where the dialect tells) 5 of them thoughts.

use serde_json::{Value, json};

use crate::harness::upstream::Received;
use crate::harness::{Script, Step};

/// The dialects that upstreams speak.
pub const UPSTREAMS: &[&str] = &[
    "openai_chat",
    "openai_responses",
    "anthropic_messages",
    "gemini_generate",
    "bedrock_converse",
];

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// [`TEXT`].
    Text,
    /// `get_weather({"city":"Málaga"})` with the id `call_1` where the dialect has ids.
    ToolCall,
    /// 400, in the dialect's form.
    Refused,
    /// A stream that breaks with an error after its first words.
    Torn,
}

/// What every upstream says.
pub const TEXT: &str = "Hello, wörld ✓ \"quoted\"\n";
/// The words that it comes in.
const PIECES: [&str; 3] = ["Hello, ", "wörld ✓ \"quo", "ted\"\n"];
/// The arguments of the tool call, in pieces that split anywhere.
const ARGUMENTS: [&str; 3] = ["{\"ci", "ty\":\"Mál", "aga\"}"];

/// The answer of an upstream that speaks `dialect`.
pub fn answer(dialect: &str, scene: Scene, request: &Received) -> Script {
    let streamed = match dialect {
        "gemini_generate" => request.path.contains(":streamGenerateContent"),
        "bedrock_converse" => request.path.ends_with("/converse-stream"),
        _ => request.wants_stream(),
    };
    if scene == Scene::Refused {
        return Script::json(400, &refusal(dialect));
    }
    if !streamed {
        return Script::json(200, &whole(dialect, scene));
    }
    let events = stream(dialect, scene);
    if dialect == "bedrock_converse" {
        let frames = events
            .iter()
            .map(|(name, data)| Step::Chunk(frame(name, data)));
        let mut script = Script::steps(frames.collect());
        script.headers = vec![(
            "content-type".to_owned(),
            "application/vnd.amazon.eventstream".to_owned(),
        )];
        return script;
    }
    let steps = events.iter().map(|(name, data)| {
        let name = if name.is_empty() {
            String::new()
        } else {
            format!("event: {name}\n")
        };
        Step::Chunk(format!("{name}data: {data}\n\n").into_bytes())
    });
    Script::steps(steps.collect())
}

/// One message of Amazon's event stream: lengths, headers, payload, checksums.
fn frame(name: &str, payload: &str) -> Vec<u8> {
    let kind = if name.ends_with("Exception") {
        ("exception", ":exception-type")
    } else {
        ("event", ":event-type")
    };
    let mut headers = Vec::new();
    for (header, value) in [
        (":message-type", kind.0),
        (kind.1, name),
        (":content-type", "application/json"),
    ] {
        headers.push(u8::try_from(header.len()).expect("short"));
        headers.extend_from_slice(header.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).expect("short").to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let total = 12 + headers.len() + payload.len() + 4;
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&u32::try_from(total).expect("short").to_be_bytes());
    out.extend_from_slice(&u32::try_from(headers.len()).expect("short").to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&headers);
    out.extend_from_slice(payload.as_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out
}

fn refusal(dialect: &str) -> Value {
    let message = "temperature: must not be negative";
    match dialect {
        "anthropic_messages" => {
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}, "request_id": "req_9"})
        }
        "gemini_generate" => {
            json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})
        }
        "bedrock_converse" => json!({"message": message}),
        _ => {
            json!({"error": {"message": message, "type": "invalid_request_error", "param": "temperature", "code": null}})
        }
    }
}

fn whole(dialect: &str, scene: Scene) -> Value {
    let calls = scene == Scene::ToolCall;
    let arguments = ARGUMENTS.concat();
    let input: Value = serde_json::from_str(&arguments).expect("JSON");
    match dialect {
        "openai_chat" => json!({
            "id": "chatcmpl-9", "object": "chat.completion", "created": 1_700_000_000, "model": "up-1",
            "choices": [{"index": 0, "logprobs": null,
                "message": if calls {
                    json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                        {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}]})
                } else { json!({"role": "assistant", "content": TEXT, "refusal": null}) },
                "finish_reason": if calls { "tool_calls" } else { "stop" }}],
            "usage": chat_usage(),
        }),
        "openai_responses" => json!({
            "id": "resp_9", "object": "response", "created_at": 1_700_000_000, "status": "completed", "model": "up-1",
            "error": null, "incomplete_details": null, "instructions": null, "metadata": {}, "parallel_tool_calls": true,
            "temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": [],
            "output": [if calls { responses_call() } else { responses_message() }],
            "usage": responses_usage(),
        }),
        "anthropic_messages" => json!({
            "id": "msg_9", "type": "message", "role": "assistant", "model": "up-1",
            "content": [if calls { json!({"type": "tool_use", "id": "call_1", "name": "get_weather", "input": input}) }
                        else { json!({"type": "text", "text": TEXT}) }],
            "stop_reason": if calls { "tool_use" } else { "end_turn" }, "stop_sequence": null,
            "usage": {"input_tokens": 60, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 0, "output_tokens": 20},
        }),
        "gemini_generate" => json!({
            "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
                if calls { json!({"functionCall": {"name": "get_weather", "args": input}}) } else { json!({"text": TEXT}) }]}}],
            "usageMetadata": gemini_usage(), "modelVersion": "up-1", "responseId": "g9",
        }),
        _ => json!({
            "output": {"message": {"role": "assistant", "content": [
                if calls { json!({"toolUse": {"toolUseId": "call_1", "name": "get_weather", "input": input}}) } else { json!({"text": TEXT}) }]}},
            "stopReason": if calls { "tool_use" } else { "end_turn" },
            "usage": bedrock_usage(), "metrics": {"latencyMs": 5},
        }),
    }
}

fn chat_usage() -> Value {
    json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 5}})
}

fn responses_usage() -> Value {
    json!({"input_tokens": 100, "input_tokens_details": {"cached_tokens": 40}, "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 120})
}

fn gemini_usage() -> Value {
    json!({"promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 15,
        "thoughtsTokenCount": 5, "totalTokenCount": 120})
}

fn bedrock_usage() -> Value {
    json!({"inputTokens": 60, "outputTokens": 20, "totalTokens": 120, "cacheReadInputTokens": 40, "cacheWriteInputTokens": 0})
}

fn responses_message() -> Value {
    json!({"type": "message", "id": "msg_9", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": TEXT, "annotations": []}]})
}

fn responses_call() -> Value {
    json!({"type": "function_call", "id": "fc_9", "call_id": "call_1", "name": "get_weather",
        "arguments": ARGUMENTS.concat(), "status": "completed"})
}

/// Names and data of the events.
fn stream(dialect: &str, scene: Scene) -> Vec<(String, String)> {
    let unnamed = |data: Value| (String::new(), data.to_string());
    let named = |name: &str, data: Value| (name.to_owned(), data.to_string());
    let calls = scene == Scene::ToolCall;
    let torn = scene == Scene::Torn;
    let pieces = if calls { ARGUMENTS } else { PIECES };
    match dialect {
        "openai_chat" => chat_stream(scene),
        "openai_responses" => responses_stream(scene),
        "anthropic_messages" => {
            let mut events = vec![
                named(
                    "message_start",
                    json!({"type": "message_start", "message": {"id": "msg_9", "type": "message", "role": "assistant",
                    "model": "up-1", "content": [], "stop_reason": null, "stop_sequence": null,
                    "usage": {"input_tokens": 60, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 0, "output_tokens": 1}}}),
                ),
                named(
                    "content_block_start",
                    json!({"type": "content_block_start", "index": 0, "content_block":
                    if calls { json!({"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {}}) } else { json!({"type": "text", "text": ""}) }}),
                ),
                named("ping", json!({"type": "ping"})),
            ];
            for piece in pieces {
                let delta = if calls {
                    json!({"type": "input_json_delta", "partial_json": piece})
                } else {
                    json!({"type": "text_delta", "text": piece})
                };
                events.push(named(
                    "content_block_delta",
                    json!({"type": "content_block_delta", "index": 0, "delta": delta}),
                ));
                if torn {
                    events.push(named("error", json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})));
                    return events;
                }
            }
            events.push(named(
                "content_block_stop",
                json!({"type": "content_block_stop", "index": 0}),
            ));
            events.push(named("message_delta", json!({"type": "message_delta",
                "delta": {"stop_reason": if calls { "tool_use" } else { "end_turn" }, "stop_sequence": null}, "usage": {"output_tokens": 20}})));
            events.push(named("message_stop", json!({"type": "message_stop"})));
            events
        }
        "gemini_generate" => {
            let mut events = Vec::new();
            let chunk = |parts: Value| json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}}], "modelVersion": "up-1", "responseId": "g9"});
            if calls {
                let input: Value = serde_json::from_str(&ARGUMENTS.concat()).expect("JSON");
                events.push(unnamed(chunk(
                    json!([{"functionCall": {"name": "get_weather", "args": input}}]),
                )));
            } else {
                for piece in PIECES {
                    events.push(unnamed(chunk(json!([{"text": piece}]))));
                    if torn {
                        events.push(unnamed(json!({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}})));
                        return events;
                    }
                }
            }
            events.push(unnamed(json!({"candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [{"text": ""}]}}],
                "usageMetadata": gemini_usage(), "modelVersion": "up-1", "responseId": "g9"})));
            events
        }
        _ => {
            let mut events = vec![named("messageStart", json!({"role": "assistant"}))];
            if calls {
                events.push(named("contentBlockStart", json!({"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "call_1", "name": "get_weather"}}})));
            }
            for piece in pieces {
                let delta = if calls {
                    json!({"toolUse": {"input": piece}})
                } else {
                    json!({"text": piece})
                };
                events.push(named(
                    "contentBlockDelta",
                    json!({"contentBlockIndex": 0, "delta": delta}),
                ));
                if torn {
                    events.push(named(
                        "modelStreamErrorException",
                        json!({"message": "overloaded"}),
                    ));
                    return events;
                }
            }
            events.push(named("contentBlockStop", json!({"contentBlockIndex": 0})));
            events.push(named(
                "messageStop",
                json!({"stopReason": if calls { "tool_use" } else { "end_turn" }}),
            ));
            events.push(named(
                "metadata",
                json!({"usage": bedrock_usage(), "metrics": {"latencyMs": 5}}),
            ));
            events
        }
    }
}

fn chat_stream(scene: Scene) -> Vec<(String, String)> {
    let chunk = |delta: Value, finish: Option<&str>| {
        let data = json!({"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "up-1",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]});
        (String::new(), data.to_string())
    };
    let calls = scene == Scene::ToolCall;
    let mut events = vec![chunk(
        json!({"role": "assistant", "content": if calls { Value::Null } else { json!("") }}),
        None,
    )];
    if calls {
        events.push(chunk(json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}]}), None));
        for piece in ARGUMENTS {
            events.push(chunk(
                json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}),
                None,
            ));
        }
    } else {
        for piece in PIECES {
            events.push(chunk(json!({"content": piece}), None));
            if scene == Scene::Torn {
                events.push((String::new(), json!({"error": {"message": "overloaded", "type": "server_error", "param": null, "code": null}}).to_string()));
                return events;
            }
        }
    }
    events.push(chunk(
        json!({}),
        Some(if calls { "tool_calls" } else { "stop" }),
    ));
    events.push((String::new(), json!({"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "up-1",
        "choices": [], "usage": chat_usage()}).to_string()));
    events.push((String::new(), "[DONE]".to_owned()));
    events
}

fn responses_stream(scene: Scene) -> Vec<(String, String)> {
    let mut number = 0;
    let mut event = |kind: &str, mut data: Value| {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(number);
        number += 1;
        (kind.to_owned(), data.to_string())
    };
    let response = |status: &str, output: Value, usage: Value| {
        json!({"response": {"id": "resp_9", "object": "response", "created_at": 1_700_000_000, "status": status, "model": "up-1",
            "error": null, "incomplete_details": null, "output": output, "usage": usage}})
    };
    let calls = scene == Scene::ToolCall;
    let mut events = vec![event(
        "response.created",
        response("in_progress", json!([]), Value::Null),
    )];
    if calls {
        events.push(event("response.output_item.added", json!({"output_index": 0, "item": {"type": "function_call", "id": "fc_9", "call_id": "call_1", "name": "get_weather", "arguments": "", "status": "in_progress"}})));
        for piece in ARGUMENTS {
            events.push(event(
                "response.function_call_arguments.delta",
                json!({"output_index": 0, "item_id": "fc_9", "delta": piece}),
            ));
        }
        events.push(event(
            "response.function_call_arguments.done",
            json!({"output_index": 0, "item_id": "fc_9", "arguments": ARGUMENTS.concat()}),
        ));
        events.push(event(
            "response.output_item.done",
            json!({"output_index": 0, "item": responses_call()}),
        ));
        events.push(event(
            "response.completed",
            response("completed", json!([responses_call()]), responses_usage()),
        ));
        return events;
    }
    events.push(event("response.output_item.added", json!({"output_index": 0, "item": {"type": "message", "id": "msg_9", "status": "in_progress", "role": "assistant", "content": []}})));
    events.push(event("response.content_part.added", json!({"output_index": 0, "item_id": "msg_9", "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": []}})));
    for piece in PIECES {
        events.push(event(
            "response.output_text.delta",
            json!({"output_index": 0, "item_id": "msg_9", "content_index": 0, "delta": piece}),
        ));
        if scene == Scene::Torn {
            events.push(event(
                "error",
                json!({"code": "server_error", "message": "overloaded", "param": null}),
            ));
            return events;
        }
    }
    events.push(event(
        "response.output_text.done",
        json!({"output_index": 0, "item_id": "msg_9", "content_index": 0, "text": TEXT}),
    ));
    events.push(event("response.content_part.done", json!({"output_index": 0, "item_id": "msg_9", "content_index": 0, "part": {"type": "output_text", "text": TEXT, "annotations": []}})));
    events.push(event(
        "response.output_item.done",
        json!({"output_index": 0, "item": responses_message()}),
    ));
    events.push(event(
        "response.completed",
        response("completed", json!([responses_message()]), responses_usage()),
    ));
    events
}
