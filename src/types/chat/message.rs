//! Messages and the blocks that they consist of, in requests and in answers.

use super::raw::{Extra, RawJson};
use super::seal::Seal;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// Instructions that stand above the user's. A dialect that keeps them outside the conversation
    /// joins those at its beginning; one in the middle stays where it is, as far as it can.
    System,
    /// OpenAI's name for [`Self::System`] with its newer models.
    Developer,
    /// The user; tool results that a dialect puts into a user's message are blocks of this message.
    User,
    /// The model.
    Assistant,
    /// A tool's result standing as a message of its own: one [`BlockBody::ToolResult`].
    Tool,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub speaker: Speaker,
    /// What is said, in order.
    pub blocks: Vec<Block>,
    /// OpenAI's `name`: tells apart several who have one role.
    pub name: Option<String>,
    /// Members of the message that have no name here.
    pub extra: Extra,
}

impl Message {
    /// A message of these blocks and nothing else.
    #[must_use]
    pub const fn new(speaker: Speaker, blocks: Vec<Block>) -> Self {
        Self {
            speaker,
            blocks,
            name: None,
            extra: Extra::none(),
        }
    }
}

/// One piece of a message or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it is.
    pub body: BlockBody,
    /// A prompt-caching mark: everything up to here may be kept by the provider.
    pub cache_mark: Option<CacheMark>,
    /// Members of the block that have no name here.
    pub extra: Extra,
}

impl From<BlockBody> for Block {
    fn from(body: BlockBody) -> Self {
        Self {
            body,
            cache_mark: None,
            extra: Extra::none(),
        }
    }
}

impl Block {
    /// Plain text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        BlockBody::Text {
            text: text.into(),
            citations: Vec::new(),
        }
        .into()
    }
}

/// How long a provider is asked to keep what a mark covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMark {
    /// As long as the provider does by default (Anthropic: five minutes).
    Usual,
    /// An hour (Anthropic's `"ttl": "1h"`).
    Hour,
}

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockBody {
    /// Text, with what it rests on.
    Text {
        /// The text.
        text: String,
        /// Sources that the model names for it.
        citations: Vec<Citation>,
    },
    /// The model declines, in words.
    Refusal {
        /// The words.
        text: String,
    },
    /// An image.
    Image(Media),
    /// Sound. `media_type` of its source says the format (`audio/wav`).
    Audio(Media),
    /// A document.
    File(Media),
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// A tool's result.
    ToolResult(ToolResult),
    /// What the model thought.
    Reasoning(ReasoningBlock),
    /// A block of the dialect it was read from, which no other has; its whole JSON.
    Native(RawJson),
}

/// Where the bytes of an image, a sound or a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// At an address.
    Url(String),
    /// Here, in base64.
    Base64 {
        /// Such as `image/png`.
        media_type: String,
        /// Standard base64.
        data: String,
    },
    /// Kept by the provider under an id.
    Id(String),
    /// A document that is plain text.
    Text {
        /// Such as `text/plain`.
        media_type: String,
        /// The text.
        text: String,
    },
}

/// An image, a sound or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Where its bytes are.
    pub source: Source,
    /// OpenAI's `detail` of images: `low`, `high`, `auto`.
    pub detail: Option<String>,
    /// A file's name or title.
    pub name: Option<String>,
}

impl From<Source> for Media {
    fn from(source: Source) -> Self {
        Self {
            source,
            detail: None,
            name: None,
        }
    }
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Names the call in its result. Never empty: readers make one up (`call_` and a number) where
    /// the dialect has none.
    pub id: String,
    /// The tool.
    pub name: String,
    /// What it is called with.
    pub input: ToolInput,
    /// What proves to the provider that the call is its own (Gemini's `thoughtSignature`).
    pub seal: Option<Seal>,
}

/// What a tool is called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolInput {
    /// The text of a JSON object, as the model wrote it: it may be no valid JSON. Writers whose dialect
    /// carries an object parse it, take empty text as `{}`, and put what cannot be parsed into an
    /// object under `_invalid_json`.
    Json(String),
    /// Free text for OpenAI's custom tools.
    Text(String),
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// The id of the call.
    pub call_id: String,
    /// The tool's name, where the dialect says it (Gemini needs it; writers find it by the call's id).
    pub name: Option<String>,
    /// The result: text, images, files.
    pub blocks: Vec<Block>,
    /// The tool failed.
    pub is_error: bool,
}

/// What the model thought before it answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasoningBlock {
    /// The id of the item (OpenAI's Responses).
    pub id: Option<String>,
    /// The thoughts, or a summary of them; empty when they are sealed.
    pub text: String,
    /// True when `text` is the provider's summary and not the thoughts themselves.
    pub is_summary: bool,
    /// What proves that the thoughts are the provider's own, or holds them when they are hidden. Must
    /// go back to its provider unchanged, and to no other.
    pub seal: Option<Seal>,
    /// True when the seal holds the thoughts themselves (Anthropic's `redacted_thinking`, OpenAI's
    /// `encrypted_content`), not a signature of `text`.
    pub is_hidden: bool,
}

/// A source that a text rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Citation {
    /// Its address.
    pub url: Option<String>,
    /// Its title.
    pub title: Option<String>,
    /// The words of the source.
    pub cited_text: Option<String>,
    /// Which characters of the text rest on it: from, up to.
    pub range: Option<(u64, u64)>,
    /// The whole as its dialect wrote it, for that dialect.
    pub native: Option<RawJson>,
}
