//! The plan itself: feasible candidates in the policy's order, then the ladder below them, and the
//! reason in one word.

use std::fmt::Write;

use rand::Rng;

use crate::config::snapshot::SelectParams;
use crate::error::{ErrorKind, ProxyError};
use crate::runtime::OnExhausted;
use crate::types::{
    Call, Candidate, Endpoint, Excluded, Exclusion, ModelId, PicoUsd, Plan, Reason, Tier, Verdict,
};

use super::feasible::{Costs, costs_at, exclusion, in_region, is_about_money, provider_on};
use super::rank::{Entrant, Ranking, expected_scores, rank};
use super::resolve::virtual_model;
use super::{Asked, PlanInput, explain, staying};

/// Plans a request. Never fails: where nothing is feasible the plan is empty and says why
/// ([`refusal`] turns that into the client's error).
pub fn plan(input: &PlanInput<'_>, rng: &mut dyn Rng) -> Plan {
    match input.asked {
        Asked::Pinned { index } => pinned(input, *index),
        Asked::Routed { .. } => routed(input, rng),
    }
}

/// A model of the cell that was left out, with where it stood.
struct LeftOut {
    position: usize,
    excluded: Excluded,
}

fn routed(input: &PlanInput<'_>, rng: &mut dyn Rng) -> Plan {
    let cell = cell_models(input);
    let select = virtual_model(input.snapshot, input.asked)
        .map_or(&input.snapshot.select, |virtual_model| {
            &virtual_model.select
        });
    let (entrants, mut left_out) = split(input, &cell);
    let mut ranking = rank(input, select, entrants, rng);
    if input.view.purse().under_floor {
        keep_cheapest(input, &mut ranking, &mut left_out);
    }
    let weighing = staying::weigh(input, select, &cell, &mut ranking);
    let reason = match weighing.as_ref().map(|weighing| weighing.verdict) {
        Some(Verdict::Stays | Verdict::Chain) => Reason::Session,
        _ => reason(&ranking, &left_out),
    };
    let top = ranking
        .order
        .first()
        .map(|first| first.index)
        .or(cell.first().copied());
    let own = ranking.order.len();
    let mut candidates = to_candidates(input, ranking.order);
    if let Some(top) = top
        && may_descend(input, own, &left_out)
    {
        let cost_cap = candidates.first().map(|first| first.estimated_cost);
        let below = ladder(input, select, top, &cell, cost_cap);
        candidates.extend(below);
    }
    let excluded: Vec<Excluded> = left_out.into_iter().map(|left| left.excluded).collect();
    Plan {
        row: input.row.clone(),
        level: input.level.clone(),
        would_serve: would_serve(input, &candidates, &excluded),
        candidates,
        excluded,
        reason,
        propensity: ranking.propensity,
        own,
        weighing,
    }
}

/// The models that the cell (or the virtual model) names, without repetitions.
///
/// Embeddings of different models cannot be compared, so a routed embedding goes to one model: the
/// virtual model's own, else the first of the file that embeds and that the key may use, with only its
/// equivalents behind it.
fn cell_models(input: &PlanInput<'_>) -> Vec<usize> {
    let snapshot = input.snapshot;
    let own = virtual_model(snapshot, input.asked).and_then(|found| found.models.as_deref());
    let listed: Vec<usize> = if let Some(own) = own {
        own.to_vec()
    } else if input.call.endpoint == Endpoint::Embeddings {
        let embeds = |index: &usize| {
            let model = &snapshot.models[*index];
            model.embeddings && input.caller.allow.allows(&model.id)
        };
        let first = (0..snapshot.models.len()).find(embeds);
        first.map_or_else(Vec::new, |first| {
            let mut models = vec![first];
            models.extend(&snapshot.models[first].equivalents);
            models
        })
    } else {
        let matrix = &snapshot.matrix;
        let row = matrix.rows.get(input.row).unwrap_or(&matrix.default);
        row.cells.get(input.level).cloned().unwrap_or_default()
    };
    let mut models: Vec<usize> = Vec::with_capacity(listed.len());
    for index in listed {
        if index < snapshot.models.len() && !models.contains(&index) {
            models.push(index);
        }
    }
    models
}

fn split(input: &PlanInput<'_>, cell: &[usize]) -> (Vec<Entrant>, Vec<LeftOut>) {
    let mut entrants = Vec::with_capacity(cell.len());
    let mut left_out = Vec::new();
    for (position, &index) in cell.iter().enumerate() {
        let costs = costs_at(input, &input.snapshot.models[index]);
        match exclusion(input, index, &costs) {
            None => entrants.push(Entrant {
                index,
                position,
                costs,
                score: 0.0,
            }),
            Some(by) => left_out.push(leave_out(input, index, position, &costs, by)),
        }
    }
    (entrants, left_out)
}

fn leave_out(
    input: &PlanInput<'_>,
    index: usize,
    position: usize,
    costs: &Costs,
    by: Exclusion,
) -> LeftOut {
    LeftOut {
        position,
        excluded: Excluded {
            model: input.snapshot.models[index].id.clone(),
            estimated_cost: costs.estimated,
            by,
        },
    }
}

