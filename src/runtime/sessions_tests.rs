//! Which requests are one conversation, and what is warm in it.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::types::{Directives, Endpoint};
use crate::wire;

fn call(endpoint: Endpoint, body: &Value) -> Call {
    let body = Bytes::from(body.to_string());
    wire::decode(endpoint, body, Directives::default()).expect("a call")
}

fn chat(messages: &Value) -> Call {
    let tools = json!([{"type": "function", "function": {"name": "run"}}]);
    let body = json!({"model": "auto", "messages": messages, "tools": tools});
    call(Endpoint::ChatCompletions, &body)
}

fn answer(model: &str, provider: &str, tokens: Tokens, at_ms: i64) -> SessionAnswer {
    SessionAnswer {
        model: model.into(),
        provider: provider.into(),
        tokens: Some(tokens),
        at_ms,
    }
}

fn step(id: &str) -> [Value; 2] {
    [
        json!({"role": "assistant", "content": null, "tool_calls":
            [{"id": id, "type": "function", "function": {"name": "run", "arguments": "{}"}}]}),
        json!({"role": "tool", "tool_call_id": id, "content": "ok"}),
    ]
}

fn conversation_of(first_id: &str, steps: usize, system: &str) -> Value {
    let mut messages = vec![
        json!({"role": "system", "content": system}),
        json!({"role": "user", "content": "Mend the tests"}),
    ];
    for number in 0..steps {
        let id = if number == 0 {
            first_id.to_owned()
        } else {
            format!("call_{number}")
        };
        messages.extend(step(&id));
    }
    Value::from(messages)
}

/// A conversation after so many steps.
type Form<'a> = dyn Fn(usize) -> Value + 'a;

const TEAM: &str = "ours";

fn known(sessions: &Sessions, call: &Call) -> Option<String> {
    let conversation = sessions.conversation(&TEAM.into(), call, 5_000);
    sessions.of(&conversation).map(|it| it.model.to_string())
}

fn keep(sessions: &Sessions, call: &Call, model: &str) {
    let conversation = sessions.conversation(&TEAM.into(), call, 5_000);
    let tokens = Tokens::default();
    sessions.keep(&conversation, &answer(model, "p", tokens, 0));
}

#[test]
fn a_conversation_is_known_by_its_beginning() {
    let sessions = Sessions::default();
    keep(
        &sessions,
        &chat(&conversation_of("call_a", 0, "Be brief.")),
        "first",
    );
    let second = chat(&conversation_of("call_a", 1, "Be brief."));
    assert_eq!(known(&sessions, &second).as_deref(), Some("first"));
    keep(&sessions, &second, "second");
    // Its twin began alike, but its answers are its own.
    let twin = chat(&conversation_of("call_b", 1, "Be brief."));
    assert_eq!(known(&sessions, &twin).as_deref(), Some("first"));
    keep(&sessions, &twin, "twin");
    // However long it gets, and whatever day its instructions say it is.
    for steps in [2, 3, 70] {
        let later = chat(&conversation_of("call_a", steps, "Be brief. It is Sunday."));
        assert_eq!(
            known(&sessions, &later).as_deref(),
            Some("second"),
            "{steps}"
        );
    }
    let other = chat(&json!([{"role": "user", "content": "Write tests"}]));
    assert_eq!(known(&sessions, &other), None);
}

#[test]
fn every_dialect_has_conversations() {
    let tool = json!({"name": "run", "input_schema": {"type": "object"}});
    let messages = |steps: usize| {
        let mut messages = vec![json!({"role": "user", "content": "Mend"})];
        for number in 0..steps {
            let id = format!("toolu_{number}");
            messages.push(json!({"role": "assistant", "content":
                [{"type": "tool_use", "id": id, "name": "run", "input": {}}]}));
            messages.push(json!({"role": "user", "content":
                [{"type": "tool_result", "tool_use_id": id, "content": "ok"}, {"type": "text", "text": "Go on"}]}));
        }
        json!({"model": "auto", "max_tokens": 9, "messages": messages, "tools": [tool]})
    };
    let items = |steps: usize| {
        let mut items = vec![json!({"role": "user", "content": "Mend"})];
        for number in 0..steps {
            let id = format!("call_{number}");
            items.push(
                json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}),
            );
            items.push(
                json!({"type": "function_call", "call_id": id, "name": "run", "arguments": "{}"}),
            );
            items.push(json!({"type": "function_call_output", "call_id": id, "output": "ok"}));
        }
        json!({"model": "auto", "input": items, "tools": [{"type": "function", "name": "run"}]})
    };
    let forms: [(Endpoint, &Form<'_>, bool); 2] = [
        (Endpoint::Messages, &messages, false),
        (Endpoint::Responses, &items, true),
    ];
    for (endpoint, form, thinks) in forms {
        let sessions = Sessions::default();
        for steps in 0..4 {
            let call = call(endpoint, &form(steps));
            assert_eq!(call.is_mid_chain(), steps > 0, "{endpoint:?} {steps}");
            assert_eq!(call.has_thoughts(), thinks && steps > 0);
            assert_eq!(call.assistant_runs() as usize, steps);
            let before = known(&sessions, &call);
            let expected = steps.checked_sub(1).map(|before| format!("m{before}"));
            assert_eq!(before, expected, "{endpoint:?} {steps}");
            keep(&sessions, &call, &format!("m{steps}"));
        }
    }
}

