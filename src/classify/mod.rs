//! Call → Features: task, complexity, language, needs and token estimates. Cannot fail, takes bounded
//! time and allocates nothing in proportion to the input, whatever a client sends.
//!
//! Comes after admission and before the cache. It reads the conversation, not just its last line, but
//! its findings never name a model: the matrix does. What it knows stands in [`table`]; nothing here
//! may ask a network or a clock.

pub mod evidence;
pub mod excerpt;
pub mod language;
pub mod level;
mod structure;
pub mod table;
pub mod task;
mod tokens;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod tests_support;

use std::time::Instant;

use smallvec::SmallVec;

use crate::telemetry::Metrics;
use crate::types::{Call, Features, Signal, TaskScore};

use evidence::{Evidence, Hit, Weighting};
use excerpt::Reading;
pub use level::{Cell, cell_of, holds, task_of};
use table::COMPLEXITY_BASES;
pub use task::Task;

/// Turns requests into features. Cheap to clone; shared by all workers.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Classifier {}

/// Inverse temperature of the softmax: makes the probabilities of the summed hand-set weights agree
/// with how often they are right on prompts of other authors.
const SHARPNESS: f32 = 1.1;
/// Probabilities below this are not worth showing.
const SHOWN_FROM: f32 = 0.02;
/// Signals shown to people.
const SHOWN_SIGNALS: usize = 4;

impl Classifier {
    /// The built-in classifier, ready to use.
    #[must_use]
    pub fn builtin() -> Self {
        evidence::warm_up();
        Self {}
    }

    /// What a request is about and how hard it is.
    #[must_use]
    pub fn classify(&self, call: &Call) -> Features {
        let reading = Reading::of(call);
        let evidence = gather(call, &reading);
        let probabilities = evidence.logits.softmax(SHARPNESS);
        let ranked = probabilities.ranked();
        let (task, confidence) = ranked[0];
        let complexity = complexity(&evidence, &reading, task);
        let input = tokens::input_tokens(call, &reading);
        Features {
            task: task.to_name(),
            confidence,
            tasks: shown(&ranked),
            complexity,
            weak_fails: weak_fails(complexity, task),
            language: language::language(main_excerpt(&reading)).to_owned(),
            needs: call.needs,
            input_tokens: input.expected,
            input_tokens_bound: input.bound,
            output_tokens_estimate: tokens::output_tokens(call, &reading, task, complexity),
            signals: signals(&evidence, task),
        }
    }
}

/// Classifies and notes how long it took.
pub fn timed(classifier: &Classifier, call: &Call, metrics: &Metrics) -> Features {
    let started = Instant::now();
    let features = classifier.classify(call);
    metrics.classified(started.elapsed());
    features
}

/// The excerpt that says what language the client speaks.
fn main_excerpt(reading: &Reading) -> &excerpt::Excerpt {
    if reading.asked.is_empty() {
        &reading.system
    } else {
        &reading.asked
    }
}

fn gather(call: &Call, reading: &Reading) -> Evidence {
    const ASKED: Weighting = Weighting {
        factor: 1.0,
        manner: 1.0,
    };
    const SYSTEM: Weighting = Weighting {
        factor: 0.6,
        manner: 0.15,
    };
    // `now shorter, please` means nothing without what came before it.
    let follow_up = reading.asked.whole_bytes < 80;
    let earlier = Weighting {
        factor: if follow_up { 0.5 } else { 0.25 },
        manner: 0.5,
    };
    let mut evidence = Evidence::default();
    evidence.add_shapes(&structure::shapes(call, reading));
    evidence.add_phrases(&reading.asked, ASKED);
    evidence.add_phrases(&reading.system, SYSTEM);
    evidence.add_phrases(&reading.earlier, earlier);
    evidence
}

/// How hard, 0..=1: the task's base, what the words and shapes add, and the length asked about.
#[allow(clippy::cast_precision_loss, reason = "a logarithm follows")]
fn complexity(evidence: &Evidence, reading: &Reading, task: Task) -> f32 {
    let base = COMPLEXITY_BASES
        .iter()
        .find(|(of, _)| *of == task)
        .map_or(-1.0, |(_, base)| *base);
    // Prompt length alone ranks difficulty nearly as well as published routers do.
    let length = (reading.asked.whole_bytes as f32 / 200.0).max(0.05).ln() * 0.3;
    sigmoid(base + evidence.complexity.clamp(-2.0, 3.5) + length.clamp(-0.8, 1.2))
}

/// The probability that a weaker model fails: rises with complexity, faster where an answer is right
/// or wrong than where it is a matter of taste.
fn weak_fails(complexity: f32, task: Task) -> f32 {
    let shift = match task {
        Task::MathReasoning | Task::CodeGeneration | Task::CodeReview | Task::DataAnalysis => 0.3,
        Task::Conversation | Task::Rewriting | Task::Summarization | Task::CreativeWriting => -0.4,
        _ => 0.0,
    };
    sigmoid(4.5 * (complexity - 0.6) + shift)
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn shown(ranked: &[(Task, f32)]) -> SmallVec<[TaskScore; 4]> {
    ranked
        .iter()
        .take_while(|(_, probability)| *probability >= SHOWN_FROM)
        .map(|&(task, probability)| TaskScore {
            task: task.to_name(),
            probability,
        })
        .collect()
}

fn signals(evidence: &Evidence, task: Task) -> SmallVec<[Signal; 4]> {
    let weight = |hit: &Hit| {
        let for_task = hit.weight_for(task);
        if for_task == 0.0 {
            hit.complexity()
        } else {
            for_task
        }
    };
    let mut hits: SmallVec<[&Hit; 24]> = evidence
        .hits
        .iter()
        .filter(|hit| weight(hit) != 0.0)
        .collect();
    hits.sort_by(|a, b| weight(b).abs().total_cmp(&weight(a).abs()));
    hits.truncate(SHOWN_SIGNALS);
    hits.into_iter()
        .map(|hit| Signal {
            name: hit.name(),
            weight: weight(hit),
        })
        .collect()
}
