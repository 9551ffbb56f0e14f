//! Runs a plan: candidate after candidate, each under its breaker, with retries that a budget pays
//! for, until one answers, the time is up, or nobody is left.
//!
//! Works only before the commit point: nothing of an attempt that fails here has reached the client.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::config::snapshot::{ErrorRule, ErrorRules, Model, ResilienceParams, Snapshot};
use crate::error::ProxyError;
use crate::runtime::breaker::{Breaker, BreakerPass};
use crate::runtime::deployments::DeploymentState;
use crate::runtime::retry_budget::{RetryBudget, backoff};
use crate::telemetry::Metrics;
use crate::types::{AttemptFailure, Candidate, Next, Outcome, Plan};

/// The deployments' states, by the model's index in the snapshot.
pub type Bound = [Box<[Arc<DeploymentState>]>];

/// One try as the executor hands it out.
#[derive(Debug)]
pub struct Try<'a> {
    /// Which candidate of the plan.
    pub candidate: &'a Candidate,
    /// Index of the deployment within the model.
    pub deployment: usize,
    /// Its state.
    pub state: &'a Arc<DeploymentState>,
    /// The breaker's permission; must get a verdict.
    pub pass: BreakerPass,
    /// When the whole request must have its answer's beginning.
    pub deadline: Instant,
}

/// Why a try was not answered.
#[derive(Debug)]
pub enum TryError {
    /// The upstream failed.
    Failed(AttemptFailure),
    /// Our own limits or budgets refused it: nothing was sent.
    Refused(ProxyError),
}

/// What makes the attempts: reserves, sends, records.
pub trait Attempts {
    /// What an answered attempt gives.
    type Reply;

    /// Makes one attempt.
    ///
    /// # Cancel safety
    /// May be dropped at any await; reservations and records are settled by their guards.
    fn attempt(
        &mut self,
        attempt: Try<'_>,
    ) -> impl Future<Output = Result<Self::Reply, TryError>> + Send;
}

/// Nothing answered.
#[derive(Debug, Default)]
pub struct Spent {
    /// The failure that says most: the last one that an upstream gave.
    pub failure: Option<AttemptFailure>,
    /// The last refusal by our own limits or budgets.
    pub refusal: Option<ProxyError>,
    /// The soonest time at which an open breaker will let a probe through.
    pub reopens: Option<Instant>,
    /// True when the total time-out ended it.
    pub out_of_time: bool,
}

impl Spent {
    /// Keeps the failure that says most: what an upstream said, over that a request could not be put
    /// into another's dialect.
    fn note(&mut self, failure: AttemptFailure) {
        let is_unsent_refusal = !failure.sent && failure.outcome == Outcome::Invalid;
        if self.failure.is_none() || !is_unsent_refusal {
            self.failure = Some(failure);
        }
    }
}

/// What the executor needs beside the plan.
#[derive(Debug)]
pub struct Execution<'a> {
    /// The configuration in force.
    pub snapshot: &'a Snapshot,
    /// The deployments' states.
    pub bound: &'a Bound,
    /// Where the caller's requests may be served; empty: anywhere.
    pub regions: &'a [Box<str>],
    /// The retry budget of the process.
    pub retry_budget: &'a RetryBudget,
    /// Where retries and fallbacks are counted.
    pub metrics: &'a Metrics,
    /// When to give up.
    pub deadline: Instant,
}

