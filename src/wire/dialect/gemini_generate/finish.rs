//! Why an answer ended, in Google's words.

use crate::types::chat::{Block, BlockBody, Finish, FinishReason};

/// Stands as the native reason of a choice that was never made, because the prompt was blocked.
pub(super) const PROMPT_BLOCKED: &str = "PROMPT_BLOCKED";

/// Reads a `finishReason`. Google says `STOP` also where tools are to be called.
pub(super) fn read(word: &str, calls_tools: bool) -> Finish {
    let reason = match word {
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | PROMPT_BLOCKED => FinishReason::ContentFilter,
        // The answer is not what was asked for, and nothing in it says so but this word.
        "OTHER"
        | "IMAGE_OTHER"
        | "NO_IMAGE"
        | "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE"
        | "MALFORMED_RESPONSE" => FinishReason::Error,
        // `STOP`, and words that are new.
        _ if calls_tools => FinishReason::ToolCalls,
        _ => FinishReason::Stop,
    };
    Finish {
        reason,
        stop_sequence: None,
        native: Some(word.to_owned()),
    }
}

/// True when a block calls a tool.
pub(super) fn calls_tools(blocks: &[Block]) -> bool {
    let is_call = |block: &Block| matches!(block.body, BlockBody::ToolCall(_));
    blocks.iter().any(is_call)
}

/// The `finishReason` of an answer; its own word where it came from Google.
pub(super) fn write(finish: &Finish, is_own: bool) -> &str {
    if let Some(native) = finish.native.as_deref().filter(|_| is_own) {
        return native;
    }
    match finish.reason {
        FinishReason::Stop
        | FinishReason::StopSequence
        | FinishReason::ToolCalls
        | FinishReason::Pause
        | FinishReason::Refusal => "STOP",
        FinishReason::Length => "MAX_TOKENS",
        FinishReason::ContentFilter => "SAFETY",
        FinishReason::Error => "OTHER",
    }
}
