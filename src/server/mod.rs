//! Sockets in, requests out: accept loop, TLS, hyper's connection loop, caps, drain. Looks at no
//! body; what a request means is the handler's.

mod heads;
mod stall;
mod tls;
mod workers;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use tls::{TlsError, TlsIdentity};
pub use workers::Workers;

use heads::{Heads, WatchedStream};
use stall::StallGuard;

/// Where hyper gives up on a head and answers 431 without a body: twice what `ingress` takes, so that
/// an honest mistake gets an error object and only an attack meets this.
const MAX_HEADER_BYTES: usize = 128 * 1024;
/// Envoy's advice for the edge.
const HTTP2_MAX_STREAMS: u32 = 200;
/// One stalled reader must not hold its neighbours' window.
const HTTP2_STREAM_WINDOW: u32 = 1 << 20;
/// A client that takes nothing for this long is gone.
const WRITE_STALL: Duration = Duration::from_mins(1);
/// A TLS handshake that takes longer is an attack or a dead peer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After the drain deadline streams get their terminal event; this long they may take to flush it.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// In a request's extensions: its head gave its body's length twice, by `content-length` and by
/// `transfer-encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoLengths;

/// Answers requests. Must not panic; a panic costs the request and is answered with `on_panic`.
pub trait Handler: Send + Sync + 'static {
    /// The body of the answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static;

    /// Answers one request.
    ///
    /// # Cancel safety
    /// Dropped when the client leaves before the answer's head.
    fn handle(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// What a client gets whose request made the handler panic.
    fn on_panic(&self) -> Response<Self::Body>;
}

/// Caps of one listener, and who serves it.
#[derive(Debug, Clone)]
pub struct ListenerLimits {
    /// Most connections at once.
    pub max_connections: usize,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// Where its connections are served.
    pub workers: Workers,
}

/// How and when a listener stops.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Cancelled: accept no more; let what runs finish.
    pub stop: CancellationToken,
    /// Cancelled at the drain deadline: streams end with a terminal event, others with an error.
    pub abort_streams: CancellationToken,
    /// How long streams may run on after `stop`.
    pub drain: Duration,
}

/// Serves connections until `shutdown.stop`, then drains. Returns when the last connection is gone
/// or the drain deadline has passed.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    identity: Option<Arc<TlsIdentity>>,
    limits: ListenerLimits,
    shutdown: Shutdown,
    handler: Arc<H>,
) {
    let connections = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    let tasks = TaskTracker::new();
    let cut = CancellationToken::new();
    let http = Arc::new(http_settings(&limits));
    loop {
        let slot = tokio::select! {
            () = shutdown.stop.cancelled() => break,
            slot = Arc::clone(&connections).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            () = shutdown.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, _peer): (TcpStream, SocketAddr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the peer left already: wait a little rather than spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        // Nagle's algorithm would hold back small stream events until the peer acknowledges.
        if socket.set_nodelay(true).is_err() {
            continue;
        }
        let Some(seat) = limits.workers.seat() else {
            break;
        };
        let Ok(socket) = seat.take(socket) else {
            continue;
        };
        let connection = Connection {
            http: Arc::clone(&http),
            handler: Arc::clone(&handler),
            watcher: graceful.watcher(),
            identity: identity.clone(),
        };
        let cut = cut.clone();
        let runtime = seat.runtime().clone();
        let serving = async move {
            tokio::select! {
                () = connection.run(socket) => {}
                () = cut.cancelled() => {}
            }
            drop((slot, seat));
        };
        tasks.spawn_on(serving, &runtime);
    }
    drop(listener);
    tasks.close();
    drain(graceful, &tasks, &shutdown).await;
    // Whoever is left loses the connection, so that what was open is settled before we return.
    cut.cancel();
    tasks.wait().await;
}

async fn drain(graceful: GracefulShutdown, tasks: &TaskTracker, shutdown: &Shutdown) {
    let finished = tokio::time::timeout(shutdown.drain, graceful.shutdown()).await;
    if finished.is_err() {
        shutdown.abort_streams.cancel();
    }
    // Connections in their handshake are not watched; they end by their own time-outs or here.
    let _flushed_or_cut = tokio::time::timeout(LAST_FLUSH, tasks.wait()).await;
}

fn http_settings(limits: &ListenerLimits) -> Builder<Workers> {
    let mut http = Builder::new(limits.workers.clone());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        // No `max_headers`: hyper's own 100 is the documented cap, and with any other number it allocates
        // four tables of that size for each request.
        .max_buf_size(MAX_HEADER_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_MAX_STREAMS)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

struct Connection<H> {
    http: Arc<Builder<Workers>>,
    handler: Arc<H>,
    watcher: Watcher,
    identity: Option<Arc<TlsIdentity>>,
}

impl<H: Handler> Connection<H> {
    async fn run(self, socket: TcpStream) {
        let guarded = StallGuard::new(socket, WRITE_STALL);
        let heads = Heads::default();
        match self.identity.clone() {
            None => {
                let watched = WatchedStream::new(guarded, heads.clone());
                self.speak(TokioIo::new(watched), heads).await;
            }
            Some(identity) => {
                let handshake = identity.acceptor().accept(guarded);
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                    Ok(Ok(stream)) => {
                        let watched = WatchedStream::new(stream, heads.clone());
                        self.speak(TokioIo::new(watched), heads).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                    Err(_) => tracing::debug!("TLS handshake took too long"),
                }
            }
        }
    }

    async fn speak<I>(self, io: I, heads: Heads)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let handler = self.handler;
        let service = service_fn(move |mut request: Request<Incoming>| {
            if heads.begin_request() {
                request.extensions_mut().insert(TwoLengths);
            }
            let handler = Arc::clone(&handler);
            async move {
                // In a box of its own, which goes when the response's head is there: hyper keeps the place
                // of this future for as long as the connection lasts, and a stream lasts.
                let handling = Box::pin(handler.handle(request));
                let answered = std::panic::AssertUnwindSafe(handling).catch_unwind().await;
                Ok::<_, Infallible>(answered.unwrap_or_else(|_| handler.on_panic()))
            }
        });
        let connection = self.http.serve_connection(io, service).into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%error, "connection ended early");
        }
    }
}
