//! Between the two forms of an answer in neutral terms: whole, and as the events of a stream.

use std::collections::BTreeMap;

use crate::types::chat::{
    AnswerHead, Block, BlockBody, BlockStart, ChatAnswer, ChatEvent, Choice, Delta, ReasoningBlock,
    ToolCall, ToolInput,
};

/// The events that would have brought the answer.
#[must_use]
pub fn to_events(answer: &ChatAnswer) -> Vec<ChatEvent> {
    let mut events = vec![ChatEvent::Start(answer.head.clone())];
    for (choice, said) in (0_u32..).zip(&answer.choices) {
        for (block, body) in (0_u32..).zip(&said.blocks) {
            block_events(choice, block, body, &mut events);
        }
        if let Some(logprobs) = &said.logprobs {
            let logprobs = logprobs.clone();
            events.push(ChatEvent::Logprobs { choice, logprobs });
        }
        let finish = said.finish.clone();
        events.push(ChatEvent::Finish { choice, finish });
    }
    events.extend(answer.usage.map(ChatEvent::Usage));
    events.push(ChatEvent::End);
    events
}

fn block_events(choice: u32, number: u32, block: &Block, events: &mut Vec<ChatEvent>) {
    let (start, deltas) = taken_apart(block);
    events.push(ChatEvent::BlockStart {
        choice,
        block: number,
        start,
    });
    events.extend(deltas.into_iter().map(|delta| ChatEvent::BlockDelta {
        choice,
        block: number,
        delta,
    }));
    events.push(ChatEvent::BlockEnd {
        choice,
        block: number,
    });
}

fn taken_apart(block: &Block) -> (BlockStart, Vec<Delta>) {
    let text = |text: &String| (!text.is_empty()).then(|| Delta::Text(text.clone()));
    match &block.body {
        BlockBody::Text {
            text: said,
            citations,
        } => {
            let cited = citations.iter().cloned().map(Box::new).map(Delta::Citation);
            (
                BlockStart::Text,
                text(said).into_iter().chain(cited).collect(),
            )
        }
        BlockBody::Refusal { text: said } => {
            (BlockStart::Refusal, text(said).into_iter().collect())
        }
        BlockBody::Reasoning(thoughts) if !thoughts.is_hidden || !thoughts.text.is_empty() => {
            let start = BlockStart::Reasoning {
                id: thoughts.id.clone(),
                is_summary: thoughts.is_summary,
            };
            let seal = thoughts.seal.clone().map(Delta::Seal);
            (
                start,
                text(&thoughts.text).into_iter().chain(seal).collect(),
            )
        }
        BlockBody::ToolCall(call) => {
            let (kind, input) = match &call.input {
                ToolInput::Json(input) => (ToolInput::Json(String::new()), input),
                ToolInput::Text(input) => (ToolInput::Text(String::new()), input),
            };
            let start = BlockStart::ToolCall {
                id: call.id.clone(),
                name: call.name.clone(),
                input: kind,
                seal: call.seal.clone(),
            };
            let input = (!input.is_empty()).then(|| Delta::Input(input.clone()));
            (start, input.into_iter().collect())
        }
        _ => (BlockStart::Whole(Box::new(block.clone())), Vec::new()),
    }
}

/// The answer that a stream's events bring. `None` when they do not reach the end or hold an error.
#[must_use]
pub fn of_events(dialect: &'static str, events: &[ChatEvent]) -> Option<ChatAnswer> {
    let mut answer = ChatAnswer {
        dialect,
        ..ChatAnswer::default()
    };
    let mut choices: BTreeMap<u32, Choice> = BTreeMap::new();
    let mut has_ended = false;
    for event in events {
        match event {
            ChatEvent::Start(head) => answer.head = AnswerHead::clone(head),
            ChatEvent::BlockStart { choice, start, .. } => {
                let blocks = &mut choices.entry(*choice).or_default().blocks;
                blocks.push(begun(start));
            }
            ChatEvent::BlockDelta { choice, delta, .. } => {
                let blocks = &mut choices.entry(*choice).or_default().blocks;
                add(&mut blocks.last_mut()?.body, delta);
            }
            ChatEvent::Logprobs { choice, logprobs } => {
                // Whole answers have them in one piece; the last one counts.
                choices.entry(*choice).or_default().logprobs = Some(logprobs.clone());
            }
            ChatEvent::Finish { choice, finish } => {
                choices.entry(*choice).or_default().finish = finish.clone();
            }
            ChatEvent::ServiceTier(tier) => answer.head.service_tier = Some(tier.clone()),
            ChatEvent::Usage(tokens) => answer.usage = Some(*tokens),
            ChatEvent::End => has_ended = true,
            ChatEvent::Error(_) => return None,
            ChatEvent::BlockEnd { .. } | ChatEvent::Ping => {}
        }
    }
    answer.choices = choices.into_values().collect();
    has_ended.then_some(answer)
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
        (
            BlockBody::Text { text, .. }
            | BlockBody::Refusal { text }
            | BlockBody::Reasoning(ReasoningBlock { text, .. }),
            Delta::Text(more),
        ) => text.push_str(more),
        (BlockBody::Text { citations, .. }, Delta::Citation(citation)) => {
            citations.push((**citation).clone());
        }
        (BlockBody::ToolCall(call), Delta::Input(more)) => {
            let (ToolInput::Json(text) | ToolInput::Text(text)) = &mut call.input;
            text.push_str(more);
        }
        (
            BlockBody::ToolCall(ToolCall { seal, .. })
            | BlockBody::Reasoning(ReasoningBlock { seal, .. }),
            Delta::Seal(new),
        ) => *seal = Some(new.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Tokens;
    use crate::types::chat::{FinishReason, Media, Seal};

    #[test]
    fn an_answer_survives_the_way_to_events_and_back() {
        let thoughts = ReasoningBlock {
            text: "hm".to_owned(),
            seal: Some(Seal::read("c2ln", "x")),
            ..ReasoningBlock::default()
        };
        let call = ToolCall {
            id: "c".to_owned(),
            name: "f".to_owned(),
            input: ToolInput::Json("{}".to_owned()),
            seal: None,
        };
        let image = Media::from(crate::types::chat::Source::Url(
            "https://x.example".to_owned(),
        ));
        let choice = |reason: FinishReason| Choice {
            blocks: vec![
                BlockBody::Reasoning(thoughts.clone()).into(),
                Block::text("hello"),
                BlockBody::Image(image.clone()).into(),
                BlockBody::ToolCall(call.clone()).into(),
            ],
            finish: reason.into(),
            ..Choice::default()
        };
        let answer = ChatAnswer {
            dialect: "x",
            head: AnswerHead {
                id: "1".to_owned(),
                ..AnswerHead::default()
            },
            choices: vec![
                choice(FinishReason::ToolCalls),
                choice(FinishReason::Length),
            ],
            usage: Some(Tokens {
                output: 3,
                ..Tokens::default()
            }),
            ..ChatAnswer::default()
        };
        let mut events = to_events(&answer);
        assert_eq!(of_events("x", &events), Some(answer));
        events.pop();
        assert_eq!(of_events("x", &events), None, "torn");
    }
}
