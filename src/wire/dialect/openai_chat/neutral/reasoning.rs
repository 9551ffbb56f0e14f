//! Thoughts in Chat Completions, which has no form of its own for them: the vendors' `reasoning_content`
//! and `reasoning`, and OpenRouter's `reasoning_details`, which carries signatures and hidden thoughts.
//!
//! Written are `reasoning_content` for those who show it and `reasoning_details` for what must come
//! back: a client that sends the assistant's message back as it was returns the seals with it.

use crate::types::chat::{Block, BlockBody, Extra, ReasoningBlock, Seal};
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::{JsonOut, Members};

pub(in crate::wire) const NAME: &str = "openai_chat";

/// One entry of `reasoning_details`, or of what stands in for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::wire) struct Detail {
    /// Entries of one number are one block.
    pub index: Option<u64>,
    pub block: ReasoningBlock,
}

/// Takes the thoughts out of a message or a delta.
pub(in crate::wire) fn take(said: &mut Object<'_>) -> Vec<Detail> {
    let details = said.take_if("reasoning_details", |value| {
        value.array()?.into_iter().map(detail).collect()
    });
    // The plain members say the same once more.
    let content = said.take_string("reasoning_content");
    let reasoning = said.take_string("reasoning");
    let details: Vec<Detail> = details.unwrap_or_default();
    if details.iter().any(|detail| !detail.block.text.is_empty()) {
        return details;
    }
    let text = content.or(reasoning).unwrap_or_default();
    let plain = (!text.is_empty()).then(|| Detail {
        index: None,
        block: ReasoningBlock {
            text,
            ..ReasoningBlock::default()
        },
    });
    plain.into_iter().chain(details).collect()
}

fn detail(value: Raw<'_>) -> Option<Detail> {
    let mut detail = value.object()?;
    let kind = detail.take_string("type")?;
    let seal = |text: Option<String>| {
        let text = text.filter(|text| !text.is_empty());
        text.map(|text| Seal::read(&text, NAME))
    };
    let mut block = ReasoningBlock {
        id: detail.take_string("id"),
        ..ReasoningBlock::default()
    };
    match kind.as_str() {
        "reasoning.text" => {
            block.text = detail.take_string("text").unwrap_or_default();
            block.seal = seal(detail.take_string("signature"));
        }
        "reasoning.summary" => {
            block.text = detail.take_string("summary").unwrap_or_default();
            block.is_summary = true;
            block.seal = seal(detail.take_string("signature"));
        }
        "reasoning.encrypted" => {
            block.seal = seal(detail.take_string("data"));
            block.is_hidden = true;
        }
        _ => return None,
    }
    let index = detail.take_count("index");
    Some(Detail { index, block })
}

/// Puts the pieces of one block together, as a client does who collected them from a stream.
pub(in crate::wire) fn joined(details: Vec<Detail>) -> Vec<ReasoningBlock> {
    let mut joined: Vec<Detail> = Vec::new();
    for detail in details {
        match joined.last_mut() {
            Some(last) if continues(last, &detail) => {
                last.block.text.push_str(&detail.block.text);
                last.block.seal = detail.block.seal.or(last.block.seal.take());
                last.block.id = last.block.id.take().or(detail.block.id);
            }
            _ => joined.push(detail),
        }
    }
    joined.into_iter().map(|detail| detail.block).collect()
}

/// True when `next` goes on with the block of `last`.
pub(in crate::wire) fn continues(last: &Detail, next: &Detail) -> bool {
    let one_block = match (last.index, next.index) {
        (Some(last), Some(next)) => last == next,
        (None, None) => last.block.seal.is_none(),
        _ => false,
    };
    one_block
        && !last.block.is_hidden
        && !next.block.is_hidden
        && last.block.is_summary == next.block.is_summary
}

pub(in crate::wire) fn blocks(details: Vec<Detail>) -> impl Iterator<Item = Block> {
    let of = |block| Block {
        body: BlockBody::Reasoning(block),
        cache_mark: None,
        extra: Extra::none(),
    };
    joined(details).into_iter().map(of)
}

/// One entry of `reasoning_details`; `seal` as it is written for whoever reads this.
pub(in crate::wire) fn write_detail(
    json: &mut JsonOut,
    block: &ReasoningBlock,
    text: &str,
    seal: Option<&str>,
    index: usize,
) {
    json.object(|it| {
        let kind = if block.is_hidden {
            "encrypted"
        } else if block.is_summary {
            "summary"
        } else {
            "text"
        };
        it.string("type", &format!("reasoning.{kind}"));
        if block.is_hidden {
            it.string("data", seal.unwrap_or_default());
        } else {
            it.string(if block.is_summary { "summary" } else { "text" }, text);
            it.maybe_string("signature", seal.filter(|seal| !seal.is_empty()));
        }
        it.maybe_string("id", block.id.as_deref());
        it.integer("index", i128::try_from(index).unwrap_or(0));
    });
}

/// `reasoning_content` and `reasoning_details` of these blocks, each with its seal as it is written for
/// whoever reads this.
pub(in crate::wire) fn write(it: &mut Members<'_>, blocks: &[(&ReasoningBlock, Option<String>)]) {
    let mut text = String::new();
    for (block, _) in blocks.iter().filter(|(block, _)| !block.text.is_empty()) {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&block.text);
    }
    if !text.is_empty() {
        it.string("reasoning_content", &text);
    }
    let plain = |(block, seal): &(&ReasoningBlock, Option<String>)| {
        seal.as_deref().unwrap_or_default().is_empty() && block.id.is_none() && !block.is_summary
    };
    // One block without anything but its text needs no entry.
    if blocks.is_empty() || (blocks.len() == 1 && blocks.iter().all(plain)) {
        return;
    }
    it.array("reasoning_details", |list| {
        for (index, (block, seal)) in blocks.iter().enumerate() {
            write_detail(list, block, &block.text, seal.as_deref(), index);
        }
    });
}
