//! A whole response for a client.

use bytes::Bytes;

use super::NAME;
use super::compose::{
    Frame, Stage, call_item, document, image_item, message_item, reasoning_item, said_part,
};
use super::items_read::ITEM;
use crate::types::chat::{Block, BlockBody, ChatAnswer, Choice, Extra};
use crate::wire::json_in::Raw;
use crate::wire::nested::rest_of;
use crate::wire::translate::Asked;

/// The response. It has room for one answer: the first.
pub(super) fn write(answer: &ChatAnswer, asked: &Asked<'_>) -> Bytes {
    let own = answer.dialect == NAME;
    let frame = Frame::new(&answer.head, asked);
    let empty = Choice::default();
    let choice = answer.choices.first().unwrap_or(&empty);
    let output = items(choice, &frame, own);
    let extra = if own {
        answer.extra.clone()
    } else {
        Extra::none()
    };
    let stage = Stage::Ended(&choice.finish);
    document(&frame, stage, &output, answer.usage.as_ref(), &extra)
}

fn items(choice: &Choice, frame: &Frame, own: bool) -> Vec<String> {
    let mut output: Vec<String> = Vec::new();
    let mut open: Vec<&Block> = Vec::new();
    let mut logprobs = choice.logprobs.as_ref().and_then(|it| content_of(it.get()));
    for block in &choice.blocks {
        let is_said = matches!(
            block.body,
            BlockBody::Text { .. } | BlockBody::Refusal { .. }
        );
        let begins = block.extra.iter().any(|(name, _)| name == ITEM);
        if !is_said || begins {
            close_message(&mut output, &mut open, frame, own, &mut logprobs);
        }
        let extra = if own {
            block.extra.clone()
        } else {
            Extra::none()
        };
        let number = output.len();
        match &block.body {
            BlockBody::Text { .. } | BlockBody::Refusal { .. } => open.push(block),
            BlockBody::Reasoning(thought) => {
                let id = frame.item_id("rs", number);
                output.push(reasoning_item(&id, thought, own, &extra));
            }
            BlockBody::ToolCall(call) => {
                let id = frame.item_id("fc", number);
                output.push(call_item(&id, "completed", call, &extra));
            }
            BlockBody::Native(raw) if own => output.push(raw.get().to_owned()),
            _ => output.extend(image_item(&frame.item_id("ig", number), block, own)),
        }
    }
    close_message(&mut output, &mut open, frame, own, &mut logprobs);
    output
}

fn close_message(
    output: &mut Vec<String>,
    open: &mut Vec<&Block>,
    frame: &Frame,
    own: bool,
    logprobs: &mut Option<String>,
) {
    let Some(first) = open.first() else {
        return;
    };
    let item = rest_of(&first.extra, ITEM).filter(|_| own);
    let item = item.unwrap_or_default();
    let part = |block: &&Block| {
        // They belong to the text as a whole; its first part carries them.
        let logprobs = logprobs.take().unwrap_or_else(|| "[]".to_owned());
        said_part(block, &logprobs, own)
    };
    let parts: Vec<String> = open.iter().map(part).collect();
    let id = frame.item_id("msg", output.len());
    output.push(message_item(&id, "completed", &parts, &item));
    open.clear();
}

/// The list inside neutral log probabilities.
pub(super) fn content_of(logprobs: &str) -> Option<String> {
    let mut object = Raw::parse(logprobs).ok()?.object()?;
    Some(object.take("content")?.get().to_owned())
}
