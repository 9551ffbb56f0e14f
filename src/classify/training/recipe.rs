//! Which rows count how much, and how hard each head is fitted. Every number here was chosen on rows
//! that are trained on (by leaving some out), never on the measuring sets.

use std::collections::{BTreeMap, HashMap};

use super::super::model::{COMPLEXITY, INJECTION, Numbers, OUTPUT_LOG2, WEAK_FAILS, log_length};
use super::super::task::Task;
use super::fit::{FitParams, Loss, Random};
use super::places::place_of;
use super::rows::Row;
use super::{Heads, Prepared, Progress, fit_heads};

/// A row chosen for a head.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Which.
    pub row: usize,
    /// How much it counts.
    pub weight: f32,
    /// What the head is to say.
    pub target: Vec<f32>,
}

/// How to train.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Rows of one source and task, at most: a source's manner must not outweigh people's.
    pub most_per_source_and_task: usize,
    /// Weight of rows from other sources, typed by people.
    pub natural_weight: f32,
    /// Weight of templated rows.
    pub templated_weight: f32,
    /// Weight of rows built from own frames.
    pub frame_weight: f32,
    /// Weight of rows made of own rows by moving the request into the system prompt.
    pub made_weight: f32,
    /// How far tasks with many rows are made to count like those with few: 0 not at all, 1 wholly.
    pub balance: f32,
    /// Weight of own rows.
    pub own_weight: f32,
    /// Share of uncertainty left in every label.
    pub smoothing: f32,
    /// By how much to be less sure than on own rows left out: requests come from people whose rows
    /// nobody has.
    pub caution: f32,
    /// Features kept in the file.
    pub most_features: usize,
    /// Parts into which own rows are cut to calibrate; 0 leaves the calibration out.
    pub folds: usize,
    /// Rows of one family of sources that the complexity is learned from, at most.
    pub most_per_family: usize,
    /// How much one unit of another source's complexity is worth on the own scale.
    pub complexity_slope: f32,
    /// Weight of another source's complexities.
    pub other_complexity_weight: f32,
    /// How much of what the length says of the own rows' complexity is taken out: people who wrote them
    /// gave long requests high values more often than difficulty warrants.
    pub without_length: f32,
    /// Every so manyth own row is also learned from with something around it; 0 for none.
    pub padded_every: usize,
    /// Weight of those rows for the tasks.
    pub padded_weight: f32,
    /// Weight of those rows for the complexity, which padding moves more easily.
    pub padded_complexity_weight: f32,
    /// What a question counts that both models get wrong, where 1 is one that a stronger model would
    /// have got right.
    pub both_wrong: f32,
    /// What a question counts that both models get right, where 0 is one that the weak model alone gets
    /// right.
    pub both_right: f32,
    /// What the logarithm of the length adds to the logit of `weak_fails`.
    pub length_share: f32,
    /// Fits of the complexity whose mean is taken.
    pub complexity_fits: u64,
    /// Fits of the tasks whose mean is taken.
    pub fits: u64,
    /// The fit of the tasks.
    pub tasks: FitParams,
    /// The fit of the complexity.
    pub complexity: FitParams,
    /// The fit of `weak_fails`.
    pub weak_fails: FitParams,
    /// The fit of the injection signal.
    pub injection: FitParams,
    /// The fit of the answer's length.
    pub output: FitParams,
}

const TASKS: FitParams = FitParams {
    loss: Loss::OneOf,
    epochs: 14,
    rate: 0.05,
    decay: 2e-4,
    dropout: 0.5,
    adapt: 2,
    seed: 0,
    measures: false,
};

impl Default for Recipe {
    fn default() -> Self {
        let other = FitParams {
            loss: Loss::Each,
            epochs: 8,
            rate: 0.05,
            decay: 1e-3,
            dropout: 0.2,
            adapt: 2,
            seed: 0,
            measures: false,
        };
        Self {
            most_per_source_and_task: 100,
            natural_weight: 0.3,
            templated_weight: 0.5,
            frame_weight: 1.0,
            made_weight: 0.4,
            balance: 0.0,
            own_weight: 1.0,
            smoothing: 0.1,
            caution: 0.75,
            most_features: 200_000,
            folds: 2,
            fits: 3,
            complexity_fits: 3,
            most_per_family: 300,
            complexity_slope: 1.0,
            other_complexity_weight: 1.0,
            tasks: TASKS,
            without_length: 1.0,
            padded_every: 1,
            padded_weight: 0.3,
            padded_complexity_weight: 0.7,
            both_wrong: 0.3,
            both_right: 0.3,
            length_share: 0.1,
            complexity: FitParams {
                decay: 6e-2,
                ..other
            },
            weak_fails: FitParams {
                epochs: 6,
                decay: 0.1,
                dropout: 0.5,
                adapt: 4,
                measures: true,
                ..other
            },
            injection: other,
            output: other,
        }
    }
}

