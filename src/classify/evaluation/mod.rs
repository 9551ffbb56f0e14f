//! How good a classifier is on labelled rows: every figure of the model card, computed in one place so
//! that the command, the tests and the card agree. Only reads; nothing here runs while serving.

pub mod gadgets;
pub mod metrics;
pub mod plot;

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::Classifier;
use super::task::Task;
use super::training::rows::Row;
use metrics::{Bin, Confusion, Curve, Outcome};

/// Everything that the rows have labels for.
#[derive(Debug, Serialize)]
pub struct Evaluation {
    /// Rows read.
    pub rows: usize,
    /// Tasks, over all rows with one.
    pub tasks: Option<TaskFigures>,
    /// Tasks, source by source.
    pub tasks_by_source: BTreeMap<String, TaskFigures>,
    /// Mean accuracy and macro-F1 over the sources.
    pub tasks_mean_of_sources: Option<[f64; 2]>,
    /// Complexity, source by source.
    pub complexity: BTreeMap<String, RankFigures>,
    /// Routing by `weak_fails`, by family of sources (the name up to the first `_` or `/`).
    pub routing: BTreeMap<String, RoutingFigures>,
    /// The injection signal.
    pub injection: Option<InjectionFigures>,
    /// What gadgets around the prompts do, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gadgets: Vec<gadgets::GadgetFigures>,
    /// Time per prompt.
    pub time: TimeFigures,
}

/// How well tasks are told.
#[derive(Debug, Serialize)]
pub struct TaskFigures {
    /// Rows with a task.
    pub rows: u32,
    /// Share of rows told right, before abstaining.
    pub accuracy: f64,
    /// Mean F1 of the tasks that have rows.
    pub macro_f1: f64,
    /// Expected calibration error of the confidence.
    pub ece: f64,
    /// Accuracy with the least confident fifth abstained from.
    pub accuracy_without_least_sure_fifth: f64,
    /// Task by task.
    pub by_task: BTreeMap<&'static str, ClassFigures>,
    /// Right task → said task → rows.
    pub confusion: BTreeMap<&'static str, BTreeMap<&'static str, u32>>,
    /// The reliability diagram.
    pub reliability: Vec<BinFigures>,
}

