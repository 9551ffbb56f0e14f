//! Micro-benches of the phases: decode, classify, plan, and a whole request in process against a
//! simulated provider. `cargo bench --bench request`.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench fails loudly and prints its figures"
)]

use std::sync::Arc;

use bytes::Bytes;
use divan::{Bencher, black_box};
use tollgate::bootstrap::{self, Options};
use tollgate::classify::Classifier;
use tollgate::clock::Clock;
use tollgate::config;
use tollgate::gateway::Gateway;
use tollgate::pipeline;
use tollgate::types::{AllowList, AppId, Caller, Directives, Endpoint, TeamId, Tier};
use tollgate::wire::DialectId;

fn main() {
    divan::main();
}

fn body() -> Bytes {
    let prompt =
        "Write a function that merges two sorted lists and explain how it works. ".repeat(12);
    Bytes::from(
        serde_json::json!({"model": "auto", "max_tokens": 200, "messages": [
            {"role": "system", "content": "You are terse."}, {"role": "user", "content": prompt}]})
        .to_string(),
    )
}

fn gateway() -> Arc<Gateway> {
    let text = config::builtin::BUILT_IN.replace("ttl_seconds: 3600", "ttl_seconds: 0");
    let snapshot =
        config::load(&text, "built-in", &|_| None, 0).expect("the built-in configuration is sound");
    bootstrap::gateway(
        snapshot,
        Options {
            clock: Clock::system(),
            seed: 1,
        },
    )
    .expect("a gateway")
}

fn anybody() -> Caller {
    Caller {
        key: None,
        key_sha256: None,
        team: TeamId::from("default"),
        app: AppId::from("default"),
        tier: Tier::Premium,
        allow: AllowList::all(),
        regions: Arc::from([]),
    }
}

/// 1 KB of JSON to a call.
#[divan::bench]
fn decode(bencher: Bencher) {
    let (body, codec) = (body(), DialectId::OpenaiChat.codec());
    bencher.bench(|| {
        codec.decode(
            Endpoint::ChatCompletions,
            black_box(body.clone()),
            Directives::default(),
        )
    });
}

/// A call to features.
#[divan::bench]
fn classify(bencher: Bencher) {
    let codec = DialectId::OpenaiChat.codec();
    let call = codec
        .decode(Endpoint::ChatCompletions, body(), Directives::default())
        .expect("decodes");
    let classifier = Classifier::builtin();
    bencher.bench(|| classifier.classify(black_box(&call)));
}

/// Decode, classify, cell, plan and the explanation of it: `POST /v1/route` in process.
#[divan::bench]
fn plan_and_explain(bencher: Bencher) {
    let gateway = gateway();
    let active = gateway.active.load_full();
    let (body, caller) = (body(), anybody());
    bencher.bench(|| {
        pipeline::explain(
            &gateway,
            &active,
            &caller,
            black_box(body.clone()),
            Directives::default(),
        )
    });
}
