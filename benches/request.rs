//! Micro-benches of the phases: decode, classify, plan, and a whole request in process against a
//! simulated provider. `cargo bench --bench request`.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench fails loudly and prints its figures"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;
use divan::{Bencher, black_box};
use tollgate::bootstrap::{self, Options};
use tollgate::classify::Classifier;
use tollgate::cli::serve::{Running, bind};
use tollgate::clock::Clock;
use tollgate::config;
use tollgate::gateway::Gateway;
use tollgate::pipeline;
use tollgate::types::{AllowList, AppId, Caller, Directives, Endpoint, TeamId, Tier};
use tollgate::wire;

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
    let (body, codec) = (body(), wire::spoken(Endpoint::ChatCompletions));
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
    let codec = wire::spoken(Endpoint::ChatCompletions);
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

/// One request over loopback with everything in this process: server, pipeline, a simulated provider
/// that answers at once, the ledger in memory.
#[divan::bench]
fn whole_request(bencher: Bencher) {
    const YAML: &str = "
version: 1
state: { store: memory }
providers: { sim: { dialect: openai_chat, simulated: { seed: 1, latency_ms: 0, latency_sigma: 0, output_tokens: 40 } } }
models: { small: { provider: sim, price: { input: 0.15, output: 0.60 }, tier: standard, quality: 0.6 } }
matrix: { default: { simple: [small], complex: [small], critical: [small] } }
cache: { exact: { ttl_seconds: 0 } }
";
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let address = runtime.block_on(async {
        let snapshot = config::load(YAML, "bench", &|_| None, 0).expect("a sound configuration");
        let options = Options {
            clock: Clock::system(),
            seed: 1,
        };
        let gateway = bootstrap::gateway(snapshot, options).expect("a gateway");
        let (data, admin) = (
            bind("127.0.0.1:0").expect("a port"),
            bind("127.0.0.1:0").expect("a port"),
        );
        let address = data.local_addr().expect("bound");
        // Serves until the process ends.
        std::mem::forget(Running::start(gateway, data, admin, None).expect("it serves"));
        address
    });
    let body = body();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), &body].concat();
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_nodelay(true).expect("a TCP socket");
    let mut buffer = vec![0; 64 * 1024];
    bencher.bench_local(|| exchange(&mut socket, &request, &mut buffer));
}

/// Sends a request and reads its whole answer.
fn exchange(socket: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> usize {
    socket.write_all(request).expect("it takes requests");
    let mut filled = 0;
    loop {
        filled += socket.read(&mut buffer[filled..]).expect("it answers");
        let Some(head) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..head]);
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length
            .and_then(|value| value.parse().ok())
            .expect("a length");
        if filled >= head + 4 + length {
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            return filled;
        }
    }
}
