//! The codec on bodies of the kinds that Google's documentation shows.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::*;
use crate::types::Tokens;
use crate::types::chat::{
    Block, BlockBody, ChatEvent, Effort, FinishReason, Message, OutputFormat, Seal, Speaker, Tool,
    ToolCall, ToolChoice, ToolInput, ToolKind,
};
use crate::wire::framing::sse::SseFramer;
use crate::wire::translate::WireEvent;

const CODEC: GeminiGenerate = GeminiGenerate;

fn target(model: &str) -> Target<'_> {
    Target {
        upstream_model: model,
        stream: false,
        max_output_tokens: 8192,
        ask_stream_usage: false,
        host: Host::Native,
    }
}

fn read(body: &Value) -> ChatRequest {
    let body = body.to_string();
    CODEC
        .read_request(Endpoint::ChatCompletions, &body)
        .expect("a request of the dialect")
}

fn write(request: &ChatRequest, model: &str) -> (Value, Vec<String>) {
    let mut notes = Notes::default();
    let body = CODEC
        .write_request(request, &target(model), &mut notes)
        .expect("it can be said");
    let notes = notes.iter().map(|it| format!("{}: {}", it.field, it.what));
    let body = serde_json::from_slice(&body).expect("valid JSON");
    (body, notes.collect())
}

/// A request comes back as it was.
#[track_caller]
fn same(body: &Value) -> ChatRequest {
    let request = read(body);
    let (back, notes) = write(&request, "gemini-2.5-flash");
    assert_eq!(&back, body);
    assert_eq!(notes, Vec::<String>::new());
    request
}

fn asked(body: &Bytes) -> Asked<'_> {
    Asked {
        endpoint: Endpoint::ChatCompletions,
        body,
        include_usage: true,
        id: "req-1",
        created: 7,
        from: "none",
    }
}

#[track_caller]
fn same_answer(body: &Value) -> ChatAnswer {
    let answer = CODEC.read_answer(&body.to_string()).expect("an answer");
    let none = Bytes::new();
    let back = CODEC.write_answer(&answer, &asked(&none));
    let back: Value = serde_json::from_slice(&back).expect("valid JSON");
    assert_eq!(&back, body);
    answer
}

/// The events of a stream, its bytes cut in two at `at`.
pub(super) fn events(stream: &[u8], at: usize) -> Vec<ChatEvent> {
    let mut reader = CODEC.reader();
    let mut framer = SseFramer::new(1 << 20);
    let mut out = Vec::new();
    for piece in [&stream[..at], &stream[at..]] {
        framer.push(Bytes::copy_from_slice(piece)).expect("short");
        while let Some(event) = framer.next_event() {
            let Some(data) = event.data() else { continue };
            let event = WireEvent {
                name: None,
                data: &data,
            };
            reader.read(event, &mut out).expect("of the dialect");
        }
    }
    reader.finish(&mut out);
    out
}

fn stream_of(chunks: &[Value]) -> Vec<u8> {
    let lines = chunks.iter().map(|it| format!("data: {it}\r\n\r\n"));
    lines.collect::<String>().into_bytes()
}

/// The events, the same at every split, and the same after having been written and read again.
#[track_caller]
fn stream(chunks: &[Value]) -> Vec<ChatEvent> {
    let bytes = stream_of(chunks);
    let whole = events(&bytes, 0);
    for at in 0..=bytes.len() {
        assert_eq!(events(&bytes, at), whole, "split at {at}");
    }
    let none = Bytes::new();
    let mut writer = CODEC.writer(&asked(&none));
    let mut out = BytesMut::new();
    for event in &whole {
        writer.write(event, &mut out);
    }
    let last_usage = |events: &[ChatEvent]| {
        let usage = events.iter().rev().find_map(|it| match it {
            ChatEvent::Usage(tokens) => Some(*tokens),
            _ => None,
        });
        let rest = events
            .iter()
            .filter(|it| !matches!(it, ChatEvent::Usage(_)));
        (usage, rest.cloned().collect::<Vec<_>>())
    };
    let again = events(&out, 0);
    assert_eq!(last_usage(&again), last_usage(&whole));
    whole
}

