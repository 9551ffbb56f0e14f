//! The client's side: what a request is taken for, what passing answers say, and what we say ourselves.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::AnthropicMessages;
use super::tests::{events_of, written};
use crate::error::{ErrorKind, ProxyError};
use crate::types::chat::{AnswerHead, ChatEvent, FinishReason};
use crate::types::{Call, Directives, Endpoint, Part, PicoUsd, Role, StreamRequest, Tokens};
use crate::wire::dialect::{Dialect, Synthetic};
use crate::wire::facts::{EventKind, StreamFacts};
use crate::wire::framing::sse::SseFramer;

const CODEC: AnthropicMessages = AnthropicMessages;

fn decode(body: &str) -> Result<Call, ProxyError> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    CODEC.decode(Endpoint::Messages, body, Directives::default())
}

/// Role, texts and calls of every turn.
fn turns(call: &Call) -> Vec<(Role, String, u16)> {
    let text = |part: &Part| match part {
        Part::Text(span) => call.raw_text(*span).to_owned(),
        Part::Image(_) => "<image>".to_owned(),
        Part::File(_) => "<file>".to_owned(),
        _ => "<other>".to_owned(),
    };
    let turns = call.turns.iter();
    turns
        .map(|turn| {
            let texts: Vec<_> = turn.parts.iter().map(text).collect();
            (turn.role, texts.join("|"), turn.tool_calls)
        })
        .collect()
}

#[test]
fn a_request_is_taken_for_what_it_says() {
    let call = decode(
        r#"{"model":"auto","max_tokens":50,"stream":true,"metadata":{"user_id":"u1"},
        "messages":[
          {"role":"user","content":"hello"},
          {"role":"assistant","content":[{"thinking":"hm","type":"thinking","signature":"s"},
            {"type":"text","text":"yes"},{"type":"tool_use","id":"t","name":"f","input":{"text":"no"}}]},
          {"role":"user","content":[
            {"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"42"},{"type":"image","source":{}}]},
            {"type":"tool_result","tool_use_id":"u","content":"x"},
            {"type":"text","text":"and?"},
            {"type":"document","source":{"type":"text","media_type":"text/plain","data":"d"}}]}],
        "tools":[{"name":"f","input_schema":{}}],
        "output_config":{"format":{"type":"json_schema","schema":{}}},
        "system":[{"type":"text","text":"be kind"}]}"#,
    )
    .expect("a request");
    assert_eq!(
        turns(&call),
        [
            (Role::System, "be kind".to_owned(), 0),
            (Role::User, "hello".to_owned(), 0),
            (Role::Assistant, "hm|yes".to_owned(), 1),
            (Role::Tool, "42|<image>|x".to_owned(), 0),
            (Role::User, "and?|<file>".to_owned(), 0),
        ]
    );
    assert!(call.needs.tools && call.needs.vision && call.needs.json_schema);
    assert_eq!((call.tools, call.max_output_tokens), (1, Some(50)));
    assert_eq!(call.end_user.as_deref(), Some("u1"));
    assert!(call.stream.wanted && call.stream.include_usage);
    let body = CODEC.encode_request(&call, "claude-x", true);
    let expect = String::from_utf8_lossy(&call.body).replace("\"auto\"", "\"claude-x\"");
    assert_eq!(body, expect.as_bytes());
}

