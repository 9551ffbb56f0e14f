//! `models`

use std::fmt;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Decimal, LimitsConfig, SecretText};
use crate::types::Tier;

/// A model: a provider's model with its price and what it can do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The account that serves it: a name under `providers`. May be left out when every entry of
    /// `deployments` names its own.
    pub provider: Option<String>,
    /// What the provider calls it, when that is not its name here.
    pub upstream_model: Option<String>,
    /// What it costs, USD per million tokens by class; a list where the price changes on some day; 0
    /// declares it free.
    pub price: Option<PriceConfig>,
    /// The most that it takes, input and output together, tokens; unlimited as far as we know when not
    /// set.
    #[schemars(range(min = 1))]
    pub context_tokens: Option<u64>,
    /// The most that it writes, tokens.
    #[schemars(range(min = 1))]
    pub max_output_tokens: Option<u64>,
    /// Its rung on the fallback ladder, and what a team's `tier` is compared with. Default: standard.
    pub tier: Option<Tier>,
    /// Where it runs; compared with a team's `regions`.
    pub region: Option<String>,
    /// Several keys or hosts of this model, balanced by outstanding requests, each with its own
    /// breaker. Empty: the one at `provider`.
    #[serde(default)]
    pub deployments: Vec<DeploymentConfig>,
    /// How well it does before anything was learned, 0..=1; one number, or a map by task with `default`
    /// for the rest. When not set: premium 0.85, standard 0.7, local 0.5.
    pub quality: Option<QualityConfig>,
    /// What it can do; requests that need more go elsewhere. When not set, nothing is held against it.
    pub supports: Option<Vec<Support>>,
    /// Models that may stand in when a client asks for this one by name; tried in this order.
    #[serde(default)]
    pub equivalents: Vec<String>,
    /// Limits of this model.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Time to the whole answer (for streams: to the first output) above which what is learned about
    /// the model suffers, milliseconds.
    #[schemars(range(min = 1))]
    pub latency_target_ms: Option<u64>,
}

/// What a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// Tool (function) calling.
    Tools,
    /// Image input.
    Vision,
    /// Output bound to a JSON schema.
    JsonSchema,
    /// Audio input or output.
    Audio,
    /// Several tool calls in one turn, for requests with `parallel_tool_calls: true`; judged where any model of the file lists it.
    ParallelTools,
    /// Thinking before the answer, for requests that ask for an effort; judged where any model of the file lists it.
    Reasoning,
    /// Embeddings, and only them.
    Embeddings,
}

/// One key or host of a model.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentConfig {
    /// A name under `providers`; the model's when not set.
    pub provider: Option<String>,
    /// What this host calls the model; the model's `upstream_model` when not set.
    pub upstream_model: Option<String>,
    /// A key of its own instead of the provider's, as `${VARIABLE}` or `file:/path`.
    pub api_key: Option<SecretText>,
    /// Where this host runs; the model's `region` when not set.
    pub region: Option<String>,
    /// Share of the load relative to its siblings.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

const fn one() -> u32 {
    1
}

/// A prior of quality, 0..=1.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum QualityConfig {
    /// The same for every task.
    Same(#[schemars(range(min = 0, max = 1))] f64),
    /// By task; `default` for the rest, else the mean of those given.
    ByTask(#[schemars(inner(range(min = 0, max = 1)))] IndexMap<String, f64>),
}

/// What a model costs.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum PriceConfig {
    /// 0: declared free.
    Free(#[schemars(range(min = 0, max = 0))] f64),
    /// One price.
    Classes(Box<PriceClasses>),
    /// Several, each with the day from which it holds.
    Dated(Vec<PriceClasses>),
}

/// USD per million tokens, by class; up to six digits after the point.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceClasses {
    /// The day from which this price holds (midnight UTC), as `2026-12-01`. In a list of prices every
    /// entry but the first needs one; an attempt is billed at what holds when it begins.
    pub from: Option<String>,
    /// Input that the provider did not have in its prompt cache, USD per million tokens.
    pub input: Decimal,
    /// Input read from the provider's prompt cache, USD per million tokens; as `input` when not set.
    pub cached_input: Option<Decimal>,
    /// Input written to the provider's prompt cache, USD per million tokens; as `input` when not set.
    pub cache_write: Option<Decimal>,
    /// Input written to the provider's prompt cache to be kept for an hour, USD per million tokens; as
    /// `cache_write` when not set.
    pub cache_write_1h: Option<Decimal>,
    /// Output, USD per million tokens. Only embedding models may leave it out.
    pub output: Option<Decimal>,
    /// Hidden reasoning output, USD per million tokens; as `output` when not set.
    pub reasoning: Option<Decimal>,
    /// Added to each request that the provider bills at all, USD.
    pub per_request_usd: Option<Decimal>,
    /// Added for each image of the request, where the provider charges for them apart from tokens, USD.
    pub per_image_usd: Option<Decimal>,
    /// Dearer prices of whole requests above so many input tokens, ascending.
    pub long_context: Option<Vec<LongContextClasses>>,
    /// What other service tiers cost. The tier that the answer names is billed; the dearest that may
    /// apply is reserved.
    #[serde(default)]
    pub service_tiers: ServiceTiersConfig,
}

