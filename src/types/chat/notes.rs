//! What a translation leaves behind: diagnostics of what was dropped or changed, and refusals.

use std::borrow::Cow;

/// Most notes of one translation: a request of a thousand unknown members is still one request.
const MAX_NOTES: usize = 32;

/// One thing that the target's dialect cannot say and that was left out or put otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The member of the client's request, such as `logit_bias` or `messages[2].name`.
    pub field: Cow<'static, str>,
    /// What was done: `dropped`, or in a few words what stands in for it.
    pub what: &'static str,
}

/// The notes of one translation, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes(Vec<Note>);

impl Notes {
    /// Says that a member was dropped.
    pub fn dropped(&mut self, field: impl Into<Cow<'static, str>>) {
        self.changed(field, "dropped");
    }

    /// Says that a member was put otherwise.
    pub fn changed(&mut self, field: impl Into<Cow<'static, str>>, what: &'static str) {
        let note = Note {
            field: field.into(),
            what,
        };
        if self.0.len() < MAX_NOTES && !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// Adds those of another step.
    pub fn add(&mut self, others: Self) {
        for note in others.0 {
            self.changed(note.field, note.what);
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Note> {
        self.0.iter()
    }

    /// True when nothing was dropped or changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the target's dialect cannot say and what may not be left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` cannot be expressed in {dialect}: {why}")]
pub struct Inexpressible {
    /// The member of the client's request.
    pub field: Cow<'static, str>,
    /// The target's dialect.
    pub dialect: &'static str,
    /// Why, and what is possible instead.
    pub why: Cow<'static, str>,
}
