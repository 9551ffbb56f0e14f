//! Reads bytes eight at a time: where a run of ASCII letters ends, and a few bytes as one number. Used by
//! everything that cuts texts into words; knows nothing of what the words mean.

/// Eight times the same byte.
const fn lanes(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The top bit of each lane that holds an ASCII letter.
const fn letter_lanes(word: u64) -> u64 {
    // Lower case; below 0x80 no lane's sum reaches its neighbour.
    let low = (word | lanes(0x20)) & lanes(0x7f);
    let from_a = low + lanes(0x80 - b'a');
    let beyond_z = low + lanes(0x80 - b'z' - 1);
    from_a & !beyond_z & !word & lanes(0x80)
}

/// How many ASCII letters `bytes` begins with.
#[inline]
pub(super) fn letters(bytes: &[u8]) -> usize {
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (at, chunk) in chunks.iter().enumerate() {
        let others = !letter_lanes(u64::from_le_bytes(*chunk)) & lanes(0x80);
        if others != 0 {
            return at * 8 + others.trailing_zeros() as usize / 8;
        }
    }
    let letters = rest.iter().take_while(|byte| byte.is_ascii_alphabetic());
    chunks.len() * 8 + letters.count()
}

/// The eight bytes that a word of at most seven ASCII letters begins, and how many letters it has. Nothing
/// for a longer word, near the end, and where an apostrophe or a wider letter may go on with the word.
#[inline]
pub(super) fn short_word(bytes: &[u8]) -> Option<(u64, u32)> {
    let eight = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    let others = !letter_lanes(eight) & lanes(0x80);
    let length = others.trailing_zeros() / 8;
    let behind = *bytes.get(length as usize)?;
    (others != 0 && behind != b'\'' && behind < 0x80).then_some((eight, length))
}

/// Up to eight bytes as a little-endian number.
#[inline]
pub(super) fn number(bytes: &[u8]) -> u64 {
    if let Some(all) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*all);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // The two may overlap: where they do they say the same.
        let behind = u64::from(u32::from_le_bytes(*last)) << ((bytes.len() - 4) * 8);
        return u64::from(u32::from_le_bytes(*first)) | behind;
    }
    match *bytes {
        [] => 0,
        [a] => u64::from(a),
        [a, b] => u64::from(a) | u64::from(b) << 8,
        [a, b, c, ..] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn eight_at_a_time_is_as_one_at_a_time(bytes in prop::collection::vec(
            prop_oneof![4 => prop::sample::select(b"azAZ".to_vec()), 1 => any::<u8>()], 0..40,
        )) {
            let plain = bytes.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            prop_assert_eq!(letters(&bytes), plain);
            let mut eight = [0; 8];
            let length = bytes.len().min(8);
            eight[..length].copy_from_slice(&bytes[..length]);
            prop_assert_eq!(number(&bytes), u64::from_le_bytes(eight));
        }
    }
}
