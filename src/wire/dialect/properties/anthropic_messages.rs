//! Documents of Anthropic's Messages.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::shapes::{
    Json, address, any_json, base64, boolean, cache_control, closed, count, just, list, may, must,
    name, number, object, one_of, only, open, schema, some, tagged, text, word_of,
};

/// Requests.
pub(super) fn request() -> Json {
    let metadata = one_of(vec![
        closed(vec![must("user_id", text())]),
        open(vec![must("user_id", text())]),
    ]);
    open(vec![
        must("model", just("m")),
        must("max_tokens", some()),
        must("messages", list(message(), 1..4)),
        may("system", one_of(vec![text(), list(text_block(), 2..3)])),
        may("tools", list(tool(), 1..3)),
        may("tool_choice", tool_choice()),
        may("temperature", number()),
        may("top_p", number()),
        may("top_k", count()),
        may("stop_sequences", list(text(), 1..3)),
        may("stream", Just(true.into()).boxed()),
        may("thinking", thinking()),
        may("output_config", output_config()),
        may(
            "output_format",
            tagged("json_schema", vec![must("schema", schema())]),
        ),
        may("metadata", metadata),
        may("service_tier", name()),
        may("container", name()),
    ])
}

fn thinking() -> Json {
    let shown = || word_of(&["summarized", "omitted"]);
    one_of(vec![
        tagged(
            "enabled",
            vec![must("budget_tokens", some()), may("display", shown())],
        ),
        tagged("adaptive", vec![may("display", shown())]),
        tagged("disabled", vec![]),
        tagged("something_new", vec![]),
    ])
}

fn output_config() -> Json {
    let format = tagged(
        "json_schema",
        vec![must("schema", schema()), may("name", name())],
    );
    let effort = word_of(&["low", "medium", "high", "xhigh", "max"]);
    one_of(vec![
        open(vec![
            must("effort", effort.clone()),
            may("format", format.clone()),
        ]),
        open(vec![may("effort", effort), must("format", format)]),
    ])
}

fn message() -> Json {
    let said = |role, block| {
        open(vec![
            must("role", just(role)),
            must("content", one_of(vec![text(), list(block, 2..4)])),
        ])
    };
    one_of(vec![
        said("user", user_block()),
        said("assistant", answer_block()),
    ])
}

fn text_block() -> Json {
    tagged(
        "text",
        vec![must("text", text()), may("cache_control", cache_control())],
    )
}

fn user_block() -> Json {
    let result = vec![
        must("tool_use_id", name()),
        may("content", one_of(vec![text(), list(inner_block(), 2..3)])),
        may("is_error", Just(true.into()).boxed()),
        may("cache_control", cache_control()),
    ];
    one_of(vec![
        inner_block(),
        tagged("tool_result", result),
        tagged("search_result", vec![must("source", text())]),
    ])
}

fn inner_block() -> Json {
    let media = |kind, source: Json| {
        tagged(
            kind,
            vec![
                must("source", source),
                may("cache_control", cache_control()),
            ],
        )
    };
    let bytes = |media_type| {
        closed(vec![
            must("type", just("base64")),
            must("media_type", just(media_type)),
            must("data", base64()),
        ])
    };
    let url = || closed(vec![must("type", just("url")), must("url", address())]);
    let kept = || closed(vec![must("type", just("file")), must("file_id", name())]);
    let plain = closed(vec![
        must("type", just("text")),
        must("media_type", just("text/plain")),
        must("data", text()),
    ]);
    let document = |source: Json| {
        tagged(
            "document",
            vec![
                must("source", source),
                may("title", text()),
                may("context", text()),
                may("citations", Just(json!({"enabled": true})).boxed()),
            ],
        )
    };
    one_of(vec![
        text_block(),
        media("image", bytes("image/png")),
        media("image", url()),
        media("image", kept()),
        media("image", tagged("something_new", vec![])),
        document(bytes("application/pdf")),
        document(url()),
        document(kept()),
        document(plain),
    ])
}

/// What the model says, in requests and in answers.
fn answer_block() -> Json {
    let cited = tagged(
        "text",
        vec![
            must("text", text()),
            must("citations", list(citation(), 1..3)),
        ],
    );
    let called = vec![
        must("id", name()),
        must("name", name()),
        must("input", object()),
    ];
    let thoughts = vec![must("thinking", text()), must("signature", base64())];
    let ran = vec![
        must("id", name()),
        must("name", just("web_search")),
        must("input", object()),
    ];
    one_of(vec![
        tagged("text", vec![must("text", text())]),
        cited,
        tagged("tool_use", called),
        tagged("thinking", thoughts),
        tagged("redacted_thinking", vec![must("data", base64())]),
        tagged("server_tool_use", ran),
    ])
}

fn citation() -> Json {
    one_of(vec![
        tagged(
            "char_location",
            vec![
                must("cited_text", text()),
                must("document_index", count()),
                must("document_title", text()),
                must("start_char_index", count()),
                must("end_char_index", count()),
            ],
        ),
        tagged(
            "web_search_result_location",
            vec![
                must("url", address()),
                must("title", text()),
                must("cited_text", text()),
                must("encrypted_index", base64()),
            ],
        ),
    ])
}

fn tool() -> Json {
    one_of(vec![
        open(vec![
            must("name", name()),
            may("description", text()),
            must("input_schema", schema()),
            may("strict", boolean()),
            may("cache_control", cache_control()),
        ]),
        tagged(
            "web_search_20250305",
            vec![must("name", just("web_search"))],
        ),
        only("name", name()),
    ])
}

fn tool_choice() -> Json {
    let alone = || may("disable_parallel_tool_use", boolean());
    let closed_kind = |kind, mut members: Vec<_>| {
        members.push(must("type", just(kind)));
        closed(members)
    };
    one_of(vec![
        closed_kind("auto", vec![alone()]),
        closed_kind("any", vec![alone()]),
        closed_kind("tool", vec![must("name", name()), alone()]),
        closed_kind("none", vec![]),
        tagged("something_new", vec![must("x", any_json())]),
        tagged("auto", vec![alone()]),
    ])
}

/// Answers.
pub(super) fn answer() -> Json {
    let reasons = word_of(&[
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
    ]);
    open(vec![
        must("id", "msg_[a-zA-Z0-9]{1,8}".prop_map(Value::from).boxed()),
        must("type", just("message")),
        must("role", just("assistant")),
        must("model", just("m")),
        must("content", list(answer_block(), 0..4)),
        must("stop_reason", reasons),
        must(
            "stop_sequence",
            one_of(vec![Just(Value::Null).boxed(), text()]),
        ),
        must("usage", usage()),
        may("container", object()),
    ])
}

fn usage() -> Json {
    (
        0_u64..9000,
        0_u64..9000,
        0_u64..900,
        0_u64..900,
        0_u64..900,
        0_u64..90,
    )
        .prop_flat_map(|(input, output, read, five, hour, thinking)| {
            let mut usage = json!({
                "input_tokens": input,
                "cache_creation_input_tokens": five + hour,
                "cache_read_input_tokens": read,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": five,
                    "ephemeral_1h_input_tokens": hour,
                },
                "output_tokens": output + thinking,
            });
            if thinking > 0 {
                usage["output_tokens_details"] = json!({"thinking_tokens": thinking});
            }
            let more = open(vec![
                may("service_tier", word_of(&["standard", "priority", "batch"])),
                may("server_tool_use", object()),
            ]);
            more.prop_map(move |more| super::shapes::merged(usage.clone(), more))
        })
        .boxed()
}
