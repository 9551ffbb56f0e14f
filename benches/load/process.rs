//! What the system says of a process: CPU time, memory, children.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// User and system time of these processes so far, in seconds, from `/proc/<pid>/stat` (fields 14
/// and 15, in clock ticks of 10 ms; see proc(5)).
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let ticks = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let after_name = stat.rsplit_once(')')?.1.to_owned();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    };
    pids.iter().filter_map(ticks).sum::<f64>() / TICKS_PER_SECOND
}

/// Memory that these processes hold, in MB (`VmRSS`).
pub fn resident_mb(pids: &[u32]) -> f64 {
    let kilobytes = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    pids.iter().filter_map(kilobytes).sum::<f64>() / 1024.0
}

/// A process and everything under it.
pub fn family_of(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut index = 0;
    while let Some(parent) = all.get(index).copied() {
        all.extend(children_of(parent));
        index += 1;
    }
    all
}

/// The children of a process's main thread.
pub fn children_of(pid: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// A loopback address that nobody listens on.
pub fn free_port() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

/// Waits until somebody listens.
pub fn await_port(address: SocketAddr, patience: Duration) -> Result<(), String> {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("nothing listens on {address}"))
}
