//! Puts feasible candidates in order by one of the policies, and says with which probability the
//! first one came first, so that another policy can be evaluated on the past.

use rand::{Rng, RngExt};

use crate::config::snapshot::{Policy, SelectParams};
use crate::runtime::arms::{Context, context_of};
use crate::runtime::{ArmKey, ArmStats};
use crate::types::{PicoUsd, Tier};

use super::PlanInput;
use super::feasible::{Costs, best_tier};
use super::sampling::{LinearPosterior, arm_reward};

/// A feasible candidate with what the policies look at.
#[derive(Clone, Debug)]
pub struct Entrant {
    /// Index into the snapshot's models.
    pub index: usize,
    /// Where it stands in the cell, 0 for the most preferred.
    pub position: usize,
    /// What it would cost.
    pub costs: Costs,
    /// The score that it was ordered by.
    pub score: f64,
}

/// The outcome of ranking.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// Best first.
    pub order: Vec<Entrant>,
    /// The probability with which the first came first.
    pub propensity: f64,
    /// The first is not the one that is thought best: it was chosen to learn about it.
    pub explored: bool,
    /// The first would be another if money had no shadow price.
    pub shaded: bool,
}

/// Share of requests by which `fastest` measures models that it knows nothing of.
const MEASURING_SHARE: f64 = 0.05;
/// Draws to estimate the propensity of Thompson sampling, whose exact value has no closed form. With
/// the draw that was used it is never zero; its standard error is at most 0.09.
const PROPENSITY_DRAWS: usize = 32;
/// How far the price of money must rise before premium callers notice.
const PREMIUM_GRACE: f64 = 1.0;

/// Orders candidates. `entrants` come in the cell's order.
pub fn rank(
    input: &PlanInput<'_>,
    select: &SelectParams,
    entrants: Vec<Entrant>,
    rng: &mut dyn Rng,
) -> Ranking {
    let purse = input.view.purse();
    let price_of_money = match best_tier(input) {
        Tier::Premium => (purse.shadow_price - PREMIUM_GRACE).max(0.0),
        _ => purse.shadow_price.max(0.0),
    };
    let field = Field {
        input,
        select,
        price_of_money,
        relative: relative(&entrants),
        entrants,
    };
    if purse.under_floor || purse.exhausted.is_some() {
        return field.by_cost(true);
    }
    match select.policy {
        Policy::First => field.by_position(),
        Policy::Cheapest => field.by_cost(false),
        Policy::Fastest => field.by_latency(rng),
        Policy::Weighted => field.by_weight(rng),
        Policy::EpsilonGreedy => field.epsilon_greedy(rng),
        Policy::Thompson => field.thompson(rng),
        Policy::Contextual => field.contextual(rng),
    }
}

/// The score that the file's objective gives, without chance: for the ladder and for `explain`.
#[must_use]
pub fn expected_scores(
    input: &PlanInput<'_>,
    select: &SelectParams,
    entrants: &[Entrant],
) -> Vec<f64> {
    let field = Field {
        input,
        select,
        price_of_money: input.view.purse().shadow_price.max(0.0),
        relative: relative(entrants),
        entrants: entrants.to_vec(),
    };
    let rewards = field.arms().into_iter().map(|arm| arm.mean()).collect();
    field.objective(rewards, field.price_of_money)
}

struct Field<'a> {
    input: &'a PlanInput<'a>,
    select: &'a SelectParams,
    price_of_money: f64,
    /// Estimated cost as a share of the dearest entrant's.
    relative: Vec<f64>,
    entrants: Vec<Entrant>,
}

fn relative(entrants: &[Entrant]) -> Vec<f64> {
    let dearest = entrants
        .iter()
        .map(|entrant| entrant.costs.estimated)
        .max()
        .unwrap_or(PicoUsd::ZERO)
        .as_usd_f64();
    entrants
        .iter()
        .map(|entrant| {
            if dearest > 0.0 {
                entrant.costs.estimated.as_usd_f64() / dearest
            } else {
                0.0
            }
        })
        .collect()
}

