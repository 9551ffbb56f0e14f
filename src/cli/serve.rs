//! `tollgate serve`: listeners, signals, hot reload, drain.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use crate::admin::{Admin, Reload};
use crate::bootstrap::{self, Options};
use crate::clock::Clock;
use crate::config::reload::{ReloadCause, Trigger, Watcher};
use crate::config::snapshot::{AuthParams, ProviderEndpoint};
use crate::config::{self, Snapshot};
use crate::gateway::Gateway;
use crate::notify::Channel;
use crate::pipeline::{self, ReplyBody};
use crate::server::{self, Handler, ListenerLimits, Shutdown, TlsIdentity, Workers};
use crate::telemetry;

use super::{EXIT_BAD_INPUT, EXIT_FAILED, EXIT_OK, ServeArgs, complain};

/// Threads for all but requests: the admin listener, housekeeping, other replicas.
const BESIDE_THREADS: usize = 2;
/// How often gauges, alerts and certificates are looked after.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often it is written down what was learned: what a killed process may forget.
const SAVE_LEARNED: Duration = Duration::from_secs(30);
/// How long webhooks may take for what is left at the end; durable events are kept for the next start.
const ALERTS_DRAIN: Duration = Duration::from_secs(5);

/// Runs the proxy until SIGTERM or Ctrl-C.
pub fn run(args: &ServeArgs) -> u8 {
    telemetry::logging::init();
    let source = match Source::find(args.config.clone()) {
        Ok(source) => source,
        Err(message) => return complain(&message, EXIT_BAD_INPUT),
    };
    let snapshot = match source.load(Clock::system().unix_ms()) {
        Ok(snapshot) => snapshot,
        Err(diagnostics) => {
            return reject(&diagnostics);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(BESIDE_THREADS)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start the runtime: {error}"), EXIT_FAILED),
    };
    let served = runtime.block_on(serve(args, source, snapshot));
    // Blocking threads of the watcher must not hold the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match served {
        Ok(()) => EXIT_OK,
        Err((message, code)) => complain(&message, code),
    }
}

/// Shows every problem of the file on standard error, as `check` does.
fn reject(diagnostics: &[config::Diagnostic]) -> u8 {
    let mut err = std::io::stderr().lock();
    let colour = err.is_terminal();
    // Nobody is left to tell when standard error is closed.
    let _closed = super::check::write_problems(diagnostics, colour, &mut err);
    EXIT_BAD_INPUT
}

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file, watched.
    File(PathBuf),
    /// The built-in one on simulated providers.
    Builtin,
}

/// Keys of the providers in the shipped file: with none of them set, nothing real could be served.
const PROVIDER_KEYS: &[&str] = &[
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "MISTRAL_API_KEY",
    "DEEPSEEK_API_KEY",
    "XAI_API_KEY",
];

impl Source {
    /// The file that was named; else `routes.yaml` when a provider's key is there; else built in.
    ///
    /// # Errors
    /// When a key is there but no file.
    pub fn find(named: Option<PathBuf>) -> Result<Self, String> {
        if let Some(path) = named {
            return Ok(Self::File(path));
        }
        let has_key = PROVIDER_KEYS
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|key| !key.is_empty()));
        let default = PathBuf::from("routes.yaml");
        match (has_key, default.exists()) {
            (true, true) => Ok(Self::File(default)),
            (true, false) => Err("there is no routes.yaml here; name one with --config".to_owned()),
            (false, _) => Ok(Self::Builtin),
        }
    }

    /// Loads and compiles it.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn load(&self, now_ms: i64) -> Result<Snapshot, Vec<config::Diagnostic>> {
        match self {
            Self::File(path) => config::load_file(path, &|name| std::env::var(name).ok(), now_ms),
            Self::Builtin => config::builtin::built_in(now_ms),
        }
    }
}

