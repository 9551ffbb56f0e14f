//! How much attempts really use, learned by key, task, level and model: what budgets reserve that
//! accept an overrun.
//!
//! A strict budget reserves `max_tokens` of output and every byte of input at the dearest class. A
//! coding agent that sends huge contexts with a huge `max_tokens` and gets short answers then holds
//! a hundred times what it will cost, and a few such requests freeze a budget whose spending is small.
//! A budget with `overrun: { at_most_usd, probability }` reserves instead what an attempt exceeds with
//! that probability.
//!
//! **What is guaranteed.** Half of the probability goes to the output's length, half to the input's
//! cost as a share of its bound. Each is bounded by the conformal order statistic of what this very
//! key, task, level and model have used, so if the next attempt comes like those before it
//! (exchangeable), it costs more than its reserve with at most `probability`; whatever the
//! distribution. With fewer than about `2 / probability` attempts known there is no such bound, and the
//! worst case counts. *Surely*, also where a client changes its habits or means harm, the budget is never
//! overrun by more than `at_most_usd`: the worst cases of all attempts in flight must fit into what is
//! left and that sum ([`super::budgets`]).
//!
//! Constant memory for each combination (4 KB), and a bounded number of them; beyond it, and for all
//! that is not known, the worst case counts: fail closed.

mod sketch;

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::types::{KeyId, LevelName, ModelId, TaskName};

use self::sketch::Sketch;

/// Combinations that are learned about: 8 MB.
const MAX_LESSONS: usize = 2_000;
/// A lesson that nobody added to for so long may make room for another.
const FORGOTTEN_AFTER_MS: i64 = 7 * 24 * 3_600_000;
/// Lessons that other replicas are told of, the latest: some hundred kilobytes of text.
const MAX_TOLD: usize = 500;
/// Shares are learned as whole millionths.
const MILLION: f64 = 1e6;

/// What attempts are alike by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LessonKey {
    /// The virtual key; `None` in `auth: open`.
    pub key: Option<KeyId>,
    /// The task that the request is treated as.
    pub task: TaskName,
    /// Its level.
    pub level: LevelName,
    /// The model that is tried.
    pub model: ModelId,
}

/// What an attempt will use at most, but for the probability that was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LikelyUse {
    /// Output of every class, tokens, all choices together.
    pub output_tokens: u64,
    /// What its input costs, as a share of the bound of its input at its dearest class.
    pub input_share: f64,
}

#[derive(Debug, Default)]
struct Lesson {
    output_tokens: Sketch,
    input_millionths: Sketch,
    last_ms: i64,
}

/// All that is learned about lengths.
#[derive(Debug, Default)]
pub struct Lengths {
    lessons: Mutex<Lessons>,
    /// Something was learned since the other replicas were last told.
    has_untold: AtomicBool,
    /// What other replicas have learned.
    elsewhere: Mutex<FxHashMap<LessonKey, Lesson>>,
}

/// A lesson as text: whose, and the counts of its sketches.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    of: LessonKey,
    output_tokens: Vec<(u16, u32)>,
    input_millionths: Vec<(u16, u32)>,
}

#[derive(Debug, Default)]
struct Lessons {
    by_key: FxHashMap<LessonKey, Lesson>,
    /// Nothing can be forgotten before this moment.
    full_until_ms: i64,
}

impl Lengths {
    /// Learns from an attempt that has ended and was billed.
    pub fn observe(&self, key: &LessonKey, used: LikelyUse, now_ms: i64) {
        self.has_untold.store(true, Ordering::Relaxed);
        let mut lessons = self.lessons.lock();
        if !lessons.by_key.contains_key(key) {
            if !lessons.has_room(now_ms) {
                return;
            }
            lessons.by_key.insert(key.clone(), Lesson::default());
        }
        if let Some(lesson) = lessons.by_key.get_mut(key) {
            lesson.output_tokens.add(used.output_tokens);
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share is small; a cast saturates"
            )]
            let millionths = (used.input_share * MILLION).ceil() as u64;
            lesson.input_millionths.add(millionths);
            lesson.last_ms = now_ms;
        }
    }

    /// What an attempt uses at most, but for this probability; `None` while too little is known.
    #[must_use]
    pub fn likely(&self, key: &LessonKey, probability: f64) -> Option<LikelyUse> {
        let elsewhere = self.elsewhere.lock();
        let lessons = self.lessons.lock();
        let known = [lessons.by_key.get(key), elsewhere.get(key)];
        let bound = |of: fn(&Lesson) -> &Sketch| {
            let sketches = known.map(|lesson| lesson.map(of));
            sketch::bound(sketches, probability / 2.0)
        };
        let millionths = bound(|lesson| &lesson.input_millionths)?;
        #[allow(clippy::cast_precision_loss, reason = "a display value would do")]
        let input_share = millionths as f64 / MILLION;
        Some(LikelyUse {
            output_tokens: bound(|lesson| &lesson.output_tokens)?,
            input_share,
        })
    }

    /// What this process itself has learned of late, as a text for the other replicas; `None` when there
    /// is no news since the last call, unless it is asked for all the same.
    #[must_use]
    pub fn posted(&self, again: bool) -> Option<String> {
        if !self.has_untold.swap(false, Ordering::Relaxed) && !again {
            return None;
        }
        let lessons = self.lessons.lock();
        let mut latest: Vec<(&LessonKey, &Lesson)> = lessons.by_key.iter().collect();
        latest.sort_by_key(|(_, lesson)| std::cmp::Reverse(lesson.last_ms));
        let told = latest.into_iter().take(MAX_TOLD).map(|(of, lesson)| Told {
            of: of.clone(),
            output_tokens: lesson.output_tokens.counts(),
            input_millionths: lesson.input_millionths.counts(),
        });
        let told: Vec<Told> = told.collect();
        drop(lessons);
        serde_json::to_string(&told).ok()
    }

    /// Takes in what the other replicas say now, in the place of what they said before. A text of
    /// another version says nothing.
    pub fn heard<'a>(&self, texts: impl Iterator<Item = &'a str>) {
        let mut found: FxHashMap<LessonKey, Lesson> = FxHashMap::default();
        let told = texts.filter_map(|text| serde_json::from_str::<Vec<Told>>(text).ok());
        for told in told.flatten() {
            if found.len() >= MAX_LESSONS && !found.contains_key(&told.of) {
                continue;
            }
            let lesson = found.entry(told.of).or_default();
            lesson.output_tokens.add_counts(&told.output_tokens);
            lesson.input_millionths.add_counts(&told.input_millionths);
        }
        *self.elsewhere.lock() = found;
    }
}

