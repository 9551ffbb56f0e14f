//! Where an agent's work stands: whether its last steps failed, whether it tries the same again, or
//! whether it gets on. Outside the trained weights, whose rows hold no agent's loop: a constant each.
//!
//! Reads the last few results of tools and, of each, its two ends, so that it takes bounded time however
//! long the conversation is.

use memchr::memmem;
use smallvec::SmallVec;

use crate::types::{Call, Part, Role, Signal, Turn};

/// Results of tools that are looked at, from the end.
const RESULTS: usize = 8;
/// Turns that are looked at for them.
const LAST_TURNS: usize = 64;
/// What of either end of a result is read, bytes.
const END_BYTES: usize = 320;
/// Calls with longer arguments are not compared.
const COMPARED_BYTES: usize = 8_192;

/// Where an agent's work stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Results in a row, up to the last, that report a failure.
    pub failing: u8,
    /// Results in a row, up to the last, that do not.
    pub going_well: u8,
    /// Times that the last call was made before, among the last few.
    pub repeated: u8,
    /// The last results still wait for an answer.
    pub mid_chain: bool,
}

impl Standing {
    /// Reads the end of a conversation, back to the turn before the user's last.
    #[must_use]
    pub fn of(call: &Call) -> Self {
        if !call.turns.iter().rev().take(LAST_TURNS).any(is_result) {
            return Self::default();
        }
        let mut standing = Self {
            mid_chain: call.is_mid_chain(),
            ..Self::default()
        };
        let mut asked = 0;
        let mut results = 0;
        let mut last_call: Option<&[u8]> = None;
        for turn in call.turns.iter().rev().take(LAST_TURNS) {
            match turn.role {
                Role::User => asked += 1,
                Role::Tool => {
                    results += 1;
                    standing.add_result(turn.failed || reports_failure(call, turn), results);
                }
                _ => {}
            }
            if let Some(made) = turn.first_call {
                let input = call.raw(made.input);
                match last_call {
                    None if input.len() <= COMPARED_BYTES => last_call = Some(input),
                    Some(last) if last == input => standing.repeated += 1,
                    _ => {}
                }
            }
            // The user's last turn and the chain before it.
            if asked > 1 || results >= RESULTS {
                break;
            }
        }
        standing
    }

    fn add_result(&mut self, failed: bool, number: usize) {
        let before = u8::try_from(number - 1).unwrap_or(u8::MAX);
        if failed && self.failing == before {
            self.failing += 1;
        } else if !failed && self.going_well == before {
            self.going_well += 1;
        }
    }

    /// What is added to the logit of the complexity: failures in a row raise it, the more of them the
    /// more, and the same attempt again on top; steps that go well lower it while the work goes on.
    #[must_use]
    pub const fn raised(self) -> f32 {
        let failing = match self.failing {
            0 => 0.0,
            1 => 0.6,
            2 => 1.0,
            3 => 1.6,
            _ => 2.2,
        };
        let again = match (self.failing, self.repeated) {
            (_, 0) | (0, 1) => 0.0,
            (0, _) | (_, 1) => 0.4,
            _ => 0.8,
        };
        let well = match self.going_well {
            _ if !self.mid_chain || self.repeated > 1 => 0.0,
            0 | 1 => 0.0,
            2 | 3 => -0.3,
            _ => -0.6,
        };
        failing + again + well
    }

    /// What was seen, for people.
    #[must_use]
    pub fn signals(self) -> SmallVec<[Signal; 2]> {
        let weight = self.raised();
        let mut signals = SmallVec::new();
        if weight == 0.0 {
            return signals;
        }
        let name = match (self.failing, self.repeated) {
            (0, 0 | 1) => format!("{} steps went well", self.going_well),
            (0, repeated) => format!("the same call {repeated} times before"),
            (failing, 0) => format!("{failing} results in a row failed"),
            (failing, repeated) => {
                format!("{failing} results in a row failed, the same call {repeated} times before")
            }
        };
        signals.push(Signal { name, weight });
        signals
    }
}

fn is_result(turn: &Turn) -> bool {
    turn.role == Role::Tool
}

