//! Price lists: what a model costs from which day on, at which service tier, and above how many input
//! tokens. One [`Price`] is what is applied to a request; a [`PriceList`] says which.
//!
//! Providers bill a request above a long-context step wholly at the step's price, and by the service
//! tier that their answer names.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::money::{PicoUsd, Price};
use super::usage::{ServiceTier, Tokens};

/// A price that holds for whole requests above so many input tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceStep {
    /// Input tokens of every class that a request must exceed.
    pub above_input_tokens: u64,
    /// What it costs then.
    pub price: Price,
}

/// What a model costs at one service tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierPrice {
    /// Up to the first step.
    pub base: Price,
    /// The steps, ascending.
    pub steps: Vec<PriceStep>,
}

impl TierPrice {
    /// The price of a request with so much input, and the step that it is from.
    fn at(&self, input_tokens: u64) -> (&Price, Option<u64>) {
        self.steps
            .iter()
            .rev()
            .find(|step| input_tokens > step.above_input_tokens)
            .map_or((&self.base, None), |step| {
                (&step.price, Some(step.above_input_tokens))
            })
    }

    /// Every price that a request with at most so much input can be billed at.
    fn reachable(&self, input_tokens: u64) -> impl Iterator<Item = &Price> {
        let steps = self
            .steps
            .iter()
            .filter(move |step| input_tokens > step.above_input_tokens);
        std::iter::once(&self.base).chain(steps.map(|step| &step.price))
    }

    fn prices(&self) -> impl Iterator<Item = &Price> {
        std::iter::once(&self.base).chain(self.steps.iter().map(|step| &step.price))
    }
}

/// What a model costs from one instant on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceEntry {
    /// From when it holds, milliseconds since the Unix epoch; `None`: since ever.
    pub from_ms: Option<i64>,
    /// The day from which it holds and a short hash of its amounts: the same price has the same version
    /// everywhere.
    pub version: String,
    standard: TierPrice,
    /// Flex, priority, batch.
    others: [Option<TierPrice>; 3],
}

/// The prices that an attempt's cost was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedPrice<'a> {
    /// The price.
    pub price: &'a Price,
    /// The long-context step that it is from.
    pub step_tokens: Option<u64>,
    /// False when the tier that was billed has no price of its own and the usual one was taken.
    pub tier_is_priced: bool,
}

impl PriceEntry {
    /// An entry; `from` is the day as the file has it, for the version.
    #[must_use]
    pub fn new(
        from: Option<(i64, &str)>,
        standard: TierPrice,
        others: [Option<TierPrice>; 3],
    ) -> Self {
        let mut entry = Self {
            from_ms: from.map(|(at_ms, _)| at_ms),
            version: String::new(),
            standard,
            others,
        };
        let hash = entry.hash();
        entry.version = match from {
            Some((_, day)) => format!("{day}/{hash}"),
            None => hash,
        };
        entry
    }

    /// What is known of a tier.
    #[must_use]
    pub fn tier(&self, tier: ServiceTier) -> Option<&TierPrice> {
        match tier {
            ServiceTier::Standard => Some(&self.standard),
            ServiceTier::Flex => self.others[0].as_ref(),
            ServiceTier::Priority => self.others[1].as_ref(),
            ServiceTier::Batch => self.others[2].as_ref(),
        }
    }

    /// The price of a request with so much input at this tier.
    #[must_use]
    pub fn applied(&self, tier: ServiceTier, input_tokens: u64) -> AppliedPrice<'_> {
        let priced = self.tier(tier);
        let (price, step_tokens) = priced.unwrap_or(&self.standard).at(input_tokens);
        AppliedPrice {
            price,
            step_tokens,
            tier_is_priced: priced.is_some(),
        }
    }

    /// Every price, whatever must happen for it to hold.
    fn prices(&self) -> impl Iterator<Item = &Price> {
        let others = self.others.iter().flatten();
        std::iter::once(&self.standard)
            .chain(others)
            .flat_map(TierPrice::prices)
    }

    fn hash(&self) -> String {
        let mut text = String::new();
        for tier in ServiceTier::ALL {
            let Some(priced) = self.tier(tier) else {
                continue;
            };
            // Writing into a String cannot fail.
            let _ = write!(text, "{};{:?}", tier.as_str(), amounts(&priced.base));
            for step in &priced.steps {
                let above = step.above_input_tokens;
                let _ = write!(text, ">{above}:{:?}", amounts(&step.price));
            }
        }
        let digest = Sha256::digest(text.as_bytes());
        digest.iter().take(4).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// Every amount of a price, in the order that its version is made from.
fn amounts(price: &Price) -> [i128; 8] {
    [
        price.input.pico().into(),
        price.cached_input.pico().into(),
        price.cache_write.pico().into(),
        price.cache_write_1h.pico().into(),
        price.output.pico().into(),
        price.reasoning.pico().into(),
        price.per_request.pico(),
        price.per_image.pico(),
    ]
}

/// What a request may be billed for at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillBound {
    /// Input of every class, tokens.
    pub input_tokens: u64,
    /// Output of every class, tokens.
    pub output_tokens: u64,
    /// Images.
    pub images: u64,
    /// The tiers that it may be served at.
    pub tiers: PossibleTiers,
    /// True when it may ask for its input to be kept in the prompt cache for an hour.
    pub hour_cache: bool,
}

