//! Which model a conversation stays on, so that the provider's prompt cache stays warm and a chain of
//! tool calls is finished by who began it.
//!
//! Agents name no session, so that a conversation is known by its own beginning: a bounded sample of
//! it, never the whole. Names and samples are only ever kept hashed together with the team under keys
//! of this process, so that one tenant can neither see nor steer another's.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use moka::sync::Cache;

use crate::types::{
    Call, Conversation, ConversationKey, Maker, ModelId, Part, ProviderId, Role, Span, TeamId,
    Tokens, Turn,
};

/// Conversations kept at once; beyond it the least used are forgotten (a warm cache lost, nothing more).
const MOST_SESSIONS: u64 = 100_000;
/// The longest that a provider keeps a prompt that nobody asks for again: an hour, where it is paid for.
const IDLE: Duration = Duration::from_hours(1);
/// The least prompt that OpenAI and Anthropic keep, tokens; what is shorter leaves nothing warm.
pub const LEAST_CACHED_TOKENS: u64 = 1024;
/// What of a text goes into a conversation's name, bytes.
const SAMPLE_BYTES: usize = 512;
/// Turns at the beginning that are looked at for the first answer.
const FIRST_TURNS: usize = 64;

/// What is known of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The model that answered last.
    pub model: ModelId,
    /// Its provider.
    pub provider: ProviderId,
    /// Runs of the assistant's turns, from the beginning, that other providers made.
    pub foreign_runs: u32,
    /// The last answer's input, tokens.
    pub input_tokens: u64,
    /// What of it the provider read from its prompt cache or wrote into it, as it reported, tokens.
    pub cached_tokens: u64,
    /// Some of it was written to be kept for an hour.
    pub for_an_hour: bool,
    /// Answers in a row by this model.
    pub answers: u32,
    /// When it answered last, milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// One answer of a conversation.
#[derive(Clone, Debug)]
pub struct SessionAnswer {
    /// The model.
    pub model: ModelId,
    /// Its provider.
    pub provider: ProviderId,
    /// What the provider reported; `None` where it did not.
    pub tokens: Option<Tokens>,
    /// When it began, milliseconds since the Unix epoch.
    pub at_ms: i64,
}

impl Session {
    /// Tokens that the provider is thought to have in its prompt cache still. What it reported the last
    /// time counts; before it could report anything, the whole of the first prompt, which providers
    /// that keep prompts by themselves keep.
    #[must_use]
    pub fn warm_tokens(&self, keeps_for: Duration, now_ms: i64) -> u64 {
        let keeps_for = if self.for_an_hour {
            keeps_for.max(IDLE)
        } else {
            keeps_for
        };
        let idle_ms = u128::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(0);
        if idle_ms >= keeps_for.as_millis() {
            return 0;
        }
        let warm = if self.cached_tokens > 0 || self.answers > 1 {
            self.cached_tokens
        } else {
            self.input_tokens
        };
        if warm < LEAST_CACHED_TOKENS { 0 } else { warm }
    }

    /// Whose work the conversation is; `claude` when its model is one of Anthropic's.
    #[must_use]
    pub fn maker(&self, claude: bool) -> Maker {
        Maker {
            provider: self.provider.clone(),
            claude,
            foreign_runs: self.foreign_runs,
        }
    }
}

/// The conversations in use.
#[derive(Debug)]
pub struct Sessions {
    known: Cache<ConversationKey, Session>,
    /// For teams and for names.
    hashing: [RandomState; 2],
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            known: Cache::builder()
                .max_capacity(MOST_SESSIONS)
                .time_to_idle(IDLE)
                .build(),
            hashing: [RandomState::new(), RandomState::new()],
        }
    }
}

impl Sessions {
    /// The names of a request's conversation. `x-tollgate-session` alone counts where it is given;
    /// else the first tool call's id, which no other conversation has, or the first answer's
    /// words; and before there is an answer the instructions and the first thing that is asked. Requests
    /// that are neither answered before nor long enough to leave a prompt cache warm belong to no
    /// conversation, unless they offer tools, for whose results they will come back.
    #[must_use]
    pub fn conversation(&self, team: &TeamId, call: &Call, input_tokens: u64) -> Conversation {
        let mut found = Conversation::default();
        if !call.endpoint.generates() {
            return found;
        }
        let team = self.hashing[0].hash_one(team.as_str());
        if let Some(session) = &call.directives.session {
            found.keys.push(self.key(team, b"session", |sample| {
                sample.write(session.as_bytes());
            }));
            found.assistant_runs = call.assistant_runs();
            return found;
        }
        let prompt_cache_key = call.directives.prompt_cache_key.as_deref();
        found.hint = prompt_cache_key
            .map(|hint| self.key(team, b"hint", |sample| sample.write(hint.as_bytes())));
        let answered = call.is_answered_before();
        if !answered && call.tools == 0 && input_tokens < LEAST_CACHED_TOKENS {
            return found;
        }
        let opening = Opening::of(call);
        if let Some(answer) = opening.answer.filter(|_| answered) {
            found.keys.push(self.key(team, b"answered", |sample| {
                sample_user(sample, call);
                sample_text(sample, call, opening.asked, SAMPLE_BYTES);
                match answer.first_call {
                    Some(made) if !made.id.is_empty() => sample.write(call.raw(made.id)),
                    _ => {
                        sample_text(sample, call, opening.system, SAMPLE_BYTES);
                        sample_text(sample, call, Some(answer), SAMPLE_BYTES);
                    }
                }
            }));
        }
        found.keys.push(self.key(team, b"opening", |sample| {
            sample_user(sample, call);
            sample_text(sample, call, opening.system, SAMPLE_BYTES);
            sample_text(sample, call, opening.asked, SAMPLE_BYTES);
        }));
        found.assistant_runs = call.assistant_runs();
        found
    }

