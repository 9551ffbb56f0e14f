//! Half of saturation for long: memory, latency and ledger rows over time.

use std::time::Duration;

use crate::generate::{self, Shape};
use crate::options::Options;
use crate::paced;
use crate::process::resident_mb;
use crate::table::Table;
use crate::targets::Targets;
use crate::tollgate::Setup;

use super::CONNECTIONS;

/// Rows of the table.
const ROWS: u64 = 12;

/// Finds saturation, then sends half of it for `--minutes`.
pub fn run(options: &Options) -> Result<(), String> {
    let mut targets = Targets::new()?;
    let upstream = targets.upstream(&[])?;
    let running = targets.tollgate_rows(upstream, &Setup::default())?;
    let target = &targets.all[0];
    let saturated = generate::run(target, Shape::WHOLE, 20_000, CONNECTIONS);
    let mut sent = saturated.answered;
    let rate = (saturated.per_second / 2.0) as u32;
    println!(
        "saturation {:.0} requests/s; {rate} requests/s for {} minutes",
        saturated.per_second, options.minutes
    );
    let part = Duration::from_secs(options.minutes * 60) / ROWS as u32;
    let mut table = Table::new(&[
        "minute",
        "requests/s",
        "p50 µs",
        "p99 µs",
        "CPU µs/request",
        "resident MB",
        "errors",
    ]);
    let mut failed = 0;
    for row in 1..=ROWS {
        let measured = paced::run(target, Shape::WHOLE, rate, part);
        sent += measured.answered;
        failed += measured.errors;
        let cells = vec![
            format!("{:.1}", (part * row as u32).as_secs_f64() / 60.0),
            format!("{:.0}", measured.per_second),
            format!("{:.0}", measured.p50_us),
            format!("{:.0}", measured.p99_us),
            format!("{:.1}", measured.cpu_us),
            format!("{:.0}", resident_mb(&target.pids)),
            measured.errors.to_string(),
        ];
        println!("{}", cells.join("  "));
        table.row(cells);
    }
    table.print("soak");
    let pid = running.pid;
    let _terminated = std::process::Command::new("kill")
        .arg("-TERM")
        .arg(pid.to_string())
        .status();
    for child in &mut targets.children {
        if child.id() == pid {
            let _drained = child.wait();
        }
    }
    let ledger = rusqlite::Connection::open(&running.ledger).map_err(|error| error.to_string())?;
    let rows: i64 = ledger
        .query_row("SELECT count(*) FROM requests", [], |row| row.get(0))
        .map_err(|error| error.to_string())?;
    println!("ledger rows {rows}, requests answered {sent}, errors {failed}");
    Ok(())
}