/// How well one task is told.
#[derive(Debug, Serialize)]
pub struct ClassFigures {
    /// Rows of this task.
    pub rows: u32,
    /// Of what was called so, the share that is.
    pub precision: f64,
    /// Of what is so, the share that was called so.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// One bar of the reliability diagram.
#[derive(Debug, Serialize)]
pub struct BinFigures {
    /// Answers in it.
    pub rows: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// Share of them that is right.
    pub accuracy: f64,
}

/// Rank correlations with a labelled complexity.
#[derive(Debug, Serialize)]
pub struct RankFigures {
    /// Rows with a complexity.
    pub rows: usize,
    /// Spearman's coefficient of the classifier's complexity.
    pub spearman: Option<f64>,
    /// The same of the prompt's length alone.
    pub by_length: Option<f64>,
}

/// Routing between two models by a score.
#[derive(Debug, Serialize)]
pub struct RoutingFigures {
    /// Rows with outcomes.
    pub rows: usize,
    /// Accuracy when everything goes to the weak and to the strong model.
    pub weak_and_strong: [f64; 2],
    /// By `weak_fails`.
    pub weak_fails: CurveFigures,
    /// By `weak_fails` without the term for the length.
    pub without_length: CurveFigures,
    /// By the prompt's length alone.
    pub length: CurveFigures,
    /// By a fixed random number.
    pub random: CurveFigures,
}

/// What is read off a routing curve.
#[derive(Debug, Serialize)]
pub struct CurveFigures {
    /// Average performance gap recovered.
    pub apgr: f64,
    /// Performance gap recovered with half of the calls strong.
    pub pgr50: f64,
    /// Share of strong calls that recovers half of the gap.
    pub cpt50: f64,
    /// Share of strong calls that recovers four fifths of the gap.
    pub cpt80: f64,
    /// (share of strong calls, accuracy).
    pub points: Vec<(f64, f64)>,
}

/// The injection signal at its threshold.
#[derive(Debug, Serialize)]
pub struct InjectionFigures {
    /// Injections and benign rows.
    pub rows: [u32; 2],
    /// Of what was flagged, the share that is an injection; with its 95 % interval.
    pub precision: [f64; 3],
    /// Of the injections, the share that was flagged; with its 95 % interval.
    pub recall: [f64; 3],
    /// Of the benign rows, the share that was flagged; with its 95 % interval.
    pub false_alarms: [f64; 3],
    /// Probability that an injection scores above a benign row.
    pub auc: f64,
}

/// Microseconds for one prompt on this machine, decoding not included.
#[derive(Debug, Serialize)]
pub struct TimeFigures {
    /// Median.
    pub p50_us: f64,
    /// 95th percentile.
    pub p95_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// What the classifier says of one row.
struct Verdict {
    task: usize,
    confidence: f64,
    complexity: f64,
    weak_fails: f64,
    without_length: f64,
    injection: f64,
    flagged: bool,
    micros: f64,
}

/// Classifies every row and compares.
#[must_use]
pub fn evaluate(
    classifier: &Classifier,
    rows: &[Row],
    progress: &mut dyn FnMut(usize),
) -> Evaluation {
    let verdicts: Vec<Verdict> = rows
        .iter()
        .enumerate()
        .map(|(at, row)| {
            progress(at);
            verdict(classifier, row)
        })
        .collect();
    let both: Vec<(&Row, &Verdict)> = rows.iter().zip(&verdicts).collect();
    let tasks_by_source: BTreeMap<String, TaskFigures> = grouped(&both, |row| {
        row.task.is_some().then(|| row.source().to_owned())
    })
    .into_iter()
    .filter_map(|(source, of)| Some((source, tasks(&of)?)))
    .collect();
    let mean = |figure: fn(&TaskFigures) -> f64| {
        metrics::mean(&tasks_by_source.values().map(figure).collect::<Vec<_>>())
    };
    Evaluation {
        rows: rows.len(),
        tasks: tasks(&both),
        tasks_mean_of_sources: (!tasks_by_source.is_empty())
            .then(|| [mean(|of| of.accuracy), mean(|of| of.macro_f1)]),
        tasks_by_source,
        complexity: complexities(&both),
        routing: routings(&both),
        injection: injection(&both),
        gadgets: Vec::new(),
        time: time(&verdicts),
    }
}

fn verdict(classifier: &Classifier, row: &Row) -> Verdict {
    let call = row.call();
    let started = Instant::now();
    let features = classifier.classify(&call);
    let micros = started.elapsed().as_secs_f64() * 1e6;
    let heads = classifier.heads(&call);
    Verdict {
        task: Task::parse(features.task.as_str()).map_or(Task::Other.index(), Task::index),
        confidence: f64::from(features.confidence),
        complexity: f64::from(features.complexity),
        weak_fails: f64::from(features.weak_fails),
        without_length: f64::from(heads.weak_fails_without_length),
        injection: f64::from(heads.injection),
        flagged: heads.flagged,
        micros,
    }
}

fn grouped<'a>(
    both: &[(&'a Row, &'a Verdict)],
    name: impl Fn(&Row) -> Option<String>,
) -> BTreeMap<String, Vec<(&'a Row, &'a Verdict)>> {
    let mut groups: BTreeMap<String, Vec<(&Row, &Verdict)>> = BTreeMap::new();
    for &(row, verdict) in both {
        if let Some(name) = name(row) {
            groups.entry(name).or_default().push((row, verdict));
        }
    }
    groups
}

fn tasks(both: &[(&Row, &Verdict)]) -> Option<TaskFigures> {
    let mut confusion = Confusion::new(Task::COUNT);
    let mut answers = Vec::new();
    for (row, verdict) in both {
        if let Some(task) = row.task() {
            confusion.add(task.index(), verdict.task);
            answers.push((verdict.confidence, verdict.task == task.index()));
        }
    }
    if answers.is_empty() {
        return None;
    }
    let bins = metrics::reliability(&answers);
    Some(TaskFigures {
        rows: confusion.total(),
        accuracy: confusion.accuracy(),
        macro_f1: confusion.macro_f1(),
        ece: metrics::ece(&bins),
        accuracy_without_least_sure_fifth: metrics::accuracy_without(&answers, 0.2),
        by_task: by_task(&confusion),
        confusion: confused(&confusion),
        reliability: bins.iter().map(bar).collect(),
    })
}

fn by_task(confusion: &Confusion) -> BTreeMap<&'static str, ClassFigures> {
    let all = Task::ALL.into_iter();
    let scores = all.map(|task| (task.as_str(), confusion.class(task.index())));
    scores
        .filter(|(_, score)| score.rows > 0)
        .map(|(name, score)| {
            let figures = ClassFigures {
                rows: score.rows,
                precision: score.precision,
                recall: score.recall,
                f1: score.f1,
            };
            (name, figures)
        })
        .collect()
}

fn confused(confusion: &Confusion) -> BTreeMap<&'static str, BTreeMap<&'static str, u32>> {
    let row = |right: Task| -> BTreeMap<&'static str, u32> {
        let said = Task::ALL.into_iter();
        said.map(|said| (said.as_str(), confusion.count(right.index(), said.index())))
            .filter(|(_, count)| *count > 0)
            .collect()
    };
    let all = Task::ALL.into_iter();
    all.map(|right| (right.as_str(), row(right)))
        .filter(|(_, row)| !row.is_empty())
        .collect()
}

fn bar(bin: &Bin) -> BinFigures {
    BinFigures {
        rows: bin.rows,
        confidence: bin.confidence,
        accuracy: bin.accuracy,
    }
}

