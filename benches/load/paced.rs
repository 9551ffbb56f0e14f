//! Requests at a fixed rate: threads that block, each in its own time slots, so that neither a timer's
//! granularity nor a slow answer bends the rate or hides a wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::generate::{Measured, Shape, complete, histogram, request};
use crate::process::cpu_seconds;
use crate::targets::Target;

/// Threads that share the rate.
const THREADS: u32 = 16;

/// Sends `per_second` requests for `length` and measures.
///
/// A request that starts late because the one before had not ended is timed from when it should have
/// started; one that starts late because the thread woke late, from when it started.
pub fn run(target: &Target, shape: Shape, per_second: u32, length: Duration) -> Measured {
    let bytes = request(target, shape);
    let slot = Duration::from_secs(1) * THREADS / per_second;
    let before = cpu_seconds(&target.pids);
    let began = Instant::now();
    let results: Vec<(Histogram<u64>, usize)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|index| {
                let bytes = bytes.as_slice();
                let first = began + slot * index / THREADS;
                scope.spawn(move || thread(target, bytes, shape, first, slot, began + length))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread that ends"))
            .collect()
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

fn thread(
    target: &Target,
    bytes: &[u8],
    shape: Shape,
    first: Instant,
    slot: Duration,
    end: Instant,
) -> (Histogram<u64>, usize) {
    let mut latencies = histogram();
    let Ok(mut socket) = TcpStream::connect(target.address) else {
        return (latencies, 1);
    };
    let _small_writes_at_once = socket.set_nodelay(true);
    let _bounded = socket.set_read_timeout(Some(Duration::from_secs(30)));
    let (mut errors, mut due) = (0, first);
    let mut buffer = vec![0; 64 * 1024];
    while due < end {
        let now = Instant::now();
        let began = if now < due {
            std::thread::sleep(due - now);
            Instant::now()
        } else {
            due
        };
        match exchange(&mut socket, bytes, shape, &mut buffer) {
            Some(true) => latencies
                .saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Some(false) => errors += 1,
            None => return (latencies, errors + 1),
        }
        due += slot;
    }
    (latencies, errors)
}

/// One request and its answer; nothing when the connection is lost.
fn exchange(socket: &mut TcpStream, bytes: &[u8], shape: Shape, buffer: &mut [u8]) -> Option<bool> {
    socket.write_all(bytes).ok()?;
    let mut filled = 0;
    loop {
        let read = socket.read(buffer.get_mut(filled..)?).ok()?;
        if read == 0 {
            return None;
        }
        filled += read;
        if let Some(ok) = complete(&buffer[..filled], shape) {
            return Some(ok);
        }
    }
}
