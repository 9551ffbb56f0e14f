//! `providers`

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{LimitsConfig, ProviderAuthConfig, SecretText};

/// An API account: a dialect spoken at an address with credentials. Either `base_url` or `simulated`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The wire format that it speaks.
    #[serde(default)]
    pub dialect: DialectConfig,
    /// Who serves the dialect, where that is not who made it: clouds have addresses of their own for
    /// others' models.
    #[serde(default)]
    pub platform: PlatformConfig,
    /// Base of the API, as `https://api.openai.com/v1`; the endpoint's path is appended. `{model}`
    /// stands for the upstream's model name, as in Azure's
    /// `https://RESOURCE.openai.azure.com/openai/deployments/{model}`.
    pub base_url: Option<String>,
    /// The account's key, as `${VARIABLE}` or `file:/path`. A provider whose variable is unset is
    /// switched off with a warning. Leave it out for hosts that need none.
    pub api_key: Option<SecretText>,
    /// Name of the header that carries the key; `authorization: Bearer` when not set. Azure: `api-key`.
    pub auth_header: Option<String>,
    /// How requests are signed, where a key in a header is not enough.
    #[serde(default)]
    pub auth: ProviderAuthConfig,
    /// Headers to add to every request to this provider. Not for secrets: those go into `api_key`.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// Query parameters to add to every request, as `api-version: 2025-04-01-preview`.
    #[serde(default)]
    pub query: IndexMap<String, String>,
    /// PEM file with extra root certificates, for private hosts.
    pub ca_file: Option<String>,
    /// Limits of the account, over all its models.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// How long it keeps a prompt in its cache that nobody asks for again, seconds; afterwards a
    /// conversation's cache is worth nothing. Default: 300, Anthropic's five minutes and the least that
    /// OpenAI names. What was written to be kept for an hour counts for an hour.
    #[serde(default = "five_minutes")]
    #[schemars(range(max = 86400))]
    pub prompt_cache_seconds: u64,
    /// Known deviations from the dialect.
    #[serde(default)]
    pub quirks: Vec<QuirkConfig>,
    /// How it bills answers that are not read to their end.
    #[serde(default)]
    pub billing: BillingConfig,
    /// Send the client's `traceparent` on to this provider, so that its traces and the client's can be
    /// put together. Off: a trace's id would tell a stranger which requests belong together.
    #[serde(default)]
    pub propagate_trace: bool,
    /// Answers by itself instead of calling anybody: for demonstrations, staging and tests.
    pub simulated: Option<SimulatedConfig>,
}

const fn five_minutes() -> u64 {
    300
}

/// A wire format.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DialectConfig {
    /// OpenAI's Chat Completions, with its completions and embeddings; most providers offer it beside
    /// their own.
    #[default]
    OpenaiChat,
    /// OpenAI's Responses.
    OpenaiResponses,
    /// Anthropic's Messages.
    AnthropicMessages,
    /// Google's generateContent, of the Gemini API and of Vertex AI.
    GeminiGenerate,
    /// Amazon Bedrock's Converse.
    BedrockConverse,
}

/// Who serves a dialect.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlatformConfig {
    /// Whoever made the dialect, or one who copies its addresses too.
    #[default]
    Native,
    /// Google's Vertex AI: Claude at `…/publishers/anthropic`.
    Vertex,
    /// Amazon's Bedrock: Claude by `invoke`.
    Bedrock,
}

/// A deviation from the dialect.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuirkConfig {
    /// Refuses `stream_options`: it is not sent, and a stream's usage is estimated unless it comes by
    /// itself.
    NoStreamOptions,
    /// Refuses ids of tool calls that are not nine letters or digits (Mistral): others' are replaced, in
    /// calls and results alike.
    ShortCallIds,
}

/// How a provider bills answers that are not read to their end.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BillingConfig {
    /// When the client goes away, or the connection breaks. When not set, by the provider's address:
    /// `drain` for those known to go on and bill the whole answer, else `estimate`.
    pub on_disconnect: Option<OnDisconnectConfig>,
    /// When a stream that has begun ends with an error that the provider reports, and no usage.
    pub on_error: OnErrorConfig,
    /// How long `drain` reads on, seconds; then what was seen is estimated.
    #[schemars(range(min = 1, max = 3600))]
    pub drain_seconds: u64,
    /// How much `drain` reads on, bytes; then what was seen is estimated.
    #[schemars(range(min = 1))]
    pub drain_max_bytes: u64,
}

impl Default for BillingConfig {
    fn default() -> Self {
        Self {
            on_disconnect: None,
            on_error: OnErrorConfig::None,
            // Long answers take a minute or two; what hangs longer than that is not worth a connection.
            drain_seconds: 120,
            // The longest answers of today, 128 000 tokens, in chunks of some two hundred bytes each.
            drain_max_bytes: 32 << 20,
        }
    }
}

/// What an answer costs whose client went away.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnectConfig {
    /// The provider is cut off, and what was seen is counted: the input, and the output until then.
    Estimate,
    /// The answer is read on, without the client, until the provider says what it used.
    Drain,
    /// The provider is cut off and bills nothing.
    None,
}

/// What a stream costs that its provider ended with an error.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnErrorConfig {
    /// Nothing, unless the provider reported what it used.
    #[default]
    None,
    /// What was seen is counted.
    Estimate,
}

/// How a simulated provider behaves. The same seed gives the same answers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedConfig {
    /// Seed of its answers, latencies and errors.
    pub seed: u64,
    /// Median time to the first output, milliseconds.
    #[schemars(range(min = 0, max = 600_000))]
    pub latency_ms: u64,
    /// Spread of the latency: standard deviation of its natural logarithm; 0 is constant.
    #[schemars(range(min = 0, max = 5))]
    pub latency_sigma: f64,
    /// Time between two chunks of a stream, milliseconds.
    #[schemars(range(min = 0, max = 60_000))]
    pub chunk_gap_ms: u64,
    /// Share of calls that fail with 503, 0..=1.
    #[schemars(range(min = 0, max = 1))]
    pub error_rate: f64,
    /// Median length of an answer, tokens.
    #[schemars(range(min = 1, max = 100_000))]
    pub output_tokens: u32,
}

impl Default for SimulatedConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            // About what a mid-sized hosted model takes to its first output.
            latency_ms: 300,
            // The 99th percentile is then twice the median, as seen with hosted models.
            latency_sigma: 0.3,
            // Fifty chunks per second.
            chunk_gap_ms: 20,
            error_rate: 0.0,
            // A short paragraph.
            output_tokens: 120,
        }
    }
}
