//! One attempt: reserve tokens and money, send, and hand the outcome to the exchange.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::accounting::{AttemptEnd, Exchange, OpenAttempt, Pricing, Verdict};
use crate::config::snapshot::{Deployment, Model, OnDisconnect, Provider, ProviderEndpoint};
use crate::gateway::{Active, Gateway};
use crate::limits;
use crate::resilience::{Attempts, Try, TryError};
use crate::runtime::HttpClient;
use crate::types::{
    AttemptFailure, AttemptRecord, Call, Caller, Features, Next, Outcome, PicoUsd, Price, Tokens,
    Usage, UsageSource,
};
use crate::upstream::{self, Outbound, Reply, WholeReply};

use super::detached::Detached;

use super::stakes::Stakes;

/// Makes the attempts of one request.
pub(super) struct Attempting<'a> {
    pub gw: &'a Arc<Gateway>,
    pub active: &'a Arc<Active>,
    pub caller: &'a Caller,
    pub call: &'a Call,
    pub features: &'a Features,
    pub exchange: &'a mut Exchange,
}

impl Attempts for Attempting<'_> {
    type Reply = Reply;

    async fn attempt(&mut self, attempt: Try<'_>) -> Result<Reply, TryError> {
        let snapshot = &self.active.snapshot;
        let model = &snapshot.models[attempt.candidate.index];
        let deployment = &model.deployments[attempt.deployment];
        let provider = &snapshot.providers[deployment.provider];
        let client = match &provider.endpoint {
            ProviderEndpoint::Simulated(_) => None,
            ProviderEndpoint::Http(endpoint) => {
                let client = self.gw.clients.get(
                    endpoint.ca_file.as_deref(),
                    snapshot.resilience.timeouts.connect,
                );
                Some(client.map_err(|error| {
                    TryError::Failed(AttemptFailure::unsent(
                        Outcome::Internal,
                        Next::Fallback,
                        error.to_string(),
                    ))
                })?)
            }
        };
        let (deadline, place) = (
            attempt.deadline,
            (attempt.candidate.index, attempt.deployment),
        );
        self.reserve(attempt, model, deployment, provider).await?;
        noted(self.gw, self.exchange).await;
        let sent = if provider.billing.on_disconnect == OnDisconnect::Drain {
            self.detached(place, deadline, client)
                .send(self.exchange)
                .await
        } else {
            let outbound = Outbound {
                call: self.call,
                model,
                deployment,
                provider,
                timeouts: &snapshot.resilience.timeouts,
                deadline,
                unix_ms: self.gw.clock.unix_ms(),
                grants: &self.gw.grants,
            };
            upstream::send(outbound, client.as_ref()).await
        };
        match sent {
            Ok(reply) => {
                self.answered(&reply);
                Ok(reply)
            }
            Err(failure) => {
                self.failed(&failure);
                self.learn_limit(&failure, model);
                Err(TryError::Failed(failure))
            }
        }
    }
}

