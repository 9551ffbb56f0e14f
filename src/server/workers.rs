//! The threads that serve connections. Each has a runtime of its own, so that a request is read, sent
//! on, answered and written down by one thread; see `docs/adr/0009-threads.md`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::runtime::lane;

/// What blocks in a worker's runtime must not hold the exit.
const LAST_BLOCKING: Duration = Duration::from_secs(1);
/// How many there are, when it should not be one for each core; tokio's own name for it.
const THREADS_VARIABLE: &str = "TOKIO_WORKER_THREADS";

/// Where connections are served. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Workers {
    all: Arc<[Worker]>,
    /// False when connections are served on the runtime that accepts them.
    elsewhere: bool,
    next: Arc<AtomicUsize>,
    stop: CancellationToken,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Workers {
    /// Serves on the calling runtime: for listeners with little traffic, and for tests.
    #[must_use]
    pub fn here() -> Self {
        let nothing_to_stop = CancellationToken::new();
        Self::of(vec![Handle::current()], false, nothing_to_stop, Vec::new())
    }

    /// Starts a thread for each core, or as many as `TOKIO_WORKER_THREADS` says. They end with
    /// [`Workers::stop`], or when the guard of [`Workers::end_with`] goes.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start() -> io::Result<Self> {
        let wanted = std::env::var(THREADS_VARIABLE).ok();
        let wanted = wanted.and_then(|text| text.parse().ok());
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Self::start_threads(wanted.filter(|count| *count > 0).unwrap_or_else(cores))
    }

    /// Starts this many threads.
    ///
    /// # Errors
    /// As [`Workers::start`].
    pub fn start_threads(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (mut runtimes, mut threads) = (Vec::new(), Vec::new());
        for lane in 0..count {
            let (runtime, thread) = start_thread(lane, &stop)?;
            runtimes.push(runtime);
            threads.push(thread);
        }
        Ok(Self::of(runtimes, true, stop, threads))
    }

    fn of(
        runtimes: Vec<Handle>,
        elsewhere: bool,
        stop: CancellationToken,
        threads: Vec<JoinHandle<()>>,
    ) -> Self {
        let worker = |runtime| Worker {
            runtime,
            connections: Arc::default(),
        };
        Self {
            all: runtimes.into_iter().map(worker).collect(),
            elsewhere,
            next: Arc::default(),
            stop,
            threads: Arc::new(Mutex::new(threads)),
        }
    }

    /// Ends the threads, at the latest, when the guard is dropped.
    #[must_use]
    pub fn end_with(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }

    /// Ends the threads and all that still runs on them, and waits for them.
    pub async fn stop(&self) {
        self.stop.cancel();
        let threads = std::mem::take(&mut *self.threads.lock());
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // It cannot panic: tasks that do are caught by the runtime.
                let _ended = thread.join();
            }
        });
        let _joined = ended.await;
    }

    /// A place for one more connection, where there are fewest.
    pub(super) fn seat(&self) -> Option<Seat> {
        let quietest = |worker: &&Worker| worker.connections.load(Ordering::Relaxed);
        let worker = self.all.iter().min_by_key(quietest)?;
        worker.connections.fetch_add(1, Ordering::Relaxed);
        Some(Seat {
            runtime: worker.runtime.clone(),
            elsewhere: self.elsewhere,
            connections: Arc::clone(&worker.connections),
        })
    }
}

/// HTTP/2 requests go round: one connection may carry a whole fleet's.
impl<F> Executor<F> for Workers
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: F) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(worker) = self.all.get(turn % self.all.len()) {
            worker.runtime.spawn(request);
        }
    }
}

fn start_thread(lane: usize, stop: &CancellationToken) -> io::Result<(Handle, JoinHandle<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (handle, stop) = (runtime.handle().clone(), stop.clone());
    let thread = std::thread::Builder::new()
        .name(format!("worker-{lane}"))
        .spawn(move || {
            lane::enter(lane);
            runtime.block_on(stop.cancelled());
            runtime.shutdown_timeout(LAST_BLOCKING);
        })?;
    Ok((handle, thread))
}

/// One connection's place at a worker; Drop gives it back.
#[derive(Debug)]
pub(super) struct Seat {
    runtime: Handle,
    elsewhere: bool,
    connections: Arc<AtomicUsize>,
}

impl Seat {
    /// The runtime that serves the connection.
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Hands an accepted socket to the runtime of this place.
    ///
    /// # Errors
    /// When the system refuses to watch the socket there.
    pub fn take(&self, socket: TcpStream) -> io::Result<TcpStream> {
        if !self.elsewhere {
            return Ok(socket);
        }
        let _there = self.runtime.enter();
        TcpStream::from_std(socket.into_std()?)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn connections_go_where_there_are_fewest() {
        let workers = Workers::start_threads(3).expect("threads");
        let counts = || -> Vec<usize> {
            let all = workers.all.iter();
            all.map(|worker| worker.connections.load(Ordering::Relaxed))
                .collect()
        };
        let seats: Vec<Seat> = (0..7).filter_map(|_| workers.seat()).collect();
        assert_eq!(counts(), [3, 2, 2]);
        drop(seats);
        assert_eq!(counts(), [0, 0, 0]);
        workers.stop().await;
    }

    #[tokio::test]
    async fn a_thread_that_is_busy_holds_no_other_up() {
        let workers = Workers::start_threads(2).expect("threads");
        let (busy, quiet) = (&workers.all[0].runtime, &workers.all[1].runtime);
        let (release, released) = mpsc::channel::<()>();
        let (entered, busy_now) = tokio::sync::oneshot::channel();
        busy.spawn(async move {
            let _told = entered.send(());
            let _until_told = released.recv();
        });
        busy_now.await.expect("it runs");
        let answered = quiet.spawn(async { lane::place() });
        assert_eq!(answered.await.expect("it runs"), 2);
        release.send(()).expect("it waits");
        workers.stop().await;
    }

    #[tokio::test]
    async fn threads_end_with_what_they_were_started_for() {
        let workers = Workers::start_threads(1).expect("threads");
        let guard = workers.end_with();
        let thread = workers.threads.lock().pop().expect("one");
        drop(guard);
        tokio::task::spawn_blocking(|| thread.join().expect("no panic"))
            .await
            .expect("it ends");
    }
}
