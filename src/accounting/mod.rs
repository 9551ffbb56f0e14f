//! Money and records: usage × price → cost, the exchange guard that settles every request exactly
//! once, and the body wrapper that closes it at a stream's end.

mod drain;
mod exchange;
mod pricing;
mod relayed;
mod stream;

pub use drain::{Drains, Heir, Keeper, Orphaned};
pub use exchange::{AttemptEnd, Exchange, Held, Observer, OpenAttempt, Verdict};
pub use pricing::{Pricing, bill_batch};
pub use relayed::{AnswerBroke, RelayedBody, RelayedParts};
pub use stream::{Recorded, Rewrite, StreamBody, StreamParts, StreamTimeouts};

/// Output bytes of one token where the provider reports nothing: English text averages about four
/// bytes per token in common tokenizers. The result is always marked as an estimate.
const BYTES_PER_TOKEN: u64 = 4;

/// Tokens that `bytes` of output text probably are.
pub const fn estimated_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}
