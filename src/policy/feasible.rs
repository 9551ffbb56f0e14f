//! Which models can serve a request at all, and what they would cost: one [`Exclusion`] for each
//! that cannot.

use crate::config::snapshot::{Model, Provider};
use crate::runtime::OnExhausted;
use crate::runtime::lengths::LikelyUse;
use crate::types::{
    BillBound, Call, Caller, Endpoint, Exclusion, Features, PicoUsd, PossibleTiers, ServiceTier,
    Tier, Tokens,
};

use crate::wire;

use super::PlanInput;

/// A request's expected and greatest cost at a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// What to expect.
    pub estimated: PicoUsd,
    /// What one attempt cannot exceed.
    pub worst_case: PicoUsd,
}

/// Output that is reserved where neither the client nor the file caps it: no model writes more.
const UNSTATED_OUTPUT_BOUND: u64 = 131_072;

/// What the request costs at a model.
///
/// The worst case counts every input token at the dearest class, tier and step that may apply at
/// `at_ms` (milliseconds since the Unix epoch), and the whole output cap, for each of `n` choices. Input
/// is cut to the model's context: what is longer is refused by the provider, unbilled.
#[must_use]
pub fn costs(call: &Call, features: &Features, model: &Model, at_ms: i64) -> Costs {
    let choices = u64::from(call.choices.max(1));
    let (prices, images) = (&model.price, call.images());
    let bound = bill_bound(call, features, model);
    let output = features
        .output_tokens_estimate
        .saturating_mul(choices)
        .min(bound.output_tokens);
    let expected = Tokens {
        input: features.input_tokens,
        output,
        ..Tokens::default()
    };
    let applied = prices
        .at(at_ms)
        .applied(bound.tiers.expected(), expected.all_input());
    Costs {
        estimated: applied.price.bill(&expected, images),
        worst_case: prices.worst_case(at_ms, &bound),
    }
}

/// What the request likely stays under at a model, by what attempts like it have used: never more than
/// its worst case.
#[must_use]
pub fn likely_cost(
    call: &Call,
    features: &Features,
    model: &Model,
    at_ms: i64,
    used: &LikelyUse,
) -> PicoUsd {
    let bound = bill_bound(call, features, model);
    let at_most = |input_tokens: u64, output_tokens: u64| {
        let bound = BillBound {
            input_tokens,
            output_tokens: output_tokens.min(bound.output_tokens),
            ..bound
        };
        model.price.worst_case(at_ms, &bound)
    };
    let fixed = at_most(0, 0);
    let with_input = at_most(bound.input_tokens, 0);
    let output = at_most(bound.input_tokens, used.output_tokens) - with_input;
    fixed + share(with_input - fixed, used.input_share) + output
}

/// A share of an amount, rounded up.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a share is small; a cast saturates"
)]
fn share(amount: PicoUsd, share: f64) -> PicoUsd {
    const MILLION: i128 = 1_000_000;
    let millionths = (share * 1e6).ceil() as i128;
    let parts = amount.pico().saturating_mul(millionths);
    PicoUsd::from_pico(parts.saturating_add(MILLION - 1) / MILLION)
}

/// What the request can be billed for at a model.
fn bill_bound(call: &Call, features: &Features, model: &Model) -> BillBound {
    let choices = u64::from(call.choices.max(1));
    let context = model.context_tokens.unwrap_or(u64::MAX);
    let output_bound = if call.endpoint.generates() {
        let model_cap = model
            .max_output_tokens
            .or(model.context_tokens)
            .unwrap_or(UNSTATED_OUTPUT_BOUND);
        call.max_output_tokens.unwrap_or(model_cap).min(model_cap)
    } else {
        0
    };
    BillBound {
        input_tokens: features.input_tokens_bound.min(context),
        output_tokens: output_bound.saturating_mul(choices),
        images: call.images().into(),
        tiers: call.possible_tiers(),
        hour_cache: model.price.has_hour_cache() && call.asks_hour_cache(),
    }
}

/// What the request of a plan costs at a model.
pub(super) fn costs_at(input: &PlanInput<'_>, model: &Model) -> Costs {
    costs(input.call, input.features, model, input.at_ms)
}

/// Why the model cannot be a candidate; `None` when it can. Cheapest checks first; what is said of a
/// model is the first that holds, in the order of what a person would have to change.
#[must_use]
pub fn exclusion(input: &PlanInput<'_>, index: usize, costs: &Costs) -> Option<Exclusion> {
    let model = &input.snapshot.models[index];
    lasting(input, model).or_else(|| passing_exclusion(input, index, costs))
}

/// Why the model cannot be a candidate now, whatever it is able to do.
#[must_use]
pub fn passing_exclusion(input: &PlanInput<'_>, index: usize, costs: &Costs) -> Option<Exclusion> {
    momentary(input, index, &input.snapshot.models[index]).or_else(|| monetary(input, index, costs))
}

/// Whether a caller may have answers of a model, by list, tier and region, whenever they were given.
#[must_use]
pub fn may_use(caller: &Caller, model: &Model) -> bool {
    caller.allow.allows(&model.id) && model.tier <= caller.tier && in_region(&caller.regions, model)
}

