//! What a cost report asks and what it answers, whatever the back end. The rows of a report sum to
//! its total: a request counts once, in the row of the model that served it; an attempt's money and
//! tokens count in the row of the attempt's own model.

use std::borrow::Cow;

use super::usage::{LedgerError, TimeRange};
use crate::types::{PicoUsd, Price, Tokens};

mod fold;
mod insight;

#[cfg(test)]
mod tests;

pub(super) use fold::Records;
pub use insight::{CellScore, Repeated, Repeats};

/// Something to group by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Who pays.
    Team,
    /// Which application.
    App,
    /// Which virtual key.
    Key,
    /// Which end user.
    User,
    /// Which model: of the attempt for money, of the answer for requests.
    Model,
    /// The name that the upstream says it served with, else the model: how an invoice calls it.
    ResponseModel,
    /// Which provider, like the model.
    Provider,
    /// The task it was routed as.
    Task,
    /// The level it was routed at.
    Level,
    /// Where it came in.
    Endpoint,
    /// How the request ended.
    Outcome,
    /// What the cache did.
    Cache,
    /// Why the model was chosen.
    Reason,
    /// The UTC hour, `2026-11-01T13:00Z`.
    Hour,
    /// The UTC day, `2026-11-01`.
    Day,
    /// The UTC month, `2026-11`.
    Month,
    /// A tag that the client set, by its name.
    Tag(String),
}

impl Dimension {
    /// Every dimension that has a fixed name, in the order in which they are listed to people.
    pub const NAMED: [Self; 16] = [
        Self::Team,
        Self::App,
        Self::Key,
        Self::User,
        Self::Model,
        Self::ResponseModel,
        Self::Provider,
        Self::Task,
        Self::Level,
        Self::Endpoint,
        Self::Outcome,
        Self::Cache,
        Self::Reason,
        Self::Hour,
        Self::Day,
        Self::Month,
    ];

    /// The word used in `--by`, in headings and in JSON.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Team => "team",
            Self::App => "app",
            Self::Key => "key",
            Self::User => "user",
            Self::Model => "model",
            Self::ResponseModel => "response_model",
            Self::Provider => "provider",
            Self::Task => "task",
            Self::Level => "level",
            Self::Endpoint => "endpoint",
            Self::Outcome => "outcome",
            Self::Cache => "cache",
            Self::Reason => "reason",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Tag(tag) => return Cow::Owned(format!("tag:{tag}")),
        })
    }

    /// True for hours, days and months: rows are then in the order of time.
    #[must_use]
    pub const fn is_time(&self) -> bool {
        matches!(self, Self::Hour | Self::Day | Self::Month)
    }
}

/// A word that is no dimension.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown dimension `{0}`")]
pub struct UnknownDimension(pub String);

impl std::str::FromStr for Dimension {
    type Err = UnknownDimension;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if let Some(tag) = word.strip_prefix("tag:").filter(|tag| !tag.is_empty()) {
            return Ok(Self::Tag(tag.to_owned()));
        }
        Self::NAMED
            .into_iter()
            .find(|dimension| dimension.name() == word)
            .ok_or_else(|| UnknownDimension(word.to_owned()))
    }
}

/// What reports ask of a ledger, whatever holds it. An implementation is a view of one moment: what
/// is asked of it twice gets the same answer. Calls block for as long as a disk takes.
pub trait ReportReads {
    /// The sums of a period by the dimensions that were asked for.
    ///
    /// # Errors
    /// When the ledger cannot be read, as for all that follow.
    fn report(&self, query: &ReportQuery) -> Result<Report, LedgerError>;

    /// The first and the last instant of which there is a record, milliseconds since the Unix epoch.
    fn span(&self) -> Result<Option<(i64, i64)>, LedgerError>;

    /// The groups of a FOCUS export, by day, team, app, provider, model and price.
    fn focus(&self, range: TimeRange) -> Result<Vec<FocusGroup>, LedgerError>;

    /// What clients thought of the answers of each model in each cell. Reads the feedback of the
    /// range's requests.
    fn scores(&self, range: TimeRange) -> Result<Vec<CellScore>, LedgerError>;

    /// Paid requests that had been answered before, by team, app and task. Reads every request of
    /// the range that has a fingerprint.
    fn repeats(&self, range: TimeRange) -> Result<Vec<Repeats>, LedgerError>;
}

/// What a report is about.
#[derive(Clone, Debug)]
pub struct ReportQuery {
    /// The period.
    pub range: TimeRange,
    /// The dimensions, in the order of the columns. None: only the total.
    pub by: Vec<Dimension>,
    /// The dearest so many rows; what the others sum to is told apart from them. None: all.
    pub at_most: Option<usize>,
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
    /// What the baseline model would have cost for them.
    pub baseline_cost: PicoUsd,
    /// `baseline_cost` less what they did cost with all their attempts; negative when routing was
    /// dearer.
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
        self.baseline_cost += other.baseline_cost;
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
    /// Rows beyond those that were asked for.
    pub others: Option<Others>,
    /// The sum of all rows, the others included.
    pub total: Sums,
}

/// Rows of a report that are not shown one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// How many.
    pub rows: usize,
    /// Their sums.
    pub sums: Sums,
}

impl Report {
    /// Adds the rows up, leaves the dearest of them as the query says, and orders those.
    #[must_use]
    pub fn from_rows(rows: Vec<ReportRow>, query: &ReportQuery) -> Self {
        Self::with_others(rows, Others::default(), query)
    }

    /// [`Self::from_rows`] where some of the cheapest rows are summed up already.
    #[must_use]
    pub(super) fn with_others(
        mut rows: Vec<ReportRow>,
        mut others: Others,
        query: &ReportQuery,
    ) -> Self {
        let mut total = others.sums;
        for row in &rows {
            total += row.sums;
        }
        if let Some(most) = query.at_most.filter(|most| *most < rows.len()) {
            rows.sort_unstable_by(dearest_first);
            others.rows += rows.len() - most;
            for row in rows.drain(most..) {
                others.sums += row.sums;
            }
        }
        let by_time = query.by.first().is_some_and(Dimension::is_time);
        rows.sort_by(|a, b| {
            let first = if by_time {
                a.values.first().cmp(&b.values.first())
            } else {
                std::cmp::Ordering::Equal
            };
            first.then_with(|| dearest_first(a, b))
        });
        Self {
            rows,
            others: (others.rows > 0).then_some(others),
            total,
        }
    }
}

fn dearest_first(a: &ReportRow, b: &ReportRow) -> std::cmp::Ordering {
    let by_cost = b.sums.cost.cmp(&a.sums.cost);
    by_cost.then_with(|| a.values.cmp(&b.values))
}

/// What a FOCUS export is made from: the attempts of one UTC day that share payer, model, price, tier
/// and whether their usage was reported.
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
    /// Which entry of the price list that was; empty where it was not recorded.
    pub price_version: String,
    /// The service tier that the upstream named; empty where it named none.
    pub service_tier: String,
    /// Attempts.
    pub attempts: u64,
    /// Images that were charged one by one.
    pub images: u64,
    /// What they used.
    pub tokens: Tokens,
    /// What they cost.
    pub cost: PicoUsd,
    /// Whether their tokens are our estimate instead of the provider's report.
    pub is_estimate: bool,
}
