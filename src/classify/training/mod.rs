//! Rows → weights. Reads labelled rows, weighs their sources, fits every head on the same features,
//! drops the features that say little, rounds the rest to small integers and calibrates.
//!
//! Nothing here runs while serving.

pub mod fit;
pub mod lint;
pub mod padding;
pub mod places;
pub mod recipe;
pub mod rows;

use std::collections::HashMap;

use super::excerpt::Reading;
use super::features::{Group, Hit, Plain, Sink, emit};
use super::model::{
    COLUMNS, COMPLEXITY, INJECTION, Model, Numbers, OUTPUT, TrainedRow, WEAK_FAILS, group_value,
};
use super::structure;
use super::task::Task;
use crate::types::Call;

use fit::{Example, FitParams, Loss, Matrix, Weights, fit};
use recipe::{Chosen, Recipe};
use rows::Row;

/// The features of one row, in order.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    group: usize,
    counts: [u32; Group::COUNT],
    keys: Vec<(u64, u8)>,
}

impl Collected {
    /// The features of a row to train on. Rows have nothing around them that would have to come off.
    #[must_use]
    pub fn of(call: &Call) -> Self {
        Self::of_reading(call, &Reading::of(call))
    }

    /// The features of a request as far as it was read.
    #[must_use]
    pub fn of_reading(call: &Call, reading: &Reading) -> Self {
        let mut collected = Self::default();
        let shapes = structure::shapes(call, reading);
        emit(reading, &shapes, &mut collected);
        collected
    }

    /// Those of them that tasks of one's own are told by.
    #[must_use]
    pub fn plain(call: &Call, reading: &Reading) -> Self {
        let mut collected = Self::default();
        let shapes = structure::shapes(call, reading);
        emit(reading, &shapes, &mut Plain(&mut collected));
        collected
    }

    /// Each feature with what it counts in this request.
    pub fn values(&self) -> impl Iterator<Item = (u64, f32)> + '_ {
        let values = Group::ALL.map(|group| group_value(group, self.counts[group as usize]));
        self.keys
            .iter()
            .map(move |(key, group)| (*key, values[usize::from(*group)]))
    }
}

impl Sink for Collected {
    fn begin(&mut self, group: Group) {
        self.group = group as usize;
    }

    fn hit(&mut self, hit: Hit) {
        self.counts[self.group] += 1;
        let group = u8::try_from(self.group).unwrap_or(0);
        self.keys.push((hit.key, group));
    }
}

/// Rows as features: what the fits work on.
#[derive(Debug)]
pub struct Prepared {
    matrix: Matrix,
    keys: Vec<u64>,
    /// Of `keys`, how many are not measures: those that every head is fitted on.
    plain: usize,
    /// In how many rows each feature is.
    counts: Vec<u32>,
}

/// Features seen in fewer rows than this are left out.
const MIN_ROWS: u32 = 2;

impl Prepared {
    /// Reads every row.
    #[must_use]
    pub fn of(rows: &[Row], progress: &mut dyn FnMut(f32)) -> Self {
        let collected: Vec<Collected> = rows.iter().map(|row| Collected::of(&row.call())).collect();
        progress(0.6);
        // Measures last, by their first member.
        let mut counts: HashMap<(bool, u64), u32> = HashMap::new();
        let mut of_row: Vec<(bool, u64)> = Vec::new();
        for one in &collected {
            of_row.clear();
            of_row.extend(
                one.keys
                    .iter()
                    .map(|(key, group)| (usize::from(*group) == Group::Measures as usize, *key)),
            );
            of_row.sort_unstable();
            of_row.dedup();
            for key in &of_row {
                *counts.entry(*key).or_default() += 1;
            }
        }
        let mut ranked: Vec<((bool, u64), u32)> = counts
            .into_iter()
            .filter(|(_, count)| *count >= MIN_ROWS)
            .collect();
        ranked.sort_unstable();
        let plain = ranked.partition_point(|((is_measure, _), _)| !is_measure);
        let keys: Vec<u64> = ranked.iter().map(|((_, key), _)| *key).collect();
        let frequencies: Vec<u32> = ranked.iter().map(|(_, count)| *count).collect();
        let ids: HashMap<u64, u32> = keys.iter().copied().zip(0..).collect();
        let mut matrix = Matrix::default();
        for one in &collected {
            let known = one.values();
            matrix.push(known.filter_map(|(key, value)| ids.get(&key).map(|id| (*id, value))));
        }
        progress(1.0);
        Self {
            matrix,
            keys,
            plain,
            counts: frequencies,
        }
    }

