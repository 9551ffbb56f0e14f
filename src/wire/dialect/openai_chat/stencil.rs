//! A short cut for the chunks of a stream, which differ in nothing but their text.
//!
//! The first such chunk is parsed in full and kept with its text cut out. A chunk that agrees with
//! the stencil byte for byte, and has valid strings where the stencil has its holes, is a document
//! of the same structure with other text: there is nothing to learn from it but the text's length.
//! Anything else is parsed. This makes the tap several times cheaper than parsing.

use super::answer::{Answer, Pieces};
use crate::wire::json_text;

/// Longer chunks are not kept: comparing them would not pay.
const MAX_STENCIL_BYTES: usize = 4096;

/// A chunk with its text, and OpenAI's padding, cut out. Empty until one has been cut.
#[derive(Debug, Default)]
pub(super) struct Stencil {
    /// Up to and including the quote that opens the text.
    before: Vec<u8>,
    /// From the quote that closes the text; up to the quote that opens the padding, if there is any.
    after: Vec<u8>,
    /// From the quote that closes the padding.
    end: Option<Vec<u8>>,
}

impl Stencil {
    /// Cuts a stencil from a chunk that said something and nothing else of interest.
    pub fn cut(&mut self, data: &[u8], answer: &Answer) {
        self.before.clear();
        let Pieces::One(text) = answer.text else {
            return;
        };
        let text = text.range();
        let padding = answer.obfuscation.map(crate::types::Span::range);
        // The padding stands last; where it does not, there is no short cut.
        let in_order = padding
            .as_ref()
            .is_none_or(|padding| padding.start > text.end);
        if answer.finish.seen || data.len() - text.len() > MAX_STENCIL_BYTES || !in_order {
            return;
        }
        let after = text.end..padding.as_ref().map_or(data.len(), |padding| padding.start);
        self.before.extend_from_slice(&data[..text.start]);
        self.after.clear();
        self.after.extend_from_slice(&data[after]);
        self.end = padding.map(|padding| data[padding.end..].to_vec());
    }

    /// How many bytes of text a chunk has that differs from the stencil only there; `None` for any
    /// other chunk.
    pub fn text_bytes(&self, data: &[u8]) -> Option<usize> {
        if self.before.is_empty() {
            return None;
        }
        let rest = data.strip_prefix(self.before.as_slice())?;
        let (inside, bytes) = json_text::measure_string(rest)?;
        let rest = rest[inside..].strip_prefix(self.after.as_slice())?;
        let Some(end) = &self.end else {
            return rest.is_empty().then_some(bytes);
        };
        let (inside, _) = json_text::measure_string(rest)?;
        (rest[inside..] == **end).then_some(bytes)
    }
}
