//! Notices that the file has changed and says so. Looks at the file's metadata, through symbolic
//! links, a few times a second: Kubernetes swaps a link, editors write a new file and rename it, and
//! every such way gives the name another inode, size or time. Listening for events on the directory
//! instead would wake this process for each write to a ledger that lies beside the file, which is
//! several times per request (`docs/adr/0006-watching-the-file.md`). Knows nothing of the gateway;
//! what to do with a change is the caller's.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

/// How often the file's metadata is looked at. A save is loaded after at most two looks.
const LOOK: Duration = Duration::from_millis(150);
/// Looks after which the text is compared although its metadata stayed the same: a file system's
/// clock may be coarser than two saves of one length are apart.
const LOOKS_PER_SWEEP: u32 = 64;

/// Why the file is to be loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadCause {
    /// Its text has changed.
    Saved,
    /// Somebody asked: SIGHUP or `POST /reload`. The text may be the same.
    Asked,
}

/// Why a watch could not begin.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No thread could be started.
    #[error("no thread for the watch of the configuration: {0}")]
    Thread(#[from] std::io::Error),
}

enum Signal {
    Asked,
    Stop,
}

/// A running watch; dropping it ends it.
pub struct Watcher {
    signals: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

/// Asks for a reload; cheap to clone, usable from any thread. Does nothing once the watch has ended.
#[derive(Clone, Debug)]
pub struct Trigger(Sender<Signal>);

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signal")
    }
}

impl Trigger {
    /// Has the callback called with [`ReloadCause::Asked`], soon and from the watch's thread.
    pub fn reload(&self) {
        // A watch that has ended has nobody left to tell.
        let _ = self.0.send(Signal::Asked);
    }
}

impl Watcher {
    /// Begins to watch. `on_change` is called on the watch's own thread, never twice at once; it reads
    /// the file itself, so the last save always ends up loaded however quickly saves follow. The text
    /// as it is now counts as loaded.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        path: &Path,
        on_change: impl Fn(ReloadCause) + Send + 'static,
    ) -> Result<Self, WatchError> {
        let (signals, received) = mpsc::channel();
        let follower = Follower {
            path: path.to_owned(),
            stamp: Stamp::of(path),
            unsettled: false,
            loaded: hash_of(path),
            received,
            on_change: Box::new(on_change),
        };
        let thread = Builder::new()
            .name("config-watch".to_owned())
            .spawn(move || follower.run())?;
        Ok(Self {
            signals,
            thread: Some(thread),
        })
    }

    /// A handle for SIGHUP and `POST /reload`.
    pub fn trigger(&self) -> Trigger {
        Trigger(self.signals.clone())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // The thread may have ended already.
        let _ = self.signals.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            // A callback that panicked has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Hash of the file's bytes; `None` while it cannot be read, as between two renames.
fn hash_of(path: &Path) -> Option<[u8; 32]> {
    std::fs::read(path)
        .ok()
        .map(|bytes| Sha256::digest(&bytes).into())
}

/// What changes when a file is written, replaced, or reached by another link.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    /// Device, inode and time of the inode's last change.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

impl Stamp {
    /// `None` while there is no such file.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt as _;
                (
                    metadata.dev(),
                    metadata.ino(),
                    metadata.ctime(),
                    metadata.ctime_nsec(),
                )
            },
        })
    }
}

struct Follower {
    path: PathBuf,
    stamp: Option<Stamp>,
    /// The last look found it changed: it is read when a look finds it at rest, since a save may be
    /// several writes.
    unsettled: bool,
    loaded: Option<[u8; 32]>,
    received: Receiver<Signal>,
    on_change: Box<dyn Fn(ReloadCause) + Send>,
}

