//! An answer is the same whole and streamed.

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::types::Endpoint;
use crate::wire::dialect::openai_chat::inspect_response;
use crate::wire::dialect::openai_chat::stream::StreamTap;
use crate::wire::framing::sse::SseFramer;

fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("JSON")
}

/// A whole answer survives the way to a stream and back, and both say the same.
fn check_round_trip(whole: &str) {
    let whole = Bytes::copy_from_slice(whole.as_bytes());
    let stream = whole_to_stream(&whole, true).expect("a stream");
    let back = stream_to_whole(&stream).expect("a whole answer");
    assert_eq!(value(&back), value(&whole));

    let endpoint = if value(&whole)["object"] == "text_completion" {
        Endpoint::Completions
    } else {
        Endpoint::ChatCompletions
    };
    let facts = inspect_response(endpoint, &whole).expect("an answer");
    let mut tap = StreamTap::new();
    let mut framer = SseFramer::new(1 << 20);
    framer.push(stream).expect("within the cap");
    while let Some(event) = framer.next_event() {
        tap.see(&event);
    }
    let seen = tap.facts();
    assert!(seen.done && seen.complete());
    assert_eq!(seen.usage, facts.usage.and_then(|usage| usage.tokens));
    assert_eq!(seen.model, facts.model);
    assert_eq!(seen.finish, facts.finish);
    assert_eq!(seen.tool_calls, facts.tool_calls);
    assert_eq!(seen.output_bytes, facts.output_bytes);
    assert_eq!(seen.malformed, 0);
}

#[test]
fn whole_answers_survive_the_way_to_a_stream_and_back() {
    check_round_trip(
        r#"{
          "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000,
          "model": "gpt-4o-2024-08-06", "system_fingerprint": "fp_1", "service_tier": "default",
          "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello\nworld \"x\" 🎉"},
             "logprobs": {"content": [{"token": "Hello", "logprob": -0.31725305, "bytes": [72],
               "top_logprobs": []}]},
             "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": "Bye", "reasoning_content": "hm"},
             "logprobs": null, "finish_reason": "length"}
          ],
          "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21,
            "completion_tokens_details": {"reasoning_tokens": 2}}
        }"#,
    );
    check_round_trip(
        r#"{"id":"chatcmpl-2","object":"chat.completion","created":1,"model":"m",
          "choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[
            {"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},
            {"id":"call_2","type":"function","function":{"name":"g","arguments":"{}"}}]},
          "logprobs":null,"finish_reason":"tool_calls"}],
          "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
    );
    check_round_trip(
        r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"m",
          "choices":[{"index":0,"text":"once","logprobs":{"tokens":["once"],"token_logprobs":[-0.1],
            "top_logprobs":[null],"text_offset":[0]},"finish_reason":"length"}],
          "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
    );
}

#[test]
fn usage_is_in_the_stream_only_when_asked_for() {
    let whole = Bytes::from_static(
        br#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,
          "message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],
          "usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#,
    );
    let without = whole_to_stream(&whole, false).expect("a stream");
    assert!(!String::from_utf8_lossy(&without).contains("usage"));
    insta::assert_snapshot!(String::from_utf8_lossy(
        &whole_to_stream(&whole, true).expect("a stream")
    ));
}

fn check_assembled(events: &[&str], expect: Option<&str>) {
    let events_of = |data: &&str| format!("data: {data}\n\n");
    let stream = events.iter().map(events_of).collect::<Vec<_>>().concat();
    let whole = stream_to_whole(&Bytes::from(stream));
    let found = whole.map(|whole| value(&whole)["choices"].clone());
    assert_eq!(
        found,
        expect.map(|json| value(json.as_bytes())),
        "{events:?}"
    );
}

#[test]
fn pieces_are_put_together_by_choice_and_call() {
    check_assembled(
        &[
            r#"{"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
            r#"{"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{"}}]}}]}"#,
            r#"{"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]}}]}"#,
            r#"{"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"}"}}]}}]}"#,
            r#"{"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
        ],
        Some(
            r#"[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[
              {"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},
              {"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},
              "logprobs":null,"finish_reason":"tool_calls"}]"#,
        ),
    );
    check_assembled(
        &[
            r#"{"choices":[{"index":1,"delta":{"content":"B"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"A","reasoning":"r1"}}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"index":0,"delta":{"reasoning":"r2"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":1}}"#,
            "[DONE]",
        ],
        Some(
            r#"[{"index":0,"message":{"role":"assistant","content":"A","reasoning":"r1r2"},"logprobs":null,"finish_reason":"stop"},
              {"index":1,"message":{"role":"assistant","content":"Bb"},"logprobs":null,"finish_reason":"stop"}]"#,
        ),
    );
}

#[test]
fn a_stream_that_did_not_finish_is_no_answer() {
    let begun = r#"{"choices":[{"index":0,"delta":{"content":"A"}}]}"#;
    check_assembled(&[begun], None);
    check_assembled(&[begun, "[DONE]"], None);
    check_assembled(&[begun, r#"{"error":{"message":"x"}}"#], None);
    check_assembled(&[begun, "{oops"], None);
    check_assembled(&[], None);
}

#[test]
fn what_is_no_answer_becomes_no_stream() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"choices":[]}"#,
        r#"{"choices":[{"index":0}]}"#,
        r#"{"error":{}}"#,
    ] {
        assert_eq!(whole_to_stream(&Bytes::from(body), true), None, "{body}");
    }
}
