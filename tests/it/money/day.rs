//! A mixed day against an upstream that bills by rules of its own: ledger, metrics, headers, budgets and
//! the upstream's bill agree, per class and per model, exactly where it reports usage.
//!
//! Ten thousand requests by default; a hundred thousand with
//! `TOLLGATE_DAY_REQUESTS=100000 cargo test --release --test it money::day`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tollgate::types::{Outcome, PicoUsd, RequestRecord, UsageSource};

use super::*;
use crate::harness::proxy::chat;
use crate::harness::upstream::usage;
use crate::harness::{Client, Proxy, Upstream};

/// The classes of a bill, in this order everywhere below.
const CLASSES: [&str; 5] = [
    "input",
    "cached_input",
    "cache_write",
    "output",
    "reasoning",
];

/// The upstream's own price list: micro-USD per thousand tokens by class, which is pico-USD per token
/// over a thousand.
fn list_price(model: &str, tier: &str, long: bool) -> [i128; 5] {
    match (model, tier, long) {
        ("small", "flex", _) => [75, 37, 90, 300, 400],
        ("small", "priority", _) => [300, 150, 375, 1200, 1600],
        ("small", _, false) => [150, 75, 187, 600, 800],
        ("small", _, true) => [300, 150, 375, 900, 1200],
        ("large", ..) => [2500, 1250, 3125, 10_000, 10_000],
        ("other-model", ..) => [1000, 1000, 1000, 3000, 3000],
        _ => panic!("the upstream has no model {model}"),
    }
}

/// A request's flat fee on `large`, pico-USD.
const LARGE_FEE: i128 = 20_000_000;

fn routes(base_url: &str) -> String {
    format!(
        r#"
version: 1
state: {{ store: memory }}
auth: {{ mode: open }}
providers:
  up: {{ dialect: openai_chat, base_url: "{base_url}" }}
  goes_on: {{ dialect: openai_chat, base_url: "{base_url}", billing: {{ on_disconnect: drain }} }}
models:
  small:
    provider: up
    price:
      {{ input: 0.15, cached_input: 0.075, cache_write: 0.187, output: 0.6, reasoning: 0.8,
        long_context: [ {{ above_input_tokens: 1000, input: 0.3, cached_input: 0.15, cache_write: 0.375, output: 0.9, reasoning: 1.2 }} ],
        service_tiers: {{
          flex: {{ input: 0.075, cached_input: 0.037, cache_write: 0.09, output: 0.3, reasoning: 0.4, long_context: [] }},
          priority: {{ input: 0.3, cached_input: 0.15, cache_write: 0.375, output: 1.2, reasoning: 1.6, long_context: [] }} }} }}
    max_output_tokens: 2000
    equivalents: [large]
  large: {{ provider: up, max_output_tokens: 2000, price: {{ input: 2.5, cached_input: 1.25, cache_write: 3.125, output: 10, per_request_usd: 0.00002 }} }}
  other: {{ provider: up, upstream_model: other-model, price: {{ input: 1, output: 3 }} }}
  steady: {{ provider: goes_on, upstream_model: large, price: {{ input: 2.5, cached_input: 1.25, cache_write: 3.125, output: 10, per_request_usd: 0.00002 }} }}
matrix:
  default: {{ simple: [small], complex: [small], critical: [small] }}
budgets:
  - {{ name: all, limit_usd: 1000, period: total }}
  - {{ name: of-small, match: {{ model: small }}, limit_usd: 1000, period: total }}
cache: {{ exact: {{ ttl_seconds: 3600 }} }}
resilience: {{ retry: {{ max_attempts: 2, base_delay_ms: 1 }}, breaker: {{ consecutive_failures: 100000, failure_rate: 1.0, min_requests: 100000 }} }}
"#
    )
}

/// What happens over the day, by the request's number.
const KINDS: [&str; 18] = [
    "whole",
    "stream",
    "cached input",
    "reasoning stream",
    "written input",
    "long",
    "flex",
    "priority stream",
    "redirected",
    "redirected stream",
    "dated stream",
    "retried",
    "fails on small",
    "cut stream",
    "left stream",
    "left steady stream",
    "repeated",
    "failed stream",
];

/// What is billed of one model: by class tokens and pico-USD, and the fees.
type Bill = BTreeMap<String, ([(u64, i128); 5], i128)>;

