//! `tollgate explain`: how a request would be classified and routed, and why. Calls no upstream and
//! reads no state: budgets, limits and breakers are taken as untouched.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use super::{DEFAULT_CONFIG, EXIT_BAD_INPUT, EXIT_FAILED, EXIT_OK, ExplainArgs, complain};
use crate::classify::configured::configured;
use crate::classify::{self, Classifier};
use crate::clock::Clock;
use crate::config::snapshot::Signer;
use crate::config::{self, Diagnostic, Snapshot};
use crate::error::ProxyError;
use crate::policy::explain::{CandidateLine, Explained, candidate_lines, explain};
use crate::policy::{self, Fresh, PlanInput};
use crate::types::{
    AllowList, Call, Caller, Directives, Endpoint, Features, Plan, Reason, TaskName, TeamId, Tier,
};
use crate::wire;

/// The longest request body that is read from stdin; that of the proxy's own default.
const MAX_STDIN_BYTES: u64 = 32 * 1024 * 1024;
/// Random policies are explained by one fixed draw, so that the same question has the same answer.
const SEED: u64 = 1;

/// Explains the prompt, or the request body on stdin.
///
/// # Errors
/// When `out` cannot be written to.
pub fn run(args: &ExplainArgs, colour: bool, out: &mut dyn Write) -> io::Result<u8> {
    let read = configuration(args.config.as_deref()).and_then(|(snapshot, notes)| {
        let configured = configured(&snapshot.classifier)?;
        Ok((snapshot, notes, configured.classifier))
    });
    let (snapshot, notes, classifier) = match read {
        Ok(found) => found,
        Err(problems) => {
            super::check::write_problems(&problems, colour, &mut io::stderr().lock())?;
            return Ok(EXIT_BAD_INPUT);
        }
    };
    let body = match body_of(&args.prompt) {
        Ok(body) => body,
        Err(error) => {
            let message = format!("cannot read the request from standard input: {error}");
            return Ok(complain(&message, EXIT_BAD_INPUT));
        }
    };
    let caller = match caller_of(&snapshot, args) {
        Ok(caller) => caller,
        Err(message) => return Ok(complain(&message, EXIT_BAD_INPUT)),
    };
    match Decided::new(&snapshot, &classifier, &caller, body) {
        Ok(decided) if args.json => decided.write_json(&snapshot, out),
        Ok(decided) => Page { colour, out }.write(&snapshot, &decided, &notes),
        Err(error) => Ok(complain(&error.message, EXIT_BAD_INPUT)),
    }
}

/// The configuration, with remarks for people about how it was read.
///
/// On a machine without any of the file's keys (a laptop, a pull request's check) every hosted model
/// would be left out and nothing be explained; there the keys are taken as set.
fn configuration(named: Option<&Path>) -> Result<(Snapshot, Vec<String>), Vec<Diagnostic>> {
    let now_ms = Clock::system().unix_ms();
    let file: Option<PathBuf> = named
        .map(Path::to_path_buf)
        .or_else(|| Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists()));
    let Some(file) = file else {
        let note = format!("no {DEFAULT_CONFIG} here: explained by the built-in configuration");
        return config::builtin::built_in(now_ms).map(|snapshot| (snapshot, vec![note]));
    };
    let set = |name: &str| std::env::var(name).ok();
    let snapshot = config::load_file(&file, &set, now_ms)?;
    let keyed = |on: bool| {
        let mut providers = snapshot.providers.iter();
        providers.any(|provider| {
            provider.enabled == on && !(on && matches!(provider.signer, Signer::None))
        })
    };
    if keyed(true) || !keyed(false) {
        return Ok((snapshot, Vec::new()));
    }
    let assumed = |name: &str| set(name).or_else(|| Some("assumed".to_owned()));
    let snapshot = config::load_file(&file, &assumed, now_ms)?;
    let note = "no provider's key is set here: explained as if all were".to_owned();
    Ok((snapshot, vec![note]))
}

fn body_of(prompt: &str) -> io::Result<Bytes> {
    if prompt != "-" {
        let request = json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]});
        return Ok(Bytes::from(request.to_string()));
    }
    let mut body = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_STDIN_BYTES)
        .read_to_end(&mut body)?;
    Ok(Bytes::from(body))
}

fn caller_of(snapshot: &Snapshot, args: &ExplainArgs) -> Result<Caller, String> {
    let asked = args.team.as_deref().unwrap_or("default");
    let found = snapshot.teams.get(asked);
    if found.is_none() && args.team.is_some() {
        let mut names: Vec<&str> = snapshot.teams.keys().map(TeamId::as_str).collect();
        names.sort_unstable();
        return Err(format!(
            "there is no team `{asked}`; there are: {}",
            names.join(", ")
        ));
    }
    let tier = found.map_or(Tier::Premium, |team| team.tier);
    Ok(Caller {
        key: None,
        key_sha256: None,
        team: asked.into(),
        app: "default".into(),
        tier: args.tier.map_or(tier, |asked| asked.min(tier)),
        allow: found.map_or_else(AllowList::all, |team| team.allow.clone()),
        regions: found.map_or_else(|| Vec::new().into(), |team| team.regions.clone()),
    })
}

