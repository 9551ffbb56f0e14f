//! The top-level members that decoding reads, and their plain values. Of both dialects of OpenAI: a body
//! has few members and most have one name and meaning in both.

use jiter::Peek;

use super::fault::Fault;
use crate::wire::json_walk::Walk;

/// The top-level members that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire::dialect) enum Known {
    Model,
    Messages,
    Prompt,
    Suffix,
    Input,
    Stream,
    StreamOptions,
    N,
    BestOf,
    MaxTokens,
    MaxCompletionTokens,
    Tools,
    Functions,
    ResponseFormat,
    Modalities,
    Audio,
    User,
    SafetyIdentifier,
    Metadata,
    PromptCacheKey,
    Instructions,
    MaxOutputTokens,
    Text,
    PreviousResponseId,
    Store,
    Conversation,
    Background,
}

impl Known {
    pub(in crate::wire::dialect) fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"model" => Self::Model,
            b"messages" => Self::Messages,
            b"prompt" => Self::Prompt,
            b"suffix" => Self::Suffix,
            b"input" => Self::Input,
            b"stream" => Self::Stream,
            b"stream_options" => Self::StreamOptions,
            b"n" => Self::N,
            b"best_of" => Self::BestOf,
            b"max_tokens" => Self::MaxTokens,
            b"max_completion_tokens" => Self::MaxCompletionTokens,
            b"tools" => Self::Tools,
            b"functions" => Self::Functions,
            b"response_format" => Self::ResponseFormat,
            b"modalities" => Self::Modalities,
            b"audio" => Self::Audio,
            b"user" => Self::User,
            b"safety_identifier" => Self::SafetyIdentifier,
            b"metadata" => Self::Metadata,
            b"prompt_cache_key" => Self::PromptCacheKey,
            b"instructions" => Self::Instructions,
            b"max_output_tokens" => Self::MaxOutputTokens,
            b"text" => Self::Text,
            b"previous_response_id" => Self::PreviousResponseId,
            b"store" => Self::Store,
            b"conversation" => Self::Conversation,
            b"background" => Self::Background,
            _ => return None,
        })
    }

    /// True for members that only the Responses API has.
    pub(super) const fn is_of_responses(self) -> bool {
        matches!(
            self,
            Self::Instructions
                | Self::MaxOutputTokens
                | Self::Text
                | Self::PreviousResponseId
                | Self::Store
                | Self::Conversation
                | Self::Background
        )
    }

    /// A member that some JSON readers (Go's, for one) take for a known one because they ignore
    /// case, and also fold the long s and the Kelvin sign.
    pub(super) fn lookalike(name: &[u8], responses: bool) -> Option<String> {
        if !name
            .iter()
            .any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii())
        {
            return None;
        }
        let folded = String::from_utf8_lossy(name)
            .replace('\u{17f}', "s")
            .replace('\u{212a}', "k")
            .to_ascii_lowercase();
        let known = Self::of(folded.as_bytes())?;
        (responses || !known.is_of_responses()).then_some(folded)
    }
}

/// A boolean or null.
pub(in crate::wire::dialect) fn boolean(
    walk: &mut Walk<'_>,
    param: &str,
    peek: Peek,
) -> Result<Option<bool>, Fault> {
    match peek {
        Peek::True | Peek::False => Ok(Some(walk.boolean(peek)?)),
        Peek::Null => Ok(walk.skip(peek).map(|()| None)?),
        _ => Err(Fault::wrong_type(param, "true, false or null", peek)),
    }
}

/// A whole number that is not negative, or null.
pub(in crate::wire::dialect) fn count(
    walk: &mut Walk<'_>,
    param: &str,
    peek: Peek,
) -> Result<Option<u64>, Fault> {
    const ALLOWED: &str = "a whole number, 0 or more, or null";
    if peek == Peek::Null {
        return Ok(walk.skip(peek).map(|()| None)?);
    }
    if !peek.is_num() {
        return Err(Fault::wrong_type(param, ALLOWED, peek));
    }
    match walk.count(peek)? {
        Some(number) => Ok(Some(number)),
        None => Err(Fault::field(param, format!("`{param}` must be {ALLOWED}"))),
    }
}

/// A string or null; at most `max_bytes` of it, cut between characters. Empty counts as absent.
pub(in crate::wire::dialect) fn text(
    walk: &mut Walk<'_>,
    param: &str,
    peek: Peek,
    max_bytes: usize,
) -> Result<Option<String>, Fault> {
    match peek {
        Peek::Null => Ok(walk.skip(peek).map(|()| None)?),
        Peek::String => {
            let inside = walk.string()?;
            let text = walk.text(inside);
            let end = text.floor_char_boundary(max_bytes);
            Ok((end > 0).then(|| text[..end].to_owned()))
        }
        _ => Err(Fault::wrong_type(param, "a string or null", peek)),
    }
}
