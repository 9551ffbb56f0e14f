//! What clients of each endpoint ask, and what they make of the answer.

use serde_json::{Value, json};

use crate::harness::Reply;

/// The endpoints whose answers are conversations.
pub const ENDPOINTS: &[&str] = &["/v1/chat/completions", "/v1/messages", "/v1/responses"];

/// What a client understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub text: String,
    /// Name and arguments.
    pub calls: Vec<(String, Value)>,
    pub finish: String,
    pub model: String,
    /// Input with everything from the cache, of that from the cache, output.
    pub usage: (u64, u64, u64),
    /// The stream ended with an error.
    pub error: Option<String>,
}

/// A request in the endpoint's own form: a system prompt, an earlier turn, a tool.
pub fn request(endpoint: &str, stream: bool) -> Value {
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let mut body = match endpoint {
        "/v1/chat/completions" => json!({
            "max_completion_tokens": 500, "temperature": 0.5,
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Weather in Málaga?"}],
            "tools": [{"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": schema}}],
        }),
        "/v1/messages" => json!({
            "max_tokens": 500, "temperature": 0.5, "system": "Be brief.",
            "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": [{"type": "text", "text": "Weather in Málaga?"}]}],
            "tools": [{"name": "get_weather", "description": "The weather", "input_schema": schema}],
        }),
        _ => json!({
            "max_output_tokens": 500, "temperature": 0.5, "instructions": "Be brief.",
            "input": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": [{"type": "input_text", "text": "Weather in Málaga?"}]}],
            "tools": [{"type": "function", "name": "get_weather", "description": "The weather", "parameters": schema, "strict": false}],
        }),
    };
    body["model"] = json!("m");
    if stream {
        body["stream"] = json!(true);
        if endpoint == "/v1/chat/completions" {
            body["stream_options"] = json!({"include_usage": true});
        }
    }
    body
}

