//! The order of one streamed turn: blocks one after the other, whatever the upstream interleaves.
//!
//! Pieces of the block that is open pass at once. What belongs to a later block waits until the open
//! one is complete: text and thoughts are when something else begins, a call's arguments when their
//! JSON object closes.

use std::collections::VecDeque;

use super::reasoning::{Detail, continues};
use crate::types::chat::message::ToolInput;
use crate::types::chat::{
    Block, BlockBody, BlockStart, ChatEvent, Delta, Finish, FinishReason, Seal,
};

/// One choice of a stream.
#[derive(Debug, Default)]
pub(in crate::wire) struct Turn {
    choice: u32,
    /// The dialect whose unsealed thoughts get an empty seal, so that they come back to it alone.
    marks_thoughts: Option<&'static str>,
    /// The number of the block at the front of the line.
    block: u32,
    line: VecDeque<Item>,
    calls: u32,
    /// The wire's number of the call that began last.
    last_call: Option<u64>,
    said_refusal: bool,
    pub finished: bool,
}

/// A block in the line; only the first is open.
#[derive(Debug)]
struct Item {
    kind: Kind,
    is_open: bool,
    held: Vec<Delta>,
}

#[derive(Debug)]
enum Kind {
    Text,
    Refusal,
    Thought(Detail),
    Call(Call),
    Whole(Box<Block>),
}

#[derive(Debug)]
struct Call {
    index: u64,
    id: String,
    name: String,
    is_custom: bool,
    seal: Option<Seal>,
    arguments: ObjectEnd,
}

/// A piece of a call as it stands in a chunk.
#[derive(Debug, Default)]
pub(in crate::wire) struct CallPiece {
    pub index: Option<u64>,
    pub id: String,
    pub name: String,
    pub input: String,
    pub is_custom: bool,
    pub seal: Option<Seal>,
}

impl Turn {
    pub fn new(choice: u32) -> Self {
        Self {
            choice,
            ..Self::default()
        }
    }

    pub fn marking_thoughts(self, dialect: &'static str) -> Self {
        Self {
            marks_thoughts: Some(dialect),
            ..self
        }
    }

    /// True before anything was said.
    pub fn is_silent(&self) -> bool {
        self.block == 0 && self.line.is_empty()
    }

    /// A text of its own begins.
    pub fn begin_text(&mut self, out: &mut Vec<ChatEvent>) {
        self.push(Kind::Text);
        self.advance(out);
    }

    /// A refusal of its own begins.
    pub fn begin_refusal(&mut self, out: &mut Vec<ChatEvent>) {
        self.push(Kind::Refusal);
        self.advance(out);
    }

    pub fn text(&mut self, text: String, out: &mut Vec<ChatEvent>) {
        if !text.is_empty() {
            self.add(
                |kind| matches!(kind, Kind::Text),
                || Kind::Text,
                Delta::Text(text),
                out,
            );
        }
    }

    pub fn refusal(&mut self, text: String, out: &mut Vec<ChatEvent>) {
        if !text.is_empty() {
            self.said_refusal = true;
            let is = |kind: &Kind| matches!(kind, Kind::Refusal);
            self.add(is, || Kind::Refusal, Delta::Text(text), out);
        }
    }

    pub fn citation(&mut self, citation: crate::types::chat::Citation, out: &mut Vec<ChatEvent>) {
        let delta = Delta::Citation(Box::new(citation));
        self.add(|kind| matches!(kind, Kind::Text), || Kind::Text, delta, out);
    }

    pub fn whole(&mut self, block: Block, out: &mut Vec<ChatEvent>) {
        self.push(Kind::Whole(Box::new(block)));
        self.advance(out);
    }

