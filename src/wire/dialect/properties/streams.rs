//! Streams of generated answers: written in a dialect and read back they say the same, at every split of
//! their bytes.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::fixture_tests::{events_in, written};
use super::super::laws::check_order;
use super::check;
use super::shapes::Json;
use crate::types::chat::{
    Block, BlockBody, BlockStart, ChatAnswer, ChatEvent, Delta, Extra, RawJson,
};
use crate::wire::DialectId;
use crate::wire::json_in::{Object, Raw};
use crate::wire::translate::Host;
use crate::wire::whole;

/// Where a stream is cut, as shares of its length.
fn cuts() -> impl Strategy<Value = Value> {
    prop::collection::vec(0_u64..10_000, 0..12).prop_map(Value::from)
}

/// The law for the answers of one dialect.
pub(super) fn come_back(id: DialectId, answers: &Json) {
    let codec = id.translate();
    let framing = codec.framing(Host::Native);
    let documents = (answers.clone(), cuts())
        .prop_map(|(answer, cuts)| json!({"answer": answer, "cuts": cuts}))
        .boxed();
    check(&documents, |document| {
        let mut answer = match codec.read_answer(&document["answer"].to_string()) {
            Ok(answer) => answer,
            Err(error) => return vec![format!("is not read: {error}")],
        };
        for choice in &mut answer.choices {
            leave_sayable(id, &mut choice.blocks);
        }
        let said = in_pieces(&answer);
        check_order(&said);
        let bytes = written(codec, &said).freeze();
        let heard = events_in(codec, framing, std::slice::from_ref(&bytes));
        check_order(&heard);
        let mut joined_again = joined(codec.name(), &heard);
        for choice in &mut joined_again.choices {
            leave_sayable(id, &mut choice.blocks);
        }
        let mut found = differences(&joined(codec.name(), &said), &joined_again);
        if !found.is_empty() {
            found.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        let bytewise: Vec<Bytes> = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
        for pieces in [cut(&bytes, &document["cuts"]), bytewise] {
            if events_in(codec, framing, &pieces) != heard {
                found.push("is read otherwise in pieces".to_owned());
            }
        }
        found
    });
}

/// Leaves what the dialect's streams can say.
fn leave_sayable(id: DialectId, blocks: &mut Vec<Block>) {
    match id {
        // A block of a kind that is new has no form in a stream.
        DialectId::BedrockConverse => {
            blocks.retain(|block| !matches!(block.body, BlockBody::Native(_)));
        }
        // Texts that follow each other are one, and what a text rests on comes at the end.
        DialectId::GeminiGenerate => {
            blocks.dedup_by(|next, last| {
                let both = |is: fn(&BlockBody) -> bool| is(&next.body) && is(&last.body);
                both(|it| matches!(it, BlockBody::Text { .. }))
                    || both(|it| matches!(it, BlockBody::Reasoning(thought) if !thought.is_hidden))
            });
            if blocks.len() > 1 {
                for block in blocks {
                    if let BlockBody::Text { citations, .. } = &mut block.body {
                        citations.clear();
                    }
                }
            }
        }
        // Items of a stream are numbered anew, and thoughts are summaries, which is what clients show.
        DialectId::OpenaiResponses => {
            for block in blocks {
                if let BlockBody::Reasoning(thought) = &mut block.body {
                    thought.id = None;
                    thought.is_summary = !thought.text.is_empty();
                    thought.is_hidden = thought.text.is_empty();
                }
            }
        }
        DialectId::OpenaiChat | DialectId::AnthropicMessages => {}
    }
}

fn cut(bytes: &Bytes, cuts: &Value) -> Vec<Bytes> {
    let shares = cuts.as_array().into_iter().flatten();
    let shares = shares.filter_map(Value::as_u64);
    let place = |share: u64| usize::try_from(share).unwrap_or(0) * bytes.len() / 10_000;
    let mut places: Vec<usize> = shares.map(place).collect();
    places.sort_unstable();
    places.push(bytes.len());
    let mut from = 0;
    let mut pieces = Vec::new();
    for to in places {
        pieces.push(bytes.slice(from..to));
        from = to;
    }
    pieces
}

/// The events of an answer, its texts in pieces and its log probabilities with its text.
fn in_pieces(answer: &ChatAnswer) -> Vec<ChatEvent> {
    let mut events = Vec::new();
    let mut logprobs: Vec<Option<RawJson>> = answer
        .choices
        .iter()
        .map(|it| it.logprobs.clone())
        .collect();
    let mut is_text = false;
    for event in whole::to_events(answer) {
        match event {
            ChatEvent::BlockDelta {
                choice,
                block,
                delta,
            } => events.extend(
                pieces_of(delta)
                    .into_iter()
                    .map(|delta| ChatEvent::BlockDelta {
                        choice,
                        block,
                        delta,
                    }),
            ),
            ChatEvent::Logprobs { .. } => {}
            event => {
                match &event {
                    ChatEvent::BlockStart { start, .. } => is_text = *start == BlockStart::Text,
                    ChatEvent::BlockEnd { choice, .. } if is_text => {
                        let logprobs = logprobs[*choice as usize].take();
                        let choice = *choice;
                        events.extend(
                            logprobs.map(|logprobs| ChatEvent::Logprobs { choice, logprobs }),
                        );
                    }
                    _ => {}
                }
                events.push(event);
            }
        }
    }
    events
}

fn pieces_of(delta: Delta) -> Vec<Delta> {
    let split = |text: &str, piece: fn(String) -> Delta| {
        let pieces = text.split_inclusive([' ', ':', ',']);
        pieces.map(|it| piece(it.to_owned())).collect()
    };
    match delta {
        Delta::Text(text) => split(&text, Delta::Text),
        Delta::Input(text) => split(&text, Delta::Input),
        delta => vec![delta],
    }
}

/// What a stream says as a whole answer, without what streams have no place for.
fn joined(dialect: &'static str, events: &[ChatEvent]) -> ChatAnswer {
    let mut answer = whole::of_events(dialect, events).expect("a complete stream");
    let choices = answer.choices.iter_mut();
    for block in choices.flat_map(|choice| &mut choice.blocks) {
        block.extra = Extra::none();
        block.cache_mark = None;
    }
    let words = |event: &ChatEvent| match event {
        ChatEvent::Logprobs { choice, logprobs } => {
            let content = Object::read(logprobs.get()).ok()?.take("content")?;
            let words = content.array()?.into_iter().map(Raw::owned);
            Some((*choice, words.collect::<Vec<_>>()))
        }
        _ => None,
    };
    for choice in &mut answer.choices {
        choice.logprobs = None;
    }
    for (choice, words) in events.iter().filter_map(words) {
        let all = &mut answer.choices[choice as usize].extra.0;
        all.extend(words.into_iter().map(|word| (String::new(), word)));
    }
    answer
}

fn differences(was: &ChatAnswer, is: &ChatAnswer) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |what: &str, was: &dyn std::fmt::Debug, is: &dyn std::fmt::Debug| {
        let (was, is) = (format!("{was:?}"), format!("{is:?}"));
        if was != is {
            found.push(format!("{what} was {was}\n    is {is}"));
        }
    };
    differ("head", &was.head, &is.head);
    differ("usage", &was.usage, &is.usage);
    differ("choices", &was.choices.len(), &is.choices.len());
    for (was, is) in was.choices.iter().zip(&is.choices) {
        differ("finish", &was.finish, &is.finish);
        differ("log probabilities", &was.extra, &is.extra);
        differ("blocks", &was.blocks, &is.blocks);
    }
    found
}
