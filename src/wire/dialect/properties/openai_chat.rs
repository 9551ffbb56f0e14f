//! Documents of Chat Completions.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::shapes::{
    Json, address, any_json, base64, boolean, cache_control, closed, count, just, list, may,
    merged, must, name, number, object, object_text, one_of, open, schema, some, tagged, text,
    word_of,
};

/// Requests.
pub(super) fn request() -> Json {
    let members = vec![
        must("model", just("m")),
        must("messages", list(message(), 1..4)),
        may("tools", list(tool(), 1..3)),
        may("tool_choice", tool_choice()),
        may("parallel_tool_calls", boolean()),
        may("max_tokens", count()),
        may("temperature", number()),
        may("top_p", number()),
        may("top_k", count()),
        may("frequency_penalty", number()),
        may("presence_penalty", number()),
        may("seed", any::<i64>().prop_map(Value::from).boxed()),
        may("stop", list(text(), 1..3)),
        may("n", some()),
        may("response_format", response_format()),
        may("reasoning_effort", efforts()),
        may("service_tier", name()),
        may("user", text()),
        may("metadata", labels()),
        may("safety_identifier", name()),
        may("prompt_cache_key", name()),
    ];
    (open(members), streaming(), logprobs())
        .prop_map(|(request, streaming, logprobs)| merged(merged(request, streaming), logprobs))
        .boxed()
}

/// Labels.
pub(super) fn labels() -> Json {
    prop::collection::btree_map("[a-z]{1,4}", text(), 1..3)
        .prop_map(|it| Value::Object(it.into_iter().collect()))
        .boxed()
}

/// Efforts.
pub(super) fn efforts() -> Json {
    word_of(&["none", "minimal", "low", "medium", "high", "xhigh", "max"])
}

fn streaming() -> Json {
    one_of(vec![
        Just(json!({})).boxed(),
        Just(json!({"stream": true, "stream_options": {"include_usage": true}})).boxed(),
    ])
}

fn logprobs() -> Json {
    let wanted = vec![
        must("logprobs", Just(true.into()).boxed()),
        may("top_logprobs", some()),
    ];
    one_of(vec![Just(json!({})).boxed(), closed(wanted)])
}

fn message() -> Json {
    let spoken = |role| {
        open(vec![
            must("role", just(role)),
            must("content", content()),
            may("name", name()),
        ])
    };
    let result = open(vec![
        must("role", just("tool")),
        must("tool_call_id", name()),
        must("content", one_of(vec![text(), list(text_part(), 2..3)])),
        may("name", name()),
    ]);
    let assistant = |content: Json| {
        open(vec![
            must("role", just("assistant")),
            must("content", content),
            may("name", name()),
            may("refusal", text()),
            may("tool_calls", list(tool_call(), 1..3)),
            may("reasoning_content", text()),
        ])
    };
    one_of(vec![
        spoken("system"),
        spoken("developer"),
        spoken("user"),
        result,
        assistant(one_of(vec![text(), list(text_part(), 2..3)])),
        assistant(Just(Value::Null).boxed()),
        sealed_assistant(),
    ])
}

/// With thoughts in several pieces, as reasoning models write them.
fn sealed_assistant() -> Json {
    list(detail(), 2..4)
        .prop_map(
            |details| json!({"role": "assistant", "content": "x", "reasoning_details": details}),
        )
        .prop_map(|mut message| {
            index_details(&mut message);
            message
        })
        .boxed()
}

fn detail() -> Json {
    one_of(vec![
        closed(vec![
            must("type", just("reasoning.text")),
            must("text", text()),
            must("signature", base64()),
            may("id", name()),
        ]),
        closed(vec![
            must("type", just("reasoning.summary")),
            must("summary", text()),
            may("id", name()),
        ]),
        closed(vec![
            must("type", just("reasoning.encrypted")),
            must("data", base64()),
            may("id", name()),
        ]),
    ])
}

