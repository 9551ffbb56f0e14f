//! Bandit arms: what is known of each model's reward in each cell, and how it depends on the request.
//!
//! Learned from outcomes and feedback (`learn`), read by the policies (`policy`). Observations are
//! discounted: one of an age of the half-life counts half (Garivier & Moulines, "On Upper-Confidence
//! Bound Policies for Non-Stationary Bandit Problems", 2008), so that an arm follows a model that
//! changes. Keyed by name: survives a reload, and a model that comes back finds its past.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::types::{Features, LevelName, ModelId, TaskName};

/// How arms learn and forget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearnParams {
    /// Time after which an observation counts half.
    pub half_life: Duration,
    /// How many observations the prior from `quality` is worth.
    pub prior_weight: f64,
}

impl LearnParams {
    /// What is left of an observation of this age.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "ages in milliseconds are far below 2^52"
    )]
    pub fn discount(&self, age_ms: i64) -> f64 {
        let half_life_ms = self.half_life.as_secs_f64() * 1e3;
        if half_life_ms <= 0.0 {
            return 1.0;
        }
        (-(age_ms.max(0) as f64) / half_life_ms).exp2()
    }
}

/// One arm: a model in a cell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArmKey {
    /// The row of the matrix.
    pub task: TaskName,
    /// The level.
    pub level: LevelName,
    /// The model.
    pub model: ModelId,
}

/// One reward, or a correction of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The reward, 0..=1.
    pub reward: f64,
    /// How much it counts; negative to take an earlier one back.
    pub weight: f64,
    /// When what it is about happened, milliseconds since the Unix epoch: a late reward is discounted
    /// as if it had come in time.
    pub at_ms: i64,
}

/// Discounted sums of one arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sums {
    weight: f64,
    reward: f64,
    updated_ms: i64,
}

/// Features that the contextual policy looks at, the constant included.
pub const CONTEXT_DIMENSIONS: usize = 8;

/// A request as the contextual policy sees it.
pub type Context = [f64; CONTEXT_DIMENSIONS];

/// The context of a request: constant, complexity, probability that a weaker model fails, length of
/// input and output, uncertainty of the task, language other than English, needs.
#[must_use]
pub fn context_of(features: &Features) -> Context {
    #[allow(clippy::cast_precision_loss, reason = "a logarithm follows")]
    let log_scale = |tokens: u64| ((tokens as f64 + 1.0).ln() / 12.0).min(1.5);
    let foreign = features.language != "en" && features.language != "und";
    let needs = features.needs.names().len();
    [
        1.0,
        f64::from(features.complexity),
        f64::from(features.weak_fails),
        log_scale(features.input_tokens),
        log_scale(features.output_tokens_estimate),
        1.0 - f64::from(features.confidence),
        f64::from(u8::from(foreign)),
        f64::from(u8::from(needs > 0)),
    ]
}

/// Discounted sums of a model's linear regression of (reward − prior) on the context.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct LinearSums {
    gram: [[f64; CONTEXT_DIMENSIONS]; CONTEXT_DIMENSIONS],
    moment: Context,
    updated_ms: i64,
}

impl Default for LinearSums {
    fn default() -> Self {
        Self {
            gram: [[0.0; CONTEXT_DIMENSIONS]; CONTEXT_DIMENSIONS],
            moment: [0.0; CONTEXT_DIMENSIONS],
            updated_ms: 0,
        }
    }
}

/// What is known of an arm now: a Beta posterior (exact for rewards of 0 and 1, the usual
/// approximation in between: Agrawal & Goyal, "Analysis of Thompson Sampling", 2012, §2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArmStats {
    /// Successes, the prior's included.
    pub alpha: f64,
    /// Failures, the prior's included.
    pub beta: f64,
    /// Observations, discounted, without the prior.
    pub count: f64,
}

impl ArmStats {
    /// An arm of which only the prior is known.
    #[must_use]
    pub fn prior(quality: f64, params: &LearnParams) -> Self {
        // An arm is never certain: some mass on either side, however good the prior.
        const LEAST: f64 = 0.05;
        let weight = params.prior_weight.max(2.0 * LEAST);
        let quality = quality.clamp(0.0, 1.0);
        Self {
            alpha: (quality * weight).max(LEAST),
            beta: ((1.0 - quality) * weight).max(LEAST),
            count: 0.0,
        }
    }

    /// The expected reward, prior included.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }
}

