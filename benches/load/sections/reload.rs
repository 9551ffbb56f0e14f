//! Starting, and changing the file of a running process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::generate::{Measured, Shape, request};
use crate::options::Options;
use crate::paced;
use crate::table::Table;
use crate::targets::Targets;
use crate::tollgate::{Running, Setup};

/// Models and keys of the large file.
const LARGE: Setup = Setup {
    models: 1_000,
    keys: 10_000,
    budgets: 0,
    tls: None,
    workers: None,
};

/// From starting the process to the first whole answer.
pub fn start(options: &Options) -> Result<(), String> {
    let mut table = Table::new(&["file", "listens ms", "first answer ms"]);
    for (name, setup) in [
        ("2 models, 1 key", Setup::default()),
        ("1,002 models, 10,001 keys", LARGE),
    ] {
        let (mut listening, mut answering) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds.max(5) {
            let mut targets = Targets::new()?;
            let upstream = targets.upstream(&[])?;
            let began = Instant::now();
            let running = targets.tollgate(upstream, &setup)?;
            listening.push(began.elapsed().as_secs_f64() * 1e3);
            targets.add("tollgate", running.address, "auto", vec![running.pid]);
            let bytes = request(&targets.all[0], Shape::WHOLE);
            let mut socket =
                TcpStream::connect(running.address).map_err(|error| error.to_string())?;
            socket
                .write_all(&bytes)
                .map_err(|error| error.to_string())?;
            let mut first = [0; 1_024];
            let read = socket.read(&mut first).map_err(|error| error.to_string())?;
            if !first[..read].starts_with(b"HTTP/1.1 200") {
                return Err("the first answer is no success".to_owned());
            }
            answering.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let median = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            format!("{:.0}", values[values.len() / 2])
        };
        table.row(vec![
            name.to_owned(),
            median(&mut listening),
            median(&mut answering),
        ]);
    }
    table.print("start-up, medians");
    Ok(())
}

/// Latency at a fixed rate while the file is left alone and while it is saved each half second.
pub fn reload(options: &Options) -> Result<(), String> {
    const RATE: u32 = 1_000;
    let length = Duration::from_secs(if options.quick { 4 } else { 10 });
    let mut targets = Targets::new()?;
    let upstream = targets.upstream(&[])?;
    let running = targets.tollgate_rows(upstream, &LARGE)?;
    let target = &targets.all[0];
    let (mut quiet, mut saving, mut reloads) = (Vec::new(), Vec::new(), 0);
    for round in 0..=options.rounds {
        let left_alone = paced::run(target, Shape::WHOLE, RATE, length);
        let stop = AtomicBool::new(false);
        let before = reloads_of(&running)?;
        let saved = std::thread::scope(|scope| {
            scope.spawn(|| save_again_and_again(&running, &stop));
            let measured = paced::run(target, Shape::WHOLE, RATE, length);
            stop.store(true, Ordering::Relaxed);
            measured
        });
        if round > 0 {
            reloads += reloads_of(&running)? - before;
            quiet.push(left_alone);
            saving.push(saved);
        }
    }
    let mut table = Table::new(&["", "p50 µs", "p99 µs", "p99.9 µs", "errors", "reloads"]);
    for (name, rounds, reloads) in [
        ("file left alone", &quiet, 0),
        ("file saved each 500 ms", &saving, reloads),
    ] {
        let median = Measured::median(rounds);
        table.row(vec![
            name.to_owned(),
            format!("{:.0}", median.p50_us),
            format!("{:.0}", median.p99_us),
            format!("{:.0}", median.p999_us),
            median.errors.to_string(),
            reloads.to_string(),
        ]);
    }
    table.print(&format!(
        "{RATE} requests per second, 1,002 models and 10,001 keys, medians of {} rounds of {} s",
        options.rounds,
        length.as_secs()
    ));
    Ok(())
}

fn save_again_and_again(running: &Running, stop: &AtomicBool) {
    let text = std::fs::read_to_string(&running.file).unwrap_or_default();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        // A quality that changes, so that no save is the same as the one before.
        let changed = text.replace(
            "tier: standard, quality: 0.6",
            &format!("tier: standard, quality: 0.6{}", number % 90 + 10),
        );
        let beside = running.file.with_extension("new");
        let _saved =
            std::fs::write(&beside, changed).and_then(|()| std::fs::rename(&beside, &running.file));
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Reloads so far, from `/metrics`.
fn reloads_of(running: &Running) -> Result<u64, String> {
    let fail = |error: std::io::Error| error.to_string();
    let mut socket = TcpStream::connect(running.admin).map_err(fail)?;
    socket
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
        .map_err(fail)?;
    let mut text = String::new();
    socket.read_to_string(&mut text).map_err(fail)?;
    let line = text.lines().find(|line| {
        line.starts_with("tollgate_config_reloads_total") && line.contains("accepted")
    });
    Ok(line
        .and_then(|line| line.rsplit(' ').next()?.trim().parse::<f64>().ok())
        .map_or(0, |count| count as u64))
}
