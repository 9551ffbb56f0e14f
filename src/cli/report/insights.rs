//! Where money could be saved: the dearest patterns, repeats that a cache would have served, and cells
//! where a cheaper model scores the same. Each with the amount, from what the ledger has seen; nothing
//! is asked of a model.

mod show;

use std::collections::BTreeMap;
use std::io::Write;

use super::{Format, ReportError, View};
use crate::stores::{
    CellScore, Dimension, LedgerError, Repeats, Report, ReportQuery, ReportReads, TimeRange,
};
use crate::types::PicoUsd;

/// How many of a kind are shown to people.
const SHOWN: usize = 10;
/// Requests of a model in a cell from which its mean cost is taken for typical.
const LEAST_REQUESTS: u64 = 20;
/// Contender answers of each model from which two are compared: below it the normal approximation of
/// the interval is not to be trusted.
const LEAST_SCORES: u64 = 30;
/// The two-sided 95 % quantile of the normal distribution.
const Z_95: f64 = 1.959_964;
/// By how much a mean reward (0..=1) may be lower and still count as the same.
const MARGIN: f64 = 0.05;

/// What was found in a period.
#[derive(Debug)]
pub(super) struct Insights {
    range: TimeRange,
    total: PicoUsd,
    patterns: Vec<Pattern>,
    repeats: Vec<Repeats>,
    cheaper: Vec<Alternative>,
    /// Answers with feedback in the period.
    scored: u64,
}

/// An application's requests in one cell.
#[derive(Debug)]
struct Pattern {
    app: String,
    task: String,
    level: String,
    requests: u64,
    cost: PicoUsd,
    /// The model with the lowest mean cost in the cell, and what its price would have saved at most.
    cheapest: Option<(String, PicoUsd)>,
}

/// What the figures say about two models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// The cheaper one is at most the margin worse.
    Same,
    /// The cheaper one is worse.
    Worse,
    /// The interval holds both.
    Unclear,
    /// Too few scored answers to say anything.
    Thin,
}

impl Evidence {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Worse => "worse",
            Self::Unclear => "unclear",
            Self::Thin => "too thin",
        }
    }
}

/// Two models of a cell, the dearer one in use.
#[derive(Debug)]
struct Alternative {
    task: String,
    level: String,
    model: Contender,
    cheaper: Contender,
    evidence: Evidence,
    /// The difference of the mean rewards, cheaper less dearer, and half its 95 % interval; none
    /// without two scores each.
    difference: Option<(f64, f64)>,
    /// What the dearer one's requests would have cost less at the cheaper one's mean cost.
    saves: PicoUsd,
}

/// A model in a cell.
#[derive(Debug, Clone)]
struct Contender {
    name: String,
    requests: u64,
    cost: PicoUsd,
    scored: u64,
    mean: f64,
    variance: f64,
}

impl Contender {
    /// What so many requests cost at this model's mean.
    fn at_mean(&self, requests: u64) -> PicoUsd {
        let all = self.cost.saturating_mul(requests).pico();
        PicoUsd::from_pico(all / i128::from(self.requests.max(1)))
    }

    /// Whether this model's requests are cheaper in the mean; compared across, without division.
    fn is_cheaper_than(&self, other: &Self) -> bool {
        self.cost.saturating_mul(other.requests) < other.cost.saturating_mul(self.requests)
    }
}

impl Insights {
    /// Asks the ledger: one report, the scores, the repeats.
    pub fn draw(ledger: &dyn ReportReads, range: TimeRange) -> Result<Self, LedgerError> {
        let by = vec![
            Dimension::App,
            Dimension::Task,
            Dimension::Level,
            Dimension::Model,
        ];
        let report = ledger.report(&ReportQuery {
            range,
            by,
            at_most: None,
        })?;
        let scores = ledger.scores(range)?;
        let cells = cells(&report, &scores);
        let mut repeats = ledger.repeats(range)?;
        repeats.sort_by_key(|row| std::cmp::Reverse((row.within_day.cost, row.ever.cost)));
        Ok(Self {
            range,
            total: report.total.cost,
            patterns: patterns(&report, &cells),
            repeats,
            cheaper: cheaper(&cells),
            scored: scores.iter().map(|score| score.scored).sum(),
        })
    }
}

type Cells = BTreeMap<(String, String), Vec<Contender>>;