/// Understands an answer.
pub fn hear(endpoint: &str, stream: bool, reply: &Reply) -> Heard {
    match (endpoint, stream) {
        ("/v1/chat/completions", false) => chat(&reply.json()),
        ("/v1/chat/completions", true) => chat_stream(&reply.events()),
        ("/v1/messages", false) => messages(&reply.json()),
        ("/v1/messages", true) => messages_stream(&reply.events()),
        (_, false) => responses(&reply.json()),
        (_, true) => responses_stream(&reply.events()),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn arguments(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn chat_usage(usage: &Value) -> (u64, u64, u64) {
    let of = |value: &Value| value.as_u64().unwrap_or(0);
    (
        of(&usage["prompt_tokens"]),
        of(&usage["prompt_tokens_details"]["cached_tokens"]),
        of(&usage["completion_tokens"]),
    )
}

fn chat(body: &Value) -> Heard {
    let choice = &body["choices"][0];
    let calls = choice["message"]["tool_calls"].as_array().cloned();
    let calls = calls.unwrap_or_default().into_iter().map(|call| {
        let function = &call["function"];
        (
            text(&function["name"]),
            arguments(&text(&function["arguments"])),
        )
    });
    Heard {
        text: text(&choice["message"]["content"]),
        calls: calls.collect(),
        finish: text(&choice["finish_reason"]),
        model: text(&body["model"]),
        usage: chat_usage(&body["usage"]),
        error: None,
    }
}

fn chat_stream(events: &[String]) -> Heard {
    let mut heard = Heard::default();
    let mut calls: Vec<(String, String)> = Vec::new();
    let mut done = false;
    for event in events {
        if event == "[DONE]" {
            done = true;
            continue;
        }
        assert!(!done, "nothing follows the end");
        let chunk: Value = serde_json::from_str(event).expect("JSON");
        if !chunk["error"].is_null() {
            heard.error = Some(text(&chunk["error"]["message"]));
            continue;
        }
        assert_eq!(chunk["object"], "chat.completion.chunk");
        heard.model = text(&chunk["model"]);
        if chunk["usage"].is_object() {
            heard.usage = chat_usage(&chunk["usage"]);
        }
        let Some(choice) = chunk["choices"].get(0) else {
            continue;
        };
        heard.text += &text(&choice["delta"]["content"]);
        for call in choice["delta"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let index = usize::try_from(call["index"].as_u64().expect("an index")).expect("small");
            if calls.len() <= index {
                calls.resize(index + 1, (String::new(), String::new()));
            }
            calls[index].0 += &text(&call["function"]["name"]);
            calls[index].1 += &text(&call["function"]["arguments"]);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            reason.clone_into(&mut heard.finish);
        }
    }
    assert!(
        done || heard.error.is_some(),
        "the stream has an end: {events:?}"
    );
    heard.calls = calls
        .into_iter()
        .map(|(name, text)| (name, arguments(&text)))
        .collect();
    heard
}

fn messages_usage(usage: &Value) -> (u64, u64, u64) {
    let of = |name: &str| usage[name].as_u64().unwrap_or(0);
    let cached = of("cache_read_input_tokens");
    let input = of("input_tokens") + cached + of("cache_creation_input_tokens");
    (input, cached, of("output_tokens"))
}

fn messages(body: &Value) -> Heard {
    assert_eq!(body["type"], "message", "{body}");
    let mut heard = Heard {
        finish: text(&body["stop_reason"]),
        model: text(&body["model"]),
        usage: messages_usage(&body["usage"]),
        ..Heard::default()
    };
    for block in body["content"].as_array().expect("content") {
        match block["type"].as_str() {
            Some("text") => heard.text += &text(&block["text"]),
            Some("tool_use") => heard
                .calls
                .push((text(&block["name"]), block["input"].clone())),
            other => panic!("{other:?}"),
        }
    }
    heard
}

fn messages_stream(events: &[String]) -> Heard {
    let mut heard = Heard::default();
    let mut open: Option<(u64, Value, String)> = None;
    let mut usage = json!({});
    let mut stopped = false;
    for event in events {
        let event: Value = serde_json::from_str(event).expect("JSON");
        assert!(!stopped, "nothing follows the end");
        match event["type"].as_str().expect("a type") {
            "message_start" => {
                heard.model = text(&event["message"]["model"]);
                usage = event["message"]["usage"].clone();
            }
            "content_block_start" => {
                assert!(open.is_none(), "one block at a time");
                open = Some((
                    event["index"].as_u64().expect("an index"),
                    event["content_block"].clone(),
                    String::new(),
                ));
            }
            "content_block_delta" => {
                let (index, _, said) = open.as_mut().expect("an open block");
                assert_eq!(event["index"], *index);
                *said += &text(&event["delta"]["text"]);
                *said += &text(&event["delta"]["partial_json"]);
            }
            "content_block_stop" => {
                let (_, block, said) = open.take().expect("an open block");
                match block["type"].as_str() {
                    Some("text") => heard.text += &said,
                    Some("tool_use") => heard.calls.push((text(&block["name"]), arguments(&said))),
                    other => panic!("{other:?}"),
                }
            }
            "message_delta" => {
                heard.finish = text(&event["delta"]["stop_reason"]);
                for (name, value) in event["usage"].as_object().expect("usage") {
                    usage[name] = value.clone();
                }
            }
            "message_stop" => stopped = true,
            "ping" => {}
            "error" => heard.error = Some(text(&event["error"]["message"])),
            other => panic!("{other}"),
        }
    }
    assert!(
        stopped || heard.error.is_some(),
        "the stream has an end: {events:?}"
    );
    if heard.error.is_some() {
        heard.text += &open.map(|(_, _, said)| said).unwrap_or_default();
    }
    heard.usage = messages_usage(&usage);
    heard
}

fn responses(body: &Value) -> Heard {
    assert_eq!(body["object"], "response", "{body}");
    let of = |value: &Value| value.as_u64().unwrap_or(0);
    let usage = &body["usage"];
    let mut heard = Heard {
        finish: text(&body["status"]),
        model: text(&body["model"]),
        usage: (
            of(&usage["input_tokens"]),
            of(&usage["input_tokens_details"]["cached_tokens"]),
            of(&usage["output_tokens"]),
        ),
        ..Heard::default()
    };
    for item in body["output"].as_array().expect("output") {
        match item["type"].as_str() {
            Some("message") => {
                for part in item["content"].as_array().expect("content") {
                    heard.text += &text(&part["text"]);
                }
            }
            Some("function_call") => {
                heard
                    .calls
                    .push((text(&item["name"]), arguments(&text(&item["arguments"]))));
            }
            other => panic!("{other:?}"),
        }
    }
    heard
}

fn responses_stream(events: &[String]) -> Heard {
    let mut said = String::new();
    for (number, event) in events.iter().enumerate() {
        let event: Value = serde_json::from_str(event).expect("JSON");
        assert_eq!(event["sequence_number"], number, "{event}");
        match event["type"].as_str().expect("a type") {
            "response.output_text.delta" => said += &text(&event["delta"]),
            "response.completed" => {
                let heard = responses(&event["response"]);
                assert_eq!(heard.text, said, "the deltas are the whole");
                assert_eq!(number + 1, events.len(), "nothing follows the end");
                return heard;
            }
            "error" | "response.failed" => {
                let message = [&event["message"], &event["response"]["error"]["message"]];
                return Heard {
                    text: said,
                    error: message.iter().find_map(|it| it.as_str().map(str::to_owned)),
                    ..Heard::default()
                };
            }
            _ => {}
        }
    }
    panic!("the stream has no end: {events:?}");
}