/// What is known of a model's dependence on the context now: a Gaussian posterior over the
/// coefficients of (reward − prior), precision Λ = λI + Σ w·x·xᵀ (Agrawal & Goyal, "Thompson Sampling
/// for Contextual Bandits with Linear Payoffs", 2013).
#[derive(Clone, Copy, Debug)]
pub struct LinearStats {
    /// The precision matrix.
    pub precision: [[f64; CONTEXT_DIMENSIONS]; CONTEXT_DIMENSIONS],
    /// Precision times mean.
    pub moment: Context,
}

impl LinearStats {
    /// A model of which nothing is known: coefficients around zero.
    #[must_use]
    pub fn prior(params: &LearnParams) -> Self {
        let mut precision = [[0.0; CONTEXT_DIMENSIONS]; CONTEXT_DIMENSIONS];
        for (at, row) in precision.iter_mut().enumerate() {
            row[at] = params.prior_weight.max(1.0);
        }
        Self {
            precision,
            moment: [0.0; CONTEXT_DIMENSIONS],
        }
    }
}

/// An arm's observed mean, for the metric `tollgate_reward_mean`.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmMean {
    /// Which arm.
    pub key: ArmKey,
    /// The discounted mean of what was observed.
    pub mean: f64,
    /// The discounted count of observations.
    pub count: f64,
}

type Shared<K, V> = RwLock<FxHashMap<K, Arc<Mutex<V>>>>;

/// Every arm of the process.
#[derive(Debug, Default)]
pub struct Arms {
    cells: Shared<ArmKey, Sums>,
    models: Shared<ModelId, LinearSums>,
    /// Something was learned since it was last written down.
    has_news: AtomicBool,
    /// Something was learned since the other replicas were last told.
    has_untold: AtomicBool,
    /// What other replicas have learned.
    elsewhere: RwLock<Elsewhere>,
}

/// What other replicas have learned, each arm brought to one moment.
#[derive(Debug, Default)]
struct Elsewhere {
    cells: FxHashMap<ArmKey, Sums>,
    models: FxHashMap<ModelId, LinearSums>,
}

/// What was learned of one arm or one model, as text that outlives the process.
#[derive(Serialize, Deserialize)]
enum Learned {
    Cell(ArmKey, Sums),
    Model(ModelId, Box<LinearSums>),
}

impl Learned {
    fn name(&self) -> String {
        match self {
            Self::Cell(key, _) => format!("cell/{}/{}/{}", key.task, key.level, key.model),
            Self::Model(model, _) => format!("model/{model}"),
        }
    }
}

impl Arms {
    /// Adds an observation to its cell, and to its model's regression on `context`; `prior` is the
    /// model's declared quality for the task.
    pub fn observe(
        &self,
        key: &ArmKey,
        seen: Observation,
        context: Option<(&Context, f64)>,
        params: &LearnParams,
    ) {
        if !(seen.reward.is_finite() && seen.weight.is_finite()) {
            return;
        }
        self.has_news.store(true, Ordering::Relaxed);
        self.has_untold.store(true, Ordering::Relaxed);
        let reward = seen.reward.clamp(0.0, 1.0);
        entry(&self.cells, key).lock().add(reward, &seen, params);
        if let Some((context, prior)) = context {
            entry(&self.models, &key.model)
                .lock()
                .add(context, reward - prior, &seen, params);
        }
    }

    /// Everything that was learned, as a name and a text for each arm; nothing when there is no news
    /// since the last call.
    #[must_use]
    pub fn written(&self) -> Vec<(String, String)> {
        if !self.has_news.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        let learned = self.learned().into_iter();
        learned
            .filter_map(|learned| Some((learned.name(), serde_json::to_string(&learned).ok()?)))
            .collect()
    }

    /// What this process itself has learned.
    fn learned(&self) -> Vec<Learned> {
        let cells = self.cells.read();
        let models = self.models.read();
        let cells = cells
            .iter()
            .map(|(key, sums)| Learned::Cell(key.clone(), *sums.lock()));
        let models = models
            .iter()
            .map(|(model, sums)| Learned::Model(model.clone(), Box::new(*sums.lock())));
        cells.chain(models).collect()
    }

    /// What this process itself has learned, as a text for the other replicas; `None` when there is no
    /// news since the last call, unless it is asked for all the same.
    #[must_use]
    pub fn posted(&self, again: bool) -> Option<String> {
        let has_untold = self.has_untold.swap(false, Ordering::Relaxed);
        if !has_untold && !again {
            return None;
        }
        serde_json::to_string(&self.learned()).ok()
    }

