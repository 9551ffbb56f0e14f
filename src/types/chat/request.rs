//! What a client asks for.

use super::message::{BlockBody, CacheMark, Message};
use super::raw::{Extra, RawJson};
use super::seal::Seal;

/// A request in neutral form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatRequest {
    /// The dialect that it was read from, by its name in `routes.yaml`: the one that `extra` and native
    /// blocks belong to.
    pub dialect: &'static str,
    /// The conversation, oldest first; instructions are messages of their own.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether and what it must call.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once; `None` leaves it to the provider.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the output.
    pub output_format: Option<OutputFormat>,
    /// Cap on the output of one choice, reasoning included.
    pub max_output_tokens: Option<u64>,
    /// How the next word is picked.
    pub sampling: Sampling,
    /// Where to stop, before these words.
    pub stop: Vec<String>,
    /// How many answers; `None` is one.
    pub choices: Option<u32>,
    /// Log probabilities are wanted, with this many alternatives for each word.
    pub logprobs: Option<u32>,
    /// How much to think.
    pub reasoning: Option<ReasoningWish>,
    /// The provider's service tier, in its own words.
    pub service_tier: Option<String>,
    /// The end user, as the client named them.
    pub end_user: Option<String>,
    /// The client's labels.
    pub metadata: Vec<(String, String)>,
    /// As a stream.
    pub stream: bool,
    /// With a usage report at the stream's end.
    pub include_usage: bool,
    /// Members of the request that have no name here.
    pub extra: Extra,
}

impl ChatRequest {
    /// Prepares seals that say whose account made them: those that are at home lose that mark, others fit
    /// no dialect and are left out. An empty seal says only who thought it: thoughts themselves go back
    /// unsealed, summaries of thoughts would be refused.
    pub fn settle_seals(&mut self, is_home: impl Fn(&Seal) -> bool) {
        let blocks = self.messages.iter_mut().flat_map(|it| &mut it.blocks);
        for block in blocks {
            let BlockBody::Reasoning(thought) = &mut block.body else {
                continue;
            };
            let Some(seal) = &mut thought.seal else {
                continue;
            };
            if !is_home(seal) {
                continue;
            }
            if !seal.value.is_empty() {
                seal.come_home();
            } else if !thought.is_summary && !thought.text.is_empty() {
                thought.seal = None;
                thought.is_hidden = false;
            }
        }
    }
}

/// How the next word is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2 (Anthropic: to 1).
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// Among how many.
    pub top_k: Option<u64>,
    /// −2 to 2.
    pub frequency_penalty: Option<f64>,
    /// −2 to 2.
    pub presence_penalty: Option<f64>,
    /// For answers that repeat.
    pub seed: Option<i64>,
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// What kind it is.
    pub kind: ToolKind,
    /// Its name; empty for native tools.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// A prompt-caching mark.
    pub cache_mark: Option<CacheMark>,
    /// Members that have no name here.
    pub extra: Extra,
}

impl Tool {
    /// A tool that its own dialect alone knows.
    #[must_use]
    pub const fn native(whole: RawJson) -> Self {
        Self {
            kind: ToolKind::Native(whole),
            name: String::new(),
            description: None,
            cache_mark: None,
            extra: Extra::none(),
        }
    }
}

/// What kind of tool it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolKind {
    /// Called with a JSON object.
    Function {
        /// The object's JSON Schema; `None` takes no arguments.
        parameters: Option<RawJson>,
        /// Arguments must follow the schema exactly.
        strict: Option<bool>,
    },
    /// Called with free text (OpenAI's custom tools).
    Custom {
        /// A grammar for the text.
        format: Option<RawJson>,
    },
    /// A tool that the provider itself runs (web search and the like); its whole JSON.
    Native(RawJson),
}

/// Whether and what the model must call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// Nothing.
    None,
    /// Something.
    Required,
    /// This tool.
    Named(String),
    /// One of these (OpenAI's `allowed_tools`, Gemini's `allowedFunctionNames`).
    Among {
        /// The tools.
        names: Vec<String>,
        /// It must call one of them.
        required: bool,
    },
    /// A choice of the dialect it was read from; its whole JSON.
    Native(RawJson),
}

