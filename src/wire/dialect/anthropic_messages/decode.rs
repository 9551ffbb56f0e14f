//! A client's body to a [`Call`]: one pass, no tree, no copy of the texts.
//!
//! Reads only what routing, limits and accounting need; everything else is skipped and passes through
//! untouched. Strict where a wrong form would hide text from the classifier and the estimate, and what
//! is read may stand in the body only once.

use bytes::Bytes;
use jiter::Peek;

use super::content::{self, Content};
use super::members::Known;
use crate::error::ProxyError;
use crate::types::{
    Call, Directives, Endpoint, Field, Needs, Role, Span, StreamRequest, Tally, Turn,
};
use crate::wire::dialect::client_body;
use crate::wire::dialect::openai_chat::fault::Fault;
use crate::wire::dialect::openai_chat::members::{boolean, count, text};
use crate::wire::dialect::wishes;
use crate::wire::json_walk::{Member, Walk};

/// Longest model name that is looked up.
const MAX_MODEL_BYTES: usize = 256;
/// What of `metadata.user_id` is kept for attribution; the upstream still gets all of it.
const MAX_END_USER_BYTES: usize = 256;
const MODEL_ALLOWED: &str = "the name of a model (such as \"auto\")";
const MESSAGES_ALLOWED: &str = "a non-empty array of messages";

/// Decodes a body. The call keeps it, and its spans point into it.
///
/// # Errors
/// `InvalidRequest` with the member at fault; `RequestTooLarge` for 4 GiB and more.
pub fn decode(endpoint: Endpoint, body: Bytes, directives: Directives) -> Result<Call, ProxyError> {
    let mut call = client_body::decode(body, |body| read(endpoint, body))?;
    call.directives = directives;
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
    /// The instructions, which stand before the conversation whatever their place in the body.
    system: Option<Turn>,
}

impl Draft {
    fn new(endpoint: Endpoint) -> Self {
        let call = Call {
            endpoint,
            body: Bytes::new(),
            model: String::new(),
            model_value: Span { start: 0, end: 0 },
            fields: Vec::with_capacity(16),
            // Anthropic's streams always report usage.
            stream: StreamRequest {
                include_usage: true,
                ..StreamRequest::default()
            },
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
            system: None,
        }
    }

    fn member(&mut self, walk: &mut Walk<'_>, member: &Member<'_>) -> Result<(), Fault> {
        if let Some(known) = Known::of(&member.name) {
            let bit = 1 << known as u32;
            if self.seen & bit != 0 {
                return Err(Fault::twice(&String::from_utf8_lossy(&member.name)));
            }
            self.seen |= bit;
            self.known(walk, known, member)?;
        } else if let Some(meant) = Known::lookalike(&member.name) {
            let name = String::from_utf8_lossy(&member.name);
            let message = format!("`{name}` is not allowed; write `{meant}`");
            return Err(Fault::field(name, message));
        } else {
            walk.skip(member.peek)?;
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
        match known {
            Known::Model => self.model(walk, member)?,
            Known::Messages => self.messages(walk, peek)?,
            Known::System => {
                let mut system = Turn::new(Role::System);
                Content::new("system".to_owned(), &mut system, &mut self.call.needs)
                    .read(walk, peek)?;
                self.system = Some(system);
            }
            Known::MaxTokens => self.call.max_output_tokens = count(walk, "max_tokens", peek)?,
            Known::Stream => {
                self.call.stream.wanted = boolean(walk, "stream", peek)?.unwrap_or(false);
            }
            Known::Tools => self.tools(walk, peek)?,
            Known::OutputConfig if peek == Peek::Object => {
                let needs = &mut self.call.needs;
                walk.object(|walk, member| {
                    needs.json_schema |= &*member.name == b"format" && member.peek == Peek::Object;
                    walk.skip(member.peek).map_err(Fault::from)
                })?;
            }
            Known::OutputFormat => {
                self.call.needs.json_schema |= peek == Peek::Object;
                walk.skip(peek)?;
            }
            Known::Metadata => self.metadata(walk, peek)?,
            Known::Thinking | Known::ToolChoice => {
                wishes::read(&mut self.call.needs, walk, &member.name, peek)?;
            }
            Known::OutputConfig | Known::ServiceTier => walk.skip(peek)?,
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

    fn messages(&mut self, walk: &mut Walk<'_>, peek: Peek) -> Result<(), Fault> {
        if peek != Peek::Array {
            return Err(Fault::wrong_type("messages", MESSAGES_ALLOWED, peek));
        }
        let Call { turns, needs, .. } = &mut self.call;
        walk.array(|walk, index, peek| {
            if peek != Peek::Object {
                let param = format!("messages[{index}]");
                return Err(Fault::wrong_type(&param, "an object", peek));
            }
            content::message(walk, index, turns, needs)
        })?;
        if turns.is_empty() {
            let message = format!("`messages` is empty; it must be {MESSAGES_ALLOWED}");
            return Err(Fault::field("messages", message));
        }
        Ok(())
    }

    fn tools(&mut self, walk: &mut Walk<'_>, peek: Peek) -> Result<(), Fault> {
        match peek {
            Peek::Null => walk.skip(peek)?,
            Peek::Array => {
                let mut tools = 0_u32;
                walk.array(|walk, _, peek| {
                    tools = tools.saturating_add(1);
                    walk.skip(peek).map_err(Fault::from)
                })?;
                self.call.tools = tools;
                self.call.needs.tools |= tools > 0;
            }
            _ => return Err(Fault::wrong_type("tools", "an array", peek)),
        }
        Ok(())
    }

    fn metadata(&mut self, walk: &mut Walk<'_>, peek: Peek) -> Result<(), Fault> {
        const PARAM: &str = "metadata.user_id";
        match peek {
            Peek::Null => return Ok(walk.skip(peek)?),
            Peek::Object => {}
            _ => return Err(Fault::wrong_type("metadata", "an object or null", peek)),
        }
        let end_user = &mut self.call.end_user;
        walk.object(|walk, member| {
            if &*member.name != b"user_id" {
                return walk.skip(member.peek).map_err(Fault::from);
            }
            if end_user.is_some() {
                return Err(Fault::twice(PARAM));
            }
            *end_user = text(walk, PARAM, member.peek, MAX_END_USER_BYTES)?;
            Ok(())
        })
    }

    /// Checks what only the whole shows.
    fn finish(mut self) -> Result<Call, Fault> {
        if self.seen & (1 << Known::Model as u32) == 0 {
            return Err(Fault::missing("model", MODEL_ALLOWED));
        }
        if self.seen & (1 << Known::Messages as u32) == 0 {
            return Err(Fault::missing("messages", MESSAGES_ALLOWED));
        }
        if let Some(system) = self.system.filter(|system| !system.parts.is_empty()) {
            self.call.turns.insert(0, system);
        }
        Ok(self.call)
    }
}
