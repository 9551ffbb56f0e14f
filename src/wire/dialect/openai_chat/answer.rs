//! Reading an upstream's answer, whole or chunk by chunk: one pass over the JSON, no tree.
//!
//! A whole answer and a chunk differ in `message` and `delta` only, so one reader serves both.

use jiter::{JiterError, Peek};

use super::usage;
use crate::types::{ServiceTier, Span};
use crate::wire::facts::{ErrorReport, Finish, UsageReport};
use crate::wire::json_text;
use crate::wire::json_walk::{Member, Walk, is_lone_surrogate};

/// What is kept of an upstream's error message.
const MAX_ERROR_TEXT_BYTES: usize = 1024;

/// What one JSON document of an upstream says.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The insides of the strings.
    pub id: Option<Span>,
    pub model: Option<Span>,
    pub created: Option<u64>,
    pub service_tier: Option<ServiceTier>,
    pub usage: Option<UsageReport>,
    pub finish: Finish,
    pub choices: u32,
    pub vectors: u32,
    pub tool_calls: bool,
    pub output_bytes: u64,
    /// Where the generated text stands, when it is in one string; for the stencil.
    pub text: Pieces,
    /// OpenAI's padding against traffic analysis: it changes with every chunk.
    pub obfuscation: Option<Span>,
    pub error: Option<ErrorReport>,
    /// Members of an error that stands at the top without an envelope (vLLM, FastAPI).
    bare_error: ErrorReport,
}

/// Strings of generated text in one document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pieces {
    #[default]
    None,
    /// One: the inside of the string.
    One(Span),
    /// Several, or text that does not stand in a string.
    Many,
}

/// Reads the object `json`.
///
/// # Errors
/// When it is no JSON object.
pub(super) fn read(json: &[u8]) -> Result<Answer, JiterError> {
    match read_once(json) {
        Err(error) if is_lone_surrogate(&error) => match json_text::mend_lone_surrogates(json) {
            Some(mended) => read_once(&mended),
            None => Err(error),
        },
        read => read,
    }
}

fn read_once(json: &[u8]) -> Result<Answer, JiterError> {
    let mut walk = Walk::new(json);
    let mut answer = Answer::default();
    walk.object(|walk, member| answer.member(walk, &member))?;
    walk.finish()?;
    let bare = std::mem::take(&mut answer.bare_error);
    if answer.error.is_none()
        && answer.choices == 0
        && answer.vectors == 0
        && !bare.message.is_empty()
    {
        answer.error = Some(bare);
    }
    Ok(answer)
}

impl Answer {
    fn member(&mut self, walk: &mut Walk<'_>, member: &Member<'_>) -> Result<(), JiterError> {
        match (&*member.name, member.peek) {
            (b"choices", Peek::Array) => walk.array(|walk, _, peek| {
                self.choices = self.choices.saturating_add(1);
                match peek {
                    Peek::Object => walk.object(|walk, member| self.choice(walk, &member)),
                    _ => walk.skip(peek),
                }
            }),
            (b"usage", Peek::Object) => {
                self.usage = Some(usage::read(walk)?);
                Ok(())
            }
            (b"model", Peek::String) => {
                self.model = Some(walk.string()?);
                Ok(())
            }
            (b"id", Peek::String) => {
                self.id = Some(walk.string()?);
                Ok(())
            }
            (b"service_tier", Peek::String) => {
                let word = walk.string()?;
                self.service_tier = Some(ServiceTier::of_upstream(walk.raw(word)));
                Ok(())
            }
            (b"obfuscation", Peek::String) => {
                self.obfuscation = Some(walk.string()?);
                Ok(())
            }
            (b"created", peek) if peek.is_num() => {
                self.created = walk.count(peek)?;
                Ok(())
            }
            (b"data", Peek::Array) => walk.array(|walk, _, peek| {
                self.vectors = self.vectors.saturating_add(1);
                walk.skip(peek)
            }),
            (b"error", peek) if peek != Peek::Null => {
                self.error = Some(error_report(walk, peek)?);
                Ok(())
            }
            (b"message" | b"detail" | b"type" | b"code" | b"param", _) => {
                error_member(walk, member, &mut self.bare_error)
            }
            (_, peek) => walk.skip(peek),
        }
    }

    fn choice(&mut self, walk: &mut Walk<'_>, member: &Member<'_>) -> Result<(), JiterError> {
        match (&*member.name, member.peek) {
            (b"delta" | b"message", Peek::Object) => {
                walk.object(|walk, member| self.said(walk, &member))
            }
            (b"text", Peek::String) => self.count_text(walk),
            (b"finish_reason", Peek::String) => {
                let reason = walk.string()?;
                self.finished(walk.raw(reason));
                Ok(())
            }
            // Moonshot reports the usage of a stream inside the last choice.
            (b"usage", Peek::Object) => {
                let report = usage::read(walk)?;
                self.usage.get_or_insert(report);
                Ok(())
            }
            (_, peek) => walk.skip(peek),
        }
    }