    /// How many features there are.
    #[must_use]
    pub fn features(&self) -> usize {
        self.keys.len()
    }
}

/// The fitted heads, before rounding.
#[derive(Debug)]
pub struct Heads {
    tasks: Weights,
    complexity: Option<Weights>,
    weak_fails: Option<Weights>,
    injection: Option<Weights>,
    output: Option<Weights>,
}

/// What a training run says while it runs.
pub type Progress<'p> = &'p mut dyn FnMut(&str, f32);

/// Fits every head that the rows have labels for. `keep` says which rows may be used.
#[must_use]
pub fn fit_heads(
    prepared: &Prepared,
    rows: &[Row],
    recipe: &Recipe,
    keep: &dyn Fn(usize) -> bool,
    progress: Progress<'_>,
) -> Heads {
    let run = |examples: Vec<Chosen>, params: FitParams, progress: &mut dyn FnMut(f32)| {
        let examples = kept(examples, keep);
        let features = if params.measures {
            prepared.features()
        } else {
            prepared.plain
        };
        (!examples.is_empty()).then(|| fit(&prepared.matrix, features, &examples, params, progress))
    };
    let tasks = fit_tasks(prepared, rows, recipe, keep, progress);
    let each = |params: FitParams| FitParams {
        loss: Loss::Each,
        ..params
    };
    Heads {
        tasks,
        complexity: fit_complexity(&run, rows, recipe, progress),
        weak_fails: run(
            recipe.routing_examples(rows),
            each(recipe.weak_fails),
            &mut |share| {
                progress("weak_fails", share);
            },
        ),
        injection: run(
            recipe.injection_examples(rows),
            each(recipe.injection),
            &mut |share| {
                progress("injection", share);
            },
        ),
        output: run(
            recipe.output_examples(rows),
            each(recipe.output),
            &mut |share| {
                progress("output length", share);
            },
        ),
    }
}

fn kept(examples: Vec<Chosen>, keep: &dyn Fn(usize) -> bool) -> Vec<Example> {
    examples
        .into_iter()
        .filter(|chosen| keep(chosen.row))
        .map(|chosen| Example {
            row: chosen.row,
            weight: chosen.weight,
            target: chosen.target,
        })
        .collect()
}

/// The mean of a few fits, each with its own sample of the large sources and its own order: what one
/// fit took for a rule by chance, the others do not.
#[allow(clippy::cast_precision_loss, reason = "a handful of fits")]
fn fit_tasks(
    prepared: &Prepared,
    rows: &[Row],
    recipe: &Recipe,
    keep: &dyn Fn(usize) -> bool,
    progress: Progress<'_>,
) -> Weights {
    let mut sum = Weights {
        outputs: Task::COUNT,
        weights: vec![0.0; prepared.plain * Task::COUNT],
        biases: vec![0.0; Task::COUNT],
    };
    let share = 1.0 / recipe.fits as f32;
    for seed in 0..recipe.fits {
        let examples = kept(recipe.task_examples(rows, seed), keep);
        if examples.is_empty() {
            break;
        }
        let params = FitParams {
            seed,
            ..recipe.tasks
        };
        let fitted = fit(
            &prepared.matrix,
            prepared.plain,
            &examples,
            params,
            &mut |done| {
                progress("tasks", (seed as f32 + done) * share);
            },
        );
        for (sum, weight) in sum.weights.iter_mut().zip(fitted.weights) {
            *sum += weight * share;
        }
        for (sum, bias) in sum.biases.iter_mut().zip(fitted.biases) {
            *sum += bias * share;
        }
    }
    sum
}

