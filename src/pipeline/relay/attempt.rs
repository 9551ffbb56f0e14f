//! One attempt to pass a request of a model through: reserve, send, and hand failures to the exchange.

use std::sync::Arc;

use http::{HeaderMap, Method, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::accounting::{AttemptEnd, Exchange, OpenAttempt, Pricing};
use crate::config::snapshot::{Deployment, Model, Provider, ProviderEndpoint};
use crate::error::ProxyError;
use crate::gateway::{Active, Gateway};
use crate::limits;
use crate::pipeline::attempting::{blank_attempt, is_estimated, note_failure, noted, verdict_of};
use crate::resilience::{Attempts, Try, TryError};
use crate::runtime::budgets::Amounts;
use crate::types::{AttemptFailure, Caller, Next, Outcome, RelayPath};
use crate::upstream::relay::{self, RelayOutbound};

use super::upload::Upload;

/// Makes the attempts of one request that is passed through.
pub(super) struct Relaying<'a, 'b> {
    pub gw: &'a Arc<Gateway>,
    pub active: &'a Arc<Active>,
    pub caller: &'a Caller,
    pub path: &'a RelayPath,
    pub headers: &'a HeaderMap,
    pub exchange: &'a mut Exchange,
    /// Gone once it was sent; a body that flows is sent once.
    pub upload: Option<Upload<'b>>,
    /// Images that are charged one by one.
    pub images: u32,
    /// Input to bill by where the answer says nothing.
    pub input_tokens: u64,
    /// The end user that the body names.
    pub end_user: Option<String>,
}

impl Attempts for Relaying<'_, '_> {
    type Reply = Response<Incoming>;

    async fn attempt(&mut self, attempt: Try<'_>) -> Result<Response<Incoming>, TryError> {
        let snapshot = &self.active.snapshot;
        let model = &snapshot.models[attempt.candidate.index];
        let deployment = &model.deployments[attempt.deployment];
        let provider = &snapshot.providers[deployment.provider];
        let deadline = attempt.deadline;
        self.reserve(attempt, model, deployment, provider).await?;
        let signer = deployment.signer.as_ref().unwrap_or(&provider.signer);
        let to = Destination {
            provider,
            signer,
            upstream_model: &deployment.upstream_model,
            method: &Method::POST,
            query: None,
            deadline,
        };
        match self.send(to).await {
            Ok(response) => {
                if let Some(open) = self.exchange.attempt_mut() {
                    let ttft = open.started.elapsed();
                    open.record.ttft_us = Some(u64::try_from(ttft.as_micros()).unwrap_or(u64::MAX));
                    open.record.status = Some(response.status().as_u16());
                }
                Ok(response)
            }
            Err(error) => {
                if let TryError::Failed(failure) = &error {
                    self.failed(failure);
                }
                Err(error)
            }
        }
    }
}

/// Where a request goes.
pub(super) struct Destination<'a> {
    pub provider: &'a Provider,
    pub signer: &'a crate::config::snapshot::Signer,
    pub upstream_model: &'a str,
    pub method: &'a Method,
    pub query: Option<&'a str>,
    pub deadline: Instant,
}