impl Lessons {
    /// Makes room where there is none, by forgetting what nobody has added to for long.
    fn has_room(&mut self, now_ms: i64) -> bool {
        if self.by_key.len() < MAX_LESSONS {
            return true;
        }
        if now_ms < self.full_until_ms {
            return false;
        }
        self.by_key
            .retain(|_, lesson| now_ms - lesson.last_ms < FORGOTTEN_AFTER_MS);
        let oldest = self.by_key.values().map(|lesson| lesson.last_ms).min();
        self.full_until_ms = oldest.unwrap_or(now_ms) + FORGOTTEN_AFTER_MS;
        self.by_key.len() < MAX_LESSONS
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn key(of: usize) -> LessonKey {
        LessonKey {
            key: Some(KeyId::new(format!("k{of}"))),
            task: "open_qa".into(),
            level: "simple".into(),
            model: "m".into(),
        }
    }

    /// A heavy tail, as lengths of answers have it.
    fn draw(rng: &mut StdRng) -> LikelyUse {
        let pareto = |rng: &mut StdRng| (1.0 - rng.random::<f64>()).powf(-0.7);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "tokens"
        )]
        let output_tokens = (100.0 * pareto(rng)) as u64;
        LikelyUse {
            output_tokens,
            input_share: (0.05 * pareto(rng)).min(1.0),
        }
    }

    #[test]
    fn attempts_exceed_their_bound_as_rarely_as_was_asked_for() {
        let lengths = Lengths::default();
        let mut rng = StdRng::seed_from_u64(7);
        let (mut bounded, mut exceeded) = (0_u32, 0_u32);
        for _ in 0..20_000 {
            let next = draw(&mut rng);
            if let Some(likely) = lengths.likely(&key(0), 0.02) {
                bounded += 1;
                let over = next.output_tokens > likely.output_tokens
                    || next.input_share > likely.input_share;
                exceeded += u32::from(over);
            }
            lengths.observe(&key(0), next, 0);
        }
        assert_eq!(bounded, 20_000 - 99, "99 attempts are needed for 0.02 / 2");
        let rate = f64::from(exceeded) / f64::from(bounded);
        // Three standard errors above 0.02 would be 0.023.
        assert!(rate <= 0.023, "{rate}");
        assert!(rate >= 0.005, "not needlessly wide: {rate}");
    }

    #[test]
    fn another_key_learns_for_itself() {
        let lengths = Lengths::default();
        let used = LikelyUse {
            output_tokens: 10,
            input_share: 0.1,
        };
        for _ in 0..200 {
            lengths.observe(&key(0), used, 0);
        }
        assert!(lengths.likely(&key(0), 0.02).is_some());
        assert_eq!(lengths.likely(&key(1), 0.02), None);
    }

    #[test]
    fn there_is_a_bound_on_what_is_learned_and_room_for_the_new_once_the_old_is_stale() {
        let lengths = Lengths::default();
        let used = LikelyUse {
            output_tokens: 1,
            input_share: 0.5,
        };
        let known = || lengths.lessons.lock().by_key.len();
        for of in 0..MAX_LESSONS + 10 {
            lengths.observe(&key(of), used, 0);
        }
        assert_eq!(known(), MAX_LESSONS);
        lengths.observe(&key(0), used, FORGOTTEN_AFTER_MS);
        lengths.observe(&key(MAX_LESSONS), used, FORGOTTEN_AFTER_MS);
        assert_eq!(known(), 2, "the one that is in use, and the new one");
    }

    #[test]
    fn replicas_learn_together_what_neither_has_seen_often_enough() {
        let (a, b) = (Lengths::default(), Lengths::default());
        let used = LikelyUse {
            output_tokens: 10,
            input_share: 0.1,
        };
        for _ in 0..60 {
            a.observe(&key(0), used, 0);
            b.observe(&key(0), used, 0);
        }
        assert_eq!(b.likely(&key(0), 0.02), None);
        let text = a.posted(false).expect("news");
        for _ in 0..2 {
            b.heard([text.as_str()].into_iter());
        }
        let likely = b.likely(&key(0), 0.02).expect("120 are enough");
        assert!((10..=12).contains(&likely.output_tokens), "{likely:?}");
        b.heard(["nonsense"].into_iter());
        assert_eq!(b.likely(&key(0), 0.02), None);
    }
}
