//! Ids of tool calls. Gemini gives some calls an id and most none, and knows a result by its function's
//! name; every other dialect knows it by the call's id. Calls without one get an id that says that it
//! is made up, so that it never reaches Google.

use std::collections::VecDeque;

use crate::types::chat::{BlockBody, ChatRequest};
use rustc_hash::FxHashMap;

/// How a made-up id begins. OpenAI's own have no second underscore.
const MADE_UP: &str = "call_gg_";

/// Most of an answer's id that goes into the ids of its calls: OpenAI takes ids of at most 40 characters.
/// Its API reference does not say so, its refusals do (`string_above_max_length`).
const MAX_BASE_CHARS: usize = 26;

/// True for an id that stands for none.
pub(super) fn is_made_up(id: &str) -> bool {
    id.starts_with(MADE_UP)
}

/// Ids for the calls of one answer: unlike in every answer, alike whenever the answer is read.
#[derive(Debug, Default)]
pub(super) struct AnswerIds {
    base: String,
    next: u32,
}

impl AnswerIds {
    /// For the answer of this id.
    pub fn new(response_id: &str) -> Self {
        let fits = |it: &char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_');
        let fitting = response_id.chars().filter(fits);
        Self {
            base: fitting.take(MAX_BASE_CHARS).collect(),
            next: 0,
        }
    }

    /// The id of the next call.
    fn made_up(&mut self, name: &str, arguments: &str) -> String {
        let number = self.next;
        self.next += 1;
        if self.base.is_empty() {
            let digest = crc32fast::hash(format!("{name} {arguments}").as_bytes());
            return format!("{MADE_UP}{digest:08x}_{number}");
        }
        format!("{MADE_UP}{}_{number}", self.base)
    }
}

/// Ids for the calls and results of one request, paired by function and order. Only what comes before a
/// call decides its id, so that a conversation that goes on keeps its ids (and its prompt cache).
#[derive(Debug, Default)]
pub(super) struct RequestIds {
    next: u32,
    /// Calls that have no result yet: function and id.
    open: VecDeque<(String, String)>,
}

/// Where a part gets its call's id from.
#[derive(Debug)]
pub(super) enum CallIds {
    /// In an answer.
    Answer(AnswerIds),
    /// In a request.
    Request(RequestIds),
}

impl CallIds {
    /// The id of a call.
    pub fn of_call(&mut self, given: Option<String>, name: &str, arguments: &str) -> String {
        let given = given.filter(|id| !id.is_empty());
        match self {
            Self::Answer(ids) => given.unwrap_or_else(|| ids.made_up(name, arguments)),
            Self::Request(ids) => {
                let id = given.unwrap_or_else(|| ids.made_up());
                ids.open.push_back((name.to_owned(), id.clone()));
                id
            }
        }
    }

    /// The id of the call that a result answers.
    pub fn of_result(&mut self, given: Option<String>, name: &str) -> String {
        let given = given.filter(|id| !id.is_empty());
        let Self::Request(ids) = self else {
            return given.unwrap_or_else(|| format!("{MADE_UP}x"));
        };
        let is_it = |(function, id): &(String, String)| match &given {
            Some(given) => id == given,
            None => function == name,
        };
        let found = ids.open.iter().position(is_it);
        let open = found.and_then(|at| ids.open.remove(at));
        match (given, open) {
            (Some(id), _) | (None, Some((_, id))) => id,
            (None, None) => ids.made_up(),
        }
    }
}

impl RequestIds {
    fn made_up(&mut self) -> String {
        let number = self.next;
        self.next += 1;
        format!("{MADE_UP}{number}")
    }
}

/// The functions that the calls of a request name, by the calls' ids.
pub(super) fn functions(request: &ChatRequest) -> FxHashMap<&str, &str> {
    let blocks = request.messages.iter().flat_map(|it| &it.blocks);
    blocks
        .filter_map(|block| match &block.body {
            BlockBody::ToolCall(call) => Some((call.id.as_str(), call.name.as_str())),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_without_an_id_find_their_calls_in_order() {
        let mut ids = CallIds::Request(RequestIds::default());
        let first = ids.of_call(None, "look", "{}");
        let other = ids.of_call(Some("abc".into()), "look", "{}");
        let second = ids.of_call(None, "look", "{}");
        assert_eq!(ids.of_result(Some("abc".into()), "look"), other);
        assert_eq!(ids.of_result(None, "look"), first);
        assert_eq!(ids.of_result(None, "look"), second);
        assert!(is_made_up(&ids.of_result(None, "look")), "one too many");
        assert!(is_made_up(&first) && !is_made_up(&other));
    }

    #[test]
    fn ids_of_answers_are_short_and_plain() {
        let long = "a/b.c".repeat(40);
        for base in ["", "r-1_x", long.as_str()] {
            let mut ids = CallIds::Answer(AnswerIds::new(base));
            let (one, two) = (ids.of_call(None, "f", "{}"), ids.of_call(None, "f", "{}"));
            assert_ne!(one, two);
            assert!(one.len() <= 40 && is_made_up(&one), "{one}");
            let plain = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '-';
            assert!(one.chars().all(plain), "{one}");
        }
    }
}
