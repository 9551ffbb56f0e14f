//! The codec on bodies of the kinds that AWS's documentation shows.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::*;
use crate::types::Tokens;
use crate::types::chat::event::StreamFault;
use crate::types::chat::{
    Block, BlockBody, CacheMark, ChatEvent, Effort, Extra, FinishReason, Media, Message,
    OutputFormat, RawJson, ReasoningBlock, ReasoningWish, SchemaFormat, Seal, Source, Speaker,
    Tool, ToolCall, ToolChoice, ToolInput, ToolKind, ToolResult,
};
use crate::wire::framing::aws_eventstream::{EventstreamFramer, encode};
use crate::wire::translate::WireEvent;

const CODEC: BedrockConverse = BedrockConverse;
const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const NOVA: &str = "us.amazon.nova-pro-v1:0";

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
    (
        serde_json::from_slice(&body).expect("valid JSON"),
        notes.collect(),
    )
}

/// A request comes back as it was.
#[track_caller]
fn same(body: &Value) -> ChatRequest {
    let request = read(body);
    let (back, notes) = write(&request, CLAUDE);
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
fn events(stream: &[u8], at: usize) -> Vec<ChatEvent> {
    let mut reader = CODEC.reader();
    let mut framer = EventstreamFramer::new(1 << 20);
    let mut out = Vec::new();
    for piece in [&stream[..at], &stream[at..]] {
        framer.push(Bytes::copy_from_slice(piece)).expect("intact");
        while let Some(message) = framer.next_event() {
            let event = WireEvent {
                name: message.name(),
                data: &message.data(),
            };
            reader.read(event, &mut out).expect("of the dialect");
        }
    }
    reader.finish(&mut out);
    out
}

fn stream_of(messages: &[(&str, Value)]) -> Vec<u8> {
    let frames = messages.iter().map(|(name, payload)| {
        let kind = if name.ends_with("Exception") {
            [(":message-type", "exception"), (":exception-type", name)]
        } else {
            [(":message-type", "event"), (":event-type", name)]
        };
        encode(&kind, payload.to_string().as_bytes())
    });
    frames.flatten().collect()
}

/// The events, the same at every split, and the same after having been written and read again.
#[track_caller]
fn stream(messages: &[(&str, Value)]) -> Vec<ChatEvent> {
    let bytes = stream_of(messages);
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
    assert_eq!(events(&out, 0), whole);
    whole
}

#[test]
fn a_conversation_with_everything_comes_back_as_it_was() {
    let request = same(&json!({
        "system": [
            {"text": "Be brief."},
            {"cachePoint": {"type": "default"}},
            {"guardContent": {"text": {"text": "guarded"}}},
        ],
        "messages": [
            {"role": "user", "content": [
                {"text": "Look."},
                {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}},
                {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://b/picture"}}}},
                {"image": {"format": "png", "source": {"s3Location":
                    {"uri": "s3://b/a.png", "bucketOwner": "123456789012"}}}},
                {"document": {"format": "pdf", "name": "report", "source": {"bytes": "JVBERg=="},
                    "citations": {"enabled": true}}},
                {"document": {"format": "txt", "name": "notes", "source": {"text": "some notes"}}},
                {"video": {"format": "mp4", "source": {"bytes": "AAAA"}}},
                {"audio": {"format": "wav", "source": {"bytes": "UklGRg=="}}},
                {"cachePoint": {"type": "default", "ttl": "1h"}},
            ]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "aGlkZGVu"}},
                {"citationsContent": {"content": [{"text": "It says so."}], "citations": [
                    {"title": "report", "sourceContent": [{"text": "so"}],
                     "location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}}},
                ]}},
                {"toolUse": {"toolUseId": "tooluse_1", "name": "look", "input": {"q": [1, "é"]}}},
                {"toolUse": {"toolUseId": "tooluse_2", "name": "look", "input": {}}},
            ]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "tooluse_1", "content": [{"json": {"a": 1}}, {"text": "b"},
                    {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}], "status": "success"}},
                {"toolResult": {"toolUseId": "tooluse_2", "content": [{"text": "broken"}], "status": "error"}},
                {"futureContent": {"x": 1}},
            ]},
        ],
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "look", "description": "Looks.", "strict": true,
                    "inputSchema": {"json": {"type": "object", "properties": {}}}}},
                {"cachePoint": {"type": "default"}},
                {"systemTool": {"name": "nova_grounding"}},
            ],
            "toolChoice": {"tool": {"name": "look"}},
        },
        "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"], "new": 1},
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema":
            {"schema": "{\"type\":\"object\"}", "name": "n", "description": "d"}}}},
        "additionalModelRequestFields": {"top_k": 40, "thinking": {"type": "enabled", "budget_tokens": 2000}},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
        "performanceConfig": {"latency": "optimized"},
        "serviceTier": {"type": "flex"},
        "requestMetadata": {"team": "a"},
    }));
    assert_eq!(request.sampling.top_k, Some(40));
    assert_eq!(
        request.reasoning.and_then(|it| it.budget_tokens),
        Some(2000)
    );
    assert_eq!(
        request.messages[1].blocks[7].cache_mark,
        Some(CacheMark::Hour)
    );
    assert_eq!(request.tools[0].cache_mark, Some(CacheMark::Usual));
    assert!(matches!(
        request.messages[1].blocks[3].body,
        BlockBody::Native(_)
    ));
}

