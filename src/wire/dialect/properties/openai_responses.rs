//! Documents of the Responses API.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::openai_chat::{data_url, efforts, labels};
use super::shapes::{
    Json, address, base64, boolean, closed, count, just, list, may, merged, must, name, number,
    object, object_text, one_of, open, schema, some, tagged, text, word_of,
};

/// Requests.
pub(super) fn request() -> Json {
    let reasoning = vec![
        must("effort", efforts()),
        may("summary", word_of(&["auto", "concise", "detailed"])),
    ];
    let text_member = vec![
        must("format", format()),
        may("verbosity", word_of(&["low", "high"])),
    ];
    let members = vec![
        must("model", just("m")),
        must("input", list(item(), 1..4)),
        // Nothing is kept at the provider.
        must("store", Just(false.into()).boxed()),
        may("instructions", text()),
        may("tools", list(tool(), 1..3)),
        may("tool_choice", tool_choice()),
        may("parallel_tool_calls", boolean()),
        may("max_output_tokens", count()),
        may("temperature", number()),
        may("top_p", number()),
        may("text", open(text_member)),
        may("reasoning", open(reasoning)),
        may("service_tier", name()),
        may("user", text()),
        may("metadata", labels()),
        may("stream", Just(true.into()).boxed()),
        may("truncation", word_of(&["auto", "disabled"])),
        may("prompt_cache_key", name()),
    ];
    let logprobs = one_of(vec![
        Just(json!({})).boxed(),
        some()
            .prop_map(
                |top| json!({"top_logprobs": top, "include": ["message.output_text.logprobs"]}),
            )
            .boxed(),
        Just(json!({"include": ["file_search_call.results"]})).boxed(),
    ]);
    (open(members), logprobs)
        .prop_map(|(request, logprobs)| merged(request, logprobs))
        .boxed()
}

fn format() -> Json {
    let named = vec![
        must("name", name()),
        may("description", text()),
        must("schema", schema()),
        may("strict", boolean()),
    ];
    one_of(vec![
        tagged("text", vec![]),
        tagged("json_object", vec![]),
        tagged("json_schema", named),
    ])
}

fn item() -> Json {
    let spoken = |role| {
        open(vec![
            must("role", just(role)),
            must("content", one_of(vec![text(), list(part(), 2..4)])),
        ])
    };
    let result = vec![
        must("call_id", name()),
        must("output", one_of(vec![text(), list(part(), 2..3)])),
        may("id", name()),
        may("status", just("completed")),
    ];
    one_of(vec![
        spoken("system"),
        spoken("developer"),
        spoken("user"),
        tagged("function_call_output", result),
        said(),
        call(),
        reasoning(),
        tagged("web_search_call", vec![must("id", name())]),
    ])
}

fn part() -> Json {
    let sound = closed(vec![
        must("data", base64()),
        must("format", word_of(&["wav", "mp3"])),
    ]);
    let detail = || may("detail", word_of(&["low", "high", "auto"]));
    one_of(vec![
        tagged("input_text", vec![must("text", text())]),
        tagged(
            "input_image",
            vec![
                must("image_url", one_of(vec![address(), data_url()])),
                detail(),
            ],
        ),
        tagged("input_image", vec![must("file_id", name()), detail()]),
        tagged(
            "input_file",
            vec![must("file_data", data_url()), may("filename", text())],
        ),
        tagged(
            "input_file",
            vec![must("file_url", address()), may("filename", text())],
        ),
        tagged(
            "input_file",
            vec![must("file_id", name()), may("filename", text())],
        ),
        tagged("input_audio", vec![must("input_audio", sound)]),
        tagged("input_video", vec![must("video", address())]),
    ])
}

/// A message of the assistant as it was answered.
fn said() -> Json {
    tagged(
        "message",
        vec![
            must("id", name()),
            must("status", just("completed")),
            must("role", just("assistant")),
            must("content", list(said_part(), 1..3)),
        ],
    )
}

fn said_part() -> Json {
    one_of(vec![
        tagged(
            "output_text",
            vec![
                must("text", text()),
                must("annotations", list(annotation(), 0..3)),
            ],
        ),
        tagged("refusal", vec![must("refusal", text())]),
    ])
}

fn annotation() -> Json {
    one_of(vec![
        tagged(
            "url_citation",
            vec![
                must("start_index", count()),
                must("end_index", count()),
                must("url", address()),
                must("title", text()),
            ],
        ),
        tagged("file_citation", vec![must("file_id", name())]),
    ])
}

