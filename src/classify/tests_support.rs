//! Calls built from texts, for the tests of this room and of the rooms that need features.

use super::excerpt::{Bounds, Excerpt};
pub use super::training::rows::call_of;
use crate::types::{Call, Role};

/// A sound configuration with one model.
pub const FILE: &str = "
version: 1
state: { store: memory }
providers: { one: { simulated: { seed: 1 } } }
models: { a: { provider: one, price: 0 } }
matrix: { default: { simple: [a] } }
";

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
