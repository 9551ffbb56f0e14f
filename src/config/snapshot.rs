//! One version of the configuration, compiled: names resolved to indices, prices to integers,
//! patterns and levels ready to match. Immutable, without locks or atomics; loaded once per request
//! and kept until the end of its stream.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use rustc_hash::FxHashMap;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use crate::runtime::limiter::LimitsWhenAway;
use crate::runtime::{
    BreakerParams, BudgetParams, LearnParams, LimitParams, RetryParams, SimulatedParams,
};
use crate::types::{
    AllowList, AppId, ConfigVersion, Currency, DeploymentId, EventKind, KeyId, LevelName, ModelId,
    Needs, PostgresUrl, PriceList, ProviderId, TaskName, TeamId, Tier,
};
use crate::wire::DialectId;
use crate::wire::translate::Host;

use super::diagnostic::{Diagnostic, Place};
use super::price_book::PriceBook;
pub use super::signing::{GrantParams, Proof, SigV4Params, Signer};

/// Everything that `routes.yaml` says.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Short hash of the file's text.
    pub version: ConfigVersion,
    /// When it was compiled, milliseconds since the Unix epoch.
    pub loaded_at_ms: i64,
    /// Listeners, caps, TLS, drain.
    pub server: ServerParams,
    /// Where state lives.
    pub state: StateParams,
    /// Who may call.
    pub auth: AuthParams,
    /// API accounts, in the file's order.
    pub providers: Vec<Provider>,
    /// Models, in the file's order.
    pub models: Vec<Model>,
    /// What is known of prices, by provider; for answers that another model gave.
    pub price_book: Arc<PriceBook>,
    /// Index into `models` by name.
    pub model_index: FxHashMap<ModelId, usize>,
    /// What everything would have cost: index into `models`.
    pub baseline: Option<usize>,
    /// Task × level → candidates.
    pub matrix: Matrix,
    /// Thresholds of the classifier.
    pub classifier: ClassifierParams,
    /// How a candidate is picked inside a cell.
    pub select: SelectParams,
    /// Patterns of model names that stand for others; first match wins.
    pub aliases: Vec<Alias>,
    /// Names that are routed rather than served; always holds `auto`.
    pub virtual_models: FxHashMap<Box<str>, VirtualModel>,
    /// Budgets, in the file's order.
    pub budgets: Arc<[BudgetParams]>,
    /// The smallest probability of an overrun among the budgets that accept one.
    pub accepted_risk: Option<f64>,
    /// A currency beside the USD, for showing.
    pub currency: Option<Currency>,
    /// Teams by name; `default` is always there.
    pub teams: FxHashMap<TeamId, Team>,
    /// Virtual keys by the SHA-256 of the whole key.
    pub keys: FxHashMap<[u8; 32], Arc<VirtualKey>>,
    /// Limits over all requests.
    pub limits: LimitParams,
    /// The caches.
    pub cache: CacheParams,
    /// Breakers, retries, time-outs, fallback.
    pub resilience: ResilienceParams,
    /// Who is told of events.
    pub alerts: Arc<AlertParams>,
    /// Requests that are passed through.
    pub pass_through: PassThroughParams,
    /// What `check` warns about.
    pub warnings: Vec<Diagnostic>,
}

impl Snapshot {
    /// The model of this name.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.model_index.get(name).map(|&index| &self.models[index])
    }
}

/// `server`
#[derive(Debug, Clone)]
pub struct ServerParams {
    /// Data listener, `host:port`.
    pub listen: String,
    /// Admin listener, `host:port`.
    pub admin_listen: String,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Most client connections at once; more wait in the accept queue.
    pub max_connections: usize,
    /// Most requests in flight; more are shed with 503 `overloaded`.
    pub max_in_flight: usize,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// Certificate chain and key (PEM files), when the data listener speaks TLS.
    pub tls: Option<TlsParams>,
    /// Token for the admin listener.
    pub admin_token: Option<SecretString>,
    /// How long streams may run on after SIGTERM.
    pub drain: Duration,
}