/// Whether a result reads like a failure at either of its ends: programs say first or last how they
/// ended, and what is between may be a file that talks about errors.
fn reports_failure(call: &Call, turn: &Turn) -> bool {
    let spans = turn.parts.iter().filter_map(|part| match part {
        Part::Text(span) => Some(*span),
        _ => None,
    });
    let mut ends = [0_u8; END_BYTES];
    spans.take(4).any(|span| {
        let raw = call.raw(span);
        let head = &raw[..raw.len().min(END_BYTES)];
        let tail = &raw[raw.len().saturating_sub(END_BYTES).max(head.len())..];
        [head, tail].into_iter().any(|end| {
            let lower = &mut ends[..end.len()];
            lower.copy_from_slice(end);
            lower.make_ascii_lowercase();
            says_failure(lower)
        })
    })
}

/// Words of failure in lower case. Quotes may be escaped, since results are texts inside JSON.
fn says_failure(text: &[u8]) -> bool {
    const PLAIN: &[&[u8]] = &[
        b"error:",
        b"traceback (most recent",
        b"exception in ",
        b"exception:",
        b"panicked at",
        b"permission denied",
        b"no such file",
        b"command not found",
        b"timed out",
        b"not found",
        b"segmentation fault",
        b"tests failed",
    ];
    let trimmed = text.trim_ascii_start();
    trimmed.starts_with(b"error")
        || PLAIN.iter().any(|mark| memmem::find(text, mark).is_some())
        || follows(text, b"exit code", is_nonzero)
        || follows(text, b"exit status", is_nonzero)
        || follows(text, b"error\\\"", is_something)
        || follows(text, b"error\"", is_something)
        || precedes(text, b" failed", is_count)
}

fn follows(text: &[u8], mark: &[u8], test: fn(&[u8]) -> bool) -> bool {
    memmem::find_iter(text, mark).any(|at| test(&text[at + mark.len()..]))
}

fn precedes(text: &[u8], mark: &[u8], test: fn(&[u8]) -> bool) -> bool {
    memmem::find_iter(text, mark).any(|at| test(&text[..at]))
}

/// A number above 0 after at most some marks.
fn is_nonzero(rest: &[u8]) -> bool {
    let digit = rest.iter().take(4).find(|byte| byte.is_ascii_digit());
    digit.is_some_and(|digit| *digit != b'0')
}

/// A member's value that is neither null, false nor empty.
fn is_something(rest: &[u8]) -> bool {
    let value = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
    value.is_some_and(|value| {
        let nothing: [&[u8]; 6] = [b"null", b"false", b"\"\"", b"\\\"\\\"", b"0", b"[]"];
        !value.is_empty() && !nothing.iter().any(|it| value.starts_with(it))
    })
}