fn add(bill: &mut Bill, model: &str, tokens: [u64; 5], prices: [i128; 5], fee: i128) {
    let entry = bill.entry(model.to_owned()).or_default();
    for (sum, (count, price)) in entry.0.iter_mut().zip(tokens.into_iter().zip(prices)) {
        sum.0 += count;
        sum.1 += i128::from(count) * price;
    }
    entry.1 += fee;
}

/// The upstream's books.
#[derive(Default)]
struct Books {
    bill: Mutex<Bill>,
    /// Prompts that have failed once.
    failed_once: Mutex<HashSet<String>>,
}

impl Books {
    /// Bills an answer and says how it is reported: the details inside their totals, as OpenAI does.
    fn charge(&self, model: &str, tier: &str, tokens: [u64; 5]) -> Value {
        let [input, cached, written, output, reasoning] = tokens;
        let long = input + cached + written > 1000;
        let prices = list_price(model, tier, long).map(|price| price * 1000);
        let fee = if model == "large" { LARGE_FEE } else { 0 };
        add(&mut self.bill.lock(), model, tokens, prices, fee);
        usage_of(
            input + cached + written,
            cached,
            written,
            output + reasoning,
            reasoning,
        )
    }
}

/// What the upstream does with a request of the day.
fn behaviour(books: &Arc<Books>) -> impl Fn(&Received) -> Script + Send + Sync + 'static + use<> {
    let books = Arc::clone(books);
    move |request| {
        let (text, model) = (request.last_text(), request.model());
        let (kind, number) = text.rsplit_once(' ').expect("a kind and a number");
        let number: u64 = number.parse().expect("a number");
        let (input, output) = (10 + number % 37, 3 + number % 11);
        let plain = [input, 0, 0, output, 0];
        let charge = |model: &str, tier: &str, tokens| books.charge(model, tier, tokens);
        match kind {
            "cached input" => answer_as(
                request,
                &model,
                None,
                &charge(&model, "", [input, 40, 0, output, 0]),
            ),
            "reasoning stream" => answer_as(
                request,
                &model,
                None,
                &charge(&model, "", [input, 5, 0, output, 60]),
            ),
            "written input" => answer_as(
                request,
                &model,
                None,
                &charge(&model, "", [input, 0, 25, output, 0]),
            ),
            "long" => answer_as(
                request,
                &model,
                None,
                &charge(&model, "", [input + 900, 100, 7, output, 3]),
            ),
            "flex" => answer_as(
                request,
                &model,
                Some("flex"),
                &charge(&model, "flex", plain),
            ),
            // Every third is served as usual all the same.
            "priority stream" if number.is_multiple_of(3) => {
                answer_as(request, &model, Some("default"), &charge(&model, "", plain))
            }
            "priority stream" => answer_as(
                request,
                &model,
                Some("priority"),
                &charge(&model, "priority", plain),
            ),
            "redirected" | "redirected stream" => answer_as(
                request,
                "other-model",
                None,
                &charge("other-model", "", plain),
            ),
            "dated stream" => answer_as(
                request,
                "small-2026-08-06",
                None,
                &charge(&model, "", plain),
            ),
            "retried" if books.failed_once.lock().insert(text.clone()) => {
                Script::error(503, "overloaded", "busy")
            }
            "fails on small" if model == "small" => Script::error(500, "server_error", "down"),
            "cut stream" => Script::steps(vec![word("a "), word("b "), Step::Cut]),
            "left stream" => Script::steps(vec![word("hello "), Step::Stall]),
            // It goes on whether or not anybody reads.
            "left steady stream" => {
                let report = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [], "usage": charge(&model, "", plain)});
                let rest = [
                    chunk(&model, &json!({"content": "on and on"}), Some("stop")),
                    report.to_string(),
                    "[DONE]".to_owned(),
                ];
                let steps = [
                    event(&chunk(&model, &json!({"content": "hello "}), None)),
                    Step::Sleep(std::time::Duration::from_millis(3)),
                ];
                Script::steps(
                    steps
                        .into_iter()
                        .chain(rest.iter().map(|payload| event(payload)))
                        .collect(),
                )
            }
            "failed stream" => {
                let error = json!({"error": {"message": "x", "type": "server_error", "param": null, "code": null}});
                Script::steps(vec![word("a "), event(&error.to_string())])
            }
            "stream" => {
                // Keep-alives, a first report of less, and a last one of all.
                let report = |usage: &Value| {
                    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [], "usage": usage}).to_string()
                };
                let all = charge(&model, "", plain);
                Script::steps(vec![
                    Step::Chunk(b": keep-alive\n\n".to_vec()),
                    event(&report(&usage(input, 0))),
                    word("one "),
                    Step::Chunk(b": keep-alive\n\n".to_vec()),
                    event(&chunk(&model, &json!({}), Some("stop"))),
                    event(&report(&all)),
                    event("[DONE]"),
                ])
            }
            _ => answer_as(request, &model, None, &charge(&model, "", plain)),
        }
    }
}