impl Relaying<'_, '_> {
    /// Sends the upload, or what is left of it to send: one that is all there can be sent again.
    pub(super) async fn send(
        &mut self,
        to: Destination<'_>,
    ) -> Result<Response<Incoming>, TryError> {
        let timeouts = &self.active.snapshot.resilience.timeouts;
        let ProviderEndpoint::Http(endpoint) = &to.provider.endpoint else {
            return Err(unsendable("the provider is simulated"));
        };
        let ca_file = endpoint.ca_file.as_deref();
        let clients = (
            self.gw.clients.get(ca_file, timeouts.connect),
            self.gw.clients.uploads(ca_file, timeouts.connect),
        );
        let (Ok(small), Ok(client)) = clients else {
            return Err(unsendable("no HTTP client for this provider"));
        };
        let Some(mut upload) = self.upload.take() else {
            return Err(unsendable("the body has been passed on already"));
        };
        upload.rename(to.upstream_model);
        let (body, whole, pump) = upload.start();
        let until = match &whole {
            Some(_) => to.deadline.min(Instant::now() + timeouts.response),
            None => to.deadline,
        };
        let path = self.path.upstream();
        let outbound = RelayOutbound {
            provider: to.provider,
            endpoint,
            signer: to.signer,
            upstream_model: to.upstream_model,
            method: to.method,
            path: &path,
            query: to.query,
            headers: self.headers,
            whole: whole.as_ref(),
            unix_ms: self.gw.clock.unix_ms(),
            grants: &self.gw.grants,
            until,
            not_found_is_an_answer: !self.path.names_model(),
        };
        let sending = relay::relay(outbound, (&small, &client), body);
        let Some(pump) = pump else {
            self.upload = whole.clone().map(Upload::whole);
            return sending.await.map_err(TryError::Failed);
        };
        let (mut sending, mut pumping) = (std::pin::pin!(sending), std::pin::pin!(pump.run()));
        let answered = tokio::select! {
            biased;
            pumped = &mut pumping => match pumped {
                Ok(()) => sending.await,
                Err(error) => return Err(self.client_broke(error)),
            },
            answered = &mut sending => answered,
        };
        // The bytes are gone: nobody else can be asked.
        answered.map_err(|failure| {
            TryError::Failed(AttemptFailure {
                next: Next::Stop,
                ..failure
            })
        })
    }

    /// The client's body was no good: what was begun is settled as nobody's fault upstream.
    fn client_broke(&mut self, error: ProxyError) -> TryError {
        self.failed(&AttemptFailure::unsent(
            Outcome::Cancelled,
            Next::Stop,
            "the client's body broke off",
        ));
        TryError::Refused(error)
    }

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
            tokens: self.input_tokens,
            money: Amounts {
                worst_case: attempt.candidate.worst_case,
                likely: attempt.candidate.worst_case,
            },
            end_user: self.end_user.as_deref(),
        };
        let reservation = limits::reserve_attempt_patiently(
            &self.gw.limiters,
            &self.gw.budgets,
            &self.active.snapshot,
            &request,
        )
        .await
        .map_err(|error| {
            crate::pipeline::observing::limited(self.gw, &error);
            TryError::Refused(error)
        })?;
        let at_ms = self.gw.clock.unix_ms();
        let number = self.exchange.record.attempts.len();
        self.exchange.begin_attempt(OpenAttempt {
            record: blank_attempt(number, at_ms, model, deployment, provider),
            started: Instant::now(),
            pricing: Pricing {
                list: Arc::clone(&model.price),
                book: Arc::clone(&self.active.snapshot.price_book),
                provider: deployment.provider,
                model: model.id.clone(),
                upstream_model: deployment.upstream_model.as_str().into(),
                at_ms,
                images: self.images,
            },
            billing: provider.billing,
            input_tokens: self.input_tokens,
            reservation,
            breaker: self.active.snapshot.resilience.breaker,
            outstanding: attempt.state.begin(),
            sent: true,
            output_bytes: 0,
            usage: None,
            pass: attempt.pass,
        });
        noted(self.gw, self.exchange).await;
        Ok(())
    }

    fn failed(&mut self, failure: &AttemptFailure) {
        if let Some(open) = self.exchange.attempt_mut() {
            note_failure(open, failure);
        }
        let cuts = |open: &mut OpenAttempt| open.billing.cuts_estimated();
        let estimate = is_estimated(failure) && self.exchange.attempt_mut().is_some_and(cuts);
        self.exchange.close_attempt(&AttemptEnd {
            outcome: failure.outcome,
            estimate,
            verdict: verdict_of(failure.outcome, failure.retry_after),
        });
    }
}

fn unsendable(why: &str) -> TryError {
    TryError::Failed(AttemptFailure::unsent(
        Outcome::Internal,
        Next::Fallback,
        why,
    ))
}
