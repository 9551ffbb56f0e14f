//! Every sum agrees with what the upstream billed, and no budget is overspent.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tollgate::types::{Outcome, PicoUsd, RequestRecord, UsageSource};

use crate::harness::proxy::{chat, two_models};
use crate::harness::upstream::{chunk, stream_payloads, usage};
use crate::harness::{Client, Proxy, Received, Script, Step, Upstream};

/// Pico-USD per token of the two models, by class: input, output.
const PRICES: [(&str, i128, i128); 2] = [
    ("small", 150_000, 600_000),
    ("large", 2_500_000, 10_000_000),
];

fn price(model: &str, input: u64, output: u64) -> i128 {
    let (_, per_input, per_output) = PRICES
        .iter()
        .find(|(name, ..)| *name == model)
        .expect("a known model");
    per_input * i128::from(input) + per_output * i128::from(output)
}

/// What the upstream bills: only what it reported, by model.
#[derive(Default)]
struct Bill {
    reported: Mutex<BTreeMap<String, (u64, i128)>>,
}

impl Bill {
    fn add(&self, model: &str, input: u64, output: u64) {
        let mut reported = self.reported.lock();
        let entry = reported.entry(model.to_owned()).or_default();
        entry.0 += 1;
        entry.1 += price(model, input, output);
    }
}