#[test]
fn every_tool_choice_comes_back() {
    let choice = |choice: Value| {
        let body = json!({"messages": [], "toolConfig": {"tools": [], "toolChoice": choice}});
        same(&body).tool_choice
    };
    assert_eq!(choice(json!({"auto": {}})), Some(ToolChoice::Auto));
    assert_eq!(choice(json!({"any": {}})), Some(ToolChoice::Required));
    let named = Some(ToolChoice::Named("f".into()));
    assert_eq!(choice(json!({"tool": {"name": "f"}})), named);
    let new = choice(json!({"most": {"x": 1}}));
    assert!(matches!(new, Some(ToolChoice::Native(_))));
}

fn tool(name: &str) -> Tool {
    Tool {
        kind: ToolKind::Function {
            parameters: Some(RawJson::new(
                r#"{"type":"object","properties":{"q":{"type":"string"}}}"#,
            )),
            strict: None,
        },
        name: name.into(),
        description: Some(String::new()),
        cache_mark: None,
        extra: Extra::none(),
    }
}

/// A conversation as another dialect reads it.
fn foreign() -> ChatRequest {
    let call = ToolCall {
        id: "call.1".into(),
        name: "look".into(),
        input: ToolInput::Json("{\"q\":".into()),
        seal: None,
    };
    let result = ToolResult {
        call_id: "call.1".into(),
        name: None,
        blocks: vec![Block::text("one"), Block::text(" ")],
        is_error: true,
    };
    ChatRequest {
        dialect: "openai_chat",
        messages: vec![
            Message::new(Speaker::System, vec![Block::text("Be brief.")]),
            Message::new(Speaker::User, vec![Block::text("Look.")]),
            Message::new(Speaker::User, vec![Block::text("Now.")]),
            Message::new(
                Speaker::Assistant,
                vec![Block::text(""), BlockBody::ToolCall(call).into()],
            ),
            Message::new(Speaker::User, vec![Block::text("Well?")]),
            Message::new(Speaker::Tool, vec![BlockBody::ToolResult(result).into()]),
        ],
        tools: vec![tool("look")],
        ..ChatRequest::default()
    }
}

#[test]
fn another_dialects_conversation_is_put_into_turns() {
    let (body, notes) = write(&foreign(), CLAUDE);
    let id = "call1_f114f143";
    assert_eq!(
        body,
        json!({
            "system": [{"text": "Be brief."}],
            "messages": [
                {"role": "user", "content": [{"text": "Look."}, {"text": "Now."}]},
                {"role": "assistant", "content": [
                    {"toolUse": {"toolUseId": id, "name": "look", "input": {"_invalid_json": "{\"q\":"}}},
                ]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": id, "content": [{"text": "one"}], "status": "error"}},
                    {"text": "Well?"},
                ]},
            ],
            "toolConfig": {"tools": [{"toolSpec": {"name": "look", "inputSchema":
                {"json": {"type": "object", "properties": {"q": {"type": "string"}}}}}}]},
        })
    );
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn thinking_is_asked_for_as_each_maker_names_it() {
    let more = |model: &str, effort| {
        let mut request = foreign();
        request.messages.truncate(2);
        request.reasoning = Some(ReasoningWish {
            effort: Some(effort),
            ..ReasoningWish::default()
        });
        request.sampling.top_k = Some(7);
        request.max_output_tokens = Some(10_000);
        let (body, notes) = write(&request, model);
        (body["additionalModelRequestFields"].clone(), notes.len())
    };
    let claude = json!({"thinking": {"type": "enabled", "budget_tokens": 5000}});
    assert_eq!(
        more(CLAUDE, Effort::Medium),
        (claude, 1),
        "top_k excludes thinking"
    );
    let nova = json!({"inferenceConfig": {"topK": 7}});
    assert_eq!(more(NOVA, Effort::Medium), (nova, 1));
    let nova2 = json!({"inferenceConfig": {"topK": 7},
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}});
    assert_eq!(more("amazon.nova-2-lite-v1:0", Effort::Low), (nova2, 0));
    let gpt = json!({"reasoning_effort": "high"});
    assert_eq!(more("openai.gpt-oss-20b-1:0", Effort::High), (gpt, 1));
    assert_eq!(more("us.deepseek.r1-v1:0", Effort::High), (Value::Null, 2));
}

