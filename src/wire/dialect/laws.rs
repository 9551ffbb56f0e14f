//! What holds for the events of every stream, whatever the dialect: the order that
//! `types::chat::event` promises.

use crate::types::chat::{BlockStart, ChatEvent, Delta};

/// Panics where the order is broken.
pub(super) fn check_order(events: &[ChatEvent]) {
    let mut choices: Vec<Choice> = Vec::new();
    let mut is_over = false;
    for (at, event) in events.iter().enumerate() {
        assert!(!is_over, "nothing follows the end: {events:#?}");
        let is_start = matches!(event, ChatEvent::Start(_));
        let opens = at == events.iter().take_while(|it| is_aside(it)).count();
        assert_eq!(
            is_start,
            opens && !is_aside(event),
            "the start comes first, once: {events:#?}"
        );
        match event {
            ChatEvent::BlockStart {
                choice,
                block,
                start,
            } => {
                of(&mut choices, *choice).start(*block, start);
            }
            ChatEvent::BlockDelta {
                choice,
                block,
                delta,
            } => {
                of(&mut choices, *choice).delta(*block, delta);
            }
            ChatEvent::BlockEnd { choice, block } => of(&mut choices, *choice).end(*block),
            ChatEvent::Finish { choice, .. } => of(&mut choices, *choice).finish(),
            ChatEvent::End => {
                is_over = true;
                let all = choices.iter().all(|it| it.open.is_none());
                assert!(all, "every block is closed at the end: {events:#?}");
                assert!(
                    choices.iter().any(|it| it.is_finished),
                    "something was finished"
                );
            }
            ChatEvent::Error(_) => is_over = true,
            _ => {}
        }
    }
}

/// What may come before the start.
const fn is_aside(event: &ChatEvent) -> bool {
    matches!(event, ChatEvent::Ping | ChatEvent::Error(_))
}

fn of(choices: &mut Vec<Choice>, choice: u32) -> &mut Choice {
    let index = choice as usize;
    if choices.len() <= index {
        choices.resize_with(index + 1, Choice::default);
    }
    &mut choices[index]
}

#[derive(Default)]
struct Choice {
    next: u32,
    open: Option<Kind>,
    is_finished: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thoughts,
    Call,
    Whole,
}

impl Choice {
    fn start(&mut self, block: u32, start: &BlockStart) {
        assert_eq!(self.open, None, "one block at a time");
        assert_eq!(block, self.next, "blocks are numbered in order");
        assert!(!self.is_finished, "no block after the finish");
        self.open = Some(match start {
            BlockStart::Text | BlockStart::Refusal => Kind::Text,
            BlockStart::Reasoning { .. } => Kind::Thoughts,
            BlockStart::ToolCall { id, .. } => {
                assert!(!id.is_empty(), "a call has an id");
                Kind::Call
            }
            BlockStart::Whole(_) => Kind::Whole,
        });
    }

    fn delta(&self, block: u32, delta: &Delta) {
        assert_eq!(block, self.next, "a delta belongs to the open block");
        let fits = match delta {
            Delta::Text(text) => {
                !text.is_empty() && matches!(self.open, Some(Kind::Text | Kind::Thoughts))
            }
            Delta::Input(_) => self.open == Some(Kind::Call),
            Delta::Seal(_) => matches!(self.open, Some(Kind::Thoughts | Kind::Call)),
            Delta::Citation(_) => self.open == Some(Kind::Text),
        };
        assert!(fits, "{delta:?} in {:?}", self.open);
    }

    fn end(&mut self, block: u32) {
        assert!(self.open.take().is_some(), "only what is open ends");
        assert_eq!(block, self.next);
        self.next += 1;
    }

    fn finish(&mut self) {
        assert!(!self.is_finished, "a choice finishes once");
        assert_eq!(self.open, None, "after its last block");
        self.is_finished = true;
    }
}