/// Tries the plan's candidates in order.
///
/// # Errors
/// [`Spent`] when no candidate answered, or when an error says that none will.
///
/// # Cancel safety
/// Dropping the future abandons the attempt in flight, whose guards settle it.
pub async fn execute<A: Attempts>(
    plan: &Plan,
    execution: &Execution<'_>,
    rng: &mut StdRng,
    attempts: &mut A,
) -> Result<A::Reply, Spent> {
    let mut spent = Spent::default();
    execution
        .retry_budget
        .deposit(Instant::now(), &execution.snapshot.resilience.retry);
    let mut context_above = None;
    let mut previous: Option<(&Candidate, &'static str)> = None;
    for (position, candidate) in plan.candidates.iter().enumerate() {
        let model = &execution.snapshot.models[candidate.index];
        if too_small(model, context_above) {
            continue;
        }
        if let Some((from, why)) = previous {
            execution
                .metrics
                .fell_back(from.model.as_str(), candidate.model.as_str(), why);
        }
        let others_left = position + 1 < plan.candidates.len();
        let mut run = CandidateRun {
            execution,
            candidate,
            model,
            others_left,
            tries: 0,
            tried: smallvec::SmallVec::new(),
        };
        match run.go(rng, attempts, &mut spent).await {
            Step::Answered(reply) => return Ok(reply),
            Step::Next(why) => previous = Some((candidate, why)),
            Step::Skipped => {}
            Step::LargerContext => {
                context_above = model.context_tokens;
                previous = Some((candidate, Outcome::ContextLength.as_str()));
            }
            Step::Stop => break,
        }
    }
    Err(spent)
}

fn too_small(model: &Model, context_above: Option<u64>) -> bool {
    match (model.context_tokens, context_above) {
        (Some(context), Some(above)) => context <= above,
        _ => false,
    }
}

/// What follows after one candidate.
enum Step<R> {
    Answered(R),
    Next(&'static str),
    Skipped,
    LargerContext,
    Stop,
}

/// The tries on one candidate.
struct CandidateRun<'a> {
    execution: &'a Execution<'a>,
    candidate: &'a Candidate,
    model: &'a Model,
    others_left: bool,
    tries: u32,
    /// The deployments that were tried already: another one may do better.
    tried: smallvec::SmallVec<[usize; 4]>,
}

impl CandidateRun<'_> {
    async fn go<A: Attempts>(
        &mut self,
        rng: &mut StdRng,
        attempts: &mut A,
        spent: &mut Spent,
    ) -> Step<A::Reply> {
        let deadline = self.execution.deadline;
        loop {
            if Instant::now() >= deadline {
                spent.out_of_time = true;
                return Step::Stop;
            }
            let Some((deployment, pass)) = self.pick(rng, spent) else {
                return if self.tries == 0 {
                    Step::Skipped
                } else {
                    Step::Next("breaker_open")
                };
            };
            self.tries += 1;
            self.tried.push(deployment);
            let state = &self.execution.bound[self.candidate.index][deployment];
            let attempt = Try {
                candidate: self.candidate,
                deployment,
                state,
                pass,
                deadline,
            };
            match attempts.attempt(attempt).await {
                Ok(reply) => return Step::Answered(reply),
                Err(TryError::Refused(error)) => {
                    spent.refusal = Some(error);
                    return Step::Skipped;
                }
                Err(TryError::Failed(failure)) => {
                    let step = self.after(&failure, rng);
                    let why = failure.outcome.as_str();
                    spent.note(failure);
                    match step {
                        After::RetryIn(pause) => {
                            self.execution
                                .metrics
                                .retried(self.candidate.model.as_str());
                            if !pause.is_zero() {
                                tokio::time::sleep(pause).await;
                            }
                        }
                        After::Next => return Step::Next(why),
                        After::LargerContext => return Step::LargerContext,
                        After::Stop => return Step::Stop,
                    }
                }
            }
        }
    }

    /// A deployment whose provider has its key and that stands where the caller's requests may go.
    fn may_use(&self, index: usize) -> bool {
        let deployment = &self.model.deployments[index];
        let regions = self.execution.regions;
        let region = deployment.region.as_ref().or(self.model.region.as_ref());
        deployment.enabled
            && (regions.is_empty() || region.is_some_and(|region| regions.contains(region)))
    }

    /// A deployment whose breaker lets us pass: one that was not tried yet if there is one, of those
    /// the one with the fewest outstanding attempts for its weight.
    fn pick(&self, rng: &mut StdRng, spent: &mut Spent) -> Option<(usize, BreakerPass)> {
        let states = &self.execution.bound[self.candidate.index];
        let params = &self.execution.snapshot.resilience.breaker;
        let load = |index: usize| {
            let weight = self.model.deployments[index].weight.max(1);
            f64::from(states[index].outstanding() + 1) / f64::from(weight)
        };
        let mut order: smallvec::SmallVec<[usize; 4]> = (0..states.len())
            .filter(|&index| self.may_use(index))
            .collect();
        // A random rotation first, so that ties do not all fall on the first deployment.
        if order.len() > 1 {
            let by = rng.random_range(0..order.len());
            order.rotate_left(by);
            let tried = |index: usize| self.tried.iter().filter(|&&it| it == index).count();
            order.sort_by(|&a, &b| {
                let by_load = load(a).total_cmp(&load(b));
                tried(a).cmp(&tried(b)).then(by_load)
            });
        }
        for index in order {
            let breaker: &Arc<Breaker> = &states[index].breaker;
            match breaker.try_pass(Instant::now(), params, rng.random()) {
                Ok(pass) => return Some((index, pass)),
                Err(until) => {
                    spent.reopens = Some(spent.reopens.map_or(until, |soonest| soonest.min(until)));
                }
            }
        }
        None
    }

    fn after(&self, failure: &AttemptFailure, rng: &mut StdRng) -> After {
        let resilience = &self.execution.snapshot.resilience;
        match error_rule(failure.outcome, resilience.fallback.on_error) {
            Some(ErrorRule::Stop) => return After::Stop,
            Some(ErrorRule::LargerContext) => return After::LargerContext,
            Some(ErrorRule::Next) if self.others_left => return After::Next,
            Some(ErrorRule::Next) | None => {}
        }
        match failure.next {
            Next::Stop => After::Stop,
            Next::Fallback => After::Next,
            Next::Retry => self.retry(failure, resilience, rng).unwrap_or(After::Next),
        }
    }

    fn retry(
        &self,
        failure: &AttemptFailure,
        resilience: &ResilienceParams,
        rng: &mut StdRng,
    ) -> Option<After> {
        let params = &resilience.retry;
        let wait = failure.retry_after.unwrap_or(Duration::ZERO);
        if self.tries >= params.max_attempts || wait > params.max_retry_after {
            return None;
        }
        let siblings = self.model.deployments.len() > 1;
        let pause = if siblings {
            Duration::ZERO
        } else {
            backoff(self.tries, params, rng.random()).max(wait)
        };
        let in_time = Instant::now() + pause < self.execution.deadline;
        let paid = in_time
            && self
                .execution
                .retry_budget
                .try_withdraw(Instant::now(), params);
        paid.then_some(After::RetryIn(pause))
    }
}

enum After {
    RetryIn(Duration),
    Next,
    LargerContext,
    Stop,
}

const fn error_rule(outcome: Outcome, rules: ErrorRules) -> Option<ErrorRule> {
    match outcome {
        Outcome::ContextLength => Some(rules.context_length),
        Outcome::ContentPolicy => Some(rules.content_policy),
        Outcome::RateLimited => Some(rules.rate_limit),
        Outcome::UpstreamAuth => Some(rules.auth),
        _ => None,
    }
}
