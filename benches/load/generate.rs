//! The load generator: connections that send one request after the other, closed loop, over raw
//! HTTP/1.1, so that it costs little itself.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::process::cpu_seconds;
use crate::targets::Target;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The body's length, about.
    pub body_bytes: usize,
    /// Turns before the last one.
    pub turns: usize,
    /// What comes back.
    pub answer: Answer,
}

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Whole,
    Stream,
    LongStream,
}

impl Shape {
    /// A whole answer to a body of 1 KB.
    pub const WHOLE: Self = Self {
        body_bytes: 1_024,
        turns: 0,
        answer: Answer::Whole,
    };
    /// A stream of 22 events for a body of 1 KB.
    pub const STREAM: Self = Self {
        answer: Answer::Stream,
        ..Self::WHOLE
    };
    /// A stream of 500 events for a body of 1 KB.
    pub const LONG_STREAM: Self = Self {
        answer: Answer::LongStream,
        ..Self::WHOLE
    };

    pub fn with_body(self, body_bytes: usize) -> Self {
        Self { body_bytes, ..self }
    }

    /// The JSON of a request to `model`.
    pub fn body(self, model: &str) -> String {
        const SENTENCE: &str =
            "Write a function that merges two sorted lists and explain how it works. ";
        let (stream, tokens) = match self.answer {
            Answer::Whole => ("", 200),
            Answer::Stream => (
                "\"stream\":true,\"stream_options\":{\"include_usage\":true},",
                200,
            ),
            Answer::LongStream => (
                "\"stream\":true,\"stream_options\":{\"include_usage\":true},",
                500,
            ),
        };
        let turn = "{\"role\":\"user\",\"content\":\"And the next step, please.\"},{\"role\":\"assistant\",\"content\":\"It is done; what now?\"},";
        let earlier = turn.repeat(self.turns);
        let room = self.body_bytes.saturating_sub(earlier.len() + 160);
        let prompt = SENTENCE.repeat((room / SENTENCE.len()).max(1));
        format!(
            "{{\"model\":\"{model}\",{stream}\"max_tokens\":{tokens},\"messages\":[{{\"role\":\"system\",\"content\":\"You are terse.\"}},{earlier}{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}"
        )
    }
}

/// What one round showed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measured {
    pub answered: u64,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub cpu_us: f64,
    pub errors: usize,
}

/// Microseconds up to a minute, three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 3).expect("sound bounds")
}

impl Measured {
    /// Of what was observed in `took`, with the CPU time that it cost.
    pub fn of(latencies: &Histogram<u64>, errors: usize, took: Duration, cpu_seconds: f64) -> Self {
        let answered = latencies.len().max(1) as f64;
        let at = |quantile| latencies.value_at_quantile(quantile) as f64;
        Self {
            answered: latencies.len(),
            per_second: answered / took.as_secs_f64(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            cpu_us: cpu_seconds * 1e6 / answered,
            errors,
        }
    }

    /// The median of each figure.
    pub fn median(rounds: &[Self]) -> Self {
        let middle = |figure: fn(&Self) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            answered: rounds.iter().map(|it| it.answered).sum(),
            per_second: middle(|it| it.per_second),
            p50_us: middle(|it| it.p50_us),
            p99_us: middle(|it| it.p99_us),
            p999_us: middle(|it| it.p999_us),
            cpu_us: middle(|it| it.cpu_us),
            errors: rounds.iter().map(|it| it.errors).sum(),
        }
    }
}

/// Sends `count` requests over `connections` connections and measures.
pub fn run(target: &Target, shape: Shape, count: usize, connections: usize) -> Measured {
    let runtime = runtime();
    let request: &'static [u8] = Box::leak(request(target, shape).into_boxed_slice());
    let address = target.address;
    let before = cpu_seconds(&target.pids);
    let began = Instant::now();
    let results = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            tasks.spawn(connection(address, request, shape, count / connections));
        }
        tasks.join_all().await
    });
    let took = began.elapsed();
    let mut latencies = histogram();
    let mut errors = 0;
    for (observed, failed) in results {
        latencies.add(observed).expect("the same bounds");
        errors += failed;
    }
    Measured::of(&latencies, errors, took, cpu_seconds(&target.pids) - before)
}

/// The generator's runtime: one thread.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// The bytes of a request.
pub fn request(target: &Target, shape: Shape) -> Vec<u8> {
    let body = shape.body(target.model);
    let mut headers = format!(
        "host: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        target.address,
        target.key,
        body.len()
    );
    for (name, value) in &target.headers {
        headers.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("POST /v1/chat/completions HTTP/1.1\r\n{headers}\r\n{body}").into_bytes()
}

async fn connection(
    address: SocketAddr,
    request: &[u8],
    shape: Shape,
    count: usize,
) -> (Histogram<u64>, usize) {
    let mut latencies = histogram();
    let mut errors = 0;
    let Ok(mut socket) = TcpStream::connect(address).await else {
        return (latencies, count);
    };
    let _small_writes_at_once = socket.set_nodelay(true);
    let mut buffer = Vec::with_capacity(16 * 1024);
    for sent in 0..count {
        let began = Instant::now();
        let exchange = exchange(&mut socket, request, shape, &mut buffer);
        match tokio::time::timeout(Duration::from_mins(1), exchange).await {
            Ok(Ok(true)) => latencies
                .saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Ok(Ok(false)) => errors += 1,
            Ok(Err(_)) | Err(_) => return (latencies, errors + count - sent),
        }
    }
    (latencies, errors)
}

/// One request and its answer; false for an answer that is no success.
async fn exchange(
    socket: &mut TcpStream,
    request: &[u8],
    shape: Shape,
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    socket.write_all(request).await?;
    buffer.clear();
    loop {
        if socket.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(complete) = complete(buffer, shape) {
            return Ok(complete);
        }
    }
}

/// Whether the answer is a success, once it has ended.
pub fn complete(buffer: &[u8], shape: Shape) -> Option<bool> {
    let head = memchr::memmem::find(buffer, b"\r\n\r\n")?;
    if !ended(&buffer[..head], &buffer[head + 4..]) {
        return None;
    }
    let ok = buffer.starts_with(b"HTTP/1.1 200");
    let whole =
        shape.answer == Answer::Whole || memchr::memmem::find(buffer, b"data: [DONE]").is_some();
    Some(ok && whole)
}

fn ended(head: &[u8], body: &[u8]) -> bool {
    let name = b"content-length:";
    let length = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name))
        .and_then(|line| {
            std::str::from_utf8(&line[name.len()..])
                .ok()?
                .trim()
                .parse()
                .ok()
        });
    match length {
        Some(length) => body.len() >= length,
        None => body.ends_with(b"0\r\n\r\n"),
    }
}
