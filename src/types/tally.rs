//! What a conversation holds, counted once when it is decoded, so that nothing later has to go through all
//! of its turns.

use super::call::{Part, Role, Span, Turn};

/// Counts over a whole conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Turns of the user.
    pub user_turns: usize,
    /// Turns with a tool's result.
    pub tool_turns: usize,
    /// Images in any turn.
    pub images: u64,
    /// Images that ask for `"detail":"low"`.
    pub low_detail_images: u64,
    /// Files in any turn.
    pub files: u64,
    /// Raw bytes of images and files (to be taken out of the byte count).
    pub media_bytes: usize,
    /// Raw bytes of audio.
    pub audio_bytes: usize,
    /// Raw bytes of text.
    pub text_bytes: usize,
    /// Pre-tokenised input.
    pub token_ids: u64,
}

impl Tally {
    /// Counts turns whose spans point into `body`.
    #[must_use]
    pub fn of(body: &[u8], turns: &[Turn]) -> Self {
        let mut tally = Self::default();
        for turn in turns {
            tally.user_turns += usize::from(turn.role == Role::User);
            tally.tool_turns += usize::from(turn.role == Role::Tool);
            for part in &turn.parts {
                tally.add(body, *part);
            }
        }
        tally
    }

    fn add(&mut self, body: &[u8], part: Part) {
        match part {
            Part::Text(span) | Part::Other(span) => self.text_bytes += span.len(),
            Part::Image(span) => {
                self.images += 1;
                self.media_bytes += span.len();
                self.low_detail_images += u64::from(is_low_detail(body, span));
            }
            Part::File(span) => {
                self.files += 1;
                self.media_bytes += span.len();
            }
            Part::Audio(span) => self.audio_bytes += span.len(),
            Part::TokenIds(count) => self.token_ids += u64::from(count),
        }
    }
}

/// Looks for `"low"` near either end of an image part, where `detail` stands beside the URL.
fn is_low_detail(body: &[u8], span: Span) -> bool {
    const NEAR: usize = 128;
    let raw = body.get(span.range()).unwrap_or_default();
    let head = &raw[..raw.len().min(NEAR)];
    let tail = &raw[raw.len().saturating_sub(NEAR)..];
    [head, tail]
        .iter()
        .any(|end| memchr::memmem::find(end, b"\"low\"").is_some())
}
