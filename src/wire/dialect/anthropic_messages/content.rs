//! The texts of a request: messages and their content blocks to turns and parts.
//!
//! The results of tools stand inside a user's message here; each message's become a turn of their own
//! before what the user says, as other dialects have it.

use jiter::Peek;

use crate::types::{Needs, Part, Role, Span, ToolCallAt, Turn};
use crate::wire::dialect::openai_chat::fault::Fault;
use crate::wire::json_walk::Walk;

const CONTENT_ALLOWED: &str = "a string or an array of content blocks";

/// Reads one message into one or two turns.
pub(super) fn message(
    walk: &mut Walk<'_>,
    index: usize,
    turns: &mut Vec<Turn>,
    needs: &mut Needs,
) -> Result<(), Fault> {
    let param = |member: &str| format!("messages[{index}].{member}");
    let mut turn = Turn::new(Role::Other);
    let mut results = Turn::new(Role::Tool);
    let (mut role, mut has_content) = (None, false);
    walk.object(|walk, member| {
        match (&*member.name, member.peek) {
            (b"role", _) if role.is_some() => return Err(Fault::twice(&param("role"))),
            (b"role", Peek::String) => {
                let name = walk.string()?;
                role = Some(role_named(&walk.text(name)));
            }
            (b"role", peek) => return Err(Fault::wrong_type(&param("role"), "a string", peek)),
            (b"content", _) if has_content => return Err(Fault::twice(&param("content"))),
            (b"content", peek) => {
                has_content = true;
                let mut content = Content::new(param("content"), &mut turn, needs);
                content.results = Some(&mut results);
                content.read(walk, peek)?;
            }
            (_, peek) => walk.skip(peek)?,
        }
        Ok(())
    })?;
    let allowed = "`user` or `assistant`";
    turn.role = role.ok_or_else(|| Fault::missing(&param("role"), allowed))?;
    if !has_content {
        return Err(Fault::missing(&param("content"), CONTENT_ALLOWED));
    }
    let has_results = !results.parts.is_empty();
    if has_results {
        turns.push(results);
    }
    if !has_results || !turn.parts.is_empty() {
        turns.push(turn);
    }
    Ok(())
}

fn role_named(name: &str) -> Role {
    match name {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => Role::Other,
    }
}

/// What is read into.
pub(super) struct Content<'t> {
    param: String,
    turn: &'t mut Turn,
    results: Option<&'t mut Turn>,
    needs: &'t mut Needs,
    /// Inside a tool's result.
    is_result: bool,
}

/// What of a block has been read.
#[derive(Default)]
struct Seen {
    kind: Option<Span>,
    text: Option<Span>,
    has_content: bool,
    id: Option<Span>,
    input: Option<Span>,
    is_error: bool,
}

impl<'t> Content<'t> {
    pub(super) const fn new(param: String, turn: &'t mut Turn, needs: &'t mut Needs) -> Self {
        Self {
            param,
            turn,
            results: None,
            needs,
            is_result: false,
        }
    }

    /// Reads a string or an array of blocks.
    pub(super) fn read(&mut self, walk: &mut Walk<'_>, peek: Peek) -> Result<(), Fault> {
        match peek {
            Peek::String => {
                let text = Part::Text(walk.string()?);
                self.push(text);
                Ok(())
            }
            Peek::Array => walk.array(|walk, index, peek| {
                if peek != Peek::Object {
                    let param = format!("{}[{index}]", self.param);
                    return Err(Fault::wrong_type(&param, "an object", peek));
                }
                self.block(walk, index)
            }),
            _ => Err(Fault::wrong_type(&self.param, CONTENT_ALLOWED, peek)),
        }
    }

    fn push(&mut self, part: Part) {
        match &mut self.results {
            Some(results) if self.is_result => results.parts.push(part),
            _ => self.turn.parts.push(part),
        }
    }