impl Recipe {
    /// One short pass.
    #[must_use]
    pub fn fast() -> Self {
        let one = |params: FitParams| FitParams {
            epochs: 1,
            ..params
        };
        let usual = Self::default();
        Self {
            fits: 1,
            complexity_fits: 1,
            folds: 0,
            most_features: 20_000,
            tasks: one(usual.tasks),
            complexity: one(usual.complexity),
            weak_fails: one(usual.weak_fails),
            injection: one(usual.injection),
            output: one(usual.output),
            ..usual
        }
    }

    /// Rows with a task.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "16")]
    pub fn task_examples(&self, rows: &[Row], seed: u64) -> Vec<Chosen> {
        let share = self.smoothing / Task::COUNT as f32;
        let mut taken: HashMap<(&str, Task), usize> = HashMap::new();
        let mut chosen = Vec::new();
        for at in shuffled(rows.len(), seed) {
            let row = &rows[at];
            let Some(task) = row.task() else { continue };
            let weight = match &row.source {
                None if row.padded => self.padded_weight,
                None if row.made_of.is_some() => self.made_weight,
                None => self.own_weight,
                Some(_) if row.is_framed() => self.frame_weight,
                Some(_) if row.templated => self.templated_weight,
                Some(_) => self.natural_weight,
            };
            let count = taken.entry((row.source(), task)).or_default();
            *count += 1;
            if weight == 0.0
                || (row.source.is_some()
                    && !row.is_framed()
                    && *count > self.most_per_source_and_task)
            {
                continue;
            }
            let mut target = vec![share; Task::COUNT];
            target[task.index()] += 1.0 - self.smoothing;
            chosen.push(Chosen {
                row: at,
                weight,
                target,
            });
        }
        self.even_out(rows, &mut chosen);
        chosen
    }

    /// Rows with a complexity on the scale of the own rows.
    #[must_use]
    pub fn complexity_examples(&self, rows: &[Row]) -> Vec<Chosen> {
        let own = || {
            rows.iter().enumerate().filter_map(|(at, row)| {
                let own = row.source.is_none() && (row.made_of.is_none() || row.padded);
                let origin = row.made_of.map_or(row, |origin| &rows[origin]);
                let length = log_length(origin.text.len());
                row.complexity
                    .filter(|_| own)
                    .map(|complexity| (at, length, complexity))
            })
        };
        let of_length = Slope::of(&own().map(|(_, length, complexity)| (length, complexity)));
        own()
            .map(|(at, length, complexity)| {
                let by_length = self.without_length * of_length.above_mean(length);
                Chosen {
                    row: at,
                    weight: if rows[at].padded {
                        self.padded_complexity_weight
                    } else {
                        1.0
                    },
                    target: vec![(complexity - by_length).clamp(0.02, 0.98)],
                }
            })
            .collect()
    }

