//! Adds up what the phrases and shapes of a conversation say: a logit for each task, one for the
//! complexity, and what fired, so that a decision can be explained.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use smallvec::SmallVec;

use super::excerpt::Excerpt;
use super::table::{PHRASES, PRIORS, Phrase, STRUCTURES, Shape, Structure};
use super::task::{Task, TaskVector};

/// One hit of the table.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    source: Source,
    /// By how much its weights were multiplied.
    pub factor: f32,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Phrase(u16),
    Structure(u16),
}

impl Hit {
    /// Its name among the signals.
    #[must_use]
    pub fn name(&self) -> String {
        match self.source {
            Source::Phrase(at) => {
                format!(
                    "phrase:{}",
                    PHRASES[usize::from(at)]
                        .text
                        .trim_end_matches('|')
                        .trim_end()
                )
            }
            Source::Structure(at) => STRUCTURES[usize::from(at)].name.to_owned(),
        }
    }

    /// How much it moved a task's logit.
    #[must_use]
    pub fn weight_for(&self, task: Task) -> f32 {
        let tasks = match self.source {
            Source::Phrase(at) => PHRASES[usize::from(at)].tasks,
            Source::Structure(at) => STRUCTURES[usize::from(at)].tasks,
        };
        let weight: f32 = tasks
            .iter()
            .filter(|(of, _)| *of == task)
            .map(|(_, weight)| weight)
            .sum();
        weight * self.factor
    }

    /// How much it moved the complexity's logit.
    #[must_use]
    pub fn complexity(&self) -> f32 {
        let weight = match self.source {
            Source::Phrase(at) => PHRASES[usize::from(at)].complexity,
            Source::Structure(at) => STRUCTURES[usize::from(at)].complexity,
        };
        weight * self.factor
    }
}

/// The sums so far.
#[derive(Debug)]
pub struct Evidence {
    /// A logit for each task.
    pub logits: TaskVector,
    /// The complexity's logit, without the task's base.
    pub complexity: f32,
    /// What fired; at most `MAX_HITS`.
    pub hits: SmallVec<[Hit; 24]>,
}

/// Hits kept for the explanation; the sums hold all.
const MAX_HITS: usize = 96;
/// An instruction stands within this many bytes of either end of a text.
const INSTRUCTION_BYTES: usize = 260;
/// A verb within the first bytes is the instruction itself.
const OPENING_BYTES: usize = 24;
const OPENING_FACTOR: f32 = 1.35;
/// In the middle of a long text stands material, not instruction.
const MATERIAL_FACTOR: f32 = 0.25;

/// How much an excerpt counts.
#[derive(Clone, Copy, Debug)]
pub struct Weighting {
    /// Factor on everything.
    pub factor: f32,
    /// Factor on roleplay and conversation: `you are a helpful assistant` opens most system prompts
    /// and says nothing of the task.
    pub manner: f32,
}

struct Matcher {
    automaton: AhoCorasick,
    /// Whether a match must end where a word ends.
    whole_word: Vec<bool>,
}

/// Built once, from constants. A table that does not compile would leave the classifier without
/// phrases; a test sees to it that it does.
static MATCHER: LazyLock<Option<Matcher>> = LazyLock::new(|| {
    let texts = PHRASES
        .iter()
        .map(|phrase| phrase.text.trim_end_matches('|'));
    let automaton = AhoCorasick::builder()
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::DFA))
        .build(texts)
        .ok()?;
    let whole_word = PHRASES
        .iter()
        .map(|phrase| phrase.text.ends_with('|'))
        .collect();
    Some(Matcher {
        automaton,
        whole_word,
    })
});

/// Builds the automaton now rather than at the first request.
pub fn warm_up() {
    LazyLock::force(&MATCHER);
}

impl Default for Evidence {
    fn default() -> Self {
        let mut logits = TaskVector::default();
        for (task, prior) in PRIORS {
            logits.add(*task, *prior);
        }
        Self {
            logits,
            complexity: 0.0,
            hits: SmallVec::new(),
        }
    }
}

impl Evidence {
    /// Adds the shapes of the conversation.
    pub fn add_shapes(&mut self, shapes: &[Shape]) {
        for (at, structure) in (0_u16..).zip(STRUCTURES) {
            if shapes.contains(&structure.shape) {
                let Structure {
                    tasks, complexity, ..
                } = structure;
                self.add(Source::Structure(at), tasks, *complexity, WEIGHT_AS_IS);
            }
        }
    }

    /// Adds the phrases of an excerpt, each once, at the most telling place where it stands.
    pub fn add_phrases(&mut self, excerpt: &Excerpt, weighting: Weighting) {
        let Some(matcher) = MATCHER.as_ref() else {
            return;
        };
        let text = excerpt.text.as_bytes();
        let mut seen = [0_u64; PHRASES.len().div_ceil(64)];
        for found in matcher.automaton.find_overlapping_iter(text) {
            let at = found.pattern().as_usize();
            let bit = 1_u64 << (at % 64);
            if seen[at / 64] & bit != 0
                || !begins_word(text, found.start())
                || (matcher.whole_word[at] && !ends_word(text, found.end()))
            {
                continue;
            }
            seen[at / 64] |= bit;
            let place = place_factor(found.start(), text.len());
            let scaled = Weighting {
                factor: weighting.factor * place,
                manner: weighting.manner,
            };
            let Phrase {
                tasks, complexity, ..
            } = &PHRASES[at];
            let source = Source::Phrase(u16::try_from(at).unwrap_or(u16::MAX));
            self.add(source, tasks, *complexity, scaled);
        }
    }

    fn add(&mut self, source: Source, tasks: &[(Task, f32)], complexity: f32, by: Weighting) {
        for (task, weight) in tasks {
            let manner = match task {
                Task::Roleplay | Task::Conversation => by.manner,
                _ => 1.0,
            };
            self.logits.add(*task, weight * by.factor * manner);
        }
        self.complexity += complexity * by.factor;
        if self.hits.len() < MAX_HITS {
            self.hits.push(Hit {
                source,
                factor: by.factor,
            });
        }
    }
}

const WEIGHT_AS_IS: Weighting = Weighting {
    factor: 1.0,
    manner: 1.0,
};

fn place_factor(at: usize, len: usize) -> f32 {
    if at < OPENING_BYTES {
        OPENING_FACTOR
    } else if at < INSTRUCTION_BYTES || at + INSTRUCTION_BYTES >= len {
        1.0
    } else {
        MATERIAL_FACTOR
    }
}

/// Scripts other than Latin have no boundary that could be seen in bytes; there every place is one.
fn begins_word(text: &[u8], at: usize) -> bool {
    at == 0 || !text[at - 1].is_ascii_alphanumeric()
}

fn ends_word(text: &[u8], at: usize) -> bool {
    text.get(at)
        .is_none_or(|byte| !byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_compiles_and_is_written_as_texts_are_read() {
        assert!(MATCHER.is_some());
        for phrase in PHRASES {
            let text = phrase.text;
            assert_eq!(super::super::excerpt::normalise(text), text);
        }
        assert!(PHRASES.len() < usize::from(u16::MAX));
    }
}
