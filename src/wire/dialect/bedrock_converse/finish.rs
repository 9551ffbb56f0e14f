//! Why an answer ended, in Bedrock's words.

use crate::types::chat::{Finish, FinishReason};

/// Reads a `stopReason`.
pub(super) fn read(word: &str, stop_sequence: Option<String>) -> Finish {
    let reason = match word {
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "stop_sequence" => FinishReason::StopSequence,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        "refusal" => FinishReason::Refusal,
        "pause_turn" => FinishReason::Pause,
        "malformed_model_output" | "malformed_tool_use" => FinishReason::Error,
        // `end_turn`, and words that are new.
        _ => FinishReason::Stop,
    };
    Finish {
        reason,
        stop_sequence,
        native: Some(word.to_owned()),
    }
}

/// The `stopReason` of an answer; its own word where it came from Bedrock.
pub(super) fn write(finish: &Finish, is_own: bool) -> &str {
    if let Some(native) = finish.native.as_deref().filter(|_| is_own) {
        return native;
    }
    match finish.reason {
        FinishReason::Stop | FinishReason::Pause => "end_turn",
        FinishReason::StopSequence => "stop_sequence",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter | FinishReason::Refusal => "content_filtered",
        FinishReason::Error => "malformed_model_output",
    }
}
