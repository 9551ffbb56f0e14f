//! Streams that break off, fall silent, never end, or were no streams to begin with.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate::types::{Outcome, UsageSource};

use crate::harness::proxy::{chat, two_models};
use crate::harness::upstream::{chunk, completion, usage};
use crate::harness::{Proxy, Script, Step, Upstream};

use super::*;

#[tokio::test]
async fn an_error_event_in_mid_stream_is_forwarded_and_ends_it() {
    let error = json!({"error": {"message": "engine fell over", "type": "server_error", "param": null, "code": "server_error"}});
    let whole = format!("{}{}", event(&content("a")), event(&error.to_string()));
    for after in ["", "data: {\"choices\":[]}\n\n", DONE] {
        let steps = vec![bytes(format!("{whole}{after}"))];
        let (reply, record) = play(steps, true).await;
        assert_eq!(reply.text(), whole, "after {after:?}");
        assert_eq!(record.outcome, Outcome::StreamBroken);
        // A provider that fails and reports no usage bills nothing.
        assert_eq!(tokens_of(&record).2, UsageSource::None);
        assert_eq!(record.cost.pico(), 0);
    }
}

#[tokio::test]
async fn a_stream_cut_short_ends_with_an_error_event_and_a_clean_end() {
    let first = event(&content("a"));
    let ways: Vec<Vec<Step>> = vec![
        vec![bytes(first.clone()), Step::Cut],
        vec![
            bytes(first.clone()),
            Step::Sleep(Duration::from_millis(30)),
            Step::Reset,
        ],
        // The body ends as it should, the answer does not.
        vec![bytes(first.clone())],
        // In the middle of an event, of a chunk, of a character.
        vec![bytes(format!("{first}data: {{\"choi"))],
        vec![bytes(format!("{first}data: {{\"choi")), Step::Cut],
        vec![
            bytes(first.clone()),
            Step::Raw(b"40\r\ndata: ".to_vec()),
            Step::Cut,
        ],
        vec![
            bytes(first.clone()),
            Step::Chunk(b"data: \xf0\x9f".to_vec()),
            Step::Cut,
        ],
        // Not chunked at all.
        vec![
            bytes(first.clone()),
            Step::Raw(b"nonsense\r\n".to_vec()),
            Step::Cut,
        ],
    ];
    for steps in ways {
        let shown = format!("{steps:?}");
        let (reply, record) = play(steps, true).await;
        assert_ends_with_error(&reply, "upstream_error");
        assert_eq!(reply.events()[0], content("a"), "{shown}");
        assert_eq!(record.outcome, Outcome::StreamBroken, "{shown}");
        assert_eq!(record.error_code.as_deref(), Some("upstream_error"));
        assert_eq!(record.attempts.len(), 1);
        assert_eq!(tokens_of(&record).2, UsageSource::Estimated, "{shown}");
    }
}

#[tokio::test]
async fn a_cut_after_the_finish_reason_has_lost_nothing() {
    let whole = format!("{}{}", event(&content("a")), event(&finish()));
    for cut in [Step::Cut, Step::Reset] {
        // The pause lets the bytes arrive before the reset discards them.
        let pause = Step::Sleep(Duration::from_millis(30));
        let (reply, record) = play(vec![bytes(whole.clone()), pause, cut], false).await;
        assert_eq!(reply.text(), format!("{whole}{DONE}"));
        assert_eq!(record.outcome, Outcome::Ok);
    }
}

