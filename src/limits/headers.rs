//! `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` in OpenAI's form.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::runtime::limiter::{RateStanding, Standing, format_reset};

/// Names of the three headers of a kind: limit, remaining, reset.
type Names = [HeaderName; 3];

static REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
static TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Writes how a caller stands. A kind that is not limited has no headers.
pub fn write_headers(headers: &mut HeaderMap, standing: &RateStanding) {
    write(headers, &REQUESTS, standing.requests);
    write(headers, &TOKENS, standing.tokens);
}

fn write(headers: &mut HeaderMap, [limit, remaining, reset]: &Names, standing: Option<Standing>) {
    let Some(standing) = standing else { return };
    for (name, count) in [(limit, standing.limit), (remaining, standing.remaining)] {
        // A third of the work of `From<u64>`, which writes into a buffer that it then shares.
        if let Ok(value) = HeaderValue::from_str(itoa::Buffer::new().format(count)) {
            headers.insert(name, value);
        }
    }
    if let Ok(value) = HeaderValue::try_from(format_reset(standing.reset)) {
        headers.insert(reset, value);
    }
}
