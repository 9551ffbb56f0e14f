//! Call → Features: task, complexity, language, needs and token estimates. Cannot fail, takes bounded
//! time and allocates nothing in proportion to the input, whatever a client sends.
//!
//! Comes after admission and before the cache. It reads the conversation, not just its last line, but
//! its findings never name a model: the matrix does. What it knows stands in the trained weights
//! ([`model`]); nothing here may ask a network or a clock.

pub mod canonical;
pub mod concepts;
pub mod configured;
pub mod custom;
pub mod evaluation;
pub mod excerpt;
pub mod features;
pub mod language;
pub mod level;
mod marks;
mod measures;
pub mod model;
mod scan;
mod signals;
pub mod standing;
pub mod structure;
pub mod task;
mod tokens;
pub mod training;
pub mod words;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod tests_support;

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use smallvec::SmallVec;

use crate::telemetry::Metrics;
use crate::types::{Call, Features, TaskScore};

use custom::{Both, CustomTasks, Likeness};
use excerpt::Reading;
use features::Plain;
pub use level::{Cell, cell_of, holds, task_of};
use model::{
    COMPLEXITY, INJECTION, Model, ModelError, OUTPUT, Scored, Scorer, WEAK_FAILS, log_length,
};
use standing::Standing;
pub use task::Task;

/// Turns requests into features. Cheap to clone; shared by all workers.
#[derive(Clone, Debug)]
pub struct Classifier {
    model: Model,
    /// The file's own tasks; `None` costs nothing.
    custom: Option<Arc<CustomTasks>>,
}

/// Scores of heads that no decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct HeadScores {
    /// How much the text reads like an attempt to override instructions, 0..=1.
    pub injection: f32,
    /// `injection` is above the weights' threshold.
    pub flagged: bool,
    /// `weak_fails` without what the length adds, to say how much of it is length.
    pub weak_fails_without_length: f32,
}

/// The weights that come with the program.
static BUILTIN: LazyLock<Model> = LazyLock::new(|| {
    let bytes = include_bytes!("../../models/tollgate-classifier.bin");
    // A test sees to it that the file is sound; without weights everything is `other`.
    Model::parse(bytes).unwrap_or_else(|_| Model::empty())
});

/// Probabilities below this are not worth showing.
const SHOWN_FROM: f32 = 0.02;

impl Default for Classifier {
    fn default() -> Self {
        Self::builtin()
    }
}

impl Classifier {
    /// The built-in classifier, ready to use.
    #[must_use]
    pub fn builtin() -> Self {
        Self::of(BUILTIN.clone())
    }

