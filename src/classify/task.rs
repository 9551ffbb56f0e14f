//! The built-in tasks and a small vector with one number for each. Says nothing about how a task is
//! recognised.

use crate::types::TaskName;

macro_rules! tasks {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A built-in task.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Task {
            $($(#[$doc])* $variant,)*
        }

        impl Task {
            /// Every task, `other` last.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = [$($name,)*].len();

            /// The name used in `matrix`, in headers and in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

tasks! {
    /// New code.
    CodeGeneration = "code_generation",
    /// Any work on code that exists: fix, review, explain, refactor, port.
    CodeReview = "code_review",
    /// Mathematics, logic, puzzles.
    MathReasoning = "math_reasoning",
    /// Questions over tables and data sets, SQL.
    DataAnalysis = "data_analysis",
    /// A shorter text of a given one.
    Summarization = "summarization",
    /// Another language.
    Translation = "translation",
    /// Other words for a given text.
    Rewriting = "rewriting",
    /// Pieces of a given text.
    Extraction = "extraction",
    /// A label for a given text.
    Classification = "classification",
    /// A question without a context.
    OpenQa = "open_qa",
    /// A question and the passage to answer it from.
    ClosedQa = "closed_qa",
    /// New text, creative or functional.
    CreativeWriting = "creative_writing",
    /// Ideas.
    Brainstorming = "brainstorming",
    /// Acting as somebody.
    Roleplay = "roleplay",
    /// Small talk.
    Conversation = "conversation",
    /// None of these, or not enough to tell.
    Other = "other",
}

impl Task {
    /// Where the task stands in a [`TaskVector`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The task of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.as_str() == name)
    }

    /// The name as a shared text.
    #[must_use]
    pub fn to_name(self) -> TaskName {
        // One allocation for all requests: the names are a closed set.
        static NAMES: std::sync::LazyLock<[TaskName; Task::COUNT]> =
            std::sync::LazyLock::new(|| Task::ALL.map(|task| TaskName::new(task.as_str())));
        NAMES[self.index()].clone()
    }
}

/// One number for each task.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TaskVector([f32; Task::COUNT]);

impl TaskVector {
    /// The number of a task.
    #[must_use]
    pub const fn get(&self, task: Task) -> f32 {
        self.0[task.index()]
    }

    /// Adds to the number of a task.
    pub fn add(&mut self, task: Task, amount: f32) {
        self.0[task.index()] += amount;
    }

    /// Turns logits into probabilities; `sharpness` is the inverse temperature.
    #[must_use]
    pub fn softmax(&self, sharpness: f32) -> Self {
        let top = self.0.iter().copied().fold(f32::MIN, f32::max);
        let mut out = self.0.map(|logit| ((logit - top) * sharpness).exp());
        let sum: f32 = out.iter().sum();
        for probability in &mut out {
            *probability /= sum;
        }
        Self(out)
    }

    /// Tasks with their numbers, largest first; ties in the order of [`Task::ALL`].
    #[must_use]
    pub fn ranked(&self) -> [(Task, f32); Task::COUNT] {
        let mut ranked = Task::ALL.map(|task| (task, self.get(task)));
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tasks_are_one_to_one() {
        for task in Task::ALL {
            assert_eq!(Task::parse(task.as_str()), Some(task));
            assert_eq!(task.to_name().as_str(), task.as_str());
        }
        assert_eq!(Task::parse("poetry"), None);
    }

    #[test]
    fn softmax_sums_to_one_and_keeps_the_order() {
        let mut logits = TaskVector::default();
        logits.add(Task::Translation, 3.0);
        logits.add(Task::Other, 1.0);
        let probabilities = logits.softmax(1.0);
        let sum: f32 = Task::ALL.iter().map(|&task| probabilities.get(task)).sum();
        assert!((sum - 1.0).abs() < 1e-5);
        assert_eq!(probabilities.ranked()[0].0, Task::Translation);
        assert_eq!(probabilities.ranked()[1].0, Task::Other);
    }
}
