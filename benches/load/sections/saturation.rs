//! As much as goes: throughput, latency and CPU time per request of everything side by side.

use crate::generate::{self, Measured, Shape};
use crate::options::Options;
use crate::plot::{self, Bars};
use crate::table::Table;
use crate::targets::{Target, Targets};
use crate::tollgate::Setup;
use crate::versions::{self, Version};

use super::{CONNECTIONS, interleaved, of};

/// Whole answers, short and long streams.
pub fn cpu(options: &Options) -> Result<(), String> {
    let mut charts = Vec::new();
    for (title, shape, count) in [
        (
            "whole answers, 1 KB body",
            Shape::WHOLE,
            options.requests(20_000),
        ),
        (
            "streams of 22 events",
            Shape::STREAM,
            options.requests(5_000),
        ),
        (
            "streams of 500 events",
            Shape::LONG_STREAM,
            options.requests(500),
        ),
    ] {
        charts.push(side_by_side(title, shape, count, options)?);
    }
    if let Some(file) = &options.svg {
        std::fs::write(file, plot::bars("CPU time of the proxy's process", &charts))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        println!("\nchart: {}", file.display());
    }
    Ok(())
}

/// Whole answers to larger bodies.
pub fn bodies(options: &Options) -> Result<(), String> {
    for (title, bytes, count) in [
        (
            "whole answers, 32 KB body",
            32 << 10,
            options.requests(5_000),
        ),
        ("whole answers, 1 MB body", 1 << 20, options.requests(640)),
    ] {
        side_by_side(title, Shape::WHOLE.with_body(bytes), count, options)?;
    }
    Ok(())
}

fn side_by_side(
    title: &str,
    shape: Shape,
    count: usize,
    options: &Options,
) -> Result<Bars, String> {
    let mut targets = Targets::new()?;
    let upstream = targets.upstream(&[])?;
    targets.direct(upstream);
    targets.nginx(upstream, None, false)?;
    targets.least(upstream, None)?;
    targets.tollgate_rows(upstream, &Setup::default())?;
    targets.peers(upstream)?;
    let medians = interleaved(&targets, options.rounds, |target| {
        let count = (count / target.nth).max(CONNECTIONS);
        generate::run(target, shape, count, CONNECTIONS)
    });
    print(title, options.rounds, &targets, &medians);
    Ok(Bars {
        title: title.to_owned(),
        values: targets
            .all
            .iter()
            .zip(&medians)
            .filter(|(target, _)| !target.pids.is_empty())
            .map(|(target, measured)| (target.name.to_owned(), measured.cpu_us))
            .collect(),
    })
}

fn print(title: &str, rounds: usize, targets: &Targets, medians: &[Measured]) {
    let least = of(targets, medians, "least hyper proxy").map_or(f64::NAN, |it| it.cpu_us);
    let mut table = Table::new(&[
        "",
        "requests/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "CPU µs/request",
        "× least",
        "errors",
    ]);
    for (target, measured) in targets.all.iter().zip(medians) {
        table.row(row(target, measured, least));
    }
    table.print(&format!(
        "{title}, {CONNECTIONS} connections, medians of {rounds} rounds"
    ));
}

fn row(target: &Target, measured: &Measured, least: f64) -> Vec<String> {
    let proxy = !target.pids.is_empty();
    let only_of_a_proxy = |text: String| if proxy { text } else { String::new() };
    vec![
        target.name.to_owned(),
        format!("{:.0}", measured.per_second),
        format!("{:.0}", measured.p50_us),
        format!("{:.0}", measured.p99_us),
        format!("{:.0}", measured.p999_us),
        only_of_a_proxy(format!("{:.1}", measured.cpu_us)),
        only_of_a_proxy(format!("{:.2}", measured.cpu_us / least)),
        measured.errors.to_string(),
    ]
}

/// Both versions of HTTP, plain and with TLS.
pub fn versions(options: &Options) -> Result<(), String> {
    for (http2, tls) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut targets = Targets::new()?;
        let certificate = if tls {
            Some(targets.certificate()?)
        } else {
            None
        };
        let upstream = targets.upstream(&[])?;
        targets.nginx(upstream, certificate.as_ref(), http2)?;
        targets.least(upstream, certificate.as_ref())?;
        let setup = Setup {
            tls: certificate.clone(),
            ..Setup::default()
        };
        targets.tollgate_rows(upstream, &setup)?;
        let version = Version {
            http2,
            tls: certificate,
        };
        for (title, shape, count) in [
            ("whole answers", Shape::WHOLE, options.requests(10_000)),
            (
                "streams of 22 events",
                Shape::STREAM,
                options.requests(2_500),
            ),
        ] {
            let medians = interleaved(&targets, options.rounds, |target| {
                versions::run(target, &version, shape, count, CONNECTIONS)
            });
            let title = format!(
                "{title}, HTTP/{}, {}",
                if http2 { "2" } else { "1.1" },
                if tls { "TLS" } else { "plain" }
            );
            print(&title, options.rounds, &targets, &medians);
        }
    }
    Ok(())
}