/// Fits one head on chosen rows; nothing when there are none.
type Fit<'f> = &'f dyn Fn(Vec<Chosen>, FitParams, &mut dyn FnMut(f32)) -> Option<Weights>;

/// Own rows, and those of other sources where the recipe places them. The mean of a few fits, each with
/// its own sample of the large sources.
#[allow(clippy::cast_precision_loss, reason = "a handful of fits")]
fn fit_complexity(
    run: Fit<'_>,
    rows: &[Row],
    recipe: &Recipe,
    progress: Progress<'_>,
) -> Option<Weights> {
    let mut sum: Option<Weights> = None;
    let share = 1.0 / recipe.complexity_fits as f32;
    for seed in 0..recipe.complexity_fits {
        let params = FitParams {
            loss: Loss::Each,
            seed,
            ..recipe.complexity
        };
        let mut examples = recipe.complexity_examples(rows);
        examples.extend(recipe.more_complexity_examples(rows, seed));
        let mut fitted = run(examples, params, &mut |done| {
            progress("complexity", (seed as f32 + done) * share);
        })?;
        let all = fitted.weights.iter_mut().chain(&mut fitted.biases);
        all.for_each(|weight| *weight *= share);
        sum = Some(match sum {
            None => fitted,
            Some(sum) => sum.plus(&fitted),
        });
    }
    sum
}

/// Rows that ask for the same in a system prompt and send the material alone, as products do. Made of
/// own rows whose request ends with a colon or a line break.
#[must_use]
pub fn with_system_prompts(mut rows: Vec<Row>) -> Vec<Row> {
    let made: Vec<Row> = rows.iter().enumerate().filter_map(split_request).collect();
    rows.extend(made);
    rows
}

fn split_request((at, row): (usize, &Row)) -> Option<Row> {
    let task = row.task()?;
    let over_material = matches!(
        task,
        Task::Translation
            | Task::Summarization
            | Task::Rewriting
            | Task::Extraction
            | Task::Classification
    );
    if row.source.is_some() || row.system.is_some() || !row.turns.is_empty() || !over_material {
        return None;
    }
    let end = row.text.find(['\n', ':', '：'])?;
    let (request, rest) = row.text.split_at(end);
    let material = rest.trim_start_matches(['\n', ':', '：', ' ']);
    if request.len() < 8 || material.len() < 12 {
        return None;
    }
    Some(Row {
        id: format!("{}-system", row.id),
        // Half of them without the material, which would teach that plain prose asks for something.
        text: if at % 2 == 0 {
            material.to_owned()
        } else {
            String::new()
        },
        system: Some(format!("{request}.")),
        made_of: Some(at),
        ..row.clone()
    })
}

impl Heads {
    fn weight(&self, column: usize, feature: usize) -> f32 {
        // Most heads know nothing of measures, which come last.
        let of = |weights: &[f32], at: usize| weights.get(at).copied().unwrap_or(0.0);
        if column < Task::COUNT {
            return of(&self.tasks.weights, feature * Task::COUNT + column);
        }
        self.head(column)
            .map_or(0.0, |head| of(&head.weights, feature))
    }

    fn bias(&self, column: usize) -> f32 {
        if column < Task::COUNT {
            return self.tasks.biases[column];
        }
        self.head(column).map_or(0.0, |weights| weights.biases[0])
    }

    fn head(&self, column: usize) -> Option<&Weights> {
        match column {
            COMPLEXITY => self.complexity.as_ref(),
            WEAK_FAILS => self.weak_fails.as_ref(),
            INJECTION => self.injection.as_ref(),
            OUTPUT => self.output.as_ref(),
            _ => None,
        }
    }

    /// The logits of the tasks for a row.
    #[must_use]
    pub fn task_logits(&self, prepared: &Prepared, row: usize) -> Vec<f32> {
        self.tasks.logits(&prepared.matrix, row)
    }

