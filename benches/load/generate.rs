//! The load generator: connections that send one request after the other, closed loop, over raw
//! HTTP/1.1, so that it costs little itself.

use std::fs;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::targets::Target;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A whole answer to a body of 1 KB.
    Whole,
    /// A stream of 22 events.
    Stream,
}

/// What one round showed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measured {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub cpu_us: f64,
    pub errors: usize,
}

/// Sends `count` requests over `connections` connections and measures.
pub fn run(target: &Target, shape: Shape, count: usize, connections: usize) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let request = request(target, shape);
    let cpu_before = cpu_seconds(&target.pids);
    let began = Instant::now();
    let results = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let (request, address) = (request.clone(), target.address);
            tasks.spawn(
                async move { connection(address, &request, shape, count / connections).await },
            );
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
    let answered = latencies.len().max(1);
    #[allow(clippy::cast_precision_loss, reason = "counts of a bench")]
    Measured {
        per_second: answered as f64 / took.as_secs_f64(),
        p50_us: latencies.value_at_quantile(0.5) as f64,
        p99_us: latencies.value_at_quantile(0.99) as f64,
        cpu_us: (cpu_seconds(&target.pids) - cpu_before) * 1e6 / answered as f64,
        errors,
    }
}

/// Microseconds up to a minute, three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 3).expect("sound bounds")
}

/// The median of each figure.
pub fn median(rounds: &[Measured]) -> Measured {
    let middle = |figure: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Measured {
        per_second: middle(|it| it.per_second),
        p50_us: middle(|it| it.p50_us),
        p99_us: middle(|it| it.p99_us),
        cpu_us: middle(|it| it.cpu_us),
        errors: rounds.iter().map(|it| it.errors).sum(),
    }
}

fn request(target: &Target, shape: Shape) -> Vec<u8> {
    let prompt =
        "Write a function that merges two sorted lists and explain how it works. ".repeat(12);
    let stream = if shape == Shape::Stream {
        "\"stream\":true,\"stream_options\":{\"include_usage\":true},"
    } else {
        ""
    };
    let body = format!(
        "{{\"model\":\"{}\",{stream}\"max_tokens\":200,\"messages\":[{{\"role\":\"system\",\"content\":\"You are terse.\"}},{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}",
        target.model
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        target.address,
        target.key,
        body.len()
    )
    .into_bytes()
}

async fn connection(
    address: std::net::SocketAddr,
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
    let mut buffer = Vec::with_capacity(64 * 1024);
    for sent in 0..count {
        let began = Instant::now();
        let exchange = exchange(&mut socket, request, shape, &mut buffer);
        match tokio::time::timeout(Duration::from_secs(30), exchange).await {
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
) -> std::io::Result<bool> {
    socket.write_all(request).await?;
    buffer.clear();
    loop {
        if socket.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(head) = memchr::memmem::find(buffer, b"\r\n\r\n")
            && complete(&buffer[..head], &buffer[head + 4..])
        {
            let ok = buffer.starts_with(b"HTTP/1.1 200");
            let ended =
                shape == Shape::Whole || memchr::memmem::find(buffer, b"data: [DONE]").is_some();
            return Ok(ok && ended);
        }
    }
}

fn complete(head: &[u8], body: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    match head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
    {
        Some(length) => body.len() >= length.trim().parse::<usize>().unwrap_or(0),
        None => body.ends_with(b"0\r\n\r\n"),
    }
}

/// User and system time of these processes so far, from `/proc/<pid>/stat` (fields 14 and 15, in
/// clock ticks of 10 ms; see proc(5)).
fn cpu_seconds(pids: &[u32]) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let ticks = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let after_name = stat.rsplit_once(')')?.1.to_owned();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    };
    pids.iter().filter_map(ticks).sum::<f64>() / TICKS_PER_SECOND
}
