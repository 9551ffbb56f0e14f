//! The sections of the load run; each starts what it measures and prints its tables.

mod growth;
mod reload;
mod saturation;
mod soak;
mod steady;
mod streams;

use crate::generate::Measured;
use crate::options::{Options, Section};
use crate::targets::{Target, Targets};

/// Connections that send one request after the other.
pub const CONNECTIONS: usize = 32;

/// Runs one section.
pub fn run(section: Section, options: &Options) -> Result<(), String> {
    match section {
        Section::Cpu => saturation::cpu(options),
        Section::Bodies => saturation::bodies(options),
        Section::Versions => saturation::versions(options),
        Section::Rate => steady::rate(options),
        Section::Slow => steady::slow(options),
        Section::Streams => streams::run(options),
        Section::Start => reload::start(options),
        Section::Reload => reload::reload(options),
        Section::Growth => growth::growth(options),
        Section::Cores => growth::cores(options),
        Section::Soak => soak::run(options),
    }
}

/// Rounds over all targets in turn, the first for warming caches and pools, and the medians.
fn interleaved(
    targets: &Targets,
    rounds: usize,
    mut measure: impl FnMut(&Target) -> Measured,
) -> Vec<Measured> {
    let mut seen: Vec<Vec<Measured>> = vec![Vec::new(); targets.all.len()];
    for round in 0..=rounds {
        for (index, target) in targets.all.iter().enumerate() {
            let measured = measure(target);
            if round > 0 {
                seen[index].push(measured);
            }
        }
    }
    seen.iter().map(|rounds| Measured::median(rounds)).collect()
}

/// Of the target with this name.
fn of<'m>(targets: &Targets, medians: &'m [Measured], name: &str) -> Option<&'m Measured> {
    let index = targets.all.iter().position(|target| target.name == name)?;
    medians.get(index)
}
