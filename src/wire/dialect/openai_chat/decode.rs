//! A client's body to a [`Call`]: one pass, no tree, no copy of the texts.
//!
//! Owns what a request must look like and the words in which it is refused. Reads only what routing,
//! limits and accounting need; everything else is skipped and passes through untouched. A member
//! that is read here may stand in the body only once, however its name is escaped or capitalised:
//! otherwise we would judge one value and an upstream might obey another.

use bytes::Bytes;
use jiter::Peek;

use super::fault::Fault;
use super::members::{Known, boolean, count, text};
use super::{items, messages};
use crate::error::ProxyError;
use crate::types::{
    Call, Directives, Endpoint, Field, Needs, Part, Role, Span, StreamRequest, Tally, Turn,
};
use crate::wire::dialect::client_body;
use crate::wire::dialect::wishes;
use crate::wire::json_walk::{Member, Walk};

/// Longest model name that is looked up.
const MAX_MODEL_BYTES: usize = 256;
/// OpenAI allows at most 128 choices; each is paid for.
const MAX_CHOICES: u64 = 128;
/// What of `user` is kept for attribution; the upstream still gets all of it.
const MAX_END_USER_BYTES: usize = 256;
/// OpenAI's limits on `metadata`.
const MAX_METADATA_PAIRS: usize = 16;
const MAX_METADATA_VALUE_BYTES: usize = 512;
/// What of `prompt_cache_key` serves as a session's name.
const MAX_SESSION_BYTES: usize = 256;

/// Decodes a body. The call keeps it, and its spans point into it.
///
/// # Errors
/// `InvalidRequest` with the member at fault; `RequestTooLarge` for 4 GiB and more.
pub fn decode(endpoint: Endpoint, body: Bytes, directives: Directives) -> Result<Call, ProxyError> {
    let mut call = client_body::decode(body, |body| read(endpoint, body))?;
    let from_body = std::mem::replace(&mut call.directives, directives);
    call.directives.prompt_cache_key = from_body.prompt_cache_key;
    Ok(call)
}

fn read(endpoint: Endpoint, body: &[u8]) -> Result<Call, Fault> {
    let mut draft = Draft::new(endpoint);
    client_body::members(body, |walk, member| draft.member(walk, &member))?;
    draft.finish()
}

/// A call that is being read.
struct Draft {
    call: Call,
    /// A bit per [`Known`] member that has been read.
    seen: u32,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    user: Option<String>,
    safety_identifier: Option<String>,
    suffix: Option<Span>,
    instructions: Option<Span>,
}

impl Draft {
    fn new(endpoint: Endpoint) -> Self {
        let call = Call {
            endpoint,
            body: Bytes::new(),
            model: String::new(),
            model_value: Span { start: 0, end: 0 },
            fields: Vec::with_capacity(16),
            stream: StreamRequest::default(),
            turns: Vec::new(),
            tally: Tally::default(),
            needs: Needs::default(),
            max_output_tokens: None,
            choices: 1,
            tools: 0,
            end_user: None,
            metadata: Vec::new(),
            directives: Directives::default(),
            maker: None,
        };
        Self {
            call,
            seen: 0,
            max_tokens: None,
            max_completion_tokens: None,
            user: None,
            safety_identifier: None,
            suffix: None,
            instructions: None,
        }
    }

    fn member(&mut self, walk: &mut Walk<'_>, member: &Member<'_>) -> Result<(), Fault> {
        let responses = self.call.endpoint == Endpoint::Responses;
        let known = Known::of(&member.name);
        if let Some(known) = known.filter(|known| responses || !known.is_of_responses()) {
            let bit = 1 << known as u32;
            if self.seen & bit != 0 {
                return Err(Fault::twice(&String::from_utf8_lossy(&member.name)));
            }
            self.seen |= bit;
            self.known(walk, known, member)?;
        } else if let Some(meant) = Known::lookalike(&member.name, responses) {
            let name = String::from_utf8_lossy(&member.name);
            let message = format!("`{name}` is not allowed; write `{meant}`");
            return Err(Fault::field(name, message));
        } else {
            wishes::read(&mut self.call.needs, walk, &member.name, member.peek)?;
        }
        self.call.fields.push(Field {
            name: member.name_span,
            value: walk.since(member.start),
        });
        Ok(())
    }

