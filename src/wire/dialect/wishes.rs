//! Members by which a request asks a model to think, or to call several tools at once: what routing
//! must know of them, in any dialect of a client. The values are looked at on the way and read by nobody
//! else here.

use jiter::{JiterError, Peek};

use crate::types::Needs;
use crate::wire::json_walk::Walk;

/// Reads or skips the value of the member `name`, which begins with `peek`.
///
/// # Errors
/// When it is no JSON.
pub(super) fn read(
    needs: &mut Needs,
    walk: &mut Walk<'_>,
    name: &[u8],
    peek: Peek,
) -> Result<(), JiterError> {
    match (name, peek) {
        (b"reasoning_effort", Peek::String) => {
            let word = walk.string()?;
            needs.reasoning |= is_some_effort(walk.raw(word));
        }
        (b"reasoning" | b"thinking", Peek::Object) => walk.object(|walk, member| {
            match (&*member.name, member.peek) {
                (b"effort", Peek::String) => {
                    let word = walk.string()?;
                    needs.reasoning |= is_some_effort(walk.raw(word));
                }
                (b"type", Peek::String) => {
                    let word = walk.string()?;
                    needs.reasoning |= matches!(walk.raw(word), b"enabled" | b"adaptive");
                }
                (b"enabled", Peek::True) => {
                    needs.reasoning = true;
                    walk.skip(Peek::True)?;
                }
                (b"max_tokens", peek) if peek.is_num() => {
                    needs.reasoning |= walk.count(peek)?.is_some_and(|count| count > 0);
                }
                (_, peek) => walk.skip(peek)?,
            }
            Ok::<(), JiterError>(())
        })?,
        (b"parallel_tool_calls", Peek::True) => {
            needs.parallel_tools = true;
            walk.skip(peek)?;
        }
        (b"tool_choice", Peek::Object) => walk.object(|walk, member| {
            let is_it = &*member.name == b"disable_parallel_tool_use";
            needs.parallel_tools |= is_it && member.peek == Peek::False;
            walk.skip(member.peek)
        })?,
        (_, peek) => walk.skip(peek)?,
    }
    Ok(())
}

/// `none` and `minimal` ask no model to think that does not.
fn is_some_effort(word: &[u8]) -> bool {
    !matches!(word, b"none" | b"minimal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_found_in_every_spelling() {
        let check = |json: &str, expect: (bool, bool)| {
            let mut needs = Needs::default();
            let mut walk = Walk::new(json.as_bytes());
            let read =
                walk.object(|walk, member| read(&mut needs, walk, &member.name, member.peek));
            read.expect("JSON");
            assert_eq!((needs.reasoning, needs.parallel_tools), expect, "{json}");
        };
        for thinks in [
            r#"{"reasoning_effort":"low"}"#,
            r#"{"reasoning":{"summary":"auto","effort":"high"}}"#,
            r#"{"reasoning":{"max_tokens":2000}}"#,
            r#"{"reasoning":{"enabled":true}}"#,
            r#"{"thinking":{"type":"enabled","budget_tokens":2000}}"#,
            r#"{"thinking":{"type":"adaptive"}}"#,
        ] {
            check(thinks, (true, false));
        }
        for nothing in [
            r#"{"reasoning_effort":"none","thinking":{"type":"disabled"}}"#,
            r#"{"reasoning":{"summary":"auto","max_tokens":0},"reasoning_effort":null}"#,
            r#"{"reasoning":{"effort":"minimal"},"parallel_tool_calls":false}"#,
            r#"{"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}"#,
        ] {
            check(nothing, (false, false));
        }
        check(r#"{"parallel_tool_calls":true}"#, (false, true));
        let anthropic = r#"{"tool_choice":{"disable_parallel_tool_use":false}}"#;
        check(anthropic, (false, true));
    }
}
