//! Which generation of Claude a model's name means, as far as what it accepts depends on it.
//!
//! Names: `claude-3-7-sonnet-20250219`, `claude-sonnet-4-5@20250929` (Vertex),
//! `us.anthropic.claude-opus-4-6-v1` (Bedrock). A name that says nothing is taken for a model that
//! accepts everything: its provider decides.

/// Major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::wire::dialect) struct Generation(Option<(u32, u32)>);

impl Generation {
    /// What the name says.
    pub fn of(model: &str) -> Self {
        let Some((_, rest)) = model.split_once("claude") else {
            return Self(None);
        };
        let mut major = None;
        for word in rest.split(|c: char| !c.is_ascii_alphanumeric()) {
            // Dates have eight digits.
            let number = (1..=2).contains(&word.len()).then(|| word.parse().ok());
            match (major, number.flatten()) {
                (None, Some(number)) => major = Some(number),
                (Some(major), Some(minor)) => return Self(Some((major, minor))),
                (Some(_), None) => break,
                (None, None) => {}
            }
        }
        Self(major.map(|major| (major, 0)))
    }

    fn is_known_below(self, major: u32, minor: u32) -> bool {
        self.0.is_some_and(|it| it < (major, minor))
    }

    fn is_known_from(self, major: u32, minor: u32) -> bool {
        self.0.is_some_and(|it| it >= (major, minor))
    }

    /// It can think before it answers (since 3.7).
    pub fn thinks(self) -> bool {
        !self.is_known_below(3, 7)
    }

    /// It chooses by itself how much to think (since 4.6); older ones must be given a budget.
    pub fn thinks_adaptively(self) -> bool {
        !self.is_known_below(4, 6)
    }

    /// It takes a budget of thoughts (up to 4.6; later ones refuse it).
    pub fn takes_budget(self) -> bool {
        !self.is_known_from(4, 7)
    }

    /// It knows the effort `xhigh` (since 4.7).
    pub fn knows_xhigh(self) -> bool {
        !self.is_known_below(4, 7)
    }

    /// It can be bound to a JSON schema (Opus 4.1, then all since 4.5).
    pub fn binds_schema(self) -> bool {
        !self.is_known_below(4, 1)
    }

    /// It refuses to be given both `temperature` and `top_p` (since 4.1).
    pub fn takes_one_of_temperature_and_top_p(self) -> bool {
        self.is_known_from(4, 1)
    }

    /// It refuses every sampling parameter that is not at its default (since 4.7).
    pub fn refuses_sampling(self) -> bool {
        self.is_known_from(4, 7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_generations() {
        let check = |name: &str, expect| assert_eq!(Generation::of(name).0, expect, "{name}");
        check("claude-3-opus-20240229", Some((3, 0)));
        check("claude-3-7-sonnet-20250219", Some((3, 7)));
        check("claude-sonnet-4-20250514", Some((4, 0)));
        check("claude-sonnet-4-5@20250929", Some((4, 5)));
        check("us.anthropic.claude-opus-4-5-20251101-v1:0", Some((4, 5)));
        check("us.anthropic.claude-opus-4-6-v1", Some((4, 6)));
        check("claude-opus-5", Some((5, 0)));
        check("claude-2.1", Some((2, 1)));
        check("claude-test", None);
        check("my-model-7", None);
    }
}
