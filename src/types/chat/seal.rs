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

    /// Says whose account made the seal (`dialect@account`), where it does not say so yet and is of that
    /// dialect. Such a seal fits no dialect until it has come home.
    pub fn sign(&mut self, origin: &str) {
        let of = origin.split_once('@').map(|(dialect, _)| dialect);
        if self.account().is_none() && of == Some(&self.dialect) {
            origin.clone_into(&mut self.dialect);
        }
    }

    /// The seal as its maker knows it, for its maker.
    pub fn come_home(&mut self) {
        self.dialect = self.maker().0.to_owned();
    }

    /// Whose account made it, where it says so.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.maker().1
    }

    /// True when the seal is of this dialect, whoever made it.
    #[must_use]
    pub fn is_of(&self, dialect: &str) -> bool {
        self.maker().0 == dialect
    }

    fn maker(&self) -> (&str, Option<&str>) {
        match self.dialect.split_once('@') {
            Some((dialect, account)) => (dialect, Some(account)),
            None => (&self.dialect, None),
        }
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

    #[test]
    fn a_seal_that_names_its_maker_comes_back_to_that_account_only() {
        let seal = Seal::read("gAAA", "openai_responses@east");
        let kept = seal.for_client("");
        let back = Seal::read(&kept, "openai_responses");
        assert_eq!(back, seal);
        assert!(back.is_of("openai_responses"));
        assert_eq!(back.account(), Some("east"));
        assert_eq!(back.for_upstream("openai_responses"), None);
        let mut home = back;
        home.come_home();
        assert_eq!(home.for_upstream("openai_responses"), Some("gAAA"));
        let mut other = Seal::read("tollgate:gemini_generate:Eq", "openai_responses");
        other.sign("anthropic_messages@claude");
        assert_eq!(other.account(), None);
        other.sign("gemini_generate@google");
        assert_eq!(other.account(), Some("google"));
    }
}
