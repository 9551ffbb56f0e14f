//! Random draws that the policies need: normal, gamma, beta, and correlated normals by a posterior's
//! precision matrix. All from the generator that is passed in, so that a seed fixes a plan.

use rand::{Rng, RngExt};

use crate::runtime::arms::{CONTEXT_DIMENSIONS, Context};
use crate::runtime::{ArmStats, LinearStats};

type Matrix = [[f64; CONTEXT_DIMENSIONS]; CONTEXT_DIMENSIONS];

/// A draw from the standard normal distribution (Marsaglia's polar method).
pub fn normal(rng: &mut dyn Rng) -> f64 {
    loop {
        let u = rng.random::<f64>().mul_add(2.0, -1.0);
        let v = rng.random::<f64>().mul_add(2.0, -1.0);
        let square = u.mul_add(u, v * v);
        if square > 0.0 && square < 1.0 {
            return u * (-2.0 * square.ln() / square).sqrt();
        }
    }
}

/// A draw from Gamma(shape, 1) (Marsaglia & Tsang, "A Simple Method for Generating Gamma Variables", 2000).
pub fn gamma(shape: f64, rng: &mut dyn Rng) -> f64 {
    if shape < 1.0 {
        // Their §6: boost a draw of shape + 1.
        let boost = rng.random::<f64>().max(f64::MIN_POSITIVE).powf(1.0 / shape);
        return gamma(shape + 1.0, rng) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let cube = c.mul_add(x, 1.0).powi(3);
        if cube <= 0.0 {
            continue;
        }
        let u = rng.random::<f64>().max(f64::MIN_POSITIVE);
        if u.ln() < 0.5 * x * x + d - d * cube + d * cube.ln() {
            return d * cube;
        }
    }
}

/// A draw from an arm's Beta posterior.
pub fn arm_reward(stats: &ArmStats, rng: &mut dyn Rng) -> f64 {
    let successes = gamma(stats.alpha, rng);
    let failures = gamma(stats.beta, rng);
    if successes + failures > 0.0 {
        successes / (successes + failures)
    } else {
        stats.mean()
    }
}

/// A linear posterior ready to draw from: the Cholesky factor of its precision and its mean.
#[derive(Clone, Debug)]
pub struct LinearPosterior {
    factor: Matrix,
    mean: Context,
}

impl LinearPosterior {
    /// Factors a posterior.
    #[must_use]
    pub fn new(stats: &LinearStats) -> Self {
        let factor = cholesky(&stats.precision);
        let mean = solve_upper(&factor, &solve_lower(&factor, &stats.moment));
        Self { factor, mean }
    }

    /// The expected deviation from the prior for a context.
    #[must_use]
    pub fn expected(&self, context: &Context) -> f64 {
        dot(&self.mean, context)
    }

    /// A draw of the deviation from the prior for a context: coefficients from N(mean, s²·Λ⁻¹).
    pub fn draw(&self, context: &Context, rng: &mut dyn Rng) -> f64 {
        // Rewards lie in 0..=1, so their deviation is at most one half (Popoviciu).
        const REWARD_DEVIATION: f64 = 0.5;
        let noise: Context = std::array::from_fn(|_| normal(rng));
        let spread = solve_upper(&self.factor, &noise);
        REWARD_DEVIATION.mul_add(dot(&spread, context), dot(&self.mean, context))
    }
}

fn dot(a: &Context, b: &Context) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Lower factor L with L·Lᵀ = m; corrections taken back may leave m a hair short of positive definite.
fn cholesky(m: &Matrix) -> Matrix {
    const LEAST_PIVOT: f64 = 1e-6;
    let mut factor = [[0.0; CONTEXT_DIMENSIONS]; CONTEXT_DIMENSIONS];
    for i in 0..CONTEXT_DIMENSIONS {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| factor[i][k] * factor[j][k]).sum();
            factor[i][j] = if i == j {
                (m[i][i] - known).max(LEAST_PIVOT).sqrt()
            } else {
                (m[i][j] - known) / factor[j][j]
            };
        }
    }
    factor
}

fn solve_lower(factor: &Matrix, right: &Context) -> Context {
    let mut x = [0.0; CONTEXT_DIMENSIONS];
    for i in 0..CONTEXT_DIMENSIONS {
        let known: f64 = (0..i).map(|k| factor[i][k] * x[k]).sum();
        x[i] = (right[i] - known) / factor[i][i];
    }
    x
}

/// Solves Lᵀ·x = right.
fn solve_upper(factor: &Matrix, right: &Context) -> Context {
    let mut x = [0.0; CONTEXT_DIMENSIONS];
    for i in (0..CONTEXT_DIMENSIONS).rev() {
        let known: f64 = (i + 1..CONTEXT_DIMENSIONS)
            .map(|k| factor[k][i] * x[k])
            .sum();
        x[i] = (right[i] - known) / factor[i][i];
    }
    x
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn draws_have_the_mean_and_spread_of_their_distribution() {
        let mut rng = StdRng::seed_from_u64(7);
        let stats = ArmStats {
            alpha: 3.0,
            beta: 1.0,
            count: 0.0,
        };
        let draws: Vec<f64> = (0..20_000).map(|_| arm_reward(&stats, &mut rng)).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!((mean - 0.75).abs() < 0.01, "{mean}");
        assert!((variance - 0.0375).abs() < 0.003, "{variance}");
    }

    #[test]
    fn a_posterior_of_one_feature_is_that_of_the_textbook() {
        let mut precision = [[0.0; CONTEXT_DIMENSIONS]; CONTEXT_DIMENSIONS];
        for (at, row) in precision.iter_mut().enumerate() {
            row[at] = 4.0;
        }
        let mut moment = [0.0; CONTEXT_DIMENSIONS];
        moment[0] = 2.0;
        let posterior = LinearPosterior::new(&LinearStats { precision, moment });
        let mut context = [0.0; CONTEXT_DIMENSIONS];
        context[0] = 1.0;
        assert!((posterior.expected(&context) - 0.5).abs() < 1e-12);
        let mut rng = StdRng::seed_from_u64(7);
        let draws: Vec<f64> = (0..20_000)
            .map(|_| posterior.draw(&context, &mut rng))
            .collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert!((variance - 0.0625).abs() < 0.005, "{variance}");
    }
}