    /// Rows of other sources. Their scales do not agree with each other, so the differences within a
    /// source are believed in part, and a table says where a source as a whole stands.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    pub fn more_complexity_examples(&self, rows: &[Row], seed: u64) -> Vec<Chosen> {
        let mut sources: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for at in shuffled(rows.len(), seed) {
            if place_of(rows[at].source()).is_some() {
                sources.entry(rows[at].source()).or_default().push(at);
            }
        }
        let mut chosen = Vec::new();
        for (source, mut members) in sources {
            let place = place_of(source).unwrap_or(0.5);
            members.truncate(self.most_per_family);
            let complexity = |at: usize| rows[at].complexity.unwrap_or(0.5);
            let sum: f32 = members.iter().map(|&at| complexity(at)).sum();
            let mean = sum / members.len() as f32;
            for at in members {
                let target = place + self.complexity_slope * (complexity(at) - mean);
                chosen.push(Chosen {
                    row: at,
                    weight: self.other_complexity_weight,
                    target: vec![target.clamp(0.02, 0.98)],
                });
            }
        }
        chosen
    }

    /// Scales the weights so that no task outweighs the others by its number of rows.
    #[allow(clippy::cast_precision_loss, reason = "16")]
    fn even_out(&self, rows: &[Row], chosen: &mut [Chosen]) {
        let mut totals = [0.0_f32; Task::COUNT];
        let task = |one: &Chosen| rows[one.row].task().map_or(0, Task::index);
        for one in chosen.iter() {
            totals[task(one)] += one.weight;
        }
        let mean = totals.iter().sum::<f32>() / Task::COUNT as f32;
        for one in chosen {
            one.weight *= (mean / totals[task(one)]).powf(self.balance);
        }
    }

    /// Rows that say whether a weak model was right. Sources count alike.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    pub fn routing_examples(&self, rows: &[Row]) -> Vec<Chosen> {
        let family = |row: &Row| {
            let source = row.source();
            source.split('/').next().unwrap_or(source).to_owned()
        };
        let mut counts: HashMap<String, usize> = HashMap::new();
        for row in rows.iter().filter(|row| row.weak_correct.is_some()) {
            *counts.entry(family(row)).or_default() += 1;
        }
        let mut chosen = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let Some(weak) = row.weak_correct else {
                continue;
            };
            let count = counts.get(&family(row)).copied().unwrap_or(1);
            chosen.push(Chosen {
                row: at,
                weight: (500.0 / count as f32).sqrt().min(2.0),
                target: vec![self.weak_fails_target(row.strong_correct.unwrap_or(1.0), weak)],
            });
        }
        chosen
    }

    /// How much a stronger model would have helped.
    fn weak_fails_target(&self, strong: f32, weak: f32) -> f32 {
        match (strong >= 0.5, weak >= 0.5) {
            (false, false) => self.both_wrong,
            (true, true) => self.both_right,
            _ => 1.0 - weak,
        }
    }

    /// Rows labelled as an injection or as benign; the own rows with a task are benign too.
    #[must_use]
    pub fn injection_examples(&self, rows: &[Row]) -> Vec<Chosen> {
        let any = rows
            .iter()
            .any(|row| row.label.as_deref() == Some("injection"));
        if !any {
            return Vec::new();
        }
        let mut chosen = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let target = match row.label.as_deref() {
                Some("injection") => 1.0,
                Some(_) => 0.0,
                // A request for a task is no attack: own rows, and those built from frames.
                None if row.source.is_none() || row.is_framed() => 0.0,
                None => continue,
            };
            chosen.push(Chosen {
                row: at,
                weight: if target > 0.5 { 4.0 } else { 1.0 },
                target: vec![target],
            });
        }
        chosen
    }

    /// Rows that say how long the answer is: its binary logarithm over 12.
    #[must_use]
    pub fn output_examples(&self, rows: &[Row]) -> Vec<Chosen> {
        let mut chosen = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            if let Some(tokens) = row.output_tokens.filter(|_| row.made_of.is_none()) {
                chosen.push(Chosen {
                    row: at,
                    weight: 1.0,
                    target: vec![(tokens.max(1.0).log2() / OUTPUT_LOG2).clamp(0.0, 1.0)],
                });
            }
        }
        chosen
    }

    /// Makes probabilities of logits, on own rows that were left out of the fit.
    pub fn calibrate(
        &self,
        prepared: &Prepared,
        rows: &[Row],
        numbers: &mut Numbers,
        progress: Progress<'_>,
    ) {
        if self.folds < 2 {
            return;
        }
        let mut left_out = LeftOut::default();
        for fold in 0..self.folds {
            let out = |row: usize| {
                let origin = rows[row].made_of.unwrap_or(row);
                let calibrates = rows[row].source.is_none() || rows[row].weak_correct.is_some();
                calibrates && origin % self.folds == fold
            };
            let once = Self {
                complexity_fits: 1,
                ..self.clone()
            };
            let fitted = fit_heads(prepared, rows, &once, &|row| !out(row), &mut |_, _| {});
            for row in (0..rows.len()).filter(|&row| out(row) && rows[row].made_of.is_none()) {
                left_out.add(self, (&fitted, prepared), &rows[row], row);
            }
            #[allow(clippy::cast_precision_loss, reason = "a handful of folds")]
            progress("calibrating", (fold + 1) as f32 / self.folds as f32);
        }
        left_out.into_numbers(self, numbers);
    }
}

/// What heads said of rows that they were not fitted on.
#[derive(Default)]
struct LeftOut {
    tasks: Vec<(Vec<f32>, usize)>,
    complexities: Vec<(f32, f32)>,
    weak_fails: Vec<(f32, f32)>,
    benign: Vec<f32>,
}

