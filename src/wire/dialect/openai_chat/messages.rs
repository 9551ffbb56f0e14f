//! The texts of a request: `messages`, `prompt` and `input` to turns and parts.
//!
//! Strict where a wrong type would hide text from the classifier and the token estimate; lenient
//! where an upstream may know more than we do (roles, types of parts, members).

use super::fault::Fault;
use crate::types::{Needs, Part, Role, Span, ToolCallAt, Turn};
use crate::wire::json_walk::Walk;
use jiter::Peek;

pub(super) const MESSAGES_ALLOWED: &str = "a non-empty array of messages";
pub(super) const INPUTS_ALLOWED: &str =
    "a string, a non-empty array of strings, or a non-empty array of tokens (or of such arrays)";
const CONTENT_ALLOWED: &str = "a string, an array of content parts, or null";

/// Reads `messages`.
pub(super) fn turns(
    walk: &mut Walk<'_>,
    peek: Peek,
    needs: &mut Needs,
) -> Result<Vec<Turn>, Fault> {
    if peek != Peek::Array {
        return Err(Fault::wrong_type("messages", MESSAGES_ALLOWED, peek));
    }
    let mut turns = Vec::with_capacity(8);
    walk.array(|walk, index, peek| {
        if peek != Peek::Object {
            let param = format!("messages[{index}]");
            return Err(Fault::wrong_type(&param, "an object", peek));
        }
        turns.push(turn(walk, index, needs)?);
        Ok(())
    })?;
    if turns.is_empty() {
        let message = format!("`messages` is empty; it must be {MESSAGES_ALLOWED}");
        return Err(Fault::field("messages", message));
    }
    Ok(turns)
}

fn turn(walk: &mut Walk<'_>, index: usize, needs: &mut Needs) -> Result<Turn, Fault> {
    let mut role = None;
    let mut content_seen = false;
    let mut turn = Turn::new(Role::Other);
    let param = |member: &str| format!("messages[{index}].{member}");
    walk.object(|walk, member| {
        match (&*member.name, member.peek) {
            (b"role", _) if role.is_some() => return Err(Fault::twice(&param("role"))),
            (b"role", Peek::String) => {
                let name = walk.string()?;
                role = Some(role_named(&walk.text(name)));
            }
            (b"role", peek) => return Err(Fault::wrong_type(&param("role"), "a string", peek)),
            (b"content", _) if content_seen => return Err(Fault::twice(&param("content"))),
            (b"content", peek) => {
                content_seen = true;
                match peek {
                    Peek::String => turn.parts.push(Part::Text(walk.string()?)),
                    Peek::Array => parts(walk, &param("content"), &mut turn, needs)?,
                    Peek::Null => walk.skip(peek)?,
                    _ => return Err(Fault::wrong_type(&param("content"), CONTENT_ALLOWED, peek)),
                }
            }
            (b"tool_calls", _) if turn.tool_calls > 0 => {
                return Err(Fault::twice(&param("tool_calls")));
            }
            (b"tool_calls", Peek::Array) => walk.array(|walk, _, peek| {
                turn.tool_calls = turn.tool_calls.saturating_add(1);
                tool_call(walk, peek, &mut turn)
            })?,
            (b"tool_calls", peek) if peek != Peek::Null => {
                let allowed = "an array of tool calls or null";
                return Err(Fault::wrong_type(&param("tool_calls"), allowed, peek));
            }
            (b"function_call", Peek::Object) => {
                turn.tool_calls = turn.tool_calls.max(1);
                walk.skip(Peek::Object)?;
                turn.first_call.get_or_insert(ToolCallAt {
                    id: Span { start: 0, end: 0 },
                    input: walk.since(member.start),
                });
            }
            (b"reasoning_content" | b"reasoning" | b"reasoning_details", peek) => {
                turn.thoughts |= peek != Peek::Null;
                walk.skip(peek)?;
            }
            (_, peek) => walk.skip(peek)?,
        }
        Ok(())
    })?;
    let Some(role) = role else {
        let allowed = "a string, such as \"user\"";
        return Err(Fault::missing(&param("role"), allowed));
    };
    turn.role = role;
    // A conversation in which tools were called needs a model that understands such turns.
    needs.tools |= turn.tool_calls > 0 || role == Role::Tool;
    Ok(turn)
}

/// Reads one of a message's tool calls as far as conversations are told apart by it.
fn tool_call(walk: &mut Walk<'_>, peek: Peek, turn: &mut Turn) -> Result<(), Fault> {
    if peek != Peek::Object {
        return walk.skip(peek).map_err(Fault::from);
    }
    let (mut id, mut input) = (Span { start: 0, end: 0 }, None);
    walk.object(|walk, member| {
        match (&*member.name, member.peek) {
            (b"id", Peek::String) => id = walk.string()?,
            (b"function" | b"custom", peek) => {
                walk.skip(peek)?;
                input = Some(walk.since(member.start));
            }
            (b"extra_content", peek) => {
                turn.thoughts |= peek != Peek::Null;
                walk.skip(peek)?;
            }
            (_, peek) => walk.skip(peek)?,
        }
        Ok::<(), Fault>(())
    })?;
    if let (None, Some(input)) = (turn.first_call, input) {
        turn.first_call = Some(ToolCallAt { id, input });
    }
    Ok(())
}