/// Under a budget's floor everything but the cheapest adequate model is left out.
fn keep_cheapest(input: &PlanInput<'_>, ranking: &mut Ranking, left_out: &mut Vec<LeftOut>) {
    for dearer in ranking.order.drain(ranking.order.len().min(1)..) {
        left_out.push(leave_out(
            input,
            dearer.index,
            dearer.position,
            &dearer.costs,
            Exclusion::BudgetShade,
        ));
    }
}

/// Models of the file that can do what the request needs, where nothing else keeps its candidates from
/// serving it: for a client who asks what would.
fn would_serve(
    input: &PlanInput<'_>,
    candidates: &[Candidate],
    excluded: &[Excluded],
) -> Vec<ModelId> {
    let unable = |left: &Excluded| {
        matches!(
            left.by,
            Exclusion::Capability { .. } | Exclusion::Context { .. } | Exclusion::Endpoint
        )
    };
    if !candidates.is_empty() || !excluded.iter().any(unable) {
        return Vec::new();
    }
    let models = input.snapshot.models.iter().enumerate();
    let able = models.filter(|(index, model)| {
        let costs = costs_at(input, model);
        exclusion(input, *index, &costs).is_none()
    });
    able.map(|(_, model)| model.id.clone())
        .take(MOST_NAMED)
        .collect()
}

/// Models named in an error.
const MOST_NAMED: usize = 16;

/// Why the first is first: what kept a more preferred model out counts before what the policy did.
fn reason(ranking: &Ranking, left_out: &[LeftOut]) -> Reason {
    if ranking.explored {
        return Reason::Explore;
    }
    if ranking.shaded {
        return Reason::Budget;
    }
    let chosen = ranking
        .order
        .first()
        .map_or(usize::MAX, |first| first.position);
    let preferred = left_out
        .iter()
        .filter(|left| left.position < chosen)
        .min_by_key(|left| left.position);
    match preferred.map(|left| &left.excluded.by) {
        Some(by) if is_about_money(by) => Reason::Budget,
        Some(Exclusion::Tier) => Reason::Tier,
        Some(Exclusion::BreakerOpen | Exclusion::RateLimited) => Reason::Fallback,
        _ if ranking.order.is_empty() => Reason::Fallback,
        _ => Reason::Matrix,
    }
}

/// The ladder is for failures and for cells that others closed; a budget that says `block` and is
/// spent is an answer, not a failure.
fn may_descend(input: &PlanInput<'_>, own: usize, left_out: &[LeftOut]) -> bool {
    let generates = input.call.endpoint.generates();
    let blocked = own == 0
        && input.view.purse().exhausted == Some(OnExhausted::Block)
        && left_out
            .iter()
            .any(|left| is_about_money(&left.excluded.by));
    generates && !blocked
}

/// Feasible models of the rungs below the first candidate, rung by rung, best expected score first.
fn ladder(
    input: &PlanInput<'_>,
    select: &SelectParams,
    top: usize,
    cell: &[usize],
    cost_cap: Option<PicoUsd>,
) -> Vec<Candidate> {
    let models = &input.snapshot.models;
    let purse = input.view.purse();
    let short_of_money = purse.under_floor || purse.exhausted.is_some();
    let cost_cap = cost_cap.filter(|_| short_of_money);
    let mut below = Vec::new();
    let mut done: Vec<Tier> = Vec::new();
    for &rung in &input.snapshot.resilience.fallback.ladder {
        if rung >= models[top].tier || done.contains(&rung) {
            continue;
        }
        done.push(rung);
        let mut entrants: Vec<Entrant> = (0..models.len())
            .filter(|index| models[*index].tier == rung && !cell.contains(index))
            .filter_map(|index| {
                let costs = costs_at(input, &models[index]);
                let fits = cost_cap.is_none_or(|cap| costs.estimated <= cap);
                (fits && exclusion(input, index, &costs).is_none()).then_some(Entrant {
                    index,
                    position: index,
                    costs,
                    score: 0.0,
                })
            })
            .collect();
        let scores = expected_scores(input, select, &entrants);
        for (entrant, score) in entrants.iter_mut().zip(scores) {
            entrant.score = score;
        }
        entrants.sort_by(|a, b| b.score.total_cmp(&a.score));
        below.extend(to_candidates(input, entrants));
    }
    below
}

fn to_candidates(input: &PlanInput<'_>, entrants: Vec<Entrant>) -> Vec<Candidate> {
    entrants
        .into_iter()
        .map(|entrant| candidate(input, entrant.index, &entrant.costs, entrant.score))
        .collect()
}

fn candidate(input: &PlanInput<'_>, index: usize, costs: &Costs, score: f64) -> Candidate {
    Candidate {
        index,
        model: input.snapshot.models[index].id.clone(),
        score,
        estimated_cost: costs.estimated,
        worst_case: costs.worst_case,
    }
}

