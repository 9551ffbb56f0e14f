//! Members of a request that only the client's dialect knows, when the request goes to another: which
//! of them may be dropped with a note, and which change so much that the request is refused.

use crate::types::chat::{ChatRequest, Extra, Inexpressible, Notes, RawJson};

/// How the Responses API numbers its items and says that they are complete: nothing that anyone asks for.
const BOOKKEEPING: [&str; 4] = ["id", "item", "status", "type"];

/// Members that are read, of which some part was not.
const PARTLY: [&str; 10] = [
    "response_format",
    "text",
    "reasoning",
    "thinking",
    "metadata",
    "output_config",
    "output_format",
    "generationConfig",
    "toolConfig",
    "inferenceConfig",
];

/// Notes or refuses what `request` has beside the named members, unless it was written in `dialect`. Members named in
/// `shared` are the writer's own matter.
///
/// # Errors
/// When a member changes what the answer is: another modality, text to be completed on both sides,
/// several answers of which the best is wanted, work in the background.
pub(in crate::wire) fn leave_out(
    request: &ChatRequest,
    dialect: &'static str,
    shared: &[&str],
    notes: &mut Notes,
) -> Result<(), Inexpressible> {
    if request.dialect == dialect {
        return Ok(());
    }
    for (name, value) in request.extra.iter() {
        if says_nothing(value) || shared.contains(&name) {
            continue;
        }
        if let Some(why) = refused(name, value) {
            return Err(Inexpressible {
                field: name.to_owned().into(),
                dialect,
                why: why.into(),
            });
        }
        if PARTLY.contains(&name) {
            notes.changed(
                name.to_owned(),
                "what only its own dialect knows is dropped",
            );
        } else {
            notes.dropped(name.to_owned());
        }
    }
    Ok(())
}

/// Notes what a message, a block or a tool has beside the named members.
pub(in crate::wire) fn note_extra(
    extra: &Extra,
    place: impl FnOnce() -> String,
    notes: &mut Notes,
) {
    let said = extra.iter().filter(|(_, value)| !says_nothing(value));
    let names = said.map(|(name, _)| name);
    let names: Vec<&str> = names.filter(|name| !BOOKKEEPING.contains(name)).collect();
    if names.is_empty() {
        return;
    }
    let place = place();
    for name in names {
        notes.dropped(format!("{place}.{name}"));
    }
}

/// `null`, `false` and what is empty ask for nothing.
fn says_nothing(value: &RawJson) -> bool {
    matches!(value.get(), "null" | "false" | "{}" | "[]" | "\"\"")
}

fn refused(name: &str, value: &RawJson) -> Option<&'static str> {
    match name {
        "modalities" if value.get().contains("\"audio\"") => {
            Some("only text comes out of it; leave `audio` out of the modalities")
        }
        "audio" => Some("only text comes out of it; leave `audio` out"),
        "suffix" => Some("it writes on from the prompt only; leave `suffix` out"),
        "echo" => Some("it does not repeat the prompt; leave `echo` out"),
        "best_of" if value.get() != "1" => Some("it does not choose among answers; ask for one"),
        "background" => Some("it answers at once or not at all; leave `background` out"),
        "prompt" => Some("stored prompts are known to their provider alone; write `input`"),
        "conversation" => Some("stored conversations are known to their provider alone"),
        _ => None,
    }
}
