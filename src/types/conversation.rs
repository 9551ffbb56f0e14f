//! Which conversation a request belongs to, and what staying with its model was weighed against.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::ids::ModelId;
use super::money::PicoUsd;

/// A conversation of a tenant, as a keyed hash: it tells nothing to whoever lacks the key, and one
/// tenant's cannot be another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConversationKey {
    /// Of the team.
    pub team: u64,
    /// Of what names the conversation.
    pub name: u64,
}

/// The names of a request's conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// What it is known by, most exact first; what is learned is kept under the first. Empty for a
    /// request that belongs to none.
    pub keys: SmallVec<[ConversationKey; 2]>,
    /// What only shares a prompt cache with it (`prompt_cache_key`): says where the cache is warm, but
    /// not whose work the last turns are.
    pub hint: Option<ConversationKey>,
    /// Runs of the assistant's turns that the request holds.
    pub assistant_runs: u32,
}

/// What came of weighing whether a conversation stays with its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The policy would choose the same model.
    Agrees,
    /// It stays: what the other model is better by is worth less than what the switch costs.
    Stays,
    /// It goes: the other model is better by more than the switch costs.
    Goes,
    /// It stays because a chain of tool calls or of thoughts is under way.
    Chain,
    /// Its model cannot be tried now.
    Unable,
}

impl Verdict {
    /// The word in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Stays => "stays",
            Self::Goes => "goes",
            Self::Chain => "chain",
            Self::Unable => "unable",
        }
    }
}

/// A conversation's model weighed against the one that the policy would choose.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighing {
    /// The model that answered last.
    pub model: ModelId,
    /// The model that the policy would choose.
    pub other: Option<ModelId>,
    /// What came of it.
    pub verdict: Verdict,
    /// Expected input of this request, tokens.
    pub context_tokens: u64,
    /// What of it the provider of `model` has in its prompt cache, tokens.
    pub warm_tokens: u64,
    /// Requests that the turn is expected to take from here on.
    pub steps: u32,
    /// What these requests are expected to cost at `model`.
    pub stay_cost: PicoUsd,
    /// What they are expected to cost at `other`, whose cache is cold.
    pub go_cost: PicoUsd,
    /// What `other` is better by, in the objective's units; cost apart.
    pub gain: f64,
    /// What the switch costs, in the objective's units; negative where `other` is cheaper all the same.
    pub loss: f64,
}
