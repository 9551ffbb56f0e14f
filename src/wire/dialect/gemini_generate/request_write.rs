//! The neutral form to a body for Google.

use bytes::Bytes;

use super::model::Generation;
use super::parts_write::Pen;
use super::{NAME, call_ids, generation, is_vertex, tools};
use crate::types::chat::{Block, ChatRequest, Message, Notes, Speaker};
use crate::wire::foreign::note_extra;
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::others;
use crate::wire::translate::Target;

/// Writes a request that `refusals` has let pass.
pub(super) fn write(request: &ChatRequest, target: &Target<'_>, notes: &mut Notes) -> Bytes {
    let is_own = request.dialect == NAME;
    let is_instruction = |it: &&Message| matches!(it.speaker, Speaker::System | Speaker::Developer);
    let instructions = request.messages.iter().take_while(is_instruction).count();
    // A conversation of instructions alone has no contents, which Google refuses.
    let is_alone = instructions == request.messages.len() && !is_own;
    if is_alone && instructions > 0 {
        notes.changed("messages", "instructions stand as the user's message");
    }
    let (instructions, contents) =
        request
            .messages
            .split_at(if is_alone { 0 } else { instructions });
    JsonOut::document(capacity(request), |it| {
        let mut pen = Pen {
            is_own,
            is_upstream: true,
            takes_ids: !is_vertex(target.host),
            generation: Generation::of(target.upstream_model),
            functions: call_ids::functions(request),
            notes: &mut *notes,
        };
        write_instructions(it, instructions, &mut pen);
        it.array("contents", |list| {
            write_contents(list, contents, instructions.len(), &mut pen);
        });
        tools::write(it, request, notes);
        generation::write(it, request, target, notes);
        write_labels(it, request, target, notes);
        write_service_tier(it, request, target, notes);
        if is_own {
            others(it, &request.extra, &["generationConfig", "toolConfig"]);
        }
    })
}

/// About as long as what is said.
fn capacity(request: &ChatRequest) -> usize {
    512 + 512 * request.messages.len()
}

/// The messages at the beginning that instruct, as one.
fn write_instructions(it: &mut Members<'_>, messages: &[Message], pen: &mut Pen<'_>) {
    if messages.is_empty() {
        return;
    }
    it.object("systemInstruction", |it| {
        it.array("parts", |list| {
            for (index, message) in messages.iter().enumerate() {
                pen.parts(list, &message.blocks, index);
                note_message(message, index, pen);
            }
        });
        if pen.is_own {
            for message in messages {
                it.extra(&message.extra);
            }
        }
    });
}

/// One content for each message; results that stand as messages of their own become one, as Google
/// wants the results of parallel calls together.
fn write_contents(list: &mut JsonOut, messages: &[Message], before: usize, pen: &mut Pen<'_>) {
    let mut index = 0;
    while let Some(message) = messages.get(index) {
        let is_result = |it: &&Message| it.speaker == Speaker::Tool;
        let results = messages[index..].iter().take_while(is_result).count();
        let together = &messages[index..index + results.max(1)];
        if pen.is_own || together.iter().any(|it| says_something(it, pen)) {
            list.object(|it| {
                it.array("parts", |list| {
                    for (offset, message) in together.iter().enumerate() {
                        pen.parts(list, &message.blocks, before + index + offset);
                    }
                });
                write_role(it, message, pen.is_own);
            });
        }
        for (offset, message) in together.iter().enumerate() {
            let index = before + index + offset;
            note_message(message, index, pen);
            if !pen.is_own && matches!(message.speaker, Speaker::System | Speaker::Developer) {
                let field = format!("messages[{index}].role");
                pen.notes.changed(field, "written as the user's");
            }
        }
        index += together.len();
    }
}

/// False for messages of which nothing would be written: Google refuses contents without parts.
fn says_something(message: &Message, pen: &Pen<'_>) -> bool {
    use crate::types::chat::BlockBody;
    let says = |block: &Block| match &block.body {
        BlockBody::Text { text, .. } | BlockBody::Refusal { text } => !text.is_empty(),
        BlockBody::Reasoning(thought) => {
            let seal = thought.seal.as_ref();
            pen.is_own || seal.is_some_and(|seal| seal.for_upstream(NAME).is_some())
        }
        _ => true,
    };
    message.blocks.iter().any(says)
}

fn write_role(it: &mut Members<'_>, message: &Message, is_own: bool) {
    let has_role = message.extra.iter().any(|(name, _)| name == "role");
    if !(is_own && has_role) {
        let is_model = message.speaker == Speaker::Assistant;
        it.string("role", if is_model { "model" } else { "user" });
    }
    if is_own {
        it.extra(&message.extra);
    }
}

fn note_message(message: &Message, index: usize, pen: &mut Pen<'_>) {
    if pen.is_own {
        return;
    }
    if message.name.is_some() {
        pen.notes.dropped(format!("messages[{index}].name"));
    }
    note_extra(&message.extra, || format!("messages[{index}]"), pen.notes);
}

/// Vertex AI bills by labels; the Gemini API knows none.
fn write_labels(
    it: &mut Members<'_>,
    request: &ChatRequest,
    target: &Target<'_>,
    notes: &mut Notes,
) {
    if request.end_user.is_some() {
        notes.dropped("user");
    }
    if request.metadata.is_empty() {
        return;
    }
    if request.dialect != NAME && !is_vertex(target.host) {
        return notes.dropped("metadata");
    }
    it.object("labels", |it| {
        for (name, value) in &request.metadata {
            it.string(name, value);
        }
    });
}

/// The Gemini API takes the tier in the body; Vertex AI in a header of the provider's entry.
fn write_service_tier(
    it: &mut Members<'_>,
    request: &ChatRequest,
    target: &Target<'_>,
    notes: &mut Notes,
) {
    let Some(tier) = request.service_tier.as_deref() else {
        return;
    };
    match tier {
        _ if request.dialect == NAME => it.string("serviceTier", tier),
        "auto" | "default" | "standard" => {}
        "flex" | "priority" if !is_vertex(target.host) => it.string("serviceTier", tier),
        _ => notes.dropped("service_tier"),
    }
}
