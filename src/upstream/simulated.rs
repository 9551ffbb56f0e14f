//! The built-in simulated providers: they answer in OpenAI's dialect without a network, with a
//! latency distribution, an error rate and token counts that follow from a seed.
//!
//! A product feature for demonstrations, staging and tests; every answer says that it is simulated.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, Sleep};

use crate::runtime::SimulatedParams;
use crate::types::{Call, Endpoint, Part};

/// The vocabulary of simulated answers.
const WORDS: &[&str] = &[
    "this",
    "simulated",
    "answer",
    "stands",
    "in",
    "for",
    "what",
    "the",
    "model",
    "would",
    "say",
    "about",
    "your",
    "request",
    "with",
    "a",
    "plausible",
    "length",
    "and",
    "no",
    "meaning",
];
/// Length of a simulated embedding unless the request asks for another.
const EMBEDDING_DIMENSIONS: usize = 8;
/// English text averages about four bytes per token in common tokenizers.
const BYTES_PER_TOKEN: usize = 4;

/// What a simulated provider will do with one request.
#[derive(Debug)]
pub struct Simulation {
    /// How long until the answer (or the first chunk) is there.
    pub first_after: Duration,
    /// What comes.
    pub answer: SimulatedAnswer,
}

/// A simulated answer.
#[derive(Debug)]
pub enum SimulatedAnswer {
    /// The provider is "down" for this request: 503 with this error body.
    Unavailable(Bytes),
    /// A whole answer.
    Whole(Bytes),
    /// A stream of server-sent events.
    Stream(SimulatedStream),
}

/// Decides deterministically from the seed and the request what the provider does.
pub fn simulate(params: &SimulatedParams, call: &Call, upstream_model: &str) -> Simulation {
    let mut rng = StdRng::seed_from_u64(seed_of(params.seed, call, upstream_model));
    let first_after = params
        .latency
        .mul_f64(lognormal(&mut rng, params.latency_sigma));
    if rng.random::<f64>() < params.error_rate {
        let error = json!({"error": {"message": "the simulated provider is unavailable", "type": "server_error", "param": null, "code": "simulated_unavailable"}});
        return Simulation {
            first_after,
            answer: SimulatedAnswer::Unavailable(bytes_of(&error)),
        };
    }
    let input = input_tokens(call);
    let answer = if call.endpoint == Endpoint::Embeddings {
        SimulatedAnswer::Whole(bytes_of(&embeddings(&mut rng, call, upstream_model, input)))
    } else {
        let wanted = f64::from(params.output_tokens) * lognormal(&mut rng, 0.4);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive count"
        )]
        let output = (wanted as u64).clamp(1, call.max_output_tokens.unwrap_or(u64::MAX).max(1));
        let truncated = call.max_output_tokens.is_some_and(|cap| output >= cap);
        let script = Script {
            model: upstream_model,
            words: words(&mut rng, output),
            input,
            output,
            truncated,
        };
        if call.stream.wanted {
            SimulatedAnswer::Stream(SimulatedStream::new(script.events(call), params.chunk_gap))
        } else {
            SimulatedAnswer::Whole(bytes_of(&script.whole(call)))
        }
    };
    Simulation {
        first_after,
        answer,
    }
}

/// One answer before it is put into a form.
struct Script<'a> {
    model: &'a str,
    words: Vec<&'static str>,
    input: u64,
    output: u64,
    truncated: bool,
}

