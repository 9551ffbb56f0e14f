//! `server`, `state` and `auth`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretText;

/// Listeners, caps, TLS and drain.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address of the data listener, `host:port`. Off loopback it needs `auth: { mode: keys }`, or
    /// `serve --insecure-open`.
    pub listen: String,
    /// Address of the admin listener (metrics, health, dashboard, reload), `host:port`.
    pub admin_listen: String,
    /// Largest request body, bytes; a larger one gets 413. The default holds a few images as base64.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub max_body_bytes: u64,
    /// Most client connections at once; more wait in the accept queue. The default is Envoy's edge
    /// recommendation.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: u32,
    /// Most requests in flight; more are shed at once with 503 `overloaded`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: u32,
    /// How long the head of a request may take to arrive, milliseconds. The default
    /// is that of `timeout http-request` in common proxies.
    #[schemars(range(min = 1, max = 600_000))]
    pub header_timeout_ms: u64,
    /// How long the body of a request may take to arrive, milliseconds.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub body_timeout_ms: u64,
    /// Certificate and key of the data listener; without them it speaks plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Bearer secret of the admin listener, as `${VARIABLE}` or `file:/path`; required when it does
    /// not listen on loopback.
    pub admin_token: Option<SecretText>,
    /// How long streams may run on after SIGTERM, seconds. Keep the orchestrator's grace period above it.
    #[schemars(range(min = 0, max = 86_400))]
    pub drain_seconds: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            // Loopback: nothing is open to the network until somebody says so.
            listen: "127.0.0.1:8080".to_owned(),
            admin_listen: "127.0.0.1:9090".to_owned(),
            // A few photographs as base64.
            max_body_bytes: 32 << 20,
            // Envoy's edge recommendation for `connection_limit`.
            max_connections: 10_000,
            // Streams last a minute, so this is some 70 requests per second; about 100 MiB of state.
            max_in_flight: 4096,
            // HAProxy's `timeout http-request`.
            header_timeout_ms: 10_000,
            // 32 MiB over a slow uplink.
            body_timeout_ms: 60_000,
            tls: None,
            admin_token: None,
            // linkerd2-proxy's shutdown grace; most streams are done by then.
            drain_seconds: 120,
        }
    }
}

/// Certificate and key of the data listener; taken over when the files change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain.
    pub cert: String,
    /// PEM file with the private key.
    pub key: String,
}

/// Where state is kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// `sqlite:PATH` (a file beside the process) or `memory` (nothing survives; for tests and try-outs).
    /// With several replicas `redis://host:6379` (or `rediss://`, Valkey too), which then holds counters,
    /// limits and budgets, and `ledger` says where the ledger is (docs/replicas.md).
    pub store: String,
    /// Where the ledger alone is kept, when not in `store`: `postgres://user:${PASSWORD}@host/database`
    /// (for several replicas), `sqlite:PATH` or `memory`. The address may be `${VARIABLE}` or
    /// `file:/path` as a whole; `?sslmode=verify-full` protects it (docs/ledger.md).
    pub ledger: Option<SecretText>,
    /// Directory of this process's journal before a Postgres ledger, on a local disk; each replica on a
    /// machine needs its own. A SQLite ledger has its journal beside the file.
    pub journal: String,
    /// Most requests in flight plus records that the ledger's database has not taken yet; beyond it
    /// requests are refused with 503 `overloaded` rather than served without a bill. Each waiting record
    /// takes some two KiB of memory and of the journal's disk.
    #[schemars(range(min = 16, max = 10_000_000))]
    pub ledger_buffer_records: u64,
    /// How long a request's row is kept in SQLite or Postgres; nothing is forgotten when it is not set.
    /// Older rows become sums by day and everything but end user and tag, so that reports and budgets
    /// still add up. Rows of a budget's present period stay.
    #[schemars(range(min = 1, max = 36_500))]
    pub retention_days: Option<u32>,
    /// What this replica is called among those that share a store; no two that run at once may have the
    /// same name. Unset: a name that is made up once and kept with the ledger.
    pub replica: Option<String>,
    /// What the names of all keys in the shared store begin with; one for each installation.
    pub namespace: String,
    /// What goes on while the shared store does not answer.
    pub on_store_down: OnStoreDownConfig,
    /// Responses that clients of `/v1/responses` ask to be kept (docs/api.md).
    pub responses: ResponsesConfig,
}

/// Responses that clients of `/v1/responses` ask to be kept (`store`, which is on unless they say
/// otherwise), with the conversation that led to each. Kept in a file beside a SQLite ledger or a Postgres
/// ledger's journal (`NAME.responses.db`), in memory beside a ledger in memory, and in the shared store
/// where there is one.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponsesConfig {
    /// Whether anything is kept. When not, `previous_response_id` is refused with 400, and responses say
    /// `"store": false`.
    pub store: bool,
    /// How long a response is kept, days.
    #[schemars(range(min = 1, max = 3_650))]
    pub retention_days: u32,
    /// Most bytes of responses and conversations; the oldest go first. Default: 1 GiB in a file, 256 MiB
    /// in memory or in a shared store, which must have that much to spare.
    #[schemars(range(min = 65_536))]
    pub max_bytes: Option<u64>,
}

impl Default for ResponsesConfig {
    fn default() -> Self {
        Self {
            // As at OpenAI, both.
            store: true,
            retention_days: 30,
            max_bytes: None,
        }
    }
}

/// What goes on while the shared store does not answer; everything else (breakers, learned statistics)
/// goes on locally.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OnStoreDownConfig {
    /// `closed`: each replica spends what it holds, then 429. `open`: it goes on up to the whole limit,
    /// so that budgets may be overrun by as many times as there are replicas.
    pub budgets: BudgetsOnStoreDown,
    /// `share`: each replica goes on with its last part of each limit. `open`: each takes each limit for
    /// its own. `closed`: nothing that is limited passes.
    pub limits: LimitsOnStoreDown,
}

/// What budgets do while the shared store does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetsOnStoreDown {
    /// Nothing is spent beyond what is held.
    #[default]
    Closed,
    /// Each replica goes on up to the limit.
    Open,
}

/// What limits do while the shared store does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitsOnStoreDown {
    /// Each replica goes on with its last part.
    #[default]
    Share,
    /// Each replica takes the limit for its own.
    Open,
    /// Nothing passes.
    Closed,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            // Budgets must survive a restart without any set-up.
            store: "sqlite:tollgate.db".to_owned(),
            ledger: None,
            journal: "tollgate.journal".to_owned(),
            // 64 MiB at most; five minutes of a hundred requests per second.
            ledger_buffer_records: 32_768,
            // Who deletes money's records must have said so.
            retention_days: None,
            replica: None,
            namespace: "tollgate".to_owned(),
            on_store_down: OnStoreDownConfig::default(),
            responses: ResponsesConfig::default(),
        }
    }
}

/// Who may call.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// `open`: nobody needs a key; for loopback. `keys`: every request carries one of `keys`.
    pub mode: AuthMode,
}

/// How callers are known.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Nobody needs a key; everybody is team and app `default`.
    #[default]
    Open,
    /// Every request carries a virtual key as `Authorization: Bearer` or `x-api-key`.
    Keys,
}