/// The models of each cell that answered anything.
fn cells(report: &Report, scores: &[CellScore]) -> Cells {
    let mut models: BTreeMap<[&str; 3], (u64, PicoUsd)> = BTreeMap::new();
    for row in &report.rows {
        if let [_, task, level, model] = row.values.as_slice() {
            let (requests, cost) = models.entry([task, level, model]).or_default();
            *requests += row.sums.requests;
            *cost += row.sums.cost;
        }
    }
    let mut cells = Cells::new();
    for ([task, level, model], (requests, cost)) in models {
        if requests == 0 || model == "-" {
            continue;
        }
        let score = scores.iter().find(|score| {
            [score.task.as_str(), &score.level, &score.model] == [task, level, model]
        });
        let (scored, mean, variance) = score.map_or((0, 0.0, 0.0), statistics);
        let cell = cells.entry((task.to_owned(), level.to_owned()));
        cell.or_default().push(Contender {
            name: model.to_owned(),
            requests,
            cost,
            scored,
            mean,
            variance,
        });
    }
    cells
}

/// Count, mean and the unbiased variance.
fn statistics(score: &CellScore) -> (u64, f64, f64) {
    let count = as_f64(score.scored);
    let mean = score.reward_sum / count.max(1.0);
    let spread = score.reward_square_sum - count * mean * mean;
    (score.scored, mean, spread.max(0.0) / (count - 1.0).max(1.0))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts of answers are far below 2^53"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}

fn patterns(report: &Report, cells: &Cells) -> Vec<Pattern> {
    let mut sums: BTreeMap<[&str; 3], (u64, PicoUsd)> = BTreeMap::new();
    for row in &report.rows {
        if let [app, task, level, _] = row.values.as_slice() {
            let (requests, cost) = sums.entry([app, task, level]).or_default();
            *requests += row.sums.requests;
            *cost += row.sums.cost;
        }
    }
    let mut patterns: Vec<_> = sums
        .into_iter()
        .filter(|(_, (_, cost))| cost.is_positive())
        .map(|([app, task, level], (requests, cost))| {
            let cell = cells.get(&(task.to_owned(), level.to_owned()));
            let typical = cell.into_iter().flatten();
            let typical = typical.filter(|model| model.requests >= LEAST_REQUESTS);
            let cheapest = typical.min_by_key(|model| model.at_mean(1_000_000));
            let cheapest = cheapest.map(|model| {
                let saves = (cost - model.at_mean(requests)).at_least_zero();
                (model.name.clone(), saves)
            });
            Pattern {
                app: app.to_owned(),
                task: task.to_owned(),
                level: level.to_owned(),
                requests,
                cost,
                cheapest: cheapest.filter(|(_, saves)| saves.is_positive()),
            }
        })
        .collect();
    patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.cost));
    patterns
}

/// For each model in use, the cheaper one of its cell that saves the most: one that scores the same if
/// there is one, else the one with the best evidence.
fn cheaper(cells: &Cells) -> Vec<Alternative> {
    let mut found = Vec::new();
    for ((task, level), models) in cells {
        for model in models.iter().filter(|model| model.cost.is_positive()) {
            let candidates = models.iter().filter(|other| other.is_cheaper_than(model));
            let pairs = candidates.map(|other| pair(task, level, model, other));
            let worth = |pair: &Alternative| (pair.evidence == Evidence::Same, pair.saves);
            found.extend(pairs.max_by_key(worth));
        }
    }
    found.sort_by_key(|pair| std::cmp::Reverse((pair.evidence == Evidence::Same, pair.saves)));
    found
}

fn pair(task: &str, level: &str, model: &Contender, cheaper: &Contender) -> Alternative {
    let difference = (model.scored >= 2 && cheaper.scored >= 2).then(|| {
        let error =
            model.variance / as_f64(model.scored) + cheaper.variance / as_f64(cheaper.scored);
        (cheaper.mean - model.mean, Z_95 * error.sqrt())
    });
    let is_thin = model.scored < LEAST_SCORES || cheaper.scored < LEAST_SCORES;
    let evidence = match difference {
        Some((difference, half)) if !is_thin => {
            if difference - half >= -MARGIN {
                Evidence::Same
            } else if difference + half < -MARGIN {
                Evidence::Worse
            } else {
                Evidence::Unclear
            }
        }
        _ => Evidence::Thin,
    };
    Alternative {
        task: task.to_owned(),
        level: level.to_owned(),
        model: model.clone(),
        cheaper: cheaper.clone(),
        evidence,
        difference,
        saves: (model.cost - cheaper.at_mean(model.requests)).at_least_zero(),
    }
}

/// Writes them.
pub(super) fn write(
    format: Format,
    view: View,
    ledger: &dyn ReportReads,
    range: TimeRange,
    out: &mut dyn Write,
) -> Result<(), ReportError> {
    let insights = Insights::draw(ledger, range)?;
    match format {
        Format::Table => insights.write_table(view.colour, out)?,
        Format::Json => {
            let json = insights.to_json().map_err(std::io::Error::from)?;
            writeln!(out, "{json}")?;
        }
        Format::Csv | Format::Focus => {
            return Err(ReportError::Arguments(
                "--insights: take --format table or json",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