    /// Takes in what the other replicas say now, in the place of what they said before. A text of
    /// another version says nothing.
    pub fn heard<'a>(&self, texts: impl Iterator<Item = &'a str>, params: &LearnParams) {
        let mut found = Elsewhere::default();
        let learned = texts.filter_map(|text| serde_json::from_str::<Vec<Learned>>(text).ok());
        for one in learned.flatten() {
            match one {
                Learned::Cell(key, sums) => {
                    found.cells.entry(key).or_default().join(&sums, params);
                }
                Learned::Model(model, sums) => {
                    found.models.entry(model).or_default().join(&sums, params);
                }
            }
        }
        *self.elsewhere.write() = found;
    }

    /// Takes what an earlier life of this replica had posted for its own, if it knows nothing itself.
    pub fn adopt(&self, text: &str) {
        if !self.cells.read().is_empty() || !self.models.read().is_empty() {
            return;
        }
        let learned = serde_json::from_str::<Vec<Learned>>(text).unwrap_or_default();
        for one in learned {
            self.put(one);
        }
    }

    fn put(&self, learned: Learned) {
        match learned {
            Learned::Cell(key, sums) => *entry(&self.cells, &key).lock() = sums,
            Learned::Model(model, sums) => *entry(&self.models, &model).lock() = *sums,
        }
        self.has_untold.store(true, Ordering::Relaxed);
    }

    /// Takes in a text that an earlier process wrote. One of another version is forgotten: it is
    /// learned again.
    pub fn restore(&self, text: &str) {
        if let Ok(learned) = serde_json::from_str(text) {
            self.put(learned);
        }
    }

    /// What is known of an arm, given its model's declared quality.
    #[must_use]
    pub fn stats(&self, key: &ArmKey, quality: f64, params: &LearnParams, now_ms: i64) -> ArmStats {
        let mut stats = ArmStats::prior(quality, params);
        let own = self.cells.read().get(key).map(|cell| *cell.lock());
        let others = self.elsewhere.read().cells.get(key).copied();
        let (mut weight, mut reward) = (0.0, 0.0);
        for sums in own.into_iter().chain(others) {
            let discount = params.discount(now_ms - sums.updated_ms);
            weight += sums.weight * discount;
            reward += sums.reward * discount;
        }
        let weight: f64 = weight.max(0.0);
        let reward: f64 = reward.clamp(0.0, weight);
        stats.alpha += reward;
        stats.beta += weight - reward;
        stats.count = weight;
        stats
    }

    /// What is known of a model's dependence on the context.
    #[must_use]
    pub fn linear(&self, model: &ModelId, params: &LearnParams, now_ms: i64) -> LinearStats {
        let mut stats = LinearStats::prior(params);
        let own = self.models.read().get(model).map(|cell| *cell.lock());
        let others = self.elsewhere.read().models.get(model).copied();
        for sums in own.into_iter().chain(others) {
            let discount = params.discount(now_ms - sums.updated_ms);
            for (row, seen) in stats.precision.iter_mut().zip(&sums.gram) {
                for (cell, seen) in row.iter_mut().zip(seen) {
                    *cell += seen * discount;
                }
            }
            for (moment, seen) in stats.moment.iter_mut().zip(&sums.moment) {
                *moment += seen * discount;
            }
        }
        stats
    }

    /// The observed mean of every arm, in no particular order.
    #[must_use]
    pub fn means(&self, params: &LearnParams, now_ms: i64) -> Vec<ArmMean> {
        let mut all: FxHashMap<ArmKey, Sums> = self.elsewhere.read().cells.clone();
        for (key, cell) in self.cells.read().iter() {
            let own = *cell.lock();
            all.entry(key.clone()).or_default().join(&own, params);
        }
        all.into_iter()
            .filter_map(|(key, sums)| {
                (sums.weight > 1e-9).then(|| ArmMean {
                    key,
                    mean: (sums.reward / sums.weight).clamp(0.0, 1.0),
                    count: sums.weight * params.discount(now_ms - sums.updated_ms),
                })
            })
            .collect()
    }
}

impl Sums {
    fn add(&mut self, reward: f64, seen: &Observation, params: &LearnParams) {
        let weight = settle_to(&mut self.updated_ms, seen, params, |discount| {
            self.weight *= discount;
            self.reward *= discount;
        });
        // Below zero where a reward is taken back that another replica has counted.
        self.weight += weight;
        self.reward += weight * reward;
    }

