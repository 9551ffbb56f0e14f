use http::{HeaderMap, HeaderName, HeaderValue};

use super::credential::{BadCredential, credential};

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
