//! Figures of merit: counts in, shares out. Nothing here knows the classifier.

/// Right and wrong answers by class.
#[derive(Clone, Debug)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u32>,
}

/// How well one class is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScore {
    /// Of what was called so, the share that is.
    pub precision: f64,
    /// Of what is so, the share that was called so.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// Rows of this class.
    pub rows: u32,
}

impl Confusion {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: vec![0; classes * classes],
        }
    }

    /// One answer.
    pub fn add(&mut self, right: usize, said: usize) {
        self.counts[right * self.classes + said] += 1;
    }

    /// How often `said` was answered where `right` is right.
    #[must_use]
    pub fn count(&self, right: usize, said: usize) -> u32 {
        self.counts[right * self.classes + said]
    }

    /// All answers.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// Share of right answers.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        let right: u32 = (0..self.classes).map(|at| self.count(at, at)).sum();
        share(right, self.total())
    }

    /// The scores of one class.
    #[must_use]
    pub fn class(&self, class: usize) -> ClassScore {
        let hit = self.count(class, class);
        let said = (0..self.classes).map(|at| self.count(at, class)).sum();
        let rows = (0..self.classes).map(|at| self.count(class, at)).sum();
        ClassScore {
            precision: share(hit, said),
            recall: share(hit, rows),
            f1: share(2 * hit, said + rows),
            rows,
        }
    }

    /// Mean F1 of the classes that have rows (as scikit-learn has it when given those labels).
    #[must_use]
    pub fn macro_f1(&self) -> f64 {
        let scores = (0..self.classes).map(|class| self.class(class));
        let present: Vec<f64> = scores
            .filter(|score| score.rows > 0)
            .map(|score| score.f1)
            .collect();
        mean(&present)
    }
}

fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    f64::from(part) / f64::from(whole)
}

/// The mean; 0 of nothing.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts are below 2^52")]
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().sum::<f64>() / values.len() as f64
}

/// One bin of a reliability diagram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Answers in it.
    pub rows: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// Share of them that is right.
    pub accuracy: f64,
}

/// Bins of equal width, as in Guo et al., "On Calibration of Modern Neural Networks" (2017).
pub const BINS: usize = 15;

/// Answers by their confidence.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "confidences are 0..=1, counts below 2^52"
)]
pub fn reliability(answers: &[(f64, bool)]) -> [Bin; BINS] {
    let mut bins = [Bin::default(); BINS];
    for &(confidence, right) in answers {
        let bin = &mut bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
        bin.rows += 1;
        bin.confidence += confidence;
        bin.accuracy += f64::from(u8::from(right));
    }
    for bin in bins.iter_mut().filter(|bin| bin.rows > 0) {
        bin.confidence /= bin.rows as f64;
        bin.accuracy /= bin.rows as f64;
    }
    bins
}

/// Expected calibration error: the mean distance of confidence and accuracy, weighted by rows.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts are below 2^52")]
pub fn ece(bins: &[Bin]) -> f64 {
    let rows: usize = bins.iter().map(|bin| bin.rows).sum();
    let weighted: f64 = bins
        .iter()
        .map(|bin| bin.rows as f64 * (bin.confidence - bin.accuracy).abs())
        .sum();
    weighted / (rows.max(1)) as f64
}

/// Accuracy when the least confident `share` of the answers is abstained from.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts are below 2^52"
)]
pub fn accuracy_without(answers: &[(f64, bool)], share: f64) -> f64 {
    let mut sorted = answers.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    sorted.truncate((answers.len() as f64 * (1.0 - share)).round() as usize);
    let right = sorted.iter().filter(|(_, right)| *right).count();
    right as f64 / sorted.len().max(1) as f64
}

/// Spearman's rank correlation, with mean ranks for ties; `None` when one side does not vary.
#[must_use]
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let xs = ranks(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
    let ys = ranks(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
    let (mean_x, mean_y) = (mean(&xs), mean(&ys));
    let mut sums = [0.0; 3];
    for (x, y) in xs.iter().zip(&ys) {
        let (dx, dy) = (x - mean_x, y - mean_y);
        sums[0] += dx * dy;
        sums[1] += dx * dx;
        sums[2] += dy * dy;
    }
    (sums[1] > 0.0 && sums[2] > 0.0).then(|| sums[0] / (sums[1] * sums[2]).sqrt())
}

#[allow(clippy::cast_precision_loss, reason = "counts are below 2^52")]
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]).then(a.cmp(&b)));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let same = |&at: &usize| values[at].total_cmp(&values[order[from]]).is_eq();
        let to = from + order[from..].iter().take_while(|at| same(at)).count();
        for &at in &order[from..to] {
            ranks[at] = (from + to - 1) as f64 / 2.0;
        }
        from = to;
    }
    ranks
}

/// What two models got right of one question, and a score of how much it needs the strong one.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Higher goes to the strong model first.
    pub score: f64,
    /// What the strong model got right, 0..=1.
    pub strong: f64,
    /// What the weak model got right, 0..=1.
    pub weak: f64,
}

/// A router's curve and what is read off it (`RouteLLM`, arXiv 2406.18665).
#[derive(Clone, Debug)]
pub struct Curve {
    /// (share sent to the strong model, accuracy), from all-weak to all-strong.
    pub points: Vec<(f64, f64)>,
    /// Average performance gap recovered: 0 all-weak, 1 all-strong; chance is 0.5.
    pub apgr: f64,
    /// Share of strong calls that recovers half of the gap.
    pub cpt50: f64,
    /// Share of strong calls that recovers four fifths of the gap.
    pub cpt80: f64,
    /// Performance gap recovered with half of the calls strong.
    pub pgr50: f64,
}