#[allow(clippy::cast_precision_loss, reason = "lengths are below 2^52")]
fn length(row: &Row) -> f64 {
    row.text.len() as f64
}

fn complexities(both: &[(&Row, &Verdict)]) -> BTreeMap<String, RankFigures> {
    let groups = grouped(both, |row| row.complexity.map(|_| row.source().to_owned()));
    let figures = |of: &Vec<(&Row, &Verdict)>| {
        let pairs = |score: &dyn Fn(&Row, &Verdict) -> f64| -> Vec<(f64, f64)> {
            of.iter()
                .map(|(row, verdict)| {
                    (
                        score(row, verdict),
                        f64::from(row.complexity.unwrap_or(0.0)),
                    )
                })
                .collect()
        };
        RankFigures {
            rows: of.len(),
            spearman: metrics::spearman(&pairs(&|_, verdict| verdict.complexity)),
            by_length: metrics::spearman(&pairs(&|row, _| length(row))),
        }
    };
    groups
        .iter()
        .map(|(name, of)| (name.clone(), figures(of)))
        .collect()
}

fn routings(both: &[(&Row, &Verdict)]) -> BTreeMap<String, RoutingFigures> {
    let groups = grouped(both, |row| {
        let labelled = row.strong_correct.is_some() && row.weak_correct.is_some();
        let family = row.source().split(['_', '/']).next();
        family.filter(|_| labelled).map(str::to_owned)
    });
    groups
        .iter()
        .filter_map(|(name, of)| Some((name.clone(), routing(of)?)))
        .collect()
}

fn routing(of: &[(&Row, &Verdict)]) -> Option<RoutingFigures> {
    let curve = |score: &dyn Fn(usize, &Row, &Verdict) -> f64| -> Option<CurveFigures> {
        let outcomes: Vec<Outcome> = of
            .iter()
            .enumerate()
            .map(|(at, (row, verdict))| Outcome {
                score: score(at, row, verdict),
                strong: f64::from(row.strong_correct.unwrap_or(0.0)),
                weak: f64::from(row.weak_correct.unwrap_or(0.0)),
            })
            .collect();
        metrics::curve(&outcomes).map(figures_of)
    };
    let weak_fails = curve(&|_, _, verdict| verdict.weak_fails)?;
    Some(RoutingFigures {
        rows: of.len(),
        weak_and_strong: [weak_fails.points.first()?.1, weak_fails.points.last()?.1],
        without_length: curve(&|_, _, verdict| verdict.without_length)?,
        length: curve(&|_, row, _| length(row))?,
        random: curve(&|at, _, _| scattered(at))?,
        weak_fails,
    })
}

/// A number that looks random and is the same every time.
#[allow(clippy::cast_precision_loss, reason = "any number will do")]
fn scattered(at: usize) -> f64 {
    super::words::mix(0x5ca7, at as u64) as f64
}

fn figures_of(curve: Curve) -> CurveFigures {
    CurveFigures {
        apgr: curve.apgr,
        pgr50: curve.pgr50,
        cpt50: curve.cpt50,
        cpt80: curve.cpt80,
        points: curve.points,
    }
}

fn injection(both: &[(&Row, &Verdict)]) -> Option<InjectionFigures> {
    let mut scores: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut flagged = [0_u32; 2];
    for (row, verdict) in both {
        let Some(label) = &row.label else { continue };
        let side = usize::from(label != "injection");
        scores[side].push(verdict.injection);
        flagged[side] += u32::from(verdict.flagged);
    }
    let counts = [&scores[0], &scores[1]].map(|of| u32::try_from(of.len()).unwrap_or(u32::MAX));
    if counts[0] == 0 {
        return None;
    }
    let share = |hits: u32, rows: u32| {
        let (low, high) = metrics::wilson(hits, rows);
        [f64::from(hits) / f64::from(rows.max(1)), low, high]
    };
    Some(InjectionFigures {
        rows: counts,
        precision: share(flagged[0], flagged[0] + flagged[1]),
        recall: share(flagged[0], counts[0]),
        false_alarms: share(flagged[1], counts[1]),
        auc: auc(&scores[0], &scores[1]),
    })
}

fn auc(above: &[f64], below: &[f64]) -> f64 {
    let mut sum = 0.0;
    for high in above {
        for low in below {
            sum += match high.total_cmp(low) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "counts are below 2^52")]
    let pairs = (above.len() * below.len()).max(1) as f64;
    sum / pairs
}

fn time(verdicts: &[Verdict]) -> TimeFigures {
    let mut micros: Vec<f64> = verdicts.iter().map(|verdict| verdict.micros).collect();
    micros.sort_by(f64::total_cmp);
    let at = |share: usize| micros.get(micros.len() * share / 100).copied();
    TimeFigures {
        p50_us: at(50).unwrap_or(0.0),
        p95_us: at(95).unwrap_or(0.0),
        max_us: micros.last().copied().unwrap_or(0.0),
    }
}
