//! Opaque strings by which a provider recognises its own work: signatures of thoughts and of tool
//! calls, encrypted reasoning. They travel through foreign dialects in an envelope that says whose they
//! are, so that a conversation that comes back from a client hands each provider its own and nobody
//! else's.

/// Opens an envelope. A provider's own strings are base64, which has no colon.
const ENVELOPE: &str = "tollgate:";

/// An opaque string and the dialect whose provider made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The dialect, by its name in `routes.yaml`.
    pub dialect: String,
    /// The string as the provider wrote it.
    pub value: String,
}

impl Seal {
    /// A string that stands in a body of `dialect`: its own, or another's in an envelope.
    #[must_use]
    pub fn read(text: &str, dialect: &str) -> Self {
        let enveloped = text
            .strip_prefix(ENVELOPE)
            .and_then(|rest| rest.split_once(':'));
        let (dialect, value) = enveloped.unwrap_or((dialect, text));
        Self {
            dialect: dialect.to_owned(),
            value: value.to_owned(),
        }
    }

    /// As it is written for a *client* of `dialect`, who keeps it and sends it back.
    #[must_use]
    pub fn for_client(&self, dialect: &str) -> String {
        if self.dialect == dialect {
            return self.value.clone();
        }
        format!("{ENVELOPE}{}:{}", self.dialect, self.value)
    }

    /// As it is written for an *upstream* of `dialect`; `None` when it is another's.
    #[must_use]
    pub fn for_upstream(&self, dialect: &str) -> Option<&str> {
        (self.dialect == dialect).then_some(self.value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_comes_back_to_its_own_provider_only() {
        let seal = Seal::read("EqRk+/=", "anthropic_messages");
        assert_eq!(seal.for_client("anthropic_messages"), "EqRk+/=");
        let abroad = seal.for_client("openai_chat");
        let back = Seal::read(&abroad, "openai_chat");
        assert_eq!(back, seal);
        assert_eq!(back.for_upstream("anthropic_messages"), Some("EqRk+/="));
        assert_eq!(back.for_upstream("gemini_generate"), None);
    }
}