impl Follower {
    fn run(mut self) {
        let mut looks = 0;
        loop {
            match self.received.recv_timeout(LOOK) {
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Signal::Asked) => {
                    self.stamp = Stamp::of(&self.path);
                    self.compare(true);
                }
                Err(RecvTimeoutError::Timeout) => {
                    looks = (looks + 1) % LOOKS_PER_SWEEP;
                    self.look(looks == 0);
                }
            }
        }
    }

    fn look(&mut self, sweep: bool) {
        let now = Stamp::of(&self.path);
        let at_rest = now == self.stamp;
        self.stamp = now;
        // A file that never rests is read by the sweep nevertheless.
        if (at_rest && self.unsettled) || sweep {
            self.compare(false);
        }
        self.unsettled = !at_rest;
    }

    fn compare(&mut self, asked: bool) {
        // The hash is taken before the callback reads: a save in between is seen again afterwards.
        let now = hash_of(&self.path);
        let changed = now.is_some() && now != self.loaded;
        if changed {
            self.loaded = now;
        }
        if asked {
            (self.on_change)(ReloadCause::Asked);
        } else if changed {
            (self.on_change)(ReloadCause::Saved);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Generous: two looks take a third of a second, a loaded machine may take longer.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Watched {
        directory: tempfile::TempDir,
        watcher: Watcher,
        calls: Receiver<(ReloadCause, String)>,
    }

    fn watch(text: &str) -> Watched {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("routes.yaml");
        fs::write(&path, text).expect("written");
        let (sender, calls) = mpsc::channel();
        let file = path.clone();
        let watcher = Watcher::start(&path, move |cause| {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let _ = sender.send((cause, text));
        })
        .expect("a watch");
        Watched {
            directory,
            watcher,
            calls,
        }
    }

    impl Watched {
        fn path(&self) -> PathBuf {
            self.directory.path().join("routes.yaml")
        }

        /// Waits until the callback has seen this text.
        fn expect(&self, text: &str) {
            loop {
                let (_, seen) = self.calls.recv_timeout(PATIENCE).expect("a call");
                if seen == text {
                    return;
                }
            }
        }
    }

    #[test]
    fn a_save_is_seen_and_the_last_of_many_wins() {
        let watched = watch("0");
        for count in 1..=50 {
            fs::write(watched.path(), count.to_string()).expect("written");
        }
        watched.expect("50");
    }

    #[test]
    fn a_rename_over_the_file_is_seen() {
        let watched = watch("old");
        for text in ["new", "newer"] {
            let temporary = watched.directory.path().join(".routes.yaml.swp");
            fs::write(&temporary, text).expect("written");
            fs::rename(&temporary, watched.path()).expect("renamed");
            watched.expect(text);
        }
    }

    /// Kubernetes: `routes.yaml` → `..data/routes.yaml`, and `..data` is swapped.
    #[cfg(unix)]
    #[test]
    fn a_swapped_symbolic_link_is_seen() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).expect("made");
            fs::write(at(version).join("routes.yaml"), text).expect("written");
        }
        symlink("..1", at("..data")).expect("linked");
        symlink("..data/routes.yaml", at("routes.yaml")).expect("linked");
        let (sender, calls) = mpsc::channel();
        let _watcher = Watcher::start(&at("routes.yaml"), move |_| {
            let _ = sender.send(());
        })
        .expect("a watch");
        symlink("..2", at("..data_tmp")).expect("linked");
        fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
        calls.recv_timeout(PATIENCE).expect("a call");
        assert_eq!(fs::read_to_string(at("routes.yaml")).expect("read"), "two");
    }

    #[test]
    fn the_same_text_again_is_no_change_but_asking_always_counts() {
        let watched = watch("same");
        fs::write(watched.path(), "same").expect("written");
        watched.watcher.trigger().reload();
        let (cause, _) = watched.calls.recv_timeout(PATIENCE).expect("a call");
        assert_eq!(cause, ReloadCause::Asked);
        fs::write(watched.path(), "other").expect("written");
        let (cause, text) = watched.calls.recv_timeout(PATIENCE).expect("a call");
        assert_eq!((cause, text.as_str()), (ReloadCause::Saved, "other"));
    }

    #[test]
    fn a_dropped_watch_ends_and_its_trigger_does_nothing() {
        let Watched {
            directory: _directory,
            watcher,
            calls,
        } = watch("x");
        let trigger = watcher.trigger();
        drop(watcher);
        trigger.reload();
        assert!(calls.recv().is_err());
    }
}
