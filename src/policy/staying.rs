//! Whether a conversation stays with the model that answered last: its provider has the prompt in its
//! cache, which every other would have to read anew.
//!
//! The price of the switch is computed. Over the requests that the turn is still expected to take,
//!
//! ```text
//! stay = warm × cached_input + (context − warm) × input + output      then (steps − 1) × warm requests
//! go   =                        context × cache_write    + output      then (steps − 1) × warm requests
//! loss = (objective.cost + price of money) × (go − stay) / max(go, stay)
//! gain = objective.quality × (reward there − reward here) − objective.latency × (slowness there − here)
//! ```
//!
//! and the conversation goes if the gain is more than the loss. In the middle of a chain of tool calls
//! or of thoughts it never goes while its model can be tried; nor does one that the client has named
//! (`x-tollgate-session`) while its model is among the candidates.

use crate::config::snapshot::{Objective, Policy, SelectParams};
use crate::types::{Call, ModelId, PicoUsd, Role, Tokens, Verdict, Weighing};

use super::feasible::{Costs, costs_at, exclusion};
use super::rank::{Entrant, Ranking, expected_scores};
use super::resolve::virtual_model;
use super::{PlanInput, Staying};

/// Most requests that a turn is expected to take: an estimate from the past, not a promise.
const MOST_STEPS: u32 = 16;
/// Turns at the end of a conversation that the estimate is made from.
const LAST_TURNS: usize = 64;

/// Weighs, and puts the conversation's model first where it stays. `None`: there is no conversation, or
/// its model is in the file no more.
pub fn weigh(
    input: &PlanInput<'_>,
    select: &SelectParams,
    cell: &[usize],
    ranking: &mut Ranking,
) -> Option<Weighing> {
    let staying = input.view.session()?;
    let kept = *input.snapshot.model_index.get(&staying.model)?;
    let chain = staying.is_maker && input.call.is_mid_chain();
    let other = ranking.order.first().map(|first| first.index);
    let mut weighing = compare(input, select, &staying, (kept, other));
    let Some(at) = place(input, kept, (cell, chain), ranking) else {
        weighing.verdict = Verdict::Unable;
        return Some(weighing);
    };
    weighing.verdict = if chain {
        Verdict::Chain
    } else if other == Some(kept) {
        Verdict::Agrees
    } else if !staying.asked_for && other.is_some() && weighing.gain > weighing.loss {
        Verdict::Goes
    } else {
        Verdict::Stays
    };
    match weighing.verdict {
        Verdict::Chain | Verdict::Stays => {
            ranking.order[..=at].rotate_right(1);
            ranking.propensity = 1.0;
            (ranking.explored, ranking.shaded) = (false, false);
        }
        Verdict::Goes if !cell.contains(&kept) => drop(ranking.order.remove(at)),
        _ => {}
    }
    Some(weighing)
}

/// Where the conversation's model stands among the candidates, after it was let in if it may.
fn place(
    input: &PlanInput<'_>,
    kept: usize,
    (cell, chain): (&[usize], bool),
    ranking: &mut Ranking,
) -> Option<usize> {
    let among = |order: &[Entrant]| order.iter().position(|entrant| entrant.index == kept);
    if let Some(at) = among(&ranking.order) {
        return Some(at);
    }
    let costs = costs_at(input, &input.snapshot.models[kept]);
    let enters = !cell.contains(&kept)
        && may_enter(input, kept, chain, ranking)
        && exclusion(input, kept, &costs).is_none();
    if !enters {
        return None;
    }
    ranking.order.push(Entrant {
        index: kept,
        position: usize::MAX,
        costs,
        score: 0.0,
    });
    Some(ranking.order.len() - 1)
}

/// Whether a model that the cell does not name may be a candidate because the conversation is with it:
/// in the middle of a chain, or when another level of the same row names it and it is as good as the
/// cell's own. Never where the client or the file has named the candidates, nor under a budget's floor.
fn may_enter(input: &PlanInput<'_>, kept: usize, chain: bool, ranking: &Ranking) -> bool {
    let directives = &input.call.directives;
    let named = directives.task.is_some()
        || directives.level.is_some()
        || virtual_model(input.snapshot, input.asked).is_some_and(|it| it.models.is_some());
    if named || input.view.purse().under_floor {
        return false;
    }
    if chain {
        return true;
    }
    let matrix = &input.snapshot.matrix;
    let row = matrix.rows.get(input.row).unwrap_or(&matrix.default);
    let quality = |index: usize| {
        let model = &input.snapshot.models[index];
        model.quality.of(&input.features.task)
    };
    let own = ranking.order.iter().map(|entrant| quality(entrant.index));
    let least = own.fold(f64::INFINITY, f64::min);
    row.cells.values().any(|cell| cell.contains(&kept)) && quality(kept) >= least
}