/// The form of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Text.
    Text,
    /// Some JSON object.
    Json,
    /// JSON that follows a schema.
    Schema(SchemaFormat),
}

/// JSON that follows a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFormat {
    /// Its name; OpenAI demands one.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The JSON Schema.
    pub schema: RawJson,
    /// Exactly.
    pub strict: Option<bool>,
}

/// How much to think, in either of the two ways that providers ask it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasoningWish {
    /// In a word.
    pub effort: Option<Effort>,
    /// In tokens; 0 is not at all.
    pub budget_tokens: Option<u64>,
    /// The provider chooses how much (Anthropic's `adaptive`, Gemini's budget of −1).
    pub is_adaptive: bool,
    /// The thoughts, or this kind of summary of them (`auto`, `concise`, `detailed`), are to be shown.
    pub summary: Option<String>,
}

/// How much to think, in OpenAI's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as the model can.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// More.
    Xhigh,
    /// As much as the model can.
    Max,
}

impl Effort {
    /// Every effort, least first.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Minimal,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::Xhigh,
        Self::Max,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The effort of this name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.as_str() == word)
    }

    /// The share of the output cap that may go into thoughts, in per cent: how an effort becomes a
    /// budget of tokens. The shares of low, medium and high are those that OpenRouter documents for
    /// the same translation (20, 50, 80).
    #[must_use]
    pub const fn percent(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 10,
            Self::Low => 20,
            Self::Medium => 50,
            Self::High => 80,
            Self::Xhigh => 90,
            Self::Max => 95,
        }
    }
}

/// Least budget of thoughts that Anthropic accepts.
pub const MIN_THINKING_TOKENS: u64 = 1024;

impl ReasoningWish {
    /// True when thinking is asked for at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_adaptive
            || self.budget_tokens.is_some_and(|tokens| tokens > 0)
            || (self.budget_tokens.is_none()
                && self.effort.is_some_and(|effort| effort != Effort::None))
    }

    /// The budget in tokens below a cap on the output: as asked, or the effort's share of the cap; at
    /// least 1,024 and always less than the cap where the cap allows both.
    #[must_use]
    pub fn budget_below(&self, max_output_tokens: u64) -> u64 {
        let asked = self.budget_tokens.unwrap_or_else(|| {
            let effort = self.effort.unwrap_or(Effort::Medium);
            max_output_tokens.saturating_mul(effort.percent()) / 100
        });
        asked
            .max(MIN_THINKING_TOKENS)
            .min(max_output_tokens.saturating_sub(1))
    }

    /// The effort that comes nearest to what was asked. Budgets: up to 1,024 tokens are minimal, 4,096
    /// low, 16,384 medium, more is high.
    #[must_use]
    pub fn nearest_effort(&self) -> Option<Effort> {
        self.effort.or(match self.budget_tokens {
            None => None,
            Some(0) => Some(Effort::None),
            Some(1..=1024) => Some(Effort::Minimal),
            Some(1025..=4096) => Some(Effort::Low),
            Some(4097..=16384) => Some(Effort::Medium),
            Some(_) => Some(Effort::High),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_stays_below_the_cap() {
        let wish = ReasoningWish {
            effort: Some(Effort::High),
            ..ReasoningWish::default()
        };
        assert_eq!(wish.budget_below(10_000), 8_000);
        assert_eq!(wish.budget_below(1_100), 1_024);
        assert_eq!(wish.budget_below(500), 499);
    }

    #[test]
    fn efforts_and_budgets_come_back_near_themselves() {
        for effort in Effort::ALL {
            assert_eq!(Effort::parse(effort.as_str()), Some(effort));
        }
        let budget = |tokens| ReasoningWish {
            budget_tokens: Some(tokens),
            ..ReasoningWish::default()
        };
        assert_eq!(budget(0).nearest_effort(), Some(Effort::None));
        assert!(!budget(0).is_on());
        assert_eq!(budget(2_000).nearest_effort(), Some(Effort::Low));
        assert_eq!(budget(50_000).nearest_effort(), Some(Effort::High));
    }
}