async fn serve(
    args: &ServeArgs,
    source: Source,
    mut snapshot: Snapshot,
) -> Result<(), (String, u8)> {
    if let Some(listen) = &args.listen {
        snapshot.server.listen.clone_from(listen);
    }
    if let Some(listen) = &args.admin_listen {
        snapshot.server.admin_listen.clone_from(listen);
    }
    let data = bind(&snapshot.server.listen).map_err(|message| (message, EXIT_FAILED))?;
    let admin = bind(&snapshot.server.admin_listen).map_err(|message| (message, EXIT_FAILED))?;
    let addresses = (local(&data)?, local(&admin)?);
    guard_exposure(args, &snapshot, addresses).map_err(|message| (message, EXIT_BAD_INPUT))?;
    for warning in &snapshot.warnings {
        tracing::warn!(%warning, "configuration");
    }
    let seed = u64::try_from(Clock::system().unix_ms()).unwrap_or(0);
    let options = Options {
        clock: Clock::system(),
        seed,
    };
    let gw = bootstrap::gateway(snapshot, options).map_err(|error| {
        let code = if error.is_bad_input() {
            EXIT_BAD_INPUT
        } else {
            EXIT_FAILED
        };
        (error.to_string(), code)
    })?;
    if let Some(replicas) = gw.replicas.clone() {
        let joined = replicas.join(&gw.budgets, &gw.limiters).await;
        joined.map_err(|error| {
            let message = format!("state.store: {error}; check its address and password");
            (message, EXIT_BAD_INPUT)
        })?;
    }
    announce(&gw, &source, addresses);
    let workers = Workers::start()
        .map_err(|error| (format!("cannot start the workers: {error}"), EXIT_FAILED))?;
    let running = Running::start_on(workers, gw, (data, admin), Some(source))
        .map_err(|message| (message, EXIT_BAD_INPUT))?;
    stop_signal().await;
    running.stop().await;
    Ok(())
}

fn local(listener: &TcpListener) -> Result<SocketAddr, (String, u8)> {
    listener.local_addr().map_err(|error| {
        (
            format!("cannot read the listener's address: {error}"),
            EXIT_FAILED,
        )
    })
}

/// Binds a listener with a deep accept queue, so that a burst of connections is not refused.
///
/// # Errors
/// When the address is wrong or taken.
pub fn bind(address: &str) -> Result<TcpListener, String> {
    use std::net::ToSocketAddrs;
    const BACKLOG: u32 = 4096;
    let mut resolved = address
        .to_socket_addrs()
        .map_err(|error| format!("`{address}` is no address to listen on: {error}"))?;
    let Some(socket_address) = resolved.next() else {
        return Err(format!("`{address}` is no address to listen on"));
    };
    let socket = if socket_address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let listen = |socket: TcpSocket| {
        socket.set_reuseaddr(true)?;
        socket.bind(socket_address)?;
        socket.listen(BACKLOG)
    };
    socket
        .and_then(listen)
        .map_err(|error| format!("cannot listen on {address}: {error}"))
}

/// An open proxy that others can reach would spend the owner's money for strangers.
fn guard_exposure(
    args: &ServeArgs,
    snapshot: &Snapshot,
    addresses: (SocketAddr, SocketAddr),
) -> Result<(), String> {
    let (data, admin) = addresses;
    if snapshot.auth == AuthParams::Open && !data.ip().is_loopback() && !args.insecure_open {
        return Err(format!(
            "auth is open and {data} can be reached by others; use `auth: {{ mode: keys }}`, listen on loopback, or pass --insecure-open"
        ));
    }
    if !admin.ip().is_loopback() && snapshot.server.admin_token.is_none() {
        return Err(format!(
            "the admin listener {admin} can be reached by others; set server.admin_token or listen on loopback"
        ));
    }
    Ok(())
}

fn announce(gw: &Gateway, source: &Source, (data, admin): (SocketAddr, SocketAddr)) {
    let active = gw.active.load();
    let providers = &active.snapshot.providers;
    if providers
        .iter()
        .filter(|provider| provider.enabled)
        .all(|it| matches!(it.endpoint, ProviderEndpoint::Simulated(_)))
    {
        tracing::warn!(
            "SIMULATED PROVIDERS: no other provider is switched on, so answers are made up here and cost nothing real; set a key such as OPENAI_API_KEY and name a file with --config"
        );
    }
    let file = match source {
        Source::File(path) => path.display().to_string(),
        Source::Builtin => "built in".to_owned(),
    };
    tracing::info!(%data, dashboard = %format!("http://{admin}/"), config = %file, version = active.snapshot.version.as_str(), "serving");
}

/// Serves the data listener.
#[derive(Debug)]
struct Data(Arc<Gateway>);