impl Script<'_> {
    fn usage(&self, choices: u32) -> Value {
        let output = self.output * u64::from(choices);
        json!({
            "prompt_tokens": self.input,
            "completion_tokens": output,
            "total_tokens": self.input + output,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        })
    }

    const fn finish(&self) -> &'static str {
        if self.truncated { "length" } else { "stop" }
    }

    fn whole(&self, call: &Call) -> Value {
        let text = self.pieces(call).concat();
        let choice = |index: u32| match call.endpoint {
            Endpoint::Completions => {
                json!({"index": index, "text": text, "logprobs": null, "finish_reason": self.finish()})
            }
            _ => json!({
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null,
                "finish_reason": self.finish(),
            }),
        };
        json!({
            "id": "chatcmpl-simulated",
            "object": if call.endpoint == Endpoint::Completions { "text_completion" } else { "chat.completion" },
            "created": 0,
            "model": self.model,
            "choices": (0..call.choices).map(choice).collect::<Vec<_>>(),
            "usage": self.usage(call.choices),
        })
    }

    /// The text in pieces; one JSON object where the request wants a JSON format.
    fn pieces(&self, call: &Call) -> Vec<String> {
        let spaced = |(at, word): (usize, &&str)| {
            if at == 0 {
                (*word).to_owned()
            } else {
                format!(" {word}")
            }
        };
        let mut pieces: Vec<String> = self.words.iter().enumerate().map(spaced).collect();
        if call.needs.json_schema {
            pieces.insert(0, "{\"simulated\": \"".to_owned());
            pieces.push("\"}".to_owned());
        }
        pieces
    }

    fn events(&self, call: &Call) -> VecDeque<Bytes> {
        let legacy = call.endpoint == Endpoint::Completions;
        let chunk = |index: u32, delta: Value, finish: Option<&str>| {
            let choice = if legacy {
                json!({"index": index, "text": delta, "logprobs": null, "finish_reason": finish})
            } else {
                json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish})
            };
            self.event(legacy, &[choice], &Value::Null)
        };
        let mut events = VecDeque::with_capacity(self.words.len() + 4);
        for index in 0..call.choices {
            if !legacy {
                events.push_back(chunk(
                    index,
                    json!({"role": "assistant", "content": ""}),
                    None,
                ));
            }
            for text in self.pieces(call) {
                let delta = if legacy {
                    json!(text)
                } else {
                    json!({"content": text})
                };
                events.push_back(chunk(index, delta, None));
            }
            let end = if legacy { json!("") } else { json!({}) };
            events.push_back(chunk(index, end, Some(self.finish())));
        }
        events.push_back(self.event(legacy, &[], &self.usage(call.choices)));
        events.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        events
    }

    fn event(&self, legacy: bool, choices: &[Value], usage: &Value) -> Bytes {
        let object = if legacy {
            "text_completion"
        } else {
            "chat.completion.chunk"
        };
        let chunk = json!({
            "id": "chatcmpl-simulated", "object": object, "created": 0, "model": self.model,
            "choices": choices, "usage": usage,
        });
        Bytes::from(format!("data: {chunk}\n\n"))
    }
}

fn embeddings(rng: &mut StdRng, call: &Call, model: &str, input: u64) -> Value {
    let inputs = call
        .turns
        .iter()
        .map(|turn| turn.parts.len())
        .sum::<usize>()
        .max(1);
    let one = |index: usize| {
        let vector: Vec<f32> = (0..EMBEDDING_DIMENSIONS)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect();
        json!({"object": "embedding", "index": index, "embedding": vector})
    };
    json!({
        "object": "list",
        "data": (0..inputs).map(one).collect::<Vec<_>>(),
        "model": model,
        "usage": {"prompt_tokens": input, "total_tokens": input},
    })
}

fn input_tokens(call: &Call) -> u64 {
    let bytes_of = |part: &Part| match part {
        Part::Text(span) => span.len().div_ceil(BYTES_PER_TOKEN),
        Part::TokenIds(count) => *count as usize,
        _ => 256,
    };
    let tokens: usize = call
        .turns
        .iter()
        .flat_map(|turn| turn.parts.iter().map(bytes_of))
        .sum();
    tokens.max(1) as u64
}

fn words(rng: &mut StdRng, count: u64) -> Vec<&'static str> {
    (0..count)
        .map(|_| WORDS[rng.random_range(0..WORDS.len())])
        .collect()
}

/// A factor around 1 with a log-normal spread (Box–Muller on two uniform draws).
fn lognormal(rng: &mut StdRng, sigma: f64) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    let angle = std::f64::consts::TAU * rng.random::<f64>();
    (sigma * radius * angle.cos()).exp()
}

fn seed_of(seed: u64, call: &Call, upstream_model: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(upstream_model.as_bytes());
    hash.update(&call.body);
    let digest = hash.finalize();
    u64::from_le_bytes(digest[..8].try_into().unwrap_or_default())
}

fn bytes_of(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// The chunks of a simulated stream, paced.
#[derive(Debug)]
pub struct SimulatedStream {
    events: VecDeque<Bytes>,
    gap: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    next_at: Instant,
}

impl SimulatedStream {
    fn new(events: VecDeque<Bytes>, gap: Duration) -> Self {
        Self {
            events,
            gap,
            timer: None,
            next_at: Instant::now(),
        }
    }

    /// Yields the next chunk when its time has come; `None` at the end.
    pub fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.events.is_empty() {
            return Poll::Ready(None);
        }
        if !self.gap.is_zero() && Instant::now() < self.next_at {
            let next_at = self.next_at;
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next_at)));
            if timer.deadline() != next_at {
                timer.as_mut().reset(next_at);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        self.next_at = Instant::now() + self.gap;
        Poll::Ready(self.events.pop_front())
    }
}