    pub fn thought(&mut self, mut detail: Detail, out: &mut Vec<ChatEvent>) {
        if detail.block.is_hidden {
            let block = BlockBody::Reasoning(detail.block).into();
            return self.whole(block, out);
        }
        let text = std::mem::take(&mut detail.block.text);
        let seal = detail.block.seal.take();
        if text.is_empty() && seal.is_none() {
            return;
        }
        let goes_on = match self.line.back() {
            Some(Item {
                kind: Kind::Thought(last),
                ..
            }) => continues(last, &detail),
            _ => false,
        };
        if !goes_on {
            self.push(Kind::Thought(detail));
        }
        if !text.is_empty() {
            self.give(self.line.len() - 1, Delta::Text(text), out);
        }
        if let Some(seal) = seal {
            if let Some(Item {
                kind: Kind::Thought(last),
                ..
            }) = self.line.back_mut()
            {
                last.block.seal = Some(seal.clone());
            }
            self.give(self.line.len() - 1, Delta::Seal(seal), out);
        }
        self.advance(out);
    }

    /// A piece of a call. Pieces belong together by number; servers that leave it out, or number every
    /// call alike, begin each call with a new id.
    pub fn call(&mut self, piece: CallPiece, out: &mut Vec<ChatEvent>) {
        let last = self.last_call;
        let known = |index: u64| {
            self.line
                .iter()
                .position(|item| matches!(&item.kind, Kind::Call(call) if call.index == index))
        };
        let is_other = |at: usize| match &self.line[at].kind {
            Kind::Call(call) => !piece.id.is_empty() && !call.id.is_empty() && call.id != piece.id,
            _ => false,
        };
        let index = match (piece.index, last) {
            (Some(index), Some(last)) if index == last => match known(index) {
                Some(at) if is_other(at) => last + 1,
                _ => index,
            },
            (Some(index), _) => index,
            (None, Some(last)) if piece.id.is_empty() => last,
            (None, Some(last)) => match known(last) {
                Some(at) if !is_other(at) => last,
                _ => last + 1,
            },
            (None, None) => 0,
        };
        let at = known(index);
        if at.is_none() {
            // More of a call that is complete: there is nothing it could mean.
            if last.is_some_and(|last| index <= last) && piece.name.is_empty() {
                return;
            }
            self.last_call = Some(index.max(last.unwrap_or(0)));
            self.push(Kind::Call(Call {
                index,
                id: String::new(),
                name: String::new(),
                is_custom: piece.is_custom,
                seal: None,
                arguments: ObjectEnd::default(),
            }));
        }
        self.fill_call(at.unwrap_or(self.line.len() - 1), piece, out);
        self.advance(out);
    }

    fn fill_call(&mut self, at: usize, piece: CallPiece, out: &mut Vec<ChatEvent>) {
        let item = &mut self.line[at];
        let is_open = item.is_open;
        let Kind::Call(call) = &mut item.kind else {
            return;
        };
        if call.id.is_empty() {
            call.id = piece.id;
        }
        if call.name.is_empty() {
            call.name = piece.name;
        }
        call.is_custom |= piece.is_custom;
        call.arguments.see(&piece.input);
        let mut late_seal = None;
        match piece.seal {
            Some(seal) if is_open => late_seal = Some(Delta::Seal(seal)),
            Some(seal) => call.seal = Some(seal),
            None => {}
        }
        let input = (!piece.input.is_empty()).then_some(Delta::Input(piece.input));
        for delta in late_seal.into_iter().chain(input) {
            self.give(at, delta, out);
        }
    }

    /// The choice is over.
    pub fn finish(&mut self, mut finish: Finish, out: &mut Vec<ChatEvent>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.close_all(out);
        finish.reason = match finish.reason {
            // Servers say `stop` also of an answer that calls tools or declines.
            FinishReason::Stop if self.calls > 0 => FinishReason::ToolCalls,
            FinishReason::Stop if self.said_refusal => FinishReason::Refusal,
            reason => reason,
        };
        let choice = self.choice;
        out.push(ChatEvent::Finish { choice, finish });
    }

    fn close_all(&mut self, out: &mut Vec<ChatEvent>) {
        while !self.line.is_empty() {
            self.open_first(true, out);
            self.close_first(out);
        }
    }

