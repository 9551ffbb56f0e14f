//! Fits linear heads: stochastic gradient descent with a rate for each weight (`AdaGrad`), averaged over
//! the later epochs. One thread, a fixed order, a fixed seed: the same rows give the same bytes.

/// Rows of features, compressed.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    offsets: Vec<usize>,
    ids: Vec<u32>,
    values: Vec<f32>,
}

impl Matrix {
    /// Appends a row.
    pub fn push(&mut self, features: impl Iterator<Item = (u32, f32)>) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        for (id, value) in features {
            self.ids.push(id);
            self.values.push(value);
        }
        self.offsets.push(self.ids.len());
    }

    /// The features of a row.
    pub fn row(&self, at: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let range = self.offsets[at]..self.offsets[at + 1];
        let ids = self.ids[range.clone()].iter();
        ids.zip(&self.values[range])
            .map(|(&id, &value)| (id as usize, value))
    }
}

/// What a head is to say of one row.
#[derive(Clone, Debug)]
pub struct Example {
    /// Which row of the matrix.
    pub row: usize,
    /// How much it counts.
    pub weight: f32,
    /// The wanted outputs, each 0..=1.
    pub target: Vec<f32>,
}

/// Which error is made small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// One of several: cross-entropy after a softmax.
    OneOf,
    /// Each on its own: cross-entropy after a sigmoid.
    Each,
}

/// Knobs of a fit.
#[derive(Clone, Copy, Debug)]
pub struct FitParams {
    /// Which error is made small.
    pub loss: Loss,
    /// Passes over the examples.
    pub epochs: usize,
    /// The first step of a weight.
    pub rate: f32,
    /// Pull towards zero at each step of a weight.
    pub decay: f32,
    /// Share of features left out at each step, so that no word is relied on alone.
    pub dropout: f32,
    /// How far steps shrink with the steps before: 2 by their root (`AdaGrad`), 4 by their fourth
    /// root, 0 not at all.
    pub adapt: u8,
    /// Of the order and of what is left out.
    pub seed: u64,
    /// Measures are looked at as well.
    pub measures: bool,
}

/// Weights of a fit: `outputs` in a row for each feature.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Columns.
    pub outputs: usize,
    /// Feature-major.
    pub weights: Vec<f32>,
    /// One for each output.
    pub biases: Vec<f32>,
}

impl Weights {
    /// The sum of two fits on the same features.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (sum, weight) in self.weights.iter_mut().zip(&other.weights) {
            *sum += weight;
        }
        for (sum, bias) in self.biases.iter_mut().zip(&other.biases) {
            *sum += bias;
        }
        self
    }

    /// The logits of a row. Features beyond those that were fitted say nothing.
    #[must_use]
    pub fn logits(&self, matrix: &Matrix, row: usize) -> Vec<f32> {
        let mut logits = self.biases.clone();
        for (id, value) in matrix.row(row) {
            let Some(weights) = self.weights.get(id * self.outputs..(id + 1) * self.outputs) else {
                continue;
            };
            for (logit, weight) in logits.iter_mut().zip(weights) {
                *logit += weight * value;
            }
        }
        logits
    }
}

/// A small deterministic generator (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Shuffles in place.
    #[allow(clippy::cast_possible_truncation, reason = "below the length")]
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = (self.next() % (at as u64 + 1)) as usize;
            items.swap(at, other);
        }
    }
}

/// Fits a head on the first `features` features. `progress` hears the share that is done.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts are small")]
pub fn fit(
    matrix: &Matrix,
    features: usize,
    examples: &[Example],
    params: FitParams,
    progress: &mut dyn FnMut(f32),
) -> Weights {
    let outputs = examples.first().map_or(1, |example| example.target.len());
    let mut state = State {
        weights: vec![0.0; features * outputs],
        squares: vec![1e-4; features * outputs],
        biases: vec![0.0; outputs],
        bias_squares: vec![1e-2; outputs],
        params,
        outputs,
        features,
    };
    let mut sums = vec![0.0_f32; features * outputs];
    let mut bias_sums = vec![0.0_f32; outputs];
    let mut averaged = 0.0;
    let mut order: Vec<usize> = (0..examples.len()).collect();
    let mut random = Random(17 + params.seed);
    for epoch in 0..params.epochs {
        random.shuffle(&mut order);
        for &at in &order {
            state.step(matrix, &examples[at], &mut random);
        }
        if epoch >= params.epochs / 2 {
            averaged += 1.0;
            for (sum, weight) in sums.iter_mut().zip(&state.weights) {
                *sum += weight;
            }
            for (sum, bias) in bias_sums.iter_mut().zip(&state.biases) {
                *sum += bias;
            }
        }
        progress((epoch + 1) as f32 / params.epochs as f32);
    }
    for value in sums.iter_mut().chain(&mut bias_sums) {
        *value /= averaged;
    }
    Weights {
        outputs,
        weights: sums,
        biases: bias_sums,
    }
}