    /// One block. Its `type` may stand behind what it is the type of, so that only the whole says what
    /// was read; a tool's result is read on the way.
    fn block(&mut self, walk: &mut Walk<'_>, index: usize) -> Result<(), Fault> {
        let param = |member: &str| format!("{}[{index}]{member}", self.param);
        let at = |member: &str| param(member);
        let start = walk.index();
        let mut seen = Seen::default();
        let mut inner = Inner::default();
        walk.object(|walk, member| {
            match (&*member.name, member.peek) {
                (b"type", _) if seen.kind.is_some() => return Err(Fault::twice(&at(".type"))),
                (b"type", Peek::String) => seen.kind = Some(walk.string()?),
                (b"type", peek) => return Err(Fault::wrong_type(&at(".type"), "a string", peek)),
                (b"text" | b"thinking", _) if seen.text.is_some() => {
                    return Err(Fault::twice(&at(".text")));
                }
                (b"text" | b"thinking", Peek::String) => seen.text = Some(walk.string()?),
                (b"text", peek) => return Err(Fault::wrong_type(&at(".text"), "a string", peek)),
                (b"content", _) if seen.has_content => return Err(Fault::twice(&at(".content"))),
                (b"content", peek) => {
                    seen.has_content = true;
                    inner.read(walk, peek)?;
                }
                (b"id", Peek::String) => seen.id = Some(walk.string()?),
                (b"input", peek) => {
                    walk.skip(peek)?;
                    seen.input = Some(walk.since(member.start));
                }
                (b"is_error", Peek::True) => {
                    seen.is_error = true;
                    walk.skip(Peek::True)?;
                }
                (_, peek) => walk.skip(peek)?,
            }
            Ok(())
        })?;
        let whole = walk.since(start);
        let kind = seen.kind.map(|kind| walk.text(kind));
        let Some(kind) = kind else {
            return Err(Fault::missing(
                &param(".type"),
                "a string, such as \"text\"",
            ));
        };
        match (&*kind, seen.text) {
            ("text", None) => return Err(Fault::missing(&param(".text"), "a string")),
            ("image", _) => {
                self.needs.vision = true;
                self.push(Part::Image(whole));
            }
            ("document", _) => self.push(Part::File(whole)),
            ("tool_use", _) => {
                self.needs.tools = true;
                self.turn.tool_calls = self.turn.tool_calls.saturating_add(1);
                if let (None, Some(input)) = (self.turn.first_call, seen.input) {
                    let id = seen.id.unwrap_or(Span { start: 0, end: 0 });
                    self.turn.first_call = Some(ToolCallAt { id, input });
                }
            }
            ("tool_result", _) => {
                self.needs.tools = true;
                self.needs.vision |= inner.has_image;
                let was = std::mem::replace(&mut self.is_result, true);
                if inner.parts.is_empty() {
                    // A result without content is one all the same.
                    self.push(Part::Other(whole));
                }
                for part in inner.parts {
                    self.push(part);
                }
                if let Some(results) = &mut self.results {
                    results.failed |= seen.is_error;
                }
                self.is_result = was;
            }
            ("thinking", Some(text)) => {
                self.turn.thoughts = true;
                self.push(Part::Text(text));
            }
            ("redacted_thinking", None) => {
                self.turn.thoughts = true;
                self.push(Part::Other(whole));
            }
            (_, Some(text)) => self.push(Part::Text(text)),
            (_, None) => self.push(Part::Other(whole)),
        }
        Ok(())
    }
}

/// The content of a block: a tool's result, or what of other blocks has the same name.
#[derive(Default)]
struct Inner {
    parts: Vec<Part>,
    has_image: bool,
}

impl Inner {
    fn read(&mut self, walk: &mut Walk<'_>, peek: Peek) -> Result<(), Fault> {
        match peek {
            Peek::String => self.parts.push(Part::Text(walk.string()?)),
            Peek::Array => walk.array(|walk, _, peek| {
                if peek != Peek::Object {
                    return walk.skip(peek).map_err(Fault::from);
                }
                self.block(walk)
            })?,
            _ => walk.skip(peek)?,
        }
        Ok(())
    }

    fn block(&mut self, walk: &mut Walk<'_>) -> Result<(), Fault> {
        let start = walk.index();
        let (mut text, mut is_image) = (None, false);
        walk.object(|walk, member| {
            match (&*member.name, member.peek) {
                (b"type", Peek::String) => {
                    let kind = walk.string()?;
                    is_image |= &*walk.text(kind) == "image";
                }
                (b"text", Peek::String) => text = Some(walk.string()?),
                (_, peek) => walk.skip(peek)?,
            }
            Ok::<(), Fault>(())
        })?;
        self.has_image |= is_image;
        self.parts.push(match text {
            _ if is_image => Part::Image(walk.since(start)),
            Some(text) => Part::Text(text),
            None => Part::Other(walk.since(start)),
        });
        Ok(())
    }
}
