//! Examples → a task that can be recognised: what each of their features is worth, the likeness that
//! is enough, and an honest account of both.
//!
//! The weight of a feature is the logarithm of how much commoner it is in the examples than in other
//! requests (the log-odds of naive Bayes), shrunk where few examples have it. The threshold is what two
//! in a thousand other requests exceed. How well the task is recognised is measured by leaving each
//! example out in turn.

use rustc_hash::{FxHashMap, FxHashSet};

use super::super::training::rows::call_of;
use super::background::{self, Request};
use super::{CustomTasks, Line};
use crate::types::{Role, TaskName};

/// Share of other requests that may be as alike to a task as its threshold.
const MISTAKEN_SHARE: f32 = 0.002;
/// A task below this would take what merely shares a word with it.
const MIN_THRESHOLD: f32 = 0.5;
/// An example that is left out is this much short of having everything in common with the others.
const SHRINK: f32 = 0.7;
/// Features that say less than this are left out: they would only cost time.
const MIN_WEIGHT: f32 = 0.2;
/// Features kept for one task.
const MAX_FEATURES: usize = 4_000;
/// With fewer requests in a language, all languages together say how common a feature is.
const ENOUGH_REQUESTS: usize = 200;
/// Odds of a request that is as alike as a typical example.
const TYPICAL_ODDS: f32 = 9.0;

/// A task's name and its examples.
#[derive(Clone, Debug)]
pub struct Lesson<'a> {
    /// The name.
    pub name: &'a TaskName,
    /// Prompts of this task.
    pub examples: Vec<&'a str>,
}

/// What was learned, and how well.
#[derive(Clone, Debug)]
pub struct Learned {
    /// The tasks, ready to be looked for.
    pub tasks: CustomTasks,
    /// One for each lesson.
    pub reports: Vec<TaskReport>,
}

/// How well a task is told from others.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TaskReport {
    /// The task.
    pub task: TaskName,
    /// How many examples it has.
    pub examples: usize,
    /// How many of them are recognised by the others, when they are left out of the learning.
    pub recognised_when_left_out: usize,
    /// Share of other requests that are taken for it.
    pub mistaken_share: f32,
    /// Other tasks of the file with how many of this task's examples are more like those.
    pub taken_for: Vec<(TaskName, usize)>,
}

/// A request as features with their values, in the order of serving.
#[derive(Clone, Debug)]
struct Point {
    features: Vec<(u64, f32)>,
    language: &'static str,
}

type Weights = FxHashMap<u64, f32>;

impl Point {
    fn of(request: &Request) -> Self {
        Self {
            features: request.features.values().collect(),
            language: request.language,
        }
    }

    fn of_text(text: &str) -> Self {
        Self::of(&Request::of(&call_of(&[(Role::User, text)])))
    }

