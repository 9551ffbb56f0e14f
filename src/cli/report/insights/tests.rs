//! What is said of known figures.

use super::{Evidence, Insights};
use crate::stores::sample::{NOON_MS, attempt, record};
use crate::stores::{Feedback, Ledger, TimeRange};
use crate::types::{RequestRecord, Tokens};

/// Requests of one cell: the number decides time, id and reward.
fn answered(number: u32, model: &str, input: u64) -> RequestRecord {
    let mut record = record(&format!("req_{model}_{number:04}"));
    let tokens = Tokens {
        input,
        ..Tokens::default()
    };
    record.started_at_ms += i64::from(number) * 60_000;
    record.attempts = vec![attempt(1, model, tokens)];
    record.attempts[0].started_at_ms = record.started_at_ms;
    record.model = Some(model.into());
    record.cost = record.attempts[0].cost;
    record.fingerprint = None;
    record
}

fn insights(ledger: &Ledger) -> Insights {
    let view = ledger.reports().expect("a view");
    Insights::draw(&*view, TimeRange::since(0)).expect("insights")
}

fn written(insights: &Insights) -> String {
    let mut out = Vec::new();
    insights.write_table(false, &mut out).expect("written");
    String::from_utf8(out).expect("text")
}

/// A thousand tokens of `large` and a hundred of `small`, so many each, scored by `reward`.
fn ledger(count: u32, reward: impl Fn(&str, u32) -> f64) -> Ledger {
    let ledger = Ledger::memory();
    for (model, input) in [("large", 1000), ("small", 100)] {
        for number in 0..count {
            let record = answered(number, model, input);
            let opinion = Feedback {
                request_id: record.request_id.clone(),
                reward: reward(model, number),
                kind: "score".to_owned(),
                comment: None,
                at_ms: NOON_MS,
            };
            ledger.reserve().expect("a slot").commit(record);
            ledger.put_feedback(&opinion).expect("stored");
        }
    }
    ledger
}

fn check_evidence(count: u32, reward: impl Fn(&str, u32) -> f64, expect: Evidence) {
    let found = insights(&ledger(count, reward));
    let [pair] = found.cheaper.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(
        (pair.model.name.as_str(), pair.cheaper.name.as_str()),
        ("large", "small")
    );
    assert_eq!(pair.evidence, expect, "{:?}", pair.difference);
    // 900 tokens less for each request, at a millionth of a USD.
    let saves = i128::from(count) * 900 * 1_000_000;
    assert_eq!(pair.saves.pico(), saves);
}

#[test]
fn a_cheaper_model_is_the_same_worse_unclear_or_not_known_well_enough() {
    let alternating = |_: &str, number: u32| f64::from(number % 2);
    check_evidence(29, |_, _| 0.9, Evidence::Thin);
    check_evidence(40, |_, _| 0.9, Evidence::Same);
    check_evidence(
        40,
        |model, _| if model == "small" { 0.5 } else { 0.9 },
        Evidence::Worse,
    );
    // Means of a half each, but with forty coin tosses the interval is ± 0.22.
    check_evidence(40, alternating, Evidence::Unclear);
    // Two thousand make it ± 0.031.
    check_evidence(2000, alternating, Evidence::Same);
}

#[test]
fn repeats_and_patterns_say_what_they_would_save() {
    let ledger = ledger(40, |_, _| 0.9);
    for (number, minutes) in [(1_u32, 0_u32), (2, 30), (3, 60 * 5), (4, 60 * 40)] {
        let mut again = answered(minutes, "small", 100);
        again.request_id = crate::types::RequestId::from_text(&format!("again_{number}"));
        again.fingerprint = Some(42);
        ledger.reserve().expect("a slot").commit(again);
    }
    let found = insights(&ledger);
    let [repeats] = found.repeats.as_slice() else {
        panic!("{found:?}");
    };
    let counts = [repeats.within_hour, repeats.within_day, repeats.ever];
    assert_eq!(counts.map(|repeated| repeated.requests), [1, 2, 3]);
    assert_eq!(repeats.ever.cost.to_string(), "0.0003");
    insta::assert_snapshot!(written(&found));
    let json = found.to_json().expect("JSON").to_string();
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["cheaper"][0]["evidence"], "same");
    assert_eq!(json["repeats"][0]["within_day"]["requests"], 2);
}

#[test]
fn an_empty_ledger_says_so_three_times() {
    let text = written(&insights(&Ledger::memory()));
    for said in [
        "nothing was spent in this period",
        "no paid request was asked twice",
        "no cell has a cheaper model in use",
    ] {
        assert!(text.contains(said), "{text}");
    }
}
