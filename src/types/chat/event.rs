//! What a stream says, event by event.
//!
//! Readers keep this order, whatever their upstream does: `Start` first; the blocks of one choice one
//! after the other, each opened, filled and closed before the next opens (what is interleaved is held
//! back); `Finish` once for each choice, after its last block; `Usage` at any time, cumulative, the last
//! one counts, and so does the last `ServiceTier`; then `End`. After `Error` nothing follows. Blocks are numbered from 0 within their choice.

use super::answer::{AnswerHead, Finish};
use super::message::{Block, Citation};
use super::raw::RawJson;
use super::seal::Seal;
use crate::types::Tokens;
use crate::types::chat::message::ToolInput;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatEvent {
    /// The answer begins.
    Start(AnswerHead),
    /// A block begins.
    BlockStart {
        /// Which answer, from 0.
        choice: u32,
        /// Which of its blocks, from 0.
        block: u32,
        /// What it is.
        start: BlockStart,
    },
    /// More of a block.
    BlockDelta {
        /// Which answer.
        choice: u32,
        /// Which block.
        block: u32,
        /// What is added.
        delta: Delta,
    },
    /// A block is complete.
    BlockEnd {
        /// Which answer.
        choice: u32,
        /// Which block.
        block: u32,
    },
    /// Log probabilities of what came last, in OpenAI's form.
    Logprobs {
        /// Which answer.
        choice: u32,
        /// `{"content":[…],"refusal":…}`.
        logprobs: RawJson,
    },
    /// An answer is complete.
    Finish {
        /// Which answer.
        choice: u32,
        /// Why it ended.
        finish: Finish,
    },
    /// At which tier it was served, in the upstream's words, where that is known after the beginning.
    ServiceTier(String),
    /// What has been used so far.
    Usage(Tokens),
    /// A sign of life.
    Ping,
    /// The upstream failed in the middle: its own words.
    Error(StreamFault),
    /// The stream is complete.
    End,
}

/// What a block is, before its content comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockStart {
    /// Text follows.
    Text,
    /// A refusal follows.
    Refusal,
    /// Thoughts follow.
    Reasoning {
        /// The item's id, where the dialect has one.
        id: Option<String>,
        /// The text will be a summary.
        is_summary: bool,
    },
    /// A tool call follows; the input's text begins empty and says of what kind it is.
    ToolCall {
        /// Its id.
        id: String,
        /// The tool.
        name: String,
        /// Of what kind its input is.
        input: ToolInput,
        /// The provider's seal, where it comes first.
        seal: Option<Seal>,
    },
    /// A block that comes whole: images, hidden reasoning, native blocks.
    Whole(Box<Block>),
}

/// What is added to a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// To a text, a refusal or thoughts.
    Text(String),
    /// To the input of a tool call.
    Input(String),
    /// The seal of thoughts or of a call.
    Seal(Seal),
    /// A source of the text.
    Citation(Box<Citation>),
}

/// An upstream's error in the middle of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFault {
    /// The upstream's words.
    pub message: String,
    /// Its `type`.
    pub error_type: Option<String>,
    /// Its `code`.
    pub code: Option<String>,
}
