//! The real proxy on port 0, from a YAML text.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tollgate::bootstrap::{self, Options};
use tollgate::cli::serve::{Running, Source, bind};
use tollgate::clock::Clock;
use tollgate::config;
use tollgate::gateway::Gateway;
use tollgate::server::Workers;
use tollgate::types::RequestRecord;

use super::client::Client;

/// A running proxy.
pub struct Proxy {
    pub data: SocketAddr,
    pub admin: SocketAddr,
    pub gateway: Arc<Gateway>,
    pub running: Option<Running>,
}

impl Proxy {
    /// Starts on this configuration, which must be valid.
    pub async fn start(yaml: &str) -> Self {
        let workers = Workers::start_threads(2).expect("the workers start");
        Self::run(loaded(yaml), None, workers)
    }

    /// The same, but served by the test's own runtime: for what is kept by thread, such as a log.
    pub async fn start_here(yaml: &str) -> Self {
        Self::run(loaded(yaml), None, Workers::here())
    }

    /// Starts on a file, which is watched.
    pub async fn start_file(path: PathBuf) -> Self {
        let source = Source::File(path);
        let snapshot = source
            .load(Clock::system().unix_ms())
            .unwrap_or_else(|errors| panic!("the test's configuration is wrong: {errors:#?}"));
        let workers = Workers::start_threads(2).expect("the workers start");
        Self::run(snapshot, Some(source), workers)
    }

    fn run(snapshot: config::Snapshot, source: Option<Source>, workers: Workers) -> Self {
        let data = bind("127.0.0.1:0").expect("a port");
        let admin = bind("127.0.0.1:0").expect("a port");
        let (data_address, admin_address) = (
            data.local_addr().expect("bound"),
            admin.local_addr().expect("bound"),
        );
        let options = Options {
            clock: Clock::system(),
            seed: 7,
        };
        let gateway = bootstrap::gateway(snapshot, options).expect("the gateway starts");
        let running = Running::start_on(workers, Arc::clone(&gateway), (data, admin), source)
            .expect("the proxy starts");
        Self {
            data: data_address,
            admin: admin_address,
            gateway,
            running: Some(running),
        }
    }

    /// A client of the data listener.
    pub fn client(&self) -> Client {
        Client::new(self.data)
    }

    /// A client of the admin listener.
    pub fn admin_client(&self) -> Client {
        Client::new(self.admin)
    }

    /// The ledger's record of a request; waits until its exchange has closed.
    pub async fn record(&self, request_id: &str) -> RequestRecord {
        let id = tollgate::types::RequestId::from_text(request_id);
        for _ in 0..2000 {
            if let Some(record) = self.gateway.ledger.request(&id).expect("the ledger reads") {
                return record;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        panic!("no record of {request_id}");
    }

    /// The sum of a metric over all samples whose labels include these.
    pub fn metric(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.gateway
            .metrics
            .samples(family)
            .into_iter()
            .filter(|(have, _)| {
                labels
                    .iter()
                    .all(|(name, value)| have.get(*name).is_some_and(|it| it == value))
            })
            .map(|(_, value)| value)
            .sum()
    }

    /// Drains and stops.
    pub async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }
}

/// The compiled form of a text, which must be valid.
fn loaded(yaml: &str) -> config::Snapshot {
    let now_ms = Clock::system().unix_ms();
    config::load(
        yaml,
        "routes.yaml",
        &|name| std::env::var(name).ok(),
        now_ms,
    )
    .unwrap_or_else(|errors| panic!("the test's configuration is wrong: {errors:#?}"))
}

/// The configuration that most tests start from: two models on one scripted upstream.
pub fn two_models(base_url: &str, more: &str) -> String {
    format!(
        r#"
version: 1
state: {{ store: memory }}
auth: {{ mode: open }}
providers:
  up: {{ dialect: openai_chat, base_url: "{base_url}" }}
models:
  small: {{ provider: up, price: {{ input: 0.15, cached_input: 0.075, output: 0.60 }}, context_tokens: 128000, max_output_tokens: 16384, tier: standard, quality: 0.6 }}
  large: {{ provider: up, price: {{ input: 2.50, cached_input: 1.25, output: 10.00 }}, context_tokens: 128000, max_output_tokens: 16384, tier: premium, quality: 0.9 }}
baseline: large
matrix:
  default: {{ simple: [small, large], complex: [large, small], critical: [large, small] }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
{more}
"#
    )
}

/// The body of a chat request.
pub fn chat(model: &str, text: &str) -> Value {
    serde_json::json!({"model": model, "messages": [{"role": "user", "content": text}]})
}
