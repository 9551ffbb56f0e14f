//! A conversation that goes on at another provider than the one that made its last turns. What proves
//! thoughts and calls to be a provider's own means nothing to others, and some refuse the whole request
//! for it, or for ids of tool calls that are not of their form.
//!
//! Such a request is read into the neutral form even where both sides speak one dialect; what is foreign
//! is left out with a note, ids are replaced by ones made from them alone, so that a call and its result
//! still meet in this request and in all that follow.

use memchr::memmem;

use crate::types::Call;
use crate::types::chat::{Block, BlockBody, ChatRequest, Notes, Seal, Speaker};
use crate::wire::DialectId;

use super::Outbound;

/// What opens a seal of another dialect in a client's body.
const ENVELOPE: &[u8] = b"\"tollgate:";

/// What has to be settled before a provider is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abroad {
    /// So many runs of the assistant's turns, from the beginning, are other providers' work.
    foreign_runs: u32,
    ids: CallIds,
}

/// Which ids of tool calls a provider takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallIds {
    Any,
    /// At most so many bytes: OpenAI's chat 40, its Responses 64.
    UpTo(usize),
    /// Nine letters or digits, as Mistral has it.
    Nine,
}

impl CallIds {
    fn takes(self, id: &str) -> bool {
        match self {
            Self::Any => true,
            Self::UpTo(most) => id.len() <= most,
            Self::Nine => id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        }
    }

    /// An id that the provider takes, made from `id` alone.
    fn fit(self, id: &mut String) {
        if self.takes(id) {
            return;
        }
        let hash = fnv(id);
        *id = match self {
            Self::Any => return,
            Self::UpTo(_) => format!("call_{hash:016x}"),
            Self::Nine => nine(hash),
        };
    }
}

/// 64-bit FNV-1a: <https://datatracker.ietf.org/doc/draft-eastlake-fnv/>. It must only keep the ids of one
/// conversation apart.
fn fnv(id: &str) -> u64 {
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn nine(mut hash: u64) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut id = String::with_capacity(9);
    for _ in 0..9 {
        let digit = usize::try_from(hash % 62).unwrap_or(0);
        id.push(char::from(DIGITS[digit]));
        hash /= 62;
    }
    id
}

/// What has to be settled for an attempt; `None` where the conversation can go as it is.
pub(super) fn of(outbound: &Outbound<'_>) -> Option<Abroad> {
    let call = outbound.call;
    let (foreign_runs, moved) = foreign_runs(outbound);
    let ids = match outbound.provider.dialect {
        _ if outbound.provider.quirks.short_call_ids => CallIds::Nine,
        DialectId::OpenaiChat if moved => CallIds::UpTo(40),
        DialectId::OpenaiResponses if moved => CallIds::UpTo(64),
        _ => CallIds::Any,
    };
    let thoughts =
        call.has_thoughts() && (foreign_runs > 0 || memmem::find(&call.body, ENVELOPE).is_some());
    (thoughts || !takes_all(ids, call)).then_some(Abroad { foreign_runs, ids })
}

/// How much of the conversation is other providers' work, and whether its last turns are.
fn foreign_runs(outbound: &Outbound<'_>) -> (u32, bool) {
    let Some(maker) = &outbound.call.maker else {
        return (0, false);
    };
    if maker.provider == outbound.provider.id {
        return (maker.foreign_runs, false);
    }
    if maker.claude && is_claude(outbound) {
        return (maker.foreign_runs, true);
    }
    (u32::MAX, true)
}

/// Anthropic's signatures hold on every platform that serves its models.
fn is_claude(outbound: &Outbound<'_>) -> bool {
    outbound.deployment.upstream_model.contains("claude")
}

/// Whether a seal that says who made it is where it was made.
fn is_home(seal: &Seal, outbound: &Outbound<'_>) -> bool {
    let here = Some(outbound.provider.id.as_str());
    let anywhere = || seal.is_of(DialectId::AnthropicMessages.as_str()) && is_claude(outbound);
    seal.account() == here || (seal.account().is_some() && anywhere())
}

/// Ids of one maker are of one form, so that the first of each turn tells.
fn takes_all(ids: CallIds, call: &Call) -> bool {
    let mut calls = call.turns.iter().filter_map(|turn| turn.first_call);
    ids == CallIds::Any || calls.all(|made| ids.takes(call.raw_text(made.id)))
}

impl Abroad {
    /// Leaves out what is foreign. What says that the account that is asked made it is not, whoever made
    /// the turns around it.
    pub fn settle(self, request: &mut ChatRequest, outbound: &Outbound<'_>, notes: &mut Notes) {
        let is_home = |seal: &Seal| is_home(seal, outbound);
        let (mut runs, mut inside) = (0, false);
        for (index, message) in request.messages.iter_mut().enumerate() {
            let is_assistant = message.speaker == Speaker::Assistant;
            runs += u32::from(is_assistant && !inside);
            inside = is_assistant;
            if is_assistant && runs <= self.foreign_runs && forget(&mut message.blocks, is_home) {
                notes.dropped(format!("messages[{index}].reasoning"));
            }
            for block in &mut message.blocks {
                match &mut block.body {
                    BlockBody::ToolCall(call) => self.ids.fit(&mut call.id),
                    BlockBody::ToolResult(result) => self.ids.fit(&mut result.call_id),
                    _ => {}
                }
            }
        }
        let said = |speaker: Speaker, blocks: &[Block]| {
            speaker != Speaker::Assistant || !blocks.is_empty()
        };
        request
            .messages
            .retain(|message| said(message.speaker, &message.blocks));
        request.settle_seals(is_home);
    }
}

/// Takes thoughts and proofs out; true when there were any.
fn forget(blocks: &mut Vec<Block>, is_home: impl Fn(&Seal) -> bool) -> bool {
    let before = blocks.len();
    blocks.retain(|block| match &block.body {
        BlockBody::Reasoning(thought) => thought.seal.as_ref().is_some_and(&is_home),
        _ => true,
    });
    let mut found = blocks.len() < before;
    for block in blocks {
        if let BlockBody::ToolCall(call) = &mut block.body {
            found |= call.seal.take().is_some();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_fitted_from_themselves_alone() {
        let fitted = |ids: CallIds, id: &str| {
            let mut id = id.to_owned();
            ids.fit(&mut id);
            assert!(ids.takes(&id), "{id}");
            id
        };
        assert_eq!(fitted(CallIds::Nine, "D681PevKs"), "D681PevKs");
        assert_eq!(fitted(CallIds::UpTo(40), "call_1"), "call_1");
        assert_eq!(fitted(CallIds::Any, ""), "");
        let long = format!("chatcmpl-tool-{}", "0".repeat(32));
        let other = format!("chatcmpl-tool-{}1", "0".repeat(31));
        for ids in [CallIds::Nine, CallIds::UpTo(40)] {
            assert_eq!(fitted(ids, &long), fitted(ids, &long));
            assert_ne!(fitted(ids, &long), fitted(ids, &other));
        }
    }
}