struct State {
    weights: Vec<f32>,
    squares: Vec<f32>,
    biases: Vec<f32>,
    bias_squares: Vec<f32>,
    params: FitParams,
    outputs: usize,
    features: usize,
}

impl State {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of 2^16"
    )]
    fn step(&mut self, matrix: &Matrix, example: &Example, random: &mut Random) {
        let FitParams {
            loss,
            rate,
            decay,
            dropout,
            adapt,
            ..
        } = self.params;
        let outputs = self.outputs;
        let dropped_below = (dropout * 65_536.0) as u64;
        let rescale = 1.0 / (1.0 - dropout);
        // The mask must be the same forward and backward: replay the generator.
        let replay = random.clone();
        let mut logits = self.biases.clone();
        for (id, value) in matrix
            .row(example.row)
            .filter(|(id, _)| *id < self.features)
        {
            if random.next() & 0xffff < dropped_below {
                continue;
            }
            let weights = &self.weights[id * outputs..(id + 1) * outputs];
            for (logit, weight) in logits.iter_mut().zip(weights) {
                *logit += weight * value * rescale;
            }
        }
        activate(loss, &mut logits);
        let mut errors = logits;
        for (error, target) in errors.iter_mut().zip(&example.target) {
            *error = (*error - target) * example.weight;
        }
        for (at, error) in errors.iter().enumerate() {
            self.bias_squares[at] += error * error;
            self.biases[at] -= rate * 0.3 * error / self.bias_squares[at].sqrt();
        }
        let mut mask = replay;
        for (id, value) in matrix
            .row(example.row)
            .filter(|(id, _)| *id < self.features)
        {
            if mask.next() & 0xffff < dropped_below {
                continue;
            }
            let range = id * outputs..(id + 1) * outputs;
            let weights = &mut self.weights[range.clone()];
            let squares = &mut self.squares[range];
            for ((weight, square), error) in weights.iter_mut().zip(squares).zip(&errors) {
                let gradient = error * value * rescale + decay * *weight;
                *square += gradient * gradient;
                *weight -= match adapt {
                    0 => rate * gradient,
                    4 => rate * gradient / square.sqrt().sqrt(),
                    _ => rate * gradient / square.sqrt(),
                };
            }
        }
    }
}

fn activate(loss: Loss, logits: &mut [f32]) {
    match loss {
        Loss::OneOf => {
            let top = logits.iter().copied().fold(f32::MIN, f32::max);
            let mut sum = 0.0;
            for logit in logits.iter_mut() {
                *logit = (*logit - top).exp();
                sum += *logit;
            }
            for logit in logits {
                *logit /= sum;
            }
        }
        Loss::Each => {
            for logit in logits {
                *logit = 1.0 / (1.0 + (-*logit).exp());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separable_set_is_learned_the_same_way_twice() {
        let mut matrix = Matrix::default();
        let mut examples = Vec::new();
        for row in 0..200_u32 {
            let class = row % 2;
            matrix.push([(class, 1.0), (2 + row % 7, 1.0)].into_iter());
            let mut target = vec![0.0; 2];
            target[class as usize] = 1.0;
            examples.push(Example {
                row: row as usize,
                weight: 1.0,
                target,
            });
        }
        let params = FitParams {
            loss: Loss::OneOf,
            epochs: 8,
            rate: 0.3,
            decay: 1e-4,
            dropout: 0.1,
            adapt: 2,
            seed: 0,
            measures: false,
        };
        let fitted = fit(&matrix, 9, &examples, params, &mut |_| {});
        for row in 0..200 {
            let logits = fitted.logits(&matrix, row);
            assert_eq!(logits[1] > logits[0], row % 2 == 1);
        }
        let again = fit(&matrix, 9, &examples, params, &mut |_| {});
        assert_eq!(fitted.weights, again.weights);
    }
}