/// A count above 0, as in `3 failed`.
fn is_count(before: &[u8]) -> bool {
    let digits = before
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let count = &before[before.len() - digits..];
    count.iter().any(|digit| *digit != b'0')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::classify::Classifier;
    use crate::types::{Directives, Endpoint};
    use crate::wire;

    fn call(messages: &[Value]) -> Call {
        let body = json!({"model": "auto", "messages": messages, "tools": [{"type": "function"}]});
        let body = bytes::Bytes::from(body.to_string());
        wire::decode(Endpoint::ChatCompletions, body, Directives::default()).expect("a call")
    }

    /// An agent's loop: the command and the result of each step.
    fn work(steps: &[(&str, &str)]) -> Vec<Value> {
        let mut messages = vec![json!({"role": "user", "content": "Make the build pass"})];
        for (number, (command, result)) in steps.iter().enumerate() {
            let id = format!("call_{number}");
            let function =
                json!({"name": "run", "arguments": json!({"command": command}).to_string()});
            messages.push(json!({"role": "assistant", "content": null,
                "tool_calls": [{"id": id, "type": "function", "function": function}]}));
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
        }
        messages
    }

    fn check(steps: &[(&str, &str)], failing: u8, going_well: u8, repeated: u8) -> f32 {
        let standing = Standing::of(&call(&work(steps)));
        let expect = Standing {
            failing,
            going_well,
            repeated,
            mid_chain: !steps.is_empty(),
        };
        assert_eq!(standing, expect, "{steps:?}");
        standing.raised()
    }

    #[test]
    fn failures_progress_and_repetition_are_told_apart() {
        let broken = ("make", "cc: error: no input files\nmake: exit code 2");
        let fine = ("ls", "Makefile\nmain.c");
        let read = (
            "cat a.java",
            "class A {\n throw new Exception(); // error handling failed\n}",
        );
        assert!(check(&[], 0, 0, 0) == 0.0);
        let one = check(&[fine, broken], 1, 0, 0);
        let again = check(&[broken, fine, broken], 1, 0, 1);
        let stuck = check(&[broken, broken, broken], 3, 0, 2);
        assert!(
            0.0 < one && one < again && again < stuck,
            "{one} {again} {stuck}"
        );
        // What was mended is no failure any more.
        assert!(check(&[broken, broken, ("make", "ok"), fine], 0, 2, 0) < 0.0);
        assert!(check(&[read, fine, ("cat b", "x"), ("cat c", "y")], 0, 4, 0) < 0.0);
        // Polling is not progress.
        let wait = ("status", "pending");
        assert!(check(&[wait, wait, wait], 0, 3, 2) > 0.0);
    }

    #[test]
    fn results_say_how_they_ended() {
        let failure = |text: &str| {
            let standing = Standing::of(&call(&work(&[("x", text)])));
            standing.failing == 1
        };
        for text in [
            "Error: ENOENT",
            "{\"error\": \"no such table\"}",
            "{\"ok\": false, \"error\":{\"code\":1}}",
            "bash: foo: command not found",
            "2 passed, 3 failed",
            "Process finished with exit code 1",
            "exit status 101",
            "Traceback (most recent call last):\n  File",
        ] {
            assert!(failure(text), "{text}");
        }
        for text in [
            "{\"error\": null, \"rows\": []}",
            "test result: ok. 12 passed; 0 failed",
            "Process finished with exit code 0",
            "fn error() {}",
            "",
        ] {
            assert!(!failure(text), "{text}");
        }
        let long = format!(
            "ok\n{}\nlearnt: error: is a word\n{}",
            "x".repeat(900),
            "y".repeat(900)
        );
        assert!(!failure(&long), "what stands in the middle is material");
    }

    #[test]
    fn the_user_may_speak_after_a_failed_chain() {
        let mut messages = work(&[("make", "error: 1"), ("make", "error: 1")]);
        messages.push(json!({"role": "assistant", "content": "It does not build."}));
        messages.push(json!({"role": "user", "content": "Try again"}));
        let standing = Standing::of(&call(&messages));
        assert_eq!((standing.failing, standing.repeated), (2, 1));
        assert!(!standing.mid_chain);
        // Two turns later it is history.
        messages.push(json!({"role": "assistant", "content": "Done."}));
        messages.push(json!({"role": "user", "content": "Thanks"}));
        assert_eq!(Standing::of(&call(&messages)).failing, 0);
    }

    #[test]
    fn what_a_client_calls_an_error_is_one() {
        let body = json!({"model": "auto", "max_tokens": 9, "messages": [
            {"role": "user", "content": "Go"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "run", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": "no"}]},
        ]});
        let body = bytes::Bytes::from(body.to_string());
        let call = wire::decode(Endpoint::Messages, body, Directives::default()).expect("a call");
        assert_eq!(Standing::of(&call).failing, 1);
    }

    #[test]
    fn the_level_follows_the_work() {
        let complexity = |steps: &[(&str, &str)]| {
            let features = Classifier::builtin().classify(&call(&work(steps)));
            (features.complexity, features.signals)
        };
        let broken = ("make", "error: undefined reference");
        let fine = ("ls", "main.c");
        let (well, _) = complexity(&[fine, ("pwd", "/x"), ("id", "me"), ("date", "today")]);
        let (begun, _) = complexity(&[fine]);
        let (stuck, signals) = complexity(&[broken, broken, broken, broken]);
        assert!(well < begun && begun < stuck, "{well} {begun} {stuck}");
        let seen = |signal: &Signal| signal.name.contains("4 results in a row failed");
        assert!(signals.iter().any(seen), "{signals:?}");
    }

    #[test]
    fn long_conversations_take_bounded_time() {
        let steps: Vec<(&str, &str)> = (0..500).map(|_| ("make", "error: 1")).collect();
        let standing = Standing::of(&call(&work(&steps)));
        assert_eq!(usize::from(standing.failing), RESULTS);
        assert!(usize::from(standing.repeated) <= RESULTS);
    }
}
