//! The items of a Responses request to turns and parts: `input`, which is a text or messages, calls,
//! their results and thoughts in one list.

use jiter::Peek;
use smallvec::SmallVec;

use super::fault::Fault;
use super::messages::{parts, role_named};
use crate::types::{Needs, Part, Role, Span, ToolCallAt, Turn};
use crate::wire::json_walk::Walk;

pub(super) const INPUT_ALLOWED: &str = "a string or a non-empty array of items";

/// A turn of one part.
pub(super) fn said(role: Role, part: Part) -> Turn {
    Turn {
        parts: SmallVec::from_iter([part]),
        ..Turn::new(role)
    }
}

/// Reads `input`.
pub(super) fn turns(
    walk: &mut Walk<'_>,
    peek: Peek,
    needs: &mut Needs,
) -> Result<Vec<Turn>, Fault> {
    let mut turns = Vec::with_capacity(8);
    match peek {
        Peek::String => turns.push(said(Role::User, Part::Text(walk.string()?))),
        Peek::Array => walk.array(|walk, index, peek| {
            if peek != Peek::Object {
                let param = format!("input[{index}]");
                return Err(Fault::wrong_type(&param, "an object", peek));
            }
            turns.push(item(walk, index, needs)?);
            Ok(())
        })?,
        _ => return Err(Fault::wrong_type("input", INPUT_ALLOWED, peek)),
    }
    if turns.is_empty() {
        let message = format!("`input` is empty; it must be {INPUT_ALLOWED}");
        return Err(Fault::field("input", message));
    }
    Ok(turns)
}

fn item(walk: &mut Walk<'_>, index: usize, needs: &mut Needs) -> Result<Turn, Fault> {
    let mut turn = Turn::new(Role::Other);
    let (mut kind, mut role, mut read) = (None, None, false);
    let (mut call_id, mut input) = (Span { start: 0, end: 0 }, None);
    let param = |member: &str| format!("input[{index}].{member}");
    walk.object(|walk, member| {
        match (&*member.name, member.peek) {
            (b"type", _) if kind.is_some() => return Err(Fault::twice(&param("type"))),
            (b"type", Peek::String) => kind = Some(walk.string()?),
            (b"type", peek) => return Err(Fault::wrong_type(&param("type"), "a string", peek)),
            (b"role", _) if role.is_some() => return Err(Fault::twice(&param("role"))),
            (b"role", Peek::String) => role = Some(walk.string()?),
            (b"role", peek) => return Err(Fault::wrong_type(&param("role"), "a string", peek)),
            (name @ (b"content" | b"output"), peek @ (Peek::String | Peek::Array)) => {
                let name = if name == b"content" {
                    "content"
                } else {
                    "output"
                };
                if std::mem::replace(&mut read, true) {
                    return Err(Fault::twice(&param(name)));
                }
                if peek == Peek::String {
                    turn.parts.push(Part::Text(walk.string()?));
                } else {
                    parts(walk, &param(name), &mut turn, needs)?;
                }
            }
            (b"call_id", Peek::String) => call_id = walk.string()?,
            (b"arguments" | b"input", peek) => {
                walk.skip(peek)?;
                input = Some(walk.since(member.start));
            }
            (_, peek) => walk.skip(peek)?,
        }
        Ok(())
    })?;
    let kind = kind.map(|kind| walk.text(kind));
    let role = role.map(|role| walk.text(role));
    turn.role = match (kind.as_deref(), role) {
        (None | Some("message"), Some(role)) => role_named(&role),
        (None | Some("message"), None) => {
            let allowed = "a string, such as \"user\"";
            return Err(Fault::missing(&param("role"), allowed));
        }
        (Some("reasoning"), _) => {
            // What it thought is no turn's text: it has been answered.
            turn.parts.clear();
            turn.thoughts = true;
            Role::Assistant
        }
        (Some(kind), _) if kind.ends_with("_output") => {
            needs.tools = true;
            Role::Tool
        }
        (Some(kind), _) if kind.ends_with("_call") => {
            needs.tools = true;
            turn.tool_calls = 1;
            turn.first_call = input.map(|input| ToolCallAt { id: call_id, input });
            Role::Assistant
        }
        _ => Role::Other,
    };
    Ok(turn)
}