fn call() -> Json {
    let about = || {
        vec![
            must("call_id", name()),
            must("name", name()),
            must("id", name()),
            must("status", just("completed")),
        ]
    };
    let (mut function, mut custom) = (about(), about());
    function.push(must("arguments", object_text()));
    custom.push(must("input", text()));
    one_of(vec![
        tagged("function_call", function),
        tagged("custom_tool_call", custom),
    ])
}

fn reasoning() -> Json {
    let texts = |kind: &'static str, size: std::ops::Range<usize>| list(tagged_closed(kind), size);
    one_of(vec![
        tagged(
            "reasoning",
            vec![
                must("id", name()),
                must("summary", texts("summary_text", 0..3)),
                must("encrypted_content", base64()),
                may("status", just("completed")),
            ],
        ),
        tagged(
            "reasoning",
            vec![
                must("id", name()),
                must("summary", Just(json!([])).boxed()),
                must("content", texts("reasoning_text", 1..3)),
            ],
        ),
        tagged(
            "reasoning",
            vec![
                must("id", name()),
                must("summary", texts("summary_text", 1..3)),
                must("content", texts("reasoning_text", 1..2)),
                may("encrypted_content", base64()),
            ],
        ),
    ])
}

fn tagged_closed(kind: &'static str) -> Json {
    closed(vec![must("type", just(kind)), must("text", text())])
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
        tagged("function", function),
        tagged("custom", custom),
        tagged("web_search", vec![may("user_location", object())]),
    ])
}

fn tool_choice() -> Json {
    let named = || closed(vec![must("type", just("function")), must("name", name())]);
    one_of(vec![
        word_of(&["auto", "none", "required"]),
        named(),
        closed(vec![
            must("type", just("allowed_tools")),
            must("mode", word_of(&["auto", "required"])),
            must("tools", list(named(), 1..3)),
        ]),
        tagged("hosted", vec![]),
    ])
}

/// Answers.
pub(super) fn answer() -> Json {
    let output = one_of(vec![
        answered(),
        call(),
        reasoning(),
        tagged("web_search_call", vec![must("id", name())]),
        painted(),
    ]);
    let ending =
        one_of(vec![
        Just(json!({"status": "completed", "incomplete_details": null})).boxed(),
        Just(json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}))
            .boxed(),
        Just(json!({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}))
            .boxed(),
    ]);
    let members = vec![
        must("id", "resp_[a-z0-9]{1,8}".prop_map(Value::from).boxed()),
        must("object", just("response")),
        must("created_at", count()),
        must("model", just("m")),
        must("error", Just(Value::Null).boxed()),
        must("output", list(output, 0..4)),
        // Null says as little as nothing, and OpenAI's document does not let it be written.
        may("usage", usage()),
        must(
            "service_tier",
            one_of(vec![name(), Just(Value::Null).boxed()]),
        ),
    ];
    (open(members), ending, repeated())
        .prop_map(|(answer, ending, repeated)| merged(merged(answer, ending), repeated))
        .boxed()
}

/// What a response repeats from its request.
fn repeated() -> Json {
    Just(json!({
        "background": false,
        "instructions": "x",
        "max_output_tokens": 7,
        "max_tool_calls": null,
        "metadata": {"a": "b"},
        "parallel_tool_calls": false,
        "previous_response_id": null,
        "prompt_cache_key": null,
        "prompt_cache_retention": null,
        "reasoning": {"effort": "low", "summary": null},
        "safety_identifier": null,
        "store": false,
        "temperature": 0.5,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 0.5,
        "truncation": "disabled",
        "user": null,
    }))
    .boxed()
}

fn answered() -> Json {
    let logprob = closed(vec![
        must("token", text()),
        must("logprob", number()),
        must("bytes", list(count(), 1..2)),
        must("top_logprobs", Just(json!([])).boxed()),
    ]);
    let cited = tagged(
        "output_text",
        vec![
            must("text", text()),
            must("annotations", list(annotation(), 0..3)),
            must("logprobs", list(logprob, 0..3)),
        ],
    );
    tagged(
        "message",
        vec![
            must("id", name()),
            must("status", just("completed")),
            must("role", just("assistant")),
            must(
                "content",
                one_of(vec![
                    list(cited, 1..3),
                    list(tagged("refusal", vec![must("refusal", text())]), 1..2),
                ]),
            ),
        ],
    )
}

fn painted() -> Json {
    tagged(
        "image_generation_call",
        vec![
            must("id", name()),
            must("status", just("completed")),
            must("result", base64()),
            must("output_format", just("png")),
        ],
    )
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
                "input_tokens": input,
                "output_tokens": output,
                "total_tokens": input + output,
                "input_tokens_details": wrote,
                "output_tokens_details": {"reasoning_tokens": reasoning},
            })
        })
        .boxed()
}