#[test]
fn a_schema_binds_the_output_where_the_model_can_be_bound() {
    let mut request = foreign();
    request.output_format = Some(OutputFormat::Schema(SchemaFormat {
        name: Some("n".into()),
        description: None,
        schema: RawJson::new(r#"{"type":"object","properties":{}}"#),
        strict: Some(true),
    }));
    let (body, _) = write(&request, CLAUDE);
    let schema = body.pointer("/outputConfig/textFormat/structure/jsonSchema/schema");
    let text = schema.and_then(Value::as_str).expect("a schema as text");
    assert!(text.contains("\"additionalProperties\":false"), "{text}");
    let refused = CODEC.write_request(&request, &target(NOVA), &mut Notes::default());
    assert_eq!(
        refused.err().map(|it| it.field.into_owned()),
        Some("response_format".into())
    );
    request.output_format = Some(OutputFormat::Json);
    let (body, notes) = write(&request, NOVA);
    assert_eq!(body["system"].as_array().map(Vec::len), Some(2));
    assert_eq!(notes, ["response_format: an instruction stands in for it"]);
}

#[test]
fn none_and_some_of_the_tools() {
    let mut request = foreign();
    request.tool_choice = Some(ToolChoice::None);
    let (body, notes) = write(&request, CLAUDE);
    assert!(body["toolConfig"]["tools"].is_array() && body["toolConfig"]["toolChoice"].is_null());
    assert_eq!(notes.len(), 1);
    request.messages.truncate(2);
    assert!(write(&request, CLAUDE).0["toolConfig"].is_null());
    request.tools.push(tool("see"));
    request.tool_choice = Some(ToolChoice::Among {
        names: vec!["see".into()],
        required: true,
    });
    let (body, _) = write(&request, CLAUDE);
    assert_eq!(
        body["toolConfig"]["tools"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"any": {}}));
    let mut request = foreign();
    request.tools.clear();
    let (body, notes) = write(&request, CLAUDE);
    assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["name"], "look");
    assert_eq!(
        notes,
        ["tools: declared without a schema: the conversation calls them"]
    );
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let refused = |change: fn(&mut ChatRequest)| {
        let mut request = foreign();
        change(&mut request);
        let written = CODEC.write_request(&request, &target(CLAUDE), &mut Notes::default());
        written.err().map(|it| it.field.into_owned())
    };
    assert_eq!(
        refused(|it| {
            let source = Source::Url("https://example.com/a.png".into());
            it.messages[1]
                .blocks
                .push(BlockBody::Image(source.into()).into());
        }),
        Some("messages[1].content.image_url".into())
    );
    assert_eq!(
        refused(|it| {
            let source = Source::Url("data:image/png;base64,AAAA".into());
            it.messages[1]
                .blocks
                .push(BlockBody::Image(source.into()).into());
        }),
        None
    );
    assert_eq!(
        refused(|it| {
            let source = Source::Base64 {
                media_type: "image/tiff".into(),
                data: String::new(),
            };
            it.messages[1]
                .blocks
                .push(BlockBody::Image(source.into()).into());
        }),
        Some("messages[1].content.image_url".into())
    );
    assert_eq!(refused(|it| it.choices = Some(2)), Some("n".into()));
    assert_eq!(
        refused(|it| it.tools[0].kind = ToolKind::Native(RawJson::new("{}"))),
        Some("tools[0]".into())
    );
}

