//! One decoded request. Keeps the client's bytes as they came and says where in them things stand,
//! so that nothing is copied and unknown fields survive.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::caller::Tier;
use super::ids::ProviderId;
use super::money::PicoUsd;
use super::price::PossibleTiers;
use super::tally::Tally;

/// Which endpoint a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/messages`
    Messages,
    /// `/v1/images/…`, passed through.
    Images,
    /// `/v1/audio/…`, passed through.
    Audio,
    /// `/v1/moderations`, passed through.
    Moderations,
    /// `/v1/files…`, passed through.
    Files,
    /// `/v1/batches…`, passed through.
    Batches,
}

impl Endpoint {
    /// The path below the API's base, as it is sent upstream.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat/completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Images => "images",
            Self::Audio => "audio",
            Self::Moderations => "moderations",
            Self::Files => "files",
            Self::Batches => "batches",
        }
    }

    /// The word in records and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Images => "images",
            Self::Audio => "audio",
            Self::Moderations => "moderations",
            Self::Files => "files",
            Self::Batches => "batches",
        }
    }

    /// True where answers are generated text (and so have output tokens).
    #[must_use]
    pub const fn generates(self) -> bool {
        matches!(
            self,
            Self::ChatCompletions | Self::Completions | Self::Responses | Self::Messages
        )
    }
}

/// A range of bytes in a request's body. Bodies are capped far below 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The range as `usize`, to slice with.
    #[must_use]
    pub const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// True for an empty range.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Who speaks in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `system` or `developer`.
    System,
    /// `user`; also the prompt of a legacy completion and the input of an embedding.
    User,
    /// `assistant`.
    Assistant,
    /// `tool` or `function`: a tool's result.
    Tool,
    /// A role that we do not know; passes through.
    Other,
}

/// One piece of a turn's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text: the inside of a JSON string (without its quotes, still escaped).
    Text(Span),
    /// An image; the span is its whole JSON value.
    Image(Span),
    /// Audio.
    Audio(Span),
    /// A file.
    File(Span),
    /// Pre-tokenised input (an array of this many token numbers).
    TokenIds(u32),
    /// A part of a type that we do not know; passes through.
    Other(Span),
}

/// One message of the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: SmallVec<[Part; 1]>,
    /// Tool calls that the assistant made in this turn.
    pub tool_calls: u16,
    /// The first of them.
    pub first_call: Option<ToolCallAt>,
    /// The turn holds thoughts of the model, or what proves that something is its own.
    pub thoughts: bool,
    /// A tool's result that the client itself calls an error (Anthropic's `is_error`).
    pub failed: bool,
}

impl Turn {
    /// A turn in which nothing is said yet.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            parts: SmallVec::new_const(),
            tool_calls: 0,
            first_call: None,
            thoughts: false,
            failed: false,
        }
    }
}

/// Where a tool call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolCallAt {
    /// Its id: the inside of a JSON string; empty where it has none.
    pub id: Span,
    /// What it is called with, as JSON; in OpenAI's chat with the tool's name.
    pub input: Span,
}

/// Whose work a conversation's last turns are, as far as it went through here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    /// The provider.
    pub provider: ProviderId,
    /// It serves Anthropic's models, whose signatures hold on every platform that serves them.
    pub claude: bool,
    /// So many runs of the assistant's turns, from the beginning, were made by other providers before.
    pub foreign_runs: u32,
}

/// What a model must be able to do to serve the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Image input.
    pub vision: bool,
    /// Tool (function) calling.
    pub tools: bool,
    /// Output bound to a JSON schema.
    pub json_schema: bool,
    /// Audio input or output.
    pub audio: bool,
    /// Several tool calls in one turn, asked for by the client.
    #[serde(default)]
    pub parallel_tools: bool,
    /// Thoughts before the answer, asked for by the client.
    #[serde(default)]
    pub reasoning: bool,
}