impl Field<'_> {
    /// In the file's order; each place down costs as much as `1 / n` of the price range, so that a
    /// rising price of money moves the choice down the list.
    #[allow(clippy::cast_precision_loss, reason = "a cell has a handful of models")]
    fn by_position(self) -> Ranking {
        let places = self.entrants.len().max(1) as f64;
        let preference: Vec<f64> = (0..self.entrants.len())
            .map(|place| 1.0 - place as f64 / places)
            .collect();
        let scores = self.priced(&preference);
        self.certain(&preference, &scores)
    }

    fn by_cost(self, forced: bool) -> Ranking {
        let scores: Vec<f64> = self
            .entrants
            .iter()
            .map(|entrant| -entrant.costs.estimated.as_usd_f64())
            .collect();
        // Under the floor it is the budget that decides, unless the policy would have anyway.
        let usual: Vec<f64> = if forced && self.select.policy != Policy::Cheapest {
            self.entrants
                .iter()
                .map(|entrant| if entrant.position == 0 { 1.0 } else { 0.0 })
                .collect()
        } else {
            scores.clone()
        };
        self.certain(&usual, &scores)
    }

    /// The fastest of those that are known; now and then one that is not, to know it.
    fn by_latency(self, rng: &mut dyn Rng) -> Ranking {
        let known: Vec<Option<f64>> = self.latencies();
        let slowest = known
            .iter()
            .flatten()
            .copied()
            .fold(0.0, f64::max)
            .max(1e-3);
        let unknown: Vec<usize> = (0..known.len()).filter(|&at| known[at].is_none()).collect();
        let usual: Vec<f64> = known
            .iter()
            .map(|latency| latency.map_or(-2.0, |latency| -latency / slowest))
            .collect();
        let scores = self.priced(&usual);
        if unknown.is_empty() || unknown.len() == known.len() {
            return self.certain(&usual, &scores);
        }
        #[allow(clippy::cast_precision_loss, reason = "a cell has a handful of models")]
        let share = MEASURING_SHARE / unknown.len() as f64;
        if rng.random::<f64>() >= MEASURING_SHARE {
            let first_is_unknown = known[best(&scores)].is_none();
            let mut ranking = self.certain(&usual, &scores);
            ranking.propensity = 1.0 - MEASURING_SHARE + if first_is_unknown { share } else { 0.0 };
            return ranking;
        }
        let chosen = unknown[rng.random_range(0..unknown.len())];
        let propensity = if chosen == best(&scores) {
            1.0 - MEASURING_SHARE + share
        } else {
            share
        };
        self.led_by(chosen, &scores, propensity)
    }

    /// At random by weight, without replacement (Plackett–Luce): the order is a sequence of draws.
    fn by_weight(self, rng: &mut dyn Rng) -> Ranking {
        let weights: Vec<f64> = self
            .entrants
            .iter()
            .zip(&self.relative)
            .map(|(entrant, relative)| {
                let weight = self.select.weights.get(&entrant.index).copied();
                let weight = weight.unwrap_or(1.0).max(0.0);
                weight * (-self.price_of_money * relative).exp()
            })
            .collect();
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            return self.by_position();
        }
        // Efraimidis & Spirakis (2006): the largest of u^(1/w) comes first with probability w / Σw.
        let scores: Vec<f64> = weights
            .iter()
            .map(|&weight| {
                let u = rng.random::<f64>().max(f64::MIN_POSITIVE);
                if weight > 0.0 {
                    u.ln() / weight
                } else {
                    f64::MIN
                }
            })
            .collect();
        let first = best(&scores);
        let propensity = weights[first] / total;
        let mut ranking = self.led_by(first, &scores, propensity);
        // A split by weight is the file's wish, not an exploration.
        ranking.explored = false;
        ranking
    }

    fn epsilon_greedy(self, rng: &mut dyn Rng) -> Ranking {
        let rewards: Vec<f64> = self.arms().iter().map(ArmStats::mean).collect();
        let usual = self.objective(rewards.clone(), 0.0);
        let scores = self.objective(rewards, self.price_of_money);
        if scores.is_empty() {
            return self.certain(&usual, &scores);
        }
        let epsilon = self.select.epsilon.clamp(0.0, 1.0);
        let greedy = best(&scores);
        #[allow(clippy::cast_precision_loss, reason = "a cell has a handful of models")]
        let share = epsilon / scores.len() as f64;
        let chosen = if rng.random::<f64>() < epsilon {
            rng.random_range(0..scores.len())
        } else {
            greedy
        };
        if chosen == greedy {
            let mut ranking = self.certain(&usual, &scores);
            ranking.propensity = 1.0 - epsilon + share;
            return ranking;
        }
        self.led_by(chosen, &scores, share)
    }

    fn thompson(self, rng: &mut dyn Rng) -> Ranking {
        let arms = self.arms();
        let means = arms.iter().map(ArmStats::mean).collect();
        self.sampled(means, rng, |at, rng| arm_reward(&arms[at], rng))
    }

    fn contextual(self, rng: &mut dyn Rng) -> Ranking {
        let context: Context = context_of(self.input.features);
        let models = &self.input.snapshot.models;
        let posteriors: Vec<(f64, LinearPosterior)> = self
            .entrants
            .iter()
            .map(|entrant| {
                let model = &models[entrant.index];
                let quality = model.quality.of(&self.input.features.task);
                let stats = self.input.view.linear(&model.id);
                (quality, LinearPosterior::new(&stats))
            })
            .collect();
        let means = posteriors
            .iter()
            .map(|(quality, posterior)| quality + posterior.expected(&context))
            .collect();
        self.sampled(means, rng, |at, rng| {
            let (quality, posterior) = &posteriors[at];
            quality + posterior.draw(&context, rng)
        })
    }

    /// Orders by one draw of every reward; further draws estimate the propensity.
    #[allow(clippy::cast_precision_loss, reason = "a few dozen draws")]
    fn sampled(
        self,
        means: Vec<f64>,
        rng: &mut dyn Rng,
        draw: impl Fn(usize, &mut dyn Rng) -> f64,
    ) -> Ranking {
        let count = self.entrants.len();
        let mut draw_scores = |field: &Self| {
            let rewards = (0..count).map(|at| draw(at, rng)).collect();
            field.objective(rewards, field.price_of_money)
        };
        let scores = draw_scores(&self);
        if count == 0 {
            return self.certain(&[], &scores);
        }
        let first = best(&scores);
        let wins = 1
            + (0..PROPENSITY_DRAWS)
                .filter(|_| count == 1 || best(&draw_scores(&self)) == first)
                .count();
        let propensity = wins as f64 / (PROPENSITY_DRAWS + 1) as f64;
        let expected = self.objective(means.clone(), self.price_of_money);
        let unpriced = best(&self.objective(means, 0.0));
        let explored = first != best(&expected);
        let mut ranking = self.led_by(first, &scores, propensity);
        ranking.explored = explored;
        ranking.shaded = !explored && unpriced != first;
        ranking
    }

    fn arms(&self) -> Vec<ArmStats> {
        let models = &self.input.snapshot.models;
        self.entrants
            .iter()
            .map(|entrant| {
                let model = &models[entrant.index];
                let key = ArmKey {
                    task: self.input.row.clone(),
                    level: self.input.level.clone(),
                    model: model.id.clone(),
                };
                let quality = model.quality.of(&self.input.features.task);
                self.input.view.arm(&key, quality)
            })
            .collect()
    }

    /// Expected seconds of each.
    fn latencies(&self) -> Vec<Option<f64>> {
        let output = self.input.features.output_tokens_estimate;
        self.entrants
            .iter()
            .map(|entrant| {
                let latency = self.input.view.latency(entrant.index, output);
                latency.map(|latency| latency.as_secs_f64())
            })
            .collect()
    }

    /// Quality, cost and latency by the file's weights. Cost and latency are shares of the dearest and
    /// slowest entrant, so that the weights mean the same for a short and for a long request.
    fn objective(&self, rewards: Vec<f64>, price_of_money: f64) -> Vec<f64> {
        let weights = self.select.objective;
        let latencies = self.latencies();
        let slowest = latencies.iter().flatten().copied().fold(0.0, f64::max);
        rewards
            .into_iter()
            .zip(&self.relative)
            .zip(latencies)
            .map(|((reward, cost), latency)| {
                let slowness = match latency {
                    Some(latency) if slowest > 0.0 => latency / slowest,
                    // Not known: in the middle, neither favoured nor shunned.
                    _ => 0.5,
                };
                let dear = (weights.cost + price_of_money) * cost;
                weights.quality * reward - dear - weights.latency * slowness
            })
            .collect()
    }

    fn priced(&self, preference: &[f64]) -> Vec<f64> {
        preference
            .iter()
            .zip(&self.relative)
            .map(|(preference, cost)| preference - self.price_of_money * cost)
            .collect()
    }

    /// A choice without chance: the best score first, the file's order among equals.
    fn certain(self, usual: &[f64], scores: &[f64]) -> Ranking {
        let shaded = !scores.is_empty() && best(usual) != best(scores);
        Ranking {
            order: ordered(self.entrants, scores),
            propensity: 1.0,
            explored: false,
            shaded,
        }
    }

    /// One that was chosen by chance first, the others by score.
    fn led_by(self, chosen: usize, scores: &[f64], propensity: f64) -> Ranking {
        let explored = chosen != best(scores);
        let lead = self.entrants[chosen].index;
        let mut order = ordered(self.entrants, scores);
        if let Some(at) = order.iter().position(|entrant| entrant.index == lead) {
            order[..=at].rotate_right(1);
        }
        Ranking {
            order,
            propensity,
            explored,
            shaded: false,
        }
    }
}

/// Where the largest stands; the first of equals.
fn best(scores: &[f64]) -> usize {
    let mut best = 0;
    for (at, score) in scores.iter().enumerate() {
        if score.total_cmp(&scores[best]).is_gt() {
            best = at;
        }
    }
    best
}

fn ordered(entrants: Vec<Entrant>, scores: &[f64]) -> Vec<Entrant> {
    let mut order: Vec<Entrant> = entrants
        .into_iter()
        .zip(scores)
        .map(|(entrant, &score)| Entrant { score, ..entrant })
        .collect();
    // Stable: the file's order among equals.
    order.sort_by(|a, b| b.score.total_cmp(&a.score));
    order
}