    /// Adds to the last block in the line if it `is` of the kind, else to a new one.
    fn add(
        &mut self,
        is: impl Fn(&Kind) -> bool,
        new: impl FnOnce() -> Kind,
        delta: Delta,
        out: &mut Vec<ChatEvent>,
    ) {
        if !self.line.back().is_some_and(|item| is(&item.kind)) {
            self.push(new());
        }
        self.give(self.line.len() - 1, delta, out);
        self.advance(out);
    }

    fn push(&mut self, kind: Kind) {
        self.line.push_back(Item {
            kind,
            is_open: false,
            held: Vec::new(),
        });
    }

    fn give(&mut self, at: usize, delta: Delta, out: &mut Vec<ChatEvent>) {
        let (choice, block) = (self.choice, self.block);
        let item = &mut self.line[at];
        if item.is_open {
            out.push(ChatEvent::BlockDelta {
                choice,
                block,
                delta,
            });
        } else {
            item.held.push(delta);
        }
    }

    /// Opens the first block, and closes it once it is complete and another waits.
    fn advance(&mut self, out: &mut Vec<ChatEvent>) {
        self.open_first(false, out);
        while self.line.len() > 1 && self.line[0].is_open && self.line[0].kind.is_complete() {
            self.close_first(out);
            self.open_first(false, out);
        }
    }

    fn open_first(&mut self, at_last: bool, out: &mut Vec<ChatEvent>) {
        let (choice, block, calls) = (self.choice, self.block, self.calls);
        let Some(item) = self.line.front_mut() else {
            return;
        };
        let nameless = matches!(&item.kind, Kind::Call(call) if call.name.is_empty());
        if item.is_open || (nameless && !at_last) {
            return;
        }
        item.is_open = true;
        if matches!(item.kind, Kind::Call(_)) {
            self.calls += 1;
        }
        let start = item.kind.start(calls);
        out.push(ChatEvent::BlockStart {
            choice,
            block,
            start,
        });
        for delta in item.held.drain(..) {
            out.push(ChatEvent::BlockDelta {
                choice,
                block,
                delta,
            });
        }
    }

    fn close_first(&mut self, out: &mut Vec<ChatEvent>) {
        let (choice, block) = (self.choice, self.block);
        let Some(item) = self.line.pop_front() else {
            return;
        };
        let unsealed = matches!(&item.kind, Kind::Thought(detail) if detail.block.seal.is_none());
        if let Some(dialect) = self.marks_thoughts.filter(|_| unsealed) {
            out.push(ChatEvent::BlockDelta {
                choice,
                block,
                delta: Delta::Seal(Seal::read("", dialect)),
            });
        }
        out.push(ChatEvent::BlockEnd { choice, block });
        self.block += 1;
    }
}

impl Kind {
    fn is_complete(&self) -> bool {
        match self {
            Self::Call(call) => !call.is_custom && call.arguments.is_complete(),
            _ => true,
        }
    }

    fn start(&self, calls: u32) -> BlockStart {
        match self {
            Self::Text => BlockStart::Text,
            Self::Refusal => BlockStart::Refusal,
            Self::Thought(detail) => BlockStart::Reasoning {
                id: detail.block.id.clone(),
                is_summary: detail.block.is_summary,
            },
            Self::Call(call) => BlockStart::ToolCall {
                id: if call.id.is_empty() {
                    format!("call_{calls}")
                } else {
                    call.id.clone()
                },
                name: call.name.clone(),
                input: if call.is_custom {
                    ToolInput::Text(String::new())
                } else {
                    ToolInput::Json(String::new())
                },
                seal: call.seal.clone(),
            },
            Self::Whole(block) => BlockStart::Whole(block.clone()),
        }
    }
}

/// Finds where a JSON object that comes in pieces ends.
#[derive(Clone, Copy, Debug, Default)]
struct ObjectEnd {
    depth: u32,
    began: bool,
    in_string: bool,
    escaped: bool,
}

impl ObjectEnd {
    fn see(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => {
                    self.began = true;
                    self.depth += 1;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    const fn is_complete(self) -> bool {
        self.began && self.depth == 0 && !self.in_string
    }
}
