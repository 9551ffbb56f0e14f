//! Reading a response object, whole or inside an event: one pass over the JSON, no tree.

use bytes::Bytes;
use jiter::{JiterError, Peek};

use crate::types::{ServiceTier, Span};
use crate::wire::dialect::openai_chat::{answer as chat_answer, usage};
use crate::wire::facts::{ErrorReport, Finish, NotADialect, ResponseFacts, UsageReport};
use crate::wire::json_text;
use crate::wire::json_walk::{Member, Walk, is_lone_surrogate};

/// What a response object says.
#[derive(Debug, Default)]
pub(super) struct Response {
    /// The insides of the strings.
    pub id: Option<Span>,
    pub model: Option<Span>,
    pub created: Option<u64>,
    pub service_tier: Option<ServiceTier>,
    pub usage: Option<UsageReport>,
    /// `output` is there.
    pub has_output: bool,
    pub tool_calls: bool,
    pub output_bytes: u64,
    pub error: Option<ErrorReport>,
    status: Status,
    reason: Reason,
    bare_error: ErrorReport,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Status {
    /// None, or one that says nothing of the end.
    #[default]
    Open,
    Completed,
    Incomplete,
    Failed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reason {
    #[default]
    None,
    Cap,
    Filter,
}

impl Response {
    pub fn finish(&self) -> Finish {
        let ended = self.status != Status::Open;
        Finish {
            seen: ended,
            truncated: self.status == Status::Incomplete && self.reason == Reason::Cap,
            content_filter: self.reason == Reason::Filter,
            error: self.status == Status::Failed,
        }
    }

    /// Reads one member.
    pub fn member(&mut self, walk: &mut Walk<'_>, member: &Member<'_>) -> Result<(), JiterError> {
        match (&*member.name, member.peek) {
            (b"id", Peek::String) => self.id = Some(walk.string()?),
            (b"model", Peek::String) => self.model = Some(walk.string()?),
            (b"created_at", peek) if peek.is_num() => self.created = walk.count(peek)?,
            (b"service_tier", Peek::String) => {
                let word = walk.string()?;
                // As it was asked for, until it is known.
                if walk.raw(word) != b"auto" {
                    self.service_tier = Some(ServiceTier::of_upstream(walk.raw(word)));
                }
            }
            (b"usage", Peek::Object) => self.usage = Some(usage::read(walk)?),
            (b"status", Peek::String) => {
                let status = walk.string()?;
                self.status = match walk.raw(status) {
                    b"completed" => Status::Completed,
                    b"incomplete" => Status::Incomplete,
                    b"failed" | b"cancelled" => Status::Failed,
                    _ => Status::Open,
                };
            }
            (b"incomplete_details", Peek::Object) => walk.object(|walk, member| {
                if &*member.name != b"reason" || member.peek != Peek::String {
                    return walk.skip(member.peek);
                }
                let reason = walk.string()?;
                self.reason = match walk.raw(reason) {
                    b"content_filter" => Reason::Filter,
                    _ => Reason::Cap,
                };
                Ok::<(), JiterError>(())
            })?,
            (b"output", Peek::Array) => {
                self.has_output = true;
                walk.array(|walk, _, peek| match peek {
                    Peek::Object => self.item(walk),
                    _ => walk.skip(peek),
                })?;
            }
            (b"error", peek) if peek != Peek::Null => {
                self.error = Some(chat_answer::error_report(walk, peek)?);
            }
            (b"message" | b"detail" | b"type" | b"code" | b"param", _) => {
                chat_answer::error_member(walk, member, &mut self.bare_error)?;
            }
            (_, peek) => walk.skip(peek)?,
        }
        Ok(())
    }

    /// One item of the output.
    pub fn item(&mut self, walk: &mut Walk<'_>) -> Result<(), JiterError> {
        walk.object(|walk, member| {
            match (&*member.name, member.peek) {
                (b"type", Peek::String) => {
                    let kind = walk.string()?;
                    self.tool_calls |=
                        matches!(walk.raw(kind), b"function_call" | b"custom_tool_call");
                }
                (b"name" | b"arguments" | b"input", Peek::String) => self.count(walk)?,
                (b"content" | b"summary", Peek::Array) => {
                    walk.array(|walk, _, peek| match peek {
                        Peek::Object => {
                            walk.object(|walk, member| match (&*member.name, member.peek) {
                                (b"text" | b"refusal", Peek::String) => self.count(walk),
                                (_, peek) => walk.skip(peek),
                            })
                        }
                        _ => walk.skip(peek),
                    })?;
                }
                (_, peek) => walk.skip(peek)?,
            }
            Ok::<(), JiterError>(())
        })
    }

    fn count(&mut self, walk: &mut Walk<'_>) -> Result<(), JiterError> {
        let text = walk.string()?;
        let bytes = json_text::unescaped_len(walk.raw(text));
        self.output_bytes = self.output_bytes.saturating_add(bytes as u64);
        Ok(())
    }
}

fn read(json: &[u8]) -> Result<Response, JiterError> {
    let mut walk = Walk::new(json);
    let mut response = Response::default();
    walk.object(|walk, member| response.member(walk, &member))?;
    walk.finish()?;
    let bare = std::mem::take(&mut response.bare_error);
    if response.error.is_none() && !response.has_output && !bare.message.is_empty() {
        response.error = Some(bare);
    }
    Ok(response)
}

/// Reads the object `json`, mended where it holds halves of surrogate pairs.
pub(super) fn read_mended<T>(
    json: &[u8],
    read: impl Fn(&[u8]) -> Result<T, JiterError>,
) -> Result<T, JiterError> {
    match read(json) {
        Err(error) if is_lone_surrogate(&error) => match json_text::mend_lone_surrogates(json) {
            Some(mended) => read(&mended),
            None => Err(error),
        },
        read => read,
    }
}

/// Reads a whole response, success or error.
pub(super) fn inspect(body: &Bytes) -> Result<ResponseFacts, NotADialect> {
    let refuse = |reason: String| NotADialect {
        reason,
        tokens: None,
    };
    if u32::try_from(body.len()).is_err() {
        return Err(refuse("the body is 4 GiB or longer".to_owned()));
    }
    if let Err(error) = std::str::from_utf8(body) {
        return Err(refuse(format!("not UTF-8 at byte {}", error.valid_up_to())));
    }
    let response =
        read_mended(body, read).map_err(|error| refuse(format!("not a JSON object: {error}")))?;
    if !response.has_output && response.error.is_none() {
        return Err(NotADialect {
            reason: "neither `output` nor `error`".to_owned(),
            tokens: response.usage.and_then(|usage| usage.tokens),
        });
    }
    let finish = response.finish();
    let text = |inside: Span| json_text::to_string_lossy(&body[inside.range()]).into_owned();
    Ok(ResponseFacts {
        usage: response.usage,
        model: response.model.map(text),
        service_tier: response.service_tier,
        finish,
        choices: u32::from(response.has_output),
        tool_calls: response.tool_calls,
        output_bytes: response.output_bytes,
        error: response.error,
    })
}

/// The error in a body, if it is one.
pub(super) fn read_error(body: &str) -> Option<ErrorReport> {
    read_mended(body.as_bytes(), read).ok()?.error
}
