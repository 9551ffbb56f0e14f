//! Connections to the server, and its refusals in words that say what to do.
//!
//! The driver is asynchronous, the ledger's back ends block: the driver gets a runtime of its own
//! with one thread, and whoever asks waits for it. So no worker of the proxy ever polls a database.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tokio::runtime::{Handle, Runtime};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use crate::stores::usage::LedgerError;
use crate::types::{PostgresTls, PostgresUrl};

/// Connections that are kept open between questions; more are opened and closed as needed.
const IDLE_CONNECTIONS: usize = 4;
/// How long an answer may take before its connection is given up: far above any batch or sum of
/// ours, below what an orchestrator waits for a stuck process.
const PATIENCE: Duration = Duration::from_secs(30);
/// A server whose machine has vanished is noticed after this silence.
const SILENCE: Duration = Duration::from_secs(15);

/// Why the server did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The driver or the server says so.
    Driver(tokio_postgres::Error),
    /// It did not answer in time.
    Silent,
    /// What it answered is nothing that we wrote.
    Unreadable(String),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

/// What is to be thought of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It passes: the server is away, starting, full, or a standby that may be promoted.
    Away,
    /// It stays until somebody changes the address, the rights or the certificate.
    Refused,
    /// A record does not fit: it never will, and the others do.
    Unfit,
    /// Anything else.
    Other,
}

impl Failure {
    pub fn kind(&self) -> Kind {
        let error = match self {
            Self::Silent => return Kind::Away,
            Self::Unreadable(_) => return Kind::Other,
            Self::Driver(error) => error,
        };
        let Some(code) = error.code() else {
            return if speaks_of_tls(error) || error.to_string().starts_with("invalid configuration")
            {
                Kind::Refused
            } else {
                Kind::Away
            };
        };
        let refused = [
            SqlState::INSUFFICIENT_PRIVILEGE,
            SqlState::INVALID_CATALOG_NAME,
            SqlState::INVALID_SCHEMA_NAME,
        ];
        match code.code().get(..2) {
            _ if refused.contains(code) => Kind::Refused,
            Some("28") => Kind::Refused,
            // Connection, resources, shutdown; transactions that lost against another; read-only.
            Some("08" | "53" | "57" | "58" | "40" | "25") => Kind::Away,
            // Data exceptions, constraints, limits such as that of an index entry.
            Some("22" | "23" | "54") => Kind::Unfit,
            _ => Kind::Other,
        }
    }

    /// True when the connection is of no more use.
    fn ends_connection(&self) -> bool {
        match self {
            Self::Driver(error) => error.is_closed() || self.kind() == Kind::Away,
            Self::Silent => true,
            Self::Unreadable(_) => false,
        }
    }

    /// In words, with the server's own and its code.
    pub fn words(&self) -> String {
        let error = match self {
            Self::Silent => return format!("no answer within {PATIENCE:?}"),
            Self::Unreadable(why) => return why.clone(),
            Self::Driver(error) => error,
        };
        if let Some(refusal) = error.as_db_error() {
            let code = refusal.code();
            let hint = hint(code).map(|hint| format!("; {hint}"));
            let code = code.code();
            return format!("{} ({code}){}", refusal.message(), hint.unwrap_or_default());
        }
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            words = format!("{words}: {cause}");
            source = cause.source();
        }
        words
    }
}

/// True when the cause is TLS, which does not pass by waiting.
fn speaks_of_tls(error: &tokio_postgres::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        let wrapped = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
        if wrapped || cause.is::<rustls::Error>() {
            return true;
        }
        source = cause.source();
    }
    error.to_string().contains("TLS") && error.source().is_some_and(|it| !it.is::<std::io::Error>())
}

/// What to do about a refusal.
fn hint(code: &SqlState) -> Option<&'static str> {
    let hints = [
        (
            SqlState::INVALID_PASSWORD,
            "check user and password in the address",
        ),
        (
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            "check the user, sslmode and the server's pg_hba.conf",
        ),
        (
            SqlState::INVALID_CATALOG_NAME,
            "create the database first: CREATE DATABASE … OWNER …",
        ),
        (
            SqlState::INSUFFICIENT_PRIVILEGE,
            "the user must own the database's schema `tollgate`, or may create it: \
             GRANT CREATE ON DATABASE … TO …",
        ),
    ];
    let found = hints.into_iter().find(|(of, _)| of == code);
    found.map(|(_, hint)| hint)
}

/// One database and the connections to it.
pub(super) struct Server {
    place: Box<str>,
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// Taken out by `Drop` only.
    runtime: Option<Runtime>,
    handle: Handle,
    idle: Mutex<Vec<Client>>,
}

