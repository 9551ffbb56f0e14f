//! Real servers for tests: started on a free port in a temporary directory, as a user that they agree
//! to run as, ended with the process that started them however that ends. Used by the integration
//! tests and, by path, by the unit tests of the stores.
//!
//! Where a machine has no such server, tests skip with a notice that is seen; with
//! `TOLLGATE_REQUIRE_SERVERS` set they fail instead, so that CI cannot pass by skipping.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Set by CI: a missing server is a failure.
pub const REQUIRED: &str = "TOLLGATE_REQUIRE_SERVERS";

/// Runs a server as long as its standard input is open, so that it never outlives who started it.
const WATCH: &str = r#""$@" & server=$!
read -r how || how=INT
kill -"$how" "$server"
wait "$server""#;

/// A free port. Somebody else may take it first; then starting fails, and is tried again.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// Says on the real standard error, past the test's capture, that something is not tested.
pub fn skip(server: &str, package: &str) {
    assert!(
        std::env::var_os(REQUIRED).is_none(),
        "no {server} on this machine, and {REQUIRED} is set: install the package `{package}`"
    );
    let notice = format!(
        "\nSKIPPED: a test that needs {server}; install Debian's package `{package}` to run it\n"
    );
    let _ = std::io::stderr().write_all(notice.as_bytes());
}

/// A server process and its watcher.
pub struct Watched(Child);

impl Watched {
    /// Starts a server's command line under the watcher, as `user` when this is root.
    pub fn start(user: &str, command: &[String], log: &Path) -> Self {
        let log = fs::File::create(log).expect("a log");
        let child = as_user(user)
            .args(["sh", "-c", WATCH, "watch"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("a shell");
        Self(child)
    }

    /// Ends the server with this signal and waits for it.
    pub fn end(mut self, signal: &str) {
        if let Some(mut stdin) = self.0.stdin.take() {
            let _ = writeln!(stdin, "{signal}");
        }
        let _ = self.0.wait();
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }
}

/// Servers refuse to run as root: `env` (which changes nothing), or `setpriv` to another user.
fn as_user(user: &str) -> Command {
    if !is_root() {
        return Command::new("env");
    }
    let mut command = Command::new("setpriv");
    command.args([
        &format!("--reuid={user}"),
        &format!("--regid={user}"),
        "--clear-groups",
    ]);
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A directory that `user` may write to.
pub fn directory_of(user: &str, name: &str) -> PathBuf {
    let directory = tempfile::Builder::new()
        .prefix(name)
        .tempdir()
        .expect("a directory")
        .keep();
    if is_root() {
        let owned = Command::new("chown").arg(user).arg(&directory).status();
        assert!(owned.is_ok_and(|status| status.success()), "chown {user}");
    }
    directory
}

/// Where Debian keeps Postgres' programs (the newest version), or the first folder of `PATH` that has
/// them all.
fn postgres_programs() -> Option<PathBuf> {
    const NEEDED: [&str; 4] = ["initdb", "postgres", "psql", "pg_isready"];
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<_> = versions.flatten().map(|it| it.path().join("bin")).collect();
    found.sort_by(|a, b| b.cmp(a));
    found.extend(std::env::split_paths(&std::env::var_os("PATH")?));
    found
        .into_iter()
        .find(|folder| NEEDED.iter().all(|program| folder.join(program).exists()))
}

/// A Postgres server with a superuser `tollgate` and the password [`Postgres::PASSWORD`].
pub struct Postgres {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
    options: Vec<String>,
    running: Option<Watched>,
}

impl Postgres {
    /// The superuser's password; its characters must be percent-encoded in an address.
    pub const PASSWORD: &str = "p@ss/word";
    /// As it stands in an address.
    pub const PASSWORD_ENCODED: &str = "p%40ss%2Fword";
    const USER: &str = "postgres";

    /// The server that the tests of one process share; `None` where there is none (skip).
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let server = Self::own(&[])?;
            remove_with_process(&server.directory);
            Some(server)
        });
        if shared.is_none() {
            skip("a Postgres server", "postgresql");
        }
        shared.as_ref()
    }

    /// A server for one test that stops it or changes how it runs (`name=value`).
    pub fn own(options: &[&str]) -> Option<Self> {
        let programs = postgres_programs()?;
        let directory = directory_of(Self::USER, "tollgate-postgres-");
        let password_file = directory.join("password");
        fs::write(&password_file, Self::PASSWORD).expect("written");
        let made = as_user(Self::USER)
            .arg(programs.join("initdb"))
            .args(["--username=tollgate", "--auth=scram-sha-256", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C", "--no-instructions"])
            .arg(format!("--pwfile={}", password_file.display()))
            .arg(directory.join("data"))
            .stdin(Stdio::null())
            .output()
            .expect("initdb runs");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut server = Self {
            programs,
            directory,
            port: 0,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            running: None,
        };
        server.start();
        Some(server)
    }

    /// Starts it again, on the port that it had.
    pub fn start(&mut self) {
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            if self.port == 0 {
                self.port = free_port();
            }
            if self.try_start() {
                return;
            }
        }
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        panic!("Postgres does not start: {log}");
    }

    fn try_start(&mut self) -> bool {
        // What a crash of the machine would take, no test looks at.
        let mut command = vec![
            self.programs.join("postgres").display().to_string(),
            "-D".to_owned(),
            self.directory.join("data").display().to_string(),
            "-p".to_owned(),
            self.port.to_string(),
        ];
        let settings = [
            "fsync=off",
            "full_page_writes=off",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            "shared_buffers=32MB",
        ];
        let settings = settings.iter().map(|&it| it.to_owned());
        for setting in settings.chain(self.options.iter().cloned()) {
            command.extend(["-c".to_owned(), setting]);
        }
        let mut watched = Watched::start(Self::USER, &command, &self.directory.join("log"));
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if watched.has_ended() {
                return false;
            }
            let ready = self.client("pg_isready").arg("-q").status();
            if ready.expect("pg_isready runs").success() {
                self.running = Some(watched);
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Stops it, cutting its connections off. `hard` as if it had crashed.
    pub fn stop(&mut self, hard: bool) {
        if let Some(running) = self.running.take() {
            running.end(if hard { "QUIT" } else { "INT" });
        }
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .args(["-h", "127.0.0.1", "-U", "tollgate", "-p"])
            .arg(self.port.to_string())
            .env("PGPASSWORD", Self::PASSWORD);
        command
    }

    /// A fresh, empty database; its address.
    pub fn database(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.address("tollgate", Self::PASSWORD_ENCODED, &name)
    }

    /// The address of a database for this user.
    pub fn address(&self, user: &str, password: &str, database: &str) -> String {
        let port = self.port;
        format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Runs SQL as the superuser; what it answers, a line for each row.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self
            .client("psql")
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                database,
            ])
            .args(["-c", sql])
            .output()
            .expect("psql runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop(false);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The name of the database in an address of [`Postgres::database`].
pub fn database_name(address: &str) -> &str {
    let path = address.split('?').next().unwrap_or(address);
    path.rsplit('/').next().unwrap_or(path)
}

/// Deletes the directory of a server that nobody drops: a shell waits for this process to end.
fn remove_with_process(directory: &Path) {
    let script = r#"while read -r _; do :; done; sleep 1; rm -rf "$1""#;
    let waiting = Command::new("sh")
        .args(["-c", script, "remove"])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    // Its input closes when this process ends.
    std::mem::forget(waiting);
}