/// What staying and going cost, and what the other model is better by.
fn compare(
    input: &PlanInput<'_>,
    select: &SelectParams,
    staying: &Staying,
    (kept, other): (usize, Option<usize>),
) -> Weighing {
    let steps = expected_steps(input.call);
    let context_tokens = input.features.input_tokens;
    let warm_tokens = staying.warm_tokens.min(context_tokens);
    let hour = staying.for_an_hour;
    let stay_cost = turn_cost(input, kept, (warm_tokens, hour), steps);
    let mut weighing = Weighing {
        model: staying.model.clone(),
        other: other.map(|other| name(input, other)),
        verdict: Verdict::Stays,
        context_tokens,
        warm_tokens,
        steps,
        stay_cost,
        go_cost: stay_cost,
        gain: 0.0,
        loss: 0.0,
    };
    let Some(other) = other.filter(|other| *other != kept) else {
        return weighing;
    };
    weighing.go_cost = turn_cost(input, other, (0, hour), steps);
    let select = SelectParams {
        objective: objective(input, select),
        ..select.clone()
    };
    let entrant = |index: usize, estimated: PicoUsd| Entrant {
        index,
        position: 0,
        costs: Costs {
            estimated,
            worst_case: estimated,
        },
        score: 0.0,
    };
    let both = [
        entrant(kept, weighing.stay_cost),
        entrant(other, weighing.go_cost),
    ];
    let scores = expected_scores(input, &select, &both);
    let (stay, go) = (
        weighing.stay_cost.as_usd_f64(),
        weighing.go_cost.as_usd_f64(),
    );
    let dearest = stay.max(go);
    let price_of_money = input.view.purse().shadow_price.max(0.0);
    if dearest > 0.0 {
        weighing.loss = (select.objective.cost + price_of_money) * (go - stay) / dearest;
    }
    weighing.gain = scores[1] - scores[0] + weighing.loss;
    weighing
}

fn name(input: &PlanInput<'_>, index: usize) -> ModelId {
    input.snapshot.models[index].id.clone()
}

/// What a good choice is: the file's objective, but for policies that look at one thing only, and for
/// budgets that are short.
fn objective(input: &PlanInput<'_>, select: &SelectParams) -> Objective {
    let purse = input.view.purse();
    let short_of_money = purse.under_floor || purse.exhausted.is_some();
    match select.policy {
        _ if short_of_money => CHEAPEST,
        Policy::Cheapest => CHEAPEST,
        Policy::Fastest => Objective {
            quality: 0.0,
            cost: select.objective.cost,
            latency: 1.0,
        },
        _ => select.objective,
    }
}

const CHEAPEST: Objective = Objective {
    quality: 0.0,
    cost: 1.0,
    latency: 0.0,
};

/// What the rest of the turn costs at a model that has so much of the prompt in its cache: this request,
/// and for each further one the same prompt read from the cache and as much output.
fn turn_cost(
    input: &PlanInput<'_>,
    index: usize,
    (warm, for_an_hour): (u64, bool),
    steps: u32,
) -> PicoUsd {
    let model = &input.snapshot.models[index];
    let context = input.features.input_tokens;
    let tiers = input.call.possible_tiers();
    let applied = model
        .price
        .at(input.at_ms)
        .applied(tiers.expected(), context);
    let price = applied.price;
    let caches = price.cached_input < price.input;
    let cap = input.call.max_output_tokens.or(model.max_output_tokens);
    let output = input
        .features
        .output_tokens_estimate
        .min(cap.unwrap_or(u64::MAX))
        .saturating_mul(u64::from(input.call.choices.max(1)));
    let request = |warm: u64| {
        let mut tokens = Tokens {
            cached_input: warm,
            output,
            ..Tokens::default()
        };
        let fresh = context - warm;
        match (caches, for_an_hour) {
            (true, true) => tokens.cache_write_1h = fresh,
            (true, false) => tokens.cache_write = fresh,
            (false, _) => tokens.input = fresh,
        }
        price.bill(&tokens, input.call.images())
    };
    let (first, next) = if caches {
        (request(warm.min(context)), request(context))
    } else {
        (request(0), request(0))
    };
    first + next.saturating_mul(steps.saturating_sub(1).into())
}

/// Requests that the turn is expected to take from this one on: this one, and as many calls of tools as
/// the conversation's turns of the user have led to so far.
fn expected_steps(call: &Call) -> u32 {
    let (mut asked, mut called) = (0_u32, 0_u32);
    let mut previous = None;
    for turn in call.turns.iter().rev().take(LAST_TURNS) {
        asked += u32::from(turn.role == Role::User);
        // Results of parallel calls are one step.
        called += u32::from(turn.role == Role::Tool && previous != Some(Role::Tool));
        previous = Some(turn.role);
    }
    (1 + called / asked.max(1)).min(MOST_STEPS)
}
