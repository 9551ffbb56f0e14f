//! What replicas tell each other: a board on which each has one text under each topic, the virtual keys
//! that all of them admit, and what only one of them may do.
//!
//! Posts are absolute ("my arms stand so"), never differences: one that is lost, late or repeated counts
//! once, and a store that has forgotten is told again by whoever misses his own post there.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::SharedError;

/// One topic of the board, and what this replica has to say there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Its name.
    pub topic: &'static str,
    /// How long a text stands after its replica has last posted it.
    pub lives: Duration,
    /// The text, in the place of the last one; `None`: that one stands.
    pub text: Option<String>,
    /// The version of the topic that this replica has read.
    pub seen: u64,
}

/// What is posted under a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Posted {
    /// Grows with every post.
    pub version: u64,
    /// Who says what, this replica included; `None` when nothing was posted since the version that it
    /// had read.
    pub texts: Option<Vec<(String, String)>>,
}

/// The stored virtual keys. A key that was revoked stays as an empty text, so that no replica that has
/// not heard of it puts it back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredKeys {
    /// Grows with every change.
    pub version: u64,
    /// By id.
    pub texts: Vec<(String, String)>,
}

/// What replicas tell each other through the store that they share.
pub trait SharedBoard: Send + Sync + std::fmt::Debug {
    /// Posts this replica's texts and reads the others'; the answers come in the posts' order.
    ///
    /// # Errors
    /// What was posted may stand then; the next post puts it right.
    ///
    /// # Cancel safety
    /// As with an error.
    fn exchange<'a>(
        &'a self,
        replica: &'a str,
        posts: &'a [Post],
    ) -> BoxFuture<'a, Result<Vec<Posted>, SharedError>>;

    /// True for the first who asks within this time: for what one of all replicas should do.
    ///
    /// # Errors
    /// Then nobody knows.
    fn claim<'a>(
        &'a self,
        what: &'a str,
        lives: Duration,
    ) -> BoxFuture<'a, Result<bool, SharedError>>;

    /// The stored keys, when they are not the ones that are known. A store that knows an earlier version
    /// than the caller has forgotten: it is given what the caller knows.
    ///
    /// # Errors
    /// Nothing has changed for the caller then.
    fn keys<'a>(
        &'a self,
        known: &'a StoredKeys,
    ) -> BoxFuture<'a, Result<Option<StoredKeys>, SharedError>>;

    /// Stores a key, or with an empty text revokes it.
    ///
    /// # Errors
    /// It may have been done then.
    fn put_key<'a>(&'a self, id: &'a str, text: &'a str) -> BoxFuture<'a, Result<(), SharedError>>;
}
