//! What is said in the neutral form comes back from every dialect: texts, calls, reasons to finish and
//! every class of usage, whole and streamed.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::fixture_tests::{asked, events_as, written};
use super::laws::check_order;
use crate::types::Tokens;
use crate::types::chat::{
    AnswerHead, Block, BlockBody, BlockStart, ChatAnswer, ChatEvent, Choice, Delta, FinishReason,
    Seal, ToolCall, ToolInput,
};
use crate::wire::DialectId;
use crate::wire::translate::{Framing, Translate};
use crate::wire::whole;

/// What must survive.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    text: String,
    /// Id, function and arguments.
    calls: Vec<(String, String, Value)>,
    finish: FinishReason,
    usage: Option<Tokens>,
}

fn said(answer: &ChatAnswer) -> Said {
    let mut said = Said {
        usage: answer.usage,
        ..Said::default()
    };
    for block in &answer.choices[0].blocks {
        match &block.body {
            BlockBody::Text { text, .. } => said.text.push_str(text),
            BlockBody::ToolCall(call) => said.calls.push(call_of(call)),
            _ => {}
        }
    }
    said.finish = answer.choices[0].finish.reason;
    said
}

fn call_of(call: &ToolCall) -> (String, String, Value) {
    let (ToolInput::Json(input) | ToolInput::Text(input)) = &call.input;
    let input = serde_json::from_str(input).unwrap_or(Value::Null);
    (call.id.clone(), call.name.clone(), input)
}

fn heard(events: &[ChatEvent]) -> Said {
    let mut said = Said::default();
    let mut call: Option<ToolCall> = None;
    for event in events {
        match event {
            ChatEvent::BlockStart {
                start:
                    BlockStart::ToolCall {
                        id,
                        name,
                        input,
                        seal,
                    },
                ..
            } => {
                call = Some(ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    input: input.clone(),
                    seal: seal.clone(),
                });
            }
            ChatEvent::BlockStart {
                start: BlockStart::Text,
                ..
            } => call = None,
            ChatEvent::BlockDelta {
                delta: Delta::Text(text),
                ..
            } => said.text.push_str(text),
            ChatEvent::BlockDelta {
                delta: Delta::Input(more),
                ..
            } => {
                if let Some(ToolInput::Json(input)) = call.as_mut().map(|it| &mut it.input) {
                    input.push_str(more);
                }
            }
            ChatEvent::BlockEnd { .. } => {
                said.calls.extend(call.take().map(|call| call_of(&call)));
            }
            ChatEvent::Finish { finish, .. } => said.finish = finish.reason,
            ChatEvent::Usage(tokens) => said.usage = Some(*tokens),
            _ => {}
        }
    }
    said
}

/// The events of a whole answer, its texts in pieces.
fn streamed(answer: &ChatAnswer) -> Vec<ChatEvent> {
    let choice = 0;
    let mut events = vec![ChatEvent::Start(answer.head.clone())];
    for (block, body) in (0_u32..).zip(&answer.choices[0].blocks) {
        let (start, pieces): (_, Vec<Delta>) = match &body.body {
            BlockBody::Text { text, .. } => {
                let pieces = text.split_inclusive(' ').map(str::to_owned);
                (BlockStart::Text, pieces.map(Delta::Text).collect())
            }
            BlockBody::ToolCall(call) => {
                let (ToolInput::Json(input) | ToolInput::Text(input)) = &call.input;
                let start = BlockStart::ToolCall {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    input: ToolInput::Json(String::new()),
                    seal: None,
                };
                let pieces = input.split_inclusive(',').map(str::to_owned);
                (start, pieces.map(Delta::Input).collect())
            }
            _ => continue,
        };
        events.push(ChatEvent::BlockStart {
            choice,
            block,
            start,
        });
        let delta = |delta| ChatEvent::BlockDelta {
            choice,
            block,
            delta,
        };
        events.extend(pieces.into_iter().map(delta));
        events.push(ChatEvent::BlockEnd { choice, block });
    }
    let finish = answer.choices[0].finish.clone();
    events.push(ChatEvent::Finish { choice, finish });
    events.extend(answer.usage.map(ChatEvent::Usage));
    events.push(ChatEvent::End);
    events
}

fn tokens() -> impl Strategy<Value = Tokens> {
    let count = || prop_oneof![Just(0_u64), 1_u64..2_000_000];
    (count(), count(), count(), count(), count(), count()).prop_map(
        |(input, cached_input, cache_write, cache_write_1h, output, reasoning)| Tokens {
            input,
            cached_input,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
        },
    )
}

fn arguments() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(Value::Null),
    ];
    prop::collection::btree_map("[a-z]{1,5}", value, 0..4)
        .prop_map(|map| serde_json::to_string(&map).expect("JSON"))
}