/// Thresholds of a curve, at quantiles of the score.
const THRESHOLDS: usize = 10;

/// The curve of a score. `None` when there is no gap between the models.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts are below 2^52")]
pub fn curve(outcomes: &[Outcome]) -> Option<Curve> {
    let rows = outcomes.len();
    let mut sorted = outcomes.to_vec();
    // Equal scores share the mean of their rows: their order in the file must not count.
    sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
    let gains = even_gains(&sorted);
    let weak: f64 = sorted.iter().map(|outcome| outcome.weak).sum::<f64>();
    let strong: f64 = sorted.iter().map(|outcome| outcome.strong).sum::<f64>();
    if rows < THRESHOLDS || (strong - weak).abs() < f64::EPSILON {
        return None;
    }
    let mut points = Vec::with_capacity(THRESHOLDS + 1);
    for step in 0..=THRESHOLDS {
        let sent = rows * step / THRESHOLDS;
        let gained: f64 = gains[..sent].iter().sum();
        points.push((sent as f64 / rows as f64, (weak + gained) / rows as f64));
    }
    let (low, high) = (weak / rows as f64, strong / rows as f64);
    let area: f64 = points
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0) * f64::midpoint(pair[0].1, pair[1].1))
        .sum();
    let recovered = |accuracy: f64| (accuracy - low) / (high - low);
    let needed = |wanted: f64| {
        let reached = points.iter().position(|point| recovered(point.1) >= wanted);
        match reached {
            None => 1.0,
            Some(0) => 0.0,
            Some(at) => {
                let (before, after) = (points[at - 1], points[at]);
                let (from, to) = (recovered(before.1), recovered(after.1));
                before.0 + (after.0 - before.0) * (wanted - from) / (to - from).max(1e-12)
            }
        }
    };
    Some(Curve {
        apgr: (area - low) / (high - low),
        cpt50: needed(0.5),
        cpt80: needed(0.8),
        pgr50: recovered(points[THRESHOLDS / 2].1),
        points,
    })
}

/// What each row gains from the strong model, rows of equal score sharing theirs.
fn even_gains(sorted: &[Outcome]) -> Vec<f64> {
    let mut gains = Vec::with_capacity(sorted.len());
    for same in sorted.chunk_by(|a, b| a.score.total_cmp(&b.score).is_eq()) {
        let each: Vec<f64> = same.iter().map(|row| row.strong - row.weak).collect();
        gains.extend(std::iter::repeat_n(mean(&each), same.len()));
    }
    gains
}

/// Wilson's interval of a share at 95 %.
#[must_use]
pub fn wilson(hits: u32, rows: u32) -> (f64, f64) {
    if rows == 0 {
        return (0.0, 1.0);
    }
    let (n, z2) = (f64::from(rows), 1.96_f64 * 1.96);
    let p = f64::from(hits) / n;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = 1.96 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-9, "{found} != {expect}");
    }

    #[test]
    fn a_confusion_matrix_gives_the_usual_scores() {
        let mut confusion = Confusion::new(3);
        for (right, said) in [(0, 0), (0, 0), (0, 1), (1, 1), (1, 0)] {
            confusion.add(right, said);
        }
        close(confusion.accuracy(), 0.6);
        close(confusion.class(0).precision, 2.0 / 3.0);
        close(confusion.class(1).recall, 0.5);
        close(confusion.macro_f1(), f64::midpoint(2.0 / 3.0, 0.5));
    }

    #[test]
    fn confidence_that_is_a_probability_has_no_calibration_error() {
        let answers: Vec<(f64, bool)> = (0..100).map(|at| (0.75, at % 4 != 0)).collect();
        close(ece(&reliability(&answers)), 0.0);
        let sure: Vec<(f64, bool)> = (0..100).map(|at| (1.0, at % 4 != 0)).collect();
        close(ece(&reliability(&sure)), 0.25);
        let half: Vec<(f64, bool)> = (0..10).map(|at| (f64::from(at) / 10.0, at > 4)).collect();
        close(accuracy_without(&half, 0.5), 1.0);
    }

    #[test]
    fn ranks_correlate_with_ties() {
        let found = spearman(&[(1.0, 10.0), (2.0, 20.0), (2.0, 20.0), (3.0, 30.0)]);
        close(found.expect("both vary"), 1.0);
        assert_eq!(spearman(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }

    #[test]
    fn an_oracle_recovers_more_than_chance() {
        let outcome = |at: u32, score: f64| Outcome {
            score,
            strong: 1.0,
            weak: f64::from(at % 2),
        };
        let oracle: Vec<Outcome> = (0..100)
            .map(|at| outcome(at, f64::from(1 - at % 2)))
            .collect();
        let found = curve(&oracle).expect("there is a gap");
        close(found.apgr, 0.75);
        close(found.cpt50, 0.25);
        let blind: Vec<Outcome> = (0..100).map(|at| outcome(at, 0.0)).collect();
        close(curve(&blind).expect("there is a gap").apgr, 0.5);
    }

    #[test]
    fn intervals_hold_the_share() {
        let (low, high) = wilson(8, 10);
        assert!(low > 0.4 && low < 0.8 && high > 0.8 && high < 1.0);
    }
}
