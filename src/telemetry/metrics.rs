//! The Prometheus metrics of DESIGN.md §6: one definition each, with unit and help.
//!
//! Label values come from the configuration or from closed sets; whatever else reaches this file is
//! turned into `other` by its callers. The ledger is the truth; these are its running sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::drift::Drift;
use crate::types::{AttemptRecord, Features, PicoUsd, RequestRecord};

/// From a tenth of a millisecond to minutes: whole requests and streams.
const REQUEST_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0,
];
/// From ten microseconds to tens of milliseconds: time in the proxy itself.
const OVERHEAD_SECONDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05,
];
/// From a microsecond to a millisecond: the classifier.
const CLASSIFY_SECONDS: &[f64] = &[
    0.000_001,
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_025,
    0.000_05,
    0.000_1,
    0.000_25,
    0.001,
];

/// Confidences in the task.
const CONFIDENCES: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// Every metric of the process.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    announced: Arc<[Announced]>,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    ttft: HistogramVec,
    overhead: Histogram,
    classify: Histogram,
    classified: IntCounterVec,
    confidence: Histogram,
    task_mix_drift: Gauge,
    confidence_drift: Gauge,
    drift: Arc<Drift>,
    attempts: IntCounterVec,
    upstream_duration: HistogramVec,
    substituted: IntCounterVec,
    unbilled_batches: IntCounterVec,
    fallbacks: IntCounterVec,
    retries: IntCounterVec,
    breaker_state: IntGaugeVec,
    tokens: IntCounterVec,
    cost: CounterVec,
    savings: CounterVec,
    savings_negative: CounterVec,
    budget_limit: GaugeVec,
    budget_spent: GaugeVec,
    budget_reserved: GaugeVec,
    budget_stranded: GaugeVec,
    learned_reserves: IntCounterVec,
    overruns: IntCounterVec,
    overrun: CounterVec,
    shared_store_up: IntGauge,
    budget_shadow_price: GaugeVec,
    budget_forecast: GaugeVec,
    budget_alerts: IntCounterVec,
    alerts: IntCounterVec,
    alerts_suppressed: IntCounterVec,
    alert_deliveries: IntCounterVec,
    alert_queue: IntGaugeVec,
    rate_limited: IntCounterVec,
    cache_requests: IntCounterVec,
    responses_kept: IntCounterVec,
    policy_choices: IntCounterVec,
    reward_mean: GaugeVec,
    reload_successful: IntGauge,
    reload_timestamp: Gauge,
    reloads: IntCounterVec,
    in_flight: IntGauge,
    ledger_lag: IntGauge,
    responses_waiting: IntGauge,
}

/// A family with labels: it has no sample before something happened.
#[derive(Debug)]
struct Announced {
    name: String,
    help: String,
    kind: &'static str,
}

/// Registers the definitions; a clash of names is a programming error that a test finds.
struct Definitions {
    registry: Registry,
    announced: Vec<Announced>,
    clash: Option<prometheus::Error>,
}