/// What one client saw of its request.
#[derive(Debug)]
struct Seen {
    request_id: String,
    kind: &'static str,
    /// The cost that the answer itself named.
    cost: Option<PicoUsd>,
}

async fn one(client: &Client, number: usize) -> Seen {
    let kind = KINDS[number % KINDS.len()];
    // A repeated prompt is one of ten, so that it is answered from the cache.
    let prompt = match kind {
        "repeated" => format!("{kind} {}", number % 10),
        _ => format!("{kind} {number}"),
    };
    let model = if kind == "left steady stream" {
        "steady"
    } else {
        "small"
    };
    let mut body = chat(model, &prompt);
    body["max_tokens"] = json!(500);
    match kind {
        "flex" => body["service_tier"] = json!("flex"),
        "priority stream" => body["service_tier"] = json!("priority"),
        _ => {}
    }
    let streamed = kind.contains("stream");
    if streamed {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    if kind.starts_with("left") {
        let response = client
            .open("POST", "/v1/chat/completions", body.to_string())
            .await;
        let request_id = response.headers()["x-request-id"]
            .to_str()
            .expect("text")
            .to_owned();
        let mut answer = response.into_body();
        let _first = answer.frame().await;
        return Seen {
            request_id,
            kind,
            cost: None,
        };
    }
    let reply = client.chat(&body).await;
    assert_eq!(reply.status, 200, "{kind}: {}", reply.text());
    let cost = if streamed {
        let cost_of = |event: &String| {
            let event: Value = serde_json::from_str(event).ok()?;
            PicoUsd::parse_usd(&event["usage"]["cost"].to_string()).ok()
        };
        reply.events().iter().filter_map(cost_of).next_back()
    } else {
        Some(PicoUsd::parse_usd(reply.header("x-tollgate-cost-usd")).expect("a cost"))
    };
    Seen {
        request_id: reply.request_id(),
        kind,
        cost,
    }
}

/// Runs `count` requests, 64 at a time.
async fn run(proxy: &Proxy, count: usize) -> Vec<(Seen, RequestRecord)> {
    let client = proxy.client();
    let mut numbers = 0..count;
    let mut running: FuturesUnordered<_> = numbers
        .by_ref()
        .take(64)
        .map(|number| one(&client, number))
        .collect();
    let mut seen = Vec::with_capacity(count);
    while let Some(done) = running.next().await {
        seen.push(done);
        running.extend(numbers.next().map(|number| one(&client, number)));
    }
    let mut records = Vec::with_capacity(count);
    for seen in seen {
        let record = proxy.record(&seen.request_id).await;
        records.push((seen, record));
    }
    records
}

fn check_one(seen: &Seen, record: &RequestRecord) {
    let sum: PicoUsd = record.attempts.iter().map(|attempt| attempt.cost).sum();
    assert_eq!(record.cost, sum, "{seen:?}");
    if let Some(cost) = seen.cost {
        assert_eq!(
            record.cost, cost,
            "the answer and the ledger differ: {seen:?} {record:?}"
        );
    }
    let outcome = match seen.kind {
        "cut stream" | "failed stream" => Outcome::StreamBroken,
        "left stream" => Outcome::Cancelled,
        // It may have been over before its client left.
        "left steady stream" => record.outcome,
        _ => Outcome::Ok,
    };
    assert_eq!(record.outcome, outcome, "{seen:?}");
    let estimated = matches!(seen.kind, "cut stream" | "left stream");
    let estimate = if estimated {
        record.cost
    } else {
        PicoUsd::ZERO
    };
    assert_eq!(record.estimated_cost, estimate, "{seen:?} {record:?}");
    for attempt in &record.attempts {
        assert_eq!(
            attempt.usage == UsageSource::Estimated,
            estimated,
            "{seen:?} {record:?}"
        );
        assert!(!attempt.price_version.is_empty());
        let redirected = seen.kind.starts_with("redirected");
        assert_eq!(attempt.substituted, redirected, "{seen:?}");
    }
    if estimated {
        // Bounded by what was asked and seen: the prompt's few words, and what came of the answer.
        let tokens = record.tokens();
        assert!((1..=40).contains(&tokens.all_input()), "{record:?}");
        assert!((1..=4).contains(&tokens.all_output()), "{record:?}");
    }
}

/// The ledger's side of the bill: every attempt whose usage the upstream reported, by the model that was
/// priced.
fn ledger_bill(records: &[(Seen, RequestRecord)]) -> Bill {
    let mut bill = Bill::new();
    let attempts = records.iter().flat_map(|(_, record)| &record.attempts);
    for attempt in attempts.filter(|attempt| attempt.usage == UsageSource::Reported) {
        let served = match attempt
            .priced_model
            .as_deref()
            .unwrap_or(attempt.model.as_str())
        {
            "other" => "other-model",
            "steady" => "large",
            name => name,
        };
        let (tokens, price) = (&attempt.tokens, &attempt.price);
        let classes = [
            tokens.input,
            tokens.cached_input,
            tokens.cache_write,
            tokens.output,
            tokens.reasoning,
        ];
        let prices = [
            price.input,
            price.cached_input,
            price.cache_write,
            price.output,
            price.reasoning,
        ]
        .map(|price| i128::from(price.pico()));
        add(&mut bill, served, classes, prices, price.per_request.pico());
        assert_eq!(price.bill(tokens, attempt.images), attempt.cost);
    }
    bill
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_day_adds_up_to_the_upstreams_bill() {
    let count = std::env::var("TOLLGATE_DAY_REQUESTS").ok();
    let count: usize = count.map_or(10_000, |count| count.parse().expect("a number of requests"));
    let books = Arc::new(Books::default());
    let upstream = Upstream::start(behaviour(&books)).await;
    let proxy = Proxy::start(&routes(&upstream.base_url())).await;
    let records = run(&proxy, count).await;
    assert_eq!(records.len(), count);
    for (seen, record) in &records {
        check_one(seen, record);
    }

    let (ledger, bill) = (ledger_bill(&records), books.bill.lock().clone());
    assert_eq!(
        ledger, bill,
        "per model: tokens and pico-USD by {CLASSES:?}, and the fees"
    );
    let attempts = || records.iter().flat_map(|(_, record)| &record.attempts);
    assert_eq!(
        attempts().count(),
        upstream.calls(),
        "attempts that the upstream saw"
    );

    // Metrics, per model and class.
    for model in ["small", "large", "steady"] {
        let of_model = || attempts().filter(|attempt| attempt.model.as_str() == model);
        let cost: PicoUsd = of_model().map(|attempt| attempt.cost).sum();
        let metric = proxy.metric("tollgate_cost_usd_total", &[("model", model)]);
        assert!(
            (metric - cost.as_usd_f64()).abs() < 1e-9,
            "{model}: {metric} against {cost}"
        );
        for (at, class) in CLASSES.iter().enumerate() {
            let sum: u64 = of_model()
                .map(|attempt| attempt.tokens.by_kind()[at].1)
                .sum();
            let labels = [("model", model), ("kind", *class)];
            let metric = proxy.metric("tollgate_tokens_total", &labels);
            #[allow(clippy::cast_precision_loss, reason = "a small count")]
            let sum = sum as f64;
            assert!(
                (metric - sum).abs() < 0.5,
                "{model} {class}: {metric} against {sum}"
            );
        }
    }
    let substituted = attempts().filter(|attempt| attempt.substituted).count();
    let metric = proxy.metric(
        "tollgate_substituted_answers_total",
        &[("priced_as", "other")],
    );
    #[allow(clippy::cast_precision_loss, reason = "a small count")]
    let expected = substituted as f64;
    assert!(
        (metric - expected).abs() < 0.5,
        "{metric} against {expected}"
    );

    // Budgets: all of it, and the part of one model.
    let total: PicoUsd = records.iter().map(|(_, record)| record.cost).sum();
    let small = attempts().filter(|attempt| attempt.model.as_str() == "small");
    let of_small: PicoUsd = small.map(|attempt| attempt.cost).sum();
    for (budget, expect) in proxy.gateway.budgets.view().iter().zip([total, of_small]) {
        assert_eq!(
            (budget.spent, budget.reserved),
            (expect, PicoUsd::ZERO),
            "{budget:?}"
        );
    }
    proxy.stop().await;
}
