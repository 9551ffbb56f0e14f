//! Who is asking: the outcome of authentication, with all that the key allows.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

use super::ids::{AppId, KeyId, ModelId, TeamId};

/// A rung of the fallback ladder, and the best quality that a caller may ask for.
/// Ordered from the least to the most capable.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Models on one's own machines.
    Local,
    /// Models that are good enough for most requests.
    Standard,
    /// The best models.
    Premium,
}

impl Tier {
    /// The word used in the file, in headers and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Standard => "standard",
            Self::Premium => "premium",
        }
    }

    /// Reads the word; `None` for any other.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "local" => Some(Self::Local),
            "standard" => Some(Self::Standard),
            "premium" => Some(Self::Premium),
            _ => None,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which models a caller may use: names and `*` patterns. After [`AllowList::and`], several lists
/// of which each must allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList(SmallVec<[Arc<[Box<str>]>; 2]>);

impl AllowList {
    /// A list of names and patterns, in which `*` stands for any run of characters.
    pub fn new<I: IntoIterator<Item = S>, S: Into<Box<str>>>(patterns: I) -> Self {
        Self(smallvec![patterns.into_iter().map(Into::into).collect()])
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::new(["*"])
    }

    /// What both lists allow. Shares the lists, so it costs no copy.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut lists = self.0.clone();
        lists.extend(other.0.iter().cloned());
        lists.dedup();
        Self(lists)
    }

    /// True when in every list some pattern covers the model.
    #[must_use]
    pub fn allows(&self, model: &ModelId) -> bool {
        self.0.iter().all(|list| {
            list.iter()
                .any(|pattern| wildcard_matches(pattern, model.as_str()))
        })
    }

    /// The patterns as written.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .flat_map(|list| list.iter())
            .map(AsRef::as_ref)
    }
}

/// Matches `text` against a pattern in which `*` stands for any run of characters.
/// Linear in the text for each star; used for `allow` and `aliases`.
#[must_use]
pub fn wildcard_matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return text.ends_with(piece);
        }
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    true
}

/// The authenticated sender of a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The virtual key's id; `None` in `auth: open`.
    pub key: Option<KeyId>,
    /// SHA-256 of the whole virtual key: where `Snapshot::keys` has its limits.
    pub key_sha256: Option<[u8; 32]>,
    /// The team that pays.
    pub team: TeamId,
    /// The application.
    pub app: AppId,
    /// The best tier that the caller may use.
    pub tier: Tier,
    /// The models that the caller may use.
    pub allow: AllowList,
    /// Regions in which the caller's requests may be served; empty means any.
    pub regions: Arc<[Box<str>]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expect: bool) {
        assert_eq!(
            wildcard_matches(pattern, text),
            expect,
            "{pattern} against {text}"
        );
    }

    #[test]
    fn stars_stand_for_any_run() {
        check("*", "", true);
        check("gpt-4*", "gpt-4o-mini", true);
        check("gpt-4*", "gpt-3.5", false);
        check("*-mini", "gpt-4o-mini", true);
        check("*-mini", "gpt-4o-mini-2024", false);
        check("a*b*c", "a1b2b3c", true);
        check("a*b*c", "a1c2b", false);
        check("gpt-4o", "gpt-4o", true);
        check("aa*aa", "aaa", false);
    }

    #[test]
    fn joined_lists_allow_what_each_of_them_allows() {
        let joined = AllowList::new(["gpt-*"]).and(&AllowList::new(["*-mini", "claude"]));
        assert!(joined.allows(&"gpt-4o-mini".into()));
        assert!(!joined.allows(&"gpt-4o".into()) && !joined.allows(&"claude".into()));
    }

    #[test]
    fn tiers_are_ordered_from_least_to_most_capable() {
        assert!(Tier::Premium > Tier::Standard && Tier::Standard > Tier::Local);
        assert_eq!(Tier::parse("standard"), Some(Tier::Standard));
        assert_eq!(Tier::parse("gold"), None);
    }
}
