//! Many streams open at once: memory, and whether each gets its events when they are due.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::generate::{Shape, request, runtime};
use crate::options::Options;
use crate::process::resident_mb;
use crate::table::Table;
use crate::targets::{Target, Targets};
use crate::tollgate::Setup;

/// Between two events of a stream.
const PACE_MS: u64 = 1_000;

/// What one number of open streams showed.
struct Seen {
    resident_mb: f64,
    /// Between two events of a stream, of all streams.
    median_gap_ms: f64,
    /// The longest gap of any stream.
    longest_gap_ms: f64,
    lost: usize,
}

/// Idle, 1,000 and 9,000 streams, each target in a process of its own.
pub fn run(options: &Options) -> Result<(), String> {
    let numbers: &[usize] = if options.quick {
        &[1_000]
    } else {
        &[1_000, 9_000]
    };
    let mut table = Table::new(&[
        "",
        "open streams",
        "resident MB",
        "KB per stream",
        "median gap ms",
        "longest gap ms",
        "lost",
    ]);
    for number in numbers {
        let mut targets = Targets::new()?;
        let upstream = targets.upstream(&["--event-ms", &PACE_MS.to_string()])?;
        targets.nginx(upstream, None, false)?;
        targets.least(upstream, None)?;
        targets.tollgate_rows(upstream, &Setup::default())?;
        targets
            .all
            .retain(|target| target.name != "tollgate, pinned model");
        for target in &targets.all {
            let idle = resident_mb(&target.pids);
            table.row(vec![
                target.name.to_owned(),
                "0".to_owned(),
                format!("{idle:.0}"),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ]);
            let seen = open(target, *number, if options.quick { 5 } else { 12 });
            table.row(vec![
                target.name.to_owned(),
                number.to_string(),
                format!("{:.0}", seen.resident_mb),
                format!("{:.1}", (seen.resident_mb - idle) * 1024.0 / *number as f64),
                format!("{:.0}", seen.median_gap_ms),
                format!("{:.0}", seen.longest_gap_ms),
                seen.lost.to_string(),
            ]);
        }
    }
    table.print(&format!(
        "open streams, an event each {PACE_MS} ms; generator and upstream on the same cores"
    ));
    Ok(())
}

/// Opens them over five seconds, watches them for a while, leaves.
fn open(target: &Target, number: usize, seconds: u64) -> Seen {
    let bytes: &'static [u8] = Box::leak(request(target, Shape::LONG_STREAM).into_boxed_slice());
    let address = target.address;
    let opening = Duration::from_secs(5);
    let began = Instant::now();
    let (from, until) = (
        began + opening + Duration::from_secs(2),
        began + opening + Duration::from_secs(2 + seconds),
    );
    let (gaps, resident, lost) = runtime().block_on(async {
        let mut tasks = JoinSet::new();
        for index in 0..number {
            let start = began + opening.mul_f64(index as f64 / number as f64);
            tasks.spawn(async move {
                tokio::time::sleep_until(start.into()).await;
                watch(address, bytes, from, until).await
            });
        }
        tokio::time::sleep_until(until.into()).await;
        let resident = resident_mb(&target.pids);
        let (mut gaps, mut lost) = (Vec::new(), 0);
        while let Some(seen) = tasks.join_next().await {
            match seen {
                Ok(Ok(seen)) if !seen.is_empty() => gaps.push(seen),
                _ => lost += 1,
            }
        }
        (gaps, resident, lost)
    });
    let mut all: Vec<f64> = gaps.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    Seen {
        resident_mb: resident,
        median_gap_ms: all.get(all.len() / 2).copied().unwrap_or(f64::NAN),
        longest_gap_ms: all.last().copied().unwrap_or(f64::NAN),
        lost,
    }
}

/// The gaps between the events of one stream while it is watched, in milliseconds.
async fn watch(
    address: std::net::SocketAddr,
    bytes: &[u8],
    from: Instant,
    until: Instant,
) -> std::io::Result<Vec<f64>> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(bytes).await?;
    let mut buffer = [0; 2_048];
    let (mut gaps, mut last) = (Vec::new(), None::<Instant>);
    loop {
        let read = match tokio::time::timeout_at(until.into(), socket.read(&mut buffer)).await {
            Err(_) => return Ok(gaps),
            Ok(read) => read?,
        };
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let now = Instant::now();
        if let Some(last) = last
            && last >= from
        {
            gaps.push((now - last).as_secs_f64() * 1e3);
        }
        last = Some(now);
    }
}
