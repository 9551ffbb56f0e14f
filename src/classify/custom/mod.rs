//! Tasks of one's own: recognised by the features that a request shares with their examples, weighed
//! by how rare each is in other requests. Nothing is trained on; [`learning`] reads the examples when
//! the file is loaded, and a request only adds up numbers while its features pass by.
//!
//! A file without `tasks` never comes here.

mod background;
pub mod learning;
#[cfg(test)]
mod tests;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::excerpt::Reading;
use super::features::{Group, Hit, Kind, Sink};
use super::model::group_value;
use super::signals;
use crate::types::{Signal, TaskName};

/// What one feature says for one task.
#[derive(Clone, Copy, Debug)]
struct Posting {
    task: u8,
    weight: f32,
}

/// A task as it is recognised.
#[derive(Clone, Debug)]
struct Line {
    name: TaskName,
    /// The likeness from which a request is more probably of this task than not.
    threshold: f32,
    /// What one unit of likeness adds to the logit.
    slope: f32,
}

impl Line {
    /// Above 0 a request is more probably of this task than not.
    fn logit(&self, likeness: f32) -> f32 {
        self.slope * (likeness - self.threshold)
    }
}

/// Every task of a file, ready to be looked for.
#[derive(Clone, Debug)]
pub struct CustomTasks {
    lines: Box<[Line]>,
    /// A bit for each feature's low bits: most features of a request are in no example.
    filter: Box<[u64; FILTER_WORDS]>,
    rows: FxHashMap<u64, (u32, u32)>,
    postings: Box<[Posting]>,
}

/// 64 Ki bits: for ten tasks a stray feature passes in one case of ten.
const FILTER_WORDS: usize = 1024;

impl CustomTasks {
    fn new(lines: Vec<Line>, weights: &[&FxHashMap<u64, f32>]) -> Self {
        let mut by_key: FxHashMap<u64, Vec<Posting>> = FxHashMap::default();
        for (task, weights) in (0_u8..).zip(weights) {
            for (&key, &weight) in *weights {
                by_key
                    .entry(key)
                    .or_default()
                    .push(Posting { task, weight });
            }
        }
        let mut tasks = Self {
            lines: lines.into(),
            filter: Box::new([0; FILTER_WORDS]),
            rows: FxHashMap::default(),
            postings: Box::default(),
        };
        let mut postings = Vec::new();
        for (key, of_key) in by_key {
            let (word, bit) = place(key);
            tasks.filter[word] |= bit;
            let from = u32::try_from(postings.len()).unwrap_or(u32::MAX);
            let count = u32::try_from(of_key.len()).unwrap_or(0);
            postings.extend(of_key);
            tasks.rows.insert(key, (from, count));
        }
        tasks.postings = postings.into();
        tasks
    }

    /// The names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &TaskName> {
        self.lines.iter().map(|line| &line.name)
    }

    fn postings(&self, key: u64) -> &[Posting] {
        let (word, bit) = place(key);
        if self.filter[word] & bit == 0 {
            return &[];
        }
        let row = self.rows.get(&key);
        row.map_or(&[], |&(from, count)| {
            &self.postings[from as usize..from as usize + count as usize]
        })
    }
}

#[allow(clippy::cast_possible_truncation, reason = "masked")]
const fn place(key: u64) -> (usize, u64) {
    let bits = key ^ (key >> 29);
    ((bits >> 6) as usize % FILTER_WORDS, 1 << (bits % 64))
}

/// Adds up what a request's features say for each task, while they are on their way to the scorer.
pub struct Likeness<'t> {
    tasks: &'t CustomTasks,
    group: Group,
    count: u32,
    sums: SmallVec<[f32; 8]>,
    totals: SmallVec<[f32; 8]>,
    values: [f32; Group::COUNT],
    found: SmallVec<[(Hit, Group); 64]>,
}

/// Features kept for the explanation; the sums hold all.
const MAX_FOUND: usize = 256;

impl<'t> Likeness<'t> {
    /// Nothing added yet.
    #[must_use]
    pub fn new(tasks: &'t CustomTasks) -> Self {
        let none = SmallVec::from_elem(0.0, tasks.lines.len());
        Self {
            tasks,
            group: Group::Shapes,
            count: 0,
            sums: none.clone(),
            totals: none,
            values: [0.0; Group::COUNT],
            found: SmallVec::new(),
        }
    }

    fn end_group(&mut self) {
        let value = group_value(self.group, self.count);
        self.values[self.group as usize] = value;
        for (total, sum) in self.totals.iter_mut().zip(&mut self.sums) {
            *total += *sum * value;
            *sum = 0.0;
        }
        self.count = 0;
    }

    /// How much the request is like each task.
    #[must_use]
    pub fn finish(mut self) -> Found<'t> {
        self.end_group();
        Found {
            tasks: self.tasks,
            likenesses: self.totals,
            values: self.values,
            hits: self.found,
        }
    }
}

impl Sink for Likeness<'_> {
    fn begin(&mut self, group: Group) {
        self.end_group();
        self.group = group;
    }

    #[inline]
    fn hit(&mut self, hit: Hit) {
        self.count += 1;
        let postings = self.tasks.postings(hit.key);
        for posting in postings {
            self.sums[usize::from(posting.task)] += posting.weight;
        }
        if !postings.is_empty() && hit.kind != Kind::Letters && self.found.len() < MAX_FOUND {
            self.found.push((hit, self.group));
        }
    }
}

/// Two takers of the same features.
pub struct Both<'a, A, B>(pub &'a mut A, pub &'a mut B);

impl<A: Sink, B: Sink> Sink for Both<'_, A, B> {
    fn begin(&mut self, group: Group) {
        self.0.begin(group);
        self.1.begin(group);
    }

    #[inline]
    fn hit(&mut self, hit: Hit) {
        self.0.hit(hit);
        self.1.hit(hit);
    }

    #[inline]
    fn sense(&mut self, hit: Hit) {
        self.0.sense(hit);
        self.1.sense(hit);
    }
}

/// How much a request is like each task of the file.
pub struct Found<'t> {
    tasks: &'t CustomTasks,
    likenesses: SmallVec<[f32; 8]>,
    values: [f32; Group::COUNT],
    hits: SmallVec<[(Hit, Group); 64]>,
}

/// Odds beyond this are no surer.
const MAX_LOGIT: f32 = 4.0;

impl Found<'_> {
    /// The odds of each task against all that is built in.
    pub fn odds(&self) -> SmallVec<[(&TaskName, f32); 8]> {
        let lines = self.tasks.lines.iter().zip(&self.likenesses);
        lines
            .map(|(line, likeness)| (&line.name, line.logit(*likeness).min(MAX_LOGIT).exp()))
            .collect()
    }

    /// What spoke for a task most, each text once.
    #[must_use]
    pub fn signals(&self, name: &TaskName, reading: &Reading) -> SmallVec<[Signal; 4]> {
        let at = self.tasks.names().position(|other| other == name);
        let mut weighed: Vec<(f32, &Hit, Group)> = Vec::new();
        for (hit, group) in &self.hits {
            let postings = self.tasks.postings(hit.key).iter();
            let weight: f32 = postings
                .filter(|posting| Some(usize::from(posting.task)) == at)
                .map(|posting| posting.weight * self.values[*group as usize])
                .sum();
            if weight > 0.0 {
                weighed.push((weight, hit, *group));
            }
        }
        weighed.sort_by(|a, b| b.0.total_cmp(&a.0));
        let weighed = weighed.into_iter();
        signals::shown(
            weighed.map(|(weight, hit, group)| (weight, *hit, group)),
            reading,
        )
    }
}