#[test]
fn documents_have_names_that_bedrock_takes_and_no_two_the_same() {
    let mut request = foreign();
    request.messages.truncate(2);
    for _ in 0..2 {
        let source = Source::Text {
            media_type: "text/plain".into(),
            text: "hi".into(),
        };
        let mut media = Media::from(source);
        media.name = Some("my_report.v2.txt".into());
        request.messages[1]
            .blocks
            .push(BlockBody::File(media).into());
    }
    let (body, _) = write(&request, CLAUDE);
    let content = &body["messages"][0]["content"];
    let document =
        json!({"format": "txt", "name": "my report v2 txt", "source": {"bytes": "aGk="}});
    assert_eq!(content[1]["document"], document);
    assert_eq!(content[2]["document"]["name"], "my report v2 txt 2");
}

#[test]
fn anthropics_signatures_hold_here_and_hidden_thoughts_do_not() {
    let thought = |seal: &str, is_hidden| {
        Block::from(BlockBody::Reasoning(ReasoningBlock {
            text: "Hm.".into(),
            seal: Some(Seal::read(seal, "anthropic_messages")),
            is_hidden,
            ..ReasoningBlock::default()
        }))
    };
    let mut request = foreign();
    request.messages[3].blocks.insert(0, thought("c2ln", false));
    request.messages[3].blocks.insert(0, thought("aGlk", true));
    let (body, notes) = write(&request, CLAUDE);
    let content = &body["messages"][1]["content"];
    let signed = json!({"reasoningText": {"text": "Hm.", "signature": "c2ln"}});
    assert_eq!(content[0]["reasoningContent"], signed);
    assert_eq!(content.as_array().map(Vec::len), Some(2));
    assert_eq!(notes.len(), 1);
    let (body, _) = write(&request, NOVA);
    assert_eq!(
        body["messages"][1]["content"].as_array().map(Vec::len),
        Some(1)
    );
}

fn answer(content: &Value, stop: &str) -> Value {
    json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop,
        "usage": {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30},
        "metrics": {"latencyMs": 551},
    })
}