/// A request with what was decided about it.
struct Decided {
    call: Call,
    task: TaskName,
    features: Features,
    plan: Plan,
}

impl Decided {
    fn new(
        snapshot: &Snapshot,
        classifier: &Classifier,
        caller: &Caller,
        body: Bytes,
    ) -> Result<Self, ProxyError> {
        let directives = Directives::default();
        let call = wire::decode(Endpoint::ChatCompletions, body, directives)?;
        let asked = policy::resolve(snapshot, caller, &call)?;
        let features = classifier.classify(&call);
        let cell = classify::cell_of(snapshot, &call, &features)?;
        let view = Fresh {
            learn: snapshot.select.learn,
        };
        let input = PlanInput {
            snapshot,
            view: &view,
            caller,
            call: &call,
            features: &features,
            asked: &asked,
            row: &cell.row,
            level: &cell.level,
            at_ms: snapshot.loaded_at_ms,
        };
        let plan = policy::plan(&input, &mut StdRng::seed_from_u64(SEED));
        let task = classify::task_of(&call, &features);
        Ok(Self {
            call,
            task,
            features,
            plan,
        })
    }

    fn exit_code(&self) -> u8 {
        if self.plan.candidates.is_empty() {
            EXIT_FAILED
        } else {
            EXIT_OK
        }
    }

    fn write_json(&self, snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<u8> {
        let value = explain(&Explained {
            task: self.task.clone(),
            features: &self.features,
            plan: &self.plan,
            config_version: &snapshot.version,
        });
        serde_json::to_writer_pretty(&mut *out, &value)?;
        writeln!(out)?;
        Ok(self.exit_code())
    }
}

/// Where people read it.
struct Page<'a> {
    colour: bool,
    out: &'a mut dyn Write,
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const CYAN: &str = "\x1b[36m";
const GREEN: &str = "\x1b[32m";
/// Cells of a bar.
const BAR: usize = 24;
/// Tasks shown in the chart.
const CHARTED: usize = 6;

impl Page<'_> {
    fn write(mut self, snapshot: &Snapshot, decided: &Decided, notes: &[String]) -> io::Result<u8> {
        for note in notes {
            let note = self.paint(DIM, &format!("({note})"));
            writeln!(self.out, "{note}")?;
        }
        self.write_features(decided)?;
        self.write_tasks(&decided.features)?;
        self.write_candidates(snapshot, &decided.plan)?;
        self.write_choice(decided)?;
        Ok(decided.exit_code())
    }

    fn write_features(&mut self, decided: &Decided) -> io::Result<()> {
        let features = &decided.features;
        let plan = &decided.plan;
        let task = self.paint(BOLD, decided.task.as_str());
        let level = self.paint(BOLD, plan.level.as_str());
        writeln!(
            self.out,
            "task        {task}, confidence {:.2}",
            features.confidence
        )?;
        writeln!(
            self.out,
            "cell        {} / {level}, complexity {:.2}, a weaker model fails with {:.2}",
            plan.row, features.complexity, features.weak_fails
        )?;
        let needs = match features.needs.names().as_slice() {
            [] => "nothing special".to_owned(),
            names => names.join(", "),
        };
        writeln!(
            self.out,
            "request     language {}, needs {needs}, {} tokens in (at most {}), about {} out",
            features.language,
            features.input_tokens,
            features.input_tokens_bound,
            features.output_tokens_estimate
        )?;
        let signals: Vec<String> = features
            .signals
            .iter()
            .map(|signal| format!("{} {:+.1}", signal.name, signal.weight))
            .collect();
        let signals = if signals.is_empty() {
            "none".to_owned()
        } else {
            signals.join(", ")
        };
        writeln!(self.out, "signals     {signals}")
    }

    fn write_tasks(&mut self, features: &Features) -> io::Result<()> {
        writeln!(self.out)?;
        for score in features.tasks.iter().take(CHARTED) {
            let bar = self.paint(CYAN, &bar(score.probability));
            let name = score.task.as_str();
            writeln!(self.out, "  {name:<18}{:>5.2}  {bar}", score.probability)?;
        }
        writeln!(self.out)
    }

