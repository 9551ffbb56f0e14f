//! The integration tests: the real proxy on port 0 against a scripted upstream that misbehaves.
//! One binary; a file per behaviour.

mod deploy;
mod harness;
mod money;
mod tidy;