#[test]
fn an_answer_comes_back_as_it_was() {
    let mut body = answer(
        &json!([
            {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
            {"citationsContent": {"content": [{"text": "So."}], "citations": [
                {"title": "t", "sourceContent": [{"text": "s"}], "location": {"web": {"url": "https://example.com", "domain": "example.com"}}},
            ]}},
            {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
        ]),
        "tool_use",
    );
    body["usage"] = json!({
        "inputTokens": 10, "outputTokens": 20, "totalTokens": 137, "cacheReadInputTokens": 100,
        "cacheWriteInputTokens": 7, "cacheDetails": [{"inputTokens": 4, "ttl": "5m"}, {"inputTokens": 3, "ttl": "1h"}],
        "serverToolUsage": {"x": 1},
    });
    body["serviceTier"] = json!({"type": "priority"});
    body["trace"] = json!({"guardrail": {}});
    let answer = same_answer(&body);
    assert_eq!(answer.choices[0].finish.reason, FinishReason::ToolCalls);
    assert_eq!(answer.head.service_tier.as_deref(), Some("priority"));
    let tokens = Tokens {
        input: 10,
        cached_input: 100,
        cache_write: 4,
        cache_write_1h: 3,
        output: 20,
        reasoning: 0,
    };
    assert_eq!(answer.usage, Some(tokens));
    let BlockBody::Text { citations, .. } = &answer.choices[0].blocks[1].body else {
        panic!("a text");
    };
    assert_eq!(citations[0].url.as_deref(), Some("https://example.com"));
}

#[test]
fn every_reason_to_stop() {
    let cases = [
        ("end_turn", FinishReason::Stop),
        ("tool_use", FinishReason::ToolCalls),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("stop_sequence", FinishReason::StopSequence),
        ("guardrail_intervened", FinishReason::ContentFilter),
        ("content_filtered", FinishReason::ContentFilter),
        ("malformed_model_output", FinishReason::Error),
        ("malformed_tool_use", FinishReason::Error),
        ("a_new_one", FinishReason::Stop),
    ];
    for (word, reason) in cases {
        let answer = same_answer(&answer(&json!([{"text": "x"}]), word));
        assert_eq!(answer.choices[0].finish.reason, reason, "{word}");
    }
}

#[test]
fn errors_and_nonsense_are_no_answers() {
    for bad in ["", "[]", "{}", "{\"message\":\"no\"}", "{\"output\":{}}"] {
        assert!(CODEC.read_answer(bad).is_err(), "{bad}");
    }
    let report = CODEC
        .read_error(r#"{"message":"Too many requests"}"#)
        .expect("an error");
    assert_eq!(report.message, "Too many requests");
    let old =
        CODEC.read_error(r#"{"__type":"com.amazon.coral#ThrottlingException","Message":"m"}"#);
    assert_eq!(
        old.and_then(|it| it.error_type).as_deref(),
        Some("ThrottlingException")
    );
    assert_eq!(CODEC.read_error("<html>"), None);
}

fn delta(index: u32, delta: &Value) -> (&'static str, Value) {
    (
        "contentBlockDelta",
        json!({"contentBlockIndex": index, "delta": delta, "p": "abcd"}),
    )
}

fn stop(index: u32) -> (&'static str, Value) {
    (
        "contentBlockStop",
        json!({"contentBlockIndex": index, "p": "ab"}),
    )
}

fn call(index: u32, id: &str) -> (&'static str, Value) {
    let start = json!({"toolUse": {"toolUseId": id, "name": "f"}});
    (
        "contentBlockStart",
        json!({"contentBlockIndex": index, "start": start}),
    )
}

#[test]
fn a_stream_of_everything() {
    let citation = json!({"title": "t", "sourceContent": [{"text": "s"}],
        "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 2}}});
    let found = stream(&[
        ("messageStart", json!({"role": "assistant", "p": "abc"})),
        delta(0, &json!({"reasoningContent": {"text": "Hm"}})),
        delta(0, &json!({"reasoningContent": {"signature": "c2ln"}})),
        stop(0),
        delta(1, &json!({"reasoningContent": {"redactedContent": "aGlk"}})),
        stop(1),
        delta(2, &json!({"text": "Grö"})),
        delta(2, &json!({"text": "ße 🎉"})),
        delta(2, &json!({"citation": citation})),
        stop(2),
        call(3, "t1"),
        delta(3, &json!({"toolUse": {"input": "{\"a\": \"\\u00"}})),
        delta(3, &json!({"toolUse": {"input": "e9\"}"}})),
        stop(3),
        call(4, "t2"),
        stop(4),
        ("messageStop", json!({"stopReason": "tool_use"})),
        (
            "metadata",
            json!({"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3,
            "cacheReadInputTokens": 4, "cacheWriteInputTokens": 5}, "metrics": {"latencyMs": 9}}),
        ),
    ]);
    let ends = found
        .iter()
        .filter(|it| matches!(it, ChatEvent::BlockEnd { .. }));
    assert_eq!(ends.count(), 5);
    assert_eq!(found.last(), Some(&ChatEvent::End));
    let usage = found.iter().any(|it| {
        matches!(it, ChatEvent::Usage(tokens) if tokens.cached_input == 4 && tokens.cache_write == 5)
    });
    assert!(usage, "{found:?}");
}

#[test]
fn interleaved_blocks_come_one_after_the_other() {
    let found = stream(&[
        ("messageStart", json!({"role": "assistant"})),
        call(0, "t1"),
        call(1, "t2"),
        delta(1, &json!({"toolUse": {"input": "{}"}})),
        delta(0, &json!({"toolUse": {"input": "{}"}})),
        stop(1),
        stop(0),
        ("someNewEvent", json!({"x": 1})),
        ("messageStop", json!({"stopReason": "tool_use"})),
    ]);
    assert_eq!(found.last(), Some(&ChatEvent::End));
}

#[test]
fn exceptions_end_a_stream() {
    let found = stream(&[
        ("messageStart", json!({"role": "assistant"})),
        delta(0, &json!({"text": "a"})),
        ("throttlingException", json!({"message": "slow down"})),
        ("messageStop", json!({"stopReason": "end_turn"})),
    ]);
    let fault = StreamFault {
        message: "slow down".into(),
        error_type: Some("throttlingException".into()),
        code: None,
    };
    assert_eq!(found.last(), Some(&ChatEvent::Error(fault)));
    let torn = events(&stream_of(&[delta(0, &json!({"text": "a"}))]), 0);
    assert!(!torn.contains(&ChatEvent::End));
}

#[test]
fn paths_encode_the_model() {
    let path = |model, stream| {
        let target = Target {
            stream,
            ..target(model)
        };
        CODEC.path(&target).path.into_owned()
    };
    assert_eq!(
        path(NOVA, false),
        "model/us.amazon.nova-pro-v1%3A0/converse"
    );
    let arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc";
    assert_eq!(
        path(arn, true),
        "model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fabc/converse-stream"
    );
}