#[test]
fn a_conversation_with_tools_comes_back_as_it_was() {
    let request = same(&json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}], "role": "system"},
        "contents": [
            {"role": "user", "parts": [
                {"text": "What is this?"},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo=", "displayName": "a.png"}},
                {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://bucket/a.mp4"},
                 "videoMetadata": {"startOffset": "1s"}},
                {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
                {"fileData": {"mimeType": "application/pdf",
                 "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
            ]},
            {"role": "model", "parts": [
                {"text": "Let me think.", "thought": true},
                {"text": "I look it up.", "thoughtSignature": "c2lnMQ=="},
                {"functionCall": {"name": "look", "args": {"q": "cat"}}, "thoughtSignature": "c2lnMg=="},
                {"functionCall": {"name": "look", "args": {"q": "dog"}, "id": "fc-7"}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "look", "id": "fc-7", "response": {"error": "no dog"}}},
                {"functionResponse": {"name": "look", "response": {"output": "a cat"}}},
            ]},
            {"role": "model", "parts": [
                {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
                {"text": "", "thoughtSignature": "c2lnMw=="},
            ]},
            {"role": "user", "parts": [{"text": "Go on."}], "futureMember": 1},
        ],
        "tools": [
            {"functionDeclarations": [
                {"name": "look", "description": "Looks.", "parameters":
                    {"type": "OBJECT", "properties": {"q": {"type": "STRING", "nullable": true}}}},
                {"name": "see", "parametersJsonSchema": {"type": "object"}, "behavior": "BLOCKING"},
            ]},
            {"googleSearch": {}},
            {"codeExecution": {}},
        ],
        "toolConfig": {
            "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look", "see"]},
            "retrievalConfig": {"languageCode": "en"},
        },
        "generationConfig": {
            "temperature": 0.5, "topP": 0.9, "topK": 40, "presencePenalty": 0.1,
            "frequencyPenalty": -0.1, "seed": 7, "maxOutputTokens": 100, "candidateCount": 2,
            "stopSequences": ["END"], "responseLogprobs": true, "logprobs": 3,
            "responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"},
            "thinkingConfig": {"thinkingBudget": -1, "includeThoughts": true, "future": 1},
            "mediaResolution": "MEDIA_RESOLUTION_LOW",
        },
        "labels": {"team": "a"},
        "serviceTier": "flex",
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        "cachedContent": "cachedContents/abc",
    }));
    let BlockBody::ToolResult(result) = &request.messages[3].blocks[1].body else {
        panic!("a result");
    };
    let BlockBody::ToolCall(call) = &request.messages[2].blocks[3].body else {
        panic!("a call");
    };
    assert_eq!(result.call_id, call.id);
    let ToolKind::Function { parameters, .. } = &request.tools[0].kind else {
        panic!("a function");
    };
    let schema = r#"{"properties":{"q":{"type":["string","null"]}},"type":"object"}"#;
    assert_eq!(
        parameters.as_ref().map(crate::types::chat::RawJson::get),
        Some(schema)
    );
    assert!(matches!(
        request.output_format,
        Some(OutputFormat::Schema(_))
    ));
    assert!(request.reasoning.is_some_and(|it| it.is_adaptive));
}

