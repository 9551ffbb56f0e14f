//! What is measured: the processes, started on free ports and ended by id.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::process::{await_port, children_of, free_port};

/// The virtual key of the load run.
pub const KEY: &str = "tg-load";

/// One thing to send load to.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: &'static str,
    pub address: SocketAddr,
    /// What the request's `model` says.
    pub model: &'static str,
    /// Sent as a bearer key.
    pub key: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Processes whose CPU time counts; none for the direct upstream.
    pub pids: Vec<u32>,
    /// Gets one n-th of the requests, because it is that much slower.
    pub nth: usize,
}

/// A certificate for loopback, for runs with TLS.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Everything that runs.
pub struct Targets {
    pub all: Vec<Target>,
    pub children: Vec<Child>,
    pub folder: PathBuf,
}

impl Targets {
    /// None yet, and a folder for their files.
    pub fn new() -> Result<Self, String> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("tollgate-load-{}-{run}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        Ok(Self {
            all: Vec::new(),
            children: Vec::new(),
            folder,
        })
    }

    /// Starts an upstream; `arguments` pace it.
    pub fn upstream(&mut self, arguments: &[&str]) -> Result<SocketAddr, String> {
        let role: Vec<&str> = ["serve-upstream"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        Ok(self.role(&role)?.0)
    }

    /// The upstream itself.
    pub fn direct(&mut self, upstream: SocketAddr) {
        self.add("direct upstream", upstream, "m", Vec::new());
    }

    /// The least hyper proxy.
    pub fn least(&mut self, upstream: SocketAddr, tls: Option<&Certificate>) -> Result<(), String> {
        let upstream = upstream.to_string();
        let mut role = vec!["serve-least", upstream.as_str()];
        if let Some(tls) = tls {
            role.extend([text(&tls.chain)?, text(&tls.key)?]);
        }
        let (address, pid) = self.role(&role)?;
        self.add("least hyper proxy", address, "m", vec![pid]);
        Ok(())
    }

    /// nginx, if it is installed.
    pub fn nginx(
        &mut self,
        upstream: SocketAddr,
        tls: Option<&Certificate>,
        http2: bool,
    ) -> Result<(), String> {
        let port = free_port()?;
        let folder = self.folder.display();
        let ssl = if tls.is_some() { " ssl" } else { "" };
        let version = if http2 { " http2" } else { "" };
        let certificate = tls.map_or_else(String::new, |tls| {
            format!(
                "ssl_certificate {}; ssl_certificate_key {};",
                tls.chain.display(),
                tls.key.display()
            )
        });
        let conf = format!(
            "daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n\
             events {{ worker_connections 19000; }}\n\
             http {{ access_log off; client_max_body_size 8m; client_body_buffer_size 2m; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
             upstream up {{ server {upstream}; keepalive 1000; keepalive_requests 10000000; }}\n\
             server {{ listen {port}{ssl}{version} backlog=4096; {certificate} keepalive_requests 10000000; location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off; }} }} }}\n"
        );
        let file = self.folder.join("nginx.conf");
        fs::write(&file, conf).map_err(|error| error.to_string())?;
        let Ok(child) = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
        else {
            println!(
                "nginx is not installed; its row is left out (Debian: apt-get install nginx-light)"
            );
            return Ok(());
        };
        let master = child.id();
        self.children.push(child);
        await_port(port, Duration::from_secs(10))?;
        // It listens before it has its worker.
        while children_of(master).is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.add("nginx proxy_pass", port, "m", children_of(master));
        Ok(())
    }

    /// A certificate for 127.0.0.1, made on the spot.
    pub fn certificate(&self) -> Result<Certificate, String> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])
            .map_err(|error| error.to_string())?;
        let files = Certificate {
            chain: self.folder.join("tls.crt"),
            key: self.folder.join("tls.key"),
        };
        fs::write(&files.chain, made.cert.pem()).map_err(|error| error.to_string())?;
        fs::write(&files.key, made.signing_key.serialize_pem())
            .map_err(|error| error.to_string())?;
        Ok(files)
    }

    pub fn add(
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
            headers: Vec::new(),
            pids,
            nth: 1,
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
        let address = line
            .trim()
            .parse()
            .map_err(|_| format!("no address from {arguments:?}"))?;
        Ok((address, pid))
    }
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str()
        .ok_or_else(|| "a path is not UTF-8".to_owned())
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