impl Needs {
    /// The names of what is needed, as `supports` spells them.
    #[must_use]
    pub fn names(self) -> SmallVec<[&'static str; 6]> {
        let pairs = [
            (self.vision, "vision"),
            (self.tools, "tools"),
            (self.json_schema, "json_schema"),
            (self.audio, "audio"),
            // Without tools there is nothing to call.
            (self.parallel_tools && self.tools, "parallel_tools"),
            (self.reasoning, "reasoning"),
        ];
        pairs
            .into_iter()
            .filter_map(|(needed, name)| needed.then_some(name))
            .collect()
    }

    /// What `self` needs and `offered` lacks, by name.
    #[must_use]
    pub fn missing_in(self, offered: Self) -> SmallVec<[&'static str; 6]> {
        let lacking = Self {
            parallel_tools: false,
            reasoning: self.reasoning && !offered.reasoning,
            vision: self.vision && !offered.vision,
            tools: self.tools && !offered.tools,
            json_schema: self.json_schema && !offered.json_schema,
            audio: self.audio && !offered.audio,
        };
        let mut names = lacking.names();
        if self.parallel_tools && self.tools && !offered.parallel_tools {
            names.push("parallel_tools");
        }
        names
    }
}

/// How the client wants its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamRequest {
    /// `stream: true`.
    pub wanted: bool,
    /// The client itself asked for `stream_options.include_usage: true`.
    pub include_usage: bool,
    /// The value of `stream_options`, when present.
    pub options: Option<Span>,
    /// The value of `stream_options.include_usage`, when present.
    pub include_usage_value: Option<Span>,
}

/// A top-level member of the body: where its name (inside the quotes) and its value stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, still escaped.
    pub name: Span,
    /// The value, without white space around it.
    pub value: Span,
}

/// The directives of `cache-control` (RFC 9111 §5.2.1) that we honour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// Do not answer from the cache (but do store).
    pub no_cache: bool,
    /// Do not store (nor answer from the cache).
    pub no_store: bool,
    /// Answer from the cache or with 504.
    pub only_if_cached: bool,
    /// Accept stored answers up to this age.
    pub max_age: Option<Duration>,
}

/// What the client asked of us in headers, already checked. Never names a destination.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directives {
    /// `x-tollgate-task`: use this row of the matrix.
    pub task: Option<String>,
    /// `x-tollgate-level`: use this level.
    pub level: Option<String>,
    /// `x-tollgate-tier`: at most this tier.
    pub tier: Option<Tier>,
    /// `x-tollgate-max-cost-usd`: no candidate whose worst case is above it.
    pub max_cost: Option<PicoUsd>,
    /// `x-tollgate-tags`: attribution only; they never select an enforcing budget.
    pub tags: Vec<(String, String)>,
    /// `x-tollgate-session`.
    pub session: Option<String>,
    /// The body's `prompt_cache_key`: what shares it shares a prompt cache.
    pub prompt_cache_key: Option<String>,
    /// `cache-control`.
    pub cache: CacheControl,
    /// `idempotency-key`.
    pub idempotency_key: Option<String>,
    /// `anthropic-beta`: what a client of the Messages API turns on at Anthropic; means nothing to other
    /// upstreams and is not sent to them.
    pub anthropic_beta: Option<String>,
    /// `traceparent` (W3C Trace Context), as it came.
    pub traceparent: Option<String>,
}

impl Directives {
    /// The trace that the client's `traceparent` names: 32 hexadecimal digits after the version
    /// (W3C Trace Context §3.2.2).
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_deref()?.get(3..35)
    }
}

