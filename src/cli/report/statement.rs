//! Everything that a report says: the sums of its period, the period before for comparison, and the
//! amounts in a declared currency.

use std::collections::HashMap;

use super::ReportError;
use super::period;
use crate::stores::{Dimension, LedgerError, Report, ReportQuery, ReportReads, Sums, TimeRange};
use crate::types::{Currency, CurrencyAmount, ExchangeRate, PerUsd, PicoUsd};

/// A report with what is shown beside it.
#[derive(Debug)]
pub(super) struct Statement {
    pub query: ReportQuery,
    pub report: Report,
    pub before: Option<Before>,
    pub converted: Option<Converted>,
}

/// The period before.
#[derive(Debug)]
pub(super) struct Before {
    pub range: TimeRange,
    /// What each row cost then. None: the rows are days or hours, which have no counterpart.
    rows: Option<HashMap<Vec<String>, PicoUsd>>,
    pub total: PicoUsd,
}

impl Before {
    /// What the row of these values cost in the period before.
    pub fn cost_of(&self, values: &[String]) -> Option<PicoUsd> {
        let rows = self.rows.as_ref()?;
        Some(rows.get(values).copied().unwrap_or_default())
    }
}

/// The amounts in a declared currency.
#[derive(Debug)]
pub(super) struct Converted {
    pub code: String,
    /// The rates that were used, the earliest first.
    pub rates: Vec<ExchangeRate>,
    rows: HashMap<Vec<String>, ConvertedSums>,
    pub total: ConvertedSums,
}

impl Converted {
    /// The amounts of the row of these values.
    pub fn of(&self, values: &[String]) -> ConvertedSums {
        self.rows.get(values).copied().unwrap_or_default()
    }
}

/// The amounts of a row in a declared currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ConvertedSums {
    pub cost: CurrencyAmount,
    pub estimated_cost: CurrencyAmount,
    pub baseline_cost: CurrencyAmount,
    pub savings: CurrencyAmount,
}

impl ConvertedSums {
    fn without(self, part: Self) -> Self {
        Self {
            cost: self.cost - part.cost,
            estimated_cost: self.estimated_cost - part.estimated_cost,
            baseline_cost: self.baseline_cost - part.baseline_cost,
            savings: self.savings - part.savings,
        }
    }

    fn add(&mut self, sums: &Sums, rate: PerUsd) {
        self.cost += rate.times(sums.cost);
        self.estimated_cost += rate.times(sums.estimated_cost);
        self.baseline_cost += rate.times(sums.baseline_cost);
        self.savings += rate.times(sums.savings);
    }
}

/// The rows that are not shown one by one, as one line.
pub(super) struct OthersLine {
    pub rows: usize,
    pub sums: Sums,
    pub before: Option<PicoUsd>,
    pub converted: Option<ConvertedSums>,
}

impl Statement {
    /// What is left of the totals beside the rows that are shown; `None` when all are.
    pub fn others(&self) -> Option<OthersLine> {
        let others = self.report.others?;
        let shown = || self.report.rows.iter().map(|row| row.values.as_slice());
        let before = self.before.as_ref().and_then(|before| {
            let shown: Option<PicoUsd> = shown().map(|values| before.cost_of(values)).sum();
            shown.map(|shown| before.total - shown)
        });
        let converted = self.converted.as_ref().map(|converted| {
            let shown = shown().map(|values| converted.of(values));
            shown.fold(converted.total, ConvertedSums::without)
        });
        Some(OthersLine {
            rows: others.rows,
            sums: others.sums,
            before,
            converted,
        })
    }

    /// Asks the ledger. With `compare_at_ms`, the present instant, also for the period before.
    pub fn draw(
        ledger: &dyn ReportReads,
        query: ReportQuery,
        compare_at_ms: Option<i64>,
        currency: Option<&Currency>,
    ) -> Result<Self, ReportError> {
        let report = ledger.report(&query)?;
        let before = match compare_at_ms {
            Some(now_ms) => Some(before(ledger, &query, now_ms)?),
            None => None,
        };
        let converted = match currency {
            Some(currency) => Some(convert(ledger, &query, &report, currency)?),
            None => None,
        };
        Ok(Self {
            query,
            report,
            before,
            converted,
        })
    }
}

fn before(
    ledger: &dyn ReportReads,
    query: &ReportQuery,
    now_ms: i64,
) -> Result<Before, LedgerError> {
    let range = period::before(query.range, now_ms);
    let starts = ledger.span()?.map(|(first, _)| first);
    let is_empty = starts.is_none_or(|first| first >= range.to_ms);
    let has_time = query.by.iter().any(Dimension::is_time);
    let asked = ReportQuery {
        range,
        by: if has_time {
            Vec::new()
        } else {
            query.by.clone()
        },
        at_most: None,
    };
    let report = if is_empty {
        Report::from_rows(Vec::new(), &asked)
    } else {
        ledger.report(&asked)?
    };
    let costs = report
        .rows
        .into_iter()
        .map(|row| (row.values, row.sums.cost));
    Ok(Before {
        range,
        rows: (!has_time).then(|| costs.collect()),
        total: report.total.cost,
    })
}

/// One question for each rate of the period; none when one rate holds all of it.
fn convert(
    ledger: &dyn ReportReads,
    query: &ReportQuery,
    report: &Report,
    currency: &Currency,
) -> Result<Converted, ReportError> {
    let mut converted = Converted {
        code: currency.code.clone(),
        rates: Vec::new(),
        rows: HashMap::new(),
        total: ConvertedSums::default(),
    };
    let spans = currency.spans(query.range.from_ms, query.range.to_ms);
    for (from_ms, to_ms, rate) in &spans {
        let range = TimeRange {
            from_ms: *from_ms,
            to_ms: *to_ms,
        };
        let Some(rate) = rate else {
            ensure_nothing_before_rates(ledger, range, currency)?;
            continue;
        };
        converted.rates.push((*rate).clone());
        if spans.len() == 1 {
            converted.add(report, rate.per_usd);
        } else {
            let query = ReportQuery {
                range,
                by: query.by.clone(),
                at_most: None,
            };
            converted.add(&ledger.report(&query)?, rate.per_usd);
        }
    }
    Ok(converted)
}

impl Converted {
    fn add(&mut self, report: &Report, rate: PerUsd) {
        for row in &report.rows {
            let sums = self.rows.entry(row.values.clone()).or_default();
            sums.add(&row.sums, rate);
        }
        self.total.add(&report.total, rate);
    }
}

/// What was spent before the first rate cannot be converted; nothing needs no rate.
fn ensure_nothing_before_rates(
    ledger: &dyn ReportReads,
    range: TimeRange,
    currency: &Currency,
) -> Result<(), ReportError> {
    let query = ReportQuery {
        range,
        by: Vec::new(),
        at_most: None,
    };
    if ledger.report(&query)?.rows.is_empty() {
        return Ok(());
    }
    let first = currency.rates.first().map_or("", |rate| rate.from.as_str());
    Err(ReportError::NoRate {
        code: currency.code.clone(),
        first: first.to_owned(),
        from: period::describe(range),
    })
}