    fn known(
        &mut self,
        walk: &mut Walk<'_>,
        known: Known,
        member: &Member<'_>,
    ) -> Result<(), Fault> {
        let peek = member.peek;
        let chat = self.call.endpoint == Endpoint::ChatCompletions;
        match known {
            Known::Model => self.model(walk, member)?,
            Known::Messages if chat => {
                self.call.turns = messages::turns(walk, peek, &mut self.call.needs)?;
            }
            Known::Prompt if self.call.endpoint == Endpoint::Completions => {
                self.inputs(walk, "prompt", peek)?;
            }
            Known::Input if self.call.endpoint == Endpoint::Embeddings => {
                self.inputs(walk, "input", peek)?;
            }
            Known::Input if self.call.endpoint == Endpoint::Responses => {
                self.call.turns = items::turns(walk, peek, &mut self.call.needs)?;
            }
            Known::Instructions if peek == Peek::String => {
                self.instructions = Some(walk.string()?);
            }
            Known::MaxOutputTokens => {
                self.max_tokens = count(walk, "max_output_tokens", peek)?;
            }
            Known::Text if peek == Peek::Object => {
                walk.object(|walk, member| match &*member.name {
                    b"format" => self.response_format(walk, member.peek, "text.format"),
                    _ => walk.skip(member.peek).map_err(Fault::from),
                })?;
            }
            Known::Suffix if peek == Peek::String => self.suffix = Some(walk.string()?),
            Known::Stream => {
                self.call.stream.wanted = boolean(walk, "stream", peek)?.unwrap_or(false);
            }
            Known::StreamOptions => self.stream_options(walk, member)?,
            Known::N => self.choices(walk, "n", peek)?,
            Known::BestOf => self.choices(walk, "best_of", peek)?,
            Known::MaxTokens => self.max_tokens = count(walk, "max_tokens", peek)?,
            Known::MaxCompletionTokens => {
                self.max_completion_tokens = count(walk, "max_completion_tokens", peek)?;
            }
            Known::Tools => self.tools(walk, "tools", peek)?,
            Known::Functions => self.tools(walk, "functions", peek)?,
            Known::ResponseFormat => self.response_format(walk, peek, "response_format")?,
            Known::Modalities => self.modalities(walk, peek)?,
            Known::Audio => {
                self.call.needs.audio |= peek != Peek::Null;
                walk.skip(peek)?;
            }
            Known::User => self.user = text(walk, "user", peek, MAX_END_USER_BYTES)?,
            Known::SafetyIdentifier => {
                self.safety_identifier = text(walk, "safety_identifier", peek, MAX_END_USER_BYTES)?;
            }
            Known::Metadata => self.metadata(walk, peek)?,
            Known::PromptCacheKey => {
                self.call.directives.prompt_cache_key =
                    text(walk, "prompt_cache_key", peek, MAX_SESSION_BYTES)?;
            }
            // What is kept is known to the pipeline, which reads on from there.
            Known::PreviousResponseId => match peek {
                Peek::String => walk.string().map(|_| ())?,
                Peek::Null => walk.skip(peek)?,
                _ => {
                    let allowed = "the id of a response or null";
                    return Err(Fault::wrong_type("previous_response_id", allowed, peek));
                }
            },
            Known::Store => {
                boolean(walk, "store", peek)?;
            }
            // A conversation of the provider's knows no keys of ours: whoever guessed an id could read
            // on in another's.
            Known::Conversation if peek != Peek::Null => {
                let message = "`conversation` is not supported; go on with `previous_response_id`";
                return Err(Fault::field("conversation", message));
            }
            Known::Background => {
                if boolean(walk, "background", peek)? == Some(true) {
                    let message =
                        "`background` is not supported; wait for the response or stream it";
                    return Err(Fault::field("background", message));
                }
            }
            // Members of another endpoint pass through like unknown ones.
            Known::Messages
            | Known::Prompt
            | Known::Input
            | Known::Suffix
            | Known::Instructions
            | Known::Text
            | Known::Conversation => walk.skip(peek)?,
        }
        Ok(())
    }