#[test]
fn every_tool_choice_comes_back() {
    let choice = |config: Value| {
        let body = json!({"contents": [], "toolConfig": {"functionCallingConfig": config}});
        same(&body).tool_choice
    };
    assert_eq!(choice(json!({"mode": "AUTO"})), Some(ToolChoice::Auto));
    assert_eq!(choice(json!({"mode": "NONE"})), Some(ToolChoice::None));
    assert_eq!(choice(json!({"mode": "ANY"})), Some(ToolChoice::Required));
    assert_eq!(
        choice(json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
        Some(ToolChoice::Named("f".into()))
    );
    let among = choice(json!({"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]}));
    assert!(matches!(
        among,
        Some(ToolChoice::Among {
            required: false,
            ..
        })
    ));
    let native = choice(json!({"mode": "VALIDATED"}));
    assert!(matches!(native, Some(ToolChoice::Native(_))));
}

#[test]
fn members_may_be_written_as_in_the_proto() {
    let request = read(&json!({
        "system_instruction": {"parts": {"text": "no array"}},
        "contents": [],
    }).as_object().map(|_| json!({
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]}],
        "generation_config": {"max_output_tokens": "12", "top_p": "0.5",
            "thinking_config": {"thinking_level": "HIGH"}},
    })).expect("an object"));
    assert_eq!(request.max_output_tokens, Some(12));
    assert_eq!(request.sampling.top_p, Some(0.5));
    assert_eq!(request.messages[0].speaker, Speaker::System);
    assert!(matches!(
        request.messages[1].blocks[0].body,
        BlockBody::Image(_)
    ));
    let effort = request.reasoning.and_then(|it| it.effort);
    assert_eq!(effort, Some(Effort::High));
}

/// A conversation as another dialect reads it.
fn foreign() -> ChatRequest {
    let call = |id: &str| {
        Block::from(BlockBody::ToolCall(ToolCall {
            id: id.into(),
            name: "look".into(),
            input: ToolInput::Json("{\"q\":1}".into()),
            seal: None,
        }))
    };
    let result = |id: &str, text: &str| {
        let result = crate::types::chat::ToolResult {
            call_id: id.into(),
            name: None,
            blocks: vec![Block::text(text)],
            is_error: false,
        };
        Message::new(Speaker::Tool, vec![BlockBody::ToolResult(result).into()])
    };
    ChatRequest {
        dialect: "openai_chat",
        messages: vec![
            Message::new(Speaker::System, vec![Block::text("Be brief.")]),
            Message::new(Speaker::User, vec![Block::text("Look.")]),
            Message::new(Speaker::Assistant, vec![call("call_1"), call("call_2")]),
            result("call_1", "one"),
            result("call_2", "{\"two\":2}"),
        ],
        tools: vec![Tool {
            kind: ToolKind::Function {
                parameters: None,
                strict: Some(true),
            },
            name: "look".into(),
            description: None,
            cache_mark: None,
            extra: crate::types::chat::Extra::none(),
        }],
        ..ChatRequest::default()
    }
}

#[test]
fn another_dialects_calls_carry_googles_dummy_signature() {
    let mut request = foreign();
    request.reasoning = Some(crate::types::chat::ReasoningWish {
        effort: Some(Effort::Medium),
        ..Default::default()
    });
    let (body, notes) = write(&request, "gemini-3-pro-preview");
    assert_eq!(
        body,
        json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"parts": [{"text": "Look."}], "role": "user"},
                {"parts": [
                    {"functionCall": {"id": "call_1", "name": "look", "args": {"q": 1}},
                     "thoughtSignature": "skip_thought_signature_validator"},
                    {"functionCall": {"id": "call_2", "name": "look", "args": {"q": 1}}},
                ], "role": "model"},
                {"parts": [
                    {"functionResponse": {"id": "call_1", "name": "look", "response": {"output": "one"}}},
                    {"functionResponse": {"id": "call_2", "name": "look", "response": {"two": 2}}},
                ], "role": "user"},
            ],
            "tools": [{"functionDeclarations": [{"name": "look"}]}],
            "generationConfig": {"thinkingConfig": {"thinkingLevel": "MEDIUM"}},
        })
    );
    assert_eq!(notes, ["tools[0].strict: dropped"]);
    let (body, _) = write(&request, "gemini-2.5-flash");
    let config = &body["generationConfig"]["thinkingConfig"];
    assert_eq!(config, &json!({"thinkingBudget": 8192}));
    assert!(
        body.pointer("/contents/1/parts/0/thoughtSignature")
            .is_none()
    );
}

#[test]
fn a_seal_goes_back_where_it_came_from() {
    let mut request = foreign();
    if let BlockBody::ToolCall(call) = &mut request.messages[2].blocks[0].body {
        call.seal = Some(Seal::read("tollgate:gemini_generate:c2ln", "openai_chat"));
    }
    let (body, _) = write(&request, "gemini-3-pro-preview");
    let part = &body["contents"][1]["parts"][0];
    assert_eq!(part["thoughtSignature"], "c2ln");
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let refused = |change: fn(&mut ChatRequest), host, model| {
        let mut request = foreign();
        change(&mut request);
        let target = Target {
            host,
            ..target(model)
        };
        let error = CODEC.write_request(&request, &target, &mut Notes::default());
        error.err().map(|it| it.field.into_owned())
    };
    let url: fn(&mut ChatRequest) = |it| {
        let media = crate::types::chat::Source::Url("https://example.com/a.png".into());
        it.messages[1]
            .blocks
            .push(BlockBody::Image(media.into()).into());
    };
    let field = Some("messages[1].content.image_url".to_owned());
    assert_eq!(refused(url, Host::Native, "gemini-2.0-flash"), field);
    assert_eq!(refused(url, Host::Native, "gemini-2.5-flash"), None);
    assert_eq!(refused(url, Host::Vertex, "gemini-2.0-flash"), None);
    let many: fn(&mut ChatRequest) = |it| it.choices = Some(9);
    assert_eq!(
        refused(many, Host::Native, "gemini-2.5-flash"),
        Some("n".into())
    );
    let stop: fn(&mut ChatRequest) = |it| it.stop = vec!["x".into(); 6];
    assert_eq!(
        refused(stop, Host::Native, "gemini-2.5-flash"),
        Some("stop".into())
    );
    let native: fn(&mut ChatRequest) = |it| {
        it.tools[0].kind = ToolKind::Native(crate::types::chat::RawJson::new("{}"));
    };
    assert_eq!(
        refused(native, Host::Native, "gemini-2.5-flash"),
        Some("tools[0]".into())
    );
}

