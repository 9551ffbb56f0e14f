//! `alerts`

use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use rustc_hash::FxHashSet;
use secrecy::SecretString;

use super::secret::{Resolved, resolve};
use super::{Context, at, milliseconds, seconds};
use crate::config::findings::is_reference;
use crate::config::schema::{AlertsConfig, SecretText, WebhookConfig};
use crate::config::snapshot::{AlertParams, SigningKey, WebhookParams};
use crate::config::suggest;
use crate::config::tree::Step;
use crate::types::EventKind;

const SWITCHED_OFF: &str = "the webhook is switched off";

pub fn compile(cx: &mut Context<'_, '_>, alerts: &AlertsConfig) -> Arc<AlertParams> {
    let mut names = FxHashSet::default();
    let mut webhooks = Vec::with_capacity(alerts.webhooks.len());
    for (index, webhook) in alerts.webhooks.iter().enumerate() {
        let Some(webhook) = compile_one(cx, index, webhook) else {
            continue;
        };
        if !names.insert(webhook.name.clone()) {
            cx.error_hint(
                at!["alerts", "webhooks", index],
                format!("a second webhook with name `{}`", webhook.name),
                "give each its own `name`",
            );
        }
        webhooks.push(webhook);
    }
    Arc::new(AlertParams {
        webhooks,
        min_interval: seconds(alerts.min_interval_seconds),
        latency_window: seconds(alerts.latency_window_seconds),
        latency_min_requests: alerts.latency_min_requests,
    })
}

/// A webhook as it is called; `None` when it is wrong or switched off, which is reported.
fn compile_one(
    cx: &mut Context<'_, '_>,
    index: usize,
    webhook: &WebhookConfig,
) -> Option<WebhookParams> {
    let events = events(cx, index, &webhook.events);
    let key = signing_key(cx, index, webhook.secret.as_ref());
    let (url, host) = address(cx, index, &webhook.url)?;
    Some(WebhookParams {
        name: webhook.name.clone().unwrap_or(host),
        url,
        key: key?,
        events,
        timeout: milliseconds(webhook.timeout_ms),
        retry_base: milliseconds(webhook.retry_base_ms),
        retry_max: seconds(webhook.retry_max_seconds),
        give_up_after: seconds(webhook.give_up_after_seconds),
        ca_file: webhook.ca_file.as_ref().map(PathBuf::from),
    })
}

/// The kinds that the names and patterns mean; every kind for none.
fn events(cx: &mut Context<'_, '_>, index: usize, names: &[String]) -> Vec<EventKind> {
    if names.is_empty() {
        return EventKind::ALL.to_vec();
    }
    let mut kinds = Vec::new();
    for (position, name) in names.iter().enumerate() {
        let meant = EventKind::ALL.into_iter().filter(|kind| {
            let kind = kind.as_str();
            match name.strip_suffix('*') {
                Some(prefix) => kind.starts_with(prefix),
                None => kind == name,
            }
        });
        let before = kinds.len();
        kinds.extend(meant);
        if kinds.len() == before {
            let hint = suggest::nearest(name, EventKind::ALL.map(EventKind::as_str));
            let at = at!["alerts", "webhooks", index, "events", position];
            let message = format!("unknown event `{name}`");
            match hint {
                Some(hint) => cx.error_hint(at, message, hint),
                None => cx.error(at, message),
            }
        }
    }
    // Whoever asks for some events still wants to see a test arrive.
    kinds.push(EventKind::Test);
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// The key; the inner `None` means unsigned, the outer one that it is not there or wrong.
#[allow(clippy::option_option, reason = "unsigned is a choice, missing is not")]
fn signing_key(
    cx: &mut Context<'_, '_>,
    index: usize,
    secret: Option<&SecretText>,
) -> Option<Option<SigningKey>> {
    let at = at!["alerts", "webhooks", index, "secret"];
    let Some(secret) = secret else {
        cx.warn(
            at!["alerts", "webhooks", index],
            "no `secret`: the receiver cannot tell our events from anybody else's",
            "add `secret: \"${TOLLGATE_WEBHOOK_SECRET}\"`",
        );
        return Some(None);
    };
    let Resolved::Ready(text) = resolve(cx, at, secret, SWITCHED_OFF) else {
        return None;
    };
    let key = SigningKey::parse(&text);
    if key.is_none() {
        cx.error(
            at,
            "after `whsec_` a secret is base64, with at least one byte",
        );
    }
    Some(Some(key?))
}

/// Where to POST, and its host for names.
fn address(
    cx: &mut Context<'_, '_>,
    index: usize,
    url: &SecretText,
) -> Option<(SecretString, String)> {
    let at = at!["alerts", "webhooks", index, "url"];
    let url = if is_reference(url.0.trim()) || url.0.contains("${") {
        match resolve(cx, at, url, SWITCHED_OFF) {
            Resolved::Ready(url) => url,
            Resolved::Missing | Resolved::Wrong => return None,
        }
    } else {
        SecretString::from(url.0.trim().to_owned())
    };
    checked_address(cx, at, url)
}

fn checked_address(
    cx: &mut Context<'_, '_>,
    at: &[Step<'_>],
    url: SecretString,
) -> Option<(SecretString, String)> {
    use secrecy::ExposeSecret;
    // The address may be a secret: no message shows it.
    let Ok(parsed) = url.expose_secret().parse::<Uri>() else {
        cx.error_hint(at, "no valid URL", "write it as https://host/path");
        return None;
    };
    let scheme = parsed.scheme_str().unwrap_or_default();
    let host = parsed.host().unwrap_or_default().to_owned();
    if !matches!(scheme, "http" | "https") || host.is_empty() {
        cx.error_hint(
            at,
            "a webhook is called over HTTPS (or HTTP on loopback)",
            "write it as https://host/path",
        );
        return None;
    }
    if scheme == "http" && !is_loopback(&host) {
        cx.warn(
            at,
            "in clear text: whoever is on the way reads the events",
            "use https://",
        );
    }
    Some((url, host))
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
