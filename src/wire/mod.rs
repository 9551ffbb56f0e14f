//! Bytes to types and back: framings (how events are cut out of a byte stream) and dialects (what
//! the bytes mean). This file is the registry: the only match on a dialect.

pub mod dialect;
pub mod framing;

/// A wire format that clients or upstreams speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialectId {
    /// OpenAI's Chat Completions, with its legacy completions and embeddings.
    OpenaiChat,
}