/// `server.tls`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsParams {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// `state`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateParams {
    /// Where the ledger is kept.
    pub ledger: LedgerLocation,
    /// Most requests in flight plus records that are not stored yet.
    pub ledger_buffer_records: usize,
    /// How long rows are kept; forever when not set.
    pub retention_days: Option<u32>,
    /// The store that several replicas share; `None`: this process is alone.
    pub shared: Option<SharedParams>,
    /// What is kept of responses; `None`: nothing.
    pub responses: Option<ResponsesParams>,
}

/// What is kept of responses, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponsesParams {
    /// Where.
    pub place: ResponsesPlace,
    /// How long.
    pub retention: Duration,
    /// How much.
    pub max_bytes: u64,
}

/// Where responses are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponsesPlace {
    /// In the process.
    Memory,
    /// In a SQLite file.
    File(PathBuf),
    /// In the store that replicas share.
    Shared,
}

/// A store that several replicas share.
#[derive(Debug, Clone)]
pub struct SharedParams {
    /// Its address, password included.
    pub address: SecretString,
    /// What the names of its keys begin with.
    pub namespace: String,
    /// What this replica is called; `None`: by the name that goes with its ledger.
    pub replica: Option<String>,
    /// True when budgets go on beyond their leases while it is away.
    pub budgets_open_when_away: bool,
    /// What limits do while it is away.
    pub limits_when_away: LimitsWhenAway,
}

impl PartialEq for SharedParams {
    fn eq(&self, other: &Self) -> bool {
        self.address.expose_secret() == other.address.expose_secret()
            && self.namespace == other.namespace
            && self.replica == other.replica
            && self.budgets_open_when_away == other.budgets_open_when_away
            && self.limits_when_away == other.limits_when_away
    }
}

impl Eq for SharedParams {}

/// Where the ledger is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerLocation {
    /// Only in memory; for tests and try-outs.
    Memory,
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A Postgres database that several replicas share.
    Postgres {
        /// Where it is and how to get in.
        url: Box<PostgresUrl>,
        /// The directory of this replica's journal.
        journal: PathBuf,
    },
}

/// `auth`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthParams {
    /// Nobody needs a key; for loopback.
    Open,
    /// Virtual keys.
    Keys,
}

/// An API account: dialect × endpoint × signer × quirks, all data.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its name.
    pub id: ProviderId,
    /// The dialect that it speaks.
    pub dialect: DialectId,
    /// Which of the dialect's hosts it is.
    pub host: Host,
    /// Where it is.
    pub endpoint: ProviderEndpoint,
    /// How requests are signed.
    pub signer: Signer,
    /// Fixed headers to add.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Limits of the account.
    pub limits: LimitParams,
    /// Deviations from the dialect.
    pub quirks: Quirks,
    /// Send the client's `traceparent` on.
    pub propagate_trace: bool,
    /// How long it keeps a prompt in its cache that nobody asks for again.
    pub prompt_cache: Duration,
    /// How it bills answers that are not read to their end.
    pub billing: BillingParams,
    /// False when its key's variable is unset: its models are no candidates.
    pub enabled: bool,
}

/// Where a provider is.
#[derive(Debug, Clone)]
pub enum ProviderEndpoint {
    /// Over HTTP(S).
    Http(HttpEndpoint),
    /// Built in, for demonstrations, staging and tests.
    Simulated(SimulatedParams),
}

/// An HTTP API.
#[derive(Debug, Clone)]
pub struct HttpEndpoint {
    /// Base of the API; the endpoint's path is appended. `{model}` in it stands for the upstream's
    /// model name (Azure-style deployments).
    pub base_url: String,
    /// Parsed scheme and authority of `base_url`.
    pub origin: Uri,
    /// Query to append, without `?` (as `api-version=2025-04-01-preview`).
    pub query: Option<String>,
    /// Extra root certificates (PEM file) for private hosts.
    pub ca_file: Option<PathBuf>,
}

/// How a provider bills answers that are not read to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BillingParams {
    /// The client went away, or the connection broke.
    pub on_disconnect: OnDisconnect,
    /// A stream that the provider ended with an error costs what was seen of it; else nothing but what
    /// the provider reported.
    pub errors_estimated: bool,
    /// How long a drain reads on.
    pub drain: Duration,
    /// How many bytes a drain reads.
    pub drain_max_bytes: u64,
}

impl BillingParams {
    /// True when an answer that breaks off costs what was seen of it.
    #[must_use]
    pub const fn cuts_estimated(&self) -> bool {
        !matches!(self.on_disconnect, OnDisconnect::Nothing)
    }
}

