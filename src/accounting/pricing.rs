//! What an attempt costs: the tokens that were used, at the price that held when it began, of the
//! model that answered, at the service tier that the answer names.

use std::sync::Arc;

use crate::config::price_book::{KnownPrice, PriceBook, Served};
use crate::types::{
    AppliedPrice, AttemptRecord, ModelId, PicoUsd, PriceEntry, PriceList, ServiceTier, Tokens,
};

/// All that an attempt's price follows from, but for what it used.
#[derive(Debug)]
pub struct Pricing {
    /// What the model that was asked for costs.
    pub list: Arc<PriceList>,
    /// What other models of the provider cost.
    pub book: Arc<PriceBook>,
    /// The provider's index in the book.
    pub provider: usize,
    /// The model that was asked for.
    pub model: ModelId,
    /// What the upstream calls it.
    pub upstream_model: Box<str>,
    /// When the attempt began, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Images that are charged one by one.
    pub images: u32,
}

/// A bill and where it comes from.
#[derive(Debug)]
pub struct Bill<'a> {
    /// The sum.
    pub cost: PicoUsd,
    entry: &'a PriceEntry,
    applied: AppliedPrice<'a>,
    substituted: bool,
    priced_model: Option<&'a ModelId>,
    asked_cost: Option<PicoUsd>,
}

impl Pricing {
    /// The bill for these tokens. `answered` is the model that the upstream says it served with, `tier`
    /// the service tier that it names.
    pub fn bill(
        &self,
        answered: Option<&str>,
        tier: Option<ServiceTier>,
        tokens: &Tokens,
    ) -> Bill<'_> {
        let (substituted, known) = match self.served(answered) {
            Served::Asked => (false, None),
            Served::Variant(known) => (false, Some(known)),
            Served::Other(known) => (true, known),
        };
        let tier = tier.unwrap_or_default();
        let cost_of = |list: &PriceList| {
            let applied = list.at(self.at_ms).applied(tier, tokens.all_input());
            applied.price.bill(tokens, self.images)
        };
        let list = known.map_or(&self.list, |known| &known.list);
        let entry = list.at(self.at_ms);
        Bill {
            cost: cost_of(list),
            entry,
            applied: entry.applied(tier, tokens.all_input()),
            substituted,
            priced_model: known.map(|known: &KnownPrice| &known.name),
            asked_cost: known.map(|_| cost_of(&self.list)),
        }
    }

    fn served(&self, answered: Option<&str>) -> Served<'_> {
        let answered = answered.unwrap_or_default();
        let asked = [&*self.upstream_model, self.model.as_str()];
        self.book.served(self.provider, &asked, answered)
    }
}

/// The bill of a whole batch, of which only the sum of what its requests used is known: at the batch
/// tier, and at the long-context step of the mean request.
pub fn bill_batch<'a>(list: &'a PriceList, at_ms: i64, tokens: &Tokens, requests: u64) -> Bill<'a> {
    let entry = list.at(at_ms);
    let mean_input = tokens.all_input() / requests.max(1);
    let applied = entry.applied(ServiceTier::Batch, mean_input);
    let fees = applied.price.per_request.saturating_mul(requests.max(1));
    Bill {
        cost: applied.price.cost(tokens) + fees,
        entry,
        applied,
        substituted: false,
        priced_model: None,
        asked_cost: None,
    }
}

impl Bill<'_> {
    /// False when the tier that served has no price of its own, so that the sum is an estimate.
    pub const fn is_certain(&self) -> bool {
        self.applied.tier_is_priced
    }

    /// Writes the bill into the attempt's record. An attempt that used nothing (`is_due` is false) is
    /// not billed, whatever the price says about requests.
    pub fn write(&self, record: &mut AttemptRecord, images: u32, is_due: bool) {
        let due = |amount| if is_due { amount } else { PicoUsd::ZERO };
        record.price = *self.applied.price;
        record.price_version.clone_from(&self.entry.version);
        record.price_step_tokens = self.applied.step_tokens;
        record.substituted = self.substituted;
        record.priced_model = self.priced_model.map(ToString::to_string);
        record.asked_cost = self.asked_cost.map(due);
        record.images = if is_due { images } else { 0 };
        record.cost = due(self.cost);
    }
}