/// Exclusions by what the model and the caller are.
fn lasting(input: &PlanInput<'_>, model: &Model) -> Option<Exclusion> {
    let caller = input.caller;
    let embeds = input.call.endpoint == Endpoint::Embeddings;
    // Vectors cannot be translated: only who speaks the client's dialect can give them.
    let speaks = wire::dialect_of(input.call.endpoint);
    let foreign = input.snapshot.providers[model.provider].dialect != speaks;
    if model.embeddings != embeds || (embeds && foreign) {
        return Some(Exclusion::Endpoint);
    }
    if !caller.allow.allows(&model.id) {
        return Some(Exclusion::NotAllowed);
    }
    if model.tier > best_tier(input) {
        return Some(Exclusion::Tier);
    }
    if !in_region(&caller.regions, model) {
        return Some(Exclusion::Region);
    }
    if let Some(supports) = model.supports {
        let missing = input.call.needs.missing_in(supports);
        if !missing.is_empty() {
            let missing = missing.into_iter().map(str::to_owned).collect();
            return Some(Exclusion::Capability { missing });
        }
    }
    fits_context(input, model)
}

/// The best tier that the caller may use and wants.
#[must_use]
pub fn best_tier(input: &PlanInput<'_>) -> Tier {
    let wanted = input.call.directives.tier.unwrap_or(Tier::Premium);
    input.caller.tier.min(wanted)
}

/// True when some host of the model is in a region that the caller's requests may go to. A host
/// without a stated region is in none: where the data may go is not for us to guess.
#[must_use]
pub fn in_region(regions: &[Box<str>], model: &Model) -> bool {
    regions.is_empty()
        || model.deployments.iter().any(|deployment| {
            let region = deployment.region.as_ref().or(model.region.as_ref());
            region.is_some_and(|region| regions.contains(region))
        })
}

/// The context check takes the *expected* input and a margin: the proven bound is three to four times
/// the truth, and would keep half of what fits from being sent. Where the estimate is too low the
/// provider refuses, and the rule for `context_length` finds a larger context.
fn fits_context(input: &PlanInput<'_>, model: &Model) -> Option<Exclusion> {
    let asked_output = input.call.max_output_tokens;
    if let (Some(needed), Some(limit)) = (asked_output, model.max_output_tokens)
        && needed > limit
        && input.call.endpoint.generates()
    {
        return Some(Exclusion::Context { needed, limit });
    }
    let limit = model.context_tokens?;
    let features = input.features;
    let margin = features.input_tokens / 10 + 16;
    let output = asked_output.unwrap_or(features.output_tokens_estimate);
    let output = if input.call.endpoint.generates() {
        output
    } else {
        0
    };
    let needed = (features.input_tokens + margin)
        .min(features.input_tokens_bound)
        .saturating_add(output);
    (needed > limit).then_some(Exclusion::Context { needed, limit })
}

/// Exclusions that pass by themselves.
fn momentary(input: &PlanInput<'_>, index: usize, model: &Model) -> Option<Exclusion> {
    if !provider_on(&input.snapshot.providers, model) {
        return Some(Exclusion::ProviderOff);
    }
    if input.view.breaker_open(index) {
        return Some(Exclusion::BreakerOpen);
    }
    input
        .view
        .rate_limited(index)
        .then_some(Exclusion::RateLimited)
}

/// True when some host of the model can be called at all.
#[must_use]
pub fn provider_on(providers: &[Provider], model: &Model) -> bool {
    if model.deployments.is_empty() {
        return providers
            .get(model.provider)
            .is_some_and(|provider| provider.enabled);
    }
    model
        .deployments
        .iter()
        .any(|deployment| deployment.enabled)
}

/// Exclusions by money.
fn monetary(input: &PlanInput<'_>, index: usize, costs: &Costs) -> Option<Exclusion> {
    let model = &input.snapshot.models[index];
    if !is_tier_priced(input, model) {
        return Some(Exclusion::Unpriced);
    }
    if let Some(cap) = input.call.directives.max_cost
        && costs.worst_case > cap
    {
        return Some(Exclusion::Unaffordable);
    }
    let free = model.price.is_free();
    let exhausted = input.view.purse().exhausted;
    if exhausted == Some(OnExhausted::LocalOnly) && model.tier != Tier::Local && !free {
        return Some(Exclusion::BudgetShade);
    }
    (!free && !input.view.affords(index, costs.worst_case)).then_some(Exclusion::Unaffordable)
}

/// False when the request names a service tier that costs more than the usual one, and what it costs at
/// this model is not known: an unknown price can be neither reserved nor billed. Cheaper tiers without a
/// price of their own are covered by the usual one.
fn is_tier_priced(input: &PlanInput<'_>, model: &Model) -> bool {
    let asked = input.call.possible_tiers();
    asked != PossibleTiers::AtMost(ServiceTier::Priority)
        || model.price.is_free()
        || model
            .price
            .at(input.at_ms)
            .tier(ServiceTier::Priority)
            .is_some()
}

/// True for exclusions that more money would lift.
#[must_use]
pub const fn is_about_money(exclusion: &Exclusion) -> bool {
    matches!(exclusion, Exclusion::Unaffordable | Exclusion::BudgetShade)
}
