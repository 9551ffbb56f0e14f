//! Documents of Google's generateContent.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::openai_chat::labels;
use super::shapes::{
    Json, address, any_json, base64, closed, count, just, list, may, merged, must, name, number,
    object, one_of, only, open, schema, some, text, word_of,
};

/// Requests.
pub(super) fn request() -> Json {
    let config = vec![
        may("functionCallingConfig", choice()),
        may("retrievalConfig", object()),
    ];
    let instruction = vec![
        must("parts", list(plain(), 1..3)),
        may("role", word_of(&["user", "system"])),
    ];
    open(vec![
        must("contents", list(content(), 1..4)),
        may("systemInstruction", open(instruction)),
        may("tools", tools()),
        may("toolConfig", has_some(config)),
        may("generationConfig", generation()),
        may("serviceTier", name()),
        may("labels", labels()),
        may("safetySettings", list(object(), 1..2)),
        may("cachedContent", name()),
    ])
}

/// At least one member.
fn has_some(members: Vec<super::shapes::Member>) -> Json {
    open(members)
        .prop_filter("says something", |it| {
            it.as_object().is_some_and(|it| !it.is_empty())
        })
        .boxed()
}

fn plain() -> Json {
    only("text", text())
}

fn content() -> Json {
    let said = |role, part| {
        open(vec![
            must("role", just(role)),
            must("parts", list(part, 1..4)),
        ])
    };
    one_of(vec![said("user", user_part()), said("model", model_part())])
}

fn user_part() -> Json {
    let response = one_of(vec![
        closed(vec![must("output", text())]),
        closed(vec![must("error", text())]),
        object(),
    ]);
    let result = vec![
        must("id", name()),
        must("name", name()),
        must("response", response),
        may("parts", list(media(), 1..3)),
        may("willContinue", Just(true.into()).boxed()),
    ];
    one_of(vec![
        plain(),
        media(),
        only("functionResponse", open(result)),
        only("something_new", any_json()),
    ])
}

fn media() -> Json {
    let types = word_of(&["image/png", "audio/mp3", "application/pdf", "video/mp4"]);
    let inline = vec![
        must("mimeType", types.clone()),
        must("data", base64()),
        may("displayName", text()),
    ];
    let file = vec![
        must("fileUri", address()),
        must("mimeType", types),
        may("displayName", text()),
    ];
    one_of(vec![
        only("inlineData", open(inline)),
        only("fileData", open(file)),
    ])
}

fn model_part() -> Json {
    let sealed = || may("thoughtSignature", base64());
    let call = vec![
        must("id", name()),
        must("name", name()),
        must("args", object()),
    ];
    one_of(vec![
        open(vec![must("text", text()), sealed()]),
        open(vec![
            must("text", text()),
            must("thought", Just(true.into()).boxed()),
            sealed(),
        ]),
        closed(vec![
            must("text", just("")),
            must("thoughtSignature", base64()),
        ]),
        open(vec![must("functionCall", open(call)), sealed()]),
        only("executableCode", object()),
        only(
            "inlineData",
            open(vec![
                must("mimeType", just("image/png")),
                must("data", base64()),
            ]),
        ),
    ])
}

fn tools() -> Json {
    let function = open(vec![
        must("name", name()),
        may("description", text()),
        may("parametersJsonSchema", schema()),
        may("response", object()),
    ]);
    let openapi = open(vec![
        must("name", name()),
        must(
            "parameters",
            Just(json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}})).boxed(),
        ),
    ]);
    let functions = list(one_of(vec![function, openapi]), 1..3)
        .prop_map(|it| json!({"functionDeclarations": it}))
        .boxed();
    let search = closed(vec![must("googleSearch", object())]);
    let code = closed(vec![must("codeExecution", object())]);
    one_of(vec![
        functions.clone().prop_map(|it| json!([it])).boxed(),
        (functions, search.clone())
            .prop_map(|(one, two)| json!([one, two]))
            .boxed(),
        (search, code)
            .prop_map(|(one, two)| json!([one, two]))
            .boxed(),
    ])
}

fn choice() -> Json {
    let names = |size: std::ops::Range<usize>| must("allowedFunctionNames", list(name(), size));
    let mode = |mode| must("mode", just(mode));
    one_of(vec![
        closed(vec![mode("AUTO")]),
        closed(vec![mode("NONE")]),
        closed(vec![mode("ANY")]),
        closed(vec![mode("ANY"), names(1..3)]),
        closed(vec![mode("VALIDATED"), names(1..3)]),
        open(vec![mode("SOMETHING_NEW")]),
    ])
}

