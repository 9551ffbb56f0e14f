//! How cost grows: with the body, the turns, the file, the cores.

use crate::generate::{self, Measured, Shape};
use crate::options::Options;
use crate::table::Table;
use crate::targets::Targets;
use crate::tollgate::Setup;

use super::{CONNECTIONS, interleaved};

/// CPU per request of one process for each size.
pub fn growth(options: &Options) -> Result<(), String> {
    let mut table = Table::new(&["", "CPU µs/request", "p50 µs", "errors"]);
    let mut add = |name: &str, setup: &Setup, shape: Shape, count: usize| {
        let measured = alone(setup, shape, options.requests(count), options.rounds)?;
        table.row(vec![
            name.to_owned(),
            format!("{:.1}", measured.cpu_us),
            format!("{:.0}", measured.p50_us),
            measured.errors.to_string(),
        ]);
        Ok::<(), String>(())
    };
    let plain = Setup::default();
    for (name, bytes, count) in [
        ("body 1 KB", 1 << 10, 10_000),
        ("body 4 KB", 4 << 10, 10_000),
        ("body 16 KB", 16 << 10, 5_000),
        ("body 64 KB", 64 << 10, 3_200),
        ("body 256 KB", 256 << 10, 1_600),
        ("body 1 MB", 1 << 20, 640),
    ] {
        add(name, &plain, Shape::WHOLE.with_body(bytes), count)?;
    }
    for turns in [1, 10, 100, 1_000] {
        let shape = Shape {
            turns,
            ..Shape::WHOLE
        };
        add(
            &format!("{} turns", turns * 2 + 1),
            &plain,
            shape,
            10_000 / (1 + turns / 50),
        )?;
    }
    for (name, setup) in [
        ("2 models, 1 key, 2 budgets", plain.clone()),
        (
            "1,002 models",
            Setup {
                models: 1_000,
                ..Setup::default()
            },
        ),
        (
            "10,001 keys",
            Setup {
                keys: 10_000,
                ..Setup::default()
            },
        ),
        (
            "1,002 budgets, 2 that match",
            Setup {
                budgets: 1_000,
                ..Setup::default()
            },
        ),
    ] {
        add(name, &setup, Shape::WHOLE, 10_000)?;
    }
    table.print(&format!(
        "growth, everything on, {CONNECTIONS} connections, medians of {} rounds",
        options.rounds
    ));
    Ok(())
}

/// The same load with one worker thread and with two.
pub fn cores(options: &Options) -> Result<(), String> {
    let mut table = Table::new(&["", "CPU µs/request", "requests/s", "p50 µs", "errors"]);
    for workers in [1, 2] {
        let setup = Setup {
            workers: Some(workers),
            ..Setup::default()
        };
        let measured = alone(
            &setup,
            Shape::WHOLE,
            options.requests(20_000),
            options.rounds,
        )?;
        table.row(vec![
            format!(
                "{workers} worker thread{}",
                if workers == 1 { "" } else { "s" }
            ),
            format!("{:.1}", measured.cpu_us),
            format!("{:.0}", measured.per_second),
            format!("{:.0}", measured.p50_us),
            measured.errors.to_string(),
        ]);
    }
    table.print(&format!(
        "cores: what a second worker adds to the cost of a request, medians of {} rounds",
        options.rounds
    ));
    Ok(())
}

fn alone(setup: &Setup, shape: Shape, count: usize, rounds: usize) -> Result<Measured, String> {
    let mut targets = Targets::new()?;
    let upstream = targets.upstream(&[])?;
    targets.tollgate_rows(upstream, setup)?;
    targets.all.truncate(1);
    let medians = interleaved(&targets, rounds, |target| {
        generate::run(target, shape, count, CONNECTIONS)
    });
    Ok(medians[0])
}