#[test]
fn an_answer_comes_back_as_it_was() {
    let answer = same_answer(&json!({
        "candidates": [
            {
                "content": {"parts": [
                    {"text": "I think.", "thought": true},
                    {"text": "Grüße aus Rom.", "thoughtSignature": "c2ln"},
                ], "role": "model"},
                "finishReason": "STOP",
                "index": 0,
                "avgLogprobs": -0.25,
                "logprobsResult": {
                    "chosenCandidates": [{"token": "Gr", "tokenId": 1, "logProbability": -0.5}],
                    "topCandidates": [{"candidates": [{"token": "Gr", "logProbability": -0.5}]}],
                },
                "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"}],
                "groundingMetadata": {
                    "groundingChunks": [{"web": {"uri": "https://example.com", "title": "Rome"}}],
                    "groundingSupports": [
                        {"segment": {"partIndex": 1, "startIndex": 2, "endIndex": 7, "text": "üße"},
                         "groundingChunkIndices": [0]},
                    ],
                },
            },
            {
                "content": {"parts": [
                    {"functionCall": {"name": "look", "args": {"q": 1}}, "thoughtSignature": "c2ln"},
                ], "role": "model"},
                "finishReason": "STOP",
                "index": 1,
            },
        ],
        "usageMetadata": {
            "promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 20,
            "thoughtsTokenCount": 30, "toolUsePromptTokenCount": 5, "totalTokenCount": 155,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
            "trafficType": "ON_DEMAND_FLEX",
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r-1",
    }));
    let tokens = Tokens {
        input: 65,
        cached_input: 40,
        output: 20,
        reasoning: 30,
        ..Tokens::default()
    };
    assert_eq!(answer.usage, Some(tokens));
    assert_eq!(answer.head.service_tier.as_deref(), Some("flex"));
    let BlockBody::Text { citations, .. } = &answer.choices[0].blocks[1].body else {
        panic!("a text");
    };
    assert_eq!(citations[0].range, Some((2, 5)), "characters, not bytes");
    let logprobs = answer.choices[0]
        .logprobs
        .as_ref()
        .map(crate::types::chat::RawJson::get);
    assert_eq!(
        logprobs,
        Some(
            r#"{"content":[{"token":"Gr","logprob":-0.5,"bytes":[71,114],"top_logprobs":[{"token":"Gr","logprob":-0.5,"bytes":[71,114]}]}],"refusal":null}"#
        )
    );
    assert_eq!(answer.choices[1].finish.reason, FinishReason::ToolCalls);
    let BlockBody::ToolCall(call) = &answer.choices[1].blocks[0].body else {
        panic!("a call");
    };
    assert_eq!(call.id, "call_gg_r-1_0");
}

#[test]
fn a_blocked_prompt_is_a_choice_that_the_filter_withheld() {
    let answer = same_answer(&json!({
        "candidates": [],
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 0, "totalTokenCount": 4},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r",
    }));
    assert_eq!(answer.choices[0].finish.reason, FinishReason::ContentFilter);
}