impl Handler for Data {
    type Body = ReplyBody;

    async fn handle(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        pipeline::handle(&self.0, request).await
    }

    fn on_panic(&self) -> Response<ReplyBody> {
        pipeline::on_panic()
    }
}

/// A proxy that serves: both listeners, the watcher, the housekeeping.
pub struct Running {
    /// What it serves with.
    pub gateway: Arc<Gateway>,
    tasks: TaskTracker,
    workers: Workers,
    _workers_end: DropGuard,
    admin_stop: tokio_util::sync::CancellationToken,
    data_done: tokio::sync::watch::Receiver<bool>,
    alerts: Option<Channel>,
    _watcher: Option<Watcher>,
}

impl Running {
    /// Starts both listeners and everything beside them, all on the calling runtime.
    ///
    /// # Errors
    /// When the certificate cannot be used or the file cannot be watched.
    pub fn start(
        gateway: Arc<Gateway>,
        data: TcpListener,
        admin: TcpListener,
        source: Option<Source>,
    ) -> Result<Self, String> {
        Self::start_on(Workers::here(), gateway, (data, admin), source)
    }

    /// The same with the data listener's connections served by `workers`, which end with it.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn start_on(
        workers: Workers,
        gateway: Arc<Gateway>,
        (data, admin): (TcpListener, TcpListener),
        source: Option<Source>,
    ) -> Result<Self, String> {
        let tasks = TaskTracker::new();
        let params = gateway.active.load().snapshot.server.clone();
        let identity = params
            .tls
            .as_ref()
            .map(TlsIdentity::load)
            .transpose()
            .map_err(|error| error.to_string())?
            .map(Arc::new);
        let limits = ListenerLimits {
            max_connections: params.max_connections,
            header_timeout: params.header_timeout,
            workers: workers.clone(),
        };
        let admin_limits = ListenerLimits {
            workers: Workers::here(),
            ..limits.clone()
        };
        let shutdown = Shutdown {
            stop: gateway.stop.clone(),
            abort_streams: gateway.abort_streams.clone(),
            drain: params.drain,
        };
        let (done, data_done) = tokio::sync::watch::channel(false);
        let handler = Arc::new(Data(Arc::clone(&gateway)));
        let serving = server::serve(data, identity.clone(), limits, shutdown, handler);
        tasks.spawn(async move {
            serving.await;
            done.send_replace(true);
        });
        let reloading = source
            .map(|source| Reloading::of(&gateway, source))
            .transpose()?
            .flatten();
        let (watcher, reload) = reloading.map(|it| (it.watcher, it.now)).unzip();
        let admin_stop = tokio_util::sync::CancellationToken::new();
        let admin_shutdown = Shutdown {
            stop: admin_stop.clone(),
            abort_streams: admin_stop.clone(),
            drain: Duration::from_millis(200),
        };
        let admin_handler = Arc::new(Admin::new(Arc::clone(&gateway), reload));
        tasks.spawn(server::serve(
            admin,
            None,
            admin_limits,
            admin_shutdown,
            admin_handler,
        ));
        tasks.spawn(housekeeping(Arc::clone(&gateway), identity));
        if let Some(responses) = gateway.responses.clone() {
            tasks.spawn(responses.write_until(admin_stop.clone(), gateway.clock.clone()));
        }
        tasks.spawn(pipeline::look_after_batches(Arc::clone(&gateway)));
        if let Some(replicas) = gateway.replicas.clone() {
            let (budgets, limiters) = (Arc::clone(&gateway.budgets), Arc::clone(&gateway.limiters));
            let gossip = bootstrap::Gossip::new(Arc::clone(&replicas));
            tasks.spawn(gossip.keep(Arc::clone(&gateway)));
            tasks.spawn(replicas.keep(budgets, limiters));
        }
        let alerts = bootstrap::alerts::start_channel(&gateway);
        if let Some(trigger) = watcher.as_ref().map(Watcher::trigger) {
            tasks.spawn(reload_on_hangup(Arc::clone(&gateway), trigger));
        }
        Ok(Self {
            gateway,
            tasks,
            _workers_end: workers.end_with(),
            workers,
            admin_stop,
            data_done,
            alerts,
            _watcher: watcher,
        })
    }

    /// Drains: readiness fails at once, streams run to the deadline, the ledger is flushed, then the
    /// admin listener goes too.
    pub async fn stop(mut self) {
        tracing::info!("draining");
        let drain = self.gateway.active.load().snapshot.server.drain;
        let deadline = tokio::time::Instant::now() + drain;
        bootstrap::begin_drain(&self.gateway);
        // The sender lives in the serving task; its end counts as done.
        let _served = self.data_done.wait_for(|done| *done).await.is_ok();
        self.gateway.tasks.close();
        // Answers that are read on without their clients have no connection that could be cut.
        let finished = tokio::time::timeout_at(deadline, self.gateway.tasks.wait()).await;
        if finished.is_err() {
            self.gateway.abort_streams.cancel();
            self.gateway.tasks.wait().await;
        }
        self.workers.stop().await;
        if let Some(replicas) = &self.gateway.replicas {
            replicas.leave().await;
        }
        if let Err(error) = self.gateway.ledger.flush().await {
            tracing::error!(%error, "the ledger could not be flushed; its journal is replayed at the next start");
        }
        if let Some(responses) = &self.gateway.responses
            && let Err(error) = responses.flush().await
        {
            tracing::error!(%error, "the last responses could not be written down; they are gone");
        }
        bootstrap::learned::save(&self.gateway).await;
        // The last requests may have crossed a threshold.
        bootstrap::alerts::announce_budgets(&self.gateway).await;
        if let Some(alerts) = self.alerts.take() {
            alerts.stop(ALERTS_DRAIN).await;
        }
        self.admin_stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        tracing::info!("stopped");
    }
}

