//! A histogram with buckets of equal ratio: a streaming quantile sketch in constant memory and time
//! (Masson, Rim & Lee, "`DDSketch`", VLDB 2019), read at the order statistic that conformal prediction
//! asks for.

/// Buckets for each doubling: a bucket's upper edge is at most 9.1 % above what is in it.
const PER_DOUBLING: u32 = 8;
/// Values up to 2³², far beyond any count of tokens.
const BUCKETS: usize = 2 + 32 * PER_DOUBLING as usize;
/// After this many values the older half is forgotten, so that a change of habits is noticed. Enough
/// for the smallest probability that the file takes.
const GENERATION: u32 = 32_768;

/// Counts of the last [`GENERATION`] to twice as many values.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    recent: Box<[u32; BUCKETS]>,
    recent_count: u32,
    older: Box<[u32; BUCKETS]>,
    older_count: u32,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            recent: Box::new([0; BUCKETS]),
            recent_count: 0,
            older: Box::new([0; BUCKETS]),
            older_count: 0,
        }
    }
}

impl Sketch {
    pub(super) fn add(&mut self, value: u64) {
        if self.recent_count == GENERATION {
            std::mem::swap(&mut self.recent, &mut self.older);
            self.older_count = self.recent_count;
            self.recent.fill(0);
            self.recent_count = 0;
        }
        self.recent[bucket(value)] += 1;
        self.recent_count += 1;
    }

    /// The counts that are not zero, by their bucket.
    #[allow(clippy::cast_possible_truncation, reason = "258 buckets")]
    pub(super) fn counts(&self) -> Vec<(u16, u32)> {
        let counts = self.recent.iter().zip(self.older.iter());
        counts
            .enumerate()
            .map(|(index, (recent, older))| (index as u16, recent + older))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Adds another sketch's counts, for good: what is old is forgotten where it was counted.
    pub(super) fn add_counts(&mut self, counts: &[(u16, u32)]) {
        for &(index, count) in counts {
            if let Some(here) = self.older.get_mut(usize::from(index)) {
                *here = here.saturating_add(count);
                self.older_count = self.older_count.saturating_add(count);
            }
        }
    }

    #[cfg(test)]
    fn bound(&self, probability: f64) -> Option<u64> {
        bound([Some(self), None], probability)
    }
}

/// A bound that the next value exceeds with at most this probability, if it comes like those
/// before it (exchangeable): of `n` values in these sketches the ⌈(n + 1)(1 − probability)⌉-th smallest
/// (Vovk, Gammerman & Shafer 2005; Lei et al. 2018). `None` while `n` is too small for any bound.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts of a few replicas, far below 2^52"
)]
pub(super) fn bound(sketches: [Option<&Sketch>; 2], probability: f64) -> Option<u64> {
    let known = || sketches.iter().flatten();
    let both = |recent: u32, older: u32| u64::from(recent) + u64::from(older);
    let count: u64 = known()
        .map(|it| both(it.recent_count, it.older_count))
        .sum();
    let rank = ((count + 1) as f64 * (1.0 - probability)).ceil() as u64;
    if rank > count {
        return None;
    }
    let mut above = count - rank;
    for index in (0..BUCKETS).rev() {
        let here: u64 = known()
            .map(|it| both(it.recent[index], it.older[index]))
            .sum();
        if here > above {
            return Some(upper_edge(index));
        }
        above -= here;
    }
    None
}

/// 0 for nothing, then the buckets `[2^((i−1)/8), 2^(i/8))`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a logarithm of 64 bits is small; a value a hair beside an edge is in the next bucket"
)]
fn bucket(value: u64) -> usize {
    if value == 0 {
        return 0;
    }
    let index = ((value as f64).log2() * f64::from(PER_DOUBLING)) as usize;
    (index + 1).min(BUCKETS - 1)
}

/// No value of the bucket is greater.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "at most 2^33"
)]
fn upper_edge(index: usize) -> u64 {
    if index == 0 {
        return 0;
    }
    if index == BUCKETS - 1 {
        return u64::MAX;
    }
    (index as f64 / f64::from(PER_DOUBLING)).exp2().ceil() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn too_few_values_give_no_bound() {
        let mut sketch = Sketch::default();
        for _ in 0..998 {
            sketch.add(7);
        }
        assert_eq!(sketch.bound(0.001), None);
        sketch.add(7);
        let bound = sketch.bound(0.001).expect("999 values are enough");
        assert!((7..=8).contains(&bound), "{bound}");
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut sketch = Sketch::default();
        for _ in 0..GENERATION {
            sketch.add(5_000);
        }
        for _ in 0..=2 * GENERATION {
            sketch.add(10);
        }
        let bound = sketch.bound(0.01).expect("enough values");
        assert!(bound < 12, "{bound}");
    }

    proptest! {
        #[test]
        fn the_bound_is_the_order_statistic_or_a_little_above(
            values in prop::collection::vec(0..2_000_000u64, 100..400),
            probability in 0.01..0.5f64,
        ) {
            let mut sketch = Sketch::default();
            for &value in &values {
                sketch.add(value);
            }
            let mut sorted = values;
            sorted.sort_unstable();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "hundreds")]
            let rank = ((sorted.len() + 1) as f64 * (1.0 - probability)).ceil() as usize;
            let expect = sorted.get(rank - 1).copied();
            let found = sketch.bound(probability);
            prop_assert_eq!(expect.is_some(), found.is_some());
            if let (Some(exact), Some(found)) = (expect, found) {
                prop_assert!(found >= exact);
                #[allow(clippy::cast_precision_loss, reason = "millions")]
                let ratio = found as f64 / exact.max(1) as f64;
                prop_assert!(ratio < 1.1 || found <= exact + 1, "{found} for {exact}");
            }
        }
    }
}
