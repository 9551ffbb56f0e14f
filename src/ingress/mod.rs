//! The first phase: what a request is. Path to route, headers to directives, body under a cap.
//!
//! Decides nothing about who asks or where the request goes, and opens no socket. Everything here
//! is bounded: an answer of this phase costs a hostile client more than us.

mod body;
mod directives;
mod head;
mod members;
mod multipart;
mod route;

pub use body::{collect, discard, read_body};
pub use directives::directives;
pub use head::{check_head, two_lengths};
pub use members::{Members, members};
pub use multipart::{FormField, FormScanner};
pub use route::{Route, allow, route, speaks};
