//! Other gateways, where `benches/load/install-peers` has put them: LiteLLM's proxy (PyPI) and the
//! Portkey gateway (npm). Both run with their defaults for production, one worker, without a database.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{await_port, family_of, free_port};
use crate::targets::{KEY, Targets};

/// How much slower they are, roughly; they get that much fewer requests.
const NTH: usize = 40;
/// LiteLLM imports for a while.
const PATIENCE: Duration = Duration::from_mins(2);

fn folder() -> PathBuf {
    std::env::var_os("TOLLGATE_PEERS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers")),
        PathBuf::from,
    )
}

impl Targets {
    /// Adds those that are installed.
    pub fn peers(&mut self, upstream: SocketAddr) -> Result<(), String> {
        self.litellm(upstream)?;
        self.portkey(upstream)
    }

    fn litellm(&mut self, upstream: SocketAddr) -> Result<(), String> {
        let program = folder().join("litellm/bin/litellm");
        if !program.exists() {
            println!("LiteLLM is not installed; its row is left out (benches/load/install-peers)");
            return Ok(());
        }
        let address = free_port()?;
        let file = self.folder.join("litellm.yaml");
        fs::write(
            &file,
            format!(
                "model_list:\n  - model_name: m\n    litellm_params: {{ model: openai/m, api_base: \"http://{upstream}/v1\", api_key: k }}\n\
                 general_settings: {{ master_key: sk-load }}\nlitellm_settings: {{ telemetry: false, set_verbose: false }}\n"
            ),
        )
        .map_err(|error| error.to_string())?;
        let child = Command::new(program)
            .args(["--host", "127.0.0.1", "--num_workers", "1", "--port"])
            .arg(address.port().to_string())
            .arg("--config")
            .arg(&file)
            .env("LITELLM_MODE", "PRODUCTION")
            .env("LITELLM_LOG", "ERROR")
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start LiteLLM: {error}"))?;
        let pid = child.id();
        self.children.push(child);
        await_port(address, PATIENCE)?;
        self.add("LiteLLM proxy", address, "m", family_of(pid));
        if let Some(target) = self.all.last_mut() {
            target.key = "sk-load";
            target.nth = NTH;
        }
        Ok(())
    }

    fn portkey(&mut self, upstream: SocketAddr) -> Result<(), String> {
        let program =
            folder().join("portkey/node_modules/@portkey-ai/gateway/build/start-server.js");
        if !program.exists() {
            println!("Portkey is not installed; its row is left out (benches/load/install-peers)");
            return Ok(());
        }
        let address = free_port()?;
        let child = Command::new("node")
            .arg(program)
            .arg("--headless")
            .arg(format!("--port={}", address.port()))
            .env("NODE_ENV", "production")
            .env("TRUSTED_CUSTOM_HOSTS", "127.0.0.1,localhost")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start Portkey: {error}"))?;
        let pid = child.id();
        self.children.push(child);
        await_port(address, PATIENCE)?;
        self.add("Portkey gateway", address, "m", family_of(pid));
        if let Some(target) = self.all.last_mut() {
            target.key = KEY;
            target.nth = NTH / 4;
            target.headers = vec![
                ("x-portkey-provider", "openai".to_owned()),
                ("x-portkey-custom-host", format!("http://{upstream}/v1")),
            ];
        }
        Ok(())
    }
}