    /// Adds what another replica has seen, both at the later of the two moments.
    fn join(&mut self, other: &Self, params: &LearnParams) {
        let at_ms = self.updated_ms.max(other.updated_ms);
        let mine = params.discount(at_ms - self.updated_ms);
        let theirs = params.discount(at_ms - other.updated_ms);
        self.weight = self.weight * mine + other.weight * theirs;
        self.reward = self.reward * mine + other.reward * theirs;
        self.updated_ms = at_ms;
    }
}

impl LinearSums {
    fn add(&mut self, context: &Context, residual: f64, seen: &Observation, params: &LearnParams) {
        let Self {
            gram,
            moment,
            updated_ms,
        } = self;
        let weight = settle_to(updated_ms, seen, params, |discount| {
            gram.iter_mut()
                .flatten()
                .chain(moment.iter_mut())
                .for_each(|cell| *cell *= discount);
        });
        for (at, x) in context.iter().enumerate() {
            for (cell, y) in gram[at].iter_mut().zip(context) {
                *cell += weight * x * y;
            }
            moment[at] += weight * x * residual;
        }
    }
}

impl LinearSums {
    /// As [`Sums::join`].
    fn join(&mut self, other: &Self, params: &LearnParams) {
        let at_ms = self.updated_ms.max(other.updated_ms);
        let mine = params.discount(at_ms - self.updated_ms);
        let theirs = params.discount(at_ms - other.updated_ms);
        let cells = self.gram.iter_mut().flatten().chain(&mut self.moment);
        let others = other.gram.iter().flatten().chain(&other.moment);
        for (cell, other) in cells.zip(others) {
            *cell = *cell * mine + other * theirs;
        }
        self.updated_ms = at_ms;
    }
}

/// Brings sums to the time of an observation, or an older observation to the time of the sums.
/// Returns the observation's weight at that time.
fn settle_to(
    updated_ms: &mut i64,
    seen: &Observation,
    params: &LearnParams,
    age_sums: impl FnOnce(f64),
) -> f64 {
    let age = seen.at_ms - *updated_ms;
    if age >= 0 {
        age_sums(params.discount(age));
        *updated_ms = seen.at_ms;
        seen.weight
    } else {
        seen.weight * params.discount(-age)
    }
}