#[test]
fn requests_that_hide_something_are_refused() {
    let check = |body: &str, param: Option<&str>| {
        let error = decode(body).expect_err(body);
        assert_eq!(error.param.as_deref(), param, "{body}");
    };
    check("", None);
    check("[]", None);
    check(r#"{"messages":[]}"#, Some("messages"));
    check(
        r#"{"messages":[{"role":"user","content":"x"}]}"#,
        Some("model"),
    );
    check(r#"{"model":"a"}"#, Some("messages"));
    check(r#"{"model":"a","model":"b"}"#, Some("model"));
    check(r#"{"model":"a","Messages":[]}"#, Some("Messages"));
    check(
        r#"{"model":"a","messages":[{"role":"user"}]}"#,
        Some("messages[0].content"),
    );
    check(
        r#"{"model":"a","messages":[{"content":"x"}]}"#,
        Some("messages[0].role"),
    );
    check(
        r#"{"model":"a","messages":[{"role":"user","content":[{"type":"text","text":1}]}]}"#,
        Some("messages[0].content[0].text"),
    );
    check(
        r#"{"model":"a","messages":[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]}"#,
        Some("messages[0].content[0].text"),
    );
    check(
        r#"{"model":"a","messages":[{"role":"user","content":[1]}]}"#,
        Some("messages[0].content[0]"),
    );
}

#[test]
fn thoughts_of_other_providers_do_not_reach_anthropic() {
    let call = decode(
        r#"{"model":"auto","max_tokens":5,"stream":true,"messages":[
          {"role":"user","content":"a"},
          {"role":"assistant","content":[{"type":"redacted_thinking","data":"tollgate:openai_responses:x"},{"type":"text","text":"b"}]},
          {"role":"user","content":"c"}]}"#,
    )
    .expect("a request");
    let body: Value =
        serde_json::from_slice(&CODEC.encode_request(&call, "m", false)).expect("JSON");
    assert_eq!(
        body,
        json!({"model": "m", "max_tokens": 5, "stream": true, "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]})
    );
}

fn tapped(stream: &[u8]) -> (StreamFacts, Vec<EventKind>) {
    let mut framer = SseFramer::new(1 << 20);
    framer.push(Bytes::copy_from_slice(stream)).expect("frames");
    let mut tap = CODEC.tap();
    let mut kinds = Vec::new();
    while let Some(event) = framer.next_event() {
        kinds.push(tap.see(&event));
    }
    (tap.facts().clone(), kinds)
}

const STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","model":"claude-x","content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":3,"output_tokens":1,"service_tier":"priority"}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hé\n"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"llo"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":20}}

event: message_stop
data: {"type":"message_stop"}

"#;

#[test]
fn a_passing_stream_is_understood() {
    let (facts, kinds) = tapped(STREAM.as_bytes());
    assert_eq!(facts.id.as_deref(), Some("msg_1"));
    assert_eq!(facts.model.as_deref(), Some("claude-x"));
    assert_eq!(facts.output_bytes, 7);
    assert_eq!(facts.output_bytes_at_usage, 7);
    assert!(facts.finish.truncated && facts.done && facts.complete());
    assert_eq!(
        facts.service_tier.map(crate::types::ServiceTier::as_str),
        Some("priority")
    );
    let expect = Tokens {
        input: 10,
        cached_input: 3,
        output: 20,
        ..Tokens::default()
    };
    assert_eq!(facts.usage, Some(expect));
    assert_eq!(kinds[0], EventKind::Content { bytes: 0 });
    assert_eq!(kinds[4], EventKind::Content { bytes: 3 }, "by the stencil");
    assert!(matches!(kinds[6], EventKind::Usage { alone: false, .. }));
    assert_eq!(kinds[7], EventKind::Done);
}

#[test]
fn a_stream_gets_its_cost_where_its_usage_is() {
    let mut framer = SseFramer::new(1 << 20);
    framer
        .push(Bytes::from_static(STREAM.as_bytes()))
        .expect("frames");
    let mut tap = CODEC.tap();
    let mut forwarded = BytesMut::new();
    while let Some(event) = framer.next_event() {
        match tap.see(&event) {
            EventKind::Usage { report, .. } => {
                let cost = PicoUsd::from_pico(1_500_000_000);
                forwarded.extend_from_slice(&CODEC.event_with_cost(&event, &report, cost));
            }
            _ => forwarded.extend_from_slice(&event.raw),
        }
    }
    let expect = STREAM.replace(
        "\"output_tokens\":20}",
        "\"output_tokens\":20,\"cost\":0.0015}",
    );
    assert_eq!(String::from_utf8_lossy(&forwarded), expect);
}

#[test]
fn errors_are_in_anthropics_envelope() {
    let check = |kind, error_type: &str| {
        let body = CODEC.encode_error(&ProxyError::new(kind, "no \"way\""));
        let json: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(json["type"], "error");
        assert_eq!(json["error"]["type"], error_type);
        assert_eq!(json["error"]["message"], "no \"way\"");
    };
    check(ErrorKind::InvalidRequest, "invalid_request_error");
    check(ErrorKind::RateLimitExceeded, "rate_limit_error");
    check(ErrorKind::NotFound, "not_found_error");
    check(ErrorKind::Internal, "api_error");
    let event = CODEC.error_event(&ProxyError::new(ErrorKind::UpstreamError, "x"));
    let (facts, kinds) = tapped(&event);
    assert_eq!(kinds, [EventKind::Error]);
    assert_eq!(facts.error.map(|error| error.message).as_deref(), Some("x"));
}

#[test]
fn a_whole_answer_is_understood_and_priced() {
    let body = Bytes::from_static(br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"abc"},{"type":"tool_use","id":"t","name":"f","input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":2}}"#);
    let facts = CODEC
        .inspect_response(Endpoint::Messages, &body)
        .expect("an answer");
    assert!(facts.finish.seen && facts.tool_calls);
    assert_eq!((facts.choices, facts.output_bytes), (1, 3));
    let priced = CODEC.insert_cost(body, &facts, PicoUsd::from_pico(1_000_000_000_000));
    assert!(String::from_utf8_lossy(&priced).ends_with(r#""output_tokens":2,"cost":1}}"#));
    let error = Bytes::from_static(
        br#"{"type":"error","error":{"type":"overloaded_error","message":"m"},"request_id":"r"}"#,
    );
    let facts = CODEC
        .inspect_response(Endpoint::Messages, &error)
        .expect("an error");
    let error = facts.error.expect("an error");
    assert!(error.enveloped && error.error_type.as_deref() == Some("overloaded_error"));
    for bad in ["", "[]", "{}", "{\"content\":1}", "nope"] {
        let body = Bytes::copy_from_slice(bad.as_bytes());
        CODEC
            .inspect_response(Endpoint::Messages, &body)
            .expect_err(bad);
    }
}

#[test]
fn answers_of_our_own_are_answers_in_both_forms() {
    let synthetic = Synthetic {
        endpoint: Endpoint::Messages,
        id: "req-1",
        created: 1,
        model: "template",
        text: "We open at \"nine\".\n",
    };
    let whole = CODEC.synthetic(&synthetic, &StreamRequest::default());
    let facts = CODEC
        .inspect_response(Endpoint::Messages, &whole)
        .expect("an answer");
    assert_eq!(facts.model.as_deref(), Some("template"));
    let wanted = StreamRequest {
        wanted: true,
        ..StreamRequest::default()
    };
    let stream = CODEC.synthetic(&synthetic, &wanted);
    let back = CODEC.stream_to_whole(&stream).expect("an answer");
    let value = |json: &[u8]| serde_json::from_slice::<Value>(json).expect("JSON");
    assert_eq!(value(&back), value(&whole));
    assert_eq!(CODEC.whole_to_stream(&whole, true), Some(stream));
    let torn = &STREAM[..STREAM.len() - 200];
    assert_eq!(
        CODEC.stream_to_whole(&Bytes::copy_from_slice(torn.as_bytes())),
        None
    );
    let (facts, _) = tapped(&CODEC.usage_event(
        Endpoint::Messages,
        &facts_cut(),
        &Tokens::default(),
        PicoUsd::ZERO,
    ));
    assert!(facts.finish.truncated);
}

#[test]
fn a_stream_without_a_report_says_so() {
    let stream = written(&[
        ChatEvent::Start(AnswerHead::default()),
        ChatEvent::Finish {
            choice: 0,
            finish: FinishReason::Stop.into(),
        },
        ChatEvent::End,
    ]);
    let (facts, kinds) = tapped(&stream);
    assert_eq!(facts.usage, None);
    assert!(facts.complete());
    assert!(
        !kinds
            .iter()
            .any(|kind| matches!(kind, EventKind::Usage { .. }))
    );
}

fn facts_cut() -> StreamFacts {
    let mut facts = StreamFacts::default();
    facts.finish.truncated = true;
    facts
}

fn any_tokens() -> impl Strategy<Value = Tokens> {
    let count = || prop_oneof![Just(0_u64), 1..100_000_u64];
    (count(), count(), count(), count(), count(), count()).prop_map(
        |(input, cached_input, cache_write, cache_write_1h, output, reasoning)| Tokens {
            input,
            cached_input,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
        },
    )
}

proptest! {
    #[test]
    fn every_class_of_tokens_is_read_back(tokens in any_tokens(), early in any::<bool>()) {
        let mut events = vec![ChatEvent::Start(AnswerHead::default())];
        let finish = ChatEvent::Finish { choice: 0, finish: FinishReason::Stop.into() };
        events.extend(if early {
            [ChatEvent::Usage(tokens), finish]
        } else {
            [finish, ChatEvent::Usage(tokens)]
        });
        events.push(ChatEvent::End);
        let stream = written(&events);
        prop_assert_eq!(tapped(&stream).0.usage, Some(tokens));
        let again = events_of(&stream, 0);
        prop_assert!(again.contains(&ChatEvent::Usage(tokens)));
        let whole = CODEC.stream_to_whole(&Bytes::from(stream)).expect("an answer");
        let facts = CODEC.inspect_response(Endpoint::Messages, &whole).expect("an answer");
        prop_assert_eq!(facts.usage.and_then(|usage| usage.tokens), Some(tokens));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(bytes);
        let _ = CODEC.decode(Endpoint::Messages, body.clone(), Directives::default());
        let _ = CODEC.inspect_response(Endpoint::Messages, &body);
        let _ = CODEC.stream_to_whole(&body);
        let _ = CODEC.whole_to_stream(&body, true);
    }
}