/// How a file is read again: by its watch, and at once by whoever asks for it.
struct Reloading {
    watcher: Watcher,
    now: Reload,
}

impl Reloading {
    /// Watches the source's file; a built-in configuration has none.
    fn of(gateway: &Arc<Gateway>, source: Source) -> Result<Option<Self>, String> {
        let Source::File(path) = source.clone() else {
            return Ok(None);
        };
        let gateway = Arc::clone(gateway);
        let now: Reload =
            Arc::new(move || bootstrap::reload(&gateway, || source.load(gateway.clock.unix_ms())));
        let on_change = Arc::clone(&now);
        let watcher = Watcher::start(&path, move |cause: ReloadCause| {
            tracing::debug!(?cause, "reading the configuration again");
            // The outcome is logged, shown on the dashboard and counted where the reload happens.
            let _logged = on_change();
        })
        .map_err(|error| error.to_string())?;
        Ok(Some(Self { watcher, now }))
    }
}

async fn housekeeping(gw: Arc<Gateway>, identity: Option<Arc<TlsIdentity>>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    let mut last_saved = tokio::time::Instant::now();
    let mut retention = bootstrap::RetentionClock::default();
    loop {
        tokio::select! {
            () = gw.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        bootstrap::refresh_gauges(&gw);
        bootstrap::let_old_rows_go(&gw, &mut retention);
        bootstrap::alerts::announce_budgets(&gw).await;
        bootstrap::alerts::announce_latency(&gw);
        bootstrap::alerts::announce_ledger(&gw);
        bootstrap::alerts::release_held(&gw);
        if last_saved.elapsed() >= SAVE_LEARNED {
            last_saved = tokio::time::Instant::now();
            bootstrap::learned::save(&gw).await;
        }
        let Some(identity) = identity.clone() else {
            continue;
        };
        match tokio::task::spawn_blocking(move || identity.refresh()).await {
            Ok(Ok(true)) => tracing::info!("certificate read again"),
            Ok(Err(error)) => {
                tracing::error!(%error, "the changed certificate cannot be used; the last one stays in force");
            }
            Ok(Ok(false)) | Err(_) => {}
        }
    }
}

async fn reload_on_hangup(gw: Arc<Gateway>, trigger: Trigger) {
    let Ok(mut hangups) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
    else {
        return;
    };
    loop {
        tokio::select! {
            () = gw.stop.cancelled() => return,
            heard = hangups.recv() => if heard.is_none() { return },
        }
        trigger.reload();
    }
}

/// Waits for SIGTERM or Ctrl-C.
pub async fn stop_signal() {
    let mut terminate =
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(terminate) => terminate,
            Err(error) => {
                tracing::error!(%error, "SIGTERM cannot be listened for");
                return;
            }
        };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
