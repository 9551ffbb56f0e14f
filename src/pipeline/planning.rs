//! The runtime as the policy sees it, the plan, and its decision record.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::classify::{self, Cell};
use crate::config::Snapshot;
use crate::error::{ErrorKind, ProxyError};
use crate::gateway::{Active, Gateway};
use crate::limits::{self, Obstacle};
use crate::policy::{self, Asked, PlanInput, Purse, RuntimeView, Staying, explain as explaining};
use crate::runtime::budgets::{Affordance, Payer};
use crate::runtime::{ArmKey, ArmStats, LinearStats, SessionAnswer};
use crate::types::{
    AttemptRecord, Call, Caller, Conversation, Directives, Endpoint, Exclusion, Features, ModelId,
    PicoUsd, Plan, RequestId, RequestRecord, TaskName, UsageSource,
};
use crate::wire;

use super::stakes::Stakes;

/// The runtime at one moment, for one caller.
struct View<'a> {
    gw: &'a Gateway,
    active: &'a Active,
    caller: &'a Caller,
    stakes: Stakes<'a>,
    session: Option<&'a Staying>,
    end_user: Option<Arc<str>>,
    affordance: Affordance,
    now: Instant,
    now_ms: i64,
}

impl<'a> View<'a> {
    fn new(
        gw: &'a Gateway,
        active: &'a Active,
        stakes: Stakes<'a>,
        session: Option<&'a Staying>,
    ) -> Self {
        let (caller, call) = (stakes.caller, stakes.call);
        let end_user = call.end_user.as_deref();
        let affordance = gw.budgets.affordance(caller, end_user);
        Self {
            gw,
            active,
            caller,
            stakes,
            session,
            end_user: end_user.map(Arc::from),
            affordance,
            now: Instant::now(),
            now_ms: gw.clock.unix_ms(),
        }
    }

    fn payer(&self, model: usize) -> Payer {
        let snapshot = &self.active.snapshot;
        let model = &snapshot.models[model];
        Payer {
            team: self.caller.team.clone(),
            app: self.caller.app.clone(),
            key: self.caller.key.clone(),
            model: model.id.clone(),
            provider: snapshot.providers[model.provider].id.clone(),
            end_user: self.end_user.clone(),
        }
    }
}

impl RuntimeView for View<'_> {
    fn breaker_open(&self, model: usize) -> bool {
        self.active.bound[model]
            .iter()
            .all(|state| state.breaker.would_pass(self.now).is_err())
    }

    fn rate_limited(&self, model: usize) -> bool {
        let snapshot = &self.active.snapshot;
        let model = &snapshot.models[model];
        !limits::would_admit(
            &self.gw.limiters,
            model,
            &snapshot.providers[model.provider],
        )
    }

    fn latency(&self, model: usize, output_tokens: u64) -> Option<Duration> {
        self.gw.latencies.expected(
            &self.active.snapshot.models[model].id,
            output_tokens,
            self.now_ms,
        )
    }

    fn arm(&self, key: &ArmKey, quality: f64) -> ArmStats {
        self.gw.arms.stats(
            key,
            quality,
            &self.active.snapshot.select.learn,
            self.now_ms,
        )
    }

    fn linear(&self, model: &ModelId) -> LinearStats {
        self.gw
            .arms
            .linear(model, &self.active.snapshot.select.learn, self.now_ms)
    }

    fn purse(&self) -> Purse {
        Purse {
            shadow_price: self.affordance.shadow_price,
            under_floor: self.affordance.floor,
            exhausted: self.affordance.exhausted,
        }
    }

    fn affords(&self, model: usize, worst_case: PicoUsd) -> bool {
        // Nothing to pay always fits; and without any budget there is nothing to ask.
        if !worst_case.is_positive() || self.active.snapshot.budgets.is_empty() {
            return true;
        }
        let amounts = self
            .stakes
            .amounts(&self.active.snapshot.models[model], worst_case);
        self.gw.budgets.affords(&self.payer(model), amounts)
    }

    fn session(&self) -> Option<Staying> {
        self.session.cloned()
    }
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// What is asked.
    pub call: &'a Call,
    /// What the classifier found.
    pub features: &'a Features,
    /// The cell of the matrix.
    pub cell: &'a Cell,
    /// The model that is asked for.
    pub asked: &'a Asked,
    /// The model that the conversation is with.
    pub session: Option<&'a Staying>,
}

