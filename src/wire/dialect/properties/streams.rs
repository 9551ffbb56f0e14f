//! Streams of generated answers: written in a dialect and read back they say the same, at every split of
//! their bytes.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::super::fixture_tests::{events_in, written};
use super::super::laws::check_order;
use super::check;
use super::shapes::Json;
use crate::types::Tokens;
use crate::types::chat::event::StreamFault;
use crate::types::chat::{
    AnswerHead, Block, BlockBody, BlockStart, ChatAnswer, ChatEvent, Choice, Delta, Extra, Finish,
    RawJson, ReasoningBlock, ToolCall, ToolInput,
};
use crate::wire::DialectId;
use crate::wire::json_in::Object;
use crate::wire::translate::Host;

/// Where a stream is cut, as shares of its length.
fn cuts() -> impl Strategy<Value = Value> {
    prop::collection::vec(0_u64..10_000, 0..12).prop_map(Value::from)
}

/// The law for the answers of one dialect.
pub(super) fn come_back(id: DialectId, answers: &Json) {
    let codec = id.translate();
    let framing = codec.framing(Host::Native);
    let documents = (answers.clone(), cuts())
        .prop_map(|(answer, cuts)| serde_json::json!({"answer": answer, "cuts": cuts}))
        .boxed();
    check(&documents, |document| {
        let mut answer = match codec.read_answer(&document["answer"].to_string()) {
            Ok(answer) => answer,
            Err(error) => return vec![format!("is not read: {error}")],
        };
        answer.choices.iter_mut().for_each(strip);
        let said = events_of(&answer);
        check_order(&said);
        let bytes = written(codec, &said).freeze();
        let whole = events_in(codec, framing, std::slice::from_ref(&bytes));
        check_order(&whole);
        let mut found = Vec::new();
        let (was, is) = (Heard::of(&said), Heard::of(&whole));
        was.differences(&is, &mut found);
        if !found.is_empty() {
            found.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        let bytewise: Vec<Bytes> = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
        for pieces in [cut(&bytes, &document["cuts"]), bytewise] {
            if events_in(codec, framing, &pieces) != whole {
                found.push("is read otherwise in pieces".to_owned());
            }
        }
        found
    });
}

fn cut(bytes: &Bytes, cuts: &Value) -> Vec<Bytes> {
    let shares = cuts
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64);
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

/// What a stream's events have no place for.
fn strip(choice: &mut Choice) {
    for block in &mut choice.blocks {
        block.extra = Extra::none();
        block.cache_mark = None;
    }
    choice.extra = Extra::none();
}

/// The events that bring an answer, its texts in pieces.
fn events_of(answer: &ChatAnswer) -> Vec<ChatEvent> {
    let mut events = vec![ChatEvent::Start(answer.head.clone())];
    for (choice, said) in (0_u32..).zip(&answer.choices) {
        for (block, body) in (0_u32..).zip(&said.blocks) {
            block_events(&mut events, choice, block, body);
        }
        let logprobs = said.logprobs.clone();
        events.extend(logprobs.map(|logprobs| ChatEvent::Logprobs { choice, logprobs }));
        let finish = said.finish.clone();
        events.push(ChatEvent::Finish { choice, finish });
    }
    events.extend(answer.usage.map(ChatEvent::Usage));
    events.push(ChatEvent::End);
    events
}

fn block_events(events: &mut Vec<ChatEvent>, choice: u32, block: u32, body: &Block) {
    let (start, deltas) = pieces_of(body);
    events.push(ChatEvent::BlockStart {
        choice,
        block,
        start,
    });
    events.extend(deltas.into_iter().map(|delta| ChatEvent::BlockDelta {
        choice,
        block,
        delta,
    }));
    events.push(ChatEvent::BlockEnd { choice, block });
}

/// A text in pieces.
fn texts(text: &str) -> impl Iterator<Item = Delta> {
    let pieces = text.split_inclusive([' ', ':']);
    pieces.map(|it| Delta::Text(it.to_owned()))
}

/// How a block begins, and what is added to it.
fn pieces_of(block: &Block) -> (BlockStart, Vec<Delta>) {
    match &block.body {
        BlockBody::Text { text, citations } => {
            let cited = citations
                .iter()
                .cloned()
                .map(|it| Delta::Citation(Box::new(it)));
            (BlockStart::Text, texts(text).chain(cited).collect())
        }
        BlockBody::Refusal { text } => (BlockStart::Refusal, texts(text).collect()),
        BlockBody::ToolCall(call) => {
            let (input, unfilled) = match &call.input {
                ToolInput::Json(input) => (input, ToolInput::Json(String::new())),
                ToolInput::Text(input) => (input, ToolInput::Text(String::new())),
            };
            let start = BlockStart::ToolCall {
                id: call.id.clone(),
                name: call.name.clone(),
                input: unfilled,
                seal: call.seal.clone(),
            };
            let pieces = input.split_inclusive([',', ' ']);
            (
                start,
                pieces.map(|it| Delta::Input(it.to_owned())).collect(),
            )
        }
        BlockBody::Reasoning(thought) if !thought.text.is_empty() => {
            let start = BlockStart::Reasoning {
                id: thought.id.clone(),
                is_summary: thought.is_summary,
            };
            let seal = thought.seal.clone().map(Delta::Seal);
            (start, texts(&thought.text).chain(seal).collect())
        }
        _ => (BlockStart::Whole(Box::new(block.clone())), Vec::new()),
    }
}

/// What the events of a stream say, put together.
#[derive(Debug, Default)]
struct Heard {
    head: AnswerHead,
    choices: Vec<Said>,
    usage: Option<Tokens>,
    fault: Option<StreamFault>,
}

#[derive(Debug, Default)]
struct Said {
    blocks: Vec<Block>,
    logprobs: Vec<RawJson>,
    finish: Finish,
}

impl Heard {
    fn of(events: &[ChatEvent]) -> Self {
        let mut heard = Self::default();
        for event in events {
            match event {
                ChatEvent::Start(head) => heard.head = head.clone(),
                ChatEvent::BlockStart { choice, start, .. } => {
                    heard.said(*choice).blocks.push(begun(start));
                }
                ChatEvent::BlockDelta { choice, delta, .. } => {
                    let block = heard.said(*choice).blocks.last_mut();
                    add(&mut block.expect("an open block").body, delta);
                }
                ChatEvent::Logprobs { choice, logprobs } => {
                    let content = Object::read(logprobs.get())
                        .expect("an object")
                        .take("content");
                    let words = content.and_then(crate::wire::json_in::Raw::array);
                    let words = words.unwrap_or_default().into_iter();
                    let said = heard.said(*choice);
                    said.logprobs
                        .extend(words.map(crate::wire::json_in::Raw::owned));
                }
                ChatEvent::Finish { choice, finish } => {
                    heard.said(*choice).finish = finish.clone();
                }
                ChatEvent::Usage(tokens) => heard.usage = Some(*tokens),
                ChatEvent::Error(fault) => heard.fault = Some(fault.clone()),
                _ => {}
            }
        }
        heard
    }

    fn said(&mut self, choice: u32) -> &mut Said {
        let index = choice as usize;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, Said::default);
        }
        &mut self.choices[index]
    }

    fn differences(&self, is: &Self, found: &mut Vec<String>) {
        let mut differ = |what: &str, was: &dyn std::fmt::Debug, is: &dyn std::fmt::Debug| {
            let (was, is) = (format!("{was:?}"), format!("{is:?}"));
            if was != is {
                found.push(format!("{what} was {was}\n    is {is}"));
            }
        };
        differ("head", &self.head, &is.head);
        differ("usage", &self.usage, &is.usage);
        differ("fault", &self.fault, &is.fault);
        differ("choices", &self.choices.len(), &is.choices.len());
        for (was, is) in self.choices.iter().zip(&is.choices) {
            differ("finish", &was.finish, &is.finish);
            differ("logprobs", &was.logprobs, &is.logprobs);
            differ("number of blocks", &was.blocks.len(), &is.blocks.len());
            for (was, is) in was.blocks.iter().zip(&is.blocks) {
                differ("block", &was, &is);
            }
        }
    }
}