pub(super) fn role_named(name: &str) -> Role {
    match name {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => Role::Other,
    }
}

/// Reads an array of content parts, which stands at `place`.
pub(super) fn parts(
    walk: &mut Walk<'_>,
    place: &str,
    turn: &mut Turn,
    needs: &mut Needs,
) -> Result<(), Fault> {
    walk.array(|walk, index, peek| {
        let param = |member: &str| format!("{place}[{index}]{member}");
        if peek != Peek::Object {
            return Err(Fault::wrong_type(&param(""), "an object", peek));
        }
        let start = walk.index();
        let (mut kind, mut text) = (None, None);
        walk.object(|walk, member| match (&*member.name, member.peek) {
            (b"type", _) if kind.is_some() => Err(Fault::twice(&param(".type"))),
            (b"type", Peek::String) => {
                kind = Some(walk.string()?);
                Ok(())
            }
            (b"type", peek) => Err(Fault::wrong_type(&param(".type"), "a string", peek)),
            (b"text" | b"refusal", _) if text.is_some() => Err(Fault::twice(&param(".text"))),
            (b"text" | b"refusal", Peek::String) => {
                text = Some(walk.string()?);
                Ok(())
            }
            (b"text", peek) if peek != Peek::Null => {
                Err(Fault::wrong_type(&param(".text"), "a string", peek))
            }
            (_, peek) => walk.skip(peek).map_err(Fault::from),
        })?;
        let whole = walk.since(start);
        let kind = kind.map(|kind| walk.text(kind));
        turn.parts.push(match (kind.as_deref(), text) {
            (Some("image_url" | "image" | "input_image"), _) => {
                needs.vision = true;
                Part::Image(whole)
            }
            (Some("input_audio" | "audio" | "audio_url"), _) => {
                needs.audio = true;
                Part::Audio(whole)
            }
            (Some("file" | "input_file"), _) => Part::File(whole),
            (_, Some(text)) => Part::Text(text),
            (Some("text"), None) => {
                return Err(Fault::missing(&param(".text"), "a string"));
            }
            (_, None) => Part::Other(whole),
        });
        Ok(())
    })
}

/// Reads the array form of `prompt` and `input` into the parts of `turn`.
pub(super) fn inputs(walk: &mut Walk<'_>, param: &str, turn: &mut Turn) -> Result<(), Fault> {
    let mut tokens = 0_u32;
    let mut form = None;
    walk.array(|walk, index, peek| {
        let this = if peek.is_num() {
            Form::Token
        } else {
            Form::Input
        };
        if *form.get_or_insert(this) != this {
            let message =
                format!("`{param}[{index}]` is of another type than the elements before it");
            return Err(Fault::field(format!("{param}[{index}]"), message));
        }
        match peek {
            Peek::String => turn.parts.push(Part::Text(walk.string()?)),
            Peek::Array => {
                let tokens = token_array(walk, &format!("{param}[{index}]"))?;
                turn.parts.push(Part::TokenIds(tokens));
            }
            _ if peek.is_num() => {
                tokens = tokens.saturating_add(1);
                walk.skip(peek)?;
            }
            _ => {
                let allowed = "a string, a token number, or an array of token numbers";
                return Err(Fault::wrong_type(
                    &format!("{param}[{index}]"),
                    allowed,
                    peek,
                ));
            }
        }
        Ok(())
    })?;
    if tokens > 0 {
        turn.parts.push(Part::TokenIds(tokens));
    }
    if turn.parts.is_empty() {
        let message = format!("`{param}` is empty; it must be {INPUTS_ALLOWED}");
        return Err(Fault::field(param, message));
    }
    Ok(())
}

/// What the elements of an input array are; it may not be mixed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Token,
    Input,
}

fn token_array(walk: &mut Walk<'_>, param: &str) -> Result<u32, Fault> {
    let mut tokens = 0_u32;
    walk.array(|walk, index, peek| {
        if !peek.is_num() {
            return Err(Fault::wrong_type(
                &format!("{param}[{index}]"),
                "a token number",
                peek,
            ));
        }
        tokens = tokens.saturating_add(1);
        walk.skip(peek).map_err(Fault::from)
    })?;
    if tokens == 0 {
        let message = format!("`{param}` is empty; it must be an array of token numbers");
        return Err(Fault::field(param, message));
    }
    Ok(tokens)
}