    fn key(&self, team: u64, kind: &[u8], write: impl FnOnce(&mut dyn Hasher)) -> ConversationKey {
        let mut hasher = self.hashing[1].build_hasher();
        hasher.write(kind);
        write(&mut hasher);
        ConversationKey {
            team,
            name: hasher.finish(),
        }
    }

    /// What is known of a conversation by its own names.
    #[must_use]
    pub fn of(&self, conversation: &Conversation) -> Option<Session> {
        let mut keys = conversation.keys.iter();
        keys.find_map(|key| self.known.get(key))
    }

    /// What is known of what shares a prompt cache with it.
    #[must_use]
    pub fn sharing(&self, conversation: &Conversation) -> Option<Session> {
        self.known.get(&conversation.hint?)
    }

    /// Notes who answered.
    pub fn keep(&self, conversation: &Conversation, answer: &SessionAnswer) {
        if let Some(key) = conversation.keys.first() {
            let before = self.of(conversation);
            self.known
                .insert(*key, following(before.as_ref(), answer, conversation));
        }
        if let Some(hint) = conversation.hint {
            let before = self.known.get(&hint);
            self.known
                .insert(hint, following(before.as_ref(), answer, conversation));
        }
    }
}

/// What is known after one more answer.
fn following(
    before: Option<&Session>,
    answer: &SessionAnswer,
    conversation: &Conversation,
) -> Session {
    let same_model = before.filter(|it| it.model == answer.model);
    let (input_tokens, cached_tokens, hour) = match (&answer.tokens, same_model) {
        (Some(tokens), _) => (
            tokens.all_input(),
            tokens.cached_input + tokens.all_cache_write(),
            tokens.cache_write_1h > 0,
        ),
        // An answer that broke off before its count: what was warm before is so still.
        (None, Some(before)) => (before.input_tokens, before.cached_tokens, false),
        (None, None) => (0, 0, false),
    };
    let answers = same_model.map_or(0, |it| it.answers);
    let foreign_runs = match before {
        Some(it) if it.provider == answer.provider => it.foreign_runs,
        Some(_) => conversation.assistant_runs,
        None => 0,
    };
    Session {
        model: answer.model.clone(),
        provider: answer.provider.clone(),
        foreign_runs,
        input_tokens,
        cached_tokens,
        for_an_hour: hour || same_model.is_some_and(|it| it.for_an_hour),
        answers: answers.saturating_add(1),
        at_ms: answer.at_ms,
    }
}

/// How a conversation begins.
#[derive(Clone, Copy)]
struct Opening<'c> {
    system: Option<&'c Turn>,
    asked: Option<&'c Turn>,
    answer: Option<&'c Turn>,
}

impl<'c> Opening<'c> {
    fn of(call: &'c Call) -> Self {
        let first = |wanted: Role| {
            let mut turns = call.turns.iter().take(FIRST_TURNS);
            turns.find(|turn| turn.role == wanted)
        };
        // An answer may come in pieces (OpenAI's items); the one with the call is the one that tells.
        let mut turns = call.turns.iter().take(FIRST_TURNS);
        let called = turns.find(|turn| turn.first_call.is_some());
        Self {
            system: first(Role::System),
            asked: first(Role::User),
            answer: called.or_else(|| first(Role::Assistant)),
        }
    }
}

fn sample_user(sample: &mut dyn Hasher, call: &Call) {
    if let Some(user) = &call.end_user {
        sample.write(user.as_bytes());
    }
    sample.write_u8(0xff);
}

/// The beginning of a turn's text.
fn sample_text(sample: &mut dyn Hasher, call: &Call, turn: Option<&Turn>, most_bytes: usize) {
    let text = |part: &Part| match part {
        Part::Text(span) => Some(*span),
        _ => None,
    };
    let texts = turn.into_iter().flat_map(|turn| &turn.parts);
    let first: Option<Span> = texts.filter_map(text).find(|span| !span.is_empty());
    if let Some(first) = first {
        let raw = call.raw(first);
        sample.write(&raw[..raw.len().min(most_bytes)]);
    }
    sample.write_u8(0xff);
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
