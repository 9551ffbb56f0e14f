//! What the wire costs per request and per chunk. `cargo bench --bench wire`.

#[path = "wire/translate.rs"]
mod translate;

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use tollgate::types::{Directives, Endpoint, PicoUsd};
use tollgate::wire::dialect::openai_chat::{decode, encode, inspect_response, response, stream};
use tollgate::wire::framing::sse::{SseEvent, SseFramer};

fn main() {
    divan::main();
}

/// A chat request of about `bytes` bytes: a system prompt, a short history, a question.
fn request(bytes: usize) -> Bytes {
    let sentence = "Explain in your own words why the \\\"index\\\" is slow.\\n";
    let question = sentence.repeat((bytes.saturating_sub(420)) / sentence.len());
    Bytes::from(format!(
        r#"{{"model":"auto","messages":[{{"role":"system","content":"You are a helpful assistant. Be brief and exact."}},{{"role":"user","content":"Hello"}},{{"role":"assistant","content":"Hello! How can I help?"}},{{"role":"user","content":"{question}"}}],"temperature":0.7,"top_p":1,"max_tokens":512,"stream":true,"user":"user-123456","stop":null,"presence_penalty":0}}"#
    ))
}

#[divan::bench(args = [1024, 16 * 1024, 256 * 1024])]
fn decode_chat(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = request(bytes);
    bencher.counter(BytesCount::new(body.len())).bench(|| {
        let directives = Directives::default();
        decode::decode(
            Endpoint::ChatCompletions,
            black_box(body.clone()),
            directives,
        )
    });
}

#[divan::bench]
fn encode_with_model_and_usage(bencher: Bencher<'_, '_>) {
    let call = decode::decode(
        Endpoint::ChatCompletions,
        request(1024),
        Directives::default(),
    );
    let Ok(call) = call else { return };
    bencher.bench(|| encode::request(black_box(&call), "gpt-4o-mini-2024-07-18", true));
}

const STREAM: &[u8] = include_bytes!("../tests/fixtures/openai_chat/stream_plain/stream.sse");
const RESPONSE: &[u8] = include_bytes!("../tests/fixtures/openai_chat/chat_plain/response.json");

fn events() -> Vec<SseEvent> {
    let mut framer = SseFramer::new(1 << 20);
    let _ = framer.push(Bytes::from_static(STREAM));
    std::iter::from_fn(|| framer.next_event()).collect()
}

/// One content chunk of about 300 bytes, as OpenAI writes it.
#[divan::bench]
fn tap_content_chunk(bencher: Bencher<'_, '_>) {
    let events = events();
    let mut tap = stream::StreamTap::new();
    tap.see(&events[0]);
    bencher.bench_local(|| tap.see(black_box(&events[1])));
}

#[divan::bench]
fn frame_and_tap_one_chunk(bencher: Bencher<'_, '_>) {
    let chunk = events()[1].raw.clone();
    let mut framer = SseFramer::new(1 << 20);
    let mut tap = stream::StreamTap::new();
    bencher.bench_local(|| {
        let _ = framer.push(black_box(chunk.clone()));
        while let Some(event) = framer.next_event() {
            black_box(tap.see(&event));
        }
    });
}

#[divan::bench]
fn frame_one_chunk(bencher: Bencher<'_, '_>) {
    let chunk = events()[1].raw.clone();
    let mut framer = SseFramer::new(1 << 20);
    bencher.bench_local(|| {
        let _ = framer.push(black_box(chunk.clone()));
        while let Some(event) = framer.next_event() {
            black_box(event);
        }
    });
}

#[divan::bench]
fn inspect_whole_answer(bencher: Bencher<'_, '_>) {
    let body = Bytes::from_static(RESPONSE);
    bencher.bench(|| inspect_response(Endpoint::ChatCompletions, black_box(&body)));
}

#[divan::bench]
fn insert_cost(bencher: Bencher<'_, '_>) {
    let body = Bytes::from_static(RESPONSE);
    let Ok(facts) = inspect_response(Endpoint::ChatCompletions, &body) else {
        return;
    };
    let cost = PicoUsd::from_pico(123_456_789);
    bencher.bench(|| response::insert_cost(black_box(body.clone()), &facts, cost));
}
