//! A real Redis (or Valkey) server for tests, without persistence: a restart forgets everything.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::servers::{Watched, directory_of, free_port, skip};

/// A server on a free port; ended with the test.
pub struct Redis {
    directory: PathBuf,
    port: u16,
    running: Option<Watched>,
}

impl Redis {
    /// It runs as anybody.
    const USER: &str = "root";

    /// A fresh server; `None` where there is none (skip).
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            skip("a Redis server", "redis-server");
            return None;
        };
        drop(program);
        let mut server = Self {
            directory: directory_of(Self::USER, "tollgate-redis-"),
            port: 0,
            running: None,
        };
        server.resume();
        Some(server)
    }

    /// Starts it again, empty, on the port that it had.
    pub fn resume(&mut self) {
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            if self.port == 0 {
                self.port = free_port();
            }
            if self.try_start() {
                return;
            }
        }
        let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        panic!("Redis does not start: {log}");
    }

    fn try_start(&mut self) -> bool {
        let program = program().expect("was there");
        let port = self.port.to_string();
        let directory = self.directory.display().to_string();
        let command: Vec<String> = [
            program.to_str().expect("a name"),
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            &directory,
        ]
        .map(str::to_owned)
        .to_vec();
        let mut watched = Watched::start(Self::USER, &command, &self.directory.join("log"));
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if self
                .ask("PING")
                .is_some_and(|answer| answer.starts_with("+PONG"))
            {
                self.running = Some(watched);
                return true;
            }
            if watched.has_ended() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Sends one command line and reads what comes first.
    pub fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut answer = vec![0; 64 * 1024];
        let length = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    /// Ends it as a crash does: what it held is gone.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end("KILL");
        }
    }

    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| [folder.join("redis-server"), folder.join("valkey-server")])
        .find(|program| program.exists())
}
