//! What is decoded, what is refused and with which words.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::error::ErrorKind;
use crate::wire::json_text;

fn body(json: &str) -> Bytes {
    Bytes::copy_from_slice(json.as_bytes())
}

fn chat(json: &str) -> Result<Call, ProxyError> {
    decode(Endpoint::ChatCompletions, body(json), Directives::default())
}

fn call(json: &str) -> Call {
    chat(json).unwrap_or_else(|error| panic!("{}: {json}", error.message))
}

/// A chat body with these members beside `model` and `messages`.
fn with(members: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{members}}}"#)
}

fn messages(messages: &str) -> String {
    format!(r#"{{"model":"m","messages":{messages}}}"#)
}

fn check_refused(json: &str, param: &str) {
    let error = chat(json).expect_err(json);
    assert_eq!(error.kind, ErrorKind::InvalidRequest, "{json}");
    assert_eq!(
        error.param.as_deref().unwrap_or_default(),
        param,
        "{json}: {}",
        error.message
    );
    assert!(!error.message.ends_with('.'), "{}", error.message);
}

fn check_message(json: &str, message: &str) {
    assert_eq!(chat(json).expect_err(json).message, message, "{json}");
}

fn texts(call: &Call) -> Vec<String> {
    let parts = call.turns.iter().flat_map(|turn| &turn.parts);
    parts
        .filter_map(|part| match part {
            Part::Text(span) => Some(json_text::to_string_lossy(call.raw(*span)).into_owned()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_plain_request() {
    let call = call(
        r#" {"model": "auto", "messages": [
            {"role": "developer", "content": "Be \"brief\"."},
            {"role": "user", "content": [{"type": "text", "text": "Qué tal?\n🎉"}, {"text": "b", "type": "text"}]},
            {"role": "critic", "content": null}],
          "temperature": 0.5, "unknown": {"deep": [1, 2, {"x": null}]}} "#,
    );
    assert_eq!(call.model, "auto");
    assert_eq!(call.raw_text(call.model_value), "\"auto\"");
    assert_eq!(texts(&call), ["Be \"brief\".", "Qué tal?\n🎉", "b"]);
    let roles: Vec<Role> = call.turns.iter().map(|turn| turn.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Other]);
    let fields: Vec<(&str, &str)> = call
        .fields
        .iter()
        .map(|field| (call.raw_text(field.name), call.raw_text(field.value)))
        .collect();
    assert_eq!(fields[0], ("model", "\"auto\""));
    assert_eq!(fields[2], ("temperature", "0.5"));
    assert_eq!(fields[3], ("unknown", r#"{"deep": [1, 2, {"x": null}]}"#));
    assert_eq!(call.choices, 1);
    assert_eq!(call.needs, Needs::default());
    assert!(!call.stream.wanted);
}

#[test]
fn what_a_model_must_be_able_to_do() {
    let needs = |json: &str| call(json).needs.names().to_vec();
    assert_eq!(
        needs(&with(
            r#","tools":[{"type":"function"},{}],"tool_choice":"auto""#
        )),
        ["tools"]
    );
    assert_eq!(call(&with(r#","tools":[{},{}]"#)).tools, 2);
    assert_eq!(needs(&with(r#","functions":[{"name":"f"}]"#)), ["tools"]);
    assert_eq!(needs(&with(r#","tools":[],"functions":null"#)), [""; 0]);
    assert_eq!(
        needs(&with(
            r#","response_format":{"type":"json_schema","json_schema":{}}"#
        )),
        ["json_schema"]
    );
    assert_eq!(
        needs(&with(r#","response_format":{"type":"json_object"}"#)),
        ["json_schema"]
    );
    assert_eq!(
        needs(&with(r#","response_format":{"type":"text"}"#)),
        [""; 0]
    );
    assert_eq!(
        needs(&with(
            r#","modalities":["text","audio"],"audio":{"voice":"x"}"#
        )),
        ["audio"]
    );
    assert_eq!(
        needs(&with(r#","modalities":["text"],"audio":null"#)),
        [""; 0]
    );
    let call = call(&messages(
        r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:x"}},
            {"type":"input_audio","input_audio":{}},{"type":"file","file":{}},{"type":"video_url"}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"a"},{"id":"b"}]},
            {"role":"tool","tool_call_id":"a","content":"42"}]"#,
    ));
    assert_eq!(call.needs.names().to_vec(), ["vision", "tools", "audio"]);
    let parts = &call.turns[0].parts;
    assert!(matches!(
        parts[..],
        [
            Part::Image(_),
            Part::Audio(_),
            Part::File(_),
            Part::Other(_)
        ]
    ));
    let Part::Image(span) = parts[0] else {
        panic!("an image")
    };
    assert_eq!(
        call.raw_text(span),
        r#"{"type":"image_url","image_url":{"url":"data:x"}}"#
    );
    assert_eq!(call.turns[1].tool_calls, 2);
    assert_eq!(call.turns[2].role, Role::Tool);
}

#[test]
fn numbers_and_names_of_a_request() {
    let full = call(&with(
        r#","n":3,"max_tokens":10,"max_completion_tokens":20,"user":"u1","safety_identifier":"s1",
          "metadata":{"feature":"search","k":"v"},"prompt_cache_key":"thread-7","stream":true,
          "stream_options":{"include_usage":true,"include_obfuscation":false}"#,
    ));
    assert_eq!((full.choices, full.max_output_tokens), (3, Some(20)));
    assert_eq!(full.end_user.as_deref(), Some("u1"));
    assert_eq!(
        full.metadata[0],
        ("feature".to_owned(), "search".to_owned())
    );
    assert_eq!(
        full.directives.prompt_cache_key.as_deref(),
        Some("thread-7")
    );
    assert!(full.stream.wanted && full.stream.include_usage);
    assert_eq!(
        full.raw_text(full.stream.include_usage_value.expect("a value")),
        "true"
    );

    let nulls = call(&with(
        r#","n":null,"max_tokens":null,"max_completion_tokens":null,"user":null,"metadata":null,
          "prompt_cache_key":null,"stream":null,"stream_options":null,"tools":null,
          "response_format":null,"modalities":null,"audio":null,"functions":null,"safety_identifier":"s""#,
    ));
    assert_eq!((nulls.choices, nulls.max_output_tokens), (1, None));
    assert_eq!(nulls.end_user.as_deref(), Some("s"));
    assert!(nulls.stream.options.is_some() && !nulls.stream.include_usage);

    let header = Directives {
        session: Some("header".to_owned()),
        ..Directives::default()
    };
    let json = body(&with(r#","prompt_cache_key":"body""#));
    let call = decode(Endpoint::ChatCompletions, json, header).expect("a call");
    assert_eq!(call.directives.session.as_deref(), Some("header"));
    assert_eq!(call.directives.prompt_cache_key.as_deref(), Some("body"));
}

#[test]
fn completions_and_embeddings() {
    let parts = |endpoint, json: &str| {
        let call = decode(endpoint, body(json), Directives::default());
        call.map(|call| (texts(&call), call.turns[0].parts.len()))
            .map_err(|error| error.param)
    };
    let owned = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let completions = |json: &str| parts(Endpoint::Completions, json);
    assert_eq!(
        completions(r#"{"model":"m","prompt":"a"}"#),
        Ok((owned(&["a"]), 1))
    );
    assert_eq!(
        completions(r#"{"model":"m","suffix":"z","prompt":["a","b"]}"#),
        Ok((owned(&["a", "b", "z"]), 3))
    );
    assert_eq!(
        completions(r#"{"model":"m","prompt":null}"#),
        Ok((vec![], 0))
    );
    assert_eq!(
        completions(r#"{"model":"m","prompt":[1,2,3]}"#),
        Ok((vec![], 1))
    );
    assert_eq!(
        completions(r#"{"model":"m"}"#),
        Err(Some("prompt".to_owned()))
    );
    let embeddings = |json: &str| parts(Endpoint::Embeddings, json);
    assert_eq!(
        embeddings(r#"{"model":"m","input":["a","b"]}"#),
        Ok((owned(&["a", "b"]), 2))
    );
    assert_eq!(
        embeddings(r#"{"model":"m","input":[[1,2],[3]]}"#),
        Ok((vec![], 2))
    );
    for (json, param) in [
        (r#"{"model":"m","input":null}"#, "input"),
        (r#"{"model":"m","input":[]}"#, "input"),
        (r#"{"model":"m","input":[[]]}"#, "input[0]"),
        (r#"{"model":"m","input":[["a"]]}"#, "input[0][0]"),
        (r#"{"model":"m","input":["a",1]}"#, "input[1]"),
        (r#"{"model":"m","input":[1,"a"]}"#, "input[1]"),
        (r#"{"model":"m","input":[{}]}"#, "input[0]"),
        (r#"{"model":"m","input":7}"#, "input"),
        (r#"{"model":"m","messages":[]}"#, "input"),
    ] {
        assert_eq!(embeddings(json), Err(Some(param.to_owned())), "{json}");
    }
    let best = decode(
        Endpoint::Completions,
        body(r#"{"model":"m","prompt":"a","n":2,"best_of":5}"#),
        Directives::default(),
    );
    assert_eq!(best.expect("a call").choices, 5);
}

#[test]
fn wrong_values_name_their_field() {
    for (members, param) in [
        (r#","stream":"yes""#, "stream"),
        (r#","stream":1"#, "stream"),
        (r#","stream_options":true"#, "stream_options"),
        (
            r#","stream_options":{"include_usage":1}"#,
            "stream_options.include_usage",
        ),
        (r#","n":0"#, "n"),
        (r#","n":129"#, "n"),
        (r#","n":1.5"#, "n"),
        (r#","n":"2""#, "n"),
        (r#","n":99999999999999999999"#, "n"),
        (r#","max_tokens":-1"#, "max_tokens"),
        (r#","max_tokens":"many""#, "max_tokens"),
        (r#","max_completion_tokens":[]"#, "max_completion_tokens"),
        (r#","tools":{}"#, "tools"),
        (r#","functions":"f""#, "functions"),
        (r#","response_format":"json""#, "response_format"),
        (r#","response_format":{"type":1}"#, "response_format.type"),
        (r#","modalities":"audio""#, "modalities"),
        (r#","modalities":[1]"#, "modalities[0]"),
        (r#","user":5"#, "user"),
        (r#","metadata":[]"#, "metadata"),
        (r#","metadata":{"k":1}"#, "metadata.k"),
        (r#","prompt_cache_key":{}"#, "prompt_cache_key"),
    ] {
        check_refused(&with(members), param);
    }
    for (json, param) in [
        (r#""hi""#, "messages"),
        ("[]", "messages"),
        ("null", "messages"),
        (r#"["hi"]"#, "messages[0]"),
        (
            r#"[{"role":"user","content":"a"},{"content":"b"}]"#,
            "messages[1].role",
        ),
        (r#"[{"role":7,"content":"a"}]"#, "messages[0].role"),
        (r#"[{"role":"user","content":7}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":{}}]"#, "messages[0].content"),
        (
            r#"[{"role":"user","content":["a"]}]"#,
            "messages[0].content[0]",
        ),
        (
            r#"[{"role":"user","content":[{"type":"text"}]}]"#,
            "messages[0].content[0].text",
        ),
        (
            r#"[{"role":"user","content":[{"type":"text","text":1}]}]"#,
            "messages[0].content[0].text",
        ),
        (
            r#"[{"role":"user","content":[{"type":1}]}]"#,
            "messages[0].content[0].type",
        ),
        (
            r#"[{"role":"assistant","tool_calls":{}}]"#,
            "messages[0].tool_calls",
        ),
    ] {
        check_refused(&messages(json), param);
    }
    let turns = r#"[{"role":"user","content":"a"}]"#;
    for (model, param) in [
        ("", "model"),
        (r#""model":"","#, "model"),
        (r#""model":null,"#, "model"),
        (r#""model":7,"#, "model"),
    ] {
        check_refused(&format!(r#"{{{model}"messages":{turns}}}"#), param);
    }
    check_refused(r#"{"model":"m"}"#, "messages");
    check_message(
        &messages(r#"[{"role":"user","content":7}]"#),
        "`messages[0].content` must be a string, an array of content parts, or null, not a number",
    );
    check_message(
        &with(r#","n":0"#),
        "`n` must be a whole number from 1 to 128",
    );
}

#[test]
fn a_member_that_we_read_stands_once() {
    for (members, param) in [
        (r#","model":"other""#, "model"),
        (r#","mod\u0065l":"other""#, "model"),
        (r#","messages":[]"#, "messages"),
        (r#","stream":true,"stream":true"#, "stream"),
        (r#","max_tokens":1,"max_tokens":2"#, "max_tokens"),
        (r#","Model":"other""#, "Model"),
        (r#","MAX_TOKENS":1"#, "MAX_TOKENS"),
        (",\"me\u{17f}sages\":[]", "me\u{17f}sages"),
        (
            r#","stream_options":{"include_usage":true,"include_usage":false}"#,
            "stream_options.include_usage",
        ),
        (r#","metadata":{"a":"1","a":"2"}"#, "metadata.a"),
    ] {
        check_refused(&with(members), param);
    }
    check_refused(
        &messages(r#"[{"role":"user","role":"system","content":""}]"#),
        "messages[0].role",
    );
    check_refused(
        &messages(r#"[{"role":"user","content":"a","cont\u0065nt":"b"}]"#),
        "messages[0].content",
    );
    assert!(chat(&with(r#","x":1,"x":2,"X-Y":3"#)).is_ok());
    assert_eq!(
        call(r#"{"mod\u0065l":"a\u0062c","messages":[{"role":"us\u0065r"}]}"#).model,
        "abc"
    );
}

#[test]
fn what_is_no_json_object_says_where() {
    for json in [
        "",
        " ",
        "{",
        "[]",
        "\"x\"",
        "null",
        "x",
        "{\"model\":}",
        "{'model':1}",
        "{\"a\":1,}",
        "{\"a\":tru}",
    ] {
        check_refused(json, "");
    }
    check_refused(&format!("{} x", with("")), "");
    check_refused(&format!("\u{feff}{}", with("")), "");
    check_refused(&with(",\"x\":\"a\nb\""), "");
    check_refused(
        &with(&format!(",\"x\":{}1{}", "[".repeat(300), "]".repeat(300))),
        "",
    );
    check_refused(&with(&format!(",\"x\":{}", "[".repeat(100_000))), "");
    check_message(
        "{\n \"model\": }",
        "the body is not valid JSON: expected value at line 2 column 11",
    );
    check_message("[1]", "the body must be a JSON object, not an array");
    let bytes = Bytes::from_static(b"{\"model\":\"\xff\"}");
    let error = decode(Endpoint::ChatCompletions, bytes, Directives::default());
    assert!(
        error
            .expect_err("not UTF-8")
            .message
            .contains("UTF-8 at byte 10")
    );
}

#[test]
fn halves_of_surrogate_pairs_pass_through() {
    let json = messages(
        r#"[{"role":"user","content":"cut \ud83d"},{"role":"user","content":"\udf89\ud83d\ude00"}]"#,
    );
    let call = call(&json);
    assert_eq!(call.body, json.as_bytes());
    assert_eq!(texts(&call), ["cut \u{fffd}", "\u{fffd}😀"]);
}

#[test]
fn long_names_are_cut_or_refused() {
    let long = "é".repeat(300);
    let found = call(&with(&format!(
        r#","user":"{long}","prompt_cache_key":"{long}""#
    )));
    assert_eq!(found.end_user.map(|user| user.len()), Some(256));
    assert_eq!(
        found.directives.prompt_cache_key.map(|key| key.len()),
        Some(256)
    );
    check_refused(
        &format!(r#"{{"model":"{long}","messages":[{{"role":"user"}}]}}"#),
        "model",
    );
    let many: Vec<String> = (0..17).map(|index| format!(r#""k{index}":"v""#)).collect();
    check_refused(
        &with(&format!(r#","metadata":{{{}}}"#, many.join(","))),
        "metadata",
    );
}

const SAMPLE: &str = r#"{"model":"auto","messages":[{"role":"system","content":"x\n"},{"role":"user",
"content":[{"type":"text","text":"\ud83d\ude00 é"},{"type":"image_url","image_url":{"url":"u"}}]},
{"role":"assistant","tool_calls":[{"id":"1"}]}],"stream":true,"stream_options":{"include_usage":false},
"n":2,"max_tokens":5,"metadata":{"a":"b"},"tools":[{}],"response_format":{"type":"json_object"},"z":[1.5e3]}"#;

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for endpoint in [Endpoint::ChatCompletions, Endpoint::Completions, Endpoint::Embeddings] {
            let _ = decode(endpoint, Bytes::from(bytes.clone()), Directives::default());
        }
    }

    #[test]
    fn mutated_bodies_are_decoded_or_refused(
        edits in prop::collection::vec((0usize..SAMPLE.len(), any::<u8>(), 0u8..3), 0..6),
    ) {
        let mut bytes = SAMPLE.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at.min(bytes.len() - 1);
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.truncate(at.max(1)); }
            }
        }
        let accepted = serde_json::from_slice::<Value>(&bytes).is_ok();
        match decode(Endpoint::ChatCompletions, Bytes::from(bytes), Directives::default()) {
            Ok(call) => {
                for field in &call.fields {
                    prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(call.raw(field.value)).is_ok());
                }
                let model: Value = serde_json::from_slice(call.raw(call.model_value)).expect("JSON");
                prop_assert_eq!(model.as_str(), Some(call.model.as_str()));
            }
            Err(error) => {
                prop_assert_eq!(error.kind, ErrorKind::InvalidRequest);
                // What we refuse as a whole is no JSON for anybody (or not an object).
                if error.message.contains("not valid JSON") {
                    prop_assert!(!accepted, "{}", error.message);
                }
            }
        }
    }
}