#[test]
fn tenants_headers_and_hints_tell_conversations_apart() {
    let sessions = Sessions::default();
    let mut named = chat(&conversation_of("call_a", 1, "Be brief."));
    named.directives.session = Some("s1".to_owned());
    keep(&sessions, &named, "named");
    let mut other = chat(&json!([{"role": "user", "content": "Anything else"}]));
    other.directives.session = Some("s1".to_owned());
    assert_eq!(known(&sessions, &other).as_deref(), Some("named"));
    let theirs = sessions.conversation(&"theirs".into(), &named, 0);
    assert_eq!(sessions.of(&theirs), None);
    // What shares a prompt cache does not say who made a conversation's turns.
    let mut hinted = chat(&conversation_of("call_b", 1, "Be brief."));
    hinted.directives.prompt_cache_key = Some("app".to_owned());
    keep(&sessions, &hinted, "hinted");
    other.directives.session = None;
    other.directives.prompt_cache_key = Some("app".to_owned());
    let shared = sessions.conversation(&TEAM.into(), &other, 0);
    assert_eq!(sessions.of(&shared), None);
    let sharing = sessions.sharing(&shared).expect("known");
    assert_eq!(sharing.model.as_str(), "hinted");
}

#[test]
fn single_questions_belong_to_no_conversation() {
    let sessions = Sessions::default();
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": "Hi"}]});
    let short = call(Endpoint::ChatCompletions, &body);
    let none = Conversation::default();
    assert_eq!(sessions.conversation(&TEAM.into(), &short, 10), none);
    assert_ne!(sessions.conversation(&TEAM.into(), &short, 2_000), none);
    let embedding = call(
        Endpoint::Embeddings,
        &json!({"model": "auto", "input": "Hi"}),
    );
    assert_eq!(sessions.conversation(&TEAM.into(), &embedding, 9_000), none);
}

#[test]
fn what_is_warm_follows_the_reports_and_the_clock() {
    let sessions = Sessions::default();
    let asked = chat(&conversation_of("call_a", 1, "Be brief."));
    let conversation = sessions.conversation(&TEAM.into(), &asked, 5_000);
    let tokens = |input, cached_input, cache_write, cache_write_1h| Tokens {
        input,
        cached_input,
        cache_write,
        cache_write_1h,
        ..Tokens::default()
    };
    let five_minutes = Duration::from_mins(5);
    let warm = |now_ms| {
        let session = sessions.of(&conversation).expect("known");
        session.warm_tokens(five_minutes, now_ms)
    };
    // Before any report the whole first prompt is thought to be kept.
    sessions.keep(&conversation, &answer("a", "p", tokens(20_000, 0, 0, 0), 0));
    assert_eq!((warm(0), warm(299_999), warm(300_000)), (20_000, 20_000, 0));
    sessions.keep(
        &conversation,
        &answer("a", "p", tokens(2_000, 18_000, 0, 0), 0),
    );
    assert_eq!(warm(0), 18_000);
    // A provider that reports nothing twice keeps nothing.
    sessions.keep(&conversation, &answer("a", "p", tokens(22_000, 0, 0, 0), 0));
    assert_eq!(warm(0), 0);
    sessions.keep(
        &conversation,
        &answer("a", "p", tokens(100, 18_000, 0, 4_000), 0),
    );
    assert_eq!((warm(3_599_999), warm(3_600_000)), (22_000, 0));
    // Another model's cache is another.
    sessions.keep(&conversation, &answer("b", "q", tokens(500, 0, 0, 0), 0));
    assert_eq!(warm(0), 0);
    let session = sessions.of(&conversation).expect("known");
    assert_eq!((session.answers, session.foreign_runs), (1, 1));
}