impl LeftOut {
    fn add(
        &mut self,
        recipe: &Recipe,
        (fitted, prepared): (&Heads, &Prepared),
        row: &Row,
        at: usize,
    ) {
        if let Some(weak) = row.weak_correct {
            let logit = fitted.logit(prepared, at, WEAK_FAILS);
            let length = recipe.length_share * log_length(row.text.len());
            let with_length = logit.map(|logit| logit + length);
            let target = recipe.weak_fails_target(row.strong_correct.unwrap_or(1.0), weak);
            self.weak_fails.extend(with_length.zip(Some(target)));
            return;
        }
        if let Some(task) = row.task() {
            let logits = fitted.task_logits(prepared, at);
            self.tasks.push((logits, task.index()));
        }
        let logit = fitted.logit(prepared, at, COMPLEXITY);
        self.complexities.extend(logit.zip(row.complexity));
        self.benign.extend(fitted.logit(prepared, at, INJECTION));
    }

    fn into_numbers(mut self, recipe: &Recipe, numbers: &mut Numbers) {
        if !self.tasks.is_empty() {
            numbers.sharpness = [sharpness(&self.tasks) * recipe.caution; 3];
        }
        if !self.complexities.is_empty() {
            numbers.complexity = line(&self.complexities);
        }
        if !self.weak_fails.is_empty() {
            let [slope, intercept] = line(&self.weak_fails);
            numbers.weak_fails = [slope, intercept, slope * recipe.length_share];
        }
        if !self.benign.is_empty() {
            self.benign.sort_by(f32::total_cmp);
            let at = self.benign.len() - 1 - self.benign.len() / BENIGN_FLAGGED_IN;
            // Never below even odds, however clean the benign rows are.
            numbers.injection_from = self.benign[at].max(0.0);
        }
    }
}

/// One own row in so many may be flagged as an injection.
const BENIGN_FLAGGED_IN: usize = 300;
/// What a value rises by with another, by least squares.
struct Slope {
    mean: f32,
    slope: f32,
}

impl Slope {
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    fn of(pairs: &(impl Iterator<Item = (f32, f32)> + Clone)) -> Self {
        let count = pairs.clone().count().max(1) as f32;
        let mean = |of: fn((f32, f32)) -> f32| pairs.clone().map(of).sum::<f32>() / count;
        let (mean_x, mean_y) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let sums = pairs.clone().fold((0.0, 1e-6), |(both, square), (x, y)| {
            let (dx, dy) = (x - mean_x, y - mean_y);
            (both + dx * dy, square + dx * dx)
        });
        Self {
            mean: mean_x,
            slope: sums.0 / sums.1,
        }
    }

    fn above_mean(&self, x: f32) -> f32 {
        self.slope * (x - self.mean)
    }
}

/// Slope and intercept on the logit with the least squared error.
fn line(left_out: &[(f32, f32)]) -> [f32; 2] {
    let error = |slope: f32, intercept: f32| -> f64 {
        left_out
            .iter()
            .map(|(logit, right)| {
                let said = 1.0 / (1.0 + (-(slope * logit + intercept)).exp());
                f64::from(said - right).powi(2)
            })
            .sum()
    };
    let mut best = (f64::MAX, [1.0, 0.0]);
    for slope in (5..=80_u8).map(|step| f32::from(step) / 20.0) {
        for intercept in (0..=80_u8).map(|step| f32::from(step) / 20.0 - 2.0) {
            let found = error(slope, intercept);
            if found < best.0 {
                best = (found, [slope, intercept]);
            }
        }
    }
    best.1
}

/// The inverse temperature with the least cross-entropy.
fn sharpness(left_out: &[(Vec<f32>, usize)]) -> f32 {
    let cost = |sharpness: f32| -> f64 {
        left_out
            .iter()
            .map(|(logits, right)| {
                let top = logits.iter().copied().fold(f32::MIN, f32::max);
                let sum: f32 = logits.iter().map(|l| ((l - top) * sharpness).exp()).sum();
                f64::from(sum.ln() - (logits[*right] - top) * sharpness)
            })
            .sum()
    };
    let mut best = (f64::MAX, 1.0);
    for step in 4..=60_u8 {
        let candidate = f32::from(step) / 20.0;
        let found = cost(candidate);
        if found < best.0 {
            best = (found, candidate);
        }
    }
    best.1
}

/// The rows in a fixed mixed order, so that a cap does not take the first of a file.
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    Random(5 + seed).shuffle(&mut order);
    order
}
