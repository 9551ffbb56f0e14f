//! What a request's head must be before anything else is looked at: not too large (beyond twice the
//! caps hyper closes the door itself), and for one host.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Version};

use crate::error::{ErrorKind, ProxyError};

/// OpenAI asks clients to keep all request headers together below 64 KiB.
const MAX_BYTES: usize = 64 * 1024;
/// Envoy's default (CVE-2019-15226 came from having none).
const MAX_COUNT: usize = 100;

/// Refuses a head that is too large or does not name one host.
///
/// # Errors
/// `HeadersTooLarge`, naming the cap and the largest header (never its value); `InvalidRequest` for a
/// host that is missing, doubled or malformed.
pub fn check_head(version: Version, headers: &HeaderMap) -> Result<(), ProxyError> {
    check_size(headers)?;
    check_host(version, headers)
}

/// What a head gets that gives its body's length twice: a proxy in front might have read the other one
/// (RFC 9112 §6.3).
#[must_use]
pub fn two_lengths() -> ProxyError {
    let message = "headers `content-length` and `transfer-encoding` are both there; one is allowed";
    ProxyError::invalid("transfer-encoding", message)
}

/// RFC 9112 §3.2: servers that disagree about whom a request is for can be played against each other.
/// HTTP/1.0 need not have the header, and HTTP/2 names the authority elsewhere.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), ProxyError> {
    let mut hosts = headers.get_all(HOST).iter();
    let fault = match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => "is missing",
        (Some(_), Some(_)) => "stands more than once; it is allowed once",
        (Some(host), None) if !host.is_empty() => {
            let names_one = |bytes| {
                Authority::try_from(bytes).is_ok_and(|it: Authority| !it.as_str().contains('@'))
            };
            if names_one(host.as_bytes()) {
                return Ok(());
            }
            "must be a host name, with a port where it needs one"
        }
        _ => return Ok(()),
    };
    Err(ProxyError::invalid(
        "host",
        format!("header `host` {fault}"),
    ))
}

fn check_size(headers: &HeaderMap) -> Result<(), ProxyError> {
    if headers.len() > MAX_COUNT {
        let message = format!(
            "the request has {} headers; at most {MAX_COUNT} are taken",
            headers.len()
        );
        return Err(ProxyError::new(ErrorKind::HeadersTooLarge, message));
    }
    let size =
        |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len();
    if headers.iter().map(size).sum::<usize>() <= MAX_BYTES {
        return Ok(());
    }
    let largest = headers.iter().max_by_key(|header| size(*header));
    let name = largest.map_or("none", |(name, _)| name.as_str());
    let message = format!(
        "the request's headers are larger than {MAX_BYTES} bytes together; the largest is `{name}`"
    );
    Err(ProxyError::new(ErrorKind::HeadersTooLarge, message))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(headers: &HeaderMap, expect: Option<&str>) {
        let refused = check_head(Version::HTTP_2, headers)
            .err()
            .map(|error| error.message);
        match (refused, expect) {
            (None, None) => {}
            (Some(message), Some(part)) => assert!(message.contains(part), "{message}"),
            (refused, expect) => panic!("{refused:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_in_count() {
        let mut headers = HeaderMap::new();
        check(&headers, None);
        headers.insert(
            "x-large",
            HeaderValue::from_bytes(&vec![b'a'; 65 * 1024]).expect("a value"),
        );
        check(&headers, Some("x-large"));
        let mut headers = HeaderMap::new();
        for _ in 0..101 {
            headers.append("x-many", HeaderValue::from_static("1"));
        }
        check(&headers, Some("101 headers"));
    }

    #[test]
    fn a_head_names_one_host() {
        let head = |hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::from_static(host));
            }
            headers
        };
        for host in [
            "localhost:8080",
            "gateway.internal",
            "127.0.0.1:1",
            "[::1]:8080",
            "",
        ] {
            assert!(
                check_head(Version::HTTP_11, &head(&[host])).is_ok(),
                "{host}"
            );
        }
        for hosts in [
            &[][..],
            &["a", "a"],
            &["a b"],
            &["a/b"],
            &["me@a"],
            &["a,b c"],
        ] {
            assert!(
                check_head(Version::HTTP_11, &head(hosts)).is_err(),
                "{hosts:?}"
            );
        }
        assert!(check_head(Version::HTTP_10, &head(&[])).is_ok());
        assert!(check_head(Version::HTTP_2, &head(&[])).is_ok());
    }
}