    fn model(&mut self, walk: &mut Walk<'_>, member: &Member<'_>) -> Result<(), Fault> {
        if member.peek != Peek::String {
            return Err(Fault::wrong_type("model", MODEL_ALLOWED, member.peek));
        }
        let inside = walk.string()?;
        self.call.model_value = walk.since(member.start);
        let name = walk.text(inside);
        if name.is_empty() || name.len() > MAX_MODEL_BYTES {
            let message = format!(
                "`model` must be {MODEL_ALLOWED} of 1 to {MAX_MODEL_BYTES} bytes, not of {}",
                name.len()
            );
            return Err(Fault::field("model", message));
        }
        self.call.model = name.into_owned();
        Ok(())
    }

    /// `prompt` and `input`: a string, an array of strings, an array of token numbers, or an array
    /// of such arrays.
    fn inputs(
        &mut self,
        walk: &mut Walk<'_>,
        param: &'static str,
        peek: Peek,
    ) -> Result<(), Fault> {
        let mut turn = Turn::new(Role::User);
        match peek {
            Peek::String => turn.parts.push(Part::Text(walk.string()?)),
            Peek::Array => messages::inputs(walk, param, &mut turn)?,
            // OpenAI takes a null prompt for the beginning of a document.
            Peek::Null if param == "prompt" => walk.skip(peek)?,
            _ => return Err(Fault::wrong_type(param, messages::INPUTS_ALLOWED, peek)),
        }
        self.call.turns.push(turn);
        Ok(())
    }

    fn stream_options(&mut self, walk: &mut Walk<'_>, member: &Member<'_>) -> Result<(), Fault> {
        const PARAM: &str = "stream_options.include_usage";
        match member.peek {
            Peek::Null => walk.skip(member.peek)?,
            Peek::Object => {
                let stream = &mut self.call.stream;
                walk.object(|walk, option| {
                    if &*option.name != b"include_usage" {
                        return walk.skip(option.peek).map_err(Fault::from);
                    }
                    if stream.include_usage_value.is_some() {
                        return Err(Fault::twice(PARAM));
                    }
                    stream.include_usage = boolean(walk, PARAM, option.peek)?.unwrap_or(false);
                    stream.include_usage_value = Some(walk.since(option.start));
                    Ok(())
                })?;
            }
            peek => {
                return Err(Fault::wrong_type(
                    "stream_options",
                    "an object or null",
                    peek,
                ));
            }
        }
        self.call.stream.options = Some(walk.since(member.start));
        Ok(())
    }

    fn choices(
        &mut self,
        walk: &mut Walk<'_>,
        param: &'static str,
        peek: Peek,
    ) -> Result<(), Fault> {
        let Some(choices) = count(walk, param, peek)? else {
            return Ok(());
        };
        let choices = (1..=MAX_CHOICES)
            .contains(&choices)
            .then(|| u32::try_from(choices).ok())
            .flatten();
        let Some(choices) = choices else {
            let message = format!("`{param}` must be a whole number from 1 to {MAX_CHOICES}");
            return Err(Fault::field(param, message));
        };
        self.call.choices = self.call.choices.max(choices);
        Ok(())
    }

    fn tools(&mut self, walk: &mut Walk<'_>, param: &'static str, peek: Peek) -> Result<(), Fault> {
        match peek {
            Peek::Null => walk.skip(peek)?,
            Peek::Array => {
                let mut tools = 0_u32;
                walk.array(|walk, _, peek| {
                    tools = tools.saturating_add(1);
                    walk.skip(peek).map_err(Fault::from)
                })?;
                self.call.tools = self.call.tools.saturating_add(tools);
                self.call.needs.tools |= tools > 0;
            }
            _ => return Err(Fault::wrong_type(param, "an array or null", peek)),
        }
        Ok(())
    }

    fn response_format(
        &mut self,
        walk: &mut Walk<'_>,
        peek: Peek,
        place: &str,
    ) -> Result<(), Fault> {
        let param = || format!("{place}.type");
        match peek {
            Peek::Null => return Ok(walk.skip(peek)?),
            Peek::Object => {}
            _ => {
                return Err(Fault::wrong_type(place, "an object or null", peek));
            }
        }
        let mut kind = None;
        walk.object(|walk, member| match (&*member.name, member.peek) {
            (b"type", _) if kind.is_some() => Err(Fault::twice(&param())),
            (b"type", Peek::String) => {
                kind = Some(walk.string()?);
                Ok(())
            }
            (b"type", peek) => Err(Fault::wrong_type(&param(), "a string", peek)),
            (_, peek) => walk.skip(peek).map_err(Fault::from),
        })?;
        if let Some(kind) = kind {
            let kind = walk.text(kind);
            self.call.needs.json_schema |= matches!(&*kind, "json_schema" | "json_object");
        }
        Ok(())
    }

