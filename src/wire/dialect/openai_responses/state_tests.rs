//! What is kept of a conversation, as text.

use serde_json::{Value, json};

use super::*;
use crate::types::chat::{BlockBody, ChatRequest, Notes};
use crate::types::{Directives, Endpoint};
use crate::wire::Dialect;
use crate::wire::dialect::openai_responses::OpenaiResponses;
use crate::wire::translate::{Host, Target, Translate};

fn call(body: &Value) -> Call {
    let body = Bytes::from(body.to_string());
    OpenaiResponses
        .decode(Endpoint::Responses, body, Directives::default())
        .expect("a call")
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_response_is_kept_unless_the_request_says_otherwise() {
    let wishes = |more: Value| {
        let mut body = json!({"model": "m", "input": "hi"});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        Wishes::of(&call(&body))
    };
    assert!(wishes(json!({})).store);
    assert!(wishes(json!({"store": null})).store);
    assert!(!wishes(json!({"store": false})).store);
    let previous = wishes(json!({"previous_response_id": "resp_1"})).previous;
    assert_eq!(previous.as_deref(), Some("resp_1"));
    assert_eq!(wishes(json!({"previous_response_id": null})).previous, None);
}

#[test]
fn an_escaped_name_hides_nothing() {
    let body =
        r#"{"model":"m","input":"x","stor\u0065":false,"previous_respons\u0065_id":"resp_1"}"#;
    let call = OpenaiResponses
        .decode(
            Endpoint::Responses,
            Bytes::from(body),
            Directives::default(),
        )
        .expect("a call");
    assert!(!Wishes::of(&call).store);
    let sent = for_upstream(&call, "m");
    let sent = value(std::str::from_utf8(&sent).expect("text"));
    assert_eq!(sent["previous_response_id"], Value::Null);
}

#[test]
fn a_conversation_goes_on_behind_what_was_kept() {
    let first = call(&json!({"model": "m", "input": "hi"}));
    let items = items_of(&first);
    assert_eq!(
        value(&items),
        json!([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}])
    );
    let response = json!({"id": "resp_1", "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "tollgate:anthropic_messages:sig"},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": []}]});
    let made = carried(&response.to_string(), "openai_responses@east");
    let earlier = joined(&items, &made);
    let next = call(
        &json!({"model": "m", "input": [{"role": "user", "content": "more"}],
        "previous_response_id": "resp_1"}),
    );
    let body = with_input(&next, joined(&earlier, &items_of(&next)));
    let body = value(std::str::from_utf8(&body).expect("text"));
    let input = body["input"].as_array().expect("an array");
    assert_eq!(input.len(), 5);
    assert_eq!(
        input[1]["encrypted_content"],
        "tollgate:openai_responses@east:gAAA"
    );
    assert_eq!(
        input[2]["encrypted_content"],
        "tollgate:anthropic_messages:sig"
    );
    assert_eq!(input[4]["content"], "more");
    assert_eq!(joined("[]", "[]"), "[]");
    assert_eq!(joined("[ 1 ]", "[]"), "[1]");
}

fn asked(account: &str) -> (Value, Vec<String>) {
    let body = json!({"model": "m", "input": [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
         "encrypted_content": "tollgate:openai_responses@east:gAAA"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "so"}],
         "encrypted_content": "tollgate:openai_responses@east:"},
        {"type": "reasoning", "id": "rs_3", "summary": [{"type": "summary_text", "text": "oh"}],
         "encrypted_content": "tollgate:openai_responses@east:"}]});
    let mut request: ChatRequest = OpenaiResponses
        .read_request(Endpoint::Responses, &body.to_string())
        .expect("a request");
    request.settle_seals(|seal| seal.account() == Some(account));
    let target = Target {
        upstream_model: "m",
        stream: false,
        max_output_tokens: 100,
        ask_stream_usage: true,
        host: Host::Native,
    };
    let mut notes = Notes::default();
    let body = OpenaiResponses
        .write_request(&request, &target, &mut notes)
        .expect("written");
    let noted = notes.iter().map(|note| note.field.to_string()).collect();
    (value(std::str::from_utf8(&body).expect("text")), noted)
}

#[test]
fn thoughts_go_back_to_the_account_that_thought_them() {
    let (home, notes) = asked("east");
    let input = home["input"].as_array().expect("an array");
    assert_eq!(input.len(), 3, "{home}");
    assert_eq!(
        input[1],
        json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "gAAA"})
    );
    assert_eq!(
        input[2],
        json!({"type": "reasoning", "id": "rs_2", "summary": [],
            "content": [{"type": "reasoning_text", "text": "so"}]})
    );
    assert_eq!(notes, ["messages[1].reasoning"]);
    let (away, notes) = asked("west");
    assert_eq!(away["input"].as_array().map(Vec::len), Some(1), "{away}");
    assert_eq!(notes, ["messages[1].reasoning"]);
}