#[test]
fn every_reason_to_finish() {
    let cases = [
        ("STOP", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("SAFETY", FinishReason::ContentFilter),
        ("RECITATION", FinishReason::ContentFilter),
        ("LANGUAGE", FinishReason::ContentFilter),
        ("BLOCKLIST", FinishReason::ContentFilter),
        ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
        ("SPII", FinishReason::ContentFilter),
        ("IMAGE_SAFETY", FinishReason::ContentFilter),
        ("MALFORMED_FUNCTION_CALL", FinishReason::Error),
        ("UNEXPECTED_TOOL_CALL", FinishReason::Error),
        ("OTHER", FinishReason::Error),
        ("A_NEW_ONE", FinishReason::Stop),
    ];
    for (word, reason) in cases {
        let answer = same_answer(&json!({
            "candidates": [{"content": {"parts": [], "role": "model"}, "finishReason": word, "index": 0}],
            "modelVersion": "m", "responseId": "r",
        }));
        assert_eq!(answer.choices[0].finish.reason, reason, "{word}");
    }
}

#[test]
fn errors_and_nonsense_are_no_answers() {
    for bad in [
        "",
        "[]",
        "{}",
        "null",
        "{\"error\":{\"code\":400}}",
        "{\"candidates\":[1]}",
    ] {
        assert!(CODEC.read_answer(bad).is_err(), "{bad}");
    }
    let error = r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT",
        "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"},
        {"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"contents"}]}]}}]"#;
    let report = CODEC.read_error(error).expect("an error");
    assert_eq!(report.message, "API key not valid.");
    assert_eq!(report.error_type.as_deref(), Some("INVALID_ARGUMENT"));
    assert_eq!(report.code.as_deref(), Some("API_KEY_INVALID"));
    assert_eq!(report.param.as_deref(), Some("contents"));
    assert_eq!(CODEC.read_error("{}"), None);
}

fn chunk(part: &Value, more: &Value) -> Value {
    let mut candidate = json!({"content": {"parts": [part], "role": "model"}, "index": 0});
    let members = more.as_object().cloned().unwrap_or_default();
    candidate
        .as_object_mut()
        .expect("an object")
        .extend(members);
    json!({
        "candidates": [candidate],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r-1",
    })
}

#[test]
fn a_stream_of_everything() {
    let last = json!({
        "finishReason": "STOP",
        "groundingMetadata": {
            "groundingChunks": [{"web": {"uri": "https://example.com", "title": "t"}}],
            "groundingSupports": [
                {"segment": {"startIndex": 0, "endIndex": 7}, "groundingChunkIndices": [0]},
            ],
        },
    });
    let found = stream(&[
        chunk(&json!({"text": "Let me ", "thought": true}), &json!({})),
        chunk(
            &json!({"text": "think.", "thought": true, "thoughtSignature": "czE="}),
            &json!({}),
        ),
        chunk(
            &json!({"functionCall": {"name": "f", "args": {"a": "é\n"}}, "thoughtSignature": "czI="}),
            &json!({}),
        ),
        chunk(
            &json!({"functionCall": {"id": "x", "name": "g", "args": {}}}),
            &json!({"finishReason": "STOP"}),
        ),
        chunk(
            &json!({"executableCode": {"language": "PYTHON", "code": "1"}}),
            &json!({}),
        ),
        chunk(&json!({"text": "Größe "}), &json!({})),
        chunk(&json!({"text": "zwei."}), &json!({})),
        chunk(&json!({"text": ""}), &last),
    ]);
    let ends = found
        .iter()
        .filter(|it| matches!(it, ChatEvent::BlockEnd { .. }));
    assert_eq!(ends.count(), 5);
    let Some([ChatEvent::Finish { finish, .. }, ChatEvent::End]) = found.last_chunk() else {
        panic!("it ends: {found:?}");
    };
    assert_eq!(finish.reason, FinishReason::ToolCalls);
}

#[test]
fn choices_of_a_stream_are_kept_apart() {
    let two = |a: &str, b: &str, more: &Value| {
        let mut chunk = chunk(&json!({"text": a}), more);
        let mut other = chunk["candidates"][0].clone();
        other["content"]["parts"][0]["text"] = json!(b);
        other["index"] = json!(1);
        chunk["candidates"]
            .as_array_mut()
            .expect("an array")
            .push(other);
        chunk
    };
    let found = stream(&[
        two("a", "x", &json!({})),
        two("b", "y", &json!({"finishReason": "MAX_TOKENS"})),
    ]);
    let finishes = found
        .iter()
        .filter(|it| matches!(it, ChatEvent::Finish { .. }));
    assert_eq!(finishes.count(), 2);
}

#[test]
fn a_stream_that_fails_or_is_torn_has_no_end() {
    let error = json!({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}});
    let found = stream(&[chunk(&json!({"text": "a"}), &json!({})), error]);
    let Some(ChatEvent::Error(fault)) = found.last() else {
        panic!("an error: {found:?}");
    };
    assert_eq!(fault.code.as_deref(), Some("503"));
    let torn = events(&stream_of(&[chunk(&json!({"text": "a"}), &json!({}))]), 0);
    assert!(!torn.contains(&ChatEvent::End));
    let blocked =
        stream(&[json!({"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r"})]);
    assert!(blocked.contains(&ChatEvent::End));
}

#[test]
fn paths_name_the_model_and_the_method() {
    let path = |model, stream| {
        let target = Target {
            stream,
            ..target(model)
        };
        let path = CODEC.path(&target);
        (path.path.into_owned(), path.query)
    };
    assert_eq!(
        path("gemini-2.5-flash", false),
        ("models/gemini-2.5-flash:generateContent".into(), None)
    );
    assert_eq!(
        path("tunedModels/mine", true),
        (
            "tunedModels/mine:streamGenerateContent".into(),
            Some("alt=sse")
        )
    );
}
