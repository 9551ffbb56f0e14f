//! The load run: the direct upstream, nginx `proxy_pass`, a least hyper proxy and tollgate side by
//! side, interleaved, medians of several rounds. Prints throughput, p50 and p99, and the CPU time of
//! the proxy's process per request, also as a ratio to the least proxy's.
//!
//! `cargo bench --bench load` (with `-- --quick` for a short look). Loopback only, bounded in count.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench fails loudly and prints its figures"
)]

mod generate;
mod least;
mod targets;
mod upstream;

use std::process::ExitCode;

use generate::{Measured, Shape};
use targets::Targets;

/// Rounds of which the median is taken.
const ROUNDS: usize = 3;
/// Connections that send one request after the other.
const CONNECTIONS: usize = 32;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve-upstream") => upstream::run(),
        Some("serve-least") => least::run(&arguments[1]),
        _ => measure(arguments.iter().any(|argument| argument == "--quick")),
    }
}

fn measure(quick: bool) -> ExitCode {
    let requests = if quick { 4_000 } else { 20_000 };
    let targets = match Targets::start() {
        Ok(targets) => targets,
        Err(message) => {
            eprintln!("load: {message}");
            return ExitCode::FAILURE;
        }
    };
    for notice in targets.notices() {
        println!("{notice}");
    }
    for (title, shape, count) in [
        ("whole answers, 1 KB body", Shape::Whole, requests),
        ("streams of 22 events", Shape::Stream, requests / 4),
    ] {
        let mut rounds: Vec<Vec<Measured>> = vec![Vec::new(); targets.all().len()];
        for round in 0..=ROUNDS {
            for (index, target) in targets.all().iter().enumerate() {
                let measured = generate::run(target, shape, count, CONNECTIONS);
                // The first round warms caches and pools.
                if round > 0 {
                    rounds[index].push(measured);
                }
            }
        }
        print(title, &targets, &rounds);
    }
    ExitCode::SUCCESS
}

fn print(title: &str, targets: &Targets, rounds: &[Vec<Measured>]) {
    let medians: Vec<Measured> = rounds.iter().map(|round| generate::median(round)).collect();
    let least = targets
        .all()
        .iter()
        .position(|target| target.name == "least hyper proxy");
    let least_cpu = least.map_or(f64::NAN, |index| medians[index].cpu_us);
    println!("\n{title}, {CONNECTIONS} connections, medians of {ROUNDS} rounds");
    println!(
        "{:<28} {:>10} {:>10} {:>10} {:>14} {:>12} {:>8}",
        "", "requests/s", "p50 µs", "p99 µs", "CPU µs/request", "× least", "errors"
    );
    for (target, measured) in targets.all().iter().zip(&medians) {
        let cpu = if target.pids.is_empty() {
            String::from("-")
        } else {
            format!("{:.1}", measured.cpu_us)
        };
        let ratio = if target.pids.is_empty() {
            String::from("-")
        } else {
            format!("{:.2}", measured.cpu_us / least_cpu)
        };
        println!(
            "{:<28} {:>10.0} {:>10.0} {:>10.0} {:>14} {:>12} {:>8}",
            target.name,
            measured.per_second,
            measured.p50_us,
            measured.p99_us,
            cpu,
            ratio,
            measured.errors
        );
    }
}
