//! What is measured: the processes, started on free ports and ended by id.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One thing to send load to.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: &'static str,
    pub address: SocketAddr,
    /// What the request's `model` says.
    pub model: &'static str,
    /// Sent as a bearer key.
    pub key: &'static str,
    /// Processes whose CPU time counts; none for the direct upstream.
    pub pids: Vec<u32>,
}

/// Everything that runs.
pub struct Targets {
    all: Vec<Target>,
    children: Vec<Child>,
    notices: Vec<String>,
    folder: PathBuf,
}

/// The virtual key of the load run.
const KEY: &str = "tg-load";

impl Targets {
    pub fn start() -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("tollgate-load-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let mut targets = Self {
            all: Vec::new(),
            children: Vec::new(),
            notices: Vec::new(),
            folder,
        };
        let upstream = targets.role(&["serve-upstream"])?.0;
        targets.add("direct upstream", upstream, "m", Vec::new());
        targets.nginx(upstream)?;
        let (least, pid) = targets.role(&["serve-least", &upstream.to_string()])?;
        targets.add("least hyper proxy", least, "m", vec![pid]);
        let (tollgate, pid) = targets.tollgate(upstream)?;
        targets.add("tollgate, everything on", tollgate, "auto", vec![pid]);
        targets.add("tollgate, pinned model", tollgate, "small", vec![pid]);
        Ok(targets)
    }

    pub fn all(&self) -> &[Target] {
        &self.all
    }

    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    fn add(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        model: &'static str,
        pids: Vec<u32>,
    ) {
        self.all.push(Target {
            name,
            address,
            model,
            key: KEY,
            pids,
        });
    }

    /// This program in another role; its first line is its address.
    fn role(&mut self, arguments: &[&str]) -> Result<(SocketAddr, u32), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {arguments:?}: {error}"))?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("no output")?;
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let pid = child.id();
        self.children.push(child);
        Ok((
            line.trim()
                .parse()
                .map_err(|_| format!("no address from {arguments:?}"))?,
            pid,
        ))
    }

    fn tollgate(&mut self, upstream: SocketAddr) -> Result<(SocketAddr, u32), String> {
        let (data, admin) = (free_port()?, free_port()?);
        let hash = sha256(KEY);
        let ledger = self.folder.join("ledger.db");
        let yaml = format!(
            r#"
version: 1
server: {{ listen: "{data}", admin_listen: "{admin}" }}
state: {{ store: "sqlite:{}" }}
auth: {{ mode: keys }}
providers: {{ up: {{ dialect: openai_chat, base_url: "http://{upstream}/v1", limits: {{ requests_per_minute: 100000000 }} }} }}
models:
  small: {{ provider: up, price: {{ input: 0.15, cached_input: 0.075, output: 0.60 }}, context_tokens: 128000, max_output_tokens: 16384, tier: standard, quality: 0.6, limits: {{ tokens_per_minute: 100000000000 }} }}
  large: {{ provider: up, price: {{ input: 2.50, cached_input: 1.25, output: 10.00 }}, context_tokens: 128000, max_output_tokens: 16384, tier: premium, quality: 0.9 }}
baseline: large
matrix:
  code_generation: {{ simple: [small, large], complex: [large, small], critical: [large] }}
  default: {{ simple: [small, large], complex: [large, small], critical: [large, small] }}
budgets:
  - {{ name: company, limit_usd: 1000000, period: month, timezone: UTC }}
  - {{ name: team, match: {{ team: load }}, limit_usd: 1000000, period: month, timezone: UTC }}
teams: {{ load: {{ tier: premium, allow: ["*"], limits: {{ requests_per_minute: 100000000 }} }} }}
keys: [ {{ id: load, sha256: "{hash}", team: load, app: bench, limits: {{ requests_per_minute: 100000000, tokens_per_minute: 100000000000, concurrent: 100000 }} }} ]
limits: {{ requests_per_minute: 100000000 }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
"#,
            ledger.display()
        );
        let file = self.folder.join("routes.yaml");
        fs::write(&file, yaml).map_err(|error| error.to_string())?;
        let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["serve", "--config"])
            .arg(&file)
            .env("TOLLGATE_LOG", "warn")
            .spawn()
            .map_err(|error| format!("cannot start tollgate: {error}"))?;
        let pid = child.id();
        self.children.push(child);
        await_port(data)?;
        Ok((data, pid))
    }

    fn nginx(&mut self, upstream: SocketAddr) -> Result<(), String> {
        let port = free_port()?;
        let folder = self.folder.display();
        let conf = format!(
            "daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
             upstream up {{ server {upstream}; keepalive 64; }}\n\
             server {{ listen {port}; keepalive_requests 10000000; location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off; }} }} }}\n"
        );
        let file = self.folder.join("nginx.conf");
        fs::write(&file, conf).map_err(|error| error.to_string())?;
        let Ok(child) = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
        else {
            self.notices.push(
                "nginx is not installed; its row is left out (Debian: apt-get install nginx-light)"
                    .to_owned(),
            );
            return Ok(());
        };
        let master = child.id();
        self.children.push(child);
        await_port(port)?;
        let pids = workers_of(master);
        self.add("nginx proxy_pass", port, "m", pids);
        Ok(())
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        for child in &mut self.children {
            // nginx's workers end with SIGTERM to their master, which `kill` alone would orphan.
            let _terminated = Command::new("kill")
                .arg("-TERM")
                .arg(child.id().to_string())
                .status();
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ended = child.kill();
            let _reaped = child.wait();
        }
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

fn sha256(text: &str) -> String {
    use std::fmt::Write;

    use sha2::{Digest, Sha256};
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex
}

fn free_port() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

fn await_port(address: SocketAddr) -> Result<(), String> {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("nothing listens on {address}"))
}

fn workers_of(master: u32) -> Vec<u32> {
    let children =
        fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
