//! Who is let in, who is not, and what a refusal never says.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::credential::{BadCredential, credential};
use super::*;
use crate::config::load;

fn headers(lines: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value).expect("a header value");
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn check(lines: &[(&'static str, &[u8])], expect: Result<Option<&[u8]>, BadCredential>) {
    assert_eq!(credential(&headers(lines)), expect);
}

#[test]
fn a_key_comes_in_either_header() {
    check(&[], Ok(None));
    check(&[("authorization", b"Bearer tg-1")], Ok(Some(b"tg-1")));
    check(&[("authorization", b"bearer   tg-1 ")], Ok(Some(b"tg-1")));
    check(&[("x-api-key", b"tg-1")], Ok(Some(b"tg-1")));
    check(
        &[("authorization", b"Bearer tg-1"), ("x-api-key", b"tg-1")],
        Ok(Some(b"tg-1")),
    );
}

#[test]
fn what_is_no_single_key_is_refused() {
    check(
        &[("authorization", b"Bearer a"), ("x-api-key", b"b")],
        Err(BadCredential::Ambiguous),
    );
    check(
        &[
            ("authorization", b"Bearer a"),
            ("authorization", b"Bearer b"),
        ],
        Err(BadCredential::Ambiguous),
    );
    for not_bearer in [
        &b"Basic dXNlcg=="[..],
        b"tg-1",
        b"",
        b"Bearertg-1",
        b"Bearer",
    ] {
        check(
            &[("authorization", not_bearer)],
            Err(BadCredential::NotBearer),
        );
    }
    check(&[("x-api-key", b"")], Err(BadCredential::Missing));
    check(
        &[("x-api-key", b"two words")],
        Err(BadCredential::NotVisible),
    );
    check(
        &[("x-api-key", b"\xff\xfe")],
        Err(BadCredential::NotVisible),
    );
    check(&[("x-api-key", &[b'k'; 513])], Err(BadCredential::TooLong));
    check(&[("x-api-key", &[b'k'; 512])], Ok(Some(&[b'k'; 512])));
}

const FILE: &str = r#"
version: 1
auth: { mode: keys }
providers:
  p: { dialect: openai_chat, base_url: "http://127.0.0.1:9/v1" }
models:
  small: { provider: p, price: { input: 1, output: 2 }, tier: standard }
  large: { provider: p, price: { input: 10, output: 20 }, tier: premium }
matrix:
  default: { simple: [small], complex: [large], critical: [large] }
teams:
  search: { tier: standard, allow: ["small", "l*"] }
keys:
  - { id: prod, sha256: "HASH", team: search, app: checkout, allow: ["*e"] }
"#;

fn snapshot(mode: &str) -> Snapshot {
    let hash: [u8; 32] = Sha256::digest(b"tg-secret-1").into();
    let hex = hash.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let text = FILE.replace("HASH", &hex).replace("mode: keys", mode);
    load(&text, "routes.yaml", &|_| None, 0).expect("a sound file")
}

fn bearer(key: &str) -> HeaderMap {
    headers(&[("authorization", format!("Bearer {key}").as_bytes())])
}

#[test]
fn a_known_key_is_its_caller_with_what_key_and_team_both_permit() {
    let caller = authenticate(&snapshot("mode: keys"), &bearer("tg-secret-1")).expect("known");
    assert_eq!(caller.key, Some("prod".into()));
    assert_eq!(
        (caller.team, caller.app),
        ("search".into(), "checkout".into())
    );
    assert_eq!(caller.tier, Tier::Standard);
    assert!(caller.allow.allows(&"large".into()), "by `l*` and `*e`");
    assert!(!caller.allow.allows(&"small".into()), "not by `*e`");
}

#[test]
fn any_other_credential_gets_401_that_never_repeats_it() {
    let snapshot = snapshot("mode: keys");
    for key in [
        "tg-secret-2",
        "tg-secret-1x",
        "TG-SECRET-1",
        "a b",
        &"k".repeat(9_000),
    ] {
        let error = authenticate(&snapshot, &bearer(key)).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::InvalidApiKey);
        assert!(!error.message.contains(key), "{}", error.message);
    }
    let error = authenticate(&snapshot, &HeaderMap::new()).expect_err("refused");
    assert!(error.message.contains("Authorization: Bearer"));
}

#[test]
fn open_needs_no_key_but_knows_the_known_ones() {
    let snapshot = snapshot("mode: open");
    for headers in [
        HeaderMap::new(),
        bearer("sk-whatever"),
        headers(&[("authorization", b"Basic x")]),
    ] {
        let caller = authenticate(&snapshot, &headers).expect("anybody");
        assert_eq!((caller.key, caller.team), (None, "default".into()));
        assert_eq!(caller.tier, Tier::Premium);
    }
    let caller = authenticate(&snapshot, &bearer("tg-secret-1")).expect("known");
    assert_eq!(caller.key, Some("prod".into()));
}
