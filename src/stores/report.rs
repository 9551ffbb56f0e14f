//! What a cost report asks and what it answers, whatever the back end. The rows of a report sum to
//! its total: a request counts once, in the row of the model that served it; an attempt's money and
//! tokens count in the row of the attempt's own model.

use super::usage::TimeRange;
use crate::types::{PicoUsd, Price, Tokens};

/// Something to group by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Who pays.
    Team,
    /// Which application.
    App,
    /// Which model: of the attempt for money, of the answer for requests.
    Model,
    /// The task it was routed as.
    Task,
    /// The level it was routed at.
    Level,
    /// Which provider, like the model.
    Provider,
    /// Which virtual key.
    Key,
    /// Which end user.
    User,
    /// The UTC day, `2026-11-01`.
    Day,
    /// The UTC month, `2026-11`.
    Month,
    /// How the request ended.
    Outcome,
    /// What the cache did.
    Cache,
    /// Where it came in.
    Endpoint,
    /// Why the model was chosen.
    Reason,
}

impl Dimension {
    /// Every dimension, in the order in which they are listed to people.
    pub const ALL: [Self; 14] = [
        Self::Team,
        Self::App,
        Self::Model,
        Self::Task,
        Self::Level,
        Self::Provider,
        Self::Key,
        Self::User,
        Self::Day,
        Self::Month,
        Self::Outcome,
        Self::Cache,
        Self::Endpoint,
        Self::Reason,
    ];

    /// The word used in `--by`, in headings and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::App => "app",
            Self::Model => "model",
            Self::Task => "task",
            Self::Level => "level",
            Self::Provider => "provider",
            Self::Key => "key",
            Self::User => "user",
            Self::Day => "day",
            Self::Month => "month",
            Self::Outcome => "outcome",
            Self::Cache => "cache",
            Self::Endpoint => "endpoint",
            Self::Reason => "reason",
        }
    }
}

/// A word that is no dimension.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown dimension `{0}`; allowed are {allowed}", allowed = allowed_dimensions())]
pub struct UnknownDimension(pub String);

fn allowed_dimensions() -> String {
    Dimension::ALL.map(Dimension::as_str).join(", ")
}

impl std::str::FromStr for Dimension {
    type Err = UnknownDimension;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|dimension| dimension.as_str() == word)
            .ok_or_else(|| UnknownDimension(word.to_owned()))
    }
}

/// What a report is about.
#[derive(Clone, Debug)]
pub struct ReportQuery {
    /// The period.
    pub range: TimeRange,
    /// The dimensions, in the order of the columns. None: only the total.
    pub by: Vec<Dimension>,
}

/// What is summed for each row and for the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests.
    pub requests: u64,
    /// Attempts.
    pub attempts: u64,
    /// What the attempts cost.
    pub cost: PicoUsd,
    /// The part of `cost` that rests on our estimate.
    pub estimated_cost: PicoUsd,
    /// Requests for which the baseline's cost is known.
    pub baseline_requests: u64,
    /// What the baseline model would have cost for them, less what they did cost; negative when
    /// routing was dearer.
    pub savings: PicoUsd,
    /// What the attempts used.
    pub tokens: Tokens,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.attempts = self.attempts.saturating_add(other.attempts);
        self.cost += other.cost;
        self.estimated_cost += other.estimated_cost;
        self.baseline_requests = self
            .baseline_requests
            .saturating_add(other.baseline_requests);
        self.savings += other.savings;
        self.tokens += other.tokens;
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// The values of the dimensions, in the query's order; `-` where there is none.
    pub values: Vec<String>,
    /// The sums.
    pub sums: Sums,
}

/// A report: its rows and their sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The rows: by time when the first dimension is one of time, else the dearest first.
    pub rows: Vec<ReportRow>,
    /// The sum of all rows.
    pub total: Sums,
}

impl Report {
    /// Orders the rows and adds them up.
    #[must_use]
    pub fn from_rows(mut rows: Vec<ReportRow>, by: &[Dimension]) -> Self {
        let by_time = matches!(by.first(), Some(Dimension::Day | Dimension::Month));
        rows.sort_by(|a, b| {
            let first = if by_time {
                a.values.first().cmp(&b.values.first())
            } else {
                std::cmp::Ordering::Equal
            };
            first
                .then_with(|| b.sums.cost.cmp(&a.sums.cost))
                .then_with(|| a.values.cmp(&b.values))
        });
        let mut total = Sums::default();
        for row in &rows {
            total += row.sums;
        }
        Self { rows, total }
    }
}

/// What a FOCUS export is made from: the attempts of one UTC day that share payer, model, price and
/// whether their usage was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FocusGroup {
    /// The UTC day, `2026-11-01`.
    pub day: String,
    /// Who pays.
    pub team: String,
    /// Which application.
    pub app: String,
    /// The provider's name.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The price that was applied.
    pub price: Price,
    /// Attempts.
    pub attempts: u64,
    /// What they used.
    pub tokens: Tokens,
    /// What they cost.
    pub cost: PicoUsd,
    /// Whether their tokens are our estimate instead of the provider's report.
    pub is_estimate: bool,
}
