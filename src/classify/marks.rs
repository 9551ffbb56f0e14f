//! Which characters other than letters a text has, gathered while it is read: most of what is looked for
//! later begins with one of them, and most texts have few.

/// A set of ASCII marks, digits, tabs and line breaks, and of "anything beyond ASCII".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u64);

/// The bit for everything beyond ASCII.
const WIDE: u64 = 1 << 63;

/// What each byte adds to the set; letters and spaces add nothing.
static BITS: [u64; 256] = {
    let mut bits = [0; 256];
    let mut next = 0;
    let mut byte = 0_u8;
    loop {
        bits[byte as usize] = match byte {
            b'0'..=b'9' => 1 << 62,
            0x80.. => WIDE,
            mark if mark.is_ascii_punctuation() || mark == b'\n' || mark == b'\t' => {
                next += 1;
                1 << next
            }
            _ => 0,
        };
        if byte == u8::MAX {
            break bits;
        }
        byte += 1;
    }
};

impl Marks {
    /// The marks of some bytes.
    #[inline]
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let bits = bytes.iter().map(|byte| BITS[usize::from(*byte)]);
        Self(bits.fold(0, |all, bit| all | bit))
    }

    /// Adds others.
    #[inline]
    pub fn add(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// Adds those of one byte.
    #[inline]
    pub fn add_byte(&mut self, byte: u8) {
        self.0 |= BITS[usize::from(byte)];
    }

    /// Whether one of these may occur. Always true when one of them is a letter or a space, of which
    /// the set knows nothing.
    #[inline]
    #[must_use]
    pub fn any(self, of: &[u8]) -> bool {
        of.iter().any(|byte| {
            let bit = BITS[usize::from(*byte)];
            bit == 0 || self.0 & bit != 0
        })
    }

    /// Whether this one may occur.
    #[inline]
    #[must_use]
    pub fn has(self, byte: u8) -> bool {
        self.any(&[byte])
    }

    /// Whether anything beyond ASCII occurs.
    #[inline]
    #[must_use]
    pub const fn wide(self) -> bool {
        self.0 & WIDE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_marks_that_stand_in_it() {
        let marks = Marks::of("a `b`, c\n1".as_bytes());
        for byte in 0..128_u8 {
            let known = byte.is_ascii_punctuation()
                || byte.is_ascii_digit()
                || byte == b'\n'
                || byte == b'\t';
            let expect = !known || b"`,\n0123456789".contains(&byte);
            assert_eq!(marks.has(byte), expect, "{}", char::from(byte));
        }
        assert!(!marks.wide());
        assert!(Marks::of("é".as_bytes()).wide());
        assert!(marks.any(b"?,") && !marks.any(b"?("));
    }
}
