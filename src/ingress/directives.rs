//! Headers to [`Directives`]: what a client may ask of us beside the request itself.
//!
//! A header that we honour and cannot read is refused by name: ignoring `x-tollgate-max-cost-usd:
//! 0,05` would spend somebody's money. The exception is `traceparent`, which W3C Trace Context (§3.2)
//! wants ignored when it is broken.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::error::ProxyError;
use crate::types::{CacheControl, Directives, PicoUsd, Tier};

/// Names of tasks and levels.
const MAX_NAME_BYTES: usize = 64;
/// An amount has at most this many digits that matter.
const MAX_AMOUNT_BYTES: usize = 32;
/// Session names; they are kept in memory.
const MAX_SESSION_BYTES: usize = 256;
/// As OpenAI's and Stripe's.
const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Some twenty names of betas.
const MAX_BETAS_BYTES: usize = 1024;
/// As OpenAI's `metadata`.
const MAX_TAGS: usize = 16;
const MAX_TAG_NAME_BYTES: usize = 64;
const MAX_TAG_VALUE_BYTES: usize = 256;

/// Reads the directives of a request.
///
/// # Errors
/// `InvalidRequest` naming the header and saying what is allowed.
pub fn directives(headers: &HeaderMap) -> Result<Directives, ProxyError> {
    let mut found = Directives::default();
    for (name, value) in headers {
        match name.as_str() {
            name @ "x-tollgate-task" => once(name, &mut found.task, plain_name(name, value)?)?,
            name @ "x-tollgate-level" => once(name, &mut found.level, plain_name(name, value)?)?,
            name @ "x-tollgate-tier" => once(name, &mut found.tier, tier(name, value)?)?,
            name @ "x-tollgate-max-cost-usd" => {
                once(name, &mut found.max_cost, amount(name, value)?)?;
            }
            name @ "x-tollgate-tags" => tags(name, value, &mut found.tags)?,
            name @ "x-tollgate-session" => {
                once(
                    name,
                    &mut found.session,
                    text(name, value, MAX_SESSION_BYTES)?,
                )?;
            }
            name @ "idempotency-key" => {
                let key = text(name, value, MAX_IDEMPOTENCY_KEY_BYTES)?;
                once(name, &mut found.idempotency_key, key)?;
            }
            name @ "anthropic-beta" => betas(name, value, &mut found.anthropic_beta)?,
            name @ "cache-control" => cache_control(name, value, &mut found.cache)?,
            "traceparent" => {
                let value = value.to_str().ok().filter(|value| is_traceparent(value));
                found.traceparent = value.map(str::to_owned);
            }
            _ => {}
        }
    }
    Ok(found)
}

fn refuse(name: &str, allowed: &str) -> ProxyError {
    ProxyError::invalid(name, format!("header `{name}` must be {allowed}"))
}

/// Keeps `value`, unless the header has been there before.
fn once<T>(name: &str, slot: &mut Option<T>, value: T) -> Result<(), ProxyError> {
    if slot.replace(value).is_some() {
        let message = format!("header `{name}` is there more than once; it is allowed once");
        return Err(ProxyError::invalid(name, message));
    }
    Ok(())
}

/// Visible ASCII, inner spaces included.
fn text(name: &str, value: &HeaderValue, max_bytes: usize) -> Result<String, ProxyError> {
    let text = value.to_str().map(str::trim).unwrap_or_default();
    if text.is_empty() || text.len() > max_bytes {
        let allowed = format!("1 to {max_bytes} visible ASCII characters");
        return Err(refuse(name, &allowed));
    }
    Ok(text.to_owned())
}

fn plain_name(name: &str, value: &HeaderValue) -> Result<String, ProxyError> {
    let text = text(name, value, MAX_NAME_BYTES)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !text.bytes().all(plain) {
        return Err(refuse(name, "a name of letters, digits, `_`, `-` and `.`"));
    }
    Ok(text)
}

fn tier(name: &str, value: &HeaderValue) -> Result<Tier, ProxyError> {
    let word = value.to_str().map(str::trim).unwrap_or_default();
    Tier::parse(word).ok_or_else(|| refuse(name, "premium, standard or local"))
}