/// What an answer costs whose client went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDisconnect {
    /// What was seen of it.
    Estimate,
    /// All of it: the provider goes on, so it is read to its usage report.
    Drain,
    /// Nothing.
    Nothing,
}

/// Deviations from a dialect: a closed set of flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Refuses `stream_options`: do not add it; usage is estimated unless it comes by itself.
    pub no_stream_options: bool,
    /// Takes ids of tool calls of nine letters or digits only.
    pub short_call_ids: bool,
}

/// A model: provider + upstream name + price + limits.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its name in the file and in `x-tollgate-model`.
    pub id: ModelId,
    /// Index into `providers` of the first deployment.
    pub provider: usize,
    /// What the upstream calls it.
    pub upstream_model: String,
    /// What it costs, from when, at which tier.
    pub price: Arc<PriceList>,
    /// Input and output together, tokens; `None`: unlimited as far as we know.
    pub context_tokens: Option<u64>,
    /// Most output, tokens.
    pub max_output_tokens: Option<u64>,
    /// Its rung on the ladder.
    pub tier: Tier,
    /// Where it runs.
    pub region: Option<Box<str>>,
    /// Its hosts; at least one.
    pub deployments: Vec<Deployment>,
    /// Prior quality.
    pub quality: Quality,
    /// What it can do; `None`: not stated, nothing is held against it.
    pub supports: Option<Needs>,
    /// Serves embeddings (and only them) rather than generation.
    pub embeddings: bool,
    /// Models that may stand in when it is pinned: indices into `models`.
    pub equivalents: Vec<usize>,
    /// Limits of the model.
    pub limits: LimitParams,
    /// Time to the whole answer (or first event of a stream) above which a reward is reduced.
    pub latency_target: Option<Duration>,
}

/// One host or key of a model.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Its stable name.
    pub id: DeploymentId,
    /// Index into `providers`.
    pub provider: usize,
    /// What this upstream calls the model.
    pub upstream_model: String,
    /// Overrides the provider's signer.
    pub signer: Option<Signer>,
    /// Where it runs; overrides the model's.
    pub region: Option<Box<str>>,
    /// Share of the load relative to its siblings.
    pub weight: u32,
    /// False when the key that it would use is not there: it is never chosen.
    pub enabled: bool,
}

/// A prior of quality in 0..=1.
#[derive(Debug, Clone, Default)]
pub struct Quality {
    /// For tasks that are not listed.
    pub base: f64,
    /// By task.
    pub by_task: FxHashMap<TaskName, f64>,
}

impl Quality {
    /// The prior for a task.
    #[must_use]
    pub fn of(&self, task: &TaskName) -> f64 {
        self.by_task.get(task).copied().unwrap_or(self.base)
    }
}

/// Task × level → candidates.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Rows by task, without `default`.
    pub rows: FxHashMap<TaskName, Row>,
    /// The row for every other task.
    pub default: Row,
}

/// A row of the matrix.
#[derive(Debug, Clone)]
pub struct Row {
    /// The levels that the row defines itself; empty: the standard three by threshold.
    pub levels: Vec<LevelRule>,
    /// Candidates by level, indices into `models`.
    pub cells: FxHashMap<LevelName, Vec<usize>>,
}

/// A level that a row defines: first match wins.
#[derive(Debug, Clone)]
pub struct LevelRule {
    /// Its name.
    pub name: LevelName,
    /// When it holds; empty: always.
    pub when: When,
}

/// Conditions of a level; all that are given must hold.
#[derive(Debug, Clone, Default)]
pub struct When {
    /// Any of these words or phrases occurs in the conversation's last user turn (lower case).
    pub keywords: Vec<String>,
    /// Complexity at least this.
    pub min_complexity: Option<f32>,
    /// Complexity below this.
    pub max_complexity: Option<f32>,
    /// Input tokens at least this.
    pub min_input_tokens: Option<u64>,
    /// Input tokens at most this.
    pub max_input_tokens: Option<u64>,
    /// Expected (or asked-for) output tokens at least this.
    pub min_output_tokens: Option<u64>,
    /// Expected (or asked-for) output tokens at most this.
    pub max_output_tokens: Option<u64>,
    /// Any of these languages (ISO 639-1).
    pub languages: Vec<String>,
}