/// A decoded request. The client's bytes are kept; spans point into them.
#[derive(Clone, Debug)]
pub struct Call {
    /// Where it came in.
    pub endpoint: Endpoint,
    /// The body as the client sent it; valid UTF-8 and valid JSON.
    pub body: Bytes,
    /// The value of `model`, unescaped.
    pub model: String,
    /// Where the value of `model` stands (with its quotes).
    pub model_value: Span,
    /// Every top-level member in order.
    pub fields: Vec<Field>,
    /// Streaming wishes.
    pub stream: StreamRequest,
    /// The conversation, oldest first.
    pub turns: Vec<Turn>,
    /// What the conversation holds, counted when it was decoded.
    pub tally: Tally,
    /// What the model must be able to do.
    pub needs: Needs,
    /// `max_completion_tokens`, else `max_tokens`: the cap on one choice's output.
    pub max_output_tokens: Option<u64>,
    /// `n` (and `best_of` of legacy completions, whichever is larger); at least 1.
    pub choices: u32,
    /// How many tools are defined.
    pub tools: u32,
    /// `user` or `safety_identifier`: the end user, for attribution.
    pub end_user: Option<String>,
    /// OpenAI's `metadata`, for attribution.
    pub metadata: Vec<(String, String)>,
    /// What the headers asked for.
    pub directives: Directives,
    /// Who answered before in this conversation, where that is known.
    pub maker: Option<Maker>,
}

/// Turns at the end of a conversation that are looked at to see where it stands.
const LAST_TURNS: usize = 64;

impl Call {
    /// True while a chain is under way: tools were called and the model has not gone on yet, or its own
    /// turn is the last. What it thought and the ids of its calls are needed until it has answered; when
    /// the user speaks after its answer, providers themselves leave the thoughts before that out.
    #[must_use]
    pub fn is_mid_chain(&self) -> bool {
        let mut last = self.turns.iter().rev().take(LAST_TURNS);
        let Some(end) = last.clone().next() else {
            return false;
        };
        if end.role == Role::Assistant {
            return true;
        }
        let said = last.find(|turn| matches!(turn.role, Role::Assistant | Role::Tool));
        said.is_some_and(|turn| turn.role == Role::Tool || turn.tool_calls > 0)
    }

    /// True when some model has answered in this conversation before.
    #[must_use]
    pub fn is_answered_before(&self) -> bool {
        let mut turns = self.turns.iter();
        turns.any(|turn| matches!(turn.role, Role::Assistant | Role::Tool))
    }

    /// Runs of the assistant's turns: what it said between two turns of anybody else.
    #[must_use]
    pub fn assistant_runs(&self) -> u32 {
        let mut runs = 0;
        let mut inside = false;
        for turn in &self.turns {
            let is_assistant = turn.role == Role::Assistant;
            runs += u32::from(is_assistant && !inside);
            inside = is_assistant;
        }
        runs
    }

    /// True when some turn holds thoughts of a model.
    #[must_use]
    pub fn has_thoughts(&self) -> bool {
        self.turns.iter().any(|turn| turn.thoughts)
    }

    /// The raw bytes of a span.
    #[must_use]
    pub fn raw(&self, span: Span) -> &[u8] {
        self.body.get(span.range()).unwrap_or_default()
    }

    /// The raw text of a span (still escaped where it lies inside a JSON string).
    #[must_use]
    pub fn raw_text(&self, span: Span) -> &str {
        std::str::from_utf8(self.raw(span)).unwrap_or_default()
    }

    /// The value of the last top-level member of this name.
    #[must_use]
    pub fn member(&self, name: &[u8]) -> Option<&[u8]> {
        let found = |field: &&Field| self.raw(field.name) == name;
        let field = self.fields.iter().rev().find(found)?;
        Some(self.raw(field.value))
    }

    /// The service tiers that the request may be served (and billed) at.
    #[must_use]
    pub fn possible_tiers(&self) -> PossibleTiers {
        self.member(b"service_tier")
            .map_or(PossibleTiers::Any, PossibleTiers::asked)
    }

    /// Images that the request holds.
    #[must_use]
    pub fn images(&self) -> u32 {
        let parts = self.turns.iter().flat_map(|turn| &turn.parts);
        let images = parts.filter(|part| matches!(part, Part::Image(_))).count();
        u32::try_from(images).unwrap_or(u32::MAX)
    }

    /// True when the request asks for some of its input to be kept in the provider's prompt cache for
    /// an hour (`"ttl": "1h"`). Text that merely says so has its quotes escaped.
    #[must_use]
    pub fn asks_hour_cache(&self) -> bool {
        memchr::memmem::find(&self.body, b"\"1h\"").is_some()
    }
}
