//! Sets up the log: one structured line per event, JSON unless a terminal reads it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Installs the process's log on standard error. `TOLLGATE_LOG` filters it, as
/// `info,tollgate=debug`; the default is `info`. A second call has no effect.
pub fn init() {
    let filter = EnvFilter::try_from_env("TOLLGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A log that was already set up (by a test, by an embedding program) stays.
    let _already_set = if std::io::stderr().is_terminal() {
        builder.with_target(false).compact().try_init()
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init()
    };
}