    /// The logit of another head.
    #[must_use]
    pub fn logit(&self, prepared: &Prepared, row: usize, column: usize) -> Option<f32> {
        self.head(column)
            .map(|weights| weights.logits(&prepared.matrix, row)[0])
    }

    /// Rounds to small integers, dropping all but the features that say most.
    #[must_use]
    pub fn round(&self, prepared: &Prepared, most_features: usize) -> (Numbers, Vec<TrainedRow>) {
        let features = prepared.features();
        let mut scales = [0.0_f32; COLUMNS];
        for (column, scale) in scales.iter_mut().enumerate() {
            // Few weights are this large; cutting them costs less than coarser steps for all.
            let mut sizes: Vec<f32> = (0..features)
                .map(|feature| self.weight(column, feature).abs())
                .filter(|size| *size > 0.0)
                .collect();
            sizes.sort_by(f32::total_cmp);
            let at = sizes.len().saturating_sub(1 + sizes.len() / 2_000);
            *scale = sizes.get(at).map_or(1.0, |top| top / 127.0).max(1e-6);
        }
        let spreads: [f32; COLUMNS] = std::array::from_fn(|column| self.spread(column, features));
        let mut ranked: Vec<(f32, usize)> = (0..features)
            .map(|feature| (self.says(prepared, feature, &spreads), feature))
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked.truncate(most_features);
        let mut kept: Vec<usize> = ranked.into_iter().map(|(_, feature)| feature).collect();
        kept.sort_unstable();
        let rows = kept
            .into_iter()
            .map(|feature| TrainedRow {
                key: prepared.keys[feature],
                weights: std::array::from_fn(|column| {
                    rounded(self.weight(column, feature) / scales[column])
                }),
            })
            .filter(|row| row.weights.iter().any(|weight| *weight != 0))
            .collect();
        let numbers = Numbers {
            scales,
            biases: std::array::from_fn(|column| self.bias(column)),
            sharpness: [1.0; 3],
            complexity: [1.0, 0.0],
            weak_fails: [1.0, 0.0, 0.0],
            injection_from: f32::MAX,
        };
        (numbers, rows)
    }

    /// The root mean square of a column's weights.
    #[allow(clippy::cast_precision_loss, reason = "a scale")]
    fn spread(&self, column: usize, features: usize) -> f32 {
        let squares = (0..features).map(|feature| self.weight(column, feature).powi(2));
        (squares.sum::<f32>() / features.max(1) as f32)
            .sqrt()
            .max(1e-9)
    }

    /// What a feature says: how far its weights are from nothing, heads counting alike, and how often
    /// it is there to say it.
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    fn says(&self, prepared: &Prepared, feature: usize, spreads: &[f32; COLUMNS]) -> f32 {
        let squared = |column: usize| (self.weight(column, feature) / spreads[column]).powi(2);
        let tasks: f32 = (0..Task::COUNT).map(squared).sum();
        let others: f32 = (Task::COUNT..COLUMNS).map(squared).sum();
        (tasks / Task::COUNT as f32 * 4.0 + others) * (prepared.counts[feature] as f32).sqrt()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "clamped")]
fn rounded(value: f32) -> i8 {
    value.round().clamp(-127.0, 127.0) as i8
}

/// Trains on rows and returns the bytes of a weights file.
#[must_use]
pub fn train(rows: Vec<Row>, header: &str, recipe: &Recipe, progress: Progress<'_>) -> Vec<u8> {
    let rows = &padding::with_padding(with_system_prompts(rows), recipe)[..];
    let prepared = Prepared::of(rows, &mut |share| progress("reading", share));
    let heads = fit_heads(&prepared, rows, recipe, &|_| true, progress);
    let (mut numbers, trained) = heads.round(&prepared, recipe.most_features);
    recipe.calibrate(&prepared, rows, &mut numbers, progress);
    Model::encode(header, &numbers, &trained)
}
