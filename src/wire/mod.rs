//! Bytes to types and back: framings (how events are cut out of a byte stream) and dialects (what
//! the bytes mean). This file is the registry: the only match on a dialect.
//!
//! A new dialect is a directory under `dialect/` that implements [`Dialect`], and one line in the
//! table below.

pub mod dialect;
pub mod facts;
mod foreign;
pub mod framing;
pub mod json_in;
pub mod json_out;
pub mod json_text;
mod json_walk;
pub mod json_write;
mod nested;
pub mod relayed;
mod splice;
mod sse_lines;
mod tool_input;
pub mod translate;
pub mod whole;

use bytes::Bytes;

use crate::error::ProxyError;
use crate::types::{Call, Directives, Endpoint};

pub use dialect::{Dialect, Synthetic, Tap};
use translate::Translate;

macro_rules! dialects {
    ($($(#[$doc:meta])* $id:ident = $name:literal => $codec:expr;)+) => {
        /// A wire format that clients or upstreams speak.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DialectId {
            $($(#[$doc])* $id,)+
        }

        impl DialectId {
            /// Every dialect, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$id),+];

            /// The name in `routes.yaml`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)+
                }
            }

            /// What reads it into the neutral form and writes it from there.
            #[must_use]
            pub fn translate(self) -> &'static dyn Translate {
                match self {
                    $(Self::$id => &$codec,)+
                }
            }
        }
    };
}

dialects! {
    /// OpenAI's Chat Completions, with its legacy completions and embeddings.
    OpenaiChat = "openai_chat" => dialect::openai_chat::OpenaiChat;
    /// OpenAI's Responses.
    OpenaiResponses = "openai_responses" => dialect::openai_responses::OpenaiResponses;
    /// Anthropic's Messages.
    AnthropicMessages = "anthropic_messages" => dialect::anthropic_messages::AnthropicMessages;
    /// Google's generateContent, of the Gemini API and of Vertex AI.
    GeminiGenerate = "gemini_generate" => dialect::gemini_generate::GeminiGenerate;
    /// Amazon Bedrock's Converse.
    BedrockConverse = "bedrock_converse" => dialect::bedrock_converse::BedrockConverse;
}

impl DialectId {
    /// The dialect that `routes.yaml` calls `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|id| id.as_str() == name)
    }
}

/// The dialect that clients of an endpoint speak.
#[must_use]
pub const fn dialect_of(endpoint: Endpoint) -> DialectId {
    match endpoint {
        Endpoint::ChatCompletions
        | Endpoint::Completions
        | Endpoint::Embeddings
        | Endpoint::Images
        | Endpoint::Audio
        | Endpoint::Moderations
        | Endpoint::Files
        | Endpoint::Batches => DialectId::OpenaiChat,
        Endpoint::Messages => DialectId::AnthropicMessages,
        Endpoint::Responses => DialectId::OpenaiResponses,
    }
}

/// What reads and writes the dialect that clients of an endpoint speak.
#[must_use]
pub fn spoken(endpoint: Endpoint) -> &'static dyn Dialect {
    match endpoint {
        Endpoint::ChatCompletions
        | Endpoint::Completions
        | Endpoint::Embeddings
        | Endpoint::Images
        | Endpoint::Audio
        | Endpoint::Moderations
        | Endpoint::Files
        | Endpoint::Batches => &dialect::openai_chat::OpenaiChat,
        Endpoint::Messages => &dialect::anthropic_messages::AnthropicMessages,
        Endpoint::Responses => &dialect::openai_responses::OpenaiResponses,
    }
}

/// Decodes a client's body. The call keeps the body.
///
/// # Errors
/// `InvalidRequest` naming the member at fault.
pub fn decode(endpoint: Endpoint, body: Bytes, directives: Directives) -> Result<Call, ProxyError> {
    spoken(endpoint).decode(endpoint, body, directives)
}

impl std::fmt::Display for DialectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_is_found_by_its_name() {
        for id in DialectId::ALL {
            assert_eq!(DialectId::parse(id.as_str()), Some(*id));
        }
        assert_eq!(DialectId::parse("openai"), None);
    }
}
