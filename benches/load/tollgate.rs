//! tollgate as it is measured: keys, limits, budgets, classifier, ledger on SQLite and metrics on, the
//! exact cache off; and files of any size.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{await_port, free_port};
use crate::targets::{Certificate, KEY, Targets};

/// What its file holds besides what every run has.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    pub models: usize,
    pub keys: usize,
    pub budgets: usize,
    pub tls: Option<Certificate>,
    /// Worker threads; one for each core otherwise.
    pub workers: Option<usize>,
}

/// One that runs.
#[derive(Debug, Clone)]
pub struct Running {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub pid: u32,
    pub file: PathBuf,
    pub ledger: PathBuf,
}

impl Targets {
    /// Starts it without waiting for it.
    pub fn launch(&mut self, upstream: SocketAddr, setup: &Setup) -> Result<Running, String> {
        let (address, admin) = (free_port()?, free_port()?);
        let number = self.children.len();
        let ledger = self.folder.join(format!("ledger-{number}.db"));
        let yaml = file(upstream, address, admin, &ledger, setup);
        let file = self.folder.join(format!("routes-{number}.yaml"));
        fs::write(&file, yaml).map_err(|error| error.to_string())?;
        // Another build, such as one that is guided by a profile, is measured by naming it.
        let program = std::env::var_os("TOLLGATE_PROGRAM")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_tollgate").into());
        let mut command = Command::new(program);
        command
            .args(["serve", "--config"])
            .arg(&file)
            .env("TOLLGATE_LOG", "warn");
        if let Some(workers) = setup.workers {
            command.env("TOKIO_WORKER_THREADS", workers.to_string());
        }
        let child = command
            .spawn()
            .map_err(|error| format!("cannot start tollgate: {error}"))?;
        let pid = child.id();
        self.children.push(child);
        Ok(Running {
            address,
            admin,
            pid,
            file,
            ledger,
        })
    }

    /// Starts it and waits until it listens.
    pub fn tollgate(&mut self, upstream: SocketAddr, setup: &Setup) -> Result<Running, String> {
        let running = self.launch(upstream, setup)?;
        await_port(running.address, Duration::from_secs(20))?;
        Ok(running)
    }

    /// The two rows of every table: routed with everything on, and with a pinned model.
    pub fn tollgate_rows(
        &mut self,
        upstream: SocketAddr,
        setup: &Setup,
    ) -> Result<Running, String> {
        let running = self.tollgate(upstream, setup)?;
        let pids = vec![running.pid];
        self.add(
            "tollgate, everything on",
            running.address,
            "auto",
            pids.clone(),
        );
        self.add("tollgate, pinned model", running.address, "small", pids);
        Ok(running)
    }
}

/// `routes.yaml`.
fn file(
    upstream: SocketAddr,
    address: SocketAddr,
    admin: SocketAddr,
    ledger: &std::path::Path,
    setup: &Setup,
) -> String {
    let tls = setup.tls.as_ref().map_or_else(String::new, |tls| {
        format!(
            ", tls: {{ cert: \"{}\", key: \"{}\" }}",
            tls.chain.display(),
            tls.key.display()
        )
    });
    let (mut models, mut keys, mut budgets) = (String::new(), String::new(), String::new());
    for index in 0..setup.models {
        let _infallible = writeln!(
            models,
            "  extra-{index}: {{ provider: up, price: {{ input: 1, output: 3 }}, context_tokens: 128000, max_output_tokens: 8192, quality: 0.5 }}"
        );
    }
    for index in 0..setup.keys {
        let _infallible = writeln!(
            keys,
            "  - {{ id: extra-{index}, sha256: \"{}\", team: load }}",
            sha256(&format!("tg-extra-{index}"))
        );
    }
    for index in 0..setup.budgets {
        let _infallible = writeln!(
            budgets,
            "  - {{ name: extra-{index}, match: {{ key: load, tag: {{ n: \"{index}\" }} }}, limit_usd: 1000000, period: month, timezone: UTC }}"
        );
    }
    format!(
        r#"
version: 1
server: {{ listen: "{address}", admin_listen: "{admin}"{tls} }}
state: {{ store: "sqlite:{}" }}
auth: {{ mode: keys }}
providers: {{ up: {{ dialect: openai_chat, base_url: "http://{upstream}/v1", limits: {{ requests_per_minute: 100000000 }} }} }}
models:
  small: {{ provider: up, price: {{ input: 0.15, cached_input: 0.075, output: 0.60 }}, context_tokens: 1000000, max_output_tokens: 16384, tier: standard, quality: 0.6, limits: {{ tokens_per_minute: 100000000000 }} }}
  large: {{ provider: up, price: {{ input: 2.50, cached_input: 1.25, output: 10.00 }}, context_tokens: 1000000, max_output_tokens: 16384, tier: premium, quality: 0.9 }}
{models}baseline: large
matrix:
  code_generation: {{ simple: [small, large], complex: [large, small], critical: [large] }}
  default: {{ simple: [small, large], complex: [large, small], critical: [large, small] }}
budgets:
  - {{ name: company, limit_usd: 1000000, period: month, timezone: UTC }}
  - {{ name: team, match: {{ team: load }}, limit_usd: 1000000, period: month, timezone: UTC }}
{budgets}teams: {{ load: {{ tier: premium, allow: ["*"], limits: {{ requests_per_minute: 100000000 }} }} }}
keys:
  - {{ id: load, sha256: "{}", team: load, app: bench, limits: {{ requests_per_minute: 100000000, tokens_per_minute: 100000000000, concurrent: 100000 }} }}
{keys}limits: {{ requests_per_minute: 100000000 }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
"#,
        ledger.display(),
        sha256(KEY),
    )
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex
}