impl Server {
    /// Knows the way to the database; does not connect yet.
    ///
    /// # Errors
    /// When the trusted certificates cannot be read, or the system gives no thread.
    pub fn new(url: &PostgresUrl) -> Result<Arc<Self>, LedgerError> {
        let place: Box<str> = url.to_string().into();
        let tls = tls::connector(url).map_err(|why| LedgerError::Refused {
            place: place.to_string(),
            why,
        })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ledger-postgres")
            .enable_all()
            .build()
            .map_err(|source| LedgerError::Io {
                path: "ledger-postgres".into(),
                action: "start the thread",
                source,
            })?;
        Ok(Arc::new(Self {
            place,
            config: config_of(url),
            tls,
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            idle: Mutex::new(Vec::new()),
        }))
    }

    /// The address, without the password.
    pub const fn place(&self) -> &str {
        &self.place
    }

    /// A failure as the ledger's error.
    pub fn error(&self, doing: &'static str, failure: &Failure) -> LedgerError {
        let (place, why) = (self.place.to_string(), failure.words());
        match failure.kind() {
            Kind::Away => LedgerError::Unreachable { place, why },
            Kind::Refused => LedgerError::Refused { place, why },
            Kind::Unfit | Kind::Other => LedgerError::Server { place, doing, why },
        }
    }

    pub fn refused(&self, why: String) -> LedgerError {
        LedgerError::Refused {
            place: self.place.to_string(),
            why,
        }
    }

    /// Runs to its end what the driver has to do; blocks. From inside another runtime (at the start
    /// of the process, in tests) a thread of its own does the waiting, since that runtime's threads
    /// refuse to.
    pub fn wait<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce() -> F + Send) -> T {
        if Handle::try_current().is_err() {
            return self.handle.block_on(work());
        }
        let waited =
            std::thread::scope(|scope| scope.spawn(|| self.handle.block_on(work())).join());
        waited.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let connecting = async {
            if let Some(tls) = self.tls.clone() {
                let (client, connection) = self.config.connect(tls).await?;
                self.handle.spawn(connection);
                Ok(client)
            } else {
                let (client, connection) = self.config.connect(NoTls).await?;
                self.handle.spawn(connection);
                Ok(client)
            }
        };
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        connected.map_err(|_| Failure::Silent)?
    }

    /// Puts a question to the server on a connection that is open, or on a new one; asks again when
    /// an open one turns out to be dead.
    pub fn ask<T: Send>(
        &self,
        question: impl AsyncFn(&mut Client) -> Result<T, Failure> + Sync,
    ) -> Result<T, Failure> {
        self.wait(async || {
            loop {
                let idle = self.idle.lock().pop();
                let is_used = idle.is_some();
                let mut client = match idle {
                    Some(client) if client.is_closed() => continue,
                    Some(client) => client,
                    None => self.connect().await?,
                };
                let answer = tokio::time::timeout(PATIENCE, question(&mut client)).await;
                match answer.unwrap_or(Err(Failure::Silent)) {
                    Ok(answer) => {
                        self.keep(client);
                        return Ok(answer);
                    }
                    Err(failure) if failure.ends_connection() => {
                        if !(is_used && client.is_closed()) {
                            return Err(failure);
                        }
                    }
                    Err(failure) => {
                        self.keep(client);
                        return Err(failure);
                    }
                }
            }
        })
    }

    fn keep(&self, client: Client) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(client);
        }
    }
}

fn config_of(url: &PostgresUrl) -> Config {
    let mut config = Config::new();
    config
        .user(&url.user)
        .dbname(&url.database)
        .application_name(&url.application_name)
        .connect_timeout(url.connect_timeout)
        .keepalives_idle(SILENCE)
        .keepalives_interval(SILENCE / 3)
        .keepalives_retries(3)
        .tcp_user_timeout(PATIENCE)
        .ssl_mode(match url.tls {
            PostgresTls::Disable => SslMode::Disable,
            PostgresTls::Prefer => SslMode::Prefer,
            PostgresTls::Require | PostgresTls::VerifyCa | PostgresTls::VerifyFull => {
                SslMode::Require
            }
        });
    if let Some(password) = &url.password {
        config.password(password.expose_secret());
    }
    if url.read_write {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    for (host, port) in &url.hosts {
        // A host that begins with `/` is the directory of a Unix socket.
        config.host(host).port(*port);
    }
    config
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    /// Does not wait for connections to say good-bye: the last holder may be inside another runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