/// What a request costs as a whole above so many input tokens. A class that the usual price has must be
/// here too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongContextClasses {
    /// Requests with more input tokens than this, cached ones included, cost this much.
    #[schemars(range(min = 1))]
    pub above_input_tokens: u64,
    /// As in the usual price.
    pub input: Decimal,
    /// As in the usual price.
    pub cached_input: Option<Decimal>,
    /// As in the usual price.
    pub cache_write: Option<Decimal>,
    /// As in the usual price.
    pub cache_write_1h: Option<Decimal>,
    /// As in the usual price.
    pub output: Option<Decimal>,
    /// As in the usual price.
    pub reasoning: Option<Decimal>,
}

/// Prices of the service tiers that differ from the usual one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceTiersConfig {
    /// Cheaper, as capacity allows.
    pub flex: Option<TierClasses>,
    /// Dearer and faster.
    pub priority: Option<TierClasses>,
    /// Cheaper, some time within a day.
    pub batch: Option<TierClasses>,
}

/// What a service tier costs, USD per million tokens. A class that the usual price has must be here too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierClasses {
    /// As in the usual price.
    pub input: Decimal,
    /// As in the usual price.
    pub cached_input: Option<Decimal>,
    /// As in the usual price.
    pub cache_write: Option<Decimal>,
    /// As in the usual price.
    pub cache_write_1h: Option<Decimal>,
    /// As in the usual price.
    pub output: Option<Decimal>,
    /// As in the usual price.
    pub reasoning: Option<Decimal>,
    /// As in the usual price; `[]` where the tier has no steps.
    pub long_context: Option<Vec<LongContextClasses>>,
}

/// The classes of a price, wherever it stands.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'a> {
    /// `input`
    pub input: &'a Decimal,
    /// `cached_input`
    pub cached_input: Option<&'a Decimal>,
    /// `cache_write`
    pub cache_write: Option<&'a Decimal>,
    /// `cache_write_1h`
    pub cache_write_1h: Option<&'a Decimal>,
    /// `output`
    pub output: Option<&'a Decimal>,
    /// `reasoning`
    pub reasoning: Option<&'a Decimal>,
}

macro_rules! classes_of {
    ($($name:ident),*) => {$(
        impl $name {
            /// The classes that it prices.
            pub const fn classes(&self) -> Classes<'_> {
                Classes {
                    input: &self.input,
                    cached_input: self.cached_input.as_ref(),
                    cache_write: self.cache_write.as_ref(),
                    cache_write_1h: self.cache_write_1h.as_ref(),
                    output: self.output.as_ref(),
                    reasoning: self.reasoning.as_ref(),
                }
            }
        }
    )*};
}

classes_of!(PriceClasses, LongContextClasses, TierClasses);

impl<'de> Deserialize<'de> for PriceConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PriceVisitor)
    }
}

struct PriceVisitor;

impl PriceVisitor {
    fn free<E: Error>(amount: f64) -> Result<PriceConfig, E> {
        if amount == 0.0 {
            Ok(PriceConfig::Free(amount))
        } else {
            Err(E::custom("a price is a map by class, or 0 for free"))
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "only compared with zero")]
impl<'de> Visitor<'de> for PriceVisitor {
    type Value = PriceConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a price by class, a list of such prices, or 0")
    }

    fn visit_u64<E: Error>(self, amount: u64) -> Result<PriceConfig, E> {
        Self::free(amount as f64)
    }

    fn visit_i64<E: Error>(self, amount: i64) -> Result<PriceConfig, E> {
        Self::free(amount as f64)
    }

    fn visit_f64<E: Error>(self, amount: f64) -> Result<PriceConfig, E> {
        Self::free(amount)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PriceConfig, A::Error> {
        PriceClasses::deserialize(MapAccessDeserializer::new(map))
            .map(|classes| PriceConfig::Classes(Box::new(classes)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<PriceConfig, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(PriceConfig::Dated)
    }
}