#[test]
fn references_become_the_items_that_they_name() {
    let items = r#"[{"type":"item_reference","id":"a"},{"id":"b"},{"role":"user","content":"item_reference"}]"#;
    assert_eq!(references(items), ["a", "b"]);
    let known = |id: &str| (id == "a").then(|| r#"{"x":1}"#.to_owned());
    assert_eq!(
        resolved(items, known),
        r#"[{"x":1},{"id":"b"},{"role":"user","content":"item_reference"}]"#
    );
    assert_eq!(references("[]"), Vec::<String>::new());
    let response = json!({"output": [{"id": "msg_1", "type": "message"}, {"type": "odd"}]});
    let named = named_items(&response.to_string(), "openai_chat@p");
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].0, "msg_1");
}

#[test]
fn nothing_is_stored_upstream() {
    let sent = |body: Value, model: &str| {
        let bytes = for_upstream(&call(&body), model);
        value(std::str::from_utf8(&bytes).expect("text"))
    };
    assert_eq!(
        sent(json!({"model": "m", "input": "x"}), "gpt-5"),
        json!({"model": "gpt-5", "input": "x", "store": false, "include": ["reasoning.encrypted_content"]})
    );
    assert_eq!(
        sent(
            json!({"model": "m", "input": "x", "store": true, "previous_response_id": "resp_1", "include": null}),
            "gpt-4o"
        ),
        json!({"model": "gpt-4o", "input": "x", "store": false, "previous_response_id": null, "include": null})
    );
    assert_eq!(
        sent(json!({"model": "m", "input": "x", "include": ["a"]}), "o3"),
        json!({"model": "o3", "input": "x", "store": false, "include": ["a", "reasoning.encrypted_content"]})
    );
    let asked = json!({"model": "m", "input": "x", "store": false});
    let mut expect = asked.clone();
    expect["model"] = "o3".into();
    assert_eq!(sent(asked, "o3"), expect, "who stores nothing asks himself");
}

fn stamp() -> Stamp {
    Stamp {
        id: "resp_ours".to_owned(),
        store: true,
        previous: Some("resp_0".to_owned()),
    }
}

#[test]
fn a_response_says_how_it_is_kept() {
    let theirs =
        r#" {"object":"response", "id" : "resp_theirs","output":[{"id":"msg_1"}],"store":false} "#;
    let ours = stamp().on_whole(theirs).expect("a response");
    assert_eq!(
        value(&ours),
        json!({"object": "response", "id": "resp_ours", "output": [{"id": "msg_1"}], "store": true,
            "previous_response_id": "resp_0"})
    );
    assert_eq!(stamp().on_whole("[]"), None);
}

#[test]
fn a_streams_events_say_how_it_is_kept() {
    let delta = Bytes::from("event: x\ndata: {\"delta\":\"\\\"response\\\"\"}\n\n");
    let same = stamp().on_event(delta.clone());
    assert_eq!((same.event, same.last), (delta, None));
    let event = |kind: &str| {
        let json = json!({"type": kind, "sequence_number": 4, "response": {"id": "resp_theirs", "store": false,
            "previous_response_id": null}});
        Bytes::from(format!("event: {kind}\ndata: {json}\n\n"))
    };
    let first = stamp().on_event(event("response.created"));
    assert_eq!(first.last, None);
    let text = std::str::from_utf8(&first.event).expect("text");
    assert!(
        text.starts_with("event: response.created\ndata: {"),
        "{text}"
    );
    assert!(text.contains("resp_ours") && text.contains("resp_0") && text.ends_with("\n\n"));
    for kind in ["response.completed", "response.incomplete"] {
        let last = stamp().on_event(event(kind)).last.expect("the response");
        assert_eq!(value(&last)["id"], "resp_ours");
    }
    assert_eq!(stamp().on_event(event("response.failed")).last, None);
}

#[test]
fn a_hidden_thought_without_a_seal_is_read() {
    let request = OpenaiResponses
        .read_request(
            Endpoint::Responses,
            r#"{"model":"m","input":[{"type":"reasoning","summary":[],"encrypted_content":"tollgate:gemini_generate:"}]}"#,
        )
        .expect("a request");
    let BlockBody::Reasoning(thought) = &request.messages[0].blocks[0].body else {
        panic!("thoughts");
    };
    assert!(thought.is_hidden);
}
