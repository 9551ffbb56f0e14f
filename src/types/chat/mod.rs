//! The neutral form of a conversation: what every dialect can be read into and written from, so that
//! N dialects need N codecs and not N × M converters.
//!
//! Used only where client and upstream speak different dialects; equal dialects forward bytes. What a
//! dialect says that the neutral form has no name for is kept beside it ([`Extra`],
//! [`BlockBody::Native`]) and written back to that dialect alone.
//!
//! A request: [`ChatRequest`]. A whole answer: [`ChatAnswer`]. A stream: [`ChatEvent`]s.

pub mod answer;
pub mod event;
pub mod message;
pub mod notes;
pub mod raw;
pub mod request;
pub mod seal;

pub use answer::{AnswerHead, ChatAnswer, Choice, Finish, FinishReason};
pub use event::{BlockStart, ChatEvent, Delta};
pub use message::{
    Block, BlockBody, CacheMark, Citation, Media, Message, ReasoningBlock, Source, Speaker,
    ToolCall, ToolInput, ToolResult,
};
pub use notes::{Inexpressible, Note, Notes};
pub use raw::{Extra, RawJson};
pub use request::{
    ChatRequest, Effort, OutputFormat, ReasoningWish, Sampling, SchemaFormat, Tool, ToolChoice,
    ToolKind,
};
pub use seal::Seal;
