//! What the dashboard shows to finance: the present month by any dimensions, and where money could be
//! saved. The same figures as `tollgate report`, from the same ledger.

use serde_json::value::RawValue;

use crate::cli::report::{self, ReportError};
use crate::gateway::Gateway;

/// What the table is grouped by when the page does not say.
const DEFAULT_BY: &str = "team";

/// The present month as `report --format json` has it; `by` as after `--by`. Blocks.
///
/// # Errors
/// When a dimension is unknown, or the ledger cannot be read.
pub fn month(gw: &Gateway, by: Option<&str>) -> Result<Box<RawValue>, ReportError> {
    let active = gw.active.load();
    let ledger = gw.ledger.reports()?;
    report::month_as_json(
        &*ledger,
        by.unwrap_or(DEFAULT_BY),
        gw.clock.unix_ms(),
        active.snapshot.currency.as_ref(),
    )
}

/// The present month's insights as `report --insights --format json` has them. Blocks, for as long as
/// it takes to read the month's rows: asked for by a person, never by a timer.
///
/// # Errors
/// When the ledger cannot be read.
pub fn insights(gw: &Gateway) -> Result<Box<RawValue>, ReportError> {
    let ledger = gw.ledger.reports()?;
    report::insights_as_json(&*ledger, gw.clock.unix_ms())
}

/// The value of a parameter of a query, `a=1&by=team%2Cmodel`.
pub fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(found, _)| *found == name)?;
    Some(
        value
            .replace("%2C", ",")
            .replace("%2c", ",")
            .replace("%3A", ":"),
    )
}
