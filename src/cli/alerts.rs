//! `tollgate alerts test`: sends a test event to the webhooks of the file, once and without retries, and
//! prints what each answers.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{AlertsTestArgs, DEFAULT_CONFIG, EXIT_BAD_INPUT, EXIT_FAILED, EXIT_OK, complain};
use crate::clock::Clock;
use crate::config;
use crate::config::snapshot::{AlertParams, WebhookParams};
use crate::notify::Sender;
use crate::types::{Event, EventKind};

/// Sends the test.
///
/// # Errors
/// When `out` cannot be written to.
pub fn run(args: &AlertsTestArgs, out: &mut dyn Write) -> io::Result<u8> {
    let path = args
        .config
        .clone()
        .unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG));
    let now_ms = Clock::system().unix_ms();
    let loaded = config::load_file(&path, &|name| std::env::var(name).ok(), now_ms);
    let snapshot = match loaded {
        Ok(snapshot) => snapshot,
        Err(problems) => {
            super::check::write_problems(&problems, false, out)?;
            return Ok(EXIT_BAD_INPUT);
        }
    };
    let chosen = chosen(&snapshot.alerts, args.webhook.as_deref());
    if chosen.is_empty() {
        let message = match &args.webhook {
            Some(name) => format!("no webhook `{name}` is switched on in {}", path.display()),
            None => format!("no webhook is switched on in {}", path.display()),
        };
        return Ok(complain(&message, EXIT_BAD_INPUT));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut code = EXIT_OK;
    let sender = Sender::default();
    for webhook in chosen {
        if !runtime.block_on(test(&sender, webhook, now_ms, out))? {
            code = EXIT_FAILED;
        }
    }
    Ok(code)
}

fn chosen<'p>(params: &'p AlertParams, name: Option<&str>) -> Vec<&'p WebhookParams> {
    let mut webhooks: Vec<_> = params.webhooks.iter().collect();
    webhooks.retain(|webhook| name.is_none_or(|name| webhook.name == name));
    webhooks
}

/// True when the webhook took it.
async fn test(
    sender: &Sender,
    webhook: &WebhookParams,
    now_ms: i64,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let event = Event::new(
        EventKind::Test,
        "alerts",
        "a test of the alerts: nothing is wrong",
        now_ms,
    );
    let name = &webhook.name;
    let signed = if webhook.key.is_some() {
        "signed"
    } else {
        "not signed"
    };
    match sender
        .post(webhook, (&event.id, &event.body()), now_ms)
        .await
    {
        Ok(answer) => {
            let status = answer.status;
            writeln!(out, "{name}: taken with {status} ({signed}, {})", event.id)?;
            Ok(true)
        }
        Err(error) => {
            writeln!(out, "{name}: not taken: {error} ({signed})")?;
            Ok(false)
        }
    }
}