/// Asks the policy; the same question, runtime and generator give the same plan.
pub(super) fn decide(
    gw: &Gateway,
    active: &Active,
    question: &Question<'_>,
    rng: &mut StdRng,
) -> Plan {
    let task = classify::task_of(question.call, question.features);
    let view = View::new(
        gw,
        active,
        question.stakes(gw, active, &task),
        question.session,
    );
    policy::plan(&question.input(active, &view), rng)
}

impl<'a> Question<'a> {
    fn stakes(&self, gw: &'a Gateway, active: &'a Active, task: &'a TaskName) -> Stakes<'a> {
        Stakes {
            gw,
            snapshot: &active.snapshot,
            caller: self.caller,
            call: self.call,
            features: self.features,
            task,
            level: &self.cell.level,
        }
    }

    fn input(&self, active: &'a Active, view: &'a View<'a>) -> PlanInput<'a> {
        PlanInput {
            snapshot: &active.snapshot,
            view,
            caller: self.caller,
            call: self.call,
            features: self.features,
            asked: self.asked,
            row: &self.cell.row,
            level: &self.cell.level,
            at_ms: view.now_ms,
        }
    }
}

/// Writes the decision into the record and counts the choice.
pub(super) fn record(gw: &Gateway, record: &mut RequestRecord, plan: &Plan) {
    record.reason = Some(plan.reason);
    record.propensity = Some(plan.propensity);
    let decision = explaining::decision(plan, record.trace_id.as_deref());
    record.decision = serde_json::value::to_raw_value(&decision).ok();
    record.row = Some(plan.row.clone());
    if let Some(first) = plan.candidates.first() {
        gw.metrics.chose(
            record.task.as_str(),
            record.level.as_str(),
            first.model.as_str(),
            plan.reason.as_str(),
        );
    }
}

/// Fails when nothing can be tried, with the reason that says most. Where only money in flight is
/// in the way, it says so, so that the client knows when to come again.
///
/// # Errors
/// 400, 403, 429 or 503, by what excluded the candidates.
pub(super) fn ensure_candidates(
    gw: &Gateway,
    active: &Active,
    question: &Question<'_>,
    plan: &Plan,
) -> Result<(), ProxyError> {
    if !plan.candidates.is_empty() {
        return Ok(());
    }
    let snapshot = &active.snapshot;
    let unaffordable = plan
        .excluded
        .iter()
        .find(|left| left.by == Exclusion::Unaffordable);
    if let Some(model) = unaffordable.and_then(|left| snapshot.model(left.model.as_str())) {
        let task = classify::task_of(question.call, question.features);
        let at_ms = gw.clock.unix_ms();
        let worst_case = policy::costs(question.call, question.features, model, at_ms).worst_case;
        let request = limits::AttemptRequest {
            caller: question.caller,
            model,
            provider: &snapshot.providers[model.provider],
            tokens: 0,
            money: question
                .stakes(gw, active, &task)
                .amounts(model, worst_case),
            end_user: question.call.end_user.as_deref(),
        };
        if let Some(error) = limits::why_unaffordable(&gw.budgets, &request) {
            return Err(error);
        }
    }
    let error = policy::refusal(plan, question.call);
    let passes = matches!(
        error.kind,
        ErrorKind::NoCandidateAvailable | ErrorKind::RateLimitExceeded
    );
    let soonest = obstacles(gw, active, plan).filter_map(|it| it.wait).min();
    match soonest.filter(|_| passes) {
        Some(wait) => Err(error.with_retry_after(wait)),
        None => Err(error),
    }
}

/// True when upstreams that fail, or that do not want to be asked, are among the reasons why nothing
/// can be tried: then an old answer is better than none.
pub(super) fn upstreams_are_down(gw: &Gateway, active: &Active, plan: &Plan) -> bool {
    obstacles(gw, active, plan).any(|it| it.by_upstream)
}

/// What keeps the excluded models from being tried and will pass.
fn obstacles<'a>(
    gw: &'a Gateway,
    active: &'a Active,
    plan: &'a Plan,
) -> impl Iterator<Item = Obstacle> + 'a {
    let snapshot = &active.snapshot;
    let now = Instant::now();
    plan.excluded.iter().filter_map(move |left| {
        let index = *snapshot.model_index.get(&left.model)?;
        let model = &snapshot.models[index];
        match left.by {
            Exclusion::BreakerOpen => {
                let states = active.bound[index].iter();
                let until = states
                    .filter_map(|state| state.breaker.would_pass(now).err())
                    .min();
                Some(Obstacle {
                    wait: until.map(|until| until.saturating_duration_since(now)),
                    by_upstream: true,
                })
            }
            Exclusion::RateLimited => {
                limits::obstacle(&gw.limiters, model, &snapshot.providers[model.provider])
            }
            _ => None,
        }
    })
}