    /// Its features, each once.
    fn distinct(&self) -> Vec<u64> {
        let mut keys: Vec<u64> = self.features.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn likeness(&self, weights: &Weights) -> f32 {
        let known = self.features.iter();
        let known = known.filter_map(|(key, value)| Some((weights.get(key)?, value)));
        known.map(|(weight, value)| weight * value).sum()
    }
}

/// Learns the tasks of a file.
#[must_use]
pub fn learn(lessons: &[Lesson<'_>]) -> Learned {
    learn_against(lessons, &background::requests())
}

/// Learns tasks that are to be told from these requests.
pub(super) fn learn_against(lessons: &[Lesson<'_>], others: &[Request]) -> Learned {
    let others: Vec<Point> = others.iter().map(Point::of).collect();
    let classes: Vec<Class> = lessons
        .iter()
        .map(|lesson| Class::of(lesson, &others))
        .collect();
    let lines = lessons.iter().zip(&classes);
    let lines = lines.map(|(lesson, class)| Line {
        name: lesson.name.clone(),
        threshold: class.threshold,
        slope: slope(class.threshold, &class.left_out),
    });
    let lines: Vec<Line> = lines.collect();
    let reports = (0..classes.len())
        .map(|at| report(at, &lines, &classes, &others))
        .collect();
    let weights: Vec<&Weights> = classes.iter().map(|class| &class.weights).collect();
    Learned {
        tasks: CustomTasks::new(lines, &weights),
        reports,
    }
}

/// One task, measured.
struct Class {
    examples: Vec<Point>,
    weights: Weights,
    threshold: f32,
    /// The likeness of each example to the others.
    left_out: Vec<f32>,
}

impl Class {
    fn of(lesson: &Lesson<'_>, others: &[Point]) -> Self {
        let examples: Vec<Point> = lesson
            .examples
            .iter()
            .map(|text| Point::of_text(text))
            .collect();
        let languages: FxHashSet<&str> = examples.iter().map(|example| example.language).collect();
        let alike: Vec<&Point> = others
            .iter()
            .filter(|other| languages.contains(other.language))
            .collect();
        let all: Vec<&Point> = others.iter().collect();
        // What is rare among all requests may be common in the examples' language.
        let rarities = [Rarity::of(&all, &examples), Rarity::of(&alike, &examples)];
        let weights = weights(&examples.iter().collect::<Vec<_>>(), &rarities);
        let left_out = (0..examples.len()).map(|at| {
            let rest = examples
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at);
            let rest: Vec<&Point> = rest.map(|(_, example)| example).collect();
            examples[at].likeness(&self::weights(&rest, &rarities))
        });
        Self {
            left_out: left_out.collect(),
            threshold: threshold(&weights, &all).max(threshold(&weights, &alike)),
            weights,
            examples,
        }
    }
}

/// In how many other requests each feature of the examples is.
struct Rarity {
    counts: FxHashMap<u64, u32>,
    requests: usize,
}

impl Rarity {
    fn of(others: &[&Point], examples: &[Point]) -> Self {
        let keys = examples.iter().flat_map(|example| &example.features);
        let mut counts: FxHashMap<u64, u32> = keys.map(|(key, _)| (*key, 0)).collect();
        for key in others.iter().flat_map(|other| other.distinct()) {
            if let Some(count) = counts.get_mut(&key) {
                *count += 1;
            }
        }
        Self {
            counts,
            requests: others.len(),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    fn share(&self, key: u64) -> f32 {
        let count = self.counts.get(&key).copied().unwrap_or(0) as f32;
        (count + 1.0) / (self.requests as f32 + 1.0)
    }
}

/// What each feature of the examples says.
#[allow(clippy::cast_precision_loss, reason = "counts are small")]
fn weights(examples: &[&Point], rarities: &[Rarity; 2]) -> Weights {
    let mut counts: FxHashMap<u64, u32> = FxHashMap::default();
    for key in examples.iter().flat_map(|example| example.distinct()) {
        *counts.entry(key).or_default() += 1;
    }
    let of = examples.len() as f32;
    let weigh = |(key, count): (u64, u32)| {
        let count = count as f32;
        let here = count * SHRINK / (of + 1.0);
        // A language with few rows cannot say that a feature is common for the +1 in its share alone.
        let elsewhere = rarities
            .iter()
            .filter(|rarity| rarity.requests >= ENOUGH_REQUESTS);
        let elsewhere = elsewhere
            .map(|rarity| rarity.share(key))
            .fold(0.0, f32::max);
        let weight = (here / elsewhere).ln() * (count / of).sqrt();
        (weight >= MIN_WEIGHT).then_some((key, weight))
    };
    let mut weights: Vec<(u64, f32)> = counts.into_iter().filter_map(weigh).collect();
    weights.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    weights.truncate(MAX_FEATURES);
    weights.into_iter().collect()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of some thousand requests"
)]
fn threshold(weights: &Weights, others: &[&Point]) -> f32 {
    let mut found: Vec<f32> = others.iter().map(|other| other.likeness(weights)).collect();
    found.sort_by(|a, b| b.total_cmp(a));
    let at = (found.len() as f32 * MISTAKEN_SHARE) as usize;
    found.get(at).copied().unwrap_or(0.0).max(MIN_THRESHOLD)
}

/// Even odds at the threshold; nine to one at the middle one of the examples that are above it.
fn slope(threshold: f32, left_out: &[f32]) -> f32 {
    let mut above: Vec<f32> = left_out
        .iter()
        .copied()
        .filter(|alone| *alone > threshold)
        .collect();
    above.sort_by(f32::total_cmp);
    let typical = above
        .get(above.len() / 2)
        .copied()
        .unwrap_or(threshold * 1.5);
    let distance = (typical - threshold).clamp(threshold * 0.15, threshold * 0.4);
    TYPICAL_ODDS.ln() / distance
}

#[allow(clippy::cast_precision_loss, reason = "counts are small")]
fn report(at: usize, lines: &[Line], classes: &[Class], others: &[Point]) -> TaskReport {
    let (line, class) = (&lines[at], &classes[at]);
    let recognised: Vec<bool> = class
        .left_out
        .iter()
        .map(|alone| *alone >= line.threshold)
        .collect();
    let mut taken_for = Vec::new();
    for (other, there) in lines
        .iter()
        .zip(classes)
        .filter(|(other, _)| other.name != line.name)
    {
        let examples = other_logits(&class.examples, other, &there.weights);
        let taken = examples.zip(&class.left_out);
        let taken = taken
            .filter(|(logit, alone)| *logit >= line.logit(**alone).max(0.0))
            .count();
        if taken > 0 {
            taken_for.push((other.name.clone(), taken));
        }
    }
    let mistaken = others
        .iter()
        .filter(|other| other.likeness(&class.weights) >= line.threshold);
    TaskReport {
        task: line.name.clone(),
        examples: class.examples.len(),
        recognised_when_left_out: recognised.iter().filter(|is| **is).count(),
        mistaken_share: mistaken.count() as f32 / others.len().max(1) as f32,
        taken_for,
    }
}

fn other_logits<'a>(
    examples: &'a [Point],
    line: &'a Line,
    weights: &'a Weights,
) -> impl Iterator<Item = f32> + 'a {
    examples
        .iter()
        .map(|example| line.logit(example.likeness(weights)))
}