#[tokio::test]
async fn a_cut_while_another_choice_still_speaks_is_no_end() {
    let of = |index: u64, delta: Value, finish: Option<&str>| {
        let mut it: Value = serde_json::from_str(&chunk("small", &delta, finish)).expect("JSON");
        it["choices"][0]["index"] = json!(index);
        event(&it.to_string())
    };
    let opening = [
        of(0, json!({"content": "a"}), None),
        of(1, json!({"content": "b"}), None),
        of(0, json!({}), Some("stop")),
    ];
    for (last, whole) in [("", false), (&*of(1, json!({}), Some("stop")), true)] {
        let steps = vec![bytes(format!("{}{last}", opening.concat())), Step::Cut];
        let upstream = Upstream::start(move |_| Script::steps(steps.clone())).await;
        let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
        let mut body = streamed("small", false);
        body["n"] = json!(2);
        let reply = proxy.client().chat(&body).await;
        if whole {
            assert!(reply.text().ends_with(DONE), "{}", reply.text());
        } else {
            assert_ends_with_error(&reply, "upstream_error");
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_cut_after_the_reported_usage_is_billed_as_reported() {
    let steps = vec![
        bytes(event(&content("a"))),
        bytes(event(&usage_payload(10, 2))),
        Step::Cut,
    ];
    let (reply, record) = play(steps, false).await;
    assert_ends_with_error(&reply, "upstream_error");
    assert_eq!(tokens_of(&record), (10, 2, UsageSource::Reported));
}

#[tokio::test]
async fn a_silent_stream_ends_with_a_timeout_event() {
    let steps = vec![bytes(event(&content("a"))), Step::Stall];
    let more = "resilience: { timeouts: { idle_ms: 120 } }";
    let (reply, record) = play_with(steps, true, more).await;
    assert_ends_with_error(&reply, "upstream_timeout");
    assert_eq!(record.outcome, Outcome::Timeout);
    assert_eq!(tokens_of(&record).2, UsageSource::Estimated);
}

#[tokio::test]
async fn comments_keep_a_stream_alive_but_not_beyond_the_total() {
    let mut steps = vec![bytes(event(&content("a")))];
    for _ in 0..40 {
        steps.push(Step::Sleep(Duration::from_millis(40)));
        steps.push(bytes(": ping\n\n"));
    }
    let more = "resilience: { timeouts: { idle_ms: 200, total_ms: 500 } }";
    let (reply, record) = play_with(steps, false, more).await;
    assert_ends_with_error(&reply, "upstream_timeout");
    assert!(reply.text().matches(": ping").count() > 5);
    assert_eq!(record.outcome, Outcome::Timeout);
}

#[tokio::test]
async fn an_endless_event_is_cut_off_not_collected() {
    let mut steps = vec![bytes(event(&content("a"))), bytes("data: ")];
    steps.extend((0..20).map(|_| Step::Chunk(vec![b'x'; 1 << 20])));
    steps.push(Step::Stall);
    let (reply, record) = play(steps, false).await;
    assert_ends_with_error(&reply, "upstream_error");
    assert!(reply.body.len() < 4096);
    assert_eq!(record.outcome, Outcome::StreamBroken);
}

#[tokio::test]
async fn a_whole_answer_to_a_streamed_request_becomes_a_stream() {
    let upstream =
        Upstream::start(|_| Script::json(200, &completion("small", "hola", &usage(9, 2)))).await;
    let proxy = Proxy::start(&two_models(&upstream.base_url(), "")).await;
    for include_usage in [true, false] {
        let reply = proxy.client().chat(&streamed("small", include_usage)).await;
        assert!(
            reply
                .header("content-type")
                .starts_with("text/event-stream")
        );
        let events = reply.events();
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        let spoken: String = events[..events.len() - 1]
            .iter()
            .map(|it| serde_json::from_str::<Value>(it).expect("JSON"))
            .filter_map(|it| {
                assert_eq!(it["object"], "chat.completion.chunk");
                it["choices"][0]["delta"]["content"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect();
        assert_eq!(spoken, "hola");
        assert_eq!(reply.text().contains("\"usage\":{"), include_usage);
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(tokens_of(&record), (9, 2, UsageSource::Reported));
        assert_eq!(record.outcome, Outcome::Ok);
    }
    proxy.stop().await;
}

/// A stream that fails before its first event is another candidate's.
#[tokio::test]
async fn what_fails_before_the_first_event_falls_back() {
    let error = json!({"error": {"message": "overloaded", "type": "server_error", "code": null}});
    let openings: Vec<Script> = vec![
        Script::events(&[error.to_string()]),
        Script::steps(vec![
            bytes(": warming up\n\n"),
            bytes(event(&error.to_string())),
        ]),
        Script::steps(vec![Step::Cut]),
        Script::steps(vec![]),
        Script::steps(vec![bytes(": only comments\n\n")]),
        Script::steps(vec![bytes(DONE)]),
        Script::steps(vec![bytes("data: <html>\n\n")]),
        Script::steps(vec![bytes("<html>not events</html>")]),
        Script::json(200, &error),
    ];
    for opening in openings {
        let shown = format!("{opening:?}");
        let upstream = Upstream::start(move |request| match request.model().as_str() {
            "small" => opening.clone(),
            _ => Script::answer(request, "from large", 10, 2),
        })
        .await;
        let more = "resilience: { retry: { max_attempts: 1 } }";
        let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
        let reply = proxy.client().chat(&streamed("auto", false)).await;
        assert_eq!(reply.status, 200, "{shown}");
        assert_eq!(reply.header("x-tollgate-model"), "large", "{shown}");
        assert_eq!(reply.header("x-tollgate-attempts"), "2", "{shown}");
        assert!(reply.text().contains("large"), "{shown}");
        let record = proxy.record(&reply.request_id()).await;
        assert_eq!(record.attempts.len(), 2);
        assert_ne!(record.attempts[0].outcome, Outcome::Ok, "{shown}");
        assert_eq!(upstream.calls(), 2, "{shown}");
        proxy.stop().await;
    }
}
