//! Latency below saturation.

use std::time::Duration;

use crate::generate::{self, Shape};
use crate::options::Options;
use crate::paced;
use crate::process::resident_mb;
use crate::table::Table;
use crate::targets::Targets;
use crate::tollgate::Setup;

use super::{interleaved, of};

/// Requests per second of the fixed rate.
const RATE: u32 = 2_000;

/// What each adds to the direct upstream at a fixed rate.
pub fn rate(options: &Options) -> Result<(), String> {
    let length = Duration::from_secs(if options.quick { 2 } else { 5 });
    let rounds = if options.quick {
        3
    } else {
        options.rounds.max(7)
    };
    let mut targets = Targets::new()?;
    let upstream = targets.upstream(&[])?;
    targets.direct(upstream);
    targets.nginx(upstream, None, false)?;
    targets.least(upstream, None)?;
    targets.tollgate_rows(upstream, &Setup::default())?;
    let medians = interleaved(&targets, rounds, |target| {
        paced::run(target, Shape::WHOLE, RATE, length)
    });
    let none = generate::Measured::default();
    let direct = of(&targets, &medians, "direct upstream").unwrap_or(&none);
    let mut table = Table::new(&[
        "added to the direct upstream",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "CPU µs/request",
        "errors",
    ]);
    for (target, measured) in targets.all.iter().zip(&medians) {
        let plain = target.pids.is_empty();
        let base = if plain { &none } else { direct };
        table.row(vec![
            if plain {
                "(direct upstream itself)".to_owned()
            } else {
                target.name.to_owned()
            },
            format!("{:.0}", measured.p50_us - base.p50_us),
            format!("{:.0}", measured.p99_us - base.p99_us),
            format!("{:.0}", measured.p999_us - base.p999_us),
            if plain {
                String::new()
            } else {
                format!("{:.1}", measured.cpu_us)
            },
            measured.errors.to_string(),
        ]);
    }
    table.print(&format!(
        "{RATE} requests per second, whole answers, medians of {rounds} rounds of {} s",
        length.as_secs()
    ));
    Ok(())
}

/// A thousand connections on an upstream that takes its time.
pub fn slow(options: &Options) -> Result<(), String> {
    const WAITING: usize = 1_000;
    let mut targets = Targets::new()?;
    let upstream = targets.upstream(&["--delay-ms", "200"])?;
    targets.direct(upstream);
    targets.nginx(upstream, None, false)?;
    targets.least(upstream, None)?;
    targets.tollgate_rows(upstream, &Setup::default())?;
    let count = WAITING * if options.quick { 10 } else { 30 };
    let mut resident = vec![0.0_f64; targets.all.len()];
    let names: Vec<&str> = targets.all.iter().map(|target| target.name).collect();
    let medians = interleaved(&targets, options.rounds, |target| {
        let measured = generate::run(target, Shape::WHOLE, count, WAITING);
        let index = names.iter().position(|name| *name == target.name);
        if let Some(held) = index.and_then(|index| resident.get_mut(index)) {
            *held = held.max(resident_mb(&target.pids));
        }
        measured
    });
    let direct = of(&targets, &medians, "direct upstream").map_or(0.0, |it| it.p99_us);
    let mut table = Table::new(&[
        "",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "p99 added ms",
        "resident MB",
        "errors",
    ]);
    for ((target, measured), held) in targets.all.iter().zip(&medians).zip(&resident) {
        table.row(vec![
            target.name.to_owned(),
            format!("{:.0}", measured.per_second),
            format!("{:.1}", measured.p50_us / 1e3),
            format!("{:.1}", measured.p99_us / 1e3),
            format!("{:.1}", (measured.p99_us - direct) / 1e3),
            format!("{held:.0}"),
            measured.errors.to_string(),
        ]);
    }
    table.print(&format!(
        "{WAITING} connections, upstream of 200 ms, medians of {} rounds",
        options.rounds
    ));
    Ok(())
}