fn amount(name: &str, value: &HeaderValue) -> Result<PicoUsd, ProxyError> {
    let text = value.to_str().map(str::trim).unwrap_or_default();
    let amount = (text.len() <= MAX_AMOUNT_BYTES)
        .then(|| PicoUsd::parse_usd(text).ok())
        .flatten()
        .filter(|amount| *amount >= PicoUsd::ZERO);
    amount.ok_or_else(|| refuse(name, "an amount in USD, 0 or more, such as 0.05"))
}

/// Names of betas, separated by commas; the header may come in several lines. It goes upstream, so that
/// nothing else may stand in it.
fn betas(name: &str, value: &HeaderValue, betas: &mut Option<String>) -> Result<(), ProxyError> {
    let text = text(name, value, MAX_BETAS_BYTES)?;
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b',' | b' ');
    let together = betas.as_ref().map_or(0, String::len) + text.len();
    if !text.bytes().all(plain) || together > MAX_BETAS_BYTES {
        let allowed = "names of letters, digits, `_`, `-` and `.`, separated by commas";
        return Err(refuse(name, allowed));
    }
    match betas {
        None => *betas = Some(text),
        Some(betas) => {
            betas.push(',');
            betas.push_str(&text);
        }
    }
    Ok(())
}

/// `k=v,k=v`; the header may come in several lines.
fn tags(
    name: &str,
    value: &HeaderValue,
    tags: &mut Vec<(String, String)>,
) -> Result<(), ProxyError> {
    let refuse = || {
        let allowed = format!(
            "up to {MAX_TAGS} different `name=value` pairs with commas between, names up to \
             {MAX_TAG_NAME_BYTES} and values up to {MAX_TAG_VALUE_BYTES} characters of visible ASCII"
        );
        refuse(name, &allowed)
    };
    let text = value.to_str().map_err(|_| refuse())?;
    for pair in text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (tag, value) = pair.split_once('=').ok_or_else(refuse)?;
        let (tag, value) = (tag.trim(), value.trim());
        let fits = !tag.is_empty()
            && tag.len() <= MAX_TAG_NAME_BYTES
            && value.len() <= MAX_TAG_VALUE_BYTES
            && tags.len() < MAX_TAGS
            && tags.iter().all(|(other, _)| other != tag);
        if !fits {
            return Err(refuse());
        }
        tags.push((tag.to_owned(), value.to_owned()));
    }
    Ok(())
}

/// RFC 9111 §5.2.1. Directives that we do not honour are ignored, as the RFC wants (§5.2.3).
fn cache_control(
    name: &str,
    value: &HeaderValue,
    cache: &mut CacheControl,
) -> Result<(), ProxyError> {
    let text = value.to_str().map_err(|_| refuse(name, "visible ASCII"))?;
    for directive in text.split(',').map(str::trim) {
        let (word, argument) = match directive.split_once('=') {
            Some((word, argument)) => (word.trim(), Some(argument.trim().trim_matches('"'))),
            None => (directive, None),
        };
        if word.eq_ignore_ascii_case("no-cache") {
            cache.no_cache = true;
        } else if word.eq_ignore_ascii_case("no-store") {
            cache.no_store = true;
        } else if word.eq_ignore_ascii_case("only-if-cached") {
            cache.only_if_cached = true;
        } else if word.eq_ignore_ascii_case("max-age") {
            let seconds = argument.and_then(delta_seconds).ok_or_else(|| {
                refuse(
                    name,
                    "of the form `max-age=60`, in whole seconds, where it has `max-age`",
                )
            })?;
            // The strictest counts, should there be several.
            let age = cache.max_age.unwrap_or(Duration::MAX);
            cache.max_age = Some(age.min(Duration::from_secs(seconds)));
        }
    }
    Ok(())
}

/// Digits only; more than fit mean "very long" (RFC 9111 §1.2.2).
fn delta_seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::from(u32::MAX)))
}