impl Definitions {
    fn keep<M: prometheus::core::Collector + Clone + 'static>(
        &mut self,
        made: Result<M, prometheus::Error>,
    ) -> Result<M, prometheus::Error> {
        let metric = made?;
        if let Err(error) = self.registry.register(Box::new(metric.clone())) {
            self.clash = Some(error);
        }
        Ok(metric)
    }

    fn announce(&mut self, name: &str, help: &str, kind: &'static str) {
        self.announced.push(Announced {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
        });
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.announce(name, help, "counter");
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn money(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<CounterVec, prometheus::Error> {
        self.announce(name, help, "counter");
        self.keep(CounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        self.announce(name, help, "gauge");
        self.keep(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        self.announce(name, help, "histogram");
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.keep(HistogramVec::new(opts, labels))
    }

    fn plain_histogram(
        &mut self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        self.keep(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
        ))
    }
}

impl Metrics {
    /// Defines every metric.
    ///
    /// # Errors
    /// When two definitions clash; cannot happen in a build whose tests pass.
    #[allow(clippy::too_many_lines, reason = "one table of definitions")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let mut define = Definitions {
            registry: Registry::new(),
            announced: Vec::new(),
            clash: None,
        };
        let d = &mut define;
        let mut metrics = Self {
            registry: d.registry.clone(),
            announced: Arc::new([]),
            requests: d.counter(
                "tollgate_requests_total",
                "Requests by the model that answered, their team and app, how they ended and what the cache did.",
                &["model", "provider", "team", "app", "outcome", "cache"],
            )?,
            request_duration: d.histogram(
                "tollgate_request_duration_seconds",
                "From a request's head to its last byte, in seconds.",
                REQUEST_SECONDS,
                &["model", "outcome"],
            )?,
            ttft: d.histogram(
                "tollgate_time_to_first_token_seconds",
                "From a request's head to the first event of its stream, in seconds.",
                REQUEST_SECONDS,
                &["model"],
            )?,
            overhead: d.plain_histogram(
                "tollgate_overhead_seconds",
                "Time in the proxy itself up to the first upstream call, in seconds.",
                OVERHEAD_SECONDS,
            )?,
            classify: d.plain_histogram(
                "tollgate_classify_seconds",
                "Time in the classifier, in seconds.",
                CLASSIFY_SECONDS,
            )?,
            classified: d.counter(
                "tollgate_classified_total",
                "Requests by the task that the classifier found.",
                &["task"],
            )?,
            confidence: d.plain_histogram(
                "tollgate_classify_confidence",
                "How sure the classifier was of the task, 0 to 1.",
                CONFIDENCES,
            )?,
            task_mix_drift: d.keep(Gauge::new(
                "tollgate_task_mix_drift",
                "How far the tasks of late are from the usual mix: population stability index.",
            ))?,
            confidence_drift: d.keep(Gauge::new(
                "tollgate_classify_confidence_drift",
                "Mean confidence of late less the usual one.",
            ))?,
            drift: Arc::default(),
            attempts: d.counter(
                "tollgate_upstream_attempts_total",
                "Calls to upstreams by how they ended.",
                &["model", "provider", "outcome"],
            )?,
            upstream_duration: d.histogram(
                "tollgate_upstream_duration_seconds",
                "From sending an attempt to its end, in seconds.",
                REQUEST_SECONDS,
                &["model"],
            )?,
            substituted: d.counter(
                "tollgate_substituted_answers_total",
                "Answers that another model gave than the one asked for, by whose price was applied.",
                &["model", "provider", "priced_as"],
            )?,
            unbilled_batches: d.counter(
                "tollgate_unbilled_batches_total",
                "Batches that ended and could not be billed, by what lacks: usage, price or answer.",
                &["provider", "lacks"],
            )?,
            fallbacks: d.counter(
                "tollgate_fallbacks_total",
                "Steps from one candidate to the next, and why.",
                &["from", "to", "reason"],
            )?,
            retries: d.counter("tollgate_retries_total", "Repeated attempts on the same model.", &["model"])?,
            breaker_state: d.keep(IntGaugeVec::new(
                Opts::new("tollgate_breaker_state", "0 closed, 1 half-open, 2 open."),
                &["model"],
            ))?,
            tokens: d.counter(
                "tollgate_tokens_total",
                "Tokens in disjoint classes.",
                &["team", "app", "model", "kind"],
            )?,
            cost: d.money(
                "tollgate_cost_usd_total",
                "What attempts cost, in USD; the ledger has the exact amounts.",
                &["team", "app", "model", "provider", "task"],
            )?,
            savings: d.money(
                "tollgate_savings_usd_total",
                "What the baseline model would have cost more, in USD.",
                &["team", "source"],
            )?,
            savings_negative: d.money(
                "tollgate_extra_cost_usd_total",
                "What routing cost more than the baseline model would have, in USD; counts against the savings.",
                &["team", "source"],
            )?,
            budget_limit: d.gauge("tollgate_budget_limit_usd", "A budget's limit per period, in USD.", &["budget"])?,
            budget_spent: d.gauge("tollgate_budget_spent_usd", "Spent in the present period, in USD.", &["budget"])?,
            budget_reserved: d.gauge(
                "tollgate_budget_reserved_usd",
                "Reserved for attempts in flight, in USD.",
                &["budget"],
            )?,
            budget_stranded: d.gauge(
                "tollgate_budget_stranded_usd",
                "Held by replicas that have fallen silent: counted as spent until they come back, in USD.",
                &["budget"],
            )?,
            learned_reserves: d.counter(
                "tollgate_budget_learned_reserves_total",
                "Settled attempts for which a budget with an `overrun` reserved less than the worst case.",
                &["budget"],
            )?,
            overruns: d.counter(
                "tollgate_budget_overruns_total",
                "Those of them that cost more than was reserved.",
                &["budget"],
            )?,
            overrun: d.money(
                "tollgate_budget_overrun_usd_total",
                "By how much they cost more, in USD.",
                &["budget"],
            )?,
            shared_store_up: d.keep(IntGauge::new(
                "tollgate_shared_store_up",
                "1 while the store that replicas share answers, 0 while it does not or there is none.",
            ))?,
            budget_shadow_price: d.gauge(
                "tollgate_budget_shadow_price",
                "The price of money that a budget's pace adds to the routing objective; 0 on pace.",
                &["budget"],
            )?,
            budget_forecast: d.gauge(
                "tollgate_budget_forecast_usd",
                "What the present period will have spent at its end at the present rate, in USD; not there in its first hundredth.",
                &["budget"],
            )?,
            budget_alerts: d.counter(
                "tollgate_budget_alerts_total",
                "Thresholds of budgets that were crossed, once per period.",
                &["budget", "threshold"],
            )?,
            alerts: d.counter(
                "tollgate_alerts_total",
                "Events that were told, by kind; what was held back as a repetition does not count.",
                &["event"],
            )?,
            alerts_suppressed: d.counter(
                "tollgate_alerts_suppressed_total",
                "Events that were held back as repetitions.",
                &["event"],
            )?,
            alert_deliveries: d.counter(
                "tollgate_alert_deliveries_total",
                "Tries to deliver an event to a webhook, by how they ended.",
                &["webhook", "outcome"],
            )?,
            alert_queue: d.keep(IntGaugeVec::new(
                Opts::new("tollgate_alert_queue_events", "Events that wait for a webhook."),
                &["webhook"],
            ))?,
            rate_limited: d.counter(
                "tollgate_rate_limited_total",
                "Requests or attempts refused by our limits.",
                &["scope", "kind"],
            )?,
            responses_kept: d.counter("tollgate_responses_kept_total", "Responses that were to be kept.", &["result"])?,
            cache_requests: d.counter("tollgate_cache_requests_total", "Cache look-ups.", &["level", "result"])?,
            policy_choices: d.counter(
                "tollgate_policy_choices_total",
                "First choices of the policy.",
                &["task", "level", "model", "reason"],
            )?,
            reward_mean: d.gauge(
                "tollgate_reward_mean",
                "Mean reward of a model in a cell, 0 to 1.",
                &["task", "level", "model"],
            )?,
            reload_successful: d.keep(IntGauge::new(
                "tollgate_config_last_reload_successful",
                "1 if the last reload of the configuration succeeded, 0 if it was rejected.",
            ))?,
            reload_timestamp: d.keep(Gauge::new(
                "tollgate_config_last_reload_success_timestamp_seconds",
                "When the configuration in force was loaded, seconds since the Unix epoch.",
            ))?,
            reloads: d.counter("tollgate_config_reloads_total", "Reloads by result.", &["result"])?,
            in_flight: d.keep(IntGauge::new("tollgate_in_flight_requests", "Requests in flight, streams included."))?,
            ledger_lag: d.keep(IntGauge::new(
                "tollgate_ledger_lag_records",
                "Records that are journalled but not yet in the ledger's database.",
            ))?,
            responses_waiting: d.keep(IntGauge::new(
                "tollgate_responses_waiting_bytes",
                "Kept responses that are not written down yet.",
            ))?,
        };
        let build = d.keep(IntGaugeVec::new(
            Opts::new("tollgate_build_info", "The running version; always 1."),
            &["version"],
        ))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.announced = define.announced.into();
        match define.clash {
            Some(error) => Err(error),
            None => Ok(metrics),
        }
    }

    /// The exposition text of `GET /metrics`. A family without a sample is announced all the same, so
    /// that whoever writes a query finds its name.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        let families = self.registry.gather();
        TextEncoder::new().encode(&families, &mut text)?;
        let silent = |family: &&Announced| !families.iter().any(|it| it.name() == family.name);
        for Announced { name, help, kind } in self.announced.iter().filter(silent) {
            let comment = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
            text.extend_from_slice(comment.as_bytes());
        }
        Ok(text)
    }

    /// Counts a finished request with all its attempts. Called once, where the exchange closes.
    pub fn request_closed(&self, record: &RequestRecord) {
        let model = record.model.as_ref().map_or("none", |model| model.as_str());
        let provider = record
            .provider
            .as_ref()
            .map_or("none", |provider| provider.as_str());
        let (team, app) = (record.team.as_str(), record.app.as_str());
        let outcome = record.outcome.as_str();
        self.requests
            .with_label_values(&[model, provider, team, app, outcome, record.cache.as_str()])
            .inc();
        self.request_duration
            .with_label_values(&[model, outcome])
            .observe(seconds(record.latency_us));
        if let Some(ttft_us) = record.ttft_us {
            self.ttft
                .with_label_values(&[model])
                .observe(seconds(ttft_us));
        }
        self.overhead.observe(seconds(record.overhead_us));
        for attempt in &record.attempts {
            self.upstream_duration
                .with_label_values(&[attempt.model.as_str()])
                .observe(seconds(attempt.latency_us));
            self.count_use(record, attempt);
        }
        if let Some(baseline) = record.baseline_cost {
            let source = if record.attempts.is_empty() {
                "cache"
            } else {
                "routing"
            };
            self.count_saving(team, source, baseline - record.cost);
        }
    }

    /// Counts a batch that was paid for: a request without a duration.
    pub fn batch_closed(&self, record: &RequestRecord) {
        let model = record.model.as_ref().map_or("none", |model| model.as_str());
        let provider = record.provider.as_ref();
        let provider = provider.map_or("none", |provider| provider.as_str());
        let (team, app) = (record.team.as_str(), record.app.as_str());
        let (outcome, cache) = (record.outcome.as_str(), record.cache.as_str());
        self.requests
            .with_label_values(&[model, provider, team, app, outcome, cache])
            .inc();
        for attempt in &record.attempts {
            self.count_use(record, attempt);
        }
    }

    /// Counts a batch that ended and could not be billed.
    pub fn batch_unbilled(&self, provider: &str, lacks: &str) {
        self.unbilled_batches
            .with_label_values(&[provider, lacks])
            .inc();
    }

    /// What an attempt used and cost.
    fn count_use(&self, record: &RequestRecord, attempt: &AttemptRecord) {
        let (team, app) = (record.team.as_str(), record.app.as_str());
        let (model, provider) = (attempt.model.as_str(), attempt.provider.as_str());
        self.attempts
            .with_label_values(&[model, provider, attempt.outcome.as_str()])
            .inc();
        for (kind, count) in attempt.tokens.by_kind() {
            if count > 0 {
                self.tokens
                    .with_label_values(&[team, app, model, kind])
                    .inc_by(count);
            }
        }
        if attempt.substituted {
            // A name under `models` or in the catalogue; the upstream's own word is no label.
            let priced_as = attempt.priced_model.as_deref().unwrap_or("asked");
            self.substituted
                .with_label_values(&[model, provider, priced_as])
                .inc();
        }
        if attempt.cost.is_positive() {
            self.cost
                .with_label_values(&[team, app, model, provider, record.task.as_str()])
                .inc_by(attempt.cost.as_usd_f64());
        }
    }

    fn count_saving(&self, team: &str, source: &str, saved: PicoUsd) {
        let family = if saved < PicoUsd::ZERO {
            &self.savings_negative
        } else {
            &self.savings
        };
        family
            .with_label_values(&[team, source])
            .inc_by(saved.as_usd_f64().abs());
    }

    /// Observes the classifier's time.
    pub fn classified(&self, took: std::time::Duration, features: &Features) {
        self.classify.observe(took.as_secs_f64());
        self.classified
            .with_label_values(&[features.task.as_str()])
            .inc();
        self.confidence.observe(f64::from(features.confidence));
        self.drift.observe(&features.task, features.confidence);
    }

    /// Brings the gauges of the classifier's drift up to date.
    pub fn refresh_drift(&self) {
        if let Some(shift) = self.drift.shift() {
            self.task_mix_drift.set(shift.task_mix);
            self.confidence_drift.set(shift.confidence);
        }
    }

    /// Counts a step to the next candidate.
    pub fn fell_back(&self, from: &str, to: &str, reason: &str) {
        self.fallbacks.with_label_values(&[from, to, reason]).inc();
    }

    /// Counts a repeated attempt on the same model.
    pub fn retried(&self, model: &str) {
        self.retries.with_label_values(&[model]).inc();
    }

    /// Counts a refusal by one of our limits.
    pub fn rate_limited(&self, scope: &str, kind: &str) {
        self.rate_limited.with_label_values(&[scope, kind]).inc();
    }

    /// A response that a client asked to be kept: `kept`, or `refused` because too many wait.
    pub fn response_kept(&self, result: &str) {
        self.responses_kept.with_label_values(&[result]).inc();
    }

    /// Counts a cache look-up.
    pub fn cache_looked_up(&self, level: &str, result: &str) {
        self.cache_requests
            .with_label_values(&[level, result])
            .inc();
    }

    /// Counts the policy's first choice.
    pub fn chose(&self, task: &str, level: &str, model: &str, reason: &str) {
        self.policy_choices
            .with_label_values(&[task, level, model, reason])
            .inc();
    }

    /// Records a reload and its result; `loaded_at_seconds` is that of the version now in force.
    pub fn reloaded(&self, accepted: bool, loaded_at_seconds: f64) {
        self.reload_successful.set(i64::from(accepted));
        if accepted {
            self.reload_timestamp.set(loaded_at_seconds);
        }
        self.reloads
            .with_label_values(&[if accepted { "accepted" } else { "rejected" }])
            .inc();
    }

    /// Sets the state of a model's breaker: 0 closed, 1 half-open, 2 open.
    pub fn breaker(&self, model: &str, state: i64) {
        self.breaker_state.with_label_values(&[model]).set(state);
    }

    /// Sets a budget's gauges, in USD.
    pub fn budget(&self, budget: &str, gauges: &BudgetGauges) {
        let label = &[budget];
        self.budget_limit
            .with_label_values(label)
            .set(gauges.limit.as_usd_f64());
        self.budget_spent
            .with_label_values(label)
            .set(gauges.spent.as_usd_f64());
        self.budget_reserved
            .with_label_values(label)
            .set(gauges.reserved.as_usd_f64());
        if let Some(stranded) = gauges.stranded {
            self.budget_stranded
                .with_label_values(label)
                .set(stranded.as_usd_f64());
        }
        self.budget_shadow_price
            .with_label_values(label)
            .set(gauges.shadow_price);
        match gauges.forecast_usd {
            Some(usd) => self.budget_forecast.with_label_values(label).set(usd),
            // An error only says that there was none.
            None => {
                let _ = self.budget_forecast.remove_label_values(label);
            }
        }
    }

    /// Brings the counters of what a budget reserved below the worst case up to these sums since the
    /// start.
    pub fn learned_reserves(&self, budget: &str, sums: ReservesBelow) {
        let label = &[budget];
        let up_to = |counter: &IntCounterVec, sum: u64| {
            let counter = counter.with_label_values(label);
            counter.inc_by(sum.saturating_sub(counter.get()));
        };
        up_to(&self.learned_reserves, sums.attempts);
        up_to(&self.overruns, sums.overruns);
        let overrun = self.overrun.with_label_values(label);
        overrun.inc_by((sums.overrun.as_usd_f64() - overrun.get()).max(0.0));
    }

    /// Whether the store that replicas share answers.
    pub fn shared_store(&self, up: bool) {
        self.shared_store_up.set(i64::from(up));
    }

    /// Forgets budgets and models that a reload removed.
    pub fn forget_gauges(&self) {
        self.budget_limit.reset();
        self.budget_spent.reset();
        self.budget_reserved.reset();
        self.budget_shadow_price.reset();
        self.budget_stranded.reset();
        self.budget_forecast.reset();
        self.breaker_state.reset();
    }

    /// Counts a crossed threshold of a budget.
    pub fn budget_alerted(&self, budget: &str, threshold: f64) {
        self.budget_alerts
            .with_label_values(&[budget, &threshold.to_string()])
            .inc();
    }

    /// Counts an event that was told.
    pub fn alerted(&self, event: &str) {
        self.alerts.with_label_values(&[event]).inc();
    }

    /// Counts an event that was held back.
    pub fn alert_suppressed(&self, event: &str) {
        self.alerts_suppressed.with_label_values(&[event]).inc();
    }

    /// Counts a try to deliver an event.
    pub fn alert_delivery(&self, webhook: &str, outcome: &str) {
        self.alert_deliveries
            .with_label_values(&[webhook, outcome])
            .inc();
    }

    /// Sets how many events wait for a webhook.
    pub fn alert_queue(&self, webhook: &str, events: usize) {
        self.alert_queue
            .with_label_values(&[webhook])
            .set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    /// Sets the mean reward of a model in a cell.
    pub fn reward(&self, task: &str, level: &str, model: &str, mean: f64) {
        self.reward_mean
            .with_label_values(&[task, level, model])
            .set(mean);
    }

    /// The gauge of requests in flight.
    pub fn in_flight(&self) -> &IntGauge {
        &self.in_flight
    }

    /// Sets how many records wait for the ledger's database.
    pub fn ledger_lag(&self, records: u64) {
        self.ledger_lag
            .set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// Sets how much of kept responses waits for their store.
    pub fn responses_waiting(&self, bytes: usize) {
        self.responses_waiting
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Every sample of one family by its labels: for the dashboard and for tests.
    pub fn samples(&self, family: &str) -> Vec<(BTreeMap<String, String>, f64)> {
        let families = self.registry.gather();
        let Some(found) = families.iter().find(|candidate| candidate.name() == family) else {
            return Vec::new();
        };
        let read = |metric: &prometheus::proto::Metric| {
            let labels = metric
                .get_label()
                .iter()
                .map(|pair| (pair.name().to_owned(), pair.value().to_owned()))
                .collect();
            let value = match found.get_field_type() {
                prometheus::proto::MetricType::COUNTER => metric.get_counter().get_value(),
                prometheus::proto::MetricType::GAUGE => metric.get_gauge().get_value(),
                _ => metric.get_histogram().get_sample_sum(),
            };
            (labels, value)
        };
        found.get_metric().iter().map(read).collect()
    }
}

/// What a budget reserved below the worst case since the start.
#[derive(Debug, Clone, Copy)]
pub struct ReservesBelow {
    /// Settled attempts.
    pub attempts: u64,
    /// Those that cost more than was reserved.
    pub overruns: u64,
    /// By how much.
    pub overrun: PicoUsd,
}

/// What the gauges of one budget show.
#[derive(Debug, Clone, Copy)]
pub struct BudgetGauges {
    /// The limit per period.
    pub limit: PicoUsd,
    /// Spent in this period.
    pub spent: PicoUsd,
    /// Reserved for attempts in flight.
    pub reserved: PicoUsd,
    /// What silent replicas hold; `None`: there are no replicas.
    pub stranded: Option<PicoUsd>,
    /// The pace's price of money.
    pub shadow_price: f64,
    /// What the period will have spent at its end at the present rate.
    pub forecast_usd: Option<f64>,
}

#[allow(
    clippy::cast_precision_loss,
    reason = "microseconds of a request are far below 2^53"
)]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_distinct_and_renders() {
        let metrics = Metrics::new().expect("no two metrics clash");
        metrics.rate_limited("key", "requests");
        metrics.reloaded(true, 1.0);
        let text = String::from_utf8(metrics.render().expect("renders")).expect("UTF-8");
        assert!(text.contains("tollgate_rate_limited_total{kind=\"requests\",scope=\"key\"} 1"));
        assert!(text.contains("tollgate_config_last_reload_successful 1"));
        assert!(text.contains("tollgate_build_info"));
    }
}
