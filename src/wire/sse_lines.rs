//! JSON on one line of a server-sent event. What passes through as it is, an upstream may have written
//! over several lines; between JSON's values a blank says the same.

use bytes::{BufMut as _, BytesMut};
use memchr::memchr2;

/// Appends `json` with blanks for its line ends.
pub(in crate::wire) fn put(out: &mut BytesMut, json: &[u8]) {
    let from = out.len();
    out.put_slice(json);
    let mut at = from;
    while let Some(offset) = memchr2(b'\n', b'\r', &out[at..]) {
        at += offset;
        out[at] = b' ';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_one() {
        let mut out = BytesMut::from(&b"a\nb"[..]);
        put(&mut out, b"{\r\n\"c\": 1\n}");
        assert_eq!(&out[..], b"a\nb{  \"c\": 1 }");
    }
}
