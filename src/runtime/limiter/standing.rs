//! How a caller stands against its limits, in the form of OpenAI's `x-ratelimit-*` headers.

use std::fmt::Write as _;
use std::time::Duration;

/// How one limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How many would pass at once when nothing was used of late: the burst.
    pub limit: u64,
    /// How many would pass at this moment, of `limit`.
    pub remaining: u64,
    /// When the limit would be whole again without further use.
    pub reset: Duration,
}

/// How the tightest limits of a caller stand; `None`: not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateStanding {
    /// Requests.
    pub requests: Option<Standing>,
    /// Tokens.
    pub tokens: Option<Standing>,
}

impl RateStanding {
    /// Keeps the one of which less remains.
    pub(super) fn tighten(tightest: &mut Option<Standing>, other: Standing) {
        let key = |standing: &Standing| (standing.remaining, standing.limit);
        match tightest {
            Some(present) if key(present) <= key(&other) => {}
            _ => *tightest = Some(other),
        }
    }
}

/// A duration as OpenAI writes it: `0s`, `12ms`, `1.5s`, `6m0s`, `1h0m3s`. Rounded up to a
/// millisecond, so that who waits this long has waited long enough.
#[must_use]
pub fn format_reset(duration: Duration) -> String {
    let ms = duration.as_nanos().div_ceil(1_000_000);
    let (minutes, ms) = (ms / 60_000, ms % 60_000);
    if minutes == 0 && ms > 0 && ms < 1_000 {
        return format!("{ms}ms");
    }
    let mut text = String::new();
    if minutes >= 60 {
        let _ = write!(text, "{}h", minutes / 60);
    }
    if minutes > 0 {
        let _ = write!(text, "{}m", minutes % 60);
    }
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    if ms == 0 {
        let _ = write!(text, "{seconds}s");
    } else {
        let fraction = format!("{ms:03}");
        let _ = write!(text, "{seconds}.{}s", fraction.trim_end_matches('0'));
    }
    text
}
