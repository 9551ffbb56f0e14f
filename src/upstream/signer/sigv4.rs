//! AWS Signature Version 4: a request's canonical form, and the `authorization` header that a
//! derived key gives it. Pure: text in, text out; which headers are signed is the caller's choice.
//!
//! Source: AWS, "Signature Version 4 signing process" (IAM User Guide): canonical request, string to
//! sign, signing key.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Who signs, and for what.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// As `eu-west-1`.
    pub region: &'a str,
    /// As `bedrock`.
    pub service: &'a str,
    /// Public half of the key.
    pub access_key_id: &'a str,
    /// Secret half of the key.
    pub secret_access_key: &'a str,
}

/// What is signed.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// As `POST`.
    pub method: &'a str,
    /// The path as it goes over the wire.
    pub path: &'a str,
    /// The query as it goes over the wire, without `?`.
    pub query: &'a str,
    /// Names in lower case with their values; `host` and `x-amz-date` must be among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// `x-amz-date` of a moment: `20150830T123600Z`.
pub fn date(unix_ms: i64) -> String {
    let at = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string()
}

/// The value of `authorization` for a request whose `x-amz-date` is `date`.
pub fn authorization(scope: Scope<'_>, request: Request<'_>, date: &str) -> String {
    let mut headers = request.headers.to_vec();
    // Stable: values of one name stay in the order in which they are sent.
    headers.sort_by_key(|(name, _)| *name);
    let signed = signed_names(&headers);
    let canonical = canonical_request(&request, &headers, &signed);
    let day = date.get(..8).unwrap_or_default();
    let credential_scope = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!(
        "{ALGORITHM}\n{date}\n{credential_scope}\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let mut key = hmac(
        format!("AWS4{}", scope.secret_access_key).as_bytes(),
        day.as_bytes(),
    );
    for part in [scope.region, scope.service, "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    let signature = hex(&hmac(&key, to_sign.as_bytes()));
    format!(
        "{ALGORITHM} Credential={}/{credential_scope}, SignedHeaders={signed}, Signature={signature}",
        scope.access_key_id
    )
}

fn canonical_request(request: &Request<'_>, headers: &[(&str, &str)], signed: &str) -> String {
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        request.method,
        canonical_path(request.path),
        canonical_query(request.query)
    );
    let mut previous = None;
    for (name, value) in headers {
        if previous == Some(*name) {
            canonical.pop();
            canonical.push(',');
        } else {
            canonical.push_str(name);
            canonical.push(':');
        }
        // Runs of spaces count as one.
        for (index, word) in value.split_ascii_whitespace().enumerate() {
            canonical.push_str(if index == 0 { "" } else { " " });
            canonical.push_str(word);
        }
        canonical.push('\n');
        previous = Some(*name);
    }
    canonical.push('\n');
    canonical.push_str(signed);
    canonical.push('\n');
    canonical.push_str(&hex(&Sha256::digest(request.body)));
    canonical
}

fn signed_names(headers: &[(&str, &str)]) -> String {
    let mut names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    names.dedup();
    names.join(";")
}

/// The path without empty, `.` and `..` segments, and encoded once more than it is on the wire, as
/// every service but S3 wants it: `%3A` becomes `%253A`.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut canonical = String::with_capacity(path.len() + 8);
    for segment in &segments {
        canonical.push('/');
        encode(segment.as_bytes(), &mut canonical);
    }
    let is_folder = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end));
    if segments.is_empty() || is_folder {
        canonical.push('/');
    }
    canonical
}

/// Parameters by name and value, each encoded once.
fn canonical_query(query: &str) -> String {
    let mut parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (encoded_once(name), encoded_once(value))
        })
        .collect();
    parameters.sort();
    let mut canonical = String::with_capacity(query.len());
    for (name, value) in parameters {
        if !canonical.is_empty() {
            canonical.push('&');
        }
        canonical.push_str(&name);
        canonical.push('=');
        canonical.push_str(&value);
    }
    canonical
}

/// Text that may be encoded already.
fn encoded_once(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&first, rest)) = bytes.split_first() {
        let escaped = rest
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = escaped {
            plain.push(byte);
            bytes = &rest[2..];
        } else {
            plain.push(first);
            bytes = rest;
        }
    }
    let mut encoded = String::with_capacity(text.len());
    encode(&plain, &mut encoded);
    encoded
}

/// Encodes all but the unreserved characters of RFC 3986 §2.3.
pub fn encode(bytes: &[u8], into: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length, so there is always one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS's published vectors: name, method, path, query, headers beside `host` and `x-amz-date`,
    /// body, signed headers, signature. One a line, tab-separated; `\x20` marks blanks that editors
    /// would take away.
    const VECTORS: &str = include_str!("../../../tests/fixtures/sigv4/vectors.tsv");

    fn check(line: &str) {
        let fields: Vec<String> = line
            .split('\t')
            .map(|it| it.replace("\\x20", " "))
            .collect();
        let [name, method, path, query, headers, body, signed, signature] = fields.as_slice()
        else {
            panic!("not eight fields: {line}");
        };
        let mut all = vec![
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        for header in headers.split('|').filter(|header| !header.is_empty()) {
            all.push(header.split_once(':').expect("a header"));
        }
        let scope = Scope {
            region: "us-east-1",
            service: "service",
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        };
        let request = Request {
            method,
            path,
            query,
            headers: &all,
            body: body.as_bytes(),
        };
        let expect = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders={signed}, Signature={signature}"
        );
        assert_eq!(
            authorization(scope, request, "20150830T123600Z"),
            expect,
            "{name}"
        );
    }

    #[test]
    fn the_published_vectors_have_their_signatures() {
        let vectors = VECTORS.lines().filter(|line| !line.starts_with('#'));
        assert!(vectors.clone().count() >= 15);
        vectors.for_each(check);
    }

    #[test]
    fn a_path_is_encoded_once_more_than_on_the_wire() {
        let check = |wire: &str, expect: &str| assert_eq!(canonical_path(wire), expect);
        check("/model/a.b-v1%3A0/converse", "/model/a.b-v1%253A0/converse");
        check("/model/a.b-v1:0/converse", "/model/a.b-v1%3A0/converse");
        check("", "/");
        check("/a/./b/", "/a/b/");
        check("/a/b/..", "/a/");
    }

    #[test]
    fn dates_are_utc() {
        assert_eq!(date(1_440_938_160_000), "20150830T123600Z");
    }
}