    /// A classifier with weights from a file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no weights of this version.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        Model::load(path).map(Self::of)
    }

    /// A classifier with these weights.
    #[must_use]
    pub const fn of(model: Model) -> Self {
        Self {
            model,
            custom: None,
        }
    }

    /// This classifier with tasks beside the built-in ones.
    #[must_use]
    pub fn with_tasks(self, tasks: CustomTasks) -> Self {
        Self {
            custom: Some(Arc::new(tasks)),
            ..self
        }
    }

    /// The weights.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// What a request is about and how hard it is.
    #[must_use]
    pub fn classify(&self, call: &Call) -> Features {
        let reading = canonical::reading(call);
        let shapes = structure::shapes(call, &reading);
        let mut scorer = Scorer::new(&self.model);
        let alike = match &self.custom {
            None => {
                features::emit(&reading, &shapes, &mut scorer);
                None
            }
            Some(tasks) => {
                let mut likeness = Likeness::new(tasks);
                let mut plain = Plain(&mut likeness);
                features::emit(&reading, &shapes, &mut Both(&mut scorer, &mut plain));
                Some(likeness.finish())
            }
        };
        let scored = scorer.finish();
        let sharpness = self.model.numbers().sharpness_for(&reading);
        let ranked = scored.tasks().softmax(sharpness).ranked();
        let (task, confidence) = decided(&ranked, &reading);
        let standing = Standing::of(call);
        let complexity = self.complexity(&scored, standing);
        let input = tokens::input_tokens(call, &reading);
        let usual = Self::usual_output(&scored);
        let features = Features {
            task: task.to_name(),
            confidence,
            tasks: shown(&ranked),
            complexity,
            weak_fails: self.weak_fails(&scored, &reading),
            language: language::language(main_excerpt(&reading)).to_owned(),
            needs: call.needs,
            input_tokens: input.expected,
            input_tokens_bound: input.bound,
            output_tokens_estimate: tokens::output_tokens(call, &reading, task, usual),
            signals: signals::signals(&scored, &reading, task.index()),
        };
        let mut features = match alike {
            None => features,
            Some(found) => with_custom(features, &found, &reading),
        };
        features.signals.extend(standing.signals());
        features
    }

    /// What the features of a decision leave out.
    #[must_use]
    pub fn heads(&self, call: &Call) -> HeadScores {
        let reading = canonical::reading(call);
        let shapes = structure::shapes(call, &reading);
        let mut scorer = Scorer::new(&self.model);
        features::emit(&reading, &shapes, &mut scorer);
        let scored = scorer.finish();
        let injection = scored.logits[INJECTION];
        HeadScores {
            injection: sigmoid(injection),
            flagged: injection >= self.model.numbers().injection_from,
            weak_fails_without_length: sigmoid(self.weak_fails_logit(&scored)),
        }
    }

    /// True when the text reads like an attempt to override instructions. A sign, not a verdict.
    #[must_use]
    pub fn looks_injected(&self, call: &Call) -> bool {
        self.heads(call).flagged
    }

    /// How hard, 0..=1: learned from the text; where an agent's work stands, which no text of the
    /// training rows shows, raises or lowers it by constants.
    fn complexity(&self, scored: &Scored<'_>, standing: Standing) -> f32 {
        let [slope, intercept] = self.model.numbers().complexity;
        sigmoid(slope * scored.logits[COMPLEXITY] + intercept + standing.raised())
    }

    /// The probability that a weaker model fails.
    fn weak_fails(&self, scored: &Scored<'_>, reading: &Reading) -> f32 {
        let by_length = self.model.numbers().weak_fails[2];
        let length = log_length(reading.asked.whole_bytes);
        sigmoid(self.weak_fails_logit(scored) + by_length * length)
    }

    fn weak_fails_logit(&self, scored: &Scored<'_>) -> f32 {
        let [slope, intercept, _] = self.model.numbers().weak_fails;
        slope * scored.logits[WEAK_FAILS] + intercept
    }

    /// Tokens that an answer usually takes.
    fn usual_output(scored: &Scored<'_>) -> f32 {
        (sigmoid(scored.logits[OUTPUT]) * model::OUTPUT_LOG2).exp2()
    }
}

/// Classifies and notes how long it took.
pub fn timed(classifier: &Classifier, call: &Call, metrics: &Metrics) -> Features {
    let started = Instant::now();
    let features = classifier.classify(call);
    metrics.classified(started.elapsed(), &features);
    features
}

/// The most probable task; nothing can be said of a request without words.
fn decided(ranked: &[(Task, f32)], reading: &Reading) -> (Task, f32) {
    let wordless = |excerpt: &excerpt::Excerpt| !excerpt.text.chars().any(char::is_alphanumeric);
    if wordless(&reading.asked) && wordless(&reading.system) && wordless(&reading.earlier) {
        let other = ranked.iter().find(|(task, _)| *task == Task::Other);
        return (
            Task::Other,
            other.map_or(0.0, |(_, probability)| *probability),
        );
    }
    ranked[0]
}

/// The findings with the file's own tasks among the built-in ones, all probabilities summing to 1.
fn with_custom(mut features: Features, found: &custom::Found<'_>, reading: &Reading) -> Features {
    let odds = found.odds();
    let all = 1.0 + odds.iter().map(|(_, odds)| odds).sum::<f32>();
    for score in &mut features.tasks {
        score.probability /= all;
    }
    features.confidence /= all;
    for (name, odds) in odds {
        let probability = odds / all;
        if probability >= SHOWN_FROM {
            features.tasks.push(TaskScore {
                task: name.clone(),
                probability,
            });
        }
        if probability > features.confidence {
            features.task = name.clone();
            features.confidence = probability;
        }
    }
    features
        .tasks
        .sort_by(|a, b| b.probability.total_cmp(&a.probability));
    if Task::parse(features.task.as_str()).is_none() {
        features.signals = found.signals(&features.task, reading);
    }
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