/// The service tiers that a request may be served at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PossibleTiers {
    /// It does not say, or leaves it to the account's settings.
    #[default]
    Any,
    /// The usual one.
    Standard,
    /// The one that it names, or the usual one.
    AtMost(ServiceTier),
}

impl PossibleTiers {
    /// What a request's own `service_tier` (the JSON value, quotes included) makes possible.
    #[must_use]
    pub const fn asked(value: &[u8]) -> Self {
        match value {
            b"\"default\"" | b"\"standard\"" | b"\"standard_only\"" => Self::Standard,
            b"\"flex\"" => Self::AtMost(ServiceTier::Flex),
            b"\"priority\"" => Self::AtMost(ServiceTier::Priority),
            b"\"batch\"" => Self::AtMost(ServiceTier::Batch),
            _ => Self::Any,
        }
    }

    /// The tier to expect.
    #[must_use]
    pub const fn expected(self) -> ServiceTier {
        match self {
            Self::AtMost(tier) => tier,
            Self::Any | Self::Standard => ServiceTier::Standard,
        }
    }

    fn includes(self, tier: ServiceTier) -> bool {
        match self {
            Self::Any => true,
            Self::Standard => tier == ServiceTier::Standard,
            Self::AtMost(asked) => tier == ServiceTier::Standard || tier == asked,
        }
    }
}

/// What a model costs, now and from the days that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceList {
    /// Ascending by `from_ms`; never empty.
    entries: Vec<PriceEntry>,
}

/// An attempt begins some time after it was planned; a price that begins to hold within this time is
/// reserved for too. Longer than any request's total time-out.
const PLANNED_AHEAD_MS: i64 = 3_600_000;

impl Default for PriceList {
    fn default() -> Self {
        Self::flat(Price::default())
    }
}

impl PriceList {
    /// One price for everything, since ever.
    #[must_use]
    pub fn flat(price: Price) -> Self {
        let standard = TierPrice {
            base: price,
            steps: Vec::new(),
        };
        Self {
            entries: vec![PriceEntry::new(None, standard, [None, None, None])],
        }
    }

    /// A list of these; `None` when there are none.
    #[must_use]
    pub fn new(mut entries: Vec<PriceEntry>) -> Option<Self> {
        entries.sort_by_key(|entry| entry.from_ms);
        (!entries.is_empty()).then_some(Self { entries })
    }

    /// What holds at an instant: before the first entry, the first.
    #[must_use]
    pub fn at(&self, at_ms: i64) -> &PriceEntry {
        let begun = self
            .entries
            .partition_point(|entry| entry.from_ms.is_none_or(|from| from <= at_ms));
        &self.entries[begun.saturating_sub(1)]
    }

    /// True when no entry holds yet.
    #[must_use]
    pub fn is_all_future(&self, at_ms: i64) -> bool {
        let first = self.entries.first().and_then(|entry| entry.from_ms);
        first.is_some_and(|from| from > at_ms)
    }

    /// Every entry, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[PriceEntry] {
        &self.entries
    }

    /// What these tokens cost at the usual tier: for baselines and comparisons.
    #[must_use]
    pub fn cost(&self, at_ms: i64, tokens: &Tokens) -> PicoUsd {
        let entry = self.at(at_ms);
        let applied = entry.applied(ServiceTier::Standard, tokens.all_input());
        applied.price.bill(tokens, 0)
    }

    /// The most that a request planned at this instant can cost: the dearest class of the dearest price
    /// that may apply to it.
    #[must_use]
    pub fn worst_case(&self, at_ms: i64, bound: &BillBound) -> PicoUsd {
        let soon = at_ms.saturating_add(PLANNED_AHEAD_MS);
        let in_force = self.at(at_ms);
        let coming = self.entries.iter().filter(|entry| {
            entry
                .from_ms
                .is_some_and(|from| from > at_ms && from <= soon)
        });
        std::iter::once(in_force)
            .chain(coming)
            .flat_map(|entry| {
                ServiceTier::ALL
                    .into_iter()
                    .filter(|tier| bound.tiers.includes(*tier))
                    .filter_map(|tier| entry.tier(tier))
            })
            .flat_map(|tier| tier.reachable(bound.input_tokens))
            .map(|price| price.worst_case(bound))
            .max()
            .unwrap_or_default()
    }

    /// True when nothing ever costs anything: such a model needs no budget.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.entries
            .iter()
            .flat_map(PriceEntry::prices)
            .all(Price::is_free)
    }

    /// True when some write into the prompt cache costs more when it is kept for an hour.
    #[must_use]
    pub fn has_hour_cache(&self) -> bool {
        self.entries
            .iter()
            .flat_map(PriceEntry::prices)
            .any(|price| price.cache_write_1h > price.cache_write)
    }
}

#[cfg(test)]
mod tests;
