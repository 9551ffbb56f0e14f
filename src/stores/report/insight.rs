//! What insights are made from: repeats and scores, summed so far that they can be judged without
//! the rows.

use crate::types::PicoUsd;

/// What clients thought of one model's answers in one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellScore {
    /// The task.
    pub task: String,
    /// The level.
    pub level: String,
    /// The model that answered.
    pub model: String,
    /// Answers that have feedback.
    pub scored: u64,
    /// The sum of their rewards, each in 0..=1.
    pub reward_sum: f64,
    /// The sum of the squares of their rewards.
    pub reward_square_sum: f64,
}

/// Requests with what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeated {
    /// How many.
    pub requests: u64,
    /// What they cost.
    pub cost: PicoUsd,
}

impl Repeated {
    /// One hour, milliseconds.
    pub const HOUR_MS: i64 = 3_600_000;
    /// One day, milliseconds.
    pub const DAY_MS: i64 = 86_400_000;

    pub(super) fn add(&mut self, cost: PicoUsd) {
        self.requests += 1;
        self.cost += cost;
    }
}

/// Paid answers to requests that the same caller had had answered before, so that a cache could have
/// given the earlier answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repeats {
    /// Who paid.
    pub team: String,
    /// Which application.
    pub app: String,
    /// The task.
    pub task: String,
    /// Those whose predecessor was at most an hour old.
    pub within_hour: Repeated,
    /// Those whose predecessor was at most a day old, the former included.
    pub within_day: Repeated,
    /// All of them.
    pub ever: Repeated,
}