impl Attempting<'_> {
    /// The attempt as something that can outlive this handler.
    fn detached(
        &self,
        (model, deployment): (usize, usize),
        deadline: Instant,
        client: Option<HttpClient>,
    ) -> Detached {
        Detached {
            gw: Arc::clone(self.gw),
            active: Arc::clone(self.active),
            call: self.call.clone(),
            model,
            deployment,
            deadline,
            client,
        }
    }

    /// Reserves what the attempt may use at most and opens it on the exchange.
    async fn reserve(
        &mut self,
        attempt: Try<'_>,
        model: &Model,
        deployment: &Deployment,
        provider: &Provider,
    ) -> Result<(), TryError> {
        let request = limits::AttemptRequest {
            caller: self.caller,
            model,
            provider,
            tokens: self
                .features
                .input_tokens
                .saturating_add(self.expected_output()),
            money: self.stakes().amounts(model, attempt.candidate.worst_case),
            end_user: self.call.end_user.as_deref(),
        };
        let reservation = limits::reserve_attempt_patiently(
            &self.gw.limiters,
            &self.gw.budgets,
            &self.active.snapshot,
            &request,
        )
        .await
        .map_err(|error| {
            super::observing::limited(self.gw, &error);
            TryError::Refused(error)
        })?;
        let started_at_ms = self.gw.clock.unix_ms();
        let number = self.exchange.record.attempts.len();
        let record = blank_attempt(number, started_at_ms, model, deployment, provider);
        self.exchange.begin_attempt(OpenAttempt {
            record,
            started: Instant::now(),
            pricing: Pricing {
                list: Arc::clone(&model.price),
                book: Arc::clone(&self.active.snapshot.price_book),
                provider: deployment.provider,
                model: model.id.clone(),
                upstream_model: deployment.upstream_model.as_str().into(),
                at_ms: started_at_ms,
                images: self.call.images(),
            },
            billing: provider.billing,
            input_tokens: self.features.input_tokens,
            reservation,
            breaker: self.active.snapshot.resilience.breaker,
            outstanding: attempt.state.begin(),
            sent: true,
            output_bytes: 0,
            usage: None,
            pass: attempt.pass,
        });
        Ok(())
    }

    fn stakes(&self) -> Stakes<'_> {
        Stakes {
            gw: self.gw,
            snapshot: &self.active.snapshot,
            caller: self.caller,
            call: self.call,
            features: self.features,
            task: &self.exchange.record.task,
            level: &self.exchange.record.level,
        }
    }

    fn expected_output(&self) -> u64 {
        self.features
            .output_tokens_estimate
            .saturating_mul(u64::from(self.call.choices))
    }

    fn answered(&mut self, reply: &Reply) {
        let whole_latency = self.exchange.started().elapsed();
        let Some(open) = self.exchange.attempt_mut() else {
            return;
        };
        open.record.status = Some(http::StatusCode::OK.as_u16());
        match reply {
            Reply::Stream(_) => {
                let ttft = open.started.elapsed();
                open.record.ttft_us = Some(u64::try_from(ttft.as_micros()).unwrap_or(u64::MAX));
                let since_head = u64::try_from(whole_latency.as_micros()).unwrap_or(u64::MAX);
                self.exchange.record.ttft_us = Some(since_head);
            }
            Reply::Whole(whole) => {
                note_whole(open, whole);
                let latency = open.started.elapsed();
                let outcome = if whole.facts.finish.truncated {
                    Outcome::Truncated
                } else {
                    Outcome::Ok
                };
                let end = AttemptEnd {
                    outcome,
                    estimate: true,
                    verdict: Verdict::Success(latency),
                };
                self.exchange.close_attempt(&end);
            }
        }
    }

    /// A provider that refuses for its own rate limit is left alone for as long as it says.
    fn learn_limit(&self, failure: &AttemptFailure, model: &Model) {
        if failure.outcome == Outcome::RateLimited {
            let longest = self.active.snapshot.resilience.breaker.open_max;
            limits::learn_upstream_limit(&self.gw.limiters, model, failure.retry_after, longest);
        }
    }

    fn failed(&mut self, failure: &AttemptFailure) {
        if let Some(open) = self.exchange.attempt_mut() {
            note_failure(open, failure);
        }
        let estimate = is_estimated(failure)
            && self
                .exchange
                .attempt_mut()
                .is_some_and(|open| open.billing.cuts_estimated());
        self.exchange.close_attempt(&AttemptEnd {
            outcome: failure.outcome,
            estimate,
            verdict: verdict_of(failure.outcome, failure.retry_after),
        });
    }
}

/// Waits until what the open attempt can cost at most is noted; only then may it be sent. Whoever goes away
/// before that has sent nothing.
pub(super) async fn noted(gw: &Gateway, exchange: &mut Exchange) {
    let mut mark = |sent| {
        if let Some(open) = exchange.attempt_mut() {
            open.sent = sent;
        }
    };
    mark(false);
    super::written(gw).await;
    mark(true);
}

/// The record of an attempt that begins; `earlier`: how many there were before it.
pub(super) fn blank_attempt(
    earlier: usize,
    started_at_ms: i64,
    model: &Model,
    deployment: &Deployment,
    provider: &Provider,
) -> AttemptRecord {
    AttemptRecord {
        attempt: u32::try_from(earlier).unwrap_or(u32::MAX).saturating_add(1),
        started_at_ms,
        model: model.id.clone(),
        provider: provider.id.clone(),
        deployment: deployment.id.clone(),
        response_model: None,
        outcome: Outcome::Cancelled,
        status: None,
        tokens: Tokens::default(),
        usage: UsageSource::None,
        cost: PicoUsd::ZERO,
        price: Price::default(),
        images: 0,
        price_version: String::new(),
        price_step_tokens: None,
        service_tier: None,
        substituted: false,
        priced_model: None,
        asked_cost: None,
        latency_us: 0,
        ttft_us: None,
    }
}

/// Takes in what a whole answer says.
pub(super) fn note_whole(open: &mut OpenAttempt, whole: &WholeReply) {
    open.output_bytes = whole.facts.output_bytes;
    let tokens = whole.facts.usage.and_then(|report| report.tokens);
    open.usage = tokens.map(|tokens| Usage {
        tokens,
        reported: true,
    });
    open.record.response_model.clone_from(&whole.facts.model);
    open.record.service_tier = whole.facts.service_tier;
}

/// Takes in what a failure says.
pub(super) fn note_failure(open: &mut OpenAttempt, failure: &AttemptFailure) {
    open.record.status = failure.status;
    open.sent = failure.sent;
    open.usage = failure.usage;
}

/// A refusal with a status is not billed; a request that got no answer, or the beginning of one, may
/// be.
pub(super) const fn is_estimated(failure: &AttemptFailure) -> bool {
    failure.status.is_none() || failure.broke_off
}

/// What a failure says about the upstream's health.
pub(super) const fn verdict_of(outcome: Outcome, retry_after: Option<Duration>) -> Verdict {
    match outcome {
        Outcome::RateLimited => Verdict::RateLimited(retry_after),
        Outcome::UpstreamError
        | Outcome::Timeout
        | Outcome::Connect
        | Outcome::StreamBroken
        | Outcome::UpstreamAuth => Verdict::Failure,
        _ => Verdict::Neutral,
    }
}
