//! What the command line asks for.

use std::path::PathBuf;

/// A part of the load run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Cpu,
    Bodies,
    Versions,
    Rate,
    Slow,
    Streams,
    Start,
    Reload,
    Growth,
    Cores,
    Soak,
}

/// Each section, its name and what it measures.
const SECTIONS: [(Section, &str, &str); 11] = [
    (
        Section::Cpu,
        "cpu",
        "throughput at saturation, latency and CPU per request: whole answers, streams of 22 and of 500 events",
    ),
    (
        Section::Bodies,
        "bodies",
        "the same for bodies of 32 KB and 1 MB",
    ),
    (
        Section::Versions,
        "versions",
        "HTTP/1.1 and HTTP/2, with and without TLS",
    ),
    (
        Section::Rate,
        "rate",
        "added latency at a fixed rate of 2,000 requests per second",
    ),
    (
        Section::Slow,
        "slow",
        "1,000 connections on an upstream that takes 200 ms",
    ),
    (
        Section::Streams,
        "streams",
        "memory idle, at 1,000 and at 9,000 open streams, and the gaps between their events",
    ),
    (
        Section::Start,
        "start",
        "from starting the process to the first answer",
    ),
    (
        Section::Reload,
        "reload",
        "latency while a file of 1,000 models and 10,000 keys is saved again and again",
    ),
    (
        Section::Growth,
        "growth",
        "CPU per request by body, turns, models, keys and budgets",
    ),
    (
        Section::Cores,
        "cores",
        "CPU per request with one worker and with two",
    ),
    (
        Section::Soak,
        "soak",
        "half of saturation for --minutes: memory, latency and ledger rows over time",
    ),
];

/// The whole command line.
#[derive(Debug, Clone)]
pub struct Options {
    pub sections: Vec<Section>,
    /// Fewer requests; a look, not a measurement.
    pub quick: bool,
    /// Rounds of which the median is taken.
    pub rounds: usize,
    /// Length of the soak.
    pub minutes: u64,
    /// Where the chart of the first section goes.
    pub svg: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments; the error is the text to show.
    pub fn of(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            sections: Vec::new(),
            quick: false,
            rounds: 3,
            minutes: 60,
            svg: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                // `cargo bench` says so itself.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--rounds" => options.rounds = number(value()?)?.max(1),
                "--minutes" => options.minutes = number(value()?)? as u64,
                "--svg" => options.svg = Some(PathBuf::from(value()?)),
                "all" => options.sections.extend(
                    SECTIONS
                        .iter()
                        .map(|(section, ..)| *section)
                        .filter(|section| *section != Section::Soak),
                ),
                name => match SECTIONS.iter().find(|(_, known, _)| *known == name) {
                    Some((section, ..)) => options.sections.push(*section),
                    None => return Err(help()),
                },
            }
        }
        if options.sections.is_empty() {
            options.sections.push(Section::Cpu);
        }
        Ok(options)
    }

    /// `count`, or a fifth of it for a quick look.
    pub fn requests(&self, count: usize) -> usize {
        if self.quick { count / 5 } else { count }
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is no whole number"))
}

fn help() -> String {
    let mut text = String::from(
        "cargo bench --bench load -- [SECTION...] [--quick] [--rounds N] [--minutes N] [--svg FILE]\n\n",
    );
    for (_, name, what) in SECTIONS {
        text.push_str(&format!("  {name:<10} {what}\n"));
    }
    text.push_str("  all        every section but the soak\n\n");
    text.push_str("Other gateways take part where `benches/load/install-peers` has put them.");
    text
}
