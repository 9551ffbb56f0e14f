//! Newtype keys. All are cheap to clone (shared text), ordered, hashable, and print as their text.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name. Names come from the configuration, never unchecked from clients.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text of the key.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    )*};
}

text_id! {
    /// A name under `models`.
    ModelId;
    /// A name under `providers`.
    ProviderId;
    /// One host or key of a model: `model` for the only one, `model#1`, `model#2` … for several.
    DeploymentId;
    /// A name under `teams`; `default` when a key names none.
    TeamId;
    /// The `app` of a key; `default` when it names none.
    AppId;
    /// The `id` of a virtual key (never the key itself).
    KeyId;
    /// The `name` of a budget.
    BudgetId;
    /// One of the built-in tasks or a task defined in the file.
    TaskName;
    /// A level of a matrix row: `simple`, `complex`, `critical`, or one that the row defines.
    LevelName;
    /// Short hash of a configuration's text: the same file gives the same version everywhere.
    ConfigVersion;
}

/// Identifies one client request; goes out as `x-request-id`. Time-ordered, never client-chosen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A fresh id: `req_` and a version 7 UUID (RFC 9562 §5.7) without dashes.
    #[must_use]
    pub fn generate() -> Self {
        let mut text = [0u8; 36];
        text[..4].copy_from_slice(b"req_");
        uuid::Uuid::now_v7()
            .as_simple()
            .encode_lower(&mut text[4..]);
        Self(std::str::from_utf8(&text).unwrap_or_default().into())
    }

    /// Takes an id as text, as read back from the ledger or from a client that asks about it.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn request_ids_cannot_be_guessed_from_their_neighbours() {
        let ids: Vec<RequestId> = (0..64).map(|_| RequestId::generate()).collect();
        let tails: HashSet<&str> = ids.iter().map(|id| &id.as_str()[28..]).collect();
        assert_eq!(tails.len(), ids.len(), "the last 32 bits are random");
    }
}