    fn write_candidates(&mut self, snapshot: &Snapshot, plan: &Plan) -> io::Result<()> {
        let lines = candidate_lines(plan);
        let longest = lines.iter().map(|line| line.model.len()).max();
        let width = longest.unwrap_or(0).max("MODEL".len());
        let head = format!(
            "     {:<width$}  {:<8}  {:>7}  {:>14}  EXCLUDED BY",
            "MODEL", "TIER", "SCORE", "EST. COST USD"
        );
        let head = self.paint(DIM, &head);
        writeln!(self.out, "{head}")?;
        for (at, line) in lines.iter().enumerate() {
            if at == plan.own && at < plan.candidates.len() {
                let text = self.paint(DIM, "     down the ladder:");
                writeln!(self.out, "{text}")?;
            }
            self.write_candidate(snapshot, at, line, width)?;
        }
        Ok(())
    }

    fn write_candidate(
        &mut self,
        snapshot: &Snapshot,
        at: usize,
        line: &CandidateLine,
        width: usize,
    ) -> io::Result<()> {
        let tier = snapshot
            .model(line.model)
            .map_or("", |model| model.tier.as_str());
        let score = line
            .score
            .map_or_else(|| "-".to_owned(), |score| format!("{score:.3}"));
        let place = match line.excluded_by {
            None => (at + 1).to_string(),
            Some(_) => "-".to_owned(),
        };
        let why = match (line.excluded_by, &line.detail) {
            (Some(by), Some(detail)) => format!("{by}: {detail}"),
            (Some(by), None) => by.to_owned(),
            (None, _) => String::new(),
        };
        let cost = line.estimated_cost_usd.to_string();
        let text = format!(
            "  {place:>2} {:<width$}  {tier:<8}  {score:>7}  {cost:>14}  {why}",
            line.model
        );
        let style = match (line.excluded_by, at) {
            (Some(_), _) => DIM,
            (None, 0) => GREEN,
            (None, _) => "",
        };
        let text = self.paint(style, text.trim_end());
        writeln!(self.out, "{text}")
    }

    fn write_choice(&mut self, decided: &Decided) -> io::Result<()> {
        let plan = &decided.plan;
        writeln!(self.out)?;
        let Some(first) = plan.candidates.first() else {
            let error = policy::refusal(plan, &decided.call);
            return writeln!(self.out, "choice      none: {error}");
        };
        let model = self.paint(BOLD, first.model.as_str());
        writeln!(
            self.out,
            "choice      {model}, because of {}: {} (chosen with probability {:.2})",
            plan.reason,
            in_words(plan.reason),
            plan.propensity
        )
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour && !style.is_empty() {
            format!("{style}{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a bar of a few cells"
)]
fn bar(share: f32) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f32).round() as usize;
    "█".repeat(full) + &"░".repeat(BAR - full)
}

const fn in_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Matrix => "the cell's own preference",
        Reason::Explore => "the policy tries a less-known model",
        Reason::Budget => "what the cell prefers is more than the budgets or the request allow",
        Reason::Tier => "what the cell prefers is above the caller's tier",
        Reason::Pinned => "the request names the model",
        Reason::Fallback => "what the cell prefers cannot be reached",
        Reason::Cache => "answered before",
        Reason::Template => "a canned answer",
        Reason::Session => "the session stays on its model",
        Reason::Experiment => "an experiment assigned it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(prompt: &str, tier: Tier) -> (Snapshot, Decided) {
        let snapshot = config::builtin::built_in(0).expect("sound");
        let args = ExplainArgs {
            config: None,
            tier: Some(tier),
            team: None,
            json: false,
            prompt: prompt.to_owned(),
        };
        let caller = caller_of(&snapshot, &args).expect("the default team");
        let body = body_of(prompt).expect("no stdin");
        let classifier = Classifier::builtin();
        let decided = Decided::new(&snapshot, &classifier, &caller, body).expect("routes");
        (snapshot, decided)
    }

    #[test]
    fn a_page_names_the_task_the_candidates_and_the_choice() {
        let prompt =
            "Prove that there are infinitely many primes congruent to 3 mod 4, rigorously.";
        let (snapshot, decided) = decide(prompt, Tier::Standard);
        let mut out = Vec::new();
        let page = Page {
            colour: false,
            out: &mut out,
        };
        assert_eq!(
            page.write(&snapshot, &decided, &[]).expect("writes"),
            EXIT_OK
        );
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.contains("task        math_reasoning"), "{text}");
        assert!(text.contains("tier"), "{text}");
        assert!(text.contains("because of tier"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn json_is_the_object_of_the_route_endpoint() {
        let (snapshot, decided) = decide("Translate to French: good morning", Tier::Premium);
        let mut out = Vec::new();
        decided.write_json(&snapshot, &mut out).expect("writes");
        let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(value["task"], "translation");
        assert_eq!(value["level"], "simple");
        assert_eq!(value["reason"], "matrix");
        assert_eq!(value["model"], value["candidates"][0]["model"]);
    }
}