/// Numbers the details and says their texts in `reasoning_content`, as writers do.
fn index_details(message: &mut Value) {
    let Some(Value::Array(details)) = message.get_mut("reasoning_details") else {
        return;
    };
    let mut texts = Vec::new();
    for (index, detail) in details.iter_mut().enumerate() {
        detail["index"] = index.into();
        let text = detail.get("text").or_else(|| detail.get("summary"));
        texts.extend(text.and_then(Value::as_str).map(str::to_owned));
    }
    if !texts.is_empty() {
        message["reasoning_content"] = texts.join("\n\n").into();
    }
}

fn content() -> Json {
    one_of(vec![text(), list(part(), 2..4)])
}

fn text_part() -> Json {
    tagged(
        "text",
        vec![must("text", text()), may("cache_control", cache_control())],
    )
}

fn part() -> Json {
    let image = vec![
        must("url", one_of(vec![address(), data_url()])),
        may("detail", word_of(&["low", "high", "auto"])),
    ];
    let sound = vec![
        must("data", base64()),
        must("format", word_of(&["wav", "mp3"])),
    ];
    let file = vec![must("file_data", data_url()), may("filename", text())];
    let kept = vec![must("file_id", name()), may("filename", text())];
    one_of(vec![
        text_part(),
        tagged(
            "image_url",
            vec![
                must("image_url", open(image)),
                may("cache_control", cache_control()),
            ],
        ),
        tagged("input_audio", vec![must("input_audio", open(sound))]),
        tagged("file", vec![must("file", open(file))]),
        tagged("file", vec![must("file", open(kept))]),
        tagged("video_url", vec![must("video_url", any_json())]),
    ])
}

/// An address that holds the bytes.
pub(super) fn data_url() -> Json {
    base64()
        .prop_map(|data| {
            format!(
                "data:image/png;base64,{}",
                data.as_str().unwrap_or_default()
            )
        })
        .prop_map(Value::from)
        .boxed()
}

fn tool_call() -> Json {
    let seal = base64().prop_map(|it| json!({"google": {"thought_signature": it}}));
    let function = vec![must("name", name()), must("arguments", object_text())];
    let custom = vec![must("name", name()), must("input", text())];
    one_of(vec![
        tagged(
            "function",
            vec![
                must("id", name()),
                must("function", open(function)),
                may("extra_content", seal.boxed()),
                may("cache_control", cache_control()),
            ],
        ),
        tagged(
            "custom",
            vec![must("id", name()), must("custom", open(custom))],
        ),
    ])
}

fn tool() -> Json {
    let function = vec![
        must("name", name()),
        may("description", text()),
        may("parameters", schema()),
        may("strict", boolean()),
    ];
    let custom = vec![
        must("name", name()),
        may("description", text()),
        may("format", object()),
    ];
    one_of(vec![
        tagged(
            "function",
            vec![
                must("function", open(function)),
                may("cache_control", cache_control()),
            ],
        ),
        tagged("custom", vec![must("custom", open(custom))]),
        tagged("web_search", vec![must("filters", any_json())]),
    ])
}

fn tool_choice() -> Json {
    let named = || {
        closed(vec![
            must("type", just("function")),
            must("function", closed(vec![must("name", name())])),
        ])
    };
    let allowed = vec![
        must("mode", word_of(&["auto", "required"])),
        must("tools", list(named(), 1..3)),
    ];
    one_of(vec![
        word_of(&["auto", "none", "required"]),
        named(),
        closed(vec![
            must("type", just("allowed_tools")),
            must("allowed_tools", closed(allowed)),
        ]),
        tagged("something_new", vec![]),
    ])
}

fn response_format() -> Json {
    let named = vec![
        must("name", name()),
        may("description", text()),
        must("schema", schema()),
        may("strict", boolean()),
    ];
    one_of(vec![
        Just(json!({"type": "text"})).boxed(),
        Just(json!({"type": "json_object"})).boxed(),
        tagged("json_schema", vec![must("json_schema", open(named))]),
    ])
}