fn generation() -> Json {
    let thinking = has_some(vec![
        may(
            "thinkingBudget",
            (-1_i64..9000).prop_map(Value::from).boxed(),
        ),
        may(
            "thinkingLevel",
            word_of(&["MINIMAL", "LOW", "MEDIUM", "HIGH"]),
        ),
        may("includeThoughts", Just(true.into()).boxed()),
    ]);
    let format = one_of(vec![
        Just(json!({})).boxed(),
        Just(json!({"responseMimeType": "text/plain"})).boxed(),
        Just(json!({"responseMimeType": "application/json"})).boxed(),
        Just(json!({"responseMimeType": "text/x.enum"})).boxed(),
        schema()
            .prop_map(
                |it| json!({"responseMimeType": "application/json", "responseJsonSchema": it}),
            )
            .boxed(),
        Just(json!({"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}}))
            .boxed(),
    ]);
    let logprobs = one_of(vec![
        Just(json!({})).boxed(),
        Just(json!({"responseLogprobs": true})).boxed(),
        some()
            .prop_map(|it| json!({"responseLogprobs": true, "logprobs": it}))
            .boxed(),
    ]);
    let members = has_some(vec![
        may("temperature", number()),
        may("topP", number()),
        may("topK", count()),
        may("presencePenalty", number()),
        may("frequencyPenalty", number()),
        may("seed", any::<i32>().prop_map(Value::from).boxed()),
        may("maxOutputTokens", count()),
        may("candidateCount", some()),
        may("stopSequences", list(text(), 1..3)),
        may("thinkingConfig", thinking),
        may("responseModalities", Just(json!(["TEXT"])).boxed()),
    ]);
    (members, format, logprobs)
        .prop_map(|(members, format, logprobs)| merged(merged(members, format), logprobs))
        .boxed()
}

/// Answers.
pub(super) fn answer() -> Json {
    open(vec![
        must("candidates", list(candidate(), 1..3)),
        may("usageMetadata", usage()),
        must("modelVersion", just("m")),
        must("responseId", name()),
        may("createTime", just("2025-01-02T03:04:05Z")),
        may(
            "promptFeedback",
            list(object(), 0..2)
                .prop_map(|it| json!({"safetyRatings": it}))
                .boxed(),
        ),
    ])
    .prop_map(|mut answer| {
        for (index, it) in answer["candidates"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .enumerate()
        {
            it["index"] = index.into();
        }
        answer
    })
    .boxed()
}

fn candidate() -> Json {
    let content = vec![
        must("role", just("model")),
        must("parts", list(model_part(), 1..4)),
    ];
    let reasons = word_of(&[
        "STOP",
        "MAX_TOKENS",
        "SAFETY",
        "RECITATION",
        "OTHER",
        "SPII",
    ]);
    let word = || {
        closed(vec![
            must("token", text()),
            must("logProbability", number()),
        ])
    };
    let logprobs = list(word(), 1..3)
        .prop_map(|it| json!({"chosenCandidates": it, "topCandidates": []}))
        .boxed();
    open(vec![
        must("content", open(content)),
        must("finishReason", reasons),
        must("index", count()),
        may("logprobsResult", logprobs),
        may("groundingMetadata", grounding()),
        may("safetyRatings", list(object(), 1..2)),
        may("avgLogprobs", number()),
    ])
}

fn grounding() -> Json {
    let web = open(vec![must("uri", address()), must("title", text())]);
    let chunks = list(only("web", web), 1..3);
    let segment = open(vec![
        must("startIndex", Just(0.into()).boxed()),
        must("endIndex", Just(1.into()).boxed()),
    ]);
    let support = open(vec![
        must("segment", segment),
        must("groundingChunkIndices", Just(json!([0])).boxed()),
    ]);
    open(vec![
        must("groundingChunks", chunks),
        must("groundingSupports", list(support, 1..3)),
    ])
}

fn usage() -> Json {
    (
        0_u64..9000,
        0_u64..9000,
        0_u64..900,
        0_u64..900,
        0_u64..90,
        0_u64..9,
    )
        .prop_flat_map(|(input, output, cached, thoughts, tools, written)| {
            let prompt = input + cached + written;
            let mut usage = json!({
                "promptTokenCount": prompt,
                "candidatesTokenCount": output,
                "totalTokenCount": prompt + output + thoughts + tools,
            });
            for (name, count) in [
                ("cachedContentTokenCount", cached),
                ("cacheWriteTokenCount", written),
                ("thoughtsTokenCount", thoughts),
                ("toolUsePromptTokenCount", tools),
            ] {
                if count > 0 {
                    usage[name] = count.into();
                }
            }
            let more = open(vec![
                may("trafficType", just("ON_DEMAND")),
                may("promptTokensDetails", list(object(), 1..2)),
            ]);
            more.prop_map(move |more| merged(usage.clone(), more))
        })
        .boxed()
}
