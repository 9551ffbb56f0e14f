//! Calibration: what of the weights is not a weight of a feature.

use super::{COLUMNS, Reading};

/// Calibration: what is not a weight of a feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// What one unit of a column's integers is worth.
    pub scales: [f32; COLUMNS],
    /// What a column begins with.
    pub biases: [f32; COLUMNS],
    /// Inverse temperatures of the softmax for short, middling and long requests.
    pub sharpness: [f32; 3],
    /// Slope and intercept on the logit of the complexity.
    pub complexity: [f32; 2],
    /// Slope, intercept and weight of the logarithm of the length on the logit of `weak_fails`.
    pub weak_fails: [f32; 3],
    /// From which logit on a text counts as an injection.
    pub injection_from: f32,
}

/// The output head says the binary logarithm of the tokens as a share of this.
pub const OUTPUT_LOG2: f32 = 12.0;

pub(super) const NUMBERS: usize = 2 * COLUMNS + 3 + 2 + 3 + 1;
/// No scale, bias or slope that was trained is anywhere near this.
const LARGEST_NUMBER: f32 = 1e6;

impl Numbers {
    /// The inverse temperature for a request of this length.
    #[must_use]
    pub fn sharpness_for(&self, reading: &Reading) -> f32 {
        self.sharpness[length_class(reading.asked.whole_bytes)]
    }

    pub(super) fn to_vec(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(NUMBERS);
        out.extend(self.scales);
        out.extend(self.biases);
        out.extend(self.sharpness);
        out.extend(self.complexity);
        out.extend(self.weak_fails);
        out.push(self.injection_from);
        out
    }

    pub(super) fn from_slice(numbers: &[f32]) -> Option<Self> {
        if numbers.len() != NUMBERS || numbers.iter().any(|number| !number.is_finite()) {
            return None;
        }
        // Sums of such numbers stay finite, so that no probability becomes NaN. The last is a threshold,
        // which may be out of reach.
        if numbers[..NUMBERS - 1]
            .iter()
            .any(|number| number.abs() > LARGEST_NUMBER)
        {
            return None;
        }
        let mut rest = numbers;
        Some(Self {
            scales: take(&mut rest)?,
            biases: take(&mut rest)?,
            sharpness: take(&mut rest)?,
            complexity: take(&mut rest)?,
            weak_fails: take(&mut rest)?,
            injection_from: *rest.first()?,
        })
    }
}

/// Short, middling or long: which inverse temperature applies.
#[must_use]
pub const fn length_class(bytes: usize) -> usize {
    match bytes {
        0..60 => 0,
        60..400 => 1,
        _ => 2,
    }
}

/// The logarithm of a prompt's length, near 0 for an ordinary one.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a logarithm follows")]
pub fn log_length(bytes: usize) -> f32 {
    (bytes as f32 + 20.0).ln() - 5.0
}

fn take<const N: usize>(rest: &mut &[f32]) -> Option<[f32; N]> {
    let (first, others) = rest.split_first_chunk::<N>()?;
    *rest = others;
    Some(*first)
}
