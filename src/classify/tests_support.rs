//! Calls built from texts, for the tests of this room and of the rooms that need features.

use super::excerpt::{Bounds, Excerpt};
pub use super::training::rows::call_of;
use crate::types::{Call, Role};

/// A chat request with one user turn.
pub fn call_with(text: &str) -> Call {
    call_of(&[(Role::User, text)])
}

/// The excerpt of one user turn.
pub fn excerpt_of(text: &str) -> Excerpt {
    let call = call_with(text);
    let bounds = Bounds {
        head: 4096,
        tail: 1024,
    };
    Excerpt::of(&call, call.turns.iter(), bounds)
}