/// Numbers that follow from the prompt, so that both sides can know them.
fn counts(request: &Received) -> (u64, u64) {
    let number: u64 = request
        .last_text()
        .chars()
        .filter(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap_or(1);
    (10 + number % 37, 3 + number % 11)
}

/// What the upstream does with a prompt of the mixed day.
fn behaviour(bill: &Arc<Bill>) -> impl Fn(&Received) -> Script + Send + Sync + 'static + use<> {
    let bill = Arc::clone(bill);
    move |request| {
        let (input, output) = counts(request);
        let (text, model) = (request.last_text(), request.model());
        if text.contains("fails on small") && model == "small" {
            return Script::error(500, "server_error", "down");
        }
        if text.contains("cut") {
            let payloads = stream_payloads(request, "a b c d", &usage(input, output));
            let mut steps: Vec<Step> = payloads
                .iter()
                .take(3)
                .map(|it| Step::Chunk(format!("data: {it}\n\n").into_bytes()))
                .collect();
            steps.push(Step::Cut);
            return Script::steps(steps);
        }
        if text.contains("leave") {
            let first = format!(
                "data: {}\n\n",
                chunk(&model, &json!({"content": "hello"}), None)
            );
            return Script::steps(vec![Step::Chunk(first.into_bytes()), Step::Stall]);
        }
        bill.add(&model, input, output);
        Script::answer(request, "one two three", input, output)
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

const KINDS: [&str; 6] = [
    "whole",
    "stream",
    "cut stream",
    "leave stream",
    "whole fails on small",
    "cached",
];

async fn one(client: &Client, number: usize) -> Seen {
    let kind = KINDS[number % KINDS.len()];
    // Every sixth prompt repeats one of ten, so that it is answered from the cache.
    let prompt = if kind == "cached" {
        format!("cached {}", number % 10)
    } else {
        format!("{kind} {number}")
    };
    let mut body = chat("small", &prompt);
    let streamed = kind.contains("stream");
    if streamed {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    if kind == "leave stream" {
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

/// Runs `count` requests, `at_once` at a time.
async fn run(proxy: &Proxy, count: usize, at_once: usize) -> Vec<Seen> {
    let client = proxy.client();
    let mut numbers = 0..count;
    let mut running: FuturesUnordered<_> = numbers
        .by_ref()
        .take(at_once)
        .map(|number| one(&client, number))
        .collect();
    let mut seen = Vec::with_capacity(count);
    while let Some(done) = running.next().await {
        seen.push(done);
        running.extend(numbers.next().map(|number| one(&client, number)));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_day_adds_up_to_the_upstreams_bill() {
    const REQUESTS: usize = 10_000;
    let bill = Arc::new(Bill::default());
    let upstream = Upstream::start(behaviour(&bill)).await;
    let more = "
budgets: [ { name: all, limit_usd: 1000, period: total } ]
resilience: { retry: { max_attempts: 1 }, breaker: { consecutive_failures: 100000, failure_rate: 1.0, min_requests: 100000 } }
";
    let yaml = two_models(&upstream.base_url(), more)
        .replace("ttl_seconds: 0", "ttl_seconds: 3600")
        .replace("quality: 0.6 }", "quality: 0.6, equivalents: [large] }");
    let proxy = Proxy::start(&yaml).await;
    let seen = run(&proxy, REQUESTS, 64).await;
    assert_eq!(seen.len(), REQUESTS);

    let mut records: Vec<(Seen, RequestRecord)> = Vec::with_capacity(REQUESTS);
    for one in seen {
        let record = proxy.record(&one.request_id).await;
        records.push((one, record));
    }
    for (seen, record) in &records {
        assert_eq!(
            record.cost,
            record.attempts.iter().map(|attempt| attempt.cost).sum(),
            "{seen:?}"
        );
        if let Some(cost) = seen.cost {
            assert_eq!(
                record.cost, cost,
                "the answer and the ledger differ: {seen:?} {record:?}"
            );
        }
        match seen.kind {
            "cut stream" => assert_eq!(record.outcome, Outcome::StreamBroken, "{seen:?}"),
            "leave stream" => assert_eq!(record.outcome, Outcome::Cancelled, "{seen:?}"),
            _ => assert_eq!(record.outcome, Outcome::Ok, "{seen:?}"),
        }
        if matches!(seen.kind, "cut stream" | "leave stream") {
            assert!(
                record
                    .attempts
                    .iter()
                    .all(|attempt| attempt.usage == UsageSource::Estimated),
                "{record:?}"
            );
            assert_eq!(record.estimated_cost, record.cost);
        } else {
            assert_eq!(record.estimated_cost, PicoUsd::ZERO, "{record:?}");
        }
    }

    // Per model: every reported attempt in the ledger is one that the upstream billed, to the pico-USD.
    let mut reported: BTreeMap<String, (u64, i128)> = BTreeMap::new();
    let attempts = records.iter().flat_map(|(_, record)| &record.attempts);
    for attempt in attempts
        .clone()
        .filter(|attempt| attempt.usage == UsageSource::Reported)
    {
        let entry = reported.entry(attempt.model.to_string()).or_default();
        entry.0 += 1;
        entry.1 += attempt.cost.pico();
    }
    assert_eq!(reported, *bill.reported.lock());
    assert_eq!(
        attempts.clone().count(),
        upstream.calls(),
        "attempts in the ledger are those that the upstream saw"
    );

    // Metrics, budgets and dashboard sums are the same as the ledger's.
    let total: PicoUsd = records.iter().map(|(_, record)| record.cost).sum();
    let metric = proxy.metric("tollgate_cost_usd_total", &[]);
    assert!(
        (metric - total.as_usd_f64()).abs() < 1e-9,
        "{metric} against {total}"
    );
    let budget = &proxy.gateway.budgets.view()[0];
    assert_eq!((budget.spent, budget.reserved), (total, PicoUsd::ZERO));
    let tokens: u64 = attempts.map(|attempt| attempt.tokens.total()).sum();
    #[allow(clippy::cast_precision_loss, reason = "a small count")]
    let tokens = tokens as f64;
    assert!((proxy.metric("tollgate_tokens_total", &[]) - tokens).abs() < 0.5);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_for_a_hundred_pays_for_a_hundred_of_five_hundred() {
    let upstream =
        Upstream::start(|request| Script::answer(request, "ok", 20, 10).before(Step::Gate)).await;
    // 20 input and at most 10 output tokens of `large`: 50 + 100 = 150 µUSD; the worst case counts the
    // request's bytes as input tokens, so it is larger than the bill.
    let limit = PicoUsd::parse_usd("0.05").expect("an amount");
    let more = "budgets: [ { name: tight, limit_usd: 0.05, period: month, timezone: UTC } ]";
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    let client = proxy.client();
    let mut body = chat("large", "hello");
    body["max_tokens"] = json!(10);

    let mut running: FuturesUnordered<_> = (0..500).map(|_| client.chat(&body)).collect();
    let gate = {
        let upstream = upstream.clone();
        async move {
            upstream.wait_for_calls(50).await;
            upstream.open_gate();
        }
    };
    let (mut paid, mut refused) = (0usize, 0usize);
    let collect = async {
        while let Some(reply) = running.next().await {
            match reply.status {
                200 => paid += 1,
                429 => {
                    let error = reply.json()["error"].clone();
                    assert_eq!(
                        (error["code"].as_str(), error["type"].as_str()),
                        (Some("budget_exceeded"), Some("insufficient_quota"))
                    );
                    refused += 1;
                }
                other => panic!("status {other}: {}", reply.text()),
            }
            let view = &proxy.gateway.budgets.view()[0];
            assert!(view.spent + view.reserved <= limit, "{view:?}");
        }
    };
    tokio::join!(gate, collect);
    assert_eq!(paid + refused, 500);
    assert_eq!(
        upstream.calls(),
        paid,
        "none of the refused reached the upstream"
    );

    // Whoever comes again finds what the others gave back: at least 95 % of the budget can be used.
    for _ in 0..500 {
        let reply = client.chat(&body).await;
        if reply.status == 429 {
            break;
        }
        paid += 1;
    }
    let view = &proxy.gateway.budgets.view()[0];
    assert_eq!(view.reserved, PicoUsd::ZERO);
    assert!(view.spent <= limit, "{view:?}");
    assert!(
        view.spent.pico() * 100 >= limit.pico() * 95,
        "only {} of {limit} USD could be used",
        view.spent
    );
    let billed = price("large", 20, 10) * i128::try_from(upstream.calls()).expect("a count");
    assert_eq!(view.spent.pico(), billed);
    assert_eq!(upstream.calls(), paid);
    proxy.stop().await;
}

#[tokio::test]
async fn an_exhausted_budget_downgrades_routed_requests_and_refuses_pinned_ones() {
    let upstream = Upstream::plain("ok").await;
    let more = "budgets: [ { name: tiny, match: { model: large }, limit_usd: 0.0000001, period: month, timezone: UTC, on_exhausted: downgrade } ]";
    let proxy = Proxy::start(&two_models(&upstream.base_url(), more)).await;
    let client = proxy.client();
    let pinned = client.chat(&chat("large", "hello")).await;
    assert_eq!(
        (pinned.status, pinned.header("x-should-retry")),
        (429, "false")
    );
    let routed = client
        .with("x-tollgate-level", "critical")
        .chat(&chat("auto", "hello"))
        .await;
    assert_eq!(
        (routed.status, routed.header("x-tollgate-model")),
        (200, "small")
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_the_ledger_is() {
    let upstream = Upstream::plain("ok").await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!(
        "store: \"sqlite:{}\"",
        folder.path().join("ledger.db").display()
    );
    let more = "budgets: [ { name: month, match: { team: default }, limit_usd: 10, period: month, timezone: UTC } ]";
    let yaml = two_models(&upstream.base_url(), more).replace("store: memory", &store);
    let before = Proxy::start(&yaml).await;
    let reply = before.client().chat(&chat("large", "hello")).await;
    assert_eq!(reply.status, 200);
    let spent = before.gateway.budgets.view()[0].spent;
    assert!(spent.is_positive());
    before.stop().await;

    let after = Proxy::start(&yaml).await;
    assert_eq!(after.gateway.budgets.view()[0].spent, spent);
    let record = after.record(&reply.request_id()).await;
    assert_eq!(record.cost, spent);
    after.client().chat(&chat("large", "hello")).await;
    assert_eq!(after.gateway.budgets.view()[0].spent, spent + spent);
    after.stop().await;
}
