//! What an attempt may cost, for budgets: its worst case, and what it likely stays under where a
//! budget accepts an overrun. And what closed attempts teach about it.

use crate::config::Snapshot;
use crate::config::snapshot::Model;
use crate::gateway::Gateway;
use crate::policy;
use crate::runtime::budgets::Amounts;
use crate::runtime::lengths::{LessonKey, LikelyUse};
use crate::types::{
    AttemptRecord, BillBound, Call, Caller, Features, LevelName, PicoUsd, PossibleTiers,
    RequestRecord, TaskName, Tokens,
};

/// A request whose attempts are to be paid for.
#[derive(Clone, Copy)]
pub(super) struct Stakes<'a> {
    pub gw: &'a Gateway,
    pub snapshot: &'a Snapshot,
    pub caller: &'a Caller,
    pub call: &'a Call,
    pub features: &'a Features,
    pub task: &'a TaskName,
    pub level: &'a LevelName,
}

impl Stakes<'_> {
    /// What an attempt at a model may cost.
    pub(super) fn amounts(&self, model: &Model, worst_case: PicoUsd) -> Amounts {
        let likely = self.snapshot.accepted_risk.and_then(|probability| {
            let key = LessonKey {
                key: self.caller.key.clone(),
                task: self.task.clone(),
                level: self.level.clone(),
                model: model.id.clone(),
            };
            self.gw.lengths.likely(&key, probability)
        });
        let at_ms = self.gw.clock.unix_ms();
        Amounts {
            worst_case,
            likely: likely.map_or(worst_case, |likely| {
                policy::likely_cost(self.call, self.features, model, at_ms, &likely)
            }),
        }
    }
}

/// Learns what the attempts of a closed request used, where some budget asks for it.
pub(super) fn learn(gw: &Gateway, record: &RequestRecord, now_ms: i64) {
    let active = gw.active.load();
    if active.snapshot.accepted_risk.is_none() {
        return;
    }
    let Some(features) = &record.features else {
        return;
    };
    for attempt in &record.attempts {
        // What was not billed says nothing about how long an answer is.
        if attempt.tokens.total() == 0 {
            continue;
        }
        let model = active.snapshot.model(attempt.model.as_str());
        let context = model.and_then(|model| model.context_tokens);
        let input_bound = features.input_tokens_bound.min(context.unwrap_or(u64::MAX));
        let key = LessonKey {
            key: record.key.clone(),
            task: record.task.clone(),
            level: record.level.clone(),
            model: attempt.model.clone(),
        };
        let used = LikelyUse {
            output_tokens: attempt.tokens.all_output(),
            input_share: input_share(attempt, input_bound),
        };
        gw.lengths.observe(&key, used, now_ms);
    }
}

/// What the input of an attempt cost as a share of its bound.
fn input_share(attempt: &AttemptRecord, input_tokens_bound: u64) -> f64 {
    let input_only = Tokens {
        output: 0,
        reasoning: 0,
        ..attempt.tokens
    };
    let at_most = |input_tokens| {
        attempt.price.worst_case(&BillBound {
            input_tokens,
            output_tokens: 0,
            images: 0,
            tiers: PossibleTiers::Any,
            hour_cache: false,
        })
    };
    // What is charged for each request is not input.
    let most = (at_most(input_tokens_bound) - at_most(0)).as_usd_f64();
    if most > 0.0 {
        attempt.price.cost(&input_only).as_usd_f64() / most
    } else {
        0.0
    }
}
