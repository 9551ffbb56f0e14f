//! Features in, logits out: adds up the rows of a conversation's features, group by group.

use smallvec::SmallVec;

use super::super::features::{Group, Hit, Kind, Sink};
use super::super::task::{Task, TaskVector};
use super::{COLUMNS, Inner, Model, first_slot};

/// How much a group's sum counts, before its weights were trained.
pub const GROUP_GAINS: [f32; Group::COUNT] = [1.0, 0.8, 0.9, 0.4, 0.5, 1.0, 0.35, 0.6, 1.5];

/// A feature that has weights.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    row: u32,
    /// What fired.
    pub hit: Hit,
    /// Its group.
    pub group: Group,
}

/// Adds up the weights of a conversation.
///
/// Features wait until some are together: their places in the table, which no cache holds as a whole,
/// are then looked up side by side instead of one after the other.
pub struct Scorer<'m> {
    model: &'m Model,
    group: Group,
    count: u32,
    waiting: [Hit; BATCH],
    waits: usize,
    sums: [i32; COLUMNS],
    totals: [f32; COLUMNS],
    group_values: [f32; Group::COUNT],
    found: SmallVec<[Found; 128]>,
}

/// Features looked up together. Their sums fit in 16 bits.
const BATCH: usize = 64;
/// Features kept for the explanation; the sums hold all.
const MAX_FOUND: usize = 512;

impl<'m> Scorer<'m> {
    /// Nothing added yet.
    #[must_use]
    pub fn new(model: &'m Model) -> Self {
        const NOTHING: Hit = Hit {
            key: 0,
            kind: Kind::Word,
            start: 0,
            end: 0,
        };
        Self {
            model,
            group: Group::Shapes,
            count: 0,
            waiting: [NOTHING; BATCH],
            waits: 0,
            sums: [0; COLUMNS],
            totals: [0.0; COLUMNS],
            group_values: [0.0; Group::COUNT],
            found: SmallVec::new(),
        }
    }

    fn add_waiting(&mut self) {
        let Inner { slots, rows, .. } = &*self.model.inner;
        let waiting = &self.waiting[..self.waits];
        let mask = slots.len() - 1;
        let mut firsts = [0; BATCH];
        for (first, hit) in firsts.iter_mut().zip(waiting) {
            *first = slots[first_slot(hit.key, mask)];
        }
        let mut sums = [0_i16; COLUMNS];
        for (hit, first) in waiting.iter().zip(firsts) {
            let Some(row) = self.model.row_from(hit.key, first) else {
                continue;
            };
            let weights = rows[row as usize].map(i16::from);
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += weight;
            }
            if hit.kind != Kind::Letters && self.found.len() < MAX_FOUND {
                self.found.push(Found {
                    row,
                    hit: *hit,
                    group: self.group,
                });
            }
        }
        for (sum, more) in self.sums.iter_mut().zip(sums) {
            *sum += i32::from(more);
        }
        self.count += u32::try_from(self.waits).unwrap_or(0);
        self.waits = 0;
    }

    fn end_group(&mut self) {
        self.add_waiting();
        let value = group_value(self.group, self.count);
        self.group_values[self.group as usize] = value;
        #[allow(clippy::cast_precision_loss, reason = "sums are far below 2^24")]
        for (total, sum) in self.totals.iter_mut().zip(&mut self.sums) {
            *total += *sum as f32 * value;
            *sum = 0;
        }
        self.count = 0;
    }

    /// The logits of all columns.
    #[must_use]
    pub fn finish(mut self) -> Scored<'m> {
        self.end_group();
        let numbers = &self.model.inner.numbers;
        let mut logits = [0.0; COLUMNS];
        for (at, logit) in logits.iter_mut().enumerate() {
            *logit = self.totals[at] * numbers.scales[at] + numbers.biases[at];
        }
        Scored {
            model: self.model,
            logits,
            group_values: self.group_values,
            found: self.found,
        }
    }
}

/// What each feature of a group counts, when so many fired.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts are below 2^24")]
pub fn group_value(group: Group, count: u32) -> f32 {
    GROUP_GAINS[group as usize] / (count as f32 + 4.0).sqrt()
}

impl Sink for Scorer<'_> {
    fn begin(&mut self, group: Group) {
        self.end_group();
        self.group = group;
    }

    #[inline]
    fn hit(&mut self, hit: Hit) {
        if self.waits == BATCH {
            self.add_waiting();
        }
        self.waiting[self.waits] = hit;
        self.waits += 1;
    }
}

/// The logits of a conversation and what made them.
pub struct Scored<'m> {
    model: &'m Model,
    /// A logit for each column.
    pub logits: [f32; COLUMNS],
    group_values: [f32; Group::COUNT],
    found: SmallVec<[Found; 128]>,
}

impl Scored<'_> {
    /// The logits of the tasks.
    #[must_use]
    pub fn tasks(&self) -> TaskVector {
        let mut vector = TaskVector::default();
        for task in Task::ALL {
            vector.add(task, self.logits[task.index()]);
        }
        vector
    }

    /// The features that moved a column most, with how much they moved it.
    #[must_use]
    pub fn strongest<const N: usize>(&self, column: usize) -> SmallVec<[(Found, f32); N]> {
        let scale = self.model.inner.numbers.scales[column];
        // Places in `found` and weights, strongest first.
        let mut best = [(0_usize, 0.0_f32); N];
        let mut kept = 0;
        for (place, found) in self.found.iter().enumerate() {
            let weight = f32::from(self.model.inner.rows[found.row as usize][column])
                * scale
                * self.group_values[found.group as usize];
            let least = if kept == N { best[N - 1].1 } else { 0.0 };
            if weight.abs() <= least.abs() {
                continue;
            }
            let mut at = kept.min(N - 1);
            while at > 0 && best[at - 1].1.abs() < weight.abs() {
                best[at] = best[at - 1];
                at -= 1;
            }
            best[at] = (place, weight);
            kept = (kept + 1).min(N);
        }
        let best = best[..kept].iter();
        best.map(|&(place, weight)| (self.found[place], weight))
            .collect()
    }
}
