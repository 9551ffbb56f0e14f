//! Ids of tool calls. Anthropic takes letters, digits, `_` and `-` only; an id of another dialect that
//! holds more is replaced by one that is made from it alone, so that a call and its result still meet.

use std::borrow::Cow;

/// 64-bit FNV-1a: <https://datatracker.ietf.org/doc/draft-eastlake-fnv/>. It must only keep ids apart
/// that differ in the characters that are lost.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// `id` as Anthropic accepts it: itself where it can be.
pub(super) fn fitting(id: &str) -> Cow<'_, str> {
    if !id.is_empty() && id.bytes().all(fits) {
        return Cow::Borrowed(id);
    }
    let hash = id.bytes().fold(FNV_OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    });
    let kept: String = id.chars().filter(|c| fits_char(*c)).take(32).collect();
    Cow::Owned(format!("toolu_{kept}_{hash:016x}"))
}

const fn fits(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn fits_char(character: char) -> bool {
    u8::try_from(character).is_ok_and(fits)
}

/// True for a tool's name as Anthropic accepts it.
pub(super) fn is_tool_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_and_stay_apart() {
        assert_eq!(fitting("call_a-1"), "call_a-1");
        let (a, b) = (fitting("call.1"), fitting("call:1"));
        assert_ne!(a, b);
        assert_eq!(fitting("call.1"), a);
        assert!(fitting("").bytes().all(fits) && !fitting("").is_empty());
        assert!(a.bytes().all(fits));
    }
}
