//! What the classifier found out about one request.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::call::Needs;
use super::ids::TaskName;

/// A task and how probable it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// The task.
    pub task: TaskName,
    /// Its probability, 0..=1; the scores of one request sum to 1.
    pub probability: f32,
}

/// A feature that weighed in the decision, in words that a person can read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// What was seen, as `code_fence` or `phrase:translate … to`.
    pub name: String,
    /// How much it moved the score of the chosen task (or the complexity), signed.
    pub weight: f32,
}

/// The classifier's findings. Cannot fail: what it does not know is `other` with low confidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// The most probable task, or `other`.
    pub task: TaskName,
    /// The probability that `task` is right, 0..=1.
    pub confidence: f32,
    /// Every task with a probability worth showing, most probable first.
    pub tasks: SmallVec<[TaskScore; 4]>,
    /// How hard the request is, 0..=1.
    pub complexity: f32,
    /// The probability that a weaker model fails at it, 0..=1.
    pub weak_fails: f32,
    /// ISO 639-1 code of the prompt's language, or `und`.
    pub language: String,
    /// What the model must be able to do.
    pub needs: Needs,
    /// The expected count of input tokens (for prices shown and for ranking).
    pub input_tokens: u64,
    /// A proven over-estimate of the input tokens (to reserve and to check the context length).
    pub input_tokens_bound: u64,
    /// The expected count of output tokens of one choice.
    pub output_tokens_estimate: u64,
    /// What weighed most, for people.
    pub signals: SmallVec<[Signal; 4]>,
}