/// Finds the request's conversation: what it is known by goes into its record, who answered before into
/// the call.
pub(super) fn converse(
    gw: &Gateway,
    snapshot: &Snapshot,
    caller: &Caller,
    call: &mut Call,
    input_tokens: u64,
) -> (Option<Box<Conversation>>, Option<Staying>) {
    let conversation = gw.sessions.conversation(&caller.team, call, input_tokens);
    if conversation.keys.is_empty() && conversation.hint.is_none() {
        return (None, None);
    }
    let own = gw.sessions.of(&conversation);
    let is_maker = own.is_some();
    let session = own.or_else(|| gw.sessions.sharing(&conversation));
    let staying = session.and_then(|session| {
        let model = snapshot.model(session.model.as_str())?;
        if is_maker {
            let claude = model.upstream_model.contains("claude");
            call.maker = Some(session.maker(claude));
        }
        let provider = &snapshot.providers[model.provider];
        let now_ms = gw.clock.unix_ms();
        Some(Staying {
            warm_tokens: session.warm_tokens(provider.prompt_cache, now_ms),
            for_an_hour: session.for_an_hour,
            model: session.model,
            is_maker,
            asked_for: call.directives.session.is_some(),
        })
    });
    (Some(Box::new(conversation)), staying)
}

/// Notes on who answered in a conversation, and how much of it is in the provider's prompt cache now.
pub(super) fn keep_session(gw: &Gateway, record: &RequestRecord) {
    let Some(conversation) = &record.conversation else {
        return;
    };
    let began = |attempt: &&AttemptRecord| attempt.status == Some(http::StatusCode::OK.as_u16());
    let Some(attempt) = record.attempts.iter().rfind(began) else {
        return;
    };
    let reported = attempt.usage == UsageSource::Reported;
    let answer = SessionAnswer {
        model: attempt.model.clone(),
        provider: attempt.provider.clone(),
        tokens: reported.then_some(attempt.tokens),
        at_ms: gw.clock.unix_ms(),
    };
    gw.sessions.keep(conversation, &answer);
}

/// Explains a chat request without calling an upstream: the answer of `POST /v1/route`.
///
/// # Errors
/// As for the request itself, up to the plan.
pub fn explain(
    gw: &Gateway,
    active: &Active,
    caller: &Caller,
    body: Bytes,
    directives: Directives,
) -> Result<Value, ProxyError> {
    let mut call = wire::decode(Endpoint::ChatCompletions, body, directives)?;
    let asked = policy::resolve(&active.snapshot, caller, &call)?;
    let features = active.classifier.classify(&call);
    let snapshot = &active.snapshot;
    let (_, session) = converse(gw, snapshot, caller, &mut call, features.input_tokens);
    let cell = classify::cell_of(&active.snapshot, &call, &features)?;
    let question = Question {
        caller,
        call: &call,
        features: &features,
        cell: &cell,
        asked: &asked,
        session: session.as_ref(),
    };
    let mut rng = StdRng::seed_from_u64(gw.seed);
    let plan = decide(gw, active, &question, &mut rng);
    Ok(explaining::explain(&explaining::Explained {
        task: classify::task_of(&call, &features),
        features: &features,
        plan: &plan,
        config_version: &active.snapshot.version,
    }))
}

/// The seed of one request's random choices: the process's seed and the request's id, so that a
/// decision can be made again bit for bit.
pub(super) fn seed_of(seed: u64, request_id: &RequestId) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(request_id.as_str().as_bytes());
    let digest = hash.finalize();
    u64::from_le_bytes(digest[..8].try_into().unwrap_or_default())
}