    /// A member of `delta` or `message`.
    fn said(&mut self, walk: &mut Walk<'_>, member: &Member<'_>) -> Result<(), JiterError> {
        match (&*member.name, member.peek) {
            (b"content" | b"refusal" | b"reasoning_content" | b"reasoning", Peek::String) => {
                self.count_text(walk)
            }
            // Some vendors answer in parts; their JSON is little more than the text.
            (b"content", Peek::Array) => {
                walk.skip(Peek::Array)?;
                self.text = Pieces::Many;
                self.count_bytes(walk.since(member.start).len());
                Ok(())
            }
            (b"tool_calls", Peek::Array) => walk.array(|walk, _, peek| {
                self.tool_calls = true;
                self.tool_call(walk, peek)
            }),
            (b"function_call", Peek::Object) => {
                self.tool_calls = true;
                walk.object(|walk, member| self.function(walk, &member))
            }
            (_, peek) => walk.skip(peek),
        }
    }

    fn tool_call(&mut self, walk: &mut Walk<'_>, peek: Peek) -> Result<(), JiterError> {
        if peek != Peek::Object {
            return walk.skip(peek);
        }
        walk.object(|walk, member| match (&*member.name, member.peek) {
            (b"function" | b"custom", Peek::Object) => {
                walk.object(|walk, member| self.function(walk, &member))
            }
            (_, peek) => walk.skip(peek),
        })
    }

    fn function(&mut self, walk: &mut Walk<'_>, member: &Member<'_>) -> Result<(), JiterError> {
        match (&*member.name, member.peek) {
            (b"name" | b"arguments" | b"input", Peek::String) => self.count_text(walk),
            (_, peek) => walk.skip(peek),
        }
    }

    fn count_text(&mut self, walk: &mut Walk<'_>) -> Result<(), JiterError> {
        let text = walk.string()?;
        self.text = match self.text {
            Pieces::None => Pieces::One(text),
            Pieces::One(_) | Pieces::Many => Pieces::Many,
        };
        self.count_bytes(json_text::unescaped_len(walk.raw(text)));
        Ok(())
    }

    fn count_bytes(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.output_bytes = self.output_bytes.saturating_add(bytes);
    }

    fn finished(&mut self, reason: &[u8]) {
        match reason {
            // Some servers write an empty reason in every chunk but the last.
            b"" => return,
            b"length" | b"max_tokens" => self.finish.truncated = true,
            b"content_filter" => self.finish.content_filter = true,
            b"tool_calls" | b"function_call" => self.tool_calls = true,
            b"error" => self.finish.error = true,
            _ => {}
        }
        self.finish.seen = true;
    }
}

/// The value of `error`: OpenAI's object, or a plain string as some servers write.
pub(in crate::wire) fn error_report(
    walk: &mut Walk<'_>,
    peek: Peek,
) -> Result<ErrorReport, JiterError> {
    let mut report = ErrorReport::default();
    match peek {
        Peek::Object => {
            walk.object(|walk, member| error_member(walk, &member, &mut report))?;
            report.enveloped = !report.message.is_empty();
        }
        Peek::String => report.message = short_text(walk)?,
        _ => walk.skip(peek)?,
    }
    Ok(report)
}

pub(in crate::wire) fn error_member(
    walk: &mut Walk<'_>,
    member: &Member<'_>,
    report: &mut ErrorReport,
) -> Result<(), JiterError> {
    match (&*member.name, member.peek) {
        (b"message" | b"detail", Peek::String) => report.message = short_text(walk)?,
        (b"type", Peek::String) => report.error_type = Some(short_text(walk)?),
        (b"param", Peek::String) => report.param = Some(short_text(walk)?),
        (b"code", Peek::String) => report.code = Some(short_text(walk)?),
        (b"code", peek) if peek.is_num() => {
            walk.skip(peek)?;
            let number = walk.raw(walk.since(member.start));
            report.code = Some(String::from_utf8_lossy(number).into_owned());
        }
        (_, peek) => walk.skip(peek)?,
    }
    Ok(())
}

/// A string, cut to what an error is worth keeping.
fn short_text(walk: &mut Walk<'_>) -> Result<String, JiterError> {
    let inside = walk.string()?;
    let text = walk.text(inside);
    Ok(text[..text.floor_char_boundary(MAX_ERROR_TEXT_BYTES)].to_owned())
}