fn entry<K: Clone + Eq + std::hash::Hash, V: Default>(
    map: &Shared<K, V>,
    key: &K,
) -> Arc<Mutex<V>> {
    if let Some(found) = map.read().get(key) {
        return Arc::clone(found);
    }
    Arc::clone(map.write().entry(key.clone()).or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: LearnParams = LearnParams {
        half_life: Duration::from_secs(100),
        prior_weight: 4.0,
    };

    fn key(model: &str) -> ArmKey {
        ArmKey {
            task: "open_qa".into(),
            level: "simple".into(),
            model: model.into(),
        }
    }

    fn seen(reward: f64, weight: f64, at_ms: i64) -> Observation {
        Observation {
            reward,
            weight,
            at_ms,
        }
    }

    #[test]
    fn the_prior_stands_until_something_is_seen_and_again_when_it_is_forgotten() {
        let arms = Arms::default();
        let mean = |now_ms| arms.stats(&key("a"), 0.75, &PARAMS, now_ms).mean();
        assert!((mean(0) - 0.75).abs() < 1e-9);
        for _ in 0..20 {
            arms.observe(&key("a"), seen(0.0, 1.0, 0), None, &PARAMS);
        }
        assert!(mean(0) < 0.2);
        assert!(mean(3_000_000) > 0.74);
    }

    #[test]
    fn an_observation_of_one_half_life_counts_half() {
        let arms = Arms::default();
        arms.observe(&key("a"), seen(1.0, 1.0, 0), None, &PARAMS);
        let stats = arms.stats(&key("a"), 0.5, &PARAMS, 100_000);
        assert!((stats.count - 0.5).abs() < 1e-9);
    }

    #[test]
    fn taking_an_observation_back_leaves_no_trace_however_late() {
        let arms = Arms::default();
        let context = [0.5; CONTEXT_DIMENSIONS];
        arms.observe(
            &key("a"),
            seen(0.3, 1.0, 1_000),
            Some((&context, 0.5)),
            &PARAMS,
        );
        arms.observe(
            &key("a"),
            seen(1.0, 1.0, 60_000),
            Some((&context, 0.5)),
            &PARAMS,
        );
        arms.observe(
            &key("a"),
            seen(1.0, -1.0, 60_000),
            Some((&context, 0.5)),
            &PARAMS,
        );
        arms.observe(
            &key("a"),
            seen(0.3, -1.0, 1_000),
            Some((&context, 0.5)),
            &PARAMS,
        );
        let stats = arms.stats(&key("a"), 0.5, &PARAMS, 60_000);
        assert!(stats.count < 1e-9, "{stats:?}");
        let linear = arms.linear(&"a".into(), &PARAMS, 60_000);
        assert!(linear.moment.iter().all(|moment| moment.abs() < 1e-9));
    }

    #[test]
    fn what_was_learned_can_be_written_down_and_read_again() {
        let arms = Arms::default();
        let context = [0.5; CONTEXT_DIMENSIONS];
        arms.observe(
            &key("a"),
            seen(0.3, 1.0, 1_000),
            Some((&context, 0.5)),
            &PARAMS,
        );
        let written = arms.written();
        assert_eq!(written.len(), 2);
        assert_eq!(arms.written(), [], "nothing new");
        let again = Arms::default();
        for (_, text) in &written {
            again.restore(text);
        }
        again.restore("{\"of\": \"another version\"}");
        let of = |arms: &Arms| arms.stats(&key("a"), 0.5, &PARAMS, 2_000);
        assert_eq!(of(&again), of(&arms));
        let moment = |arms: &Arms| arms.linear(&"a".into(), &PARAMS, 2_000).moment;
        assert_eq!(
            format!("{:?}", moment(&again)),
            format!("{:?}", moment(&arms))
        );
    }

    #[test]
    fn means_are_of_what_was_observed() {
        let arms = Arms::default();
        arms.observe(&key("a"), seen(1.0, 1.0, 0), None, &PARAMS);
        arms.observe(&key("a"), seen(0.0, 1.0, 0), None, &PARAMS);
        let means = arms.means(&PARAMS, 0);
        assert_eq!(means.len(), 1);
        assert!((means[0].mean - 0.5).abs() < 1e-9 && (means[0].count - 2.0).abs() < 1e-9);
    }

    #[test]
    fn replicas_know_together_what_each_has_seen_and_count_it_once() {
        let (a, b, alone) = (Arms::default(), Arms::default(), Arms::default());
        let context = [0.5; CONTEXT_DIMENSIONS];
        let see = |arms: &Arms, reward, weight, at_ms| {
            let seen = seen(reward, weight, at_ms);
            arms.observe(&key("a"), seen, Some((&context, 0.5)), &PARAMS);
        };
        for (at, arms) in [&a, &b, &a, &b, &b].into_iter().enumerate() {
            let at_ms = i64::try_from(at).expect("small") * 40_000;
            let reward = if at == 0 { 0.0 } else { 0.7 };
            see(arms, reward, 1.0, at_ms);
            see(&alone, reward, 1.0, at_ms);
        }
        // What one replica has counted, another may take back.
        see(&b, 0.0, -1.0, 0);
        see(&alone, 0.0, -1.0, 0);
        assert!(a.posted(false).is_some() && a.posted(false).is_none());
        for _ in 0..2 {
            let (of_a, of_b) = (a.posted(true), b.posted(true));
            b.heard(of_a.as_deref().into_iter().chain(["nonsense"]), &PARAMS);
            a.heard(of_b.as_deref().into_iter(), &PARAMS);
        }
        let expect = alone.stats(&key("a"), 0.5, &PARAMS, 200_000);
        let mean = |arms: &Arms| arms.means(&PARAMS, 200_000)[0].clone();
        for arms in [&a, &b] {
            let stats = arms.stats(&key("a"), 0.5, &PARAMS, 200_000);
            assert!((stats.alpha - expect.alpha).abs() < 1e-9, "{stats:?}");
            assert!((stats.count - expect.count).abs() < 1e-9, "{stats:?}");
            assert!((mean(arms).mean - mean(&alone).mean).abs() < 1e-9);
            let moment = |arms: &Arms| arms.linear(&"a".into(), &PARAMS, 200_000).moment[0];
            assert!((moment(arms) - moment(&alone)).abs() < 1e-9);
        }
        let reborn = Arms::default();
        reborn.adopt(&a.posted(true).expect("a text"));
        let text = b.posted(true);
        reborn.heard(text.as_deref().into_iter(), &PARAMS);
        let stats = reborn.stats(&key("a"), 0.5, &PARAMS, 200_000);
        assert!((stats.count - expect.count).abs() < 1e-9, "{stats:?}");
    }
}
