//! The top-level members of a request that decoding reads.

/// The top-level members that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Model,
    Messages,
    System,
    MaxTokens,
    Stream,
    Tools,
    ToolChoice,
    OutputConfig,
    OutputFormat,
    Thinking,
    Metadata,
    ServiceTier,
}

impl Known {
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"model" => Self::Model,
            b"messages" => Self::Messages,
            b"system" => Self::System,
            b"max_tokens" => Self::MaxTokens,
            b"stream" => Self::Stream,
            b"tools" => Self::Tools,
            b"tool_choice" => Self::ToolChoice,
            b"output_config" => Self::OutputConfig,
            b"output_format" => Self::OutputFormat,
            b"thinking" => Self::Thinking,
            b"metadata" => Self::Metadata,
            b"service_tier" => Self::ServiceTier,
            _ => return None,
        })
    }

    /// A member that some JSON readers take for a known one because they ignore case.
    pub(super) fn lookalike(name: &[u8]) -> Option<String> {
        if !name
            .iter()
            .any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii())
        {
            return None;
        }
        let folded = String::from_utf8_lossy(name)
            .replace('\u{17f}', "s")
            .replace('\u{212a}', "k")
            .to_ascii_lowercase();
        Self::of(folded.as_bytes()).map(|_| folded)
    }
}