/// Answers.
pub(super) fn answer() -> Json {
    open(vec![
        must("id", name()),
        must("object", just("chat.completion")),
        must("created", count()),
        must("model", just("m")),
        may("service_tier", name()),
        must("choices", list(choice(), 1..3)),
        may("usage", usage()),
        may("system_fingerprint", name()),
    ])
    .prop_map(|mut answer| {
        for (index, choice) in answer["choices"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .enumerate()
        {
            choice["index"] = index.into();
            index_details(&mut choice["message"]);
        }
        answer
    })
    .boxed()
}

fn choice() -> Json {
    let reasons = word_of(&[
        "stop",
        "length",
        "tool_calls",
        "content_filter",
        "function_call",
    ]);
    open(vec![
        must("index", count()),
        must("message", answer_message()),
        must(
            "logprobs",
            one_of(vec![Just(Value::Null).boxed(), log_probabilities()]),
        ),
        must("finish_reason", reasons),
        may("stop_reason", text()),
    ])
}

/// Log probabilities in OpenAI's form.
pub(super) fn log_probabilities() -> Json {
    let one = closed(vec![
        must("token", text()),
        must("logprob", number()),
        must("bytes", list(count(), 1..3)),
        must("top_logprobs", Just(json!([])).boxed()),
    ]);
    list(one, 1..3)
        .prop_map(|content| json!({"content": content, "refusal": null}))
        .boxed()
}

fn answer_message() -> Json {
    let or_null = |value: Json| one_of(vec![Just(Value::Null).boxed(), value]);
    let plain = open(vec![
        must("role", just("assistant")),
        must("content", text()),
        must("refusal", or_null(text())),
        may("annotations", list(annotation(), 1..3)),
        may("tool_calls", list(answer_call(), 1..3)),
        may("reasoning_content", text()),
    ]);
    let silent = open(vec![
        must("role", just("assistant")),
        must("content", Just(Value::Null).boxed()),
        must("refusal", or_null(text())),
        may("reasoning_details", list(detail(), 2..4)),
        may("tool_calls", list(answer_call(), 1..3)),
        may("images", list(image(), 1..2)),
    ]);
    one_of(vec![plain, silent])
}

fn image() -> Json {
    data_url()
        .prop_map(|url| json!({"type": "image_url", "image_url": {"url": url}}))
        .boxed()
}

fn answer_call() -> Json {
    let function = vec![must("name", name()), must("arguments", object_text())];
    let custom = vec![must("name", name()), must("input", text())];
    one_of(vec![
        tagged(
            "function",
            vec![must("id", name()), must("function", open(function))],
        ),
        tagged(
            "custom",
            vec![must("id", name()), must("custom", open(custom))],
        ),
    ])
}

fn annotation() -> Json {
    let cited = vec![
        must("start_index", count()),
        must("end_index", count()),
        must("url", address()),
        must("title", text()),
        may("content", text()),
    ];
    tagged("url_citation", vec![must("url_citation", open(cited))])
}

fn usage() -> Json {
    (1_u64..9000, 0_u64..9000, 0_u64..900, 0_u64..900, 0_u64..90)
        .prop_map(|(input, output, cached, reasoning, hour)| {
            let (output, written) = (output + reasoning, hour + 3);
            let input = input + cached + written;
            let mut wrote = json!({"cached_tokens": cached, "cache_write_tokens": written});
            if hour > 0 {
                wrote["ephemeral_1h_input_tokens"] = hour.into();
            }
            json!({
                "prompt_tokens": input,
                "completion_tokens": output,
                "total_tokens": input + output,
                "prompt_tokens_details": wrote,
                "completion_tokens_details": {"reasoning_tokens": reasoning},
            })
        })
        .boxed()
}