/// `classifier`
#[derive(Debug, Clone)]
pub struct ClassifierParams {
    /// Complexity from which a request is `complex`.
    pub complex_from: f32,
    /// Complexity from which a request is `critical`.
    pub critical_from: f32,
    /// Below this confidence the default row is used.
    pub min_confidence: f32,
    /// A file of weights instead of the built-in ones, and where the file names it.
    pub model: Option<(PathBuf, Place)>,
    /// Tasks beside the built-in ones, in the order of the file.
    pub tasks: Vec<TaskParams>,
}

/// One of `tasks`.
#[derive(Debug, Clone)]
pub struct TaskParams {
    /// Its name.
    pub name: TaskName,
    /// Where it stands.
    pub place: Place,
    /// Prompts of this task, each with its place.
    pub examples: Vec<(String, Place)>,
}

/// How a candidate is picked inside a cell.
#[derive(Debug, Clone)]
pub struct SelectParams {
    /// The policy.
    pub policy: Policy,
    /// Share of requests that explore (`epsilon_greedy`).
    pub epsilon: f64,
    /// Weights of the objective.
    pub objective: Objective,
    /// Weights by model for `weighted`.
    pub weights: FxHashMap<usize, f64>,
    /// How arms learn and forget.
    pub learn: LearnParams,
}

/// `select.policy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// In the file's order.
    First,
    /// By expected cost.
    Cheapest,
    /// By recent latency.
    Fastest,
    /// At random by weight.
    Weighted,
    /// The best mean reward, with a share of exploration.
    EpsilonGreedy,
    /// Thompson sampling.
    Thompson,
    /// Thompson sampling over the classifier's features.
    Contextual,
}

/// `select.objective`: weights of quality, cost and latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// Weight of quality.
    pub quality: f64,
    /// Weight of cost.
    pub cost: f64,
    /// Weight of latency.
    pub latency: f64,
}

/// An entry of `aliases`.
#[derive(Debug, Clone)]
pub struct Alias {
    /// Name or `*` pattern.
    pub pattern: Box<str>,
    /// What it stands for: a virtual model or a model.
    pub target: Box<str>,
}

/// A name that is routed.
#[derive(Debug, Clone)]
pub struct VirtualModel {
    /// Its own way to pick, or the file's.
    pub select: SelectParams,
    /// Its own candidates instead of the matrix; indices into `models`.
    pub models: Option<Vec<usize>>,
}

/// An entry of `teams`.
#[derive(Debug, Clone)]
pub struct Team {
    /// Its name.
    pub id: TeamId,
    /// The best tier that it may use.
    pub tier: Tier,
    /// The models that it may use.
    pub allow: AllowList,
    /// Where its requests may be served; empty: anywhere.
    pub regions: Arc<[Box<str>]>,
    /// Limits of the team.
    pub limits: LimitParams,
}

/// An entry of `keys`.
#[derive(Debug, Clone)]
pub struct VirtualKey {
    /// Its id, for attribution; never the key.
    pub id: KeyId,
    /// SHA-256 of the whole key.
    pub sha256: [u8; 32],
    /// Who pays.
    pub team: TeamId,
    /// Which application.
    pub app: AppId,
    /// The best tier (the team's unless narrower).
    pub tier: Tier,
    /// The models (the team's unless narrower).
    pub allow: AllowList,
    /// Limits of the key.
    pub limits: LimitParams,
    /// True when it is no entry of the file: the store that replicas share has it.
    pub is_stored: bool,
}

/// `cache`
#[derive(Debug, Clone)]
pub struct CacheParams {
    /// How long exact answers hold; zero turns the exact cache and single flight off.
    pub exact_ttl: Duration,
    /// Most bytes of exact answers.
    pub exact_max_bytes: u64,
    /// How long answers are kept by idempotency key; zero: not at all.
    pub idempotency_ttl: Duration,
    /// Most bytes of answers by idempotency key.
    pub idempotency_max_bytes: u64,
    /// Canned answers.
    pub templates: Vec<Template>,
    /// Under which repeats are known across starts and replicas.
    pub fingerprint_key: Option<SecretString>,
}

