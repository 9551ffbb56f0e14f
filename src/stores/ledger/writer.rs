//! The one thread that writes to the store: batches of records, again and again until they are in.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::queue::{Queue, Work};
use crate::stores::usage::{LedgerError, UsageSink};

/// The first pause after a refusal: a lock or a full disk seldom passes sooner.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: readiness follows a disk that has room again within seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Requests that are let go in one transaction: some milliseconds, during which records wait.
const PURGE_REQUESTS: usize = 256;
/// The pause after that, so that readers and the disk are not kept busy: less than a batch waits for
/// company anyway.
const PURGE_PAUSE: Duration = Duration::from_millis(15);

/// Starts the writer. It ends when the queue closes.
pub(super) fn spawn(
    queue: Arc<Queue>,
    sink: Box<dyn UsageSink>,
) -> Result<JoinHandle<()>, LedgerError> {
    std::thread::Builder::new()
        .name("ledger-writer".to_owned())
        .spawn(move || run(&queue, sink))
        .map_err(|source| LedgerError::Io {
            path: "ledger-writer".into(),
            action: "start the thread",
            source,
        })
}

fn run(queue: &Queue, mut sink: Box<dyn UsageSink>) {
    let mut pause = FIRST_PAUSE;
    // Of the last purge: the journal was rid of what began before this instant.
    let mut forgotten_ms = None;
    loop {
        let batch = match queue.next() {
            Work::End => break,
            Work::Purge(before_ms) => {
                if forgotten_ms == Some(before_ms) || queue.forget_stored() {
                    forgotten_ms = Some(before_ms);
                    purge(queue, &mut *sink, before_ms);
                }
                queue.pause(PURGE_PAUSE);
                continue;
            }
            Work::Store(batch) => batch,
        };
        match sink.append(&batch) {
            Ok(()) => {
                // What is stored is freed by the threads that made it: nothing of it may be held here.
                let count = batch.len();
                drop(batch);
                queue.stored(count);
                pause = FIRST_PAUSE;
            }
            Err(error) => {
                queue.refused(&error);
                queue.rotate_journal();
                if queue.pause(pause) {
                    tracing::error!(
                        records = queue.lag(),
                        "closing with records that the store refused; the journal keeps them for the next start"
                    );
                    break;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        queue.rotate_journal();
    }
    queue.close_journal();
    // The sink goes last: with it goes the lock on the file, and the next process may begin.
    drop(sink);
}

/// Lets some old rows go.
fn purge(queue: &Queue, sink: &mut dyn UsageSink, before_ms: i64) {
    match sink.purge(before_ms, PURGE_REQUESTS) {
        Ok(gone) if gone == PURGE_REQUESTS => {}
        Ok(_) => queue.purged(),
        Err(error) => {
            tracing::warn!(%error, "old rows stay for now");
            queue.purged();
        }
    }
}
