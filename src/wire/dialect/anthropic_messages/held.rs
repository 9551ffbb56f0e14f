//! Blocks of a stream one after the other: what comes for a block while another is open is held back
//! until that one is closed.

use std::collections::VecDeque;

use crate::types::chat::{BlockStart, ChatEvent, Delta};

/// Most blocks of one answer; what comes after them is not followed.
const MAX_BLOCKS: usize = 10_000;

/// The blocks of one choice.
#[derive(Debug, Default)]
pub(in crate::wire::dialect) struct Blocks {
    /// In the order in which they were opened. The first one is open, the others wait.
    waiting: VecDeque<Waiting>,
    /// The number of the first one.
    number: u32,
}

#[derive(Debug)]
struct Waiting {
    /// The upstream's own index.
    index: u64,
    is_open: bool,
    is_closed: bool,
    start: Option<BlockStart>,
    deltas: Vec<Delta>,
}

impl Blocks {
    /// A block begins. One that is open under the same index ends.
    pub fn open(&mut self, index: u64, start: BlockStart, out: &mut Vec<ChatEvent>) {
        self.close(index, out);
        if self.waiting.len() >= MAX_BLOCKS {
            return;
        }
        self.waiting.push_back(Waiting {
            index,
            is_open: false,
            is_closed: false,
            start: Some(start),
            deltas: Vec::new(),
        });
        self.advance(out);
    }

    /// True while a block of this index takes deltas.
    pub fn is_open(&self, index: u64) -> bool {
        let is_it = |block: &Waiting| block.index == index && !block.is_closed;
        self.waiting.iter().any(is_it)
    }

    /// More of a block.
    pub fn delta(&mut self, index: u64, delta: Delta, out: &mut Vec<ChatEvent>) {
        let is_it = |block: &&mut Waiting| block.index == index && !block.is_closed;
        let number = self.number;
        let Some(block) = self.waiting.iter_mut().find(is_it) else {
            return;
        };
        if block.is_open {
            out.push(ChatEvent::BlockDelta {
                choice: 0,
                block: number,
                delta,
            });
        } else {
            block.deltas.push(delta);
        }
    }

    /// A block is complete.
    pub fn close(&mut self, index: u64, out: &mut Vec<ChatEvent>) {
        let is_it = |block: &&mut Waiting| block.index == index && !block.is_closed;
        if let Some(block) = self.waiting.iter_mut().find(is_it) {
            block.is_closed = true;
        }
        self.advance(out);
    }

    /// All blocks are complete.
    pub fn close_all(&mut self, out: &mut Vec<ChatEvent>) {
        for block in &mut self.waiting {
            block.is_closed = true;
        }
        self.advance(out);
    }

    /// Opens the first block and gives out what waited, for as long as they are closed already.
    fn advance(&mut self, out: &mut Vec<ChatEvent>) {
        let choice = 0;
        while let Some(first) = self.waiting.front_mut() {
            let block = self.number;
            if let Some(start) = first.start.take() {
                first.is_open = true;
                out.push(ChatEvent::BlockStart {
                    choice,
                    block,
                    start,
                });
            }
            for delta in first.deltas.drain(..) {
                out.push(ChatEvent::BlockDelta {
                    choice,
                    block,
                    delta,
                });
            }
            if !first.is_closed {
                return;
            }
            out.push(ChatEvent::BlockEnd { choice, block });
            self.number = self.number.saturating_add(1);
            self.waiting.pop_front();
        }
    }
}
