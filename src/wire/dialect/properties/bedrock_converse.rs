//! Documents of Amazon Bedrock's Converse.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::openai_chat::labels;
use super::shapes::{
    Json, address, base64, boolean, closed, count, just, list, may, merged, must, name, number,
    object, one_of, only, open, schema, some, text, word_of,
};

/// Requests.
pub(super) fn request() -> Json {
    let inference = vec![
        must("maxTokens", some()),
        may("temperature", number()),
        may("topP", number()),
        may("stopSequences", list(text(), 1..3)),
    ];
    let tools = vec![
        must("tools", with_points(tool())),
        may("toolChoice", choice()),
    ];
    let tier = closed(vec![must(
        "type",
        word_of(&["default", "flex", "priority"]),
    )]);
    open(vec![
        must("messages", list(message(), 1..4)),
        may("system", with_points(said())),
        may("inferenceConfig", open(inference)),
        may("toolConfig", open(tools)),
        may("outputConfig", one_of(vec![format(), object()])),
        may("serviceTier", one_of(vec![tier, object()])),
        may("requestMetadata", labels()),
        may("additionalModelRequestFields", more()),
        may("guardrailConfig", object()),
    ])
}

/// Blocks, and marks of the prompt cache between them.
fn with_points(block: Json) -> Json {
    let point = one_of(vec![
        Just(Value::Null).boxed(),
        Just(json!({"cachePoint": {"type": "default"}})).boxed(),
        Just(json!({"cachePoint": {"type": "default", "ttl": "1h"}})).boxed(),
    ]);
    prop::collection::vec((block, point), 1..4)
        .prop_map(|pairs| {
            let all = pairs.into_iter().flat_map(|(block, point)| [block, point]);
            all.filter(|it| !it.is_null()).collect::<Vec<_>>().into()
        })
        .boxed()
}

fn said() -> Json {
    closed(vec![must("text", text())])
}

fn more() -> Json {
    let thinking = one_of(vec![
        Just(json!({"type": "enabled", "budget_tokens": 2048})).boxed(),
        Just(json!({"type": "adaptive"})).boxed(),
        Just(json!({"type": "disabled"})).boxed(),
    ]);
    open(vec![
        may("top_k", count()),
        may("thinking", thinking),
        may("reasoning_effort", word_of(&["low", "high", "odd"])),
    ])
}

