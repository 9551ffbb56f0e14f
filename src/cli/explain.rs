//! `tollgate explain`: how a prompt would be classified and routed. Calls no upstream.

use std::io::{self, Read, Write};

use super::{EXIT_BAD_INPUT, EXIT_OK, ExplainArgs, complain};
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::bootstrap::{self, Options};
use crate::clock::Clock;
use crate::config;
use crate::config::snapshot::{LedgerLocation, Snapshot};
use crate::pipeline;
use crate::types::{AllowList, AppId, Caller, Directives, TeamId, Tier};

/// Explains one prompt, or a whole request body from standard input.
///
/// # Errors
/// When `out` cannot be written to.
pub fn run(args: &ExplainArgs, colour: bool, out: &mut dyn Write) -> io::Result<u8> {
    let body = match body_of(&args.prompt) {
        Ok(body) => body,
        Err(message) => return Ok(complain(&message, EXIT_BAD_INPUT)),
    };
    let mut snapshot = match load(args.config.as_ref()) {
        Ok(snapshot) => snapshot,
        Err(problems) => {
            super::check::write_problems(&problems, colour, &mut io::stderr().lock())?;
            return Ok(EXIT_BAD_INPUT);
        }
    };
    // Explaining must neither touch the running proxy's ledger nor leave a file behind.
    snapshot.state.ledger = LedgerLocation::Memory;
    switch_on_if_all_off(&mut snapshot);
    let caller = match caller_of(&snapshot, args) {
        Ok(caller) => caller,
        Err(message) => return Ok(complain(&message, EXIT_BAD_INPUT)),
    };
    match explain(snapshot, &caller, body) {
        Ok(explanation) if args.json => {
            serde_json::to_writer_pretty(&mut *out, &explanation)?;
            writeln!(out)?;
            Ok(EXIT_OK)
        }
        Ok(explanation) => print(&explanation, colour, out).map(|()| EXIT_OK),
        Err(message) => Ok(complain(&message, EXIT_BAD_INPUT)),
    }
}

/// Without any provider's key nothing could be chosen; then the answer is what it would be with all.
fn switch_on_if_all_off(snapshot: &mut Snapshot) {
    if snapshot.providers.iter().all(|provider| !provider.enabled) {
        for provider in &mut snapshot.providers {
            provider.enabled = true;
        }
    }
}

/// A request body: the prompt as a user's message to `auto`, or standard input as it is.
fn body_of(prompt: &str) -> Result<Bytes, String> {
    if prompt != "-" {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]});
        return Ok(Bytes::from(body.to_string()));
    }
    let mut text = Vec::new();
    io::stdin()
        .read_to_end(&mut text)
        .map_err(|error| format!("standard input cannot be read: {error}"))?;
    Ok(Bytes::from(text))
}

/// The named file; else `routes.yaml`; else the built-in configuration.
fn load(named: Option<&PathBuf>) -> Result<Snapshot, config::LoadError> {
    let now_ms = Clock::system().unix_ms();
    let env = |name: &str| std::env::var(name).ok();
    let default = PathBuf::from(super::DEFAULT_CONFIG);
    match named {
        Some(path) => config::load_file(path, &env, now_ms),
        None if default.exists() => config::load_file(&default, &env, now_ms),
        None => config::builtin::built_in(now_ms),
    }
}

/// The caller that the options describe, with its team's rights.
fn caller_of(snapshot: &Snapshot, args: &ExplainArgs) -> Result<Caller, String> {
    let name = args.team.as_deref().unwrap_or("default");
    let team = snapshot.teams.get(name).ok_or_else(|| {
        let mut known: Vec<&str> = snapshot.teams.keys().map(TeamId::as_str).collect();
        known.sort_unstable();
        format!("there is no team `{name}`; known are {}", known.join(", "))
    })?;
    Ok(Caller {
        key: None,
        key_sha256: None,
        team: team.id.clone(),
        app: AppId::from("default"),
        tier: args.tier.unwrap_or(Tier::Premium).min(team.tier),
        allow: AllowList::clone(&team.allow),
        regions: team.regions.clone(),
    })
}

fn explain(snapshot: Snapshot, caller: &Caller, body: Bytes) -> Result<Value, String> {
    let options = Options {
        clock: Clock::system(),
        seed: 1,
    };
    let gateway = bootstrap::gateway(snapshot, options).map_err(|error| error.to_string())?;
    let active = gateway.active.load_full();
    pipeline::explain(&gateway, &active, caller, body, Directives::default())
        .map_err(|error| error.message)
}

/// Tasks shown with a bar.
const SHOWN_TASKS: usize = 5;
const BAR_WIDTH: f64 = 30.0;

fn print(explanation: &Value, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let bold = |text: &str| {
        if colour {
            format!("\u{1b}[1m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    };
    let text = |name: &str| explanation[name].as_str().unwrap_or("-").to_owned();
    writeln!(
        out,
        "{}  {}, level {}, complexity {}, language {}",
        bold("request"),
        text("task"),
        text("level"),
        explanation["complexity"],
        text("language"),
    )?;
    writeln!(
        out,
        "         about {} tokens in, {} out; a weaker model fails with probability {}",
        explanation["input_tokens"],
        explanation["output_tokens_estimate"],
        explanation["weak_fails"],
    )?;
    print_tasks(explanation, out)?;
    print_signals(explanation, out)?;
    writeln!(
        out,
        "\n{}",
        bold(&format!(
            "{:<28} {:>9} {:>16}  {}",
            "candidate", "score", "estimated USD", "excluded by"
        ))
    )?;
    for candidate in explanation["candidates"].as_array().into_iter().flatten() {
        let score = candidate["score"].as_f64();
        writeln!(
            out,
            "{:<28} {:>9} {:>16}  {}",
            candidate["model"].as_str().unwrap_or("-"),
            score.map_or_else(String::new, |score| format!("{score:.3}")),
            candidate["estimated_cost_usd"].to_string(),
            candidate["excluded_by"].as_str().unwrap_or(""),
        )?;
    }
    writeln!(
        out,
        "\n{} {}  (reason {}, propensity {}, configuration {})",
        bold("choice"),
        bold(&text("model")),
        text("reason"),
        explanation["propensity"],
        text("config_version"),
    )
}

fn print_tasks(explanation: &Value, out: &mut dyn Write) -> io::Result<()> {
    let mut tasks: Vec<(&String, f64)> = explanation["tasks"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(task, probability)| Some((task, probability.as_f64()?)))
        .collect();
    tasks.sort_by(|a, b| b.1.total_cmp(&a.1));
    writeln!(out)?;
    for (task, probability) in tasks.into_iter().take(SHOWN_TASKS) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the bar's width"
        )]
        let filled = (probability.clamp(0.0, 1.0) * BAR_WIDTH).round() as usize;
        writeln!(out, "{task:<18} {probability:>6.3} {}", "█".repeat(filled))?;
    }
    Ok(())
}

fn print_signals(explanation: &Value, out: &mut dyn Write) -> io::Result<()> {
    let signals: Vec<String> = explanation["signals"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|signal| {
            let weight = signal["weight"].as_f64().unwrap_or(0.0);
            format!("{} ({weight:+.2})", signal["name"].as_str().unwrap_or("-"))
        })
        .collect();
    if signals.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nwhat weighed most: {}", signals.join(", "))
}