    fn modalities(&mut self, walk: &mut Walk<'_>, peek: Peek) -> Result<(), Fault> {
        match peek {
            Peek::Null => return Ok(walk.skip(peek)?),
            Peek::Array => {}
            _ => {
                return Err(Fault::wrong_type(
                    "modalities",
                    "an array of strings or null",
                    peek,
                ));
            }
        }
        let mut audio = false;
        walk.array(|walk, index, peek| {
            if peek != Peek::String {
                let param = format!("modalities[{index}]");
                return Err(Fault::wrong_type(&param, "a string", peek));
            }
            let modality = walk.string()?;
            audio |= walk.raw(modality) == b"audio";
            Ok(())
        })?;
        self.call.needs.audio |= audio;
        Ok(())
    }

    fn metadata(&mut self, walk: &mut Walk<'_>, peek: Peek) -> Result<(), Fault> {
        match peek {
            Peek::Null => return Ok(walk.skip(peek)?),
            Peek::Object => {}
            _ => {
                return Err(Fault::wrong_type(
                    "metadata",
                    "an object of strings or null",
                    peek,
                ));
            }
        }
        let pairs = &mut self.call.metadata;
        walk.object(|walk, member| {
            let too_long = || {
                let message = format!(
                    "names and values of `metadata` may have at most {MAX_METADATA_VALUE_BYTES} bytes"
                );
                Fault::field("metadata", message)
            };
            // First of all, since the other messages repeat the name.
            if member.name.len() > MAX_METADATA_VALUE_BYTES {
                return Err(too_long());
            }
            let name = String::from_utf8_lossy(&member.name).into_owned();
            if pairs.len() == MAX_METADATA_PAIRS {
                let message = format!("`metadata` may have at most {MAX_METADATA_PAIRS} members");
                return Err(Fault::field("metadata", message));
            }
            let param = || format!("metadata.{name}");
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(Fault::twice(&param()));
            }
            if member.peek != Peek::String {
                return Err(Fault::wrong_type(&param(), "a string", member.peek));
            }
            let inside = walk.string()?;
            let value = walk.text(inside);
            if value.len() > MAX_METADATA_VALUE_BYTES {
                return Err(too_long());
            }
            pairs.push((name, value.into_owned()));
            Ok(())
        })
    }

    /// Checks what only the whole shows.
    fn finish(mut self) -> Result<Call, Fault> {
        if self.seen & (1 << Known::Model as u32) == 0 {
            return Err(Fault::missing("model", MODEL_ALLOWED));
        }
        let (texts, param, allowed) = match self.call.endpoint {
            Endpoint::Responses => (Known::Input, "input", items::INPUT_ALLOWED),
            Endpoint::ChatCompletions | Endpoint::Messages => {
                (Known::Messages, "messages", messages::MESSAGES_ALLOWED)
            }
            Endpoint::Completions => (Known::Prompt, "prompt", messages::INPUTS_ALLOWED),
            Endpoint::Embeddings
            | Endpoint::Images
            | Endpoint::Audio
            | Endpoint::Moderations
            | Endpoint::Files
            | Endpoint::Batches => (Known::Input, "input", messages::INPUTS_ALLOWED),
        };
        if self.seen & (1 << texts as u32) == 0 {
            return Err(Fault::missing(param, allowed));
        }
        if let (Some(suffix), Some(turn)) = (self.suffix, self.call.turns.last_mut())
            && self.call.endpoint == Endpoint::Completions
        {
            turn.parts.push(Part::Text(suffix));
        }
        if let Some(instructions) = self.instructions {
            self.call
                .turns
                .insert(0, items::said(Role::System, Part::Text(instructions)));
        }
        if self.call.endpoint == Endpoint::Responses {
            // The last event of every stream has the usage.
            self.call.stream.include_usage = true;
        }
        self.call.max_output_tokens = self.max_completion_tokens.or(self.max_tokens);
        self.call.end_user = self.user.or(self.safety_identifier);
        Ok(self.call)
    }
}

const MODEL_ALLOWED: &str = "the name of a model (such as \"auto\")";

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