/// `version-traceid-parentid-flags` of W3C Trace Context §3.2.2, version 00 or a longer later one.
fn is_traceparent(value: &str) -> bool {
    const LENGTH: usize = 55;
    let bytes = value.as_bytes();
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let parts: Vec<&str> = value.splitn(5, '-').collect();
    let [version, trace, parent, flags, ..] = parts[..] else {
        return false;
    };
    let lengths = [version.len(), trace.len(), parent.len(), flags.len()];
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    bytes.len() <= 2 * LENGTH
        && lengths == [2, 32, 16, 2]
        && [version, trace, parent, flags]
            .iter()
            .all(|part| part.as_bytes().iter().all(hex))
        && (version != "00" || bytes.len() == LENGTH)
        && version != "ff"
        && !zero(trace)
        && !zero(parent)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn read(lines: &[(&'static str, &str)]) -> Result<Directives, ProxyError> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
            headers.append(HeaderName::from_static(name), value);
        }
        directives(&headers)
    }

    fn check_refused(name: &'static str, value: &str) {
        let error = read(&[(name, value)]).expect_err(value);
        assert_eq!(error.param.as_deref(), Some(name), "{value}");
        assert!(error.message.contains(name), "{}", error.message);
    }

    #[test]
    fn every_directive_is_read() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let found = read(&[
            ("x-tollgate-task", "code_review"),
            ("x-tollgate-level", " complex "),
            ("x-tollgate-tier", "standard"),
            ("x-tollgate-max-cost-usd", "0.05"),
            ("x-tollgate-tags", "feature=search, run = 7,"),
            ("x-tollgate-tags", "empty="),
            ("x-tollgate-session", "user 42 / thread 7"),
            ("cache-control", "No-Cache, max-age=\"60\", no-transform"),
            ("cache-control", "no-store, max-age=30, only-if-cached"),
            ("idempotency-key", "abc"),
            ("anthropic-beta", "files-api-2025-04-14, a"),
            ("anthropic-beta", "b"),
            ("traceparent", parent),
            ("x-other", "é"),
        ])
        .expect("directives");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expect = Directives {
            task: Some("code_review".to_owned()),
            level: Some("complex".to_owned()),
            tier: Some(Tier::Standard),
            max_cost: Some(PicoUsd::from_pico(50_000_000_000)),
            tags: vec![
                pair("feature", "search"),
                pair("run", "7"),
                pair("empty", ""),
            ],
            session: Some("user 42 / thread 7".to_owned()),
            prompt_cache_key: None,
            cache: CacheControl {
                no_cache: true,
                no_store: true,
                only_if_cached: true,
                max_age: Some(Duration::from_secs(30)),
            },
            idempotency_key: Some("abc".to_owned()),
            anthropic_beta: Some("files-api-2025-04-14, a,b".to_owned()),
            traceparent: Some(parent.to_owned()),
        };
        assert_eq!(found, expect);
        assert_eq!(read(&[]).expect("none"), Directives::default());
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        check_refused("x-tollgate-task", "");
        check_refused("x-tollgate-task", "two words");
        check_refused("x-tollgate-level", &"a".repeat(65));
        check_refused("x-tollgate-tier", "gold");
        check_refused("x-tollgate-max-cost-usd", "0,05");
        check_refused("x-tollgate-max-cost-usd", "-1");
        check_refused("x-tollgate-max-cost-usd", "1e-13");
        check_refused("x-tollgate-max-cost-usd", &"1".repeat(40));
        check_refused("x-tollgate-tags", "team");
        check_refused("x-tollgate-tags", "=x");
        check_refused("x-tollgate-tags", "a=1,a=2");
        check_refused(
            "x-tollgate-tags",
            &"a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8,".repeat(3),
        );
        check_refused("x-tollgate-session", &"s".repeat(300));
        check_refused("x-tollgate-session", "é");
        check_refused("idempotency-key", &"k".repeat(256));
        check_refused("anthropic-beta", "a\"b");
        check_refused("anthropic-beta", &"a".repeat(1025));
        check_refused("cache-control", "max-age=soon");
        check_refused("cache-control", "max-age");
    }

    #[test]
    fn a_directive_may_be_given_once() {
        let error = read(&[("x-tollgate-task", "a"), ("x-tollgate-task", "b")]);
        assert_eq!(
            error.expect_err("twice").param.as_deref(),
            Some("x-tollgate-task")
        );
    }

    #[test]
    fn a_broken_traceparent_is_ignored() {
        for value in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "é",
        ] {
            let found = read(&[("traceparent", value)]).expect("ignored");
            assert_eq!(found.traceparent, None, "{value}");
        }
    }
}