fn format() -> Json {
    (schema(), name(), text())
        .prop_map(|(schema, name, description)| {
            let schema = json!({
                "schema": schema.to_string(), "name": name, "description": description,
            });
            json!({"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}})
        })
        .boxed()
}

fn message() -> Json {
    let of = |role, block| {
        open(vec![
            must("role", just(role)),
            must("content", with_points(block)),
        ])
    };
    one_of(vec![
        of("user", user_block()),
        of("assistant", model_block()),
    ])
}

fn one(name: &'static str, value: Json) -> Json {
    closed(vec![must(name, value)])
}

fn user_block() -> Json {
    let inner = one_of(vec![said(), one("json", any_object()), media()]);
    let result = vec![
        must("toolUseId", name()),
        must("content", list(inner, 1..3)),
        may("status", word_of(&["error", "success"])),
    ];
    one_of(vec![
        said(),
        media(),
        one("toolResult", open(result)),
        one("guardContent", object()),
        open(vec![must("text", text()), must("somethingNew", text())]),
    ])
}

fn any_object() -> Json {
    object()
}

fn media() -> Json {
    let bytes = || {
        one_of(vec![
            one("bytes", base64()),
            one("s3Location", one("uri", address())),
        ])
    };
    let of = |formats, mut members: Vec<_>| {
        members.push(must("format", word_of(formats)));
        members.push(must("source", bytes()));
        open(members)
    };
    let s3 = |members| one("s3Location", open(members));
    one_of(vec![
        one("image", of(&["png", "jpeg", "gif", "webp"], vec![])),
        one("video", of(&["mp4", "mov", "three_gp"], vec![])),
        one("audio", of(&["mp3", "wav", "flac"], vec![])),
        one(
            "document",
            of(
                &["pdf", "csv", "docx", "txt", "md"],
                vec![must("name", text()), may("context", text())],
            ),
        ),
        one(
            "document",
            open(vec![
                must("format", just("txt")),
                must("name", name()),
                must("source", one("text", text())),
            ]),
        ),
        one(
            "image",
            open(vec![
                must("format", just("png")),
                must(
                    "source",
                    s3(vec![must("uri", address()), may("bucketOwner", name())]),
                ),
            ]),
        ),
    ])
}

/// What the model says, in requests and in answers.
fn model_block() -> Json {
    let call = vec![
        must("toolUseId", name()),
        must("name", name()),
        must("input", object()),
    ];
    let shown = closed(vec![must("text", text()), may("signature", base64())]);
    let cited = open(vec![
        must("content", list(said(), 1..2)),
        must("citations", list(citation(), 1..3)),
    ]);
    one_of(vec![
        said(),
        one("toolUse", open(call)),
        one("reasoningContent", one("reasoningText", shown)),
        one("reasoningContent", one("redactedContent", base64())),
        one("citationsContent", cited),
    ])
}

fn citation() -> Json {
    let web = one("web", open(vec![must("url", address())]));
    let pages = one("documentPage", object());
    open(vec![
        may("title", text()),
        must("sourceContent", list(said(), 1..3)),
        must("location", one_of(vec![web, pages])),
    ])
}

fn tool() -> Json {
    let spec = vec![
        must("name", name()),
        may("description", text()),
        must("inputSchema", closed(vec![must("json", schema())])),
        may("strict", boolean()),
    ];
    one_of(vec![
        only("toolSpec", open(spec)),
        closed(vec![must("systemTool", object())]),
    ])
}

fn choice() -> Json {
    one_of(vec![
        Just(json!({"auto": {}})).boxed(),
        Just(json!({"any": {}})).boxed(),
        name().prop_map(|it| json!({"tool": {"name": it}})).boxed(),
        Just(json!({"somethingNew": {}})).boxed(),
    ])
}

/// Answers.
pub(super) fn answer() -> Json {
    let reasons = word_of(&[
        "end_turn",
        "tool_use",
        "max_tokens",
        "stop_sequence",
        "guardrail_intervened",
        "content_filtered",
        "malformed_tool_use",
    ]);
    let message = vec![
        must("role", just("assistant")),
        must("content", list(model_block(), 0..4)),
    ];
    let output = vec![must("message", open(message))];
    let tier = open(vec![must("type", word_of(&["default", "flex"]))]);
    open(vec![
        must("output", open(output)),
        must("stopReason", reasons),
        may("usage", usage()),
        must("metrics", open(vec![must("latencyMs", count())])),
        may("serviceTier", tier),
        may("trace", object()),
        may(
            "additionalModelResponseFields",
            open(vec![may("stop_sequence", text())]),
        ),
    ])
}

fn usage() -> Json {
    (
        0_u64..9000,
        0_u64..9000,
        0_u64..900,
        0_u64..900,
        0_u64..90,
        0_u64..90,
    )
        .prop_flat_map(|(input, output, read, five, hour, thinking)| {
            let write = five + hour;
            let mut usage = json!({
                "inputTokens": input,
                "outputTokens": output + thinking,
                "totalTokens": input + output + thinking + read + write,
            });
            if read + write > 0 {
                usage["cacheReadInputTokens"] = read.into();
                usage["cacheWriteInputTokens"] = write.into();
            }
            let lives = [("5m", five), ("1h", hour)];
            let lives = lives.iter().filter(|(_, count)| *count > 0);
            let lives: Vec<Value> = lives
                .map(|(ttl, count)| json!({"inputTokens": count, "ttl": ttl}))
                .collect();
            if !lives.is_empty() {
                usage["cacheDetails"] = lives.into();
            }
            if thinking > 0 {
                usage["reasoningOutputTokens"] = thinking.into();
            }
            open(vec![]).prop_map(move |more| merged(usage.clone(), more))
        })
        .boxed()
}