/// A text, then calls.
fn answers() -> impl Strategy<Value = ChatAnswer> {
    let text = "[a-zé🎉\"\\\\\n]{1,8}( [a-zß]{1,8}){0,4}";
    let call = ("call_[a-zA-Z0-9]{1,20}", "[a-z_]{1,12}", arguments());
    let calls = prop::collection::vec(call, 0..3);
    // Anthropic has one word for what a filter withheld and what the model declined.
    let finish = prop::sample::select(vec![FinishReason::Stop, FinishReason::Length]);
    (text, calls, finish, prop::option::of(tokens())).prop_map(|(text, calls, finish, usage)| {
        let mut blocks = vec![Block::text(text)];
        let finish = if calls.is_empty() {
            finish
        } else {
            FinishReason::ToolCalls
        };
        for (number, (id, name, input)) in calls.into_iter().enumerate() {
            let call = ToolCall {
                id: format!("{id}{number}"),
                name,
                input: ToolInput::Json(input),
                seal: None,
            };
            blocks.push(BlockBody::ToolCall(call).into());
        }
        ChatAnswer {
            dialect: "none",
            head: AnswerHead {
                id: "a1".into(),
                model: "m".into(),
                ..AnswerHead::default()
            },
            choices: vec![Choice {
                blocks,
                finish: finish.into(),
                ..Choice::default()
            }],
            usage,
            ..ChatAnswer::default()
        }
    })
}

/// In what framing a dialect's writer writes: as its own host does.
fn framing(codec: &dyn Translate) -> Framing {
    codec.framing(crate::wire::translate::Host::Native)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whole_answers_survive_every_dialect(answer in answers()) {
        let none = Bytes::new();
        for id in DialectId::ALL {
            let codec = id.translate();
            let body = codec.write_answer(&answer, &asked(&none, codec));
            let text = std::str::from_utf8(&body).expect("UTF-8");
            let back = codec.read_answer(text);
            let back = back.unwrap_or_else(|error| panic!("{id}: {error}: {text}"));
            let mut expected = said(&answer);
            expected.usage = expected.usage.or(back.usage.filter(|it| it.total() == 0));
            prop_assert_eq!(said(&back), expected, "{}: {}", id, text);
        }
    }

    #[test]
    fn streams_survive_every_dialect(answer in answers()) {
        let events = streamed(&answer);
        check_order(&events);
        for id in DialectId::ALL {
            let codec = id.translate();
            let bytes = written(codec, &events);
            let back = events_as(codec, framing(codec), &bytes, 0);
            check_order(&back);
            let mut expected = said(&answer);
            let found = heard(&back);
            expected.usage = expected.usage.or(found.usage.filter(|it| it.total() == 0));
            prop_assert_eq!(found, expected, "{}: {}", id, String::from_utf8_lossy(&bytes));
        }
    }
}

/// The events of one call and of what is known after its beginning.
fn told_late(seal: &Seal) -> Vec<ChatEvent> {
    let (choice, block) = (0, 0);
    let delta = |delta| ChatEvent::BlockDelta {
        choice,
        block,
        delta,
    };
    let start = BlockStart::ToolCall {
        id: "call_1".into(),
        name: "f".into(),
        input: ToolInput::Json(String::new()),
        seal: None,
    };
    let finish = FinishReason::ToolCalls.into();
    vec![
        ChatEvent::Start(AnswerHead::default()),
        ChatEvent::BlockStart {
            choice,
            block,
            start,
        },
        delta(Delta::Input("{}".into())),
        delta(Delta::Seal(seal.clone())),
        ChatEvent::BlockEnd { choice, block },
        ChatEvent::Finish { choice, finish },
        ChatEvent::ServiceTier("priority".into()),
        ChatEvent::Usage(Tokens::default()),
        ChatEvent::End,
    ]
}

#[test]
fn a_tier_that_is_known_late_is_heard() {
    let events = told_late(&Seal::read("c2ln", "gemini_generate"));
    for id in DialectId::ALL {
        let codec = id.translate();
        let bytes = written(codec, &events);
        let heard = events_as(codec, framing(codec), &bytes, 0);
        let answer = whole::of_events(codec.name(), &heard).expect("complete");
        assert_eq!(
            answer.head.service_tier.as_deref(),
            Some("priority"),
            "{id}"
        );
    }
}

#[test]
fn a_seal_that_comes_after_its_call_reaches_the_client() {
    let seal = Seal::read("c2ln", "gemini_generate");
    for id in [
        DialectId::OpenaiChat,
        DialectId::OpenaiResponses,
        DialectId::AnthropicMessages,
    ] {
        let codec = id.translate();
        let bytes = written(codec, &told_late(&seal));
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("tollgate:gemini_generate:"), "{id}: {text}");
        assert!(text.contains("c2ln"), "{id}: {text}");
    }
}
