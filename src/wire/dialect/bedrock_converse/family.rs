//! Whose model it is, by its id on Bedrock (`anthropic.claude-…`, `us.amazon.nova-…`, an ARN with such an
//! id in it). Ids of one's own (application inference profiles) say nothing; their provider decides.

/// Whose model it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Anthropic's.
    Claude,
    /// Amazon's first generation.
    Nova,
    /// Amazon's second generation, which can reason.
    Nova2,
    /// Mistral's.
    Mistral,
    /// Cohere's.
    Cohere,
    /// OpenAI's open weights.
    OpenAi,
    /// Another maker's.
    Other,
    /// The id does not say.
    Unknown,
}

impl Family {
    /// What the id says.
    pub fn of(model: &str) -> Self {
        let makers = [
            ("anthropic.", Self::Claude),
            ("claude", Self::Claude),
            ("amazon.nova-2", Self::Nova2),
            ("amazon.nova", Self::Nova),
            ("mistral.", Self::Mistral),
            ("cohere.", Self::Cohere),
            ("openai.", Self::OpenAi),
            ("amazon.", Self::Other),
            ("ai21.", Self::Other),
            ("deepseek.", Self::Other),
            ("meta.", Self::Other),
            ("minimax.", Self::Other),
            ("moonshot.", Self::Other),
            ("qwen.", Self::Other),
            ("writer.", Self::Other),
        ];
        let found = makers.iter().find(|(sign, _)| model.contains(sign));
        found.map_or(Self::Unknown, |(_, family)| *family)
    }

    /// Its rules of thinking and sampling are Anthropic's.
    pub const fn is_claude(self) -> bool {
        matches!(self, Self::Claude)
    }

    /// It takes marks of the prompt cache.
    pub const fn takes_cache_points(self) -> bool {
        matches!(
            self,
            Self::Claude | Self::Nova | Self::Nova2 | Self::Unknown
        )
    }

    /// Tool definitions may carry a mark of the prompt cache, too.
    pub const fn takes_cache_points_in_tools(self) -> bool {
        matches!(self, Self::Claude | Self::Unknown)
    }

    /// Its output can be bound to a schema.
    pub const fn binds_schema(self) -> bool {
        !matches!(self, Self::Nova | Self::Nova2 | Self::Cohere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_whose_model_it_is() {
        let check = |id, family| assert_eq!(Family::of(id), family, "{id}");
        check("anthropic.claude-3-haiku-20240307-v1:0", Family::Claude);
        check("us.amazon.nova-pro-v1:0", Family::Nova);
        check("global.amazon.nova-2-lite-v1:0", Family::Nova2);
        check("openai.gpt-oss-120b-1:0", Family::OpenAi);
        check("us.deepseek.r1-v1:0", Family::Other);
        let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
        check(arn, Family::Unknown);
    }
}
