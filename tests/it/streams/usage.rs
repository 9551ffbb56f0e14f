//! Usage before and after the end, twice or never; the many ways in which a stream ends well.

use std::time::Duration;

use serde_json::Value;
use tollgate::types::{Outcome, UsageSource};

use crate::harness::Step;
use crate::harness::upstream::usage;

use super::*;

#[tokio::test]
async fn the_last_of_two_usage_chunks_is_billed() {
    let steps = vec![
        bytes(event(&content("a"))),
        bytes(event(&usage_payload(10, 1))),
        bytes(event(&finish())),
        bytes(event(&usage_payload(10, 9))),
        bytes(DONE),
    ];
    let (reply, record) = play(steps, true).await;
    assert_eq!(tokens_of(&record), (10, 9, UsageSource::Reported));
    assert_eq!(reply.text().matches("\"cost\":").count(), 2);
    // Small: 0.15 and 0.60 USD per million.
    assert_eq!(record.cost.pico(), 10 * 150_000 + 9 * 600_000);
    let last = reply.events()[3].clone();
    assert!(last.contains("\"cost\":0.0000069"), "{last}");
}

#[tokio::test]
async fn usage_inside_a_content_chunk_is_billed_and_passes() {
    let mut last: Value = serde_json::from_str(&finish()).expect("JSON");
    last["usage"] = usage(10, 3);
    let steps = vec![
        bytes(event(&content("a"))),
        bytes(event(&last.to_string())),
        bytes(DONE),
    ];
    let expect = format!("{}{}{DONE}", event(&content("a")), event(&last.to_string()));
    let (reply, record) = play(steps, false).await;
    assert_eq!(tokens_of(&record), (10, 3, UsageSource::Reported));
    assert_eq!(reply.text(), expect);
}

#[tokio::test]
async fn without_usage_the_bill_is_an_estimate_and_says_so() {
    let steps = vec![
        bytes(event(&content("four score and seven"))),
        bytes(event(&finish())),
        bytes(DONE),
    ];
    let (reply, record) = play(steps, true).await;
    let (input, output, source) = tokens_of(&record);
    assert_eq!(source, UsageSource::Estimated);
    assert!(input > 0 && output > 0);
    assert_eq!(record.estimated_cost, record.cost);
    assert_eq!(record.outcome, Outcome::Ok);
    // The client asked for usage, so it gets what it is billed for.
    let events = reply.events();
    let usage: Value = serde_json::from_str(&events[events.len() - 2]).expect("JSON");
    assert_eq!(usage["usage"]["prompt_tokens"], input);
    assert_eq!(usage["usage"]["completion_tokens"], output);
    let cost = format!("\"cost\":{}", record.cost);
    assert!(reply.text().contains(&cost), "{}", reply.text());
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
}

#[tokio::test]
async fn a_finish_reason_without_an_end_marker_is_an_end() {
    let whole = format!("{}{}", event(&content("a")), event(&finish()));
    let (reply, record) = play(vec![bytes(whole.clone())], false).await;
    assert_eq!(reply.text(), format!("{whole}{DONE}"));
    assert_eq!(record.outcome, Outcome::Ok);
}

#[tokio::test]
async fn a_last_event_without_its_blank_line_is_ended_for_the_client() {
    for end in ["", "\n", "\r\n", "\r"] {
        let whole = format!("{}data: {}{end}", event(&content("a")), finish());
        let (reply, record) = play(vec![bytes(whole)], false).await;
        assert_eq!(record.outcome, Outcome::Ok);
        let events = reply.events();
        let events: Vec<&str> = events.iter().map(|it| it.trim_end()).collect();
        assert_eq!(
            events,
            [&content("a"), &finish(), "[DONE]"],
            "after {end:?}: {:?}",
            reply.text()
        );
    }
    // The end marker itself.
    let whole = format!("{}{}data: [DONE]", event(&content("a")), event(&finish()));
    let (reply, _) = play(vec![bytes(whole.clone())], false).await;
    assert_eq!(reply.text(), format!("{whole}\n\n"));
}

#[tokio::test]
async fn what_comes_after_the_end_marker_is_not_forwarded() {
    let whole = format!("{}{}{DONE}", event(&content("a")), event(&finish()));
    let steps = vec![
        bytes(format!("{whole}{}", event(&content("ghost")))),
        bytes(event(&content("ghost"))),
    ];
    let (reply, record) = play(steps, false).await;
    assert_eq!(reply.text(), whole);
    assert_eq!(record.outcome, Outcome::Ok);
}

#[tokio::test]
async fn an_upstream_that_never_ends_its_body_does_not_hold_the_client() {
    let whole = format!("{}{}{DONE}", event(&content("a")), event(&finish()));
    let started = std::time::Instant::now();
    let (reply, record) = play(vec![bytes(whole.clone()), Step::Stall], false).await;
    assert_eq!(reply.text(), whole);
    assert_eq!(record.outcome, Outcome::Ok);
    assert!(started.elapsed() < Duration::from_secs(5));
}
