//! Token counts in disjoint classes.
//!
//! Providers overlap their classes (OpenAI counts cached tokens inside `prompt_tokens`, Anthropic
//! outside `input_tokens`); the dialects make them disjoint before a price is ever applied.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Tokens by class. Disjoint: their sum is the total that the provider bills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Uncached input.
    pub input: u64,
    /// Input that the provider read from its prompt cache.
    pub cached_input: u64,
    /// Input that the provider wrote into its prompt cache, for its usual time.
    pub cache_write: u64,
    /// Input that the provider wrote into its prompt cache to keep for an hour.
    #[serde(default)]
    pub cache_write_1h: u64,
    /// Output that the client sees.
    pub output: u64,
    /// Output spent on hidden reasoning.
    pub reasoning: u64,
}

impl Tokens {
    /// Input of every class.
    #[must_use]
    pub const fn all_input(&self) -> u64 {
        self.input
            .saturating_add(self.cached_input)
            .saturating_add(self.all_cache_write())
    }

    /// Input written to the prompt cache, however long it is kept.
    #[must_use]
    pub const fn all_cache_write(&self) -> u64 {
        self.cache_write.saturating_add(self.cache_write_1h)
    }

    /// Output of every class.
    #[must_use]
    pub const fn all_output(&self) -> u64 {
        self.output.saturating_add(self.reasoning)
    }

    /// Every token.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.all_input().saturating_add(self.all_output())
    }

    /// `(kind, count)` pairs with the label values of `tollgate_tokens_total`.
    #[must_use]
    pub const fn by_kind(&self) -> [(&'static str, u64); 5] {
        [
            ("input", self.input),
            ("cached_input", self.cached_input),
            ("cache_write", self.all_cache_write()),
            ("output", self.output),
            ("reasoning", self.reasoning),
        ]
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.cached_input = self.cached_input.saturating_add(other.cached_input);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
        self.cache_write_1h = self.cache_write_1h.saturating_add(other.cache_write_1h);
        self.output = self.output.saturating_add(other.output);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
    }
}

/// At which of its services a provider served a request, which decides the price.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// The usual one.
    #[default]
    Standard,
    /// Cheaper, slower, as capacity allows.
    Flex,
    /// Dearer, faster.
    Priority,
    /// Cheaper, some time within a day.
    Batch,
}

impl ServiceTier {
    /// Every tier; a tier's place is its index.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Flex, Self::Priority, Self::Batch];

    /// The word in records and under `price.service_tiers`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Batch => "batch",
        }
    }

    /// The tier that an upstream's `service_tier` names. What is bought ahead (OpenAI's `scale`) and
    /// words that are new are of the usual price as far as a request is concerned.
    #[must_use]
    pub const fn of_upstream(word: &[u8]) -> Self {
        match word {
            b"flex" => Self::Flex,
            b"priority" => Self::Priority,
            b"batch" => Self::Batch,
            _ => Self::Standard,
        }
    }
}

/// What one attempt used, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Token counts in disjoint classes.
    pub tokens: Tokens,
    /// True when the provider reported them; false when they are our estimate.
    pub reported: bool,
}
