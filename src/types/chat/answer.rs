//! What a model answers, whole.

use super::message::Block;
use super::raw::{Extra, RawJson};
use crate::types::Tokens;

/// What an answer says of itself before it says anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerHead {
    /// Its id, as the upstream gave it. Writers whose dialect demands a prefix (`msg_`, `resp_`) add it.
    pub id: String,
    /// The model's name, as the upstream says it.
    pub model: String,
    /// Seconds since the Unix epoch, where the upstream says it.
    pub created: Option<u64>,
    /// The service tier, in the upstream's words.
    pub service_tier: Option<String>,
}

/// A whole answer in neutral form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatAnswer {
    /// The dialect that it was read from.
    pub dialect: &'static str,
    /// Id, model and so on.
    pub head: AnswerHead,
    /// One for each answer that was asked for.
    pub choices: Vec<Choice>,
    /// What it used, in disjoint classes; `None` when the upstream does not say.
    pub usage: Option<Tokens>,
    /// Members that have no name here.
    pub extra: Extra,
}

/// One of the answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// What was said, in order.
    pub blocks: Vec<Block>,
    /// Why it ended.
    pub finish: Finish,
    /// Log probabilities in OpenAI's form (`{"content":[…],"refusal":…}`).
    pub logprobs: Option<RawJson>,
    /// Members that have no name here.
    pub extra: Extra,
}

/// Why an answer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finish {
    /// In terms that every dialect shares.
    pub reason: FinishReason,
    /// The word it stopped before, where the dialect says it.
    pub stop_sequence: Option<String>,
    /// The reason in the dialect's own word, for that dialect.
    pub native: Option<String>,
}

impl From<FinishReason> for Finish {
    fn from(reason: FinishReason) -> Self {
        Self {
            reason,
            ..Self::default()
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FinishReason {
    /// All was said.
    #[default]
    Stop,
    /// One of the request's stop sequences came.
    StopSequence,
    /// The output cap, or the context's end.
    Length,
    /// Tools are to be called.
    ToolCalls,
    /// The provider's filter withheld or cut it.
    ContentFilter,
    /// The model declined.
    Refusal,
    /// The provider paused a long turn; the client is to send it back as it is (Anthropic).
    Pause,
    /// The provider failed.
    Error,
}
