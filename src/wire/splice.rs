//! Replacing a few ranges of a body and leaving every other byte as it is.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

/// Replacements in one body, made in any order. Ranges must not overlap; an empty range inserts.
pub(crate) struct Splices {
    pieces: SmallVec<[Piece; 2]>,
}

struct Piece {
    range: Range<usize>,
    with: Cow<'static, [u8]>,
}

impl Splices {
    pub fn new() -> Self {
        Self {
            pieces: SmallVec::new(),
        }
    }

    /// Puts `with` where `range` is.
    pub fn replace(&mut self, range: Range<usize>, with: impl Into<Cow<'static, [u8]>>) {
        let with = with.into();
        self.pieces.push(Piece { range, with });
    }

    /// The body with the replacements: one allocation of the exact size, or `body` itself when
    /// there are none.
    pub fn apply(mut self, body: &Bytes) -> Bytes {
        if self.pieces.is_empty() {
            return body.clone();
        }
        self.pieces.sort_by_key(|piece| piece.range.start);
        let removed: usize = self.pieces.iter().map(|piece| piece.range.len()).sum();
        let added: usize = self.pieces.iter().map(|piece| piece.with.len()).sum();
        let mut out = Vec::with_capacity((body.len() + added).saturating_sub(removed));
        let mut at = 0;
        for Piece { range, with } in &self.pieces {
            out.extend_from_slice(body.get(at..range.start).unwrap_or_default());
            out.extend_from_slice(with);
            at = range.end;
        }
        out.extend_from_slice(body.get(at..).unwrap_or_default());
        Bytes::from(out)
    }
}