/// The model that was named, then its equivalents. What it supports and holds is the client's own
/// affair; its equivalents are held to the same standard as any candidate.
fn pinned(input: &PlanInput<'_>, index: usize) -> Plan {
    let model = &input.snapshot.models[index];
    let mut candidates = Vec::new();
    let mut excluded = Vec::new();
    let chain = std::iter::once(&index).chain(&model.equivalents);
    let mut seen: Vec<&ModelId> = Vec::new();
    for &at in chain {
        let model = &input.snapshot.models[at];
        if seen.contains(&&model.id) {
            continue;
        }
        seen.push(&model.id);
        let costs = costs_at(input, model);
        let by = downgrade_refuses(input, at).or_else(|| {
            if at == index {
                pinned_exclusion(input, at, &costs)
            } else {
                exclusion(input, at, &costs)
            }
        });
        match by {
            None => candidates.push(candidate(input, at, &costs, 1.0)),
            Some(by) => excluded.push(leave_out(input, at, 0, &costs, by).excluded),
        }
    }
    let itself = candidates.first().is_none_or(|first| first.index == index);
    Plan {
        weighing: None,
        would_serve: would_serve(input, &candidates, &excluded),
        row: input.row.clone(),
        level: input.level.clone(),
        own: candidates.len(),
        candidates,
        excluded,
        reason: if itself {
            Reason::Pinned
        } else {
            Reason::Fallback
        },
        propensity: 1.0,
    }
}

/// A pinned model is never replaced: where a spent budget asks for a cheaper one, it is refused.
fn downgrade_refuses(input: &PlanInput<'_>, index: usize) -> Option<Exclusion> {
    let free = input.snapshot.models[index].price.is_free();
    let downgrade = input.view.purse().exhausted == Some(OnExhausted::Downgrade);
    (downgrade && !free).then_some(Exclusion::BudgetShade)
}

/// What can keep a pinned model from being tried: not what it supports nor how long the prompt is.
fn pinned_exclusion(input: &PlanInput<'_>, index: usize, costs: &Costs) -> Option<Exclusion> {
    let model = &input.snapshot.models[index];
    if !in_region(&input.caller.regions, model) {
        return Some(Exclusion::Region);
    }
    if !provider_on(&input.snapshot.providers, model) {
        return Some(Exclusion::ProviderOff);
    }
    match exclusion(input, index, costs) {
        Some(Exclusion::Capability { .. } | Exclusion::Context { .. }) => {
            super::feasible::passing_exclusion(input, index, costs)
        }
        other => other,
    }
}

/// The client's error for an empty plan: what came closest to being feasible decides.
#[must_use]
pub fn refusal(plan: &Plan, call: &Call) -> ProxyError {
    let any = |test: fn(&Exclusion) -> bool| plan.excluded.iter().any(|left| test(&left.by));
    if any(is_about_money) {
        let cap = if call.directives.max_cost.is_some() {
            "the budgets or x-tollgate-max-cost-usd cannot pay for any candidate"
        } else {
            "the budget cannot pay for any candidate"
        };
        return ProxyError::new(ErrorKind::BudgetExceeded, explained(cap, plan));
    }
    if any(|by| matches!(by, Exclusion::Unpriced)) {
        let text = "no price is known for this service tier";
        return ProxyError::invalid("service_tier", explained(text, plan));
    }
    if any(|by| matches!(by, Exclusion::RateLimited)) {
        let text = "every candidate is at its rate limit";
        return ProxyError::new(ErrorKind::RateLimitExceeded, explained(text, plan));
    }
    if any(|by| matches!(by, Exclusion::BreakerOpen | Exclusion::ProviderOff)) {
        let text = "no candidate can be reached at the moment";
        return ProxyError::new(ErrorKind::NoCandidateAvailable, explained(text, plan));
    }
    if any(|by| {
        matches!(
            by,
            Exclusion::Context { .. } | Exclusion::Capability { .. } | Exclusion::Endpoint
        )
    }) {
        let text = "no candidate can serve this request";
        let mut text = explained(text, plan);
        for (at, model) in plan.would_serve.iter().enumerate() {
            text.push_str(if at == 0 { "; these would: " } else { ", " });
            // Writing to a `String` cannot fail.
            let _ = write!(text, "`{model}`");
        }
        return ProxyError::invalid("model", text);
    }
    if any(|by| {
        matches!(
            by,
            Exclusion::Tier | Exclusion::NotAllowed | Exclusion::Region
        )
    }) {
        let text = "this key may use no candidate";
        return ProxyError::new(ErrorKind::ModelNotAllowed, explained(text, plan));
    }
    ProxyError::new(
        ErrorKind::NoCandidateAvailable,
        format!("no model is configured for {}/{}", plan.row, plan.level),
    )
}

fn explained(text: &str, plan: &Plan) -> String {
    let mut out = text.to_owned();
    for (at, left) in plan.excluded.iter().enumerate() {
        out.push_str(if at == 0 { ": " } else { ", " });
        // Writing to a `String` cannot fail.
        let _ = match explain::detail(&left.by) {
            Some(detail) => write!(out, "`{}` ({}: {detail})", left.model, left.by.as_str()),
            None => write!(out, "`{}` ({})", left.model, left.by.as_str()),
        };
    }
    out
}
