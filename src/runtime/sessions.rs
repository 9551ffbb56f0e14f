//! Which model a session stays on, so that the provider's prompt cache stays warm.
//!
//! Session names are the clients'; they are only ever kept hashed together with the team, so that
//! one tenant can neither see nor steer another's.

use std::time::Duration;

use moka::sync::Cache;
use sha2::{Digest, Sha256};

use crate::types::{ModelId, TeamId};

/// Sessions kept at once; beyond it the least used are forgotten (a warm cache lost, nothing more).
const MOST_SESSIONS: u64 = 100_000;
/// Providers drop cached prompts after 5 to 60 minutes without use.
const IDLE: Duration = Duration::from_hours(1);

/// A session of a tenant, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey([u8; 16]);

impl SessionKey {
    /// Of a team's session by the client's name for it.
    #[must_use]
    pub fn new(team: &TeamId, session: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((team.as_str().len() as u64).to_le_bytes());
        hasher.update(team.as_str().as_bytes());
        hasher.update(session.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize()[..16]);
        Self(key)
    }
}

/// The model of each session in use.
#[derive(Debug)]
pub struct Sessions {
    models: Cache<SessionKey, ModelId>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            models: Cache::builder()
                .max_capacity(MOST_SESSIONS)
                .time_to_idle(IDLE)
                .build(),
        }
    }
}

impl Sessions {
    /// The model that the session was last answered by.
    #[must_use]
    pub fn model(&self, session: &SessionKey) -> Option<ModelId> {
        self.models.get(session)
    }

    /// Notes which model answered; called once an answer has begun.
    pub fn keep(&self, session: SessionKey, model: ModelId) {
        self.models.insert(session, model);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_belong_to_their_team() {
        let sessions = Sessions::default();
        let (ours, theirs) = (TeamId::new("ours"), TeamId::new("theirs"));
        sessions.keep(SessionKey::new(&ours, "s1"), ModelId::new("a"));
        assert_eq!(
            sessions.model(&SessionKey::new(&ours, "s1")),
            Some(ModelId::new("a"))
        );
        assert_eq!(sessions.model(&SessionKey::new(&theirs, "s1")), None);
        assert_ne!(
            SessionKey::new(&TeamId::new("ab"), "c"),
            SessionKey::new(&TeamId::new("a"), "bc")
        );
    }
}
