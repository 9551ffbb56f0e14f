//! Why an answer ended, in Anthropic's words and in neutral ones.

use crate::types::chat::{Finish, FinishReason};

/// What ends an answer in a body: `stop_reason` and `stop_sequence`.
pub(super) fn read(reason: Option<&str>, stop_sequence: Option<String>) -> Finish {
    let neutral = match reason {
        Some("stop_sequence") => FinishReason::StopSequence,
        Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
        Some("tool_use") => FinishReason::ToolCalls,
        Some("refusal") => FinishReason::Refusal,
        Some("pause_turn") => FinishReason::Pause,
        Some("error") => FinishReason::Error,
        _ => FinishReason::Stop,
    };
    let native = reason.filter(|reason| *reason != word(neutral));
    Finish {
        reason: neutral,
        stop_sequence,
        native: native.map(str::to_owned),
    }
}

/// Anthropic's words that the neutral reasons have no own name for. Another dialect's native word may
/// stand in a [`Finish`] too, and a stream does not say whose it is.
const NATIVE: &[&str] = &["model_context_window_exceeded", "compaction"];

/// `stop_reason`. With a refusal in the answer its end is one.
pub(super) fn write(finish: &Finish, has_refusal: bool) -> &str {
    match &finish.native {
        Some(native) if NATIVE.contains(&native.as_str()) => native,
        _ if has_refusal && finish.reason == FinishReason::Stop => word(FinishReason::Refusal),
        _ => word(finish.reason),
    }
}

/// Anthropic's word. `error` is none of Anthropic's: nothing that it says means a failure.
const fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "end_turn",
        FinishReason::StopSequence => "stop_sequence",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter | FinishReason::Refusal => "refusal",
        FinishReason::Pause => "pause_turn",
        FinishReason::Error => "error",
    }
}