/// A canned answer.
#[derive(Debug, Clone)]
pub struct Template {
    /// Text with `{name}` captures that the last user turn must match as a whole, case-folded.
    pub pattern: String,
    /// The answer; `{name}` is replaced by what was captured.
    pub answer: String,
}

/// `resilience`
#[derive(Debug, Clone)]
pub struct ResilienceParams {
    /// When a model is left alone.
    pub breaker: BreakerParams,
    /// When an attempt is repeated.
    pub retry: RetryParams,
    /// Time-outs.
    pub timeouts: Timeouts,
    /// What follows when a plan is spent.
    pub fallback: FallbackParams,
}

/// `resilience.timeouts`
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// To a stream's first event.
    pub first_event: Duration,
    /// To a whole answer.
    pub response: Duration,
    /// Between two events of a stream.
    pub idle: Duration,
    /// For the request with all its attempts.
    pub total: Duration,
}

/// `resilience.fallback`
#[derive(Debug, Clone)]
pub struct FallbackParams {
    /// Rungs in order; only those below the plan's first candidate are used.
    pub ladder: Vec<Tier>,
    /// Serve an expired answer when everything upstream failed.
    pub stale_if_error: bool,
    /// Rule-based answers when nothing else is left.
    pub rules: Vec<AnswerRule>,
    /// What to do about errors that another model may not have.
    pub on_error: ErrorRules,
}

/// A rule-based answer of last resort.
#[derive(Debug, Clone)]
pub struct AnswerRule {
    /// For these tasks; empty: any.
    pub tasks: Vec<TaskName>,
    /// Conditions as in a level.
    pub when: When,
    /// The text to answer with.
    pub answer: String,
    /// Tell a person: the event `conversation.handoff`.
    pub handoff: bool,
}

/// What follows an error of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRules {
    /// The prompt is too long for the model.
    pub context_length: ErrorRule,
    /// The provider's content policy refused.
    pub content_policy: ErrorRule,
    /// The provider's rate limit.
    pub rate_limit: ErrorRule,
    /// The provider refused our credentials.
    pub auth: ErrorRule,
}

/// What follows an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorRule {
    /// Try the next candidate.
    Next,
    /// Try only candidates that take more context.
    LargerContext,
    /// Answer with the error.
    Stop,
}

/// `pass_through`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassThroughParams {
    /// Providers of files and batches, the usual one first: indices into `providers`.
    pub files: Vec<usize>,
    /// Largest body that is passed on while it comes in.
    pub max_body_bytes: usize,
}

/// `alerts`
#[derive(Debug)]
pub struct AlertParams {
    /// Who is told.
    pub webhooks: Vec<WebhookParams>,
    /// Least time between two events of one kind about the same thing.
    pub min_interval: Duration,
    /// Window of the latency's percentile.
    pub latency_window: Duration,
    /// Answers in the window before its percentile means anything.
    pub latency_min_requests: u32,
}

/// An entry of `alerts.webhooks` that is switched on.
#[derive(Debug, Clone)]
pub struct WebhookParams {
    /// Its name in metrics and in the log.
    pub name: String,
    /// Where to POST; may hold a secret in its path.
    pub url: SecretString,
    /// What bodies are signed with; `None`: they are not.
    pub key: Option<SigningKey>,
    /// Which events it gets, ascending.
    pub events: Vec<EventKind>,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// First pause after a failure.
    pub retry_base: Duration,
    /// Longest pause.
    pub retry_max: Duration,
    /// After this long an event is given up.
    pub give_up_after: Duration,
    /// Extra root certificates (PEM file).
    pub ca_file: Option<PathBuf>,
}

/// The key of a webhook's signatures; never shown.
#[derive(Clone)]
pub struct SigningKey(SecretSlice<u8>);

impl SigningKey {
    /// `whsec_` and base64 (as the Standard Webhooks specification writes keys), or any other text,
    /// whose bytes are the key. `None`: what follows `whsec_` is not base64, or nothing.
    #[must_use]
    pub fn parse(text: &SecretString) -> Option<Self> {
        use base64::Engine;
        let text = text.expose_secret();
        let bytes = match text.strip_prefix("whsec_") {
            Some(encoded) => base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .ok()?,
            None => text.as_bytes().to_vec(),
        };
        (!bytes.is_empty()).then(|| Self(SecretSlice::from(bytes)))
    }

    /// The bytes of the key.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}