fn begun(start: &BlockStart) -> Block {
    match start {
        BlockStart::Text => Block::text(""),
        BlockStart::Refusal => BlockBody::Refusal {
            text: String::new(),
        }
        .into(),
        BlockStart::Reasoning { id, is_summary } => BlockBody::Reasoning(ReasoningBlock {
            id: id.clone(),
            is_summary: *is_summary,
            ..ReasoningBlock::default()
        })
        .into(),
        BlockStart::ToolCall {
            id,
            name,
            input,
            seal,
        } => BlockBody::ToolCall(ToolCall {
            id: id.clone(),
            name: name.clone(),
            input: input.clone(),
            seal: seal.clone(),
        })
        .into(),
        BlockStart::Whole(block) => (**block).clone(),
    }
}

fn add(body: &mut BlockBody, delta: &Delta) {
    match (body, delta) {
        (BlockBody::Text { text, .. } | BlockBody::Refusal { text }, Delta::Text(more)) => {
            text.push_str(more);
        }
        (BlockBody::Text { citations, .. }, Delta::Citation(citation)) => {
            citations.push((**citation).clone());
        }
        (BlockBody::Reasoning(thought), Delta::Text(more)) => thought.text.push_str(more),
        (BlockBody::Reasoning(thought), Delta::Seal(seal)) => thought.seal = Some(seal.clone()),
        (BlockBody::ToolCall(call), Delta::Seal(seal)) => call.seal = Some(seal.clone()),
        (BlockBody::ToolCall(call), Delta::Input(more)) => match &mut call.input {
            ToolInput::Json(text) | ToolInput::Text(text) => text.push_str(more),
        },
        (body, delta) => panic!("{delta:?} in {body:?}"),
    }
}
