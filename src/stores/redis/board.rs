//! The board and the stored keys in Redis: a hash for each topic, one for the keys.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::RedisStore;
use crate::stores::shared::{Post, Posted, SharedBoard, SharedError, StoredKeys};

/// The field that counts changes; no replica and no key has such a name.
const VERSION: &str = "@version";

impl RedisStore {
    async fn exchange_posts(
        &self,
        replica: &str,
        posts: &[Post],
    ) -> Result<Vec<Posted>, SharedError> {
        let mut run = self.board.prepare_invoke();
        for post in posts {
            run.key(self.key(&format!("board:{}", post.topic)));
        }
        run.arg(replica);
        for post in posts {
            run.arg(millis(post.lives)).arg(post.seen);
            run.arg(u8::from(post.text.is_some()));
            run.arg(post.text.as_deref().unwrap_or_default());
        }
        let mut connection = self.connection().await?;
        let answers: Vec<Vec<String>> = match run.invoke_async(&mut connection).await {
            Ok(answers) => answers,
            Err(error) => return Err(self.failed(&error).await),
        };
        if answers.len() != posts.len() {
            return Err(garbled("topics"));
        }
        answers.into_iter().map(posted).collect()
    }

    async fn stored_keys(&self, known: &StoredKeys) -> Result<Option<StoredKeys>, SharedError> {
        let mut run = self.keys.key(self.key("keys"));
        run.arg(known.version);
        for (id, text) in &known.texts {
            run.arg(id).arg(text);
        }
        let mut connection = self.connection().await?;
        let fields: Vec<String> = match run.invoke_async(&mut connection).await {
            Ok(fields) => fields,
            Err(error) => return Err(self.failed(&error).await),
        };
        if fields.is_empty() {
            return Ok(None);
        }
        let mut found = StoredKeys::default();
        for (id, text) in pairs(fields) {
            if id == VERSION {
                found.version = text.parse().map_err(|_| garbled("a version of the keys"))?;
            } else {
                found.texts.push((id, text));
            }
        }
        found.texts.sort_unstable();
        Ok(Some(found))
    }
}

fn posted(fields: Vec<String>) -> Result<Posted, SharedError> {
    let mut fields = fields.into_iter();
    let version = fields.next().and_then(|text| text.parse().ok());
    let version = version.ok_or_else(|| garbled("a version of a topic"))?;
    let rest: Vec<String> = fields.collect();
    let texts = match rest.as_slice() {
        [same] if same == "same" => None,
        _ => Some(pairs(rest).collect()),
    };
    Ok(Posted { version, texts })
}

fn pairs(fields: Vec<String>) -> impl Iterator<Item = (String, String)> {
    let mut fields = fields.into_iter();
    std::iter::from_fn(move || Some((fields.next()?, fields.next()?)))
}

fn garbled(what: &str) -> SharedError {
    SharedError::Garbled(format!("an answer about {what}"))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl SharedBoard for RedisStore {
    fn exchange<'a>(
        &'a self,
        replica: &'a str,
        posts: &'a [Post],
    ) -> BoxFuture<'a, Result<Vec<Posted>, SharedError>> {
        self.exchange_posts(replica, posts).boxed()
    }

    fn claim<'a>(
        &'a self,
        what: &'a str,
        lives: Duration,
    ) -> BoxFuture<'a, Result<bool, SharedError>> {
        async move {
            let mut connection = self.connection().await?;
            let claimed = redis::cmd("SET")
                .arg(self.key(&format!("claim:{what}")))
                .arg(1)
                .arg("NX")
                .arg("PX")
                .arg(millis(lives))
                .query_async::<Option<String>>(&mut connection)
                .await;
            match claimed {
                Ok(claimed) => Ok(claimed.is_some()),
                Err(error) => Err(self.failed(&error).await),
            }
        }
        .boxed()
    }

    fn keys<'a>(
        &'a self,
        known: &'a StoredKeys,
    ) -> BoxFuture<'a, Result<Option<StoredKeys>, SharedError>> {
        self.stored_keys(known).boxed()
    }

    fn put_key<'a>(&'a self, id: &'a str, text: &'a str) -> BoxFuture<'a, Result<(), SharedError>> {
        async move {
            let key = self.key("keys");
            let mut connection = self.connection().await?;
            let stored = redis::pipe()
                .atomic()
                .hset(&key, id, text)
                .ignore()
                .hincr(&key, VERSION, 1)
                .ignore()
                .query_async::<()>(&mut connection)
                .await;
            match stored {
                Ok(()) => Ok(()),
                Err(error) => Err(self.failed(&error).await),
            }
        }
        .boxed()
    }
}
