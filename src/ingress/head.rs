//! How large a request's head may be. Beyond twice this hyper closes the door itself.

use http::HeaderMap;

use crate::error::{ErrorKind, ProxyError};

/// OpenAI asks clients to keep all request headers together below 64 KiB.
const MAX_BYTES: usize = 64 * 1024;
/// Envoy's default (CVE-2019-15226 came from having none).
const MAX_COUNT: usize = 100;

/// Refuses a head that is too large.
///
/// # Errors
/// `HeadersTooLarge`, naming the cap and the largest header (never its value).
pub fn check_head(headers: &HeaderMap) -> Result<(), ProxyError> {
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
        let refused = check_head(headers).err().map(|error| error.message);
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
}
